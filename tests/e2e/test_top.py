#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""`flowtally top` in a real terminal (tmux), and as text, against what was sent to a real exporter."""
import os
import signal
import socket
import time

import program
import tap
import terminal
import traffic
from lab import Pair, wait_until
from tap import check, check_equal
from terminal import WAIT_SECONDS

METER, PEER = '10.87.0.1', '10.87.0.2'
QUICK = '--drain-interval', '200ms'
NOT_RUNNING, USAGE = 2, 2
HEADERS = 28  # octets of IPv4 and UDP
SENT = {1001: (7, 600), 1002: (19, 10), 1003: (1, 100)}  # datagrams and octets of each, by source port
TABS = 'flows', 'hosts', 'ports', 'protocols', 'drops', 'interfaces'
ODD = 'x\x1b[31m'  # a name that the kernel takes


def truth():
    """Octets and packets by source port."""
    return {port: (count * (size + HEADERS), count) for port, (count, size) in SENT.items()}


def total():
    return tuple(sum(pair) for pair in zip(*truth().values()))


class Bench(Pair):
    addresses = METER, PEER

    def __enter__(self):
        super().__enter__()
        self.path = f'{self.directory}/socket'
        return self

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


class Top(terminal.Terminal):
    def __init__(self, bench, *words, **options):
        super().__init__(bench.directory, [program.binary(), 'top', '--socket', bench.path, *words], **options)


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


def all_sent(lines):
    """A condition for a screen."""
    return entries(lines) == expected()


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
        for words, tab in ((['--verdict', 'DROPPED'], 'drops'), (['drop class policy or port 9'], 'drops'),
                           (['not drop'], 'flows'), (['--not', '--verdict', 'DROPPED'], 'flows'),
                           (['--verdict', 'FORWARDED'], 'flows')):
            text = bench.batch(*words)[1]
            check(f' {tab}]' in text, f'the tab of {words}:', text)
        check('--tab drops has them' in bench.batch('--tab', 'hosts', 'drop')[2], 'a tab without drops')
        check_equal('by bytes', bench.rows('--by', 'bytes', 'dst port 9').keys(), bench.rows('dst port 9').keys())
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
        for words in (('--tab', 'flow'), ('--by', 'weight'), ('--keys', 'src,colour'), ('--keys', 'src,src'),
                      ('port',), ('--every', '1ms'), ('-n', '0')):
            status, _, stderr = bench.batch(*words)
            right = status == USAGE and stderr.startswith('flowtally: ') and stderr.count('\n') == 1
            check(right, f'{words}: {status}', stderr)
        with bench.daemon():
            status, stdout, stderr = program.run('top', '--socket', bench.path)
            check(status == USAGE and '--batch' in stderr and not stdout, f'no terminal: {status}', stderr)
            with Top(bench, environment=['TERM=dumb']) as top:
                wait_until(lambda: top.is_dead() == ['1', str(USAGE)], WAIT_SECONDS, 'the end')
                text = ' '.join(top.screen('-S', '-'))  # tmux moves it up for a line of its own
                check('TERM=dumb' in text and '--batch' in text, 'why:', text)


def test_screen():
    """Tabs, sorts, a filter, a detail, the end: what stands there is what was sent."""
    with Bench() as bench, bench.daemon():
        bench.send()
        with Top(bench, 'dst port 9') as top:
            top.wait(all_sent, 'what was sent')
            top.wait_for('flowtally healthy')
            top.wait_for('refused 0 pkt, lost 0 rec')
            top.wait(lambda lines: list(entries(lines)) == [1001, 1002, 1003], 'the order by octets')
            top.type('s')
            top.wait(lambda lines: list(entries(lines)) == [1002, 1001, 1003], 'the order by packets')
            for number, tab in enumerate(TABS, 1):
                top.type(str(number))
                top.wait_for(f'[{number} {tab}]')
            top.type('BTab', 'BTab')
            top.wait_for('UDP')
            top.wait_for('[4 protocols]')
            top.type('1', '/', 'C-u')
            top.type('-l', 'port 1003 an')
            top.type('Enter')
            top.wait_for("'an'")
            top.type('d', ' ', 'u', 'd', 'p', 'Enter')
            top.wait_for('filter: port 1003 and udp')
            top.wait(lambda lines: list(entries(lines)) == [1003], 'what matches')
            top.type('Enter')
            top.wait_for('octets 128')
            top.wait_for('sport 1003')
            top.wait_for('▁▁▁')
            top.type('b')
            top.wait_for('B/s, at most')
            top.type('q')
            top.wait_dead()


def test_pause():
    with Bench() as bench, bench.daemon():
        bench.send()
        with Top(bench, 'dst port 9') as top:
            top.wait(all_sent, 'what was sent')
            top.type('Space')
            top.wait_for('paused')
            bench.send()
            time.sleep(3)
            check_equal('paused', entries(top.screen()), expected())
            top.type('Space')
            top.wait(lambda lines: entries(lines).get(1002, ['', ''])[1] == '38', 'twice as many')


