#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Packets that the kernel drops: made on purpose, each kind with its number, and compared with what is recorded.

A host on one side of a router sends; the router, which runs the program, drops them.  Beside what was sent the kernel's
own counters are the truth, and bpftrace, which reads the same tracepoint by itself.
"""
import functools
import json
import os
import socket
import struct
import subprocess
import time
from collections import Counter
from pathlib import Path

import collect
import program
import readers
import tap
import traffic
from capture import Capture
from drops import HOMELESS, is_homeless, packets_of, strays_of
from sandbox import Sandbox, command, scratch, wait_until
from tap import Skip, check, check_equal

HOST, ROUTER, FAR = '10.1.0.2', '10.1.0.1', '10.2.0.2'
HOST6, ROUTER6 = 'fd01::2', 'fd01::1'
OURS = '10.1.0.', '10.2.0.', '10.99.0.', 'fd01::'
PAYLOAD = b'flowtally' * 10
DATAGRAM = 28 + len(PAYLOAD)  # IPv4
STORM_MIN = 30000  # packets, however slow the machine is
RULES = '''table inet drops {
  counter in { }
  counter pass { }
  counter out { }
  chain in { type filter hook input priority 0; udp dport 5001 counter name "in" drop; }
  chain pass { type filter hook forward priority 0; udp dport 5002 counter name "pass" drop; }
  chain out { type filter hook output priority 0; udp dport 5003 counter name "out" drop; }
}
table netdev tags {
  chain first { type filter hook ingress device "r0" priority 0; vlan id 7 drop; }
}'''
# Whether the machine has it mounted or not; nobody else sees it.
WITH_TRACEFS = 'mount -t tracefs tracefs /sys/kernel/tracing; exec bpftrace -e "$1"'
TRACE = '''tracepoint:skb:kfree_skb {
  $skb = (struct sk_buff *)args->skbaddr;
  if ($skb->dev->nd_net.net->ns.inum == NAMESPACE) { @[args->reason] = count(); }
}
BEGIN { printf("ready\\n"); }'''


def drops_of(path):
    """{(reason, source, destination, ports, protocol): (packets, octets)} and the whole records."""
    records = [json.loads(line) for line in path.read_text(encoding='utf-8').splitlines()]
    return [record for record in records if 'dropReasonName' in record]


def key_of(record):
    return (record['dropReasonName'], record.get('sourceIPv4Address') or record['sourceIPv6Address'],
            record.get('destinationIPv4Address') or record['destinationIPv6Address'], record['sourceTransportPort'],
            record['destinationTransportPort'], record['protocolIdentifier'])


def checksum(data):
    total = sum(struct.unpack(f'!{len(data) // 2}H', data))
    total = (total & 0xffff) + (total >> 16)
    return ~(total + (total >> 16)) & 0xffff


def frame(box, source, ports, payload, sum_udp=0, tag=b''):
    """A datagram to the router in a frame made by hand; checksum 0: none."""
    mac = bytes.fromhex(box.link('router', 'r0')['address'].replace(':', ''))
    udp = struct.pack('!HHHH', *ports, 8 + len(payload), sum_udp) + payload
    addresses = socket.inet_aton(source) + socket.inet_aton(ROUTER)
    ip = struct.pack('!BBHHHBBH', 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0) + addresses
    ip = ip[:10] + struct.pack('!H', checksum(ip)) + ip[12:]
    return mac + bytes(6) + tag + b'\x08\x00' + ip + udp


def send_frames(box, frames):
    with box.entered('host'), socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
        sock.bind(('h0', 0))
        for octets in frames:
            sock.send(octets)


def settle(box):
    """What the host has sent to the router has been dropped, if it is to be."""
    traffic.pass_queues(box, ('host', 'h0'), ('router', 'r0'))


def full_socket(box):
    """Datagrams for a socket that nobody reads: how many found no room."""
    with traffic.bound(box, 'router', socket.SOCK_DGRAM, ROUTER, 5010) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2500)
        traffic.udp(box, 'host', (HOST, 4010), (ROUTER, 5010), 40, PAYLOAD)
        settle(box)
        held = 0
        sock.setblocking(False)
        try:
            while sock.recv(2048):
                held += 1
        except BlockingIOError:
            return 40 - held


def full_queue(box):
    """Datagrams through a queue of two packets that lets one out a second: what tc has seen dropped."""
    box.ip_tc('router', 'qdisc', 'replace', 'dev', 'r1', 'root', 'tbf', 'rate', '8kbit', 'burst', '1600', 'limit', '400')
    for _ in range(30):
        traffic.udp(box, 'router', ('10.2.0.1', 4011), (FAR, 5011), 1, PAYLOAD)
    return json.loads(box.ip_tc('router', '-s', '-j', 'qdisc', 'show', 'dev', 'r1', 'root'))[0]['drops']


def send_all(box):
    """Every kind: {key: (packets, octets)}, as they must be recorded."""
    expected = {}

    def expect(reason, source, destination, ports, packets, octets, protocol=17):
        expected[reason, source, destination, *ports, protocol] = (packets, octets)

    def udp(reason, number, count, destination=ROUTER, payload=PAYLOAD, **options):
        source = HOST6 if ':' in destination else HOST
        traffic.udp(box, 'host', (source, 4000 + number), (destination, 5000 + number), count, payload, **options)
        expect(reason, source, destination, (4000 + number, 5000 + number), count,
               count * (DATAGRAM + 20 * (':' in destination)))

    udp('NO_SOCKET', 0, 11)
    udp('NO_SOCKET', 20, 12, ROUTER6)
    udp('NETFILTER_DROP', 1, 13)
    udp('NETFILTER_DROP', 2, 14, FAR)
    for _ in range(15):
        try:
            traffic.udp(box, 'router', (ROUTER, 4003), (HOST, 5003), 1, PAYLOAD)
        except PermissionError:
            pass  # what the output chain refuses
    expect('NETFILTER_DROP', ROUTER, HOST, (4003, 5003), 15, 15 * DATAGRAM)
    with traffic.bound(box, 'host', socket.SOCK_DGRAM, HOST, 4004) as sock:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 1)
        for _ in range(16):
            sock.sendto(PAYLOAD, (FAR, 5004))
    expect('IP_INHDR', HOST, FAR, (4004, 5004), 16, 16 * DATAGRAM)
    udp('IP_INNOROUTES', 5, 17, '10.77.0.1')
    # Three fragments a datagram, which is dropped when it is whole.
    traffic.udp(box, 'host', (HOST, 4006), (ROUTER, 5006), 3, bytes(4000))
    expect('NO_SOCKET', HOST, ROUTER, (4006, 5006), 3, 3 * 4028)
    # Super-packets of 20 datagrams each; the firewall's counter has 5.
    for _ in range(5):
        traffic.udp_gso(box, 'host', (HOST, 4007), (ROUTER, 5001), 1000, bytes(20000))
    expect('NETFILTER_DROP', HOST, ROUTER, (4007, 5001), 100, 100 * 1028)
    send_frames(box, 6 * [frame(box, HOST, (4008, 5008), PAYLOAD, sum_udp=0x1234)])
    expect('UDP_CSUM', HOST, ROUTER, (4008, 5008), 6, 6 * DATAGRAM)
    send_frames(box, 7 * [frame(box, '10.99.0.1', (4009, 5009), PAYLOAD)])
    expect('IP_RPFILTER', '10.99.0.1', ROUTER, (4009, 5009), 7, 7 * DATAGRAM)
    refused = full_socket(box)
    expect('SOCKET_RCVBUFF', HOST, ROUTER, (4010, 5010), refused, refused * DATAGRAM)
    queued = full_queue(box)
    expect('QDISC_DROP', '10.2.0.1', FAR, (4011, 5011), queued, queued * DATAGRAM)
    # The tag has been taken out of the bytes; of two the inner one is still in them.
    send_frames(box, 8 * [frame(box, HOST, (4012, 5012), PAYLOAD, tag=struct.pack('!HH', 0x8100, 7))])
    expect('NETFILTER_DROP', HOST, ROUTER, (4012, 5012), 8, 8 * DATAGRAM)
    send_frames(box, 10 * [frame(box, HOST, (4014, 5014), PAYLOAD, tag=struct.pack('!HHHH', 0x8100, 7, 0x8100, 9))])
    expect('NETFILTER_DROP', HOST, ROUTER, (4014, 5014), 10, 10 * DATAGRAM)
    # For a VLAN that nobody has.
    send_frames(box, 9 * [frame(box, HOST, (4013, 5013), PAYLOAD, tag=struct.pack('!HH', 0x8100, 8))])
    expect('OTHERHOST', HOST, ROUTER, (4013, 5013), 9, 9 * DATAGRAM)
    for port in range(4):
        traffic.tcp_refused(box, 'host', (HOST, 4030 + port), (ROUTER, 5030))
        expect('NO_SOCKET', HOST, ROUTER, (4030 + port, 5030), 1, 60, 6)
    return expected


def join(box):
    box.veth(('host', 'h0'), ('router', 'r0'))
    box.veth(('router', 'r1'), ('far', 'f0'))
    box.address(('host', 'h0', [HOST, HOST6]), ('router', 'r0', [ROUTER, ROUTER6]))
    box.address(('router', 'r1', ['10.2.0.1']), ('far', 'f0', [FAR]))
    box.ip('host', 'route', 'add', 'default', 'via', ROUTER)
    box.ip('far', 'route', 'add', 'default', 'via', '10.2.0.1')
    box.run('router', 'sysctl', '-qw', 'net.ipv4.ip_forward=1', 'net.ipv4.conf.r0.rp_filter=1', 'net.ipv4.conf.all.rp_filter=1')
    rules = box.inside('router', 'nft', '-f', '-')
    subprocess.run(rules, input=RULES, text=True, check=True)


def namespace_of(box):
    return int(box.run('router', 'readlink', '/proc/self/ns/net').strip().strip(']').split('[')[1])


def is_stray(record):
    """Of those of which the kernel tells no namespace: not between addresses of this test."""
    source = record[f'sourceIPv{record["ipVersion"]}Address']
    return is_homeless(record) and not source.startswith(OURS)


class Tracer:
    """bpftrace, which counts by reason what happens in the router."""

    def __init__(self, box, directory):
        self.output = Path(directory) / 'bpftrace'
        script = TRACE.replace('NAMESPACE', str(namespace_of(box)))
        with open(self.output, 'wb') as file:
            self.process = subprocess.Popen(['unshare', '--mount', 'sh', '-c', WITH_TRACEFS, 'sh', script],
                                            stdin=subprocess.DEVNULL, stdout=file, stderr=file)
        wait_until(lambda: 'ready' in self.text() or self.process.poll() is not None, 60, 'bpftrace')

    def text(self):
        return self.output.read_text(errors='replace')

    def runs(self):
        return self.process.poll() is None

    def stop(self):
        """{code: events}; None when it could not run."""
        if not self.runs():
            return None
        self.process.send_signal(2)
        self.process.wait(30)
        lines = [line[2:].split(']: ') for line in self.text().splitlines() if line.startswith('@[')]
        return {int(code): int(count) for code, count in lines}


class Made:
    """All kinds at once."""

    def __init__(self):
        with scratch() as directory, Sandbox('host', 'router', 'far', ipv6=True) as box:
            join(box)
            path = Path(directory) / 'records.json'
            tracer = Tracer(box, directory)
            with program.Daemon(box, 'router', '--interface', 'r0', '--interface', 'r1', '--drain-interval', '1s',
                                '--drops-exclude', 'DUP_FRAG', '--collector', f'json://{path}', drops='on') as daemon:
                self.expected = send_all(box)
                settle(box)
                self.ledger = daemon.stop()
            self.traced, self.trace_error = tracer.stop(), tracer.text()
            records = drops_of(path)
            self.records = [record for record in records if not is_stray(record)]
            self.strays = Counter()
            for record in filter(is_stray, records):
                self.strays[record['dropReasonName']] += record['droppedPacketDeltaCount']
            self.statistics = json.loads(box.run('router', 'nstat', '-aszj'))['kernel']
            listed = json.loads(box.run('router', 'nft', '-j', 'list', 'counters'))['nftables']
            self.filtered = {item['counter']['name']: item['counter'] for item in listed if 'counter' in item}


made = functools.lru_cache(maxsize=None)(Made)


def test_records():
    """By flow and reason what was sent, and nothing else."""
    found = {}
    for record in made().records:
        packets, octets = found.get(key_of(record), (0, 0))
        found[key_of(record)] = (packets + record['droppedPacketDeltaCount'], octets + record['droppedOctetDeltaCount'])
    wrong = [f'{key}: expected {made().expected.get(key)}, got {found.get(key)}'
             for key in sorted(found.keys() | made().expected.keys(), key=str)
             if found.get(key) != made().expected.get(key)]
    check(not wrong, *wrong)


def test_fields():
    """Where it happened, which way it went, the tag, and what the reason means."""
    for record in made().records:
        name, reason = record['dropReasonName'], (record['ingressInterface'], record['egressInterface'])
        check(record['flowStartMilliseconds'] <= record['flowEndMilliseconds'], record)
        port = record['destinationTransportPort']
        leaves = name == 'QDISC_DROP' or port == 5003
        check_equal(f'{name}: direction', record['flowDirection'], int(leaves))
        check(reason[leaves] > 0 and reason[not leaves] == 0, f'interfaces of {record}')
        tags = record['vlanId'], record['dot1qCustomerVlanId']
        check_equal(f'{name}: tags', tags, {5012: (7, 0), 5014: (7, 9)}.get(port, (0, 0)))
        check(record['forwardingStatus'] >> 6 == 2, f'no status of a drop: {record}')
        check(record['dropClass'] and record['dropExplanation'], record)
    classes = {record['dropReasonName']: record['dropClass'] for record in made().records}
    check_equal('class of NETFILTER_DROP', classes['NETFILTER_DROP'], 'policy')
    check_equal('class of QDISC_DROP', classes['QDISC_DROP'], 'congestion')


def test_kernel():
    """The kernel's own counters; a super-packet is one to them."""
    sent, own = made().expected, made().statistics

    def packets(reason, protocol=17, six=False):
        return sum(count for key, (count, _) in sent.items()
                   if key[0] == reason and key[5] == protocol and (':' in key[1]) == six)

    check_equal('UdpNoPorts', own['UdpNoPorts'], packets('NO_SOCKET'))
    check_equal('Udp6NoPorts', own['Udp6NoPorts'], packets('NO_SOCKET', six=True))
    check_equal('UdpRcvbufErrors', own['UdpRcvbufErrors'], packets('SOCKET_RCVBUFF'))
    check_equal('UdpInCsumErrors', own['UdpInCsumErrors'], packets('UDP_CSUM'))
    check_equal('IPReversePathFilter', own['TcpExtIPReversePathFilter'], packets('IP_RPFILTER'))
    check_equal('IpInHdrErrors', own['IpInHdrErrors'], packets('IP_INHDR'))
    check_equal('IpExtInNoRoutes', own['IpExtInNoRoutes'], packets('IP_INNOROUTES'))
    check_equal('the firewall, forwarded', made().filtered['pass']['packets'], 14)
    check_equal('the firewall, arriving', made().filtered['in']['packets'], 13 + 5)
    # It may count what it lets nobody send again.
    check_equal('the firewall, leaving', made().filtered['out']['packets'], 15)


