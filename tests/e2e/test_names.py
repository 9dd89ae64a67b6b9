#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A collector that is named: the name moves, is unknown, or its server says nothing, and nobody waits for it."""
import functools
import shutil
import time
from pathlib import Path

import program
import strict
import tap
from names import SILENT, Names
from lab import wait_until
from sinks import PEER, QUICK, Bench, by_url, lost, ours
from tap import check, check_equal

MOVED = '10.75.0.3'
NAMED, OTHER = 'ipfix://collector.test:9995', f'ipfix://{PEER}:9996'
FIRST, SECOND = '127.0.0.1', '127.0.0.2'  # name servers
OWN_FOLDERS = ['unshare', '--mount', 'sh', '-c', 'mount --bind "$0/etc" /etc && mount --bind "$0/run" /run && exec "$@"']
OF_ETC = 'hosts', 'nsswitch.conf', 'passwd', 'group', 'services', 'protocols', 'ld.so.cache'
RESOLVED, MANAGER = 'systemd/resolve/stub-resolv.conf', 'NetworkManager/resolv.conf'  # in /run
DELAY_SECONDS = 4  # idle timeout, two drains and a busy machine; less than the 6 s of a look-up that fails
LOOKUP_SECONDS = 30
FLOWS = 20


class Run:
    """The exporter with a named collector and one that is not, and the name server."""

    def __init__(self, address):
        self.bench, self.names = Bench(), None
        self.address = address

    def __enter__(self):
        self.bench.__enter__()
        self.bench.box.ip('peer', 'address', 'add', f'{MOVED}/24', 'dev', 'p0')
        for port, address in (9995, PEER), (9995, MOVED), (9996, PEER):
            self.bench.sink(port, address)
        self.names = Names(self.bench.box, 'meter', self.bench.directory.name, 'collector.test')
        self.names.__enter__()
        self.names.address = self.address
        return self

    def __exit__(self, *_):
        self.names.__exit__()
        self.bench.__exit__()

    def daemon(self):
        return program.Daemon(self.bench.box, 'meter', *QUICK, '--template-interval', '1s', '--collector', NAMED,
                              '--collector', OTHER, prefix=self.names.prefix)

    def asked(self, count):
        """Waits until the name has been looked up so many times more."""
        goal = self.names.queries + count
        wait_until(lambda: self.names.queries >= goal, LOOKUP_SECONDS, f'{count} queries')

    def flows(self, first):
        self.bench.flows(FLOWS, first)
        time.sleep(2.5)


def by_host(capture):
    """Source ports of the flows that came to port 9995 of each address."""
    found = {}
    for ends, session in strict.decode(capture, 9995).sessions.items():
        ports = [r.number(7) for m in session.messages for r in m.records if r.number(7) >= 20000 and r.number(11) == 9]
        found.setdefault(ends[3], []).extend(ports)
    return {host: sorted(ports) for host, ports in found.items()}


def check_in_time(capture, turns):
    """The collector that is not named got all flows, as soon as they had ended."""
    decoder = strict.decode(capture, 9996)
    check_equal('flows at the other collector', ours(decoder), expected(*turns))
    for record in decoder.records():
        delay = record.message.when - record.times()[1] / 1000
        check(delay < DELAY_SECONDS, f'flow {record.number(7)} came {delay:.1f} s after its end')


def expected(*turns):
    return [first + i for first in turns for i in range(FLOWS)]


def test_moves():
    """The new address is taken; it stays while the name is unknown, and while nobody answers."""
    with Run(PEER) as run:
        capture = run.bench.capture()
        with run.daemon() as daemon:
            run.flows(20000)
            run.names.address = MOVED
            wait_until(lambda: 'another address' in daemon.stderr(), LOOKUP_SECONDS, 'the new address to be taken')
            run.flows(21000)
            for first, address in (22000, None), (23000, SILENT):
                run.names.address = address
                run.asked(4)
                run.flows(first)
            ledger = daemon.stop()
            check_equal('names that are none, but asked for', run.names.foreign, set())
            check_equal('changes of address', daemon.stderr().count('another address'), 1)
        capture.stop()
        check_equal('flows', by_host(capture), {PEER: expected(20000), MOVED: expected(21000, 22000, 23000)})
        check_equal('lost', lost(by_url(ledger)[NAMED]), {})
        check_in_time(capture, (20000, 21000, 22000, 23000))


