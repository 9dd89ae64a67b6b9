#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""views.py BUILD [VIEW]...: what each view and a scrape cost an exporter of 1,000 interfaces and 100,000 flows.

One exporter with the standard settings meters 500 veth pairs, on which 100,000 flows go on.  Each view is asked for a while, in
rounds, among them `idle`, where nobody asks: how long the loop is held at most (held.py), and the CPU of each thread.
"""
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import table
from held import Tracer, longest
from space import RECEIVER, SENDER, SINK, Space, command, wait_for_word

HERE = Path(__file__).parent
PAIRS = 500  # of interfaces
FLOWS = 50000  # of frames; each is a flow at two interfaces
RATE = 10000  # frames a second: each flow has one in each interval of 5 s
WINDOW, ROUNDS = 11, 2  # seconds: two swaps, wherever it begins
START_SECONDS = 180
URL = 'http://127.0.0.1:9717/metrics'
TEXT, OPENMETRICS = 'text/plain;version=0.0.4', 'application/openmetrics-text;version=1.0.0'
THREADS = {'flowtally': 'loop', 'flowtally-drain': 'drain', 'flowtally-hooks': 'hooks', 'flowtally-ctrl': 'control',
           'flowtally-http': 'metrics'}
TABS = 'flows', 'hosts', 'ports', 'protocols', 'drops', 'interfaces'
# New flows a second, for so long.
FLOOD_RATE, FLOOD_SECONDS = 100000, 10


def thread_seconds(pid):
    """CPU of each thread so far; several of one name are added up."""
    found = {}
    for task in Path(f'/proc/{pid}/task').iterdir():
        name = (task / 'comm').read_text(encoding='utf-8').strip()
        part = THREADS.get(name, name)
        found[part] = found.get(part, 0) + int((task / 'schedstat').read_text(encoding='ascii').split()[0]) / 1e9
    return found


class View:
    """What asks for a while: a command that goes on, or one that begins anew every so many seconds."""

    def __init__(self, name, words=(), every=0.0, reads=True):
        self.name, self.words, self.every, self.reads = name, [str(word) for word in words], every, reads

    def start(self, output):
        return subprocess.Popen(['taskset', '-c', '0', *self.words], stdin=subprocess.DEVNULL, stdout=output, stderr=output)

    def ask(self, seconds):
        """Goes on for so long: how often it began, and its own CPU."""
        if not self.words:
            time.sleep(seconds)
            return 0, 0.0
        end, asked, used = time.monotonic() + seconds, 0, 0.0
        while time.monotonic() < end:
            due, asked = time.monotonic() + self.every, asked + 1
            process = self.start(subprocess.DEVNULL if self.reads else subprocess.PIPE)
            used += self.wait(process, end)
            time.sleep(max(0, min(due, end) - time.monotonic()))
        return asked, used

    def wait(self, process, end):
        """Until its end; one that goes on is ended."""
        while True:
            pid, _, usage = os.wait4(process.pid, os.WNOHANG)
            if pid:
                process.returncode = 0
                return usage.ru_utime + usage.ru_stime
            if time.monotonic() > end:
                process.send_signal(signal.SIGKILL)
            time.sleep(0.01)


def views(binary, socket, inside):
    def verb(*words):
        return [binary, *words, '--socket', socket]

    def scrape(count, every, kind):
        return inside('/usr/bin/python3', HERE / 'scraper.py', URL, count, every, WINDOW, kind)

    yield View('idle')
    yield View('status, every second', verb('status'), 1)
    yield View('status --watch=1s', verb('status', '--watch=1s'))
    yield View('observe --follow', verb('observe', '--follow'))
    yield View('observe --follow, read by nobody', verb('observe', '--follow'), reads=False)
    yield View('observe --follow, matches little', verb('observe', '--follow', 'host 10.0.1.1'))
    for tab in TABS:
        yield View(f'top --tab {tab}', verb('top', '--batch', '--tab', tab))
    yield View('doctor, every 5 s', inside(*verb('doctor', '--interface', 'many0', '--collector', 'ipfix://127.0.0.1')), 5)
    yield View('a scrape of text, every 1.1 s', scrape(1, 1.1, TEXT))
    yield View('a scrape of OpenMetrics, every 1.1 s', scrape(1, 1.1, OPENMETRICS))
    yield View('100 scrapers at once, every 5 s', scrape(100, 5, TEXT))


def window(tracer, pid, view):
    before = thread_seconds(pid)
    tracer.start()
    start = time.monotonic()
    asked, used = view.ask(WINDOW)
    seconds = time.monotonic() - start
    spans = tracer.stop()
    after = thread_seconds(pid)
    return {'spans': spans, 'seconds': seconds, 'asked': asked, 'viewer': used,
            'threads': {name: after[name] - before.get(name, 0) for name in after}}


def row(name, windows):
    seconds = sum(run['seconds'] for run in windows)

    def minute(used):
        return 60 * used / seconds

    names = sorted({thread for run in windows for thread in run['threads']})
    return {'view': name, 'windows': len(windows), 'asked': sum(run['asked'] for run in windows),
            **longest([run['spans'] for run in windows]), 'viewer': minute(sum(run['viewer'] for run in windows)),
            'threads': {thread: minute(sum(run['threads'].get(thread, 0) for run in windows)) for thread in names}}


def exporter(space, binary, folder, *words):
    """An exporter that has begun, and its process id."""
    log = folder / 'log'
    with open(log, 'w', encoding='utf-8') as file:
        process = space.start('load', binary, 'run', '--control-socket', folder / 'socket', '--collector',
                              f'file://{folder}/flows.ipfix', '--summary', 'json', *words, log=file)
    wait_for_word(log, 'ready', process, START_SECONDS)
    return process, process.child.pid


def make_pairs(space, folder):
    lines = [f'link add many{i} type veth peer name manyp{i}' for i in range(PAIRS)]
    lines += [f'link set {name}{i} up' for i in range(PAIRS) for name in ('many', 'manyp')]
    (folder / 'links').write_text('\n'.join(lines) + '\n', encoding='ascii')
    space.run('load', 'ip', '-batch', folder / 'links')


def status_of(binary, socket):
    done = subprocess.run([binary, 'status', '--json', '--socket', socket], capture_output=True, text=True, check=False)
    return json.loads(done.stdout) if done.stdout else {}


def wait_for_flows(space, binary, folder):
    """The load goes on, and the exporter has all of it."""
    log = folder / 'spread'
    with open(log, 'w', encoding='utf-8') as file:
        load = space.start('load', '/usr/bin/python3', HERE / 'spread.py', PAIRS, FLOWS, RATE, log=file)
    wait_for_word(log, 'round\nround', load, START_SECONDS)
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        answer = status_of(binary, folder / 'socket')
        attached = sum(interface['attached'] for interface in answer.get('interfaces', []))
        if attached >= 2 * PAIRS and answer['flows']['cache_entries'] >= 2 * FLOWS:
            return {'interfaces': attached, 'flows': answer['flows']['cache_entries']}
        time.sleep(1)
    sys.exit(f'bench: {attached} interfaces, {answer["flows"]} are not what was made')


def asked(build, quick, names=None):
    rounds, result = 1 if quick else ROUNDS, {}
    with Space('load') as space, tempfile.TemporaryDirectory(prefix='flowtally-bench-') as name:
        folder, binary = Path(name), build / 'flowtally'
        make_pairs(space, folder)
        process, pid = exporter(space, binary, folder, '--interface', 'many*', '--metrics-hubble')
        result.update(wait_for_flows(space, binary, folder))
        chosen = [view for view in views(binary, folder / 'socket', lambda *words: space.inside('load', *words))
                  if not names or view.name in names]
        windows = {view.name: [] for view in chosen}
        with Tracer(pid) as tracer:
            for _ in range(rounds):
                for view in chosen:
                    print(f'bench: views: {view.name} ...', file=sys.stderr, flush=True)
                    windows[view.name].append(window(tracer, pid, view))
        result['rows'] = [row(view, runs) for view, runs in windows.items()]
        process.stop()
    return result


def flood(build, words):
    """New flows at a fixed rate, and one who follows: records shown, said to be missed, and all that there were."""
    with Space('load') as space, tempfile.TemporaryDirectory(prefix='flowtally-bench-') as name:
        folder, binary = Path(name), build / 'flowtally'
        space.generator('load')
        process, pid = exporter(space, binary, folder, '--interface', RECEIVER, '--egress', 'off', '--drops', 'off',
                                '--bank-entries', '262144')
        shown, said = folder / 'shown', folder / 'said'
        with open(shown, 'w', encoding='utf-8') as out, open(said, 'w', encoding='utf-8') as errors, Tracer(pid) as tracer:
            view = subprocess.Popen(['taskset', '-c', '0', binary, 'observe', '--follow', '-o', 'csv', '--socket',
                                     folder / 'socket', *words], stdin=subprocess.DEVNULL, stdout=out, stderr=errors)
            time.sleep(1)
            before = thread_seconds(pid)
            tracer.start()
            space.run('load', build / 'tests' / 'bench' / 'bench-send', SENDER, RECEIVER, SINK, 1 << 28,
                      FLOOD_RATE * FLOOD_SECONDS, FLOOD_RATE)
            last = -1
            while last != shown.stat().st_size:  # the last swap, and what is still on its way to the one who follows
                last = shown.stat().st_size
                time.sleep(7)
            spans, after = tracer.stop(), thread_seconds(pid)
            view.send_signal(signal.SIGINT)
            view.wait()
        process.stop()
        with open(shown, encoding='utf-8') as file:
            lines = sum(1 for _ in file) - 1  # and a heading
        missed = re.search(r'(\d+) records are not shown', said.read_text(encoding='utf-8'))
        ledger = json.loads([line for line in (folder / 'log').read_text(encoding='utf-8').splitlines()
                             if line.startswith('{')][-1])
    return {'filter': ' '.join(words), 'shown': lines, 'missed': int(missed[1]) if missed else 0,
            'accounted': ledger['accounted']['packets'], **longest([spans]),
            'threads': {thread: after[thread] - before.get(thread, 0) for thread in after}}


def measure(tools, build, quick):
    return {**asked(build, quick), 'flood': [flood(build, words) for words in ([], ['port', '1'])],
            'snapshot': json.loads(command(tools / 'bench-scrape', 2 * PAIRS, 50))}


if __name__ == '__main__':
    signal.signal(signal.SIGTERM, lambda *_: sys.exit('bench: terminated'))
    folder = Path(sys.argv[1]).resolve()
    if sys.argv[2:]:
        print(json.dumps(asked(folder, True, sys.argv[2:]), indent=1))
    else:
        print('\n'.join(table.views(measure(folder / 'tests' / 'bench', folder, False))))
