#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Fields that only a live run has: interfaces, direction, drops and their reasons, options.  As test_fields.py.

Packets arrive, leave, and are dropped by a rule of nftables either way.  The kernel's numbers for the reasons come from its
tracefs, the numbers of forwardingStatus from RFC 7270.
"""
import contextlib
import re
import socket
import subprocess
import time
from pathlib import Path

import collect
import elements
import packet_facts
import program
import strict
import tap
import wire_records
from elements import DROPS, EXTENDED, OWN, TEMPLATES
from field_checks import by_json, check_layouts, compare, in_protocol, by_tshark, version_of, wanted_of
from made_packets import DESTINATION_MAC, FIRST, SOURCE_MAC, capture_of, frame, made, udp
from packet_facts import Near
from lab import Lab, command, scratch
from tap import check, check_equal

INDEX = 70123  # more than 16 bits
DOMAIN = 0x1234abcd
FORCED = 4
GAP_MS, SLACK_MS = 700, 300
SCHEMES = 'ipfix', 'netflow9'
DROP_TEMPLATES = {268: 4, 269: 6}
KEPT_MAC = bytes.fromhex('02cafe112233')
RULES = f'''table netdev fields {{
  chain ingress {{ type filter hook ingress device m0 priority 0; ether daddr {DESTINATION_MAC.hex(":")} drop; }};
  chain egress {{ type filter hook egress device m0 priority 0; ether daddr {DESTINATION_MAC.hex(":")} drop; }}; }}'''
# RFC 7270: status 10 (dropped) in two bits, and the reason: 2 ACL drop, 6 bad header checksum
STATUS = {'NETFILTER_DROP': 0b10 << 6 | 2, 'IP_CSUM': 0b10 << 6 | 6}
# Frames without a flow: LLDP, MPLS, a spanning tree
NO_FLOWS = [SOURCE_MAC + SOURCE_MAC + bytes.fromhex(head) + bytes(size) for head, size in
            (('88cc', 50), ('8847', 77), ('0026424203', 61))]
TRACEFS = 'mount -t tracefs tracefs /sys/kernel/tracing; cat /sys/kernel/tracing/events/skb/kfree_skb/format'


def kernel_reasons():
    """{name: number} of this kernel"""
    done = subprocess.run(['unshare', '-m', 'sh', '-c', TRACEFS], capture_output=True, text=True, check=True)
    return {name: int(number) for number, name in re.findall(r'\{ (\d+), "(\w+)" \}', done.stdout)}


class Live:
    """One run; `sent` has what was sent by group: (ms since 1970, frame)"""

    def __init__(self):
        self.scratch = scratch()
        self.folder = Path(self.scratch.name)
        self.sent, self.start_ms = {}, 0
        with Lab('peer', 'node') as box:
            self.make_net(box)
            with box.entered('node'):
                self.inboxes = {(name, scheme): wire_records.Inbox() for name in TEMPLATES for scheme in SCHEMES}
            urls = [f'{scheme}://127.0.0.1:{inbox.port}?template={TEMPLATES[name][0]}'
                    for (name, scheme), inbox in self.inboxes.items()]
            urls += [f'json://{self.folder}/live.json']
            with program.Daemon(box, 'node', '--interface', 'm0', '--ingress', 'tc', '--drain-interval', '300ms',
                                '--domain', DOMAIN, '--linger', '1h', '--idle-timeout', '1h', '--active-timeout', '2h',
                                '--statistics-interval', '300ms', '--drops-include', 'NETFILTER_DROP,IP_CSUM',
                                '--template', 'extended', *(word for url in urls for word in ('--collector', url)),
                                drops='on') as daemon:
                self.send(box)
                time.sleep(1.5)  # for drains and statistics
                daemon.stop()
            for inbox in self.inboxes.values():
                inbox.take()
        self.expect()
        self.shown = {}

    def make_net(self, box):
        command('ip', 'link', 'add', 'm0', 'index', INDEX, 'netns', box.names['node'], 'type', 'veth', 'peer', 'name', 'p0',
                'netns', box.names['peer'])
        for role, name in ('peer', 'p0'), ('node', 'm0'):
            box.run(role, 'ethtool', '-K', name, 'tso', 'off', 'gso', 'off', 'gro', 'off')
            box.ip(role, 'link', 'set', name, 'up')
        box.run('node', 'nft', RULES)
        self.mac = bytes.fromhex(box.link('node', 'm0')['address'].replace(':', ''))

    def plan(self):
        """[(group, who sends, frame)] of the first packets of flows, and of the others."""
        parts = [], []
        for number, (group, role, mac) in enumerate([('in', 'peer', DESTINATION_MAC), ('out', 'node', KEPT_MAC),
                                                     ('lost', 'node', DESTINATION_MAC)], 1):
            for version in 4, 6:
                for i, (_, octets) in enumerate(made(version, number, mac)):
                    parts[i not in FIRST].append((group, role, octets))
        parts[0].append(('wrong', 'peer', frame(4, 17, udp((5, 6), 7), number=9, flaw=1, mac=self.mac)))
        for part in parts:
            part.extend((None, 'peer', octets) for octets in NO_FLOWS)
        return parts

    def send(self, box):
        wires = {}
        for role, name in ('peer', 'p0'), ('node', 'm0'):
            with box.entered(role):
                wires[role] = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            wires[role].bind((name, 0))
        self.start_ms = round(time.time() * 1000)
        for part in self.plan():
            for group, role, octets in part:
                self.sent.setdefault(group, []).append((round(time.time() * 1000), octets))
                with contextlib.suppress(OSError):  # ENOBUFS: dropped on its way out, as it is to be
                    wires[role].send(octets)
            time.sleep(GAP_MS / 1000)
        for wire in wires.values():
            wire.close()

    def facts(self, group, **options):
        """Of each flow of a group"""
        path = self.folder / f'{group}.pcap'
        path.write_bytes(capture_of(self.sent[group]))
        found = [packet_facts.facts(flow, interface=INDEX, end=FORCED, name='m0', text=packet_facts.Begins('m0: '), **options)
                 for flow in packet_facts.flows_of(packet_facts.packets_of(path))]
        for values in found:
            for name in 'START', 'END', 'DURATION':
                values[name] = Near(values[name], SLACK_MS)
        return found

    def expect(self):
        reasons = kernel_reasons()

        def dropped(group, reason, **options):
            extra = {'DROP_REASON_NAME': reason, 'DROP_REASON': reasons[reason], 'FORWARDING_STATUS': STATUS[reason]}
            return [values | extra for values in self.facts(group, **options)]
        self.flows = self.facts('in') + self.facts('wrong') + self.facts('out', egress=True)
        self.drops = (dropped('in', 'NETFILTER_DROP') + dropped('wrong', 'IP_CSUM')
                      + dropped('lost', 'NETFILTER_DROP', egress=True))

    def records(self, name, scheme):
        """All of one collector, by tshark"""
        if (name, scheme) not in self.shown:
            path, inbox = self.folder / 'wire.pcap', self.inboxes[name, scheme]
            inbox.write(path)
            self.shown[name, scheme] = wire_records.read(path, inbox.port)
        return self.shown[name, scheme]


def check_live(live, name, scheme, names, expected, is_ours):
    records = [record for record in live.records(name, scheme) if is_ours(record)]
    compare(f'tshark ({scheme} {name})', [in_protocol(wanted_of(values, names), scheme == 'netflow9') for values in expected],
            [by_tshark(record, names, version_of(record)) for record in records])


def is_drop(record):
    return record.template in DROP_TEMPLATES


def is_flow(record):
    return not is_drop(record) and ('srcaddr' in record.fields or 'srcaddrv6' in record.fields)


def test_flows(live, name, scheme):
    check_live(live, name, scheme, TEMPLATES[name][1], live.flows, is_flow)


def test_drops(live, name, scheme):
    check_layouts(f'{scheme} {name}', live.inboxes[name, scheme], DROPS, DROP_TEMPLATES)
    check_live(live, name, scheme, DROPS, live.drops, is_drop)


def test_json(live):
    rows = collect.read_json(live.folder / 'live.json')
    compare('JSON of drops', [wanted_of(values, DROPS) for values in live.drops],
            [by_json(row, DROPS) for row in rows if 'droppedPacketDeltaCount' in row])
    compare('JSON of flows', [wanted_of(values, EXTENDED) for values in live.flows],
            [by_json(row, EXTENDED) for row in rows if 'packetDeltaCount' in row])


def test_not_zero(live):
    for symbol in elements.ELEMENTS:
        values = [values[symbol] for values in live.flows + live.drops if symbol in values]
        check(any(values), f'{symbol} is 0 in all records')


def of_template(live, name, scheme, number):
    found = [record for record in live.records(name, scheme) if record.template == number]
    check(found, f'{scheme} {name}: no record of template {number}')
    return found


def test_layouts(live, scheme):
    """Elements of options, their lengths and scopes; 520 is of what elements the records have, if they are not IANA's."""
    decoder = strict.Decoder()
    for port, payload in live.inboxes['extended', scheme].datagrams:
        decoder.feed(port, 0, payload)
    layouts = {template: (layout.fields, layout.scopes) for (_, template), layout in decoder.layouts.items() if layout.scopes}
    check_equal('templates of options', sorted(layouts.items()), sorted(elements.options_of(scheme == 'netflow9').items()))


