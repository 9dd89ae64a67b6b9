#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Every capture through every hook and through replay: records equal the truth, flow by flow.

Each way goes to nfcapd and to an IPFIX file at once.  Replayed live, the captures of a way go to one
daemon, and their truths are summed; `replay` takes each by itself, and its records have the capture's times.
"""
import functools
import itertools
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import collect
import ledger as proof
import program
import tap
import truth
from lab import Lab, scratch
from tap import check, check_equal

METERED, PEER = 'm0', 'p0'
PACKETS_PER_SECOND = 20000

PORTS = itertools.count(20000)

# name of the way: (options, whose end of the veth the captures are sent from)
WAYS = {
    'XDP ingress': (['--ingress', 'xdp', '--egress', 'off'], 'peer', 'flowtally_xdp'),
    'TC ingress': (['--ingress', 'tc', '--egress', 'off'], 'peer', None),
    'TC egress': (['--ingress', 'off', '--egress', 'tc'], 'meter', None),
}


def send(box, role, captures):
    """Sends captures from one end of the veth; every frame arrives at the other, or the test cannot be judged."""
    near, far = ((METERED, 'meter'), (PEER, 'peer')) if role == 'meter' else ((PEER, 'peer'), (METERED, 'meter'))
    before = box.packets(near[1], near[0], 'tx'), box.packets(far[1], far[0], 'rx')
    box.run(role, 'tcpreplay', '-q', '-i', near[0], f'--pps={PACKETS_PER_SECOND}', *captures)
    frames = sum(truth.load(capture).frames for capture in captures)
    check_equal('frames sent', box.packets(near[1], near[0], 'tx') - before[0], frames)
    check_equal('frames that arrived at the other end', box.packets(far[1], far[0], 'rx') - before[1], frames)


def check_flows(expected, records, reader, times=False):
    lines = truth.differences(expected, collect.flows(records), times)
    check(not lines, f'{len(lines)} flows differ in what {reader} read:', *lines[:20])


def check_totals(ledger, expected, records):
    """The ledger against the frames sent and the records received."""
    check_equal('frames seen', ledger['seen'], expected.frames)
    check_equal('packets accounted', ledger['accounted']['packets'], expected.packets)
    check_equal('frames ignored', proof.ignored(ledger), expected.frames - expected.packets)
    check_equal('packets refused', ledger['refused'], {})
    for collector in ledger['collectors']:
        check_equal(f'records exported to {collector["url"]}', collector['exported']['records'], len(records))


def meter(way, captures, directory):
    """Sends the captures past one daemon: its ledger, and the records that nfcapd and the file got."""
    options, sender, program_name = WAYS[way]
    with Lab('meter', 'peer') as box:
        box.veth(('meter', METERED), ('peer', PEER), offloads=False)
        nfcapd = collect.Nfcapd(box, 'meter', directory)
        path = Path(directory) / 'live.ipfix'
        with program.Daemon(box, 'meter', '--interface', METERED, *options, '--collector', nfcapd.url,
                            '--collector', f'file://{path}') as daemon:
            attached = box.link('meter', METERED).get('xdp', {}).get('prog', {}).get('name')
            check_equal('XDP program by `ip -d link`', attached, program_name)
            send(box, sender, captures)
            ledger = daemon.stop()
            received = nfcapd.stop()
            check_equal('sequence errors and bad packets of nfcapd', nfcapd.sequence_errors(), 0)
        return ledger, received, collect.read_ipfix(path)


def test_way(way, captures):
    expected = truth.total(truth.load(capture) for capture in captures)
    with scratch() as directory:
        ledger, received, written = meter(way, captures, directory)
    check_flows(expected, received, 'nfcapd')
    check_flows(expected, written, 'ipfixDump')
    check_totals(ledger, expected, written)
    direction = 1 if way == 'TC egress' else 0
    check_equal('flow directions', {record.direction for record in received + written}, {direction})


def check_ambiguous(expected, ledger, *readers):
    """Captures that may rightly be read in more than one way: only sums can be compared."""
    check_equal('frames seen', ledger['seen'], expected.frames)
    for records in readers:
        packets = sum(record.flow.packets for record in records)
        check(expected.packets <= packets <= expected.packets_max,
              f'packets in records: expected {expected.packets} to {expected.packets_max}, got {packets}')
        check_equal('packets in records, and accounted', packets, ledger['accounted']['packets'])


def test_malformed_way(way, captures):
    with scratch() as directory:
        ledger, received, written = meter(way, captures, directory)
    check_ambiguous(truth.total(truth.load(capture) for capture in captures), ledger, received, written)


class Replays:
    """Replays of captures, several at a time, from when the first result is asked for.

    Most of the time that one takes is waiting for nfcapd.
    """

    def __init__(self, box, pool, captures):
        self.box, self.pool, self.captures, self.futures = box, pool, captures, {}

    def result(self, capture):
        if not self.futures:
            self.futures = {path: self.pool.submit(replay, self.box, path) for path in self.captures}
        return self.futures[capture].result()


def replay(box, capture):
    """Replays one capture to an nfcapd and a file of its own."""
    with scratch() as directory:
        nfcapd = collect.Nfcapd(box, 'replay', directory, next(PORTS))
        path = Path(directory) / 'replay.ipfix'
        ledger = program.replay(capture, '--collector', nfcapd.url, '--collector', f'file://{path}',
                                prefix=box.inside('replay'))
        received = nfcapd.stop()
        check_equal('sequence errors and bad packets of nfcapd', nfcapd.sequence_errors(), 0)
        return ledger, received, collect.read_ipfix(path)


def test_replay(replays, capture):
    expected = truth.load(capture)
    ledger, received, written = replays.result(capture)
    check_flows(expected, received, 'nfcapd', times=True)
    check_flows(expected, written, 'ipfixDump', times=True)
    check_totals(ledger, expected, written)


def test_malformed_replay(replays, capture):
    check_ambiguous(truth.load(capture), *replays.result(capture))


def test_comparison(captures):
    """A comparison that finds nothing wrong proves nothing unless it finds what is."""
    capture = next(path for path in captures if len(truth.load(path).flows) > 1)
    for name in 'packets', 'octets', 'flags', 'first_ms', 'last_ms':
        expected = truth.load(capture)
        records = list(truth.load(capture).flows.items())
        check_equal('differences of a truth from itself', truth.differences(expected, records, times=True), [])
        flow = records[0][1]
        setattr(flow, name, getattr(flow, name) ^ 1)
        check_equal(f'differences for a change in {name}', len(truth.differences(expected, records, times=True)), 1)
    check_equal('differences for a lost record', len(truth.differences(expected, records[1:])), 1)
    records[0] = records[0][0]._replace(vlan=4095), records[0][1]
    check_equal('differences for another VLAN', len(truth.differences(expected, records)), 2)


def main():
    tap.require('ip', 'ethtool', 'tcpreplay', 'nfcapd', 'nfdump', 'ipfixDump')
    program.binary()
    captures = truth.captures_in(truth.folder())
    malformed = truth.captures_in(truth.folder() / 'malformed')
    tests = [('the comparison notices differences', functools.partial(test_comparison, captures))]
    for way in WAYS:
        tests.append((f'{way}: {len(captures)} captures', functools.partial(test_way, way, captures)))
        tests.append((f'{way}: malformed captures', functools.partial(test_malformed_way, way, malformed)))
    with Lab('replay') as box, ThreadPoolExecutor(4) as pool:
        replays = Replays(box, pool, captures + malformed)
        tests += [(f'replay: {path.name}', functools.partial(test_replay, replays, path)) for path in captures]
        tests += [(f'replay: malformed {path.name}', functools.partial(test_malformed_replay, replays, path))
                  for path in malformed]
        tap.main(tests)


if __name__ == '__main__':
    main()
