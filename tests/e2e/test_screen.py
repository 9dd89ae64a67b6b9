#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The screen of an exporter in its own process (`run --live`, ./run, `drops`) in a real terminal, and where there is none."""
import fcntl
import functools
import json
import os
import pty
import re
import signal
import socket
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import program
import tap
import terminal
import traffic
from lab import DIES_WITH_TEST, Pair, wait_until
from tap import check, check_equal
from terminal import WAIT_SECONDS, child_of, is_framed, state_of

METER, PEER = '10.88.0.1', '10.88.0.2'
STRANGE = 'benign,NOT_SPECIFIED,QUEUE_PURGE'  # as in test_drops_live.py
CLOSED = 9300
CLIENTS = 42000, 42001, 42002
SUSPEND = 'C-z'


class Bench(Pair):
    addresses = METER, PEER

    def words(self, *words):
        return ['nsenter', f'--net=/run/netns/{self.box.names["meter"]}', *program.metering(*words)]

    def run_words(self, *options):
        return self.words('run', '--interface', 'm0', '--live', '--drops', 'off', '--control-socket', 'off', '--metrics-listen',
                          'off', '--drain-interval', '200ms', *options)

    def live(self, *options, **terminal_options):
        return terminal.Terminal(self.directory, self.run_words(*options), **terminal_options)

    def drops(self, *options, **terminal_options):
        lists = [] if '--reason' in options else ['--exclude', STRANGE]
        words = self.words('drops', '--interval', '200ms', *lists, *options)
        return terminal.Terminal(self.directory, words, **terminal_options)

    def send(self, count=7):
        with traffic.bound(self.box, 'meter', socket.SOCK_DGRAM, METER, 9):
            traffic.udp(self.box, 'peer', (PEER, 1001), (METER, 9), count, b'x' * 600)

    def drop(self, clients=CLIENTS, count=5, port=CLOSED):
        """Nobody listens: NO_SOCKET each."""
        for client in clients:
            traffic.udp(self.box, 'peer', (PEER, client), (METER, port), count)


def has_row(*words):
    """A condition for a screen: one of its lines has these words in a row, at its end."""
    return lambda lines: any(tuple(line.split()[-len(words):]) == words for line in lines)


def metered(path):
    """Packets of that flow in a file of JSON."""
    with open(path, encoding='utf-8') as file:
        return sum(json.loads(line)['packetDeltaCount'] for line in file if '"sourceTransportPort":1001' in line)


FLOW = has_row('UDP', PEER, '1001', METER, '9', 'm0', 'in')


def show_flow(bench, screen):
    screen.wait_for('[1 flows]')
    bench.send()
    screen.wait(FLOW, 'the flow')


def test_live():
    """It shows what was sent, also when the network is quiet; q ends it in order; then it says how to read what is left."""
    with Bench() as bench:
        path = f'{bench.directory}/flows of today.ipfix'
        with bench.live('--collector', f'file://{path}') as screen:
            show_flow(bench, screen)
            screen.wait(lambda lines: (numbers(lines, 'm0', 'in') or [''])[0] == '0' and numbers(lines, 'm0', 'in')[3] == '7',
                        'the flow, with what it had in all and no rate')
            screen.type('Enter')
            screen.wait_for('▁▁▁')
            screen.type('q')
            screen.wait_dead()
            text = screen.text()
        check('ready: metering 1 interface' in text and 'ledger: seen' in text, text)
        command = re.search("to read what was recorded: (.*) read '(.*)'", text)
        check(command and command[2] == path, text)
        done = subprocess.run([*DIES_WITH_TEST, 'sh', '-c', re.search('recorded: (.*)', text)[1]], check=False,
                              cwd=bench.directory, capture_output=True, text=True)
        check(done.returncode == 0 and '1001' in done.stdout, done)


def test_relative():
    """What is below the working directory is named as from there."""
    with Bench() as bench:
        words = ['sh', '-c', f'cd {bench.directory} && exec "$0" "$@"',
                 *bench.run_words('--collector', f'file://{bench.directory}/flows.ipfix')]
        with terminal.Terminal(bench.directory, words) as screen:
            screen.wait_for('[1 flows]')
            screen.type('q')
            screen.wait_dead()
            check(re.search('recorded: .* read flows.ipfix$', screen.text(), re.M), screen.text())


