# SPDX-License-Identifier: Apache-2.0
"""A decoder of IPFIX (RFC 7011) and NetFlow v9 (RFC 3954) that forgives nothing.

It shares no code with the exporter.  What a standard forbids, or a known collector misreads, is a Failure.
"""
import ipaddress
import struct
from dataclasses import dataclass, field

from tap import check, check_equal
from truth import Flow, Key

VARIABLE = 65535
IPFIX, NETFLOW9 = 10, 9
HEADERS = {IPFIX: 16, NETFLOW9: 20}
TEMPLATE_SETS = {IPFIX: (2, 3), NETFLOW9: (0, 1)}  # templates, options templates
DATA_SET_MIN = 256
MASK32 = (1 << 32) - 1
NEW_BOOT_MS = 24 * 86400 * 1000  # NetFlow v9: for so long the time of the start stays the same
STRINGS = {82, 83, 341}
REPEATED = {323}  # observationTimeMilliseconds: of the first and the last, in this order
V9_SCOPES = {1: 149, 2: 10, 5: 145}  # system, interface, template: read as the elements they stand for


@dataclass(frozen=True)
class Template:
    fields: tuple  # (enterprise number, element, octets)
    scopes: int    # 0: not of options


@dataclass
class Record:
    template: int
    options: bool
    values: dict  # (enterprise number, element): octets, of the last field of that name
    message: 'Message'

    def number(self, element, enterprise=0):
        return int.from_bytes(self.values.get((enterprise, element), b''), 'big')

    def has(self, element, enterprise=0):
        return (enterprise, element) in self.values

    def text(self, element):
        return self.values[(0, element)].rstrip(b'\0').decode()

    def times(self):
        """Start and end, ms since 1970."""
        if self.has(152):
            return self.number(152), self.number(153)
        return tuple(self.message.boot_ms + self.number(element) for element in (22, 21))

    def flow(self):
        """(key, flow) as the exporter's truth has them."""
        six = self.has(27)
        source, destination = (str(ipaddress.ip_address(self.values[(0, element)]))
                               for element in ((27, 28) if six else (8, 12)))
        icmp = self.number(4) == (58 if six else 1)
        ports = (0, self.number(139 if six else 32) or self.number(11)) if icmp else (self.number(7), self.number(11))
        vlan = self.number(58) or self.number(59)
        return (Key(self.number(4), source, destination, *ports, vlan),
                Flow(self.number(2), self.number(1), self.number(6) & 0xff, *self.times()))


@dataclass
class Message:
    when: float  # of the datagram, s since 1970
    octets: int
    version: int
    export_time: int
    sequence: int
    domain: int
    uptime_ms: int = 0
    sets: list = field(default_factory=list)     # ids
    records: list = field(default_factory=list)  # of data
    templates: int = 0

    @property
    def boot_ms(self):
        return self.export_time * 1000 - self.uptime_ms


@dataclass
class Session:
    """One exporter's socket to one collector: what it has said so far."""
    templates: dict = field(default_factory=dict)  # (domain, id): Template
    sequences: dict = field(default_factory=dict)  # domain: of the next message
    export_time: int = 0
    boot: tuple = ()  # (ms since 1970, export time when it was first said)
    messages: list = field(default_factory=list)


class Decoder:
    """Takes datagrams in the order in which they were sent."""

    def __init__(self, lossless=True):
        self.lossless = lossless  # no message may be missing
        self.sessions = {}
        self.layouts = {}  # (version, id): Template, of all sessions: an id is never used for something else
        self.missing = 0   # by the sequence numbers: records, or messages of NetFlow v9

    def feed(self, session, when, payload):
        """session: whatever tells exporting sockets apart."""
        state = self.sessions.setdefault(session, Session())
        message = parse_header(when, payload)
        self.read_sets(state, message, payload)
        self.check_sequence(state, message)
        check_times(state, message)
        state.messages.append(message)
        return message

    def messages(self):
        return [message for state in self.sessions.values() for message in state.messages]

    def records(self, options=False):
        return [record for message in self.messages() for record in message.records if record.options == options]

    def read_sets(self, state, message, payload):
        at, counted = HEADERS[message.version], 0
        while at < len(payload):
            check(at + 4 <= len(payload), f'{len(payload) - at} octets behind the last set')
            number, length = struct.unpack_from('!HH', payload, at)
            check(length > 4 and at + length <= len(payload), f'set {number} of {length} octets at {at}')
            check(message.version == IPFIX or length % 4 == 0, f'set {number} of {length} octets: not padded to 4')
            content = payload[at + 4:at + length]
            if number in TEMPLATE_SETS[message.version]:
                counted += self.read_templates(state, message, number, content)
            else:
                counted += self.read_data(state, message, number, content)
            message.sets.append(number)
            at += length
        check(message.sets, 'a message without sets')
        if message.version == NETFLOW9:
            check_equal('records by the header', struct.unpack_from('!H', payload, 2)[0], counted)

    def read_templates(self, state, message, set_id, content):
        options, at, count = set_id == TEMPLATE_SETS[message.version][1], 0, 0
        while len(content) - at >= 4:
            number, template, at = parse_template(message.version, content, at, options)
            check(number >= DATA_SET_MIN, f'template id {number}')
            known = self.layouts.setdefault((message.version, number), template)
            check_equal(f'layout of template {number}, used before', template, known)
            state.templates[message.domain, number] = template
            count += 1
        check(count, f'set {set_id} has no template')
        check(count == 1 or not options, 'several options templates in a set: nfdump and pmacct read the first alone')
        check(not any(content[at:]), f'padding of set {set_id} is not zero')
        message.templates += count
        return count

    def read_data(self, state, message, number, content):
        check(number >= DATA_SET_MIN, f'set id {number}')
        template = state.templates.get((message.domain, number))
        check(template, f'data of template {number} before the template itself')
        shortest = sum(1 if length == VARIABLE else length for _, _, length in template.fields)
        at, count = 0, 0
        while len(content) - at >= shortest:
            values, at = parse_record(template, content, at)
            message.records.append(Record(number, template.scopes > 0, values, message))
            count += 1
        check(count, f'set {number} has no record')
        check(not any(content[at:]), f'padding of set {number} is not zero')
        check(len(content) - at < (4 if message.version == NETFLOW9 else 1), f'{len(content) - at} octets of padding')
        return count

    def check_sequence(self, state, message):
        expected = state.sequences.get(message.domain, 0)
        gap = (message.sequence - expected) & MASK32
        check(not (gap and self.lossless), f'sequence number {message.sequence}, expected {expected}')
        self.missing += gap
        steps = 1 if message.version == NETFLOW9 else len(message.records)
        state.sequences[message.domain] = (message.sequence + steps) & MASK32


