# SPDX-License-Identifier: Apache-2.0
"""Starts a container of a rendered pod as a node would: by runc, with containerd's defaults.

Volumes are as the kubelet makes them.  The image is that of the Dockerfile, or a program with the libraries that it names.
A pod in the node's network is in a namespace of the test's.
"""
import contextlib
import json
import os
import re
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import chart
from lab import DIES_WITH_TEST, command, scratch, wait_until
from tap import Failure, check

# Of containerd: pkg/oci/spec.go.
MASKED = ['/proc/acpi', '/proc/asound', '/proc/kcore', '/proc/keys', '/proc/latency_stats', '/proc/timer_list',
          '/proc/timer_stats', '/proc/sched_debug', '/sys/firmware', '/proc/scsi']
READ_ONLY = ['/proc/bus', '/proc/fs', '/proc/irq', '/proc/sys', '/proc/sysrq-trigger']
CAPABILITIES = ['CHOWN', 'DAC_OVERRIDE', 'FSETID', 'FOWNER', 'MKNOD', 'NET_RAW', 'SETGID', 'SETUID', 'SETFCAP', 'SETPCAP',
                'NET_BIND_SERVICE', 'SYS_CHROOT', 'KILL', 'AUDIT_WRITE']
MOUNTS = [
    ('/proc', 'proc', 'proc', 'nosuid,noexec,nodev'), ('/dev', 'tmpfs', 'tmpfs', 'nosuid,strictatime,mode=755,size=65536k'),
    ('/dev/pts', 'devpts', 'devpts', 'nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5'),
    ('/dev/shm', 'tmpfs', 'shm', 'nosuid,noexec,nodev,mode=1777,size=65536k'),
    ('/dev/mqueue', 'mqueue', 'mqueue', 'nosuid,noexec,nodev'), ('/sys', 'sysfs', 'sysfs', 'nosuid,noexec,nodev,ro'),
    ('/sys/fs/cgroup', 'cgroup', 'cgroup', 'nosuid,noexec,nodev,relatime,ro'),
]


class Program:
    """In place of an image: a program with the libraries that it names.  Has what tests/package/image.py's Image has."""

    def __init__(self, path):
        self.path = Path(path)
        self.config = {'Entrypoint': [f'/usr/bin/{self.path.name}'], 'Cmd': [],
                       'Env': ['PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin']}

    def copy_to(self, root):
        copy_program(self.path, root)


def copy_program(program, root):
    place = root / 'usr/bin' / program.name
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(program, place)
    # A static one has none, and ldd says so.
    listed = subprocess.run(['ldd', program], capture_output=True, text=True, check=False).stdout
    for library in re.findall(r'(/\S+) \(0x', listed):
        (root / library[1:]).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(library, root / library[1:], follow_symlinks=True)
    for folder in 'proc', 'dev', 'sys', 'etc', 'run', 'tmp':
        (root / folder).mkdir(exist_ok=True)


def octets(quantity):
    number, unit = re.fullmatch(r'(\d+)(\w*)', str(quantity)).groups()
    return int(number) * {'': 1, 'Ki': 2**10, 'Mi': 2**20, 'Gi': 2**30}[unit]


class ConfigMap:
    """A volume as the kubelet writes it: the links lead to a folder of one version, and one link moves to the next."""

    def __init__(self, folder, data):
        self.folder, self.version = folder, 0
        folder.mkdir()
        folder.chmod(0o777)
        self.write(data)
        for name in data:
            (folder / name).symlink_to(f'..data/{name}')

    def write(self, data):
        self.version += 1
        new = self.folder / f'..2026_11_29_06_00_00.{self.version}'
        new.mkdir()
        for name, text in data.items():
            (new / name).write_text(text, encoding='utf-8')
            (new / name).chmod(0o644)
        (self.folder / '..data_tmp').symlink_to(new.name)
        old = self.folder / os.readlink(self.folder / '..data') if self.version > 1 else None
        os.rename(self.folder / '..data_tmp', self.folder / '..data')
        if old:
            shutil.rmtree(old)


def capabilities_of(security):
    asked = security.get('capabilities', {})
    names = [] if 'ALL' in asked.get('drop', []) else [c for c in CAPABILITIES if c not in asked.get('drop', [])]
    return [f'CAP_{name}' for name in [*names, *asked.get('add', [])]]


