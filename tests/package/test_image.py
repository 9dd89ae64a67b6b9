#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The image: by buildah from the Dockerfile without a registry, and started under the security context of the chart."""
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
from pathlib import Path

import image
import package
import traffic
from image import COMMIT, OWN
from package import BASE, CACHE, DIES_WITH_TEST, LONG, NODE, PEER, ROOT, command, need, node, scratch, wait_until
from tap import Failure, Skip, cases, check, check_equal, comment, main, require, torture

OCTETS_MAX = 15_000_000
LABEL = 'org.opencontainers.image.'
MACHINES = {'amd64': 'X86-64', 'arm64': 'AArch64'}  # as readelf has them
SYSTEMS = {'amd64': 'x86_64', 'arm64': 'aarch64'}  # as uname(1) does
EMULATORS = {'amd64': 'qemu-x86_64-static', 'arm64': 'qemu-aarch64-static'}
CHART_BIN = CACHE.with_name('flowtally-chart') / 'bin'
# helm/flowtally/values.yaml, securityContext; values.yaml has the word where it is there.
CONTEXT = {
    'privileged': False, 'allowPrivilegeEscalation': False, 'readOnlyRootFilesystem': True, 'runAsUser': 0, 'runAsGroup': 0,
    'runAsNonRoot': False, 'capabilities': {'drop': ['ALL'], 'add': ['BPF', 'NET_ADMIN', 'PERFMON']},
}
CAPABILITIES = [f'CAP_{name}' for name in CONTEXT['capabilities']['add']]
MOUNTS = [('/proc', 'proc', 'nosuid,noexec,nodev'), ('/dev', 'tmpfs', 'nosuid,strictatime,mode=755,size=65536k'),
          ('/sys', 'sysfs', 'nosuid,noexec,nodev,ro'), ('/run/flowtally', 'tmpfs', 'nosuid,nodev,mode=755,size=1m')]


def licenses_of(root):
    """By part, as the list in the image has them."""
    text = (root / 'usr/share/doc/flowtally/flowtally.spdx.json').read_text(encoding='utf-8')
    return {part['name']: part['licenseDeclared'] for part in json.loads(text)['packages']}


def expression(licenses):
    """An expression of SPDX of several: ways to choose are in brackets."""
    words = sorted({f'({text})' if ' OR ' in text and ' AND ' not in text else text for text in licenses})
    return ' AND '.join(words)


def look_at(arch):
    """Small enough, packed and unpacked; it begins by itself, without a shell; labels say what it is."""
    one = image.image(arch)
    packed = sum(layer['size'] for layer in one.manifest['layers'])
    octets = sum(path.lstat().st_size for path in one.root.rglob('*') if path.is_file())
    check(max(packed, octets) <= OCTETS_MAX, packed, octets)
    comment(f'{packed / 1e6:.1f} MB packed, {octets / 1e6:.1f} MB unpacked')
    check_equal('for', (one.configuration['os'], one.configuration['architecture']), ('linux', arch))
    header = command('readelf', '-h', one.root / 'usr/bin/flowtally')
    check(MACHINES[arch] in header, header)
    check_equal('entry', (one.config['Entrypoint'], one.config['Cmd'], one.config.get('User')),
                (['/usr/bin/flowtally'], ['run', '--config', '/etc/flowtally/flowtally.yaml'], None))
    labels = {name.removeprefix(LABEL): text for name, text in one.config['Labels'].items() if name.startswith(LABEL)}
    check_equal('labels', sorted(labels),
                ['description', 'documentation', 'licenses', 'revision', 'source', 'title', 'version'])
    check_equal('version', (labels['version'], labels['revision']), (package.version(), COMMIT))
    check(labels['source'].startswith('https://'), labels)
    check_equal('licenses', labels['licenses'], expression(licenses_of(one.root).values()))


def test_amd64():
    look_at('amd64')


def test_arm64():
    look_at('arm64')


