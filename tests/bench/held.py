# SPDX-License-Identifier: Apache-2.0
"""How long a thread that waits in epoll_wait() is held: from the return of one call to the next call.

Tracepoints say it to the microsecond: enter and exit of the system call, and each switch of the thread to and from a
CPU.  So the time on a CPU is apart from that which other programs took.  Interrupts, and what a hypervisor takes, are in both.
"""
import os
import platform
import re
import statistics
import subprocess
import tempfile
from pathlib import Path

WAITS = {'x86_64': 232, 'aarch64': 22}  # epoll_wait; epoll_pwait, which libc calls where there is no other
BUFFER_KIB = 32768  # on each CPU
EVENT = re.compile(r' (\d+\.\d+): (sys_enter|sys_exit|sched_switch): (.*)')
PREVIOUS = re.compile(r'prev_pid=(\d+) ')


class Spans:
    """Reads lines of the trace of one thread: `spans` are pairs of seconds, on a CPU and in all."""

    def __init__(self, tid):
        self.tid, self.spans = str(tid), []
        self.began = self.since = None  # of the span; since when it is on a CPU, None: it is on none
        self.cpu = 0.0

    def read(self, line):
        found = EVENT.search(line)
        if not found:
            return
        now, event = float(found[1]), found[2]
        if event == 'sys_exit':
            self.began, self.since, self.cpu = now, now, 0.0
        elif self.began is None:
            return
        elif event == 'sys_enter':
            self.spans.append((self.cpu + now - (self.since or now), now - self.began))
            self.began = None
        elif PREVIOUS.search(found[3])[1] == self.tid:
            self.cpu, self.since = self.cpu + now - (self.since or now), None
        else:
            self.since = now


class Tracer:
    """with Tracer(tid) as tracer: tracer.start() ... tracer.stop()"""

    def __init__(self, tid):
        self.tid = tid
        self.folder = tempfile.mkdtemp(prefix='flowtally-bench-')
        self.instance = Path(self.folder) / 'instances' / f'flowtally-bench-{os.getpid()}'

    def __enter__(self):
        subprocess.run(['mount', '-t', 'tracefs', 'none', self.folder], check=True)
        try:
            self.instance.mkdir()
            self.put('trace_clock', 'mono')
            self.put('buffer_size_kb', BUFFER_KIB)
            self.put('tracing_on', 0)
            mine = f'common_pid == {self.tid} && id == {WAITS[platform.machine()]}'
            for event, which in {'raw_syscalls/sys_enter': mine, 'raw_syscalls/sys_exit': mine,
                                 'sched/sched_switch': f'prev_pid == {self.tid} || next_pid == {self.tid}'}.items():
                self.put(f'events/{event}/filter', which)
                self.put(f'events/{event}/enable', 1)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        if self.instance.exists():
            self.instance.rmdir()
        subprocess.run(['umount', self.folder], check=True)
        os.rmdir(self.folder)

    def put(self, name, value):
        (self.instance / name).write_text(f'{value}\n', encoding='ascii')

    def start(self):
        self.put('trace', '')
        self.put('tracing_on', 1)

    def stop(self):
        """The spans since start()."""
        self.put('tracing_on', 0)
        for stats in self.instance.glob('per_cpu/cpu*/stats'):
            if not re.search(r'^overrun: 0$', stats.read_text(encoding='ascii'), re.M):
                raise RuntimeError('the buffer of tracepoints is too small')
        read = Spans(self.tid)
        with open(self.instance / 'trace', encoding='utf-8', errors='replace') as file:
            for line in file:
                read.read(line)
        return read.spans


def longest(windows):
    """What a table shows of the longest spans of windows, in ms."""
    cpu, wall = ([1000 * max(span[i] for span in spans) for spans in windows] for i in (0, 1))
    return {'held_ms': statistics.median(cpu), 'held_ms_least': min(cpu), 'held_ms_most': max(cpu),
            'wall_ms': statistics.median(wall)}