def test_log():
    """What is said while the screen is there stands at its foot, tears nothing, and follows it at the end."""
    with Bench() as bench:
        with bench.live() as screen:
            show_flow(bench, screen)
            pid = screen.pid()
            screen.wait_for('flowtally healthy')
            for _ in range(3):
                os.kill(pid, signal.SIGHUP)
                time.sleep(0.2)
            screen.wait_for('SIGHUP: there is no configuration')
            lines = screen.screen()
            check(sum('SIGHUP' in line for line in lines) <= 3, *lines)
            check('q quit' in lines[29] and 'SIGHUP' in lines[28], *lines)
            check(lines[0].startswith('flowtally ') and FLOW(lines[4:5]), *lines)
            os.kill(pid, signal.SIGTERM)
            screen.wait_dead()
            text = screen.text()
            check_equal('lines of the log', text.count('SIGHUP: there is no configuration'), 3)
            check(text.index('SIGHUP') < text.index('ledger: seen'), text)


def test_suspend():
    """Neither control-Z nor its signal stops what meters, nor who waits for it in the foreground, as sudo does."""
    with Bench() as bench:
        # With jobs as a user has them: what belongs to no shell is not stopped in any case.
        words = ['bash', '-ic', f"sh -c '{' '.join(bench.run_words())}; exit $?'; exit $?"]
        with terminal.Terminal(bench.directory, words) as screen:
            screen.wait_for('[1 flows]')
            waiting = child_of(screen.pid())
            metering = child_of(waiting)
            screen.type(SUSPEND)
            time.sleep(0.5)
            check_equal('state of who waits', state_of(waiting), 'S')
            os.kill(metering, signal.SIGTSTP)
            bench.send()
            screen.wait(FLOW, 'the flow')
            os.kill(metering, signal.SIGTERM)
            screen.wait_dead()


def test_other_job():
    """While another job has the terminal the screen leaves it alone; then it is back; the exporter meters all the time."""
    with Bench() as bench:
        path = f'{bench.directory}/flows.json'
        words = bench.run_words('--collector', f'json://{path}', '--idle-timeout', '300ms')
        with terminal.Shell(bench.directory, words) as shell:
            shell.wait_for('[1 flows]')
            metering = shell.to_background()
            shell.say('stty tostop')  # who writes is stopped too
            bench.send(11)
            shell.check_unseen(metering)
            wait_until(lambda: metered(path) == 11, WAIT_SECONDS, 'a record of what was sent')
            shell.say('fg')
            shell.wait(FLOW, 'the flow')
            check(is_framed(shell.screen(), 120, 30, '1 flows'), *shell.screen())
            shell.type('b')
            shell.wait_for('B/s')
            shell.type('q')
            shell.wait_for('ledger: seen')
            shell.say('stty -tostop; clear')
            shell.prompted()
            check_equal('modes of the terminal', shell.modes(), shell.at_prompt)


def test_end_of_other_job():
    """Who ends where another job has the terminal is not stopped for it, and leaves its modes alone."""
    with Bench() as bench:
        for words in bench.run_words(), bench.drops().words:
            with terminal.Shell(bench.directory, words) as shell:
                shell.wait_for('q quit')
                job = shell.to_background()
                shell.say('stty tostop; clear')
                shell.prompted()
                before = shell.modes()
                os.kill(job, signal.SIGTERM)
                shell.wait_for(' packets = accounted ')
                wait_until(lambda j=job: not os.path.exists(f'/proc/{j}'), WAIT_SECONDS, 'the end')
                check_equal('modes of the terminal', shell.modes(), before)


def test_size_signal():
    """A change of the size interrupts nobody."""
    with Bench() as bench, bench.live() as screen:
        screen.wait_for('[1 flows]')
        text = Path(f'/proc/{screen.pid()}/status').read_text(encoding='ascii')
        for kind, wanted in ('SigIgn', 1), ('SigCgt', 0):
            got = int(re.search(rf'{kind}:\s*(\w+)', text)[1], 16) >> signal.SIGWINCH - 1 & 1
            check_equal(f'SIGWINCH in {kind}', got, wanted)


def check_sizes(screen, name, row):
    screen.check_sizes(functools.partial(is_framed, tab=name))
    for number in range(200):  # a storm of them
        screen.resize(40 + number % 100, 8 + number % 20)
    screen.resize(120, 30)
    screen.wait(lambda seen: is_framed(seen, 120, 30, name) and row(seen), 'the first picture')


def test_sizes():
    with Bench() as bench:
        with bench.live() as screen:
            show_flow(bench, screen)
            check_sizes(screen, '1 flows', FLOW)
            screen.type('q')
            screen.wait_dead()
        with bench.drops() as screen:
            screen.wait_for('[5 drops]')
            bench.drop()
            row = has_row('UDP', PEER, str(CLIENTS[0]), METER, str(CLOSED), 'm0', 'in', 'NO_SOCKET')
            screen.wait(row, 'the drops')
            check_sizes(screen, '5 drops', row)
            screen.type('q')
            screen.wait_dead()


