# SPDX-License-Identifier: Apache-2.0
"""Packets of which no field is 0, as frames of Ethernet, and captures of them."""
import functools
import socket
import struct

import drops

DESTINATION_MAC, SOURCE_MAC = bytes.fromhex('024f5e6d7c8b'), bytes.fromhex('0291a2b3c4d5')
HOSTS = {4: ('10.20.{}.40', '198.51.100.7'), 6: ('2001:db8:{}::5', '2001:db8:a:b::9')}
FIRST = 0, 3, 5  # which of a group's packets are the first of their flow
SYN, ACK_PSH_URG, FIN = 0x1c2, 0x238, 0x011  # with AE, ECE and CWR, and a reserved bit


def frame(version, protocol, payload, tags=(), tos=0xb9, ttl=64, label=0, pad=False, number=1, flaw=0, mac=DESTINATION_MAC):
    """tags: [(ethertype, VLAN id), ...]; number: of the source; flaw: added to the header's checksum; mac: where it goes"""
    source, destination = (socket.inet_pton(socket.AF_INET if version == 4 else socket.AF_INET6, host.format(number))
                           for host in HOSTS[version])
    if version == 4:
        head = struct.pack('!BBHHHBBH', 0x45, tos, 20 + len(payload), 77, 0, ttl, protocol, 0)
        check_sum = struct.pack('!H', (drops.internet_sum(head + source + destination) + flaw) & 0xffff)
        packet = head[:10] + check_sum + source + destination + payload
    else:
        packet = struct.pack('!IHBB', 6 << 28 | tos << 20 | label, len(payload), protocol, ttl) + source + destination + payload
    link = mac + SOURCE_MAC + b''.join(struct.pack('!HH', kind, 0xa000 | number) for kind, number in tags)
    whole = link + struct.pack('!H', drops.ETHERTYPE[version]) + packet
    return whole + bytes(max(0, 60 - len(whole)) if pad else 0)


def tcp(ports, flags, size=0):
    return struct.pack('!HHIIHHHH', *ports, 1, 2, 0x5000 | flags, 512, 0, 0) + bytes(size)


def udp(ports, size):
    return struct.pack('!HHHH', *ports, 8 + size, 0) + bytes(size)


def icmp(kind, code):
    return struct.pack('!BBHI', kind, code, 0, 0) + bytes(4)


def made(version, number=1, mac=DESTINATION_MAC):
    """[(ms since the first, frame)] of one IP version: a TCP connection in two tags, datagrams in one, an ICMP error."""
    tags, one = [(0x88a8, 0x7a1), (0x8100, 0x5b3)], [(0x8100, 0x9c5)]
    message = (1, icmp(3, 13)) if version == 4 else (58, icmp(1, 4))
    same = functools.partial(frame, version, number=number, mac=mac)
    return [
        (123, same(6, tcp((0xc351, 0x01bb), SYN), tags, tos=0xb9, ttl=61, label=0xabcde)),
        (1357, same(6, tcp((0xc351, 0x01bb), ACK_PSH_URG, 900), tags, tos=0x46, ttl=113, label=0x12345)),
        (2468, same(6, tcp((0xc351, 0x01bb), FIN, 30), tags, tos=0x46, ttl=57, label=0x12345)),
        (3000, same(*message, one, tos=0x2a, ttl=200, pad=True)),
        (3999, same(*message, one, tos=0x2a, ttl=201, pad=True)),
        (30011, same(17, udp((0xd431, 0x1451), 700), one, tos=0x8a, ttl=77, label=0xfedcb)),
        (31717, same(17, udp((0xd431, 0x1451), 1200), one, tos=0x8c, ttl=66, label=0xfedcb)),
    ]


def capture_of(frames):
    """frames: [(ms since 1970, frame)]"""
    head = struct.pack('<IHHiIII', 0xa1b2c3d4, 2, 4, 0, 0, 262144, 1)
    return head + b''.join(struct.pack('<IIII', when // 1000, when % 1000 * 1000, len(octets), len(octets)) + octets
                           for when, octets in frames)
