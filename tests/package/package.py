# SPDX-License-Identifier: Apache-2.0
"""What the tests of packages share: copies of the sources, trees of a minimal Debian, programs that run inside of one."""
import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

sys.dont_write_bytecode = True
ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / 'tests/e2e'))

from lab import DIES_WITH_TEST, Lab, command, scratch, wait_until  # pylint: disable=wrong-import-position
from tap import Failure, check, skip_all  # pylint: disable=wrong-import-position

CACHE = Path(command(ROOT / 'tests/package/fetch', '--where').strip())
BASE = CACHE / 'base'
ARCHIVES = CACHE / 'archives'  # packages that trees have fetched
NODE, PEER = '198.51.100.1', '198.51.100.2'
TORTURE = 'FLOWTALLY_TORTURE' in os.environ
LONG = 3600 if TORTURE else 550  # s of a command, at most: less than meson allows the test
ENVIRONMENT = {'PATH': '/usr/sbin:/usr/bin:/sbin:/bin', 'LC_ALL': 'C.UTF-8', 'DEBIAN_FRONTEND': 'noninteractive'}
MOUNTS = 'mount -t proc proc proc && mount -t sysfs sysfs sys && mount --rbind /dev dev'


def need(*paths):
    """Skips all tests without these parts of the cache."""
    missing = [str(path) for path in paths if not path.exists()]
    if missing:
        skip_all(f'not there: {" ".join(missing)}; tests/package/fetch brings them')


def copy_sources(folder):
    """The sources as they are, without what was built."""
    names = command('git', '-C', ROOT, 'ls-files', '-z', '--cached', '--others', '--exclude-standard').split('\0')
    for name in filter(None, names):
        if (ROOT / name).is_symlink() or (ROOT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name, follow_symlinks=False)
    return folder


def version():
    return re.search(r"version: '(.*?)'", (ROOT / 'meson.build').read_text(encoding='ascii'))[1]


