# SPDX-License-Identifier: Apache-2.0
"""A program in a real terminal: tmux, on a server of its own."""
import contextlib
import itertools
import os
import shlex
import signal
import subprocess
import termios
import time
from pathlib import Path

import tap
from lab import DIES_WITH_TEST, wait_until

WAIT_SECONDS = 20
NUMBERS = itertools.count()
SIZES = (80, 24), (40, 10), (20, 5), (59, 7), (20, 30), (200, 5)


class Terminal:
    """with Terminal(folder, words) as terminal: ...; folder: for the socket of its server; environment: as of env(1)"""

    def __init__(self, folder, words, columns=120, lines=30, environment=(), locale='C.UTF-8'):
        self.socket = f'{folder}/tmux{next(NUMBERS)}'  # the server before may still be ending
        self.words = ['env', *environment, f'LC_ALL={locale}', *words]
        self.columns, self.lines = columns, lines

    def tmux(self, *words):
        environment = dict(os.environ, LC_ALL='C.UTF-8', TERM='screen')
        environment.pop('TMUX', None)
        command = [*DIES_WITH_TEST, 'tmux', '-u', '-f', '/dev/null', '-S', self.socket, *map(str, words)]
        return subprocess.run(command, env=environment, check=True, capture_output=True, text=True, timeout=WAIT_SECONDS).stdout

    def __enter__(self):
        self.tmux('new-session', '-d', '-x', self.columns, '-y', self.lines, *self.words, ';',
                  'set', '-g', 'remain-on-exit', 'on', ';', 'set', '-g', 'status', 'off')
        self.resize(self.columns, self.lines)
        return self

    def __exit__(self, *_):
        with contextlib.suppress(subprocess.CalledProcessError):
            self.tmux('kill-server')

    def resize(self, columns, lines):
        self.tmux('resize-window', '-x', columns, '-y', lines)

    def type(self, *keys):
        self.tmux('send-keys', *keys)

    def screen(self, *options):
        return self.tmux('capture-pane', '-p', *options).splitlines()

    def text(self):
        """All lines, those above the screen too, joined where tmux has broken them."""
        return self.tmux('capture-pane', '-p', '-J', '-S', '-')

    def pid(self):
        return int(self.tmux('display', '-p', '#{pane_pid}'))

    def modes(self):
        """Of the terminal, as tcgetattr(3) has them."""
        terminal = os.open(self.tmux('display', '-p', '#{pane_tty}').strip(), os.O_RDWR | os.O_NOCTTY)
        try:
            return termios.tcgetattr(terminal)
        finally:
            os.close(terminal)

    def raw(self):
        return self.tmux('capture-pane', '-p', '-e')

    def is_dead(self):
        """['1', its exit status] at the end"""
        server, *dead = self.tmux('display', '-p', '#{pid} #{pane_dead} #{pane_dead_status}').split()
        if dead == ['1']:  # tmux 3.3a may overlook a child that ends at once, until it is told of another
            os.kill(int(server), signal.SIGCHLD)
        return dead

    def wait(self, condition, what):
        try:
            wait_until(lambda: condition(self.screen()), WAIT_SECONDS, what)
        except tap.Failure as failure:
            raise tap.Failure(f'{failure}; the screen:\n' + '\n'.join(self.screen())) from None

    def wait_for(self, text):
        self.wait(lambda lines: any(text in line for line in lines), text)

    def check_sizes(self, is_whole):
        """Whether the screen has all its parts in each size; is_whole(lines of the screen, columns, lines)"""
        for columns, lines in SIZES:
            self.resize(columns, lines)
            self.wait(lambda screen, c=columns, n=lines: is_whole(screen, c, n), f'a picture of {columns}x{lines}')

    def wait_gone(self, text):
        self.wait(lambda lines: not any(text in line for line in lines), f'no {text}')

    def wait_dead(self, status=0):
        wait_until(lambda: self.is_dead() == ['1', str(status)], WAIT_SECONDS, f'the end with {status}')


def is_framed(screen, columns, lines, tab):
    """Tabs and the foot are where they belong, nothing is too long, and there is one row of titles."""
    below = 1 + (lines >= 8)
    tabs, titles = screen[below:below + 2]
    return (max(map(len, screen)) <= columns and f'[{tab}]' in tabs and sum(f'[{tab}]' in line for line in screen) == 1 and
            ('bit/s' in titles or 'pkt/s' in titles) and screen.count(titles) == 1 and 'q quit' in screen[lines - 1])


def state_of(pid):
    """As ps(1) has it: T is stopped."""
    return stat_of(pid)[0]


def stat_of(pid):
    """Of proc_pid_stat(5) from the state on, behind the name, which may have spaces."""
    return Path(f'/proc/{pid}/stat').read_text(encoding='ascii').rpartition(')')[2].split()


def busy_seconds(pid):
    """What it has had of a processor."""
    return sum(map(int, stat_of(pid)[11:13])) / os.sysconf('SC_CLK_TCK')


def child_of(pid):
    return int(Path(f'/proc/{pid}/task/{pid}/children').read_text(encoding='ascii'))


class Shell(Terminal):
    """A shell with jobs, as a user has it, and a program in its foreground that has a full screen."""

    PROMPT = 'what next? '

    def __init__(self, folder, words, **options):
        super().__init__(folder, ['env', f'PS1={self.PROMPT}', 'bash', '--norc', '--noprofile', '-i'], **options)
        self.command = shlex.join(map(str, words))

    def __enter__(self):
        super().__enter__()
        self.prompted()
        self.at_prompt = self.modes()
        self.say(self.command)
        return self

    def prompted(self):
        self.wait(lambda lines: (list(filter(None, lines)) or [''])[-1].strip() == self.PROMPT.strip(), 'a prompt')

    def say(self, text):
        self.type('-l', text)
        self.type('Enter')

    def stop_and_go_on(self):
        """Stopped by others than itself, and sent on where it is not seen.  Returns its process."""
        job = child_of(self.pid())
        os.kill(job, signal.SIGSTOP)
        self.wait_for('Stopped')
        self.say('clear; bg >/dev/null')
        self.prompted()
        wait_until(lambda: state_of(job) != 'T', WAIT_SECONDS, 'that it goes on')
        return job

    def to_background(self, may_read=False):
        """
        The kernel stops what reads from the terminal in the background.  A program that takes that as others do may be
        stopped once, where SIGSTOP found it between its look at the terminal and its reading: then the stop is made again.
        """
        job = self.stop_and_go_on()
        for _ in range(10 if may_read else 0):
            time.sleep(0.5)
            if state_of(job) != 'T':
                break
            self.say('fg')
            wait_until(lambda: state_of(job) != 'T', WAIT_SECONDS, 'that it goes on')
            job = self.stop_and_go_on()
        return job

    def check_unseen(self, job, seconds=3):
        """It leaves the terminal alone, also where somebody types, is not stopped, and costs nothing."""
        self.say(f'clear; sleep {seconds}')
        self.wait(lambda lines: not any(lines), 'an empty screen')
        before = busy_seconds(job)
        self.type('-l', 'q')  # which nobody reads meanwhile
        self.wait(lambda lines: any(self.PROMPT.strip() in line for line in lines), 'the end of the sleep')
        used = busy_seconds(job) - before
        tap.check(used < seconds / 3, f'{used} s of a processor in {seconds} s')
        # The terminal's echo, and the shell that reads it then.
        tap.check_equal('what is on the screen', [line for line in self.screen() if line], [f'q{self.PROMPT}q'])
        tap.check(state_of(job) != 'T', 'it has been stopped')
        self.type('C-u')
