# SPDX-License-Identifier: Apache-2.0
"""Exporters under one load: packets accounted, and CPU seconds for a million packets on the wire.

The generator's CPU also receives, runs the hooks, and copies packets for those who tap the interface:
what its bursts take longer than without an exporter is the exporter's share of it.  The exporter's own
processes run on the other CPU.
"""
import json
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from space import RECEIVER, SENDER, SINK, Space, command, last_json, wait_for_word

PACKETS_PER_FLOW = 50
LOADS = ('full rate', 1500000, 0), ('100000 packets/s', 500000, 100000)
PORT = 9995
SETTLE_SECONDS = 1.5  # until softflowd and pmacctd, which say nothing, listen
STOPS = {'softflowd': 0, 'pmacctd': signal.SIGINT}
PMACCTD = '''daemonize: false
pcap_interface: {interface}
aggregate: src_host, dst_host, src_port, dst_port, proto, tos
plugins: nfprobe
nfprobe_receiver: 127.0.0.1:{port}
nfprobe_version: 5
nfprobe_maxflows: {flows}
plugin_pipe_size: 67108864
plugin_buffer_size: 65536
'''


def flowtally_words(binary, ingress, *more, drops='off'):
    return [binary, 'run', '--interface', RECEIVER, '--ingress', ingress, '--egress', 'off', '--summary', 'json',
            '--drops', drops, '--collector', f'ipfix://127.0.0.1:{PORT}', *more]


def words_of(name, binary, flows, folder):
    if name.startswith('flowtally'):
        return flowtally_words(binary, 'xdp' if 'xdp' in name else 'tc', drops='on' if 'drops' in name else 'off')
    if name == 'softflowd':
        return ['softflowd', '-d', '-i', RECEIVER, '-n', f'127.0.0.1:{PORT}', '-v', '5', '-m', 2 * flows, '-p',
                folder / 'pid', '-c', folder / 'control']
    config = folder / 'pmacctd.conf'
    config.write_text(PMACCTD.format(interface=RECEIVER, port=PORT, flows=2 * flows), encoding='utf-8')
    return ['pmacctd', '-f', config]


def start(space, name, words, log):
    with open(log, 'w', encoding='utf-8') as file:
        process = space.start('load', *words, log=file)
    if name.startswith('flowtally'):
        wait_for_word(log, 'ready', process)
    else:
        time.sleep(SETTLE_SECONDS)
    return process


def start_sink(space, log):
    return space.start('load', '/usr/bin/python3', Path(__file__).parent / 'sink.py', PORT, log=log)


def settle(process):
    """Waits until the exporter has caught up: uses next to no CPU for a while."""
    before, end = process.cpu_seconds(), time.monotonic() + 20
    while time.monotonic() < end:
        time.sleep(0.5)
        now = process.cpu_seconds()
        if now - before < 0.01:
            return
        before = now


def send(space, tools, packets, rate, flows):
    return json.loads(space.run('load', tools / 'bench-send', SENDER, RECEIVER, SINK, flows, packets, rate))


def once(space, name, tools, binary, packets, rate):
    """One exporter under the load once."""
    flows = packets // PACKETS_PER_FLOW
    folder = Path(tempfile.mkdtemp(prefix='flowtally-bench-'))
    try:
        if name == 'none':
            return {**send(space, tools, packets, rate, flows), 'accounted': 0, 'daemon': 0.0}
        with open(folder / 'sink', 'w', encoding='utf-8') as file:
            sink = start_sink(space, file)
        process = start(space, name, words_of(name, binary, flows, folder), folder / 'log')
        idle = process.cpu_seconds()
        result = send(space, tools, packets, rate, flows)
        settle(process)
        used = process.cpu_seconds()
        if name == 'softflowd':
            command('softflowctl', '-c', folder / 'control', 'shutdown')  # a signal ends it without its flows
        result['daemon'] = max(used, process.stop(STOPS.get(name, signal.SIGTERM))) - idle
        time.sleep(0.5)
        sink.stop()
        if name.startswith('flowtally'):
            result['ledger'] = last_json(folder / 'log')
            result['accounted'] = result['ledger']['accounted']['packets']
        else:
            result['accounted'] = last_json(folder / 'sink')['v5_packets']
        return result
    finally:
        shutil.rmtree(folder)


