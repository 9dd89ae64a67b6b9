#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What goes over the network to a collector: message sizes, templates, options, sequence numbers, times.

The datagrams are captured on their way to nfcapd and read by tshark and by a strict decoder.
"""
import time
from collections import Counter
from pathlib import Path

import collect
import program
import strict
import tap
import traffic
from capture import Capture
from lab import Lab, scratch
from tap import check, check_equal

METER, PEER = '10.73.0.1', '10.73.0.2'
PORT = 9995
FLOWS = 120
MESSAGE_MAX = 1400
TEMPLATE_SET = 2
DOMAIN = 77
STATISTICS = 515, 516, 517
TEMPLATE_INTERVAL = 2
COPIES, COPIES_SECONDS = 3, 6
PROBLEMS = '_ws.expert.severity >= warning || _ws.malformed'


class Wire:
    """One run of the exporter, and all that it sent."""

    def __init__(self):
        with scratch() as directory, Lab('meter', 'peer') as box:
            box.veth(('meter', 'm0'), ('peer', 'p0'), offloads=False)
            box.address(('meter', 'm0', [METER]), ('peer', 'p0', [PEER]))
            nfcapd = collect.Nfcapd(box, 'meter', directory, PORT)
            self.ifindex = box.link('meter', 'm0')['ifindex']
            capture = Capture(box, 'meter', 'lo', f'{directory}/lo.pcapng', f'udp port {PORT}', 65535)
            file = Path(directory) / 'flows.ipfix'
            with program.Daemon(box, 'meter', '--interface', 'm0', '--egress', 'off', '--drain-interval', '1s',
                                '--idle-timeout', '2s', '--template-interval', f'{TEMPLATE_INTERVAL}s',
                                '--domain', DOMAIN, '--statistics-interval', '2s',
                                '--collector', nfcapd.url, '--collector', f'file://{file}') as daemon:
                for _ in range(4):
                    for port in range(FLOWS):
                        traffic.udp(box, 'peer', (PEER, 10000 + port), (METER, 9), 1)
                    time.sleep(3)
                self.ledger = daemon.stop()
            capture.stop()
            self.inputs = {record.fields['input'] for record in nfcapd.stop()}
            self.sequence_errors = nfcapd.sequence_errors()
            self.records = len(collect.read_ipfix(file))
            self.read(capture)

    def read(self, capture):
        decoder = strict.decode(capture)
        self.messages, self.flows = decoder.messages(), decoder.records()
        self.options = decoder.records(options=True)
        cflow = ['-d', f'udp.port=={PORT},cflow']
        self.problems = capture.rows(['frame.number', '_ws.expert.message'], *cflow, '-Y', PROBLEMS)
        self.read_by_tshark = [row['cflow.version'] for row in capture.rows(['cflow.version'], *cflow)]
        templates = capture.rows(['cflow.template_id'], *cflow, '-Y', 'cflow.template_id', '-E', 'occurrence=a')
        self.templates = {number for row in templates for number in row['cflow.template_id'].split(',')}


def has_data(message):
    return any(not record.options for record in message.records)


def has_templates(message):
    return TEMPLATE_SET in message.sets


def test_readable(wire):
    check(len(wire.messages) > 10, f'{len(wire.messages)} messages')
    check(not wire.problems, 'tshark complains:', *wire.problems[:10])
    check_equal('messages by version', Counter(wire.read_by_tshark), {'10': len(wire.messages)})
    check_equal('templates', wire.templates, {'256', '257', '512', '513', '514', '515', '516', '517', '519'})
    check_equal('domains', {message.domain for message in wire.messages}, {DOMAIN, 0})
    check_equal('messages by the ledger', wire.ledger['collectors'][0]['messages'], len(wire.messages))
    check_equal('octets by the ledger', wire.ledger['collectors'][0]['bytes'], sum(m.octets for m in wire.messages))


def test_size(wire):
    sizes = [message.octets for message in wire.messages]
    check(max(sizes) <= MESSAGE_MAX, f'a message of {max(sizes)} octets')
    check(max(sizes) > MESSAGE_MAX / 2, f'no message of more than {max(sizes)} octets: records are not gathered')


def test_templates(wire):
    """Several copies at the start, for some may be lost; later before data, when the interval is over."""
    check(has_templates(wire.messages[0]), 'the first message has no templates')
    start, newest = wire.messages[0].when, None
    times = [message.when - start for message in wire.messages if has_templates(message)]
    check(len(times) >= COPIES + 1, f'templates only at {times} s')
    check(times[COPIES - 1] < COPIES_SECONDS, f'templates at {times} s: not {COPIES} copies at the start')
    for message in wire.messages:
        newest = message.when if has_templates(message) else newest
        if has_data(message):
            check(message.when - newest < TEMPLATE_INTERVAL + 0.2,
                  f'data at {message.when - start} s, but templates only at {times} s')


def test_records(wire):
    """The decoder has checked the sequence numbers, which count data records."""
    check_equal('flow records, and those in the file', len(wire.flows), wire.records)
    check(wire.records >= 3 * FLOWS, f'{wire.records} records')
    # nfcapd does not count records of options, and so misses those before the message with flows.
    options = sum(any(record.options for record in message.records) for message in wire.messages)
    check(wire.sequence_errors <= options, f'{wire.sequence_errors} errors by nfcapd, {options} messages with options')


def test_options(wire):
    """Interfaces by name, sampling of none, keys of the templates, statistics without a domain."""
    found = {}
    for record in wire.options:
        found.setdefault(record.template, []).append(record)
    check_equal('interfaces', {(r.number(10), r.text(82)) for r in found[514]}, {(wire.ifindex, 'm0')})
    check_equal('input interfaces by nfdump', {text.split(':')[0] for text in wire.inputs}, {f'{wire.ifindex} m0'})
    check_equal('sampling', {(r.number(149), r.number(34)) for r in found[513]}, {(DOMAIN, 1)})
    check_equal('selector', {(r.number(304), r.number(305), r.number(306)) for r in found[512]}, {(1, 1, 0)})
    check_equal('templates with flow keys', {r.number(145) for r in found[519]}, {256, 257})
    for template in STATISTICS:
        check_equal(f'domains of template {template}', {r.message.domain for r in found[template]}, {0})
        check(len(found[template]) >= 4, f'{len(found[template])} records of template {template}')
    last = found[515][-1]
    check(0 < last.number(41) < len(wire.messages), f'{last.number(41)} messages, of {len(wire.messages)}')
    check(0 < last.number(42) <= len(wire.flows), f'{last.number(42)} records, of {len(wire.flows)}')
    check_equal('not sent', {(r.number(166), r.number(167), r.number(168)) for r in found[517]}, {(0, 0, 0)})
    ignored = wire.ledger['seen'] - wire.ledger['accounted']['packets']
    check(found[516][-1].number(164) <= ignored, f'{found[516][-1].number(164)} ignored, of {ignored}')


def test_time(wire):
    times = [message.export_time for message in wire.messages]
    check(times == sorted(times), f'export times go back: {times}')
    off = max(abs(message.export_time - message.when) for message in wire.messages)
    check(off < 2.5, f'an export time is {off} s off')


def main():
    tap.require('ip', 'ethtool', 'dumpcap', 'tshark', 'nfcapd', 'nfdump', 'ipfixDump')
    program.binary()
    cache = []

    def judged(test):
        def run():
            if not cache:
                cache.append(Wire())
            test(cache[0])
        return run

    tap.main([
        ('tshark reads every message without complaint', judged(test_readable)),
        ('messages are full, and not too long', judged(test_size)),
        ('templates at the start and again', judged(test_templates)),
        ('sequence numbers count data records', judged(test_records)),
        ('options', judged(test_options)),
        ('export times', judged(test_time)),
    ])


if __name__ == '__main__':
    main()
