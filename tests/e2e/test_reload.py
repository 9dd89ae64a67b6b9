#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A configuration that changes all the time under traffic of two CPUs.

Interfaces, collectors, timeouts, sizes and templates come and go at random.  What stays in the configuration
notices nothing: one interface is metered to the packet by one and the same link, two collectors see one
session without a gap.  The ledger balances after each swap, and nothing grows.

    test_reload.py PROGRAM GENERATOR
"""
import json
import os
import random
import re
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

import program
import strict
import tap
from capture import Capture
from collect import Nfcapd
from lab import Lab, scratch, wait_until
from tap import check, check_equal

TORTURE = 'FLOWTALLY_TORTURE' in os.environ
RELOADS = int(os.environ.get('FLOWTALLY_RELOADS', 10000 if TORTURE else 1000))
SEED = int(os.environ.get('FLOWTALLY_SEED', time.time_ns() % (1 << 32)))
FLOWS, RATE = 2000, 10000  # of each of the two generators
ALWAYS = 'in0', 'send0'
SOMETIMES = 'in1', 'send1'
BASE = {'ingress': 'tc', 'egress': 'off', 'drops': 'auto', 'summary': 'json', 'domain': 7, 'watch': 'off',
        'stop-timeout': '30s'}
SMALL = {'drain-interval': '200ms', 'cache-entries': 5000, 'bank-entries': 8192, 'drop-entries': 8192}
# What two collectors say in each configuration.
KEPT = {'ipfix://127.0.0.1:9995': 9995, 'netflow9://127.0.0.1:9996': 9996}
LEAVE_SECONDS = 6  # a collector that was removed has so long to send what is queued
PAUSE = 100  # reloads between two looks at what the process holds
GROWTH = 8 << 20


def build(box):
    for name, peer in ALWAYS, SOMETIMES, ('sink0', 'unused0'):
        box.ip('node', 'link', 'add', name, 'type', 'veth', 'peer', 'name', peer)
        for end in name, peer:
            box.run('node', 'ethtool', '-K', end, 'gro', 'on')  # live frames are taken in by NAPI only with it
    for pair in ALWAYS, SOMETIMES, ('sink0', 'unused0'):
        for end in pair:
            box.ip('node', 'link', 'set', end, 'up')


class Generator:
    def __init__(self, box, pair, cpu, seconds):
        cpu = sorted(os.sched_getaffinity(0))[cpu % len(os.sched_getaffinity(0))]
        self.process = box.start('node', sys.argv[2], pair[1], pair[0], 'sink0', FLOWS, RATE * seconds, RATE, cpu,
                                 stdout=subprocess.PIPE)

    def stop(self):
        self.process.terminate()
        self.process.wait()


class Changes:
    """Configurations one after the other, each a few random changes away from the one before."""

    def __init__(self, directory, seed):
        self.random, self.directory = random.Random(seed), directory
        self.settings, self.collectors = {}, {}
        self.second = True
        self.path = directory / 'flowtally.yaml'

    def optional(self):
        return {
            'plain': {'url': 'ipfix://127.0.0.1:9997'},
            'old': {'url': 'netflow9://127.0.0.1:9998'},
            'stream': {'url': 'ipfix+tcp://127.0.0.1:9999'},
            'paper': {'url': f'file://{self.directory}/paper.ipfix'},
            'lines': {'url': f'json://{self.directory}/lines.json'},
        }

    def change_settings(self):
        choose = self.random.choice
        for name, values, chance in (
                ('idle-timeout', ['300ms', '1s', '2s', '10s'], 0.3), ('active-timeout', ['1s', '3s', '60s'], 0.3),
                ('linger', ['100ms', '1s'], 0.1), ('drain-interval', ['100ms', '200ms', '500ms'], 0.2),
                ('cache-entries', [1000, 3000, 100000], 0.1), ('bank-entries', [8192, 16384, 65536], 0.03),
                ('drop-entries', [8192, 16384], 0.02), ('drops-exclude', ['benign', 'policy', 'benign,policy'], 0.1),
                ('drops-budget', ['off', '10k/s'], 0.05), ('template-interval', ['10s', '60s'], 0.1),
                ('options-interval', ['5s', '300s'], 0.1), ('statistics-interval', ['1s', '60s'], 0.1)):
            if self.random.random() < chance:
                self.settings[name] = choose(values)

    def change_collectors(self):
        choose = self.random.choice
        for name, collector in self.optional().items():
            if self.random.random() < 0.15:
                if name in self.collectors:
                    del self.collectors[name]
                else:
                    self.collectors[name] = collector
            if name in self.collectors and name != 'lines' and self.random.random() < 0.1:
                self.collectors[name]['template'] = choose(['minimal', 'default', 'extended'])
            if name in ('plain', 'old') and name in self.collectors and self.random.random() < 0.1:
                key, values = choose([('rate', [5000, 100000]), ('dscp', [0, 10, 46]), ('message-size', [576, 1200])])
                self.collectors[name][key] = choose(values)

    def write(self):
        lines = [f'{name}: {value}' for name, value in {**BASE, **self.settings}.items()]
        lines += ['interfaces:', f'  - {ALWAYS[0]}', *([f'  - {SOMETIMES[0]}'] if self.second else [])]
        lines += ['collectors:', *(f'  - {url}' for url in KEPT)]
        for name, collector in self.collectors.items():
            lines += [f'  - name: {name}', *(f'    {key}: {value}' for key, value in collector.items())]
        new = self.path.with_suffix('.new')
        new.write_text('\n'.join(lines) + '\n', encoding='ascii')
        new.rename(self.path)

    def next(self):
        self.change_settings()
        self.change_collectors()
        if self.random.random() < 0.15:
            self.second = not self.second
        self.write()

    def rest(self):
        """The configuration in which the process is measured."""
        self.settings, self.collectors, self.second = dict(SMALL), {}, True
        self.write()


def held(process):
    """(descriptors, of them of BPF, resident octets)"""
    folder = f'/proc/{process.pid}/fd'
    targets = []
    for number in os.listdir(folder):
        try:
            targets.append(os.readlink(f'{folder}/{number}'))
        except OSError:
            pass
    text = Path(f'/proc/{process.pid}/status').read_text(encoding='ascii')
    resident = int(re.search(r'VmRSS:\s+(\d+)', text)[1]) * 1024
    return len(targets), sum('bpf' in target for target in targets), resident


def link_ids(box, name):
    """Ids of the tcx links of an interface, which the kernel never gives twice."""
    shown = json.loads(box.run('node', 'bpftool', '-j', 'link', 'show'))
    index = box.link('node', name)['ifindex']
    return sorted(link['id'] for link in shown if link.get('ifindex') == index or link.get('devname') == name)


class Reloader:
    def __init__(self, daemon, changes):
        self.daemon, self.changes, self.count = daemon, changes, 0

    def done(self):
        return len(re.findall(r"' (?:is in force|has changed nothing|is not taken)", self.daemon.stderr()))

    def go(self):
        self.count += 1
        self.daemon.process.send_signal(signal.SIGHUP)
        wait_until(lambda: self.done() >= self.count or self.daemon.process.poll() is not None, 30,
                   f'reload {self.count}')
        status = self.daemon.process.poll()
        check(status is None, f'the exporter has ended with status {status}, at reload {self.count}')

    def rest(self):
        """What it holds once what was removed has gone."""
        self.changes.rest()
        self.go()
        time.sleep(LEAVE_SECONDS)
        return held(self.daemon.process)


def check_flat(samples):
    """After the first, nothing grows."""
    part = max(1, len(samples) // 3)
    early, late = samples[1:part + 1], samples[-part:]
    for i, what in enumerate(('descriptors', 'descriptors of BPF')):
        early_most, late_most = (max(sample[i] for sample in some) for some in (early, late))
        check(late_most <= early_most, f"{what}: {late_most} at the end, {early_most} before")
    growth = statistics.median(sample[2] for sample in late) - statistics.median(sample[2] for sample in early)
    tap.comment(f'resident octets: {growth:+}, of {[sample[2] >> 20 for sample in samples]} MiB')
    check(growth < GROWTH, f'{growth} octets more are resident at the end')


def check_kept(ledger, nfcapds, wire):
    """Two collectors that were never touched: nfcapd counts no record of options, and misses it by the next number."""
    by_url = {collector['url']: collector for collector in ledger['collectors']}
    for (url, port), nfcapd in zip(KEPT.items(), nfcapds):
        decoder = strict.decode(wire, port)
        options = len({id(record.message) for record in decoder.records(options=True)})
        check_equal(f'sessions of {url}', len(decoder.sessions), 1)
        packets = sum(record.number(2) for record in decoder.records())
        check_equal(f'packets at {url}', packets, by_url[url]['exported']['packets'])
        check_equal(f'missing at {url} by the sequence numbers', decoder.missing, 0)
        check_equal(f'lost at {url}', sum(loss['records'] for loss in by_url[url]['lost'].values()), 0)
        errors = nfcapd.sequence_errors()
        check(errors <= options, f'{errors} sequence errors by nfcapd at {url}, {options} messages with options')


def check_interface(box, ledger, ids):
    """The one that is always metered: each packet, by the same link."""
    mine = [one for one in ledger['interfaces'] if one['name'] == ALWAYS[0]]
    check_equal('interfaces of that name', len(mine), 1)
    seen = mine[0]['hooks']['ingress']
    check_equal('packets metered on it', seen['accounted'] + seen['unrecorded'], box.packets('node', ALWAYS[0], 'rx'))
    check_equal('its links', ids[1], ids[0])


def test_thousand():
    tap.comment(f'FLOWTALLY_SEED={SEED}')
    with Lab('node') as box, scratch() as directory:
        build(box)
        changes, seconds = Changes(Path(directory), SEED), 36000
        changes.rest()
        nfcapds = [Nfcapd(box, 'node', directory, port) for port in KEPT.values()]
        wire = Capture(box, 'node', 'lo', f'{directory}/wire.pcapng', 'udp dst portrange 9995-9996', 65535)
        daemon = program.Daemon(box, 'node')
        daemon.options = ['run', '--config', changes.path, '--sandbox-folder', directory]
        with daemon:
            reloader = Reloader(daemon, changes)
            generators = [Generator(box, ALWAYS, 0, seconds), Generator(box, SOMETIMES, 1, seconds)]
            ids = [link_ids(box, ALWAYS[0])]
            samples = []
            for number in range(RELOADS):
                changes.next()
                reloader.go()
                if number % PAUSE == 0:
                    samples.append(reloader.rest())
            ids.append(link_ids(box, ALWAYS[0]))
            samples.append(reloader.rest())
            for generator in generators:
                generator.stop()
            ledger = daemon.stop(always=KEPT)
            said = daemon.stderr()
        wire.stop()
        for nfcapd in nfcapds:
            nfcapd.stop()
        check('is not taken' not in said, 'a configuration was not taken')
        check_interface(box, ledger, ids)
        check_kept(ledger, nfcapds, wire)
        check_flat(samples)


if __name__ == '__main__':
    tap.require('nfcapd', 'nfdump', 'ethtool', 'bpftool')
    tap.main([('a thousand reloads under traffic of two CPUs', test_thousand)])
