#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""How flows end and how the exporter does, with traffic of real sockets.

Each record has the reason for which it was made, and whatever happens their sums are those of a capture
on the other end of the veth.
"""
import contextlib
import functools
import json
import re
import signal
import socket
import time
from collections import Counter
from pathlib import Path

import collect
import program
import tap
import traffic
import truth
from capture import Capture
from lab import Pair, command, scratch, wait_until
from tap import check, check_equal

METER, PEER = '10.72.0.1', '10.72.0.2'
METER_2, PEER_2 = '10.72.1.1', '10.72.1.2'
IDLE, ACTIVE, DETECTED, FORCED, RESOURCES = 1, 2, 3, 4, 5
HOOKS = ['--interface', 'm0', '--ingress', 'xdp', '--egress', 'tc']
QUICK = ['--drain-interval', '1s', '--idle-timeout', '2s', '--linger', '1s']
CACHE_ENTRIES_MIN = 64
ATTACH_SECONDS = 15


class Bench(Pair):
    """With a capture of all that passes between the two."""

    addresses = METER, PEER

    def __enter__(self):
        super().__enter__()
        self.file = self.directory / 'flows.ipfix'
        self.capture = Capture(self.box, 'peer', 'p0', f'{self.directory}/wire.pcapng', 'tcp or udp')
        return self

    def daemon(self, *options, **how):
        return program.Daemon(self.box, 'meter', *HOOKS, *options, '--collector', f'file://{self.file}', **how)

    def records(self):
        """Records in the file so far."""
        return collect.read_ipfix(self.file)

    def udp(self, port, count):
        """Datagrams to a socket, so that nothing answers them."""
        with traffic.bound(self.box, 'meter', socket.SOCK_DGRAM, METER, 9):
            traffic.udp(self.box, 'peer', (PEER, port), (METER, 9), count)

    def check_sums(self, records):
        """The records, all of them, against the capture."""
        self.capture.stop()
        lines = truth.differences(truth.Truth(flows=self.capture.flows()), collect.flows(records))
        check(not lines, 'records differ from the capture:', *lines[:20])


def reasons(records, port):
    """Reasons of all records of flows that come from this port."""
    return {record.end_reason for record in records if record.key.source_port == port}


def test_reasons():
    # The SYN that is answered by RST ends nothing in its own direction.
    ended = {1001: IDLE, 1002: DETECTED, 2002: DETECTED, 1003: DETECTED, 2003: DETECTED, 1004: IDLE, 2004: DETECTED}
    with Bench() as bench:
        with bench.daemon(*QUICK) as daemon:
            bench.udp(1001, 5)
            traffic.tcp(bench.box, 'peer', (PEER, 1002), 'meter', (METER, 2002), 100000)
            # Its end comes in another drain than its beginning.
            traffic.tcp(bench.box, 'meter', (METER, 1003), 'peer', (PEER, 2003), 100000, pause=1.3)
            traffic.tcp_refused(bench.box, 'peer', (PEER, 1004), (METER, 2004))
            wait_until(lambda: {record.key.source_port for record in bench.records()} >= ended.keys(), 10,
                       'flows that have ended in the file')
            bench.udp(1005, 3)
            daemon.stop(signal.SIGTERM)
        records = bench.records()
        for port, reason in [*ended.items(), (1005, FORCED)]:
            check_equal(f'reasons of the flow from port {port}', reasons(records, port), {reason})
        check_equal('records of flows', set(Counter(record.key for record in records).values()), {1})
        bench.check_sums(records)


def test_active():
    """A long flow is reported in pieces that follow each other."""
    with Bench() as bench:
        with bench.daemon('--drain-interval', '1s', '--idle-timeout', '30s', '--active-timeout', '2s') as daemon:
            end = time.monotonic() + 7
            while time.monotonic() < end:
                bench.udp(1001, 1)
                time.sleep(0.02)
            daemon.stop(signal.SIGINT)
        records = sorted(bench.records(), key=lambda record: record.flow.first_ms)
        counts = Counter(record.end_reason for record in records)
        check(set(counts) <= {ACTIVE, FORCED} and counts[ACTIVE] >= 2 and counts[FORCED] <= 1,
              f'records by reason: {counts}')
        for one, next_one in zip(records, records[1:]):
            check(one.flow.last_ms <= next_one.flow.first_ms, f'records overlap: {one.flow} {next_one.flow}')
        longest = max(record.flow.last_ms - record.flow.first_ms for record in records)
        check(longest <= 3500, f'a record spans {longest} ms, of an active timeout of 2 s and drains every second')
        bench.check_sums(records)


def test_resources():
    """A full cache reports flows early and loses none."""
    flows = 300
    with Bench() as bench:
        with bench.daemon('--drain-interval', '1s', '--cache-entries', str(CACHE_ENTRIES_MIN)) as daemon:
            for port in range(flows):
                bench.udp(10000 + port, 2)
            daemon.stop()
        records = bench.records()
        counts = Counter(record.end_reason for record in records)
        check_equal('reasons', set(counts), {RESOURCES, FORCED})
        check(counts[FORCED] <= CACHE_ENTRIES_MIN, f'records by reason: {counts}')
        check_equal('flows with records', len({record.key for record in records}), flows)
        bench.check_sums(records)


def test_summary_text():
    with Bench() as bench:
        with bench.daemon(summary='text') as daemon:
            bench.udp(1001, 7)
            daemon.process.send_signal(signal.SIGTERM)
            check_equal('exit status', daemon.process.wait(program.STOP_SECONDS), 0)
            lines = [line for line in daemon.stderr().splitlines() if line.startswith('flowtally: ledger: ')]
        check(len(lines) == 4 and lines[0].endswith('ledger: balances, lost 0 packets'), 'the verdict first:', *lines)
        check(re.search(r'\bseen 7\b.*\baccounted 7\b', lines[1]), 'seven packets:', lines[1])


def held(process, kind):
    """Ids of the BPF programs ('prog_id') or links ('link_id') that a process holds."""
    found = set()
    for path in Path(f'/proc/{process.pid}/fdinfo').iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            found |= {int(number) for number in re.findall(rf'^{kind}:\s*(\d+)$', path.read_text(), re.M)}
    return found - {0}


def loaded_programs(ids):
    """Names of those that are still there."""
    loaded = json.loads(command('bpftool', '-j', 'prog', 'show'))
    return {entry['id']: entry.get('name', '') for entry in loaded if entry['id'] in ids}


def filters(box, interface):
    """BPF filters by `tc`."""
    text = ''.join(box.ip_tc('meter', 'filter', 'show', 'dev', interface, side) for side in ('ingress', 'egress'))
    return [line for line in text.splitlines() if ' handle ' in line]


def xdp_name(box):
    return box.link('meter', 'm0').get('xdp', {}).get('prog', {}).get('name')


def passes(bench, port):
    """Datagrams go through, both ways."""
    for role, address, peer_role, peer in ('peer', PEER, 'meter', METER), ('meter', METER, 'peer', PEER):
        with traffic.bound(bench.box, peer_role, socket.SOCK_DGRAM, peer, port) as sock:
            traffic.udp(bench.box, role, (address, port), (peer, port), 1, b'still there')
            check_equal('datagram', sock.recv(100), b'still there')


def test_kill(mask):
    """After kill -9 nothing works on packets any more, and the next start begins anew."""
    with Bench() as bench:
        with bench.daemon(*mask) as daemon:
            check_equal('XDP program by `ip -d link`', xdp_name(bench.box), 'flowtally_xdp')
            passes(bench, 1001)
            programs = held(daemon.process, 'prog_id')
            check(len(programs) >= 2, f'programs held: {loaded_programs(programs)}')
            daemon.kill()
        check_equal('XDP program after kill -9', xdp_name(bench.box), None)
        stubs = filters(bench.box, 'm0')
        if mask:
            wait_until(lambda: len(loaded_programs(programs)) <= len(stubs), 10, 'programs to go')
            check(all('flowtally_tc_s' in line for line in stubs), 'filters after kill -9:', *stubs)
        else:
            wait_until(lambda: not loaded_programs(programs), 10, f'programs to go: {loaded_programs(programs)}')
            check_equal('filters after kill -9', stubs, [])
        bench.file.unlink(missing_ok=True)
        passes(bench, 1002)
        with bench.daemon(*mask) as daemon:
            check_equal('XDP program after the next start', xdp_name(bench.box), 'flowtally_xdp')
            passes(bench, 1003)
            daemon.stop()
        check_equal('XDP program after the end', xdp_name(bench.box), None)
        check_equal('filters after the end', filters(bench.box, 'm0'), [])
        check_equal('ports in the records', {record.key.source_port for record in bench.records()}, {1003})


def test_detached():
    """What root has detached is attached again."""
    with Bench() as bench:
        with bench.daemon() as daemon:
            links = held(daemon.process, 'link_id')
            check(links, 'the exporter holds no link')
            for link in links:
                command('bpftool', 'link', 'detach', 'id', link)
            wait_until(lambda: xdp_name(bench.box) == 'flowtally_xdp', ATTACH_SECONDS, 'the XDP program to come back')
            wait_until(lambda: len(held(daemon.process, 'link_id') - links) == len(links), ATTACH_SECONDS, 'new links')
            bench.udp(1001, 5)
            daemon.stop()
        bench.check_sums(bench.records())


def test_new_interface():
    """An interface that goes and comes again is metered again."""
    with Bench() as bench:
        with bench.daemon() as daemon:
            bench.udp(1001, 5)
            bench.capture.stop()
            bench.box.ip('meter', 'link', 'delete', 'm0')
            bench.box.veth(('meter', 'm0'), ('peer', 'p0'), offloads=False)
            bench.box.address(('meter', 'm0', [METER]), ('peer', 'p0', [PEER]))
            wait_until(lambda: xdp_name(bench.box) == 'flowtally_xdp', ATTACH_SECONDS, 'the XDP program to come back')
            time.sleep(0.5)  # egress follows ingress
            bench.udp(1002, 7)
            daemon.stop()
        packets = {record.key.source_port: record.flow.packets for record in bench.records()}
        check_equal('packets by port', packets, {1001: 5, 1002: 7})


def test_dead_collector():
    """A collector that is not there is counted and logged once, and is none of the others' business."""
    with Bench() as bench:
        nfcapd = collect.Nfcapd(bench.box, 'meter', bench.directory)
        dead = 'ipfix://127.0.0.1:4'
        # Of IPFIX nfcapd does not count the records of options, and misses them.
        url = nfcapd.url.replace('ipfix', 'netflow9')
        with bench.daemon(*QUICK, '--collector', dead, '--collector', url) as daemon:
            for port in range(1001, 1005):
                bench.udp(port, 3)
                time.sleep(1)
            ledger = daemon.stop()
            log = daemon.stderr()
        received = nfcapd.stop()
        check_equal('sequence errors and bad packets of nfcapd', nfcapd.sequence_errors(), 0)
        by_url = {collector['url']: collector for collector in ledger['collectors']}
        check_equal('state of the dead collector', by_url[dead]['state'], 'refused')
        lost = {reason: count['packets'] for reason, count in by_url[dead]['lost'].items() if count['packets']}
        check_equal('packets exported to the dead collector', by_url[dead]['exported']['packets'], 0)
        check(set(lost) <= {'refused', 'unsent'}, f'lost to the dead collector: {lost}')
        check_equal('packets lost to the dead collector', sum(lost.values()), ledger['accounted']['packets'])
        for other in url, f'file://{bench.file}':
            check_equal(f'packets exported to {other}', by_url[other]['exported']['packets'],
                        ledger['accounted']['packets'])
        lines = [line for line in log.splitlines() if dead in line and not line.startswith('{')]
        check_equal('lines that name the dead collector', len(lines), 1)
        records = bench.records()
        written = truth.Truth(flows=truth.Truth().gathered(collect.flows(records)))
        lines = truth.differences(written, collect.flows(received), times=True)
        check(not lines, 'nfcapd and the file differ:', *lines[:20])
        bench.check_sums(records)


