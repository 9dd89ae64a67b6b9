#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The kernel's own counters of interfaces in the ledger, against what `ip` and `tc` say of the same time."""
import contextlib
import json
import re
import socket
import time

import program
import tap
import traffic
from lab import Lab, bpf_object, wait_until
from tap import check, check_equal

METER, PEER, AWAY = '10.83.0.1', '10.83.0.2', '10.83.1.2'
SHAPER = 'tbf', 'rate', '64kbit', 'burst', '2kb', 'limit', '4kb'
UNKNOWN = 0x88b5  # an ethertype for experiments: nobody takes it
DROP_ALL = '1,6 0 0 2'  # one instruction: return TC_ACT_SHOT
SAMPLE_SECONDS = 5
LINK = {'rx_packets': ('rx', 'packets'), 'tx_packets': ('tx', 'packets'), 'rx_errors': ('rx', 'errors'),
        'rx_dropped': ('rx', 'dropped'), 'rx_missed_errors': ('rx', 'missed_errors'), 'rx_nohandler': ('rx', 'nohandler'),
        'tx_errors': ('tx', 'errors'), 'tx_dropped': ('tx', 'dropped')}


@contextlib.contextmanager
def network():
    with Lab('meter', 'peer') as box:
        box.veth(('meter', 'm0'), ('peer', 'p0'))
        box.address(('meter', 'm0', [METER]), ('peer', 'p0', [PEER]))
        yield box


def qdiscs(box, name):
    return json.loads(box.ip_tc('meter', '-s', '-j', 'qdisc', 'show', 'dev', name))


def kernel(box, name):
    """What `ip` and `tc` say, by our names."""
    link = json.loads(box.ip('meter', '-s', '-s', '-j', 'link', 'show', 'dev', name))[0]['stats64']
    counters = {ours: link[side].get(theirs, 0) for ours, (side, theirs) in LINK.items()}
    shown = qdiscs(box, name)
    counters['qdisc_drops'] = sum(one['drops'] for one in shown if one.get('root'))
    counters['ingress_qdisc_drops'] = sum(one['drops'] for one in shown if one['kind'] in ('ingress', 'clsact'))
    return counters


def grown(before, after):
    return {name: after[name] - before[name] for name in before}


def interface(ledger, name):
    found = [one for one in ledger['interfaces'] if one['name'] == name]
    check_equal(f'entries of {name}', len(found), 1)
    return found[0]


def check_counters(got, expected):
    check_equal('kernel counters', {name: got[name] for name in expected}, expected)


def send(box, count, destination=(PEER, 9), port=1001):
    traffic.udp(box, 'meter', ('0.0.0.0', port), destination, count, bytes(500))


def send_frames(box, count, ethertype, payload):
    """Frames from the peer that are addressed to the meter."""
    head = bytes.fromhex((box.link('meter', 'm0')['address'] + box.link('peer', 'p0')['address']).replace(':', ''))
    with box.entered('peer'):
        wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    with wire:
        wire.bind(('p0', 0))
        for _ in range(count):
            wire.send(head + ethertype.to_bytes(2, 'big') + payload)


def quiet(box, name):
    """Waits until the shaper has sent what it holds."""
    wait_until(lambda: not any(one['qlen'] for one in qdiscs(box, name)), 10, f'the qdiscs of {name} to be empty')


def test_qdisc():
    """What a shaper drops is in a flow, in the drops, and in the qdisc's counter; from attachment on, and once."""
    with network() as box:
        box.ip_tc('meter', 'qdisc', 'add', 'dev', 'm0', 'root', 'handle', '1:', *SHAPER)
        send(box, 50)
        quiet(box, 'm0')
        before = kernel(box, 'm0')
        with program.Daemon(box, 'meter', '--interface', 'm0', drops='on') as daemon:
            send(box, 60)
            quiet(box, 'm0')
            expected = grown(before, kernel(box, 'm0'))
            ledger = daemon.stop()
    check(before['qdisc_drops'] > 0 and 0 < expected['qdisc_drops'] < 60, f'drops: {before} {expected}')
    check_counters(interface(ledger, 'm0'), expected)
    check_equal('packets in flows', ledger['directions']['egress']['accounted']['packets'], 60)
    check_equal('packets sent and dropped', expected['tx_packets'] + expected['qdisc_drops'], 60)
    check_equal('QDISC_DROP', ledger['drops']['reasons']['QDISC_DROP']['packets'], expected['qdisc_drops'])


def test_classful():
    """The drops of a root have those of its children in them, whether it passes them on (htb) or adds them up (mq)."""
    trees = {
        'mq': [['qdisc', 'root', 'handle', '1:', 'mq'],
               *(['qdisc', 'parent', f'1:{n}', 'handle', f'1{n}:', *SHAPER] for n in (1, 2, 3, 4))],
        'htb': [['qdisc', 'root', 'handle', '1:', 'htb', 'default', '10'],
                ['class', 'parent', '1:', 'classid', '1:10', 'htb', 'rate', '64kbit'],
                ['qdisc', 'parent', '1:10', 'handle', '11:', 'pfifo', 'limit', '5']],
    }
    for kind, tree in trees.items():
        with network() as box:
            box.ip('meter', 'link', 'add', 'd0', 'numtxqueues', '4', 'type', 'veth', 'peer', 'name', 'd1')
            box.ip('meter', 'address', 'add', '10.83.1.1/24', 'dev', 'd0')
            box.ip('meter', 'link', 'set', 'd0', 'up')
            box.ip('meter', 'link', 'set', 'd1', 'up')
            mac = box.link('meter', 'd1')['address']
            box.ip('meter', 'neighbour', 'add', AWAY, 'lladdr', mac, 'dev', 'd0', 'nud', 'permanent')
            for what, *words in tree:
                box.ip_tc('meter', what, 'add', 'dev', 'd0', *words)
            with program.Daemon(box, 'meter', '--interface', 'd0') as daemon:
                for port in range(1001, 1009):
                    send(box, 30, (AWAY, 9), port)
                quiet(box, 'd0')
                shown = qdiscs(box, 'd0')
                ledger = daemon.stop()
        root = sum(one['drops'] for one in shown if one.get('root'))
        check(root > 0, f'{kind}: no drops: {shown}')
        check_equal(f'{kind}: drops of the root against its children', root,
                    sum(one['drops'] for one in shown if one.get('parent', '').startswith('1:')))
        check_equal(f'{kind}: qdisc_drops', interface(ledger, 'd0')['qdisc_drops'], root)


