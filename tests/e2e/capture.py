# SPDX-License-Identifier: Apache-2.0
"""What is on the wire by other eyes: dumpcap captures, tshark reads."""
import os
import re
import signal
import time

from lab import command, wait_until
from tap import check
from truth import Flow, Key

SNAPLEN = 128
SETTLE_SECONDS = 0.5  # packets wait so long in the kernel's capture ring, where dumpcap leaves them at its end
FLOW_FIELDS = ('ip.src', 'ipv6.src', 'ip.dst', 'ipv6.dst', 'ip.proto', 'ipv6.nxt', 'tcp.srcport', 'udp.srcport',
               'tcp.dstport', 'udp.dstport', 'ip.len', 'ipv6.plen', 'tcp.flags', 'frame.time_epoch')
OUTERMOST = [word for name in ('vxlan', 'gre', 'teredo') for word in ('--disable-protocol', name)]


class Capture:
    """Captures on one interface of a lab from when it is made until stop()."""

    def __init__(self, box, role, interface, path, capture_filter='', snaplen=SNAPLEN):
        self.path, self.log = path, f'{path}.log'
        with open(self.log, 'wb') as log:
            self.process = box.start(role, 'dumpcap', '-q', '-p', '-i', interface, '-s', snaplen, '-B', 64, '-w', path,
                                     *(['-f', capture_filter] if capture_filter else []), stdout=log, stderr=log)
        wait_until(lambda: 'File:' in self.said(), 60, 'dumpcap to capture')

    def said(self):
        with open(self.log, encoding='utf-8') as log:
            return log.read()

    def stop(self):
        size = -1
        while size != (size := os.path.getsize(self.path)):  # until it has written all that came
            time.sleep(SETTLE_SECONDS)
        self.process.send_signal(signal.SIGINT)
        self.process.wait(20)
        dropped = re.search(r'received/dropped on interface .*: \d+/(\d+)', self.said())
        check(dropped and dropped[1] == '0', f'dumpcap lost packets: the test cannot be judged\n{self.said()}')

    def rows(self, fields, *options):
        """Values of tshark's fields, by frame; of headers in a tunnel those of the outermost."""
        words = [word for field in fields for word in ('-e', field)]
        text = command('tshark', '-n', '-r', self.path, '-T', 'fields', '-E', 'occurrence=f', *OUTERMOST,
                       *options, *words)
        return [dict(zip(fields, line.split('\t'), strict=True)) for line in text.splitlines()]

    def flows(self):
        """TCP and UDP flows by their key, as an exporter must see them."""
        flows = {}
        for row in self.rows(FLOW_FIELDS):
            def either(one, other, row=row):
                return row[one] or row[other]
            if either('tcp.srcport', 'udp.srcport') == '':
                continue
            octets = int(row['ip.len'] or 0) or int(row['ipv6.plen']) + 40
            when = int(float(row['frame.time_epoch']) * 1000)
            key = Key(int(either('ip.proto', 'ipv6.nxt')), either('ip.src', 'ipv6.src'), either('ip.dst', 'ipv6.dst'),
                      int(either('tcp.srcport', 'udp.srcport')), int(either('tcp.dstport', 'udp.dstport')), 0)
            flow = Flow(1, octets, int(row['tcp.flags'] or '0', 16) & 0xff, when, when)
            flows.setdefault(key, Flow()).add(flow)
        return flows
