#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Where the hooks are put, what others put around them, and what the exporter says when they see nothing."""
import contextlib
import ctypes
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import time

import program
import tap
import time_namespace
import traffic
from lab import DIES_WITH_TEST, LIBC, Lab, scratch, wait_until
from tap import check, check_equal

METER, PEER = '10.84.0.1', '10.84.0.2'
MASK = ['--mask', 'tcx']
ATTACH_SECONDS = 15
NOBODY = ['setpriv', '--reuid', '65534', '--regid', '65534', '--clear-groups']
SYS_BPF = 321 if os.uname().machine == 'x86_64' else 280
BPF_PROG_LOAD, BPF_LINK_CREATE, BPF_PROG_TYPE_SCHED_CLS, BPF_TCX_EGRESS, BPF_F_BEFORE = 5, 28, 3, 47, 8
ACCEPT = '1,6 0 0 0'  # one instruction: return TC_ACT_OK


@contextlib.contextmanager
def network(*more):
    """meter: m0 and, if they are named, further interfaces; each has a peer pN."""
    with Lab('meter', 'peer') as box:
        for number in (0, *more):
            box.veth(('meter', f'm{number}'), ('peer', f'p{number}'))
            box.address(('meter', f'm{number}', [METER.replace('.0.', f'.{number}.', 1)]),
                        ('peer', f'p{number}', [PEER.replace('.0.', f'.{number}.', 1)]))
        yield box


def daemon(box, *options, interface='m0', **how):
    ingress = [] if '--ingress' in options else ['--ingress', 'tc']
    return program.Daemon(box, 'meter', '--interface', interface, *ingress, *options, **how)


def sent(box, count, port=1001):
    """So many datagrams leave m0, none is answered."""
    with traffic.bound(box, 'peer', socket.SOCK_DGRAM, PEER, 9):
        traffic.udp(box, 'meter', (METER, port), (PEER, 9), count)


def received(box, count, port=1001):
    """So many datagrams reach m0, none is answered."""
    with traffic.bound(box, 'meter', socket.SOCK_DGRAM, METER, 9):
        traffic.udp(box, 'peer', (PEER, port), (METER, 9), count)


def seen(ledger):
    return {name: count['seen'] for name, count in ledger['directions'].items()}


def lines_of(process, text):
    return [line for line in process.stderr().splitlines() if text in line]


def said(process, text, seconds=ATTACH_SECONDS):
    return wait_until(lambda: lines_of(process, text), seconds, f'the words "{text}"\n{process.stderr()}')


def filters(box, side, interface='m0'):
    text = box.ip_tc('meter', 'filter', 'show', 'dev', interface, side)
    return [line for line in text.splitlines() if ' handle ' in line]


def try_again(process, before=0):
    """What failed is tried at once."""
    process.process.send_signal(signal.SIGHUP)
    wait_until(lambda: len(lines_of(process, 'SIGHUP')) > before, 5, f'SIGHUP {before}')


def ready_line(process):
    return lines_of(process, 'ready')[0]


# --- Whose the filter is.

def test_second():
    """A second instance is kept off as often as it tries, ends when it is told to, and takes over from a dead one."""
    with network(1) as box, daemon(box, *MASK) as first:
        with daemon(box, *MASK, '--interface', 'm1') as second:
            held = 'another flowtally has its clsact filter there'
            said(second, held)
            check('metering 1 interface,' in ready_line(second), ready_line(second))
            for number in range(15):
                try_again(second, number)
            sent(box, 7)
            received(box, 5)
            check_equal('what the second saw of another interface', seen(second.stop()), {'ingress': 0, 'egress': 0})
        with daemon(box, *MASK, '--interface', 'm1') as second:
            first.kill()
            try_again(second)
            said(second, "interface 'm0': ingress clsact")
            sent(box, 3)
            received(box, 4)
            check_equal('seen after the take-over', seen(second.stop()), {'ingress': 4, 'egress': 3})
        check_equal('filters at the end', filters(box, 'ingress') + filters(box, 'egress'), [])


