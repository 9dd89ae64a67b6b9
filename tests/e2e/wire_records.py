# SPDX-License-Identifier: Apache-2.0
"""Records on the wire as tshark reads them, field by field, under its own names."""
import re
import socket
import struct
import xml.etree.ElementTree as xml
from pathlib import Path
from typing import NamedTuple

from elements import OWN
from lab import command

RECEIVE_BUFFER = 1 << 24
SO_RCVBUFFORCE = 33
UPTIME = {'timestart', 'timeend'}
ENTERPRISE = re.compile(r'\((?P<name>[^)]*)\) Type (?P<number>\d+): Value \(hex bytes\): (?P<octets>[0-9a-f ]*)')
DOCUMENTATION = 'Example Enterprise Number for Documentation Use'  # tshark's word for 32473
PARTS_OF_STATUS = 'cflow.forwarding_status_'
ADDRESSES = {'srcaddr', 'dstaddr', 'srcaddrv6', 'dstaddrv6', 'srcmac', 'dstmac'}
TEXTS = {'if_name', 'if_descr', 'information_element_name'}


class Shown(NamedTuple):
    message: int   # its number, from 0
    version: int
    template: int
    fields: dict   # tshark's name: value


class Inbox:
    """A UDP socket on 127.0.0.1 that is read when all has been sent."""

    def __init__(self, port=0):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER)
        self.socket.bind(('127.0.0.1', port))
        self.port = self.socket.getsockname()[1]
        self.datagrams = []

    def take(self):
        """All that has come."""
        self.socket.setblocking(False)
        try:
            while True:
                payload, (_, port) = self.socket.recvfrom(65536)
                self.datagrams.append((port, payload))
        except BlockingIOError:
            pass
        return self.datagrams

    def close(self):
        self.socket.close()

    def write(self, path):
        """As a capture."""
        records = []
        for port, payload in self.take():
            udp = struct.pack('!HHHH', port, self.port, 8 + len(payload), 0) + payload
            ip = struct.pack('!BBHHHBBH4B4B', 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0, 127, 0, 0, 1, 127, 0, 0, 1)
            records.append(struct.pack('<IIII', 0, 0, len(ip + udp), len(ip + udp)) + ip + udp)
        Path(path).write_bytes(struct.pack('<IHHiIII', 0xa1b2c3d4, 2, 4, 0, 0, 262144, 101) + b''.join(records))


def value_of(field, boot_ms):
    """(name, value): numbers from the octets that tshark took for the field, addresses and texts as it shows them"""
    name, shown = field.get('name').removeprefix('cflow.'), field.get('show')
    if name == 'enterprise_private_entry':
        found = ENTERPRISE.search(field.get('showname'))
        enterprise = OWN if found['name'] == DOCUMENTATION else found['name']
        octets = bytes.fromhex(found['octets'])
        return (f'own {found["number"]}' if enterprise == OWN else f'{enterprise} {found["number"]}'), octets
    if name in ADDRESSES or name in TEXTS:
        return name, shown.rstrip('\0')
    number = int(field.get('unmaskedvalue') or field.get('value'), 16)
    return name, boot_ms + number if name in UPTIME else number


def record_of(flow, boot_ms):
    fields = {}
    for field in flow.iter('field'):
        name = field.get('name')
        if not name.startswith('cflow.') or field.get('size') == '0' or 'value' not in field.attrib:
            continue
        if name.startswith(('cflow.tcpflags.', 'cflow.string_len', 'cflow.padding')) or name.startswith(PARTS_OF_STATUS):
            continue  # parts of another field
        name, value = value_of(field, boot_ms)
        if name.startswith('icmp_ipv') and name.endswith(('_type', '_code')):  # tshark shows the two octets one by one
            name, value = name[:-5], fields.get(name[:-5], 0) << 8 | value
        fields.setdefault(name, value) if name == 'observation_time_milliseconds' else fields.update({name: value})
        if name == 'observation_time_milliseconds':
            fields['last_' + name] = value
    return fields


def message_records(number, message):
    header = {field.get('name'): field for field in message.iter('field') if field.get('name') in (
        'cflow.version', 'cflow.sysuptime', 'cflow.unix_secs')}
    version, boot_ms = int(header['cflow.version'].get('show')), 0
    if version == 9:
        boot_ms = int(header['cflow.unix_secs'].get('value'), 16) * 1000 - int(header['cflow.sysuptime'].get('value'), 16)
    for flowset in message.iter('field'):
        template = next((int(field.get('show')) for field in flowset if field.get('name') == 'cflow.flowset_id'), 0)
        for flow in flowset if template >= 256 else ():
            if flow.get('show', '').startswith('Flow '):
                yield Shown(number, version, template, record_of(flow, boot_ms))


def read(path, port):
    """All records of data, in their order"""
    text = command('tshark', '-n', '-r', path, '-d', f'udp.port=={port},cflow', '-T', 'pdml')
    messages = [proto for proto in xml.fromstring(text).iter('proto') if proto.get('name') == 'cflow']
    return [record for number, message in enumerate(messages) for record in message_records(number, message)]
