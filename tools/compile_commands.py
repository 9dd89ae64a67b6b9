#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Adds the BPF programs to compile_commands.json: meson lists no custom targets there, and without
them clangd and clang-tidy do not know how to read the datapath.

Run by meson after it has configured: compile_commands.py SOURCE... -- COMPILER ARGUMENT...
"""
import json
import os
import sys
from pathlib import Path


def arguments(compiler, source, output):
    """The compiler's arguments for one source, without those that write a dependency file."""
    dropped = {'-MD', '-MF', '@DEPFILE@'}
    names = {'@INPUT@': source, '@OUTPUT@': output}
    return [names.get(argument, argument) for argument in compiler if argument not in dropped]


def merge(commands, build, root, sources, compiler):
    paths = {str(root / source) for source in sources}
    merged = [command for command in commands if command['file'] not in paths]
    for source in sources:
        path, output = str(root / source), Path(source).stem + '.o'
        merged.append({'directory': str(build), 'file': path, 'output': output,
                       'arguments': arguments(compiler, path, output)})
    return merged


def main():
    split = sys.argv.index('--')
    build, root = Path(os.environ['MESON_BUILD_ROOT']), Path(os.environ['MESON_SOURCE_ROOT'])
    database = build / 'compile_commands.json'
    merged = merge(json.loads(database.read_text()), build, root, sys.argv[1:split], sys.argv[split + 1:])
    database.write_text(json.dumps(merged, indent=2) + '\n')


if __name__ == '__main__':
    main()
