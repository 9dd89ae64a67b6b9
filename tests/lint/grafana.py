#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""grafana.py [--build | --where]: the dashboards are what Grafana's own SDK for Go takes, field by field.

./setup builds the judge (grafana/main.go) into ${XDG_CACHE_HOME:-/var/cache}/flowtally-grafana, by --build.  Without it
this is skipped.  --where prints its place.
"""
import hashlib
import json
import os
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


def verdict(program, names):
    done = subprocess.run([program, *names], cwd=tree.ROOT, capture_output=True, text=True, check=False)
    return done.returncode, (done.stdout + done.stderr).splitlines()


def sees_nothing(program, name):
    """It would not see a field that Grafana does not know, or a list that is none."""
    for path, value in (('titel', 'x'), ('panels', {'a': 1})):
        board = json.loads((tree.ROOT / name).read_text(encoding='utf-8'))
        board[path] = value
        with tempfile.NamedTemporaryFile('w', suffix='.json', encoding='utf-8') as file:
            json.dump(board, file)
            file.flush()
            if verdict(program, [file.name])[0] == 0:
                return True
    return False


if __name__ == '__main__':
    PROGRAM = judge()
    if sys.argv[1:] == ['--where']:
        print(PROGRAM)
        sys.exit(0)
    if sys.argv[1:] == ['--build']:
        if not PROGRAM.exists():
            build(PROGRAM)
        sys.exit(0)
    if not PROGRAM.exists():
        print(f'there is no {PROGRAM}: ./setup builds it')
        sys.exit(SKIPPED)
    NAMES = sorted(str(path.relative_to(tree.ROOT)) for path in (tree.ROOT / 'helm/flowtally/dashboards').glob('*.json'))
    PROBLEMS = ['the judge is blind'] if sees_nothing(PROGRAM, NAMES[0]) else []
    STATUS, SAID = verdict(PROGRAM, NAMES)
    tree.finish(PROBLEMS + (SAID or ['it failed'] if STATUS else []))
