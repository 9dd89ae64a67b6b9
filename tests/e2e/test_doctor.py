#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The doctor on systems that are sick indeed: each is named by its finding, its level and what mends it.

A system is made sick in network and mount namespaces of the test's own.  tests/unit/test_doctor.c has those that cannot be
made here, such as other kernels.
"""
import contextlib
import errno
import functools
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tarfile
import threading
import time
from pathlib import Path

import yaml

import program
import tap
from lab import Lab, bpf_object, command, scratch, wait_until
from tap import Skip, check, check_equal

NOBODY = ['setpriv', '--reuid', '65534', '--regid', '65534', '--clear-groups', '--no-new-privs', '--inh-caps=-all']
COLLECTOR = '10.0.0.2'
SECONDS = 12  # a name and an answer that nobody gives, and a busy machine
XDP_SOURCE = '''
__attribute__((section("xdp"), used)) int foreign_xdp(void *ctx) { return 2; }
__attribute__((section("license"), used)) char _license[] = "GPL";
'''
TC_SOURCE = XDP_SOURCE.replace('"xdp"', '"classifier"').replace('foreign_xdp', 'foreign_tc').replace('return 2', 'return -1')
# As root it may do everything but that call.
NO_BPF = program.refusing({'aarch64': 280}.get(os.uname().machine, 321), errno.EPERM)
NO_LANDLOCK = program.refusing(444, errno.ENOSYS)


# --- Running it.

def doctor(*arguments, prefix=(), path=None):
    """(exit status, report); it ends in time, and every finding is as the contract says."""
    start = time.monotonic()
    status, out, err = program.run('doctor', '--json', *arguments, prefix=prefix, timeout=60, path=path)
    check(status in (0, 1) and not err, f'exit status {status}', program.shown(err))
    check(time.monotonic() - start < SECONDS, f'took {time.monotonic() - start:.1f} s')
    report = json.loads(out)
    levels = [one['level'] for one in report['findings']]
    check_equal('levels that are none', [level for level in levels if level not in ('OK', 'WARN', 'FAIL')], [])
    check_equal('exit status', status, 1 if 'FAIL' in levels else 0)
    for one in report['findings']:
        check(one['level'] == 'OK' or one.get('fix'), f'no fix: {one}')
        for fix in one.get('fix', []) if one['id'] != 'exporter' else ():  # those of a running exporter are sentences
            check_fix(fix)
    return report


def check_fix(fix):
    """It can be typed: into a shell, or into the file."""
    check(not re.search(r'\b(HOST|NAME|ADDRESS|GATEWAY|FILE|IMAGE)\b', fix.split('  #')[0]),
          f'something is to be filled in: {fix}')
    if re.match(r'[{]?[a-zA-Z_-]+: ', fix):
        check(isinstance(yaml.safe_load(fix), dict), f'no YAML: {fix}')
    else:
        done = subprocess.run(['bash', '-n', '-c', fix], capture_output=True, text=True, check=False)
        check(done.returncode == 0, f'no command: {fix}: {done.stderr}')
        check(shutil.which(fix.split()[0]) or fix.split()[0] in ('systemctl', 'sudo', 'docker', 'flowtally', 'echo', 'ulimit',
              'timedatectl', 'ssh', 'tracepath', 'journalctl', 'ping', 'ethtool', 'nft'), f'no such program: {fix}')


def found(report, name):
    return [one for one in report['findings'] if one['id'] == name]


def check_found(report, name, level, subject, text, fix):
    """One finding of that kind, with a fix that begins like this."""
    matching = [one for one in found(report, name) if one['level'] == level and one.get('subject', '') == subject
                and re.search(text, one['text']) and any(line.startswith(fix) for line in one['fix'])]
    check(len(matching) == 1, f'{len(matching)} findings {name} {level} {subject} /{text}/ {fix}, expected one, in',
          *(json.dumps(one) for one in report['findings'] if one['level'] != 'OK'))


def check_fine(report, name):
    wrong = [one for one in found(report, name) if one['level'] != 'OK']
    check(found(report, name) and not wrong, f'{name}: expected OK, got {wrong}')


@contextlib.contextmanager
def network(*roles, **options):
    with Lab('meter', 'peer', *roles, **options) as box:
        box.veth(('meter', 'm0'), ('peer', 'p0'))
        box.address(('meter', 'm0', ['10.0.0.1']), ('peer', 'p0', [COLLECTOR]))
        yield box


def mounted(script, *arguments):
    """A prefix: what follows runs in a mount namespace in which the script has changed something."""
    return ['unshare', '--mount', 'sh', '-ec', script + '\nexec "$@"', 'sh', *arguments]


def replaced(path, text):
    return mounted(f'file=$(mktemp); printf "%s\\n" "{text}" >"$file"; mount --bind "$file" {path}; rm "$file"')


# --- Files, privileges and limits.  name: (prefix, arguments, expected)

LO = ['--interface', 'lo', '--collector', 'json:-']
CLOCK = '/sys/devices/system/clocksource/clocksource0/current_clocksource'
UNLIKELY_GROUP = '''
group=$(sed -n 's/^0:://p' /proc/self/cgroup)
mount -t tmpfs none /sys/fs/cgroup
mkdir -p "/sys/fs/cgroup$group"
echo 30000000 >"/sys/fs/cgroup$group/memory.max"
echo 1000000 >"/sys/fs/cgroup$group/memory.current"
'''
PROCESSES = {
    'no BTF': (mounted('mount -t tmpfs none /sys/kernel/btf'), ('btf', 'WARN', '', 'btf/vmlinux', 'drops: off')),
    'JIT off': (replaced('/proc/sys/net/core/bpf_jit_enable', '0'),
                ('jit', 'WARN', '', 'interpreted', 'sysctl -w net.core.bpf_jit_enable=1')),
    'BPF for everybody': (replaced('/proc/sys/kernel/unprivileged_bpf_disabled', '0'),
                          ('unprivileged-bpf', 'WARN', '', 'every user', 'sysctl -w kernel.unprivileged_bpf_disabled=2')),
    'lockdown': (mounted('mount -t tmpfs none /sys/kernel/security; '
                         'echo "none integrity [confidentiality]" >/sys/kernel/security/lockdown'),
                 ('lockdown', 'WARN', '', 'confidentiality', 'drops: off')),
    'a bad clock source': (replaced(CLOCK, 'hpet'), ('clock-source', 'WARN', '', 'hpet', '')),
    'an old kernel': (replaced('/proc/sys/kernel/osrelease', '4.19.0'),
                      ('kernel-version', 'WARN', '', '4.19.0 has what is needed', 'apt-get install linux-image')),
    'a missing capability': (['setpriv', '--bounding-set', '-perfmon', '--inh-caps', '-all'],
                             ('capabilities', 'FAIL', '', 'missing: CAP_PERFMON$', 'securityContext:')),
    'two missing capabilities': (['setpriv', '--bounding-set', '-perfmon,-net_admin', '--inh-caps', '-all'],
                                 ('capabilities', 'FAIL', '', 'missing: CAP_NET_ADMIN, CAP_PERFMON$',
                                  'cap_add: [BPF')),
    'seccomp': (NO_BPF, ('seccomp', 'FAIL', '', 'seccomp', 'securityContext:')),
    'no landlock': (NO_LANDLOCK, ('sandbox', 'WARN', '', 'no landlock, which came with Linux 5.13', 'apt-get install')),
    'few descriptors': (['prlimit', '--nofile=32:32'], ('descriptors', 'FAIL', '', 'may have 32', 'systemctl edit flowtally')),
    'memlock': ([*replaced('/proc/sys/kernel/osrelease', '5.10.0'), 'setpriv', '--bounding-set', '-sys_resource', '--inh-caps',
                 '-all', 'prlimit', '--memlock=65536:65536'],
                ('memlock', 'FAIL', '', '0.1 MB', 'systemctl edit flowtally')),
    'a limit of memory': (mounted(UNLIKELY_GROUP),
                          ('cgroup-memory', 'FAIL', None, '29.0 MB are free', 'systemctl set-property')),
}


def test_process(name):
    prefix, expected = PROCESSES[name]
    before = doctor(*LO)
    if expected[0] != 'clock-source':
        check_fine(before, expected[0])
    report = doctor(*LO, prefix=prefix)
    expected = list(expected)
    if expected[2] is None:
        expected[2] = found(report, expected[0])[0].get('subject', '')
    check_found(report, *expected)


# --- Interfaces.

def test_unknown_interface():
    with network() as box:
        report = doctor('--interface', 'n0', prefix=box.inside('meter'))
        check_found(report, 'interface', 'FAIL', 'n0', 'no such interface', 'interfaces: [')
        report = doctor('--interface', 'eth*', prefix=box.inside('meter'))
        check_found(report, 'interface', 'WARN', 'eth*', 'no interface matches', 'ip -br link')


def test_many_interfaces():
    """Of those that globs match some are looked at, of those that are named all, by whatever name."""
    with network() as box:
        lines = ''.join(f'link add x{i} type bridge\n' for i in range(80)) + 'link property add dev m0 altname uplink\n'
        subprocess.run(['ip', '-n', box.names['meter'], '-batch', '-'], input=lines, text=True, check=True)
        arguments = ['--interface', 'x*', '--interface', 'x79', '--interface', 'm*', '--interface', 'uplink']
        report = doctor(*arguments, prefix=box.inside('meter'))
        subjects = [one['subject'] for one in found(report, 'interface')]
        check('x79' in subjects and 'm0' in subjects and 64 <= len(subjects) < 82, subjects)
        check_equal('names that mean none', [one for one in found(report, 'interface') if one['level'] == 'FAIL'], [])
        check(found(report, 'descriptors')[0]['text'].startswith('81 interfaces '), found(report, 'descriptors'))


def test_interface_down():
    with network() as box:
        box.ip('meter', 'link', 'set', 'm0', 'down')
        report = doctor('--interface', 'm0', prefix=box.inside('meter'))
        check_found(report, 'interface', 'WARN', 'm0', 'down', 'ip link set dev m0 up')


def test_foreign_xdp():
    with network() as box, bpf_object(XDP_SOURCE) as code:
        meter = box.inside('meter')
        check_fine(doctor('--interface', 'm0', prefix=meter), 'interface-foreign')
        box.ip('meter', 'link', 'set', 'dev', 'm0', 'xdpdrv', 'obj', code, 'sec', 'xdp')
        number = box.link('meter', 'm0')['xdp']['prog']['id']
        report = doctor('--interface', 'm0', prefix=meter)
        check_found(report, 'interface-foreign', 'WARN', 'm0', rf'id {number} \(foreign_xdp\)', 'ip link set dev m0 xdp off')
        with configuration('interfaces: [m0]\ningress: xdp\n') as path:
            report = doctor('--config', path, prefix=meter)
        check_found(report, 'interface-foreign', 'FAIL', 'm0', f'held by program id {number}', 'ingress: tc')
        box.ip('meter', 'link', 'set', 'dev', 'm0', 'xdp', 'off')
        check_fine(doctor('--interface', 'm0', prefix=meter), 'interface-foreign')


def test_foreign_filter():
    """A filter beside ours is no trouble: it is named."""
    with network() as box, bpf_object(TC_SOURCE) as code:
        box.ip_tc('meter', 'qdisc', 'add', 'dev', 'm0', 'clsact')
        box.ip_tc('meter', 'filter', 'add', 'dev', 'm0', 'ingress', 'bpf', 'da', 'obj', code, 'sec', 'classifier')
        report = doctor('--interface', 'm0', prefix=box.inside('meter'))
        check_fine(report, 'interface-foreign')
        check('TC ingress' in found(report, 'interface-foreign')[0]['text'], found(report, 'interface-foreign'))


def test_own_hooks():
    """Those of a running exporter are nobody else's."""
    with network() as box, scratch() as directory:
        tar = f'{directory}/case.tar'
        with program.Daemon(box, 'meter', '--interface', 'm0', '--collector', 'file:///dev/null') as daemon:
            report = doctor('--interface', 'm0', '--bundle', tar, prefix=box.inside('meter'))
            check_equal('foreign', [one['text'] for one in found(report, 'interface-foreign')], ['none'])
            daemon.stop()
        programs = [one['programs'] for one in json.loads(bundled(tar)['interfaces.json']) if one['name'] == 'm0'][0]
        check_equal('programs', [(one['at'], one['name']) for one in programs],
                    [('TC ingress', 'flowtally_tc_in'), ('TC egress', 'flowtally_tc')])
        check('flowtally_tc' in bundled(tar)['bpf-programs.json'], bundled(tar)['bpf-programs.json'])


