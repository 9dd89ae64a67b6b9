#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Packets that the kernel drops, on purpose: each kind with its known number and reason, by flow."""
import contextlib
import functools
import re
import socket
import struct
import subprocess
from collections import Counter
from pathlib import Path

import collect
import drops
import program
import readers
import tap
import traffic
from capture import Capture
from drops import FAR, IP_HEADER, NETWORK, NODE, NODE_FAR, PEER, TCP, UDP, UDP_HEADER, VERSIONS, Amounts, key
from lab import Lab, command, scratch, wait_until
from tap import Skip, check, check_equal

COUNT = 7
PORTS = 4000, 9  # where nobody listens
FIN, SYN, ACK = 0x01, 0x02, 0x10
PAYLOAD = b'flowtally' * 10
DATAGRAM = 28 + len(PAYLOAD)  # IPv4
# Whether the machine has it mounted or not; nobody else sees it.
WITH_TRACEFS = 'mount -t tracefs tracefs /sys/kernel/tracing; exec bpftrace -e "$1"'
TRACE = '''tracepoint:skb:kfree_skb {
  $skb = (struct sk_buff *)args->skbaddr;
  if ($skb->dev->nd_net.net->ns.inum == NAMESPACE) { @[args->reason] = count(); }
}
BEGIN { printf("ready\\n"); }'''


def size_of(version, payload):
    return IP_HEADER[version] + UDP_HEADER + payload


def closed_port(net):
    expected = Amounts()
    with net.counted(COUNT, 'UdpNoPorts'), net.counted(COUNT, 'Udp6NoPorts'):
        for version in VERSIONS:
            for i in range(COUNT):
                net.send(drops.udp(PEER[version], NODE[version], PORTS, 10 + i))
                expected.add(key(UDP, PEER[version], NODE[version], PORTS), 'NO_SOCKET', 1, size_of(version, 10 + i))
                net.send(drops.tcp(PEER[version], NODE[version], (4030, 908), SYN))
            expected.add(key(TCP, PEER[version], NODE[version], (4030, 908)), 'NO_SOCKET', COUNT,
                         COUNT * (IP_HEADER[version] + 20))
    return expected


def firewall(net):
    """Of what arrives, what is forwarded, and what is sent here."""
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
    forwarded, sent = (4002, 701), (4003, 702)
    with net.rule('inet', 'forward', 'udp dport 701') as dropped:
        for version in VERSIONS:
            for _ in range(COUNT):
                net.send(drops.udp(PEER[version], FAR[version], forwarded, 100))
            expected.add(key(UDP, PEER[version], FAR[version], forwarded), 'NETFILTER_DROP', COUNT,
                         COUNT * size_of(version, 100))
        wait_until(lambda: dropped()[0] >= 2 * COUNT, 10, 'the rule to drop all')
        check_equal('packets of the rule, forwarded', dropped()[0], 2 * COUNT)
    with net.rule('inet', 'output', 'udp dport 702') as dropped:
        for version in VERSIONS:
            for _ in range(COUNT):
                with contextlib.suppress(PermissionError):  # the sender is told
                    traffic.udp(net.box, 'node', (NODE_FAR[version], sent[0]), (FAR[version], sent[1]), 1, bytes(100))
            expected.add(key(UDP, NODE_FAR[version], FAR[version], sent), 'NETFILTER_DROP', COUNT,
                         COUNT * size_of(version, 100), 'out n1')
        check_equal('packets of the rule, leaving', dropped()[0], 2 * COUNT)
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
    expected, source = Amounts(), f'{NETWORK[4]}.2.9'
    net.box.run('node', 'sysctl', '-qw', 'net.ipv4.conf.n0.rp_filter=1')
    with net.counted(COUNT, 'TcpExtIPReversePathFilter'):
        for _ in range(COUNT):
            net.send(drops.udp(source, NODE[4], PORTS))
    net.box.run('node', 'sysctl', '-qw', 'net.ipv4.conf.n0.rp_filter=0')
    expected.add(key(UDP, source, NODE[4], PORTS), 'IP_RPFILTER', COUNT, COUNT * size_of(4, 32))
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
            net.settle()
            lost = sent - read_all(sock)
        check(0 < lost < sent, f'{lost} of {sent} were lost')
        check_equal(counter, net.counters()[counter] - before, lost)
        expected.add(key(UDP, PEER[version], NODE[version], ports), 'SOCKET_RCVBUFF', lost, lost * size_of(version, 1000))
    return expected


