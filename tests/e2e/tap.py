# SPDX-License-Identifier: Apache-2.0
"""Runs tests and says so in TAP, one line a test; what went wrong follows as comments."""
import os
import shutil
import sys
import time
import traceback

DIAGNOSTIC_LINES = 60


class Failure(Exception):
    """The program under test did something else than it should; the lines say what."""


class Skip(Exception):
    """The test cannot be run here, for the reason given."""


def check(condition, *lines):
    if not condition:
        raise Failure('\n'.join(str(line) for line in lines))


def check_equal(what, got, expected):
    check(got == expected, f'{what}: expected {expected!r}, got {got!r}')


def comment(text):
    for line in str(text).splitlines():
        print('#', line.replace('\x00', '').rstrip())
    sys.stdout.flush()


def verdict(number, name, function):
    """Runs one test and prints its line; returns whether it may count as passed."""
    start = time.monotonic()
    try:
        function()
    except Skip as reason:
        print(f'ok {number} - {name} # SKIP {reason}', flush=True)
        return True
    except Failure as failure:
        print(f'not ok {number} - {name}', flush=True)
        comment('\n'.join(str(failure).splitlines()[:DIAGNOSTIC_LINES]))
        return False
    except Exception:  # pylint: disable=broad-except
        print(f'not ok {number} - {name}', flush=True)
        comment(traceback.format_exc())
        return False
    print(f'ok {number} - {name}')
    comment(f'{time.monotonic() - start:.2f} s')
    return True


def once(make):
    """A function that gives what make() gave when it was first called, or raises what it raised."""
    results = []

    def result():
        if not results:
            try:
                results.append((make(), None))
            except Exception as error:  # pylint: disable=broad-except
                results.append((None, error))
        value, error = results[0]
        if error:
            raise error
        return value
    return result


def skip_all(reason):
    print(f'1..0 # SKIP {reason}')
    sys.exit(0)


def require(*programs):
    """Skips all tests when they cannot be run here."""
    os.environ['PATH'] += ':/usr/sbin:/sbin'
    if os.geteuid() != 0:
        skip_all('needs root')
    missing = [program for program in programs if not shutil.which(program)]
    if missing:
        skip_all(f'not installed: {" ".join(missing)}')


def main(tests):
    """Runs (name, function) pairs, those whose name holds the words of the environment's E2E_ONLY if it is set."""
    only = os.environ.get('E2E_ONLY', '')
    chosen = [(name, function) for name, function in tests if only in name]
    print(f'1..{len(chosen)}', flush=True)
    passed = [verdict(i, name, function) for i, (name, function) in enumerate(chosen, 1)]
    sys.exit(0 if all(passed) else 1)
