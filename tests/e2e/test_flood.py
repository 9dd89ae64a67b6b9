#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A flood: each packet of a flow of its own, as fast as one CPU makes them, and flows that last beside it.

What fits into the banks is exact, by flow; what does not is refused to the packet and octet.  Nothing is
evicted, the stages behind keep up or count, and memory stays where it is.

    test_flood.py PROGRAM GENERATOR
"""
import contextlib
import functools
import json
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import program
import tap
import traffic
from lab import Lab, scratch, wait_until
from tap import check, check_equal

TORTURE = 'FLOWTALLY_TORTURE' in os.environ
SECONDS = 30 if TORTURE else 5
WARM_UP_SECONDS = 1
RATE_REFUSED, RATE_KEPT = 1600000, 600000  # packets a second that one CPU makes, about: for how long it takes
FLOWS = 1 << 28  # more than it has packets, from 10.0.0.0 on, 4096 ports each
SENDER, RECEIVER, SINK = 'send0', 'receive0', 'sink0'
FLOOD_OCTETS = 46  # IP layer, of a packet
LASTING_OCTETS = 128
ETHERNET = bytes((2, 0, 0, 0, 0, 0x99, 2, 0, 0, 0, 0, 2, 8, 0))
LASTING_FLOWS = 16
LASTING_PAUSE = 0.002
LASTING_NET = 0xac1000
SMALL_CACHE, DEFAULT_CACHE = 8192, 65536  # flows; it is full when twice as many have arrived
MEMORY_SLACK = 4 << 20
SOURCE, SOURCE_PORT, PACKETS, OCTETS = 8, 7, 2, 1  # information elements


def build(box):
    for name, peer in (SENDER, RECEIVER), (SINK, 'unused0'):
        box.ip('node', 'link', 'add', name, 'type', 'veth', 'peer', 'name', peer)
    for name in SENDER, RECEIVER:
        box.run('node', 'ethtool', '-K', name, 'gro', 'on')  # live frames are taken in by NAPI only with it
    for name in SENDER, RECEIVER, SINK:
        box.ip('node', 'link', 'set', name, 'up')


class Flood:
    """A generator, which ends by itself."""

    def __init__(self, box, rate):
        self.process = box.start('node', sys.argv[2], SENDER, RECEIVER, SINK, FLOWS,
                                 (WARM_UP_SECONDS + SECONDS) * rate, 0, stdout=subprocess.PIPE)

    def wait(self):
        """What it says of itself."""
        text, _ = self.process.communicate(timeout=20 * SECONDS + 60)
        check_equal('exit status of the generator', self.process.returncode, 0)
        return json.loads(text)


class Lasting:
    """Flows that send for as long as the test takes, each a packet now and then."""

    def __init__(self, box):
        with box.entered('node'):
            self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self.socket.bind((SENDER, 0))
        self.sent = [0] * LASTING_FLOWS
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.send)
        self.thread.start()

    def send(self):
        frames = []
        for flow in range(LASTING_FLOWS):
            udp = struct.pack('!HHHH', 7, 9, LASTING_OCTETS - 20, 0)
            ip = struct.pack('!BBHHHBBHI4B', 0x45, 0, LASTING_OCTETS, 0, 0, 64, 17, 0, LASTING_NET << 8 | flow,
                             10, 200, 0, 1)
            frames.append(ETHERNET + (ip + udp).ljust(LASTING_OCTETS))
        while not self.stopping.wait(LASTING_PAUSE):
            for flow, frame in enumerate(frames):
                with contextlib.suppress(OSError):  # dropped by the pair: it does not arrive
                    self.socket.send(frame)
                    self.sent[flow] += 1

    def stop(self):
        self.stopping.set()
        self.thread.join()
        self.socket.close()
        return self.sent


def resident(process):
    text = Path(f'/proc/{process.pid}/status').read_text(encoding='utf-8')
    return int(text.split('VmRSS:')[1].split()[0]) * 1024


def templates_in(message):
    """{template id: ({element: (offset, size)}, record size)} of an IPFIX message, without option templates."""
    found, at = {}, 16
    while at < len(message):
        set_id, size = struct.unpack_from('!HH', message, at)
        if set_id == 2:
            field = at + 4
            while field + 4 <= at + size:
                template, count = struct.unpack_from('!HH', message, field)
                field, fields, offset = field + 4, {}, 0
                for _ in range(count):
                    element, length = struct.unpack_from('!HH', message, field)
                    field += 8 if element & 0x8000 else 4
                    fields[element], offset = (offset, length), offset + length
                found[template] = fields, offset
        at += size
    return found


def messages_of(path):
    with open(path, 'rb') as file:
        while head := file.read(16):
            yield head + file.read(int.from_bytes(head[2:4], 'big') - 16)


def rows_of(path):
    """(fields, record) of each record of IPv4 in an IPFIX file."""
    templates = {}
    for message in messages_of(path):
        templates.update(templates_in(message))
        at = 16
        while at < len(message):
            set_id, size = struct.unpack_from('!HH', message, at)
            fields, record = templates.get(set_id, ({}, 0))
            if SOURCE in fields:
                end = at + 4 + (size - 4) // record * record
                for row, in struct.iter_unpack(f'!{record}s', message[at + 4:end]):
                    yield fields, row
            at += size


def number(fields, row, element):
    offset, size = fields[element]
    return int.from_bytes(row[offset:offset + size], 'big')


def read(path):
    """Packets by lasting flow, and flows of the flood, each of which is one record of one packet."""
    lasting, flood, seen = Counter(), 0, bytearray(FLOWS // 8)
    for fields, row in rows_of(path):
        source, packets, octets = (number(fields, row, element) for element in (SOURCE, PACKETS, OCTETS))
        if source >> 8 == LASTING_NET:
            check_equal('octets of a lasting flow', octets, packets * LASTING_OCTETS)
            lasting[source & 0xff] += packets
            continue
        check(packets == 1 and octets == FLOOD_OCTETS, f'a record of the flood has {packets} packets, {octets} octets')
        flow = (source & 0xffffff) << 12 | number(fields, row, SOURCE_PORT) - 1024
        check(not seen[flow >> 3] & 1 << (flow & 7), f'two records of flow {flow} of the flood')
        seen[flow >> 3] |= 1 << (flow & 7)
        flood += 1
    return lasting, flood


def run_flood(box, options, cache, rate, path):
    """The ledger, packets sent by lasting flow, packets arrived, what the generator says, and memory before and after.

    Beside the file there is a collector that takes no more than the pace of UDP: its losses have names, too.
    """
    with traffic.bound(box, 'node', socket.SOCK_DGRAM, '127.0.0.1', 4739), \
            program.Daemon(box, 'node', '--interface', RECEIVER, '--egress', 'off', '--drain-interval', '1s', *options,
                           '--cache-entries', cache, '--collector', f'file://{path}', '--collector',
                           'ipfix://127.0.0.1') as daemon:
        before = box.packets('node', RECEIVER, 'rx')
        lasting = Lasting(box)
        flood = Flood(box, rate)
        wait_until(lambda: box.packets('node', RECEIVER, 'rx') - before > 2 * cache, 20 * SECONDS, 'a full cache')
        time.sleep(WARM_UP_SECONDS)  # until that is drained
        memory = [resident(daemon.process)]
        generated = flood.wait()
        memory.append(resident(daemon.process))
        sent = lasting.stop()
        time.sleep(0.2)  # what is on its way to the hook
        arrived = box.packets('node', RECEIVER, 'rx') - before
        return daemon.stop(), sent, arrived, generated, memory


def test_flood(options, cache, refuses):
    with scratch() as directory, Lab('node') as box:
        build(box)
        path = f'{directory}/flood.ipfix'
        ledger, sent, arrived, generated, memory = run_flood(box, options, cache,
                                                             RATE_REFUSED if refuses else RATE_KEPT, path)
        lasting, flood = read(path)
    refused = ledger['refused'].get('bank_full', {'packets': 0, 'octets': 0})
    refused_lasting = (refused['octets'] - FLOOD_OCTETS * refused['packets']) // (LASTING_OCTETS - FLOOD_OCTETS)
    tap.comment(f'{arrived} packets in {generated["seconds"]:.1f} s, {refused["packets"]} refused; of lasting flows '
                f'{sum(sent)}, {refused_lasting} refused; records {ledger["records"]}; '
                f'queue_full {ledger["collectors"][1]["lost"]["queue_full"]["records"]}; '
                f'resident {memory[0] / 2**20:.1f}, then {memory[1] / 2**20:.1f} MiB')
    check_equal('seen, and what the interface received', ledger['seen'], arrived)
    check(set(ledger['refused']) <= {'bank_full'}, f'refused: {ledger["refused"]}')
    check(refused['packets'] or not refuses, 'nothing was refused')
    check_equal('ignored', ledger['ignored'], {})
    check_equal('packets of lasting flows, in records and refused', sum(lasting.values()) + refused_lasting, sum(sent))
    check_equal('packets of the flood, in records and refused', flood + refused['packets'] - refused_lasting,
                arrived - sum(sent))
    check_equal('octets accounted', ledger['accounted']['octets'],
                flood * FLOOD_OCTETS + sum(lasting.values()) * LASTING_OCTETS)
    for flow in range(LASTING_FLOWS):
        check(lasting[flow] <= sent[flow], f'lasting flow {flow}: {lasting[flow]} packets, {sent[flow]} sent')
    check(ledger['records']['resources'] > 0, 'the cache was never full')
    check(memory[1] <= memory[0] + MEMORY_SLACK, f'resident memory grew from {memory[0]} to {memory[1]} octets')


def main():
    tap.require('ip', 'ethtool')
    program.binary()
    small = ['--bank-entries', '4096']
    tap.main([('small banks, TC', functools.partial(test_flood, ['--ingress', 'tc', *small], SMALL_CACHE, True)),
              ('small banks, XDP', functools.partial(test_flood, ['--ingress', 'xdp', *small], SMALL_CACHE, True)),
              ('default banks, TC', functools.partial(test_flood, ['--ingress', 'tc'], DEFAULT_CACHE, False)),
              ('default banks, XDP', functools.partial(test_flood, ['--ingress', 'xdp'], DEFAULT_CACHE, False))])


if __name__ == '__main__':
    main()
