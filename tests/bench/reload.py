# SPDX-License-Identifier: Apache-2.0
"""What a reload takes: from SIGHUP to the word that it is in force, and CPU of all threads."""
import itertools
import os
import signal
import statistics
import tempfile
import time
from pathlib import Path

from space import RECEIVER, Space, wait_for_word

BASE = f'interfaces: [{RECEIVER}]\ningress: tc\nwatch: off\ndrops: off\n'
ONE, TWO = '- ipfix://127.0.0.1:9995', '- netflow9://127.0.0.1:9996'
# What is written in turn, and how often.
CHANGES = {
    'nothing changes': ([f'collectors: [{ONE[2:]}]\n'], 200),
    'a timeout': ([f'idle-timeout: {time}\ncollectors: [{ONE[2:]}]\n' for time in ('10s', '11s')], 200),
    'a collector comes or goes': ([f'collectors:\n  {ONE}\n', f'collectors:\n  {ONE}\n  {TWO}\n'], 100),
    'banks of another size': ([f'bank-entries: {size}\ncollectors: [{ONE[2:]}]\n' for size in (131072, 65536)], 20),
}
SETTLED = "' is in force", "' has changed nothing"


def ticks(process):
    """CPU seconds of a process and of the threads that it has had."""
    total = 0
    for pid in process.pids():
        fields = Path(f'/proc/{pid}/stat').read_text(encoding='utf-8').rpartition(')')[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / os.sysconf('SC_CLK_TCK')


def count(log):
    text = Path(log).read_text(encoding='utf-8', errors='replace')
    return sum(text.count(word) for word in SETTLED)


def reload_once(process, log):
    """Seconds."""
    before, start = count(log), time.monotonic()
    process.child.send_signal(signal.SIGHUP)
    while count(log) == before:
        time.sleep(0.0005)
    return time.monotonic() - start


def row(binary, name, quick):
    contents, times = CHANGES[name]
    times = max(2, times // 10) if quick else times
    with Space('load') as space, tempfile.TemporaryDirectory(prefix='flowtally-bench-') as folder:
        space.generator('load')
        path, log = Path(folder) / 'flowtally.yaml', Path(folder) / 'log'
        path.write_text(BASE + contents[0], encoding='ascii')
        with open(log, 'w', encoding='utf-8') as file:
            process = space.start('load', binary, 'run', '--config', path, log=file)
        wait_for_word(log, 'ready', process)
        time.sleep(1)
        used, took = ticks(process), []
        for text in itertools.islice(itertools.cycle(contents[1:] + contents[:1]), times):
            path.write_text(BASE + text, encoding='ascii')
            took.append(reload_once(process, log))
        used = ticks(process) - used
        process.stop()
    return {'change': name, 'times': times, 'ms': 1000 * statistics.median(took), 'ms_most': 1000 * max(took),
            'cpu_ms': 1000 * used / times}


def measure(binary, quick):
    return [row(binary, name, quick) for name in CHANGES]
