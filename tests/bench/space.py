# SPDX-License-Identifier: Apache-2.0
"""The benchmark's namespaces and processes, which end with it."""
import json
import os
import signal
import subprocess
import sys
import time

PREFIX = 'flowtally-bench'
SENDER, RECEIVER, SINK = 'send0', 'receive0', 'sink0'
DIES_WITH_BENCH = ['setpriv', '--pdeathsig', 'KILL']
DAEMON_CPU = 1  # the generators' is 0
QUIET = ('net.ipv6.conf.all.disable_ipv6=1', 'net.ipv6.conf.default.disable_ipv6=1')


def command(*words, timeout=900):
    """Runs a command to its end: its standard output.  A failure ends the benchmark, and says why."""
    words = [str(word) for word in words]
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors='replace',
                          check=False, timeout=timeout)
    if done.returncode != 0:
        sys.exit(f'bench: {" ".join(words)}: exit status {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-4000:]}')
    return done.stdout


def remove_stale():
    """Namespaces of benchmarks that are no more."""
    for name in os.listdir('/run/netns') if os.path.isdir('/run/netns') else []:
        pid = name.split('-')[2] if name.startswith(PREFIX + '-') else ''
        if pid.isdigit() and not os.path.exists(f'/proc/{pid}'):
            subprocess.run(['ip', 'netns', 'delete', name], check=False)


class Process:
    """A process on the daemons' CPU, with all that it starts."""

    def __init__(self, words, log):
        self.child = subprocess.Popen([*DIES_WITH_BENCH, 'taskset', '-c', str(DAEMON_CPU), *map(str, words)],
                                      stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)

    def pids(self):
        found = []
        for pid in filter(str.isdigit, os.listdir('/proc')):
            try:
                with open(f'/proc/{pid}/stat', encoding='utf-8', errors='replace') as file:
                    session = int(file.read().rpartition(')')[2].split()[3])
            except OSError:
                continue
            if session == self.child.pid:
                found.append(int(pid))
        return found

    def cpu_seconds(self):
        """On a CPU so far, to the ns: user, system, and softirqs that were charged to them."""
        total = 0
        for pid in self.pids():
            for task in os.listdir(f'/proc/{pid}/task'):
                with open(f'/proc/{pid}/task/{task}/schedstat', encoding='utf-8') as file:
                    total += int(file.read().split()[0])
        return total / 1e9

    def rss(self):
        total = 0
        for pid in self.pids():
            with open(f'/proc/{pid}/status', encoding='utf-8') as file:
                total += sum(int(line.split()[1]) * 1024 for line in file if line.startswith('VmRSS'))
        return total

    def map_bytes(self):
        """Kernel memory of the BPF maps it holds."""
        total, seen = 0, set()
        for pid in self.pids():
            for descriptor in os.listdir(f'/proc/{pid}/fdinfo'):
                with open(f'/proc/{pid}/fdinfo/{descriptor}', encoding='utf-8') as file:
                    info = dict(line.split(':', 1) for line in file if ':' in line)
                if 'map_id' in info and info['map_id'] not in seen:
                    seen.add(info['map_id'])
                    total += int(info['memlock'])
        return total

    def stop(self, sign=signal.SIGTERM, seconds=60):
        """Ends it; returns its CPU seconds from start to end, without those of children that nobody waited for."""
        end = time.monotonic() + seconds
        os.kill(self.child.pid, sign)
        while True:
            pid, status, usage = os.wait4(self.child.pid, os.WNOHANG)
            if pid:
                self.child.returncode = os.waitstatus_to_exitcode(status)
                return usage.ru_utime + usage.ru_stime
            if time.monotonic() > end:
                os.kill(self.child.pid, signal.SIGKILL)
            time.sleep(0.01)


class Space:
    """with Space('one', 'other') as space: ...   A role is one namespace."""

    def __init__(self, *roles):
        self.names = {role: f'{PREFIX}-{os.getpid()}-{role}' for role in roles}
        self.processes = []

    def __enter__(self):
        remove_stale()
        try:
            for role, name in self.names.items():
                command('ip', 'netns', 'add', name)
                self.run(role, 'sysctl', '-qw', *QUIET)
                self.run(role, 'ip', 'link', 'set', 'lo', 'up')
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(self, *_):
        self.remove()

    def remove(self):
        for process in self.processes:
            if process.child.poll() is None:
                process.child.kill()
            process.child.wait()
        for name in self.names.values():
            subprocess.run(['ip', 'netns', 'delete', name], capture_output=True, check=False)

    def inside(self, role, *words):
        return ['ip', 'netns', 'exec', self.names[role], *map(str, words)]

    def run(self, role, *words, timeout=900):
        return command(*self.inside(role, *words), timeout=timeout)

    def start(self, role, *words, log=subprocess.DEVNULL):
        process = Process(self.inside(role, *words), log)
        self.processes.append(process)
        return process

    def generator(self, role):
        """A veth pair for live frames, and an interface without a carrier behind which nothing is."""
        self.run(role, 'ip', 'link', 'add', SENDER, 'type', 'veth', 'peer', 'name', RECEIVER)
        self.run(role, 'ip', 'link', 'add', SINK, 'type', 'veth', 'peer', 'name', 'unused0')
        for name in SENDER, RECEIVER:
            self.run(role, 'ethtool', '-K', name, 'gro', 'on')  # frames are taken in by NAPI only with it
        for name in SENDER, RECEIVER, SINK:
            self.run(role, 'ip', 'link', 'set', name, 'up')


def wait_for_word(path, word, process, seconds=20):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with open(path, encoding='utf-8', errors='replace') as file:
            text = file.read()
        if word in text:
            return
        if process.child.poll() is not None:
            break
        time.sleep(0.02)
    sys.exit(f'bench: no "{word}":\n{text}')


def last_json(path):
    with open(path, encoding='utf-8', errors='replace') as file:
        lines = [line for line in file if line.startswith('{')]
    return json.loads(lines[-1])