def parse_header(when, payload):
    version, second = struct.unpack_from('!HH', payload)
    check(version in HEADERS, f'version {version}')
    check(len(payload) > HEADERS[version], f'a message of {len(payload)} octets')
    if version == IPFIX:
        check_equal('message length against the datagram', second, len(payload))
        return Message(when, len(payload), version, *struct.unpack_from('!III', payload, 4))
    uptime, *rest = struct.unpack_from('!IIII', payload, 4)
    return Message(when, len(payload), version, *rest, uptime_ms=uptime)


def parse_template(version, content, at, options):
    """(id, template, where it ends)"""
    number, count = struct.unpack_from('!HH', content, at)
    check(count, f'template {number} is withdrawn, which UDP does not allow')
    at, scopes, fields = at + 4, 0, []
    if options:
        scopes = struct.unpack_from('!H', content, at)[0]
        at += 2
        if version == NETFLOW9:  # octets of the scopes, and of the rest
            scopes, count = count // 4, (count + scopes) // 4
        check(0 < scopes <= count, f'options template {number}: {scopes} scopes of {count} fields')
    for i in range(count):
        element, length = struct.unpack_from('!HH', content, at)
        enterprise, at = 0, at + 4
        if version == IPFIX and element & 0x8000:
            enterprise, element, at = struct.unpack_from('!I', content, at)[0], element & 0x7fff, at + 4
        if version == NETFLOW9 and i < scopes:
            element = V9_SCOPES[element]
        check(length, f'template {number}: element {element} of no length')
        fields.append((enterprise, element, length))
    names = [name[:2] for name in fields if name[1] not in REPEATED]
    check_equal(f'template {number}: elements, each once', len(names), len(set(names)))
    return number, Template(tuple(fields), scopes), at


def parse_record(template, content, at):
    values = {}
    for enterprise, element, length in template.fields:
        if length == VARIABLE:
            length, at = content[at], at + 1
            if length == 255:
                length, at = struct.unpack_from('!H', content, at)[0], at + 2
        value = content[at:at + length]
        check(len(value) == length, f'element {element} ends behind its set')
        if enterprise == 0 and element in STRINGS:
            value.decode('utf-8')
        values[enterprise, element] = value
        at += length
    return values, at


def check_times(state, message):
    """Export times never go back, and no flow ends before it starts or after it is exported."""
    check(message.export_time >= state.export_time, f'export time {message.export_time} after {state.export_time}')
    state.export_time = message.export_time
    if message.version == NETFLOW9:
        boot, said = state.boot or (message.boot_ms, message.export_time)
        if message.boot_ms != boot:
            check(message.export_time - said > NEW_BOOT_MS / 1000 - 86400, f'boot time {message.boot_ms} after {boot}')
            said = message.export_time
        state.boot = message.boot_ms, said
    for record in message.records:
        if record.options or not (record.has(152) or record.has(22)):
            continue
        start, end = record.times()
        check(start <= end, f'a flow from {start} to {end}')
        check(end // 1000 <= message.export_time, f'a flow ends at {end}, exported at {message.export_time} s')
        if message.version == NETFLOW9:
            first, last = record.number(22), record.number(21)
            check(first <= last <= message.uptime_ms, f'FIRST {first}, LAST {last}, uptime {message.uptime_ms} ms')


def decode(capture, port=None, lossless=True):
    """All that a Capture has, by a Decoder.  port: to this port alone."""
    decoder = Decoder(lossless)
    ends = ['ip.src', 'ipv6.src', 'udp.srcport', 'ip.dst', 'ipv6.dst', 'udp.dstport']
    fields = ['frame.time_epoch', *ends, 'udp.payload']
    for row in capture.rows(fields, '--disable-protocol', 'cflow', '-Y', 'udp.payload && !icmp && !icmpv6'):
        if port and int(row['udp.dstport']) != port:
            continue
        session = tuple(row[name] for name in ends)
        decoder.feed(session, float(row['frame.time_epoch']), bytes.fromhex(row['udp.payload']))
    return decoder
