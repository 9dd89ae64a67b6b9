#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Each field of each record has the value that its packets have, by tshark, in IPFIX, NetFlow v9, a file and JSON.

What a record must hold comes from tshark's reading of the packets (packet_facts.py), numbers and lengths from registries
(elements.py), and records are read by tshark, ipfixDump and python-ipfix.  No value that is compared is 0 in all flows.
"""
import json
from pathlib import Path

import collect
import elements
import packet_facts
import program
import readers
import strict
import tap
import wire_records
from elements import ELEMENTS, OWN, TEMPLATES
from field_checks import by_fixbuf, by_json, check_layouts, check_wire, compare, wanted_of
from made_packets import capture_of, made
from lab import command, scratch
from tap import check, check_equal

START_S = 1600000000
IDLE, FIN_SEEN, FORCED = 1, 3, 4  # flowEndReason, RFC 5102
PROFILE_IDS = {'minimal': 280, 'default': 256, 'extended': 282}
ENDS = {6: FIN_SEEN, 17: FORCED, 1: IDLE, 58: IDLE}


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
        check_equal(f'{name}: templates of flows', len(ids), 2)
        check(name not in PROFILE_IDS or ids[0] == PROFILE_IDS[name], f'{name} has the ids {ids}')
        return {ids[0]: 4, ids[1]: 6}


def test_not_zero(offline):
    """A wrong number is seen where the right one is not 0; what only a live run can say is in test_fields_live.py."""
    live = {'INGRESS_IF', 'EGRESS_IF', 'DIRECTION', 'POST_VLAN', 'FORWARDING_STATUS', 'DROP_REASON', 'DROP_REASON_NAME',
            'INTERFACE_NAME', 'INTERFACE_TEXT'}
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


def test_own(offline):
    """Elements that are not IANA's in a file, by python-ipfix, which is told of them; ipfixDump does not read them."""
    path = offline.folder / f'{list(TEMPLATES).index("extended")}.ipfix'
    text = command('/usr/bin/python3', '-c', readers.PYTHON_IPFIX, path, f'firstTcpControlBits({OWN}/1)<unsigned16>[2]')
    rows = [row for row in map(json.loads, text.splitlines()) if 'octetDeltaCount' in row]
    check_equal('flags of first packets', sorted((row['octetDeltaCount'], row['firstTcpControlBits']) for row in rows),
                sorted((values['OCTETS'], values['FIRST_TCP_FLAGS']) for values in offline.expected))


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
    tap.require('tshark', 'ipfixDump')
    program.binary()
    first = tap.once(Offline)

    def offline(test, *words):
        return lambda: test(first(), *words)

    tap.main([
        ('each row of the table has an element', elements.check_covered),
        ('elements are those of the registry', elements.check_registry),
        ('no value is 0 everywhere', offline(test_not_zero)),
        *((f'{scheme}: {name}', offline(test_wire, name, scheme)) for name in TEMPLATES for scheme in ('ipfix', 'netflow9')),
        *((f'JSON: {name}', offline(test_json, name)) for name in TEMPLATES),
        *((f'file: {name}', offline(test_file, name)) for name in TEMPLATES),
        ('file: own elements', offline(test_own)),
        ('types of elements', offline(test_types)),
    ])


if __name__ == '__main__':
    main()
