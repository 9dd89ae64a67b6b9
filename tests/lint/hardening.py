#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""hardening.py PROGRAM LIBRARY: they are built with what makes faults hard to use; read from the files by readelf."""
import re
import subprocess
import sys


def readelf(path, *options):
    return subprocess.run(['readelf', '-W', *options, path], check=True, capture_output=True, text=True).stdout


def objects_without_control_flow(library):
    """Objects in which indirect branches and returns are not checked: CET on x86-64, BTI and PAC on arm64."""
    parts = re.split(r'^File: ', readelf(library, '-n'), flags=re.M)[1:]
    return [part.split('\n')[0] for part in parts if not re.search(r'feature: (IBT, SHSTK|BTI, PAC)', part)]


def check(path):
    """What it lacks."""
    segments, dynamic = readelf(path, '-l'), readelf(path, '-d')
    symbols = readelf(path, '--dyn-syms')
    stack = re.search(r'GNU_STACK.* (R?W?E?)\s+0x', segments)
    wanted = {
        'it is no position independent executable (PIE)': re.search(r'FLAGS_1\).*\bPIE\b', dynamic),
        'no RELRO': 'GNU_RELRO' in segments,
        'symbols are bound lazily, so that RELRO leaves their table open': re.search(r'FLAGS_1\).*\bNOW\b', dynamic),
        'the stack can be run': stack and 'E' not in stack[1],
        'memory can be written and run': not re.search(r'^ *LOAD .*\bRWE\b', segments, re.M),
        'code is changed as it is loaded (TEXTREL)': 'TEXTREL' not in dynamic,
        'libraries are looked for beside those of the system (RPATH)': not re.search(r'\((RPATH|RUNPATH)\)', dynamic),
        'no stack protector': '__stack_chk_fail' in symbols,
        'no _FORTIFY_SOURCE': re.search(r'__\w+_chk\b', symbols.replace('__stack_chk', '')),
    }
    return [problem for problem, good in wanted.items() if not good]


if __name__ == '__main__':
    program, library = sys.argv[1:]
    wrong = [f'{program}: {problem}' for problem in check(program)]
    # A program is marked only if all that is linked is, and start files of Debian 12 are not.
    wrong += [f'{name}: control flow is not checked' for name in objects_without_control_flow(library)]
    print('\n'.join(wrong))
    sys.exit(1 if wrong else 0)
