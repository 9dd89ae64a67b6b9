#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The Debian package: built, judged by lintian, installed, started, upgraded, removed and purged in a minimal Debian."""
import re
import shutil
import subprocess
from pathlib import Path

import debian
import package
import traffic
from debian import build, built, deb, repacked
from package import NODE, PEER, Service, command, install, need, node, scratch, tree, version, wait_until
from tap import cases, check, check_equal, comment, main, require, torture

CONFIG = '/etc/flowtally/flowtally.yaml'
SYSUSERS = 'systemd-standalone-sysusers'  # a system without systemd has it instead


def test_builds():
    """Two packages, of the version of the program, without a warning; lintian has nothing to say."""
    warnings = [line for line in (built() / debian.LOG).read_text(encoding='utf-8').splitlines() if 'warning:' in line]
    check(not warnings, *warnings[:10])
    names = sorted(path.name.split('_')[0] for path in built().glob('*.deb'))
    check_equal('packages', names, ['flowtally', 'flowtally-dbgsym'])
    check_equal('version', command('dpkg-deb', '-f', deb(), 'Version').strip(), version())
    changes, = built().glob('*.changes')
    done = subprocess.run(['lintian', '--info', '--display-info', '--pedantic', '--fail-on', 'error,warning,info,pedantic',
                           '--allow-root', changes], capture_output=True, text=True, check=False)
    check(done.returncode == 0 and not done.stdout, done.stdout, done.stderr)
    comment(f'{deb().stat().st_size / 1000:.0f} kB')


def test_lintian_sees():
    """A fault in the package is told by lintian: the test above can fail."""
    def spoil(root):
        (root / 'usr/bin/flowtally').chmod(0o644)
        shutil.rmtree(root / 'usr/share/man')
    with scratch() as directory:
        done = subprocess.run(['lintian', '--allow-root', repacked('0.0.8', Path(directory), spoil)], capture_output=True,
                              text=True, check=False)
    check('no-manual-page' in done.stdout, done.stdout, done.stderr)


@torture
def test_same_octets():
    """Built in another folder, whose files are newer: the same packages to the octet.  In ./torture."""
    with scratch() as directory:
        build(package.copy_sources(Path(directory) / 'a-longer-way/flowtally-0.1.0'))
        others = list(Path(directory, 'a-longer-way').glob('*.deb'))
        check_equal('packages', len(others), 2)
        for other in others:
            check(other.read_bytes() == (built() / other.name).read_bytes(), f'{other.name} differs')
            comment(f'{other.name}: {other.stat().st_size} octets')


def test_starts():
    """In a minimal Debian: there is a user, the unit is enabled, and started as it says the exporter meters packets."""
    with tree() as one, node() as box:
        shutil.copy(deb(), one.path('tmp'))
        plan = one.run('apt-get', '-s', '--no-install-recommends', 'install', f'/tmp/{deb().name}')
        check('Inst flowtally ' in plan and 'Inst libbpf1 ' in plan, 'apt does not find all that it needs:', plan)
        install(one, deb(), SYSUSERS)
        check(re.search(r'^flowtally:[^:]*:\d+:\d+:[^:]*:/var/lib/flowtally:/usr/sbin/nologin$', one.read('/etc/passwd'), re.M),
              'no user', one.read('/etc/passwd'))
        check(one.exists('/etc/systemd/system/multi-user.target.wants/flowtally.service'), 'the unit is not enabled')
        check_equal('version', one.run('flowtally', '--version').split()[1], version())
        missing = [line for line in one.run('ldd', '/usr/bin/flowtally').splitlines() if 'not found' in line]
        check(not missing, *missing)
        with Service(one, box) as service:
            traffic.udp(box, 'peer', (PEER, 4000), (NODE, 5000), 55, b'x' * 100)
            # /run is of the tree, and status asks at the default socket.
            wait_until(lambda: '55 packets' in one.run('flowtally', 'observe', '--last', '100', 'port', '5000',
                                                       namespace=box.names['node']), 20, 'the flow')
            status = one.run('flowtally', 'status', namespace=box.names['node'])
            check('is healthy' in status and 'eth0' in status, status)
            one.write(CONFIG, one.read(CONFIG) + 'idle-timeout: 3s\n')
            wait_until(lambda: 'is in force' in service.said(), 10, 'the changed configuration')
            check_equal('exit status', service.stop(), 0)
            check('ledger: balances, lost 0 packets' in service.said(), service.said())


