#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The man pages in docs/man are valid: sources of scdoc compile, pages pass mandoc's lint."""
import subprocess
import tree


def lint(name):
    path = tree.ROOT / name
    page = path.read_bytes()
    if name.endswith('.scd'):
        compiled = subprocess.run(['scdoc'], input=page, capture_output=True)
        # scdoc says little, and mandoc's lint is about pages written by hand.
        return [f'{name}: {compiled.stderr.decode().strip()}'] if compiled.returncode else []
    run = subprocess.run(['mandoc', '-T', 'lint', '-W', 'warning'], input=page, capture_output=True)
    return [f'{name}: {line}' for line in run.stdout.decode().splitlines()]


pages = [name for name in tree.files() if name.startswith('docs/man/')]
tree.finish([problem for name in pages for problem in lint(name)] if pages else ['docs/man: no page'])
