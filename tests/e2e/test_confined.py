#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What the exporter still may and does once it meters: told by strace, by /proc, and by reloads that want more."""
import errno
import http.client
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import program
import tap
import traffic
from lab import Pair, scratch, wait_until
from tap import check, check_equal

METER, PEER = '10.96.0.1', '10.96.0.2'
WAIT_SECONDS = 60  # under strace
ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / 'tests/lint'))
import calls  # noqa: E402  pylint: disable=wrong-import-position

THREE = {'BPF': 39, 'NET_ADMIN': 12, 'PERFMON': 38}
NET_BIND_SERVICE, DAC_OVERRIDE = 1 << 10, 1 << 1
METERING = sum(1 << number for number in THREE.values())
LANDLOCK_CREATE_RULESET = 444
USER = 61234
KEPT = '-all,+bpf,+net_admin,+perfmon'
# As flowtally.service runs it.
AS_USER = ['setpriv', '--reuid', str(USER), '--regid', str(USER), '--clear-groups', '--inh-caps', KEPT, '--ambient-caps', KEPT,
           '--bounding-set', KEPT, '--no-new-privs']
NO_SECCOMP = program.refusing({'aarch64': 277}.get(os.uname().machine, 317), errno.ENOSYS)
NO_LANDLOCK = program.refusing(LANDLOCK_CREATE_RULESET, errno.ENOSYS)  # as on a kernel that does not have it
# A life has at least these in it; else the test has not lived it.
LIVED = {'bpf', 'openat', 'accept4', 'connect', 'clone', 'ioctl', 'capset', 'inotify_add_watch'}
LIVED_SOMEHOW = {'rename', 'renameat', 'renameat2'}, {'unlink', 'unlinkat'}, {'sendto', 'sendmsg', 'sendmmsg'}


class Bench(Pair):
    addresses = METER, PEER

    def __enter__(self):
        super().__enter__()
        self.path, self.flows_path = self.directory / 'f.yaml', self.directory / 'flows.ipfix'
        self.run = Path(f'/run/flowtally-e2e-{os.getpid()}-{threading.get_native_id()}')  # as RuntimeDirectory= is
        self.run.mkdir(mode=0o755)
        self.socket = self.run / 'socket'
        with self.box.entered('peer'):
            self.listener = socket.create_server((PEER, 4739))
        threading.Thread(target=self.drink, daemon=True).start()
        return self

    def __exit__(self, *error):
        self.listener.close()
        shutil.rmtree(self.run)
        super().__exit__(*error)

    def drink(self):
        """A collector over TCP that takes all."""
        held = []
        while True:
            try:
                held.append(self.listener.accept()[0])
            except OSError:
                return
            threading.Thread(target=lambda sock=held[-1]: [0 for _ in iter(lambda: sock.recv(65536), b'')], daemon=True).start()

    def configure(self, *collectors, more=''):
        urls = ''.join(f'  - "{url}"\n' for url in collectors)
        text = f'interfaces: [m0, "x*"]\ndrain-interval: 200ms\nidle-timeout: 500ms\nsummary: json\ndomain: 7\n{more}'
        new = self.path.with_suffix('.new')
        new.write_text(f'{text}collectors:\n{urls}', encoding='ascii')
        new.rename(self.path)

    def daemon(self, *options, **how):
        daemon = program.Daemon(self.box, 'meter', **how)
        daemon.options = ['run', '--config', self.path, '--control-socket', self.socket, *options]
        return daemon

    def flows(self, count):
        with traffic.bound(self.box, 'meter', socket.SOCK_DGRAM, METER, 9):
            for port in range(20000, 20000 + count):
                traffic.udp(self.box, 'peer', (PEER, port), (METER, 9), 1)

    def metrics(self):
        with self.box.entered('meter'):
            connection = http.client.HTTPConnection('127.0.0.1', 9717, timeout=WAIT_SECONDS)
            connection.connect()
        connection.request('GET', '/metrics')
        return connection.getresponse().read().decode()


def reload(daemon, word='is in force|has changed nothing', make=None):
    """What is said of it, up to that word."""
    before = len(daemon.stderr())
    if make:
        make()
    daemon.process.send_signal(signal.SIGHUP)
    wait_until(lambda: re.search(word, daemon.stderr()[before:]), WAIT_SECONDS, word)
    return daemon.stderr()[before:]


# --- System calls.