def test_ingress_qdisc():
    with network() as box, configuration('interfaces: [m0]\nmask: tcx\n') as path:
        box.ip_tc('meter', 'qdisc', 'add', 'dev', 'm0', 'ingress')
        report = doctor('--config', path, prefix=box.inside('meter'))
        check_found(report, 'interface-hook', 'FAIL', 'm0', '`ingress` qdisc',
                    'tc qdisc del dev m0 ingress && tc qdisc add dev m0 clsact')
        fix = [one['fix'][0] for one in found(report, 'interface-hook')][0]
        box.run('meter', 'sh', '-c', fix)
        check_fine(doctor('--config', path, prefix=box.inside('meter')), 'interface-hook')


def test_xdp_on_veth():
    with network() as box, configuration('interfaces: [m0]\ningress: xdp\n') as path:
        report = doctor('--config', path, prefix=box.inside('meter'))
        check_found(report, 'interface-hook', 'WARN', 'm0', 'offloads', 'ingress: auto')


def test_small_mtu():
    with network() as box:
        box.ip('meter', 'link', 'set', 'm0', 'mtu', '1000')
        report = doctor('--interface', 'm0', prefix=box.inside('meter'))
        check_found(report, 'interface-mtu', 'WARN', 'm0', '1000 octets', 'ip link set dev m0 mtu 1500')


