# SPDX-License-Identifier: Apache-2.0
"""Traffic of real sockets between namespaces of a lab, and captures without any."""
import os
import socket
import struct
import threading
import time

SO_MAX_PACING_RATE = 47
UDP_SEGMENT = 103
CHUNK = bytes(65536)
MARK = 0x88b6  # of frames that are nobody's: for local experiments


def family(address):
    return socket.AF_INET6 if ':' in address else socket.AF_INET


def bound(box, role, kind, address, port):
    """A socket in that namespace."""
    with box.entered(role):
        sock = socket.socket(family(address), kind)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.settimeout(20)
    sock.bind((address, port))
    return sock


def udp(box, role, source, destination, count, payload=b'flowtally'):
    """Sends `count` datagrams; source and destination are (address, port)."""
    with bound(box, role, socket.SOCK_DGRAM, *source) as sock:
        for _ in range(count):
            sock.sendto(payload, destination)


def udp_gso(box, role, source, destination, segment, payload):
    """One send that the kernel cuts into datagrams of `segment` octets of payload."""
    with bound(box, role, socket.SOCK_DGRAM, *source) as sock:
        sock.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, segment)
        sock.sendto(payload, destination)


def receive_all(listener, received):
    connection, _ = listener.accept()
    with connection:
        while True:
            data = connection.recv(1 << 20)
            if not data:
                break
            received.append(len(data))


def tcp(box, sender, source, receiver, destination, octets, pace=0, pause=0):
    """One connection over which the sender sends so many octets, closed by both.

    pace: octets a second; pause: seconds between the data and the end
    """
    received = []
    with bound(box, receiver, socket.SOCK_STREAM, *destination) as listener:
        listener.listen(1)
        thread = threading.Thread(target=receive_all, args=(listener, received))
        thread.start()
        with bound(box, sender, socket.SOCK_STREAM, *source) as sock:
            if pace:
                sock.setsockopt(socket.SOL_SOCKET, SO_MAX_PACING_RATE, pace)
            sock.connect(destination)
            left = octets
            while left > 0:
                left -= sock.send(CHUNK[:min(left, len(CHUNK))])
            time.sleep(pause)
            sock.shutdown(socket.SHUT_WR)
            sock.recv(1)
        thread.join(20)
    assert sum(received) == octets


def tcp_refused(box, role, source, destination):
    """A connection attempt that is answered by RST."""
    with bound(box, role, socket.SOCK_STREAM, *source) as sock:
        try:
            sock.connect(destination)
        except ConnectionRefusedError:
            return
    raise AssertionError('somebody listens there')


def pass_queues(box, sender, receiver):
    """Returns when a stack is done with all that was sent to it; sender and receiver are the ends of a veth, (role, name).

    What is sent waits in a queue of the sender's CPU, when that is busy: a frame behind it says that it has been through.
    """
    with box.entered(receiver[0]):
        sink = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(MARK))
    with box.entered(sender[0]):
        wire = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
    cpus = os.sched_getaffinity(0)
    with sink, wire:
        sink.bind((receiver[1], MARK))
        sink.settimeout(20)
        try:
            for cpu in sorted(cpus):
                os.sched_setaffinity(0, [cpu])
                wire.sendto(bytes(46), (sender[1], MARK, 0, 0, b'\xff' * 6))
                sink.recv(100)
        finally:
            os.sched_setaffinity(0, cpus)


def free_all(box, role):
    """Returns when the kernel has freed what it was to free by now, such as sockets that are closed, and what they held.

    It does so in callbacks of RCU, on an idle machine some tenths of a second later; when it removes a device it waits
    for all of them (rcu_barrier()).
    """
    box.ip(role, 'link', 'add', 'barrier0', 'type', 'veth', 'peer', 'name', 'barrier1')
    box.ip(role, 'link', 'delete', 'barrier0')


def udp_frame(port):
    """A frame of a datagram from that port."""
    payload = bytes(18)
    udp = struct.pack('!HHHH', port, 9, 8 + len(payload), 0)
    ip = struct.pack('!BBHHHBBH4B4B', 0x45, 0, 20 + len(udp) + len(payload), 0, 0, 64, 17, 0, 10, 0, 0, 1, 10, 0, 0, 2)
    return bytes(12) + b'\x08\x00' + ip + udp + payload


def capture_of(frames):
    """A pcap file of frames, a second between them."""
    records = [struct.pack('<IIII', 1600000000 + i, 0, len(frame), len(frame)) + frame
               for i, frame in enumerate(frames)]
    return struct.pack('<IHHiIII', 0xa1b2c3d4, 2, 4, 0, 0, 262144, 1) + b''.join(records)
