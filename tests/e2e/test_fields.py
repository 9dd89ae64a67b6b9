#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Each field of each record has the value that its packets have, by tshark, in IPFIX, NetFlow v9, a file and JSON.

What a record must hold comes from tshark's reading of the packets (packet_facts.py), numbers and lengths from registries
(elements.py), and records are read by tshark, ipfixDump and python-ipfix.  No value that is compared is 0 in all flows.
"""
import functools
import json
import socket
import struct
from pathlib import Path

import collect
import drops
import elements
import packet_facts
import program
import strict
import tap
import wire_records
from elements import ELEMENTS, OWN, TEMPLATES, symbols_of
from packet_facts import Near
from sandbox import Sandbox, command, scratch
from tap import check, check_equal

START_S = 1600000000
MACS = bytes.fromhex('024f5e6d7c8b' + '0291a2b3c4d5')  # destination, source
HOSTS = {4: ('10.20.30.40', '198.51.100.7'), 6: ('2001:db8:1::5', '2001:db8:a:b::9')}
SYN, ACK_PSH_URG, FIN = 0x1c2, 0x238, 0x011  # with AE, ECE and CWR, and a reserved bit
IDLE, FIN_SEEN, FORCED = 1, 3, 4  # flowEndReason, RFC 5102
PROFILE_IDS = {'minimal': 280, 'default': 256, 'extended': 282}
DROP_IDS = {4: 266, 6: 267}


def frame(version, protocol, payload, tags=(), tos=0xb9, ttl=64, label=0, pad=False, hosts=None):
    """tags: [(ethertype, VLAN id), ...]"""
    source, destination = (socket.inet_pton(socket.AF_INET if version == 4 else socket.AF_INET6, host)
                           for host in hosts or HOSTS[version])
    if version == 4:
        head = struct.pack('!BBHHHBBH', 0x45, tos, 20 + len(payload), 77, 0, ttl, protocol, 0)
        check_sum = struct.pack('!H', drops.internet_sum(head + source + destination))
        packet = head[:10] + check_sum + source + destination + payload
    else:
        packet = struct.pack('!IHBB', 6 << 28 | tos << 20 | label, len(payload), protocol, ttl) + source + destination + payload
    link = MACS + b''.join(struct.pack('!HH', kind, 0xa000 | number) for kind, number in tags)
    whole = link + struct.pack('!H', drops.ETHERTYPE[version]) + packet
    return whole + bytes(max(0, 60 - len(whole)) if pad else 0)


def tcp(ports, flags, size=0):
    return struct.pack('!HHIIHHHH', *ports, 1, 2, 0x5000 | flags, 512, 0, 0) + bytes(size)


def udp(ports, size):
    return struct.pack('!HHHH', *ports, 8 + size, 0) + bytes(size)


def icmp(kind, code):
    return struct.pack('!BBHI', kind, code, 0, 0) + bytes(4)


def made(version):
    """[(ms since the first, frame)] of one IP version: a TCP connection in two tags, datagrams in one, an ICMP error."""
    tags, one = [(0x88a8, 0x7a1), (0x8100, 0x5b3)], [(0x8100, 0x9c5)]
    message = (1, icmp(3, 13)) if version == 4 else (58, icmp(1, 4))
    same = functools.partial(frame, version)
    return [
        (123, same(6, tcp((0xc351, 0x01bb), SYN), tags, tos=0xb9, ttl=61, label=0xabcde)),
        (1357, same(6, tcp((0xc351, 0x01bb), ACK_PSH_URG, 900), tags, tos=0x46, ttl=113, label=0x12345)),
        (2468, same(6, tcp((0xc351, 0x01bb), FIN, 30), tags, tos=0x46, ttl=57, label=0x12345)),
        (3000, same(*message, one, tos=0x2a, ttl=200, pad=True)),
        (3999, same(*message, one, tos=0x2a, ttl=201, pad=True)),
        (30011, same(17, udp((0xd431, 0x1451), 700), one, tos=0x8a, ttl=77, label=0xfedcb)),
        (31717, same(17, udp((0xd431, 0x1451), 1200), one, tos=0x8c, ttl=66, label=0xfedcb)),
    ]


ENDS = {6: FIN_SEEN, 17: FORCED, 1: IDLE, 58: IDLE}


def capture_of(frames):
    """frames: [(ms since 1970, frame)]"""
    head = struct.pack('<IHHiIII', 0xa1b2c3d4, 2, 4, 0, 0, 262144, 1)
    return head + b''.join(struct.pack('<IIII', when // 1000, when % 1000 * 1000, len(octets), len(octets)) + octets
                           for when, octets in frames)


def wanted_of(values, names):
    """What a record of the template with these symbols has, of what is known of its packets"""
    return {symbol: values[symbol] for symbol in symbols_of(names, values['IP_VERSION'])}


def compare(reader, expected, got):
    """Two lists of {symbol: value}; records are told apart by their values alone."""
    check_equal(f'records by {reader}', len(got), len(expected))
    left, lines = list(got), []
    for wanted in expected:
        best = min(left, key=lambda record, wanted=wanted: sum(record.get(name) != value for name, value in wanted.items()))
        left.remove(best)
        lines += [f'{ELEMENTS[name].name} ({name}): expected {wanted.get(name, "no such field")!r}, got '
                  f'{best.get(name, "no such field")!r}'
                  for name in sorted(wanted.keys() | best.keys()) if wanted.get(name) != best.get(name)]
    check(not lines, f'{reader} reads something else than was in the packets:', *lines[:20])


def value_of_own(name, octets):
    return octets.rstrip(b'\0').decode() if name == 'DROP_REASON_NAME' else int.from_bytes(octets, 'big')


def by_tshark(record, names, version):
    """{symbol: value} of what tshark shows of a record in a template with these symbols."""
    v9 = record.version == 9
    shown = {(v9 and ELEMENTS[symbol].v9_shown) or ELEMENTS[symbol].shown: symbol for symbol in symbols_of(names, version)}
    unknown = record.fields.keys() - shown.keys()
    check(not unknown, f'template {record.template}: tshark shows {sorted(unknown)}, which should not be there')
    return {shown[name]: value_of_own(shown[name], value) if isinstance(value, bytes) else value
            for name, value in record.fields.items()}


def version_of(record):
    return 6 if 'srcaddrv6' in record.fields else 4


def in_protocol(wanted, v9):
    return {symbol: value & 0xff if v9 and symbol == 'TCP_FLAGS_16' else value
            for symbol, value in wanted.items() if not v9 or ELEMENTS[symbol].v9}


def check_wire(name, inbox, path, names, expected, families):
    """Records of one kind on the wire; families: {template id: IP version}"""
    inbox.write(path)
    records = [record for record in wire_records.read(path, inbox.port) if record.template in families]
    v9 = records[0].version == 9 if records else False
    compare(f'tshark ({name})', [in_protocol(wanted_of(values, names), v9) for values in expected],
            [by_tshark(record, names, version_of(record)) for record in records])
    check_equal(f'{name}: templates by IP version', {families[record.template] - version_of(record) for record in records}, {0})


def check_layouts(name, inbox, names, families):
    """The templates have elements of the numbers and lengths of the registries, and the decoder's keys are the table's."""
    decoder = strict.Decoder()
    for port, payload in inbox.take():
        decoder.feed(port, 0, payload)
    for (version, template), layout in decoder.layouts.items():
        if template not in families:
            continue
        v9 = version == strict.NETFLOW9
        wanted = {(e.enterprise, e.v9 if v9 else e.number, e.v9_octets if v9 else e.octets): symbol
                  for symbol, e in ((symbol, ELEMENTS[symbol]) for symbol in symbols_of(names, families[template]))
                  if e.v9 or not v9}
        check_equal(f'{name}: template {template}', sorted(layout.fields), sorted(wanted))
        keys = sum(1 << i for i, field in enumerate(layout.fields) if wanted[field] in elements.KEYS)
        said = [record.number(173) for record in decoder.records(options=True)
                if record.has(173) and record.number(145) == template]
        check_equal(f'{name}: flowKeyIndicator of template {template}', set(said), {keys})


def symbol_by_name(names, version):
    return {ELEMENTS[symbol].name: symbol for symbol in symbols_of(names, version)}


def text_value(name, text):
    """A value as ipfixDump writes it"""
    if 'Milliseconds' in name and 'Duration' not in name:
        return collect.milliseconds(text)
    if 'Mac' in name:
        return text.lower()
    if 'Address' in name:
        return collect.address(text)
    return text if name == 'dropReasonName' else int(text, 0)


def by_fixbuf(fields, names):
    """ipfixDump knows elements of an enterprise from the records of RFC 5610 alone: not at all, here."""
    version = 6 if 'sourceIPv6Address' in fields else 4
    symbols = symbol_by_name(names, version)
    return {symbols[name]: text_value(name, text) for name, text in fields.items() if name in symbols}


def by_json(row, names):
    version = 6 if 'sourceIPv6Address' in row else 4
    symbols = symbol_by_name(names, version)
    unknown = row.keys() - symbols.keys() - {'dropClass', 'dropExplanation'}
    check(not unknown, f'JSON has {sorted(unknown)}, which should not be there')
    return {symbols[name]: value for name, value in row.items() if name in symbols}


class Offline:
    """One capture, replayed to each template in each form of output at once."""

    def __init__(self):
        self.scratch = scratch()
        folder = self.folder = Path(self.scratch.name)
        base = START_S * 1000
        frames = sorted((base + when + 7 * (version == 6), octets) for version in (4, 6) for when, octets in made(version))
        (folder / 'made.pcap').write_bytes(capture_of(frames))
        packets = packet_facts.packets_of(folder / 'made.pcap')
        check_equal('packets by tshark', len(packets), len(frames))
        self.expected = [packet_facts.facts(flow, end=ENDS[flow[0].protocol]) for flow in packet_facts.flows_of(packets)]
        self.inboxes = {}
        for number, (name, (template, _)) in enumerate(TEMPLATES.items()):
            urls = [f'file://{folder}/{number}.ipfix', f'json://{folder}/{number}.json']
            for scheme in 'ipfix', 'netflow9':
                inbox = self.inboxes[name, scheme] = wire_records.Inbox()
                urls.append(f'{scheme}://127.0.0.1:{inbox.port}')
            program.replay(folder / 'made.pcap', '--active-timeout', '1h', '--idle-timeout', '15s', '--linger', '2s',
                           '--template', template, *(word for url in urls for word in ('--collector', url)))
            for scheme in 'ipfix', 'netflow9':
                self.inboxes[name, scheme].take()

    def families(self, name):
        """{template id: IP version}"""
        decoder = strict.Decoder()
        for port, payload in self.inboxes[name, 'ipfix'].datagrams:
            decoder.feed(port, 0, payload)
        ids = sorted(template for (_, template), layout in decoder.layouts.items() if not layout.scopes)
        flows = [number for number in ids if number not in DROP_IDS.values()]
        check_equal(f'{name}: templates of flows', len(flows), 2)
        check(name not in PROFILE_IDS or flows[0] == PROFILE_IDS[name], f'{name} has the ids {flows}')
        return {flows[0]: 4, flows[1]: 6}


def test_not_zero(offline):
    """A wrong number is seen where the right one is not 0; what only a live run can say is in test_live()."""
    live = {'INGRESS_IF', 'EGRESS_IF', 'DIRECTION', 'POST_VLAN', 'FORWARDING_STATUS', 'DROP_REASON', 'DROP_REASON_NAME'}
    for symbol in ELEMENTS.keys() - live:
        values = {values[symbol] for values in offline.expected if symbol in values}
        check(any(values), f'{symbol} is 0 in all flows')


def test_wire(offline, name, scheme):
    names, inbox = TEMPLATES[name][1], offline.inboxes[name, scheme]
    families = offline.families(name)
    check_layouts(f'{scheme} {name}', inbox, names, families)
    check_wire(f'{scheme} {name}', inbox, offline.folder / f'{scheme}.pcap', names, offline.expected, families)


def test_json(offline, name):
    names = TEMPLATES[name][1]
    rows = collect.read_json(offline.folder / f'{list(TEMPLATES).index(name)}.json')
    compare('JSON', [wanted_of(values, names) for values in offline.expected], [by_json(row, names) for row in rows])


def test_file(offline, name):
    names = {symbol for symbol in TEMPLATES[name][1] if symbol == 'ICMP' or ELEMENTS[symbol].enterprise != OWN}
    fields = collect.read_fields(offline.folder / f'{list(TEMPLATES).index(name)}.ipfix')
    compare('ipfixDump', [wanted_of(values, names) for values in offline.expected], [by_fixbuf(row, names) for row in fields])


def test_types(offline):
    """RFC 5610 records of all elements that are not IANA's, by tshark."""
    inbox = offline.inboxes['extended', 'ipfix']
    inbox.write(offline.folder / 'types.pcap')
    rows = {tuple(record.fields.get(name) for name in ('private_enterprise_number', 'information_element_id',
                                                       'information_element_name', 'information_element_data_type',
                                                       'information_element_semantics', 'information_element_units'))
            for record in wire_records.read(offline.folder / 'types.pcap', inbox.port) if record.template == 520}
    check_equal('types', rows, {(OWN, element.number, element.name, *element.kind) for element in ELEMENTS.values()
                                if element.enterprise == OWN and not element.name.startswith('drop')})


def main():
    tap.require('ip', 'nft', 'tshark', 'ipfixDump')
    program.binary()
    cache = []

    def offline(test, *words):
        def run():
            if not cache:
                cache.append(Offline())
            test(cache[0], *words)
        return run

    tap.main([
        ('each row of the table has an element', elements.check_covered),
        ('elements are those of the registry', elements.check_registry),
        ('no value is 0 everywhere', offline(test_not_zero)),
        *((f'{scheme}: {name}', offline(test_wire, name, scheme)) for name in TEMPLATES for scheme in ('ipfix', 'netflow9')),
        *((f'JSON: {name}', offline(test_json, name)) for name in TEMPLATES),
        *((f'file: {name}', offline(test_file, name)) for name in TEMPLATES),
        ('types of elements', offline(test_types)),
    ])


if __name__ == '__main__':
    main()
