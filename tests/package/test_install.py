#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""test_install.py FLOWTALLY BUILD: what `meson install` puts where, and that what is there works.  Needs no root."""
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import package
from package import ROOT, command, quietly, scratch
from tap import cases, check, check_equal, comment, main, skip_all

MESON = '/usr/bin/meson'
BUILD = Path(sys.argv[2]) if len(sys.argv) > 2 else ROOT / 'build'
OPTIONAL = 'PREFIX/lib/systemd/system/flowtally.service.d/notify-reload.conf'  # where systemd knows it
SHELLS = {  # a command that lists what the shell offers for `flowtally st`
    'bash': ['bash', '--norc', '-c', 'source "$0"; COMP_WORDS=(flowtally st); COMP_CWORD=1; '
             '$(complete -p flowtally | sed "s/.*-F \\([^ ]*\\).*/\\1/"); printf "%s\\n" "${COMPREPLY[@]}"'],
    'fish': ['fish', '-c', 'source $argv[1]; complete -C "flowtally st"'],
    'zsh': ['zsh', '-fnc', '. "$0"'],  # the syntax alone
}


def expected():
    names = (ROOT / 'tests/package/installed').read_text(encoding='ascii').split()
    pages = command('git', '-C', ROOT, 'ls-files', '--cached', '--others', '--exclude-standard', 'docs').split()
    return {*names, *(f'PREFIX/share/doc/flowtally/{page}' for page in pages if not page.startswith('docs/man/'))}


def settings():
    """(prefix, where configurations are) of the build."""
    found = {option['name']: option['value'] for option in json.loads(command(MESON, 'introspect', '--buildoptions', BUILD))}
    return found['prefix'], os.path.join(found['prefix'], found['sysconfdir'])


def install(folder):
    quietly(MESON, 'install', '-C', BUILD, '--no-rebuild', '--destdir', folder)
    return settings()


def test_files():
    """All that the list has, and nothing else."""
    with scratch() as directory:
        prefix, etc = install(directory)
        names = set()
        for path in Path(directory).rglob('*'):
            if not path.is_dir():
                name = '/' + str(path.relative_to(directory))
                if name.startswith(etc + '/'):  # may be below the prefix
                    names.add('ETC' + name[len(etc):])
                else:
                    names.add('PREFIX' + name[len(prefix):] if name.startswith(prefix + '/') else name)
                mode = 0o755 if name.endswith('/bin/flowtally') else 0o644
                check_equal(f'mode of {path}', path.stat().st_mode & 0o7777, mode)
        names.discard(OPTIONAL)
        check_equal('installed, and not in the list', sorted(names - expected()), [])
        check_equal('in the list, and not installed', sorted(expected() - names), [])


def test_again():
    """Installed once more, over what a user has changed: the configuration stays.  Uninstalled, no other file does."""
    with scratch() as directory:
        _, etc = install(directory)
        config = Path(f'{directory}{etc}/flowtally/flowtally.yaml')
        config.write_text('interfaces: [br0]\n', encoding='utf-8')
        install(directory)
        check_equal('configuration', config.read_text(encoding='utf-8'), 'interfaces: [br0]\n')
        # What `ninja uninstall` runs, by the list that `meson install` has left; another test may install meanwhile.
        with scratch() as folder:
            log = (BUILD / 'meson-logs/install-log.txt').read_text(encoding='utf-8')
            check(f'{directory}/' in log, log[:200])
            Path(folder, 'meson-logs').mkdir()
            Path(folder, 'meson-logs/install-log.txt').write_text(log, encoding='utf-8')
            quietly(MESON, '--internal', 'uninstall', cwd=folder)
        check_equal('left', [path for path in Path(directory).rglob('*') if not path.is_dir()], [config])


