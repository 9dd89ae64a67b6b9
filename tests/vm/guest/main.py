# SPDX-License-Identifier: Apache-2.0
"""Runs in the virtual machine: each test by a process of its own, a few at a time, and passes on what they say.

A line of this and of the tests that begins with @ is for the program that started the machine: @point (a result), @fact
(what docs/kernels.md shows), @files (what they left in /tmp/logs), @end.
"""
import base64
import collections
import io
import json
import os
import re
import subprocess
import sys
import tarfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
AT_A_TIME = 3
LINE = 4000
# Longest first.  Names of tests, each with the arguments of one run.
TESTS = [('test_programs.py',), ('test_exact.py', 'xdp'), ('test_exact.py', 'tc'), ('test_exact.py', 'clsact'),
         ('test_least.py', 'flowtally'), ('test_least.py', 'flowtally-static'),
         ('test_super.py',), ('test_devices.py',), ('test_sight.py',), ('test_reasons.py',),
         ('test_memory.py',), ('test_time.py',)]
TOO_OLD = [('test_old.py',)]
VERBS = [('test_verbs.py', 'flowtally'), ('test_verbs.py', 'flowtally-static')]  # beside the static program, or when named
OLDEST = 5, 12


def emit(word, value):
    sys.stdout.write(f'@{word} {json.dumps(value)}\n')
    sys.stdout.flush()


def version():
    return tuple(int(number) for number in re.findall(r'\d+', os.uname().release)[:2])


def chosen():
    options = json.loads((HERE.parent / 'options.json').read_text(encoding='utf-8'))
    tests = [*(TESTS if version() >= OLDEST else TOO_OLD), *(VERBS if options['static'] or any(options['only']) else [])]
    return [test for test in tests if ' '.join(test).startswith(tuple(options['only'])) and is_in_image(test)]


def is_in_image(test):
    """A test that names a program has no result where the image is without that."""
    return (HERE / test[0]).exists() and all((HERE.parent / word).exists() for word in test[1:] if word.startswith('flowtally'))


def pass_on(test, lock):
    """One test; what it says in a line each, whole, whatever others say meanwhile."""
    name = ' '.join(test).replace('test_', '').replace('.py', '')
    process = subprocess.Popen([sys.executable, '-u', HERE / test[0], *test[1:]], stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors='replace')
    points, end = 0, collections.deque(maxlen=20)
    for line in process.stdout:
        points += line.startswith('@point ')
        end.append(line.rstrip())
        with lock:
            print(('' if line.startswith('@') else f'[{uptime()}] {name}: ') + line.rstrip(), flush=True)
    if process.wait() or not points:
        with lock:
            emit('point', {'verdict': 'not ok', 'name': f'{name} runs to its end',
                           'lines': [f'status {process.returncode}', *end]})
    with lock:
        print(f'[{uptime()}] {name}: ended', flush=True)


def uptime():
    return Path('/proc/uptime').read_text(encoding='utf-8').split()[0]


def send_files():
    """The folder of logs, in lines that a serial console passes on."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode='w:gz', compresslevel=1) as files:
        files.add('/tmp/logs', arcname='.')
    text = base64.b64encode(data.getvalue()).decode()
    for at in range(0, len(text), LINE):
        print('@files', text[at:at + LINE])


def check_kernel_log():
    text = subprocess.run(['dmesg'], capture_output=True, text=True, errors='replace', check=True).stdout
    Path('/tmp/logs/dmesg').write_text(text, encoding='utf-8')
    found = re.findall(r'.*(?:Oops|BUG:|WARNING: CPU|WARNING:.* at |general protection|Call Trace).*', text)
    emit('point', {'verdict': 'not ok' if found else 'ok', 'name': 'the kernel has nothing to complain of',
                   'lines': found[:20]})


def main():
    print()  # the firmware left the cursor in a line of its own
    os.environ.update(PYTHONPATH=f'{HERE}:{HERE.parent}/e2e', FLOWTALLY=str(HERE.parent / 'flowtally'))
    os.makedirs('/tmp/logs')
    print(f'[{uptime()}] Linux {os.uname().release}', flush=True)
    lock = threading.Lock()
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        list(pool.map(lambda test: pass_on(test, lock), chosen()))
    check_kernel_log()
    send_files()
    print('@end', uptime(), flush=True)


if __name__ == '__main__':
    main()
