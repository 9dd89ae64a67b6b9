# SPDX-License-Identifier: Apache-2.0
"""The Debian package of these sources, which is built once for all tests that want it."""
import fcntl
import hashlib
import os
import re
import shutil
import sys
from pathlib import Path

import package
from package import command, quietly, scratch
from tap import once

# Of the build, so that the tests of one build share what is in it; by hand a folder of this process.
SHARED = Path(sys.argv[1]) if len(sys.argv) > 1 else None
OWN = scratch()
LOG = 'dpkg-buildpackage.log'


def digest(folder):
    """Of all names, modes and contents in a folder, but for tests, of which nothing is in the package."""
    found = hashlib.sha256()
    for path in sorted(folder.rglob('*')):
        if (path.is_symlink() or path.is_file()) and path.relative_to(folder).parts[0] != 'tests':
            data = os.readlink(path).encode() if path.is_symlink() else path.read_bytes()
            found.update(f'{path.relative_to(folder)} {path.lstat().st_mode} {len(data)} '.encode() + data)
    return found.hexdigest()


def build(sources):
    """Makes the packages beside the folder of the sources, which are as if they were written just now."""
    for path in sources.rglob('*'):
        os.utime(path, follow_symlinks=False)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(('DEB_', 'SOURCE_DATE'))}
    log = quietly('dpkg-buildpackage', '-b', '-us', '-uc', '-jauto', cwd=sources, env=environment)
    (sources.parent / LOG).write_text(log, encoding='utf-8')


@once
def built():
    """The folder with the packages, and the log of their building."""
    parent = SHARED or Path(OWN.name)
    parent.mkdir(parents=True, exist_ok=True)
    with scratch() as directory, open(parent / 'lock', 'wb') as lock:
        sources = package.copy_sources(Path(directory) / 'flowtally')
        folder = parent / digest(sources)
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / LOG).exists():
            for old in parent.glob('*/'):
                shutil.rmtree(old)
            build(sources)
            shutil.rmtree(sources)
            shutil.copytree(directory, parent / 'new')
            os.rename(parent / 'new', folder)
    return folder


def deb(name='flowtally'):
    found, = built().glob(f'{name}_*.deb')
    return found


def repacked(number, folder, change=None):
    """The package as of another version, in which change(root) has changed something."""
    root = folder / number
    command('dpkg-deb', '-R', deb(), root)
    control = root / 'DEBIAN/control'
    control.write_text(re.sub(r'^Version: .*', f'Version: {number}', control.read_text(encoding='utf-8'), flags=re.M),
                       encoding='utf-8')
    if change:
        change(root)
    made = folder / f'flowtally_{number}_all.deb'
    command('dpkg-deb', '--root-owner-group', '-b', root, made)
    return made
