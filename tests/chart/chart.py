# SPDX-License-Identifier: Apache-2.0
"""The Helm chart as the tests use it: helm itself, what it renders, and where the programs of the tests are."""
import json
import os
import subprocess
import sys
from pathlib import Path

sys.dont_write_bytecode = True
ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / 'tests/e2e'))

import yaml  # pylint: disable=wrong-import-position

from tap import Failure, check, skip_all  # pylint: disable=wrong-import-position

CHART = ROOT / 'helm/flowtally'
CACHE = Path(subprocess.run([ROOT / 'tests/chart/fetch', '--where'], check=True, capture_output=True, text=True).stdout.strip())
BIN = CACHE / 'bin'
VALUE_SETS = sorted((CHART / 'ci').glob('*-values.yaml'))
RELEASE, NAMESPACE = 'node', 'flowtally'
MONITORING = ('--api-versions', 'monitoring.coreos.com/v1')


class Strict(yaml.SafeLoader):
    """As an API server reads: a key that is there twice is a mistake."""

    def construct_mapping(self, node, deep=False):
        names = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = {name for name in names if names.count(name) > 1}
        check(not twice, f'twice: {twice}')
        return super().construct_mapping(node, deep)


def need(*programs):
    """Skips all tests without these programs of the cache."""
    missing = [name for name in programs if not os.access(BIN / name, os.X_OK)]
    if missing:
        skip_all(f'not in {BIN}: {" ".join(missing)}; tests/chart/fetch brings them')


def helm(*words, status=0, env=None):
    """Runs helm, which has to end with the status, or in any other way with None; its standard output and error."""
    done = subprocess.run([BIN / 'helm', *map(str, words)], capture_output=True, text=True, stdin=subprocess.DEVNULL,
                          check=False, timeout=120, env={**os.environ, 'HELM_DEBUG': '', **(env or {})})
    if status is not None and done.returncode != status:
        raise Failure(f'helm {" ".join(map(str, words))}: exit status {done.returncode}\n{done.stdout[-500:]}{done.stderr}')
    return done.stdout, done.stderr


def options(values=None, sets=None, name='values'):
    """Options of helm: a file or a mapping of values, and --set."""
    words = []
    for one in values if isinstance(values, (list, tuple)) else [values]:
        if isinstance(one, dict):
            import tempfile  # pylint: disable=import-outside-toplevel
            with tempfile.NamedTemporaryFile('w', prefix=f'flowtally-chart-{name}', suffix='.yaml', delete=False) as file:
                json.dump(one, file)  # text is text there: 1e3 in quotes, too
            words += ['--values', file.name]
        elif one:
            words += ['--values', one]
    for one in sets or ():
        words += ['--set', one]
    return words


def clean(words):
    """Removes the files that options() made."""
    for word in words:
        if 'flowtally-chart-' in str(word):
            os.unlink(word)


def render(values=None, *more, sets=(), chart=CHART, release=RELEASE):
    """The resources that helm makes of the chart: a list."""
    words = options(values, sets)
    try:
        text, _ = helm('template', release, chart, '--namespace', NAMESPACE, *words, *more)
    finally:
        clean(words)
    return [resource for resource in yaml.load_all(text, Strict) if resource]


def refused(values=None, *more, sets=(), release=RELEASE):
    """What helm says where it does not render."""
    words = options(values, sets)
    try:
        out, error = helm('template', release, CHART, '--namespace', NAMESPACE, *words, *more, status=None)
    finally:
        clean(words)
    check(not out, f'rendered, with {values} {sets}')
    return error


def find(resources, kind, name=None):
    """The one resource of this kind; None when there is none."""
    found = [r for r in resources if r['kind'] == kind and name in (None, r['metadata']['name'])]
    check(len(found) < 2, f'{len(found)} resources of kind {kind}')
    return found[0] if found else None


def the_pod(resources):
    return find(resources, 'DaemonSet')['spec']['template']


def the_container(resources):
    return the_pod(resources)['spec']['containers'][0]


def the_config(resources):
    return find(resources, 'ConfigMap', f'{RELEASE}-flowtally')['data']['flowtally.yaml']
