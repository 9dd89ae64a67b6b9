# SPDX-License-Identifier: Apache-2.0
"""What the tests in a virtual machine share: results, the exporter under test, its programs in the kernel, its records."""
import contextlib
import ctypes
import ipaddress
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import traceback
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import program
import tap
from lab import wait_until
from tap import check, check_equal

LOGS = Path('/tmp/logs')
NO_VRF = 'this kernel comes without the module vrf'
BIN = Path(__file__).resolve().parent.parent
CLANG_19 = BIN / 'flowtally-clang-19'
VERIFIED_MAX = 250000  # instructions of one program that the verifier walks: a quarter of the million that it allows
PATIENCE = 400  # seconds for the verifier, under emulation and beside other tests
STUB = re.compile(r'flowtally_tc_s\d?')
SMALL = ['--bank-entries', '8192', '--cache-entries', '8192', '--drop-entries', '4096']
BPF_SYSCALL = {'x86_64': 321, 'aarch64': 280}
LANDLOCK_CREATE_RULESET, LANDLOCK_CREATE_RULESET_VERSION = 444, 1
BPF_PROG_GET_FD_BY_ID, BPF_OBJ_GET_INFO_BY_FD = 13, 15
INFO_SIZE, INFO_NAME, INFO_VERIFIED = 232, 64, 216  # struct bpf_prog_info
LIBC = ctypes.CDLL(None, use_errno=True)


def emit(word, value):
    print(f'@{word} {json.dumps(value)}', flush=True)


@contextlib.contextmanager
def point(name):
    """One result: what is done inside raises Failure or Skip, or it has passed."""
    verdict, lines, skip = 'ok', [], None
    try:
        yield
    except tap.Skip as reason:
        skip = str(reason)
    except tap.Failure as failure:
        verdict, lines = 'not ok', str(failure).splitlines()[:40]
    except Exception:  # pylint: disable=broad-except
        verdict, lines = 'not ok', traceback.format_exc().splitlines()[-30:]
    emit('point', {'verdict': verdict, 'name': name, 'lines': lines, 'skip': skip})


def fact(kind, name, value):
    emit('fact', {'kind': kind, 'name': name, 'value': value})


def version():
    return tuple(int(number) for number in re.findall(r'\d+', os.uname().release)[:2])


def bpf(command, attributes):
    data = ctypes.create_string_buffer(attributes, 128)
    return LIBC.syscall(BPF_SYSCALL[os.uname().machine], command, data, 128)


def landlock():
    """The version that the kernel has; 0: none."""
    return max(LIBC.syscall(LANDLOCK_CREATE_RULESET, None, 0, LANDLOCK_CREATE_RULESET_VERSION), 0)


def drop_reasons():
    """Names of reasons that this kernel gives to a dropped packet; before Linux 5.17 only some distributions have any."""
    data = Path('/sys/kernel/btf/vmlinux').read_bytes()
    return {name.decode() for name in re.findall(rb'SKB_DROP_REASON_(\w+)', data)}


def has_module(name):
    """Whether the kernel has it, built in or in the image."""
    return subprocess.run(['modprobe', '-q', name], check=False).returncode == 0


class Program(NamedTuple):
    name: str
    verified: int  # instructions; 0: Linux before 5.16 does not say


def bpf_program(number):
    """The kernel's program of that id; None when it is no more."""
    fd = bpf(BPF_PROG_GET_FD_BY_ID, struct.pack('=I', number))
    if fd < 0:
        return None
    info = ctypes.create_string_buffer(INFO_SIZE)
    result = bpf(BPF_OBJ_GET_INFO_BY_FD, struct.pack('=IIQ', fd, INFO_SIZE, ctypes.addressof(info)))
    os.close(fd)
    check(result == 0, f'program {number}: no information')
    name = info.raw[INFO_NAME:INFO_NAME + 16].rstrip(b'\0').decode()
    return Program(name, struct.unpack_from('=I', info.raw, INFO_VERIFIED)[0])


def held(pid, what):
    """Ids of what a process holds; what: prog_id, link_id.  It may close descriptors meanwhile."""
    found = set()
    for path in Path(f'/proc/{pid}/fdinfo').iterdir():
        with contextlib.suppress(FileNotFoundError):
            found |= {int(number) for number in re.findall(rf'^{what}:\s*(\d+)', path.read_text(encoding='utf-8'), re.M)}
    return found


def programs_of(pid):
    """{id: Program} of what a process holds."""
    found = {number: bpf_program(number) for number in held(pid, 'prog_id')}
    return {number: one for number, one in found.items() if one}


