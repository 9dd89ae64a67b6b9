# SPDX-License-Identifier: Apache-2.0
"""Frames and capture files, made octet by octet."""
import ipaddress
import struct

ETHERNET, RAW, SLL, SLL2, WIFI = 1, 101, 113, 276, 105
IPV4, IPV6, VLAN = 0x0800, 0x86dd, 0x8100
TCP, UDP, ICMPV6, HOP_BY_HOP, NO_NEXT_HEADER = 6, 17, 58, 0, 59
SYN, ACK, PSH, FIN = 0x02, 0x10, 0x08, 0x01
MACS = bytes.fromhex('02000000000202000000000a')
START = 1767225600  # 2026-01-01


def ipv4(payload, protocol, source='192.0.2.1', destination='198.51.100.2', length=None):
    length = 20 + len(payload) if length is None else length
    return struct.pack('>BBHHHBBH', 0x45, 0, length, 1, 0, 64, protocol, 0) + \
        ipaddress.ip_address(source).packed + ipaddress.ip_address(destination).packed + payload


def ipv6(payload, protocol, source='2001:db8::1', destination='2001:db8::2', length=None):
    length = len(payload) if length is None else length
    return struct.pack('>IHBB', 6 << 28, length, protocol, 64) + ipaddress.ip_address(source).packed + \
        ipaddress.ip_address(destination).packed + payload


def tcp(octets=0, flags=ACK, ports=(40000, 80), sequence=1):
    return struct.pack('>HHIIHHHH', *ports, sequence, 1, 0x5000 | flags, 512, 0, 0) + bytes(octets)


def udp(octets=20, ports=(53, 5353)):
    return struct.pack('>HHHH', *ports, 8 + octets, 0) + bytes(octets)


def ethernet(packet, kind=None, vlan=None):
    kind = kind or (IPV4 if packet[0] >> 4 == 4 else IPV6)
    return MACS + (struct.pack('>HH', VLAN, vlan) if vlan else b'') + struct.pack('>H', kind) + packet


def sll(packet):
    return struct.pack('>HHH8sH', 0, 1, 6, MACS[6:], IPV4 if packet[0] >> 4 == 4 else IPV6) + packet


def sll2(packet):
    return struct.pack('>HHIHBB8s', IPV4 if packet[0] >> 4 == 4 else IPV6, 0, 1, 1, 0, 6, MACS[6:]) + packet


def pcap(frames, link=ETHERNET, order='<', nano=False, snap=None):
    """frames: (seconds since START, frame), held as far as `snap` octets, of which each may have its own."""
    text = [struct.pack(order + 'IHHiIII', 0xa1b23c4d if nano else 0xa1b2c3d4, 2, 4, 0, 0, snap or 262144, link)]
    for time, frame, *own in frames:
        held = frame[:own[0] if own else snap]
        fraction = round(time % 1 * (1e9 if nano else 1e6))
        text += [struct.pack(order + 'IIII', START + int(time // 1), fraction, len(held), len(frame)), held]
    return b''.join(text)


class Pcapng:
    """One section; several make a file."""

    def __init__(self, order='<'):
        self.order, self.resolutions = order, []
        self.text = self.block(0x0a0d0d0a, self.pack('IHHq', 0x1a2b3c4d, 1, 0, -1))

    def pack(self, form, *values):
        return struct.pack(self.order + form, *values)

    def block(self, kind, body):
        body += bytes(-len(body) % 4)
        return self.pack('II', kind, len(body) + 12) + body + self.pack('I', len(body) + 12)

    def interface(self, link=ETHERNET, snap=0, resolution=6, offset=0):
        """resolution: digits of a decimal fraction, or below 0 of a binary one; offset: seconds added to times."""
        options = self.pack('HHB3x', 9, 1, resolution if resolution >= 0 else 0x80 | -resolution)
        options += self.pack('HHq', 14, 8, offset) + self.pack('HH', 0, 0)
        self.text += self.block(1, self.pack('HHI', link, 0, snap) + options)
        self.resolutions.append((10 ** resolution if resolution >= 0 else 2 ** -resolution, offset))
        return self

    def packet(self, number, time, frame, snap=None):
        units, offset = self.resolutions[number]
        held, time = frame[:snap], round((START + time - offset) * units)
        self.text += self.block(6, self.pack('IIIII', number, time >> 32, time & 0xffffffff, len(held), len(frame)) +
                                held)
        return self

    def simple(self, frame):
        self.text += self.block(3, self.pack('I', len(frame)) + frame)
        return self
