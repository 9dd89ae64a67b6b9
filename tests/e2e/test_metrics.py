#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""/metrics as Debian's Prometheus and promtool read it, against the records at a collector and the ledger."""
import contextlib
import gzip
import re
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import collect
import program
import prometheus
import tap
import traffic
from lab import DIES_WITH_TEST, Lab, scratch, wait_until
from tap import check, check_equal

METER, PEER = '10.85.0.1', '10.85.0.2'
AT = '127.0.0.1', 9717
OPEN = 'application/openmetrics-text; version=1.0.0'
SAMPLE = re.compile(r'^([a-z_]+)(?:\{(.*)\})? ([0-9.]+)$')
LABEL = re.compile(r'([a-z_]+)="((?:[^"\\]|\\.)*)"')
IDLE_SECONDS = 10  # a connection on which nothing moves
CROWD = 400        # connections, more than are taken at once


@contextlib.contextmanager
def network():
    with Lab('meter', 'peer') as box:
        box.veth(('meter', 'm0'), ('peer', 'p0'))
        box.address(('meter', 'm0', [METER]), ('peer', 'p0', [PEER]))
        yield box


def daemon(box, *options, **how):
    return program.Daemon(box, 'meter', '--interface', 'm0', '--ingress', 'tc', '--drain-interval', '500ms',
                          '--idle-timeout', '1s', *options, **how)


def connect(box, at=AT, seconds=20):
    return prometheus.connect(box, 'meter', at, seconds)


def get(box, path='/metrics', accept='text/plain', at=AT):
    """(status, headers, text)"""
    with connect(box, at) as sock:
        sock.sendall(f'GET {path} HTTP/1.1\r\nHost: x\r\nAccept: {accept}\r\nConnection: close\r\n\r\n'.encode())
        answer = b''
        while block := sock.recv(1 << 16):
            answer += block
    head, _, body = answer.partition(b'\r\n\r\n')
    length = int(re.search(rb'(?i)content-length: (\d+)', head)[1])
    check_equal('octets of the body', len(body), length)
    return int(head.split()[1]), head.decode(), body.decode()


def served(box, at=AT):
    """Waits until somebody answers."""
    def answers():
        try:
            return get(box, '/healthz', at=at)[0] == 200
        except OSError:
            return False
    wait_until(answers, 20, 'an answer over HTTP')


def samples(text):
    """{(name, ((label, value), ...)): value}"""
    found = {}
    for line in text.splitlines():
        if line.startswith('#'):
            continue
        match = SAMPLE.match(line)
        check(match, f'no sample: {line}')
        key = match[1], tuple(sorted(LABEL.findall(match[2] or '')))
        check(key not in found, f'twice: {line}')
        found[key] = float(match[3])
    return found


def total(found, name, **labels):
    return sum(value for (one, pairs), value in found.items()
               if one == name and labels.items() <= dict(pairs).items())


def snapshot_with(box, condition, seconds=20):
    """The first scrape of which the condition holds."""
    def look():
        found = samples(get(box)[2])
        return found if condition(found) else None
    return wait_until(look, seconds, 'a scrape')


def promtool(text):
    done = subprocess.run(['promtool', 'check', 'metrics'], input=text, capture_output=True, text=True, check=False)
    check(done.returncode == 0 and not done.stderr and not done.stdout, done.stdout, done.stderr)


# --- Prometheus.

def all_series(server, name, since):
    """{time: sum over all series} of each scrape; samples of one scrape have one time."""
    answer = server.answer('query', query=f'{name}[{int(time.time() - since) + 1}s]')
    sums = {}
    for row in answer['result']:
        for at, value in row['values']:
            sums[at] = sums.get(at, 0) + float(value)
    return sums


def send_for(box, seconds):
    end = time.monotonic() + seconds
    number = 0
    while time.monotonic() < end:
        number += 1
        traffic.udp(box, 'meter', (METER, 2000 + number % 50), (PEER, 9), 200, bytes(100 + number % 400))
        traffic.udp(box, 'peer', (PEER, 3000 + number % 50), (METER, 53), 100)