def test_upgrade():
    """From an older version: what the user has changed of the configuration stays, what the package has changed comes."""
    def older(root):
        with open(root / CONFIG.lstrip('/'), 'a', encoding='utf-8') as file:
            file.write('# older\n')
    with tree() as one, scratch() as directory:
        old, new = repacked('0.0.9', Path(directory), older), deb()
        install(one, old, SYSUSERS)
        check(one.read(CONFIG).endswith('# older\n'), 'the older configuration')
        install(one, new)
        check_equal('configuration that nobody changed', one.read(CONFIG),
                    (package.ROOT / 'config/host.yaml').read_text(encoding='utf-8'))
        one.write(CONFIG, 'interfaces: [br0]\n')
        one.write('/var/lib/flowtally/flows.ipfix', 'kept')
        install(one, repacked('9.9.9', Path(directory)))
        check_equal('version', one.run('dpkg-query', '-W', '-f', '${Version}', 'flowtally'), '9.9.9')
        check_equal('configuration of the user', one.read(CONFIG), 'interfaces: [br0]\n')
        install(one, old, options=['--allow-downgrades', '-o', 'Dpkg::Options::=--force-confold'])
        check_equal('after a downgrade', (one.read(CONFIG), one.read('/var/lib/flowtally/flows.ipfix')),
                    ('interfaces: [br0]\n', 'kept'))
        # Both have changed it: the user's stays, the package's is beside it.
        install(one, new, options=['-o', 'Dpkg::Options::=--force-confold'])
        check_equal('both have changed it', (one.read(CONFIG), one.read(f'{CONFIG}.dpkg-dist')),
                    ('interfaces: [br0]\n', (package.ROOT / 'config/host.yaml').read_text(encoding='utf-8')))


def test_purge_while_it_runs():
    """Where nobody stops the service, since systemd does not run: it is purged all the same, and says what stays."""
    with tree() as one, node() as box:
        install(one, deb(), SYSUSERS)
        with Service(one, box):
            said = one.run('dpkg', '--purge', 'flowtally')
            check('user flowtally stays' in said, said)
        check('Package: flowtally\n' not in one.read('/var/lib/dpkg/status'), 'it is not purged as a whole')
        check('flowtally:' in one.read('/etc/passwd'), 'the user of a process is gone')
        # The next time its user is there already, and goes.
        install(one, deb())
        one.run('dpkg', '--purge', 'flowtally')
        check('flowtally' not in one.read('/etc/passwd'), 'the user is there')


def test_removal():
    """Removed, the configuration and the state stay; purged, nothing does, neither the user nor a file."""
    with tree() as one:
        install(one, SYSUSERS)
        before = one.files()
        # What it needs stays, and what apt brings with that.
        depends = re.findall(r'(?:^|, )(lib[\w.-]+|zlib1g)', command('dpkg-deb', '-f', deb(), 'Depends'))
        install(one, *depends)
        before |= one.files()
        install(one, deb())
        one.write('/var/lib/flowtally/flows.ipfix', 'state')
        check(len(one.files() - before) > 40, 'nothing was installed')
        one.run('dpkg', '--remove', 'flowtally')
        left = {name for name in one.files() - before if not one.path(name).is_dir() or one.path(name).is_symlink()}
        check_equal('left behind by removal', left & {'usr/bin/flowtally', CONFIG[1:], 'var/lib/flowtally/flows.ipfix'},
                    {CONFIG[1:], 'var/lib/flowtally/flows.ipfix'})
        check('flowtally:' in one.read('/etc/passwd'), 'the user is gone, whose files stay')
        one.run('dpkg', '--purge', 'flowtally')
        copies = {f'etc/{name}-' for name in ('passwd', 'group', 'shadow', 'gshadow')}  # which what changes users keeps
        check_equal('left behind by a purge', one.files() - before - copies, set())
        for name in 'passwd', 'group', 'shadow', 'gshadow':
            check('flowtally' not in one.read(f'/etc/{name}'), f'the user is still in /etc/{name}')


@torture
def test_from_source():
    """In a minimal Debian, with what `./setup --build-only` installs alone: installed, and gone but for its configuration."""
    with tree() as one:
        package.copy_sources(one.path('/src'))
        one.run('sh', '-c', 'cd src && ./setup --build-only', env={'HOME': '/root'})
        before = one.files()
        one.run('meson', 'install', '-C', '/src/build')
        check_equal('version', one.run('/usr/local/bin/flowtally', '--version').split()[1], version())
        names = one.files() - before
        for name in 'share/man/man8/flowtally-run.8', 'lib/systemd/system/flowtally.service', 'etc/flowtally/flowtally.yaml':
            check(f'usr/local/{name}' in names, f'{name} is not installed')
        one.run('ninja', '-C', '/src/build', 'uninstall')
        left = {name for name in one.files() - before if name.startswith('usr/local/') and not one.path(name).is_dir()}
        check_equal('after ninja uninstall', left, {'usr/local/etc/flowtally/flowtally.yaml'})


if __name__ == '__main__':
    require('dpkg-buildpackage', 'dh', 'lintian', 'chroot', 'unshare', 'setpriv')
    need(package.BASE)
    main(cases(globals()))
