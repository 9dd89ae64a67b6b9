#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""IPFIX over TCP: sessions that libfixbuf's own collector and the strict decoder read, and what becomes of them.

    test_tcp.py PROGRAM [FIXBUF_COLLECTOR]
"""
import os
import signal
import sys
import time
from pathlib import Path

import program
import strict
import tap
import traffic
from names import Names
from lab import wait_until
from sinks import METER, METER6, PEER, PEER6, QUICK, Bench, by_url, lost, ours
from tap import Skip, check, check_equal

OTHER = '10.75.0.3'
DEAD_SECONDS = 45  # of a host that does not answer, until the exporter gives it up
TORTURE = 'FLOWTALLY_TORTURE' in os.environ
CLOSED_SECONDS = 100  # probes of a closed window are more than DEAD_SECONDS apart by then
FINAL_SECONDS = 6  # of an end with a collector that takes nothing

# Keeps what each connection says in a file of its own, FOLDER/FIRST, FOLDER/FIRST + 1, ...
SINK = '''
import selectors, socket, sys
address, port, folder, number = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
server = socket.create_server((address, port), family=socket.AF_INET6 if ':' in address else socket.AF_INET)
selector = selectors.DefaultSelector()
selector.register(server, selectors.EVENT_READ, None)
print('ready', flush=True)
while True:
    for key, _ in selector.select():
        if key.fileobj is server:
            selector.register(server.accept()[0], selectors.EVENT_READ, open(f'{folder}/{number}', 'wb', buffering=0))
            number += 1
            continue
        try:
            data = key.fileobj.recv(1 << 20)
        except ConnectionResetError:
            data = b''
        key.data.write(data)
        if not data:
            selector.unregister(key.fileobj)
            key.fileobj.close()
'''


class Sink:
    """A collector on TCP, which can be killed and started again."""

    def __init__(self, bench, port=4739, address=PEER):
        self.bench, self.port, self.address = bench, port, address
        self.folder = Path(bench.directory.name) / f'sink-{port}'
        self.folder.mkdir()
        self.process = None
        self.start()

    def start(self):
        self.process = self.bench.box.start('peer', '/usr/bin/python3', '-c', SINK, self.address, self.port, self.folder,
                                            len(list(self.folder.iterdir())), stdout=-1)
        self.process.stdout.readline()

    def kill(self):
        self.process.kill()
        self.process.wait()

    def decoder(self, lossless=True):
        """All connections, each a session; a message that is not complete is one that broke."""
        decoder = strict.Decoder(lossless)
        for file in sorted(self.folder.iterdir(), key=lambda file: int(file.name)):
            data = file.read_bytes()
            while len(data) >= 4 and len(data) >= int.from_bytes(data[2:4], 'big'):
                length = int.from_bytes(data[2:4], 'big')
                decoder.feed(file.name, 0, data[:length])
                data = data[length:]
        return decoder


def collectors(*urls):
    return [word for url in urls for word in ('--collector', url)]


def check_sessions(decoder, count):
    """Each session says each template once, those of flows first."""
    check_equal('sessions', len(decoder.sessions), count)
    for name, session in decoder.sessions.items():
        check(session.messages[0].sets == [2], f'session {name} begins with the sets {session.messages[0].sets}')
        told = sum(message.templates for message in session.messages)
        check_equal(f'templates told in session {name}, each once', told, len(session.templates))


def check_all(ledger, url, decoder, flows):
    """Everything has arrived, and the ledger says so."""
    check_equal('lost', lost(by_url(ledger)[url]), {})
    check_equal('records exported', by_url(ledger)[url]['exported']['records'], len(decoder.records()))
    check_equal('flows', ours(decoder), flows)


def test_fixbuf():
    """libfixbuf's own collector reads every record, in one session after the other."""
    if len(sys.argv) < 3 or not os.access(sys.argv[2], os.X_OK):
        raise Skip('libfixbuf is not installed')
    with Bench() as bench:
        log = Path(bench.directory.name) / 'fixbuf'
        with open(log, 'wb') as output:
            bench.box.start('peer', os.path.abspath(sys.argv[2]), PEER, 4739, stdout=output)
        wait_until(lambda: b'ready' in log.read_bytes(), 5, 'the collector to listen')
        url = f'ipfix+tcp://{PEER}'
        total = {'records': 0, 'packets': 0, 'octets': 0}
        for first in 20000, 21000:
            with program.Daemon(bench.box, 'meter', *QUICK, *collectors(url), '--statistics-interval', '1s',
                                '--options-interval', '1s') as daemon:
                bench.flows(200, first)
                time.sleep(2.5)
                ledger = daemon.stop()
            check_equal('lost', lost(by_url(ledger)[url]), {})
            for name in total:
                total[name] += by_url(ledger)[url]['exported'][name]
        wait_until(lambda: log.read_text().count('end') == 2, 5, 'both connections to end')
        lines = log.read_text().splitlines()
        check_equal('what libfixbuf cannot read', [line for line in lines if line.startswith('error')], [])
        rows = [tuple(map(int, line.split())) for line in lines if line[0].isdigit()]
        check_equal('records, packets, octets', (len(rows), sum(row[2] for row in rows), sum(row[3] for row in rows)),
                    tuple(total.values()))
        check_equal('flows', sorted(row[0] for row in rows if row[1] == 9),
                    [first + i for first in (20000, 21000) for i in range(200)])


