# SPDX-License-Identifier: Apache-2.0
"""More programs that collect flows, none of them ours: nfacctd (pmacct), goflow2, python-ipfix, tshark.

Each gives (key, flow) pairs, as truth has them.
"""
import json
import os
import shutil
import signal
import subprocess
from pathlib import Path

from lab import command, wait_until
from tap import check
from truth import Flow, Key

START_SECONDS, READ_SECONDS, STOP_SECONDS = 60, 60, 20  # of a machine that does much else
PROTOCOLS = {'icmp': 1, 'tcp': 6, 'udp': 17, 'ipv6-icmp': 58, 'icmpv6': 58, 'ICMP': 1, 'TCP': 6, 'UDP': 17, 'IPv6-ICMP': 58}
NFACCTD = '''daemonize: false
nfacctd_ip: 127.0.0.1
nfacctd_port: {port}
plugins: print
print_output: json
print_output_file: {output}
print_output_file_append: true
print_refresh_time: 1
aggregate: src_host, dst_host, src_port, dst_port, proto, tcpflags, vlan, timestamp_start, timestamp_end
timestamps_since_epoch: true
'''
PYTHON_IPFIX = '''
import json, sys
import ipfix.ie, ipfix.reader
ipfix.ie.use_iana_default()
for line in sys.argv[2:]:
    ipfix.ie.for_spec(line)
with open(sys.argv[1], 'rb') as file:
    for record in ipfix.reader.from_stream(file).namedict_iterator():
        print(json.dumps(record, default=lambda value: value.timestamp() if hasattr(value, 'timestamp') else str(value)))
'''


def json_lines(path):
    """The whole lines of a file that its program may still be writing."""
    if not Path(path).exists():
        return []
    lines = Path(path).read_text(encoding='utf-8').splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.startswith('{') and line.endswith('\n')]


class Collector:
    """A program that listens on a port of 127.0.0.1 and writes lines of JSON."""

    def __init__(self, box, role, directory, port):
        self.port, self.output = port, Path(directory) / f'{type(self).__name__}-{port}.json'
        self.log = self.output.with_suffix('.log')
        with open(self.log, 'wb') as log:
            self.process = box.start(role, *self.command(), stdout=log, stderr=log)
        wait_until(lambda: self.is_ready(box, role) or self.process.poll() is not None, START_SECONDS,
                   f'{type(self).__name__} to listen')
        self.check_running()

    def is_ready(self, box, role):
        return f':{self.port:04X} ' in box.run(role, 'cat', '/proc/net/udp')

    def check_running(self):
        check(self.process.poll() is None, f'{type(self).__name__} has ended:\n{self.log.read_text(errors="replace")}')

    def command(self):
        raise NotImplementedError

    def rows(self, count):
        """What it wrote, when all of it is there."""
        wait_until(lambda: len(json_lines(self.output)) >= count or self.process.poll() is not None, READ_SECONDS,
                   f'{count} records of {type(self).__name__}')
        self.check_running()
        self.process.send_signal(signal.SIGINT)
        self.process.wait(STOP_SECONDS)
        return json_lines(self.output)

    def collected(self, count):
        """The flows, when all of them are there."""
        return [self.read(row) for row in self.rows(count)]

    def read(self, row):
        raise NotImplementedError


class Nfacctd(Collector):
    def is_ready(self, box, role):
        # It listens before its plugin runs, and what comes in between is lost.
        return 'JSON: setting object handlers' in self.log.read_text(errors='replace') and super().is_ready(box, role)

    def command(self):
        config = self.output.with_suffix('.conf')
        config.write_text(NFACCTD.format(port=self.port, output=self.output))
        return ['nfacctd', '-f', config]

    def read(self, row):
        key = Key(PROTOCOLS[row['ip_proto']], row['ip_src'], row['ip_dst'], row['port_src'], row['port_dst'], row['vlan'])
        times = (round(float(row[name]) * 1000) for name in ('timestamp_start', 'timestamp_end'))
        return key, Flow(row['packets'], row['bytes'], int(row['tcp_flags']), *times)


class Goflow2(Collector):
    @staticmethod
    def path():
        """Where ./setup has put it; None where it could not be built."""
        fetch = Path(__file__).resolve().parents[2] / 'tests/chart/fetch'
        cache = subprocess.run([fetch, '--where'], check=True, capture_output=True, text=True).stdout.strip()
        built = Path(cache) / 'bin/goflow2'
        return str(built) if os.access(built, os.X_OK) else shutil.which('goflow2')

    def command(self):
        return [self.path(), '-listen', f'netflow://127.0.0.1:{self.port}', '-addr', '127.0.0.1:0', '-format', 'json',
                '-transport', 'file', '-transport.file', self.output]

    def read(self, row):
        protocol = PROTOCOLS[row['proto']]
        key = Key(protocol, row['src_addr'], row['dst_addr'], row['src_port'], row['dst_port'],
                  row['src_vlan'] or row['dst_vlan'])
        times = (row[name] // 1000000 for name in ('time_flow_start_ns', 'time_flow_end_ns'))
        return key, Flow(row['packets'], row['bytes'], row['tcp_flags'], *times)


def element(row, *names):
    return next((row[name] for name in names if name in row), 0)


def python_ipfix(path, *elements):
    """An IPFIX file by python-ipfix, which has to be told of elements that are not IANA's."""
    text = command('/usr/bin/python3', '-c', PYTHON_IPFIX, path, *elements)
    flows = []
    for row in map(json.loads, text.splitlines()):
        if 'octetDeltaCount' not in row:
            continue
        source = element(row, 'sourceIPv4Address', 'sourceIPv6Address')
        destination = element(row, 'destinationIPv4Address', 'destinationIPv6Address')
        key = Key(row['protocolIdentifier'], source, destination, row['sourceTransportPort'],
                  row['destinationTransportPort'], element(row, 'vlanId'))
        times = (round(row[name] * 1000) for name in ('flowStartMilliseconds', 'flowEndMilliseconds'))
        flows.append((key, Flow(row['packetDeltaCount'], row['octetDeltaCount'], row['tcpControlBits'] & 0xff, *times)))
    return flows


def tshark_sums(capture, port):
    """Octets and packets of all flow records, and whether tshark has anything to say against a message."""
    options = ['-d', f'udp.port=={port},cflow', '-E', 'occurrence=a']
    rows = capture.rows(['cflow.octets', 'cflow.packets'], *options, '-Y', f'cflow.packets && udp.dstport == {port}')
    complaints = capture.rows(['frame.number', '_ws.expert.message'], *options, '-Y',
                              f'udp.dstport == {port} && (_ws.expert.severity >= warning || _ws.malformed)')
    check(not complaints, 'tshark complains:', *complaints[:10])
    octets, packets = ([int(value) for row in rows for value in row[name].split(',')] for name in rows[0])
    return sum(octets), sum(packets), len(packets)
