# SPDX-License-Identifier: Apache-2.0
"""Known traffic both ways through one kind of hook: kill -9 first, then exact flows, then SIGTERM.

    meter (m0) --- (p0) peer

test_exact.py xdp|tc|clsact
"""
import re
import socket
import sys
import time

import traffic
import wire
from machine import CLANG_19, STUB, Exporter, Key, check_flows, drop_reasons, fact, point, summed, version
from lab import Lab, wait_until
from tap import Skip, check, check_equal

METER, PEER = {4: '10.91.0.1', 6: 'fd91::1'}, {4: '10.91.0.2', 6: 'fd91::2'}
TCX = 6, 6
OPTIONS = {'xdp': ['--ingress', 'xdp', '--egress', 'tc'], 'tc': ['--ingress', 'tc', '--egress', 'tc'],
           'clsact': ['--ingress', 'tc', '--egress', 'tc', '--mask', 'tcx']}
HEADERS = {4: 28, 6: 48}
UDP, TCP, ICMP = 17, 6, 1
# Sender, IP version, ports, datagrams, octets of payload.
DATAGRAMS = [('meter', 4, (4001, 5001), 100, 100), ('meter', 6, (4002, 5002), 70, 1200), ('peer', 4, (4003, 5003), 200, 18),
             ('peer', 6, (4004, 5004), 50, 300)]
BURST = 8
PIECES, LARGE = 10, 4000  # datagrams in three fragments each
CLOSED, CLOSED_COUNT, CLOSED_SIZE = (4007, 9), 7, 40
TO_PEER, TO_METER = 600000, 400000  # octets over TCP


def ends(sender, ip_version, ports=(0, 0), protocol=UDP):
    source, destination = (METER, PEER) if sender == 'meter' else (PEER, METER)
    return Key(protocol, source[ip_version], destination[ip_version], *ports)


def send_datagrams(box, sender, ip_version, ports, count, size):
    """A few at a time, which the receiver takes before more come: its buffer is small."""
    key = ends(sender, ip_version, ports)
    receiver = 'peer' if sender == 'meter' else 'meter'
    with traffic.bound(box, receiver, socket.SOCK_DGRAM, key.destination, ports[1]) as sink, \
            traffic.bound(box, sender, socket.SOCK_DGRAM, key.source, ports[0]) as sock:
        for at in range(0, count, BURST):
            burst = min(BURST, count - at)
            for _ in range(burst):
                sock.sendto(bytes(size), (key.destination, ports[1]))
            for _ in range(burst):
                check(len(sink.recv(65536)) == size, 'a datagram of another size came')


def send_all(box):
    """Returns what all this is in flows but for TCP: {Key: [packets, octets]} by direction."""
    expected = {0: {}, 1: {}}
    for sender, ip_version, ports, count, size in DATAGRAMS:
        send_datagrams(box, sender, ip_version, ports, count, size)
        expected[int(sender == 'meter')][ends(sender, ip_version, ports)] = [count, count * (size + HEADERS[ip_version])]
    send_datagrams(box, 'peer', 4, (4005, 5005), PIECES, LARGE)
    expected[0][ends('peer', 4, (4005, 5005))] = [PIECES, PIECES * 1500]
    expected[0][ends('peer', 4)] = [2 * PIECES, PIECES * (LARGE + 8 - 1480 + 2 * 20)]  # what follows has no ports
    box.run('meter', 'ping', '-q', '-c', 5, '-i', '0.2', PEER[4])
    expected[1][ends('meter', 4, (0, 8 << 8), ICMP)] = expected[0][ends('peer', 4, (0, 0), ICMP)] = [5, 5 * 84]
    traffic.tcp(box, 'meter', (METER[4], 4006), 'peer', (PEER[4], 6001), TO_PEER)
    traffic.tcp(box, 'peer', (PEER[6], 4008), 'meter', (METER[6], 6002), TO_METER)
    traffic.udp(box, 'peer', (PEER[4], CLOSED[0]), (METER[4], CLOSED[1]), CLOSED_COUNT, bytes(CLOSED_SIZE))
    expected[0][ends('peer', 4, CLOSED)] = [CLOSED_COUNT, CLOSED_COUNT * (CLOSED_SIZE + HEADERS[4])]
    time.sleep(0.5)
    return expected


def segments(box, role):
    """TCP segments that a namespace has sent, those that it sent again included."""
    names, values = re.findall(r'^Tcp: (.*)$', box.run(role, 'cat', '/proc/net/snmp'), re.M)
    count = dict(zip(names.split(), map(int, values.split()), strict=True))
    return count['OutSegs'] + count['RetransSegs']


def counters(box):
    return {'seen': (box.packets('meter', 'm0', 'rx'), box.packets('meter', 'm0', 'tx')),
            'segments': (segments(box, 'peer'), segments(box, 'meter'))}


def check_counters(before, ready, after, ledger, flows):
    """The kernel's own: packets of the interface, TCP segments of the sockets."""
    for direction, name in enumerate(('ingress', 'egress')):
        seen = ledger['directions'][name]['seen']
        first, last = (after['seen'][direction] - one['seen'][direction] for one in (ready, before))
        check(first <= seen <= last, f'{name}: seen {seen}, the interface counted {first} to {last}')
        packets = summed({key: flow for key, flow in flows[direction].items() if key.protocol == TCP})['packets']
        check_equal(f'{name}: TCP packets against segments that the kernel sent', packets,
                    after['segments'][direction] - ready['segments'][direction])