def check_same(objects, records):
    """JSON objects say what the IPFIX file says, under the same names."""
    check_equal('objects', len(objects), len(records))
    for one, record in zip(objects, records):
        check_equal('names', set(one), set(record.fields))
        for name, text in record.fields.items():
            check(collect.same_value(name, one[name], text), f'{name}: JSON {one[name]!r}, IPFIX {text}')


def test_json():
    with Bench() as bench:
        path = bench.directory / 'flows.json'
        with bench.daemon(*QUICK, '--collector', f'json://{path}') as daemon:
            bench.udp(1001, 5)
            traffic.tcp(bench.box, 'peer', (PEER, 1002), 'meter', (METER, 2002), 100000)
            daemon.stop()
        check_same(collect.read_json(path), bench.records())


def test_json_output():
    """json:- puts the records on standard output, and nothing else goes there."""
    with scratch() as directory:
        capture, path, output = (Path(directory) / name for name in ('some.pcap', 'flows.ipfix', 'output'))
        capture.write_bytes(traffic.capture_of([traffic.udp_frame(1000 + i) for i in range(40)]))
        status, text, stderr = program.run('replay', capture, '--collector', 'json:-', '--collector', f'file://{path}')
        check_equal(f'exit status, of\n{program.shown(stderr)}', status, 0)
        output.write_text(text)
        check_equal('objects', len(collect.read_json(output)), 40)
        check_same(collect.read_json(output), collect.read_ipfix(path))


