#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""`flowtally top` in a real terminal (tmux), and as text, against what was sent to a real exporter."""
import contextlib
import os
import signal
import socket
import subprocess
import time

import program
import tap
import traffic
from sandbox import DIES_WITH_TEST, Sandbox, scratch, wait_until
from tap import check, check_equal

METER, PEER = '10.87.0.1', '10.87.0.2'
QUICK = '--drain-interval', '200ms'
NOT_RUNNING, USAGE = 2, 2
WAIT_SECONDS = 20
HEADERS = 28  # octets of IPv4 and UDP
SENT = {1001: (7, 600), 1002: (19, 10), 1003: (1, 100)}  # datagrams and octets of each, by source port
TABS = 'flows', 'hosts', 'ports', 'protocols', 'drops', 'interfaces'
ODD = 'x\x1b[31m'  # a name that the kernel takes


def truth():
    """Octets and packets by source port."""
    return {port: (count * (size + HEADERS), count) for port, (count, size) in SENT.items()}


def total():
    return tuple(sum(pair) for pair in zip(*truth().values()))


class Bench:
    def __enter__(self):
        self.scratch = scratch()
        self.path = f'{self.scratch.name}/socket'
        self.box = Sandbox('meter', 'peer').__enter__()
        self.box.veth(('meter', 'm0'), ('peer', 'p0'), offloads=False)
        self.box.address(('meter', 'm0', [METER]), ('peer', 'p0', [PEER]))
        return self

    def __exit__(self, *error):
        self.box.__exit__(*error)
        self.scratch.cleanup()

    def daemon(self, *options):
        return program.Daemon(self.box, 'meter', '--interface', 'm0', *QUICK, '--control-socket', self.path, *options)

    def send(self):
        for port, (count, size) in SENT.items():
            with traffic.bound(self.box, 'meter', socket.SOCK_DGRAM, METER, 9):
                traffic.udp(self.box, 'peer', (PEER, port), (METER, 9), count, b'x' * size)

    def batch(self, *words):
        return program.run('top', '--socket', self.path, '--batch', '-n', '1', *words)

    def rows(self, *words):
        """Of --batch: the numbers of a row by its keys, a tuple of texts."""
        status, stdout, stderr = self.batch(*words)
        check_equal(f'exit status of top --batch {words}', (status, stderr), (0, ''))
        lines = stdout.splitlines()
        return {tuple(line.split()[5:]): tuple(line.split()[:5]) for line in lines[4:]}

    def wait_for_sent(self):
        """The octets and packets of all that was sent are there."""
        octets, packets = total()
        wait_until(lambda: self.rows('--keys', 'proto', 'dst port 9').get(('UDP',), [''] * 5)[2:4] ==
                   (f'{octets / 1000:.2f}k', str(packets)), WAIT_SECONDS, 'all that was sent')


class Terminal:
    """tmux with one program in it, on a server of its own."""

    def __init__(self, bench, *words, columns=120, lines=30, environment=(), locale='C.UTF-8'):
        self.socket = f'{bench.scratch.name}/tmux'
        self.words = ['env', f'LC_ALL={locale}', *environment, program.binary(), 'top', '--socket', bench.path, *words]
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

    def raw(self):
        return self.tmux('capture-pane', '-p', '-e')

    def is_dead(self):
        return self.tmux('display', '-p', '#{pane_dead} #{pane_dead_status}').split()

    def wait(self, condition, what):
        try:
            wait_until(lambda: condition(self.screen()), WAIT_SECONDS, what)
        except tap.Failure as failure:
            raise tap.Failure(f'{failure}; the screen:\n' + '\n'.join(self.screen())) from None

    def wait_for(self, text):
        self.wait(lambda lines: any(text in line for line in lines), text)

    def wait_gone(self, text):
        self.wait(lambda lines: not any(text in line for line in lines), f'no {text}')


def entries(lines):
    """Lines of the table of flows: (octets, packets) by source port, in the order in which they stand."""
    result = {}
    for line in lines:
        words = line.split()
        if len(words) == 12 and words[5] == 'UDP' and words[6] == PEER:
            result[int(words[7])] = (words[2], words[3])
    return result


def shown(number):
    """As three digits and a unit."""
    return f'{number / 1000:.2f}k' if number >= 1000 else str(number)


def expected():
    return {port: (shown(octets), shown(packets)) for port, (octets, packets) in truth().items()}


