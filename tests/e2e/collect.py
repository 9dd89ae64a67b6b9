# SPDX-License-Identifier: Apache-2.0
"""Reads what the exporter exported, with tools that are not ours: nfcapd with nfdump, ipfixDump.

All readers give records, one for each data record, in one form.
"""
import calendar
import ipaddress
import json
import re
import time
from dataclasses import dataclass
from pathlib import Path

from lab import command, wait_until
from tap import Failure, check
from truth import Flow, Key

ICMP_PROTOCOLS = {(4, 1), (6, 58)}
UDP_SOCKET = re.compile(r'^\s*\d+: [0-9A-F]+:([0-9A-F]{4}) \S+ \S+ [0-9A-F]+:([0-9A-F]+) .* (\d+)\s*$', re.M)


@dataclass
class Record:
    key: Key
    flow: Flow
    end_reason: int
    direction: int
    fields: dict  # everything, under the reader's names and as it wrote them


def flows(records):
    return [(record.key, record.flow) for record in records]


def address(text):
    return str(ipaddress.ip_address(text))


def one_vlan(text, *values):
    """Ingress records may name the VLAN in one element and egress records in another."""
    found = {value for value in values if value}
    check(len(found) <= 1, f'two VLAN ids in one record: {text}')
    return found.pop() if found else 0


class Nfcapd:
    """nfcapd on a port of an address in one namespace of a lab."""

    def __init__(self, box, role, directory, port=9995, address='127.0.0.1'):
        self.box, self.role, self.port = box, role, port
        self.directory = Path(directory) / f'nfcapd-{port}'
        self.directory.mkdir()
        self.log_path = self.directory.with_suffix('.log')
        with open(self.log_path, 'wb') as log:
            self.process = box.start(role, 'nfcapd', '-w', self.directory, '-p', port, '-t', 3600,
                                     *(['-6'] if ':' in address else ['-b', address]),
                                     '-B', 4000000, stdout=log, stderr=log)
        wait_until(self.socket, 60, 'nfcapd to listen')

    @property
    def url(self):
        return f'ipfix://127.0.0.1:{self.port}'

    def socket(self):
        """(octets waiting, datagrams lost) of its socket; None when there is none."""
        text = self.box.run(self.role, 'cat', '/proc/net/udp', '/proc/net/udp6')
        for port, waiting, lost in UDP_SOCKET.findall(text):
            if int(port, 16) == self.port:
                return int(waiting, 16), int(lost)
        return None

    def stop(self):
        """Lets it read what has arrived, ends it and returns its records."""
        wait_until(lambda: self.socket()[0] == 0, 20, 'nfcapd to read its socket')
        lost = self.socket()[1]
        self.process.terminate()
        self.process.wait(20)
        check(lost == 0, f'{lost} datagrams did not fit into nfcapd\'s receive buffer: the test cannot be judged')
        return self.records()

    def log(self):
        return self.log_path.read_text(errors='replace')

    def sequence_errors(self):
        """What nfcapd says of gaps in the sequence numbers, summed over its exporters."""
        found = re.findall(r'Sequence Errors: (\d+), Bad Packets: (\d+)', self.log())
        check(found, f'nfcapd ended without its statistics:\n{self.log()}')
        return sum(int(errors) + int(bad) for errors, bad in found)

    def records(self):
        text = command('nfdump', '-q', '-R', self.directory, '-o', 'raw')
        return [nfdump_record(block) for block in text.split('\nFlow Record:')[1:] or []]


def nfdump_record(block):
    """One paragraph of `nfdump -o raw`."""
    f = {}
    for line in block.splitlines():
        name, equals, value = line.partition(' = ')
        if equals:
            f[name.strip()] = value.strip()
    if 'ICMP' in f:
        kind, code = f['ICMP'].split()[0].split('.')
        ports = 0, int(kind) * 256 + int(code)
    else:
        ports = first_int(f, 'src port'), first_int(f, 'dst port')
    vlan = one_vlan(block, first_int(f, 'src vlan'), first_int(f, 'dst vlan'))
    key = Key(first_int(f, 'proto'), address(f['src addr']), address(f['dst addr']), *ports, vlan)
    flow = Flow(first_int(f, 'in packets'), first_int(f, 'in bytes'), int(f['tcp flags'].split()[0], 16),
                first_int(f, 'first'), first_int(f, 'last'))
    return Record(key, flow, int(f['end reason'].split()[0], 16), first_int(f, 'direction'), f)


def first_int(fields, name):
    return int(fields[name].split()[0]) if name in fields else 0


def read_fields(path):
    """Fields of the flow records of an IPFIX file by ipfixDump (libfixbuf), as it writes them."""
    text = command('ipfixDump', '--data', '--in', path)
    for block in re.split(r'^--- data record \d+ ---$', text, flags=re.M)[1:]:
        fields = {}
        for line in block.splitlines():
            match = re.match(r'\t\(\d+\)(?: \(S\))?\s+(\w+) : (.*)$', line)
            if match:
                fields[match[1]] = match[2]
        if 'packetDeltaCount' in fields:
            yield fields


def read_ipfix(path):
    """Flow records of an IPFIX file; those of options are left out."""
    return [ipfix_record(fields) for fields in read_fields(path)]


def milliseconds(text):
    """2026-11-25 02:42:39.000, UTC"""
    date, _, fraction = text.partition('.')
    return calendar.timegm(time.strptime(date.replace('T', ' '), '%Y-%m-%d %H:%M:%S')) * 1000 + int(fraction[:3])


def same_value(name, value, text):
    """Is a JSON value what ipfixDump wrote of the same field?"""
    if 'Address' in name and 'Mac' not in name:
        return address(value) == address(text)
    if 'Milliseconds' in name:
        return value == milliseconds(text)
    return str(value) == text


def ipfix_record(f):
    version = int(f['ipVersion'])
    source, destination = (f[f'{side}IPv{version}Address'] for side in ('source', 'destination'))
    protocol = int(f['protocolIdentifier'])
    ports = int(f['sourceTransportPort']), int(f['destinationTransportPort'])
    if (version, protocol) in ICMP_PROTOCOLS:
        icmp = int(f[f'icmpTypeCodeIPv{version}'])
        check(ports in ((0, 0), (0, icmp)), f'an ICMP record with ports: {f}')
        ports = 0, icmp
    vlan = one_vlan(f, int(f.get('vlanId', 0)), int(f.get('postVlanId', 0)))
    key = Key(protocol, address(source), address(destination), *ports, vlan)
    flow = Flow(int(f['packetDeltaCount']), int(f['octetDeltaCount']), int(f['tcpControlBits']) & 0xff,
                milliseconds(f['flowStartMilliseconds']), milliseconds(f['flowEndMilliseconds']))
    return Record(key, flow, int(f['flowEndReason']), int(f['flowDirection']), f)


def read_json(path):
    """Objects of a file of the JSON collector, one a line; each line must parse."""
    objects = []
    for number, line in enumerate(Path(path).read_text(encoding='utf-8').splitlines(), 1):
        try:
            objects.append(json.loads(line))
        except ValueError as error:
            raise Failure(f'{path}:{number}: {error}: {line[:200]}') from error
    return objects