def test_reasons():
    """The ledger's totals by reason are those of the records, of which none is left out here."""
    totals = Counter()
    for key, (packets, _) in made().expected.items():
        totals[key[0]] += packets
    check_equal('totals by reason', packets_of(made().ledger['drops']['reasons']), dict(totals + made().strays))


def test_other_tracer():
    """bpftrace sees each event, where the packet has a device: not yet (4003), and not any more in a socket's queue."""
    if made().traced is None:
        raise Skip(f'bpftrace does not run here: {made().trace_error[:200]}')
    codes = {record['dropReasonName']: record['dropReason'] for record in made().records}
    events = Counter()
    for key, (packets, _) in made().expected.items():
        events[key[0]] += 5 if key[3] == 4007 else 0 if key[3] == 4003 else packets
    for name in ('NO_SOCKET', 'NETFILTER_DROP', 'IP_RPFILTER', 'IP_INNOROUTES', 'UDP_CSUM', 'QDISC_DROP', 'IP_INHDR'):
        check_equal(f'{name} as bpftrace counts', made().traced.get(codes[name], 0), events[name])


def test_balance():
    drops = made().ledger['drops']
    check_equal('excluded', drops['ignored'], {})
    check_equal('missed', drops['missed'], 0)


def storm(box, daemon_options, senders, flows):
    """Some seconds of datagrams that the firewall refuses, from so many processes: (ledger, firewall's packets)."""
    script = ('import socket,sys,time\n'
              's=socket.socket(socket.AF_INET,socket.SOCK_RAW,socket.IPPROTO_RAW)\n'
              'import struct\n'
              'first,flows=int(sys.argv[1]),int(sys.argv[2])\n'
              'end=time.monotonic()+3\n'
              'n=0\n'
              f'while time.monotonic()<end or n<{STORM_MIN // senders}:\n'
              '    for _ in range(500):\n'
              '        i=first+n%flows; n+=1\n'
              '        source=socket.inet_aton("10.%d.%d.%d"%(50+(i>>16),i>>8&255,i&255))\n'
              f'        h=struct.pack("!BBHHHBBH4s4sHHHH",0x45,0,36,0,0,64,17,0,source,'
              f'socket.inet_aton("{ROUTER}"),4000,5001,16,0)+bytes(8)\n'
              f'        s.sendto(h,("{ROUTER}",0))\n')
    drain = [] if '--drain-interval' in daemon_options else ['--drain-interval', '1s']
    with program.Daemon(box, 'router', '--interface', 'r0', '--ingress', 'tc', *drain, *daemon_options, drops='on') as daemon:
        processes = [box.start('host', '/usr/bin/python3', '-c', script, str(number * flows), str(flows))
                     for number in range(senders)]
        for process in processes:
            process.wait(60)
        settle(box)
        ledger = daemon.stop()
    listed = json.loads(box.run('router', 'nft', '-j', 'list', 'counters'))['nftables']
    return ledger, next(item['counter']['packets'] for item in listed if item.get('counter', {}).get('name') == 'in')


