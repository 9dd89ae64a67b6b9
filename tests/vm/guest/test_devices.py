# SPDX-License-Identifier: Apache-2.0
"""Interfaces that are not Ethernet, or are above or below others: each packet once, where it was, as what it was.

    meter (m0) --- (p0) peer        tunnels, IPsec and multicast; a second pair in a VRF, a third in a bond, a fourth
                                    with an `ingress` qdisc
"""
import re
import socket
import subprocess
import time

import machine
import program
import traffic
import wire
from machine import Exporter, Key, check_flows, fact, point
from lab import Lab, command
from tap import Failure, Skip, check, check_equal

OUTER = '10.92.0.1', '10.92.0.2'
OUTER_VTI = '10.92.0.11', '10.92.0.12'  # of its own: a vti takes every ESP packet between its ends
ROLES, ENDS = ('meter', 'peer'), ('m0', 'p0')
SENT, GOT = 30, 25  # datagrams by the meter and by its peer
SENT_SIZE, GOT_SIZE = 100, 200
SENT_PORTS, GOT_PORTS = (4100, 5100), (4200, 5200)
GROUP, GROUP_COUNT = '239.1.1.1', 10
HEADERS = 28
VRF_SECONDS, VRF_PAUSE = 120, 1
VRF_WORD = re.compile(r"'vrf0'.*do not pass the hooks of a VRF")
REFUSAL_SECONDS = 150
UDP = 17
KEY = '0x' + '6b' * 20  # of AES and its salt


def inner(number):
    """Addresses of both ends, by the number of what is between them."""
    return f'10.92.{number}.1', f'10.92.{number}.2'


def add_security(box, number, *selector, outer=OUTER):
    """Associations and policies in tunnel mode for what is between those addresses; selector: what else they go by."""
    for end, role in enumerate(ROLES):
        near, far = inner(number)[end], inner(number)[1 - end]
        for source, spi in (0, 0x100 + number), (1, 0x200 + number):
            box.ip(role, 'xfrm', 'state', 'add', 'src', outer[source], 'dst', outer[1 - source], 'proto', 'esp',
                   'spi', hex(spi), 'mode', 'tunnel', *selector, 'aead', 'rfc4106(gcm(aes))', KEY, 128)
        for direction, one, other, at in ('out', near, far, end), ('in', far, near, 1 - end), ('fwd', far, near, 1 - end):
            box.ip(role, 'xfrm', 'policy', 'add', 'src', f'{one}/32', 'dst', f'{other}/32', 'dir', direction, *selector,
                   'tmpl', 'src', outer[at], 'dst', outer[1 - at], 'proto', 'esp', 'mode', 'tunnel')


def up(box, role, name, address=None):
    if address:
        box.ip(role, 'address', 'add', f'{address}/24', 'dev', name)
    box.ip(role, 'link', 'set', name, 'up')


def add_devices(box):
    """Interfaces in both namespaces, numbered as inner() has it."""
    for end, role in enumerate(ROLES):
        near, far = OUTER[end], OUTER[1 - end]
        box.ip(role, 'link', 'add', 'xfrm0', 'type', 'xfrm', 'dev', ENDS[end], 'if_id', 42)
        box.ip(role, 'link', 'add', 'vti0', 'type', 'vti', 'local', OUTER_VTI[end], 'remote', OUTER_VTI[1 - end],
               'key', 7)
        box.ip(role, 'link', 'add', 'gre9', 'type', 'gre', 'local', near, 'key', 5, 'ttl', 64)
        for number, name in (1, 'xfrm0'), (2, 'vti0'), (4, 'gre9'):
            up(box, role, name, inner(number)[end])
        box.ip(role, 'neighbour', 'add', inner(4)[1 - end], 'lladdr', far, 'dev', 'gre9', 'nud', 'permanent')
        box.ip(role, 'address', 'add', f'{inner(3)[end]}/32', 'dev', 'lo')
        box.ip(role, 'route', 'add', inner(3)[1 - end], 'via', far, 'src', inner(3)[end])
    add_security(box, 1, 'if_id', 42)
    add_security(box, 2, 'mark', 7, outer=OUTER_VTI)
    add_security(box, 3)


