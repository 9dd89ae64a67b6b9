#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Super-packets of TSO, GRO and UDP GSO count as the packets that are on the wire.

    near (a0) --- (b0) hop (b1) --- (c0) far

The exporter meters a0, where packets come and go as super-packets, by TC.  What they are on the wire is
captured where they are cut: on b1 those for the far end, on c0 those from it.
"""
import functools
from pathlib import Path

import collect
import program
import tap
import traffic
import truth
from capture import Capture
from sandbox import Sandbox, scratch
from tap import check

NEAR, FAR = {4: '10.71.1.1', 6: 'fd71:1::1'}, {4: '10.71.2.1', 6: 'fd71:2::1'}
HOP = {'b0': ('10.71.1.2', 'fd71:1::2'), 'b1': ('10.71.2.2', 'fd71:2::2')}
OCTETS = 6 << 20
PACE = 40 << 20  # octets a second: what the rings of veth can take
UDP_SEGMENT = 1200


def build(box):
    box.veth(('near', 'a0'), ('hop', 'b0'))
    box.veth(('hop', 'b1'), ('far', 'c0'))
    box.address(('near', 'a0', NEAR.values()), ('hop', 'b0', HOP['b0']))
    box.address(('hop', 'b1', HOP['b1']), ('far', 'c0', FAR.values()))
    for role, (via4, via6) in ('near', HOP['b0']), ('far', HOP['b1']):
        box.ip(role, 'route', 'add', 'default', 'via', via4)
        box.ip(role, 'route', 'add', 'default', 'via', via6)
    box.run('hop', 'sysctl', '-qw', 'net.ipv4.ip_forward=1', 'net.ipv6.conf.all.forwarding=1')
    for role, interface in ('hop', 'b1'), ('far', 'c0'):
        box.run(role, 'ethtool', '-K', interface, 'tso', 'off', 'gso', 'off', 'tx-udp-segmentation', 'off')
    box.run('hop', 'ethtool', '-K', 'b1', 'gro', 'on')


def send(box):
    for number, version in enumerate((4, 6)):
        near, far = NEAR[version], FAR[version]
        traffic.tcp(box, 'near', (near, 3000 + number), 'far', (far, 4000 + number), OCTETS, PACE)
        traffic.tcp(box, 'far', (far, 5000 + number), 'near', (near, 6000 + number), OCTETS, PACE)
        with traffic.bound(box, 'far', traffic.socket.SOCK_DGRAM, far, 7000):
            traffic.udp_gso(box, 'near', (near, 7000), (far, 7000), UDP_SEGMENT, bytes(UDP_SEGMENT * 9 + 100))


def dropped(box):
    counts = [box.link(role, name)['stats64'] for role, name in
              (('near', 'a0'), ('hop', 'b0'), ('hop', 'b1'), ('far', 'c0'))]
    return sum(count[side]['dropped'] for count in counts for side in ('rx', 'tx'))


def is_ours(key):
    return key.protocol in (6, 17) and {key.source, key.destination} & {*NEAR.values(), *FAR.values()}


def meter(mask, directory):
    """Records of the exporter, flows captured on the wire, and skbs that passed a0 by the kernel's count."""
    with Sandbox('near', 'hop', 'far', ipv6=True) as box:
        build(box)
        path = Path(directory) / 'gso.ipfix'
        near = ' or '.join(f'src host {one}' for one in NEAR.values())
        far = ' or '.join(f'src host {one}' for one in FAR.values())
        captures = [Capture(box, 'hop', 'b1', f'{directory}/b1.pcapng', near),
                    Capture(box, 'far', 'c0', f'{directory}/c0.pcapng', far)]
        with program.Daemon(box, 'near', '--interface', 'a0', '--ingress', 'tc', '--egress', 'tc', *mask,
                            '--collector', f'file://{path}') as daemon:
            before = {side: box.packets('near', 'a0', side) for side in ('rx', 'tx')}
            drops = dropped(box)
            send(box)
            check(dropped(box) == drops, 'the veth pairs dropped packets: the test cannot be judged')
            skbs = {side: box.packets('near', 'a0', side) - before[side] for side in ('rx', 'tx')}
            daemon.stop()
        wire = {}
        for capture in captures:
            capture.stop()
            wire.update(capture.flows())
        records = [record for record in collect.read_ipfix(path) if is_ours(record.key)]
        return records, {key: flow for key, flow in wire.items() if is_ours(key)}, skbs


def test_gso(mask):
    with scratch() as directory:
        records, wire, skbs = meter(mask, directory)
    expected = truth.Truth(flows=wire)
    check(len(wire) >= 10, f'captured {len(wire)} flows: {list(wire)}')
    lines = truth.differences(expected, collect.flows(records))
    check(not lines, 'records differ from the wire:', *lines)
    for side, direction in ('rx', 0), ('tx', 1):
        packets = sum(record.flow.packets for record in records if record.direction == direction)
        check(packets > 2 * skbs[side],
              f'{side}: {packets} packets came as {skbs[side]} skbs: hardly a super-packet among them')


def main():
    tap.require('ip', 'ethtool', 'dumpcap', 'tshark', 'ipfixDump')
    program.binary()
    tap.main([('super-packets through tcx', functools.partial(test_gso, [])),
              ('super-packets through clsact', functools.partial(test_gso, ['--mask', 'tcx']))])


if __name__ == '__main__':
    main()
