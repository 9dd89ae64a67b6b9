# SPDX-License-Identifier: Apache-2.0
"""The tests of the loaded programs, by BPF_PROG_TEST_RUN, as they are: their TAP is passed on.

By default the packet table alone; all of them where FLOWTALLY_TORTURE would be set.
"""
import json
import os
import re
import subprocess

import machine
from machine import BIN, LOGS, emit, point

QUICK = ['test_programs']


def run(path):
    name = path.name.removeprefix('test_')
    done = subprocess.run([path], stdin=subprocess.DEVNULL, capture_output=True, text=True, errors='replace', check=False,
                          timeout=2 * machine.PATIENCE, env={**os.environ, 'CMOCKA_MESSAGE_OUTPUT': 'TAP'})
    (LOGS / f'{path.name}.tap').write_text(done.stdout + done.stderr, encoding='utf-8')
    found = re.findall(r'^(ok|not ok) \d+ - (.*)$', done.stdout, re.M)
    for verdict, what in found:
        emit('point', {'verdict': verdict, 'name': f'PROG_TEST_RUN {name}: {what}',
                       'lines': [] if verdict == 'ok' else (done.stdout + done.stderr).splitlines()[-20:]})
    if done.returncode or not found:
        emit('point', {'verdict': 'not ok', 'name': f'PROG_TEST_RUN {name}',
                       'lines': [f'status {done.returncode}', *(done.stdout + done.stderr).splitlines()[-20:]]})


def main():
    torture = json.loads((BIN / 'options.json').read_text(encoding='utf-8'))['torture']
    paths = [path for path in sorted((BIN / 'bpf').glob('test_*')) if torture or path.name in QUICK]
    if not paths:
        with point('PROG_TEST_RUN'):
            raise machine.tap.Skip('no such tests in the image')
    for path in paths:
        run(path)


if __name__ == '__main__':
    main()