def pair(box, meter, peer, number, master=None):
    box.veth(('meter', meter), ('peer', peer), offloads=False)
    if master:
        box.ip('meter', 'link', 'set', meter, 'master', master)
    box.address(('meter', meter, [inner(number)[0]]), ('peer', peer, [inner(number)[1]]))


def add_vrf(box):
    box.ip('meter', 'link', 'add', 'vrf0', 'type', 'vrf', 'table', 10)
    up(box, 'meter', 'vrf0')
    pair(box, 'm1', 'p1', 5, master='vrf0')


def bound(box, role, address, port, vrf):
    sock = traffic.bound(box, role, socket.SOCK_DGRAM, '0.0.0.0' if vrf else address, port)
    if vrf:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b'vrf0')
    return sock


def exchange(box, number, vrf=False):
    """Datagrams both ways, which all arrive; returns the flows: {direction: {Key: [packets, octets]}}."""
    near, far = inner(number)
    expected = {}
    for direction, roles, ends, ports, count, size in ((1, ROLES, (near, far), SENT_PORTS, SENT, SENT_SIZE),
                                                       (0, ROLES[::-1], (far, near), GOT_PORTS, GOT, GOT_SIZE)):
        with bound(box, roles[1], ends[1], ports[1], vrf and roles[1] == 'meter') as sink, \
                bound(box, roles[0], ends[0], ports[0], vrf and roles[0] == 'meter') as sock:
            for _ in range(count):
                sock.sendto(bytes(size), (ends[1], ports[1]))
                try:
                    check(len(sink.recv(2048)) == size, 'a datagram of another size came')
                except TimeoutError:
                    raise Failure(f'no datagram came from {ends[0]} to {ends[1]}') from None
        expected[direction] = {Key(UDP, *ends, *ports): [count, count * (size + HEADERS)]}
    return expected


def in_vrf(box, exporter):
    """Until the exporter has compared what it saw with the counters of the VRF, or never did: the flows.

    It compares when the counters have grown in two samples.  How far these are apart on a slow machine, nobody knows.
    """
    rounds, end = 0, time.monotonic() + VRF_SECONDS
    while not rounds or (time.monotonic() < end and not VRF_WORD.search(exporter.daemon.stderr())):
        flows = exchange(box, 5, vrf=True)
        rounds += 1
        time.sleep(VRF_PAUSE)
    return {direction: {key: [rounds * value for value in amount] for key, amount in of.items()}
            for direction, of in flows.items()}


def multicast(box):
    """To a group that the host itself has joined: it gets them back."""
    request = socket.inet_aton(GROUP) + socket.inet_aton(OUTER[0])
    with traffic.bound(box, 'meter', socket.SOCK_DGRAM, '0.0.0.0', 5300) as sink, \
            traffic.bound(box, 'meter', socket.SOCK_DGRAM, OUTER[0], 4300) as sock:
        sink.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, request)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(OUTER[0]))
        for _ in range(GROUP_COUNT):
            sock.sendto(bytes(50), (GROUP, 5300))
            sink.recv(2048)


def judge(name, number, expected, flows):
    with point(f'devices: {name}'):
        for direction in 0, 1:
            check_flows(f'{name}, direction {direction}', expected[number][direction], flows.get((name, direction), {}))


