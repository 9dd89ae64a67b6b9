# SPDX-License-Identifier: Apache-2.0
"""Starts and ends the program under test; its standard error is shown when a test fails."""
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import ledger
from lab import DIES_WITH_TEST, scratch, wait_until
from tap import Failure, check, check_equal, skip_all

# Just what it needs, which a container with these alone has: no capability can come back by an exec.
LEAST = ['setpriv', '--bounding-set', '-all,+bpf,+net_admin,+perfmon', '--inh-caps', '-all', '--ambient-caps', '-all']
# A system call that is not on the list of docs/security.md ends the program, unless who runs the tests says otherwise.
SANDBOX = ['env', 'FLOWTALLY_SANDBOX=' + os.environ.pop('FLOWTALLY_SANDBOX', 'kill')]

# The system call of that number fails with that error, in what follows.
REFUSING = '''
import ctypes, os, struct, sys
number, error = map(int, sys.argv[1:3])
code = b"".join(struct.pack("HBBI", *step) for step in [(0x20, 0, 0, 0), (0x15, 0, 1, number), (0x06, 0, 0, 0x50000 | error),
                                                       (0x06, 0, 0, 0x7fff0000)])
buffer = ctypes.create_string_buffer(code)
filter = ctypes.create_string_buffer(struct.pack("HxxxxxxP", 4, ctypes.addressof(buffer)))
libc = ctypes.CDLL(None, use_errno=True)
libc.prctl(38, 1, 0, 0, 0)
if libc.prctl(22, 2, filter) != 0:
    sys.exit("no seccomp")
os.execvp(sys.argv[3], sys.argv[3:])
'''

READY_SECONDS = 60  # of a machine that has much else to do
STOP_SECONDS = 20


def binary():
    path = os.environ.get('FLOWTALLY') or (sys.argv[1] if len(sys.argv) > 1 else '')
    if not os.access(path, os.X_OK):
        skip_all('no program: name it as the argument or in FLOWTALLY')
    return os.path.abspath(path)


def metering(*words):
    """The program with just the capabilities and the system calls that it needs."""
    return [*LEAST, *SANDBOX, binary(), *words]


def refusing(number, error):
    return ['/usr/bin/python3', '-c', REFUSING, str(number), str(error)]


def shown(text, lines=30):
    return ''.join(f'  stderr: {line}\n' for line in text.splitlines()[-lines:])


def last_ledger(stderr):
    for line in reversed(stderr.splitlines()):
        if line.startswith('{'):
            return json.loads(line)
    raise Failure(f'no ledger on standard error:\n{shown(stderr)}')


class Daemon:
    """with Daemon(box, 'meter', '--interface', 'm0', ...) as daemon: ...; started and ready inside."""

    def __init__(self, box, role, *options, summary='json', prefix=(), stdout=None, drops='off', least=True):
        self.least = [*(LEAST if least else []), *SANDBOX]
        self.box, self.role = box, role
        self.stdout, self.prefix = stdout, prefix
        self.options = ['run', '--summary', summary, '--drops', drops, *options]
        self.scratch = scratch()
        self.log_path = Path(self.scratch.name) / 'stderr'
        self.process = None

    def __enter__(self):
        # There is one place for the control socket, and many exporters run at a time: who needs one names its own.
        socket = () if '--control-socket' in self.options else ('--control-socket', 'off')
        with open(self.log_path, 'wb') as log:
            self.process = self.box.start(self.role, *self.prefix, *self.least, binary(), *self.options, *socket,
                                          stdout=self.stdout or log, stderr=log)
        try:
            wait_until(lambda: self.is_ready() or self.process.poll() is not None, READY_SECONDS, 'the word ready')
            check(self.is_ready(), f'ended with status {self.process.returncode} before it was ready')
        except Failure as failure:
            self.kill()
            raise Failure(f'{failure}\n{shown(self.stderr())}') from None
        return self

    def __exit__(self, _, error, __):
        if self.process.poll() is None:
            self.kill()
        text = self.stderr()
        self.scratch.cleanup()
        if isinstance(error, Failure):
            raise Failure(f'{error}\n{shown(text)}') from None

    def stderr(self):
        return self.log_path.read_text(encoding='utf-8', errors='replace')

    def is_ready(self):
        return any('ready' in line.split() for line in self.stderr().replace(':', ' ').replace(',', ' ').splitlines())

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self, sign=signal.SIGTERM, always=None):
        """Ends it, and returns its ledger, whose identities hold (ledger.proven())."""
        start = time.monotonic()
        self.process.send_signal(sign)
        try:
            status = self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            raise Failure(f'still there {STOP_SECONDS} s after signal {sign}') from None
        check_equal(f'exit status after signal {sign} ({time.monotonic() - start:.1f} s)', status, 0)
        check('does not balance' not in self.stderr(), 'the ledger did not balance after some swap')
        return ledger.proven(last_ledger(self.stderr()), always)


def run(*words, prefix=(), timeout=60, path=None):
    """Runs the program to its end: (exit status, standard output, standard error)."""
    sandbox = SANDBOX if words[:1] in (('read',), ('replay',)) else []
    done = subprocess.run([*DIES_WITH_TEST, *map(str, prefix), *sandbox, path or binary(), *map(str, words)],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, errors='replace', check=False,
                          timeout=timeout)
    return done.returncode, done.stdout, done.stderr


def replay(capture, *options, prefix=()):
    """Replays a capture that can be read, and returns the ledger, whose identities hold."""
    status, _, stderr = run('replay', capture, '--summary', 'json', *options, prefix=prefix)
    check(status == 0, f'replay of {capture}: exit status {status}', shown(stderr))
    return ledger.proven(last_ledger(stderr))
