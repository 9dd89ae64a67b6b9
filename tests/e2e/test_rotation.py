#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Files that are rotated under traffic: what the ledger says was exported is in them, each record once."""
import collections
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import program
import tap
import traffic
from lab import Pair, scratch, wait_until
from tap import Skip, check, check_equal

METER, PEER = '10.88.0.1', '10.88.0.2'
QUICK = ['--interface', 'm0', '--drain-interval', '100ms', '--idle-timeout', '300ms']


class Bench(Pair):
    addresses = METER, PEER

    def flows(self, count, pause=0.0):
        with traffic.bound(self.box, 'meter', socket.SOCK_DGRAM, METER, 9):
            for port in range(20000, 20000 + count):
                traffic.udp(self.box, 'peer', (PEER, port), (METER, 9), 1)
                time.sleep(pause)


def finished(path):
    """Finished files, the oldest first, and the one that is written last."""
    files = [file for file in path.parent.glob(path.name + '.*') if file.suffix[1:].isdigit()]
    return sorted(files, key=lambda file: int(file.suffix[1:])) + [path]


def read(*files):
    run = subprocess.run([program.binary(), 'read', '-o', 'jsonl', *files], capture_output=True, text=True, timeout=60)
    check_equal('read: status', run.returncode, 0)
    return run.stdout.splitlines(), run.stderr


def dumped(file):
    """Records of flows in it, by ipfixDump, which is libfixbuf's."""
    text = subprocess.run(['ipfixDump', '--in', file], capture_output=True, text=True, timeout=60).stdout
    return sum('octetDeltaCount' in line and 'IE' not in line and line.split(':')[-1].strip().isdigit()
               for line in text.splitlines())


@contextlib.contextmanager
def following(path, out):
    follower = subprocess.Popen([program.binary(), 'read', '-o', 'jsonl', '--follow', path], stdout=out)
    try:
        yield follower
    finally:
        follower.kill()
        follower.wait()


def stop(follower, shown, lines):
    """What a follower has shown, when it has shown that many lines, and a little later."""
    wait_until(lambda: len(shown.read_text().splitlines()) >= lines, 20, f'{lines} lines of a follower')
    time.sleep(0.5)
    follower.terminate()
    follower.wait()
    return shown.read_text().splitlines()


def ports(lines):
    """By how many records a flow is told; each flow is one datagram."""
    return collections.Counter(json.loads(line)['sourceTransportPort'] for line in lines)


def test_all_is_there():
    """Files of some KiB under traffic: ipfixDump, `read`, a follower, lines of JSON and the ledger tell the same records."""
    if not shutil.which('ipfixDump'):
        raise Skip('there is no ipfixDump')
    with Bench() as bench:
        path, lines, shown = bench.directory / 'flows.ipfix', bench.directory / 'flows.json', bench.directory / 'shown'
        with program.Daemon(bench.box, 'meter', *QUICK, '--collector', f'file://{path}?rotate=1h,3KiB',
                            '--collector', f'json://{lines}?rotate=5000') as daemon, open(shown, 'wb') as out:
            wait_until(path.exists, 20, 'the file')
            with following(path, out) as follower:
                bench.flows(2000, 0.001)
                ledger = daemon.stop()
                exported = ledger['collectors'][0]['exported']['records']
                followed = stop(follower, shown, exported)
        check_equal('JSON: exported', ledger['collectors'][1]['exported']['records'], exported)
        for collector in ledger['collectors']:
            check_equal('lost', sum(count['records'] for count in collector['lost'].values()), 0)
            check_equal('failures', collector['errors'], 0)
        files, texts = finished(path), finished(lines)
        check(len(files) > 20, f'{len(files)} files')
        check_equal('numbers', [file.suffix for file in files[:-1]], [f'.{n}' for n in range(1, len(files))])
        for file in files[:-1]:
            check(3072 <= file.stat().st_size < 3072 + 1500, f'{file.name}: {file.stat().st_size} octets')
            check(dumped(file) > 0, f'{file.name}: no record')
        alone = [line for file in files for line in read(file)[0]]
        check_equal('read, file by file', len(alone), exported)
        check_equal('ipfixDump', sum(map(dumped, files)), exported)
        row = bench.directory / 'row'
        row.write_bytes(b''.join(file.read_bytes() for file in files))
        check_equal('in a row: lines, and not a word of a gap', read(row), (alone, ''))
        check_equal('a follower', followed, alone)
        json_lines = [line for file in texts for line in file.read_text().splitlines()]
        check(all(json.loads(line) for line in json_lines) and len(texts) > 20, 'not in whole lines, or not rotated')
        check_equal('lines of JSON', sorted(json_lines), sorted(alone))
        sent = ports(alone)
        check_equal('flows', {port: sent[port] for port in range(20000, 22000)}, dict.fromkeys(range(20000, 22000), 1))


