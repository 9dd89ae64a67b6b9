#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Every C file is as clang-format would write it."""
import difflib
import subprocess
import tree


def differences(name):
    text = (tree.ROOT / name).read_text()
    wanted = subprocess.run(['clang-format-14', name], cwd=tree.ROOT, check=True, capture_output=True, text=True).stdout
    found = difflib.unified_diff(text.splitlines(), wanted.splitlines(), name, 'clang-format', n=0, lineterm='')
    return list(found)


problems = [line for name in tree.c_files() for line in differences(name)]
tree.finish(problems + ['ninja -C build clang-format does it'] if problems else [])
