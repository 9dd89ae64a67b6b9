#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""spread.py PAIRS FLOWS RATE: frames of FLOWS flows in turn over PAIRS veth pairs, RATE a second, until it is ended.

Each frame is a flow at the interface that sends it and one at that which gets it.  They are for another MAC address, so that no
stack looks at them.  Says "round" when each flow has had a frame.
"""
import os
import socket
import struct
import sys
import time

MACS = bytes.fromhex('020000000001' '020000000002')
ETH_P_IP, TCP, UDP, ACK = 0x0800, 6, 17, 0x10
PORTS = 443, 53, 80, 22, 8080, 5432, 9092, 123
BURSTS = 20  # a second


def header_sum(header):
    total = sum(struct.unpack('!10H', header))
    total = (total & 0xffff) + (total >> 16)
    return ~((total & 0xffff) + (total >> 16)) & 0xffff


def frame(flow, pair):
    protocol = UDP if flow & 1 else TCP
    ports = 1024 + flow % 60000, PORTS[flow // 2 % len(PORTS)]
    body = struct.pack('!4H', *ports, 8 + 18, 0) if protocol == UDP else struct.pack('!2H2I4H', *ports, 1, 1, 0x5000 | ACK,
                                                                                     1024, 0, 0)
    body += bytes(18)
    addresses = socket.inet_aton(f'10.{flow >> 16 & 127}.{flow >> 8 & 255}.{flow & 255}'), socket.inet_aton(
        f'10.200.{pair >> 8}.{pair & 255}')
    header = struct.pack('!2B3H2BH4s4s', 0x45, 0, 20 + len(body), flow & 0xffff, 0, 64, protocol, 0, *addresses)
    header = header[:10] + struct.pack('!H', header_sum(header)) + header[12:]
    return MACS + struct.pack('!H', ETH_P_IP) + header + body


def main():
    pairs, flows, rate = map(int, sys.argv[1:])
    os.sched_setaffinity(0, {0})  # the exporters' is another one
    frames = [(frame(flow, flow % pairs), (f'many{flow % pairs}', 0)) for flow in range(flows)]
    due, sent = time.monotonic(), 0
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as out:
        while True:
            for _ in range(rate // BURSTS):
                out.sendto(*frames[sent % flows])
                sent += 1
                if sent % flows == 0:
                    print('round', flush=True)
            due = max(due + 1 / BURSTS, time.monotonic())
            time.sleep(due - time.monotonic() if due > time.monotonic() else 0)


main()