def run_storm(options, flows):
    with Sandbox('host', 'router', 'far', ipv6=True) as box:
        join(box)
        box.run('router', 'sysctl', '-qw', 'net.ipv4.conf.r0.rp_filter=0', 'net.ipv4.conf.all.rp_filter=0')
        ledger, refused = storm(box, options, 2, flows)
    drops = ledger['drops']
    reasons = packets_of(drops['reasons'])
    check(0 <= refused - reasons['NETFILTER_DROP'] <= drops['missed'],
          f'the firewall dropped {refused}, {drops["missed"]} are missed, of {reasons}')
    check(set(reasons) <= {'NETFILTER_DROP', *HOMELESS}, f'drops of another kind: {reasons}')
    check(drops['seen'] >= STORM_MIN, f'no storm: {drops["seen"]} drops')
    return drops


def test_storm():
    """Two CPUs, banks that swap: each drop is counted."""
    drops = run_storm(['--drops-budget', 'off'], 500)
    check_equal('refused', drops['refused'], {})


def test_budget():
    """A storm beyond the budget: what is in no record is counted by name, and the kernel's reasons have all."""
    budget, start = 1000, time.monotonic()
    drops = run_storm(['--drops-budget', str(budget)], 500)
    seconds = time.monotonic() - start
    accounted, refused = drops['accounted']['packets'], packets_of(drops['refused'])
    check_equal('kinds of refused ones', set(refused), {'budget'})
    check_equal('seen', accounted + refused['budget'], drops['seen'])
    check_equal('by reason of the kernel', sum(packets_of(drops['reasons']).values()), drops['seen'])
    # Each CPU has a second's worth at once, and the same again each second.
    check(budget < accounted <= os.cpu_count() * budget * (1 + seconds), f'{accounted} in records after {seconds} s')
    check(refused['budget'] > accounted, f'{refused} beyond the budget, {accounted} within')


