# SPDX-License-Identifier: Apache-2.0
"""Packets for a node to drop, and the records of drops that it makes.

    peer (p0) --- (n0) node (n1) --- (f0) far

The exporter runs in `node`, which forwards.  Frames are made whole, in `peer`, so that each bit of them is known.
"""
import contextlib
import ipaddress
import json
import os
import socket
import struct
from collections import Counter
from typing import NamedTuple

import collect
import program
import traffic
from lab import Lab, scratch, wait_until
from tap import check
from truth import Key

NUMBER = os.getpid()  # in the addresses: others may run the same test, and see all namespaces
NETWORK = {4: f'10.{100 + NUMBER % 100}', 6: f'fd81:{NUMBER % 0xffff + 1:x}'}
PEER = {4: f'{NETWORK[4]}.1.1', 6: f'{NETWORK[6]}:1::1'}
NODE = {4: f'{NETWORK[4]}.1.2', 6: f'{NETWORK[6]}:1::2'}
NODE_FAR = {4: f'{NETWORK[4]}.2.1', 6: f'{NETWORK[6]}:2::1'}
FAR = {4: f'{NETWORK[4]}.2.2', 6: f'{NETWORK[6]}:2::2'}
ETHERTYPE = {4: 0x0800, 6: 0x86dd}
VERSIONS = 4, 6
UDP, TCP, UDP_HEADER = 17, 6, 8
IP_HEADER = {4: 20, 6: 40}
IP6_FRAGMENT = 44
RULES = '''
table inet drops { chain input { type filter hook input priority 0; }; chain output { type filter hook output priority 0; };
  chain forward { type filter hook forward priority 0; }; }
table netdev drops { chain ingress { type filter hook ingress device n0 priority 0; }; }
'''
EGRESS = 'add chain netdev drops egress { type filter hook egress device n1 priority 0; }'
EGRESS_SINCE = 5, 16  # Linux


class Drop(NamedTuple):
    """place: side and interface, such as 'in n0'"""
    key: Key
    reason: str
    place: str
    inner_vlan: int

    def __str__(self):
        return f'{self.key}/{self.inner_vlan} {self.place} {self.reason}'


class Amounts(dict):
    """{Drop: [packets, octets]}"""

    def add(self, key, reason, packets, octets, place='in n0', inner_vlan=0):
        self.add_drop(Drop(key, reason, place, inner_vlan), packets, octets)

    def add_drop(self, drop, packets, octets):
        amount = self.setdefault(drop, [0, 0])
        amount[0] += packets
        amount[1] += octets

    def packets(self):
        return sum(packets for packets, _ in self.values())

    def reasons(self):
        counts = Counter()
        for drop, (packets, _) in self.items():
            counts[drop.reason] += packets
        return dict(counts)


def internet_sum(data):
    words = struct.unpack(f'!{(len(data) + 1) // 2}H', data + b'\0' * (len(data) & 1))
    total = sum(words)
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


def packed(host):
    return ipaddress.ip_address(host).packed


def ip(source, destination, protocol, payload, ttl=64, fragment=0, number=77, flaw=0):
    """An IP packet; flaw: added to the header's checksum; fragment: flags and offset of IPv4"""
    if ':' in source:
        head = struct.pack('!IHBB', 6 << 28, len(payload), protocol, ttl)
        return head + packed(source) + packed(destination) + payload
    addresses = packed(source) + packed(destination)
    head = struct.pack('!BBHHHBBH', 0x45, 0, 20 + len(payload), number, fragment, ttl, protocol, 0) + addresses
    return head[:10] + struct.pack('!H', (internet_sum(head) + flaw) & 0xffff) + head[12:] + payload


def with_sum(source, destination, protocol, segment, at, flaw):
    """The segment with its checksum at that offset; flaw: what is added to it"""
    pseudo = packed(source) + packed(destination) + struct.pack('!II', len(segment), protocol)
    value = (internet_sum(pseudo + segment) + flaw) & 0xffff
    return segment[:at] + struct.pack('!H', value or 0xffff) + segment[at + 2:]


def datagram(source, destination, ports, size, flaw=0):
    """Header and payload of so many octets"""
    plain = struct.pack('!HHHH', *ports, UDP_HEADER + size, 0) + bytes(size)
    return with_sum(source, destination, UDP, plain, 6, flaw)


def udp(source, destination, ports, size=32, flaw=0, **options):
    return ip(source, destination, UDP, datagram(source, destination, ports, size, flaw), **options)


def tcp(source, destination, ports, flags, numbers=(1000, 0), flaw=0):
    """numbers: sequence and acknowledgment"""
    plain = struct.pack('!HHIIBBHHH', *ports, *numbers, 0x50, flags, 1000, 0, 0)
    return ip(source, destination, TCP, with_sum(source, destination, TCP, plain, 16, flaw))