def numbers(lines, *words):
    """Of the row that ends with these words."""
    return next((line.split()[:-len(words)] for line in lines if has_row(*words)([line])), None)


def test_drops():
    """Drops made on purpose, by flow, reason, interface and service; and what a reason means."""
    with Bench() as bench:
        bench.drop(count=1)  # neighbours
        with bench.drops() as screen:
            screen.wait_for('pkt/s dropped')
            bench.drop()
            for client in CLIENTS:
                screen.wait(lambda lines, c=client: (numbers(lines, 'UDP', PEER, str(c), METER, str(CLOSED), 'm0', 'in',
                                                             'NO_SOCKET') or [0] * 5)[3] == '5', f'5 of {client}')
            screen.wait_for('missed 0')
            screen.wait_for('no_receiver 15')
            screen.wait_for('NO_SOCKET: Nothing listens')
            for by, words in (('reason', ['NO_SOCKET', 'no_receiver']), ('interface', ['m0', 'in', 'NO_SOCKET', 'no_receiver']),
                              ('service', [f'UDP/{CLOSED}', 'NO_SOCKET', 'no_receiver'])):
                screen.type('h')
                screen.wait_for(f'rows by {by}')
                screen.wait(lambda lines, w=words: (numbers(lines, *w) or [0] * 5)[3] == '15', f'15 by {by}')
            screen.type('2')
            screen.wait_for('[5 drops]')
            screen.type('q')
            screen.wait_dead()
            check(re.search(r'^ +15 +15 no_receiver +NO_SOCKET +Nothing listens', screen.text(), re.M), screen.text())
        with bench.drops('--by', 'service', '--port', str(CLOSED + 1), '--for', '3s') as screen:
            screen.wait_for('rows by service')
            bench.drop(count=2)
            bench.drop(count=3, port=CLOSED + 1)
            screen.wait(has_row(f'UDP/{CLOSED + 1}', 'NO_SOCKET', 'no_receiver'), 'the port')
            check(not has_row(f'UDP/{CLOSED}', 'NO_SOCKET', 'no_receiver')(screen.screen()), *screen.screen())
            screen.wait_dead()  # by itself


def test_drops_of_running():
    """The drops tab of `top`, of an exporter that runs."""
    with Bench() as bench:
        path = f'{bench.directory}/socket'
        bench.drop(count=1)
        with program.Daemon(bench.box, 'meter', '--interface', 'm0', '--drain-interval', '200ms', '--control-socket', path,
                            '--drops-exclude', STRANGE, drops='on'):
            with terminal.Terminal(bench.directory, [program.binary(), 'top', '--socket', path, '--tab', 'drops']) as screen:
                bench.drop()
                words = f'UDP/{CLOSED}', 'NO_SOCKET', 'no_receiver'
                screen.wait(lambda lines: (numbers(lines, *words) or [0] * 5)[3] == '15', 'a row for the port')
                rows = [line for line in screen.screen() if 'NO_SOCKET no_receiver' in line]
                check_equal('rows', len(rows), 1)
                screen.wait_for(', missed 0')
                screen.type('1')
                screen.wait(has_row('UDP', PEER, str(CLIENTS[0]), METER, str(CLOSED), 'm0', 'in'), 'the flow, metered too')


class Stopped:
    """A terminal of which nobody reads, with a program in it that has it as its own."""

    def __init__(self, words, folder):
        self.words, self.path = words, f'{folder}/stderr'

    def __enter__(self):
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack('HHHH', 24, 80, 0, 0))
        self.before = termios.tcgetattr(slave)
        self.slave = slave
        with open(self.path, 'wb') as err:
            self.process = subprocess.Popen([*DIES_WITH_TEST, 'setsid', '--ctty', *self.words], stdin=slave, stdout=slave,
                                            stderr=err, env=dict(os.environ, TERM='vt100'))
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        os.close(self.slave)
        if self.master >= 0:
            os.close(self.master)

    def hang_up(self):
        os.close(self.master)
        self.master = -1

    def stderr(self):
        with open(self.path, encoding='utf-8') as file:
            return file.read()

    def read(self, seconds):
        """What comes meanwhile."""
        end, text = time.monotonic() + seconds, b''
        os.set_blocking(self.master, False)
        while time.monotonic() < end:
            try:
                text += os.read(self.master, 65536)
            except BlockingIOError:
                time.sleep(0.05)
        return text


