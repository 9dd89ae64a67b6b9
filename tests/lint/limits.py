#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Sizes of files and functions, widths of lines, license lines, programs that can be run, and nothing of one machine."""
import ast
import os
import re
import tree

FILE_LINES = 800
FUNCTION_LINES = 60
COLUMNS = 128  # clang-format keeps code at 100; this is for comments and for Python
PROSE = re.compile(r'(README|CONTRIBUTING|docs/([\w-]+/)?[\w-]+)\.md')
GENERATED = {'docs/drop-reasons.md', 'docs/fields.md', 'docs/configuration.md', 'docs/kernels.md', 'docs/metrics.md'}
PROSE_COLUMNS = 100
SPDX_FILES = re.compile(r'.*\.(c|h|def|py|sh|ya?ml|toml)|(.*/)?meson(\.build|_options\.txt)|\.clang-.*|\.editorconfig')
BPF_LICENSE = '(BSD-2-Clause OR GPL-2.0-only)'
MACHINE = re.compile(r'(?<![\w.])/(work|root|home)/\w|\b(deb|files|index|proxy|registry|static)\.\w+\.(org|io|com)\b')


def c_functions(text):
    """(first line, lines) of each function: kernel style has its braces in the first column."""
    start = None
    for number, line in enumerate(text, 1):
        if line == '{':
            start = number
        elif line == '}' and start is not None:
            yield start, number - start + 1
            start = None


def python_functions(text):
    for node in ast.walk(ast.parse('\n'.join(text))):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node.lineno, node.end_lineno - node.lineno + 1


def check_sizes(name, text):
    if not name.endswith(('.c', '.h', '.py')):
        return
    if len(text) > FILE_LINES:
        yield f'{name}:{FILE_LINES + 1}: {len(text)} lines; a file has {FILE_LINES} at most'
    functions = python_functions if name.endswith('.py') else c_functions
    for number, size in functions(text):
        if size > FUNCTION_LINES:
            yield f'{name}:{number}: function of {size} lines; {FUNCTION_LINES} at most'
    for number, line in enumerate(text, 1):
        if len(line.expandtabs(8)) > COLUMNS:
            yield f'{name}:{number}: {len(line.expandtabs(8))} columns; {COLUMNS} at most'


def check_prose(name, text):
    """Paragraphs and lists: not tables, code, headings, and what a link points to."""
    if not PROSE.fullmatch(name) or name in GENERATED:
        return
    code = False
    for number, line in enumerate(text, 1):
        fence = line.lstrip().startswith('```')
        code ^= fence
        width = len(re.sub(r'\]\([^)]*\)|https?://\S+', ']', line))
        if width > PROSE_COLUMNS and not code and not fence and not line.startswith(('|', '#')):
            yield f'{name}:{number}: prose of {width} columns; {PROSE_COLUMNS} at most'


def check_license(name, text):
    if not SPDX_FILES.fullmatch(name) and not (text and text[0].startswith('#!')):
        return
    want = BPF_LICENSE if name.startswith(('xdp/', 'tc/')) else 'Apache-2.0'
    if not any(re.search(r'SPDX-License-Identifier: %s( \*/)?$' % re.escape(want), line) for line in text[:2]):
        yield f'{name}:1: no line "SPDX-License-Identifier: {want}" on top'


def check_machine(name, text):
    for number, line in enumerate(text, 1):
        match = MACHINE.search(line)
        if match:
            yield f'{name}:{number}: "{match[0]}" belongs to one machine'


def check_mode(root, name, text):
    if text and text[0].startswith('#!') and not os.access(root / name, os.X_OK):
        yield f'{name}:1: begins with #! and cannot be run; what is only sourced has "# shellcheck shell=bash" there'


def check(root, names):
    problems = []
    for name in names:
        text = tree.lines(root, name)
        if text is None or name.startswith('LICENSES/'):
            continue
        for rule in (check_sizes, check_prose, check_license, check_machine):
            problems += rule(name, text)
        problems += check_mode(root, name, text)
    return problems


if __name__ == '__main__':
    tree.finish(check(tree.ROOT, tree.files()))