def live(bench, daemon):
    """All that an exporter meets in its life."""
    json_path = bench.directory / 'flows.json'
    bench.flows(200)
    wait_until(lambda: list(bench.directory.glob('flows.ipfix.*')), WAIT_SECONDS, 'a finished file')
    status, out, err = program.run('status', '--socket', bench.socket)
    check('flowtally ' in out, f'status: {status}', out, err)
    status, out, err = program.run('observe', '--socket', bench.socket, '--last', '5', '-o', 'jsonl')
    check_equal(f'records observed, {status}, {err}', len(out.splitlines()), 5)
    check('flowtally_' in bench.metrics(), 'metrics')
    bench.box.veth(('meter', 'x0'), ('peer', 'y0'), offloads=False)
    wait_until(lambda: "'x0': ingress" in daemon.stderr(), WAIT_SECONDS, 'x0')
    bench.box.ip('meter', 'link', 'delete', 'x0')
    wait_until(lambda: "'x0' is gone" in daemon.stderr(), WAIT_SECONDS, 'the end of x0')
    collectors = f'file://{bench.flows_path}?rotate=2KiB&keep=1', f'ipfix+tcp://{PEER}:4739?retry=1'
    reload(daemon, make=lambda: bench.configure(
        *collectors, f'json://{json_path}', 'ipfix://collector.invalid:4739', f'netflow9://{PEER}:2055',
        more='drops: on\nbank-entries: 16384\ndrop-entries: 8192\nmetrics-listen: 127.0.0.1:9718\n'))
    bench.flows(200)
    wait_until(lambda: json_path.exists() and json_path.stat().st_size, WAIT_SECONDS, 'lines of JSON')
    json_path.rename(json_path.with_suffix('.old'))
    bench.flows(200)
    wait_until(json_path.exists, WAIT_SECONDS, 'another file of that name')
    reload(daemon, make=lambda: bench.configure(*collectors[:1], more='drops: on\n'))


def traced(path):
    """Calls after the filter has come, in strace's words: (name, arguments, result)."""
    lines = path.read_text(errors='replace').splitlines()
    begin = [i for i, line in enumerate(lines) if re.search(SET, line)]
    check(begin, 'no filter was set', *lines[-5:])
    for line in lines[begin[-1] + 1:]:
        # A call that was under way is told in two lines, of which the first has the arguments.
        found = re.match(r'\d+ +(\w+)\((.*)', line)
        if found:
            yield found[1], found[2], line
        elif '= -1 ENOSYS' in line and 'clone3' not in line:
            raise tap.Failure(f'refused: {line}')


SET = r' seccomp\(SECCOMP_SET_MODE_FILTER,.* = 0$|<\.\.\. seccomp resumed>.* = 0$'
LISTS = {'bpf': ('`bpf`', r'(BPF_\w+)'), 'ioctl': ('`ioctl`', r'\S+, (\w+)'), 'prctl': ('`prctl`', r'(PR_\w+)')}
SOCKETS = r'AF_INET6?,|AF_UNIX, SOCK_DGRAM|AF_NETLINK, [\w|]+, (NETLINK_ROUTE|NETLINK_USERSOCK|NETLINK_GENERIC)\b'


def judge(path):
    """Each call is on the list of docs/security.md; returns those that were seen."""
    told = calls.of_page((ROOT / calls.PAGE).read_text(encoding='ascii'))
    allowed = set().union(*(told[title] for title in ('Always', 'Files', 'Network', 'Kernel', calls.CONDITIONS)))
    seen = set()
    for name, arguments, line in traced(path):
        if name == 'clone3' and ('ENOSYS' in line or 'unfinished' in line):
            continue  # by which libc finds that it is to use clone()
        check(name in allowed, f'not on the list: {line}')
        check('= -1 ENOSYS' not in line, f'refused: {line}')
        if name in LISTS:
            title, pattern = LISTS[name]
            check(re.match(pattern, arguments)[1] in told[title], f'not on the list of {title}: {line}')
        check(name != 'socket' or re.match(SOCKETS, arguments), f'a socket of another kind: {line}')
        check(name not in ('mmap', 'mprotect') or 'PROT_EXEC' not in arguments, f'memory to be run: {line}')
        check(name != 'clone' or 'CLONE_THREAD' in arguments, f'a process: {line}')
        seen.add(name)
    check(not LIVED - seen, f'not in this life: {LIVED - seen}')
    for group in LIVED_SOMEHOW:
        check(group & seen, f'none of {group} in this life')
    tap.comment(f'on the list and not in this life: {" ".join(sorted(allowed - seen))}')


