#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What goes over the network to a collector: message sizes, templates, sequence numbers, times.

The datagrams are captured on their way to nfcapd and read by tshark, and their set headers by hand.
"""
import struct
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import collect
import program
import tap
import traffic
from capture import Capture
from sandbox import Sandbox, scratch
from tap import check, check_equal

METER, PEER = '10.73.0.1', '10.73.0.2'
PORT = 9995
FLOWS = 120
MESSAGE_MAX = 1400
TEMPLATE_SET, OPTIONS_SET, DATA_SET_MIN = 2, 3, 256
TEMPLATE_INTERVAL = 2
COPIES, COPIES_SECONDS = 3, 6
PROBLEMS = '_ws.expert.severity >= warning || _ws.malformed'


@dataclass
class Message:
    when: float  # of the frame
    octets: int
    export_time: int
    sequence: int
    domain: int
    sets: list  # (id, octets of its content)


def parse(when, payload):
    """RFC 7011, sections 3.1 to 3.3."""
    version, length, export_time, sequence, domain = struct.unpack_from('!HHIII', payload)
    check_equal('version', version, 10)
    check_equal('message length against the datagram', length, len(payload))
    sets, at = [], 16
    while at < length:
        set_id, set_length = struct.unpack_from('!HH', payload, at)
        check(set_length > 4 and at + set_length <= length, f'set {set_id} of {set_length} octets at {at} of {length}')
        sets.append((set_id, set_length - 4))
        at += set_length
    return Message(when, length, export_time, sequence, domain, sets)


class Wire:
    """One run of the exporter, and all that it sent."""

    def __init__(self):
        with scratch() as directory, Sandbox('meter', 'peer') as box:
            box.veth(('meter', 'm0'), ('peer', 'p0'), offloads=False)
            box.address(('meter', 'm0', [METER]), ('peer', 'p0', [PEER]))
            nfcapd = collect.Nfcapd(box, 'meter', directory, PORT)
            capture = Capture(box, 'meter', 'lo', f'{directory}/lo.pcapng', f'udp port {PORT}', 65535)
            file = Path(directory) / 'flows.ipfix'
            with program.Daemon(box, 'meter', '--interface', 'm0', '--egress', 'off', '--drain-interval', '1s',
                                '--idle-timeout', '2s', '--template-interval', f'{TEMPLATE_INTERVAL}s',
                                '--domain', '77',
                                '--collector', nfcapd.url, '--collector', f'file://{file}') as daemon:
                for _ in range(4):
                    for port in range(FLOWS):
                        traffic.udp(box, 'peer', (PEER, 10000 + port), (METER, 9), 1)
                    time.sleep(3)
                self.ledger = daemon.stop()
            capture.stop()
            nfcapd.stop()
            self.sequence_errors = nfcapd.sequence_errors()
            self.records = len(collect.read_ipfix(file))
            self.read(capture)

    def read(self, capture):
        rows = capture.rows(['frame.time_epoch', 'udp.payload'], '--disable-protocol', 'cflow')
        self.messages = [parse(float(row['frame.time_epoch']), bytes.fromhex(row['udp.payload'])) for row in rows]
        cflow = ['-d', f'udp.port=={PORT},cflow']
        self.problems = capture.rows(['frame.number', '_ws.expert.message'], *cflow, '-Y', PROBLEMS)
        self.read_by_tshark = [row['cflow.version'] for row in capture.rows(['cflow.version'], *cflow)]
        templates = capture.rows(['cflow.template_id'], *cflow, '-Y', 'cflow.template_id', '-E', 'occurrence=a')
        self.templates = {number for row in templates for number in row['cflow.template_id'].split(',')}
        flows = capture.rows(['cflow.sequence', 'cflow.packets'], *cflow, '-Y', 'cflow.packets', '-E', 'occurrence=a')
        self.flows_by_sequence = {int(row['cflow.sequence']): len(row['cflow.packets'].split(',')) for row in flows}


def has_data(message):
    return any(set_id >= DATA_SET_MIN for set_id, _ in message.sets)


def has_templates(message):
    return any(set_id == TEMPLATE_SET for set_id, _ in message.sets)


def test_readable(wire):
    check(len(wire.messages) > 10, f'{len(wire.messages)} messages')
    check(not wire.problems, 'tshark complains:', *wire.problems[:10])
    check_equal('messages by version', Counter(wire.read_by_tshark), {'10': len(wire.messages)})
    check_equal('templates', wire.templates, {'256', '257'})
    check_equal('domains', {message.domain for message in wire.messages}, {77})
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


def test_sequence(wire):
    """The number in a message is that of the data records before it."""
    expected = 0
    for message in wire.messages:
        check_equal('sequence number', message.sequence, expected)
        if has_data(message):
            expected += wire.flows_by_sequence[message.sequence]
    check_equal('data records, and those in the file', expected, wire.records)
    check(wire.records >= 3 * FLOWS, f'{wire.records} records')
    check_equal('sequence errors and bad packets of nfcapd', wire.sequence_errors, 0)


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
        ('sequence numbers count data records', judged(test_sequence)),
        ('export times', judged(test_time)),
    ])


if __name__ == '__main__':
    main()
