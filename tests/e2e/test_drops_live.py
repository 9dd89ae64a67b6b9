#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""flowtally drops: drops made on purpose are shown to the packet, in each form, and its end says what there was."""
import contextlib
import fcntl
import functools
import json
import os
import pty
import re
import shutil
import signal
import struct
import subprocess
import termios
import threading
import time

import program
import tap
import traffic
from lab import DIES_WITH_TEST, Lab, scratch, wait_until
from tap import check, check_equal

USAGE, FAILED = 2, 1
HERE, THERE = ('10.75.0.1', 'fd75::1'), ('10.75.0.2', 'fd75::2')
NOBODY = ['setpriv', '--reuid', '65534', '--regid', '65534', '--clear-groups', '--no-new-privs', '--inh-caps=-all']
# What a socket of another namespace throws away unread, of which the kernel tells neither namespace nor reason.
STRANGE = 'benign,NOT_SPECIFIED,QUEUE_PURGE'
NO_BTF = ['unshare', '--mount', 'sh', '-c', 'mount -t tmpfs none /sys/kernel/btf && exec "$0" "$@"']

# name: (arguments, exit status, patterns that each match one line and no other)
COMMANDS = {
    'several bad options': (['--by', 'port', '--for', '5', '--port', '0', '--address', '10.0.0.0/33', '--interval', '1ms',
                             '--namespaces', 'mine', '--reason', 'NO_SUCH,policy', '--exclude', 'nonsense', '--frobnicate',
                             'stray'], USAGE,
                            ['--by', '--for', '--port', '--address', '--interval', '--namespaces', "--reason 'NO_SUCH'",
                             "--exclude 'nonsense'", 'frobnicate', 'stray']),
    'option of another verb': (['--collector', 'json:-'], USAGE, ['not an option of `flowtally drops`']),
}


def words_of(box, *options, prefix=(), least=True):
    """In the namespace, with /sys as it is."""
    return [*DIES_WITH_TEST, 'nsenter', f'--net=/run/netns/{box.names["meter"]}', *prefix,
            *(program.metering() if least else [program.binary()]), 'drops', *options]


class Drops:
    """with Drops(box, '--by', 'reason') as drops: ...; ready inside, and its output there after stop()."""

    def __init__(self, box, *options, stdout=None, exclude=STRANGE):
        lists = ['--exclude', exclude] if exclude and '--reason' not in options else []
        self.words, self.stdout = words_of(box, *options, *lists), stdout
        self.scratch = scratch()
        self.out, self.err = (os.path.join(self.scratch.name, name) for name in ('out', 'err'))
        self.process = None

    def __enter__(self):
        with open(self.out, 'wb') as out, open(self.err, 'wb') as err:
            self.process = subprocess.Popen(self.words, stdin=subprocess.DEVNULL, stdout=self.stdout or out, stderr=err)
        wait_until(lambda: 'ready' in self.stderr() or self.process.poll() is not None, 15, 'the word ready')
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.scratch.cleanup()

    def read(self, path):
        with open(path, encoding='utf-8', errors='replace') as file:
            return file.read()

    def stderr(self):
        return self.read(self.err)

    def stdout_lines(self):
        return self.read(self.out).splitlines()

    def ended(self, seconds=20):
        """Its lines, once it has ended by itself and in order."""
        check_equal(f'exit status, of\n{program.shown(self.stderr())}', self.process.wait(seconds), 0)
        return self.stdout_lines()

    def stop(self, sign=signal.SIGTERM):
        self.process.send_signal(sign)
        return self.ended()


def send(box, port, count, source=0, six=False):
    """Datagrams from the peer that nobody here receives: NO_SOCKET each."""
    traffic.udp(box, 'peer', (source or THERE[six], 7000 + port), (HERE[six], port), count)


def rows(lines):
    """The lines as dictionaries by their titles; the explanation has blanks."""
    titles = lines[0].split()
    return [dict(zip(titles, line.split(None, len(titles) - 1))) for line in lines[1:]]


def summed(found, *names):
    total = {}
    for row in found:
        key = tuple(row[name] for name in names)
        total[key] = total.get(key, 0) + int(row['PACKETS'])
    return total


def summary(stderr):
    """(packets, shown) by reason, and the last line."""
    counts = {words[3]: (int(words[0]), int(words[1])) for words in map(str.split, stderr.splitlines())
              if len(words) > 4 and words[0].isdigit()}
    return counts, stderr.splitlines()[-1]


