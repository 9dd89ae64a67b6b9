#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A running exporter and its configuration file: by inotify, by SIGHUP, by the link of a ConfigMap; good files and bad ones."""
import os
import re
import signal
import socket
import time
from pathlib import Path

import program
import strict
import tap
from lab import wait_until
from sinks import PEER, Bench, ours
from tap import check, check_equal

KEPT = f'ipfix://{PEER}:9996'
BASE = f'''interfaces: [m0]
ingress: tc
egress: off
drops: off
drain-interval: 200ms
idle-timeout: 500ms
summary: json
domain: 77
'''
START = BASE + f'collectors: ["{KEPT}"]\n'


def put(path, text):
    """As editors do that put a new file in the place of the old one."""
    new = path.with_suffix('.new')
    new.write_text(text, encoding='ascii')
    new.rename(path)


class Run(program.Daemon):
    """The exporter with a file; what it says of it is counted."""

    def __init__(self, bench, path, *options, prefix=()):
        super().__init__(bench.box, 'meter', prefix=prefix)
        self.options = ['run', '--config', path, '--sandbox-folder', bench.directory.name, *options]
        self.path, self.read = path, 0

    def lines(self):
        return [line.removeprefix('flowtally: ') for line in self.stderr().splitlines()]

    def said(self, last):
        """What was said since the last call, up to the line that ends a reload in this way."""
        wait_until(lambda: f"'{self.path}' {last}" in self.lines()[self.read:], 20, last)
        lines = self.lines()
        end = lines.index(f"'{self.path}' {last}", self.read)
        said, self.read = lines[self.read:end], end + 1
        return [line for line in said if line != f"'{self.path}' has changed, reading it again"]

    def settle(self):
        """From here on what is said counts.  A thread of its own says where metrics are, at its time."""
        wait_until(lambda: any(line.startswith('metrics: ') for line in self.lines()), 20, 'the metrics')
        self.read = len(self.lines())


def test_by_inotify():
    """A collector comes and another stays; a list that empties and a glob that waits are said."""
    with Bench() as bench:
        path, lines = Path(bench.directory.name) / 'f.yaml', Path(bench.directory.name) / 'flows.json'
        put(path, START)
        bench.sink(9996)
        wire = bench.capture()
        with Run(bench, path) as run:
            run.settle()
            bench.flows(20)
            wait_until(lambda: run.process.poll() is None, 1, 'the exporter')
            put(path, START.replace('500ms', '600ms').replace('[m0]', '[m0, "nosuch*"]')
                + 'linger: 1s\nstatistics-interval: 30s\n')
            said = run.said('is in force')
            check_equal('changes', [line for line in said if 'nosuch' not in line],
                        ['idle-timeout: 600ms, was 500ms', 'linger: 1s, was 2s', 'statistics-interval: 30s, was 1m'])
            check(any("no interface matches 'nosuch*' yet" in line for line in run.lines()), 'a glob that waits is not said')
            path.write_text(BASE + f'collectors: ["{KEPT}", {{protocol: json, path: "{lines}"}}]\n', encoding='ascii')
            check(f'collector: json://{lines} is added' in run.said('is in force'), 'the collector is not named')
            bench.flows(30, 20020)
            wait_until(lambda: lines.exists() and len(lines.read_text().splitlines()) >= 30, 20, 'flows in the new file')
            time.sleep(0.5)  # for what is on the wire
            put(path, BASE + 'collectors: []\n')
            check(any('metered and then forgotten' in line for line in
                      [*run.said('is in force'), *run.lines()[run.read:]]), 'a list that empties is not said')
            put(path, BASE)
            check_equal('a list that is not there is an empty one', run.said('has changed nothing'), [])
            run.stop()
        wire.stop()
        decoder = strict.decode(wire, 9996)
        check_equal('source ports', ours(decoder), list(range(20000, 20050)))
        check_equal('domains', {message.domain for message in decoder.messages()}, {77})


def test_bad():
    """A bad file changes nothing, and neither does a setting that takes a restart; the next good one does."""
    with Bench() as bench:
        path = Path(bench.directory.name) / 'f.yaml'
        put(path, START)
        bench.sink(9996)
        wire = bench.capture()
        with Run(bench, path) as run:
            run.settle()
            put(path, 'idle-timout: 15s\nlinger: 15\ningress: xpd\n')
            check_equal('mistakes', run.said('is not taken: all stays as it was'), [
                f"{path}:1:1: 'idle-timout': no such key; did you mean idle-timeout?",
                f"{path}:2:9: linger '15': lacks a unit; write ms, s, m or h behind the number",
                f"{path}:3:10: ingress 'xpd': no such word; it can be auto, xdp, tc or off; did you mean xdp?",
                'no interface: add --interface NAME, or interfaces: [NAME] to the file, `ip link` lists them'])
            put(path, START.replace('77', '78').replace('500ms', '9s') + 'balance: true\nlive: true\n')
            check_equal('restart', run.said('is not taken: all stays as it was'), [
                f"{path}:8:9: domain cannot change without a restart: '77' runs, '78' is wanted",
                f"{path}:10:10: balance cannot change without a restart: 'false' runs, 'true' is wanted",
                f"{path}:11:7: live cannot change without a restart: 'false' runs, 'true' is wanted"])
            path.unlink()
            check_equal('no file', run.said('is not taken: all stays as it was'), [
                f'{path}: No such file or directory',
                'no interface: add --interface NAME, or interfaces: [NAME] to the file, `ip link` lists them'])
            bench.flows(20)  # by the old settings: a timeout of 9 s is too long for this test
            time.sleep(2)
            put(path, START + 'linger: 1s\n')
            check_equal('changes', run.said('is in force'), ['linger: 1s, was 2s'])
            ledger = run.stop()
            check('reloads: 1 good, 3 not taken' in run.lines(), 'the reloads are not counted')
        wire.stop()
        check_equal('collectors', [collector['url'] for collector in ledger['collectors']], [KEPT])
        decoder = strict.decode(wire, 9996)
        check_equal('source ports', ours(decoder), list(range(20000, 20020)))
        check_equal('domains', {message.domain for message in decoder.messages()}, {77})