def test_bridge():
    """A port is fine; with its bridge beside it packets count twice."""
    with network() as box:
        box.ip('meter', 'link', 'add', 'br0', 'type', 'bridge')
        box.ip('meter', 'link', 'set', 'br0', 'up')
        box.ip('meter', 'link', 'set', 'm0', 'master', 'br0')
        check_fine(doctor('--interface', 'm0', prefix=box.inside('meter')), 'interface-stack')
        report = doctor('--interface', 'm0', '--interface', 'br0', prefix=box.inside('meter'))
        check_found(report, 'interface-stack', 'WARN', 'm0', "bridge 'br0'", 'interfaces: [br0]')


def test_stacked(kind, options, name, level, text, fix):
    with network() as box:
        try:
            box.ip('meter', 'link', 'add', name, 'up', 'type', kind, *options)
        except tap.Failure:
            raise Skip(f'the kernel has no {kind}') from None
        box.ip('meter', 'link', 'set', 'm0', 'down')
        box.ip('meter', 'link', 'set', 'm0', 'master', name)
        report = doctor('--interface', 'm0', '--interface', name, prefix=box.inside('meter'))
        check_found(report, 'interface-stack', level, *text, fix)


# --- Collectors.

@contextlib.contextmanager
def listener(box, kind=socket.SOCK_DGRAM, port=4739):
    with box.entered('peer'):
        server = socket.socket(socket.AF_INET, kind)
        server.bind((COLLECTOR, port))
    if kind == socket.SOCK_STREAM:
        server.listen()
    with server:
        yield server


