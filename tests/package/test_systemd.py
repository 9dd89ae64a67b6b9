#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The service of the Debian package under a systemd that runs: started, reloaded, killed, watched, upgraded and stopped.

One minimal Debian is started, in which all tests run in their order.

    peer (p0, nfcapd) --- (eth0) node: systemd, flowtally.service
"""
import contextlib
import functools
import json
import os
import re
import time
from pathlib import Path

import debian
import package
import collect
import traffic
from booted import Booted
from package import NODE, PEER, command, install, need, node, scratch, tree, wait_until
from tap import Failure, Skip, check, check_equal, comment, main, once, require

UNIT = 'flowtally.service'
CONFIG = '/etc/flowtally/flowtally.yaml'
DROP_IN = f'/etc/systemd/system/{UNIT}.d/test.conf'
COLLECTOR_PORT, PORT = 4739, 5000
# docs/security.md; numbers of linux/capability.h.
CAPABILITIES = {'cap_net_admin': 12, 'cap_perfmon': 38, 'cap_bpf': 39}
MASK = sum(1 << number for number in CAPABILITIES.values())
WARNING = 4
NEWER = package.CACHE / 'systemd'
STACK = contextlib.ExitStack()


class Machine(Booted):
    """With flowtally installed, an interface eth0, and a peer."""

    def write(self, path, text):
        self.tree.write(path, text)

    def configure(self, *collectors, interfaces=('eth0',), **settings):
        """Another configuration file, in its place at once."""
        settings = {'drain-interval': '500ms', 'idle-timeout': '1s', 'summary': 'json', **settings}
        lines = [f'interfaces: {json.dumps(list(interfaces))}', f'collectors: {json.dumps(list(collectors))}',
                 *(f'{name}: {value}' for name, value in settings.items())]
        self.write(CONFIG + '.new', '\n'.join(lines) + '\n')
        self.tree.path(CONFIG + '.new').rename(self.tree.path(CONFIG))

    def drop_in(self, *lines):
        """Settings of the unit beside its own; none: no more."""
        if lines:
            self.write(DROP_IN, '[Service]\n' + '\n'.join(lines) + '\n')
        else:
            self.tree.path(DROP_IN).unlink(missing_ok=True)
        self.run('systemctl', 'daemon-reload')

    def restart(self, *collectors, **settings):
        """Anew with that configuration; returns when systemd says that it has started."""
        self.run('systemctl', 'stop', UNIT)
        self.configure(*collectors, **settings)
        self.run('systemctl', 'start', UNIT)

    def show(self, name):
        return self.properties(UNIT, name)[name]

    def pid(self):
        return self.show('MainPID')

    def wait_for_another(self, pid, seconds=30):
        """Until it has been started anew, and is ready."""
        wait_until(lambda: self.pid() not in ('0', pid) and self.show('ActiveState') == 'active', seconds,
                   'another process of the service')

    def host_pid(self):
        """Of the service, by its number outside."""
        group = self.group / self.show('ControlGroup').lstrip('/')
        pid, = (group / 'cgroup.procs').read_text(encoding='ascii').split()
        return pid

    def entries(self, cursor=None, priority=7):
        """What the service said and what systemd said of it, behind a cursor, of that priority or worse."""
        words = ['--after-cursor', cursor] if cursor else []
        return [entry for entry in self.journal('-p', str(priority), *words)
                if UNIT in (entry.get('_SYSTEMD_UNIT'), entry.get('UNIT'))]

    def cursor(self):
        return self.journal('-n', '1')[-1]['__CURSOR']

    def wait_for_words(self, words, cursor, seconds=20):
        """A message behind the cursor in which they are."""
        def found():
            return next((entry for entry in self.entries(cursor) if re.search(words, str(entry['MESSAGE']))), None)
        return wait_until(found, seconds, f'/{words}/ in the journal')

    def send(self, count, port=PORT):
        """So many datagrams of one flow to the node, which takes them."""
        with traffic.bound(self.box, 'node', 2, NODE, port):
            traffic.udp(self.box, 'peer', (PEER, 4000), (NODE, port), count)

    def attached(self):
        """What of BPF is on the interface, by `ip` and `tc`."""
        found = [self.box.link('node', 'eth0').get('xdp')]
        for side in 'ingress', 'egress':
            text = self.box.ip_tc('node', 'filter', 'show', 'dev', 'eth0', side)
            found += [line for line in text.splitlines() if 'bpf' in line]
        return [one for one in found if one]

    def programs(self):
        """Ids of the BPF programs that the service holds."""
        found = set()
        for path in Path(f'/proc/{self.host_pid()}/fdinfo').iterdir():
            with contextlib.suppress(FileNotFoundError):
                found |= {int(number) for number in re.findall(r'^prog_id:\s*(\d+)$', path.read_text(encoding='ascii'), re.M)}
        return found - {0}


def loaded():
    """Ids of all BPF programs of the kernel."""
    return {entry['id'] for entry in json.loads(command('bpftool', '-j', 'prog', 'show'))}


def start(stack, *systemd):
    """A machine with that systemd (packages), and flowtally installed as an administrator does."""
    package_file = debian.deb()
    one, box = stack.enter_context(tree()), stack.enter_context(node())
    depends = re.findall(r'(?:^|, )(lib[\w.-]+|zlib1g)', command('dpkg-deb', '-f', package_file, 'Depends'))
    install(one, *systemd, *depends)
    booted = stack.enter_context(Machine(one, box, 'node'))
    put(booted, package_file)
    booted.run('dpkg', '-i', f'/var/tmp/{package_file.name}')
    return booted


@once
def machine():
    """The one that all tests share but those of a newer systemd."""
    return start(STACK, 'systemd')


def put(booted, path):
    booted.tree.path(f'/var/tmp/{path.name}').write_bytes(path.read_bytes())


@contextlib.contextmanager
def collector():
    """(machine, nfcapd on the peer, its URL); what nfcapd got: packets(nfcapd)"""
    booted = machine()
    with scratch() as directory:
        nfcapd = collect.Nfcapd(booted.box, 'peer', directory, COLLECTOR_PORT, PEER)
        try:
            yield booted, nfcapd, f'ipfix://{PEER}:{COLLECTOR_PORT}'
        finally:
            nfcapd.process.kill()
            nfcapd.process.wait()


def packets(nfcapd):
    """Packets of the flows at the collector, by destination port."""
    found = {}
    for record in nfcapd.stop():
        if record.key.destination == NODE:
            port = record.key.destination_port
            found[port] = found.get(port, 0) + record.flow.packets
    return found


def test_installed():
    """dpkg has started it and enabled it, and the journal has no warning, neither of it nor of systemd about it."""
    booted = machine()
    check_equal('is-enabled', booted.run('systemctl', 'is-enabled', UNIT).strip(), 'enabled')
    found = booted.properties(UNIT, 'ActiveState', 'SubState', 'NRestarts', 'Result', 'Type')
    check_equal('state', found, {'ActiveState': 'active', 'SubState': 'running', 'NRestarts': '0', 'Result': 'success',
                                 'Type': 'notify'})
    entries = booted.entries()
    warnings = [entry['MESSAGE'] for entry in entries if int(entry['PRIORITY']) <= WARNING]
    # The configuration of the package names no collector.
    check_equal('warnings', warnings, ['no --collector and no --live: flows are metered and then forgotten'])
    said = '\n'.join(str(entry['MESSAGE']) for entry in entries)
    for words in rf'^version {package.version()}', r"'eth0'", r'ready: metering 1 interface', r'Started':
        check(re.search(words, said, re.M), f'/{words}/ is not in', said)
    comment(said)


def test_rights():
    """User, groups, capabilities and filters are those of docs/security.md, for systemd and for the kernel."""
    booted = machine()
    booted.restart()
    found = booted.properties(UNIT)
    for name in 'AmbientCapabilities', 'CapabilityBoundingSet':
        check_equal(name, set(found[name].split()), set(CAPABILITIES))
    check_equal('User, Group', (found['User'], found['Group']), ('flowtally', 'flowtally'))
    uid, gid = (booted.run('id', option, 'flowtally').strip() for option in ('-u', '-g'))
    pid = found['MainPID']
    for task in booted.run('ls', f'/proc/{pid}/task').split():
        status = booted.process_status(f'{pid}/task/{task}')
        check_equal('Uid, Gid, Groups', (set(status['Uid'].split()), set(status['Gid'].split()), status['Groups'].split()),
                    ({uid}, {gid}, [gid]))
        numbers = {name: int(value, 16) for name, value in status.items() if name.startswith('Cap')}
        check_equal(f'{status["Name"]}: beyond the three', {k: hex(v & ~MASK) for k, v in numbers.items() if v & ~MASK}, {})
        check_equal(f'{status["Name"]}: CapInh, CapAmb', (numbers['CapInh'], numbers['CapAmb']), (0, 0))
        check_equal(f'{status["Name"]}: NoNewPrivs, Seccomp', (status['NoNewPrivs'], status['Seccomp']), ('1', '2'))
    check(re.search(r'^Max core file size +0 +0 ', booted.run('cat', f'/proc/{pid}/limits'), re.M), 'core files')
    for folder, mode in ('/run/flowtally', '755'), ('/var/lib/flowtally', '750'):
        check_equal(folder, booted.run('stat', '-c', '%U %G %a', folder).strip(), f'flowtally flowtally {mode}')


def test_ready_means_metering():
    """Each packet behind the end of `systemctl start` is at the collector."""
    with collector() as (booted, nfcapd, url):
        booted.restart(url, **{'template-interval': '1s'})
        booted.send(321)
        booted.run('systemctl', 'stop', UNIT)
        check_equal('packets', packets(nfcapd), {PORT: 321})


def test_stop():
    """`systemctl stop` exports what is in the cache: flows that were not to end for minutes."""
    with collector() as (booted, nfcapd, url):
        booted.restart(url, **{'idle-timeout': '600s', 'active-timeout': '600s'})
        for port in range(PORT, PORT + 40):
            booted.send(3, port)
        time.sleep(1)
        cursor = booted.cursor()
        booted.run('systemctl', 'stop', UNIT)
        check_equal('end', booted.properties(UNIT, 'Result', 'ExecMainStatus', 'ActiveState'),
                    {'Result': 'success', 'ExecMainStatus': '0', 'ActiveState': 'inactive'})
        check_equal('packets', packets(nfcapd), {port: 3 for port in range(PORT, PORT + 40)})
        check_equal('left attached', booted.attached(), [])
        warnings = [entry['MESSAGE'] for entry in booted.entries(cursor, WARNING)]
        check_equal('warnings', warnings, [])


def test_reload():
    """A changed file is in force, a wrong one is told and changes nothing, and not a packet is lost on the way."""
    with collector() as (booted, nfcapd, url):
        booted.restart(url)
        pid, cursor = booted.pid(), booted.cursor()
        booted.send(10)
        booted.configure(url, interfaces=['eth0', 'other*'])
        booted.run('systemctl', 'reload', UNIT)
        booted.wait_for_words('is in force', cursor)
        booted.send(20)
        good, cursor = booted.tree.read(CONFIG), booted.cursor()
        booted.configure(url, nonsense='1')
        booted.run('systemctl', 'reload', UNIT)
        entry = booted.wait_for_words(rf'{CONFIG}:\d+:\d+: .*nonsense', cursor)
        check(int(entry['PRIORITY']) <= WARNING, f'its priority: {entry["PRIORITY"]}')
        booted.send(40)
        check_equal('process, state', (booted.pid(), booted.show('ActiveState')), (pid, 'active'))
        booted.write(CONFIG, good)
        booted.run('systemctl', 'reload', UNIT)
        booted.run('systemctl', 'stop', UNIT)
        check_equal('packets', packets(nfcapd), {PORT: 70})


def test_killed():
    """kill -9: nothing of it is on packets any more, and another process meters a moment later."""
    with collector() as (booted, nfcapd, url):
        booted.restart(url)
        pid, programs = booted.pid(), booted.programs()
        check(programs, 'it holds no programs')
        check(programs <= loaded(), f'not loaded: {programs - loaded()}')
        booted.run('systemctl', 'kill', '-s', 'KILL', UNIT)
        wait_until(lambda: booted.show('MainPID') == '0', 10, 'the end of the process')
        wait_until(lambda: not programs & loaded(), 3, 'the programs to go')
        check_equal('state meanwhile', booted.show('SubState'), 'auto-restart')
        check_equal('on packets', booted.attached(), [])
        booted.wait_for_another(pid)
        check_equal('restarts', booted.show('NRestarts'), '1')
        booted.send(77)
        booted.run('systemctl', 'stop', UNIT)
        check_equal('packets', packets(nfcapd), {PORT: 77})


def test_watchdog():
    """A loop that stands still is ended by systemd, and another process meters."""
    booted = machine()
    booted.drop_in('WatchdogSec=2s', 'RestartSec=100ms')
    try:
        booted.restart()
        pid, cursor = booted.pid(), booted.cursor()
        time.sleep(5)
        check_equal('process after two times of the watchdog', booted.pid(), pid)
        booted.run('systemctl', 'kill', '--kill-whom=main', '-s', 'STOP', UNIT)
        booted.wait_for_words('Watchdog timeout', cursor)
        booted.wait_for_another(pid)
    finally:
        booted.drop_in()


def test_wrong_configuration():
    """It is not started again and again; what is wrong is said once, with its place; mended, it starts."""
    booted = machine()
    booted.run('systemctl', 'stop', UNIT)
    booted.configure(nonsense='1')
    cursor = booted.cursor()
    status, _, _ = booted.ask('systemctl', 'start', UNIT)
    check(status != 0, 'systemctl start says that it has started')
    time.sleep(2)
    check_equal('state', booted.properties(UNIT, 'ActiveState', 'ExecMainStatus', 'NRestarts'),
                {'ActiveState': 'failed', 'ExecMainStatus': '2', 'NRestarts': '0'})
    found = [entry for entry in booted.entries(cursor) if re.search(rf'{CONFIG}:\d+:\d+: ', str(entry['MESSAGE']))]
    check_equal('messages with a place', len(found), 1)
    booted.configure()
    booted.run('systemctl', 'start', UNIT)


def test_unreadable_configuration():
    """One that its user may not read, as made under a umask of 077, is told as that, and not tried again and again."""
    booted = machine()
    booted.run('systemctl', 'stop', UNIT)
    booted.configure()
    booted.tree.path(CONFIG).chmod(0o600)
    cursor = booted.cursor()
    check(booted.ask('systemctl', 'start', UNIT)[0] != 0, 'systemctl start says that it has started')
    booted.wait_for_words(rf'{CONFIG}.*Permission denied', cursor)
    check_equal('state', booted.properties(UNIT, 'ActiveState', 'ExecMainStatus', 'NRestarts'),
                {'ActiveState': 'failed', 'ExecMainStatus': '2', 'NRestarts': '0'})


def test_files():
    """Files are written below /var/lib/flowtally; elsewhere the journal says how that is allowed, and then it works."""
    booted = machine()
    booted.run('systemctl', 'stop', UNIT)
    booted.run('install', '-d', '-o', 'flowtally', '/srv/flows')
    booted.configure('file:///srv/flows/a.ipfix', 'file:///var/lib/flowtally/b.ipfix')
    cursor = booted.cursor()
    check(booted.ask('systemctl', 'start', UNIT)[0] != 0, 'systemctl start says that it has started')
    booted.wait_for_words('ReadWritePaths=.*: Read-only file system', cursor)
    booted.run('systemctl', 'stop', UNIT)
    booted.drop_in('ReadWritePaths=/srv/flows')
    try:
        booted.run('systemctl', 'start', UNIT)
        booted.run('systemctl', 'stop', UNIT)
    finally:
        booted.drop_in()
    for name in '/srv/flows/a.ipfix', '/var/lib/flowtally/b.ipfix':
        check_equal(name, booted.run('stat', '-c', '%U %G %a', name).strip(), 'flowtally flowtally 640')


def test_interface_that_comes_later():
    """It is tried again until the interface is there, however long that takes."""
    booted = machine()
    check_equal('limit of starts', booted.show('StartLimitIntervalUSec'), '0')
    booted.drop_in('RestartSec=100ms')
    try:
        booted.run('systemctl', 'stop', UNIT)
        booted.configure(interfaces=['later0'])
        check(booted.ask('systemctl', 'start', UNIT)[0] != 0, 'systemctl start says that it has started')
        wait_until(lambda: int(booted.show('NRestarts')) > 2, 60, 'more starts')
        booted.box.ip('node', 'link', 'add', 'later0', 'up', 'type', 'bridge')
        wait_until(lambda: booted.show('ActiveState') == 'active', 30, 'the start')
    finally:
        booted.drop_in()
        with contextlib.suppress(Failure):
            booted.box.ip('node', 'link', 'delete', 'later0')


def test_who_may_ask():
    """Members of the group `flowtally`, and nobody else."""
    booted = machine()
    booted.restart()
    booted.run('useradd', '--groups', 'flowtally', 'alice')
    booted.run('useradd', 'bob')
    ask = functools.partial(booted.ask, 'flowtally', 'status', '--wait=30s')
    status, out, err = ask(user=('alice', 'alice', 'flowtally'))
    check(status < 2 and 'eth0' in out, f'a member: exit status {status}', out, err)
    status, out, err = ask(user=('bob', 'bob', 'bob'))
    check(status == 2 and 'no permission' in err, f'another: exit status {status}', out, err)
    check_equal('root', ask()[0] < 2, True)


def test_upgrade():
    """While it runs: the old one exports all it has, the new one meters; with a wrong configuration dpkg is content, too."""
    with collector() as (booted, nfcapd, url), scratch() as directory:
        booted.restart(url, **{'idle-timeout': '600s', 'active-timeout': '600s'})
        pid = booted.pid()
        booted.send(55)
        for number in '9.9.8', '9.9.9':
            put(booted, debian.repacked(number, Path(directory)))
        booted.run('dpkg', '-i', '/var/tmp/flowtally_9.9.8_all.deb')
        check_equal('state', booted.show('ActiveState'), 'active')
        check(booted.pid() != pid, 'the process of before')
        booted.send(66, PORT + 1)
        booted.configure(nonsense='1')
        booted.run('dpkg', '-i', '/var/tmp/flowtally_9.9.9_all.deb')
        check_equal('state', booted.show('ActiveState'), 'failed')
        check_equal('packets', packets(nfcapd), {PORT: 55, PORT + 1: 66})
        booted.configure()
        booted.run('systemctl', 'start', UNIT)


def test_removal():
    """Removed while it runs: it is stopped, and nothing of it is on packets; purged, its user is gone, and no unit is left."""
    booted = machine()
    booted.restart()
    booted.run('dpkg', '--remove', 'flowtally')
    check_equal('state', booted.show('ActiveState'), 'inactive')
    check_equal('left attached', booted.attached(), [])
    check(not os.path.lexists(booted.tree.path('/run/flowtally')), 'its folder in /run is there')
    booted.run('dpkg', '--purge', 'flowtally')
    check_equal('unit', booted.show('LoadState'), 'not-found')
    for name in 'passwd', 'group', 'shadow', 'gshadow':  # alice is a member
        check('flowtally' not in booted.tree.read(f'/etc/{name}'), f'left in /etc/{name}', booted.tree.read(f'/etc/{name}'))


def test_newer():
    """Type=notify-reload, from systemd 253 on: `systemctl reload` ends when the changed file is in force, or is not taken."""
    if not NEWER.is_dir():
        raise Skip(f'not there: {NEWER}; tests/package/fetch brings it')
    with contextlib.ExitStack() as stack:
        booted = start(stack, *sorted(NEWER.glob('*.deb')))
        booted.write(f'/etc/systemd/system/{UNIT}.d/notify-reload.conf',
                     (package.ROOT / 'config/notify-reload.conf').read_text(encoding='ascii'))
        booted.run('systemctl', 'daemon-reload')
        booted.restart()
        check_equal('Type', booted.show('Type'), 'notify-reload')
        pid = booted.pid()
        for more, words in ({'nonsense': '1'}, 'nonsense'), ({'active-timeout': '30s'}, 'is in force'):
            cursor = booted.cursor()
            booted.configure(**more)
            booted.run('systemctl', 'reload', UNIT)
            check_equal('process, state', (booted.pid(), booted.show('ActiveState')), (pid, 'active'))
            booted.run('journalctl', '--sync')
            said = [str(entry['MESSAGE']) for entry in booted.entries(cursor)]
            check(any(words in line for line in said), f'/{words}/ is not in', *said)
        warnings = [entry['MESSAGE'] for entry in booted.entries(None, WARNING)]
        comment('\n'.join(warnings))


def shown(function):
    """The test; with the end of the journal when it fails."""
    def run():
        try:
            function()
        except Failure as failure:
            _, journal, _ = machine().ask('journalctl', '--no-pager', '-o', 'short-precise', '-n', '30')
            raise Failure('\n'.join([str(failure), *(f'  journal: {line}' for line in journal.splitlines())])) from None
    return run


if __name__ == '__main__':
    require('dpkg-buildpackage', 'dh', 'chroot', 'unshare', 'nsenter', 'pivot_root', 'setpriv', 'nfcapd', 'nfdump', 'bpftool')
    need(package.BASE)
    with STACK:
        main([(name.removeprefix('test_').replace('_', ' '), shown(function)) for name, function in list(globals().items())
              if name.startswith('test_')])
