#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The end has an end, and readers that do not read stop nothing.

Whatever a collector, a reader or a service manager does not take: the exporter meters on, ends in the time that it
has, and its ledger says what became of each packet.
"""
import contextlib
import ctypes
import fcntl
import functools
import os
import platform
import pty
import signal
import socket
import subprocess
import time
from pathlib import Path

import collect
import ledger as ledgers
import program
import tap
import traffic
from lab import DIES_WITH_TEST, LIBC, Pair, wait_until
from tap import check, check_equal

METER, PEER = '10.76.0.1', '10.76.0.2'
QUICK = ['--interface', 'm0', '--drain-interval', '500ms', '--idle-timeout', '1s']
F_GETPIPE_SZ = 1032
WALL = 0x40000000  # of waitid(2): threads too
SYS_BPF, SYS_POLL = {'x86_64': (321, 7), 'aarch64': (280, 73)}[platform.machine()]
SLOW_FLOWS, RATE = 3000, 20  # 150 s, at this rate
ANYTHING = 0.9               # s, of a busy machine; twice that is less than any deadline here


class Bench(Pair):
    """With a collector that takes whatever comes."""

    addresses = METER, PEER

    def __enter__(self):
        super().__enter__()
        self.sink = traffic.bound(self.box, 'meter', socket.SOCK_DGRAM, '127.0.0.1', 4739)
        self.sent = 0
        return self

    def __exit__(self, *error):
        self.sink.close()
        super().__exit__(*error)

    def flows(self, count, first=20000):
        """So many of one datagram each, to a socket, so that nothing answers them."""
        with traffic.bound(self.box, 'meter', socket.SOCK_DGRAM, METER, 9):
            for port in range(first, first + count):
                traffic.udp(self.box, 'peer', (PEER, port), (METER, 9), 1)
        self.sent += count

    def start(self, *options, **how):
        return self.box.start('meter', *program.metering('run'), '--summary', 'json', '--drops', 'off', *QUICK, *options,
                              **how)


def ended(process, seconds, since):
    """Exit status, after `seconds` at most since that time."""
    try:
        return process.wait(max(0.1, since + seconds - time.monotonic()))
    except subprocess.TimeoutExpired:
        raise tap.Failure(f'still there {time.monotonic() - since:.1f} s after the signal') from None


def check_unsent(ledger, sent):
    """All that was sent is accounted, and exported or unsent."""
    check_equal('packets accounted', ledger['accounted']['packets'], sent)
    collector, = ledger['collectors']
    lost = {name: count['packets'] for name, count in collector['lost'].items() if count['packets']}
    check_equal('kinds of loss', set(lost), {'unsent'})
    check_equal('exported and unsent', collector['exported']['packets'] + lost['unsent'], sent)
    check(lost['unsent'] > sent / 2, f'unsent: {lost["unsent"]}')


def test_deadline(signals):
    """A rate that would take minutes; with one signal the time of the end, with two none at all."""
    timeout = '3s' if signals == 1 else '100s'
    with Bench() as bench, program.Daemon(bench.box, 'meter', *QUICK, '--stop-timeout', timeout, '--collector',
                                          f'ipfix://127.0.0.1:4739?rate={RATE}') as daemon:
        bench.flows(SLOW_FLOWS)
        since = time.monotonic()
        daemon.process.send_signal(signal.SIGTERM)
        if signals == 2:
            time.sleep(2)
            check(daemon.process.poll() is None, 'has ended after one signal already')
            daemon.process.send_signal(signal.SIGTERM)
        check_equal('exit status', ended(daemon.process, 3 + 2 * ANYTHING, since), 1)
        check_unsent(ledgers.proven(program.last_ledger(daemon.stderr())), bench.sent)
        why = '--stop-timeout' if signals == 1 else 'another signal'
        lines = [line for line in daemon.stderr().splitlines() if f'cut short by {why}' in line]
        check_equal('lines that say so', len(lines), 1)


def test_enough_time():
    """What can be sent in time is sent, and the end is a good one."""
    with Bench() as bench, program.Daemon(bench.box, 'meter', *QUICK, '--collector',
                                          'ipfix://127.0.0.1:4739?rate=100') as daemon:
        bench.flows(400)
        ledger = daemon.stop()
        check_equal('exported', ledger['collectors'][0]['exported']['packets'], bench.sent)


def test_replay(signals):
    """The same of a capture."""
    with Bench() as bench:
        path = f'{bench.directory}/many.pcap'
        with open(path, 'wb') as file:
            file.write(traffic.capture_of([traffic.udp_frame(10000 + i) for i in range(SLOW_FLOWS)]))
        with open(f'{bench.directory}/log', 'wb') as log:
            process = bench.box.start('meter', program.binary(), 'replay', path, '--summary', 'json', '--stop-timeout',
                                      '2s' if signals == 1 else '100s', '--collector',
                                      f'ipfix://127.0.0.1:4739?rate={RATE}', stderr=log)
        time.sleep(1.5)
        check(process.poll() is None, 'replay has ended')
        since = time.monotonic()
        process.send_signal(signal.SIGTERM)
        if signals == 2:
            time.sleep(0.5)
            process.send_signal(signal.SIGTERM)
        check_equal('exit status', ended(process, 2 + 2 * ANYTHING, since), 1)
        with open(f'{bench.directory}/log', encoding='utf-8') as log:
            ledger = ledgers.proven(program.last_ledger(log.read()))
        check_unsent(ledger, ledger['seen'])


def test_replay_waits():
    """For a capture that does not come: a signal ends that too."""
    with Bench() as bench, open(f'{bench.directory}/log', 'wb') as log:
        process = subprocess.Popen([*DIES_WITH_TEST, program.binary(), 'replay', '-', '--collector', 'json:-'],
                                   stdin=subprocess.PIPE, stdout=log, stderr=log)
        process.stdin.write(traffic.capture_of([traffic.udp_frame(10000)]))
        process.stdin.flush()
        time.sleep(1)
        since = time.monotonic()
        process.send_signal(signal.SIGINT)
        check_equal('exit status', ended(process, 5, since), 1)
        process.stdin.close()
        with open(log.name, encoding='utf-8') as text:
            check('interrupted after 1 packets' in text.read(), 'no word of the interruption')


def full_pipe():
    """A pipe that nobody reads, without room: (reader, writer)"""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    for chunk in bytes(4096), b'\0':
        try:
            while True:
                os.write(writer, chunk)
        except BlockingIOError:
            pass
    os.set_blocking(writer, True)
    return reader, writer


def read_rest(reader):
    os.set_blocking(reader, False)
    text = b''
    try:
        while True:
            some = os.read(reader, 1 << 20)
            if not some:
                break
            text += some
    except BlockingIOError:
        pass
    return text.replace(b'\0', b'').decode()


def test_full_stderr():
    """The exporter starts, meters and exports, and ends in its time; somebody who reads in the end gets the ledger."""
    with Bench() as bench:
        reader, writer = full_pipe()
        path = f'{bench.directory}/flows.json'
        process = bench.start('--stop-timeout', '6s', '--collector', f'json://{path}', '--collector',
                              'ipfix://127.0.0.1:4', stderr=writer)
        os.close(writer)
        wait_until(lambda: bench.box.link('meter', 'm0').get('xdp') or os.path.exists(path), program.READY_SECONDS,
                   'the collector')
        time.sleep(3)  # until it is attached
        for i in range(3):
            bench.flows(20, 20000 + 100 * i)
            for _ in range(50):  # each is a message
                process.send_signal(signal.SIGHUP)
                time.sleep(0.002)
        wait_until(lambda: len(collect.read_json(path)) == bench.sent, 15, f'{bench.sent} records')
        process.send_signal(signal.SIGTERM)
        since = time.monotonic()
        time.sleep(1)
        check(process.poll() is None, 'ends without its ledger, though there is time')
        text = ''
        while process.poll() is None and time.monotonic() < since + 8:
            text += read_rest(reader)
            time.sleep(0.01)
        text += read_rest(reader)
        check_equal('exit status', process.poll(), 0)
        check('ready' in text, 'no word of being ready')
        check_equal('packets', ledgers.proven(program.last_ledger(text))['accounted']['packets'], bench.sent)
        os.close(reader)


def thread_of(process, name):
    """The id of its thread of that name; None: there is none."""
    for task in Path(f'/proc/{process.pid}/task').iterdir():
        with contextlib.suppress(OSError):
            if (task / 'comm').read_text(encoding='ascii').strip() == name:
                return int(task.name)
    return None


class Halted:
    """with Halted(id): ...   A thread stands still, as in a system call that hangs; the others go on.

    A process has the id of its main thread.  `call`: the number of that system call; one that stood still anywhere could
    hold the lock of the heap, which no system call that hangs does.
    """

    SEIZE, INTERRUPT, DETACH, SYSCALL = 0x4206, 0x4207, 17, 24

    def __init__(self, pid, call=None):
        self.pid = pid
        self.call = call

    def in_call(self):
        return Path(f'/proc/{self.pid}/syscall').read_text(encoding='ascii').split()[0] == str(self.call)

    def trace(self, request):
        if LIBC.ptrace(request, self.pid, None, None) < 0:
            raise OSError(ctypes.get_errno(), 'ptrace')

    def __enter__(self):
        try:
            self.trace(self.SEIZE)
        except PermissionError as error:
            raise tap.Skip(f'programs may not be traced here: {error}') from None
        self.trace(self.INTERRUPT)
        os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WNOWAIT | WALL)
        while self.call and not self.in_call():
            self.trace(self.SYSCALL)  # to the next one, into it or out of it
            os.waitpid(self.pid, WALL)
        return self

    def reap(self):
        """The process has not ended before who traces a thread has seen the end of that."""
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, os.WNOHANG | WALL)

    def __exit__(self, *_):
        with contextlib.suppress(ProcessLookupError):
            self.trace(self.DETACH)


def test_hung():
    """The main thread hangs: the ledger has what is still in the kernel's banks, and the collectors' queues."""
    with Bench() as bench, program.Daemon(bench.box, 'meter', '--interface', 'm0', '--drain-interval', '1h', '--stop-timeout',
                                          '2s', '--collector', 'ipfix://127.0.0.1:4739') as daemon:
        bench.flows(50)
        with Halted(daemon.process.pid):
            since = time.monotonic()
            os.kill(daemon.process.pid, signal.SIGTERM)  # Popen would wait first, and take the halt for the end
            wait_until(lambda: '"collectors"' in daemon.stderr(), 2 + 2 * ANYTHING, 'the ledger')
        check_equal('exit status', ended(daemon.process, 4 + 2 * ANYTHING, since), 1)
        ledger = program.last_ledger(daemon.stderr())
        check_equal('seen', ledger['seen'], bench.sent)
        check_equal('in the banks', ledger['bank']['packets'], bench.sent)
        check_equal('balanced', ledger['balanced'], True)


def test_while_loading():
    """A signal while a reload loads other programs, which hangs: the end does not wait for that."""
    with Bench() as bench:
        path = bench.directory / 'f.yaml'
        path.write_text('bank-entries: 32768\n', encoding='ascii')
        with program.Daemon(bench.box, 'meter', *QUICK, '--stop-timeout', '8s', '--config', path, '--collector',
                            'ipfix://127.0.0.1:4739') as daemon:
            bench.flows(50)
            path.write_text('bank-entries: 65536\n', encoding='ascii')
            loader = wait_until(lambda: thread_of(daemon.process, 'flowtally-load'), 10, 'the thread that loads')
            with Halted(loader, SYS_BPF) as halted:
                check_equal('the thread that loads', thread_of(daemon.process, 'flowtally-load'), loader)
                since = time.monotonic()
                os.kill(daemon.process.pid, signal.SIGTERM)
                wait_until(lambda: halted.reap() or daemon.process.poll() is not None, 12, 'the end')
            check(time.monotonic() - since < 7, f'ends after {time.monotonic() - since:.1f} s')
            check_equal('exit status', daemon.process.returncode, 0)
            ledger = ledgers.proven(program.last_ledger(daemon.stderr()))
        check_equal('exported', ledger['collectors'][0]['exported']['packets'], bench.sent)


def test_hangup_twice():
    """The terminal is gone, and SIGHUP comes again while the hooks are detached: what they still see is exported."""
    with Bench() as bench:
        path = f'{bench.directory}/flows.json'
        master, slave = pty.openpty()
        with program.Daemon(bench.box, 'meter', *QUICK, '--stop-timeout', '30s', '--collector', f'json://{path}',
                            prefix=['env', '--default-signal=HUP'], stdout=slave) as daemon:
            os.close(slave)
            bench.flows(20)
            hooks = thread_of(daemon.process, 'flowtally-hooks')
            os.close(master)
            with Halted(hooks, SYS_POLL):
                for _ in range(3):
                    os.kill(daemon.process.pid, signal.SIGHUP)
                    time.sleep(0.7)
                bench.flows(20, 21000)
                time.sleep(1)
                check('"collectors"' not in daemon.stderr(), 'the end goes on though hooks are still there')
                check(daemon.process.poll() is None, 'has ended though hooks are still there')
            check_equal('exit status', ended(daemon.process, 20, time.monotonic()), 0)
            ledger = ledgers.proven(program.last_ledger(daemon.stderr()))
            check('cut short' not in daemon.stderr(), 'the end was cut short')
        check_equal('accounted', ledger['accounted']['packets'], bench.sent)
        check_equal('records', len(collect.read_json(path)), bench.sent)
        for side in 'ingress', 'egress':
            check_equal(f'left at {side}', bench.box.ip_tc('meter', 'filter', 'show', 'dev', 'm0', side).count('bpf'), 0)


def test_stderr_never_read():
    """Then there is no ledger, and an end all the same."""
    with Bench() as bench:
        reader, writer = full_pipe()
        path = f'{bench.directory}/flows.json'
        process = bench.start('--stop-timeout', '2s', '--collector', f'json://{path}', stderr=writer)
        check_equal('flags of the pipe, which the test has too', fcntl.fcntl(writer, fcntl.F_GETFL) & os.O_NONBLOCK, 0)
        os.close(writer)
        wait_until(lambda: os.path.exists(path), program.READY_SECONDS, 'the collector')
        time.sleep(4)  # until it meters, which it cannot say
        bench.flows(20)
        wait_until(lambda: len(collect.read_json(path)) == bench.sent, 10, f'{bench.sent} records')
        since = time.monotonic()
        process.send_signal(signal.SIGTERM)
        check_equal('exit status', ended(process, 2 + 2 * ANYTHING, since), 1)
        os.close(reader)


def test_full_output():
    """json:- into a pipe that nobody reads: the other collector and the end do not care."""
    with Bench() as bench:
        reader, writer = full_pipe()
        path = f'{bench.directory}/flows.json'
        with program.Daemon(bench.box, 'meter', *QUICK, '--collector', 'json:-', '--collector', f'json://{path}',
                            stdout=writer) as daemon:
            os.close(writer)
            bench.flows(20)
            wait_until(lambda: len(collect.read_json(path)) == bench.sent, 10, f'{bench.sent} records')
            ledger = daemon.stop()
        full, other = ledger['collectors']
        check_equal('unsent', full['lost']['unsent']['packets'], bench.sent)
        check_equal('exported', other['exported']['packets'], bench.sent)
        os.close(reader)


def test_manager():
    """A service manager whose socket is full is told later."""
    with Bench() as bench:
        path = f'{bench.directory}/notify'
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind(path)
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
                other.setblocking(False)
                try:
                    while True:
                        other.sendto(b'full', path)
                except BlockingIOError:
                    pass
            with program.Daemon(bench.box, 'meter', *QUICK, prefix=['env', f'NOTIFY_SOCKET={path}']) as daemon:
                manager.settimeout(5)
                while True:
                    state = manager.recv(100)
                    if state != b'full':
                        break
                check_equal('state', state, b'READY=1')
                bench.flows(5)
                daemon.stop()
                check_equal('state', manager.recv(100), b'STOPPING=1')


def test_watchdog():
    """A service manager that asks for it hears that the loop turns, and does not when it stands still."""
    with Bench() as bench:
        path = f'{bench.directory}/notify'
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind(path)
            manager.settimeout(10)
            prefix = ['env', f'NOTIFY_SOCKET={path}', 'WATCHDOG_USEC=1000000']
            with program.Daemon(bench.box, 'meter', *QUICK, prefix=prefix) as daemon:
                states = [manager.recv(100) for _ in range(4)]
                check_equal('states', sorted(set(states)), [b'READY=1', b'WATCHDOG=1'])
                with Halted(daemon.process.pid):
                    manager.settimeout(3)
                    said = []
                    with contextlib.suppress(TimeoutError):
                        while len(said) < 3:  # two may have been on their way
                            said.append(manager.recv(100))
                    check(len(said) < 3, f'a loop that stands still says {said}')
                daemon.stop()


def test_before_ready():
    """A signal while the programs are loaded ends it as one that comes later does."""
    for delay in 0.05, 0.2, 0.5:
        with Bench() as bench, open(f'{bench.directory}/log', 'w+', encoding='utf-8') as log:
            process = bench.start(stderr=log)
            time.sleep(delay)
            process.send_signal(signal.SIGTERM)
            status = ended(process, 20, time.monotonic())
            log.seek(0)
            text = log.read()
            if status == -signal.SIGTERM:
                check_equal(f'said after {delay} s, before it watches for signals', text, '')
                continue
            check_equal(f'exit status after {delay} s', status, 0)
            ledgers.proven(program.last_ledger(text))


def main():
    tap.require('ip', 'ethtool')
    program.binary()
    tap.main([
        ('a deadline', functools.partial(test_deadline, 1)),
        ('a second signal', functools.partial(test_deadline, 2)),
        ('time enough', test_enough_time),
        ('replay: a deadline', functools.partial(test_replay, 1)),
        ('replay: a second signal', functools.partial(test_replay, 2)),
        ('replay: no capture comes', test_replay_waits),
        ('stderr is full', test_full_stderr),
        ('the main thread hangs', test_hung),
        ('the loading of programs hangs', test_while_loading),
        ('another SIGHUP of a terminal that is gone', test_hangup_twice),
        ('stderr is never read', test_stderr_never_read),
        ('stdout is full', test_full_output),
        ('the service manager does not read', test_manager),
        ('the service manager watches', test_watchdog),
        ('a signal before ready', test_before_ready),
    ], tap.AT_ONCE)


if __name__ == '__main__':
    main()
