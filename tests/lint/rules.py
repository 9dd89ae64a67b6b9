#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""promtool takes the alert rules as they are, and its unit tests of them (tests/rules) pass, as they are and varied."""
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import rule_variants
import tree

try:
    import yaml
except ImportError:
    yaml = None

RULES, TESTS = 'helm/flowtally/rules', 'tests/rules'


def promtool(*words):
    """What it says when it is not content."""
    done = subprocess.run(['promtool', *words], cwd=tree.ROOT, capture_output=True, text=True, check=False)
    return (done.stdout + done.stderr).splitlines() if done.returncode else []


def names(folder):
    return sorted(str(path.relative_to(tree.ROOT)) for path in (tree.ROOT / folder).glob('*.yaml'))


def vary(folder):
    """[(file, number of stories)]: the stories as other servers would see them."""
    for name in names(TESTS):
        path = tree.ROOT / name
        file = yaml.safe_load(path.read_text(encoding='utf-8'))
        rules = [str((path.parent / rule).resolve()) for rule in file['rule_files']]
        stories = list(rule_variants.variants(file['tests']))
        made = Path(folder) / path.name
        made.write_text(json.dumps({**file, 'rule_files': rules, 'tests': stories}), encoding='utf-8')
        yield str(made), len(stories)


if __name__ == '__main__':
    if not shutil.which('promtool') or not yaml:
        print('promtool or python3-yaml is missing')
        sys.exit(77)
    PROBLEMS = [] if names(RULES) and len(names(RULES)) == len(names(TESTS)) else [f'{TESTS}: not a file for each of {RULES}']
    PROBLEMS += promtool('check', 'rules', *names(RULES)) + promtool('test', 'rules', *names(TESTS))
    with tempfile.TemporaryDirectory() as scratch:
        VARIED = list(vary(scratch))
        PROBLEMS += promtool('test', 'rules', *(made for made, _ in VARIED))
    if sum(number for _, number in VARIED) < 4 * len(VARIED):
        PROBLEMS.append('there are no variants of the stories')
    tree.finish(PROBLEMS)
