#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The control socket of a real exporter: status and observe, against what was sent and what collectors got."""
import contextlib
import datetime
import json
import os
import signal
import socket
import subprocess
import sys
import time

import collect
import program
import tap
import traffic
from capture import Capture
from lab import DIES_WITH_TEST, Pair, bpf_object, wait_until
from tap import check, check_equal

METER, PEER = '10.84.0.1', '10.84.0.2'
HOOKS = '--interface', 'm0'
QUICK = '--drain-interval', '200ms'
HEALTHY, DEGRADED, NOT_RUNNING, USAGE = 0, 1, 2, 2
WAIT_SECONDS = 20
NOBODY = 65534
ACCEPT = '1,6 0 0 0'  # one instruction: return TC_ACT_OK
SENT = {1001: 7, 1002: 19, 1003: 1}  # datagrams by source port


class Bench(Pair):
    addresses = METER, PEER

    def __enter__(self):
        super().__enter__()
        self.directory.chmod(0o755)
        self.socket = self.directory / 'run' / 'socket'
        self.file = self.directory / 'flows.ipfix'
        return self

    def daemon(self, *options, **how):
        return program.Daemon(self.box, 'meter', *HOOKS, *QUICK, '--control-socket', self.socket, '--collector',
                              f'file://{self.file}', *options, **how)

    def ask(self, verb, *words, **how):
        return program.run(verb, '--socket', self.socket, *words, **how)

    def status(self):
        status, stdout, stderr = self.ask('status', '--json')
        check(status in (HEALTHY, DEGRADED), f'exit status {status}', stderr)
        return json.loads(stdout)

    def wait_for_start(self):
        """The snapshot that status tells has been made after the start."""
        wait_until(lambda: 'the start is not over' not in self.ask('status')[1], WAIT_SECONDS, 'the end of the start')

    def observe(self, *words, **how):
        status, stdout, stderr = self.ask('observe', '-o', 'jsonl', *words, **how)
        check_equal('exit status of observe', status, 0)
        return [json.loads(line) for line in stdout.splitlines()], stderr

    def filter(self, *words):
        self.box.ip_tc('meter', 'filter', 'add', 'dev', 'm0', *words)

    def send(self):
        for port, count in SENT.items():
            with traffic.bound(self.box, 'meter', socket.SOCK_DGRAM, METER, 9):
                traffic.udp(self.box, 'peer', (PEER, port), (METER, 9), count)

    def wait_for_sent(self):
        """All that was sent has been read from the banks."""
        wait_until(lambda: self.status()['ledger']['accounted']['packets'] >= sum(SENT.values()), WAIT_SECONDS, 'packets')


def sums(records):
    """Packets by source port, of flows that arrived."""
    result = {}
    for record in records:
        if record.get('flowDirection') == 0 and 'packetDeltaCount' in record:
            port = record['sourceTransportPort']
            result[port] = result.get(port, 0) + record['packetDeltaCount']
    return result


