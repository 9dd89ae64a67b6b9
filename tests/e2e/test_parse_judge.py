#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The parser against tshark, frame by frame: captures, the packet table, and each of its rows cut at each octet.

tshark dissects link and network layers and the first transport header, nothing above, and reassembles nothing.  From its
fields follows by the rules of xdp/flow.h what a frame's flow is, or why it is in none.  Frames that the two define
differently are in DIFFERENT, each kind with its reason, and counted.
"""
import itertools
import os
import sys
from collections import Counter
from pathlib import Path

import tap
import truth
from lab import command, scratch
from tap import check

KEEP = {'arp', 'ah', 'data', 'dccp', 'eapol', 'eth', 'ethertype', 'frame', 'icmp', 'icmpv6', 'ieee8021ad', 'ip', 'ipv6', 'lldp',
        'llc', 'mpls', 'ppp', 'pppoed', 'pppoes', 'sctp', 'tcp', 'udp', 'udplite', 'vlan'}
KEEP_PREFIX = 'ipv6.'
OPTIONS = ('ip.defragment:FALSE', 'ipv6.defragment:FALSE', 'tcp.desegment_tcp_streams:FALSE', 'ip.check_checksum:FALSE',
           'tcp.analyze_sequence_numbers:FALSE', 'ip.decode_tos_as_diffserv:TRUE', 'eth.padding:never')
FIELDS = ('frame.number', 'frame.len', 'frame.cap_len', 'frame.protocols', 'eth.src', 'eth.dst', 'eth.type', 'eth.len',
          'ieee8021ad.id', 'ieee8021ad.svid', 'ieee8021ad.cvid', 'vlan.id', 'vlan.etype', 'vlan.len', 'pppoe.version',
          'pppoe.type', 'pppoe.code', 'pppoe.payload_length', 'ppp.protocol', 'ip.version', 'ip.hdr_len', 'ip.len',
          'ip.frag_offset', 'ip.flags.mf', 'ip.proto', 'ip.src', 'ip.dst', 'ip.ttl', 'ip.dsfield', 'ipv6.version',
          'ipv6.plen', 'ipv6.nxt', 'ipv6.hlim', 'ipv6.tclass', 'ipv6.flow', 'ipv6.src', 'ipv6.dst', 'ipv6.hopopts.nxt',
          'ipv6.hopopts.len_oct', 'ipv6.opt.jumbo', 'ipv6.routing.nxt', 'ipv6.routing.len_oct', 'ipv6.dstopts.nxt',
          'ipv6.dstopts.len_oct', 'ipv6.fraghdr.nxt', 'ipv6.fraghdr.offset', 'ipv6.fraghdr.more', 'ah.next_header',
          'ah.length', 'tcp.srcport', 'tcp.dstport', 'tcp.flags', 'udp.srcport', 'udp.dstport', 'sctp.srcport',
          'sctp.dstport', 'dccp.srcport', 'dccp.dstport', 'icmp.type', 'icmp.code', 'icmpv6.type', 'icmpv6.code')
ETHERNET, TAG, PPPOE = 14, 4, 8
TAG_LAYERS = 'vlan', 'ieee8021ad'
VLANS_FOLLOWED, EXTENSIONS_FOLLOWED = 4, 8  # docs/metering.md
# IANA's protocol numbers, and how short a transport header can be (RFC 9293, 768, 3828, 9260, 4340; ICMP: type and code)
ICMP, TCP, UDP, DCCP, ICMPV6, SCTP, UDPLITE = 1, 6, 17, 33, 58, 132, 136
SHORTEST = {TCP: 20, UDP: 8, UDPLITE: 8, SCTP: 12, DCCP: 12}
PORT_FIELDS = {TCP: 'tcp', UDP: 'udp', UDPLITE: 'udp', SCTP: 'sctp', DCCP: 'dccp'}
HOP_BY_HOP, ROUTING, FRAGMENT, AH, NO_NEXT, DESTINATION = 0, 43, 44, 51, 59, 60
EXTENSIONS = {HOP_BY_HOP: 'ipv6.hopopts', ROUTING: 'ipv6.routing', DESTINATION: 'ipv6.dstopts'}
NAMES = ('version', 'source', 'destination', 'protocol', 'source port', 'destination port', 'VLAN', 'inner VLAN', 'TTL', 'TOS',
         'flow label', 'TCP flags', 'octets', 'link octets', 'source MAC', 'destination MAC')


class Unjudged(Exception):
    """tshark does not show what is needed; the text is a key of DIFFERENT."""


# Why tshark is no judge of a frame.
DIFFERENT = {
    'snapped': 'the capture does not hold the headers: what is not there cannot be compared',
    'length 0': 'a length 0 in a capture stands for "as long as the frame" where a NIC has segmented it; others ignore it',
    'no field': 'tshark stops at a header that it takes for broken, and does not show what stands behind it',
    'jumbo': 'tshark does not take the length of a packet from a jumbo payload option',
}


class Frame:
    """tshark's fields of a frame.  Those of headers in a tunnel come behind the outermost one's."""

    def __init__(self, row, captured):
        self.captured = captured
        self.values = {name: [text for text in value.split(',') if text] for name, value in row.items()}
        self.layers = row['frame.protocols'].split(':')

    def has(self, name):
        return bool(self.values[name])

    def text(self, name):
        if not self.values[name]:
            raise Unjudged('no field')
        return self.values[name][0]

    def number(self, name):
        text = self.text(name)
        return {'True': 1, 'False': 0}[text] if text in ('True', 'False') else int(text, 0)

    def length(self, name, room):
        """Of a packet; on the wire 0 is no length, but in a capture it stands for what there is (TSO)."""
        return self.number(name) or (room if self.captured else 0)

    def take(self, name):
        """The next one of what is there several times."""
        if not self.values[name]:
            raise Unjudged('no field')
        return int(self.values[name].pop(0), 0)


def link_of(frame):
    """(layer above, octets of the link layer, VLAN ids); or a reason"""
    octets, vlans, length = ETHERNET, [], frame.number('frame.len')
    if length < ETHERNET:
        return 'link_short'
    for layer in frame.layers:
        if layer in TAG_LAYERS:
            if len(vlans) == VLANS_FOLLOWED:
                return 'vlan_depth'
            if length < octets + TAG:
                return 'link_short'
            octets += TAG
            two = layer == 'ieee8021ad' and not frame.has('ieee8021ad.id')  # which tshark shows as one layer
            names = ('ieee8021ad.svid', 'ieee8021ad.cvid') if two else (f'{layer}.id',)
            vlans += [frame.take(name) for name in names]
            octets += two * TAG
        elif layer not in ('eth', 'ethertype'):
            return layer, octets, vlans
    return '', octets, vlans


def judge_pppoe(frame, link):
    """(layer above, octets of the link layer); or a reason"""
    left = frame.number('frame.len') - link
    if left < PPPOE:
        return 'link_short'
    head = tuple(frame.number(f'pppoe.{name}') for name in ('version', 'type', 'code'))
    length = frame.number('pppoe.payload_length')  # from the PPP protocol on: RFC 2516
    if head != (1, 1, 0) or length < 2 or length > left - PPPOE + 2:
        return 'pppoe_bad'
    layer = {0x21: 'ip', 0x57: 'ipv6'}.get(frame.number('ppp.protocol'))
    return (layer, link + PPPOE) if layer else 'pppoe_control'


def judge_ipv4(frame, room):
    """Of the outermost header, on whose layer the frame has `room` octets."""
    if room < 20:
        return 'ipv4_short'
    if frame.number('ip.version') != 4:
        return 'ipv4_version'
    header = frame.number('ip.hdr_len')
    if header < 20:
        return 'ipv4_ihl'
    octets = frame.length('ip.len', room)
    if octets < header or octets > room:
        return 'ipv4_length'
    offset, more = frame.number('ip.frag_offset'), frame.number('ip.flags.mf')
    return {'version': 4, 'source': frame.text('ip.src'), 'destination': frame.text('ip.dst'),
            'protocol': frame.number('ip.proto'), 'TTL': frame.number('ip.ttl'), 'TOS': frame.number('ip.dsfield'),
            'flow label': 0, 'octets': octets, 'left': octets - header, 'fragment': offset > 0 or more, 'later': offset > 0}


def walk(frame, octets):
    """(protocol, octets of headers, is it a fragment, a later one) of a chain of IPv6 extension headers; or a reason"""
    protocol, used, fragment, offset = frame.number('ipv6.nxt'), 40, False, 0
    for count in itertools.count():
        if protocol not in (*EXTENSIONS, FRAGMENT, AH) or offset:
            return protocol, used, fragment, offset > 0
        if count == EXTENSIONS_FOLLOWED:
            return 'ipv6_depth'
        if octets - used < 8:
            return 'ipv6_extension'
        if protocol == FRAGMENT:
            length, offset = 8, frame.take('ipv6.fraghdr.offset')
            more = frame.values['ipv6.fraghdr.more'].pop(0) in ('1', 'True')
            fragment = fragment or more or offset > 0
            protocol = frame.take('ipv6.fraghdr.nxt')
        elif protocol == AH:
            length, protocol = (frame.take('ah.length') + 2) * 4, frame.take('ah.next_header')
        else:
            name = EXTENSIONS[protocol]
            length, protocol = frame.take(f'{name}.len_oct'), frame.take(f'{name}.nxt')
        used += length
        if used > octets:
            return 'ipv6_extension'
    return None


def judge_ipv6(frame, room):
    if room < 40:
        return 'ipv6_short'
    if frame.number('ipv6.version') != 6:
        return 'ipv6_version'
    octets, following = frame.number('ipv6.plen') + 40, frame.number('ipv6.nxt')
    if octets == 40 and following == HOP_BY_HOP:
        raise Unjudged('jumbo')
    if octets == 40 and following != NO_NEXT:
        octets = frame.length('ipv6.plen', room - 40) + 40
    if octets > room:
        return 'ipv6_length'
    found = walk(frame, octets)
    if isinstance(found, str):
        return found
    protocol, used, fragment, later = found
    return {'version': 6, 'source': frame.text('ipv6.src'), 'destination': frame.text('ipv6.dst'), 'protocol': protocol,
            'TTL': frame.number('ipv6.hlim'), 'TOS': frame.number('ipv6.tclass'), 'flow label': frame.number('ipv6.flow'),
            'octets': octets, 'left': octets - used, 'fragment': fragment, 'later': later}


def add_transport(frame, flow):
    """Ports and TCP flags; or a reason.  Of a fragment: what there is."""
    protocol, left = flow['protocol'], flow['left']
    flow |= {'source port': 0, 'destination port': 0, 'TCP flags': 0}
    icmp = {(4, ICMP): 'icmp', (6, ICMPV6): 'icmpv6'}.get((flow['version'], protocol))
    shortest = 2 if icmp else SHORTEST.get(protocol, 0)
    if flow['later'] or not shortest:
        return flow
    if left < shortest and not flow['fragment']:
        return 'transport_short'
    if flow['fragment'] and left < (4 if protocol == TCP else shortest):
        return flow
    if icmp:
        flow['destination port'] = frame.number(f'{icmp}.type') * 256 + frame.number(f'{icmp}.code')
        return flow
    name = PORT_FIELDS[protocol]
    flow['source port'], flow['destination port'] = frame.number(f'{name}.srcport'), frame.number(f'{name}.dstport')
    if protocol == TCP and not flow['fragment']:
        flow['TCP flags'] = frame.number('tcp.flags')
    return flow


def judge_ip(frame, layer, link, vlans):
    room = frame.number('frame.len') - link
    flow = judge_ipv4(frame, room) if layer == 'ip' else judge_ipv6(frame, room)
    if not isinstance(flow, str):
        flow = add_transport(frame, flow)
    if isinstance(flow, str):
        return flow
    tags = (vlans + [0, 0])[:2]
    flow |= {'VLAN': tags[0], 'inner VLAN': tags[1], 'link octets': link, 'source MAC': frame.text('eth.src'),
             'destination MAC': frame.text('eth.dst')}
    return tuple(flow[name] for name in NAMES)


LINK_CONTROL = {0x88cc, 0x888e, 0x8809, 0x8808, 0x88f7, 0x8902, 0x88e5, 0x9000}
ETHERTYPES = {0x0806: 'arp', 0x8035: 'arp', 0x8847: 'mpls', 0x8848: 'mpls', 0x8863: 'pppoe_control'}


def judge_other(frame, ethertype, room):
    """A frame in which tshark sees no IP; ethertype: behind all tags."""
    if ethertype == 0x86dd:  # tshark has looked at the version first
        return 'ipv6_short' if room < 40 else 'ipv6_version'
    if ethertype in LINK_CONTROL:
        return 'link_control'
    return ETHERTYPES.get(ethertype) or ('llc' if ethertype < 0x600 else 'other_ethertype')


def ethertype_of(frame):
    if 'llc' in frame.layers or frame.has('eth.len') or frame.has('vlan.len'):
        return 0
    tags = [layer for layer in frame.layers if layer in TAG_LAYERS]
    if tags:
        if tags[-1] != 'vlan' or not frame.has('vlan.etype'):
            raise Unjudged('no field')
        return int(frame.values['vlan.etype'][-1], 0)
    return frame.number('eth.type') if frame.has('eth.type') else 0


def judge(frame):
    """A reason, or a tuple of what NAMES says."""
    found = link_of(frame)
    if isinstance(found, str):
        return found
    layer, link, vlans = found
    if layer == 'pppoes':
        found = judge_pppoe(frame, link)
        if isinstance(found, str):
            return found
        layer, link = found
    if layer in ('ip', 'ipv6'):
        return judge_ip(frame, layer, link, vlans)
    return judge_other(frame, ethertype_of(frame), frame.number('frame.len') - link)


def disabled():
    """Names of all protocols but those that are needed."""
    names = (line.split('\t')[2] for line in command('tshark', '-G', 'protocols').splitlines())
    return [name for name in names if name not in KEEP and not name.startswith(KEEP_PREFIX)]


def dissect(path, folder, captured):
    """tshark's fields of each frame; captured: a length of 0 is the frame's"""
    (Path(folder) / 'disabled_protos').write_text('\n'.join(disabled()) + '\n', encoding='utf-8')
    words = [word for field in FIELDS for word in ('-e', field)] + [
        word for option in (*OPTIONS, f'ip.tso_support:{captured}') for word in ('-o', option)]
    text = command('tshark', '-n', '-r', path, '-T', 'fields', '-E', 'occurrence=a', *words,
                   env=os.environ | {'WIRESHARK_CONFIG_DIR': str(folder)})
    return [dict(zip(FIELDS, line.split('\t'), strict=True)) for line in text.split('\n') if line]


def parsed(words):
    """[(name, number, reason or tuple)] of what parse_frames says"""
    frames = []
    for line in command(*words).splitlines():
        name, number, reason, *values = line.split('\t')
        values = tuple(int(text) if text.isdigit() else text for text in values)
        frames.append((name, number, values if reason == 'flow' else reason))
    return frames


def said(verdict, other):
    """What differs in a verdict from another."""
    if isinstance(verdict, str) or isinstance(other, str):
        return verdict if isinstance(verdict, str) else 'a flow'
    return ', '.join(f'{name} {value}' for name, value, another in zip(NAMES, verdict, other, strict=True) if value != another)


def compare(frames, rows, captured):
    """(lines of what differs, Counter of what was not judged by its cause)"""
    lines, unjudged = [], Counter()
    check(len(frames) == len(rows), f'{len(frames)} frames parsed, tshark has {len(rows)}')
    for (name, number, ours), row in zip(frames, rows, strict=True):
        frame = Frame(row, captured)
        try:
            theirs = judge(frame)
        except Unjudged as cause:
            unjudged[str(cause)] += 1
            continue
        if ours == 'out_of_reach' and row['frame.cap_len'] != row['frame.len']:
            unjudged['snapped'] += 1
        elif captured and ours == 'ipv4_length' and not isinstance(theirs, str):
            unjudged['length 0'] += 1
        elif ours != theirs:
            lines.append(f'{name}, {number}: {said(ours, theirs)}; tshark: {said(theirs, ours)}')
    return lines, unjudged


def check_frames(frames, rows, captured, most):
    """most: the share of frames that may go without a judge"""
    lines, unjudged = compare(frames, rows, captured)
    check(not lines, f'{len(lines)} of {len(frames)} frames differ:', *lines[:40])
    tap.comment(f'{len(frames)} frames, not judged: {dict(unjudged)}')
    check(unjudged.total() <= most * len(frames), f'{unjudged.total()} of {len(frames)} frames are not judged:',
          *(f'{number}: {DIFFERENT[cause]}' for cause, number in unjudged.items()))


def test_table(program, kind, most):
    with scratch() as folder:
        path = f'{folder}/table.pcap'
        frames = parsed([program, kind, path])
        check_frames(frames, dissect(path, folder, False), False, most)


def test_captures(program):
    paths = captures()
    with scratch() as folder:
        joined = f'{folder}/joined.pcap'
        command('mergecap', '-a', '-F', 'pcap', '-w', joined, *paths)
        check_frames(parsed([program, 'captures', *paths]), dissect(joined, folder, True), True, 0.001)


def captures():
    """With those of single kinds of faults, where they are."""
    folder = truth.folder()
    folders = folder, folder / 'malformed', folder.parent / 'cases'
    return [path for place in folders if place.is_dir() for path in truth.captures_in(place)]


def test_judge():
    """The judge would see a wrong value of each kind."""
    values = tuple(range(len(NAMES)))
    for i, name in enumerate(NAMES):
        wrong = values[:i] + (99,) + values[i + 1:]
        check(said(wrong, values) == f'{name} 99', f'a wrong {name} is shown as {said(wrong, values)}')


def main():
    tap.require('tshark', 'mergecap')
    program = sys.argv[1]
    tap.main([
        ('the judge names what differs', test_judge),
        ('the packet table', lambda: test_table(program, 'table', 0.1)),
        ('the packet table, cut', lambda: test_table(program, 'cut', 0.05)),
        ('captures', lambda: test_captures(program)),
    ])


if __name__ == '__main__':
    main()