def test_batch():
    with Bench() as bench, bench.daemon():
        bench.send()
        bench.wait_for_sent()
        octets, packets = total()
        flows = bench.rows('dst port 9')
        check_equal('flows', {int(key[2]): row[2:4] for key, row in flows.items()}, expected())
        check_equal('keys', set(flows), {('UDP', PEER, str(port), METER, '9', 'm0', 'in') for port in SENT})
        for tab, key in (('hosts', (PEER,)), ('ports', ('UDP/9',)), ('protocols', ('UDP',)), ('interfaces', ('m0', 'in'))):
            check_equal(tab, bench.rows('--tab', tab, 'dst port 9')[key][2:4], (shown(octets), shown(packets)))
        check_equal('drops', bench.rows('--tab', 'drops', 'dst port 9'), {})
        for by, order in (('octets', [1001, 1002, 1003]), ('packets', [1002, 1001, 1003])):
            # The row of a past period: what came in all time decides.
            wait_until(lambda: all(row[0] == '0' for row in bench.rows('dst port 9').values()), WAIT_SECONDS, 'quiet')
            check_equal(f'order by {by}', [int(key[2]) for key in bench.rows('--by', by, 'dst port 9')], order)
        rows = bench.rows('--keys', 'sport', 'dst port 9 and packets > 6 and not port 1001')
        check_equal('--keys', {key: row[2:4] for key, row in rows.items()}, {('1002',): expected()[1002]})
        check_equal('an address alone', set(bench.rows('--tab', 'ports', PEER)) - {('-',)}, {('UDP/9',)})
        check_equal('a flag', set(bench.rows('--keys', 'sport', '--from-port', '1003')), {('1003',)})
        status, stdout, _ = program.run('top', '--socket', bench.path, '--batch', '-n', '2', '--every', '300ms')
        check_equal('two pictures', (status, stdout.count('flowtally healthy')), (0, 2))


def test_mistakes():
    with Bench() as bench:
        status, _, stderr = bench.batch()
        check(status == NOT_RUNNING and 'no exporter runs' in stderr, f'{status}', stderr)
        for words in (('--tab', 'flow'), ('--by', 'weight'), ('--keys', 'src,colour'), ('port',), ('--every', '1ms'),
                      ('-n', '0')):
            status, _, stderr = bench.batch(*words)
            right = status == USAGE and stderr.startswith('flowtally: ') and stderr.count('\n') == 1
            check(right, f'{words}: {status}', stderr)
        with bench.daemon():
            status, stdout, stderr = program.run('top', '--socket', bench.path)
            check(status == USAGE and '--batch' in stderr and not stdout, f'no terminal: {status}', stderr)
            with Terminal(bench, environment=['TERM=dumb']) as terminal:
                wait_until(lambda: terminal.is_dead() == ['1', str(USAGE)], WAIT_SECONDS, 'the end')
                text = ' '.join(terminal.screen('-S', '-'))  # tmux moves it up for a line of its own
                check('TERM=dumb' in text and '--batch' in text, 'why:', text)


def test_screen():
    """Tabs, sorts, a filter, a detail, the end: what stands there is what was sent."""
    with Bench() as bench, bench.daemon():
        bench.send()
        with Terminal(bench, 'dst port 9') as terminal:
            terminal.wait(lambda lines: entries(lines) == expected(), 'what was sent')
            terminal.wait_for('flowtally healthy')
            terminal.wait_for('refused 0 pkt, lost 0 rec')
            terminal.wait(lambda lines: list(entries(lines)) == [1001, 1002, 1003], 'the order by octets')
            terminal.type('s')
            terminal.wait(lambda lines: list(entries(lines)) == [1002, 1001, 1003], 'the order by packets')
            for number, tab in enumerate(TABS, 1):
                terminal.type(str(number))
                terminal.wait_for(f'[{number} {tab}]')
            terminal.type('BTab', 'BTab')
            terminal.wait_for('UDP')
            terminal.wait_for('[4 protocols]')
            terminal.type('1', '/', 'C-u')
            terminal.type('-l', 'port 1003 an')
            terminal.type('Enter')
            terminal.wait_for("'an'")
            terminal.type('d', ' ', 'u', 'd', 'p', 'Enter')
            terminal.wait_for('filter: port 1003 and udp')
            terminal.wait(lambda lines: list(entries(lines)) == [1003], 'what matches')
            terminal.type('Enter')
            terminal.wait_for('octets 128')
            terminal.wait_for('sport 1003')
            terminal.wait_for('▁▁▁')
            terminal.type('b')
            terminal.wait_for('B/s, at most')
            terminal.type('q')
            wait_until(lambda: terminal.is_dead() == ['1', '0'], WAIT_SECONDS, 'the end')