@contextlib.contextmanager
def following(bench, *words):
    """observe --follow in the background; its lines are in the list that is given when it has ended."""
    path = bench.directory / 'follow'
    lines = []
    with open(path, 'wb') as file:
        process = subprocess.Popen([*DIES_WITH_TEST, program.binary(), 'observe', '--socket', bench.socket, '-f', '-o', 'jsonl',
                                    *words], stdout=file, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
        yield process, lines
        process.wait(WAIT_SECONDS)
        process.stderr.close()
    lines += [json.loads(line) for line in path.read_text().splitlines()]


def test_status_is_the_ledger():
    """What status says of the run is what the run says at its end, and the records at the collector are as many."""
    with Bench() as bench:
        with bench.daemon('--idle-timeout', '500ms') as daemon:
            status, stdout, stderr = bench.ask('status', '--wait')
            check_equal('exit status of status --wait', status, HEALTHY)
            check(stdout.startswith('flowtally ') and ' is healthy: ' in stdout, 'first line:', stdout)
            check(len(stdout.splitlines()) <= 12, 'twelve lines:', stdout, stderr)
            bench.send()
            wait_until(lambda: bench.status()['ledger']['cache']['packets'] == 0 and
                       bench.status()['ledger']['accounted']['packets'] == sum(SENT.values()), WAIT_SECONDS, 'the end of flows')
            live = bench.status()
            final = daemon.stop()
        changing = {'interfaces', 'collectors', 'drops'}
        check_equal('keys of the ledger', live['ledger'].keys(), final.keys())
        check_equal('ledger', {key: live['ledger'][key] for key in final if key not in changing},
                    {key: final[key] for key in final if key not in changing})
        records = collect.read_ipfix(bench.file)
        check_equal('packets in records', live['ledger']['collectors'][0]['exported']['packets'], sum(SENT.values()))
        check_equal('packets at the collector', sum(record.flow.packets for record in records), sum(SENT.values()))
        check_equal('records', live['ledger']['collectors'][0]['exported']['records'], len(records))


def test_follow_shows_what_was_sent():
    with Bench() as bench:
        capture = Capture(bench.box, 'peer', 'p0', f'{bench.directory}/wire.pcapng', 'udp')
        with bench.daemon() as daemon:
            bench.ask('status', '--wait')
            with following(bench, 'udp') as (process, lines):
                time.sleep(0.5)
                bench.send()
                bench.wait_for_sent()
                daemon.stop()
            check_equal('exit status when the exporter has ended', process.returncode, 1)
        capture.stop()
        check_equal('packets by port, followed', sums(lines), SENT)
        wire = {}
        for key, flow in capture.flows().items():
            wire[key.source_port] = wire.get(key.source_port, 0) + flow.packets
        check_equal('packets by port, on the wire', wire, SENT)
        check_equal('interfaces', {line['interfaceName'] for line in lines}, {'m0'})


def test_observe_past():
    with Bench() as bench, bench.daemon():
        bench.ask('status', '--wait')
        begin = int(time.time() * 1000)
        time.sleep(0.05)  # more than a tick of the clock by which packets are stamped
        bench.send()
        bench.wait_for_sent()
        time.sleep(0.5)
        records, stderr = bench.observe('--all')
        check_equal('all', sums(records), SENT)
        check_equal('nothing to say', stderr, '')
        for words, expected in ((('port', '1002'), {1002: 19}), (('--port', '1001', '--port', '1003'), {1001: 7, 1003: 1}),
                                (('--not', '--port', '1002'), {1001: 7, 1003: 1}), (('packets > 6',), {1001: 7, 1002: 19}),
                                (('--interface', 'm0', '--traffic-direction', 'ingress'), SENT), (('tcp',), {}),
                                (('--from-ip', PEER, '--protocol', 'udp', 'port 1003'), {1003: 1})):
            check_equal(f'{words}', sums(bench.observe('--all', *words)[0]), expected)
        check_equal('since it was sent', sums(bench.observe('--since', begin)[0]), SENT)
        check_equal('until it was sent', sums(bench.observe('--until', begin)[0]), {})
        soon = time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(time.time() + 60))  # in UTC, and 5 h ago in local time
        for words, expected in ((['--utc'], SENT), ([], {})):
            records, _ = bench.observe('--until', soon, *words, prefix=['env', 'TZ=EAST-5'])
            check_equal(f'until a time without a zone {words}', sums(records), expected)
        check_equal('of the last two', len(bench.observe('--last', '2')[0]), 2)
        records, stderr = bench.observe('--last', '3', 'port', '1002')
        check_equal('fewer than asked for', sums(records), {1002: 19})
        check('flowtally: the ring holds ' in stderr and len(stderr.splitlines()) == 1, 'one line that says so:', stderr)
        for words, warned in ((['--interface', 'nope'], True), (['on', 'nope'], True), (['--interface', 'n*pe'], False),
                              (['--interface', 'm0'], False), (['--interface', '1'], False)):
            told = "interface 'nope' is none" in bench.observe('--all', *words)[1]
            check_equal(f'a word about the interface {words}', told, warned)
        stamp = bench.ask('observe', '--all', '--utc', 'port', '1001')[1].split(f' {PEER}')[0].splitlines()[-1]
        check_equal(f'since {stamp}', sums(bench.observe('--since', stamp, '--utc', 'port', '1001')[0]), {1001: 7})
        milli = bench.observe('--all', 'port', '1001')[0][0]['flowStartMilliseconds']
        zoned = bench.ask('observe', '--all', '--time-format', 'rfc3339milli', 'port', '1001',
                          prefix=['env', 'TZ=EAST-5'])[1].split(f' {PEER}')[0].splitlines()[-1]
        check_equal('RFC 3339', (zoned[-6:], datetime.datetime.fromisoformat(zoned).timestamp()), ('+05:00', milli / 1000))
        check_equal(f'since {zoned}', sums(bench.observe('--since', zoned, 'port', '1001')[0]), {1001: 7})
        times = [record['flowStartMilliseconds'] for record in bench.observe('--all')[0]]
        check_equal('the order of time', times, sorted(times))
        first = [record['flowStartMilliseconds'] for record in bench.observe('--first', '2')[0]]
        check_equal('the first two', first, times[:2])
        check_equal('the first of a filter', sums(bench.observe('--first', '1', 'port', '1002')[0]), {1002: 19})
        check_equal('of type trace', sums(bench.observe('--all', '-t', 'trace')[0]), SENT)
        check_equal('of type drop', bench.observe('--all', '--type', 'drop', 'dst port 9')[0], [])
        for words, why in ((['--pod', 'web'], 'no Kubernetes names'), (['--from-namespace', 'a'], 'no Kubernetes names'),
                           (['--first', '1', '--last', '1'], 'exclude each other'), (['-t', 'l7'], 'drop or trace')):
            status, _, stderr = bench.ask('observe', *words)
            check(status == USAGE and why in stderr and 'did you mean' not in stderr, f'{words}:', stderr)
        ours, theirs = (bench.ask('observe', '--all', '-o', form)[1] for form in ('hubble-json', 'jsonpb'))
        check_equal('jsonpb', theirs, ours)
        check_equal('the newest', bench.observe('--last', '1')[0][0]['flowStartMilliseconds'], max(times))
        status, stdout, _ = bench.ask('observe', '--all', 'port', '1001')
        check(status == 0 and f'{PEER}:1001 -> {METER}:9' in stdout, 'compact:', stdout)
        check('\x1b' not in stdout, 'no colour but on a terminal:', repr(stdout))
        check('\x1b[' in bench.ask('observe', '--all', '--color', 'always')[1], 'no colour where it is asked for')
        utc, local = (bench.ask('observe', '--all', '-o', 'csv', *how, 'port', '1001', prefix=['env', 'TZ=EAST-5'])[1]
                      for how in (['--utc'], []))
        check(utc != local and utc.splitlines()[0] == local.splitlines()[0], 'times:', utc, local)
        status, stdout, _ = bench.ask('observe', '--all', '-o', 'hubble-json', 'port', '1001')
        check_equal('hubble-json', json.loads(stdout)['flow']['IP']['source'], PEER)


