# SPDX-License-Identifier: Apache-2.0
"""What a record must say of packets, computed from what tshark shows of each of them."""
import ipaddress
from dataclasses import dataclass

from lab import command

FIELDS = ('frame.time_epoch', 'frame.len', 'eth.src', 'eth.dst', 'frame.protocols', 'ieee8021ad.id', 'vlan.id',
          'eth.padding', 'ip.version', 'ip.src', 'ip.dst', 'ip.proto', 'ip.len', 'ip.ttl', 'ip.dsfield', 'ip.dsfield.dscp',
          'ipv6.src', 'ipv6.dst', 'ipv6.nxt', 'ipv6.plen', 'ipv6.hlim', 'ipv6.tclass', 'ipv6.tclass.dscp', 'ipv6.flow',
          'tcp.srcport', 'tcp.dstport', 'tcp.flags', 'udp.srcport', 'udp.dstport', 'icmp.type', 'icmp.code', 'icmpv6.type',
          'icmpv6.code')
IPV6_HEADER = 40
PADDING = 'eth.padding'


class Begins:
    """Equal to each text that begins so"""

    def __init__(self, start):
        self.start = start

    def __eq__(self, other):
        return isinstance(other, str) and other.startswith(self.start)

    def __ne__(self, other):
        return not self == other

    def __hash__(self):
        return hash(self.start)

    def __repr__(self):
        return f'{self.start}...'


class Near(int):
    """A number that may be somewhat off: of time that passed while nobody looked."""

    def __new__(cls, value, slack):
        number = super().__new__(cls, value)
        number.slack = slack
        return number

    def __eq__(self, other):
        return isinstance(other, int) and abs(int(self) - int(other)) <= self.slack

    def __ne__(self, other):
        return not self == other

    def __hash__(self):
        return 0

    def __repr__(self):
        return f'{int(self)} +- {self.slack}'


@dataclass
class Packet:
    time_ms: int
    version: int
    source: str
    destination: str
    protocol: int
    ports: tuple
    icmp: int
    vlans: tuple
    macs: tuple
    tos: int
    dscp: int
    ttl: int
    label: int
    flags: int
    octets: int  # of the IP packet
    frame: int   # without padding

    def key(self):
        return self.protocol, self.source, self.destination, self.ports, self.icmp, self.vlans


def integer(text):
    return int(text or '0', 0)


def vlans_of(row):
    """VLAN ids of the tags, the outermost first; tshark has a dissector for each kind of tag."""
    left = {'ieee8021ad': row['ieee8021ad.id'].split(','), 'vlan': row['vlan.id'].split(',')}
    return tuple(integer(left[name].pop(0)) for name in row['frame.protocols'].split(':') if name in left)


def packet_of(row):
    def either(four, six):
        return row[four] or row[six]
    version = 4 if row['ip.src'] else 6
    seconds, _, fraction = row['frame.time_epoch'].partition('.')
    ports = tuple(integer(either(f'tcp.{end}port', f'udp.{end}port')) for end in ('src', 'dst'))
    icmp = integer(either('icmp.type', 'icmpv6.type')) * 256 + integer(either('icmp.code', 'icmpv6.code'))
    padding = len(row[PADDING].replace(':', '')) // 2
    return Packet(
        int(seconds) * 1000 + int(fraction[:3]), version,
        *(str(ipaddress.ip_address(either(f'ip.{end}', f'ipv6.{end}'))) for end in ('src', 'dst')),
        integer(either('ip.proto', 'ipv6.nxt')), ports, icmp, vlans_of(row), (row['eth.src'], row['eth.dst']),
        integer(either('ip.dsfield', 'ipv6.tclass')), integer(either('ip.dsfield.dscp', 'ipv6.tclass.dscp')),
        integer(either('ip.ttl', 'ipv6.hlim')), integer(row['ipv6.flow']), integer(row['tcp.flags']),
        integer(row['ip.len']) if version == 4 else integer(row['ipv6.plen']) + IPV6_HEADER,
        integer(row['frame.len']) - padding)


def packets_of(path):
    """The packets of a capture of Ethernet frames that all hold IP."""
    words = [word for field in FIELDS for word in ('-e', field)]
    text = command('tshark', '-n', '-r', path, '-T', 'fields', '-E', 'occurrence=a', '-o', 'eth.padding:zeros', *words)
    return [packet_of(dict(zip(FIELDS, line.split('\t'), strict=True))) for line in text.splitlines()]


def flows_of(packets):
    """Lists of the packets of a flow each"""
    flows = {}
    for packet in packets:
        flows.setdefault(packet.key(), []).append(packet)
    return list(flows.values())


def facts(packets, egress=False, interface=0, end=0, name='', text=''):
    """{symbol: value} of the record of these packets.  Of drops: what records of drops have"""
    first, last = packets[0], packets[-1]
    flags, outer, inner = 0, *(first.vlans + (0, 0))[:2]
    for packet in packets:
        flags |= packet.flags
    values = {
        f'SRC_IPV{first.version}': first.source, f'DST_IPV{first.version}': first.destination,
        'SRC_PORT': first.ports[0], 'DST_PORT': first.icmp or first.ports[1], f'ICMP_IPV{first.version}': first.icmp,
        'PROTOCOL': first.protocol, 'IP_VERSION': first.version, 'TOS': first.tos, 'DSCP': first.dscp,
        'TCP_FLAGS': flags & 0xff, 'TCP_FLAGS_16': flags, 'FIRST_TCP_FLAGS': first.flags, 'FLOW_LABEL': first.label,
        'INTERFACE_NAME': name, 'INTERFACE_TEXT': text,
        'DIRECTION': int(egress), 'INGRESS_IF': 0 if egress else interface, 'EGRESS_IF': interface if egress else 0,
        'VLAN': 0 if egress else outer, 'POST_VLAN': outer if egress else 0, 'OUTER_VLAN': outer, 'INNER_VLAN': inner,
        'SRC_MAC': first.macs[0], 'DST_MAC': first.macs[1], 'START': first.time_ms, 'END': last.time_ms,
        'DURATION': last.time_ms - first.time_ms, 'END_REASON': end,
        'MIN_TTL': min(packet.ttl for packet in packets), 'MAX_TTL': max(packet.ttl for packet in packets),
        'MIN_LENGTH': min(packet.octets for packet in packets), 'MAX_LENGTH': max(packet.octets for packet in packets),
        'OCTETS': sum(packet.octets for packet in packets), 'PACKETS': len(packets),
        'LAYER2_OCTETS': sum(packet.frame for packet in packets),
    }
    return values | {'DROPPED_OCTETS': values['OCTETS'], 'DROPPED_PACKETS': values['PACKETS']}