def test_full_bank():
    """More flows than a bank has room for: what is in no record is counted, and the reasons have all."""
    drops = run_storm(['--drop-entries', '4096', '--drain-interval', '10s', '--drops-budget', 'off'], 30000)
    check(drops['refused'].get('bank_full', {}).get('packets', 0) > 0, f'the bank did not fill: {drops}')
    check_equal('evicted', drops['evicted'], {'packets': 0, 'octets': 0})


def run_filtered(*options):
    """Eleven datagrams for nobody, eight frames for others: (records, ledger)."""
    with scratch() as directory, Sandbox('host', 'router', 'far', ipv6=True) as box:
        join(box)
        path = Path(directory) / 'records.json'
        with program.Daemon(box, 'router', '--interface', 'r0', '--drain-interval', '1s', '--collector', f'json://{path}',
                            *options, drops='on') as daemon:
            traffic.udp(box, 'host', (HOST, 4000), (ROUTER, 5000), 11, PAYLOAD)
            send_frames(box, 8 * [frame(box, HOST, (4012, 5012), PAYLOAD, tag=struct.pack('!HH', 0x8100, 8))])
            settle(box)
            ledger = daemon.stop()
        names = Counter()
        for record in drops_of(path):
            names[record['dropReasonName']] += record['droppedPacketDeltaCount']
        expected, reasons = {'NO_SOCKET': 11, 'OTHERHOST': 8}, packets_of(ledger['drops']['reasons'])
        strays = strays_of(reasons, expected)
        check_equal('by reason, recorded or not', reasons, {**expected, **strays})
        excluded = ledger['drops']['ignored']['excluded']['packets']
        check_equal('recorded and excluded', sum(names.values()) + excluded, sum(reasons.values()))
        return {name: packets for name, packets in names.items() if name not in strays}


