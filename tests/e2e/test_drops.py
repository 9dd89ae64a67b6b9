#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Packets that the kernel drops, on purpose: each kind with its known number and reason, by flow."""
import functools
import socket

import drops
import program
import tap
import traffic
from drops import FAR, IP_HEADER, NODE, PEER, TCP, UDP, UDP_HEADER, VERSIONS, Amounts, key
from sandbox import wait_until
from tap import check, check_equal

COUNT = 7
PORTS = 4000, 9  # where nobody listens


def size_of(version, payload):
    return IP_HEADER[version] + UDP_HEADER + payload


def closed_port(net):
    expected = Amounts()
    with net.counted(COUNT, 'UdpNoPorts'), net.counted(COUNT, 'Udp6NoPorts'):
        for version in VERSIONS:
            for i in range(COUNT):
                net.send(drops.udp(PEER[version], NODE[version], PORTS, 10 + i))
                expected.add(key(UDP, PEER[version], NODE[version], PORTS), 'NO_SOCKET', 1, size_of(version, 10 + i))
    return expected


def firewall(net):
    expected, ports = Amounts(), (4001, 700)
    with net.rule('inet', 'input', 'udp dport 700') as dropped:
        for version in VERSIONS:
            for _ in range(COUNT):
                net.send(drops.udp(PEER[version], NODE[version], ports, 100))
            expected.add(key(UDP, PEER[version], NODE[version], ports), 'NETFILTER_DROP', COUNT,
                         COUNT * size_of(version, 100))
        wait_until(lambda: dropped()[0] >= expected.packets(), 10, 'the rule to drop all')
        check_equal('packets of the rule', dropped()[0], expected.packets())
        check_equal('octets of the rule', dropped()[1], sum(octets for _, octets in expected.values()))
    return expected


def hop_limit(net):
    expected = Amounts()
    with net.counted(COUNT, 'IpInHdrErrors'), net.counted(COUNT, 'Ip6InHdrErrors'):
        for version in VERSIONS:
            for _ in range(COUNT):
                net.send(drops.udp(PEER[version], FAR[version], PORTS, ttl=1))
            expected.add(key(UDP, PEER[version], FAR[version], PORTS), 'IP_INHDR', COUNT, COUNT * size_of(version, 32))
    return expected


def no_route(net):
    expected, nowhere = Amounts(), {4: '10.99.9.9', 6: 'fd99::9'}
    with net.counted(COUNT, 'IpExtInNoRoutes'), net.counted(COUNT, 'Ip6InNoRoutes'):
        for version in VERSIONS:
            for _ in range(COUNT):
                net.send(drops.udp(PEER[version], nowhere[version], PORTS))
            expected.add(key(UDP, PEER[version], nowhere[version], PORTS), 'IP_INNOROUTES', COUNT,
                         COUNT * size_of(version, 32))
    return expected


def checksums(net):
    """Of UDP and TCP, and of the IPv4 header."""
    expected = Amounts()
    with net.counted(COUNT, 'UdpInCsumErrors'), net.counted(COUNT, 'Udp6InCsumErrors'), \
            net.counted(2 * COUNT, 'TcpInCsumErrors'), net.counted(COUNT, 'IpExtInCsumErrors'):
        for version in VERSIONS:
            ends = PEER[version], NODE[version]
            for _ in range(COUNT):
                net.send(drops.udp(*ends, PORTS, flaw=1))
                net.send(drops.tcp(*ends, PORTS, 0x02, flaw=1))
            expected.add(key(UDP, *ends, PORTS), 'UDP_CSUM', COUNT, COUNT * size_of(version, 32))
            expected.add(key(TCP, *ends, PORTS), 'TCP_CSUM', COUNT, COUNT * (IP_HEADER[version] + 20))
        for _ in range(COUNT):
            net.send(drops.ip(PEER[4], NODE[4], UDP, drops.datagram(PEER[4], NODE[4], PORTS, 32), flaw=1))
        expected.add(key(UDP, PEER[4], NODE[4], PORTS), 'IP_CSUM', COUNT, COUNT * size_of(4, 32))
    return expected


def reverse_path(net):
    """From an address that is on the other side."""
    expected = Amounts()
    net.box.run('node', 'sysctl', '-qw', 'net.ipv4.conf.n0.rp_filter=1')
    with net.counted(COUNT, 'TcpExtIPReversePathFilter'):
        for _ in range(COUNT):
            net.send(drops.udp('10.81.2.9', NODE[4], PORTS))
    net.box.run('node', 'sysctl', '-qw', 'net.ipv4.conf.n0.rp_filter=0')
    expected.add(key(UDP, '10.81.2.9', NODE[4], PORTS), 'IP_RPFILTER', COUNT, COUNT * size_of(4, 32))
    return expected


def read_all(sock):
    sock.setblocking(False)
    count = 0
    try:
        while sock.recv(65536):
            count += 1
    except BlockingIOError:
        return count
    return count


def full_socket(net):
    expected, sent, ports = Amounts(), 60, (4002, 900)
    for version, counter in (4, 'UdpRcvbufErrors'), (6, 'Udp6RcvbufErrors'):
        before = net.counters()[counter]
        with traffic.bound(net.box, 'node', socket.SOCK_DGRAM, NODE[version], ports[1]) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
            for _ in range(sent):
                net.send(drops.udp(PEER[version], NODE[version], ports, 1000))
            wait_until(lambda at=counter, old=before: net.counters()[at] > old, 10, f'{counter} to grow')
            lost = sent - read_all(sock)
        check(0 < lost < sent, f'{lost} of {sent} were lost')
        check_equal(counter, net.counters()[counter] - before, lost)
        expected.add(key(UDP, PEER[version], NODE[version], ports), 'SOCKET_RCVBUFF', lost, lost * size_of(version, 1000))
    return expected


def test_kind(net, make):
    with drops.Meter(net) as meter:
        expected = make(net)
        ledger = meter.stop()['drops']
    lines = drops.differences(expected, drops.amounts_of(meter.rows))
    check(not lines, 'records differ from what was dropped:', *lines)
    check_equal('reasons of the ledger', {name: count['packets'] for name, count in ledger['reasons'].items()},
                expected.reasons())
    check_equal('missed', ledger['missed'], 0)


KINDS = {
    'closed port': closed_port, 'firewall': firewall, 'hop limit': hop_limit, 'no route': no_route,
    'bad checksums': checksums, 'reverse path': reverse_path, 'full socket': full_socket,
}


def main():
    tap.require('ip', 'nft', 'nstat', 'tc', 'ethtool')
    program.binary()
    with drops.network() as net:
        tap.main([(name, functools.partial(test_kind, net, make)) for name, make in KINDS.items()])


if __name__ == '__main__':
    main()
