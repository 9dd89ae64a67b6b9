#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""promtool takes the alert rules as they are, and its unit tests of them (tests/rules) pass."""
import shutil
import subprocess
import sys

import tree

RULES, TESTS = 'helm/flowtally/rules', 'tests/rules'


def promtool(*words):
    """What it says when it is not content."""
    done = subprocess.run(['promtool', *words], cwd=tree.ROOT, capture_output=True, text=True, check=False)
    return (done.stdout + done.stderr).splitlines() if done.returncode else []


def names(folder):
    return sorted(str(path.relative_to(tree.ROOT)) for path in (tree.ROOT / folder).glob('*.yaml'))


if not shutil.which('promtool'):
    print('promtool is missing')
    sys.exit(77)
problems = [] if names(RULES) and len(names(RULES)) == len(names(TESTS)) else [f'{TESTS}: not a file for each of {RULES}']
tree.finish(problems + promtool('check', 'rules', *names(RULES)) + promtool('test', 'rules', *names(TESTS)))