def test_pause():
    with Bench() as bench, bench.daemon():
        bench.send()
        with Terminal(bench, 'dst port 9') as terminal:
            terminal.wait(lambda lines: entries(lines) == expected(), 'what was sent')
            terminal.type('Space')
            terminal.wait_for('paused')
            bench.send()
            time.sleep(3)
            check_equal('paused', entries(terminal.screen()), expected())
            terminal.type('Space')
            terminal.wait(lambda lines: entries(lines).get(1002, ['', ''])[1] == '38', 'twice as many')


def test_sizes():
    """Each line is in its place whatever the size: down to 20x5, and back."""
    with Bench() as bench, bench.daemon():
        bench.send()
        with Terminal(bench, 'dst port 9') as terminal:
            terminal.wait(lambda lines: entries(lines) == expected(), 'what was sent')
            for columns, lines in ((80, 24), (40, 10), (20, 5), (59, 7), (20, 30), (200, 5)):
                terminal.resize(columns, lines)
                terminal.wait(lambda screen: is_whole(screen, columns, lines), f'a picture of {columns}x{lines}')
            terminal.resize(120, 30)
            terminal.wait(lambda screen: entries(screen) == expected(), 'the first picture')
            check(is_whole(terminal.screen(), 120, 30), 'whole', *terminal.screen())


def is_whole(screen, columns, lines):
    """Head, losses where there is room, tabs, titles, entries, foot: each where it belongs, none twice, none too long."""
    below = 1 + (lines >= 8)
    if max(map(len, screen)) > columns or not screen[0].startswith('flowtally healthy'[:columns]):
        return False
    if lines >= 8 and not screen[1].startswith('refused 0 pkt'):
        return False
    tab, titles, *rows = screen[below:lines - 1]
    place = [line.split() for line in screen]
    numbers = [row.split()[0].replace('.', '').rstrip('kM') for row in rows if row.strip()]
    if len(numbers) != min(len(SENT), len(rows)) or not all(map(str.isdigit, numbers)):
        return False
    return (tab.lstrip().startswith('[1 flows]') and 'bit/s' in titles and
            sum('flowtally' in line for line in screen) == 1 and sum('bit/s' in words for words in place) == 1 and
            'q quit' in screen[lines - 1])


def test_plain_terminal():
    """Without UTF-8 no sign of it."""
    with Bench() as bench, bench.daemon():
        bench.send()
        with Terminal(bench, 'dst port 9', locale='C', environment=['TERM=vt100']) as terminal:
            terminal.wait(lambda lines: entries(lines) == expected(), 'what was sent')
            terminal.type('Enter')
            terminal.wait_for('packets 7')
            check('\n'.join(terminal.screen()).isascii(), 'ASCII', *terminal.screen())


def test_exporter_dies():
    with Bench() as bench:
        with bench.daemon() as first, Terminal(bench, 'dst port 9') as terminal:
            bench.send()
            terminal.wait(lambda lines: entries(lines) == expected(), 'what was sent')
            first.process.send_signal(signal.SIGKILL)
            first.process.wait()
            terminal.wait_for('no exporter runs at')
            check_equal('it goes on', terminal.is_dead()[0], '0')
            check_equal('what was there stays', entries(terminal.screen()), expected())
            with bench.daemon() as second:
                terminal.wait_gone('no exporter runs at')
                bench.send()
                terminal.wait(lambda lines: entries(lines) == expected(), 'what the next one saw')
                second.stop()
                terminal.wait_for('no exporter runs that')


def test_odd_names():
    """What steers a terminal is in no name that gets there."""
    with Bench() as bench:
        for words in (['down'], ['name', ODD], ['up']):
            bench.box.ip('meter', 'link', 'set', 'm0' if words != ['up'] else ODD, *words)
        with bench.daemon('--interface', 'x*'):
            with traffic.bound(bench.box, 'meter', socket.SOCK_DGRAM, METER, 9):
                traffic.udp(bench.box, 'peer', (PEER, 1001), (METER, 9), 5)
            wait_until(lambda: ('x?[31m', 'in') in bench.rows('--tab', 'interfaces', 'dst port 9'), WAIT_SECONDS, 'the name')
            with Terminal(bench, '--tab', 'interfaces', 'dst port 9') as terminal:
                terminal.wait_for('x?[31m')
                check('\x1b[31m' not in terminal.raw(), 'a colour', terminal.raw())


if __name__ == '__main__':
    tap.require('ip', 'tmux')
    tap.main([(name, function) for name, function in list(globals().items()) if name.startswith('test_')], tap.AT_ONCE)
