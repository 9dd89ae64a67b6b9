#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A table of systems that are sick on purpose: `status` and `doctor` name each and its fix, and the fix mends it.

Three kinds of rows.  Of a running exporter status names the sickness first, and its fix; where it cannot know, the row says
why.  Where no exporter can run, `run` says what is wrong, and status that none runs.
"""
import contextlib
import functools
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Callable, NamedTuple

import program
import tap
import test_doctor as ill
import traffic
from lab import bpf_object, scratch, wait_until
from tap import check, check_equal

METER, PEER, ELSEWHERE, FAR = '10.0.0.1', ill.COLLECTOR, '192.0.2.20', 'collector.example'
HEALTHY, DEGRADED, NOT_RUNNING = 0, 1, 2
WAIT_SECONDS, WELL_SECONDS = 30, 60
QUICK = {'drain-interval': '200ms', 'metrics-listen': 'off'}
IN_FRONT = '1,6 0 0 0'  # one instruction: return TC_ACT_OK
UDP, TCP = socket.SOCK_DGRAM, socket.SOCK_STREAM


class Row(NamedTuple):
    """One sick system.

    status: words of the first line of status; None: it cannot know (`why`); fix: words of the line behind it
    doctor: (id, level, subject, words, what its fix begins with); None: only what the exporter itself says of it
    options: of `run`; asked: of `doctor`; settings: of `run`, by name; prefix: of both
    joined: the doctor looks at the mounts of the exporter, rather than at its own alike; apart: it alone has the prefix, and
    is outside, for inside there is no such thing
    lingers: when it is mended, its loss is told for one to two minutes more
    make: makes the system sick while the exporter runs; repeat: likewise, again and again; before: ahead of the start
    mend: carries out the fix, given what was printed; None: what is told happened, and is told for one to two minutes
    """
    name: str
    status: str
    fix: str = ''
    doctor: tuple = None
    why: str = ''
    options: tuple = ()
    asked: tuple = ()
    settings: dict = {}
    prefix: tuple = ()
    before: Callable = lambda case: None
    make: Callable = lambda case: None
    repeat: Callable = lambda case: None
    mend: Callable = None
    drops: str = 'off'
    joined: bool = False
    apart: bool = False
    lingers: bool = False


class Case:
    """The system of one row: a meter and a peer, a folder, an exporter in the meter."""

    def __init__(self, row, stack):
        self.row, self.stack = row, stack
        self.directory = Path(stack.enter_context(ill.private_folder()))  # in which a control socket may be
        self.socket = self.directory / 'run' / 'socket'
        self.box = stack.enter_context(ill.network())
        self.port = 20000
        self.daemon = self.said = self.report = None

    def filled(self, words):
        return [str(word).replace('DIRECTORY', str(self.directory)) for word in words]

    def start(self, **settings):
        """An exporter, in the place of the one before."""
        if self.daemon:
            self.daemon.stop()
        row = self.row
        interface = () if {'--interface', '--config'} & set(row.options) else ('--interface', 'm0')
        to = () if {'--collector', '--config'} & set(row.options) else ('--collector', 'file:///dev/null')
        settings = {'sandbox-folder': self.directory, **QUICK, **row.settings, **settings}
        self.daemon = self.stack.enter_context(program.Daemon(
            self.box, 'meter', *interface, *to, '--control-socket', self.socket, *self.filled(row.options),
            *(f'--{key}={value}' for key, value in settings.items()), prefix=() if row.apart else self.filled(row.prefix),
            drops=row.drops))

    def status(self, *words):
        return program.run('status', '--socket', self.socket, *words, timeout=2 * WELL_SECONDS)

    def doctor(self):
        """Beside the exporter, in its namespaces."""
        prefix = self.filled(self.row.prefix)
        if self.row.joined:
            prefix = ['nsenter', '-t', str(self.pid()), '-n', '-m']
        elif not self.row.apart:
            prefix = self.box.inside('meter', *prefix)
        return ill.doctor(*self.filled(self.row.asked), '--socket', str(self.socket), prefix=prefix)

    def pid(self):
        """The exporter itself, behind `ip netns exec` and the prefix, which all exec()."""
        return self.daemon.process.pid

    def ip(self, *words):
        self.box.ip('meter', *words)

    def sh(self, line):
        self.box.run('meter', 'sh', '-ec', line)

    def flows(self, count):
        """New flows of one packet each, which arrive."""
        with traffic.bound(self.box, 'peer', UDP, PEER, 9) as sock, traffic.bound(self.box, 'meter', UDP, METER, 9):
            for port in range(self.port, self.port + count):
                sock.sendto(b'x', (METER, port % 40000 + 20000))
        self.port += count

    def send(self):
        """Some packets that leave."""
        traffic.udp(self.box, 'meter', (METER, 1001), (PEER, 9), 5)

    def listen(self, kind=UDP, address=PEER):
        """A collector that takes what comes, until the end."""
        with self.box.entered('peer'):
            server = socket.socket(socket.AF_INET, kind)
        self.stack.callback(server.close)
        server.bind((address, 4739))
        if kind == TCP:
            server.listen()

    def follow_status(self):
        """Carries out what status printed as a setting: a new exporter with it, and what made the one before sick again."""
        key, value = re.fullmatch(r'([a-z-]+): (\S+)', self.said).groups()
        self.start(**{key: value})
        check_equal('status --wait', self.status('--wait=30s')[0], HEALTHY)
        self.row.make(self)
        time.sleep(2)

    def follow_doctor(self):
        """Carries out the command that the doctor printed for the row's finding."""
        identity, level = self.row.doctor[:2]
        fixes = [fix for one in ill.found(self.report, identity) if one['level'] == level for fix in one['fix']]
        self.sh(next(fix for fix in fixes if fix.startswith(self.row.doctor[4])))


