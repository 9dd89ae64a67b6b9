#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The image: built by buildah from the Dockerfile without a registry, and started under the security context of the chart."""
import hashlib
import json
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import package
import traffic
from package import BASE, CACHE, DIES_WITH_TEST, NODE, PEER, ROOT, command, need, node, quietly, scratch, wait_until
from tap import Skip, check, check_equal, comment, main, once, require

OCTETS_MAX = 15_000_000
COMMIT = '0123456789ab'
DEBIAN = 'localhost/flowtally-test/debian:bookworm'  # in place of the one of a registry
LIBRARIES = 'localhost/flowtally-test/libraries:test'  # of the Dockerfile's stage, whose steps are kept
IMAGE = 'localhost/flowtally-test/flowtally:test'
CHART_BIN = Path(os.environ.get('FLOWTALLY_CHART_CACHE') or CACHE.with_name('flowtally-chart')) / 'bin'
# helm/flowtally/values.yaml, securityContext; values.yaml has the word where it is there.
CONTEXT = {
    'privileged': False, 'allowPrivilegeEscalation': False, 'readOnlyRootFilesystem': True, 'runAsUser': 0, 'runAsGroup': 0,
    'runAsNonRoot': False, 'capabilities': {'drop': ['ALL'], 'add': ['BPF', 'NET_ADMIN', 'PERFMON']},
}
CAPABILITIES = [f'CAP_{name}' for name in CONTEXT['capabilities']['add']]
MOUNTS = [('/proc', 'proc', 'nosuid,noexec,nodev'), ('/dev', 'tmpfs', 'nosuid,strictatime,mode=755,size=65536k'),
          ('/sys', 'sysfs', 'nosuid,noexec,nodev,ro'), ('/run/flowtally', 'tmpfs', 'nosuid,nodev,mode=755,size=1m')]
UNPACKED = scratch()


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


@once
def built():
    """(manifest, configuration, root file system) of the image, as a registry would give them."""
    make_base()
    folder = Path(UNPACKED.name)
    package.copy_sources(folder / 'sources')
    build = ['build', '--layers', '--isolation', 'chroot', '--pull-never', '--build-arg', f'BASE={DEBIAN}',
             '--ignorefile', ROOT / '.dockerignore']
    buildah(*build, '--target', 'libraries', '--tag', LIBRARIES, folder / 'sources')
    buildah(*build, '--build-arg', f'COMMIT={COMMIT}', '--build-arg', 'SOURCE_DATE_EPOCH=1764400000', '--tag', IMAGE,
            folder / 'sources')
    buildah('push', '--quiet', IMAGE, f'oci:{folder / "oci"}:test')
    buildah('rm', '--all')  # of a build that was killed
    buildah('rmi', '--prune')

    def blob(descriptor):
        path = folder / 'oci/blobs' / descriptor['digest'].replace(':', '/')
        check_equal('digest', hashlib.sha256(path.read_bytes()).hexdigest(), path.name)
        return path

    index = json.loads((folder / 'oci/index.json').read_text(encoding='utf-8'))
    manifest = json.loads(blob(index['manifests'][0]).read_text(encoding='utf-8'))
    for layer in manifest['layers']:
        with tarfile.open(blob(layer)) as tar:
            tar.extractall(folder / 'root', numeric_owner=True)
    return manifest, json.loads(blob(manifest['config']).read_text(encoding='utf-8')), folder / 'root'


def test_size():
    """Small enough, packed and unpacked; the program begins by itself, without a shell; labels say what it is."""
    manifest, configuration, root = built()
    packed = sum(layer['size'] for layer in manifest['layers'])
    octets = sum(path.lstat().st_size for path in root.rglob('*') if path.is_file())
    check(max(packed, octets) <= OCTETS_MAX, packed, octets)
    comment(f'{packed / 1e6:.1f} MB packed, {octets / 1e6:.1f} MB unpacked')
    config = configuration['config']
    check_equal('entry', (config['Entrypoint'], config['Cmd']),
                (['/usr/bin/flowtally'], ['run', '--config', '/etc/flowtally/flowtally.yaml']))
    check(config['Labels']['org.opencontainers.image.source'].startswith('https://'), config)


def test_files():
    """One program, no shell; nothing that anybody may write, but the place of the control socket, which root may."""
    _, _, root = built()
    programs = []
    for path in root.rglob('*'):
        status = path.lstat()
        allowed = 0o755 if path == root / 'run/flowtally' else 0o555
        check(path.is_symlink() or status.st_mode & 0o7777 & ~allowed == 0, f'{path}: mode {status.st_mode:o}')
        check_equal(f'owner of {path}', (status.st_uid, status.st_gid), (0, 0))
        if not path.is_symlink() and path.is_file() and status.st_mode & 0o111:
            programs.append(str(path.relative_to(root)))
    check_equal('programs', programs, ['usr/bin/flowtally'])
    parts = json.loads((root / 'usr/share/doc/flowtally/flowtally.spdx.json').read_text(encoding='utf-8'))['packages']
    licenses = {path.name for path in (root / 'usr/share/doc/flowtally/parts').iterdir()}
    check_equal('licenses', licenses, {part['name'] for part in parts} - {'flowtally'})