def test_stopped():
    """A terminal that takes nothing holds nothing: what is sent meanwhile is exported, and the end comes in time."""
    with Bench() as bench:
        path = f'{bench.directory}/flows.json'
        with Stopped(bench.run_words('--collector', f'json://{path}', '--idle-timeout', '300ms', '--summary', 'json'),
                     bench.directory) as screen:
            wait_until(lambda: 'ready' in screen.stderr(), WAIT_SECONDS, 'the word ready')
            wait_until(lambda: b'[1 flows]' in screen.read(0.2), WAIT_SECONDS, 'the screen')
            os.write(screen.master, b'\x13')  # control-S
            time.sleep(1)
            screen.read(1)  # what was on its way
            check_equal('what comes from a terminal that is stopped', screen.read(1), b'')
            bench.send(11)

            wait_until(lambda: metered(path) == 11, WAIT_SECONDS, 'a record of what was sent')
            screen.process.send_signal(signal.SIGTERM)
            start = time.monotonic()
            check_equal('exit status', screen.process.wait(WAIT_SECONDS), 0)
            check(time.monotonic() - start < 10, f'{time.monotonic() - start:.1f} s')
            check_equal('modes of the terminal', termios.tcgetattr(screen.slave), screen.before)
            check(program.last_ledger(screen.stderr())['balanced'], screen.stderr())


def test_stopped_clock():
    """The end waits for such a terminal by a clock that nobody sets."""
    with Bench() as bench:
        ahead = Path(f'{bench.directory}/ahead')
        ahead.write_text('3600\n', encoding='ascii')  # of the kernel's: as if it were set back while the program waits
        environment = ['env', f'LD_PRELOAD={os.path.abspath(sys.argv[2])}', f'FLOWTALLY_CLOCK_SHIM={ahead}']
        options = '--summary', 'json', '--stop-timeout', '15s', '--sandbox-folder', bench.directory
        words = [*environment, *bench.run_words(*options)]
        with Stopped(words, bench.directory) as screen:
            wait_until(lambda: b'[1 flows]' in screen.read(0.2), WAIT_SECONDS, 'the screen')
            os.write(screen.master, b'\x13')  # control-S
            time.sleep(1)
            screen.read(1)
            screen.process.send_signal(signal.SIGTERM)
            check_equal('exit status', screen.process.wait(WAIT_SECONDS), 0)
            check('cut short' not in screen.stderr(), screen.stderr())
            check(program.last_ledger(screen.stderr())['balanced'], screen.stderr())


def test_gone():
    """Where the terminal goes and SIGHUP is ignored, `run` says so and goes on; `drops`, which is for nothing else, ends."""
    words = ['sh', '-c', 'trap "" HUP; exec "$0" "$@"']
    with Bench() as bench:
        path = f'{bench.directory}/flows.json'
        with Stopped([*words, *bench.run_words('--collector', f'json://{path}', '--idle-timeout', '300ms')],
                     bench.directory) as screen:
            wait_until(lambda: b'[1 flows]' in screen.read(0.2), WAIT_SECONDS, 'the screen')
            screen.hang_up()
            wait_until(lambda: 'the terminal has gone' in screen.stderr(), WAIT_SECONDS, 'a word about the terminal')
            bench.send(11)
            wait_until(lambda: metered(path) == 11, WAIT_SECONDS, 'a record of what was sent')
            screen.process.send_signal(signal.SIGTERM)
            check_equal('exit status', screen.process.wait(WAIT_SECONDS), 0)
            check_equal('words about it', screen.stderr().count('nothing is shown any more'), 1)
        with Stopped([*words, *bench.drops().words], bench.directory) as screen:
            wait_until(lambda: b'[5 drops]' in screen.read(0.2), WAIT_SECONDS, 'the screen')
            screen.hang_up()
            check_equal('exit status', screen.process.wait(WAIT_SECONDS), 0)  # as where its lines have no reader any more
            check('drops cannot be shown any more: the terminal has gone' in screen.stderr(), screen.stderr())


def test_no_screen():
    """Where ncurses finds no way to begin."""
    huge = ['LINES=32768']  # its lines are numbered by a short
    with Bench() as bench:
        with bench.drops(environment=huge) as screen:
            screen.wait_dead(1)
            check('drops cannot be shown any more: this terminal cannot be set up' in screen.text(), screen.text())
        with bench.live(environment=huge) as screen:
            wait_until(lambda: 'nothing is shown any more' in screen.text(), WAIT_SECONDS, 'a word')
            check('this terminal cannot be set up' in screen.text(), screen.text())
            check_equal('it goes on', screen.is_dead()[0], '0')
            os.kill(screen.pid(), signal.SIGTERM)
            screen.wait_dead()


