#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Collectors of which nothing is heard: absent, off, behind forged errors, on a link.  Who gets what, and what is said.

What a real collector has is read by nfdump.
"""
import functools
import re
import socket
import struct
import threading
import time

import program
import tap
from collect import Nfcapd
from lab import wait_until
from sinks import METER, PEER, PEER6, QUICK, Bench, by_url, lost
from tap import check, check_equal

OFF, OTHER = '10.75.0.99', '10.75.0.9'  # a host that is not there; another one of the same net
SECONDS = 14
FLOWS = 400  # at once, each second
FAST = [*QUICK, '--statistics-interval', '1s']
UDP_SOCKET = re.compile(r'^\s*\d+: [0-9A-F]+:([0-9A-F]{4}) [0-9A-F]+:270B ', re.M)  # connected to port 9995


def send(bench, seconds):
    """Many flows each second; how many there were."""
    count = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        bench.flows(FLOWS, 20000 + count)
        count += FLOWS
        time.sleep(1)
    return count


def our_ports(records):
    return sorted(r.key.source_port for r in records if r.key.destination_port == 9 and r.key.source_port >= 20000)


def lines(daemon, url):
    return [line for line in daemon.stderr().splitlines() if 'collector' in line and url in line and not line.startswith('{')]


def check_silent(daemon, ledger, url):
    """A dead collector: nothing counts as exported, what is lost has a name, and one line says so."""
    collector = by_url(ledger)[url]
    check_equal(f'exported to {url}', collector['exported']['records'], 0)
    check(collector['given']['records'] > FLOWS, f'given to {url}: {collector["given"]}')
    check(not lost(collector).keys() - {'refused', 'unsent'}, f'lost to {url}: {lost(collector)}')
    check_equal(f'lines about {url}', len(lines(daemon, url)), 1)


def test_absent():
    """Two collectors at a host where nobody listens, and a third that does: it gets everything."""
    with Bench() as bench:
        urls = [f'{scheme}://{PEER}:{port}' for scheme, port in
                (('ipfix', 9996), ('netflow9', 9997), ('ipfix', 9995))]
        nfcapd = Nfcapd(bench.box, 'peer', bench.directory.name, 9995, PEER)
        with program.Daemon(bench.box, 'meter', *FAST, *(w for url in urls for w in ('--collector', url))) as daemon:
            count = send(bench, SECONDS)
            time.sleep(2.5)
            ledger = daemon.stop()
            for url in urls[:2]:
                check_silent(daemon, ledger, url)
            check_equal('lines about the third', lines(daemon, urls[2]), [])
        check_equal('flows at the third', our_ports(nfcapd.stop()), list(range(20000, 20000 + count)))
        check_equal('lost to the third', lost(by_url(ledger)[urls[2]]), {})


def test_off():
    """A host that is off: its neighbours find that out after three seconds, and meanwhile take all that is sent."""
    with Bench(discovery=True) as bench:
        urls = [f'ipfix://{OFF}:9995', f'netflow9://{OFF}:9996', 'ipfix://[fd75::99]:9997']
        with program.Daemon(bench.box, 'meter', *FAST, *(w for url in urls for w in ('--collector', url))) as daemon:
            send(bench, SECONDS)
            ledger = daemon.stop()
            for url in urls:
                check_silent(daemon, ledger, url)


def checksum(data):
    total = sum(struct.unpack(f'!{len(data) // 2}H', data))
    total = (total >> 16) + (total & 0xffff)
    return ~(total + (total >> 16)) & 0xffff


def unreachable(port, quote):
    """ICMP: port 9995 of the collector is unreachable, in answer to a datagram from that port."""
    inner = struct.pack('!BBHHHBBH4s4sHHHH', 0x45, 0, 28 + 1364, 0, 0x4000, 64, 17, 0, socket.inet_aton(METER),
                        socket.inet_aton(PEER), port, 9995, 8 + 1364, 0) + quote
    head = struct.pack('!BBHI', 3, 3, 0, 0)
    return struct.pack('!BBHI', 3, 3, checksum(head + inner), 0) + inner


class Forger(threading.Thread):
    """Another host of the net, that knows the ports and not what is sent, sends errors as fast as it likes."""

    def __init__(self, bench, port):
        super().__init__()
        self.ending = threading.Event()
        self.sent = 0
        bench.box.ip('peer', 'address', 'add', f'{OTHER}/24', 'dev', 'p0')
        with bench.box.entered('peer'):
            self.socket = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        self.socket.bind((OTHER, 0))
        guess = struct.pack('!HHIIIHH', 10, 1364, int(time.time()), 16, 1, 256, 1348)
        self.packets = [unreachable(port, quote) for quote in (b'', guess[:8], guess, guess + bytes(1344))]

    def run(self):
        while not self.ending.wait(0.002):
            for packet in self.packets:
                self.socket.sendto(packet, (METER, 0))
                self.sent += 1

    def stop(self):
        self.ending.set()
        self.join()
        self.socket.close()


def test_forged():
    """Forged errors against a collector that is well: nothing of it is lost, and nothing is said."""
    with Bench() as bench:
        url = f'ipfix://{PEER}:9995'
        nfcapd = Nfcapd(bench.box, 'peer', bench.directory.name, 9995, PEER)
        with program.Daemon(bench.box, 'meter', *FAST, '--collector', url) as daemon:
            bench.flows(1, 19000)
            sockets = wait_until(lambda: UDP_SOCKET.findall(bench.box.run('meter', 'cat', '/proc/net/udp')), 5, 'a socket')
            forger = Forger(bench, int(sockets[0], 16))
            forger.start()
            count = send(bench, 6)
            time.sleep(2.5)
            forger.stop()
            ledger = daemon.stop()
            check_equal('lines about the collector', lines(daemon, url), [])
        check(forger.sent > 1000, f'{forger.sent} forged errors')
        check_equal('lost', lost(by_url(ledger)[url]), {})
        check(by_url(ledger)[url]['errors'] > 100, f'{by_url(ledger)[url]["errors"]} errors have arrived')
        check_equal('flows at the collector', our_ports(nfcapd.stop()), list(range(20000, 20000 + count)))


def link_local(bench, role, name):
    """Gives the interface its link-local address, which the lab's interfaces do not have."""
    address = {'m0': 'fe80::1', 'p0': 'fe80::2'}[name]
    bench.box.ip(role, 'address', 'add', f'{address}/64', 'dev', name, 'nodad')
    return address


