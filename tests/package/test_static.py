#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""test_static.py FOLDER: the program without shared libraries, built in the folder, alone in a root file system."""
import json
import os
import re
import socket
import struct
import subprocess
import sys
import threading
from pathlib import Path

import package
import traffic
from package import DIES_WITH_TEST, NODE, PEER, ROOT, Tree, command, need, node, quietly, scratch, wait_until
from tap import Failure, Skip, cases, check, check_equal, comment, main, once, require

FOLDER = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / 'build/static'
LIBRARIES = package.CACHE / f'libraries-{command("dpkg", "--print-architecture").strip()}'
OCTETS_MAX = 10_000_000
COMMIT = '0123456789ab'  # the same in all builds
MOUNTS = 'mount -t proc proc proc && mount -t sysfs sysfs sys'
NAME = 'collector.test'
RUN = ['run', '--interface', 'eth0', '--ingress', 'tc', '--drops', 'off', '--drain-interval', '1s', '--idle-timeout', '2s',
       '--active-timeout', '5s', '--control-socket', 'off', '--metrics-listen', 'off']
LIBRARY = '''
static long call(long n, long a, long b, long c) {
	long r; register long x __asm__("r10") = 0;
	__asm__ volatile("syscall" : "=a"(r) : "a"(n), "D"(a), "S"(b), "d"(c), "r"(x) : "rcx", "r11", "memory"); return r; }
__attribute__((constructor)) static void loaded(void) { call(85, (long)"/loaded", 0644, 0); }
'''


def build(folder, sources=ROOT):
    environment = {**os.environ, 'SOURCE_DATE_EPOCH': '1764400000'}
    quietly(sources / 'packaging/static', 'build', folder, f'-Dcommit={COMMIT}', env=environment)
    return folder / 'flowtally'


@once
def built():
    return build(FOLDER)


def stripped(program, folder):
    place = folder / 'flowtally'
    command('strip', '-o', place, program)
    place.chmod(0o755)
    return place


def alone(folder, **files):
    """A root file system with the program and nothing else but files of /etc."""
    root = folder / 'root'
    for name in 'proc', 'sys', 'etc':
        (root / name).mkdir(parents=True)
    stripped(built(), root)
    one = Tree(root)
    for name, text in files.items():
        one.write(f'etc/{name.replace("_", ".")}', text)
    return one


def answer(request):
    """An answer to a question about an address; None: that is not the name that there is."""
    end = request.index(b'\0', 12) + 5
    labels, place = [], 12
    while request[place]:
        labels.append(request[place + 1:place + 1 + request[place]].decode())
        place += 1 + request[place]
    kind, = struct.unpack_from('!H', request, end - 4)
    found = '.'.join(labels).lower() == NAME and kind == 1
    header = request[:2] + struct.pack('!HHHHH', 0x8180 if '.'.join(labels).lower() == NAME else 0x8183, 1, int(found), 0, 0)
    record = struct.pack('!HHHIH', 0xc00c, 1, 1, 60, 4) + socket.inet_aton(PEER) if found else b''
    return header + request[12:end] + record


