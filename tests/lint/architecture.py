#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""docs/architecture.md tells of each file of the program, and of none that is not there.

A file is told of by its path, its name, or its name without the ending, as code: `exporter/export/url.c`, `url.c`, `url`.
"""
import re

import tree

PAGE = 'docs/architecture.md'
ENDING = re.compile(r'(\.bpf)?\.(c|h|def)$')
PROGRAM = re.compile(r'(xdp|tc|exporter|config)/.*\.(c|h|def)')


def code(text):
    """The words of what is code on the page: blocks between fences, and what is in backticks."""
    parts = text.split('```')
    found = parts[1::2] + re.findall(r'`([^`]+)`', '\n'.join(parts[0::2]))
    return {word for part in found for word in re.findall(r'[\w./-]*\w', part)}


def check(root, names):
    words = code((root / PAGE).read_text(encoding='utf-8'))
    told = {ENDING.sub('', word.rsplit('/', 1)[-1]) for word in words}
    files = [name for name in names if PROGRAM.fullmatch(name)]
    problems = [f'{PAGE}: does not tell of {name}' for name in files if ENDING.sub('', name.rsplit('/', 1)[-1]) not in told]
    return problems + [f'{PAGE}: {word} is not there' for word in sorted(words)
                       if ENDING.search(word) and not any(f'/{name}'.endswith(f'/{word}') for name in names)]


if __name__ == '__main__':
    tree.finish(check(tree.ROOT, tree.files()))
