# SPDX-License-Identifier: Apache-2.0
"""Traffic of real sockets between namespaces of a sandbox."""
import socket
import threading

SO_MAX_PACING_RATE = 47
UDP_SEGMENT = 103
CHUNK = bytes(65536)


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


def tcp(box, sender, source, receiver, destination, octets, pace=0):
    """One connection, closed by both, over which the sender sends so many octets; pace: octets a second."""
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
