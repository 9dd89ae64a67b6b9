#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""grafana.py [--build | --build-display | --where]: the dashboards are what Grafana's own code takes.

./setup builds the judge (grafana/main.go), Grafana's SDK for Go, into ${XDG_CACHE_HOME:-/var/cache}/flowtally-grafana, by
--build.  Without it this is skipped.  --where prints its place.

A second judge (grafana/display.cjs) puts made-up answers through the library by which Grafana's panels shape and name what
they draw.  --build-display has npm install that: 180 MB, so that ./setup does not.  It judges where it is installed.
"""
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import tree

SOURCE = tree.ROOT / 'tests/lint/grafana'
CACHE = Path(os.environ.get('XDG_CACHE_HOME') or '/var/cache') / 'flowtally-grafana'
SKIPPED = 77


def judge():
    """Its place, by what it is made of."""
    made_of = b''.join((SOURCE / name).read_bytes() for name in ('go.mod', 'go.sum', 'main.go'))
    return CACHE / hashlib.sha256(made_of).hexdigest()[:16]


def build(program):
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
        places = {'GOPATH': f'{scratch}/go', 'GOCACHE': f'{scratch}/cache'}
        subprocess.run(['bash', '-c', f'. {tree.ROOT}/tools/go.sh && want_go && go build -modcacherw -trimpath -o "$0" .',
                        f'{scratch}/judge'], cwd=SOURCE, check=True, env={**os.environ, **places, 'CGO_ENABLED': '0'})
        os.replace(f'{scratch}/judge', program)


def display():
    """The folder of what display.cjs needs."""
    return CACHE / ('display-' + hashlib.sha256((SOURCE / 'package.json').read_bytes()).hexdigest()[:16])


def build_display(folder):
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
        made = Path(scratch) / 'display'
        made.mkdir()
        shutil.copy(SOURCE / 'package.json', made)
        subprocess.run(['npm', 'install', '--ignore-scripts', '--no-audit', '--no-fund', '--no-package-lock'], cwd=made,
                       check=True)
        made.rename(folder)


def verdict(words, names, **more):
    done = subprocess.run([*words, *names], cwd=tree.ROOT, capture_output=True, text=True, check=False,
                          env={**os.environ, **more})
    return done.returncode, (done.stdout + done.stderr).splitlines()


def sees_nothing(words, name, changes, **more):
    """A judge would not see one of the changes, each a function of the dashboard."""
    for change in changes:
        board = json.loads((tree.ROOT / name).read_text(encoding='utf-8'))
        change(board)
        with tempfile.NamedTemporaryFile('w', suffix='.json', encoding='utf-8') as file:
            json.dump(board, file)
            file.flush()
            if verdict(words, [file.name], **more)[0] == 0:
                return True
    return False


def judged(words, names, changes, **more):
    """What a judge says, who is first tried with the first of the dashboards, changed."""
    problems = [f'{words[-1]} is blind'] if sees_nothing(words, names[0], changes, **more) else []
    status, said = verdict(words, names, **more)
    return problems + (said or [f'{words[-1]} failed'] if status else [])


# --- What Grafana would not take, or not show as it is meant.

def unknown_field(board):
    board['titel'] = 'x'


def no_list(board):
    board['panels'] = {'a': 1}


def unknown_unit(board):
    panel(board, 'stat')['fieldConfig']['defaults']['unit'] = 'furlongs'


def one_name(board):
    panel(board, 'timeseries')['targets'][0]['legendFormat'] = 'x'


def more_columns(board):
    panel(board, 'table')['transformations'][-1]['options']['excludeByName'] = {}


def not_explained(board):
    panel(board, 'table')['fieldConfig']['overrides'] = []


def panel(board, kind):
    return next(one for one in board['panels'] if one['type'] == kind)


if __name__ == '__main__':
    PROGRAM = judge()
    if sys.argv[1:] == ['--where']:
        print(PROGRAM)
        sys.exit(0)
    if sys.argv[1:] == ['--build']:
        if not PROGRAM.exists():
            build(PROGRAM)
        sys.exit(0)
    if sys.argv[1:] == ['--build-display']:
        if not display().exists():
            build_display(display())
        sys.exit(0)
    if not PROGRAM.exists():
        print(f'there is no {PROGRAM}: ./setup builds it')
        sys.exit(SKIPPED)
    NAMES = sorted(str(path.relative_to(tree.ROOT)) for path in (tree.ROOT / 'helm/flowtally/dashboards').glob('*.json'))
    PROBLEMS = judged([PROGRAM], NAMES, (unknown_field, no_list))
    if display().exists() and shutil.which('node'):
        PROBLEMS += judged(['node', SOURCE / 'display.cjs'], NAMES, (unknown_unit, one_name, more_columns, not_explained),
                           NODE_PATH=str(display() / 'node_modules'))
    tree.finish(PROBLEMS)