def test_lines(box):
    """A line for each flow and interval; those of a flow add up, and the end has the same sums."""
    with Drops(box, '--interval', '300ms') as drops:
        for _ in range(3):
            send(box, 9001, 5)
            send(box, 9002, 2, six=True)
            time.sleep(0.5)
        lines = drops.stop()
        stderr = drops.stderr()
    found = rows(lines)
    check_equal('sums', summed(found, 'PROTO', 'SOURCE', 'DESTINATION', 'DIR', 'INTERFACE', 'CLASS', 'REASON'), {
        ('UDP', '10.75.0.2:16001', '10.75.0.1:9001', 'in', 'm0', 'no_receiver', 'NO_SOCKET'): 15,
        ('UDP', '[fd75::2]:16002', '[fd75::1]:9002', 'in', 'm0', 'no_receiver', 'NO_SOCKET'): 6})
    check(len(found) >= 6, 'no line for each interval', *lines)
    check_equal('totals of the last lines', {row['TOTAL'] for row in found[-2:]}, {'15', '6'})
    check(all('Nothing listens' in row['EXPLANATION'] for row in found), *lines)
    check(all(float(row['PKT/s']) > 0 for row in found), *lines)
    counts, last = summary(stderr)
    check_equal('packets by reason', counts['NO_SOCKET'], (21, 21))
    check(re.fullmatch(r'drops: seen [0-9]+ packets = accounted 21 \+ ignored [0-9]+.* \+ refused 0; shown 21, evicted 0, '
                       'drain_error 0; drops missed 0', last), last)


def test_by(box, by, names, expected):
    with Drops(box, '--by', by) as drops:
        send(box, 9001, 4)
        send(box, 9002, 3)
        lines = drops.stop(signal.SIGINT)
    check_equal('titles', lines[0].split()[1:-6], names)
    check_equal('sums', summed(rows(lines), *names, 'REASON'), expected)


def test_by_service(box):
    """One row for a server's port, whichever of its clients was refused, and whatever direction its packets had."""
    with Drops(box, '--by', 'service', '--json', '--interval', '60s') as drops:
        for client in range(42000, 42010):
            traffic.udp(box, 'peer', (THERE[0], client), (HERE[0], 9001), 2)
            traffic.udp(box, 'peer', (THERE[0], 9001), (HERE[0], client), 1)
        found = [json.loads(line) for line in drops.stop()]
    check_equal('rows', [(row['protocolIdentifier'], row['destinationTransportPort'], row['dropReasonName'],
                          row['droppedPacketDeltaCount']) for row in found], [(17, 9001, 'NO_SOCKET', 30)])
    check_equal('other keys', set(found[0]) & {'sourceIPv4Address', 'sourceTransportPort', 'ingressInterface', 'interfaceName'},
                set())


def test_json(box):
    """The keys of the collector json:, and the sums of the ledger."""
    with Drops(box, '--json', '--summary', 'json') as drops:
        send(box, 9001, 4)
        send(box, 9002, 3, six=True)
        found = [json.loads(line) for line in drops.stop()]
        end = program.last_ledger(drops.stderr())
    check(all(one['dropReasonName'] == 'NO_SOCKET' and one['interfaceName'] == 'm0' and one['packetsPerSecond'] > 0 and
              one['dropClass'] == 'no_receiver' and one['forwardingStatus'] == 141 for one in found), found)
    check(all(abs(one['flowEndMilliseconds'] - time.time() * 1000) < 60000 for one in found), found)
    check_equal('packets', sum(one['droppedPacketDeltaCount'] for one in found if 'sourceIPv4Address' in one), 4)
    check_equal('octets', sum(one['droppedOctetDeltaCount'] for one in found if 'sourceIPv4Address' in one), 4 * 37)
    check_equal('packets', sum(one['droppedPacketDeltaCount'] for one in found if 'sourceIPv6Address' in one), 3)
    check_equal('packets by reason', end['drops']['reasons']['NO_SOCKET']['packets'], 7)
    check(end['balanced'], end)


