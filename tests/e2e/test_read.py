#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""`flowtally read`: files of our own and of libfixbuf, against the lines of json:, ipfixDump and tshark."""
import json
import os
import shutil
import struct
import subprocess
from pathlib import Path

import program
import readers
import tap
from sandbox import scratch, wait_until
from tap import Skip, check, check_equal

TEMPLATES = ('minimal', 'default', 'extended')


def captures():
    folder = Path(os.environ.get('FLOWTALLY_PCAPS', Path(__file__).parents[3] / 'shared/pcaps'))
    found = sorted(path for path in folder.glob('*.pcap*') if not path.name.endswith('.json'))
    if not found:
        raise Skip(f'no captures in {folder}')
    return found


def read(*arguments, data=None):
    run = subprocess.run([program.binary(), 'read', *map(str, arguments)], capture_output=True, timeout=60, input=data)
    return run.returncode, run.stdout.decode(), run.stderr.decode()


def replayed(folder, capture, template='default'):
    """The file and the lines of one replay."""
    file, lines = Path(folder) / 'flows.ipfix', Path(folder) / 'flows.json'
    program.run('replay', capture, '--template', template, '--collector', f'file://{file}', '--collector', f'json://{lines}')
    return file, lines.read_text()


def test_own():
    """Octet by octet the lines that a json: collector got; those of IPv4 and of IPv6 are in messages of their own."""
    for number, capture in enumerate(captures()):
        with scratch() as folder:
            file, lines = replayed(folder, capture, TEMPLATES[number % 3])
            check_equal(f'{capture.name}: status and words', read(file)[::2], (0, ''))
            check(sorted(read(file)[1].splitlines()) == sorted(lines.splitlines()),
                  f'{capture.name}: other lines than those of json:')
            check_equal(f'{capture.name}: from a pipe', read('-', data=file.read_bytes())[1], read(file)[1])


def test_python_ipfix():
    """python-ipfix, which is not ours, reads the same numbers."""
    with scratch() as folder:
        file, _ = replayed(folder, captures()[0])
        rows = [json.loads(line) for line in read(file)[1].splitlines()]
        other = subprocess.run(['/usr/bin/python3', '-c', readers.PYTHON_IPFIX, file], capture_output=True, text=True,
                               timeout=60, check=True).stdout.splitlines()
        other = [row for row in map(json.loads, other) if 'octetDeltaCount' in row]
        for name in ('octetDeltaCount', 'packetDeltaCount', 'sourceTransportPort', 'protocolIdentifier'):
            check_equal(name, [row[name] for row in rows], [row[name] for row in other])


def test_ipfix_dump():
    """ipfixDump shows as many records, and the same octets."""
    if not shutil.which('ipfixDump'):
        raise Skip('there is no ipfixDump')
    with scratch() as folder:
        file, _ = replayed(folder, captures()[0])
        text = subprocess.run(['ipfixDump', '--in', file], capture_output=True, text=True, timeout=60).stdout
        octets = [int(line.split(':')[-1]) for line in text.splitlines() if 'octetDeltaCount' in line and 'IE' not in line
                  and line.split(':')[-1].strip().isdigit()]
        rows = [json.loads(line) for line in read(file)[1].splitlines()]
        check_equal('octets', octets, [row['octetDeltaCount'] for row in rows])


def test_damage():
    """What is behind damage is read; each mistake names its octet; the status says it."""
    with scratch() as folder:
        file, lines = replayed(folder, captures()[0])
        data, whole = file.read_bytes(), lines.splitlines()
        file.write_bytes(data + b'some noise' + data)
        status, out, err = read(file)
        check_equal('status', status, 1)
        check(f'{file}: offset {len(data)}: ' in err, f'no offset: {err}')
        check_equal('lines', out.splitlines(), whole + whole)
        file.write_bytes(data[:-1])
        status, out, err = read(file)
        check_equal('status of a file cut short', status, 1)
        check('cut short' in err, err)
        first = struct.unpack('!H', data[2:4])[0]
        file.write_bytes(data[:first] + data[:2] + b'\x00\x0f' + data[4:])
        check_equal('status of a bad length', read(file)[0], 1)
        check_equal('no file', read(Path(folder) / 'none')[0], 1)


