#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Super-packets of TSO, GRO and UDP GSO count as the packets that are on the wire.

    near (a0) --- (b0) hop (b1) --- (c0) far

The exporter meters a0, where packets come and go as super-packets, by TC.  What they are on the wire is
captured where they are cut: on b1 those for the far end, on c0 those from it.
"""
import contextlib
import functools
import struct
from pathlib import Path

import collect
import program
import tap
import traffic
import truth
import tun
from capture import Capture
from lab import Lab, scratch
from tap import check

NEAR, FAR = {4: '10.71.1.1', 6: 'fd71:1::1'}, {4: '10.71.2.1', 6: 'fd71:2::1'}
HOP = {'b0': ('10.71.1.2', 'fd71:1::2'), 'b1': ('10.71.2.2', 'fd71:2::2')}
INNER_NEAR, INNER_FAR = {4: '10.72.4.1', 6: '10.72.6.1'}, {4: '10.72.4.2', 6: '10.72.6.2'}  # by outer version
CUTS = [word for feature in ('tso', 'gso', 'tx-udp-segmentation', 'tx-udp_tnl-segmentation',
                             'tx-udp_tnl-csum-segmentation') for word in (feature, 'off')]
OCTETS = 6 << 20
PACE = 40 << 20  # octets a second: what the rings of veth can take
UDP_SEGMENT = 1200
BIG = 185000
VXLAN_PORT = 4789


class Net:
    """The namespaces and how a0 and b0 are joined; `enter` keeps what must be closed at the end."""

    def __init__(self, box, enter):
        self.box, self.enter = box, enter
        self.near, self.far = NEAR, FAR  # the ends of the connections
        self.largest = 0  # octets that the largest one exceeds
        self.payload = bytes(UDP_SEGMENT * 9 + 100)

    def veth(self):
        self.box.veth(('near', 'a0'), ('hop', 'b0'))
        self.box.address(('near', 'a0', NEAR.values()), ('hop', 'b0', HOP['b0']))

    def tun(self):
        self.enter(tun.joined(self.box, ('near', 'a0'), ('hop', 'b0')))
        for role, name, addresses in ('near', 'a0', NEAR.values()), ('hop', 'b0', HOP['b0']):
            for address in addresses:
                self.box.ip(role, 'address', 'add', f'{address}/{64 if ":" in address else 24}', 'dev', name, 'nodad')

    def route(self):
        box = self.box
        box.veth(('hop', 'b1'), ('far', 'c0'))
        box.address(('hop', 'b1', HOP['b1']), ('far', 'c0', FAR.values()))
        for role, (via4, via6) in ('near', HOP['b0']), ('far', HOP['b1']):
            box.ip(role, 'route', 'add', 'default', 'via', via4)
            box.ip(role, 'route', 'add', 'default', 'via', via6)
        box.run('hop', 'sysctl', '-qw', 'net.ipv4.ip_forward=1', 'net.ipv6.conf.all.forwarding=1')
        for role, interface in ('hop', 'b1'), ('far', 'c0'):
            box.run(role, 'ethtool', '-K', interface, *CUTS)
        box.run('hop', 'ethtool', '-K', 'b1', 'gro', 'on')

    def vxlan(self):
        """One over IPv4 and one over IPv6, without and with a checksum of their own."""
        for version, number in (4, '42'), (6, '43'):
            name = f'vx{version}'
            for role, local, remote in ('near', NEAR, FAR), ('far', FAR, NEAR):
                self.box.ip(role, 'link', 'add', name, 'type', 'vxlan', 'id', number, 'local', local[version],
                            'remote', remote[version], 'dstport', VXLAN_PORT)
                self.box.ip(role, 'link', 'set', name, 'mtu', '1400', 'up')
            self.box.address(('near', name, [INNER_NEAR[version]]), ('far', name, [INNER_FAR[version]]))
        self.near, self.far = INNER_NEAR, INNER_FAR

    def vxlan_listener(self):
        """GRO looks into the datagrams of a tunnel where the kernel has a socket for it."""
        for version, address in zip((4, 6), HOP['b1'], strict=True):
            self.box.ip('hop', 'link', 'add', f'vx{version}', 'type', 'vxlan', 'id', '44', 'local', address,
                        'dstport', VXLAN_PORT)
            self.box.ip('hop', 'link', 'set', f'vx{version}', 'up')


def veth(net):
    net.veth()
    net.route()


def big_tcp(net):
    veth(net)
    for role, name in ('near', 'a0'), ('hop', 'b0'), ('hop', 'b1'), ('far', 'c0'):
        net.box.big_tcp(role, name, BIG)
    # Where it forwards IPv6 the kernel takes the jumbo option for a part of each segment.
    for role, name in ('hop', 'b0'), ('hop', 'b1'), ('far', 'c0'):
        net.box.ip(role, 'link', 'set', name, 'mtu', '1508')
    net.largest = 65535


def tun_devices(net):
    net.tun()
    net.route()


def vxlan(net):
    veth(net)
    net.vxlan()
    net.vxlan_listener()


def datagrams(net):
    """The hop merges datagrams that are VXLAN's: each has its own inner headers, which are payload here."""
    veth(net)
    inner = UDP_SEGMENT - 8 - 14
    ip = struct.pack('!BBHHHBBHII', 0x45, 0, inner, 0, 0, 64, 17, 0, 0x0a000001, 0x0a000002)
    datagram = struct.pack('!II', 0x08000000, 42 << 8) + bytes(12) + b'\x08\x00' + ip + bytes(inner - len(ip))
    net.payload = datagram * 9
    net.box.run('hop', 'ethtool', '-K', 'b1', 'rx-udp-gro-forwarding', 'on')


