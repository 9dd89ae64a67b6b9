# SPDX-License-Identifier: Apache-2.0
"""A tree whose first process is systemd, in namespaces of its own: of processes, mounts, names, IPC and control groups.

Its network is a namespace of the test's.  It sees control groups of version 2 alone, from a group of its own downwards,
also on a machine that has both versions; a machine without version 2 cannot run it.
"""
import contextlib
import itertools
import json
import os
import re
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from package import ENVIRONMENT, LONG, quietly
from lab import DIES_WITH_TEST, PREFIX, command, stale, wait_until
from tap import Skip, check

SYSTEMD = '/lib/systemd/systemd'
BOOT_SECONDS = 90
# What no service here needs, and what would reach the machine below: its clock, modules, and end.
TAKEN = '-sys_time,-sys_module,-sys_boot,-sys_rawio,-wake_alarm,-syslog,-mac_admin,-mac_override'
# Units of the tree that are of no use here: consoles, and what looks for updates.
MASKED = 'getty.target', 'console-getty.service', 'timers.target', 'systemd-logind.service', 'remote-fs.target'
# $0 is the tree.  What is mounted is gone with the namespace.
SETUP = '''
set -e
mount --bind "$0" "$0"
cd "$0"
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -o remount,bind,ro,nosuid,nodev,noexec sys
mount -t cgroup2 -o nosuid,nodev,noexec cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs dev
mkdir dev/pts dev/shm
for name in null zero full random urandom tty; do
	: >dev/$name
	mount --bind /dev/$name dev/$name
done
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts dev/pts
mount -t tmpfs -o mode=1777 tmpfs dev/shm
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
for name in sys sysrq-trigger; do
	[ -e proc/$name ] || continue
	mount --bind proc/$name proc/$name
	mount -o remount,bind,ro proc/$name
done
pivot_root . mnt
umount -l /mnt
exec setpriv --bounding-set "$1" env -i container=flowtally-test PATH=/usr/sbin:/usr/bin:/sbin:/bin "$2"
'''

_counter = itertools.count()


def groups():
    """Where control groups of version 2 are."""
    for line in Path('/proc/self/mountinfo').read_text(encoding='utf-8').splitlines():
        fields = line.split()
        if fields[fields.index('-') + 1] == 'cgroup2' and 'rw' in fields[5].split(','):
            return Path(fields[4])
    raise Skip('no control groups of version 2 that can be written to')


def remove_group(folder):
    """A group with all below it, and all that still runs in them."""
    with contextlib.suppress(OSError):
        (folder / 'cgroup.kill').write_text('1', encoding='ascii')
    for one, _, _ in os.walk(folder, topdown=False):
        end = time.monotonic() + 10
        while os.path.isdir(one) and time.monotonic() < end:
            with contextlib.suppress(OSError):
                os.rmdir(one)
            time.sleep(0.01)


class Booted:
    """with Booted(tree, box, 'node') as one: ...   The tree, started; what run() runs is beside its services."""

    def __init__(self, tree, box, role):
        self.tree, self.box, self.role = tree, box, role
        self.group = groups() / f'{PREFIX}-{os.getpid()}-{next(_counter)}'
        self.console = tempfile.TemporaryFile()  # pylint: disable=consider-using-with
        self.process = self.first = None

    def __enter__(self):
        for name in stale(self.group.parent):
            remove_group(self.group.parent / name)
        for name in MASKED:
            path = self.tree.path(f'/etc/systemd/system/{name}')
            if not path.is_symlink():
                path.symlink_to('/dev/null')
        self.tree.path('/usr/sbin/policy-rc.d').unlink(missing_ok=True)  # services are started here
        self.tree.path('/etc/machine-id').write_text('0123456789abcdef0123456789abcdef\n', encoding='ascii')
        try:
            self.group.mkdir()
            self.start()
        except BaseException:
            self.end()
            raise
        return self

    def start(self):
        inside = ['unshare', '--mount', '--propagation', 'private', '--uts', '--ipc', '--cgroup', '--pid', '--fork',
                  '--kill-child', 'sh', '-c', SETUP, self.tree.root, TAKEN, SYSTEMD]
        words = ['sh', '-c', 'echo $$ >"$0/cgroup.procs" && exec "$@"', self.group,
                 'nsenter', f'--net=/run/netns/{self.box.names[self.role]}', *inside]
        self.process = subprocess.Popen([*DIES_WITH_TEST, *map(str, words)], stdin=subprocess.DEVNULL, stdout=self.console,
                                        stderr=self.console)
        wait_until(self.is_running, BOOT_SECONDS, 'systemd to have started')

    def is_running(self):
        check(self.process.poll() is None, f'systemd ended with status {self.process.returncode}', *self.said())
        children = Path(f'/proc/{self.process.pid}/task/{self.process.pid}/children').read_text(encoding='ascii').split()
        if not children or os.readlink(f'/proc/{children[0]}/exe') != '/usr' + SYSTEMD:
            return False
        self.first = children[0]
        state = self.ask('systemctl', 'is-system-running')[1].strip()
        check(state != 'degraded', self.ask('systemctl', '--failed', '--no-pager')[1], *self.said())
        return state == 'running'

    def said(self):
        self.console.seek(0)
        return self.console.read().decode(errors='replace').splitlines()[-30:]

    def __exit__(self, *_):
        self.end()

    def end(self):
        if self.process:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
        remove_group(self.group)
        self.console.close()

    # --- What is asked of it.

    def words(self, *words, user=None):
        """user: (user, group, groups) of who runs them, else root"""
        names = ['setpriv', '--reuid', user[0], '--regid', user[1], '--groups', user[2], '--inh-caps=-all'] if user else []
        return [str(word) for word in ('nsenter', '--target', self.first, '--mount', '--uts', '--ipc', '--net', '--pid',
                                       '--root', '--wd=/', *names, *words)]

    def ask(self, *words, user=None):
        """(exit status, standard output, standard error) of a command in it."""
        done = subprocess.run(self.words(*words, user=user), stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              errors='replace', check=False, timeout=LONG, env=ENVIRONMENT)
        return done.returncode, done.stdout, done.stderr

    def run(self, *words):
        """Runs a command to its end; what it says, on both streams."""
        return quietly(*self.words(*words), env=ENVIRONMENT)

    def properties(self, unit, *names):
        """What `systemctl show` says, by name; of all that it knows without names."""
        chosen = [f'--property={",".join(names)}'] if names else []
        text = command(*self.words('systemctl', 'show', unit, *chosen), env=ENVIRONMENT)
        return dict(line.split('=', 1) for line in text.splitlines() if '=' in line)

    def journal(self, *words):
        """Entries of the journal, each a dict, oldest first."""
        text = command(*self.words('journalctl', '--output=json', '--no-pager', *words), env=ENVIRONMENT)
        return [json.loads(line) for line in text.splitlines()]

    def process_status(self, pid):
        """/proc/PID/status of a process by its number in there."""
        return dict(re.findall(r'^(\w+):\s+(.*)$', self.run('cat', f'/proc/{pid}/status'), re.M))