def test_udp():
    """A closed port is found by ICMP; to one that is open goes one message, without records."""
    url = f'ipfix://{COLLECTOR}'
    with network() as box:
        report = doctor('--collector', url, prefix=box.inside('meter'))
        check_found(report, 'collector-answer', 'FAIL', url, 'UDP port 4739 of 10.0.0.2 is closed', 'ssh 10.0.0.2 ss -lunp')
        for each in url, f'netflow9://{COLLECTOR}:4739':
            with listener(box) as server:
                check_fine(doctor('--collector', each, prefix=box.inside('meter')), 'collector-answer')
                server.settimeout(1)
                message = server.recv(2000)
                check_equal('version, length or count', message[:4].hex(), '000a0010' if each == url else '00090000')
                check_equal('octets', len(message), 16 if each == url else 20)
                server.setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    check_equal('another message', server.recv(2000), None)


def test_tcp():
    url = f'ipfix+tcp://{COLLECTOR}'
    with network() as box:
        report = doctor('--collector', url, prefix=box.inside('meter'))
        check_found(report, 'collector-answer', 'FAIL', url, 'nobody listens', 'ssh 10.0.0.2 ss -ltnp')
        with listener(box, socket.SOCK_STREAM):
            check_fine(doctor('--collector', url, prefix=box.inside('meter')), 'collector-answer')
        box.run('peer', 'nft', 'add table inet t; add chain inet t c { type filter hook input priority 0; }; '
                               'add rule inet t c tcp dport 4739 drop')
        report = doctor('--collector', url, prefix=box.inside('meter'))
        check_found(report, 'collector-answer', 'FAIL', url, 'timed out', 'ping -c 1 10.0.0.2')


def test_no_way():
    url = 'ipfix://192.0.2.20'
    with network() as box:
        report = doctor('--collector', url, prefix=box.inside('meter'))
        check_found(report, 'collector-route', 'FAIL', url, 'unreachable', 'ip route get 192.0.2.20')
        with configuration(f'interfaces: [m0]\ncollectors: ["ipfix://{COLLECTOR}?source=192.0.2.99"]\n') as path:
            report = doctor('--config', path, prefix=box.inside('meter'))
        check_found(report, 'collector-route', 'FAIL', f'ipfix://{COLLECTOR}?source=192.0.2.99', 'from 192.0.2.99',
                    'ip -br address')


def test_no_name():
    """A name server that does not answer is waited for in bounded time, for many names at once."""
    urls = [f'ipfix://collector{i}.example' for i in range(8)]
    with network() as box, scratch() as directory:
        Path(directory, 'resolv.conf').write_text(f'nameserver {COLLECTOR}\n', encoding='ascii')
        box.run('peer', 'nft', 'add table inet t; add chain inet t c { type filter hook input priority 0; }; '
                               'add rule inet t c udp dport 53 drop')
        prefix = box.inside('meter', *mounted(f'mount --bind {directory}/resolv.conf /etc/resolv.conf'))
        report = doctor(*(word for url in urls for word in ('--collector', url)), prefix=prefix)
        for i, url in enumerate(urls):
            check_found(report, 'collector-name', 'FAIL', url,
                        f"'collector{i}.example' has no address: no name server has answered in 2 s",
                        f'getent ahosts collector{i}.example')


