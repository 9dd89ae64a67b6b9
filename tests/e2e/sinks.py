# SPDX-License-Identifier: Apache-2.0
"""A meter and collectors that only listen: what is sent to them is captured, and read by the strict decoder."""
import traffic
from capture import Capture
from lab import Lab, scratch

METER, PEER = '10.75.0.1', '10.75.0.2'
METER6, PEER6 = 'fd75::1', 'fd75::2'
QUICK = ['--interface', 'm0', '--egress', 'off', '--drain-interval', '500ms', '--idle-timeout', '1s']

# Listens on an address and a port and never reads, or reads for ever.
SINK = '''
import socket, sys
family = socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET
s = socket.socket(family, socket.SOCK_DGRAM)
s.bind((sys.argv[1], int(sys.argv[2])))
print('ready', flush=True)
while True:
    s.recv(65536)
'''


class Bench:
    """A meter and a peer, between which flows go one way and records the other."""

    def __init__(self, discovery=False):
        self.box = Lab('meter', 'peer', ipv6=True, discovery=discovery)
        self.directory = scratch()

    def __enter__(self):
        self.box.__enter__()
        self.box.veth(('meter', 'm0'), ('peer', 'p0'), offloads=False)
        self.box.address(('meter', 'm0', [METER, METER6]), ('peer', 'p0', [PEER, PEER6]))
        return self

    def __exit__(self, *_):
        self.box.__exit__()
        self.directory.cleanup()

    def sink(self, port, address=PEER):
        role = 'meter' if address == '127.0.0.1' else 'peer'
        process = self.box.start(role, '/usr/bin/python3', '-c', SINK, address, port, stdout=-1)
        process.stdout.readline()
        return process

    def capture(self, name='wire', role='peer', interface='p0', ports='portrange 9995-9999'):
        return Capture(self.box, role, interface, f'{self.directory.name}/{name}.pcapng', f'udp dst {ports}', 65535)

    def mtu(self, octets):
        for role, name in ('meter', 'm0'), ('peer', 'p0'):
            self.box.ip(role, 'link', 'set', name, 'mtu', octets)

    def flows(self, count, first=20000):
        """One packet each, from the peer to the meter, where nobody wants them and nobody answers."""
        with self.box.entered('peer'):
            for port in range(first, first + count):
                traffic.udp(self.box, 'peer', (PEER, port), (METER, 9), 1)


def by_url(ledger):
    return {collector['url']: collector for collector in ledger['collectors']}


def lost(collector):
    return {name: count['records'] for name, count in collector['lost'].items() if count['records']}


def ours(decoder, first=20000):
    return sorted(r.number(7) for r in decoder.records() if r.number(7) >= first and r.number(11) == 9)