# --- What makes sick, and what mends.

def add_link(case, name='lost0'):
    case.ip('link', 'add', name, 'up', 'type', 'bridge')


def delete_link(case):
    case.ip('link', 'delete', 'lost0')


def route_elsewhere(case):
    case.box.ip('peer', 'address', 'add', f'{ELSEWHERE}/32', 'dev', 'p0')
    case.listen(address=ELSEWHERE)
    case.ip('route', 'add', ELSEWHERE, 'via', PEER)


def listen_and_narrow(case, *mtu):
    case.listen()
    case.ip('route', 'add', f'{PEER}/32', 'dev', 'm0', 'mtu', *(mtu or ['300']))


def listen_and_refuse(case):
    case.listen()
    case.sh('nft "add table inet t; add chain inet t c { type filter hook output priority 0; }; '
            'add rule inet t c udp dport 4739 drop"')


def in_front(case):
    case.box.ip_tc('meter', 'filter', 'add', 'dev', 'm0', 'egress', 'protocol', 'ip', 'prio', '1', 'bpf', 'da', 'bytecode',
                   IN_FRONT)


def foreign_xdp(case):
    code = case.stack.enter_context(bpf_object(ill.XDP_SOURCE))
    case.ip('link', 'set', 'dev', 'm0', 'xdpdrv', 'obj', code, 'sec', 'xdp')


def add_name(case):
    case.listen()
    (case.directory / 'hosts').write_text(f'{PEER} {FAR}\n', encoding='ascii')


def configure(case, text='interfaces: [m0]\n', again=False):
    path = case.directory / 'f.yaml'
    path.write_text(text, encoding='ascii')
    path.chmod(0o644)
    if again:
        case.daemon.process.send_signal(signal.SIGHUP)


def read_pipe(case):
    """Somebody who reads, and can be stopped."""
    path = case.directory / 'pipe'
    if not path.exists():
        os.mkfifo(path)
    case.reader = case.box.start('meter', 'sh', '-c', f'exec cat {path} >/dev/null')


def slowly(case):
    """A bank passes its high-water mark, and is read before it is full."""
    for _ in range(36):
        case.flows(100)
        time.sleep(0.002)


def overload(case):
    """More new flows than a bank takes, while the exporter has no time for them."""
    os.kill(case.pid(), signal.SIGSTOP)
    case.flows(6000)
    os.kill(case.pid(), signal.SIGCONT)


def storm(case):
    """Datagrams that nobody takes: the kernel drops each, as far as its limit of ICMP lets it answer."""
    with traffic.bound(case.box, 'peer', UDP, PEER, 9) as sock:
        for port in range(500):
            sock.sendto(b'x', (METER, 30000 + port))


