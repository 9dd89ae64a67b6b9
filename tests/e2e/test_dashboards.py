#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Every expression of the dashboards and alert rules, asked of a real Prometheus that scrapes two exporters under traffic.

With FLOWTALLY_PICTURES=FOLDER there is more traffic, and a picture of each dashboard in the folder at the end.
"""
import contextlib
import ctypes
import math
import os
import re
import shlex
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import program
import prometheus
import tap
import traffic
from lab import Lab, scratch, wait_until
from tap import check, check_equal

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / 'tools'))
import expressions  # noqa: E402  pylint: disable=wrong-import-position

METER, PEER = '10.86.0.1', '10.86.0.2'
PORT = 9717
NODES = {f'{METER}:{PORT}': {'node': 'one', 'pod': 'flowtally-x'}, f'{PEER}:{PORT}': {'node': 'two', 'pod': 'flowtally-y'}}
SECONDS = float(os.environ.get('FLOWTALLY_PICTURES') and 60 or 9)
INTERVAL, SPAN = '5s', '40s'
ETH_P_ALL, OUTGOING, OTHER_ETHERTYPE, SO_RCVBUFFORCE = 3, 4, 0x88b5, 33
TCP_OFFSET = 14 + 9  # of the protocol in a frame
RULES = 'table inet t { chain i { type filter hook input priority 0; udp dport 7 drop; }; }'
SYS_BPF = {'x86_64': 321, 'aarch64': 280}[os.uname().machine]
BPF_ENABLE_STATS, BPF_STATS_RUN_TIME = 32, 0
COMPARISON = re.compile(r'\s(?:==|!=|<=|>=|<|>) -?[\d.]+(?!\w)')
# Values of these labels depend on the kernel and on what happens; others are all there from the beginning.
CHANGING = 'reason', 'class', 'port', 'protocol', 'job', 'instance', 'interface'
EXPECTED = {'FlowtallyInterfaceNotAttached', 'FlowtallyCollectorDown', 'FlowtallyPacketsLost', 'HighPacketDropRate'}
ALLOWED = EXPECTED | {'TCPDuplicateSegments', 'DNSUnanswered', 'TCPUnansweredConnections', 'PacketDropSpike'}
WRONG_TEXT = '<no value>', '%!', '<error'


# --- The network, and what happens in it.

@contextlib.contextmanager
def bpf_statistics():
    """The kernel takes the time of BPF programs while this is open, as with the sysctl kernel.bpf_stats_enabled."""
    kind = ctypes.c_uint32(BPF_STATS_RUN_TIME)
    descriptor = ctypes.CDLL(None, use_errno=True).syscall(SYS_BPF, BPF_ENABLE_STATS, ctypes.byref(kind), ctypes.sizeof(kind))
    if descriptor < 0:
        raise OSError(ctypes.get_errno(), 'BPF_ENABLE_STATS')
    try:
        yield
    finally:
        os.close(descriptor)


def repeat(sock, stop):
    """Sends each third segment of TCP that the peer sends once more, as a faulty network would."""
    number = 0
    while not stop.is_set():
        with contextlib.suppress(socket.timeout, OSError):
            frame, place = sock.recvfrom(1 << 16)
            if place[2] == OUTGOING and frame[TCP_OFFSET] == socket.IPPROTO_TCP and len(frame) > 200:
                number += 1
                if number % 3 == 0:
                    sock.send(frame)


@contextlib.contextmanager
def duplicates(box):
    with box.entered('peer'):
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 64 << 20)  # what it has no room for is a drop too
    sock.bind(('p0', ETH_P_ALL))
    sock.settimeout(0.2)
    stop = threading.Event()
    thread = threading.Thread(target=repeat, args=(sock, stop))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        sock.close()


def play(box, number):
    """A round of all that dashboards show."""
    wave = 1 + math.sin(number / 9)  # pictures are nicer when it is not always the same
    with traffic.bound(box, 'meter', socket.SOCK_DGRAM, METER, 53) as served:
        traffic.udp(box, 'peer', (PEER, 4000 + number % 100), (METER, 53), 20, bytes(40))
        traffic.udp(box, 'meter', (METER, 5000), (PEER, 53), 20, bytes(200))
        served.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        traffic.udp(box, 'peer', (PEER, 4200), (METER, 53), 400 + int(400 * wave), bytes(1000))  # nobody reads
    traffic.udp(box, 'peer', (PEER, 4201), (METER, 7777), 5 + number % 7)  # nobody listens
    traffic.udp(box, 'peer', (PEER, 4202), (METER, 7), 10 + int(20 * wave))  # the firewall
    traffic.tcp(box, 'peer', (PEER, 20000 + number), 'meter', (METER, 443), 300000 + int(300000 * wave))
    traffic.tcp(box, 'meter', (METER, 20000 + number), 'peer', (PEER, 80), 200000)
    traffic.tcp_refused(box, 'peer', (PEER, 30000 + number), (METER, 81))
    with box.entered('peer'):
        wire = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
    with wire:
        wire.sendto(bytes(46), ('p0', OTHER_ETHERTYPE, 0, 0, b'\xff' * 6))


def exporter(box, role, interface, ingress, address, *options, **how):
    return program.Daemon(box, role, '--interface', interface, '--ingress', ingress, '--drain-interval', '500ms',
                          '--idle-timeout', '2s', '--metrics-listen', f'{address}:{PORT}', *options, **how)


@contextlib.contextmanager
def scraped():
    """(lab, folder, Prometheus) of two nodes: one drops, misses an interface, and has a collector that refuses.

    The other one has an interface to which it cannot attach.
    """
    with Lab('meter', 'peer') as box, scratch() as directory, bpf_statistics():
        box.veth(('meter', 'm0'), ('peer', 'p0'), offloads=False)
        box.address(('meter', 'm0', [METER]), ('peer', 'p0', [PEER]))
        box.run('meter', 'nft', RULES)
        box.run('peer', 'ip', 'link', 'add', 'b0', 'type', 'bridge')  # has no native XDP
        box.run('peer', 'ip', 'link', 'set', 'b0', 'up')
        with exporter(box, 'meter', 'm0', 'tc', METER, '--interface', 'missing0', '--collector', f'file://{directory}/f.ipfix',
                      '--collector', f'ipfix://{PEER}:4739', '--collector', 'json:///dev/full',
                      '--control-socket', f'{directory}/socket', drops='on'), \
                exporter(box, 'peer', 'p0', 'xdp', PEER, '--interface', 'b0', '--collector', f'json://{directory}/f.json',
                         drops='on'), duplicates(box):
            server = prometheus.Prometheus(box, directory, NODES, sorted((ROOT / expressions.RULES).glob('*.yaml')))
            wait_until(lambda: len(server.query('flowtally_snapshots_total')) == 2, 30, 'both exporters to be scraped')
            end, number = time.monotonic() + SECONDS, 0
            while time.monotonic() < end:
                play(box, number)
                number += 1
                time.sleep(0.1 if SECONDS < 20 else 0.5)
            yield box, directory, server


# --- What is asked.

def has_data(rows):
    return any(not math.isnan(value) for _, value in rows)


def check_panels(server):
    """Each has data; where only one node is chosen, of that node alone."""
    problems, asked = [], 0
    for where, text, _ in expressions.of_dashboards():
        asked += 1
        whole = expressions.replaced(text, INTERVAL, SPAN)
        if not has_data(server.query(whole)) and not has_data(server.query(COMPARISON.sub('', whole))):
            problems.append(f'{where}: no data: {whole}')
        one = expressions.replaced(text.replace('$instance', f'{METER}:{PORT}'), INTERVAL, SPAN)
        others = {labels.get('instance', f'{METER}:{PORT}') for labels, _ in server.query(one)} - {f'{METER}:{PORT}'}
        if others:
            problems.append(f'{where}: {others} where the other one is chosen')
    check(not problems, *problems)
    check(asked > 60, f'{asked} expressions')


def alternatives(matchers):
    """A matcher of several words is asked for each of them."""
    for label, (operator, value) in matchers.items():
        words = value.split('|') if operator == '=~' and re.fullmatch(r'[\w|]+', value) else [value]
        if operator in ('=', '=~') and label not in CHANGING:
            yield from (f'{label}="{word}"' for word in words)


def check_rules(server):
    """Each selector of a rule has series, by each of its words that does not depend on what happens; no rule fails."""
    problems, asked = [], 0
    for where, text, _ in expressions.of_rules():
        for name, matchers, selector in expressions.selectors(text):
            asked += 1
            if not server.query(f'count({selector})'):
                problems.append(f'{where}: no series: {selector}')
            problems += [f'{where}: no series: {name}{{{word}}}' for word in alternatives(matchers)
                         if not server.query(f'count({name}{{{word}}})')]
    rules = [rule for group in server.answer('rules')['groups'] for rule in group['rules']]
    problems += [f'{rule["name"]}: {rule["health"]} {rule.get("lastError")}' for rule in rules if rule['health'] != 'ok']
    check(not problems, *problems)
    check_equal('rules', len(rules), len(list(expressions.of_rules())))
    check(asked > 60, f'{asked} selectors')


def check_alerts(server):
    """What is wrong here is pending or firing, and nothing else; the texts have all that they name."""
    alerts = server.answer('alerts')['alerts']
    found = {alert['labels']['alertname'] for alert in alerts}
    check(EXPECTED <= found <= ALLOWED, f'missing {EXPECTED - found}, too many {found - ALLOWED}', alerts)
    texts = [text for alert in alerts for text in alert['annotations'].values()]
    check(not any(word in text for text in texts for word in WRONG_TEXT), *texts)
    check(f'Collector json:///dev/full does not take what {METER}:{PORT} sends.' in texts, *texts)


def runbook_commands():
    """[(runbook, words, jq's filter)] of the commands of flowtally that ask a running exporter, or the kernel."""
    for path in sorted((ROOT / 'docs/runbooks').glob('*.md')):
        for line in path.read_text(encoding='utf-8').splitlines():
            for part in line.split(';'):
                match = re.match(r'(?:sudo )?flowtally (observe|top|status|drops)\b([^|#]*)(?:\| *jq ([^#]*))?', part.strip())
                if match and '`' not in line:
                    yield path.name, [match[1], *shlex.split(match[2])], shlex.split(match[3] or '')


def check_runbooks(box, directory):
    """What runbooks ask of a running exporter it answers, and what they look for in the answer is there."""
    asked = 0
    for name, words, looked_for in runbook_commands():
        ends = {'top': ['--batch', '-n', '1'], 'drops': ['--for', '100ms']}.get(words[0], [])
        socket_of = [] if words[0] == 'drops' else ['--socket', f'{directory}/socket']
        command = box.inside('meter', program.binary(), words[0], *socket_of, *ends, *words[1:])
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
        good = (0, 1) if words[0] == 'status' else (0,)
        check(done.returncode in good, f'{name}: {words}: {done.returncode}', done.stderr)
        asked += 1
        if looked_for:
            found = subprocess.run(['jq', '-c', *looked_for], input=done.stdout, capture_output=True, text=True, check=False)
            check(found.returncode == 0 and 'null' not in found.stdout and found.stdout.strip(), f'{name}: jq {looked_for}',
                  found.stdout, found.stderr)
    check(asked > 30, f'{asked} commands')


def draw(server, directory):
    import dashboard_pictures  # pylint: disable=import-outside-toplevel
    folder = Path(os.environ['FLOWTALLY_PICTURES'])
    for name, text in dashboard_pictures.pictures(server, SECONDS - 10).items():
        (folder / name).write_text(text.replace(directory, '/var/lib/flowtally'), encoding='utf-8')


def test_expressions():
    """Panels, rules and runbooks against two exporters and a Prometheus."""
    with scraped() as (box, directory, server):
        if os.environ.get('FLOWTALLY_PICTURES'):
            draw(server, directory)
        check_panels(server)
        check_rules(server)
        check_alerts(server)
        check_runbooks(box, directory)


TESTS = [('every expression under traffic', test_expressions)]

if __name__ == '__main__':
    tap.require('ip', 'prometheus', 'nft', 'jq')
    tap.main(TESTS)
