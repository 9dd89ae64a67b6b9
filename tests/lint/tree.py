# SPDX-License-Identifier: Apache-2.0
"""What the lint tests look at: the files that git tracks or would track."""
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def files(root=ROOT):
    """Paths relative to the root, sorted.  The clone may belong to another user."""
    git = ['git', '-c', 'safe.directory=*', '-C', str(root)]
    listed = subprocess.run(git + ['ls-files', '-co', '--exclude-standard', '-z'],
                            check=True, capture_output=True, text=True).stdout
    return sorted(name for name in set(listed.split('\0')) if name and (root / name).is_file())


def changed(root=ROOT):
    """Those that are not as in the branch that this one follows; without one, as in the last commit."""
    git = ['git', '-c', 'safe.directory=*', '-C', str(root)]
    base = subprocess.run(git + ['merge-base', 'HEAD', '@{upstream}'], check=False, capture_output=True, text=True).stdout.strip()
    listed = subprocess.run(git + ['diff', '--name-only', '-z', base or 'HEAD'], check=True, capture_output=True, text=True).stdout
    new = subprocess.run(git + ['ls-files', '-o', '--exclude-standard', '-z'], check=True, capture_output=True, text=True).stdout
    return {name for name in (listed + new).split('\0') if name and (root / name).is_file()}


def lines(root, name):
    """The lines of a text file; None for a binary one."""
    try:
        return (root / name).read_text(encoding='utf-8').splitlines()
    except UnicodeDecodeError:
        return None


def c_files(root=ROOT):
    return [name for name in files(root) if name.endswith(('.c', '.h'))]


def shell_scripts(root=ROOT):
    """By shebang, whatever the name."""
    found = []
    for name in files(root):
        text = lines(root, name)
        if text and text[0].startswith('#!') and text[0].endswith(('/sh', '/bash', 'env bash', 'env sh')):
            found.append(name)
    return found


def finish(problems):
    """Prints the problems and ends the program: 0 without any, else 1."""
    for problem in problems:
        print(problem)
    sys.exit(1 if problems else 0)