def test_filter(box, options, expected, exclude=STRANGE):
    """What does not match is not shown, and counted all the same."""
    with Drops(box, '--by', 'flow', *options, exclude=exclude) as drops:
        send(box, 9001, 4)
        send(box, 9002, 3, six=True)
        lines = drops.stop()
        counts, _ = summary(drops.stderr())
    check_equal('sums', summed(rows(lines), 'DESTINATION'), {(name,): count for name, count in expected.items()})
    check_equal('packets by reason', counts['NO_SOCKET'], (7, sum(expected.values())))


def test_excluded(box):
    """A packet for another host is benign: not shown, and the end says so."""
    with Drops(box, exclude=None) as drops, box.entered('peer'):
        frame = bytes.fromhex('02000000beef 020000000001 0800'.replace(' ', '')) + traffic.udp_frame(1)[14:]
        sender = traffic.socket.socket(traffic.socket.AF_PACKET, traffic.socket.SOCK_RAW)
        with sender:
            sender.bind(('p0', 0))
            for _ in range(6):
                sender.send(frame)
        lines = drops.stop()
        counts, last = summary(drops.stderr())
    check('OTHERHOST' not in [row['REASON'] for row in rows(lines)], *lines)
    check_equal('packets by reason', counts['OTHERHOST'], (6, 0))
    check('(excluded ' in last, last)


def test_namespaces(box):
    """Drops of the peer's namespace are shown with --namespaces all alone."""
    for which, expected in ('own', 0), ('all', 5):
        with Drops(box, '--namespaces', which, '--port', '9003') as drops:
            traffic.udp(box, 'meter', (HERE[0], 16003), (THERE[0], 9003), 5)
            lines = drops.stop()
        check_equal(f'packets with {which}', sum(summed(rows(lines), 'REASON').values()), expected)


def test_for(box):
    """It ends by itself, in time."""
    start = time.monotonic()
    with Drops(box, '--for', '1500ms') as drops:
        send(box, 9001, 4)
        lines = drops.ended(10)
    check(1.4 < time.monotonic() - start < 5, f'it took {time.monotonic() - start:.1f} s')
    check_equal('sums', summed(rows(lines), 'DESTINATION', 'REASON'), {(f'{HERE[0]}:9001', 'NO_SOCKET'): 4})


def test_broken_pipe(box):
    """When nobody reads any more it ends at once, though nothing is dropped, and says what there was."""
    reader, writer = os.pipe()
    with Drops(box, stdout=writer) as drops:
        os.close(writer)
        send(box, 9001, 4)
        check(b'PROTO' in os.read(reader, 1000), 'no titles')
        os.close(reader)
        drops.ended(5)
        check_equal('seen', summary(drops.stderr())[0].get('NO_SOCKET', (0,))[0], 4)


def test_broken_pipe_before(box):
    """Also if nothing has been shown yet."""
    reader, writer = os.pipe()
    with Drops(box, '--interval', '60s', stdout=writer) as drops:
        os.close(writer)
        send(box, 9001, 4)
        os.close(reader)
        check_equal('lines', drops.ended(5), [])
        check_equal('seen', summary(drops.stderr())[0].get('NO_SOCKET', (0,))[0], 4)


def test_full_disk(box):
    with open('/dev/full', 'wb') as full:
        done = subprocess.run(words_of(box, '--for', '1s'), stdin=subprocess.DEVNULL, stdout=full, check=False, timeout=20,
                              stderr=subprocess.PIPE, text=True)
    check_equal('exit status', done.returncode, FAILED)
    check('standard output: No space left' in done.stderr, done.stderr)


def test_slow_reader(box):
    """What a reader has no time for is shown later: the sums are those of all."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    text = []
    with Drops(box, '--interval', '100ms', stdout=writer) as drops:
        os.close(writer)
        for _ in range(40):
            send(box, 9001, 2)
            time.sleep(0.05)
        time.sleep(0.5)
        thread = threading.Thread(target=lambda: text.extend(iter(lambda: os.read(reader, 65536), b'')))
        thread.start()
        time.sleep(0.5)
        drops.stop()
        thread.join(10)
    os.close(reader)
    check_equal('sums', summed(rows(b''.join(text).decode().splitlines()), 'DESTINATION', 'REASON'),
                {(f'{HERE[0]}:9001', 'NO_SOCKET'): 80})


@contextlib.contextmanager
def terminal(rows_, columns):
    """(what to write to, a list of what came)."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack('HHHH', rows_, columns, 0, 0))
    came = []

    def read():
        with contextlib.suppress(OSError):
            while True:
                came.append(os.read(master, 65536))
    thread = threading.Thread(target=read)
    thread.start()
    try:
        yield slave, came
    finally:
        os.close(slave)
        thread.join(10)
        os.close(master)