def test_kill():
    """After kill -9 the files are there in whole messages, and the next run takes none of their names."""
    with Bench() as bench:
        path = bench.directory / 'flows.ipfix'
        options = [*QUICK, '--collector', f'file://{path}?rotate=2KiB&keep=500']
        with program.Daemon(bench.box, 'meter', *options) as daemon:
            bench.flows(500)
            wait_until(lambda: len(finished(path)) > 5, 20, 'some files')
            daemon.process.send_signal(signal.SIGKILL)
            daemon.process.wait()
        before = {file.stat().st_ino: file.read_bytes() for file in finished(path) if file.exists()}
        for file in finished(path):
            read(file)
        # Names that are taken without counting as numbers: a rename would put a file in their place without a word.
        newest = int(finished(path)[-2].suffix[1:])
        links = [Path(f'{path}.{newest + ahead}') for ahead in (1, 3)]
        for link in links:
            link.symlink_to('nowhere')
        with program.Daemon(bench.box, 'meter', *options) as daemon:
            bench.flows(300)
            daemon.stop()
        check_equal('names that others had', [link.is_symlink() for link in links], [True, True])
        for link in links:
            link.unlink()
        after = {file.stat().st_ino: file.read_bytes() for file in finished(path)}
        check_equal('what was there', {inode: after.get(inode) for inode in before}, before)
        check(len(after) > len(before) + 3, 'no new files')


def test_outside():
    """Others rename, with and without making a new one, or empty the file: a follower shows each record once."""
    for how in 'rename', 'create', 'copytruncate':
        with Bench() as bench:
            path, shown = bench.directory / 'flows.ipfix', bench.directory / 'shown'
            with (program.Daemon(bench.box, 'meter', *QUICK, '--collector', f'file://{path}') as daemon,
                  open(shown, 'wb') as out):
                wait_until(path.exists, 20, 'the file')
                with following(path, out) as follower:
                    for turn in range(1, 4):
                        bench.flows(100)
                        wait_until(lambda: len(shown.read_text().splitlines()) >= 100 * turn, 20, f'{how}: flows, turn {turn}')
                        time.sleep(0.3)
                        if how == 'copytruncate':
                            os.truncate(path, 0)
                            time.sleep(0.5)  # emptied and filled again within 200 ms is not to be seen
                            continue
                        for number in range(turn - 1, 0, -1):
                            Path(f'{path}.{number}').rename(f'{path}.{number + 1}')
                        path.rename(f'{path}.1')
                        if how == 'create':
                            path.touch(0o640)
                    ledger = daemon.stop()
                    followed = stop(follower, shown, ledger['collectors'][0]['exported']['records'])
            got = ports(followed)
            check_equal(f'{how}: flows', {port: got[port] for port in range(20000, 20100)},
                        dict.fromkeys(range(20000, 20100), 3))
            check_equal(f'{how}: lines', len(followed), ledger['collectors'][0]['exported']['records'])