def test_context():
    """The security context of this test is the chart's."""
    values = ROOT / 'helm/flowtally/values.yaml'
    if values.exists():
        import yaml  # pylint: disable=import-outside-toplevel
        given = yaml.safe_load(values.read_text(encoding='utf-8'))
        check_equal('securityContext', given['securityContext'], CONTEXT)
        check_equal('seccomp', given['podSecurityContext']['seccompProfile'], {'type': 'RuntimeDefault'})


def specification(folder, root, namespace, words):
    """As containerd makes it of the context: see tests/chart/kubelet.py."""
    mounts = [{'destination': where, 'type': kind, 'source': kind, 'options': options.split(',')}
              for where, kind, options in MOUNTS]
    mounts.append({'destination': '/etc/flowtally', 'type': 'bind', 'source': str(folder / 'etc'), 'options': ['rbind', 'ro']})
    sets = {name: CAPABILITIES for name in ('bounding', 'effective', 'permitted')}
    spec = {
        'ociVersion': '1.0.2', 'root': {'path': str(root), 'readonly': True},
        'process': {'cwd': '/', 'user': {'uid': 0, 'gid': 0}, 'args': words, 'env': ['PATH=/usr/bin', 'LANG=C.UTF-8'],
                    'capabilities': {**sets, 'inheritable': [], 'ambient': []}, 'noNewPrivileges': True},
        'mounts': mounts,
        'linux': {'namespaces': [{'type': kind} for kind in ('pid', 'ipc', 'uts', 'mount')] +
                  [{'type': 'network', 'path': f'/run/netns/{namespace}'}],
                  'resources': {'devices': [{'allow': False, 'access': 'rwm'}]}},
    }
    profile = CHART_BIN / 'seccomp-profile'  # prints containerd's
    if os.access(profile, os.X_OK):
        done = subprocess.run([profile], input=json.dumps(spec), capture_output=True, text=True, check=True)
        spec['linux']['seccomp'] = json.loads(done.stdout)
    else:
        comment(f'without seccomp: {profile} is not there')
    return spec


def test_runs():
    """Under that context it meters and is well, shows flows to a program that is started beside it, and ends in order."""
    _, configuration, root = built()
    places = shutil.which('runc'), CHART_BIN / 'runc', shutil.which('crun')
    runtime = next((path for path in places if path and os.access(path, os.X_OK)), None)
    if not runtime:
        raise Skip('neither runc nor crun is there')
    config = configuration['config']
    with scratch() as directory, node() as box:
        folder = Path(directory)
        (folder / 'etc').mkdir()
        shutil.copy(root / 'etc/flowtally/flowtally.yaml', folder / 'etc')
        spec = specification(folder, root, box.names['node'], config['Entrypoint'] + config['Cmd'])
        (folder / 'config.json').write_text(json.dumps(spec), encoding='utf-8')
        name, words = folder.name, [runtime, '--root', folder / 'state']
        with open(folder / 'log', 'wb') as log:
            process = subprocess.Popen([*DIES_WITH_TEST, *map(str, words), 'run', '--bundle', folder, name],
                                       stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            def said():
                return (folder / 'log').read_text(encoding='utf-8', errors='replace')

            wait_until(lambda: 'ready' in said() or process.poll() is not None, 60, 'the word ready')
            check(process.poll() is None, said())
            pid = json.loads(command(*words, 'state', name))['pid']
            check('no control socket' not in said(), said())
            status = dict(line.split(':\t', 1) for line in Path(f'/proc/{pid}/status').read_text(encoding='ascii').splitlines())
            mask = f'{1 << 12 | 1 << 38 | 1 << 39:016x}'
            check_equal('rights', (status['CapBnd'], status['CapEff'], status['NoNewPrivs']), (mask, status['CapEff'], '1'))
            check(int(status['CapEff'], 16) & ~int(mask, 16) == 0, status['CapEff'])
            check('seccomp' not in spec['linux'] or status['Seccomp'] == '2', status['Seccomp'])
            traffic.udp(box, 'peer', (PEER, 4000), (NODE, 5000), 33, b'x' * 100)
            observe = [*words, 'exec', name, 'flowtally', 'observe', '--last', '99', 'port', '5000']
            wait_until(lambda: '33 packets' in command(*observe), 20, 'the flow')
            check('is healthy' in command(*words, 'exec', name, 'flowtally', 'status'), 'flowtally status')
            check(f'(commit {COMMIT})' in command(*words, 'exec', name, 'flowtally', '--version'), 'the commit')
            command(*words, 'kill', name, 'TERM')
            check_equal('exit status', process.wait(30), 0)
            check('ledger: balances, lost 0 packets' in said(), said())
        finally:
            subprocess.run([str(word) for word in (*words, 'delete', '--force', name)], capture_output=True, check=False)
            process.kill()
            process.wait()


if __name__ == '__main__':
    require('buildah', 'nsenter', 'setpriv')
    need(BASE)
    main([(name.removeprefix('test_'), function) for name, function in list(globals().items()) if name.startswith('test_')])