def set_clock(case, seconds=0):
    new = case.directory / 'new'
    new.write_text(f'{seconds}\n', encoding='ascii')
    new.rename(case.directory / 'offset')


def bridge(case):
    case.ip('link', 'add', 'br0', 'type', 'bridge')
    case.ip('link', 'set', 'br0', 'up')
    case.ip('link', 'set', 'm0', 'master', 'br0')


def full_disk(case):
    case.flows(50)
    case.sh(f'nsenter -t {case.pid()} -m sh -c "cat /dev/zero >{case.directory}/small/rest" 2>/dev/null || :')


def make_room(case):
    case.sh(f'nsenter -t {case.pid()} -m mount -o remount,size=300m {case.directory}/small')


SMALL_DISK = ill.mounted('mkdir -p DIRECTORY/small; mount -t tmpfs -o size=110m none DIRECTORY/small')
OWN_HOSTS = ill.mounted('mount --bind DIRECTORY/hosts /etc/hosts')
SHIM = ['env', *(f'LD_PRELOAD={os.path.abspath(shim)}' for shim in sys.argv[2:3]), 'FLOWTALLY_CLOCK_SHIM=DIRECTORY/offset']


def collector(url):
    return ('--collector', url)


TO_UDP, TO_TCP = f'ipfix://{PEER}:4739', f'ipfix+tcp://{PEER}:4739?retry=1'
NEVER = f'ipfix://{ELSEWHERE}:4739'
NAMED = f'ipfix://{FAR}:4739'
PIPE = 'json://DIRECTORY/pipe'
ON_SMALL = 'file://DIRECTORY/small/flows.ipfix'