def test_restart():
    """A collector that comes late, is killed and comes back: templates in each session, and no record is lost."""
    with Bench() as bench:
        url = f'ipfix+tcp://{PEER}?retry=1'
        with program.Daemon(bench.box, 'meter', *QUICK, *collectors(url), '--statistics-interval', '1s',
                            '--options-interval', '1s') as daemon:
            bench.flows(100)
            wait_until(lambda: 'Connection refused' in daemon.stderr(), 5, 'a refusal')
            time.sleep(1.5)
            sink = Sink(bench)
            wait_until(lambda: 'up again' in daemon.stderr(), 20, 'the collector to be up again')
            bench.flows(100, 21000)
            time.sleep(2.5)
            sink.kill()
            bench.flows(100, 22000)
            time.sleep(2)
            sink.start()
            time.sleep(5)
            ledger = daemon.stop()
        decoder = sink.decoder()
        check_sessions(decoder, 2)
        check_all(ledger, url, decoder, [first + i for first in (20000, 21000, 22000) for i in range(100)])


def test_stopped():
    """One of several collectors never reads: the others get everything, and the end is not held up for long."""
    with Bench() as bench:
        sinks = [Sink(bench), Sink(bench, 4740), Sink(bench, 4741, PEER6)]
        urls = [f'ipfix+tcp://{PEER}', f'ipfix+tcp://{PEER}:4740', f'ipfix+tcp://[{PEER6}]:4741', f'ipfix://{PEER}:9995']
        bench.sink(9995)
        sinks[1].process.send_signal(signal.SIGSTOP)
        with program.Daemon(bench.box, 'meter', *QUICK, *collectors(*urls)) as daemon:
            for turn in range(3):
                bench.flows(1000, 20000 + 1000 * turn)
                time.sleep(1)
            time.sleep(1.5)
            start = time.monotonic()
            ledger = daemon.stop()
            seconds = time.monotonic() - start
        check(seconds < FINAL_SECONDS, f'the end took {seconds:.1f} s')
        for url, sink in (urls[0], sinks[0]), (urls[2], sinks[2]):
            check_sessions(sink.decoder(), 1)
            check_all(ledger, url, sink.decoder(), list(range(20000, 23000)))
        check_equal('lost over UDP', lost(by_url(ledger)[urls[3]]), {})
        stopped = by_url(ledger)[urls[1]]
        check_equal('lost to the one that does not read', set(lost(stopped)), {'unsent'})
        sinks[1].process.send_signal(signal.SIGCONT)
        time.sleep(1)
        check(stopped['exported']['records'] <= len(sinks[1].decoder().records()),
              f'{stopped["exported"]["records"]} records exported, {len(sinks[1].decoder().records())} arrived')