def test_files():
    """One program, no shell; nothing that anybody may write, but the place of the control socket, which root may."""
    names = {}
    for arch in MACHINES:
        root, programs = image.image(arch).root, []
        for path in root.rglob('*'):
            status = path.lstat()
            allowed = 0o755 if path == root / 'run/flowtally' else 0o555
            check(path.is_symlink() or status.st_mode & 0o7777 & ~allowed == 0, f'{path}: mode {status.st_mode:o}')
            check_equal(f'owner of {path}', (status.st_uid, status.st_gid), (0, 0))
            if not path.is_symlink() and path.is_file() and status.st_mode & 0o111:
                programs.append(str(path.relative_to(root)))
        check_equal('programs', programs, ['usr/bin/flowtally'])
        texts = {path.name for path in (root / 'usr/share/doc/flowtally/parts').iterdir()}
        check_equal('licenses', texts, set(licenses_of(root)) - {'flowtally'})
        for part in 'glibc', 'netbase', 'ncurses':
            check((root / 'usr/share/doc/flowtally/parts' / part).stat().st_size > 1000, f'no license of {part}')
        names[arch] = {str(path.relative_to(root)).replace('gcc-12-cross', 'gcc-12') for path in root.rglob('*')}
    check_equal('files that only one has', names['amd64'] ^ names['arm64'], set())


def test_given_to_builder():
    """What a builder is given of a clone in use: sources, and neither what was built nor the history nor what a user left."""
    with scratch() as directory:
        folder = Path(directory)
        clone = package.copy_sources(folder / 'clone')
        for name in '.git/config', 'build/flowtally', 'build2/x', 'tests/x.pyc', 'packaging/__pycache__/sbom.pyc', 'key.pem':
            (clone / name).parent.mkdir(parents=True, exist_ok=True)
            (clone / name).write_text('not wanted', encoding='ascii')
        (folder / 'Dockerfile').write_text('FROM scratch\nCOPY . ./\n', encoding='ascii')
        with image.lock():
            image.buildah('build', '--isolation', 'chroot', '--file', folder / 'Dockerfile', '--tag',
                          'localhost/flowtally-test/context', clone)
            image.buildah('push', '--quiet', 'localhost/flowtally-test/context', f'dir:{folder / "context"}')
            image.buildah('rmi', 'localhost/flowtally-test/context')
        layer, = json.loads((folder / 'context/manifest.json').read_text(encoding='ascii'))['layers']
        given = command('tar', '-tzf', folder / 'context' / layer['digest'].partition(':')[2]).splitlines()
    check_equal('files', sorted(name for name in given if not name.endswith('/')), image.context())