def test_in_a_row():
    """What was refused leaves nothing in the way of the next; reloads quicker than the swaps put none off."""
    with Bench() as bench:
        path = Path(bench.directory.name) / 'f.yaml'
        put(path, START)
        bench.sink(9996)
        wire = bench.capture()
        with Run(bench, path, '--watch', 'off') as run:
            run.settle()
            for entries in 65536, 32768, 16384:
                put(path, BASE + f'bank-entries: {entries}\ncollectors: [file:///nonexistent/f.ipfix]\n')
                run.process.send_signal(signal.SIGHUP)
                run.said('is not taken: all stays as it was')
                put(path, START + f'bank-entries: {entries}\n')
                run.process.send_signal(signal.SIGHUP)
                run.said('is in force')
            put(path, START.replace('200ms', '1s'))
            run.process.send_signal(signal.SIGHUP)
            run.said('is in force')
            bench.flows(20)
            for i in range(20):  # for 4 s, twice in each interval
                put(path, START.replace('200ms', '1s') + f'linger: {i + 3}s\n')
                run.process.send_signal(signal.SIGHUP)
                run.said('is in force')
                time.sleep(0.2)
            wire.stop()
            run.stop()
        check_equal('source ports while reloads came', ours(strict.decode(wire, 9996)), list(range(20000, 20020)))


def test_by_signal():
    """With --watch off the file is read on SIGHUP alone; systemd hears of the reload."""
    with Bench() as bench:
        path, address = Path(bench.directory.name) / 'f.yaml', f'{bench.directory.name}/notify'
        put(path, START)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind(address)
            manager.settimeout(20)
            with Run(bench, path, '--watch', 'off', prefix=('env', f'NOTIFY_SOCKET={address}')) as run:
                check_equal('ready', manager.recv(4096), b'READY=1')
                run.settle()
                put(path, START + 'linger: 1s\nwatch: on\n')
                time.sleep(1)
                check_equal('read without being asked', run.lines()[run.read:], [])
                asked = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
                run.process.send_signal(signal.SIGHUP)
                check_equal('changes', run.said('is in force'), ['linger: 1s, was 2s'])
                told = re.fullmatch(rb'RELOADING=1\nMONOTONIC_USEC=(\d+)', manager.recv(4096))
                check(told and int(told[1]) >= asked, f'not told of the reload: {told}')
                check_equal('ready again', manager.recv(4096), b'READY=1')
                put(path, 'linger: 1\n')
                run.process.send_signal(signal.SIGHUP)
                run.said('is not taken: all stays as it was')
                check(manager.recv(4096).startswith(b'RELOADING=1\n'), 'a bad file is a reload too')
                check_equal('ready after a bad file', manager.recv(4096), b'READY=1')
                run.stop()


def test_config_map():
    """The kubelet writes a folder beside the old one and moves the link ..data: twice, and with a bad file between."""
    with Bench() as bench:
        folder = Path(bench.directory.name) / 'map'
        folder.mkdir()

        def swap(number, text):
            version = folder / f'..version_{number}'
            version.mkdir()
            (version / 'f.yaml').write_text(text, encoding='ascii')
            os.symlink(version.name, folder / '..data_tmp')
            old = os.readlink(folder / '..data') if (folder / '..data').is_symlink() else None
            (folder / '..data_tmp').rename(folder / '..data')
            if old:
                (folder / old / 'f.yaml').unlink()
                (folder / old).rmdir()

        swap(1, START)
        os.symlink('..data/f.yaml', folder / 'f.yaml')
        with Run(bench, folder / 'f.yaml') as run:
            run.settle()
            swap(2, START + 'linger: 1s\n')
            check_equal('first', run.said('is in force'), ['linger: 1s, was 2s'])
            swap(3, START + 'linger: 1\n')
            check_equal('bad', run.said('is not taken: all stays as it was'),
                        [f"{folder}/f.yaml:10:9: linger '1': lacks a unit; write ms, s, m or h behind the number"])
            swap(4, START + 'linger: 3s\n')
            check_equal('third', run.said('is in force'), ['linger: 3s, was 1s'])
            run.stop()


if __name__ == '__main__':
    tap.main(tap.cases(globals()))