# Those that take longest come first.
RUNNING = [
    Row('banks that fill early', r'the banks fill before it is time: \d+ of \d+ readings', 'bank-entries: ',
        settings={'bank-entries': 8192, 'drain-interval': '10s'}, make=lambda case: None,
        repeat=lambda case: case.flows(900), mend=Case.follow_status),
    Row('a filter in front of ours', "interface 'm0': its counters say .* the egress hook saw 0: .*in front of the hook",
        'TC_ACT_UNSPEC', settings={'mask': 'tcx'}, make=in_front, repeat=Case.send,
        mend=lambda case: (case.box.ip_tc('meter', 'filter', 'del', 'dev', 'm0', 'egress', 'prio', '1'))),
    Row('a dead collector, over UDP', f'collector {re.escape(TO_UDP)} cannot be reached: ICMP', 'start the collector',
        ('collector-answer', 'FAIL', TO_UDP, 'is closed', f'ssh {PEER} ss -lunp'), options=collector(TO_UDP),
        asked=collector(TO_UDP), mend=Case.listen),
    Row('a name without an address', f'collector {re.escape(NAMED)} has no address', 'getent ahosts',
        ('collector-name', 'FAIL', NAMED, 'has no address', 'getent ahosts'), options=collector(NAMED), asked=collector(NAMED),
        prefix=OWN_HOSTS, before=lambda case: (case.directory / 'hosts').write_text('', encoding='ascii'), mend=add_name),
    Row('an exporter that hangs', 'the exporter does not answer: is the machine overloaded', '',
        ('exporter', 'WARN', None, 'does not answer', 'journalctl -u flowtally'),
        make=lambda case: case.daemon.process.send_signal(signal.SIGSTOP),
        mend=lambda case: case.daemon.process.send_signal(signal.SIGCONT)),
    Row('a dead collector, over TCP', f'collector {re.escape(TO_TCP)} has refused connections', 'start the collector',
        ('collector-answer', 'FAIL', TO_TCP, 'nobody listens', f'ssh {PEER} ss -ltnp'), options=collector(TO_TCP),
        asked=collector(TO_TCP), mend=functools.partial(Case.listen, kind=TCP)),
    Row('no route to a collector', f'collector {re.escape(NEVER)} cannot be sent to: Network is unreachable', 'ip route get',
        ('collector-route', 'FAIL', NEVER, 'unreachable', 'ip route get'), options=collector(NEVER), asked=collector(NEVER),
        mend=route_elsewhere),
    Row('a path that has no room for templates', f'collector {re.escape(TO_UDP)} cannot be sent to: Message too long: the MTU',
        'template: minimal', ('collector-mtu', 'FAIL', TO_UDP, '72 octets', 'tracepath'), options=collector(TO_UDP),
        asked=collector(TO_UDP), before=lambda case: listen_and_narrow(case, 'lock', '100'), repeat=lambda case: case.flows(1),
        mend=lambda case: case.ip('route', 'del', f'{PEER}/32', 'dev', 'm0'), lingers=True),
    Row('a packet filter of this host', f'collector {re.escape(TO_UDP)} cannot be sent to: Operation not permitted', 'nft list',
        ('collector-answer', 'FAIL', TO_UDP, 'a packet filter of this host refuses', 'nft list ruleset'),
        options=collector(TO_UDP),
        asked=collector(TO_UDP), before=listen_and_refuse, mend=lambda case: case.sh('nft delete table inet t')),
    Row('a full disk', 'collector file:///.* cannot be written: No space left', 'df /',
        ('collector-file', 'WARN', None, '0.0 MB are free', 'df -h'), options=collector(ON_SMALL), asked=collector(ON_SMALL),
        settings={'idle-timeout': '500ms'}, prefix=SMALL_DISK, joined=True, make=full_disk, repeat=lambda case: case.flows(20),
        mend=make_room, lingers=True),
    Row('a pipe whose reader has gone', 'collector json:///.* cannot be written: ', 'start who reads it',
        options=collector(PIPE), settings={'idle-timeout': '500ms'}, before=read_pipe, make=lambda case: case.reader.kill(),
        repeat=lambda case: case.flows(20), mend=read_pipe, lingers=True),
    Row('an interface that is not there', "interface 'lost0' is not metered: ", 'tried again by itself',
        ('interface', 'FAIL', 'lost0', 'no such interface', 'ip -br link'),
        options=('--interface', 'm0', '--interface', 'lost0'), asked=('--interface', 'lost0'), mend=add_link),
    Row('an interface that vanishes', "interface 'lost0' is not metered: ", 'tried again by itself',
        ('interface', 'FAIL', 'lost0', 'no such interface', 'ip -br link'),
        options=('--interface', 'm0', '--interface', 'lost0'), asked=('--interface', 'lost0'), before=add_link,
        make=delete_link, mend=add_link),
    Row('a pattern that nothing matches', 'no interface matches', 'ip -br link',
        ('interface', 'WARN', 'lost*', 'no interface matches', 'ip -br link'), options=('--interface', 'lost*'),
        asked=('--interface', 'lost*'), mend=add_link),
    Row('foreign XDP', "interface 'm0' is metered in one direction of two: .*held by program id", 'mend that',
        ('interface-foreign', 'WARN', 'm0', r'\(foreign_xdp\)', 'ip link set dev m0 xdp off'), options=('--interface',
        'm*'), settings={'ingress': 'xdp'},
        asked=('--interface', 'm0'), before=foreign_xdp, mend=Case.follow_doctor),
    Row('an `ingress` qdisc in our place', "interface 'm0' is metered in one direction of two: |interface 'm0' is not metered",
        'mend that', ('interface-hook', 'FAIL', 'm0', '`ingress` qdisc', 'tc qdisc del dev m0 ingress'),
        options=('--config', 'DIRECTORY/f.yaml'), asked=('--config', 'DIRECTORY/f.yaml'),
        before=lambda case: (configure(case, 'interfaces: [m*]\nmask: tcx\ncollectors: [file:///dev/null]\n'),
                             case.box.ip_tc('meter', 'qdisc', 'add', 'dev', 'm0', 'ingress')), mend=Case.follow_doctor),
    Row('a full bank', 'packets of late are in no record: bank_full', 'bank-entries: ',
        settings={'bank-entries': 4096}, make=overload, mend=Case.follow_status),
    Row('a full cache', r'the cache is full: \d+ records of late came early', 'cache-entries: ',
        settings={'cache-entries': 1024}, make=lambda case: case.flows(1800), mend=Case.follow_status),
    Row('drops beyond the budget', 'packets that were dropped of late are in no record: budget', 'raise `drops-budget`',
        settings={'drops-budget': 1}, drops='on', repeat=storm,
        mend=lambda case: (case.start(**{'drops-budget': 'off'}), storm(case))),
    Row('a mistake in the file', 'the configuration was not taken at the last reload', 'flowtally config check',
        ('configuration', 'FAIL', None, 'colectors', 'flowtally config check'), options=('--config', 'DIRECTORY/f.yaml'),
        asked=('--config', 'DIRECTORY/f.yaml'),
        before=lambda case: configure(case, 'interfaces: [m0]\ncollectors: [file:///dev/null]\n'),
        make=lambda case: configure(case, 'interfaces: [m0]\ncolectors: []\n', again=True),
        mend=lambda case: configure(case, 'interfaces: [m0]\ncollectors: [file:///dev/null]\n', again=True)),
    Row('a clock that is set', 'the wall clock was set forward by 3[56]', 'timedatectl', prefix=SHIM, before=set_clock,
        make=lambda case: set_clock(case, 3600), mend=set_clock),
    Row('a clock that is set back', 'the wall clock was set back by 3[56]', 'timedatectl', prefix=SHIM, before=set_clock,
        make=lambda case: set_clock(case, -3600), mend=set_clock),
]