def test_interfaces(live, scheme):
    fields = [record.fields for record in of_template(live, 'default', scheme, 514)]
    index = {'ipfix': 'inputint', 'netflow9': 'scope_interface'}[scheme]
    check_equal('interfaces', {(one[index], one['if_name']) for one in fields}, {(INDEX, 'm0')})
    check(all(one['if_descr'].startswith('m0: ') and 'tc' in one['if_descr'] for one in fields), fields[0]['if_descr'])


def test_sampling(live, scheme):
    """Every packet is metered: an interval of 1; by RFC 5477 1 packet and then a space of 0, systematic by count (1)."""
    scope = {'ipfix': 'od_id', 'netflow9': 'scope_system'}[scheme]
    for record in of_template(live, 'default', scheme, 513):
        check_equal('sampling', record.fields, {scope: DOMAIN, 'sampling_interval': 1})
    if scheme == 'ipfix':
        for record in of_template(live, 'default', scheme, 512):
            check_equal('selector', record.fields, {'selector_id': 1, 'selector_algorithm': 1, 'sampling_packet_interval': 1,
                                                    'sampling_packet_space': 0})


def test_types(live):
    names = ('private_enterprise_number', 'information_element_id', 'information_element_name',
             'information_element_data_type', 'information_element_semantics', 'information_element_units')
    rows = {tuple(record.fields[name] for name in names) for record in of_template(live, 'extended', 'ipfix', 520)}
    check_equal('types', rows, {(OWN, element.number, element.name, *element.kind) for element in elements.ELEMENTS.values()
                                if element.enterprise == OWN})