def test_prometheus():
    """Under traffic: in each scrape packets by interface are those accounted; at the end they are those at the collector."""
    with network() as box, scratch() as directory:
        nfcapd = collect.Nfcapd(box, 'meter', directory)
        with traffic.bound(box, 'peer', socket.SOCK_DGRAM, PEER, 9), \
                traffic.bound(box, 'meter', socket.SOCK_DGRAM, METER, 53), \
                daemon(box, '--collector', nfcapd.url, '--collector', f'file://{directory}/f.ipfix') as process:
            served(box)
            server, since = prometheus.Prometheus(box, directory, {f'{AT[0]}:{AT[1]}': {}}), time.time()
            wait_until(lambda: server.query('up'), 30, 'the first scrape')
            send_for(box, 8)
            traffic.tcp(box, 'meter', (METER, 4001), 'peer', (PEER, 80), 3000000)
            done = snapshot_with(box, lambda found: total(found, 'flowtally_flows_active') == 0)
            time.sleep(1.5)  # for two scrapes more
            accounted = all_series(server, 'flowtally_accounted_packets_total', since)
            for name in 'flowtally_interface_packets_total', 'flowtally_hook_packets_total', 'flowtally_seen_packets_total':
                sums = all_series(server, name, since)
                common = sorted(set(sums) & set(accounted))
                check(len(common) > 10, f'{len(common)} scrapes')
                check_equal(name, [sums[at] for at in common], [accounted[at] for at in common])
            check(len(set(accounted.values())) > 8, 'there was no traffic while it was scraped', sorted(accounted.items()))
            check_equal('up', [value for _, value in server.query('min_over_time(up[1h])')], [1.0])
            balanced = server.query('min_over_time(flowtally_ledger_balanced[1h])')
            check_equal('balanced', [value for _, value in balanced], [1.0])
            check_equal('lost', server.query('sum(flowtally_lost_packets_total)')[0][1], 0)
            ledger = process.stop()
        records = nfcapd.stop()
        check_equal('packets', total(done, 'flowtally_interface_packets_total'), sum(r.flow.packets for r in records))
        check_equal('octets', total(done, 'flowtally_interface_bytes_total'), sum(r.flow.octets for r in records))
        check_equal('records', total(done, 'flowtally_flows_total'), len(records))
        check_equal('by port 53', total(done, 'flowtally_port_packets_total', port='53'),
                    sum(r.flow.packets for r in records if 53 in (r.key.source_port, r.key.destination_port)))
        check_equal('SYN', total(done, 'flowtally_tcp_flags_total', flag='SYN'), 1)
        check_equal('SYN-ACK', total(done, 'flowtally_tcp_flags_total', flag='SYN-ACK'), 1)
        for name, count in ledger['directions'].items():
            check_equal(name, total(done, 'flowtally_accounted_packets_total', point=name), count['accounted']['packets'])
            check_equal(name, total(done, 'flowtally_interface_packets_total', direction=name), count['accounted']['packets'])


def test_drops():
    """What the kernel drops is in the text by its reason, and by Hubble's names; promtool has nothing to say of it."""
    with network() as box, scratch() as directory:
        with daemon(box, '--collector', f'json://{directory}/f.json', '--metrics-hubble', drops='on') as process:
            served(box)
            traffic.udp(box, 'peer', (PEER, 1000), (METER, 7777), 30)  # nobody listens there
            found = snapshot_with(box, lambda found: total(found, 'flowtally_drops_total', reason='NO_SOCKET') >= 30)
            for accept in 'text/plain', OPEN:
                status, head, text = get(box, accept=accept)
                check_equal('status', status, 200)
                check(('openmetrics' in head) == (accept == OPEN), head)
                check_equal('# EOF', text.endswith('\n# EOF\n'), accept == OPEN)
            promtool(get(box)[2])
            names = {'reason': 'NO_SOCKET', 'protocol': 'udp'}
            check_equal('recorded', total(found, 'flowtally_recorded_drops_total', **names), 30)
            check_equal('Hubble', total(found, 'hubble_drop_total', reason='NO_SOCKET', protocol='UDP'), 30)
            check_equal('seen', total(found, 'flowtally_drops_total') +
                        total(found, 'flowtally_ignored_packets_total', record='drop', reason='namespace_unknown'),
                        total(found, 'flowtally_seen_packets_total', record='drop'))
            check_equal('lost events', [total(found, 'hubble_lost_events_total', source=f'{source}_ring_buffer')
                                        for source in ('perf_event', 'hubble')], [0, 0])
            check_equal('ICMP', total(found, 'hubble_icmp_total', type='DestinationUnreachable(Port)'),
                        total(found, 'flowtally_icmp_messages_total', type='3', code='3'))
            check_equal('ready', get(box, '/readyz')[0], 200)
            ledger = process.stop()
        check(ledger['drops']['reasons']['NO_SOCKET']['packets'] >= 30, ledger['drops'])