# Of these an exporter does all that it is to do: status has nothing to say.
UNKNOWN = [Row(name, None, why=why, doctor=ill.PROCESSES[name][1], prefix=ill.PROCESSES[name][0], asked=('--interface', 'lo'),
               apart=name == 'JIT off')
           for name, why in (
               ('no BTF', 'flows are metered without it, and drops were not asked for'),
               ('JIT off', 'the programs run, slower'),
               ('BPF for everybody', 'it is a danger to the machine, not to the exporter'),
               ('lockdown', 'what the programs may read is tried at their load'),
               ('a bad clock source', 'times are right, and cost more'),
               ('an old kernel', 'what is tried at the start works'),
               ('memlock', 'the limit is asked for at the start alone'))]
UNKNOWN += [
    Row('a narrow path to a collector', None, why='messages are as short as the path takes, while they can be',
        doctor=('collector-mtu', 'WARN', TO_UDP, '272 octets', 'tracepath'), options=collector(TO_UDP), asked=collector(TO_UDP),
        before=listen_and_narrow, mend=lambda case: case.ip('route', 'del', f'{PEER}/32', 'dev', 'm0')),
    Row('a small MTU', None, why='packets pass', doctor=('interface-mtu', 'WARN', 'm0', '1000 octets',
        'ip link set dev m0 mtu'),
        asked=('--interface', 'm0'), make=lambda case: case.ip('link', 'set', 'm0', 'mtu', '1000'), mend=Case.follow_doctor),
    Row('an interface that is down', None, why='it is metered, and has nothing to meter',
        doctor=('interface', 'WARN', 'm0', 'down', 'ip link set dev m0 up'), asked=('--interface', 'm0'),
        make=lambda case: case.ip('link', 'set', 'm0', 'down'), mend=Case.follow_doctor),
    Row('a bridge and its port', None, why='both are metered, as is asked for',
        doctor=('interface-stack', 'WARN', 'm0', "bridge 'br0'", 'interfaces: [br0]'),
        options=('--interface', 'm0', '--interface', 'br0'), asked=('--interface', 'm0', '--interface', 'br0'), before=bridge),
]