def test_narrow_interface():
    url = f'ipfix://{COLLECTOR}'
    with network() as box, listener(box):
        check_fine(doctor('--collector', url, prefix=box.inside('meter')), 'collector-mtu')
        box.ip('meter', 'link', 'set', 'm0', 'mtu', '1300')
        report = doctor('--collector', url, prefix=box.inside('meter'))
        check_found(report, 'collector-mtu', 'WARN', url, '1272 octets', 'message-size: 1272')
        box.ip('meter', 'link', 'set', 'm0', 'mtu', '500')
        report = doctor('--collector', url, prefix=box.inside('meter'))
        check_found(report, 'collector-mtu', 'WARN', url, '472 octets', 'tracepath -n 10.0.0.2')
        # The default template needs 160 octets with the headers of IPv4 and UDP: docs/export.md.
        for mtu, template, level in (160, 'default', 'WARN'), (159, 'default', 'FAIL'), (159, 'minimal', 'WARN'):
            box.ip('meter', 'route', 'replace', f'{COLLECTOR}/32', 'dev', 'm0', 'mtu', 'lock', str(mtu))
            report = doctor('--collector', f'{url}?template={template}', prefix=box.inside('meter'))
            check_found(report, 'collector-mtu', level, f'{url}?template={template}', f'{mtu - 28} octets', 'tracepath -n')


def test_narrow_path():
    """A link beyond the first router is narrow, which nobody knows before something long is sent."""
    url = 'ipfix://10.0.1.2'
    with network('far') as box:
        box.veth(('peer', 'q0'), ('far', 'f0'))
        box.address(('peer', 'q0', ['10.0.1.1']), ('far', 'f0', ['10.0.1.2']))
        box.ip('peer', 'link', 'set', 'q0', 'mtu', '1000')
        box.run('peer', 'sysctl', '-qw', 'net.ipv4.ip_forward=1')
        box.ip('meter', 'route', 'add', '10.0.1.0/24', 'via', COLLECTOR)
        box.ip('far', 'route', 'add', '10.0.0.0/24', 'via', '10.0.1.1')
        with box.entered('far'):
            server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            server.bind(('10.0.1.2', 4739))
        with server:
            report = doctor('--collector', url, prefix=box.inside('meter'))
        check_found(report, 'collector-mtu', 'WARN', url, '972 octets', 'message-size: 972')
        check_fine(report, 'collector-answer')


def test_files():
    report = doctor('--collector', 'file:///nonexistent/a.ipfix')
    check_found(report, 'collector-file', 'FAIL', 'file:///nonexistent/a.ipfix', 'No such file',
                'install -d -o root /nonexistent')
    with scratch() as directory:
        url = f'json://{directory}/a.json'
        check_fine(doctor('--collector', url), 'collector-file')
        report = doctor('--collector', url, prefix=mounted(f'mount -t tmpfs -o size=1m none {directory}'))
        check_found(report, 'collector-file', 'WARN', url, '1.0 MB are free', f'df -h {directory}')


# --- Configuration and exporter.

@contextlib.contextmanager
def configuration(text):
    with scratch() as directory:
        path = Path(directory, 'f.yaml')
        path.write_text(text, encoding='ascii')
        os.chmod(path, 0o644)
        os.chmod(directory, 0o755)
        with contextlib.ExitStack() as stack:
            # The folders on the way must be root's alone, and that for temporary files is everybody's.
            home = stack.enter_context(private_folder())
            copy = shutil.copy(path, home)
            yield copy


@contextlib.contextmanager
def private_folder():
    path = f'/run/flowtally-e2e-{os.getpid()}-{threading.get_native_id()}'
    os.mkdir(path, 0o755)
    try:
        yield path
    finally:
        shutil.rmtree(path)


def test_bad_configuration():
    with configuration('interfaces: [lo]\nidle-timeout: soon\ncolectors: []\n') as path:
        report = doctor('--config', path)
        check_found(report, 'configuration', 'FAIL', path, r'f\.yaml:2:15: .*soon', f'flowtally config check {path}')
        check_found(report, 'configuration', 'FAIL', path, r'f\.yaml:3:1: .*colectors', f'flowtally config check {path}')
    with configuration('idle-timeout: 10s\n') as path:
        report = doctor('--config', path)
        check_found(report, 'interface', 'FAIL', '', 'none is configured', 'interfaces: [')
    report = doctor('--config', '/nonexistent/f.yaml')
    check_found(report, 'configuration', 'FAIL', '/nonexistent/f.yaml', 'No such file', 'flowtally config check')


