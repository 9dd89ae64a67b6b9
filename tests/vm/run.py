#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the tests of tests/vm/guest in virtual machines, one a kernel, two at a time, and says in TAP what they say.

run.py [--logs FOLDER] [--only WORD] [--static] [--shell] [--kernel NAME]... FLOWTALLY [flowtally-clang-19] [BPF_TEST...]

FLOWTALLY is the program; among the others may be flowtally-clang-19, the same with BPF programs by another compiler.  Without
--kernel: those of the file `kernels` that ./check runs, and with FLOWTALLY_TORTURE set all of them.  --only: tests whose
name begins so.  --static: also the program without shared libraries, of build/check/static and static-arm64; by default with
FLOWTALLY_TORTURE.  --shell: a shell in the machine before the tests.  What a machine said is in FOLDER/KERNEL.console, what
the tests found in FOLDER/KERNEL.json.
"""
import argparse
import base64
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import image

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
MACHINES_AT_A_TIME = 2
SECONDS_MAX = {'x86_64': 1500, 'aarch64': 1800}  # beside much else
BOOT_SECONDS = {'x86_64': 240, 'aarch64': 600}  # until the first word of what runs in it: some seconds alone
MEMORY = 1536
STATIC = 'flowtally-static'  # its name in the machine
SANDBOX_TESTS = ['test_least', 'test_verbs']
# Under emulation what the kernel does against attacks on processors takes time and protects nothing.
COMMAND_LINE = 'quiet loglevel=1 panic=-1 mitigations=off audit=0 nokaslr'


def cache():
    return Path(os.environ.get('XDG_CACHE_HOME') or '/var/cache') / 'flowtally-vm'


class Machine:
    """One kernel: its image, its console, and what the tests in it found."""

    def __init__(self, kernel, options, say):
        self.kernel, self.options, self.say = kernel, options, say
        self.arch = 'aarch64' if kernel.startswith('arm64-') else 'x86_64'
        self.series, _, self.word = kernel.partition('+')
        self.folder = cache() / 'kernels' / self.series
        self.console = options.logs / f'{kernel}.console'
        self.name = kernel
        self.points, self.facts, self.files = [], [], []
        self.heard = self.ended = False

    def lacking(self):
        """Why it cannot be run here, or None."""
        missing = self.folder.with_name(self.series + '.missing')
        if not (self.folder / 'release').exists():
            return missing.read_text().strip() if missing.exists() else f'not fetched: tests/vm/fetch {self.series}'
        if not self.emulator().exists():
            return f'no QEMU in {cache()}: tests/vm/fetch'
        if not (self.root() / image.PYTHON).is_dir():
            return f'no {self.root() / image.PYTHON}: the images are made of Debian 12'
        if not os.access(self.programs()[0], os.X_OK):
            return f'no program {self.programs()[0]}: tests/vm/arm64 build'
        return None

    def root(self):
        """Where programs for this architecture are."""
        return cache() / 'arm64' if self.arch == 'aarch64' else Path('/')

    def tools(self):
        return cache() / ('cross' if self.arch == 'aarch64' else 'qemu')

    def emulator(self):
        return self.tools() / f'usr/bin/qemu-system-{self.arch}'

    def programs(self):
        """The program and its BPF tests, built for this architecture."""
        if self.arch == 'x86_64':
            return [Path(name).resolve() for name in self.options.programs]
        tree = Path(os.environ.get('FLOWTALLY_ARM64') or ROOT / 'build/check/arm64')
        others = [tree / 'tests/vm/flowtally-clang-19', *sorted((tree / 'tests/bpf').glob('test_*'))]
        return [tree / 'flowtally', *(path for path in others if path.is_file())]

    def static(self):
        """The program without shared libraries, as packaging/static builds it."""
        return ROOT / 'build/check' / ('static-arm64' if self.arch == 'aarch64' else 'static') / 'flowtally'

    def image(self, path):
        busybox = self.root() / 'bin/busybox' if self.arch == 'aarch64' else cache() / 'qemu/bin/busybox'
        made = image.Image(self.root(), self.arch, busybox)
        words = '' if self.arch == 'x86_64' else ' arm64', f' {self.word}' if self.word else ''
        self.name = '.'.join(made.kernel(self.folder).split('.')[:2]) + ''.join(words)
        for program in self.programs():
            made.add(f'machine/{"bpf/" if program.name.startswith("test_") else ""}{program.name}', program)
        if self.options.static and self.static().exists():
            made.add(f'machine/{STATIC}', self.static())
        made.folder('machine/guest', HERE / 'guest', '*.py')
        made.folder('machine/e2e', ROOT / 'tests/e2e', '*.py')
        made.add('machine/e2e/calls.py', ROOT / 'tests/lint/calls.py')
        made.add('machine/e2e/tree.py', ROOT / 'tests/lint/tree.py')
        options = {'only': self.only(), 'torture': is_torture(), 'static': self.options.static}
        made.text('machine/options.json', json.dumps(options))
        made.write(path)

    def only(self):
        """What the names of tests begin with, any of these."""
        return SANDBOX_TESTS if self.word and not self.options.only else [self.options.only]

    def command(self, path):
        machine = ['-M', 'virt', '-cpu', 'cortex-a72'] if self.arch == 'aarch64' else ['-M', 'q35', '-cpu', 'max']
        console = 'ttyAMA0' if self.arch == 'aarch64' else 'ttyS0 no_timer_check'  # of a machine that others keep waiting
        share = self.tools() / 'usr/share'
        return [str(self.emulator()), '-L', str(share / 'qemu'), '-L', str(share / 'seabios'), *machine,
                '-accel', 'tcg,thread=multi', '-smp', '2', '-m', str(MEMORY),
                '-nodefaults', '-nographic', '-no-reboot', '-serial', 'stdio',
                '-kernel', str(self.folder / 'vmlinuz'), '-initrd', path,
                '-append', f'console={console} {COMMAND_LINE} {self.word}{" shell" if self.options.shell else ""}']

    def run(self):
        start = time.monotonic()
        with tempfile.NamedTemporaryFile(prefix='flowtally-vm-', suffix='.img') as file:
            self.image(file.name)
            status = self.boot(file.name)
            if not self.heard and not self.options.shell:  # an emulated machine may stand still before its first word
                self.say(f'# {self.name}: nothing was heard in {BOOT_SECONDS[self.arch]} s, started once more')
                status = self.boot(file.name)
        if self.options.shell:
            return
        seconds = time.monotonic() - start
        if not self.ended:
            end = self.console.read_text(encoding='utf-8').splitlines()[-15:]
            self.point('not ok', 'the machine runs to its end', [f'status {status} after {seconds:.0f} s', *end])
        self.say(f'# {self.name}: {seconds:.0f} s, load {" ".join(f"{load:.1f}" for load in os.getloadavg()[:2])}')
        self.save(seconds)

    def boot(self, path):
        """The exit status of the emulator, which runs until the machine ends, or is not heard of in time."""
        libraries = ':'.join(str(self.tools() / place) for place in ('usr/lib/x86_64-linux-gnu', 'lib/x86_64-linux-gnu'))
        process = subprocess.Popen(['setpriv', '--pdeathsig', 'KILL', *self.command(path)], stdout=subprocess.PIPE,
                                   stdin=None if self.options.shell else subprocess.DEVNULL, stderr=subprocess.STDOUT,
                                   env={**os.environ, 'LD_LIBRARY_PATH': libraries})
        if self.options.shell:
            show(process)
            return process.wait()
        watchdogs = [threading.Timer(SECONDS_MAX[self.arch], process.kill),
                     threading.Timer(BOOT_SECONDS[self.arch], lambda: self.heard or process.kill())]
        for watchdog in watchdogs:
            watchdog.start()
        with open(self.console, 'w', encoding='utf-8') as log:
            for line in io.TextIOWrapper(process.stdout, encoding='utf-8', errors='replace'):
                self.hear(line.rstrip('\r\n'), log)
        status = process.wait()
        for watchdog in watchdogs:
            watchdog.cancel()
        return status

    def hear(self, line, log):
        """Lines of the tests begin with @; all others are for who reads the log."""
        word, _, rest = line.partition(' ')
        self.heard |= line.startswith(('@', '['))
        if word == '@point':
            point = json.loads(rest)
            self.point(point['verdict'], point['name'], point['lines'], point.get('skip'))
        elif word == '@fact':
            self.facts.append(json.loads(rest))
        elif word == '@files':
            self.files.append(rest)
            return
        elif word == '@end':
            self.ended = True
        log.write(line + '\n')
        log.flush()

    def point(self, verdict, name, lines=(), skip=None):
        self.points.append({'verdict': verdict, 'name': name, 'skip': skip})
        self.say(f'{verdict} {self.name}: {name}' + (f' # SKIP {skip}' if skip else ''), lines)

    def save(self, seconds):
        if self.files:
            shutil.rmtree(self.options.logs / self.kernel, ignore_errors=True)
            with tarfile.open(fileobj=io.BytesIO(base64.b64decode(''.join(self.files)))) as files:
                files.extractall(self.options.logs / self.kernel)
        result = {'kernel': self.kernel, 'release': (self.folder / 'release').read_text().strip(), 'arch': self.arch,
                  'word': self.word, 'date': time.strftime('%Y-%m-%d', time.gmtime()), 'seconds': round(seconds),
                  'points': self.points, 'facts': self.facts}
        (self.options.logs / f'{self.kernel}.json').write_text(json.dumps(result, indent=1), encoding='utf-8')


def show(process):
    while data := os.read(process.stdout.fileno(), 4096):
        os.write(1, data)


def is_torture():
    return bool(os.environ.get('FLOWTALLY_TORTURE'))


def kernels():
    words = [line.split() for line in (HERE / 'kernels').read_text(encoding='utf-8').splitlines() if not line.startswith('#')]
    return [kernel for kernel, command in words if command == 'check' or is_torture()]


class Tap:
    """Numbers the points of all machines in the order in which they come."""

    def __init__(self):
        self.lock, self.count, self.failed = threading.Lock(), 0, False

    def say(self, line, lines=()):
        with self.lock:
            match = re.match(r'(not ok|ok) (.*)', line, re.S)
            if match:
                self.count += 1
                self.failed |= match[1] == 'not ok'
                line = f'{match[1]} {self.count} - {match[2]}'
            print('\n'.join([line, *(f'#   {text}' for text in lines)]), flush=True)


def run_machine(machine):
    try:
        machine.run()
    except Exception as error:  # pylint: disable=broad-except
        machine.say(f'not ok {machine.name}: the machine can be started', [repr(error)])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--logs', type=Path, default=ROOT / 'build/vm')
    parser.add_argument('--only', default='')
    parser.add_argument('--static', action='store_true', default=is_torture())
    parser.add_argument('--shell', action='store_true')
    parser.add_argument('--kernel', action='append', dest='kernels')
    parser.add_argument('programs', nargs='+')
    options = parser.parse_args()
    options.logs = options.logs.resolve()
    options.logs.mkdir(parents=True, exist_ok=True)
    tap, machines = Tap(), []
    for kernel in options.kernels or kernels():
        machine = Machine(kernel, options, tap.say)
        reason = machine.lacking()
        if reason:
            tap.say(f'ok Linux {kernel} # SKIP {reason}')
        else:
            machines.append(machine)
    with ThreadPoolExecutor(MACHINES_AT_A_TIME) as pool:
        list(pool.map(run_machine, machines))
    print(f'1..{tap.count}')
    sys.exit(1 if tap.failed else 0)


if __name__ == '__main__':
    main()
