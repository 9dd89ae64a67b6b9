# SPDX-License-Identifier: Apache-2.0
"""A thousand nodes to one collector: their exports, simulated by one process, to nfcapd and goflow2."""
import json
import re
import shutil
import tempfile
import time
from pathlib import Path

from space import Space, command

FETCH = Path(__file__).resolve().parents[1] / 'chart/fetch'
PORT, METRICS, GENERATOR_CPU = 4739, 8081, 0
READ = '''import urllib.request, sys
sys.stdout.write(urllib.request.urlopen('http://127.0.0.1:%d/metrics', timeout=20).read().decode())''' % METRICS


def nfcapd(folder):
    return ['nfcapd', '-l', folder, '-p', PORT, '-b', '127.0.0.1']


def nfcapd_with_room(folder):
    """As much as net.core.rmem_max allows."""
    return [*nfcapd(folder), '-B', 16 << 20]


def nfcapd_records(_, folder):
    return int(re.search(r'^Flows: (\d+)', command('nfdump', '-R', folder, '-I'), re.M)[1])


def goflow2(_):
    cache = command(FETCH, '--where').strip()
    return [f'{cache}/bin/goflow2', '-listen', f'netflow://127.0.0.1:{PORT}', '-addr', f'127.0.0.1:{METRICS}',
            '-format', 'json', '-transport', 'file', '-transport.file', '/dev/null']


def goflow2_records(text, _):
    """Of flows alone: options are records too."""
    return sum(int(float(value)) for value in re.findall(
        r'^goflow2_flow_process_nf_flowset_records_total\{[^}]*type="DataFlowSet"[^}]*\} (\S+)', text, re.M))


COLLECTORS = {'nfcapd': (nfcapd, nfcapd_records), 'nfcapd -B': (nfcapd_with_room, nfcapd_records),
              'goflow2': (goflow2, goflow2_records)}


def refused(space):
    """Datagrams for which the collector's socket had no room."""
    return json.loads(space.run('nodes', 'nstat', '-aszj', 'UdpRcvbufErrors'))['kernel']['UdpRcvbufErrors']


def one(tools, collector, count, rate, seconds):
    words, records = COLLECTORS[collector]
    with Space('nodes') as space, tempfile.TemporaryDirectory(prefix='flowtally-bench-') as folder:
        taken = space.start('nodes', *words(folder))
        time.sleep(1)
        sent = json.loads(space.run('nodes', 'taskset', '-c', GENERATOR_CPU, tools / 'bench-nodes', count, rate, seconds,
                                    f'ipfix://127.0.0.1:{PORT}'))
        time.sleep(2)
        said = space.run('nodes', '/usr/bin/python3', '-c', READ) if records is goflow2_records else ''
        memory = taken.rss()
        cpu = taken.cpu_seconds()
        taken.stop()
        return {'collector': collector, 'nodes': count, 'rate': rate, 'seconds': seconds, 'sent': sent,
                'received': records(said, folder), 'datagrams_lost': refused(space), 'collector_cpu': cpu,
                'collector_rss': memory}


def measure(tools, quick):
    count, seconds = 1000, 10 if quick else 20
    there = [name for name, (words, _) in COLLECTORS.items() if shutil.which(str(words('')[0]))]
    return [one(tools, name, count, rate, seconds) for name in there for rate in ((10,) if quick else (10, 50, 100))]
