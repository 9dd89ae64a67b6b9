# SPDX-License-Identifier: Apache-2.0
"""An exporter in a control group whose memory is limited (version 2): what docs/install.md says that it takes is enough.

With less, it says so before it meters, and is not ended by the kernel in the middle of its start.
"""
import errno
import re
import socket
import subprocess
from pathlib import Path

import machine
import program
import traffic
from machine import LOGS, fact, point
from lab import Lab, command, wait_until
from tap import Skip, check, check_equal

METER, PEER = '10.95.0.1', '10.95.0.2'
GROUPS = Path('/run/groups')
# The exporter finds its group where every system has it; `ip netns exec` has mounted another /sys by then.
ENTER = ['sh', '-c', 'mount -t cgroup2 cgroup2 /sys/fs/cgroup && echo $$ >"$0/cgroup.procs" && exec "$@"']
BANK, CACHE, RECORDS = 16384, 65536, 4096
MIB = 1 << 20
ROUND, ROUNDS = 10000, 8  # flows; more than the cache holds
SCARCE = 'the limit of the control group'


def enough(bank, cache):
    """Octets, as docs/install.md counts them."""
    return 2 * bank * 200 + cache * 148 + RECORDS * 128 + 24 * MIB


class Group:
    """with Group('name', octets) as group: ...   A control group with that limit."""

    def __init__(self, name, octets):
        self.path, self.octets = GROUPS / name, octets

    def __enter__(self):
        self.path.mkdir()
        (self.path / 'memory.max').write_text(str(self.octets), encoding='ascii')
        return self

    def __exit__(self, *_):
        def removed():
            try:
                self.path.rmdir()
            except OSError as error:
                return error.errno == errno.ENOENT
            return True
        wait_until(removed, 30, 'the end of the control group')

    def prefix(self):
        return [*ENTER, str(self.path)]

    def number(self, name):
        return int((self.path / name).read_text(encoding='ascii'))

    def kills(self):
        return int(re.search(r'^oom_kill (\d+)', (self.path / 'memory.events').read_text(encoding='ascii'), re.M)[1])


def options(bank, cache):
    return ['--interface', 'm0', '--ingress', 'tc', '--egress', 'off', '--bank-entries', str(bank),
            '--cache-entries', str(cache), '--control-records', str(RECORDS), '--drain-interval', '1s',
            '--idle-timeout', '10m', '--active-timeout', '10m', '--collector', 'file:///dev/null',
            '--control-socket', '/run/memory.socket']


def send(box, number):
    """A round of flows of one packet each."""
    with traffic.bound(box, 'peer', socket.SOCK_DGRAM, PEER, 30000 + number) as sock:
        for port in range(20000, 20000 + ROUND):
            sock.sendto(b'x', (METER, port))


def drained(box, daemon, seen):
    """Until the packets have left the banks, which are to hold all."""
    def is_so():
        _, out, _ = program.run('status', '--socket', '/run/memory.socket', '--json')
        return re.search(r'"accounted":\s*{[^}]*"packets":\s*(\d+)', out)
    wait_until(lambda: (found := is_so()) and int(found[1]) >= seen, machine.PATIENCE, f'{seen} packets')
    check(daemon.process.poll() is None, f'ended with status {daemon.process.returncode}')


def test_enough(box):
    with Group('enough', enough(BANK, CACHE)) as group:
        with program.Daemon(box, 'meter', *options(BANK, CACHE), prefix=group.prefix()) as daemon:
            check(SCARCE not in daemon.stderr(), daemon.stderr())
            begin = group.number('memory.current')
            for number in range(ROUNDS):
                send(box, number)
                drained(box, daemon, (number + 1) * ROUND)
            fact('memory', 'limit, at the start, at most', [group.octets, begin, group.number('memory.peak')])
            ledger = daemon.stop(always=[])
            check(ledger['records']['resources'] > 0, f'the cache was never full: {ledger["records"]}')
        check_equal('ended by the kernel', group.kills(), 0)


def refused(box, bank, cache, octets):
    """(status, standard error, how often the kernel ended it) of an exporter that is not to start."""
    with Group('scarce', octets) as group:
        words = program.metering('run', '--drops', 'off', *options(bank, cache))
        done = command_status(box.inside('meter', *group.prefix(), *words))
        return *done, group.kills()


def command_status(words):
    done = subprocess.run(words, capture_output=True, text=True, errors='replace', check=False, timeout=machine.PATIENCE)
    return done.returncode, done.stderr


def test_banks(box):
    """Less than the banks take: status 1, with the reason and the fix, and not by the kernel's hand."""
    bank = 262144
    status, said, kills = refused(box, bank, CACHE, bank * 200)
    check_equal('status, ends by the kernel', (status, kills), (1, 0))
    check(SCARCE in said and 'no memory for the banks' in said and 'ready' not in said, said)


def test_cache(box):
    """Enough for the banks and not for a full cache: it meters, and has said what will happen."""
    cache = 1 << 20
    with Group('cache', enough(BANK, 0)) as group:
        with program.Daemon(box, 'meter', *options(BANK, cache), prefix=group.prefix()) as daemon:
            check_equal('lines', daemon.stderr().count(SCARCE), 1)
            send(box, 0)
            drained(box, daemon, ROUND)
            daemon.stop(always=[])
        check_equal('ended by the kernel', group.kills(), 0)


def main():
    program.READY_SECONDS = program.STOP_SECONDS = machine.PATIENCE
    GROUPS.mkdir()
    command('mount', '-t', 'cgroup2', 'cgroup2', GROUPS)
    with Lab('meter', 'peer') as box:
        box.veth(('meter', 'm0'), ('peer', 'p0'))
        box.address(('meter', 'm0', [METER]), ('peer', 'p0', [PEER]))
        for name, test in ('what install.md says is enough', test_enough), ('less than the banks', test_banks), \
                ('less than a full cache', test_cache):
            with point(f'memory of a control group: {name}'):
                if 'memory' not in (GROUPS / 'cgroup.controllers').read_text(encoding='ascii').split():
                    raise Skip('this kernel was started without limits of memory')
                (GROUPS / 'cgroup.subtree_control').write_text('+memory', encoding='ascii')
                test(box)


if __name__ == '__main__':
    main()
