# SPDX-License-Identifier: Apache-2.0
"""What comes after the start, with three capabilities, and where a system call that is not on the list ends the exporter.

test_least.py PROGRAM      its name in the image
"""
import ctypes
import errno
import json
import os
import re
import shutil
import struct
import sys
from pathlib import Path

import machine
import program
import test_confined as confined
from machine import BIN, LOGS, fact, held, point, programs_of
from lab import scratch, wait_until
from tap import check, check_equal

BPF_LINK_GET_FD_BY_ID, BPF_LINK_DETACH = 30, 34
SMALL = 'ingress: xdp\negress: tc\ndrops: auto\ncache-entries: 8192\n'
FEW, MORE = f'{SMALL}bank-entries: 8192\ndrop-entries: 4096\n', f'{SMALL}bank-entries: 16384\ndrop-entries: 8192\n'
NO_BANKS = re.compile(r'flowtally_(tc_s\d?|d_s\d?|xdp_e|idle)')  # programs that stay what they are
FLOWS = 150  # at a time, in messages of more than the 2 KiB of a file
PORT = 9  # where they go
PROGRAM = sys.argv[1]


def named(what):
    return point(f'{"static, " if "static" in PROGRAM else ""}three capabilities: {what}')


def bpf_or_none(command, attributes):
    """None: this is nothing of which it can be asked."""
    result = machine.bpf(command, attributes)
    if result < 0:
        error = ctypes.get_errno()
        check(error in (errno.EOPNOTSUPP, errno.EINVAL), f'bpf({command}): {os.strerror(error)}')
        return None
    return result


def detach(number):
    """Whether it is a link that can be: the tracer of drops has none."""
    fd = bpf_or_none(BPF_LINK_GET_FD_BY_ID, struct.pack('=I', number))
    done = bpf_or_none(BPF_LINK_DETACH, struct.pack('=I', fd)) is not None
    os.close(fd)
    return done


class Life:
    """What one exporter meets, in points; it knows how many packets were sent by then."""

    def __init__(self, bench, other):
        self.bench, self.other, self.daemon = bench, other, None
        self.json, self.sent = bench.directory / 'flows.json', 0
        self.usual = f'file://{bench.flows_path}?rotate=2KiB&keep=1', f'json://{self.json}'

    def pid(self):
        return self.daemon.process.pid

    def meter(self):
        self.bench.flows(FLOWS)
        self.sent += FLOWS

    def configure(self, *collectors, more):
        self.bench.configure(*self.usual, *collectors, more=more)

    def reload(self, *collectors, more, word='is in force'):
        """By the file alone, which it watches: with SIGHUP there would be two of them."""
        before = len(self.daemon.stderr())
        self.configure(*collectors, more=more)
        wait_until(lambda: re.search(word, self.daemon.stderr()[before:]), machine.PATIENCE, word)

    def check_rights(self, when):
        with named(f'no thread has more, and all have a filter, {when}'):
            confined.check_rights(self.pid(), False)

    def check_files(self):
        with named('files are rotated, renamed and removed'):
            for _ in range(2):
                self.meter()
            wait_until(lambda: len(list(self.bench.directory.glob('flows.ipfix.*'))) == 1, machine.PATIENCE, 'one finished one')

    def check_questions(self):
        with named('who asks is answered'):
            _, out, err = program.run('status', '--socket', self.bench.socket)
            check('flowtally ' in out, out, err)
            check('flowtally_' in self.bench.metrics(), 'metrics')

    def check_interfaces(self):
        with named('an interface that comes is attached'):
            self.bench.box.veth(('meter', 'x0'), ('peer', 'y0'), offloads=False)
            wait_until(lambda: "'x0': ingress XDP" in self.daemon.stderr(), machine.PATIENCE, 'x0')
            self.bench.box.ip('meter', 'link', 'delete', 'x0')
            wait_until(lambda: "'x0' is gone" in self.daemon.stderr(), machine.PATIENCE, 'the end of x0')

    def check_hooks(self):
        with named('what somebody has detached is attached again'):
            before = held(self.pid(), 'link_id')
            gone = {number for number in before if detach(number)}
            check(gone, 'no link can be detached')
            wait_until(lambda: len(held(self.pid(), 'link_id') - gone) == len(before) and self.has_xdp(), machine.PATIENCE,
                       'as many links as before')
            self.meter()

    def has_xdp(self):
        return self.bench.box.link('meter', 'm0').get('xdp', {}).get('prog', {}).get('name') == 'flowtally_xdp'

    def check_programs(self):
        with named('a reload loads other programs, in the place of those attached'):
            before = programs_of(self.pid())
            self.reload(more=MORE)
            after = programs_of(self.pid())
            check_equal('names', {one.name for one in after.values()}, {one.name for one in before.values()})
            same = [one.name for number, one in after.items() if number in before and not NO_BANKS.fullmatch(one.name)]
            check_equal('programs of before', same, [])
            confined.reload(self.daemon, 'has changed nothing')
            self.meter()

    def check_landlock(self, version):
        """Elsewhere is refused by the exporter; through a link that leads nowhere yet, by the kernel."""
        modules = Path('/sys/kernel/security/lsm').read_text(encoding='ascii').strip().split(',')
        with named('landlock, where the kernel has it, keeps files to their folders'):
            check_equal('landlock among the security modules', 'landlock' in modules, version > 0)
            check_equal('lines that say it is not', self.daemon.stderr().count('does not have landlock'), int(not version))
            (self.bench.directory / 'link').symlink_to(self.other / 'target')
            elsewhere, linked = f'json://{self.other / "flows.json"}', f'json://{self.bench.directory / "link"}'
            if version:
                self.reload(elsewhere, more=MORE, word='was not among the folders')
                self.reload(linked, more=MORE, word=f"'{linked}'.*Permission denied")
            else:
                self.reload(elsewhere, linked, more=MORE)
            self.meter()
            check_equal('files elsewhere', {file.name for file in self.other.iterdir()},
                        set() if version else {'flows.json', 'target'})

    def check_end(self):
        with named('SIGTERM exports everything, the ledger balances'):
            ledger = self.daemon.stop(always=[f'json://{self.json}'])
            check_equal('refused', [name for name, count in ledger['refused'].items() if count['packets']], [])
            rows = [json.loads(line) for line in self.json.read_text(encoding='utf-8').splitlines()]
            check_equal('packets in the records', sum(row.get('packetDeltaCount', 0) for row in rows
                                                      if row.get('destinationTransportPort') == PORT), self.sent)

    def live(self, version):
        self.configure(more=FEW)
        with self.bench.daemon('--verbose') as self.daemon:
            try:
                self.check_rights('at first')
                self.check_files()
                self.check_questions()
                self.check_interfaces()
                self.check_hooks()
                self.check_programs()
                self.check_landlock(version)
                self.check_rights('at last')
                self.check_end()
            finally:
                shutil.copy(self.daemon.log_path, LOGS / f'least-{PROGRAM}.stderr')


def main():
    os.environ['FLOWTALLY'] = str(BIN / PROGRAM)
    program.READY_SECONDS = program.STOP_SECONDS = confined.WAIT_SECONDS = machine.PATIENCE
    version = machine.landlock()
    fact('sandbox', 'landlock', version)
    with named('a life from its start to its end'), confined.Bench() as bench, scratch() as other:
        Life(bench, Path(other)).live(version)


if __name__ == '__main__':
    main()