def test_received():
    """Frames of an ethertype that nobody takes are rx_dropped; what a filter drops is the clsact qdisc's, and in a flow."""
    with network() as box:
        box.ip_tc('meter', 'qdisc', 'add', 'dev', 'm0', 'clsact')
        box.ip_tc('meter', 'filter', 'add', 'dev', 'm0', 'ingress', 'protocol', 'ip', 'bpf', 'da', 'bytecode', DROP_ALL)
        send_frames(box, 4, UNKNOWN, bytes(60))
        wait_until(lambda: kernel(box, 'm0')['rx_dropped'] == 4, 5, 'frames that nobody takes')
        before = kernel(box, 'm0')
        with program.Daemon(box, 'meter', '--interface', 'm0') as daemon:
            send_frames(box, 7, UNKNOWN, bytes(60))
            traffic.udp(box, 'peer', (PEER, 1001), (METER, 9), 11)
            wait_until(lambda: grown(before, kernel(box, 'm0'))['rx_packets'] == 18, 5, 'packets to arrive')
            expected = grown(before, kernel(box, 'm0'))
            ledger = daemon.stop()
    check_equal('rx_dropped', expected['rx_dropped'], 7)
    check_equal('ingress_qdisc_drops', expected['ingress_qdisc_drops'], 11)
    check_counters(interface(ledger, 'm0'), expected)
    check_equal('packets in flows', ledger['directions']['ingress']['accounted']['packets'], 11)
    check_equal('ignored', ledger['ignored']['other_ethertype']['packets'], 7)


def test_removed():
    """An interface that is gone keeps its counters, and a qdisc that is replaced adds to those of the first."""
    with network() as box:
        box.ip_tc('meter', 'qdisc', 'add', 'dev', 'm0', 'root', 'handle', '1:', *SHAPER)
        with program.Daemon(box, 'meter', '--interface', 'm*') as daemon:
            send(box, 40)
            first = kernel(box, 'm0')['qdisc_drops']
            time.sleep(SAMPLE_SECONDS + 1)
            box.ip_tc('meter', 'qdisc', 'delete', 'dev', 'm0', 'root')
            box.ip_tc('meter', 'qdisc', 'add', 'dev', 'm0', 'root', 'handle', '2:', *SHAPER)
            send(box, 30)
            second = kernel(box, 'm0')['qdisc_drops']
            time.sleep(SAMPLE_SECONDS + 1)
            box.ip('meter', 'link', 'delete', 'm0')
            wait_until(lambda: "interface 'm0' is gone" in daemon.stderr(), 15, 'the interface to be left')
            ledger = daemon.stop()
    check(first > 0 and second > 0, f'no drops: {first} {second}')
    check_equal('qdisc_drops', interface(ledger, 'm0')['qdisc_drops'], first + second)


def test_xdp_exceptions():
    """Frames that somebody's XDP program aborts are in no other counter, and in no hook of ours."""
    source = '__attribute__((section("xdp"), used)) int abort_all(void *ctx) { return 0; }'
    with network() as box, bpf_object(source) as program_object:
        with program.Daemon(box, 'meter', '--interface', 'm0', drops='on') as daemon:
            box.ip('meter', 'link', 'set', 'dev', 'm0', 'xdp', 'obj', program_object, 'sec', 'xdp')
            send_frames(box, 7, UNKNOWN, bytes(60))
            time.sleep(0.5)
            ledger = daemon.stop()
    check_equal('seen', ledger['directions']['ingress']['seen'], 0)
    check_equal('xdp_exceptions', interface(ledger, 'm0')['xdp_exceptions'], 7)


def test_text():
    """A line for each interface with losses, with what is not 0."""
    with network() as box:
        with program.Daemon(box, 'meter', '--interface', 'm0', '--interface', 'lo', summary='text') as daemon:
            send_frames(box, 3, UNKNOWN, bytes(60))
            wait_until(lambda: kernel(box, 'm0')['rx_dropped'] == 3, 5, 'frames that nobody takes')
            daemon.process.terminate()
            check_equal('exit status', daemon.process.wait(20), 0)
            lines = [line for line in daemon.stderr().splitlines() if 'own counters' in line]
    expected = r"interface 'm0', .*: rx_packets \d+, (tx_packets \d+, )?rx_dropped 3$"
    check(len(lines) == 1 and re.search(expected, lines[0]), *lines)


if __name__ == '__main__':
    tap.require('ip', 'tc')
    tap.main(tap.cases(globals()), tap.AT_ONCE)
