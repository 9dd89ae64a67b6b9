#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Many interfaces, and some that make trouble: what is done with them keeps neither flows nor the end waiting."""
import contextlib
import os
import re
import shutil
import signal
import socket
import tempfile
import threading
import time

import collect
import program
import tap
import traffic
from lab import bpf_object, command, wait_until
from tap import Skip, check, check_equal
from test_lifecycle import ATTACH_SECONDS, METER, PEER, Bench, held

BURST_PAIRS = 150  # of which both ends are metered
SMALL_BANK = ['--bank-entries', '4096', '--drain-interval', '1s', '--idle-timeout', '2s']
FLOWS_A_SECOND = 1500
DESCRIPTORS = 128
CHURN_STARTS = 20 if os.environ.get('FLOWTALLY_TORTURE') else 4
PATIENCE = 120
ACCEPT = '__attribute__((section("tc"), used)) int accept_all(void *skb) { return -1; }\n'


def batch(box, lines):
    """Runs so many lines of `ip` in the metered namespace at once."""
    with tempfile.NamedTemporaryFile('w') as file:
        file.write('\n'.join(lines))
        file.flush()
        command('ip', '-n', box.names['meter'], '-batch', file.name)


def pairs(box, count, prefix='v'):
    """So many veth pairs with both ends in the metered namespace: v0a and v0b, ..."""
    batch(box, [f'link add {prefix}{i}a up type veth peer name {prefix}{i}b\nlink set {prefix}{i}b up' for i in range(count)])


def attached(daemon, pattern):
    return len(re.findall(rf"interface '{pattern}': ingress \w", daemon.stderr()))


class Trickle:
    """Datagrams from one port to another port each, so that each is a flow; in the background."""

    def __init__(self, box):
        self.box = box
        self.port = 1024
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.send)

    def send(self):
        with traffic.bound(self.box, 'peer', socket.SOCK_DGRAM, PEER, 999) as sock:
            start = time.monotonic()
            while not self.stopping.is_set():
                while self.port < 1024 + FLOWS_A_SECOND * (time.monotonic() - start):
                    self.port += 1
                    with contextlib.suppress(ConnectionRefusedError):
                        sock.sendto(b'flowtally', (METER, self.port))
                time.sleep(0.01)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        self.thread.join()


def exported_port(path):
    """The greatest destination port of the trickle in a file so far."""
    return max((record.key.destination_port for record in collect.read_ipfix(path) if record.key.source_port == 999), default=0)


def attached_before(bench, daemon, port):
    """How many were attached when the file had a flow to a later port than this; 0: it has none yet.

    The file is read after that: reading takes long on a busy machine, on which attaching goes on.
    """
    copy = shutil.copy(bench.file, f'{bench.directory}/copy.ipfix')
    count = attached(daemon, 'v.*')
    return exported_port(copy) > port and max(count, 1)


def test_burst():
    """Hundreds of interfaces that come at once: a small bank refuses nothing, and records of what is sent
    meanwhile are out before all of them are attached."""
    with Bench() as bench:
        bench.capture.stop()
        with program.Daemon(bench.box, 'meter', '--interface', 'm0', '--interface', 'v*', '--ingress', 'tc', *SMALL_BANK,
                            '--collector', f'file://{bench.file}') as daemon:
            with Trickle(bench.box) as trickle:
                wait_until(lambda: exported_port(bench.file), ATTACH_SECONDS, 'the first records')
                port = trickle.port
                pairs(bench.box, BURST_PAIRS)
                early = wait_until(lambda: attached_before(bench, daemon, port), ATTACH_SECONDS,
                                   'records of what was sent meanwhile')
                wait_until(lambda: attached(daemon, 'v.*') == 2 * BURST_PAIRS, PATIENCE, 'all to be attached')
            ledger = daemon.stop()
        check(early < 2 * BURST_PAIRS, f'{early} were attached when records came: nothing was proven')
        check_equal('refused', ledger['refused'], {})
        ports = {record.key.destination_port for record in bench.records() if record.key.source_port == 999}
        check_equal('flows', len(ports), trickle.port - 1024)


