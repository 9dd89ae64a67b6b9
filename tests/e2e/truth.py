# SPDX-License-Identifier: Apache-2.0
"""What an exporter must report for captures, and where records differ from it.

A truth file, CAPTURE.truth.json, was computed with tshark.  Flows are told apart by protocol, addresses,
ports (ICMP: 0 and type * 256 + code) and the outermost VLAN id.
"""
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from tap import skip_all

SUFFIXES = ('.pcap', '.pcapng', '.cap')


class Key(NamedTuple):
    protocol: int
    source: str
    destination: str
    source_port: int
    destination_port: int
    vlan: int

    def blurred(self):
        return self._replace(source_port=0, destination_port=0)

    def __str__(self):
        return (f'protocol {self.protocol} {self.source}.{self.source_port} > '
                f'{self.destination}.{self.destination_port} vlan {self.vlan}')


@dataclass
class Flow:
    packets: int = 0
    octets: int = 0
    flags: int = 0
    first_ms: int = 1 << 63
    last_ms: int = 0

    def add(self, other):
        self.packets += other.packets
        self.octets += other.octets
        self.flags |= other.flags
        self.first_ms = min(self.first_ms, other.first_ms)
        self.last_ms = max(self.last_ms, other.last_ms)


@dataclass
class Truth:
    frames: int = 0
    packets: int = 0
    packets_max: int = 0
    flows: dict = field(default_factory=dict)
    fragmented: set = field(default_factory=set)  # (protocol, source, destination)
    captures: dict = field(default_factory=dict)  # flow key -> names of the captures it is in

    def key(self, key):
        """Fragments but the first have no ports: a flow of fragments is compared without them."""
        return key.blurred() if key[:3] in self.fragmented else key

    def gathered(self, flows):
        """Flows, (key, Flow) pairs, summed by the keys they are compared by."""
        summed = {}
        for key, flow in flows:
            summed.setdefault(self.key(key), Flow()).add(flow)
        return summed


def load(capture):
    text = json.loads(Path(f'{capture}.truth.json').read_text(encoding='utf-8'))
    truth = Truth(text['frames'], text['packets'], text['packets_max'])
    truth.fragmented = {tuple(entry) for entry in text['fragmented']}
    for row, flags, first, last in zip(text['flows'], text['flags'], text['first'], text['last'], strict=True):
        truth.flows[Key(*row[:6])] = Flow(row[6], row[7], flags, first // 1000, last // 1000)
        truth.captures[Key(*row[:6])] = [Path(capture).name]
    return truth


def total(truths):
    """The truth of captures sent one after the other."""
    whole = Truth()
    for truth in truths:
        whole.frames += truth.frames
        whole.packets += truth.packets
        whole.packets_max += truth.packets_max
        whole.fragmented |= truth.fragmented
        for key, flow in truth.flows.items():
            whole.flows.setdefault(key, Flow()).add(flow)
            whole.captures.setdefault(key, []).extend(truth.captures[key])
    return whole


def differences(truth, records, times=False):
    """Lines, one a flow that is not in the records as it should be."""
    expected, found = truth.gathered(truth.flows.items()), truth.gathered(records)
    names = ['packets', 'octets', 'flags'] + (['first_ms', 'last_ms'] if times else [])
    lines = []
    for key in sorted(expected.keys() | found.keys()):
        wanted, got = expected.get(key), found.get(key)
        if wanted is None:
            lines.append(f'{key}: a record of {got.packets} packets, but no such flow')
        elif got is None:
            lines.append(f'{key}: no record, of {wanted.packets} packets {truth.captures.get(key, "")}')
        else:
            lines += [f'{key}: {name} expected {getattr(wanted, name)}, got {getattr(got, name)} '
                      f'{truth.captures.get(key, "")}' for name in names if getattr(wanted, name) != getattr(got, name)]
    return lines


def captures_in(folder):
    return sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES)


def folder():
    """Where the captures are; without them there is nothing to test."""
    default = Path(__file__).resolve().parents[2] / '../shared/pcaps'
    path = Path(os.environ.get('FLOWTALLY_PCAPS') or default).resolve()
    if not path.is_dir() or not captures_in(path):
        skip_all(f'no captures in {path}: set FLOWTALLY_PCAPS')
    return path