def test_link_local(scheme, percent):
    """A collector on the link, by its link-local address, and from one; the interface goes, and comes back."""
    with Bench(discovery=True) as bench:
        here, there = link_local(bench, 'meter', 'm0'), link_local(bench, 'peer', 'p0')
        nfcapd = Nfcapd(bench.box, 'peer', bench.directory.name, 9995, PEER6)
        url = f'{scheme}://[{there}{percent}m0]:9995?source={here}{percent}m0'
        with program.Daemon(bench.box, 'meter', *QUICK, '--collector', url) as daemon:
            bench.flows(50)
            time.sleep(2.5)
            ledger = daemon.stop()
        check_equal('lost', lost(by_url(ledger)[url]), {})
        check_equal('flows', our_ports(nfcapd.stop()), list(range(20000, 20050)))


def test_interface_late():
    """The interface of the scope is not there yet: a state, tried again; it comes, and all that waited goes."""
    with Bench(discovery=True) as bench:
        url = 'ipfix://[fe80::2%late0]:9995'
        nfcapd = Nfcapd(bench.box, 'peer', bench.directory.name, 9995, PEER6)
        with program.Daemon(bench.box, 'meter', *QUICK, '--collector', url) as daemon:
            bench.flows(50)
            time.sleep(2)
            for turn in range(2):
                bench.box.veth(('meter', 'late0'), ('peer', 'late1'))
                bench.box.ip('meter', 'address', 'add', 'fe80::1/64', 'dev', 'late0', 'nodad')
                bench.box.ip('peer', 'address', 'add', 'fe80::2/64', 'dev', 'late1', 'nodad')
                bench.flows(50, 21000 + 1000 * turn)
                time.sleep(8)
                if not turn:
                    bench.box.ip('meter', 'link', 'delete', 'late0')
            ledger = daemon.stop()
        check_equal('lost', lost(by_url(ledger)[url]), {})
        check_equal('flows', our_ports(nfcapd.stop()),
                    [first + i for first in (20000, 21000, 22000) for i in range(50)])


def test_scope_missing():
    """A link-local address without interface is an error at the start, that names what to write."""
    for words in (['--collector', 'ipfix://[fe80::1]'], ['--collector', 'netflow9://[ff02::7]:9995'],
                  ['--collector', 'ipfix://192.0.2.1?source=fe80::1'],
                  ['--collector', 'ipfix://192.0.2.1', '--source', 'fe80::1']):
        status, _, stderr = program.run('run', '--interface', 'lo', *words)
        check_equal(f'exit status of {words}', status, 2)
        check("name the interface, as in 'f" in stderr and "%eth0'" in stderr, f'{words}: {stderr}')


def test_multicast(address, group):
    """A group on the link is a collector like any other; nobody answers for it."""
    with Bench(discovery=True) as bench:
        link_local(bench, 'meter', 'm0')
        bench.box.ip('meter', 'route', 'add', '224.0.0.0/4', 'dev', 'm0')
        with bench.box.entered('peer'):
            listener = socket.socket(socket.AF_INET6 if ':' in group else socket.AF_INET, socket.SOCK_DGRAM)
            listener.bind((group.partition('%')[0] if ':' not in group else '::', 9995))
            index = socket.if_nametoindex('p0')
            if ':' in group:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP,
                                    socket.inet_pton(socket.AF_INET6, group) + struct.pack('=I', index))
            else:
                listener.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP,
                                    socket.inet_aton(group) + socket.inet_aton(PEER))
        listener.setblocking(False)
        url = f'ipfix://{address}:9995'
        with program.Daemon(bench.box, 'meter', *QUICK, '--collector', url) as daemon:
            bench.flows(50)
            time.sleep(2.5)
            ledger = daemon.stop()
        collector = by_url(ledger)[url]
        check_equal('lost', lost(collector), {})
        messages = 0
        try:
            while listener.recv(65536)[:2] == b'\0\n':
                messages += 1
        except BlockingIOError:
            pass
        listener.close()
        check_equal('messages that arrived', messages, collector['messages'])


def main():
    tap.require('ip', 'ethtool', 'nfcapd', 'nfdump')
    program.binary()
    tap.main([
        ('nobody listens, but for one', test_absent),
        ('a host that is off', test_off),
        ('forged errors', test_forged),
        *((f'{scheme}: a collector on the link, as in fe80::2{percent}m0', functools.partial(test_link_local, scheme, percent))
          for scheme, percent in (('ipfix', '%'), ('netflow9', '%25'))),
        ('an interface that comes late', test_interface_late),
        ('a link without interface', test_scope_missing),
        *((f'multicast to {address}', functools.partial(test_multicast, address, group))
          for address, group in (('224.0.0.77', '224.0.0.77'), ('[ff02::77%m0]', 'ff02::77'))),
    ], tap.AT_ONCE)


if __name__ == '__main__':
    main()