class Exporter:
    """with Exporter(box, 'meter', 'name', '--interface', ...) as exporter: ...   Its standard error is kept in the logs."""

    def __init__(self, box, role, name, *options, clang=14, drops='off'):
        self.box, self.role, self.name, self.clang = box, role, name, clang
        self.json = LOGS / f'{name}.flows.json'
        self.options, self.drops = [*SMALL, *options, '--verbose', '--collector', f'json://{self.json}'], drops
        self.daemon, self.programs, self.ledger = None, {}, None

    def __enter__(self):
        program.READY_SECONDS, program.STOP_SECONDS = PATIENCE, PATIENCE
        path = CLANG_19 if self.clang == 19 else BIN / 'flowtally'
        if not path.exists():
            raise tap.Skip(f'no {path.name} in the image')
        os.environ['FLOWTALLY'] = str(path)
        self.daemon = program.Daemon(self.box, self.role, *self.options, drops=self.drops).__enter__()
        self.programs = programs_of(self.daemon.process.pid)
        return self

    def __exit__(self, *error):
        shutil.copy(self.daemon.log_path, LOGS / f'{self.name}.stderr')
        self.daemon.__exit__(*error)

    def hooks(self, interface):
        """What it says of the hooks of an interface."""
        match = re.search(rf"interface '{interface}': (ingress .*)", self.daemon.stderr())
        check(match, f'no word on the hooks of {interface}', program.shown(self.daemon.stderr()))
        return match[1]

    def check_verified(self):
        """Of every program: what the verifier walked."""
        walked = {one.name: one.verified for one in self.programs.values() if not STUB.fullmatch(one.name)}
        check(any('tc' in name for name in walked), f'programs: {sorted(walked)}')
        for name, count in walked.items():
            fact('verified', f'{name} clang {self.clang}', count)
        if not any(walked.values()):
            raise tap.Skip('Linux before 5.16 does not say')
        check(all(count < VERIFIED_MAX for count in walked.values()), f'over {VERIFIED_MAX} instructions:',
              *(f'{name}: {count}' for name, count in walked.items() if count >= VERIFIED_MAX))

    def stop(self):
        """SIGTERM: ends with status 0 and a ledger that balances, in which nothing is lost or refused."""
        self.ledger = self.daemon.stop(signal.SIGTERM)
        for side in 'ignored', 'refused':
            fact(side, self.name, {name: count['packets'] for name, count in self.ledger[side].items() if count['packets']})
        check_equal('refused', {name: count for name, count in self.ledger['refused'].items() if count['packets']}, {})
        for collector in self.ledger['collectors']:
            lost = {name: count for name, count in collector['lost'].items() if count['packets']}
            check_equal(f'{collector["url"]}: lost', lost, {})
        return self.ledger

    def gone(self):
        """Waits until its programs are no more, but for stubs; returns the names of the latter that stay."""
        def left():
            return [one.name for one in map(bpf_program, self.programs) if one]
        with contextlib.suppress(tap.Failure):
            wait_until(lambda: not left(), 5, 'programs to go')
        return left()

    def rows(self):
        return [json.loads(line) for line in self.json.read_text(encoding='utf-8').splitlines() if line.startswith('{')]

    def flows(self):
        """{(interface, direction): {Key: [packets, octets]}} of all records; interfaces by name."""
        names = {link['ifindex']: link['ifname'] for link in json.loads(self.box.ip(self.role, '-j', 'link', 'show'))}
        found = {}
        for row in self.rows():
            if 'packetDeltaCount' not in row:
                continue
            direction = row['flowDirection']
            place = names.get(row['egressInterface' if direction else 'ingressInterface'], '?'), direction
            amount = found.setdefault(place, {}).setdefault(key_of(row), [0, 0])
            amount[0] += row['packetDeltaCount']
            amount[1] += row['octetDeltaCount']
        return found


class Key(NamedTuple):
    """ICMP: ports 0 and type * 256 + code"""
    protocol: int
    source: str
    destination: str
    source_port: int
    destination_port: int

    def __str__(self):
        return f'protocol {self.protocol} {self.source}.{self.source_port} > {self.destination}.{self.destination_port}'


def key_of(row):
    ends = [str(ipaddress.ip_address(row[f'{side}IPv{row["ipVersion"]}Address'])) for side in ('source', 'destination')]
    icmp = row.get(f'icmpTypeCodeIPv{row["ipVersion"]}', 0)
    return Key(row['protocolIdentifier'], *ends, row['sourceTransportPort'], row['destinationTransportPort'] or icmp)


def differences(expected, got):
    """Lines, one a flow whose packets or octets are not those that were expected."""
    lines = []
    for key in sorted(expected.keys() | got.keys(), key=str):
        wanted, found = expected.get(key), got.get(key)
        if wanted != found:
            lines.append(f'{key}: expected {wanted or "none"}, got {found or "none"}')
    return lines


def check_flows(what, expected, got):
    lines = differences(expected, got)
    check(not lines, f'{what}: records differ in {len(lines)} of {len(expected)} flows:', *lines)


def summed(flows):
    total = Counter()
    for packets, octets in flows.values():
        total.update(packets=packets, octets=octets)
    return total
