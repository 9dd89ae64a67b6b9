#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The rendered pods run by runc, with rights, system calls, mounts and memory of the chart.

Where a user meets what is in the image, they are of the image that the Dockerfile makes; else of the program under test.
"""
import contextlib
import json
import os
import re
import shutil
import socket
import sys
from pathlib import Path

import chart
import ledger
import program
import terminal
import traffic
from chart import RELEASE, find, render, the_pod
from kubelet import Container
from lab import Lab, wait_until
from tap import Skip, cases, check, check_equal, comment, main, require

sys.path.insert(0, str(chart.ROOT / 'tests/package'))

import image as package_image  # pylint: disable=wrong-import-position

NODE, PEER = '198.51.100.1', '198.51.100.2'
SERVICE = f'{RELEASE}-flowtally-collector.{chart.NAMESPACE}.svc'
QUICK = {'interfaces': ['m0'], 'drain-interval': '1s', 'idle-timeout': '2s', 'active-timeout': '5s', 'summary': 'json',
         'drops': 'off'}
FEW = {'bank-entries': 4096, 'cache-entries': 4096}
CAP_NET_ADMIN, CAP_PERFMON, CAP_BPF = 12, 38, 39
TERMS = 'xterm', 'xterm-256color', 'screen', 'screen-256color', 'tmux', 'tmux-256color', 'linux', 'vt100', 'vt220', 'ansi'
TRACED = {'CapEff', 'CapPrm', 'CapBnd', 'CapInh', 'CapAmb', 'NoNewPrivs', 'Seccomp', 'Uid'}


def resources_of(config, **values):
    return render({'config': {**QUICK, **config}, **values})


def config_maps(resources):
    return {r['metadata']['name']: r['data'] for r in resources if r['kind'] == 'ConfigMap'}


@contextlib.contextmanager
def node():
    """Two namespaces, of a node and of who sends to it."""
    with Lab('node', 'peer') as box:
        box.veth(('node', 'm0'), ('peer', 'p0'))
        box.address(('node', 'm0', [NODE]), ('peer', 'p0', [PEER]))
        yield box


def exporter(box, resources, image=None, **more):
    return Container(box, 'node', the_pod(resources), config_maps(resources), image or program.binary(), **more)


def image():
    if not package_image.BASE.exists() or not shutil.which('buildah'):
        raise Skip(f'no image: {package_image.BASE} and buildah are needed; tests/package/fetch brings the one')
    return package_image.own()


def status_of(pid):
    """What the kernel says of a process, by name."""
    lines = Path(f'/proc/{pid}/status').read_text(encoding='ascii').splitlines()
    return {name: value.split()[0] for name, _, value in (line.partition(':') for line in lines) if name in TRACED}


def rows(container):
    """What goflow2 prints, as far as whole lines go."""
    return [json.loads(line) for line in container.output().split('\n')[:-1] if line.startswith('{')]


def test_meters():
    """With the collector that the chart brings: what is sent arrives there, to the packet; it is well and ends in time."""
    resources = render({'config': {**QUICK, **FEW}, 'collector': {'enabled': True}})
    deployment = find(resources, 'Deployment')['spec']['template']
    with node() as box:
        with Container(box, 'peer', deployment, {}, chart.BIN / 'goflow2') as collector, \
                exporter(box, resources, image(), hosts=[(SERVICE, PEER)]) as pod:
            pod.wait_ready()
            check_equal('liveness', pod.probe('livenessProbe'), 200)
            wait_until(lambda: collector.probe('readinessProbe') == 200, 30, 'the collector')
            target, = find(resources, 'Service')['spec']['ports']
            port, = [p['containerPort'] for p in collector.container['ports'] if p['name'] == target['targetPort']]
            check(f':{port} ' in box.run('peer', 'ss', '-lunH'), f'the collector does not listen at {port}')
            mask = f'{1 << CAP_NET_ADMIN | 1 << CAP_PERFMON | 1 << CAP_BPF:016x}'
            for thread in os.listdir(f'/proc/{pod.pid()}/task'):
                got = status_of(thread)
                check(int(got['CapEff'], 16) & ~int(mask, 16) == 0 and int(got['CapBnd'], 16) & ~int(mask, 16) == 0, got)
                check_equal(f'thread {thread}', (got['NoNewPrivs'], got['Seccomp'], got['CapInh']), ('1', '2', '0' * 16))
            check_equal('user of the collector', status_of(collector.pid())['Uid'], '65534')
            check_equal('capabilities of the collector', status_of(collector.pid())['CapBnd'], '0' * 16)
            check(re.search(' / ro,', Path(f'/proc/{pod.pid()}/mountinfo').read_text(encoding='utf-8')),
                  'the root can be written')
            traffic.udp(box, 'peer', (PEER, 4000), (NODE, 5000), 123, b'x' * 100)
            wait_until(lambda: [r for r in rows(collector) if r['dst_port'] == 5000], 30, 'the flow at the collector')
            status, out, error = pod.exec('flowtally', 'status')
            check(status in (0, 1) and 'm0' in out and 'in-cluster' in out, f'flowtally status: {status}', out, error)
            status, out, error = pod.exec('flowtally', 'observe', '--last', '100', 'port', '5000')
            check(status == 0 and '123 packets' in out, f'flowtally observe: {status}', out, error)
            traffic.udp(box, 'peer', (PEER, 4001), (NODE, 5001), 7, b'x' * 100)  # is still in a bank at the end
            traffic.pass_queues(box, ('peer', 'p0'), ('node', 'm0'))
            status, seconds = pod.stop()
            check_equal('exit status', status, 0)
            ledger.proven(program.last_ledger(pod.log()))
            wait_until(lambda: [r for r in rows(collector) if r['dst_port'] == 5001], 10, 'what was metered at the end')
            sums = {port: sum(r['packets'] for r in rows(collector) if r['dst_port'] == port) for port in (5000, 5001)}
            check_equal('packets at the collector', sums, {5000: 123, 5001: 7})
            comment(f'ended after {seconds:.2f} s')


def test_reload():
    """A ConfigMap that changes is in force without a restart; one with a mistake changes nothing, and the log says so."""
    resources = resources_of({**FEW, 'collectors': ['ipfix://127.0.0.1:4739']})
    changed = resources_of({**FEW, 'collectors': ['ipfix://127.0.0.1:4739'], 'idle-timeout': '3s'})
    with node() as box, exporter(box, resources) as pod:
        pod.wait_ready()
        pid = pod.pid()
        volume = pod.volumes['config']
        volume.write({'flowtally.yaml': 'idle-timeout: 7\n'})
        wait_until(lambda: 'lacks a unit' in pod.log(), 10, 'the mistake in the log')
        check("is in force" not in pod.log(), 'a file with a mistake is in force')
        volume.write(config_maps(changed)['node-flowtally'])
        wait_until(lambda: 'idle-timeout: 3s, was 2s' in pod.log() and 'is in force' in pod.log(), 10, 'the new configuration')
        check_equal('the process', (pod.pid(), pod.ended()), (pid, False))
        check_equal('ready', pod.probe('readinessProbe'), 200)
        check_equal('exit status', pod.stop()[0], 0)


def test_wrong_at_start():
    """A file with a mistake at the first start, which the chart would not have let through: it ends at once, and all of it is
    in the few lines that the kubelet keeps as the message of the end."""
    resources = resources_of({**FEW, 'collectors': ['ipfix://127.0.0.1:4739']})
    check_equal('the message of the end', the_pod(resources)['spec']['containers'][0]['terminationMessagePolicy'],
                'FallbackToLogsOnError')
    find(resources, 'ConfigMap')['data']['flowtally.yaml'] = 'interfaces: [m0]\nidle-timeout: 7\nactiv-timeout: 60s\n'
    with node() as box, exporter(box, resources) as pod:
        check_equal('exit status', pod.wait(60), 2)
        last = pod.log()[-2048:].splitlines()[-80:]
        for line in 'flowtally.yaml:2:15: ', 'flowtally.yaml:3:1: ':
            check(any(line in one for one in last), f'{line!r} is not at the end of the log')


def test_restart():
    """Killed, and started by the kubelet with the same volumes: it meters again, and its socket answers."""
    resources = resources_of({**FEW, 'collectors': ['ipfix://127.0.0.1:4739']})
    with node() as box, exporter(box, resources) as pod:
        pod.wait_ready()
        pid = pod.pid()
        pod.restart()
        pod.wait_ready()
        check(pod.pid() != pid, 'it is the same process')
        status, out, error = pod.exec('flowtally', 'status')
        check(status in (0, 1) and 'm0' in out, f'flowtally status: {status}', out, error)
        check_equal('exit status', pod.stop()[0], 0)


def test_doctor():
    """The pod of `helm test` ends well beside the exporter, and badly where the configuration cannot work."""
    for config, wanted in (({}, 0), ({'interfaces': ['nosuch0']}, 1)):
        resources = resources_of({**FEW, 'collectors': ['ipfix+tcp://127.0.0.1:9'] if wanted else [], **config})
        pod = find(resources, 'Pod')
        with node() as box, contextlib.ExitStack() as stack:
            if not wanted:
                stack.enter_context(exporter(box, resources, image())).wait_ready()
            test = stack.enter_context(Container(box, 'node', pod, config_maps(resources), image()))
            status = test.wait()
            check(status == wanted, f'exit status of doctor: expected {wanted}, got {status}', test.output())
            for name in 'capabilities', 'seccomp', 'btf', 'configuration':
                check(re.search(rf'^OK +{name}', test.output(), re.M), f'{name} is not OK:', test.output())


def test_terminal():
    """`kubectl exec -it`: `flowtally top` draws on each kind of terminal that the image knows, elsewhere says what to do."""
    resources = resources_of({**FEW, 'collectors': ['ipfix://127.0.0.1:4739']})
    with node() as box, exporter(box, resources, image()) as pod:
        pod.wait_ready()
        traffic.udp(box, 'peer', (PEER, 4000), (NODE, 5000), 7, b'x' * 100)
        for term in TERMS:
            with terminal.Terminal(pod.folder, pod.exec_words('flowtally', 'top', term=term)) as screen:
                screen.wait_for('[1 flows]')
                screen.wait(lambda lines: any(line.split()[-7:-2] == ['UDP', PEER, '4000', NODE, '5000'] for line in lines),
                            f'the flow, with TERM={term}')
                screen.type('q')
                screen.wait_dead()
        for term in None, '', 'dumb', 'xterm-kitty':
            with terminal.Terminal(pod.folder, pod.exec_words('flowtally', 'top', term=term)) as screen:
                screen.wait_dead(2)
                text = ' '.join(screen.text().split())
                check(f'(TERM={term or ""})' in text and '--batch' in text, f'with TERM={term}:', text)
        status, out, error = pod.exec('flowtally', 'top', '--batch', '-n', '1')
        check(status == 0 and NODE in out, f'flowtally top --batch: {status}', out, error)


def flood(box, first, count):
    """So many flows of one packet each."""
    with box.entered('peer'):
        sender = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    header = bytes.fromhex('4500001c00000000401100000000000000000000') + bytes(4) + b'\x00\x08\x00\x00'
    with sender:
        for i in range(first, first + count):
            packet = bytearray(header)
            packet[12:16] = (0x0a000000 + i).to_bytes(4, 'big')
            packet[16:20] = socket.inet_aton(NODE)
            packet[20:24] = (1000).to_bytes(2, 'big') + (5000).to_bytes(2, 'big')
            sender.sendto(packet, (NODE, 0))


def test_memory():
    """With the limits of the presets: the limit is never hit, with minimal when banks and cache are full."""
    for preset, entries, parts in ('minimal', 32768, 4), ('default', 131072, 1):
        quick = {**QUICK, 'idle-timeout': '60s', 'active-timeout': '60s', 'collectors': []}
        if preset == 'default':
            del quick['drops']
        resources = render({'preset': preset, 'config': quick})
        with node() as box, exporter(box, resources) as pod:
            pod.wait_ready()
            for part in range(1, parts + 1):  # a bank has room for two, the cache for four
                flood(box, part * entries // 2, entries // 2)
                wait_until(lambda pod=pod, wanted=0.9 * part * entries / 2: flows_of(pod) >= wanted, 20, 'flows in the cache')
            use = pod.memory()
            if not use:
                comment('no control group of memory: the limit is not looked at')
                continue
            comment(f'{preset}: {use[0] / 2**20:.0f} of {use[1] / 2**20:.0f} MiB, with {flows_of(pod)} flows')
            check(use[2] == 0 and use[0] < use[1], f'{preset}: {use}')
            check_equal('exit status', pod.stop()[0], 0)


def test_too_little_memory():
    """The banks count as the container's: with a limit below them it ends, and says of what it has too little."""
    resources = render({'config': QUICK})
    the_pod(resources)['spec']['containers'][0]['resources']['limits']['memory'] = '40Mi'  # they take 50.3 MB
    with node() as box, exporter(box, resources) as pod:
        check(pod.wait(60) != 0, 'it runs')
        check('no memory for the banks' in pod.log(), pod.log())


def flows_of(pod):
    _, out, _ = pod.exec('flowtally', 'status', '--json')
    found = re.search(r'"cache":\s*{[^}]*?"flows":\s*(\d+)', out)
    return int(found[1]) if found else 0


def test_rights():
    """Without one of the three capabilities, or with another profile, it does not start: the node of this test is strict."""
    for capability in 'BPF', 'NET_ADMIN', 'PERFMON':
        resources = resources_of({**FEW, 'collectors': ['ipfix://127.0.0.1:4739']})
        the_pod(resources)['spec']['containers'][0]['securityContext']['capabilities']['add'].remove(capability)
        with node() as box, exporter(box, resources) as pod:
            check_equal(f'exit status without {capability}', pod.wait(60), 1)
            check(f'CAP_{capability}' in pod.log() and 'runc' not in pod.log(), f'without {capability}:', pod.log())


if __name__ == '__main__':
    chart.need('helm', 'runc', 'seccomp-profile', 'goflow2')
    require('ip', 'nsenter', 'setpriv')
    main(cases(globals()), at_once=3)
