#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Captures after kinds of faults that users have reported: the flows of `replay`, against what is known and tshark.

The cases are in $FLOWTALLY_CASES, by default in ../shared/cases; of NAME.pcap NAME.expect holds the right answer.
More captures of these kinds are made here, and read by tshark.
"""
import bz2
import functools
import gzip
import json
import lzma
import os
import struct
from dataclasses import dataclass
from pathlib import Path

import collect
import frames as f
import ledger as proof
import program
import tap
from lab import command, scratch
from tap import Skip, check, check_equal

ACTIVE_MS, HOUR, YEAR = 60000, 3600, 365 * 86400
SUFFIX = '.expect'
TSHARK_FIELDS = ('frame.time_epoch', 'vlan.id', 'ip.src', 'ipv6.src', 'ip.dst', 'ipv6.dst', 'ip.proto', 'ipv6.nxt',
                 'tcp.srcport', 'tcp.dstport', 'udp.srcport', 'udp.dstport', 'ip.len', 'ipv6.plen', 'ipv6.opt.jumbo',
                 'tcp.flags')


@dataclass
class Replayed:
    status: int
    stderr: str
    ledger: dict
    records: list


def replay(capture, *options):
    with scratch() as directory:
        path = Path(directory) / 'flows.json'
        status, _, stderr = program.run('replay', capture, '--summary', 'json', '--template', 'extended', *options,
                                        '--collector', f'json://{path}')
        records = collect.read_json(path) if path.exists() else []
    ledger = proof.proven(program.last_ledger(stderr)) if '"seen"' in stderr else None
    return Replayed(status, stderr, ledger, records)


def flow_of(record):
    """A record under the names of the cases."""
    version = record['ipVersion']
    return {'src': record[f'sourceIPv{version}Address'], 'dst': record[f'destinationIPv{version}Address'],
            'proto': record['protocolIdentifier'], 'sport': record['sourceTransportPort'],
            'dport': record['destinationTransportPort'], 'vlan': record['dot1qVlanId'],
            'packets': record['packetDeltaCount'], 'octets': record['octetDeltaCount'],
            'tcpflags': record['tcpControlBits'], 'start_ms': record['flowStartMilliseconds'],
            'end_ms': record['flowEndMilliseconds']}


def summed(flows, names):
    """Flows with the same values under these names, as one."""
    sums = {}
    for flow in flows:
        key = tuple(flow[name] for name in names)
        old = sums.setdefault(key, dict(flow, packets=0, octets=0, tcpflags=0))
        old.update(packets=old['packets'] + flow['packets'], octets=old['octets'] + flow['octets'],
                   tcpflags=old['tcpflags'] | flow['tcpflags'], start_ms=min(old['start_ms'], flow['start_ms']),
                   end_ms=max(old['end_ms'], flow['end_ms']))
    return sums


def check_durations(records, longest_ms):
    for record in records:
        start, end = record['flowStartMilliseconds'], record['flowEndMilliseconds']
        check(0 <= end - start <= longest_ms, f'a record of {end - start} ms: {record}')
        check(abs(record['flowDurationMilliseconds'] - (end - start)) <= 1, f'another duration than its times: {record}')


def check_expected(expected, records):
    """Each expected flow is there, and no other.  Times tell flows apart where several have one key."""
    keys = ['src', 'dst', 'proto', 'sport', 'dport'] + ['vlan'] * any('vlan' in flow for flow in expected)
    tell = [tuple(flow[name] for name in keys) for flow in expected]
    if len(set(tell)) < len(tell):
        keys.append('start_ms')
    got = summed(map(flow_of, records), keys)
    wanted = {tuple(flow[name] for name in keys): flow for flow in expected}
    check_equal('flows', sorted(got), sorted(wanted))
    for key, flow in wanted.items():
        for name in flow.keys() - {'max_duration_ms'}:
            check_equal(f'{name} of {key}', got[key][name], flow[name])
    for flow in expected:
        check_durations(records, flow.get('max_duration_ms', ACTIVE_MS))


def test_case(capture):
    lines = [line for line in capture.with_name(f'{name_of(capture)}{SUFFIX}').read_text(encoding='utf-8').splitlines()
             if line and not line.startswith('#')]
    result = replay(capture)
    fails = any(line.startswith('ERROR') for line in lines)
    check_equal('exit status', result.status, 1 if fails else 0)
    check(not fails or str(capture) in result.stderr, f'no error names the capture: {result.stderr}')
    check_expected([json.loads(line) for line in lines if not line.startswith('ERROR')], result.records)


def name_of(capture):
    return capture.name.split('.pcap')[0]


def cases():
    default = Path(__file__).resolve().parents[2] / '../shared/cases'
    folder = Path(os.environ.get('FLOWTALLY_CASES') or default).resolve()
    found = sorted(path for path in folder.glob('*.pcap*') if path.with_name(name_of(path) + SUFFIX).exists())
    if not found:
        return [('cases', functools.partial(no_cases, folder))]
    return [(f'case {name_of(path)}', functools.partial(test_case, path)) for path in found]


def no_cases(folder):
    raise Skip(f'no cases in {folder}: set FLOWTALLY_CASES')


# --- Captures of our own, as tshark reads them.


def number(text):
    return int(text, 0) if text else 0


def tshark_flows(path):
    """The flows of TCP and UDP that tshark finds, with lengths of 0 taken for those of super-packets."""
    words = [word for name in TSHARK_FIELDS for word in ('-e', name)]
    text = command('tshark', '-n', '-r', path, '-o', 'ip.tso_support:TRUE', '-o', 'ipv6.tso_support:TRUE', '-T', 'fields',
                   '-E', 'occurrence=f', *words)
    flows = []
    for line in text.splitlines():
        row = dict(zip(TSHARK_FIELDS, line.split('\t'), strict=True))
        protocol = 6 if row['tcp.dstport'] else 17 if row['udp.dstport'] else 0
        if not protocol:
            continue
        octets = number(row['ip.len']) or 40 + (number(row['ipv6.opt.jumbo']) or number(row['ipv6.plen']))
        ms = int(float(row['frame.time_epoch'] or 0) * 1000 + 1e-4)
        flows.append({'src': row['ip.src'] or row['ipv6.src'], 'dst': row['ip.dst'] or row['ipv6.dst'],
                      'proto': protocol, 'sport': number(row['tcp.srcport'] or row['udp.srcport']),
                      'dport': number(row['tcp.dstport'] or row['udp.dstport']), 'vlan': number(row['vlan.id']),
                      'packets': 1, 'octets': octets, 'tcpflags': number(row['tcp.flags']), 'start_ms': ms, 'end_ms': ms})
    return flows


def check_as_tshark(text, flows, packets, suffix='.pcap', without=()):
    """Replays a capture of so many flows and packets, which tshark must find too; compares all but some values."""
    with scratch() as directory:
        path = Path(directory) / f'made{suffix}'
        path.write_bytes(text)
        expected = tshark_flows(path)
        check_equal('packets that tshark reads', len(expected), packets)
        result = replay(path)
    keys = ['src', 'dst', 'proto', 'sport', 'dport', 'vlan']
    expected = summed(expected, keys)
    check_equal('flows that tshark reads', len(expected), flows)
    check_equal('exit status', result.status, 0)
    got = summed(map(flow_of, result.records), keys)
    for flow in [*expected.values(), *got.values()]:
        for name in without:
            del flow[name]
    check_equal('flows', got, expected)
    check_durations(result.records, ACTIVE_MS)
    return result


LAYERS = {'Ethernet': (f.ETHERNET, f.ethernet), 'VLAN': (f.ETHERNET, functools.partial(f.ethernet, vlan=7)),
          'raw IP': (f.RAW, bytes), 'SLL': (f.SLL, f.sll), 'SLL2': (f.SLL2, f.sll2)}


def test_length_zero(layer):
    """From a host whose NIC cuts super-packets (TSO, USO, BIG TCP)."""
    link, wrap = LAYERS[layer]
    packets = [f.ipv4(f.tcp(2800, sequence=i * 2800), f.TCP, length=0) for i in range(3)]
    packets += [f.ipv4(f.udp(3000), f.UDP, length=0), f.ipv4(f.tcp(0, ports=(1, 2)), f.TCP)]
    packets += [f.ipv6(f.tcp(70000), f.TCP, length=0), f.ipv6(f.udp(4000), f.UDP, length=0)]
    check_as_tshark(f.pcap([(i, wrap(packet)) for i, packet in enumerate(packets)], link), 5, 7)


def test_no_next_header():
    """A payload length of 0 where nothing is to follow: the octets behind are padding."""
    with scratch() as directory:
        path = Path(directory) / 'made.pcap'
        path.write_bytes(f.pcap([(0, f.ethernet(f.ipv6(bytes(6), f.NO_NEXT_HEADER, length=0)))]))
        flows = [flow_of(record) for record in replay(path).records]
    check_equal('octets', [(flow['proto'], flow['octets']) for flow in flows], [(59, 40)])


def test_jumbo():
    """A jumbo payload option (RFC 2675), also behind others; it stands at 4n + 2."""
    frames = []
    for i, (before, behind) in enumerate(((b'', b''), (bytes((5, 2, 0, 0)), bytes((1, 2, 0, 0))),
                                          (bytes((0, 0, 1, 0)), bytes((0, 0, 0, 0))),
                                          (bytes((0x1e, 10)) + bytes(10), bytes((1, 2, 0, 0))))):
        size = 2 + len(before) + 6 + len(behind)
        payload = f.tcp(66000, ports=(5000 + i, 80))
        header = bytes((f.TCP, size // 8 - 1)) + before + struct.pack('>BBI', 0xc2, 4, size + len(payload)) + behind
        frames.append((i, f.ethernet(f.ipv6(header + payload, f.HOP_BY_HOP, length=0))))
    check_as_tshark(f.pcap(frames), 4, 4)


def test_snapped(layer, version):
    """However much of the headers is held: the first 4 octets of TCP and UDP are enough; flags if they are there.

    tshark does not say flags of a header that is cut off.
    """
    link, wrap = LAYERS[layer]
    make, address = (f.ipv4, '192.0.2.{}') if version == 4 else (f.ipv6, '2001:db8::{}')
    addresses = address.format(1), address.format(2)
    headers = len(wrap(make(b'', 0, *addresses)))
    frames = []
    for held in range(4, 22):
        frames += [(held, wrap(make(f.tcp(1000, f.SYN | f.ACK, (held, 443)), f.TCP, *addresses)), headers + held),
                   (held, wrap(make(f.udp(1000, (held, 53)), f.UDP, *addresses)), headers + held)]
    result = check_as_tshark(f.pcap(frames, link), 36, 36, without=['tcpflags'])
    flags = {record['sourceTransportPort']: record['tcpControlBits'] for record in result.records
             if record['protocolIdentifier'] == f.TCP}
    # they end with octet 14 of a TCP header (RFC 9293)
    check_equal('flags', flags, {held: f.SYN | f.ACK if held >= 14 else 0 for held in range(4, 22)})


def test_snapped_away():
    """Without ports or addresses there is no flow: such packets are counted by that name."""
    frame = f.ethernet(f.ipv4(f.tcp(1000), f.TCP))
    with scratch() as directory:
        path = Path(directory) / 'made.pcap'
        for held in range(1, 14 + 20 + 4):
            path.write_bytes(f.pcap([(0, frame)], snap=held))
            result = replay(path)
            check_equal(f'packets of {held} octets', proof.ignored(result.ledger), 1)
            check_equal(f'records of {held} octets', result.records, [])


def some_frames(count=5):
    return [(i, f.ethernet(f.ipv4(f.udp(20 + i, (53, 5353 + i % 2)), f.UDP))) for i in range(count)]


def some_sections():
    """Two sections of either order, with interfaces of different link types, snap lengths and resolutions."""
    packet = f.ipv4(f.udp(), f.UDP)
    text = b''
    for order in '<', '>':
        section = f.Pcapng(order).interface(f.ETHERNET, 262144).interface(f.RAW, 96, resolution=9)
        section.packet(0, 1.5, f.ethernet(packet)).packet(1, 2.25, packet)
        section.interface(f.SLL, 1000, resolution=-10, offset=HOUR).interface(f.SLL2, 0, resolution=3)
        section.packet(2, 3.5, f.sll(packet)).packet(3, 4.125, f.sll2(packet)).packet(0, 5, f.ethernet(packet))
        text += section.text
    return text


def test_sections():
    check_as_tshark(some_sections(), 1, 10, '.pcapng')


def test_simple_packets():
    """Blocks without a time."""
    section = f.Pcapng().interface(f.ETHERNET, 262144)
    for _, frame in some_frames():
        section.simple(frame)
    check_as_tshark(section.text, 2, 5, '.pcapng', ('start_ms', 'end_ms'))


def test_orders():
    for order in '<', '>':
        for nano in False, True:
            check_as_tshark(f.pcap([(time + 0.123456, frame) for time, frame in some_frames()], order=order, nano=nano),
                            2, 5)


def test_gzip():
    whole = f.pcap(some_frames(2000))
    check_as_tshark(gzip.compress(whole), 2, 2000, '.pcap.gz')
    check_as_tshark(gzip.compress(some_sections()), 1, 10, '.pcapng.gz')
    # members in a row, as pigz(1) and cat(1) make them; zeros behind them, as tapes do
    members = b''.join(gzip.compress(whole[at:at + 5000]) for at in range(0, len(whole), 5000))
    check_as_tshark(members, 2, 2000, '.pcap.gz')
    with scratch() as directory:
        path = Path(directory) / 'made'
        path.write_bytes(members + bytes(1000))
        check_equal('packets of a padded file', replay(path).ledger['accounted']['packets'], 2000)


def check_refused(text, *said):
    with scratch() as directory:
        path = Path(directory) / 'made.pcap'
        path.write_bytes(text)
        result = replay(path)
    check_equal('exit status', result.status, 1)
    for words in str(path), *said:
        check(words in result.stderr, f'{words!r} is not in: {result.stderr}')
    return result.records


def check_damaged(text, good, *said):
    """Flows of so many packets, and then an error that says all of this."""
    records = check_refused(text, *said)
    check_equal('packets in records', sum(record['packetDeltaCount'] for record in records), good)


def test_damaged():
    frames = some_frames(5)
    whole, packed = f.pcap(frames), gzip.compress(f.pcap(some_frames(2000)))
    check_damaged(whole[:-10], 4, 'truncated')
    check_damaged(whole[:-len(frames[-1][1]) - 3], 4, 'truncated')
    check_damaged(some_sections()[:-3], 9, 'truncated')
    check_damaged(gzip.compress(whole[:-10]), 4, 'truncated')
    check_damaged(packed[:-2], 2000, 'truncated')  # of the checksum at its end
    check_damaged(packed[:-8] + bytes(8), 2000, 'gzip')
    check_damaged(packed + b'more', 2000, 'gzip')


def test_compressions():
    whole = f.pcap(some_frames())
    for name, text in {'bzip2': bz2.compress(whole), 'xz': lzma.compress(whole), 'zstd': b'\x28\xb5\x2f\xfd' + whole,
                       'lz4': b'\x04\x22\x4d\x18' + whole}.items():
        check_refused(text, name, 'compressed')


def test_unknown_link():
    """Interfaces of a link layer that is not understood do not hide the others, and are not forgotten."""
    section = f.Pcapng().interface(f.WIFI).interface(f.ETHERNET)
    for i, frame in some_frames():
        section.packet(0, i, bytes(40)).packet(1, i, frame)
    with scratch() as directory:
        path = Path(directory) / 'made.pcapng'
        path.write_bytes(section.text)
        result = replay(path)
    check_equal('exit status', result.status, 1)
    check('5 packets' in result.stderr and 'IEEE802_11' in result.stderr, result.stderr)
    check_equal('packets in records', sum(record['packetDeltaCount'] for record in result.records), 5)
    check_equal('packets ignored', proof.ignored(result.ledger), 5)


# --- Times.


def replay_times(times):
    """Flows A of these times and B, with a packet at each second that is not among the jumps; the records of each."""
    frames = [(time, f.ethernet(f.ipv4(f.udp(20, (port, 9)), f.UDP))) for time, port in times]
    with scratch() as directory:
        path = Path(directory) / 'made.pcap'
        path.write_bytes(f.pcap(frames))
        result = replay(path)
    check_equal('exit status', result.status, 0)
    check_durations(result.records, ACTIVE_MS)
    check_equal('packets', sum(record['packetDeltaCount'] for record in result.records), len(frames))
    flows = {}
    for record in result.records:
        flows.setdefault(record['sourceTransportPort'], []).append(record)
    return flows


def test_set_back(step):
    """150 s, and the clock is set back in the middle: no record holds the step, and each side has few records."""
    times = [(time - (step if time > 75 else 0), 1) for time in range(0, 150)]
    records = replay_times(times)[1]
    for record in records:
        before, after = (ms / 1000 - f.START for ms in (record['flowStartMilliseconds'], record['flowEndMilliseconds']))
        check((before <= 75 - step) == (after <= 75 - step), f'a record over the step: {record}')
    check(len(records) <= 6, f'{len(records)} records of 150 s')


def test_ahead():
    """One packet of a year ahead, of another flow and of this: the others go on as they were."""
    times = [(time, 1 + time % 2) for time in range(0, 25)]
    alone = replay_times(times)
    check_equal('records without it', {port: len(records) for port, records in alone.items()}, {1: 1, 2: 1})
    for wrong in YEAR, -f.START, -YEAR, 200 * YEAR // 2:
        wrong = min(wrong, (1 << 32) - 1 - f.START)
        records = replay_times(times[:10] + [(wrong, 3)] + times[10:])
        check_equal('records beside a packet of another time', {port: len(flow) for port, flow in records.items()},
                    {1: 1, 2: 1, 3: 1})
        check_equal('reasons', [record['flowEndReason'] for record in records[1] + records[2]], [4, 4])
        records = replay_times(times[:10] + [(wrong, 1)] + times[10:])
        check_equal('records with a packet of another time', {port: len(flow) for port, flow in records.items()},
                    {1: 3, 2: 1})


def test_step_ends():
    """After the clock was set back flows end in their time, not in the end."""
    times = [(0, 1), (1, 1), (2 - HOUR, 2), (3 - HOUR, 2)] + [(time - HOUR, 3) for time in range(4, 40)]
    records = replay_times(times)
    check_equal('reasons', {port: [record['flowEndReason'] for record in flow][0] for port, flow in records.items()
                            if port < 3}, {1: 1, 2: 1})


def test_disorder():
    """Backwards, by two clocks in turn, and packets that overtake each other by seconds: no flow falls apart."""
    check(len(replay_times([(150 - time, 1) for time in range(150)])[1]) <= 4, 'records of what is backwards')
    flows = replay_times([time for i in range(100) for time in ((i, 1), (i - HOUR, 2))])
    check_equal('records by two clocks', {port: len(records) for port, records in flows.items()}, {1: 2, 2: 2})
    times = sorted(((i / 10, 1) for i in range(1000)), key=lambda time: time[0] + time[0] * 7919 % 5)
    check(times != sorted(times), 'nothing has been overtaken')
    check_equal('records of what is late', len(replay_times(times)[1]), 2)


def test_gap():
    """Flows are idle over a gap in the capture."""
    records = replay_times([(0, 1), (1, 2), (2, 1), (HOUR, 1), (HOUR + 1, 2)])
    check_equal('reasons', {port: [record['flowEndReason'] for record in flow] for port, flow in records.items()},
                {1: [1, 4], 2: [1, 4]})


# --- Size, and one run after the other.


def test_over_2_gib():
    """A packet behind 2 GiB and one behind 4 GiB, in a sparse file."""
    section = f.Pcapng().interface()
    with scratch() as directory:
        path = Path(directory) / 'made.pcapng'
        with open(path, 'wb') as file:
            file.write(section.packet(0, 0, some_frames(1)[0][1]).text)
            for i in 1, 2:
                length = (1 << 31) + 64
                file.write(section.pack('II', 0x4000_0bad, length))
                file.seek(length - 12, os.SEEK_CUR)
                file.write(section.pack('I', length))
                section.text = b''
                file.write(section.packet(0, i, some_frames(1)[0][1]).text)
        check(path.stat().st_size > 1 << 32, 'the file is too short')
        result = replay(path)
    check_equal('exit status', result.status, 0)
    check_equal('packets', [record['packetDeltaCount'] for record in result.records], [3])


def test_same_octets():
    """Two runs give the same octets: flows of all the same beginning are exported in the order of their phases."""
    frames = [(time, f.ethernet(f.ipv4(f.udp(20, (1000 + port, 9)), f.UDP))) for time in range(0, 130, 10)
              for port in range(200)]
    with scratch() as directory:
        path = Path(directory) / 'made.pcap'
        path.write_bytes(f.pcap(frames))
        texts = []
        for run in range(2):
            out = Path(directory) / f'{run}.ipfix'
            json_out = Path(directory) / f'{run}.json'
            program.replay(path, '--collector', f'file://{out}', '--collector', f'json://{json_out}')
            texts.append((out.read_bytes(), json_out.read_text(encoding='utf-8')))
            command('sleep', 1.1)  # into another second of the system's clock
        records = [json.loads(line) for line in texts[0][1].splitlines()]
    check(len(records) > 200 and any(record['flowEndReason'] == 2 for record in records), 'no active timeouts in it')
    check(texts[0][1] == texts[1][1], 'other lines of JSON')
    check(texts[0][0] == texts[1][0], 'other octets of IPFIX')


def main():
    tap.require('tshark')
    program.binary()
    tests = cases()
    tests += [(f'length 0 of super-packets, {name}', functools.partial(test_length_zero, name)) for name in LAYERS]
    tests += [('no next header', test_no_next_header), ('jumbo payload', test_jumbo)]
    tests += [(f'snapped IPv{version}, {name}', functools.partial(test_snapped, name, version))
              for name in LAYERS for version in (4, 6)]
    tests += [('snapped before the ports', test_snapped_away), ('sections and interfaces', test_sections),
              ('packets without time', test_simple_packets), ('orders and resolutions', test_orders),
              ('gzip', test_gzip), ('damaged', test_damaged), ('other compressions', test_compressions),
              ('link layer not understood', test_unknown_link)]
    tests += [(f'clock set back by {step} s', functools.partial(test_set_back, step)) for step in (120, HOUR, YEAR)]
    tests += [('a packet of another time', test_ahead), ('flows end after a step', test_step_ends),
              ('times in disorder', test_disorder), ('gap in a capture', test_gap), ('over 2 GiB', test_over_2_gib),
              ('the same octets', test_same_octets)]
    tap.main(tests)


if __name__ == '__main__':
    main()