def test_kill_and_start_again():
    """A socket that a dead exporter left behind is replaced, one of a living one is not."""
    with Bench() as bench:
        with bench.daemon(summary='text') as first:
            bench.ask('status', '--wait')
            with bench.daemon('--interface', 'nothing*') as second:
                wait_until(lambda: 'there is no control socket' in second.stderr(), WAIT_SECONDS, 'a warning')
                check('another exporter' in second.stderr(), 'why:', second.stderr())
                check_equal('who answers', bench.status()['process']['pid'], first.process.pid)
                second.kill()
            check_equal('who still answers', bench.status()['process']['pid'], first.process.pid)
            first.kill()
        check(bench.socket.is_socket(), 'the socket is left behind')
        status, _, stderr = bench.ask('status')
        check(status == NOT_RUNNING and 'is dead' in stderr, f'status of a dead one: {status}', stderr)
        with bench.daemon() as third:
            check_equal('status --wait', bench.ask('status', '--wait')[0], HEALTHY)
            check('there is no control socket' not in third.stderr(), 'a warning:', third.stderr())
            third.stop()
        check(not bench.socket.exists(), 'the socket is removed at the end')


def as_nobody(bench, *words, groups=()):
    members = ['--groups', ','.join(groups)] if groups else ['--clear-groups']
    return bench.ask(*words, prefix=['setpriv', '--reuid', NOBODY, '--regid', NOBODY, *members])