def test_statistics(live, scheme):
    """515: what was sent before; of records of flows and drops."""
    sizes = [len(payload) for _, payload in live.inboxes['default', scheme].datagrams]
    found = of_template(live, 'default', scheme, 515)
    check(len(found) > 2, f'{len(found)} records of statistics')
    decoder = strict.Decoder()
    for port, payload in live.inboxes['default', scheme].datagrams:
        decoder.feed(port, 0, payload)
    messages = decoder.messages()
    seen = 0
    for i, message in enumerate(messages):
        for record in message.records:
            if record.template == 515:
                flows = sum(not one.options for earlier in messages[:i] for one in earlier.records)
                check_equal('messages, records and octets', (record.number(41), record.number(42), record.number(40)),
                            (i, flows, sum(sizes[:i])))
                seen += 1
    check_equal('records of statistics by tshark', seen, len(found))


def test_ignored(live, scheme):
    """516: packets that are in no flow, and when."""
    last = of_template(live, 'default', scheme, 516)[-1].fields
    frames = [octets for _, octets in live.sent[None]]
    check_equal('packets', last['ignore_packets'], len(frames))
    check_equal('octets', last['ignore_octets'], sum(map(len, frames)))
    if scheme == 'ipfix':
        times = [when for when, _ in live.sent[None]]
        check_equal('first', Near(times[0] + 500, 1000), last['observation_time_milliseconds'])
        check_equal('last', Near(times[-1] + 500, 1000), last['last_observation_time_milliseconds'])


def main():
    tap.require('ip', 'nft', 'tshark', 'unshare')
    program.READY_SECONDS = 60  # it is no test of how quickly the programs are loaded
    program.binary()
    first = tap.once(Live)

    def live(test, *words):
        return lambda: test(first(), *words)

    tap.main([
        *((f'flows, {scheme}: {name}', live(test_flows, name, scheme)) for name in TEMPLATES for scheme in SCHEMES),
        *((f'drops, {scheme}: {name}', live(test_drops, name, scheme)) for name in TEMPLATES for scheme in SCHEMES),
        ('JSON', live(test_json)),
        ('no value is 0 everywhere', live(test_not_zero)),
        ('types of elements', live(test_types)),
        *((f'{test.__name__[5:]}, {scheme}', live(test, scheme)) for scheme in SCHEMES
          for test in (test_layouts, test_interfaces, test_sampling, test_statistics, test_ignored)),
    ], alone=True)  # as in test_drops_live.py


if __name__ == '__main__':
    main()