def test_filters():
    for options, expected in (((), {'NO_SOCKET': 11}), (('--drops-include', 'benign'), {'OTHERHOST': 8}),
                              (('--drops-include', 'no_socket,benign', '--drops-exclude', 'OTHERHOST'), {'NO_SOCKET': 11}),
                              (('--drops-exclude', 'no_receiver'), {'OTHERHOST': 8})):
        check_equal(f'records with {options}', run_filtered(*options), expected)


def test_collectors():
    """What nfdump, tshark and goflow2 read of them, in IPFIX and NetFlow v9."""
    goflow2 = readers.Goflow2 if readers.Goflow2.path() else None
    exclude = '--drops-exclude', ','.join(['benign', *HOMELESS])
    with scratch() as directory, Sandbox('host', 'router', 'far', ipv6=True) as box:
        join(box)
        nfcapds = [collect.Nfcapd(box, 'router', directory, port) for port in (9995, 9996)]
        urls = ['ipfix://127.0.0.1:9995', 'netflow9://127.0.0.1:9996']
        if goflow2:
            goflow2 = goflow2(box, 'router', directory, 9997)
            urls.append('ipfix://127.0.0.1:9997')
        capture = Capture(box, 'router', 'lo', Path(directory) / 'wire.pcap', 'udp', snaplen=65535)
        with program.Daemon(box, 'router', '--interface', 'r0', '--drain-interval', '1s', *exclude,
                            *[word for url in urls for word in ('--collector', url)], drops='on') as daemon:
            traffic.udp(box, 'host', (HOST, 4000), (ROUTER, 5000), 11, PAYLOAD)
            traffic.udp(box, 'host', (HOST6, 4020), (ROUTER6, 5020), 12, PAYLOAD)
            settle(box)
            daemon.stop()
        capture.stop()
        check_tshark(capture)
        for nfcapd in nfcapds:
            keys = [(record.key.source, record.flow.packets) for record in nfcapd.stop()
                    if record.key.source_port in (4000, 4020)]
            # the flow and the drop; nfdump 1.7.1 has no field for what is dropped
            check_equal(f'nfdump of port {nfcapd.port}', sorted(keys), [(HOST, 0), (HOST, 11), (HOST6, 0), (HOST6, 12)])
        if goflow2:
            found = {(row['src_addr'], row['packets'], row['forwarding_status']) for row in goflow2.rows(4)}
            check(found >= {(HOST, 11, 0), (HOST6, 12, 0), (HOST, 0, 141), (HOST6, 0, 141)}, f'goflow2 has {found}')