def test_permissions():
    with Bench() as bench, bench.daemon('--control-group', '4', least=False):  # the group is set by CAP_CHOWN
        bench.ask('status', '--wait')
        owner = os.stat(bench.socket)
        check_equal('mode and group', (owner.st_mode & 0o7777, owner.st_gid), (0o660, 4))
        status, _, stderr = as_nobody(bench, 'status')
        check(status == NOT_RUNNING and 'no permission' in stderr and 'group adm' in stderr, f'nobody: {status}', stderr)
        status, _, stderr = as_nobody(bench, 'observe')
        check(status == NOT_RUNNING and 'no permission' in stderr, f'nobody: {status}', stderr)
        # Who is allowed in by the mode alone is still no member.
        bench.socket.chmod(0o666)
        status, _, stderr = as_nobody(bench, 'status')
        check_equal('nobody, whom the mode lets in', status, NOT_RUNNING)
        bench.socket.chmod(0o660)
        check_equal('a member of the group', as_nobody(bench, 'status', groups=('4',))[0], HEALTHY)


def exchange(path, *requests):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(WAIT_SECONDS)
        sock.connect(str(path))
        sock.sendall(''.join(request + '\n' for request in requests).encode())
        sock.shutdown(socket.SHUT_WR)
        with sock.makefile() as answer:
            return [json.loads(line) for line in answer]


def test_versions():
    """A client of another version works, or learns why not; and so does a client of ours of another exporter."""
    with Bench() as bench, bench.daemon():
        bench.ask('status', '--wait')
        answers = exchange(bench.socket, '{"version":2,"ask":"status"}')
        check_equal('code', answers[0]['error']['code'], 'version')
        check('speaks version 1' in answers[0]['error']['text'], 'which version there is:', answers[0])
        answers = exchange(bench.socket, '{"version":1,"ask":"records","last":0}', '{"version":1,"ask":"status"}')
        check_equal('answers to two requests', [answer.get('answer') for answer in answers], ['records', None, 'status'])
        with socket.socket(socket.AF_UNIX) as server:  # an exporter that speaks something else
            other = bench.directory / 'other'
            server.bind(str(other))
            server.listen(1)
            process = subprocess.Popen([*DIES_WITH_TEST, program.binary(), 'status', '--socket', other], stderr=subprocess.PIPE)
            connection, _ = server.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b'{"version":9,"error":{"code":"version","text":"version 1 is too old"}}\n')
                stderr = process.communicate(timeout=WAIT_SECONDS)[1].decode()
            check(process.returncode == NOT_RUNNING and 'version 1 is too old' in stderr, 'why not:', stderr)


def test_degraded():
    """What is wrong stands first, with its fix; --wait waits until all is well."""
    with Bench() as bench:
        with bench.daemon('--collector', f'ipfix+tcp://{PEER}:4739', '--interface', 'lost0') as daemon:
            wait_until(lambda: bench.ask('status')[0] == DEGRADED, WAIT_SECONDS, 'something wrong')
            bench.wait_for_start()
            wait_until(lambda: len(bench.status()['problems']) == 2, WAIT_SECONDS, 'two problems')
            lines = bench.ask('status')[1].splitlines()
            check("'lost0' is not metered" in lines[0] and lines[0].startswith('! '), 'first line:', *lines)
            check(lines[1].startswith('  fix: '), 'second line:', *lines)
            check(f'collector ipfix+tcp://{PEER}:4739' in lines[2], 'third line:', *lines)
            status, _, _ = bench.ask('status', '--wait=1s')
            check_equal('waited in vain', status, DEGRADED)
            daemon.kill()


def test_refused_collector():
    """A collector that refuses connections is named as that, by status and doctor; started, as the fix says, all is well."""
    with Bench() as bench:
        url = f'ipfix+tcp://{PEER}:4739?retry=1'
        with bench.daemon('--collector', url) as daemon:
            bench.wait_for_start()
            lines = wait_until(lambda: bench.ask('status')[0] == DEGRADED and bench.ask('status')[1].splitlines(), WAIT_SECONDS,
                               'something wrong')
            check('has refused connections' in lines[0] and lines[0].startswith('! '), 'first line:', *lines)
            check_equal('fix', lines[1], '  fix: start the collector, or correct its port')
            check_equal('state', [one['state'] for one in bench.status()['collectors']], ['up', 'refused'])
            with bench.box.entered('peer'):
                server = socket.socket()
            with server:
                server.bind((PEER, 4739))
                server.listen()
                check_equal('all is well', bench.ask('status', '--wait=30s')[0], HEALTHY)
                check(len(bench.ask('status')[1].splitlines()) <= 12, 'twelve lines:', bench.ask('status')[1])
            daemon.kill()


