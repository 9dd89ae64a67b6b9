# SPDX-License-Identifier: Apache-2.0
"""Network namespaces joined by veth pairs, and nothing in them but what a test puts there.

Names carry the test's process id, so that what a killed test left behind is known and removed by the
next one.  Processes started in a lab die with the test.
"""
import contextlib
import ctypes
import itertools
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time
from pathlib import Path

from tap import Failure, Skip

PREFIX = 'flowtally-e2e'
CLONE_NEWNET = 0x40000000
RTM_NEWLINK, NLM_F_REQUEST_ACK = 16, 0x05
IFLA_GSO_GRO_SIZES = 41, 58, 63, 64  # gso_max_size, gro_max_size, and those of IPv4
LIBC = ctypes.CDLL(None, use_errno=True)
DIES_WITH_TEST = ['setpriv', '--pdeathsig', 'KILL']
QUIET = ('net.ipv6.conf.all.accept_ra=0', 'net.ipv6.conf.default.accept_ra=0', 'net.ipv6.conf.default.accept_dad=0',
         'net.ipv6.conf.default.addr_gen_mode=1', 'net.ipv6.conf.default.router_solicitations=0')
NO_OFFLOADS = [word for feature in ('tso', 'gso', 'gro', 'tx', 'rx') for word in (feature, 'off')]
# Else an interface is a member of groups for neighbour discovery and routers, which it reports in the first seconds.
NO_GROUPS = 'arp', 'off', 'multicast', 'off'
NO_IPV6 = ('net.ipv6.conf.all.disable_ipv6=1', 'net.ipv6.conf.default.disable_ipv6=1')

_counter = itertools.count()


def command(*words, **options):
    """Runs a command to its end and returns its standard output; a failure names it."""
    words = [str(word) for word in words]
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors='replace',
                          check=False, timeout=options.pop('timeout', 60), **options)
    if done.returncode != 0:
        raise Failure(f'{" ".join(words)}: exit status {done.returncode}\n{done.stdout}{done.stderr}')
    return done.stdout


def wait_until(condition, seconds, what):
    """Waits until condition() is true, and returns what it said; what: for the message when it never is."""
    end = time.monotonic() + seconds
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > end:
            raise Failure(f'waited {seconds} s in vain for {what}')
        time.sleep(0.02)


def remove_namespace(name):
    pids = subprocess.run(['ip', 'netns', 'pids', name], capture_output=True, text=True, check=False).stdout.split()
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)
    subprocess.run(['ip', 'netns', 'delete', name], capture_output=True, check=False)


def is_running(pid):
    try:
        with open(f'/proc/{pid}/cmdline', 'rb') as file:
            return b'test_' in file.read()
    except OSError:
        return False


def stale(folder):
    """Names in a folder of what tests have left there that are no more."""
    names = os.listdir(folder) if os.path.isdir(folder) else []
    matches = [re.match(PREFIX + r'-(\d+)-', name) for name in names]
    return [match.string for match in matches if match and not is_running(int(match[1]))]


def remove_stale():
    for name in stale('/run/netns'):
        remove_namespace(name)
    for name in stale(tempfile.gettempdir()):
        shutil.rmtree(os.path.join(tempfile.gettempdir(), name), ignore_errors=True)


def scratch():
    """A folder for one test: with scratch() as directory: ..."""
    return tempfile.TemporaryDirectory(prefix=f'{PREFIX}-{os.getpid()}-')


@contextlib.contextmanager
def bpf_object(source):
    """A file that clang makes of a BPF program in C."""
    clang = shutil.which('clang-14') or shutil.which('clang')
    if not clang:
        raise Skip('not installed: clang')
    with scratch() as directory:
        path = Path(directory) / 'program.c'
        path.write_text(source, encoding='ascii')
        command(clang, '-target', 'bpf', '-O2', '-g', '-c', path, '-o', path.with_suffix('.o'))
        yield path.with_suffix('.o')