@contextlib.contextmanager
def exporter(answer):
    """A socket at which one client is answered, or not (None); its questions."""
    questions = []
    with private_folder() as directory, socket.socket(socket.AF_UNIX) as server:
        path = f'{directory}/flowtally.sock'
        server.bind(path)
        server.listen()

        def serve():
            with contextlib.suppress(OSError):
                client, _ = server.accept()
                questions.append(client.makefile('rb').readline())
                if answer is not None:
                    client.sendall(answer)
                time.sleep(3)

        threading.Thread(target=serve, daemon=True).start()
        yield path, questions


def test_exporter():
    status = {'version': 1, 'answer': 'status', 'health': 'healthy', 'exporter': '9.9.9', 'problems': [],
              'collectors': [{'x' * 10: 'y' * 100000}]}
    with exporter(json.dumps(status).encode() + b'\n') as (path, questions):
        report = doctor('--socket', path)
        check_fine(report, 'exporter')
        check('9.9.9' in found(report, 'exporter')[0]['text'], found(report, 'exporter'))
        check_equal('state', report['exporter'], status)
        check_equal('question', json.loads(questions[0]), {'version': 1, 'ask': 'status'})
    status.update(health='degraded', problems=[{'what': 'm0 is gone', 'fix': 'ip -br link'}])
    with exporter(json.dumps(status).encode() + b'\n') as (path, _):
        check_found(doctor('--socket', path), 'exporter', 'WARN', path, 'm0 is gone', 'ip -br link')
    for name, answer in ('nothing', None), ('no JSON', b'hello\n'), ('half a line', b'{"version":'):
        with exporter(answer) as (path, _):
            report = doctor('--socket', path)
            check_found(report, 'exporter', 'WARN', path, 'does not answer', 'journalctl -u flowtally')
            check('exporter' not in report, name)
    with private_folder() as directory:
        path = f'{directory}/flowtally.sock'
        check_fine(doctor('--socket', path), 'exporter')
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path)
        report = doctor('--socket', path)
        check_found(report, 'exporter', 'WARN', path, 'died', 'systemctl restart flowtally')


def test_its_collectors():
    """Without a configuration those of the running exporter are looked at, of which one is sick; what is named goes first."""
    with network() as box, private_folder() as directory, listener(box), scratch() as files:
        path, url, sick = f'{directory}/flowtally.sock', f'ipfix://{COLLECTOR}', f'ipfix+tcp://{COLLECTOR}:4999'
        words = ['--interface', 'm0', '--collector', f'json://{files}/flows', '--collector', url, '--collector', sick]
        with program.Daemon(box, 'meter', *words, '--control-socket', path) as daemon:
            def state(*more):  # what the exporter says mends its troubles need not be a command
                return json.loads(program.run('doctor', '--json', '--socket', path, *more, prefix=box.inside('meter'))[1])
            wait_until(lambda: state().get('exporter', {}).get('collectors'), 30, 'a state with collectors')
            report = state()
            check_equal('collectors', [one['text'] for one in found(report, 'collectors')], ['3 of the running exporter'])
            check_fine(report, 'collectors')
            check_fine(report, 'collector-file')
            check_equal('with an answer', {one['subject']: one['level'] for one in found(report, 'collector-answer')},
                        {url: 'OK', sick: 'FAIL'})
            report = state('--interface', 'm0', '--collector', url)
            check_equal('one that is named', [one['subject'] for one in found(report, 'collector-answer')], [url])
            daemon.stop()


def test_removed_collectors():
    """Those that were removed are in the status of the exporter, and nobody sends to them: nobody looks at them."""
    absent = 'ipfix+tcp://127.0.0.1:1'
    status = {'version': 1, 'answer': 'status', 'health': 'healthy', 'exporter': '9.9.9', 'problems': [],
              'collectors': [{'number': 2, 'url': 'json:-', 'state': 'up'}, {'number': 1, 'url': absent, 'state': 'removed'},
                             {'number': 0, 'url': 'removed collectors', 'state': 'removed'}]}
    with exporter(json.dumps(status).encode() + b'\n') as (path, _):
        report = doctor('--socket', path)
    check_equal('collectors', [one['text'] for one in found(report, 'collectors')], ['1 of the running exporter'])
    check_equal('looked at', {one.get('subject') for one in report['findings'] if one['id'].startswith('collector-')},
                {'json:-'})


# --- Without root.

def test_nobody():
    """All checks have their say, what may not be looked at is said, and nothing is an error for that."""
    with network() as box, scratch() as directory, listener(box):
        os.chmod(directory, 0o755)
        copy = shutil.copy(program.binary(), directory)
        os.chmod(copy, 0o755)
        arguments = '--interface', 'm0', '--collector', f'ipfix://{COLLECTOR}'
        root = doctor(*arguments, prefix=box.inside('meter'))
        report = doctor(*arguments, prefix=[*box.inside('meter'), *NOBODY], path=copy)
        check_found(report, 'capabilities', 'WARN', '', 'CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON', 'sudo flowtally doctor')
        check_found(report, 'kernel-features', 'WARN', '', 'cannot be tried', 'sudo flowtally doctor')
        check_equal('checks', {one['id'] for one in report['findings']}, {one['id'] for one in root['findings']})
        check_equal('verdict', report['verdict'], 'WARN')
        check_fine(report, 'collector-answer')