def test_two_interfaces():
    """A pattern takes all interfaces that match, and records tell them apart."""
    with Bench() as bench:
        bench.box.veth(('meter', 'm1'), ('peer', 'p1'), offloads=False)
        bench.box.address(('meter', 'm1', [METER_2]), ('peer', 'p1', [PEER_2]))
        with program.Daemon(bench.box, 'meter', '--interface', 'm*', '--collector', f'file://{bench.file}') as daemon:
            bench.udp(1001, 5)
            with traffic.bound(bench.box, 'meter', socket.SOCK_DGRAM, METER_2, 9):
                traffic.udp(bench.box, 'peer', (PEER_2, 1002), (METER_2, 9), 7)
            daemon.stop()
        indices = [bench.box.link('meter', name)['ifindex'] for name in ('m0', 'm1')]
        found = {(record.key.source_port, int(record.fields['ingressInterface']), record.flow.packets)
                 for record in bench.records()}
        check_equal('port, interface, packets', found, {(1001, indices[0], 5), (1002, indices[1], 7)})


def main():
    tap.require('ip', 'tc', 'ethtool', 'bpftool', 'dumpcap', 'tshark', 'nfcapd', 'nfdump', 'ipfixDump')
    program.binary()
    tap.main([
        ('idle, end of flow, forced end', test_reasons),
        ('active timeout', test_active),
        ('lack of resources', test_resources),
        ('the ledger as text', test_summary_text),
        ('kill -9', functools.partial(test_kill, [])),
        ('kill -9 without tcx', functools.partial(test_kill, ['--mask', 'tcx'])),
        ('detached by somebody else', test_detached),
        ('an interface goes and comes again', test_new_interface),
        ('one of three collectors is dead', test_dead_collector),
        ('JSON equals IPFIX', test_json),
        ('JSON on standard output', test_json_output),
        ('two interfaces', test_two_interfaces),
    ], tap.AT_ONCE)


if __name__ == '__main__':
    main()