def test_calls(user=None):
    with Bench() as bench:
        path = bench.directory / 'strace'
        bench.configure(f'file://{bench.flows_path}?rotate=2KiB&keep=2', f'ipfix+tcp://{PEER}:4739?retry=1',
                        more='drops: on\n')
        prefix = ['strace', '-D', '-f', '-qq', '-s', '0', '-e', 'signal=none', '-o', path]
        if user:
            os.environ['FLOWTALLY'] = str(as_user(bench))
            prefix += AS_USER
        with bench.daemon('--sandbox', 'on', prefix=prefix, least=not user) as daemon:
            live(bench, daemon)
            daemon.stop(always=[])
            wait_until(lambda: ' exit_group(0)' in path.read_text(errors='replace'), 10, 'the end in what strace saw')
        judge(path)


def as_user(bench):
    """Makes the folder that of another user; returns a program that this user can reach."""
    copy = Path(shutil.copy(program.binary(), bench.directory / 'flowtally'))
    copy.chmod(0o755)
    for file in bench.directory, bench.path, bench.run:
        os.chown(file, USER, USER)
    return copy


# --- What a process says of itself.

def threads(pid):
    """[(name, {'CapPrm': number, ...})] of those that do not end meanwhile"""
    found = []
    for task in Path(f'/proc/{pid}/task').iterdir():
        try:
            text = (task / 'status').read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        fields = dict(line.split(':\t', 1) for line in text.splitlines() if ':\t' in line)
        numbers = {name: int(value, 16) for name, value in fields.items() if re.match('Cap|NoNew|Seccomp$', name)}
        found.append((fields['Name'], numbers))
    return found


def check_rights(pid, bound, extra=0):
    """Of each thread: nothing beyond what it needs, in no set; and some have less."""
    found = threads(pid)
    sets = [fields['CapPrm'] for _, fields in found]
    for name, fields in found:
        allowed = METERING | extra | (NET_BIND_SERVICE if bound else 0)
        for kind in 'CapPrm', 'CapEff':
            check_equal(f'{name}: more in {kind}', hex(fields[kind] & ~allowed), '0x0')
        check_equal(f'{name}: CapInh, CapAmb', (fields['CapInh'], fields['CapAmb']), (0, 0))
        check_equal(f'{name}: more in CapBnd', hex(fields['CapBnd'] & ~allowed), '0x0')
        check_equal(f'{name}: NoNewPrivs, Seccomp', (fields['NoNewPrivs'], fields['Seccomp']), (1, 2))
    check_equal('threads with all three', any(s & METERING == METERING for s in sets), True)
    check(0 in sets, 'a thread without any: ', found)
    check(METERING & 1 << THREE['BPF'] in sets, 'a thread with CAP_BPF alone: ', found)
    limits = Path(f'/proc/{pid}/limits').read_text()
    check(re.search(r'^Max core file size +0 +0 ', limits, re.M), limits)


def test_rights_of_root():
    """Started with all there is, also for threads that begin later; the folder of another user costs one capability."""
    with Bench() as bench:
        bench.configure(f'file://{bench.flows_path}')
        with bench.daemon(least=False) as daemon:
            check_rights(daemon.process.pid, True)
            check('CAP_DAC_OVERRIDE' not in daemon.stderr(), daemon.stderr())
            reload(daemon, make=lambda: bench.configure(f'file://{bench.flows_path}', more='bank-entries: 16384\n'))
            check_rights(daemon.process.pid, True)
            daemon.stop()
        theirs = bench.directory / 'theirs'
        theirs.mkdir(mode=0o700)
        os.chown(theirs, USER, USER)
        bench.configure(f'file://{theirs}/flows.ipfix')
        with bench.daemon(least=False) as daemon:
            check('the capability CAP_DAC_OVERRIDE is kept' in daemon.stderr(), daemon.stderr())
            check_rights(daemon.process.pid, True, DAC_OVERRIDE)
            reload(daemon)
            daemon.stop()