def tunnels(box):
    """Everything over m0, and the VRF if there are any, under one exporter."""
    vrf = machine.has_module('vrf')
    names = 'm0', 'xfrm0', 'vti0', 'gre9', *(('m1', 'vrf0') if vrf else ())
    if vrf:
        add_vrf(box)
    options = [word for name in names for word in ('--interface', name)]
    with Exporter(box, 'meter', 'devices', *options, '--ingress', 'tc', '--egress', 'tc') as exporter:
        tap_socket = wire.Wire(box, 'peer', 'p0')
        expected = {number: exchange(box, number) for number in (1, 2, 3, 4)}
        multicast(box)
        with point('devices: a VRF is said to show nothing'):
            if not vrf:
                raise Skip(machine.NO_VRF)
            expected[5] = in_vrf(box, exporter)
            check(VRF_WORD.search(exporter.daemon.stderr()), f'no word on vrf0 in {VRF_SECONDS} s of packets')
        frames = tap_socket.frames()
        with point('devices: SIGTERM, the ledger balances'):
            exporter.stop()
        flows = exporter.flows()
        for name, number in (('xfrm0', 1), ('vti0', 2), ('gre9', 4), ('m1', 5))[:3 + vrf]:
            judge(name, number, expected, flows)
        with point('devices: IPsec counts once, as ESP, at the interface below'):
            for direction in 0, 1:
                taken = wire.flows(data for leaves, data in frames if leaves != bool(direction))
                # The packet socket of the peer sees what its stack hands over again, too.
                taken = {key: flow for key, flow in taken.items() if key.source not in inner(3)}
                check_flows(f'm0, direction {direction}', taken, flows.get(('m0', direction), {}))
                check({key.protocol for key in taken} >= {wire.ESP, wire.GRE}, f'on the wire: {list(taken)}')
        with point('devices: what the stack hands over again is named'):
            ignored = {name: count['packets'] for name, count in exporter.ledger['ignored'].items() if count['packets']}
            fact('ignored', 'devices', ignored)
            check_equal('ignored', ignored, {'reinjected': GOT, 'looped': GROUP_COUNT})


def bond(box):
    """XDP runs on the members, and what it sees is the bond's."""
    box.ip('meter', 'link', 'add', 'bo0', 'type', 'bond', 'mode', 'active-backup')
    box.veth(('meter', 'm2'), ('peer', 'p2'), offloads=False)
    box.ip('meter', 'link', 'set', 'm2', 'down')
    box.ip('meter', 'link', 'set', 'm2', 'master', 'bo0')
    box.address(('meter', 'bo0', [inner(6)[0]]), ('peer', 'p2', [inner(6)[1]]))
    up(box, 'meter', 'bo0')
    box.ip('meter', 'link', 'set', 'm2', 'up')
    time.sleep(1)
    command('ip', '-n', box.names['meter'], 'route', 'get', inner(6)[1])


def qdisc(box):
    """A policer's: no egress beside it, where there is no tcx."""
    pair(box, 'm3', 'p3', 7)
    box.ip_tc('meter', 'qdisc', 'add', 'dev', 'm3', 'ingress')


def xdp(box):
    bond(box)
    with point('devices: XDP on a bond'), \
            Exporter(box, 'meter', 'bond', '--interface', 'bo0', '--ingress', 'xdp', '--egress', 'tc') as exporter:
        expected = {6: exchange(box, 6)}
        exporter.stop()
        flows = exporter.flows()
        check_equal('interfaces of the records', {name for name, _ in flows}, {'bo0'})
        for direction in 0, 1:
            check_flows(f'bo0, direction {direction}', expected[6][direction], flows.get(('bo0', direction), {}))


def ingress_qdisc(box):
    qdisc(box)
    with point('devices: an ingress qdisc'), Exporter(box, 'meter', 'qdisc', '--interface', 'm3', '--ingress', 'tc', '--egress',
                                                      'off', '--mask', 'tcx') as exporter:
        expected = exchange(box, 7)
        exporter.stop()
        flows = exporter.flows()
        check_flows('m3, arriving', expected[0], flows.get(('m3', 0), {}))
        check_equal('records of what left', flows.get(('m3', 1), {}), {})
    with point('devices: an ingress qdisc has no egress'):
        status, stderr = refused(box)
        check(status == 1 and '`ingress` qdisc' in stderr, f'status {status}', stderr)


def refused(box):
    try:
        status, _, stderr = program.run('run', '--interface', 'm3', '--ingress', 'off', '--egress', 'tc', '--mask', 'tcx',
                                        '--drops', 'off', prefix=box.inside('meter'), timeout=REFUSAL_SECONDS)
    except subprocess.TimeoutExpired:
        raise Failure('it runs where it sees nothing') from None
    return status, stderr


def main():
    with Lab(*ROLES) as box:
        box.veth(('meter', 'm0'), ('peer', 'p0'), offloads=False)
        box.address(('meter', 'm0', [OUTER[0], OUTER_VTI[0]]), ('peer', 'p0', [OUTER[1], OUTER_VTI[1]]))
        add_devices(box)
        tunnels(box)
        xdp(box)
        ingress_qdisc(box)


if __name__ == '__main__':
    main()