def test_stop():
    """SIGTERM while many are being attached ends it, without attaching the rest."""
    with Bench() as bench:
        pairs(bench.box, BURST_PAIRS)
        daemon = program.Daemon(bench.box, 'meter', '--interface', 'm0', '--interface', 'v*', '--collector',
                                f'file://{bench.file}')
        with open(daemon.log_path, 'wb') as log:
            daemon.process = bench.box.start('meter', *program.metering(), *daemon.options, stdout=log, stderr=log)
        wait_until(lambda: attached(daemon, '.*') > 10, PATIENCE, 'the first to be attached')
        before = attached(daemon, '.*')
        daemon.stop(signal.SIGTERM)
        after = attached(daemon, '.*')
        check(after < before + 20, f'{after - before} more were attached after the signal')
        check('ready' not in daemon.stderr(), daemon.stderr())
        check_equal('programs left', bench.box.run('meter', 'bpftool', '-j', 'net', 'show').count('flowtally'), 0)


def test_stop_under_traffic():
    """Nothing is counted between the last drain and the ledger, however long detaching takes."""
    with Bench() as bench:
        bench.capture.stop()
        pairs(bench.box, 40)
        with program.Daemon(bench.box, 'meter', '--interface', 'm0', '--interface', 'v*', '--ingress', 'tc', *SMALL_BANK,
                            '--collector', f'file://{bench.file}') as daemon:
            with Trickle(bench.box):
                wait_until(lambda: exported_port(bench.file), ATTACH_SECONDS, 'the first records')
                ledger = daemon.stop()
        packets = sum(record.flow.packets for record in bench.records())
        check_equal('packets in records', packets, ledger['accounted']['packets'])


def limited(soft, hard):
    return ['prlimit', f'--nofile={soft}:{hard}']