def check_exact(expected, frames, flows):
    """What was sent by the arithmetic of the test, and everything by what a packet socket of the peer took."""
    for direction in 0, 1:
        check_flows(f'direction {direction}: against what was sent', expected[direction],
                    {key: flow for key, flow in flows[direction].items() if key in expected[direction]})
        taken = wire.flows(data for leaves, data in frames if leaves != bool(direction))
        check_flows(f'direction {direction}: against what the peer saw', taken, flows[direction])


def check_drops(exporter):
    rows = [row for row in exporter.rows() if 'droppedPacketDeltaCount' in row and
            (row['sourceTransportPort'], row['destinationTransportPort']) == CLOSED]
    if not drop_reasons():
        check('drops are not recorded' in exporter.daemon.stderr(), 'it does not say that there are no reasons')
        raise Skip('this kernel gives no reasons, which came with Linux 5.17')
    found = {(row['dropReasonName'], row['droppedPacketDeltaCount'], row['droppedOctetDeltaCount']) for row in rows}
    check_equal('drops', found, {('NO_SOCKET', CLOSED_COUNT, CLOSED_COUNT * (CLOSED_SIZE + HEADERS[4]))})


def filters(box):
    return ''.join(box.ip_tc('meter', 'filter', 'show', 'dev', 'm0', side) for side in ('ingress', 'egress'))


def check_hooks(kind, said):
    ingress, egress = re.search(r'ingress (.*), egress (.*)', said).groups()
    other = 'tcx' if version() >= TCX and kind != 'clsact' else 'clsact'
    check(egress.startswith(other), f'egress {egress}, expected {other}')
    check(ingress.startswith('XDP' if kind == 'xdp' else other), f'ingress {ingress}')


def killed(box, kind):
    """After kill -9 no program of it works on packets; stubs may stay where there is no tcx."""
    clang = 19 if CLANG_19.exists() else 14
    with point(f'{kind}: kill -9 leaves nothing that works'), Exporter(
            box, 'meter', f'{kind}-killed', '--interface', 'm0', *OPTIONS[kind], clang=clang, drops='auto') as exporter:
        with point(f'{kind}: verifier, clang {clang}'):
            exporter.check_verified()
        send_datagrams(box, *DATAGRAMS[0])
        said = exporter.hooks('m0')
        exporter.daemon.kill()
        left = exporter.gone()
        if 'clsact' in said:
            left = [name for name in left if not STUB.fullmatch(name)]
        check_equal('programs left', left, [])
        check('prog/xdp' not in box.ip('meter', 'link', 'show', 'dev', 'm0'), 'an XDP program is left')
        for role, other in ('meter', PEER), ('peer', METER):
            check(' 0% packet loss' in box.run(role, 'ping', '-q', '-c', 3, '-i', '0.2', other[4]), 'packets are lost after it')


def metered(box, kind):
    exporter = Exporter(box, 'meter', kind, '--interface', 'm0', *OPTIONS[kind], drops='auto')
    before = counters(box)
    with exporter:
        ready, tap_socket = counters(box), wire.Wire(box, 'peer', 'p0')
        with point(f'{kind}: hooks'):
            fact('hooks', kind, exporter.hooks('m0'))
            check_hooks(kind, exporter.hooks('m0'))
        with point(f'{kind}: verifier, clang 14'):
            exporter.check_verified()
        with point(f'{kind}: the next start removes stubs'):
            lines = [line for line in filters(box).splitlines() if 'flowtally_' in line]
            check(len(lines) <= ('clsact' in exporter.hooks('m0')) * (1 if kind == 'xdp' else 2), *lines)
        expected = send_all(box)
        after = counters(box)
        frames = tap_socket.frames()
        with point(f'{kind}: SIGTERM exports everything, status 0, the ledger balances'):
            exporter.stop()
        flows = {direction: exporter.flows().get(('m0', direction), {}) for direction in (0, 1)}
        with point(f'{kind}: flows are exact'):
            check_exact(expected, frames, flows)
        with point(f'{kind}: flows agree with the kernel\'s counters'):
            check_counters(before, ready, after, exporter.ledger, flows)
        with point(f'{kind}: drops beside the flows'):
            check_drops(exporter)
        with point(f'{kind}: nothing is left after SIGTERM'):
            check_equal('programs left', exporter.gone(), [])
            check('flowtally_' not in filters(box) + box.ip('meter', 'link', 'show', 'dev', 'm0'), 'a hook is left')


def main():
    kind = sys.argv[1]
    if kind == 'clsact' and version() < TCX:
        with point('clsact: as tc, this kernel has no tcx'):
            return
    with Lab('meter', 'peer', ipv6=True) as box:
        box.veth(('meter', 'm0'), ('peer', 'p0'), offloads=False)
        box.address(('meter', 'm0', METER.values()), ('peer', 'p0', PEER.values()))
        wait_until(lambda: 'LOWER_UP' in box.ip('meter', 'link', 'show', 'dev', 'm0'), 10, 'm0 to be up')
        killed(box, kind)
        metered(box, kind)


if __name__ == '__main__':
    main()
