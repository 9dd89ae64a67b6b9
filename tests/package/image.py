# SPDX-License-Identifier: Apache-2.0
"""The image as the tests have it: by buildah from the Dockerfile, without a registry.

It is built once for all tests that start it, and again when what it is made of has changed: $CACHE/images has the last ones.
"""
import fcntl
import hashlib
import json
import os
import shutil
import tarfile
from pathlib import Path

import package
from package import BASE, CACHE, ROOT, quietly, scratch
from tap import check_equal, once

COMMIT = '0123456789abcdef0123456789abcdef01234567'
DEBIAN = 'localhost/flowtally-test/debian:bookworm'  # in place of the one of a registry
IMAGES, KEPT = CACHE / 'images', 8
OWN = package.command('dpkg', '--print-architecture').strip()


class Image:
    """A root file system, and what a registry tells of it."""

    def __init__(self, folder):
        self.root = folder / 'root'
        self.manifest, self.configuration = (json.loads((folder / name).read_text(encoding='utf-8'))
                                             for name in ('manifest.json', 'configuration.json'))
        self.config = self.configuration['config']

    def copy_to(self, folder):
        """A runtime makes places to mount in it."""
        package.command('cp', '-a', self.root, folder)


def buildah(*words):
    return quietly('buildah', '--root', CACHE / 'containers', '--runroot', '/run/flowtally-buildah', *words)


def make_base():
    """An image of the minimal Debian; the other steps of a build are kept with it."""
    if DEBIAN.rsplit(':', 1)[0] in buildah('images', '--format', '{{.Name}}'):
        return
    name = buildah('from', 'scratch').split()[-1]
    buildah('add', '--quiet', name, BASE, '/')
    buildah('commit', '--quiet', name, DEBIAN)
    buildah('rm', name)


def ignore_file():
    return ROOT / '.dockerignore'


def context():
    """The files of the tree that a builder is given."""
    wanted = [line[1:] for line in ignore_file().read_text(encoding='ascii').splitlines() if line.startswith('!')]
    names = package.command('git', '-C', ROOT, 'ls-files', '--cached', '--others', '--exclude-standard').splitlines()
    return sorted(name for name in names if any(name == one or name.startswith(one + '/') for one in wanted)
                  and (ROOT / name).exists())


def content():
    """A name for what an image is made of."""
    digest = hashlib.sha256(f'{BASE.stat().st_mtime_ns}'.encode())
    for name in ['Dockerfile', '.dockerignore', *context()]:
        text = (ROOT / name).read_bytes()
        digest.update(f'{name} {(ROOT / name).stat().st_mode} {len(text)} '.encode() + text)
    return digest.hexdigest()[:24]


def words_of(sources, folder, arch):
    """What each build of sources begins with; the folder is for a file."""
    words = ['build', '--layers', '--isolation', 'chroot', '--pull-never', '--platform', f'linux/{arch}',
             '--build-arg', f'BASE={DEBIAN}', '--ignorefile', ignore_file()]
    # Debian's buildah knows BUILDPLATFORM in FROM only when it is declared; BuildKit declares it itself.
    dockerfile = folder / 'Dockerfile'
    dockerfile.write_text('ARG BUILDPLATFORM\n' + (sources / 'Dockerfile').read_text(encoding='utf-8'), encoding='utf-8')
    return [*words, '--file', dockerfile, '--build-arg', f'BUILDPLATFORM=linux/{OWN}']


def build_libraries(words, sources, arch):
    """The stage whose steps are kept: only what has a name is."""
    buildah(*words, '--target', 'libraries', '--tag', f'localhost/flowtally-test/libraries:{arch}', sources)


def prepare(arch):
    """What takes long, and changes seldom."""
    with lock(), scratch() as directory, scratch() as folder:
        make_base()
        sources = package.copy_sources(Path(directory) / 'sources')
        build_libraries(words_of(sources, Path(folder), arch), sources, arch)


def build(sources, folder, arch, *options):
    """Builds it of sources, unpacked into the folder, as a registry would give it."""
    name = f'localhost/flowtally-test/flowtally:{arch}'
    words = words_of(sources, folder, arch)
    build_libraries(words, sources, arch)
    buildah(*words, '--build-arg', f'COMMIT={COMMIT}', *options, '--tag', name, sources)
    buildah('push', '--quiet', name, f'oci:{folder / "oci"}:test')
    buildah('rm', '--all')  # of a build that was killed
    buildah('rmi', '--prune')

    def blob(descriptor):
        path = folder / 'oci/blobs' / descriptor['digest'].replace(':', '/')
        check_equal('digest', hashlib.sha256(path.read_bytes()).hexdigest(), path.name)
        return path

    index = json.loads((folder / 'oci/index.json').read_text(encoding='utf-8'))
    shutil.copy(blob(index['manifests'][0]), folder / 'manifest.json')
    manifest = json.loads((folder / 'manifest.json').read_text(encoding='utf-8'))
    shutil.copy(blob(manifest['config']), folder / 'configuration.json')
    for layer in manifest['layers']:
        with tarfile.open(blob(layer)) as tar:
            tar.extractall(folder / 'root', numeric_owner=True)
    shutil.rmtree(folder / 'oci')


def lock():
    CACHE.mkdir(parents=True, exist_ok=True)
    held = open(CACHE / 'images.lock', 'wb')  # pylint: disable=consider-using-with
    fcntl.flock(held, fcntl.LOCK_EX)
    return held


def image(arch=OWN):
    """The image of the tree as it is; whoever comes first builds it, others wait for that."""
    place = IMAGES / f'{content()}-{arch}'
    with lock():
        if not place.exists():
            make_base()
            new = IMAGES / 'new'
            shutil.rmtree(new, ignore_errors=True)
            new.mkdir(parents=True)
            with scratch() as directory:
                build(package.copy_sources(Path(directory) / 'sources'), new, arch)
            new.rename(place)
        os.utime(place)
        for old in sorted(IMAGES.iterdir(), key=lambda path: path.stat().st_mtime)[:-KEPT]:
            shutil.rmtree(old)
    return Image(place)


own = once(image)
