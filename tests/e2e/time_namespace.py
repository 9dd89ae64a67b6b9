#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Runs a program in a time namespace: time_namespace.py MONOTONIC BOOTTIME PROGRAM [ARGUMENT]...

MONOTONIC and BOOTTIME are what its clocks are ahead of the machine's, s.  Who has no CAP_SYS_TIME may not set that
for a namespace of the initial user namespace.  So a child makes it, failing that in a user namespace of its own, and the
program enters the time namespace alone: it has the privileges that it would have had without.
"""
import ctypes
import os
import subprocess
import sys

from tap import Skip, comment

CLONE_NEWTIME, CLONE_NEWUSER = 0x80, 0x10000000
LIBC = ctypes.CDLL(None, use_errno=True)


def call(name, *arguments):
    if getattr(LIBC, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f'{name}: {os.strerror(number)}')


def make(offsets, flags, ready, end):
    """In the child: makes a namespace for its children, says so, and waits until the parent closes its side of `end`."""
    try:
        call('unshare', flags)
        with open('/proc/self/timens_offsets', 'w', encoding='ascii') as file:
            file.write(offsets)
        os.write(ready, b'ready')
    except OSError as error:
        os.write(ready, str(error).encode())
    os.read(end, 1)
    os._exit(0)


def enter(offsets, flags):
    """Why it could not, or None."""
    answer, ready = os.pipe()
    end, hold = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(hold)
        make(offsets, flags, ready, end)
    os.close(ready)
    os.close(end)
    try:
        said = os.read(answer, 1000).decode()
        if said != 'ready':
            return said
        with open(f'/proc/{child}/ns/time_for_children', 'rb') as namespace:
            call('setns', namespace.fileno(), CLONE_NEWTIME)
        return None
    except OSError as error:
        return str(error)
    finally:
        os.close(answer)
        os.close(hold)
        os.waitpid(child, 0)


def prefix(monotonic, boottime):
    """What to put in front of a program's words; Skip where such a namespace cannot be had."""
    words = [sys.executable, os.path.abspath(__file__), str(monotonic), str(boottime)]
    done = subprocess.run([*words, 'true'], capture_output=True, text=True, check=False, timeout=60)
    if done.returncode:
        raise Skip(done.stderr.strip())
    return words


def prefix_if_any(monotonic, boottime):
    """Nothing where such a namespace cannot be had: for tests that are about something else, too."""
    try:
        return prefix(monotonic, boottime)
    except Skip as reason:
        comment(reason)
        return []


def main():
    monotonic, boottime, *words = sys.argv[1:]
    reasons = []
    for flags in CLONE_NEWTIME, CLONE_NEWTIME | CLONE_NEWUSER:
        reason = enter(f'monotonic {monotonic} 0\nboottime {boottime} 0\n', flags)
        if reason is None:
            os.execvp(words[0], words)
        reasons.append(reason)
    sys.exit(f'no time namespace can be had: {", ".join(reasons)}')


if __name__ == '__main__':
    main()