def full_queue(net):
    """A queue with room for a few packets that lets hardly one out."""
    expected, sent, ports = Amounts(), 40, (4003, 901)
    net.box.ip_tc('node', 'qdisc', 'replace', 'dev', 'n1', 'root', 'tbf', 'rate', '8kbit', 'burst', '1600', 'limit', '6000')
    for version in VERSIONS:
        before = net.queue_drops()
        traffic.udp(net.box, 'node', (NODE_FAR[version], ports[0]), (FAR[version], ports[1]), sent, bytes(1000))
        lost = net.queue_drops() - before
        check(0 < lost <= sent, f'{lost} of {sent} were lost')
        expected.add(key(UDP, NODE_FAR[version], FAR[version], ports), 'QDISC_DROP', lost,
                     lost * size_of(version, 1000), 'out n1')
    return expected


def full_backlog(net):
    """Three connections fill the queue of those that nobody has accepted; one gets stuck in its handshake.

    The kernel frees a SYN that it refuses as if it had been delivered: that is no drop to it, but for its counter.
    """
    expected, port = Amounts(), 902
    for version in VERSIONS:
        ends = PEER[version], NODE[version]
        with traffic.bound(net.box, 'node', socket.SOCK_STREAM, NODE[version], port) as listener, net.heard() as wire:
            listener.listen(2)
            acks = {}
            for source in 4005, 4100, 4101, 4102:
                net.send(drops.tcp(*ends, (source, port), SYN))
                number = drops.tcp_number(wire, version, source, SYN | ACK) + 1
                acks[source] = drops.tcp(*ends, (source, port), ACK, (1001, number))
                if source != 4005:
                    net.send(acks[source])
            with net.counted(2 * COUNT, 'TcpExtListenDrops'):
                for i in range(COUNT):
                    net.send(acks[4005])
                    net.send(drops.tcp(*ends, (5000 + i, port), SYN))
        expected.add(key(TCP, *ends, (4005, port)), 'TCP_LISTEN_OVERFLOW', COUNT, COUNT * (IP_HEADER[version] + 20))
    return expected


def fragments(net):
    """Put together and then dropped, dropped one by one, and never complete."""
    expected, size = Amounts(), 3000
    net.box.run('node', 'sysctl', '-qw', 'net.ipv4.ipfrag_time=1', 'net.ipv6.ip6frag_time=1')
    for version in VERSIONS:
        ends = PEER[version], NODE[version]
        for _ in range(COUNT):
            for fragment in drops.fragments(*ends, PORTS, size, 3):
                net.send(fragment)
        expected.add(key(UDP, *ends, PORTS), 'NO_SOCKET', COUNT, COUNT * size_of(version, size))
    with net.rule('netdev', 'ingress', 'meta l4proto udp') as dropped:
        for version in VERSIONS:
            ends = PEER[version], NODE[version]
            first, *others = drops.fragments(*ends, (4007, 9), size, 3)
            for fragment in first, *others:
                net.send(fragment)
            expected.add(key(UDP, *ends, (4007, 9)), 'NETFILTER_DROP', 1, len(first))
            expected.add(key(UDP, *ends, (0, 0)), 'NETFILTER_DROP', 2, sum(map(len, others)))
        wait_until(lambda: dropped()[0] >= 6, 10, f'the rule to drop the fragments {dropped()}')
    with net.counted(COUNT, 'IpReasmFails'), net.counted(COUNT, 'Ip6ReasmFails'):
        for version in VERSIONS:
            ends = PEER[version], NODE[version]
            for i in range(COUNT):
                first, *_ = drops.fragments(*ends, (4008, 9), size, 3, number=100 + i)
                net.send(first)
                expected.add(key(UDP, *ends, (4008, 9)), 'FRAG_REASM_TIMEOUT', 1, len(first))
    return expected