def test_terminals():
    """One that has no full screen gets text, and is told why; a plain one gets no sign that it does not have."""
    with Bench() as bench:
        for environment in ['TERM=dumb'], ['--unset=TERM'], ['TERM='], ['TERM=no-such-terminal']:
            with bench.live(environment=environment) as screen:
                wait_until(lambda: 'bit/s' in screen.text(), WAIT_SECONDS, 'the first picture')
                bench.send()
                wait_until(lambda: FLOW(screen.text().splitlines()), WAIT_SECONDS, f'text with {environment}')
                check('has no full screen' in screen.text(), screen.text())
                os.kill(screen.pid(), signal.SIGTERM)
                screen.wait_dead()
            with bench.drops(environment=environment) as screen:
                wait_until(lambda: 'ready' in screen.text(), WAIT_SECONDS, 'the word ready')
                bench.drop()
                wait_until(lambda: f'{METER}:{CLOSED}' in screen.text(), WAIT_SECONDS, f'lines with {environment}')
                screen.type('C-c')
                screen.wait_dead()
        for words, row in ((bench.live, FLOW),
                           (bench.drops, has_row('UDP', PEER, str(CLIENTS[0]), METER, str(CLOSED), 'm0', 'in', 'NO_SOCKET'))):
            with words(environment=['TERM=vt100'], locale='C') as screen:
                screen.wait_for('q quit')
                bench.send()
                bench.drop()
                screen.wait(row, 'the row')
                screen.type('Enter')
                screen.wait_for('records 1')
                screen.wait(lambda lines: '#' in ''.join(lines), 'a sparkline')
                text = '\n'.join(screen.screen())
                check(text.isascii(), repr(text))
                screen.type('q')
                screen.wait_dead()


def test_background():
    """Who is not in the foreground of its terminal is not stopped for setting it up."""
    with Bench() as bench:
        with terminal.Terminal(bench.directory, ['bash', '-ic', ' '.join(bench.run_words()) + ' & wait']) as screen:
            wait_until(lambda: 'bit/s' in screen.text(), WAIT_SECONDS, 'the first picture')
            bench.send()
            wait_until(lambda: FLOW(screen.text().splitlines()), WAIT_SECONDS, 'text')
            check('foreground' in screen.text(), screen.text())


def test_pipe():
    """Pictures follow as text; a reader who reads nothing, or who has gone, holds and ends nothing."""
    with Bench() as bench:
        options = bench.box, 'meter', '--interface', 'm0', '--live', '--drain-interval', '200ms'
        with program.Daemon(*options, stdout=subprocess.PIPE) as daemon:
            bench.send()
            text = b''
            os.set_blocking(daemon.process.stdout.fileno(), True)
            while not FLOW(text.decode().splitlines()):
                text += os.read(daemon.process.stdout.fileno(), 65536)
            daemon.stop()
        reader, writer = os.pipe()
        fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
        os.set_blocking(writer, False)
        os.write(writer, b'x' * 4096)  # it is full
        os.set_blocking(writer, True)
        with program.Daemon(*options, stdout=writer) as daemon:
            bench.send(11)
            time.sleep(2)
            check_equal('all packets', daemon.stop()['accounted']['packets'] >= 11, True)
        os.close(reader)
        with program.Daemon(*options, stdout=writer) as daemon:
            os.close(writer)
            bench.send(11)
            time.sleep(2)
            check_equal('it goes on', daemon.process.poll(), None)
            daemon.stop()


def test_two():
    """Two exporters at a time: the second has no socket, and a screen all the same."""
    with Bench() as bench:
        path = f'{bench.directory}/socket'
        with program.Daemon(bench.box, 'meter', '--interface', 'm0', '--control-socket', path):
            words = bench.words('run', '--interface', 'm0', '--live', '--drops', 'off', '--control-socket', path,
                                '--metrics-listen', 'off', '--drain-interval', '200ms')
            with terminal.Terminal(bench.directory, words) as screen:
                show_flow(bench, screen)
                screen.type('q')
                screen.wait_dead()
                check('there is no control socket' in screen.text(), screen.text())


if __name__ == '__main__':
    tap.require('ip', 'tmux', 'nsenter', 'setsid')
    tap.main(tap.cases(globals()))