def check_tshark(capture):
    fields = ['cflow.drop_packets', 'cflow.drop_octets', 'cflow.forwarding_status_drop_code', 'cflow.enterprise_private_entry']
    for port, own in ((9995, True), (9996, False)):
        rows = capture.rows(fields, '-d', f'udp.port=={port},cflow', '-E', 'occurrence=a', '-Y',
                            f'cflow.drop_packets && udp.dstport == {port}')
        packets, octets, codes = ([int(value) for row in rows for value in row[name].split(',')] for name in fields[:3])
        check_equal(f'port {port}: packets', sorted(packets), [11, 12])
        check_equal(f'port {port}: octets', sorted(octets), [11 * DATAGRAM, 12 * (DATAGRAM + 20)])
        check_equal(f'port {port}: drop code', codes, [13, 13])
        names = [bytes.fromhex(value.replace(':', ''))[:9] for row in rows
                 for value in row[fields[3]].split(',')[1::2] if value]
        check_equal(f'port {port}: names of the reason', names, [b'NO_SOCKET', b'NO_SOCKET'] if own else [])


def test_wrong_words():
    status, _, stderr = program.run('run', '--interface', 'lo', '--drops-include', 'nonsense,benign,rubbish',
                                    '--drops-exclude', 'trash')
    check_equal('exit status', status, 2)
    for word in 'nonsense', 'rubbish', 'trash':
        check(f"'{word}': neither a class nor a reason" in stderr, stderr)


