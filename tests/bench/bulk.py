# SPDX-License-Identifier: Apache-2.0
"""Bulk TCP between two namespaces, with TSO and GRO: Gbit/s lost, and ns for a packet on the wire."""
import json
import statistics
import tempfile
import time
from pathlib import Path

from space import Space, command, last_json, wait_for_word

STATISTICS = Path('/proc/sys/kernel/bpf_stats_enabled')
PROGRAMS = 'flowtally_tc', 'flowtally_tc_in'


def join(space):
    space.run('one', 'ip', 'link', 'add', 'bulk0', 'type', 'veth', 'peer', 'name', 'bulk1', 'netns',
              space.names['other'])
    for role, name, address in (('one', 'bulk0', '10.9.0.1/24'), ('other', 'bulk1', '10.9.0.2/24')):
        space.run(role, 'ethtool', '-K', name, 'gro', 'on')
        space.run(role, 'ip', 'address', 'add', address, 'dev', name)
        space.run(role, 'ip', 'link', 'set', name, 'up')


def transfer(space, seconds):
    text = space.run('one', 'iperf3', '-c', '10.9.0.2', '-t', seconds, '-J')
    return json.loads(text)['end']['sum_received']['bits_per_second'] / 1e9


def run_times():
    """{program id: ns}, of all programs with our names."""
    shown = json.loads(command('bpftool', '--json', 'prog', 'show'))
    return {program['id']: program.get('run_time_ns', 0) for program in shown if program.get('name') in PROGRAMS}


def metered(space, binary, seconds, counted):
    """Gbit/s with flowtally on both directions; ns per wire packet when run-time statistics are on."""
    others = set(run_times()) if counted else set()
    with tempfile.NamedTemporaryFile(prefix='flowtally-bench-') as log:
        with open(log.name, 'w', encoding='utf-8') as file:
            process = space.start('one', binary, 'run', '--interface', 'bulk0', '--ingress', 'tc', '--egress', 'tc',
                                  '--summary', 'json', '--collector', 'file:///dev/null', log=file)
        wait_for_word(log.name, 'ready', process)
        rate = transfer(space, seconds)
        spent = sum(ns for program, ns in run_times().items() if program not in others) if counted else 0
        process.stop()
        packets = last_json(log.name)['accounted']['packets']
    return rate, spent / packets if packets else 0.0


def with_statistics(space, binary, seconds):
    """
    The difference of two rates near the memory's speed says little of a program that runs once for 40
    packets; its run time does, with the reading of the clock (some 20 ns a super-packet) in it.
    """
    before = STATISTICS.read_text(encoding='utf-8')
    STATISTICS.write_text('1', encoding='utf-8')
    try:
        return metered(space, binary, seconds, True)[1]
    finally:
        STATISTICS.write_text(before, encoding='utf-8')


def measure(binary, quick):
    rounds, seconds = (3, 1) if quick else (11, 2)
    bare, loaded = [], []
    with Space('one', 'other') as space:
        join(space)
        space.start('other', 'iperf3', '-s')
        time.sleep(0.5)
        for _ in range(rounds):
            bare.append(transfer(space, seconds))
            loaded.append(metered(space, binary, seconds, False)[0])
        packet_ns = [with_statistics(space, binary, seconds) for _ in range(2 if quick else 5)]
    lost = [one - other for one, other in zip(bare, loaded)]
    return {'rounds': rounds, 'gbit_without': statistics.median(bare), 'gbit_with': statistics.median(loaded),
            'gbit_lost': statistics.median(lost), 'ns_per_wire_packet': statistics.median(packet_ns)}