def raw_ping(net):
    """A raw socket gets its copy of an echo reply; the kernel then finds no ping socket, and drops the original."""
    expected = Amounts()
    for version, protocol, kind in (4, socket.IPPROTO_ICMP, 0), (6, socket.IPPROTO_ICMPV6, 129):
        with net.box.entered('node'):
            sock = socket.socket(traffic.family(NODE[version]), socket.SOCK_RAW, protocol)
        with sock:
            sock.settimeout(5)
            plain = struct.pack('!BBHHH', kind, 0, 0, 77, 1) + bytes(24)
            if version == 4:
                reply = plain[:2] + struct.pack('!H', drops.internet_sum(plain)) + plain[4:]
            else:
                reply = drops.with_sum(PEER[6], NODE[6], protocol, plain, 2, 0)
            for _ in range(COUNT):
                net.send(drops.ip(PEER[version], NODE[version], protocol, reply))
                check_equal('delivered to the raw socket', sock.recv(1000)[-len(reply):], reply)
        expected.add(key(protocol, PEER[version], NODE[version], (0, kind * 256)), 'NO_SOCKET', COUNT,
                     COUNT * (IP_HEADER[version] + len(reply)))
    return expected


def tagged(net):
    """A tag beside the bytes, a second one in them, and the only one in them, of what leaves."""
    expected, double, leaving = Amounts(), (4009, 9), (4010, 9)
    with net.rule('netdev', 'ingress', 'vlan id 7') as dropped:
        for version in VERSIONS:
            ends = PEER[version], NODE[version]
            for _ in range(COUNT):
                net.send(drops.udp(*ends, PORTS), [(0x8100, 7)])
                net.send(drops.udp(*ends, double), [(0x8100, 7), (0x8100, 8)])
            octets = COUNT * size_of(version, 32)
            expected.add(key(UDP, *ends, PORTS, 7), 'NETFILTER_DROP', COUNT, octets)
            expected.add(key(UDP, *ends, double, 7), 'NETFILTER_DROP', COUNT, octets, inner_vlan=8)
        wait_until(lambda: dropped()[0] >= 4 * COUNT, 10, f'the rule to drop all {dropped()}')
    with net.rule('netdev', 'egress', 'vlan id 9') as dropped:
        for version in VERSIONS:
            ends = NODE_FAR[version], FAR[version]
            for _ in range(COUNT):
                with contextlib.suppress(OSError):  # the sender is told
                    net.send(drops.udp(*ends, leaving), [(0x8100, 9)], ('n1', 'f0'))
            expected.add(key(UDP, *ends, leaving, 9), 'NETFILTER_DROP', COUNT, COUNT * size_of(version, 32), 'out n1')
        check_equal('packets of the rule', dropped()[0], 2 * COUNT)
    return expected


def super_packets(net):
    """Of what is sent here and of what arrives whole, one drop of the kernel's is that of many packets."""
    expected, segment, segments = Amounts(), 1000, 6
    payload = bytes(segment * (segments - 1) + 100)
    for role, chain, place, source, destination, ports in (
            ('node', 'output', 'out n1', NODE_FAR, FAR, (4011, 903)), ('peer', 'input', 'in n0', PEER, NODE, (4012, 904))):
        with net.rule('inet', chain, f'udp dport {ports[1]}') as dropped:
            for version in VERSIONS:
                for _ in range(COUNT):
                    # Of what is dropped before it leaves, the sender is told.
                    with contextlib.suppress(PermissionError):
                        traffic.udp_gso(net.box, role, (source[version], ports[0]), (destination[version], ports[1]),
                                        segment, payload)
                expected.add(key(UDP, source[version], destination[version], ports), 'NETFILTER_DROP', segments * COUNT,
                             COUNT * (len(payload) + segments * size_of(version, 0)), place)
            wait_until(lambda: dropped()[0] >= 2 * COUNT, 10, f'the rule to drop all {dropped()}')
            whole = sum(COUNT * (size_of(version, len(payload))) for version in VERSIONS)
            check_equal('packets and octets of the rule', dropped(), (2 * COUNT, whole))
    return expected