def test_json_terminal(box):
    """Lines stay lines, also there."""
    with terminal(12, 80) as (slave, came):
        with Drops(box, '--json', stdout=slave) as drops:
            send(box, 9001, 4)
            drops.stop()
    found = [json.loads(line) for line in b''.join(came).decode().splitlines()]
    check_equal('packets', [one['droppedPacketTotalCount'] for one in found], [4])


def test_complaint(box, name):
    options, status, patterns = COMMANDS[name]
    done = subprocess.run(words_of(box, *options), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
                          timeout=20)
    check_equal(f'exit status, of\n{program.shown(done.stderr)}', done.returncode, status)
    for pattern in patterns:
        lines = [line for line in done.stderr.splitlines() if re.search(pattern, line)]
        check(len(lines) == 1, f'{len(lines)} lines match /{pattern}/, expected one, in', program.shown(done.stderr))


def test_no_btf(box):
    done = subprocess.run(words_of(box, prefix=NO_BTF), stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          check=False, timeout=20)
    check_equal('exit status', done.returncode, FAILED)
    check('CONFIG_DEBUG_INFO_BTF' in done.stderr, done.stderr)


def test_no_permission(box):
    with scratch() as directory:
        os.chmod(directory, 0o755)
        copy = shutil.copy(program.binary(), directory)
        os.chmod(copy, 0o755)
        done = subprocess.run([*words_of(box, prefix=NOBODY, least=False)[:-2], copy, 'drops'], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, check=False, timeout=20)
    check_equal('exit status', done.returncode, FAILED)
    check('CAP_PERFMON' in done.stderr and 'root' in done.stderr, done.stderr)


def main():
    tap.require('ip', 'nsenter', 'setpriv', 'unshare')
    program.binary()
    with Lab('meter', 'peer', ipv6=True) as box:
        box.veth(('meter', 'm0'), ('peer', 'p0'), offloads=False)
        box.address(('meter', 'm0', HERE), ('peer', 'p0', THERE))
        send(box, 9000, 1)
        send(box, 9000, 1, six=True)
        four, six = '10.75.0.1:9001', '[fd75::1]:9002'
        filters = {
            'port': (['--port', '9002'], {six: 3}), 'address': (['--address', '10.75.0.2'], {four: 4}),
            'prefix': (['--address', 'fd75::/64'], {six: 3}), 'address of nobody': (['--address', '10.75.0.3'], {}),
            'reason': (['--reason', 'NO_SOCKET'], {four: 4, six: 3}), 'class': ([], {}, f'no_receiver,{STRANGE}'),
        }
        tap.main([
            ('lines', functools.partial(test_lines, box)),
            ('by reason', functools.partial(test_by, box, 'reason', [], {('NO_SOCKET',): 7})),
            ('by interface', functools.partial(test_by, box, 'interface', ['DIR', 'INTERFACE'],
                                               {('in', 'm0', 'NO_SOCKET'): 7})),
            ('by service', functools.partial(test_by, box, 'service', ['SERVICE'],
                                             {('UDP/9001', 'NO_SOCKET'): 4, ('UDP/9002', 'NO_SOCKET'): 3})),
            ('JSON by service', functools.partial(test_by_service, box)),
            ('JSON', functools.partial(test_json, box)),
            *((f'filter by {name}', functools.partial(test_filter, box, *filters[name])) for name in filters),
            ('benign drops', functools.partial(test_excluded, box)),
            ('network namespaces', functools.partial(test_namespaces, box)),
            ('--for', functools.partial(test_for, box)),
            ('broken pipe', functools.partial(test_broken_pipe, box)),
            ('broken pipe before the first line', functools.partial(test_broken_pipe_before, box)),
            ('full disk', functools.partial(test_full_disk, box)),
            ('slow reader', functools.partial(test_slow_reader, box)),
            ('JSON on a terminal', functools.partial(test_json_terminal, box)),
            *((name, functools.partial(test_complaint, box, name)) for name in COMMANDS),
            ('no BTF', functools.partial(test_no_btf, box)),
            ('no permission', functools.partial(test_no_permission, box)),
        ], alone=True)  # of what a socket has not read the kernel does not tell whose it was


if __name__ == '__main__':
    main()
