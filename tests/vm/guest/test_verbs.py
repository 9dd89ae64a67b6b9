# SPDX-License-Identifier: Apache-2.0
"""What a program says of the kernel, and what it does without it: --version, doctor, replay and read.

test_verbs.py PROGRAM      its name in the image
"""
import json
import os
import re
import sys
from pathlib import Path

import drops
import machine
import made_packets
import program
from machine import BIN, fact, point, version
from lab import scratch
from tap import check, check_equal

# The first Linux that has it.
FEATURES = {'batch': (5, 6), 'ringbuf': (5, 8), 'xdp-link': (5, 9), 'coarse-clock': (5, 11), 'fetch': (5, 12),
            'xdp-frags': (5, 18), 'tcx': (6, 6)}
LOADS, TESTED = (5, 15), (6, 1)
LANDLOCK = 5, 13  # all kernels here that are as new have it built in
PROGRAM = sys.argv[1]
ENDS, PORTS = ('192.0.2.1', '192.0.2.2'), (4000, 5000)
COUNT, SIZE, HEADERS = 5, 100, 28
UDP = 17


def named(what):
    return point(f'{"static, " if "static" in PROGRAM else ""}{what}')


def features(text):
    """Names of what is there, and of what is not, as --version has them."""
    there, missing = re.search(r'^features +(.*); missing: (.*)$', text, re.M).groups()
    return [set(names.split(', ')) - {'none'} for names in (there, missing)]


def tags(text):
    return dict(re.findall(r'^(?:programs)? +(flowtally_\w+) +([0-9a-f]{16})$', text, re.M))


def ask(*words, name=PROGRAM):
    """(exit status, standard output, standard error): the verifier takes its time."""
    return program.run(*words, path=BIN / name, timeout=machine.PATIENCE)


def check_version():
    status, text, errors = ask('--version')
    with named('--version names what the kernel has'):
        check_equal('exit status', status, 0)
        there, missing = features(text)
        fact('missing', PROGRAM, sorted(missing))
        expected = {name for name, since in FEATURES.items() if version() >= since}
        check_equal('there', there - {'btf'}, expected)
        check_equal('missing', missing - {'btf'}, FEATURES.keys() - expected)
        check_equal('btf', 'btf' in there, Path('/sys/kernel/btf/vmlinux').exists())
        check(os.uname().release in text, text)
    with named('--version has the tags of the programs, or the kernel does not take them'):
        found = tags(text)
        check_equal('programs', bool(found), version() >= LOADS)
        check(found or errors, 'nothing says why there are none')
        if PROGRAM != 'flowtally':  # of which it is another build
            check_equal('tags', found, tags(ask('--version', name='flowtally')[1]))


def check_doctor():
    status, text, _ = ask('doctor', '--json', '--interface', 'lo')
    findings = json.loads(text)['findings']
    level = {one['id']: one['level'] for one in findings}
    feature_levels = {one['level'] for one in findings if one['id'] == 'kernel-features'}  # one for each that is missing
    fact('doctor', PROGRAM, [f'{one["level"]} {one["id"]}: {one["text"]}' for one in findings if one['level'] != 'OK'])
    with named('doctor knows the kernel'):
        expected = 'OK' if version() >= TESTED else 'WARN' if version() >= LOADS else 'FAIL'
        check_equal('kernel-version', level['kernel-version'], expected)
        check_equal('kernel-features', feature_levels, {'OK' if version() >= LOADS else 'FAIL'})
        check_equal('sandbox', level['sandbox'], 'OK' if machine.landlock() else 'WARN')
        if version() >= LANDLOCK and not machine.landlock():
            check('booted without landlock' in text, text)
        check_equal('exit status', status, int('FAIL' in level.values()))


def check_replay():
    """Files alone, without rights: what a kernel lacks is no matter."""
    with named('replay and read, where a call that is not on the list ends them'), scratch() as folder:
        frame = bytes(12) + b'\x08\0' + drops.udp(*ENDS, PORTS, SIZE)
        capture, file = Path(folder) / 'made.pcap', Path(folder) / 'made.ipfix'
        capture.write_bytes(made_packets.capture_of([(1000 + i, frame) for i in range(COUNT)]))
        ledger = program.replay(capture, '--collector', f'file://{file}')
        check_equal('accounted', ledger['accounted']['packets'], COUNT)
        status, text, errors = program.run('read', file, '-o', 'jsonl')
        check_equal(f'exit status, {errors}', status, 0)
        flows = [row for row in map(json.loads, text.splitlines()) if 'packetDeltaCount' in row]
        check_equal('flows', [(machine.key_of(row), row['packetDeltaCount'], row['octetDeltaCount']) for row in flows],
                    [(machine.Key(UDP, *ENDS, *PORTS), COUNT, COUNT * (SIZE + HEADERS))])


def main():
    os.environ['FLOWTALLY'] = str(BIN / PROGRAM)
    check_version()
    check_doctor()
    check_replay()


if __name__ == '__main__':
    main()