def last_fin(net):
    """Connections that this side closes first: the other's FIN comes to a socket that nobody has, and then to none."""
    expected = Amounts()
    for version in VERSIONS:
        for near, last, reason in (4013, [FIN | ACK], 'QUEUE_PURGE'), (4014, [ACK, FIN | ACK], 'NOT_SPECIFIED'):
            ends, ports = (PEER[version], NODE[version]), (905, near)
            with net.heard() as wire, \
                    traffic.bound(net.box, 'node', socket.SOCK_STREAM, NODE[version], near) as sock:
                sock.setblocking(False)
                sock.connect_ex((PEER[version], ports[0]))
                number = drops.tcp_number(wire, version, ports[0], SYN)
                net.send(drops.tcp(*ends, ports, SYN | ACK, (1000, number + 1)))
                drops.tcp_number(wire, version, ports[0], ACK)
            for flags in last:
                net.send(drops.tcp(*ends, ports, flags, (1001, number + 2)))
            expected.add(key(TCP, *ends, ports), reason, 1, IP_HEADER[version] + 20)
    return expected


def other_vlan(net):
    """Of a VLAN that is not here; the kernel forgets its tag."""
    expected, ports = Amounts(), (4000, 10)
    for version in VERSIONS:
        for _ in range(COUNT):
            net.send(drops.udp(PEER[version], NODE[version], ports), [(0x8100, 12)])
        expected.add(key(UDP, PEER[version], NODE[version], ports), 'OTHERHOST', COUNT, COUNT * size_of(version, 32))
    return expected


def test_kind(net, make):
    with drops.Meter(net, '--drops-exclude', 'CONSUMED') as meter:  # nothing is left out
        expected = make(net)
        ledger = meter.stop()['drops']
    lines = drops.differences(expected, meter.amounts)
    check(not lines, 'records differ from what was dropped:', *lines)
    check_equal('reasons of the ledger', meter.reasons, expected.reasons())
    check_equal('missed', ledger['missed'], 0)


class Tracer:
    """bpftrace, which counts by reason what happens in the node."""

    def __init__(self, box, directory):
        self.output = Path(directory) / 'bpftrace'
        script = TRACE.replace('NAMESPACE', str(int(re.search('[0-9]+', box.run('node', 'readlink', '/proc/self/ns/net'))[0])))
        with open(self.output, 'wb') as file:
            self.process = subprocess.Popen(['unshare', '--mount', 'sh', '-c', WITH_TRACEFS, 'sh', script],
                                            stdin=subprocess.DEVNULL, stdout=file, stderr=file)
        wait_until(lambda: 'ready' in self.text() or self.process.poll() is not None, 60, 'bpftrace')

    def text(self):
        return self.output.read_text(errors='replace')

    def runs(self):
        return self.process.poll() is None

    def stop(self):
        """{code: events}; None when it could not run."""
        if not self.runs():
            return None
        self.process.send_signal(2)
        self.process.wait(30)
        lines = [line[2:].split(']: ') for line in self.text().splitlines() if line.startswith('@[')]
        return {int(code): int(count) for code, count in lines}


class Made:
    """Most kinds under one exporter, with bpftrace beside it."""

    def __init__(self, net):
        self.expected, self.events = Amounts(), Counter()
        with scratch() as directory:
            tracer = Tracer(net.box, directory)
            with drops.Meter(net, '--interface', 'n1', '--drain-interval', '1s', '--drops-exclude', 'DUP_FRAG') as self.meter:
                for make in TOGETHER:
                    for drop, (packets, octets) in make(net).items():
                        self.expected.add_drop(drop, packets, octets)
                self.ledger = self.meter.stop()['drops']
            self.traced, self.trace_error = tracer.stop(), tracer.text()
        for drop, (packets, _) in self.expected.items():
            self.events[drop.reason] += events_of(drop, packets)


made = functools.lru_cache(maxsize=None)(Made)


def events_of(drop, packets):
    """Of the tracepoint, with a device: what is sent here has none yet; a super-packet is one."""
    if drop.key.source_port in (4003, 4011) and drop.reason == 'NETFILTER_DROP':
        return 0
    return packets // 6 if drop.key.source_port == 4012 else packets


def test_together(net):
    """By flow and reason what was sent, and nothing else, of which nothing is left out."""
    lines = drops.differences(made(net).expected, made(net).meter.amounts)
    check(not lines, 'records differ from what was dropped:', *lines)
    check_equal('totals by reason', made(net).meter.reasons, made(net).expected.reasons())
    check_equal('excluded', made(net).ledger['ignored'], {})
    check_equal('missed', made(net).ledger['missed'], 0)


