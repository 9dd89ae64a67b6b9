#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""sink.py PORT: takes datagrams until SIGTERM, then prints what NetFlow v5 records say of packets."""
import json
import signal
import socket
import struct
import sys

HEADER, RECORD, PACKETS = 24, 48, 16


def v5_packets(datagram):
    version, count = struct.unpack_from('!HH', datagram)
    if version != 5:
        return 0
    return sum(struct.unpack_from('!I', datagram, HEADER + RECORD * i + PACKETS)[0] for i in range(count))


def main():
    received = []
    taking = True

    def stop(*_):
        nonlocal taking
        taking = False

    signal.signal(signal.SIGTERM, stop)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sink:
        sink.setsockopt(socket.SOL_SOCKET, 33, 64 << 20)  # SO_RCVBUFFORCE
        sink.bind(('127.0.0.1', int(sys.argv[1])))
        sink.settimeout(0.2)
        while taking:
            try:
                received.append(sink.recv(65535))
            except TimeoutError:
                continue
    print(json.dumps({'datagrams': len(received), 'v5_packets': sum(map(v5_packets, received))}), flush=True)


main()