def unbroken(numbers):
    """The longest run of them without a gap: a busy machine may stand still for longer than there is between two."""
    runs = [[]]
    for number in numbers:
        if runs[-1] and number != runs[-1][-1] + 1:
            runs.append([])
        runs[-1].append(number)
    return max(runs, key=len)


def test_swaps():
    """How full the bank was at each swap adds up to all entries; when a collector was last sent something, and templates."""
    with network() as box:
        with traffic.bound(box, 'peer', socket.SOCK_DGRAM, PEER, 9) as collector, \
                daemon(box, '--collector', f'ipfix://{PEER}:9') as process:
            served(box)
            seen, begun = {}, time.time()
            while time.time() - begun < 6:
                found = samples(get(box)[2])
                number = total(found, 'flowtally_snapshots_total')
                if number:
                    seen[number] = found
                traffic.udp(box, 'peer', (PEER, 3000 + int(time.time() * 10) % 500), (METER, 53), 1)
                time.sleep(0.15)
            run = unbroken(sorted(seen))
            check(len(run) >= 4, f'seen {sorted(seen)}')
            first, last = seen[run[0]], seen[run[-1]]
            new = sum(total(seen[number], 'flowtally_bank_last_entries') for number in run[1:])
            check(new > 3, f'{new} in {run}')
            entries = [total(found, 'flowtally_bank_entries_total') for found in (first, last)]
            check_equal('entries', new, entries[1] - entries[0])
            check(0 < total(last, 'flowtally_drain_last_seconds') < 1 and total(last, 'flowtally_drain_seconds_total') <
                  total(last, 'flowtally_swaps_total'), sorted(last.items()))
            sent = total(last, 'flowtally_export_last_success_timestamp_seconds')
            check(begun - 5 < sent <= time.time(), f'sent {time.time() - sent} s ago')
            templates = total(last, 'flowtally_export_template_messages_total')
            process.stop()
            collector.setblocking(False)
            got = 0
            with contextlib.suppress(BlockingIOError):
                while message := collector.recv(65536):
                    got += message[16:18] == b'\0\2'  # RFC 7011, section 3.3.2: a set of templates comes first
        check(0 < templates <= got, f'{templates} messages with templates by then, {got} in all')


def test_gzip():
    """Who takes gzip gets the same text in a fraction of the octets, in both forms, and HEAD says how many these are."""
    with network() as box, daemon(box) as process:
        served(box)
        snapshot_with(box, lambda found: total(found, 'flowtally_snapshots_total') > 0)
        url = f'http://{AT[0]}:{AT[1]}/metrics'
        promtool(box.run('meter', 'curl', '-sSf', '--compressed', url))
        for accept in 'text/plain', OPEN:
            def fetch(*words, accept=accept):
                done = subprocess.run(box.inside('meter', 'curl', '-sSf', '-D', '-', '-H', f'Accept: {accept}', *words, url),
                                      capture_output=True, check=True)
                head, _, body = done.stdout.partition(b'\r\n\r\n')
                return dict(line.lower().split(': ', 1) for line in head.decode().splitlines()[1:]), body

            def pair(fetch=fetch):  # of one second
                packed, plain = fetch('-H', 'Accept-Encoding: gzip'), fetch()
                return (packed, plain) if gzip.decompress(packed[1]) == plain[1] else None
            (head, body), (plain_head, plain) = wait_until(pair, 20, 'the same text both ways')
            check_equal('encoding', (head['content-encoding'], plain_head.get('content-encoding')), ('gzip', None))
            check_equal('octets', (int(head['content-length']), int(plain_head['content-length'])), (len(body), len(plain)))
            check_equal('vary', (head['vary'], plain_head['vary']), ('accept, accept-encoding',) * 2)
            check_equal('type', head['content-type'], plain_head['content-type'])
            check(len(body) * 3 < len(plain), f'{len(body)} octets of {len(plain)}')
            check_equal('HEAD', (fetch('-I', '-o', '/dev/null', '-H', 'Accept-Encoding: gzip')[0]['content-encoding']), 'gzip')
            check('content-encoding' not in fetch('-H', 'Accept-Encoding: gzip;q=0')[0], 'packed for who refuses it')
        process.stop()


# --- Who asks, and how.