def test_fields(net):
    """What a record says beside flow and place: times, the one interface, and what the reason means."""
    classes, rows = {}, made(net).meter.rows
    check(len(rows) >= len(made(net).expected), f'{len(rows)} records')
    for row in rows:
        name, interfaces = row['dropReasonName'], (row['ingressInterface'], row['egressInterface'])
        check(row['flowStartMilliseconds'] <= row['flowEndMilliseconds'], row)
        leaves = row['flowDirection']
        check(interfaces[leaves] > 0 and interfaces[not leaves] == 0, f'interfaces of {row}')
        check(row['forwardingStatus'] >> 6 == 2, f'no status of a drop: {row}')
        check(row['dropClass'] and row['dropExplanation'], row)
        classes[name] = row['dropClass']
    check_equal('class of NETFILTER_DROP', classes['NETFILTER_DROP'], 'policy')
    check_equal('class of QDISC_DROP', classes['QDISC_DROP'], 'congestion')


def test_other_tracer(net):
    """bpftrace sees each event, where the packet has a device: not yet, and not any more in a socket's queue."""
    if made(net).traced is None:
        raise Skip(f'bpftrace does not run here: {made(net).trace_error[:200]}')
    codes = {row['dropReasonName']: row['dropReason'] for row in made(net).meter.rows}
    for name in 'NO_SOCKET', 'NETFILTER_DROP', 'IP_RPFILTER', 'IP_INNOROUTES', 'UDP_CSUM', 'QDISC_DROP', 'IP_INHDR':
        check_equal(f'{name} as bpftrace counts', made(net).traced.get(codes[name], 0), made(net).events[name])


def test_no_flow(net):
    """What has no IP header that can be read is in the totals, and in no record."""
    with drops.Meter(net) as meter:
        with traffic.bound(net.box, 'node', socket.SOCK_STREAM, NODE[4], 4016) as sock, net.heard() as wire:
            # A segment for which there is no route any more has no IP header yet; its RST neither.
            sock.setblocking(False)
            sock.connect_ex((PEER[4], 907))
            number = drops.tcp_number(wire, 4, 907, SYN)
            net.send(drops.tcp(PEER[4], NODE[4], (907, 4016), SYN | ACK, (1000, number + 1)))
            drops.tcp_number(wire, 4, 907, ACK)
            net.box.ip('node', 'route', 'add', 'unreachable', PEER[4])
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
            with net.counted(2, 'IpOutNoRoutes'):
                sock.send(bytes(100))
                sock.close()
            net.box.ip('node', 'route', 'delete', 'unreachable', PEER[4])
        for _ in range(COUNT):
            net.send_frame(0x88b5, bytes(50))
            for version in VERSIONS:
                net.send_frame(drops.ETHERTYPE[version], drops.udp(PEER[version], NODE[version], PORTS)[:10])
        ledger = meter.stop()['drops']
    check_equal('records', meter.amounts, {})
    check_equal('why', drops.packets_of(ledger['ignored']),
                {'no_header': 2, 'other_ethertype': COUNT, 'ipv4_short': COUNT, 'ipv6_short': COUNT})
    check_equal('reasons', meter.reasons,
                {'IP_OUTNOROUTES': 2, 'UNHANDLED_PROTO': COUNT, 'IP_INHDR': 2 * COUNT})


def test_benign(net):
    """Benign ones, of a VLAN that is not here, are counted, and recorded when asked for; so are others."""
    reasons = {'OTHERHOST': 2 * COUNT, 'NO_SOCKET': 2 * COUNT}
    for options, port, reason in (
            ((), 9, 'NO_SOCKET'), (('--drops-include', 'OTHERHOST'), 10, 'OTHERHOST'),
            (('--drops-include', 'benign'), 10, 'OTHERHOST'), (('--drops-exclude', 'no_receiver'), 10, 'OTHERHOST'),
            (('--drops-include', 'no_socket,benign', '--drops-exclude', 'OTHERHOST'), 9, 'NO_SOCKET')):
        expected = Amounts()
        with drops.Meter(net, *options) as meter:
            for version in VERSIONS:
                ends = PEER[version], NODE[version]
                for _ in range(COUNT):
                    net.send(drops.udp(*ends, (4000, 9)))
                    net.send(drops.udp(*ends, (4000, 10)), [(0x8100, 12)])
                expected.add(key(UDP, *ends, (4000, port)), reason, COUNT, COUNT * size_of(version, 32))
            ledger = meter.stop()['drops']
        lines = drops.differences(expected, meter.amounts)
        check(not lines, f'{options}: records differ from what was dropped:', *lines)
        check_equal('excluded', ledger['ignored']['excluded']['packets'], 2 * COUNT)
        check_equal('reasons', meter.reasons, reasons)


