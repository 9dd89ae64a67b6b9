#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Interfaces that change under the exporter, and which hook it takes on them."""
import time

import program
import tap
from lab import wait_until
from tap import check, check_equal
from test_lifecycle import ATTACH_SECONDS, FORCED, RESOURCES, Bench, filters, passes


def pattern(bench, *options):
    return program.Daemon(bench.box, 'meter', '--interface', 'm*', *options, '--collector', f'file://{bench.file}')


def test_rename():
    """The hooks stay with an interface whose new name matches too: nothing passes uncounted."""
    with Bench() as bench:
        with pattern(bench) as daemon:
            for turn, (old, new) in enumerate([('m0', 'm7'), ('m7', 'm0')]):
                bench.box.ip('meter', 'link', 'set', old, 'name', new)
                bench.udp(1001 + turn, 5)
                line = f"interface '{old}' is now '{new}'"
                wait_until(lambda text=line: text in daemon.stderr(), ATTACH_SECONDS, line)
                bench.udp(1011 + turn, 5)
            daemon.stop()
            check('gone' not in daemon.stderr() and 'foreign' not in daemon.stderr(), daemon.stderr())
        bench.check_sums(bench.records())


def test_renamed_away():
    """A name that no pattern matches any more is metered no more."""
    with Bench() as bench:
        with pattern(bench) as daemon:
            bench.udp(1001, 5)
            bench.capture.stop()
            bench.box.ip('meter', 'link', 'set', 'm0', 'name', 'other')
            wait_until(lambda: "interface 'm0' is gone" in daemon.stderr(), ATTACH_SECONDS, 'the interface to be left')
            bench.udp(1002, 5)
            daemon.stop()
        check_equal('ports', {record.key.source_port for record in bench.records()}, {1001})


def test_alternative_name():
    with Bench() as bench:
        bench.box.ip('meter', 'link', 'property', 'add', 'dev', 'm0', 'altname', 'uplink0')
        with program.Daemon(bench.box, 'meter', '--interface', 'uplink0', '--collector', f'file://{bench.file}') as daemon:
            bench.udp(1001, 5)
            daemon.stop()
        bench.check_sums(bench.records())


def test_tap():
    """XDP on a tap counts a super-packet as one packet, so that auto does not take it."""
    with Bench() as bench:
        bench.box.ip('meter', 'tuntap', 'add', 'm9', 'mode', 'tap')
        bench.box.ip('meter', 'link', 'set', 'm9', 'up')
        with program.Daemon(bench.box, 'meter', '--interface', 'm9', '--collector', f'file://{bench.file}') as daemon:
            lines = [line for line in daemon.stderr().splitlines() if "'m9'" in line]
            check(len(lines) == 1 and 'ingress XDP' not in lines[0] and 'super-packets' in lines[0], *lines)
            daemon.stop()


def test_stub():
    """What a killed exporter left in clsact is taken away by the next one, which uses tcx."""
    with Bench() as bench:
        with bench.daemon('--mask', 'tcx') as daemon:
            daemon.kill()
        check(filters(bench.box, 'm0'), 'no stub to be taken away')
        bench.file.unlink(missing_ok=True)
        with program.Daemon(bench.box, 'meter', '--interface', 'm0', '--collector', f'file://{bench.file}') as daemon:
            left = [line for line in filters(bench.box, 'm0') if 'flowtally_tc_s1' in line]
            check_equal('egress stubs', left, [])
            passes(bench, 1003)
            daemon.stop()


def test_early_times():
    """Records of a full cache have the time of day from the first drain on."""
    with Bench() as bench:
        start = time.time() * 1000
        with bench.daemon('--drain-interval', '2s', '--cache-entries', '64') as daemon:
            for port in range(200):
                bench.udp(10000 + port, 1)
            daemon.stop()
        records = bench.records()
        check_equal('reasons', {record.end_reason for record in records}, {RESOURCES, FORCED})
        early = [record for record in records if not start - 10 <= record.flow.first_ms <= time.time() * 1000 + 10]
        check_equal('records with another day', early, [])


def test_gap():
    """A gap beyond the idle timeout parts a flow, whenever the banks happen to be drained."""
    with Bench() as bench:
        with bench.daemon('--drain-interval', '1s', '--idle-timeout', '2s') as daemon:
            for _ in range(2):
                for phase in range(4):
                    bench.udp(1001 + phase, 1)
                    time.sleep(0.27)
                time.sleep(3.2 - 4 * 0.27)
            daemon.stop()
        counts = [sum(record.key.source_port == 1001 + phase for record in bench.records()) for phase in range(4)]
        check_equal('records of each flow', counts, [2] * 4)


def main():
    tap.require('ip', 'tc', 'ethtool', 'bpftool', 'dumpcap', 'tshark', 'ipfixDump')
    program.binary()
    tap.main([
        ('renamed under a pattern', test_rename),
        ('renamed out of it', test_renamed_away),
        ('an alternative name', test_alternative_name),
        ('auto on a tap', test_tap),
        ('the stub of a killed exporter', test_stub),
        ('times of a full cache', test_early_times),
        ('a gap between drains', test_gap),
    ], tap.AT_ONCE)


if __name__ == '__main__':
    main()