class Lab:
    """with Lab('meter', 'peer') as box: ...   A role is one namespace.

    discovery: with IPv6 interfaces look for neighbours, and say so by themselves
    """

    def __init__(self, *roles, ipv6=False, discovery=False):
        number = next(_counter)
        self.names = {role: f'{PREFIX}-{os.getpid()}-{number}-{role}' for role in roles}
        self.ipv6, self.discovery = ipv6, discovery
        self.processes = []

    def __enter__(self):
        remove_stale()
        try:
            for role, name in self.names.items():
                command('ip', 'netns', 'add', name)
                self.run(role, 'sysctl', '-qw', *QUIET, *(() if self.ipv6 else NO_IPV6))
                command('ip', '-n', name, 'link', 'set', 'lo', 'up')
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(self, *_):
        self.remove()

    def remove(self):
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.wait()
        for name in self.names.values():
            remove_namespace(name)

    def inside(self, role, *words):
        return ['ip', 'netns', 'exec', self.names[role], *(str(word) for word in words)]

    def run(self, role, *words, **options):
        return command(*self.inside(role, *words), **options)

    def ip(self, role, *words):
        return command('ip', '-n', self.names[role], *words)

    def ip_tc(self, role, *words):
        return command('tc', '-n', self.names[role], *words)

    def start(self, role, *words, **options):
        """Starts a program that is killed at the lab's end at the latest."""
        process = subprocess.Popen([*DIES_WITH_TEST, *self.inside(role, *words)], stdin=subprocess.DEVNULL, **options)
        self.processes.append(process)
        return process

    def veth(self, one, other, offloads=True):
        """Joins two namespaces: veth(('meter', 'm0'), ('peer', 'p0')).  Both ends come up."""
        (role, name), (peer_role, peer) = one, other
        command('ip', 'link', 'add', name, 'netns', self.names[role], 'type', 'veth', 'peer', 'name', peer, 'netns',
                self.names[peer_role])
        for role, name in one, other:
            if not offloads:
                self.run(role, 'ethtool', '-K', name, *NO_OFFLOADS)
            if self.ipv6 and not self.discovery:
                self.ip(role, 'link', 'set', name, *NO_GROUPS)
            self.ip(role, 'link', 'set', name, 'mtu', '1500', 'up')
        for role, name in one, other:
            wait_until(lambda r=role, n=name: self.link(r, n)['operstate'] == 'UP', 5, f'{name} to be up')

    def address(self, one, other):
        """Addresses for both ends of a pair, (role, interface, [address, ...]); they know each other without asking."""
        for (role, name, addresses), (peer_role, peer, peer_addresses) in (one, other), (other, one):
            mac = self.link(peer_role, peer)['address']
            for address in addresses:
                six = ':' in address
                self.ip(role, 'address', 'add', f'{address}/{64 if six else 24}', 'dev', name,
                        *(['nodad'] if six else []))
            for address in peer_addresses:
                self.ip(role, 'neighbour', 'replace', address, 'lladdr', mac, 'dev', name, 'nud', 'permanent')

    def big_tcp(self, role, name, octets):
        """Lets super-packets of both IP versions be so long; iproute2 knows that of IPv4 from 6.3 on only."""
        attributes = b''.join(struct.pack('=HHI', 8, kind, octets) for kind in IFLA_GSO_GRO_SIZES)
        with self.entered(role):
            index = socket.if_nametoindex(name)
            netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        with netlink:
            netlink.send(struct.pack('=IHHIIBxHiII', 32 + len(attributes), RTM_NEWLINK, NLM_F_REQUEST_ACK, 1, 0, 0, 0,
                                     index, 0, 0) + attributes)
            error = struct.unpack_from('=i', netlink.recv(4096), 16)[0]
        if error:
            raise Failure(f'{name} takes no super-packets of {octets} octets: {os.strerror(-error)}')

    def link(self, role, name):
        """What `ip -d -s link` says of an interface."""
        return json.loads(self.ip(role, '-d', '-s', '-j', 'link', 'show', 'dev', name))[0]

    def packets(self, role, name, side):
        """Packets that the kernel counted on an interface; side: 'rx' or 'tx'."""
        return self.link(role, name)['stats64'][side]['packets']

    @contextlib.contextmanager
    def entered(self, role):
        """Sockets that this thread makes meanwhile are in that namespace."""
        with open('/proc/thread-self/ns/net', 'rb') as home, open(f'/run/netns/{self.names[role]}', 'rb') as there:
            setns(there)
            try:
                yield
            finally:
                setns(home)


class Pair:
    """meter (m0) --- (p0) peer, and a directory: class Bench(Pair) of a test, whose `addresses` are those of the two."""

    addresses = None

    def __enter__(self):
        self.scratch = scratch()
        self.directory = Path(self.scratch.name)
        self.box = Lab('meter', 'peer').__enter__()
        meter, peer = self.addresses
        self.box.veth(('meter', 'm0'), ('peer', 'p0'), offloads=False)
        self.box.address(('meter', 'm0', [meter]), ('peer', 'p0', [peer]))
        return self

    def __exit__(self, *error):
        self.box.__exit__(*error)
        self.scratch.cleanup()


def setns(file):
    if LIBC.setns(file.fileno(), CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), 'setns')