def quietly(*words, **options):
    """A command that may say much; its end is shown when it fails."""
    done = subprocess.run([str(word) for word in words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, errors='replace', check=False, timeout=LONG, **options)
    if done.returncode != 0:
        end = '\n'.join(done.stdout.splitlines()[-40:])
        raise Failure(f'{" ".join(map(str, words))}: exit status {done.returncode}\n{end}')
    return done.stdout


class Tree:
    """with tree() as one: ...   A root file system; what runs inside of it sees its own processes and /dev, /proc, /sys."""

    def __init__(self, root):
        self.root = root

    def path(self, name):
        return self.root / str(name).lstrip('/')

    def exists(self, name):
        return os.path.lexists(self.path(name))

    def read(self, name):
        return self.path(name).read_text(encoding='utf-8')

    def write(self, name, text):
        self.path(name).parent.mkdir(parents=True, exist_ok=True)
        self.path(name).write_text(text, encoding='utf-8')

    def words(self, *words, namespace=None, mounts=MOUNTS):
        enter = ['nsenter', f'--net=/run/netns/{namespace}'] if namespace else []
        return [*enter, 'unshare', '--mount', '--propagation', 'private', 'sh', '-c',
                f'cd "$0" && {mounts} && exec chroot . "$@"', str(self.root), *map(str, words)]

    def run(self, *words, env=None, **options):
        """Runs a command to its end; what it says, on both streams."""
        return quietly(*self.words(*words, **options), env={**ENVIRONMENT, **(env or {})})

    def files(self):
        """All names but those of what dpkg, apt and logs keep."""
        kept = 'proc', 'sys', 'dev', 'tmp', 'var/lib/dpkg', 'var/lib/apt', 'var/cache', 'var/log'
        found = set()
        for folder, folders, names in os.walk(self.root):
            here = os.path.relpath(folder, self.root)
            folders[:] = [name for name in folders if os.path.normpath(os.path.join(here, name)) not in kept]
            found |= {os.path.normpath(os.path.join(here, name)) for name in [*folders, *names]}
        return found


@contextlib.contextmanager
def tree():
    """A copy of the minimal Debian."""
    with scratch() as directory:
        root = Path(directory) / 'root'
        command('cp', '-a', BASE, root, timeout=LONG)
        yield Tree(root)


def install(one, *packages, options=()):
    """By apt, with what the packages need: files of this machine, and names of packages."""
    inside = []
    for package in packages:
        if isinstance(package, Path):
            shutil.copy(package, one.path('tmp'))
            package = f'/tmp/{package.name}'
        inside.append(package)
    words = ['apt-get', '-qq', '-y', '--no-install-recommends', '-o', 'APT::Sandbox::User=root', *options, 'install', *inside]
    mounts = f'{MOUNTS} && mount --bind {ARCHIVES} var/cache/apt/archives'
    try:
        return one.run(*words, mounts=mounts)
    except Failure:
        one.run('apt-get', '-qq', 'update')  # the mirror has newer ones by now
        return one.run(*words, mounts=mounts)


@contextlib.contextmanager
def node():
    """Two namespaces: of a node, whose interface is eth0, and of who sends to it."""
    with Lab('node', 'peer') as box:
        box.veth(('node', 'eth0'), ('peer', 'p0'))
        box.address(('node', 'eth0', [NODE]), ('peer', 'p0', [PEER]))
        yield box


def settings(unit):
    """The settings of a unit's [Service], the last of each name; those that add up with a space between."""
    found = {}
    for line in unit.split('[Service]')[1].split('\n[')[0].splitlines():
        name, equals, value = line.partition('=')
        if equals and not line.startswith('#'):
            found[name] = f'{found[name]} {value}' if name == 'SystemCallFilter' and name in found else value
    return found


class Service:
    """with Service(tree, box) as one: ...   The unit of the tree, started with its user, rights and folders as by systemd."""

    def __init__(self, one, box, role='node', unit='/lib/systemd/system/flowtally.service'):
        self.tree, self.box, self.role = one, box, role
        self.unit = settings(one.read(unit))
        self.log = tempfile.TemporaryFile()  # pylint: disable=consider-using-with
        self.process = None

    def prefix(self):
        user = self.unit.get('User')
        words = ['setpriv', '--no-new-privs'] if self.unit.get('NoNewPrivileges') == 'yes' else ['setpriv']
        for name, option in ('AmbientCapabilities', '--ambient-caps'), ('CapabilityBoundingSet', '--bounding-set'):
            if name in self.unit:
                names = [name.lower().removeprefix('cap_') for name in self.unit[name].split()]
                names = ','.join(['-all', *(f'+{name}' for name in names)])
                words += ['--inh-caps', names, option, names] if option == '--ambient-caps' else [option, names]
        return [*words, '--reuid', user, '--regid', self.unit.get('Group', user), '--clear-groups'] if user else words

    def folders(self):
        for name, parent in ('RuntimeDirectory', 'run'), ('StateDirectory', 'var/lib'):
            if name in self.unit:
                folder = f'/{parent}/{self.unit[name]}'
                user, group = self.unit.get('User', 'root'), self.unit.get('Group', 'root')
                self.tree.run('install', '-d', '-m', self.unit.get(f'{name}Mode', '0755'), '-o', user, '-g', group, folder)

    def __enter__(self):
        self.folders()
        start = self.unit['ExecStart'].split()
        check(self.tree.exists(start[0]), f'ExecStart names what is not there: {start[0]}')
        words = self.tree.words(*self.prefix(), *start, namespace=self.box.names[self.role])
        self.process = subprocess.Popen([*DIES_WITH_TEST, *words], stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
                                        env=ENVIRONMENT)
        wait_until(lambda: 'ready' in self.said() or self.process.poll() is not None, 60, 'the word ready')
        check(self.process.poll() is None, f'ended with status {self.process.returncode}', self.said())
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.log.close()

    def said(self):
        self.log.seek(0)
        return self.log.read().decode(errors='replace')

    def stop(self):
        """By systemd's signal; its exit status."""
        self.process.terminate()
        return self.process.wait(30)