def test_rights_of_user():
    """As the unit starts it; who is not root cannot look into it."""
    with Bench() as bench:
        bench.configure(f'file://{bench.flows_path}')
        os.environ['FLOWTALLY'] = str(as_user(bench))
        with bench.daemon(prefix=AS_USER, least=False) as daemon:
            check_rights(daemon.process.pid, False)
            check_equal('whose files it makes', bench.flows_path.stat().st_uid, USER)
            check_equal('whose /proc is', os.stat(f'/proc/{daemon.process.pid}/mem').st_uid, 0)
            same = ['setpriv', '--reuid', str(USER), '--regid', str(USER), '--clear-groups', '--inh-caps=-all']
            for look in ['head', '-c1', f'/proc/{daemon.process.pid}/environ'], ['strace', '-p', str(daemon.process.pid)]:
                done = subprocess.run([*same, *look], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
                                      timeout=10)
                check(done.returncode and re.search('Permission denied|not permitted', done.stderr), look, done)
            bench.flows(20)
            reload(daemon)
            check_who_may_ask(bench)
            ledger = daemon.stop()
        check(ledger['accounted']['packets'] >= 20, ledger['accounted'])


def check_who_may_ask(bench):
    """Root, and members of the user's group; and these believe who listens, for root has given the folder to that user."""
    def ask(*words, path=bench.socket):
        return program.run('status', '--socket', path, prefix=words, path=os.environ['FLOWTALLY'])
    check(ask()[0] < 2, ask())
    member = ['setpriv', '--reuid', '61235', '--regid', '61235', '--groups', str(USER), '--inh-caps=-all']
    check(ask(*member)[0] < 2, ask(*member))
    other = ['setpriv', '--reuid', '61235', '--regid', '61235', '--clear-groups', '--inh-caps=-all']
    check('no permission' in ask(*other)[2], ask(*other))
    bench.run.chmod(0o777)
    check('others than root could have made' in ask()[2], ask())
    bench.run.chmod(0o755)


# --- Reloads that want more.

def test_reloads():
    """A file elsewhere, by its name or by a link, is refused with the whole reload; one below a known folder is not."""
    with Bench() as bench, scratch() as name:
        other = Path(name)
        here, free = f'file://{bench.flows_path}', bench.directory / 'free'
        (bench.directory / 'folder').symlink_to(other)
        (bench.directory / 'dangling').symlink_to(other / 'target')
        (other / 'there').write_text('', encoding='ascii')
        (bench.directory / 'file').symlink_to(other / 'there')
        free.mkdir()
        bench.configure(here)
        with bench.daemon('--sandbox-folder', free) as daemon:
            for path in other / 'flows', bench.directory / 'folder' / 'flows', bench.directory / 'file':
                said = reload(daemon, 'was not among the folders', lambda path=path: bench.configure(here, f'json://{path}'))
                check('--sandbox off' in said, said)
            said = reload(daemon, 'Permission denied', lambda: bench.configure(here, f'json://{bench.directory}/dangling'))
            written = free / 'flows.json', bench.directory / 'more.json'
            reload(daemon, make=lambda: bench.configure(here, *(f'json://{path}' for path in written)))
            bench.flows(20)
            wait_until(lambda: all(path.stat().st_size for path in written), 20, 'flows')
            daemon.stop()
        check_equal('elsewhere', sorted((file.name, file.stat().st_size) for file in other.iterdir()), [('there', 0)])


def test_links():
    """Who may write to the folder of a collector does not choose, by a link, which file root writes to."""
    with Bench() as bench, scratch() as name:
        theirs, other = bench.directory / 'theirs', Path(name)
        theirs.mkdir()
        (other / 'there').write_text('', encoding='ascii')
        for target in other / 'there', other / 'new':
            for scheme in 'file', 'json':
                link = theirs / 'flows'
                link.symlink_to(target)
                os.chown(link, USER, USER, follow_symlinks=False)
                os.chown(theirs, USER, USER)
                words = [*program.SANDBOX, program.binary(), 'run', '--control-socket', 'off', '--metrics-listen', 'off',
                         '--interface', 'm0', '--collector', f'{scheme}://{link}']
                done = subprocess.run(bench.box.inside('meter', *words), capture_output=True, text=True, check=False,
                                      timeout=WAIT_SECONDS)
                check_equal(f'exit status, {done.stderr}', done.returncode, 1)
                check('is a link that others than root and this user could have made' in done.stderr, done.stderr)
                link.unlink()
        check_equal('elsewhere', sorted((file.name, file.stat().st_size) for file in other.iterdir()), [('there', 0)])