def test_nobody_finds():
    """What is sick is found by anybody, but for what only privileges show."""
    privileged = {'capabilities', 'kernel-features', 'seccomp', 'interface-foreign'}
    with network() as box, bpf_object(XDP_SOURCE) as code, scratch() as directory:
        os.chmod(directory, 0o755)
        copy = shutil.copy(program.binary(), directory)
        os.chmod(copy, 0o755)
        box.ip('meter', 'link', 'set', 'dev', 'm0', 'xdpdrv', 'obj', code, 'sec', 'xdp')
        number = box.link('meter', 'm0')['xdp']['prog']['id']
        box.ip('meter', 'link', 'set', 'm0', 'mtu', '1000')
        arguments = ['--interface', 'm0', '--interface', 'nosuch0', '--interface', 'x*']
        for url in (f'ipfix://{COLLECTOR}', f'ipfix+tcp://{COLLECTOR}', 'ipfix://192.0.2.1', 'ipfix://far.invalid',
                    'file:///nonexistent/a.ipfix'):
            arguments += ['--collector', url]

        def sick(report):
            return sorted((one['id'], one['level'], one.get('subject', ''), one['text']) for one in report['findings']
                          if one['level'] != 'OK' and one['id'] not in privileged)
        root = doctor(*arguments, prefix=box.inside('meter'))
        nobody = doctor(*arguments, prefix=[*box.inside('meter'), *NOBODY], path=copy)
        check(len(sick(root)) >= 9, *sick(root))
        check_equal('found by nobody', sick(nobody), sick(root))
        check_found(nobody, 'interface-foreign', 'WARN', 'm0', rf'XDP program id {number} \(whose name only root may read\)',
                    'bpftool net show dev m0')


def test_changes_nothing():
    with network() as box, listener(box):
        def state():
            return [box.ip('meter', '-d', 'address'), box.ip_tc('meter', 'qdisc', 'show'),
                    box.ip('meter', 'route', 'show', 'table', 'all'), box.run('meter', 'bpftool', 'net')]
        before = state()
        doctor('--interface', 'm0', '--collector', f'ipfix://{COLLECTOR}', prefix=box.inside('meter'))
        check_equal('state', state(), before)


# --- Words and files.

def test_text():
    """The worst comes first; names do nothing to a terminal."""
    status, out, _ = program.run('doctor', '--interface', 'no\x1b31m', '--collector', 'json:-')
    check_equal('exit status', status, 1)
    check('\x1b' not in out and r'no\x1b31m' in out, out)
    levels = [line.split()[0] for line in out.splitlines() if re.match('(OK|WARN|FAIL) ', line)]
    check_equal('order', levels, sorted(levels, key=['FAIL', 'WARN', 'OK'].index))
    counts = tuple(levels.count(level) for level in ('OK', 'WARN', 'FAIL'))
    check_equal('last line', out.splitlines()[-1], '%d OK, %d WARN, %d FAIL' % counts)


def test_usage():
    status, out, err = program.run('doctor', '--nonsense', '--inteface', 'x', '--config', 'a', '--config', 'b', '--json=1',
                                   '--collector', 'gopher://x', 'more')
    check_equal('exit status', status, 2)
    check(not out, out)
    for pattern in ('--nonsense: no such', 'did you mean --interface', "--config 'b': given twice", '--json takes no value',
                    "'more': unexpected"):
        check_equal(f'lines with {pattern}', len([line for line in err.splitlines() if pattern in line]), 1)
    status, _, err = program.run('doctor', '--collector', 'gopher://x')
    check(status == 2 and 'gopher' in err, err)
    status, out, err = program.run('doctor', '--help')
    check(status == 0 and '--bundle' in out and 'examples:' in out and not err, out, err)


def bundled(path):
    with tarfile.open(path) as tar:
        for member in tar:
            check_equal(f'mode of {member.name}', member.mode, 0o600)
        return {Path(member.name).name: tar.extractfile(member).read().decode() for member in tar}


BUNDLED = {'findings.txt', 'findings.json', 'versions.txt', 'configuration.yaml', 'features.json', 'interfaces.json',
           'bpf-programs.json', 'status.json'}