# No exporter runs.  make: ahead of it; status: words of what `run` says.
STOPPED = [
    Row('no BTF, and drops asked for', 'cannot trace drops: the kernel gives no BTF .*provides it', drops='on',
        doctor=ill.PROCESSES['no BTF'][1], prefix=ill.PROCESSES['no BTF'][0], asked=('--interface', 'lo')),
    *(Row(name, 'CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON are needed, run as root or grant them',
          doctor=ill.PROCESSES[name][1], asked=('--interface', 'lo'),
          prefix=[word.replace('-perfmon', '-perfmon,-sys_admin') for word in ill.PROCESSES[name][0]])
      for name in ('a missing capability', 'two missing capabilities', 'seccomp')),
    Row('few descriptors', 'too many open files, raise the limit: LimitNOFILE', doctor=ill.PROCESSES['few descriptors'][1],
        prefix=ill.PROCESSES['few descriptors'][0], asked=('--interface', 'lo')),
    Row('no folder for a file', "cannot open collector 'file:///nonexistent/a': No such file",
        doctor=('collector-file', 'FAIL', 'file:///nonexistent/a', 'No such file', 'install -d'),
        options=collector('file:///nonexistent/a'), asked=collector('file:///nonexistent/a')),
    Row('a file with mistakes', 'colectors', doctor=('configuration', 'FAIL', None, 'colectors', 'flowtally config check'),
        options=('--config', 'DIRECTORY/f.yaml'), asked=('--config', 'DIRECTORY/f.yaml'),
        make=functools.partial(configure, text='interfaces: [m0]\ncolectors: []\n')),
]


# --- Judging.

def check_doctor(case, row, expected):
    """The finding of its own, and what the exporter says."""
    case.report = report = case.doctor()
    if expected:
        identity, level, subject, text, fix = expected
        if subject is None:
            subject = next((one.get('subject', '') for one in ill.found(report, identity) if one['level'] == level), '')
        ill.check_found(report, identity, level, subject, text, fix)
    if row.status and case.said:
        ill.check_found(report, 'exporter', 'WARN', str(case.socket), row.status, case.said)


def first_lines(case, row):
    """What status prints first, if that is what the row says; false: not yet."""
    row.repeat(case)
    status, out, err = case.status()
    lines = (out or err).splitlines()
    case.seen = lines
    if status != DEGRADED or not re.search(row.status, lines[0]):
        return False
    return lines


def check_mended(case, row):
    """All is well, or of what `lingers`, all but what was lost."""
    def mended():
        row.repeat(case)
        status, out, _ = case.status()
        case.seen = out.splitlines()
        return not re.search(row.status, out) if row.lingers else status == HEALTHY
    try:
        wait_until(mended, WELL_SECONDS, 'its end')
    except tap.Failure as failure:
        raise tap.Failure('\n'.join([str(failure), *case.seen[:6]])) from None
    report = case.doctor()
    for identity in {*(() if row.lingers else ('exporter',)), *(row.doctor[:1] if row.doctor else ())}:
        ill.check_fine(report, identity)


def test_running(row):
    with contextlib.ExitStack() as stack:
        case = Case(row, stack)
        row.before(case)
        case.start()
        if row.make.__name__ != '<lambda>' or row.before.__name__ == '<lambda>':
            case.status('--wait=2s')
        row.make(case)
        try:
            lines = wait_until(lambda: first_lines(case, row), WAIT_SECONDS, f'/{row.status}/')
        except tap.Failure as failure:
            raise tap.Failure('\n'.join([str(failure), *case.seen[:6]])) from None
        if row.fix:
            check(lines[0].startswith('! ') and lines[1].startswith('  fix: '), 'first lines:', *lines[:3])
            case.said = lines[1].removeprefix('  fix: ')
            check(row.fix in case.said, f'fix: expected {row.fix!r}, got {case.said!r}')
        check_doctor(case, row, row.doctor)
        if not row.mend:
            return
        row.mend(case)
        check_mended(case, row)


def test_unknown(row):
    check(row.why, 'why status cannot know')
    with contextlib.ExitStack() as stack:
        case = Case(row, stack)
        row.before(case)
        case.start()
        check_equal('status --wait', case.status('--wait=30s')[0], HEALTHY)
        row.make(case)
        check_doctor(case, row, row.doctor)
        status, out, _ = case.status()
        check_equal(f'exit status of\n{out}', status, HEALTHY)
        if row.mend:
            row.mend(case)
            ill.check_fine(case.doctor(), row.doctor[0])