# What a client of version 1 asks, octet by octet, and what it reads in the answers: these stay.
VERSION_1 = (
    (b'{"version":1,"ask":"status"}\n', 'status',
     {'version', 'answer', 'exporter', 'health', 'problems', 'interfaces', 'collectors', 'ledger'}),
    (b'{"version":1,"ask":"records","last":2}\n', 'records', {'version', 'answer'}),
    (b'{"version":1,"ask":"top","keys":"host","by":"octets","rows":5,"every_ms":1000}\n', 'top',
     {'answer', 'seconds', 'keys', 'rows'}),
)
PARTS_OF_VERSION_1 = {  # of the lists of status
    'interfaces': {'name', 'device', 'ifindex', 'ingress', 'egress', 'attached', 'reason', 'rates', 'obstacles'},
    'collectors': {'number', 'url', 'state', 'records_rate', 'octets_rate', 'queued', 'lost', 'sent_ms'},
}


def test_client_of_version_1():
    """A client that was written for version 1 finds all that it reads."""
    with Bench() as bench, bench.daemon():
        bench.ask('status', '--wait')
        for octets, name, keys in VERSION_1:
            with socket.socket(socket.AF_UNIX) as sock:
                sock.settimeout(WAIT_SECONDS)
                sock.connect(str(bench.socket))
                sock.sendall(octets)
                with sock.makefile() as lines:
                    answer = json.loads(lines.readline())
            check_equal('answer', answer.get('answer'), name)
            check(keys <= answer.keys(), f'{name} lacks {keys - answer.keys()}', answer)
            for part, inner in PARTS_OF_VERSION_1.items():
                for one in answer[part] if name == 'status' else ():
                    check(inner <= one.keys(), f'{part} lacks {inner - one.keys()}', one)


def test_neighbours():
    """Programs of others on our hooks are named, in the order in which packets meet them, wherever root asks from."""
    source = 'int foreign(void *skb) { return -1; }\nchar _license[] __attribute__((section("license"))) = "GPL";\n'
    source = source.replace('int foreign', '__attribute__((section("tc"))) int foreign')
    with Bench() as bench, bpf_object(source) as program_file, bench.daemon('--mask', 'tcx'):
        bench.filter('ingress', 'prio', '1', 'bpf', 'da', 'obj', program_file, 'sec', 'tc')
        bench.ask('status', '--wait')
        interface = bench.status()['interfaces'][0]
        names = [one['name'] for one in interface['neighbours']['ingress']]
        check(len(names) == 2 and 'foreign' in names, 'both programs:', interface)
        lines = bench.ask('status')[1].splitlines()
        check(any('on the ingress hook: ' in line and 'foreign' in line for line in lines), 'a line about m0:', *lines)
        check_equal('egress', len(interface['neighbours']['egress']), 1)


def test_hidden_hook():
    """A hook that never fires although the interface's own counters move is a warning with a name."""
    with Bench() as bench, bench.daemon('--mask', 'tcx'):
        bench.ask('status', '--wait')
        bench.filter('egress', 'protocol', 'ip', 'prio', '1', 'bpf', 'da', 'bytecode', ACCEPT)

        def hidden():
            traffic.udp(bench.box, 'meter', (METER, 1001), (PEER, 9), 5)
            return bench.status()['problems']
        problem = wait_until(hidden, 60, 'a problem')[0]
        check("interface 'm0': its counters say" in problem['what'] and 'the egress hook saw' in problem['what'], problem)


def test_not_running():
    with Bench() as bench:
        status, stdout, stderr = bench.ask('status')
        check(status == NOT_RUNNING and not stdout, f'exit status {status}', stdout)
        check(str(bench.socket) in stderr and 'flowtally run' in stderr, 'where, and how to start:', stderr)
        status, _, stderr = program.run('observe', '--since', '10s', '--until', '20s')
        check(status == USAGE and '--until 20s is before --since 10s' in stderr, f'the wrong way round: {status}', stderr)
        for words in (('status', '--no-such'), ('status', 'word'), ('status', '--watch=never'), ('observe', '--last', 'x'),
                      ('observe', '--since', 'never'), ('observe', '-o', 'xml'), ('observe', 'no such thing'),
                      ('observe', '--ip', 'x')):
            status, _, stderr = program.run(*words)
            check(status == USAGE and stderr, f'{words}: exit status {status}', stderr)
        status, stdout, _ = program.run('observe', '--help')
        check(status == 0 and 'examples:' in stdout, 'help:', stdout)