def leave_unread(net, role, sender, ports):
    """Datagrams that neither the UDP socket nor the raw one for which they are copied has read when they are closed."""
    here, there = (PEER, NODE) if role == 'peer' else (NODE, PEER)
    for version in VERSIONS:
        with net.box.entered(role):
            raw = socket.socket(socket.AF_INET6 if version == 6 else socket.AF_INET, socket.SOCK_RAW, UDP)
        with raw, traffic.bound(net.box, role, socket.SOCK_DGRAM, here[version], ports[1]) as sock:
            raw.bind((here[version], 0))
            traffic.udp(net.box, sender, (there[version], ports[0]), (here[version], ports[1]), COUNT + 1, bytes(32))
            sock.recv(1)
            raw.settimeout(10)
            raw.recv(1)
            net.settle()


def test_unread(net):
    """What a program has not read when it closes its socket: of UDP the kernel does not tell in which namespace it was."""
    unread, queue = (4014, 906), (4015, 906)
    for mode in 'own', 'all':
        expected = Amounts()
        with drops.Meter(net, '--drops-exclude', 'CONSUMED', '--drops-namespaces', mode) as meter:
            leave_unread(net, 'node', 'peer', unread)
            leave_unread(net, 'peer', 'node', queue)
            ledger = meter.stop()['drops']
        for version in VERSIONS:
            size = COUNT * size_of(version, 32)
            here, there = (key(UDP, PEER[version], NODE[version], unread), key(UDP, NODE[version], PEER[version], queue))
            expected.add(here, 'QUEUE_PURGE', COUNT, size)
            if mode == 'all':
                for flow, reason in (there, 'QUEUE_PURGE'), (here, 'NOT_SPECIFIED'), (there, 'NOT_SPECIFIED'):
                    expected.add(flow, reason, COUNT, size, place='in')
        rows = meter.rows if mode == 'own' else filter(drops.is_ours, meter.rows)
        lines = drops.differences(expected, drops.amounts_of(rows, net.interfaces()))
        check(not lines, f'{mode}: records differ from what was dropped:', *lines)
        if mode == 'all':
            check_equal('drops of an unknown namespace, of all', meter.homeless, 0)
            continue
        check(meter.homeless >= 4 * COUNT, f'{meter.homeless} drops of an unknown namespace')
        check_equal('reasons', meter.reasons, expected.reasons())
        check_equal('seen', ledger['seen'], expected.packets() + meter.homeless)


def test_off(net):
    """Nothing is loaded for drops, none is recorded, and the ledger has no word of them."""
    with drops.Meter(net, drops='off') as meter:
        closed_port(net)
        text = command('bpftool', '-j', 'prog', 'show')
        check_equal('programs that trace', drops.programs_of(text, meter.daemon.process.pid), [])
        check('drops' not in meter.stop(), 'there are drops in the ledger')
    check_equal('records', meter.amounts, {})


def test_no_btf(net):
    """Where the kernel says nothing of its types: flows alone, and a warning; none, if drops are asked for."""
    with drops.Meter(net, drops='auto', prefix=WITHOUT_BTF) as meter:
        closed_port(net)
        ledger = meter.stop()
        check('drops are not recorded: the kernel gives no BTF' in meter.daemon.stderr(), 'it does not say why')
    check('drops' not in ledger, 'there are drops in the ledger')
    check_equal('records of drops', meter.amounts, {})
    check(ledger['accounted']['packets'] >= 2 * COUNT, f'flows have no more than {ledger["accounted"]}')
    status, _, stderr = program.run('run', '--interface', 'n0', '--drops', 'on', prefix=net.box.inside('node', *WITHOUT_BTF))
    check_equal('exit status', status, 1)
    check('cannot trace drops: the kernel gives no BTF (CONFIG_DEBUG_INFO_BTF=y' in stderr, stderr)


