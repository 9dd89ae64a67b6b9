# SPDX-License-Identifier: Apache-2.0
"""Bulk TCP between two namespaces, with TSO and GRO: Gbit/s, and ns for a packet on the wire, of each program."""
import json
import statistics
import tempfile
import time
from pathlib import Path

from space import Space, command, wait_for_word

SEGMENT = 1448  # octets of TCP payload in 1500 of IP, with timestamps
STATISTICS = Path('/proc/sys/kernel/bpf_stats_enabled')
PROGRAMS = {'empty': ['bench_empty_tc'], 'floor': ['bench_floor_tc_'], 'flowtally': ['flowtally_tc', 'flowtally_tc_in']}


def join(space):
    space.run('one', 'ip', 'link', 'add', 'bulk0', 'type', 'veth', 'peer', 'name', 'bulk1', 'netns',
              space.names['other'])
    for role, name, address in (('one', 'bulk0', '10.9.0.1/24'), ('other', 'bulk1', '10.9.0.2/24')):
        space.run(role, 'ethtool', '-K', name, 'gro', 'on')
        space.run(role, 'ip', 'address', 'add', address, 'dev', name)
        space.run(role, 'ip', 'link', 'set', name, 'up')


def transfer(space, seconds):
    """Gbit/s, and packets on the wire: full segments, and what acknowledges them."""
    before = acknowledgements(space)
    text = space.run('one', 'iperf3', '-c', '10.9.0.2', '-t', seconds, '-J')
    done = json.loads(text)['end']['sum_received']
    return done['bits_per_second'] / 1e9, done['bytes'] / SEGMENT + acknowledgements(space) - before


def run_times(subject):
    """{program id: ns}, of all programs with the subject's names, which the kernel cuts at 15 letters."""
    names = [name[:15] for name in PROGRAMS[subject]]
    shown = json.loads(command('bpftool', '--json', 'prog', 'show'))
    return {program['id']: program.get('run_time_ns', 0) for program in shown if program.get('name', '')[:15] in names}


def acknowledgements(space):
    text = space.run('other', 'nstat', '-aszj', 'TcpOutSegs')
    return json.loads(text)['kernel']['TcpOutSegs']


def words(subject, tools, binary):
    if subject != 'flowtally':
        return [tools / 'bench-hold', 'bulk0', subject]
    return [binary, 'run', '--interface', 'bulk0', '--ingress', 'tc', '--egress', 'tc', '--drops', 'off', '--collector',
            'file:///dev/null']


def metered(space, subject, tools, binary, seconds):
    """Gbit/s under a program in both directions, and its ns for each segment on the wire (0 without statistics)."""
    others = set(run_times(subject)) if subject != 'none' else set()
    with tempfile.NamedTemporaryFile(prefix='flowtally-bench-') as log:
        if subject == 'none':
            return transfer(space, seconds)[0], 0.0
        with open(log.name, 'w', encoding='utf-8') as file:
            process = space.start('one', *words(subject, tools, binary), log=file)
        wait_for_word(log.name, 'ready', process)
        rate, packets = transfer(space, seconds)
        spent = sum(ns for program, ns in run_times(subject).items() if program not in others)
        process.stop()
    return rate, spent / packets


def with_statistics(space, subject, tools, binary, seconds):
    """
    The difference of two rates near the memory's speed says little of a program that runs once for 40
    packets; its run time does, with the reading of the clock (some 20 ns a super-packet) in it.
    """
    before = STATISTICS.read_text(encoding='utf-8')
    STATISTICS.write_text('1', encoding='utf-8')
    try:
        return metered(space, subject, tools, binary, seconds)[1]
    finally:
        STATISTICS.write_text(before, encoding='utf-8')


def measure(tools, binary, quick):
    rounds, seconds = (3, 1) if quick else (9, 2)
    subjects = ['none', *PROGRAMS]
    rates, times = {name: [] for name in subjects}, {name: [] for name in PROGRAMS}
    with Space('one', 'other') as space:
        join(space)
        space.start('other', 'iperf3', '-s')
        time.sleep(0.5)
        for _ in range(rounds):
            for name in subjects:
                rates[name].append(metered(space, name, tools, binary, seconds)[0])
        for _ in range(2 if quick else 5):
            for name in PROGRAMS:
                times[name].append(with_statistics(space, name, tools, binary, seconds))
    lost = {name: [one - other for one, other in zip(rates['none'], rates[name])] for name in PROGRAMS}
    return [{'program': name, 'rounds': rounds, 'gbit': statistics.median(rates[name]),
             'gbit_lost': statistics.median(lost[name]) if name in lost else 0.0,
             'ns_per_wire_packet': statistics.median(times[name]) if name in times else 0.0} for name in subjects]