def test_works():
    """The program, its unit, configuration, example, manual, completions and user, from where they are."""
    with scratch() as directory:
        prefix, etc = install(directory)
        here = directory + prefix
        program = f'{here}/bin/flowtally'
        check_equal('version', command(program, '--version').split()[1], package.version())
        for name in directory + etc + '/flowtally/flowtally.yaml', here + '/share/doc/flowtally/examples/flowtally.yaml':
            command(program, 'config', 'check', name)
        unit = Path(f'{here}/lib/systemd/system/flowtally.service').read_text(encoding='ascii')
        start = package.settings(unit)['ExecStart'].split()
        check_equal('ExecStart', (start[0], start[-2], start[-1]),
                    (f'{prefix}/bin/flowtally', '--config', f'{etc}/flowtally/flowtally.yaml'))
        check(all(os.path.exists(directory + name) for name in (start[0], start[-1])), start)
        user = Path(f'{here}/lib/sysusers.d/flowtally.conf').read_text(encoding='ascii')
        check(re.search(r'^u flowtally ', user, re.M), user)
        if 'User' in package.settings(unit):
            check_equal('user of the unit', package.settings(unit)['User'], 'flowtally')
        for name, words in SHELLS.items():
            if shutil.which(words[0]):
                file, = [path for path in Path(here).rglob('*flowtally*') if name in str(path) and path.is_file()
                         and 'doc' not in path.parts]
                offered = command(*words, file, env={**os.environ, 'HOME': directory})
                check(name == 'zsh' or 'status' in offered, f'{name}: {offered}')
            else:
                comment(f'{name}: not installed')
        if shutil.which('man'):
            for page in sorted(Path(here).rglob('man?/*')):
                done = subprocess.run(['man', '--nh', '-l', page], capture_output=True, text=True, check=False,
                                      env={**os.environ, 'MANPAGER': 'cat', 'LC_ALL': 'C.UTF-8', 'MANWIDTH': '200'})
                check(done.returncode == 0 and 'DESCRIPTION' in done.stdout, page, done.stderr)
                for name, section in re.findall(r'\b(flowtally[\w.-]*)\((\d)\)', done.stdout):
                    check(os.path.exists(f'{here}/share/man/man{section}/{name}.{section}'), f'{page}: no {name}({section})')


def test_links():
    """Each link from an installed page to a file leads to one, but to sources, which are not installed."""
    sources = re.compile(r'config/|tests/|xdp/|tc/|exporter/|tools/|helm/|packaging/|debian/|LICENSES?/?$')
    with scratch() as directory:
        prefix, _ = install(directory)
        pages = sorted(Path(f'{directory}{prefix}/share/doc/flowtally').rglob('*.md'))
        check(len(pages) > 20, pages)
        for page in pages:
            for link in re.findall(r'\]\(([^)#:\s]+)(?:#[^)]*)?\)', page.read_text(encoding='utf-8')):
                target = os.path.normpath(page.parent / link)
                inside = os.path.relpath(target, f'{directory}{prefix}/share/doc/flowtally')
                check(os.path.exists(target) or sources.match(inside), f'{page.name}: {link} is not there')


def test_prefix():
    """Installed as a distribution does, below /usr, the unit and the user are where systemd says; the configuration in /etc."""
    with scratch() as directory:
        quietly(MESON, 'setup', '--prefix=/usr', '-Dtests=disabled', '-Dfuzz=disabled', f'-Dbpf_clang={clang()}', directory,
                ROOT)
        plan = json.loads(command(MESON, 'introspect', '--install-plan', directory))
        installed = set(json.loads(command(MESON, 'introspect', '--installed', directory)).values())
        quietly('ninja', '-C', directory, 'flowtally.service')
        start = package.settings((Path(directory) / 'flowtally.service').read_text(encoding='ascii'))['ExecStart']
    check(plan, 'nothing is installed')
    places = {Path(name).name: name for name in installed}
    systemd = subprocess.run(['pkg-config', '--variable=systemdsystemunitdir', 'systemd'], capture_output=True, text=True,
                             check=False).stdout.strip() or '/usr/lib/systemd/system'
    check_equal('unit', places.get('flowtally.service'), f'{systemd}/flowtally.service')
    check_equal('user', places.get('flowtally.conf'), '/usr/lib/sysusers.d/flowtally.conf')
    check_equal('configuration', start.split()[-1], '/etc/flowtally/flowtally.yaml')


def test_commit():
    """Without git and without an option nobody knows the commit; the option names it."""
    with scratch() as directory:
        sources = package.copy_sources(Path(directory) / 'sources')
        build = Path(directory) / 'build'
        quietly(MESON, 'setup', '-Dtests=disabled', '-Dfuzz=disabled', f'-Dbpf_clang={clang()}', build, sources)
        for option, commit in ('', 'unknown'), ('0123456789ab', '0123456789ab'):
            quietly(MESON, 'configure', build, f'-Dcommit={option}')
            quietly('ninja', '-C', build, 'commit.c')
            check_equal('commit', re.findall('"(.*)"', (build / 'commit.c').read_text(encoding='ascii'))[-1], commit)


def clang():
    found = {option['name']: option['value'] for option in json.loads(command(MESON, 'introspect', '--buildoptions', BUILD))}
    return found['bpf_clang']


if __name__ == '__main__':
    if not os.access(MESON, os.X_OK):
        skip_all(f'not there: {MESON}')
    main(cases(globals()))
