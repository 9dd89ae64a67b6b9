#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The exporter from a configuration file alone, and `flowtally config` as a command."""
import json
import os
import subprocess
import tempfile
from pathlib import Path

import program
import strict
import tap
from lab import wait_until
from sinks import METER, PEER, Bench, ours
from tap import check, check_equal

FLOWS = 50
WARNING = 'flowtally: bank-entries: 32768 are too few for the CPUs of this machine, which gets 262144\n'
FILE = f'''
interfaces: [m0, "nosuch*"]
ingress: tc
egress: off
drops: off
drain-interval: 500ms
idle-timeout: 1s
summary: json
domain: 77
collectors:
  - url: ipfix://{PEER}:9996
    name: wire
    template: octetDeltaCount,packetDeltaCount,sourceTransportPort,destinationTransportPort,protocolIdentifier
    source: {METER}
    dscp: 10
  - json://%s
'''


def config(*arguments, environment=None):
    """(exit status, standard output, standard error) of `flowtally config`."""
    run = subprocess.run([program.binary(), 'config', *arguments], capture_output=True, text=True, timeout=20,
                         env={**os.environ, **(environment or {})})
    return run.returncode, run.stdout, run.stderr


def test_file_alone():
    """Two collectors with settings of their own get the same flows."""
    with Bench() as bench:
        path, records = Path(bench.directory.name) / 'f.yaml', Path(bench.directory.name) / 'flows.json'
        path.write_text(FILE % records)
        bench.sink(9996)
        wire = bench.capture()
        daemon = program.Daemon(bench.box, 'meter')
        daemon.options = ['run', '--config', path]
        with daemon:
            bench.flows(FLOWS)
            wait_until(lambda: records.exists() and len(records.read_text().splitlines()) >= FLOWS, 20, 'the flows')
            said, ledger = daemon.stderr(), daemon.stop()
        wire.stop()
        expected = list(range(20000, 20000 + FLOWS))
        decoder = strict.decode(wire, 9996)
        check_equal('source ports over UDP', ours(decoder), expected)
        lines = [json.loads(line) for line in records.read_text().splitlines()]
        lines = [line for line in lines if line['destinationTransportPort'] == 9]
        check_equal('source ports in JSON', sorted(line['sourceTransportPort'] for line in lines), expected)
        check(all('sourceIPv4Address' in line for line in lines), 'the default template in JSON')
        check(not any(record.has(8) for record in decoder.records()), 'the template of its own over UDP')
        check_equal('domain', {message.domain for message in decoder.messages()}, {77})
        check_equal('names in the ledger', [collector.get('name') for collector in ledger['collectors']], ['wire', None])
        check("no interface matches 'nosuch*' yet" in said, 'what is waited for is said')


def test_check():
    with Bench() as bench:
        path = Path(bench.directory.name) / 'f.yaml'
        path.write_text(FILE % '/dev/null')
        check_equal('exit status of a good file', config('check', path)[0], 0)
        path.write_text('idle-timout: 15s\nlinger: 15\n')
        status, out, errors = config('check', path)
        check_equal('exit status and output of a bad file', (status, out), (2, ''))
        check_equal('mistakes', errors, f"{path}:1:1: 'idle-timout': no such key; did you mean idle-timeout?\n"
                            f"{path}:2:9: linger '15': lacks a unit; write ms, s, m or h behind the number\n")
        path.write_text('source: "\\e[2J"\n')
        check_equal('escape sequences', config('check', path)[2], f"{path}:1:9: source: '\\x1b[2J' is not an address\n")
        other = Path(bench.directory.name) / 'g.yaml'
        path.write_text('linger: 3s\n')
        other.write_text('linger: 4s\n')
        check_equal('difference', config('diff', path, other)[:2], (1, 'linger: 4s, was 3s\n'))
        check_equal('no difference', config('diff', path, path)[:2], (0, ''))
        status, out, _ = config('show', '--config', path, '--idle-timeout', '7s', environment={'FLOWTALLY_RATE': '10k/s'})
        check_equal('what is in force', (status, [line.split() for line in out.splitlines()]),
                    (0, [['idle-timeout:', '7s', '#', '--idle-timeout'], ['linger:', '3s', '#', f'{path}:1:9'],
                         ['rate:', '10k', '#', 'FLOWTALLY_RATE']]))
        check_equal('exit status of no such verb', config('shwo')[0], 2)


def test_many_cpus():
    """One file for many machines: what is too few for the CPUs of this one is raised here, and said."""
    with tempfile.TemporaryDirectory(prefix='flowtally-') as folder:
        path, possible = Path(folder) / 'f.yaml', Path(folder) / 'possible'
        path.write_text('interfaces: [m0]\nbank-entries: 32768\ndrop-entries: 1048576\n')
        possible.write_text('0-255\n')
        run = subprocess.run(['unshare', '--mount', 'sh', '-c',
                              'mount --bind "$0" /sys/devices/system/cpu/possible && exec "$@"', possible, program.binary(),
                              'config', 'show', '--effective', '--config', path], capture_output=True, text=True, timeout=20)
        check_equal('exit status, and what is said', (run.returncode, run.stderr), (0, WARNING))
        shown = dict(line.split()[:2] for line in run.stdout.splitlines() if '-entries: ' in line)
        check_equal('entries', (shown['bank-entries:'], shown['drop-entries:']), ('262144', '1048576'))


if __name__ == '__main__':
    tap.main(tap.cases(globals()))