def test_reader():
    """The files that `read` can open from then on are those that were named: no folder, but with --follow."""
    with scratch() as name:
        folder = Path(name)
        (folder / 'flows').write_text('', encoding='ascii')
        for words, allowed in (['-'], set()), (['flows'], {'flows'}), (['--follow', 'flows'], {'flows', '.'}):
            trace = folder / f'strace{len(words)}{len(allowed)}'
            words = ['strace', '-qq', '-e', 'trace=open,openat,seccomp', '-o', trace, *program.SANDBOX, program.binary(),
                     'read', *words]
            process = subprocess.Popen(words, cwd=name, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                       stderr=subprocess.DEVNULL, start_new_session=True)
            wait_until(lambda trace=trace: trace.exists() and 'seccomp(' in trace.read_text(), WAIT_SECONDS, 'a filter')
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(WAIT_SECONDS)
            places = set(re.findall(r'"([^"]*)", O_RDONLY\|O_CLOEXEC\|O_PATH|"([^"]*)", O_RDONLY\|O_PATH', trace.read_text()))
            check_equal(f'named by {words[-2:]}', {one or two for one, two in places if (one or two)[0] != '/'}, allowed)


def test_no_landlock():
    """A kernel without it: one line, all else is confined, and all works."""
    with Bench() as bench:
        bench.configure(f'file://{bench.flows_path}')
        with bench.daemon(prefix=NO_LANDLOCK) as daemon:
            check_equal('lines', daemon.stderr().count('does not have landlock'), 1)
            check_rights(daemon.process.pid, False)
            reload(daemon, make=lambda: bench.configure(f'file://{bench.flows_path}', more='bank-entries: 16384\n'))
            bench.flows(20)
            ledger = daemon.stop()
        check(ledger['accounted']['packets'] >= 20, ledger['accounted'])


def test_no_seccomp():
    """Where there is no filter of system calls it goes on without, and says so; who asks for `kill` is told."""
    with Bench() as bench:
        bench.configure(f'file://{bench.flows_path}')
        with bench.daemon('--sandbox', 'on', prefix=NO_SECCOMP) as daemon:
            check_equal('lines', daemon.stderr().count('seccomp: system calls cannot be confined'), 1)
            reload(daemon)
            daemon.stop()
        words = program.metering('run', '--config', bench.path, '--control-socket', 'off')
        done = subprocess.run(bench.box.inside('meter', *NO_SECCOMP, *words), capture_output=True, text=True, check=False,
                              timeout=WAIT_SECONDS)
        check_equal('exit status with --sandbox kill', done.returncode, 1)
        check('seccomp: system calls cannot be confined' in done.stderr, done.stderr)


def test_terminal():
    """What is said after the start still comes on the terminal of another user, whose device cannot be opened again."""
    with Bench() as bench:
        bench.configure(f'file://{bench.flows_path}')
        master, slave = os.openpty()
        os.fchown(slave, USER, USER)
        os.fchmod(slave, 0o600)
        words = program.metering('run', '--config', bench.path, '--control-socket', 'off')
        process = bench.box.start('meter', *words, stdout=slave, stderr=slave)
        os.close(slave)
        said = b''

        def wait(word):
            nonlocal said
            while word not in said:
                check(select.select([master], [], [], WAIT_SECONDS)[0], f'{word} does not come:', said)
                said += os.read(master, 65536)
        wait(b'ready')
        process.send_signal(signal.SIGHUP)
        wait(b'has changed nothing')
        process.terminate()
        check_equal('exit status', process.wait(WAIT_SECONDS), 0)
        os.close(master)


def test_off():
    with Bench() as bench:
        bench.configure(f'file://{bench.flows_path}')
        with bench.daemon('--sandbox', 'off', least=False) as daemon:
            fields = threads(daemon.process.pid)[0][1]
            check_equal('NoNewPrivs, Seccomp', (fields['NoNewPrivs'], fields['Seccomp']), (0, 0))
            check(fields['CapEff'] & ~METERING, 'it has given up capabilities')
            daemon.stop()


if __name__ == '__main__':
    tap.require('ip', 'setpriv', 'strace')
    program.binary()
    tap.main([
        ('system calls, as root', test_calls),
        ("system calls, as the unit's user", lambda: test_calls(USER)),
        ('rights of root', test_rights_of_root),
        ("rights of the unit's user", test_rights_of_user),
        ('reloads that want more', test_reloads),
        ("links of others in a collector's folder", test_links),
        ('files that read can open', test_reader),
        ('a kernel without landlock', test_no_landlock),
        ('a kernel without seccomp', test_no_seccomp),
        ('a terminal of another user', test_terminal),
        ('off', test_off),
    ], tap.AT_ONCE)
