# SPDX-License-Identifier: Apache-2.0
"""Runs tests and says so in TAP, one line a test; what went wrong follows as comments."""
import contextlib
import ctypes
import fcntl
import os
import re
import shutil
import signal
import sys
import tempfile
import time
import traceback

DIAGNOSTIC_LINES = 60
AT_ONCE = 4  # of tests that mostly wait
NICENESS = -10
PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None)


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


def cpu_seconds():
    """What this process has used, and those that it has started and waited for."""
    return sum(os.times()[:4])


def verdict(number, name, function):
    """Runs one test and prints its line; returns whether it may count as passed."""
    start, used = time.monotonic(), cpu_seconds()
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
    comment(f'{time.monotonic() - start:.2f} s, of them {cpu_seconds() - used:.2f} s of a processor')
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


def come_first():
    """Before the programs that only calculate, such as QEMU and clang-tidy: waits of this test have their bounds in seconds.

    Where it is allowed, as root; among sessions of processes the kernel may divide time by session.
    """
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, NICENESS)
    if os.getsid(0) == os.getpid():  # by meson; by hand the session is that of a terminal
        with contextlib.suppress(OSError), open('/proc/self/autogroup', 'w', encoding='ascii') as group:
            group.write(str(NICENESS))


def share_machine(alone):
    """Until this process ends: beside the tests of the same build that share it too, or after and before all of them.

    The lock is that of the program under test.  Returns what holds it.
    """
    path = os.environ.get('FLOWTALLY') or (sys.argv[1] if len(sys.argv) > 1 else '')
    if not os.path.isfile(path):
        return None
    lock = open(path, 'rb')  # pylint: disable=consider-using-with
    fcntl.flock(lock, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
    return lock


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


class Beside:
    """A test in a process of its own, beside others; what it prints is kept until its turn comes."""

    def __init__(self, number, name, function):
        self.number, self.name, self.passed = number, name, None
        self.output = tempfile.TemporaryFile()  # pylint: disable=consider-using-with
        sys.stdout.flush()
        parent, self.pid = os.getpid(), os.fork()
        if self.pid == 0:
            # os._exit(): nothing of what is the parent's may be cleaned up here.
            try:
                LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
                if os.getppid() == parent:
                    os.dup2(self.output.fileno(), 1)
                    os._exit(0 if verdict(number, name, function) else 1)
            finally:
                os._exit(2)

    def end(self, status):
        """It has ended, with this status, and printed this; one without a verdict has failed."""
        self.output.seek(0)
        text = self.output.read().decode(errors='replace')
        judged = re.search(rf'^(not )?ok {self.number} - ', text, re.M)
        self.passed = status == 0 and judged is not None
        if not judged:
            text += f'not ok {self.number} - {self.name}\n# ended without a verdict: status {status}\n'
        self.output.close()
        return text


def run_beside(chosen, at_once):
    """Runs so many at a time, begun in their order, and prints what they say in their order; whether all passed."""
    waiting, running, texts, printed = list(enumerate(chosen, 1)), {}, {}, 0
    passed = True
    while waiting or running:
        while waiting and len(running) < at_once:
            number, (name, function) = waiting.pop(0)
            test = Beside(number, name, function)
            running[test.pid] = test
        pid, status = os.wait()
        test = running.pop(pid, None)
        if not test:
            continue  # a process that main() had started
        texts[test.number] = test.end(os.waitstatus_to_exitcode(status))
        passed &= test.passed
        while printed + 1 in texts:
            printed += 1
            print(texts.pop(printed), end='', flush=True)
    return passed


def cases(names):
    """(name, function) of each function test_NAME among the globals() of a test, in their order."""
    return [(name.removeprefix('test_').replace('_', ' '), function) for name, function in list(names.items())
            if name.startswith('test_') and function]


def torture(function):
    """A decorator: the case takes minutes, and is one of ./torture alone."""
    return function if 'FLOWTALLY_TORTURE' in os.environ else None


def main(tests, at_once=1, alone=False):
    """Runs (name, function) pairs, those whose name holds the words of the environment's E2E_ONLY if it is set (_ is a space).

    at_once: for tests that mostly wait and share nothing, of which so many run beside each other.
    alone: no other end-to-end tests meanwhile, of this build; each says why.
    """
    only = os.environ.get('E2E_ONLY', '').removeprefix('test_').replace('_', ' ')
    chosen = [(name, function) for name, function in tests if only in name.replace('_', ' ')]
    print(f'1..{len(chosen)}', flush=True)
    come_first()
    lock = share_machine(alone)
    if at_once > 1:
        passed = run_beside(chosen, at_once)
    else:
        passed = all([verdict(i, name, function) for i, (name, function) in enumerate(chosen, 1)])
    if lock:
        lock.close()
    sys.exit(0 if passed else 1)