def capture(flows, packets):
    """A capture file with flows of UDP, of so many packets each."""
    text = struct.pack('=IHHiIII', 0xa1b2c3d4, 2, 4, 0, 0, 65535, 1)
    for i in range(flows * packets):
        udp = struct.pack('!HHHH', 4000 + i % flows, 5000, 108, 0) + b'x' * 100
        ip = struct.pack('!BBHHHBBH', 0x45, 0, 20 + len(udp), i, 0, 64, 17, 0) + socket.inet_aton(PEER) + socket.inet_aton(NODE)
        frame = bytes(12) + b'\x08\x00' + ip + udp
        text += struct.pack('=IIII', 1700000000 + i // 10, i, len(frame), len(frame)) + frame
    return text


def started(arch, folder, *words):
    """What the image's program says, in a copy of its root in that folder; emulated, where the machine is another."""
    one, root = image.image(arch), folder / arch
    if not root.exists():
        one.copy_to(root)
        (root / 'run/flowtally/flows.pcap').write_bytes(capture(flows=20, packets=3))
    program = ['/usr/bin/flowtally']
    if arch != OWN:
        emulator = shutil.which(EMULATORS[arch])
        if not emulator:
            raise Skip('not installed: qemu-user-static')
        shutil.copy(emulator, root / 'emulator')
        program = ['/emulator', *program]
    return command('chroot', root, *program, *words, timeout=LONG)


def test_replay():
    """For each architecture the program starts in its image, and writes the same records of a capture as an IPFIX file."""
    texts = {}
    with scratch() as directory:
        folder = Path(directory)
        for arch in MACHINES:
            said = started(arch, folder, '--version')
            check(f'flowtally {package.version()} (commit {COMMIT[:12]})' in said and f' {SYSTEMS[arch]}\n' in said, said)
            for kind in 'file', 'json':
                started(arch, folder, 'replay', '/run/flowtally/flows.pcap', '--collector',
                               f'{kind}:///run/flowtally/records.{kind}')
            done = folder / arch / 'run/flowtally'
            texts[arch] = [sorted((done / 'records.json').read_text(encoding='ascii').splitlines()),
                           command(folder / OWN / 'usr/bin/flowtally', 'read', done / 'records.file')]
    check_equal('records', texts['arm64'], texts['amd64'])
    records = [json.loads(line) for line in texts['amd64'][0]]
    check_equal('packets', (len(records), sum(record['packetDeltaCount'] for record in records)), (20, 60))


def built_anew(arch, number, *options):
    """The manifest, as text, of an image of another clone, whose files are of another time."""
    with scratch() as directory, image.lock():
        folder = Path(directory)
        sources = package.copy_sources(folder / f'clone{number}')
        for path in sources.rglob('*'):
            os.utime(path, (number, number), follow_symlinks=False)
        # Of this no file of the image is made, but it is built anew.
        with open(sources / 'README.md', 'a', encoding='utf-8') as file:
            file.write(f'{number}\n')
        image.make_base()
        image.build(sources, folder, arch, *options)
        return (folder / 'manifest.json').read_text(encoding='ascii')


@torture
def test_same_octets():
    """Built again, of other clones: the same layer; with --timestamp, which sets the times of all files, the same image."""
    for arch in MACHINES:
        check_equal(f'layers for {arch}', json.loads(built_anew(arch, 0))['layers'], image.image(arch).manifest['layers'])
        stamped = [built_anew(arch, number, '--timestamp', '1764400000') for number in (1, 2)]
        check_equal(f'manifest for {arch}', stamped[1], stamped[0])


def test_context():
    """The security context of this test is the chart's."""
    values = ROOT / 'helm/flowtally/values.yaml'
    if values.exists():
        import yaml  # pylint: disable=import-outside-toplevel
        given = yaml.safe_load(values.read_text(encoding='utf-8'))
        check_equal('securityContext', given['securityContext'], CONTEXT)
        check_equal('seccomp', given['podSecurityContext']['seccompProfile'], {'type': 'RuntimeDefault'})


def specification(folder, config, namespace):
    """As containerd makes it of the context: see tests/chart/kubelet.py."""
    mounts = [{'destination': where, 'type': kind, 'source': kind, 'options': options.split(',')}
              for where, kind, options in MOUNTS]
    mounts.append({'destination': '/etc/flowtally', 'type': 'bind', 'source': str(folder / 'etc'), 'options': ['rbind', 'ro']})
    sets = {name: CAPABILITIES for name in ('bounding', 'effective', 'permitted')}
    spec = {
        'ociVersion': '1.0.2', 'root': {'path': 'root', 'readonly': True},
        'process': {'cwd': '/', 'user': {'uid': 0, 'gid': 0}, 'args': config['Entrypoint'] + config['Cmd'],
                    'env': config['Env'],
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
    one = image.own()
    places = shutil.which('runc'), CHART_BIN / 'runc', shutil.which('crun')
    runtime = next((path for path in places if path and os.access(path, os.X_OK)), None)
    if not runtime:
        raise Skip('neither runc nor crun is there')
    with scratch() as directory, node() as box:
        folder = Path(directory)
        (folder / 'etc').mkdir()
        one.copy_to(folder / 'root')
        shutil.copy(one.root / 'etc/flowtally/flowtally.yaml', folder / 'etc')
        spec = specification(folder, one.config, box.names['node'])
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
            check(f'(commit {COMMIT[:12]})' in command(*words, 'exec', name, 'flowtally', '--version'), 'the commit')
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
    if sys.argv[1:] == ['--prepare']:  # tests/package/fetch
        for each in MACHINES:
            image.prepare(each)
        sys.exit()
    if sys.argv[1:2] == ['--program']:  # ARCHITECTURE FILE, for ./torture
        Path(sys.argv[3]).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(image.image(sys.argv[2]).root / 'usr/bin/flowtally', sys.argv[3])
        sys.exit()
    main(cases(globals()))