def compare(tools, binary, quick):
    names = ['none', 'flowtally tc', 'flowtally xdp', 'flowtally tc, drops']
    for name in 'softflowd', 'pmacctd':
        if shutil.which(name):
            names.append(name)
        else:
            print(f'bench: {name} is not installed: its rows are missing', file=sys.stderr)
    rows = []
    with Space('load') as space:
        space.generator('load')
        for load, packets, rate in LOADS[:1] if quick else LOADS:
            runs = {name: [] for name in names}
            for _ in range(2 if quick else 3):
                for name in names:
                    runs[name].append(once(space, name, tools, binary, packets, rate))
            rows += [row(name, load, runs[name], runs['none']) for name in names]
    return rows


def row(name, load, runs, bare):
    million = runs[0]['sent'] / 1e6
    middle = {key: statistics.median(run[key] for run in runs) for key in ('busy', 'daemon', 'accounted', 'delivered')}
    path = middle['busy'] - statistics.median(run['busy'] for run in bare)
    return {'name': name, 'load': load, 'rounds': len(runs), 'sent': runs[0]['sent'], 'delivered': middle['delivered'],
            'accounted': middle['accounted'], 'accounted_share': middle['accounted'] / middle['delivered'],
            'path_seconds': path / million, 'daemon_seconds': middle['daemon'] / million,
            'cpu_seconds': (path + middle['daemon']) / million}


def flood(tools, binary, quick):
    """All-new flows as fast as one CPU makes them: what fits is exact, the rest is refused by name."""
    packets = 2000000 if quick else 20000000
    with Space('load') as space, tempfile.NamedTemporaryFile(prefix='flowtally-bench-') as log:
        space.generator('load')
        sink = start_sink(space, subprocess.DEVNULL)
        process = start(space, 'flowtally', flowtally_words(binary, 'tc'), log.name)
        sent = send(space, tools, packets, 0, flows=1 << 28)
        settle(process)
        process.stop()
        sink.stop()
        ledger = last_json(log.name)
    collector = ledger['collectors'][0]
    lost = {name: count['packets'] for name, count in collector['lost'].items() if count['packets']}
    return {'sent': sent['sent'], 'delivered': sent['delivered'], 'seen': ledger['seen'],
            'accounted': ledger['accounted']['packets'], 'exported': collector['exported']['packets'],
            'refused': {name: count['packets'] for name, count in ledger['refused'].items() if count['packets']},
            'evicted': ledger['evicted']['packets'], 'lost': lost, 'uncounted': sent['delivered'] - ledger['seen'],
            'balanced': ledger['balanced']}


def memory(tools, binary, quick):
    rows = []
    for flows in (100000,) if quick else (100000, 1000000):
        with Space('load') as space, tempfile.NamedTemporaryFile(prefix='flowtally-bench-') as log:
            space.generator('load')
            options = ['--bank-entries', flows * 5 // 4, '--cache-entries', flows * 5 // 4, '--drain-interval', '1s']
            process = start(space, 'flowtally', flowtally_words(binary, 'tc', *options), log.name)
            empty = process.rss()
            send(space, tools, flows, 0, flows)
            time.sleep(2.5)  # a drain, and the growth that comes with it
            settle(process)
            rows.append({'flows': flows, 'rss': process.rss(), 'rss_empty': empty, 'maps': process.map_bytes(),
                         'rss_per_flow': process.rss() / flows})
            process.stop()
    return rows


def idle(binary, quick):
    seconds = 5 if quick else 30
    with Space('load') as space, tempfile.NamedTemporaryFile(prefix='flowtally-bench-') as log:
        space.generator('load')
        process = start(space, 'flowtally', flowtally_words(binary, 'tc'), log.name)
        time.sleep(2)
        before = process.cpu_seconds()
        time.sleep(seconds)
        used = process.cpu_seconds() - before
        process.stop()
    return {'seconds': seconds, 'cpu_share': used / seconds}