def test_privileges():
    """Without CAP_PERFMON nothing can be loaded, and the error says so."""
    prefix = ('setpriv', '--bounding-set', '-perfmon,-sys_admin', '--inh-caps', '-perfmon,-sys_admin')
    with Sandbox('router') as box:
        box.ip('router', 'link', 'add', 'd0', 'type', 'veth', 'peer', 'name', 'd1')
        box.ip('router', 'link', 'set', 'd0', 'up')
        for mode in 'off', 'auto', 'on':
            words = box.inside('router', *prefix, program.binary(), 'run', '--interface', 'd0', '--drops', mode)
            done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
            check_equal(f'exit status with --drops {mode}', done.returncode, 1)
            check('CAP_PERFMON' in done.stderr, done.stderr)


def test_killed():
    """kill -9: nothing of ours is called any more."""
    with Sandbox('router') as box:
        box.ip('router', 'link', 'add', 'd0', 'type', 'veth', 'peer', 'name', 'd1')
        box.ip('router', 'link', 'set', 'd0', 'up')
        with program.Daemon(box, 'router', '--interface', 'd0', drops='on') as daemon:
            check('flowtally_drop' in command('bpftool', 'prog', 'show'), 'the program is not loaded')
            daemon.kill()
            wait_until(lambda: 'flowtally_drop' not in command('bpftool', 'prog', 'show'), 10, 'the program to go')


tap.require('nft', 'nstat', 'bpftool', 'bpftrace', 'tc')
tap.main([('by flow and reason what was sent', test_records), ('what a record says', test_fields),
          ("the kernel's counters", test_kernel), ('totals by reason', test_reasons), ('bpftrace', test_other_tracer),
          ('the ledger', test_balance), ('a storm on two CPUs', test_storm),
          ('a storm beyond the budget', test_budget), ('a bank that fills', test_full_bank),
          ('include and exclude', test_filters), ('collectors', test_collectors),
          ('wrong words', test_wrong_words), ('without CAP_PERFMON', test_privileges),
          ('kill -9', test_killed)])