def unprivileged(box, source):
    """Runs Python as nobody in the meter's namespace until the lab ends; it prints a line when it is ready."""
    process = subprocess.Popen([*DIES_WITH_TEST, *box.inside('meter', *NOBODY, sys.executable, '-c', source)],
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    box.processes.append(process)
    check_equal('unprivileged', process.stdout.readline().strip(), 'ready')


def owner_of(box):
    """The port id that the filter of m0 names."""
    lines = ''.join(filters(box, 'egress'))
    match = re.search(r'flowtally_tc_s1:owner=([0-9a-f]{8})', lines)
    check(match, f'no owner in {lines!r}')
    return int(match[1], 16)


def test_unprivileged():
    """What anybody can make keeps nobody off: an abstract socket nobody serves, the netlink port id of a dead owner."""
    listeners = '''
import socket, time
held = []
for index in range(1, 40):
    for direction in (0, 1):
        held.append(socket.socket(socket.AF_UNIX))
        held[-1].bind(f'\\0flowtally/clsact/{index}/{direction}')
        held[-1].listen(0)
print('ready', flush=True)
time.sleep(1000)
'''
    port = '''
import socket, time
sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 2)
sock.bind((%d, 0))
print('ready', flush=True)
time.sleep(1000)
'''
    with network() as box:
        unprivileged(box, listeners)
        with daemon(box, *MASK) as first:
            sent(box, 3)
            owner = owner_of(box)
            first.kill()
        unprivileged(box, port % owner)
        with daemon(box, *MASK) as second:
            check('metering 1 interface,' in ready_line(second), ready_line(second))
            check(owner_of(box) != owner, 'the dead exporter\'s filter is still there')
            sent(box, 4)
            received(box, 6)
            check_equal('seen', seen(second.stop()), {'ingress': 6, 'egress': 4})


def test_unprivileged_owner():
    """Nobody but CAP_NET_ADMIN makes an owner: the group is closed to others."""
    with network() as box:
        source = 'import socket; socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 2).bind((77, 1 << 9))'
        done = subprocess.run(box.inside('meter', *NOBODY, sys.executable, '-c', source), capture_output=True, text=True,
                              check=False)
        check(done.returncode and 'PermissionError' in done.stderr, done.stderr)


def test_service_manager():
    """A service manager that reads nothing holds nothing up: not the start, not the end."""
    with network() as box, scratch() as directory, contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as deaf:
        path = f'{directory}/notify'
        deaf.bind(path)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while True:
                    sender.sendto(b'x', path)
        with daemon(box, prefix=['env', f'NOTIFY_SOCKET={path}']) as process:
            sent(box, 3)
            check_equal('seen', seen(process.stop()), {'ingress': 0, 'egress': 3})


def test_refused():
    """A kernel that lacks what is needed is refused with the names of it; a masked feature stands for it."""
    with network() as box:
        status, _, stderr = program.run('run', '--interface', 'm0', '--mask', 'coarse-clock,fetch', prefix=box.inside('meter'))
        check_equal('exit status', status, 1)
        check(re.search(r'is too old: no bpf_ktime_get_coarse_ns\(\) \(Linux 5\.11\), no atomic operations .*\(Linux 5\.12\)$',
                        stderr, re.M), stderr)


# --- An ingress qdisc has no egress.

def test_ingress_qdisc():
    """Egress fails and says why, ingress is metered all the same; with clsact in its place both are."""
    with network(1) as box:
        box.ip_tc('meter', 'qdisc', 'add', 'dev', 'm0', 'ingress')
        with daemon(box, *MASK, '--interface', 'm1') as process:
            lines = said(process, "interface 'm0'")
            check('`ingress` qdisc' in lines[0] and 'clsact' in lines[0] and '--egress off' in lines[0], *lines)
            received(box, 5)
            sent(box, 3)
            time.sleep(6)
            check(not lines_of(process, 'somebody had detached'), process.stderr())
            box.ip_tc('meter', 'qdisc', 'delete', 'dev', 'm0', 'ingress')
            box.ip_tc('meter', 'qdisc', 'add', 'dev', 'm0', 'clsact')
            try_again(process)
            said(process, "interface 'm0': ingress clsact (as asked), egress clsact")
            received(box, 11)
            sent(box, 13)
            check_equal('seen', seen(process.stop()), {'ingress': 5 + 11, 'egress': 13})


def test_ingress_qdisc_alone():
    with network() as box:
        box.ip_tc('meter', 'qdisc', 'add', 'dev', 'm0', 'ingress')
        with daemon(box, *MASK, '--egress', 'off') as process:
            received(box, 5)
            sent(box, 3)
            check_equal('seen', seen(process.stop()), {'ingress': 5, 'egress': 0})
        check_equal('filters', filters(box, 'ingress'), [])


def test_ingress_qdisc_tcx():
    """tcx has nothing to do with qdiscs."""
    with network() as box:
        box.ip_tc('meter', 'qdisc', 'add', 'dev', 'm0', 'ingress')
        with daemon(box) as process:
            received(box, 5)
            sent(box, 3)
            check_equal('seen', seen(process.stop()), {'ingress': 5, 'egress': 3})


def test_shared_block():
    """Filters of a shared block are not one interface's; the other direction is."""
    with network() as box:
        box.ip_tc('meter', 'qdisc', 'add', 'dev', 'm0', 'egress_block', '22', 'clsact')
        status, _, stderr = program.run('run', '--interface', 'm0', *MASK, prefix=box.inside('meter'))
        check(status == 1 and 'egress TC' in stderr and 'egress_block' in stderr, status, stderr)
        with daemon(box, *MASK, '--egress', 'off') as process:
            received(box, 5)
            check_equal('seen', seen(process.stop()), {'ingress': 5, 'egress': 0})


# --- The place.

def accept(box, priority, *protocol, side='egress'):
    box.ip_tc('meter', 'filter', 'add', 'dev', 'm0', side, *protocol, 'prio', str(priority), 'bpf', 'da', 'bytecode', ACCEPT)


def test_in_front():
    """A filter that was there first and accepts hides nothing where there is a place in front of it."""
    for priority, protocol, expected in (1, 'all', 1), (2, 'all', 2), (2, 'ip', 1), (5, 'ip', 2):
        with network() as box:
            box.ip_tc('meter', 'qdisc', 'add', 'dev', 'm0', 'clsact')
            for side in 'ingress', 'egress':
                accept(box, priority, 'protocol', protocol, side=side)
            with daemon(box, *MASK) as process:
                place = [re.search(r'pref (\d+)', line)[1] for line in filters(box, 'egress') if 'flowtally' in line]
                check_equal(f'priority beside one of {priority} for {protocol}', place, [str(expected)])
                sent(box, 6)
                received(box, 4)
                check_equal('seen', seen(process.stop()), {'ingress': 4, 'egress': 6})
            left = filters(box, 'egress')
            check(len(left) == 1 and 'flowtally' not in left[0], 'filters at the end', *left)


def test_place_left():
    """Others can put their filters at priority 1 while the exporter runs."""
    with network() as box, daemon(box, *MASK) as process:
        box.ip_tc('meter', 'filter', 'add', 'dev', 'm0', 'egress', 'protocol', 'ip', 'prio', '1', 'u32', 'match', 'u32', '0',
                  '0', 'flowid', '1:1')
        process.stop()


# --- What is said of a hook that sees nothing.

HIDDEN = 'its counters say'
QUICK = ['--drain-interval', '1s']


def bpf(number, layout, *values):
    """bpf(2): its descriptor."""
    attributes = ctypes.create_string_buffer(struct.pack(layout, *values), 128)
    fd = LIBC.syscall(SYS_BPF, number, attributes, 128)
    if fd < 0:
        raise OSError(ctypes.get_errno(), f'bpf({number})')
    return fd


@contextlib.contextmanager
def foreign_tcx(box, interface):
    """Somebody's tcx program that accepts everything, before all others on egress; its id."""
    code = struct.pack('=BBhi', 0xb7, 0, 0, 0) + struct.pack('=BBhi', 0x95, 0, 0, 0)  # r0 = TCX_PASS; exit
    data, text = ctypes.create_string_buffer(code), ctypes.create_string_buffer(b'GPL')
    program_fd = bpf(BPF_PROG_LOAD, '=IIQQ', BPF_PROG_TYPE_SCHED_CLS, 2, ctypes.addressof(data), ctypes.addressof(text))
    with box.entered('meter'):
        index = socket.if_nametoindex(interface)
        link = bpf(BPF_LINK_CREATE, '=IIII', program_fd, index, BPF_TCX_EGRESS, BPF_F_BEFORE)
    try:
        with open(f'/proc/self/fdinfo/{program_fd}', encoding='ascii') as info:
            yield int(re.search(r'prog_id:\s*(\d+)', info.read())[1])
    finally:
        os.close(link)
        os.close(program_fd)


def busy(box, process, *texts, seconds=120):
    """Sends a packet each way every 100 ms until the exporter has said all of that; returns how many, and the lines."""
    before = {text: len(lines_of(process, text)) for text in texts}
    count, end = 0, time.monotonic() + seconds
    while time.monotonic() < end:
        sent(box, 1)
        received(box, 1)
        count += 1
        if all(len(lines_of(process, text)) > before[text] for text in texts):
            return count, [lines_of(process, text)[-1] for text in texts]
        time.sleep(0.1)
    raise tap.Failure(f'{count} packets, and {texts} were never said\n{process.stderr()}')


def hooks_of(ledger, interface='m0'):
    return {one['name']: one['hooks'] for one in ledger['interfaces']}[interface]


def check_hook(ledger, side, seen_packets, hidden, reason=''):
    hook = hooks_of(ledger)[side]
    check_equal(f'{side}: packets', hook['accounted'] + hook['unrecorded'], seen_packets)
    check_equal(f'{side}: hidden', hook['hidden'], hidden)
    check(reason in hook['reason'] and bool(reason) == bool(hook['reason']), f'reason: {hook["reason"]}')


def test_hidden():
    """What is hidden is said for each direction, with the reason; its end too, or else it is in the ledger.

    On egress a filter comes in front that accepts.  On ingress one that redirects was there, as ifb shaping does.
    """
    with network() as box:
        box.ip('meter', 'link', 'add', 'ifb0', 'type', 'ifb')
        box.ip('meter', 'link', 'set', 'ifb0', 'up')
        box.ip_tc('meter', 'qdisc', 'add', 'dev', 'm0', 'clsact')
        box.ip_tc('meter', 'filter', 'add', 'dev', 'm0', 'ingress', 'protocol', 'ip', 'prio', '1', 'u32', 'match', 'u32', '0',
                  '0', 'action', 'mirred', 'egress', 'redirect', 'dev', 'ifb0')
        with daemon(box, *MASK, *QUICK) as process:
            sent(box, 3)
            accept(box, 1, 'protocol', 'ip')
            _, (egress, ingress) = busy(box, process, 'the egress hook saw', 'the ingress hook saw')
            check("'m0'" in egress and "'bpf" in egress and 'priority 1' in egress, egress)
            check("'m0'" in ingress and 'hook saw 0' in ingress and "'u32" in ingress and 'priority 1' in ingress, ingress)
            box.ip_tc('meter', 'filter', 'delete', 'dev', 'm0', 'egress', 'prio', '1')
            after, _ = busy(box, process, 'the egress hook sees packets again')
            ledger = process.stop()
            check_equal('warnings', len(lines_of(process, HIDDEN)), 2)
        check_hook(ledger, 'egress', 3 + after, False)
        check_hook(ledger, 'ingress', 0, True, 'u32')


def test_hidden_text():
    """A run too short for a warning says it in its summary, and the reason that is known: none."""
    with network() as box, daemon(box, *MASK, summary='text') as process:
        accept(box, 1, 'protocol', 'all')
        sent(box, 25)
        process.process.terminate()
        check_equal('exit status', process.process.wait(20), 0)
        lines = lines_of(process, HIDDEN)
        check(len(lines) == 1 and re.search(r"'m0'.*say 25 packets left.*egress hook saw 0", lines[0]), *lines)


def test_hidden_tcx():
    """A tcx program that comes in front is named; in a time namespace, whose clock is not that of the banks."""
    with network() as box, daemon(box, *QUICK, prefix=time_namespace.prefix_if_any(100000, 200000)) as process:
        with foreign_tcx(box, 'm0') as number:
            _, (line,) = busy(box, process, HIDDEN)
            check(f'tcx program id {number} ' in line and 'egress hook saw' in line, line)
        sent(box, 5)
        ledger = process.stop()
        check_hook(ledger, 'egress', 5, True, 'tcx program')
        check_hook(ledger, 'ingress', seen(ledger)['ingress'], False)


def test_quiet():
    """Nothing is said of few packets, of a direction that is off, or of a hook that sees a part of what a bypass leaves.

    By when something would have been said shows the way out, where another filter hides all.
    """
    with network() as box:
        box.ip_tc('meter', 'qdisc', 'add', 'dev', 'm0', 'clsact')
        for side in 'ingress', 'egress':
            accept(box, 1, 'protocol', 'ip', side=side)
        with daemon(box, *MASK, *QUICK) as process:
            for turn in range(600):
                sent(box, 1)
                if turn % 7 == 0 and turn < 19 * 7:
                    received(box, 1)
                if lines_of(process, 'the egress hook saw'):
                    break
                time.sleep(0.1)
            process.stop()
            check_equal('directions', len(lines_of(process, HIDDEN)), 1)
        with daemon(box, *MASK, *QUICK, '--ingress', 'off') as process:
            busy(box, process, 'the egress hook saw')
            ledger = process.stop()
            check_equal('directions', len(lines_of(process, HIDDEN)), 1)
            check_equal('hooks', hooks_of(ledger)['ingress']['hook'], 'none')


def main():
    tap.require('ip', 'tc', 'setpriv')
    program.binary()
    tap.main([
        ('a second instance', test_second),
        ('names that anybody can take', test_unprivileged),
        ('who can be an owner', test_unprivileged_owner),
        ('a service manager that is deaf', test_service_manager),
        ('a kernel that is refused', test_refused),
        ('an ingress qdisc', test_ingress_qdisc),
        ('an ingress qdisc, ingress alone', test_ingress_qdisc_alone),
        ('an ingress qdisc, tcx', test_ingress_qdisc_tcx),
        ('a shared block', test_shared_block),
        ('filters that were there first', test_in_front),
        ('priority 1 stays free', test_place_left),
        ('hidden by filters', test_hidden),
        ('hidden, in the summary', test_hidden_text),
        ('hidden by tcx', test_hidden_tcx),
        ('quiet', test_quiet),
    ], tap.AT_ONCE)


if __name__ == '__main__':
    main()