def test_replay():
    """A capture is cut by its own clock, however fast it is replayed."""
    frame = traffic.udp_frame(5)
    with scratch() as folder:
        capture, path = Path(folder) / 'hours.pcap', Path(folder) / 'flows.ipfix'
        header = bytearray(traffic.capture_of([])[:24])
        hour = lambda n: (1700002800 + 3600 * n + 60).to_bytes(4, 'little') + bytes(4) + 2 * len(frame).to_bytes(4, 'little')
        capture.write_bytes(bytes(header) + b''.join(hour(n) + frame for n in range(5)))
        ledger = program.replay(capture, '--collector', f'file://{path}?rotate=1h')
        # All are of one flow, which is idle: each record is exported when the next packet tells the time, the last at the end.
        check_equal('records', ledger['collectors'][0]['exported']['records'], 5)
        check_equal('records by file', [len(read(file)[0]) for file in finished(path)], [1, 1, 1, 2])


def test_mistakes():
    """What cannot be rotated, and values that are none: status 2, and all of them are told."""
    with scratch() as name:
        folder = Path(name)
        os.mkfifo(folder / 'fifo')
        (folder / 'file').write_text('')
        (folder / 'link').symlink_to(folder / 'file')
        collectors = [f'file://{folder}/fifo?rotate=1h', f'json://{folder}/link?rotate=1MiB', 'json:///dev/stdout?rotate=1h',
                      'file:///dev/null?rotate=1h', 'file:///f?rotate=', 'file:///f?rotate=0s', 'file:///f?rotate=1ms',
                      'file:///f?rotate=9000h', 'file:///f?rotate=-1h', 'file:///f?rotate=1023', 'file:///f?rotate=2TB',
                      'file:///f?rotate=1h,1h', 'file:///f?rotate=1MiB,1MiB', 'file:///f?rotate=1h,1MiB,1h',
                      'file:///f?rotate=1h,',
                      'file:///f?rotate=,1h', 'file:///f?rotate=1h,off', 'file:///f?rotate=99999999999999999999h',
                      'file:///f?keep=-1',
                      'file:///f?keep=1001', 'file:///f?keep=x', 'file:///f?keep=', 'file:///f?rotate=1h&rotate=2h',
                      'ipfix://192.0.2.1?rotate=1h', 'netflow9://192.0.2.1?keep=3', 'json:-?rotate=1h']
        for url in collectors:
            status, _, err = program.run('run', '--interface', 'lo', '--collector', url)
            check_equal(f'{url}: status', status, 2)
            check('rotate' in err or 'keep' in err, f'{url}: {err}')
        file = folder / 'f.yaml'
        file.write_text('interfaces: [lo]\ncollectors:\n' + '  - url: "json:-"\n    rotate: 1h\n'
                        + ''.join(f'  - url: "{url}"\n' for url in collectors[:3]))
        status, _, err = program.run('run', '--config', file)
        check_equal('status of a file', status, 2)
        for line in 3, 5, 6, 7:
            check(f'{file}:{line}:' in err, f'line {line} is not told: {err}')
        file.write_text('interfaces: [lo]\ncollectors:\n  - json:///f.3\n  - file:///f?keep=2\n  - file:///f.x\n')
        status, _, err = program.run('config', 'check', file)
        check_equal('a name of a finished file', (status, len(err.splitlines())), (2, 1))
        check(f'{file}:3:' in err and 'finished' in err, err)
        for value in 'off', '0', '1s', '8760h', '1024', '1000GB', '1h,100MiB', '100MiB,1h':
            file.write_text(f'interfaces: [lo]\ncollectors: ["file://{folder}/x?rotate={value}&keep=1000", '
                            f'{{url: "json://{folder}/y", rotate: "{value}", keep: 0}}]\n')
            status, out, err = program.run('config', 'check', file)
            check_equal(f'{value}: status, {out}{err}', status, 0)


if __name__ == '__main__':
    tap.main([('all is there', test_all_is_there), ('kill -9', test_kill), ('others rename or empty it', test_outside),
              ('a capture', test_replay), ('mistakes', test_mistakes)], at_once=tap.AT_ONCE)