class NameServer:
    """with NameServer(box, role) as server: ...   At 127.0.0.1 of a namespace; asked: how often."""

    def __init__(self, box, role):
        with box.entered(role):
            self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(('127.0.0.1', 53))
        self.asked = 0

    def serve(self):
        while True:
            try:
                request, client = self.socket.recvfrom(512)
            except OSError:
                return
            if not request:
                return
            self.asked += 1
            self.socket.sendto(answer(request), client)

    def __enter__(self):
        threading.Thread(target=self.serve, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.socket.close()


def test_alone():
    """It has no loader and no libraries, is small enough, and is hardened: its place in memory is drawn, its table is fixed."""
    program = built()
    with scratch() as directory:
        octets = stripped(program, Path(directory)).stat().st_size
    check(octets <= OCTETS_MAX, f'{octets} octets')
    comment(f'{octets} octets')
    headers = command('readelf', '--wide', '--file-header', '--program-headers', '--dynamic', program)
    check('INTERP' not in headers and 'NEEDED' not in headers, headers)
    check(re.search(r'Type:\s+DYN', headers) and 'GNU_RELRO' in headers and re.search(r'GNU_STACK.* RW ', headers), headers)
    check('BIND_NOW' in headers or 'NOW' in headers, headers)


def test_resolves():
    """In a root with the program and resolv.conf alone, a collector given by name gets each packet that came."""
    with scratch() as directory, node() as box, NameServer(box, 'node') as server:
        one = alone(Path(directory), resolv_conf='nameserver 127.0.0.1\noptions timeout:1\n')
        with box.entered('peer'):
            collector = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        collector.bind((PEER, 4739))
        collector.settimeout(30)
        words = one.words('/flowtally', *RUN, '--collector', f'ipfix://{NAME}', namespace=box.names['node'], mounts=MOUNTS)
        with open(Path(directory) / 'log', 'wb') as log:
            process = subprocess.Popen([*DIES_WITH_TEST, *words], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            said = Path(directory) / 'log'
            wait_until(lambda: 'ready' in said.read_text(encoding='utf-8') or process.poll() is not None, 60, 'the word ready')
            check(process.poll() is None, said.read_text(encoding='utf-8'))
            traffic.udp(box, 'peer', (PEER, 4000), (NODE, 5000), 77, b'x' * 100)
            # protocolIdentifier and ports stand in records as they do in packets; the deltas are 8 octets each.
            got = bytearray()
            while struct.pack('!HH', 4000, 5000) not in got:
                got += collector.recv(65535)
            check(struct.pack('!Q', 77) in got, 'no record of 77 packets', got.hex())
            check(server.asked > 0, 'nobody was asked for the name')
            process.terminate()
            check_equal('exit status', process.wait(30), 0)
            check('ledger: balances, lost 0 packets' in said.read_text(encoding='utf-8'), said.read_text(encoding='utf-8'))
        except TimeoutError:
            raise Failure(f'no records\n{(Path(directory) / "log").read_text(encoding="utf-8")}') from None
        finally:
            process.kill()
            process.wait()
            collector.close()


def test_loads_nothing():
    """nsswitch.conf names libraries, which would bring another C library along: files are read, and nothing is loaded."""
    if os.uname().machine != 'x86_64':
        raise Skip('the library of this test is for x86-64')
    databases = ''.join(f'{name}: trap files\n' for name in ('group', 'passwd', 'services', 'protocols', 'hosts'))
    with scratch() as directory:
        one = alone(Path(directory), nsswitch_conf=databases, services='oddport 4711/udp\n', group='odd:x:4711:\n',
                    protocols='oddproto 99 ODD\n')
        source = Path(directory) / 'trap.c'
        source.write_text(LIBRARY, encoding='ascii')
        place = one.path('lib/x86_64-linux-gnu/libnss_trap.so.2')
        place.parent.mkdir(parents=True)
        command('gcc', '-shared', '-fPIC', '-nostdlib', '-o', place, source)
        for expression in 'port oddport', 'ip proto oddproto':
            done = subprocess.run(one.words('/flowtally', 'observe', expression, mounts=MOUNTS), capture_output=True, text=True,
                                  check=False)
            check('no exporter runs' in done.stderr, f'{expression}:', done.stderr)
        # A name that is in no file is a mistake.
        done = subprocess.run(one.words('/flowtally', 'observe', 'port nosuchport', mounts=MOUNTS), capture_output=True,
                              text=True, check=False)
        check(done.returncode == 2 and 'nosuchport' in done.stderr, done.stderr)
        check(not one.exists('/loaded'), 'a library that nsswitch.conf names was loaded')


def test_end_to_end():
    """Where it is made of other code than the program of the package: names by c-ares, metrics by a libmicrohttpd of its own,
    the terminal.  Some of the end-to-end tests with this program; all have been run by hand, but for those that preload."""
    for name, only in ('names', ''), ('metrics', 'gzip'), ('metrics', 'hundred'), ('top', 'screen'):
        said = quietly('/usr/bin/python3', ROOT / f'tests/e2e/test_{name}.py', built(), env={**os.environ, 'E2E_ONLY': only})
        check(re.search('^ok 1 ', said, re.M) and 'SKIP' not in said, said)


def test_same_octets():
    """Built in another folder, from sources in another folder: the same octets, debugging information and BPF objects too."""
    first = built()
    with scratch() as directory:
        sources = package.copy_sources(Path(directory) / 'a/longer/way')
        second = build(Path(directory) / 'elsewhere', sources)
        for name in 'flowtally', 'flowtally-flows.o', 'flowtally-drops.o':
            one, other = ((folder / name).read_bytes() for folder in (first.parent, second.parent))
            check(one == other, f'{name} differs: {len(one)} and {len(other)} octets')
        check(str(ROOT).encode() not in first.read_bytes(), f'{ROOT} is in the program')
        other = (second.parent / 'flowtally.spdx.json').read_bytes()
        check((first.parent / 'flowtally.spdx.json').read_bytes() == other, 'the lists of parts differ')


def test_parts():
    """The list of parts is SPDX, and has each library that the linker put in, with version and licenses as Debian says."""
    text = (built().parent / 'flowtally.spdx.json').read_text(encoding='utf-8')
    parts = {part['name']: part for part in json.loads(text)['packages']}
    linked = set(re.findall(r'/(lib[\w+.-]+?)\.a\(', (built().parent / 'flowtally.map').read_text(encoding='utf-8')))
    check({'libbpf', 'libcares', 'libmnl', 'libmicrohttpd', 'libc'} <= linked, linked)
    named = {name for part in parts.values() for name in re.findall(r'(lib[\w+.-]+?)\.a\b', part.get('comment', ''))}
    check_equal('linked, and in no part', sorted(linked - named), [])
    versions = dict(line.split('\t') for line in command('dpkg-query', '-W', '-f', '${source:Package}\t${source:Version}\n',
                                                         'libbpf-dev', 'libc-ares-dev', 'libc6-dev', 'zlib1g-dev').splitlines())
    for source, number in versions.items():
        check_equal(f'version of {source}', parts[source]['versionInfo'], number)
        check(parts[source]['licenseDeclared'] not in ('', 'NOASSERTION', 'NONE'), parts[source])
    check_equal('flowtally', (parts['flowtally']['versionInfo'], parts['flowtally']['licenseDeclared']),
                (package.version(), 'Apache-2.0 AND (BSD-2-Clause OR GPL-2.0-only)'))


def test_sources():
    """Who passes it on is told which sources to give along (docs/install.md), in the versions of the list of parts."""
    words = ROOT / 'packaging/sbom.py', FOLDER, LIBRARIES, '--sources'
    built()
    listed = dict(line.split('=') for line in command(*words, '--copied', '/etc/services').splitlines())
    wanted = {'elfutils', 'glibc', 'libcap-ng', 'libmicrohttpd', 'libmnl', 'libseccomp'}
    check_equal('sources', set(listed), {*wanted, 'netbase'})
    check_equal('of the program alone', {line.split('=')[0] for line in command(*words).splitlines()}, wanted)
    parts = json.loads((FOLDER / 'flowtally.spdx.json').read_text(encoding='utf-8'))['packages']
    versions = {part['name']: part['versionInfo'] for part in parts}
    for name in set(listed) - {'netbase'}:
        check_equal(f'version of {name}', listed[name], versions[name])


def test_parts_are_spdx():
    """The SPDX project's own reader finds nothing wrong in the list of parts, and does where there is something."""
    judge = package.CACHE / 'spdx'
    if not judge.exists():
        raise Skip(f'not there: {judge}; tests/package/fetch brings it')
    text = (built().parent / 'flowtally.spdx.json').read_text(encoding='utf-8')
    with scratch() as directory:
        path = Path(directory) / 'flowtally.spdx.json'
        for change, wanted in ('', 0), ('STATIC_LINK', 1), ('GCC-exception', 1):
            path.write_text(text.replace(change, 'NO-SUCH') if change else text, encoding='utf-8')
            done = subprocess.run(['/usr/bin/python3', '-m', 'spdx_tools.spdx.clitools.pyspdxtools', '--infile', path],
                                  capture_output=True, text=True, check=False, env={**os.environ, 'PYTHONPATH': str(judge)})
            check((done.returncode != 0) == bool(wanted), f'without {change or "a mistake"}: status {done.returncode}',
                  done.stdout, done.stderr)


if __name__ == '__main__':
    require('nsenter', 'unshare', 'setpriv', 'readelf', 'gcc')
    need(LIBRARIES)
    main(cases(globals()))
