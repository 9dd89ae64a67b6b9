#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""
clang-tidy over every program in compile_commands.json of the build folder, the BPF programs included.
With LINT=changed over those that git says have changed.  The static analyzer, which takes nearly all of the time, ends with
each function at a tenth of the states that it goes through with FLOWTALLY_TORTURE set, its own default: an eighth of the time.
"""
import contextlib
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import tree

# The database may be gcc's, and hold warnings that clang does not know.
OPTIONS = ['--quiet', '--extra-arg=-Wno-unknown-warning-option', '--extra-arg=-Wno-unused-command-line-argument']
NODES = ('-Xclang', '-analyzer-config', '-Xclang', 'max-nodes=20000')
NICENESS = 10
if 'FLOWTALLY_TORTURE' not in os.environ:
    OPTIONS += [f'--extra-arg={word}' for word in NODES]


def tidy(build, path):
    run = subprocess.run(['clang-tidy-14', '-p', build, *OPTIONS, path], capture_output=True, text=True)
    return run.stdout + run.stderr if run.returncode else ''


def give_way():
    """To tests that run beside this one and wait with bounds in seconds; the kernel may divide time by session."""
    os.nice(NICENESS)
    if os.getsid(0) == os.getpid():
        with contextlib.suppress(OSError), open('/proc/self/autogroup', 'w', encoding='ascii') as group:
            group.write(str(NICENESS))


def main(build):
    give_way()
    commands = json.loads((Path(build) / 'compile_commands.json').read_text())
    paths = sorted({str((Path(command['directory']) / command['file']).resolve()) for command in commands})
    known = set(tree.c_files())
    ours = [path for path in paths if str(Path(path).relative_to(tree.ROOT)) in known]
    if not ours:
        sys.exit(f'{build}: no program of ours in compile_commands.json')
    if os.environ.get('LINT') == 'changed':
        changed = tree.changed()
        ours = [path for path in ours if str(Path(path).relative_to(tree.ROOT)) in changed]
    ours.sort(key=lambda path: Path(path).stat().st_size, reverse=True)  # so that none of the long ones is left for the end
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        tree.finish([found for found in pool.map(lambda path: tidy(build, path), ours) if found])


if __name__ == '__main__':
    main(sys.argv[1])