def test_forms():
    """Filters, sums and the last ones say the same as the lines themselves."""
    with scratch() as folder:
        file, lines = replayed(folder, captures()[0])
        rows = [json.loads(line) for line in lines.splitlines()]
        udp = [row for row in rows if row['protocolIdentifier'] == 17]
        check_equal('filter', [json.loads(line) for line in read('--filter', 'udp', file)[1].splitlines()], udp)
        check_equal('last', read('--last', 2, file)[1].splitlines(), lines.splitlines()[-2:])
        sums = {}
        for row in rows:
            key = str(row['destinationTransportPort'])
            sums[key] = sums.get(key, 0) + row['octetDeltaCount']
        top = [json.loads(line) for line in read('-o', 'json', '--top', 'dport', '--last', 100000, file)[1].splitlines()]
        got = {row['dport']: row['octets'] for row in top if row['dport'] != '-'}
        check_equal('sums', got, {key: value for key, value in sums.items() if key in got})
        check_equal('octets of all rows', sum(row['octets'] for row in top), sum(sums.values()))
        for form in ('table', 'wide', 'csv', 'compact', 'hubble-json'):
            status, out, _ = read('-o', form, file)
            check_equal(f'{form}: status', status, 0)
            head = form in ('table', 'wide', 'csv')
            check_equal(f'{form}: lines', len(out.splitlines()), len(rows) + head)
        for wrong in (['-o', 'nosuch', file], ['--filter', 'and', file], ['--last', '0', file], ['--top', 'x', file], []):
            check_equal(f'{wrong}', read(*wrong)[0], 2)


def test_follow():
    """A file that grows, and the one that has its name next: each record once."""
    with scratch() as folder:
        file, lines = replayed(folder, captures()[0])
        data, shown, target = file.read_bytes(), Path(folder) / 'shown', Path(folder) / 'live.ipfix'
        target.write_bytes(data[:100])
        with open(shown, 'wb') as out, subprocess.Popen([program.binary(), 'read', '--follow', target], stdout=out) as run:
            with open(target, 'ab') as grows:
                grows.write(data[100:])
            wait_until(lambda: shown.read_text() == lines, 20, 'the first file')
            target.rename(f'{target}.1')
            target.write_bytes(data)
            wait_until(lambda: shown.read_text() == lines + lines, 20, 'the second file')
            run.terminate()


def test_kept():
    """A file that is there at the start is kept under a number, whatever it holds, or written on where it cannot be."""
    with scratch() as folder:
        first, capture = [], captures()[0]
        for scheme in ('file', 'json'):
            path = Path(folder) / f'kept.{scheme}'
            path.write_bytes(b'not ours\n')
            for number in range(3):
                status, _, err = program.run('replay', capture, '--collector', f'{scheme}://{path}')
                check_equal('status', status, 0)
                check(f'is now {path}.{number + 1}' in err, f'not said: {err}')
                first.append(path.read_bytes())
                check_equal('what was there', Path(f'{path}.1').read_bytes(), b'not ours\n')
                check_equal('what the run before left', Path(f'{path}.{number + 1}').read_bytes(),
                            first[-2] if number else b'not ours\n')
            check_equal('files', len(list(Path(folder).glob(f'kept.{scheme}*'))), 4)
            first.clear()
            long = Path(folder) / ('x' * 254)  # no room for a number
            long.write_bytes(b'not ours\n')
            program.run('replay', capture, '--collector', f'{scheme}://{long}')
            check_equal('what cannot be renamed', long.read_bytes(), b'not ours\n' + path.read_bytes())
            long.unlink()


if __name__ == '__main__':
    tap.main([('octet by octet the lines of json:', test_own), ('python-ipfix reads the same', test_python_ipfix),
              ('ipfixDump reads the same', test_ipfix_dump), ('damage', test_damage), ('forms', test_forms),
              ('a file that grows', test_follow), ('nothing is overwritten', test_kept)], at_once=tap.AT_ONCE)