def test_descriptors():
    """Too few file descriptors: said once, with the number that is enough; no interface has half of its hooks."""
    with Bench() as bench:
        pairs(bench.box, DESCRIPTORS // 4)
        options = ['--interface', 'm0', '--interface', 'v*', '--collector', f'file://{bench.file}']
        all_of_them = 1 + DESCRIPTORS // 2
        with program.Daemon(bench.box, 'meter', *options, prefix=limited(DESCRIPTORS, DESCRIPTORS)) as daemon:
            count = attached(daemon, '.*')
            check(0 < count < all_of_them, f'{count} of {all_of_them} attached')
            check_equal('links', len(held(daemon.process, 'link_id')), 2 * count)
            time.sleep(6)  # a round of attempts
            lines = [line for line in daemon.stderr().splitlines() if 'descriptor' in line]
            check_equal('lines about descriptors', len(lines), 1)
            said = re.search(r'(\d+) of (\d+) interfaces are not metered.*: (\d+) are needed .*, the limit is (\d+)', lines[0])
            check(said, lines[0])
            check_equal('not metered, all, limit', [int(said[n]) for n in (1, 2, 4)],
                        [all_of_them - count, all_of_them, DESCRIPTORS])
            check('CONFIG' not in daemon.stderr(), daemon.stderr())
            check_equal('links after a round', len(held(daemon.process, 'link_id')), 2 * count)
            daemon.stop()
        for limits in (said[3], said[3]), (DESCRIPTORS // 2, 4096):
            with program.Daemon(bench.box, 'meter', *options, prefix=limited(*limits)) as daemon:
                check_equal(f'attached with {limits}', attached(daemon, '.*'), all_of_them)
                check('descriptor' not in daemon.stderr(), daemon.stderr())
                daemon.stop()


def churn(box, stopping):
    lines = [f'link {verb} c{i} {what}' for i in range(4) for verb, what in (('add', 'type veth'), ('delete', ''))]
    while not stopping.is_set():
        batch(box, lines)


def test_churn():
    """Interfaces come and go all the time: every list of them is interrupted, and the start succeeds."""
    with Bench() as bench:
        pairs(bench.box, 100)  # so that a list comes in pieces
        stopping = threading.Event()
        thread = threading.Thread(target=churn, args=(bench.box, stopping))
        thread.start()
        try:
            for _ in range(CHURN_STARTS):
                with program.Daemon(bench.box, 'meter', '--interface', 'm0', '--interface', 'm9*', '--collector',
                                    f'file://{bench.file}') as daemon:
                    check_equal('attached', attached(daemon, 'm0'), 1)
                    daemon.stop()
        finally:
            stopping.set()
            thread.join()


@contextlib.contextmanager
def foreign_filter(box):
    """Somebody's filter that has the handle of ours on the way out of m0."""
    with bpf_object(ACCEPT) as code:
        box.ip_tc('meter', 'qdisc', 'add', 'dev', 'm0', 'clsact')
        place = ['dev', 'm0', 'egress', 'protocol', 'all', 'prio', '2', 'handle', '0xf10a', 'bpf']
        box.ip_tc('meter', 'filter', 'add', *place, 'da', 'obj', code, 'sec', 'tc')
        yield lambda: box.ip_tc('meter', 'filter', 'delete', *place)


def test_egress_fails():
    """XDP stays where it is while egress is tried again and again, and meters; then both do."""
    with Bench() as bench, foreign_filter(bench.box) as take_away:
        pairs(bench.box, 1)
        with program.Daemon(bench.box, 'meter', '--interface', 'm0', '--interface', 'v0a', '--ingress', 'xdp', '--mask',
                            'tcx', '--collector', f'file://{bench.file}') as daemon:
            links = held(daemon.process, 'link_id')
            check_equal('XDP links', len(links), 2)
            seen = set(links)
            end = time.monotonic() + 12  # two more attempts
            while time.monotonic() < end:
                seen |= held(daemon.process, 'link_id')
                time.sleep(0.05)
            check_equal('XDP links over the attempts', seen, links)
            lines = [line for line in daemon.stderr().splitlines() if "'m0'" in line]
            check(len(lines) == 1 and 'egress TC' in lines[0] and 'what arrives is metered' in lines[0], *lines)
            check('1 more interface is metered in one direction of two' in daemon.stderr(), daemon.stderr())
            bench.udp(1001, 5)
            take_away()
            daemon.process.send_signal(signal.SIGHUP)  # tries at once
            wait_until(lambda: attached(daemon, 'm0') == 1, ATTACH_SECONDS, 'both hooks')
            check_equal('XDP links after that', held(daemon.process, 'link_id'), links)
            ledger = daemon.stop()
        check_equal('arrived', ledger['directions']['ingress']['accounted']['packets'], 5)


def test_half_alone():
    """The one interface that was named has but one of its hooks: that is no start."""
    with Bench() as bench, foreign_filter(bench.box):
        status, _, stderr = program.run('run', '--interface', 'm0', '--ingress', 'xdp', '--mask', 'tcx', '--collector',
                                        f'file://{bench.file}', prefix=bench.box.inside('meter'))
        check_equal('exit status', status, 1)
        check('egress TC' in stderr and 'ready' not in stderr, stderr)


def test_one_hook_detached():
    """Of two hooks one is detached by somebody: it comes back, the other stays what it was."""
    with Bench() as bench:
        with bench.daemon() as daemon:
            links = held(daemon.process, 'link_id')
            kinds = {link: command('bpftool', 'link', 'show', 'id', link) for link in links}
            tc = [link for link in links if ': xdp ' not in kinds[link]]  # by its name newer ones of bpftool know tcx
            if not tc:
                raise Skip('this kernel has no tcx')
            command('bpftool', 'link', 'detach', 'id', tc[0])
            wait_until(lambda: 'attached again' in daemon.stderr(), ATTACH_SECONDS, 'the hook to come back')
            now = held(daemon.process, 'link_id')
            check_equal('links that stayed', now & links, links - set(tc))
            check_equal('links', len(now), 2)
            bench.udp(1001, 5)
            daemon.stop()
        bench.check_sums(bench.records())


def test_two_names():
    """An interface that is given by two of its names is metered once."""
    with Bench() as bench:
        bench.box.ip('meter', 'link', 'property', 'add', 'dev', 'm0', 'altname', 'uplink0')
        with program.Daemon(bench.box, 'meter', '--interface', 'm0', '--interface', 'uplink0', '--interface', 'm*',
                            '--collector', f'file://{bench.file}') as daemon:
            check('ready: metering 1 interface,' in daemon.stderr(), daemon.stderr())
            check("interface 'uplink0': is the interface 'm0', which is metered already" in daemon.stderr(), daemon.stderr())
            check_equal('links', len(held(daemon.process, 'link_id')), 2)
            bench.udp(1001, 5)
            daemon.stop()
        bench.check_sums(bench.records())


def main():
    tap.require('ip', 'tc', 'ethtool', 'bpftool', 'dumpcap', 'tshark', 'ipfixDump', 'prlimit')
    program.binary()
    tap.main([
        ('hundreds come at once', test_burst),
        ('SIGTERM while they are attached', test_stop),
        ('traffic while it ends', test_stop_under_traffic),
        ('too few file descriptors', test_descriptors),
        ('starts while interfaces come and go', test_churn),
        ('egress fails, XDP stays', test_egress_fails),
        ('one hook alone is no start', test_half_alone),
        ('one hook is detached by somebody', test_one_hook_detached),
        ('one interface by two names', test_two_names),
    ])  # one after another: all of them wait for the same lock of the kernel


if __name__ == '__main__':
    main()
