# SPDX-License-Identifier: Apache-2.0
"""What is on a wire by other eyes: a packet socket takes what passes, and this reads its headers."""
import ctypes
import socket
import struct

from machine import Key
from tap import check

SO_ATTACH_FILTER, SO_RCVBUFFORCE = 26, 33
SOL_PACKET, PACKET_STATISTICS = 263, 6
ETH_P_ALL, OUTGOING = 3, 4
BUFFER = 192 << 20
SNAPLEN = 256
IPV4, IPV6, TRANSPARENT = 0x0800, 0x86dd, 0x6558
ICMP, TCP, UDP, GRE, ESP, ICMP6, IP_IN_IP, IP6_IN_IP, FRAGMENT = 1, 6, 17, 47, 50, 58, 4, 41, 44
VXLAN_PORT = 4789


class Wire:
    """Takes the packets of one interface from when it is made; flows() says what they were.

    outgoing: those that leave there, or those that arrive, alone; None: both
    """

    def __init__(self, box, role, interface, outgoing=None):
        self.outgoing = outgoing
        with box.entered(role):
            self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        cut = ctypes.create_string_buffer(struct.pack('=HBBI', 0x06, 0, 0, SNAPLEN))  # BPF: return SNAPLEN
        self.socket.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack('=H6xQ', 1, ctypes.addressof(cut)))
        self.socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER)
        self.socket.bind((interface, ETH_P_ALL))
        self.socket.setblocking(False)

    def frames(self):
        """(leaves, bytes) of each, in the order in which they passed; bytes up to SNAPLEN."""
        found = []
        while True:
            try:
                data, address = self.socket.recvfrom(65536)
            except BlockingIOError:
                break
            leaves = address[2] == OUTGOING
            if self.outgoing is None or leaves == self.outgoing:
                found.append((leaves, data))
        lost = struct.unpack('=II', self.socket.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))[1]
        check(lost == 0, f'the packet socket lost {lost} packets: the test cannot be judged')
        return found


def add(flows, key, octets):
    amount = flows.setdefault(key, [0, 0])
    amount[0] += 1
    amount[1] += octets


def address(packed):
    return socket.inet_ntop(socket.AF_INET if len(packed) == 4 else socket.AF_INET6, packed)


def packet(ethertype, data):
    """(Key, octets, protocol, what follows the IP header) of an IP packet, or None."""
    later = 0
    if ethertype == IPV4:
        size, protocol, octets = (data[0] & 15) * 4, data[9], int.from_bytes(data[2:4], 'big')
        ends, later = (data[12:16], data[16:20]), int.from_bytes(data[6:8], 'big') & 0x1fff
    elif ethertype == IPV6:
        size, protocol, octets = 40, data[6], int.from_bytes(data[4:6], 'big') + 40
        ends = data[8:24], data[24:40]
        if protocol == FRAGMENT:
            size, protocol, later = 48, data[40], int.from_bytes(data[42:44], 'big') >> 3
        elif protocol == 0:  # hop by hop, of multicast listeners
            size, protocol = 40 + 8 + data[41] * 8, data[40]
    else:
        return None
    rest, ports = data[size:], (0, 0)
    if not later and protocol in (TCP, UDP):
        ports = struct.unpack('!HH', rest[:4])
    elif not later and protocol in (ICMP, ICMP6):
        ports = 0, rest[0] * 256 + rest[1]
    return Key(protocol, *map(address, ends), *ports), octets, protocol, b'' if later else rest


def layers(frame):
    """[(Key, octets), ...] of a frame, from the outside in: of a tunnel's packet its own comes first."""
    found, ethertype, data = [], int.from_bytes(frame[12:14], 'big'), frame[14:]
    while (inner := packet(ethertype, data)) is not None:
        key, octets, protocol, data = inner
        found.append((key, octets))
        if protocol == UDP and key.destination_port == VXLAN_PORT:
            ethertype, data = int.from_bytes(data[28:30], 'big'), data[30:]
        elif protocol == GRE and data:
            flags, ethertype = struct.unpack('!HH', data[:4])
            data = data[4 + 4 * sum(bool(flags & bit) for bit in (0x8000, 0x2000, 0x1000)):]
            if ethertype == TRANSPARENT:
                ethertype, data = int.from_bytes(data[12:14], 'big'), data[14:]
        elif protocol in (IP_IN_IP, IP6_IN_IP):
            ethertype = IPV4 if protocol == IP_IN_IP else IPV6
        else:
            break
    return found


def flows(frames, depth=0):
    """{Key: [packets, octets]} of frames; depth: 0 for the outermost IP header, 1 for the one in a tunnel's."""
    found = {}
    for frame in frames:
        headers = layers(frame)
        if len(headers) > depth:
            add(found, *headers[depth])
    return found
