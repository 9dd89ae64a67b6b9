#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Collectors that are not ours read every profile in IPFIX and NetFlow v9, with the values that were metered.

One capture, whose flows are known since it is made here, is replayed to all of them at once.
"""
import functools
import ipaddress
import struct
from pathlib import Path

import collect
import program
import readers
import strict
import tap
import traffic
from capture import Capture
from lab import Lab, scratch
from tap import Skip, check, check_equal
from truth import Flow, Key, Truth, differences

PROFILES = 'minimal', 'default', 'extended'
SCHEMES = 'ipfix', 'netflow9'
CHOSEN = ('sourceIPv4Address,destinationIPv4Address,sourceIPv6Address,destinationIPv6Address,sourceTransportPort,'
          'destinationTransportPort,protocolIdentifier,tcpControlBits:2,vlanId,flowStartMilliseconds,'
          'flowEndMilliseconds,flowEndReason,flowDirection,octetDeltaCount,packetDeltaCount')
START_MS = 1600000000000  # of the captures that traffic makes, a frame a second
OWN = 'firstTcpControlBits(32473/1)<unsigned16>[2]'
HOSTS = {4: ('10.1.0.1', '10.1.0.2'), 6: ('2001:db8::1', '2001:db8::2')}


def ethernet(vlan, version, packet):
    tag = struct.pack('!HH', 0x8100, vlan) if vlan else b''
    return bytes(12) + tag + struct.pack('!H', 0x0800 if version == 4 else 0x86dd) + packet


def ip(version, protocol, payload):
    source, destination = (ipaddress.ip_address(host).packed for host in HOSTS[version])
    if version == 4:
        return struct.pack('!BBHHHBBH', 0x45, 0x20, 20 + len(payload), 0, 0, 64, protocol, 0) + source + destination + payload
    return struct.pack('!IHBB', 0x62000abc, len(payload), protocol, 64) + source + destination + payload


def transport(version, kind, port, flags):
    """(protocol, source port, destination port, octets)"""
    if kind == 'udp':
        return 17, port, 53, struct.pack('!HHHH', port, 53, 8 + port % 100, 0) + bytes(port % 100)
    if kind == 'tcp':
        return 6, port, 443, struct.pack('!HHIIBBHHH', port, 443, 0, 0, 0x50, flags, 1000, 0, 0)
    icmp = (1, 8, 0) if version == 4 else (58, 128, 0)
    return icmp[0], 0, icmp[1] * 256, struct.pack('!BBHI', icmp[1], 0, 0, port)


def make_traffic():
    """(frames, truth)"""
    truth, frames = Truth(), []
    kinds = [(version, kind, 1000 + 10 * i, vlan) for i in range(4) for version in (4, 6)
             for kind in ('udp', 'tcp', 'icmp') for vlan in (0, 7)]
    for flags in 0x02, 0x10, 0x18:
        for version, kind, port, vlan in kinds:
            protocol, source, destination, payload = transport(version, kind, port, flags)
            packet = ip(version, protocol, payload)
            when = START_MS + 1000 * len(frames)
            key = Key(protocol, *HOSTS[version], source, destination, vlan)
            truth.flows.setdefault(key, Flow()).add(
                Flow(1, len(packet), flags if kind == 'tcp' else 0, when, when))
            frames.append(ethernet(vlan, version, packet))
    return frames, truth


class Run:
    """One replay, to all collectors at once."""

    def __init__(self, scheme, template, frames):
        with scratch() as directory, Lab('meter') as box:
            capture = Path(directory) / 'traffic.pcap'
            capture.write_bytes(traffic.capture_of(frames))
            file = Path(directory) / 'flows.ipfix'
            nfcapd = collect.Nfcapd(box, 'meter', directory, 9995)
            others = [readers.Nfacctd(box, 'meter', directory, 9996)]
            if readers.Goflow2.path():
                others.append(readers.Goflow2(box, 'meter', directory, 9997))
            wire = Capture(box, 'meter', 'lo', f'{directory}/lo.pcapng', 'udp and dst host 127.0.0.1', 65535)
            urls = [f'{scheme}://127.0.0.1:{port}' for port in (nfcapd.port, *(other.port for other in others))]
            # Timeouts longer than the capture: one record a flow.
            ledger = program.replay(
                capture, '--idle-timeout', '1h', '--active-timeout', '2h', '--linger', '1h', '--template', template,
                '--collector', f'file://{file}', *(word for url in urls for word in ('--collector', url)),
                prefix=box.inside('meter'))
            self.records = sum(ledger['records'].values())
            self.flows = {type(other).__name__: other.collected(self.records) for other in others}
            self.flows['nfcapd'] = collect.flows(nfcapd.stop())
            self.nfcapd_log = nfcapd.log()
            wire.stop()
            decoder = strict.decode(wire, nfcapd.port)
            self.flows['strict decoder'] = [record.flow() for record in decoder.records()]
            self.sums = readers.tshark_sums(wire, nfcapd.port)
            if scheme == 'ipfix':
                self.read_file(file, template)

    def read_file(self, file, template):
        self.flows['python-ipfix'] = readers.python_ipfix(file, *([OWN] if template == 'extended' else []))
        self.flows['libfixbuf'] = read_fixbuf(file)


def read_fixbuf(file):
    """ipfixDump prints what it was not told, so that profiles without some fields do."""
    flows = []
    for f in collect.read_fields(file):
        six = 'sourceIPv6Address' in f
        family = 6 if six else 4
        key = Key(int(f['protocolIdentifier']), *(collect.address(f[f'{side}IPv{family}Address'])
                                                 for side in ('source', 'destination')),
                  int(f['sourceTransportPort']), int(f['destinationTransportPort']), int(f.get('vlanId', 0)))
        flows.append((key, Flow(int(f['packetDeltaCount']), int(f['octetDeltaCount']), int(f['tcpControlBits']) & 0xff,
                                *(collect.milliseconds(f[f'flow{end}Milliseconds']) for end in ('Start', 'End')))))
    return flows


def without(flows, vlan=False, flags=False, icmp=False):
    """What the template does not hold, or the reader does not read, is 0."""
    gathered = {}
    for key, flow in flows:
        if vlan:
            key = key._replace(vlan=0)
        if icmp and key.protocol in (1, 58):
            key = key._replace(destination_port=0)
        new = Flow(flow.packets, flow.octets, 0 if flags else flow.flags, flow.first_ms, flow.last_ms)
        gathered.setdefault(key, Flow()).add(new)
    return list(gathered.items())


def check_reader(name, scheme, template, truth, flows):
    vlan = template == 'minimal'
    # pmacct 1.7.7 reads tcpControlBits of one octet alone.
    flags = name == 'Nfacctd' and scheme == 'ipfix' and (template == 'extended' or ':2' in template)
    # nfdump 1.7.1 takes the ICMP type of NetFlow v9 from the ICMP field alone, where others look at the port too.
    icmp = name == 'nfcapd' and scheme == 'netflow9' and template in ('minimal', CHOSEN)
    expected = Truth(flows=dict(without(truth.flows.items(), vlan, flags, icmp)))
    lines = differences(expected, without(flows, vlan, flags, icmp), times=True)
    check(not lines, f'{name} differs:', *lines[:20])


def test_read(scheme, template, traffic_and_truth):
    frames, truth = traffic_and_truth
    run = Run(scheme, template, frames)
    check_equal('records', run.records, len(truth.flows))
    for name, flows in run.flows.items():
        check_reader(name, scheme, template, truth, flows)
    check_equal('octets, packets and records by tshark', run.sums,
                (sum(flow.octets for flow in truth.flows.values()), len(frames), len(truth.flows)))
    check('rror' not in run.nfcapd_log.replace('Sequence Errors', ''), run.nfcapd_log)


def test_goflow2():
    if not readers.Goflow2.path():
        raise Skip('there is no goflow2: tests/chart/fetch, which ./setup runs, builds it')


def main():
    tap.require('ip', 'dumpcap', 'tshark', 'nfcapd', 'nfdump', 'nfacctd', 'ipfixDump')
    program.binary()
    made = make_traffic()
    tests = [(f'{scheme}: {name}', functools.partial(test_read, scheme, template, made)) for scheme in SCHEMES
             for name, template in [*((profile, profile) for profile in PROFILES), ('elements by name', CHOSEN)]]
    tap.main([*tests, ('goflow2 is one of the readers', test_goflow2)], tap.AT_ONCE)


if __name__ == '__main__':
    main()
