#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""codespell over all text.  Words it gets wrong go into codespell-ignore.txt, one a line, lower case."""
import subprocess
import sys
import tree

IGNORED = 'tests/lint/codespell-ignore.txt'
names = [name for name in tree.files() if name != IGNORED and not name.startswith('LICENSES/')
         and tree.lines(tree.ROOT, name) is not None]
sys.exit(subprocess.run(['codespell', '--ignore-words', IGNORED, *names], cwd=tree.ROOT).returncode)