def test_unknown(address):
    """A name without an address at the start is a state, in which flows wait, and which ends by itself."""
    with Run(address) as run:
        capture = run.bench.capture()
        with run.daemon() as daemon:
            run.flows(20000)
            wait_until(lambda: 'does not resolve' in daemon.stderr(), LOOKUP_SECONDS, 'a word of the name')
            run.asked(2)  # it is tried again
            run.flows(21000)
            run.names.address = PEER
            wait_until(lambda: 'the host resolves now' in daemon.stderr(), LOOKUP_SECONDS, 'the name to be found')
            run.flows(22000)
            ledger = daemon.stop()
            check_equal('names that are none, but asked for', run.names.foreign, set())
            check_equal('warnings', daemon.stderr().count('does not resolve'), 1)
        capture.stop()
        check_equal('flows', by_host(capture), {PEER: expected(20000, 21000, 22000)})
        check_equal('lost', lost(by_url(ledger)[NAMED]), {})
        check_in_time(capture, (20000, 21000, 22000))


class Folders:
    """An /etc and a /run of the exporter's own.  Who writes resolv.conf does so by a new file and a rename."""

    def __init__(self, directory):
        self.etc, self.run = Path(directory) / 'etc', Path(directory) / 'run'
        self.prefix = [*OWN_FOLDERS, directory]
        for folder in self.etc, (self.run / RESOLVED).parent, (self.run / MANAGER).parent:
            folder.mkdir(parents=True)
        for name in OF_ETC:
            shutil.copy(f'/etc/{name}', self.etc)

    def write(self, server, name=None):
        """What the name server is: in /etc/resolv.conf, or in a file in /run."""
        path = self.run / name if name else self.etc / 'resolv.conf'
        new = path.with_name('new')
        new.write_text(f'nameserver {server}\n', encoding='ascii')
        new.rename(path)

    def link(self, name):
        """/etc/resolv.conf leads there."""
        (self.etc / 'new').symlink_to(f'../run/{name}')
        (self.etc / 'new').rename(self.etc / 'resolv.conf')

    # --- (before the start, after it): the name server is the first one, and then the second.

    def file(self):
        self.write(FIRST)
        yield
        self.write(SECOND)

    def target(self):
        self.write(FIRST, RESOLVED)
        self.link(RESOLVED)
        yield
        self.write(SECOND, RESOLVED)

    def becomes_link(self):
        self.write(FIRST)
        yield
        self.write(SECOND, RESOLVED)
        self.link(RESOLVED)

    def dangling(self):
        self.link(MANAGER)
        yield
        self.write(SECOND, MANAGER)


def test_replaced(how):
    """The name is known to the server of the new resolv.conf alone, which the exporter reads though it may open little else."""
    with Run(None) as run, Names(run.bench.box, 'meter', run.bench.directory.name, 'collector.test', SECOND) as second:
        folders = Folders(run.bench.directory.name)
        steps = getattr(folders, how)()
        next(steps)
        run.names.prefix, second.address = folders.prefix, PEER
        capture = run.bench.capture()
        with run.daemon() as daemon:
            run.flows(20000)
            wait_until(lambda: 'does not resolve' in daemon.stderr(), LOOKUP_SECONDS, 'a word of the name')
            check_equal('queries to the other server', second.queries, 0)
            next(steps, None)
            wait_until(lambda: 'the host resolves now' in daemon.stderr(), LOOKUP_SECONDS, 'the name to be found')
            run.flows(21000)
            ledger = daemon.stop()
        capture.stop()
        check_equal('flows', by_host(capture), {PEER: expected(20000, 21000)})
        check_equal('lost', lost(by_url(ledger)[NAMED]), {})


def main():
    tap.require('ip', 'ethtool', 'dumpcap', 'tshark', 'unshare')
    program.binary()
    tap.main([
        ('the name moves, is lost, is not answered', test_moves),
        ('an unknown name', functools.partial(test_unknown, None)),
        ('a name server that says nothing', functools.partial(test_unknown, SILENT)),
        ('resolv.conf: another file', functools.partial(test_replaced, 'file')),
        ("resolv.conf: another file behind systemd-resolved's link", functools.partial(test_replaced, 'target')),
        ('resolv.conf: a file becomes a link', functools.partial(test_replaced, 'becomes_link')),
        ('resolv.conf: a link to what comes later', functools.partial(test_replaced, 'dangling')),
    ], tap.AT_ONCE)


if __name__ == '__main__':
    main()
