#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Interfaces whose names are no UTF-8, or steer a terminal: each output has each of them, and keeps them apart."""
import http.client
import json
import re
import socket
import subprocess
import tarfile
from pathlib import Path

import program
import tap
import traffic
from lab import Lab, scratch, wait_until
from tap import check, check_equal

# As the kernel has them: as outputs show them.  The first two differ in an octet that is no UTF-8.
NAMES = {b'a\xfe': 'a\\xfe', b'a\xff': 'a\\xff', b'\x1b[31mx': '\\x1b[31mx', b'b\xc2\x9b2Jx': 'b\\xc2\\x9b2Jx',
         'é1'.encode(): 'é1', b'q"\\x': 'q"\\x5cx'}
COUNT = 7  # datagrams to each interface
PORT = 9717
WAIT_SECONDS = 20


class Bench:
    def __enter__(self):
        self.scratch = scratch()
        self.directory = Path(self.scratch.name)
        self.box = Lab('meter', 'peer').__enter__()
        for i, name in enumerate(NAMES):
            self.box.veth(('meter', f'm{i}'), ('peer', f'p{i}'), offloads=False)
            mac = self.box.link('peer', f'p{i}')['address']
            self.ip('link', 'set', 'dev', f'm{i}', 'down')
            self.ip('link', 'set', 'dev', f'm{i}', 'name', name)
            self.ip('link', 'set', 'dev', name, 'up')
            self.ip('address', 'add', f'10.85.{i}.1/24', 'dev', name)
            self.ip('neighbour', 'replace', f'10.85.{i}.2', 'lladdr', mac, 'dev', name)
            with self.box.entered('meter'):
                ours = Path('/proc/thread-self/net/dev').read_bytes()
            check(name in ours, f'{name} is there', ours)
            self.box.ip('peer', 'address', 'add', f'10.85.{i}.2/24', 'dev', f'p{i}')
        return self

    def ip(self, *words):
        subprocess.run(['ip', '-n', self.box.names['meter'], *words], check=True, capture_output=True)

    def __exit__(self, *error):
        self.box.__exit__(*error)
        self.scratch.cleanup()

    def send(self):
        for i in range(len(NAMES)):
            with traffic.bound(self.box, 'meter', socket.SOCK_DGRAM, f'10.85.{i}.1', 9):
                traffic.udp(self.box, 'peer', (f'10.85.{i}.2', 1000 + i), (f'10.85.{i}.1', 9), COUNT)

    def ask(self, verb, *words, good=(0, 1)):
        """What a verb says, for which each octet counts."""
        done = subprocess.run(self.box.inside('meter', program.binary(), verb, *words), capture_output=True, timeout=60,
                              stdin=subprocess.DEVNULL, env={'PATH': '/usr/bin:/bin:/usr/sbin:/sbin', 'TZ': 'UTC'})
        check(done.returncode in good, f'{verb} {words}: {done.returncode}', done.stderr)
        return done.stdout.decode('utf-8')  # or it fails


def check_harmless(what, text):
    """No letter that steers a terminal."""
    text = text.replace('\r\n', '\n')  # of CSV
    bad = sorted(set(re.findall('[\x00-\x09\x0b-\x1f\x7f-\x9f]', text)))
    check_equal(f'control characters in {what}', bad, [])


def label_values(text, label):
    return [re.sub(r'\\(.)', r'\1', value) for value in re.findall(rf'{label}="((?:[^"\\]|\\.)*)"', text)]


def test_all_outputs():
    with Bench() as bench:
        path = str(bench.directory / 'socket')
        options = [word for glob in ('a*', '*x', '*1') for word in ('--interface', glob)]
        with program.Daemon(bench.box, 'meter', *options, '--control-socket', path, '--drain-interval', '200ms',
                            '--metrics-listen', f'127.0.0.1:{PORT}', '--collector',
                            f'json://{bench.directory}/flows.json') as daemon:
            bench.send()

            def status():
                return json.loads(bench.ask('status', '--json', '--socket', path))

            wait_until(lambda: status()['ledger']['accounted']['packets'] >= COUNT * len(NAMES), WAIT_SECONDS, 'packets')
            expected = sorted(NAMES.values())
            check_equal('status', sorted(i['name'] for i in status()['interfaces']), expected)
            records = [json.loads(line) for line in bench.ask('observe', '--all', '-o', 'jsonl', '--socket', path).splitlines()]
            packets = {}
            for record in records:
                if record.get('destinationTransportPort') == 9:
                    packets[record['interfaceName']] = packets.get(record['interfaceName'], 0) + record['packetDeltaCount']
            check_equal('observe', packets, dict.fromkeys(expected, COUNT))
            with bench.box.entered('meter'):
                connection = http.client.HTTPConnection('127.0.0.1', PORT, timeout=20)
                connection.connect()
            connection.request('GET', '/metrics')
            metrics = connection.getresponse().read().decode('utf-8')
            connection.close()
            check_harmless('metrics', metrics)
            check(set(label_values(metrics, 'interface')) >= set(expected), 'labels', label_values(metrics, 'interface'))
            samples = [line.rsplit(' ', 1)[0] for line in metrics.splitlines() if not line.startswith('#')]
            check_equal('series that are there twice', len(samples), len(set(samples)))
            check_equal('rows of top', len(top_rows(bench, path)), len(NAMES))
            forms = ('compact', 'table', 'wide', 'csv', 'jsonl', 'hubble-json')
            for words in (['status', '--all'], ['status', '--json'], *(['observe', '--all', '-o', form] for form in forms),
                          ['top', '--batch', '-n', '1', '--tab', 'flows'], ['doctor', '--interface', 'a*'],
                          ['doctor', '--json', '--interface', '*x']):
                check_harmless(' '.join(words), bench.ask(*words, '--socket', path))
            bundle = bench.directory / 'case.tar'
            bench.ask('doctor', '--interface', '*', '--bundle', str(bundle), '--socket', path)
            with tarfile.open(bundle) as tar:
                files = {Path(member.name).name: tar.extractfile(member).read().decode('utf-8') for member in tar}
            named = {interface['name'] for interface in json.loads(files['interfaces.json'])}
            check(named >= set(expected), 'bundle', named)
            for name, text in files.items():
                check_harmless(name, text)
            ledger = daemon.stop()
            check_harmless('standard error', daemon.stderr())
        check(set(i['name'] for i in ledger['interfaces']) >= set(expected), 'final ledger', ledger['interfaces'])


def top_rows(bench, path):
    text = bench.ask('top', '--batch', '-n', '1', '--keys', 'iface', '--socket', path, 'udp and dst port 9')
    check_harmless('top', text)
    return re.findall(rf'^ +\S+ +\S+ +\d+ +{COUNT} +1 \S+$', text, re.MULTILINE)


tap.main(tap.cases(globals()))