def fragments(source, destination, ports, size, pieces, number=77):
    """A datagram cut into pieces of equal size, a multiple of 8 octets but for the last"""
    whole = datagram(source, destination, ports, size)
    step = (len(whole) // pieces + 7) // 8 * 8
    for at in range(0, len(whole), step):
        part, more = whole[at:at + step], at + step < len(whole)
        if ':' in source:
            head = struct.pack('!BBHI', UDP, 0, at | more, number)
            yield ip(source, destination, IP6_FRAGMENT, head + part)
        else:
            yield ip(source, destination, UDP, part, fragment=more << 13 | at >> 3, number=number)


def tcp_number(sock, version, port, flags):
    """Sequence number of the next segment to that port that has these flags and no other"""
    while True:
        header = sock.recv(2048)[IP_HEADER[version]:]
        if len(header) >= 20 and header[2:4] == struct.pack('!H', port) and header[13] == flags:
            return int.from_bytes(header[4:8], 'big')


def key(protocol, source, destination, ports, vlan=0):
    return Key(protocol, source, destination, *ports, vlan)


class Net:
    def __init__(self, box):
        self.box = box
        box.veth(('peer', 'p0'), ('node', 'n0'))
        box.veth(('node', 'n1'), ('far', 'f0'))
        box.address(('peer', 'p0', PEER.values()), ('node', 'n0', NODE.values()))
        box.address(('node', 'n1', NODE_FAR.values()), ('far', 'f0', FAR.values()))
        # Nobody but the test sends in the node: it looks for no neighbours, and answers with no errors.
        for role in 'peer', 'far':
            box.run(role, 'nft', 'add table inet quiet; add chain inet quiet out { type filter hook output priority 0; }; '
                    'add rule inet quiet out meta l4proto != udp drop')
        box.run('node', 'sysctl', '-qw', 'net.ipv4.ip_forward=1', 'net.ipv6.conf.all.forwarding=1',
                'net.ipv4.conf.all.rp_filter=0', 'net.ipv4.conf.n0.rp_filter=0')
        box.run('node', 'nft', RULES)
        if tuple(map(int, os.uname().release.split('.')[:2])) >= EGRESS_SINCE:
            box.run('node', 'nft', EGRESS)
        for role, name in ('peer', 'p0'), ('far', 'f0'):
            box.run(role, 'ethtool', '-K', name, 'gro', 'off')
        self.mac = {name: box.link(role, name)['address'] for role, name in
                    (('peer', 'p0'), ('node', 'n0'), ('node', 'n1'), ('far', 'f0'))}
        self.wires = {}
        for role, name in ('peer', 'p0'), ('node', 'n1'):
            with box.entered(role):
                self.wires[name] = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            self.wires[name].bind((name, 0))

    def settle(self):
        """What was sent to the node has been dropped, if it is to be, and what closed sockets held."""
        traffic.pass_queues(self.box, ('peer', 'p0'), ('node', 'n0'))
        traffic.free_all(self.box, 'far')

    def close(self):
        for wire in self.wires.values():
            wire.close()

    def send_frame(self, ethertype, payload, tags=(), ends=('p0', 'n0')):
        """tags: [(ethertype, VLAN id), ...]; ends: interfaces, of which the first sends"""
        head = bytes.fromhex((self.mac[ends[1]] + self.mac[ends[0]]).replace(':', ''))
        head += b''.join(struct.pack('!HH', *tag) for tag in tags)
        self.wires[ends[0]].send(head + struct.pack('!H', ethertype) + payload)

    def send(self, packet, tags=(), ends=('p0', 'n0')):
        self.send_frame(ETHERTYPE[packet[0] >> 4], packet, tags, ends)

    @contextlib.contextmanager
    def heard(self):
        """A socket for the packets that p0 gets from now on"""
        with self.box.entered('peer'):
            sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))
        with sock:
            sock.bind(('p0', 3))
            sock.settimeout(10)
            yield sock

    def nft(self, *words):
        return self.box.run('node', 'nft', *words)

    def rules(self, family):
        """Counters of the rules of a table: [(packets, octets), ...]"""
        text = json.loads(self.nft('-j', 'list', 'table', family, 'drops'))
        rules = [entry['rule']['expr'] for entry in text['nftables'] if 'rule' in entry]
        return [(one['counter']['packets'], one['counter']['bytes']) for rule in rules for one in rule if 'counter' in one]

    @contextlib.contextmanager
    def rule(self, family, chain, text):
        """A rule of nftables that lasts as long as this; gives a function that says what it has dropped."""
        self.nft(f'add rule {family} drops {chain} {text} counter drop')
        try:
            yield lambda: tuple(map(sum, zip(*self.rules(family), strict=True)))
        finally:
            self.nft(f'flush chain {family} drops {chain}')

    def interfaces(self):
        """Names of the node's interfaces by index"""
        return {link['ifindex']: link['ifname'] for link in json.loads(self.box.ip('node', '-j', 'link', 'show'))}

    def queue_drops(self):
        """What the queue in front of n1 has dropped."""
        return json.loads(self.box.ip_tc('node', '-s', '-j', 'qdisc', 'show', 'dev', 'n1'))[0]['drops']

    def counters(self):
        return json.loads(self.box.run('node', 'nstat', '-asz', '-j'))['kernel']

    @contextlib.contextmanager
    def counted(self, expected, *names):
        """What is done inside makes the kernel's counters of these names, together, grow by so much."""
        def total():
            counters = self.counters()
            return sum(counters[name] for name in names)
        before = total()
        yield
        wait_until(lambda: total() - before >= expected, 10, f'{expected} of {" + ".join(names)}')
        check(total() - before == expected, f'{" + ".join(names)}: expected {expected}, got {total() - before}')