def test_stopped(row):
    with contextlib.ExitStack() as stack:
        case = Case(row, stack)
        row.make(case)
        interface = () if '--config' in row.options else ('--interface', 'm0')
        others = () if '--collector' in row.options or interface == () else ('--collector', 'json:-')
        status, _, err = program.run('run', *interface, *others, '--control-socket', case.socket, '--metrics-listen', 'off',
                                     '--drops', row.drops, *case.filled(row.options),
                                     prefix=case.box.inside('meter', *case.filled(row.prefix)), timeout=WAIT_SECONDS)
        check(status in (1, 2), f'exit status of run: {status}', err)
        check(re.search(row.status, err), f'run: expected /{row.status}/ in', err)
        check(status == 2 or 'flowtally doctor' in err, 'who says what mends it:', err)
        status, out, err = case.status()
        check(status == NOT_RUNNING and not out, f'exit status of status: {status}', out, err)
        check('no exporter runs' in err and 'flowtally run' in err, 'what to do:', err)
        check_doctor(case, row._replace(status=None), row.doctor)


def test_dead():
    """An exporter that was killed: nobody is at its socket; started again, as both say, it is well."""
    with contextlib.ExitStack() as stack:
        case = Case(Row('', None), stack)
        case.start()
        check_equal('status --wait', case.status('--wait=30s')[0], HEALTHY)
        case.daemon.kill()
        status, _, err = case.status()
        check(status == NOT_RUNNING and 'is dead' in err and 'start one: flowtally run' in err, f'exit status {status}', err)
        report = ill.doctor('--socket', str(case.socket))
        ill.check_found(report, 'exporter', 'WARN', str(case.socket), 'has died', 'systemctl restart flowtally')
        case.daemon = None
        case.start()
        check_equal('status --wait', case.status('--wait=30s')[0], HEALTHY)
        ill.check_fine(case.doctor(), 'exporter')


def test_nobody():
    """Who may not ask is told how."""
    with contextlib.ExitStack() as stack:
        case = Case(Row('', None), stack)
        case.start()
        case.status('--wait=30s')
        status, _, err = program.run('status', '--socket', case.socket, prefix=ill.NOBODY)
        check(status == NOT_RUNNING and 'run it as root (sudo)' in err, f'exit status {status}', err)
        report = ill.doctor('--socket', str(case.socket), prefix=ill.NOBODY)
        ill.check_found(report, 'exporter', 'WARN', str(case.socket), 'may not ask', 'sudo flowtally doctor')


def test_healthy():
    """With collectors that listen and traffic that fits: nothing is named."""
    asked = '--interface', 'm0', *collector(TO_UDP), *collector(TO_TCP)
    with contextlib.ExitStack() as stack:
        case = Case(Row('', None, options=asked, asked=asked), stack)
        case.listen()
        case.listen(TCP)
        case.start()
        for _ in range(5):
            case.flows(200)
            case.send()
            time.sleep(0.5)
        status, out, err = case.status('--wait=30s')
        check_equal(f'exit status of\n{out}', status, HEALTHY)
        check(not re.search('^! ', out, re.M) and 'is healthy: ' in out.splitlines()[0], out, err)
        of_network = ('interface', 'interface-hook', 'interface-foreign', 'interface-mtu', 'collectors', 'collector-name',
                      'collector-route', 'collector-mtu', 'collector-answer', 'exporter')
        report = case.doctor()
        for identity in of_network:
            ill.check_fine(report, identity)


def test_wall_clock():
    """How long the doctor waits for a folder is not by the wall clock, which may be set meanwhile."""
    with scratch() as directory:
        Path(directory, 'offset').write_text('-3600\n', encoding='ascii')
        ill.check_fine(ill.doctor('--collector', f'json://{directory}/flows.json',
                                  prefix=[word.replace('DIRECTORY', directory) for word in SHIM]), 'collector-file')


def tests():
    named = [(f'running: {row.name}', functools.partial(test_running, row)) for row in RUNNING]
    named += [(f'status cannot know: {row.name}', functools.partial(test_unknown, row)) for row in UNKNOWN]
    named += [(f'none runs: {row.name}', functools.partial(test_stopped, row)) for row in STOPPED]
    named += [('none runs: killed', test_dead), ('running: nobody asks', test_nobody)]
    check(len(named) >= 30, f'{len(named)} sick systems')
    return [*named, ('the wall clock and the doctor', test_wall_clock), ('healthy', test_healthy)]


if __name__ == '__main__':
    tap.require('ip', 'tc', 'unshare', 'nsenter', 'setpriv', 'prlimit', 'nft')
    sys.exit(tap.main(tests(), at_once=tap.AT_ONCE))