def test_who_gets_them(net):
    """Collectors in the network get none without a word of it, in which the books balance all the same."""
    urls = 'ipfix://127.0.0.1:9', 'netflow9://127.0.0.1:9', 'ipfix://127.0.0.1:9?drops=on', 'file:///dev/null'
    collectors = [word for url in urls for word in ('--collector', url)]
    for mode, wanted in ('auto', [True, False, False, True, True]), ('on', [True] * 5):
        with drops.Meter(net, *collectors, drops=mode) as meter:
            closed_port(net)
            ledger = meter.stop()
        records = [sum(side['records'].values()) for side in (ledger, ledger['drops'])]
        check(records[1] >= 2, f'{records[1]} records of drops')
        check_equal(f'who gets drops, {mode}', [collector['drops'] for collector in ledger['collectors']], wanted)
        check_equal(f'records given, {mode}', [collector['given']['records'] for collector in ledger['collectors']],
                    [sum(records) if gets else records[0] for gets in wanted])


def test_collectors(net):
    """What nfdump, tshark and goflow2 read of them, in IPFIX and NetFlow v9."""
    goflow2 = readers.Goflow2 if readers.Goflow2.path() else None
    with scratch() as directory:
        box = net.box
        nfcapds = [collect.Nfcapd(box, 'node', directory, port) for port in (9995, 9996)]
        urls = ['ipfix://127.0.0.1:9995', 'netflow9://127.0.0.1:9996']
        if goflow2:
            goflow2 = goflow2(box, 'node', directory, 9997)
            urls.append('ipfix://127.0.0.1:9997')
        capture = Capture(box, 'node', 'lo', Path(directory) / 'wire.pcap', 'udp', snaplen=65535)
        with program.Daemon(box, 'node', '--interface', 'n0', '--drain-interval', '1s',
                            *[word for url in urls for word in ('--collector', url)], drops='on') as daemon:
            traffic.udp(box, 'peer', (PEER[4], 4000), (NODE[4], 5000), 11, PAYLOAD)
            traffic.udp(box, 'peer', (PEER[6], 4020), (NODE[6], 5020), 12, PAYLOAD)
            net.settle()
            daemon.stop()
        capture.stop()
        check_tshark(capture)
        for nfcapd in nfcapds:
            keys = [(record.key.source, record.flow.packets) for record in nfcapd.stop()
                    if record.key.source_port in (4000, 4020)]
            # the flow and the drop; nfdump 1.7.1 has no field for what is dropped
            check_equal(f'nfdump of port {nfcapd.port}', sorted(keys),
                        [(PEER[4], 0), (PEER[4], 11), (PEER[6], 0), (PEER[6], 12)])
        if goflow2:
            found = {(row['src_addr'], row['packets'], row['forwarding_status']) for row in goflow2.rows(4)}
            check(found >= {(PEER[4], 11, 0), (PEER[6], 12, 0), (PEER[4], 0, 141), (PEER[6], 0, 141)}, f'goflow2 has {found}')


def check_tshark(capture):
    fields = ['cflow.drop_packets', 'cflow.drop_octets', 'cflow.forwarding_status_drop_code', 'cflow.enterprise_private_entry']
    for port, own in ((9995, True), (9996, False)):
        rows = capture.rows(fields, '-d', f'udp.port=={port},cflow', '-E', 'occurrence=a', '-Y',
                            f'cflow.drop_packets && udp.dstport == {port}')
        packets, octets, codes = ([int(value) for row in rows for value in row[name].split(',')] for name in fields[:3])
        check_equal(f'port {port}: packets', sorted(packets), [11, 12])
        check_equal(f'port {port}: octets', sorted(octets), [11 * DATAGRAM, 12 * (DATAGRAM + 20)])
        check_equal(f'port {port}: drop code', codes, [13, 13])
        names = [bytes.fromhex(value.replace(':', ''))[:9] for row in rows
                 for value in row[fields[3]].split(',')[1::2] if value]
        check_equal(f'port {port}: names of the reason', names, [b'NO_SOCKET', b'NO_SOCKET'] if own else [])