@contextlib.contextmanager
def network():
    with Lab('peer', 'node', 'far', ipv6=True) as box:
        net = Net(box)
        try:
            yield net
        finally:
            net.close()


def place_of(row, names):
    side = 'out' if row['flowDirection'] else 'in'
    index = row['egressInterface' if row['flowDirection'] else 'ingressInterface']
    return f'{side} {names[index]}' if index else side


def record_of(row, names):
    """(Drop, packets, octets); names: of interfaces, by index"""
    version = row['ipVersion']
    ports = row['sourceTransportPort'], row['destinationTransportPort']
    if (version, row['protocolIdentifier']) in collect.ICMP_PROTOCOLS:
        ports = 0, row[f'icmpTypeCodeIPv{version}']
    vlan = collect.one_vlan(row, row['vlanId'], row['postVlanId'])
    it = key(row['protocolIdentifier'], *(collect.address(row[f'{side}IPv{version}Address'])
                                          for side in ('source', 'destination')), ports, vlan)
    drop = Drop(it, row['dropReasonName'], place_of(row, names), row['dot1qCustomerVlanId'])
    return drop, row['droppedPacketDeltaCount'], row['droppedOctetDeltaCount']


def programs_of(text, pid):
    """Names of a process's programs for tracepoints, of what `bpftool -j prog show` says"""
    return [program['name'] for program in json.loads(text) if program['type'] == 'tracing' and
            any(owner['pid'] == pid for owner in program.get('pids', ()))]


def rows_of(path):
    return [row for row in collect.read_json(path) if 'droppedPacketDeltaCount' in row]


def packets_of(amounts):
    return {name: amount['packets'] for name, amount in amounts.items()}


def is_ours(row):
    """Whether the packet is one of this test, wherever it was dropped."""
    source = collect.address(row[f'sourceIPv{row["ipVersion"]}Address'])
    return source.startswith(tuple(f'{NETWORK[version]}{".:"[version == 6]}' for version in VERSIONS))


def take_homeless(ledger):
    """Packets of which the kernel has not told the namespace: anybody's, so that the rest of the ledger is the test's."""
    return ledger['ignored'].pop('namespace_unknown', {'packets': 0})['packets']


def amounts_of(rows, names):
    amounts = Amounts()
    for row in rows:
        amounts.add_drop(*record_of(row, names))
    return amounts


def differences(expected, got):
    lines = []
    for drop in sorted(expected.keys() | got.keys(), key=str):
        wanted, found = expected.get(drop), got.get(drop)
        if wanted != found:
            lines.append(f'{drop}: expected {wanted or "none"}, got {found or "none"}')
    return lines


class Meter:
    """The exporter in the node; with Meter(net) as meter: ...

    stop() gives its ledger; `rows` are then the records of drops, `amounts` what they sum up to, `reasons` the ledger's
    packets by reason, and `homeless` those without a namespace, which are no longer in the ledger.
    """

    def __init__(self, net, *options, drops='on', prefix=()):
        self.scratch = scratch()
        self.path = f'{self.scratch.name}/drops.json'
        self.daemon = program.Daemon(net.box, 'node', '--interface', 'n0', '--collector', f'json://{self.path}', *options,
                                     drops=drops, prefix=prefix)
        self.net, self.amounts, self.reasons, self.rows, self.homeless = net, Amounts(), {}, [], 0

    def __enter__(self):
        self.daemon.__enter__()
        return self

    def __exit__(self, *error):
        self.daemon.__exit__(*error)
        self.scratch.cleanup()

    def stop(self):
        self.net.settle()
        ledger = self.daemon.stop()
        self.rows = rows_of(self.path)
        if 'drops' in ledger:
            self.reasons = packets_of(ledger['drops']['reasons'])
            self.homeless = take_homeless(ledger['drops'])
        self.amounts = amounts_of(self.rows, self.net.interfaces())
        return ledger