def test_bundle():
    answer = json.dumps({'version': 1, 'interfaces': [{'address': '192.0.2.77'}], 'api-token': 'hush',
                         'tls': {'key-passphrase': ['hush', 'hush']}})
    with network() as box, scratch() as directory, exporter(answer.encode() + b'\n') as (path, _):
        tar = f'{directory}/case.tar'
        arguments = ['doctor', '--interface', 'm0', '--collector', f'ipfix://{COLLECTOR}', '--collector', 'ipfix://far.invalid',
                     '--socket', path]
        status, _, err = program.run(*arguments, '--bundle', tar, prefix=box.inside('meter'))
        check_equal(f'exit status, of\n{err}', status, 1)
        check_equal('mode', os.stat(tar).st_mode & 0o777, 0o600)
        files = bundled(tar)
        check_equal('files', set(files), BUNDLED)
        check_equal('files, by tar', {Path(name).name for name in command('tar', '-tf', tar).split()}, BUNDLED)
        check_equal('whole blocks', os.stat(tar).st_size % 512, 0)
        check(COLLECTOR in files['findings.txt'] and COLLECTOR in files['configuration.yaml'], files['configuration.yaml'])
        check_equal('host name', [name for name, text in files.items() if os.uname().nodename in text.split()], [])
        check('hush' not in ''.join(files.values()), files['status.json'])
        for each in files:
            check(not each.endswith('.json') or json.loads(files[each]) is not None, files[each])
        check_equal('secret', json.loads(files['status.json'])['api-token'], '(left out)')
        check(any(one['name'] == 'm0' and one['metered'] for one in json.loads(files['interfaces.json'])), files)
        status, _, err = program.run(*arguments, '--bundle', tar, prefix=box.inside('meter'))
        check(status == 1 and 'is there already' in err, err)
        check_equal('files', bundled(tar), files)


def test_masked():
    with network() as box, scratch() as directory:
        tar = f'{directory}/case.tar'
        program.run('doctor', '--interface', 'm0', '--collector', f'ipfix://{COLLECTOR}', '--collector', 'ipfix://far.invalid',
                    '--bundle', tar, '--mask', prefix=box.inside('meter'))
        files = bundled(tar)
        everything = ''.join(files.values())
        check_equal('addresses', re.findall(r'10\.0\.0\.\d|far\.invalid', everything), [])
        name = re.search(r'ipfix://(ipv4-\d)', files['configuration.yaml'])
        check(name and name[1] in files['findings.txt'] and 'ipfix://host-1' in files['findings.txt'], files['findings.txt'])


def test_masked_mistakes():
    """What a wrong URL holds is told to nobody, in no form."""
    with network() as box, scratch() as directory:
        tar, file = f'{directory}/case.tar', Path(directory, 'f.yaml')
        urls = ['ipfix://deep.example:99999', 'ipfix://far.example:4739?password=hunter2']
        file.write_text(f'collectors: {json.dumps(urls)}\n', encoding='ascii')
        arguments = ['doctor', '--config', str(file), '--mask']
        _, out, err = program.run(*arguments, '--json', '--bundle', tar, prefix=box.inside('meter'))
        everything = ''.join(bundled(tar).values()) + out + err
        check_equal('told', re.findall(r'hunter2|(?:deep|far)\.example', ''.join(bundled(tar).values())), [])
        check_equal('hosts told', re.findall(r'(?:deep|far)\.example', out), [])
        check('host-1' in everything, everything)


def test_bundle_fails():
    status, _, err = program.run('doctor', '--interface', 'lo', '--bundle', '/nonexistent/case.tar')
    check(status == 1 and "cannot write '/nonexistent/case.tar'" in err, err)
    with scratch() as directory:
        tar = f'{directory}/case.tar'
        status, _, err = program.run('doctor', '--interface', 'lo', '--bundle', tar,
                                     prefix=mounted(f'mount -t tmpfs -o size=4k none {directory}'))
        check(status == 1 and 'No space' in err, err)


def tests():
    cases = [(f'process: {name}', functools.partial(test_process, name)) for name in PROCESSES]
    cases += [(name[5:].replace('_', ' '), function) for name, function in globals().items()
              if name.startswith('test_') and name not in ('test_process', 'test_stacked')]
    cases.append(('a VRF and its member', functools.partial(
        test_stacked, 'vrf', ['table', '10'], 'vrf0', 'WARN', ('vrf0', 'VRF'), 'ip link show master vrf0')))
    cases.append(('a bond and its member', functools.partial(
        test_stacked, 'bond', [], 'bond0', 'WARN', ('m0', "bond 'bond0'"), 'interfaces: [bond0]')))
    return cases


if __name__ == '__main__':
    tap.require('ip', 'tc', 'unshare', 'setpriv', 'prlimit', 'nft', 'bpftool', 'bash')
    sys.exit(tap.main(tests(), at_once=tap.AT_ONCE))