def test_wrong_words(_net):
    status, _, stderr = program.run('run', '--interface', 'lo', '--drops-include', 'nonsense,benign,rubbish',
                                    '--drops-exclude', 'trash')
    check_equal('exit status', status, 2)
    for word in 'nonsense', 'rubbish', 'trash':
        check(f"'{word}': neither a class nor a reason" in stderr, stderr)


def test_privileges(_net):
    """Without CAP_PERFMON nothing can be loaded, and the error says so."""
    prefix = ('setpriv', '--bounding-set', '-perfmon,-sys_admin', '--inh-caps', '-perfmon,-sys_admin')
    with Lab('router') as box:
        box.ip('router', 'link', 'add', 'd0', 'type', 'veth', 'peer', 'name', 'd1')
        box.ip('router', 'link', 'set', 'd0', 'up')
        for mode in 'off', 'auto', 'on':
            words = box.inside('router', *prefix, program.binary(), 'run', '--interface', 'd0', '--drops', mode)
            done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
            check_equal(f'exit status with --drops {mode}', done.returncode, 1)
            check('CAP_PERFMON' in done.stderr, done.stderr)


def test_killed(_net):
    """kill -9: nothing of ours is called any more."""
    with Lab('router') as box:
        box.ip('router', 'link', 'add', 'd0', 'type', 'veth', 'peer', 'name', 'd1')
        box.ip('router', 'link', 'set', 'd0', 'up')
        with program.Daemon(box, 'router', '--interface', 'd0', drops='on') as daemon:
            check('flowtally_drop' in command('bpftool', 'prog', 'show'), 'the program is not loaded')
            daemon.kill()
            wait_until(lambda: 'flowtally_drop' not in command('bpftool', 'prog', 'show'), 10, 'the program to go')


def test_silence(net):
    """In all that time nothing has come from the interfaces themselves, which a test would have to tell from its own."""
    lines = net.box.run('node', 'cat', '/proc/net/snmp6').splitlines()
    sent = {name: int(value) for name, value in map(str.split, lines) if name.startswith('Icmp6Out')}
    kinds = 'MLDv2Reports', 'GroupMembResponses', 'RouterSolicits', 'NeighborSolicits', 'NeighborAdvertisements'
    check_equal('ICMPv6', {kind: sent[f'Icmp6Out{kind}'] for kind in kinds}, dict.fromkeys(kinds, 0))


KINDS = {
    'closed port': closed_port, 'firewall': firewall, 'hop limit': hop_limit, 'no route': no_route,
    'bad checksums': checksums, 'reverse path': reverse_path, 'full socket': full_socket,
    'full queue': full_queue, 'full backlog': full_backlog, 'fragments': fragments, 'VLANs': tagged,
    'super-packets': super_packets, 'last FIN': last_fin, 'replies to a raw ping': raw_ping,
    'a VLAN of nobody': other_vlan,
}
TOGETHER = (closed_port, firewall, hop_limit, no_route, checksums, reverse_path, full_socket, fragments, tagged, super_packets,
            other_vlan, full_queue)

OTHERS = {
    'kinds together': test_together, 'what a record says': test_fields, 'bpftrace': test_other_tracer,
    'no flow': test_no_flow, 'benign drops': test_benign, 'unread': test_unread,
    'switched off': test_off, "without the kernel's BTF": test_no_btf,
    'who gets them': test_who_gets_them, 'collectors': test_collectors, 'wrong words': test_wrong_words,
    'without CAP_PERFMON': test_privileges, 'kill -9': test_killed, 'silence': test_silence,
}
WITHOUT_BTF = 'unshare', '--mount', 'sh', '-c', 'mount --bind /dev/null /sys/kernel/btf/vmlinux && exec "$0" "$@"'


def main():
    tap.require('ip', 'nft', 'nstat', 'tc', 'ethtool', 'bpftool', 'bpftrace')
    program.binary()
    with drops.network() as net:
        tap.main([(name, functools.partial(test_kind, net, make)) for name, make in KINDS.items()] + [
            (name, functools.partial(test, net)) for name, test in OTHERS.items()],
            alone=True)  # as in test_drops_live.py


if __name__ == '__main__':
    main()