def test_many():
    """A hundred ask at once, again and again: each gets a whole text, and swaps go on."""
    with network() as box, daemon(box) as process:
        served(box)
        before = total(snapshot_with(box, lambda found: True), 'flowtally_snapshots_total')
        texts, failures = [], []

        def ask():
            try:
                for _ in range(5):
                    texts.append(get(box)[2])
            except Exception as error:  # pylint: disable=broad-except
                failures.append(error)
        threads = [threading.Thread(target=ask) for _ in range(100)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        check(not failures, failures[:3])
        check_equal('answers', len(texts), 500)
        for text in texts[::50]:
            samples(text)
        time.sleep(1.5)
        after = total(samples(get(box)[2]), 'flowtally_snapshots_total')
        check(after > before, f'{after} snapshots after {before}')
        process.stop()


def test_deaf():
    """Those that never read, ask half a question or a thousand at once: others are answered, and they are sent away."""
    with network() as box, daemon(box) as process, contextlib.ExitStack() as stack:
        served(box)
        before = snapshot_with(box, lambda found: True)
        question = b'GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n'
        for number in range(120):
            sock = stack.enter_context(connect(box))
            sock.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                for _ in range(50):
                    sock.send((question * 1000, question[:9], b'')[number % 3])
        open_before = total(before, 'process_open_fds')
        found = snapshot_with(box, lambda found: total(found, 'process_open_fds') >= open_before + 100, IDLE_SECONDS)
        grown = total(found, 'process_resident_memory_bytes') - total(before, 'process_resident_memory_bytes')
        check(grown < 64 << 20, f'{grown} octets of memory')
        wait_until(lambda: total(samples(get(box)[2]), 'process_open_fds') <= open_before + 2, 5 * IDLE_SECONDS,
                   'those that do not read to be sent away')
        check_equal('ready', get(box, '/readyz')[0], 200)
        process.stop()


def test_crowd():
    """More than there are places, each of which asks an octet a second: who asks in earnest is answered at once."""
    with network() as box, daemon(box) as process, contextlib.ExitStack() as stack:
        served(box)
        slow = [stack.enter_context(connect(box)) for _ in range(CROWD)]
        for sock in slow:
            sock.send(b'GET /metrics HTTP/1.1\r\nX: ')
        for _ in range(8):
            for sock in slow:
                with contextlib.suppress(OSError):  # sent away
                    sock.send(b'x')
            began = time.monotonic()
            check_equal('alive', get(box, '/healthz')[0], 200)
            check(time.monotonic() - began < IDLE_SECONDS / 2, f'answered after {time.monotonic() - began:.1f} s')
            time.sleep(1)
        process.stop()


def test_taken():
    """A port that another one has is a warning with what helps, and no reason to end; it is taken when it is free."""
    with network() as box:
        with box.entered('meter'):
            other = socket.create_server(AT)
        with other, daemon(box) as process:
            wait_until(lambda: 'cannot listen at 127.0.0.1:9717' in process.stderr(), 10, f'a warning\n{process.stderr()}')
            line = [line for line in process.stderr().splitlines() if 'cannot listen' in line]
            check_equal('warnings', len(line), 1)
            check('--metrics-listen' in line[0] and 'another program has that port' in line[0], line[0])
            other.close()
            served(box)
            check_equal('ready', get(box, '/readyz')[0], 200)
            process.stop()


def test_reload():
    """off serves nothing; a reload serves, moves and turns Hubble's names on."""
    with network() as box, scratch() as directory:
        path = Path(directory) / 'f.yaml'

        def write(text):
            path.write_text(f'interfaces: [m0]\nwatch: off\nidle-timeout: 1s\n{text}', encoding='ascii')
            path.chmod(0o644)

        write('metrics: {listen: off}\n')
        with program.Daemon(box, 'meter', '--config', path) as process:
            with box.entered('meter'):
                probe = socket.socket()
            with probe:
                check(probe.connect_ex(AT) != 0, 'somebody listens')
            write(f'metrics: {{listen: "{AT[0]}:{AT[1]}"}}\n')
            process.process.send_signal(signal.SIGHUP)
            served(box)
            first = snapshot_with(box, lambda found: total(found, 'flowtally_config_reloads_total', result='good') == 1)
            write(f'metrics: {{listen: "{AT[0]}:9800", hubble: true}}\n')
            process.process.send_signal(signal.SIGHUP)
            served(box, (AT[0], 9800))
            second = samples(get(box, at=(AT[0], 9800))[2])
            check(any(name == 'hubble_tcp_flags_total' for name, _ in second), sorted(second)[:5])
            hashes = [labels for one in (first, second) for name, labels in one if name == 'flowtally_config_info']
            check(len(set(hashes)) == 2, hashes)
            with box.entered('meter'):
                probe = socket.socket()
            with probe:
                check(probe.connect_ex(AT) != 0, 'somebody still listens at the old address')
            process.stop()


def test_attach_errors():
    """Attempts to attach that fail are counted by what kept the hook away: a device has no native XDP."""
    with network() as box:
        box.run('meter', 'ip', 'link', 'add', 'd0', 'type', 'bridge')  # br_device.c has no ndo_bpf
        box.run('meter', 'ip', 'link', 'set', 'd0', 'up')
        with program.Daemon(box, 'meter', '--interface', 'm0', '--interface', 'd0', '--ingress', 'xdp', '--drain-interval',
                            '500ms') as process:
            served(box)
            first = snapshot_with(box, lambda found: total(found, 'flowtally_attach_errors_total') > 0)
            series = {labels for name, labels in first if name == 'flowtally_attach_errors_total'}
            check_equal('series', [dict(labels) for labels in series],
                        [{'interface': 'd0', 'direction': 'ingress', 'reason': 'unsupported'}])
            check_equal('attached', (total(first, 'flowtally_interface_attached', interface='m0'),
                                     total(first, 'flowtally_interface_attached', interface='d0')), (1, 0))
            count = total(first, 'flowtally_attach_errors_total')
            snapshot_with(box, lambda found: total(found, 'flowtally_attach_errors_total') > count)  # tried again
            process.stop()


def test_commit():
    """A build from a git tree says of which commit it is; any other says nothing."""
    root = Path(__file__).resolve().parents[2]
    with network() as box, daemon(box) as process:
        served(box)
        found = [dict(labels) for name, labels in samples(get(box)[2]) if name == 'flowtally_build_info']
        process.stop()
    check_equal('series', len(found), 1)
    if not (root / '.git').exists():
        check('commit' not in found[0], found)
        return
    commit = found[0].get('commit', '')
    check(re.fullmatch('[0-9a-f]{40}', commit), found)
    # It may be another one than HEAD: a build that is older than the newest commit.
    known = subprocess.run(['git', '-c', f'safe.directory={root}', '-C', root, 'cat-file', '-t', commit], capture_output=True,
                           text=True, check=False)
    check_equal('what git calls it', known.stdout, 'commit\n')


def test_missed_records():
    """What a slow `observe -f` says it has missed is what is served, by both names."""
    with network() as box, scratch() as directory:
        place, output, last = Path(directory) / 'socket', Path(directory) / 'output', 9999
        with daemon(box, '--control-socket', place, '--control-records', '1024', '--metrics-hubble') as process:
            check_equal('status --wait', program.run('status', '--socket', place, '--wait')[0], 0)
            with open(output, 'wb') as file:
                words = 'observe', '--socket', place, '-f', '-o', 'jsonl'
                reader = subprocess.Popen([*DIES_WITH_TEST, program.binary(), *words],
                                          stdout=file, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)

            def shown(port):
                return f'"sourceTransportPort":{port},' in output.read_text()

            def reached(port):
                traffic.udp(box, 'peer', (PEER, port), (METER, 9), 1)
                return shown(port)
            wait_until(lambda: reached(1999), 20, 'the reader follows')
            reader.send_signal(signal.SIGSTOP)
            for port in range(2000, 8000):
                traffic.udp(box, 'peer', (PEER, port), (METER, 9), 1)
            snapshot_with(box, lambda found: total(found, 'flowtally_accounted_packets_total', record='flow') >= 6000)
            reader.send_signal(signal.SIGCONT)
            wait_until(lambda: reached(last), 20, 'the reader has come to the end')
            reader.send_signal(signal.SIGINT)
            stderr = reader.communicate(timeout=20)[1].decode()
            said = re.search(r'(\d+) records are not shown: they came faster', stderr)
            check(said and int(said[1]) > 1000, 'what it has missed:', stderr)
            found = samples(get(box)[2])
            check_equal('missed', total(found, 'flowtally_observe_missed_records_total'), int(said[1]))
            check_equal('missed, by Hubble\'s name',
                        total(found, 'hubble_lost_events_total', source='hubble_ring_buffer'), int(said[1]))
            process.stop()


TESTS = [
    ('Prometheus under traffic', test_prometheus),
    ('drops, Hubble and promtool', test_drops),
    ('swaps and messages', test_swaps),
    ('gzip', test_gzip),
    ('a hundred at once', test_many),
    ('those that do not read', test_deaf),
    ('those that ask slowly', test_crowd),
    ('a port that is taken', test_taken),
    ('reload', test_reload),
    ('what a slow reader has missed', test_missed_records),
    ('attempts to attach that fail', test_attach_errors),
    ('the commit that was built', test_commit),
]


if __name__ == '__main__':
    tap.require('ip', 'curl', 'prometheus', 'promtool', 'nfcapd', 'nfdump')
    tap.main(TESTS)