def test_sizes():
    """Each line is in its place whatever the size: down to 20x5, and back."""
    with Bench() as bench, bench.daemon():
        bench.send()
        with Top(bench, 'dst port 9') as top:
            top.wait(all_sent, 'what was sent')
            top.check_sizes(is_whole)
            top.resize(120, 30)
            top.wait(lambda screen: entries(screen) == expected(), 'the first picture')
            check(is_whole(top.screen(), 120, 30), 'whole', *top.screen())


def is_whole(screen, columns, lines):
    """Head, losses where there is room, tabs, titles, entries, foot: each where it belongs, none twice, none too long."""
    below = 1 + (lines >= 8)
    if not terminal.is_framed(screen, columns, lines, '1 flows') or not screen[0].startswith('flowtally healthy'[:columns]):
        return False
    if lines >= 8 and not screen[1].startswith('refused 0 pkt'):
        return False
    rows = screen[below + 2:lines - 1]
    numbers = [row.split()[0].replace('.', '').rstrip('kM') for row in rows if row.strip()]
    if len(numbers) != min(len(SENT), len(rows)) or not all(map(str.isdigit, numbers)):
        return False
    return sum('flowtally' in line for line in screen) == 1


def test_jobs():
    """What its shell stops leaves the terminal to it; in the background it is stopped or unseen; in front it is whole again."""
    with Bench() as bench, bench.daemon():
        bench.send()
        words = [program.binary(), 'top', '--socket', bench.path, 'dst port 9']
        with terminal.Shell(bench.directory, words) as shell:
            shell.wait(all_sent, 'what was sent')
            shell.type('C-z')
            shell.wait_for('Stopped')
            shell.prompted()
            check_equal('modes of the terminal', shell.modes(), shell.at_prompt)
            job = terminal.child_of(shell.pid())
            shell.say('bg')
            wait_until(lambda: terminal.state_of(job) == 'T', WAIT_SECONDS, 'that it is stopped again')
            shell.say('fg')
            shell.wait(lambda lines: is_whole(lines, 120, 30) and all_sent(lines), 'the first picture')
            shell.to_background(may_read=True)
            shell.check_unseen(job)
            shell.say('fg')
            shell.wait(lambda lines: is_whole(lines, 120, 30) and all_sent(lines), 'the first picture')
            shell.type('q')
            shell.prompted()
            check_equal('modes of the terminal', shell.modes(), shell.at_prompt)
            shell.say(shell.command)
            shell.wait(all_sent, 'what was sent')
            job = shell.to_background(may_read=True)
            shell.say('kill %1; wait; clear')
            wait_until(lambda: not os.path.exists(f'/proc/{job}'), WAIT_SECONDS, 'the end')
            shell.prompted()
            check_equal('modes of the terminal', shell.modes(), shell.at_prompt)


def test_plain_terminal():
    """Without UTF-8 no sign of it."""
    with Bench() as bench, bench.daemon():
        bench.send()
        with Top(bench, 'dst port 9', locale='C', environment=['TERM=vt100']) as top:
            top.wait(all_sent, 'what was sent')
            top.type('Enter')
            top.wait_for('packets 7')
            check('\n'.join(top.screen()).isascii(), 'ASCII', *top.screen())


def test_exporter_dies():
    with Bench() as bench:
        with bench.daemon() as first, Top(bench, 'dst port 9') as top:
            bench.send()
            top.wait(all_sent, 'what was sent')
            first.process.send_signal(signal.SIGKILL)
            first.process.wait()
            top.wait_for('no exporter runs at')
            check_equal('it goes on', top.is_dead()[0], '0')
            check_equal('what was there stays', entries(top.screen()), expected())
            with bench.daemon() as second:
                top.wait_gone('no exporter runs at')
                bench.send()
                top.wait(lambda lines: entries(lines) == expected(), 'what the next one saw')
                second.stop()
                top.wait_for('no exporter runs that')


def test_odd_names():
    """What steers a terminal is in no name that gets there."""
    with Bench() as bench:
        for words in (['down'], ['name', ODD], ['up']):
            bench.box.ip('meter', 'link', 'set', 'm0' if words != ['up'] else ODD, *words)
        with bench.daemon('--interface', 'x*'):
            with traffic.bound(bench.box, 'meter', socket.SOCK_DGRAM, METER, 9):
                traffic.udp(bench.box, 'peer', (PEER, 1001), (METER, 9), 5)
            wait_until(lambda: ('x?[31m', 'in') in bench.rows('--tab', 'interfaces', 'dst port 9'), WAIT_SECONDS, 'the name')
            with Top(bench, '--tab', 'interfaces', 'dst port 9') as top:
                top.wait_for('x?[31m')
                check('\x1b[31m' not in top.raw(), 'a colour', top.raw())


if __name__ == '__main__':
    tap.require('ip', 'tmux')
    tap.main(tap.cases(globals()), tap.AT_ONCE)
