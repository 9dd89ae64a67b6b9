# SPDX-License-Identifier: Apache-2.0
"""A program in a real terminal: tmux, on a server of its own."""
import contextlib
import itertools
import os
import signal
import subprocess

import tap
from sandbox import DIES_WITH_TEST, wait_until

WAIT_SECONDS = 20
NUMBERS = itertools.count()


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

    def wait_gone(self, text):
        self.wait(lambda lines: not any(text in line for line in lines), f'no {text}')

    def wait_dead(self, status=0):
        wait_until(lambda: self.is_dead() == ['1', str(status)], WAIT_SECONDS, f'the end with {status}')