def test_dead_host():
    """A host that answers no more, not even with an error: it is given up, and connected to when it is back."""
    with Bench() as bench:
        url = f'ipfix+tcp://{PEER}?retry=1'
        sink = Sink(bench)
        with program.Daemon(bench.box, 'meter', *QUICK, *collectors(url)) as daemon:
            bench.flows(50)
            time.sleep(2.5)
            bench.box.ip('peer', 'address', 'del', f'{PEER}/24', 'dev', 'p0')
            with bench.box.entered('peer'):
                for port in range(21000, 21050):
                    traffic.udp(bench.box, 'peer', (PEER6, port), (METER6, 9), 1)
            wait_until(lambda: 'cannot send' in daemon.stderr(), DEAD_SECONDS, 'the host to be given up')
            check('timed out' in daemon.stderr(), 'the reason is another one')
            bench.box.ip('peer', 'address', 'add', f'{PEER}/24', 'dev', 'p0')
            bench.box.ip('peer', 'neighbour', 'replace', METER, 'lladdr', bench.box.link('meter', 'm0')['address'], 'dev',
                         'p0', 'nud', 'permanent')
            wait_until(lambda: 'up again' in daemon.stderr(), 30, 'the collector to be up again')
            bench.flows(50, 22000)
            time.sleep(2.5)
            ledger = daemon.stop()
        decoder = sink.decoder()
        check_sessions(decoder, 2)
        check(set(range(20000, 20050)) | set(range(22000, 22050)) <= set(ours(decoder)), 'flows are missing')
        collector = by_url(ledger)[url]
        check_equal('lost', set(lost(collector)), {'send_error'})
        check_equal('records exported', collector['exported']['records'], len(decoder.records()))


def test_dead_host_closed():
    """A host that has closed its window, and then is gone: it answers no probe, and is given up as well."""
    with Bench() as bench:
        url = f'ipfix+tcp://{PEER}'
        sink = Sink(bench)
        with program.Daemon(bench.box, 'meter', *QUICK, *collectors(url)) as daemon:
            bench.flows(10)
            time.sleep(2.5)
            sink.process.send_signal(signal.SIGSTOP)
            for turn in range(2):
                bench.flows(2000, 20010 + 2000 * turn)
            time.sleep(2.5)
            bench.box.ip('peer', 'address', 'del', f'{PEER}/24', 'dev', 'p0')
            wait_until(lambda: 'cannot send' in daemon.stderr(), DEAD_SECONDS + 30, 'the host to be given up')
            check('timed out' in daemon.stderr(), 'the reason is another one')
            ledger = daemon.stop()
        check('send_error' in lost(by_url(ledger)[url]), f'lost: {lost(by_url(ledger)[url])}')


def test_addresses():
    """A name has two addresses, and a collector listens at one of them: the other costs no time, whichever comes first."""
    for address in PEER, OTHER:
        with Bench() as bench:
            bench.box.ip('peer', 'address', 'add', f'{OTHER}/24', 'dev', 'p0')
            bench.box.ip('meter', 'neighbour', 'replace', OTHER, 'lladdr', bench.box.link('peer', 'p0')['address'], 'dev',
                         'm0', 'nud', 'permanent')
            sink = Sink(bench, address=address)
            url = 'ipfix+tcp://collector.test'
            with Names(bench.box, 'meter', bench.directory.name, 'collector.test') as names:
                names.address = PEER, OTHER
                with program.Daemon(bench.box, 'meter', *QUICK, *collectors(url), prefix=names.prefix) as daemon:
                    bench.flows(20)
                    time.sleep(2.5)
                    ledger = daemon.stop()
            check_all(ledger, url, sink.decoder(), list(range(20000, 20020)))


def test_closed_window():
    """A host that answers, and has no room for long: the connection stays, and nothing is lost."""
    with Bench() as bench:
        url = f'ipfix+tcp://{PEER}'
        sink = Sink(bench)
        with program.Daemon(bench.box, 'meter', *QUICK, *collectors(url)) as daemon:
            bench.flows(10)
            time.sleep(2.5)
            sink.process.send_signal(signal.SIGSTOP)
            for turn in range(6):
                bench.flows(2000, 20010 + 2000 * turn)
            time.sleep(CLOSED_SECONDS)
            sink.process.send_signal(signal.SIGCONT)
            time.sleep(10)
            check('cannot send' not in daemon.stderr(), 'the host was given up')
            ledger = daemon.stop()
        check_sessions(sink.decoder(), 1)
        check_all(ledger, url, sink.decoder(), list(range(20000, 32010)))


def main():
    tap.require('ip', 'ethtool')
    program.binary()
    tap.main([
        *([('a window that is closed for long', test_closed_window)] if TORTURE else []),
        ('the host is gone', test_dead_host),
        ('the host is gone, and its window was closed', test_dead_host_closed),
        ("libfixbuf's collector", test_fixbuf),
        ('late, killed, restarted', test_restart),
        ('one of four does not read', test_stopped),
        ('a name with two addresses', test_addresses),
    ], tap.AT_ONCE)


if __name__ == '__main__':
    main()