def send(net):
    for number, version in enumerate((4, 6)):
        near, far = net.near[version], net.far[version]
        traffic.tcp(net.box, 'near', (near, 3000 + number), 'far', (far, 4000 + number), OCTETS, PACE)
        traffic.tcp(net.box, 'far', (far, 5000 + number), 'near', (near, 6000 + number), OCTETS, PACE)
        for role, one, peer, other in ('near', near, 'far', far), ('far', far, 'near', near):
            with traffic.bound(net.box, peer, traffic.socket.SOCK_DGRAM, other, 7000):
                traffic.udp_gso(net.box, role, (one, 7000), (other, 7000), UDP_SEGMENT, net.payload)


def dropped(box):
    counts = [box.link(role, name)['stats64'] for role, name in
              (('near', 'a0'), ('hop', 'b0'), ('hop', 'b1'), ('far', 'c0'))]
    return sum(count[side]['dropped'] for count in counts for side in ('rx', 'tx'))


def is_ours(key):
    return key.protocol in (6, 17) and {key.source, key.destination} & {*NEAR.values(), *FAR.values()}


def largest(capture):
    """The longest frame from each address."""
    lengths = {}
    for row in capture.rows(('ip.src', 'ipv6.src', 'frame.len')):
        source = row['ip.src'] or row['ipv6.src']
        lengths[source] = max(lengths.get(source, 0), int(row['frame.len']))
    return lengths


def metered(net, mask, directory):
    """Records of the exporter, and skbs that passed a0 by the kernel's count."""
    box, path = net.box, Path(directory) / 'gso.ipfix'
    with program.Daemon(box, 'near', '--interface', 'a0', '--ingress', 'tc', '--egress', 'tc', *mask,
                        '--collector', f'file://{path}') as daemon:
        before = {side: box.packets('near', 'a0', side) for side in ('rx', 'tx')}
        drops = dropped(box)
        send(net)
        check(dropped(box) == drops, 'the interfaces dropped packets: the test cannot be judged')
        skbs = {side: box.packets('near', 'a0', side) - before[side] for side in ('rx', 'tx')}
        daemon.stop()
    return [record for record in collect.read_ipfix(path) if is_ours(record.key)], skbs


def check_super_packets(net, records, skbs, lengths):
    for side, direction in ('rx', 0), ('tx', 1):
        packets = sum(record.flow.packets for record in records if record.direction == direction)
        check(packets > 2 * skbs[side],
              f'{side}: {packets} packets came as {skbs[side]} skbs: hardly a super-packet among them')
    for address in *NEAR.values(), *FAR.values():
        check(lengths[address] > net.largest, f'from {address} no super-packet is longer than {lengths[address]}')


def test_gso(build, mask):
    with scratch() as directory, Lab('near', 'hop', 'far', ipv6=True) as box, contextlib.ExitStack() as stack:
        net = Net(box, stack.enter_context)
        build(net)
        near = ' or '.join(f'src host {one}' for one in NEAR.values())
        far = ' or '.join(f'src host {one}' for one in FAR.values())
        captures = [Capture(box, 'hop', 'b1', f'{directory}/b1.pcapng', near),
                    Capture(box, 'far', 'c0', f'{directory}/c0.pcapng', far)]
        own = Capture(box, 'near', 'a0', f'{directory}/a0.pcapng')  # its skbs are cloned for this one, too
        records, skbs = metered(net, mask, directory)
        wire = {}
        for capture in captures:
            capture.stop()
            wire.update(capture.flows())
        own.stop()
        lengths = largest(own)
    expected = truth.Truth(flows={key: flow for key, flow in wire.items() if is_ours(key)})
    check(len(expected.flows) >= 10, f'captured {len(expected.flows)} flows: {list(expected.flows)}')
    lines = truth.differences(expected, collect.flows(records))
    check(not lines, 'records differ from the wire:', *lines)
    check_super_packets(net, records, skbs, lengths)


def main():
    tap.require('ip', 'ethtool', 'dumpcap', 'tshark', 'ipfixDump')
    program.binary()
    tests = [('super-packets through tcx', veth, []), ('super-packets through clsact', veth, ['--mask', 'tcx']),
             ('BIG TCP', big_tcp, []), ('tun devices', tun_devices, []), ('super-packets in VXLAN', vxlan, []),
             ('merged datagrams', datagrams, [])]
    tap.main([(name, functools.partial(test_gso, build, mask)) for name, build, mask in tests], tap.AT_ONCE)


if __name__ == '__main__':
    main()