class Container:
    """with Container(box, role, pod, config_maps, image) as one: ...   The first container of the pod.

    pod: what has `spec`; config_maps: their data by name; image: an Image, or the path of a program; hosts: names with
    addresses, as of a Service
    """

    def __init__(self, box, role, pod, config_maps, image, hosts=()):
        self.box, self.role, self.spec, self.config_maps = box, role, pod['spec'], config_maps
        self.container = self.spec['containers'][0]
        self.scratch = scratch()
        self.folder = Path(self.scratch.name)
        self.name = self.folder.name
        self.volumes, self.process = {}, None
        self.image = image if hasattr(image, 'config') else Program(image)
        self.image.copy_to(self.folder / 'rootfs')
        (self.folder / 'hosts').write_text(''.join(f'{address} {name}\n' for name, address in hosts), encoding='ascii')
        (self.folder / 'resolv.conf').write_text('nameserver 127.0.0.1\n', encoding='ascii')

    def __enter__(self):
        (self.folder / 'config.json').write_text(json.dumps(self.configuration()), encoding='utf-8')
        self.start()
        return self

    def start(self):
        with open(self.folder / 'log', 'ab') as log, open(self.folder / 'out', 'ab') as out:
            words = ['nsenter', f'--net=/run/netns/{self.box.names[self.role]}',
                     *self.runc('run', '--bundle', self.folder, self.name)]
            self.process = subprocess.Popen([*DIES_WITH_TEST, *map(str, words)], stdin=subprocess.DEVNULL,
                                            stdout=out, stderr=log)

    def __exit__(self, _, error, __):
        subprocess.run(self.runc('delete', '--force', self.name), capture_output=True, check=False)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(10)
        self.process.kill()
        self.process.wait()
        log = self.log()
        self.scratch.cleanup()
        if isinstance(error, Failure):
            raise Failure(f'{error}\n' + ''.join(f'  log: {line}\n' for line in log.splitlines()[-30:])) from None

    def runc(self, *words):
        return [str(word) for word in (chart.BIN / 'runc', '--root', self.folder / 'state', *words)]

    def log(self):
        return (self.folder / 'log').read_text(encoding='utf-8', errors='replace')

    def output(self):
        return (self.folder / 'out').read_text(encoding='utf-8', errors='replace')

    # --- What containerd makes of the pod.

    def volume(self, volume):
        folder = self.folder / f'volume-{volume["name"]}'
        if 'configMap' in volume:
            self.volumes[volume['name']] = ConfigMap(folder, self.config_maps[volume['configMap']['name']])
        elif 'emptyDir' in volume:
            folder.mkdir()
            folder.chmod(0o777)
        else:
            raise Failure(f'a volume of another kind: {volume}')
        return folder

    def mounts(self):
        folders = {volume['name']: self.volume(volume) for volume in self.spec.get('volumes', [])}
        found = [{'destination': where, 'type': kind, 'source': source, 'options': words.split(',')}
                 for where, kind, source, words in MOUNTS]
        own = [('/etc/hosts', self.folder / 'hosts', True), ('/etc/resolv.conf', self.folder / 'resolv.conf', True)]
        for mount in self.container.get('volumeMounts', []):
            # A ConfigMap is read-only, whatever the mount says.
            own.append((mount['mountPath'], folders[mount['name']], mount.get('readOnly') or mount['name'] in self.volumes))
        return found + [{'destination': where, 'type': 'bind', 'source': str(source),
                         'options': ['rbind', 'rprivate', 'ro' if is_read_only else 'rw']}
                        for where, source, is_read_only in own]

    def args(self):
        """Arguments of the pod are in place of the image's; a command is in place of both."""
        command_ = self.container.get('command', [])
        more = self.container.get('args', [] if command_ else self.image.config['Cmd'])
        return [*(command_ or self.image.config['Entrypoint']), *more]

    def configuration(self):
        security = {**self.spec.get('securityContext', {}), **self.container.get('securityContext', {})}
        check(not security.get('privileged'), 'a privileged container')
        names = capabilities_of(security)
        uid = security.get('runAsUser', 0)
        held = names if uid == 0 else []  # no ambient ones
        limit = self.container.get('resources', {}).get('limits', {}).get('memory')
        spec = {
            'ociVersion': '1.0.2', 'hostname': 'node',
            'root': {'path': 'rootfs', 'readonly': security['readOnlyRootFilesystem']},
            'process': {
                'terminal': False, 'cwd': '/', 'user': {'uid': uid, 'gid': security.get('runAsGroup', 0)},
                'args': self.args(),
                'env': [*self.image.config['Env'], *(f'{e["name"]}={e["value"]}' for e in self.container.get('env', []))],
                'capabilities': {'bounding': names, 'effective': held, 'permitted': held, 'inheritable': [], 'ambient': []},
                'noNewPrivileges': not security['allowPrivilegeEscalation'], 'oomScoreAdj': 0,
            },
            'mounts': self.mounts(),
            'linux': {
                'namespaces': [{'type': kind} for kind in ('pid', 'ipc', 'uts', 'mount')],
                'cgroupsPath': '/' + self.name, 'maskedPaths': MASKED, 'readonlyPaths': READ_ONLY,
                'resources': {'devices': [{'allow': False, 'access': 'rwm'}],
                              **({'memory': {'limit': octets(limit)}} if limit else {})},
            },
        }
        if security.get('seccompProfile', {}).get('type') == 'RuntimeDefault':
            text = subprocess.run([chart.BIN / 'seccomp-profile'], input=json.dumps(spec), capture_output=True, text=True,
                                  check=True).stdout
            spec['linux']['seccomp'] = json.loads(text)
        return spec

    # --- What the kubelet does with it.

    def pid(self):
        """Of its first process, in this namespace of processes."""
        return json.loads(command(*self.runc('state', self.name)))['pid']

    def exec(self, *words):
        """As `kubectl exec` does: exit status, standard output and error."""
        done = subprocess.run(self.runc('exec', self.name, *words), capture_output=True, text=True, check=False,
                              stdin=subprocess.DEVNULL, timeout=60)
        return done.returncode, done.stdout, done.stderr

    def exec_words(self, *words, term=None):
        """What `kubectl exec -it` has the runtime do: to be started in a terminal."""
        return self.runc('exec', '--tty', *([] if term is None else ['--env', f'TERM={term}']), self.name, *words)

    def probe(self, which):
        """HTTP status of a probe, asked from the node's network; None: nobody answers."""
        get = self.container[which]['httpGet']
        port = next(p['containerPort'] for p in self.container['ports'] if p['name'] == get['port'])
        with self.box.entered(self.role):
            try:
                with urllib.request.urlopen(f'http://{get.get("host", "127.0.0.1")}:{port}{get["path"]}', timeout=5) as answer:
                    return answer.status
            except urllib.error.HTTPError as error:
                return error.code
            except OSError:
                return None

    def wait_ready(self, seconds=60):
        for which in 'startupProbe', 'readinessProbe':
            wait_until(lambda which=which: self.probe(which) == 200 or self.ended(), seconds, f'the {which}')
        check(not self.ended(), f'ended with status {self.process.poll()}')

    def ended(self):
        return self.process.poll() is not None

    def wait(self, seconds=60):
        """Its exit status."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise Failure(f'it has not ended within {seconds} s') from None

    def stop(self):
        """SIGTERM, and not SIGKILL within the grace; (exit status, seconds)."""
        start = time.monotonic()
        command(*self.runc('kill', self.name, 'TERM'))
        return self.wait(self.spec['terminationGracePeriodSeconds']), time.monotonic() - start

    def restart(self):
        """After it has been killed, in the same pod: its volumes stay."""
        command(*self.runc('kill', self.name, 'KILL'))
        self.wait(10)
        subprocess.run(self.runc('delete', '--force', self.name), capture_output=True, check=False)
        self.start()

    def memory(self):
        """(octets at most so far, limit, times that the limit was hit), of the memory control group; None without one."""
        lines = Path(f'/proc/{self.pid()}/cgroup').read_text(encoding='ascii').splitlines()
        groups = dict(line.split(':')[1:] for line in lines)
        old = next((path for names, path in groups.items() if 'memory' in names.split(',')), None)
        folder = Path('/sys/fs/cgroup/memory' + old if old else '/sys/fs/cgroup' + groups.get('', '/nowhere'))
        if (folder / 'memory.failcnt').exists():
            names = 'memory.max_usage_in_bytes', 'memory.limit_in_bytes', 'memory.failcnt'
            return tuple(int((folder / name).read_text(encoding='ascii')) for name in names)
        if (folder / 'memory.peak').exists():
            events = dict(line.split() for line in (folder / 'memory.events').read_text(encoding='ascii').splitlines())
            peak, limit = (int((folder / name).read_text(encoding='ascii')) for name in ('memory.peak', 'memory.max'))
            return peak, limit, int(events['max'])
        return None