def test_signal_prints_the_ledger():
    with Bench() as bench, bench.daemon(summary='off') as daemon:
        bench.ask('status', '--wait')
        bench.send()
        bench.wait_for_sent()
        daemon.process.send_signal(signal.SIGUSR1)
        wait_until(lambda: 'ledger: balances, lost 0 packets' in daemon.stderr(), WAIT_SECONDS, 'the ledger')
        check(f'ledger: seen {sum(SENT.values())} packets' in daemon.stderr(), 'what was sent:', daemon.stderr())
        check_equal('it goes on', daemon.process.poll(), None)


def test_head():
    """run --collector json:- | head -1 ends, by itself, when the first record has been read."""
    with Bench() as bench:
        command = f'exec {" ".join(program.metering("run"))} --interface m0 {" ".join(QUICK)} --idle-timeout 200ms' \
                  ' --drops off --control-socket off --collector json:- --summary off'
        process = bench.box.start('meter', 'sh', '-c', f'({command}; echo "status $?" >&2) | head -1',
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        end = time.monotonic() + WAIT_SECONDS
        while process.poll() is None and time.monotonic() < end:
            traffic.udp(bench.box, 'peer', (PEER, 1001), (METER, 9), 1)
            time.sleep(0.2)
        check(process.poll() is not None, 'it goes on without a reader')
        stdout, stderr = process.communicate()
        check_equal('records', len(stdout.splitlines()), 1)
        check_equal('the record', json.loads(stdout)['sourceIPv4Address'] in (PEER, METER), True)


def test_reader_goes():
    """Who shows more and more ends when nobody reads any more, and not with the next thing to show, which may never come."""
    with Bench() as bench, bench.daemon():
        bench.ask('status', '--wait')
        for verb, words in (('observe', ['-f', 'dst', 'port', '9']), ('status', ['--watch=1h']),
                            ('top', ['--batch', '--every', '1h'])):
            with subprocess.Popen([*DIES_WITH_TEST, program.binary(), verb, '--socket', bench.socket, *words],
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL) as run:
                try:
                    time.sleep(0.5)  # observe has asked
                    traffic.udp(bench.box, 'peer', (PEER, 1001), (METER, 9), 1)
                    check(run.stdout.readline(), f'{verb}: no first line')
                    run.stdout.close()
                    check_equal(f'{verb}: status and words', (run.wait(WAIT_SECONDS), run.stderr.read()), (0, b''))
                finally:
                    run.kill()


def test_hostile_clients():
    """Fifty clients that hang, and one that reads nothing of a flood: the exporter meters on, and others are answered."""
    with Bench() as bench, bench.daemon('--control-records', '1024') as daemon:
        bench.ask('status', '--wait')
        with contextlib.ExitStack() as stack:
            for number in range(50):
                sock = stack.enter_context(socket.socket(socket.AF_UNIX))
                sock.connect(str(bench.socket))
                sock.sendall((b'{"version":1,', b'{"version":1,"ask":"records","follow":true}\n', b'', b'\0' * 100)[number % 4])
            for port in range(3000, 6000):
                traffic.udp(bench.box, 'peer', (PEER, port), (METER, 9), 1)
            bench.wait_for_sent()
            wait_until(lambda: bench.status()['ledger']['seen'] >= 3000, WAIT_SECONDS, '3000 packets')
            check_equal('ledger', bench.status()['ledger']['balanced'], True)
        ledger = daemon.stop()
        check(ledger['accounted']['packets'] >= 3000, 'accounted:', ledger['accounted'])


def connect(stack, bench, request):
    sock = stack.enter_context(socket.socket(socket.AF_UNIX))
    sock.settimeout(WAIT_SECONDS)
    sock.connect(str(bench.socket))
    sock.sendall(request)
    return sock, json.loads(stack.enter_context(sock.makefile()).readline())


# Follows 70 times, and prints what each is told first.
HOLD = '''
import socket, sys, time
held = []
for i in range(70):
    held.append(socket.socket(socket.AF_UNIX))
    held[-1].connect(sys.argv[1])
    held[-1].sendall(b'{"version":1,"ask":"records","last":0,"follow":true}\\n')
    print(held[-1].recv(1000).decode().splitlines()[0], flush=True)
time.sleep(60)
'''


def test_group_cannot_lock_out():
    """One member of the group follows as often as it can, and quietly: others are answered, and it is told."""
    with Bench() as bench, bench.daemon('--control-group', '4', least=False):  # the group is set by CAP_CHOWN
        bench.ask('status', '--wait')
        process = subprocess.Popen([*DIES_WITH_TEST, 'setpriv', '--reuid', str(NOBODY), '--regid', str(NOBODY), '--groups', '4',
                                    sys.executable, '-c', HOLD, bench.socket], stdout=subprocess.PIPE)
        answers = [json.loads(process.stdout.readline()) for _ in range(70)]
        check_equal('who follows', [answer.get('answer') for answer in answers], ['records'] * 24 + [None] * 46)
        check('as one user can have, 24' in answers[-1]['error']['text'], 'why not:', answers[-1])
        for number in range(20):
            check_equal(f'root, time {number}', bench.ask('status')[0], HEALTHY)
        other = ['setpriv', '--reuid', '1', '--regid', '1', '--groups', '4']
        check_equal('another member', bench.ask('status', prefix=other)[0], HEALTHY)
        process.kill()
        process.communicate()


def test_tops():
    """Eight ask for top, the ninth learns that there are eight; their tables are no longer there when they have gone."""
    with Bench() as bench, bench.daemon():
        bench.ask('status', '--wait')
        with traffic.bound(bench.box, 'meter', socket.SOCK_DGRAM, METER, 9):
            for port in range(3000, 6000):
                traffic.udp(bench.box, 'peer', (PEER, port), (METER, 9), 1)
        wait_until(lambda: bench.status()['ledger']['accounted']['packets'] >= 3000, WAIT_SECONDS, '3000 packets')
        with contextlib.ExitStack() as stack:
            for _ in range(8):
                answer = connect(stack, bench, b'{"version":1,"ask":"top"}\n')[1]
                check_equal('answer', answer['answer'], 'top')
            answer = connect(stack, bench, b'{"version":1,"ask":"top"}\n')[1]
            check_equal('code of the ninth', answer['error']['code'], 'busy')
            check('clients that ask for top as there can be, 8' in answer['error']['text'], 'why:', answer)
            time.sleep(1.2)  # a text of the status is shared for one second
            held = bench.status()['process']['resident_octets']
        wait_until(lambda: bench.status()['process']['resident_octets'] < held - 4e6, WAIT_SECONDS, '4 MB given back')


def test_clock_is_set():
    """An hour forward and back: what is recent stays recent, and ages stay what they are."""
    with Bench() as bench:
        offset = bench.directory / 'offset'
        offset.write_text('0\n', encoding='ascii')
        shim = ['env', f'LD_PRELOAD={os.path.abspath(sys.argv[2])}', f'FLOWTALLY_CLOCK_SHIM={offset}']
        with bench.daemon('--idle-timeout', '500ms', '--sandbox-folder', bench.directory, prefix=shim):  # whose file it reads
            bench.ask('status', '--wait')
            bench.send()
            bench.wait_for_sent()
            wait_until(lambda: bench.status()['collectors'][0]['sent_ago_ms'] is not None, WAIT_SECONDS, 'records sent')
            for seconds in 0, 3600, -3600:
                new = bench.directory / 'new'
                new.write_text(f'{seconds}\n', encoding='ascii')
                new.rename(offset)
                time.sleep(1.2)  # a text of the status is shared for one second
                check_equal(f'recent, {seconds}', sums(bench.observe('--since', '1m', prefix=shim)[0]), SENT)
                check_equal(f'kept, {seconds}', sums(bench.observe('--all')[0]), SENT)
                status = bench.status()
                check(status['uptime_ms'] < 60000, f'up {status["uptime_ms"]} ms')
                check(status['collectors'][0]['sent_ago_ms'] < 60000, 'sent:', status['collectors'][0])
                head = next(line for line in bench.ask('status')[1].splitlines() if line.startswith('flowtally '))
                check(': up ' in head and ' min' not in head and ' h ' not in head, 'its line:', head)


if __name__ == '__main__':
    tap.require('ip', 'setpriv', 'tshark')
    tap.main(tap.cases(globals()), tap.AT_ONCE)
