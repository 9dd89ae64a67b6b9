#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""`flowtally read`: files of our own and of libfixbuf, against the lines of json:, ipfixDump and tshark."""
import calendar
import csv
import gzip
import ipaddress
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import program
import readers
import tap
import wire_records
from lab import scratch, wait_until
from tap import Skip, check, check_equal

TEMPLATES = ('minimal', 'default', 'extended')


def captures():
    folder = Path(os.environ.get('FLOWTALLY_PCAPS', Path(__file__).parents[3] / 'shared/pcaps'))
    found = sorted(path for path in folder.glob('*.pcap*') if not path.name.endswith('.json'))
    if not found:
        raise Skip(f'no captures in {folder}')
    return found


def read(*arguments, data=None):
    words = [*program.SANDBOX, program.binary(), 'read', *map(str, arguments)]
    run = subprocess.run(words, capture_output=True, timeout=60, input=data)
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


def dumped(file):
    """All records by ipfixDump, those of options too: pairs of a name or ENTERPRISE/NUMBER, and the text."""
    text = subprocess.run(['ipfixDump', '--rfc5610', '--data', '--in', file], capture_output=True, text=True, timeout=60,
                          check=True).stdout
    for block in re.split(r'^--- (?:options )?(?:data )?record \d+ ---$', text, flags=re.M)[1:]:
        yield {numbers if name.startswith('_alien') else name: value
               for numbers, name, value in re.findall(r'^\t\(([\d/]+)\)(?: \(S\))? +(\w+) : (.*)$', block, re.M)}


def is_same(name, value, text):
    """Whether a value of JSON is what ipfixDump wrote."""
    if name == 'ipPayloadPacketSection':  # it tells the length alone
        return text == f'len: {len(value) // 2}'
    if isinstance(value, bool):
        return text == ('1' if value else '2')
    if name in ('flowStartMicroseconds', 'flowStartNanoseconds'):  # it leaves the fraction out
        return value // (10**6 if 'Micro' in name else 10**9) == calendar.timegm(time.strptime(text[:19], '%Y-%m-%d %H:%M:%S'))
    if isinstance(value, int) and re.match(r'\d{4}-\d\d-', text):
        seconds, fraction = calendar.timegm(time.strptime(text[:19], '%Y-%m-%d %H:%M:%S')), text[20:]
        return value == seconds * 10**len(fraction) + int(fraction or 0)
    if isinstance(value, float):
        return f'{value:g}' == text
    if isinstance(value, int):
        return value == int(text.split()[0], 0)
    if 'Address' in name and 'Mac' not in name:
        return ipaddress.ip_address(value) == ipaddress.ip_address(re.sub(r'(^|:)0+(?=[0-9a-f])', r'\1', text))
    return value == re.sub(r'^\(len: \d+\) ?', '', text)


def check_dump(file):
    """Each field of each record is what ipfixDump shows."""
    rows = [json.loads(line) for line in read('--options', '-o', 'jsonl', file)[1].splitlines()]
    other = list(dumped(file))
    check_equal(f'{file}: records', len(rows), len(other))
    # ipfixDump does not apply a record of RFC 5610 to templates in front of it, and shows such a value as memory has it.
    told = {f'{row["privateEnterpriseNumber"]}/{row["informationElementId"]}': row['informationElementName'] for row in rows
            if 'informationElementName' in row}
    for number, (row, fields) in enumerate(zip(rows, other)):
        row = {name: value for name, value in row.items() if name not in ('dropClass', 'dropExplanation')}
        aliens = {told[name] for name in fields.keys() & told.keys()}
        fields = {told.get(name, name): text for name, text in fields.items()}
        check_equal(f'{file}: record {number}: odd names', row.keys() ^ fields.keys() - {'paddingOctets'}, set())
        for name in row.keys() - {'basicList'} - aliens:
            check(is_same(name, row[name], fields[name]),
                  f'{file}: record {number}: {name}: {row[name]}, by ipfixDump {fields[name]}')
    return rows


def test_ipfix_dump():
    """ipfixDump shows the same values of the same fields, of records of options too."""
    if not shutil.which('ipfixDump'):
        raise Skip('there is no ipfixDump')
    for capture in captures()[:20]:
        for form in 'default', 'extended':
            with scratch() as folder:
                check_dump(replayed(folder, capture, form)[0])


def wanted_rows():
    """What fixbuf_writer.c wrote: a record for each number, and then the short ones."""
    for n in range(10):
        yield {'octetDeltaCount': 1000 + n, 'packetDeltaCount': 70000 + n, 'flowStartMilliseconds': 1700000000000 + n,
               'flowStartMicroseconds': 1700000000500000, 'flowStartNanoseconds': 1700000000250000000,
               'samplingProbability': 0.1, 'testFloat64': -1e300, 'testSigned64': -5000000000 - n,
               'testReduced64': 1 << 50 | n, 'sourceIPv4Address': f'192.0.2.{n}',
               'flowStartSeconds': 1700000000 + n, 'ingressInterface': 200 + n, 'testSigned32': -70000 - n, 'testFloat32': 0.5,
               'sourceTransportPort': (65530 + n) % 65536, 'testSigned16': -100 - n, 'protocolIdentifier': 17,
               'dataRecordsReliability': n % 2 == 1, 'testSigned8': -128 + n, 'sourceMacAddress': '02:00:5e:00:53:ff',
               'sourceIPv6Address': str(ipaddress.ip_address((0x20010db8 << 96) + n)),
               'interfaceName': 'a' * (299 if n == 1 else n),
               'ipPayloadPacketSection': f'{n:02x}0000ff', 'basicList': '03000b0002005001bb'}
    for n in range(10, 15):
        yield {'protocolIdentifier': 17, 'octetDeltaCount': 1000 + n}


def test_fixbuf():
    """All types of elements, as libfixbuf writes them."""
    if len(sys.argv) < 3 or not os.access(sys.argv[2], os.X_OK):
        raise Skip('libfixbuf is not installed')
    with scratch() as folder:
        file = Path(folder) / 'fixbuf.ipfix'
        subprocess.run([os.path.abspath(sys.argv[2]), file], check=True, timeout=60)
        status, out, err = read('-o', 'jsonl', file)
        check_equal('status and words', (status, err), (0, ''))
        rows, wanted = [json.loads(line) for line in out.splitlines()], list(wanted_rows())
        check_equal('records', len(rows), len(wanted))
        for number, (row, values) in enumerate(zip(rows, wanted)):
            check_equal(f'record {number}', row, values)
        if shutil.which('ipfixDump'):
            check_dump(file)


def test_tshark():
    """tshark shows the same values in the same order, of NetFlow v9 and IPFIX, of records of options too."""
    if not shutil.which('tshark'):
        raise Skip('there is no tshark')
    chosen = [path for path in captures() if path.stat().st_size < 100000][:4]
    for scheme, capture in ((scheme, capture) for scheme in ('netflow9', 'ipfix') for capture in chosen):
        with scratch() as folder:
            inbox, file, wire = wire_records.Inbox(), Path(folder) / 'stream', Path(folder) / 'stream.pcap'
            program.run('replay', capture, '--template', 'extended', '--collector', f'{scheme}://127.0.0.1:{inbox.port}')
            inbox.write(wire)
            file.write_bytes(b''.join(payload for _, payload in inbox.datagrams))
            other = wire_records.read(wire, inbox.port)
            inbox.close()
            rows = [json.loads(line) for line in read('--options', '-o', 'jsonl', file)[1].splitlines()]
            check_equal(f'{scheme}: {capture.name}: records', len(rows), len(other))
            for row, record in zip(rows, other):
                values = [int.from_bytes(value, 'big') if isinstance(value, bytes) else value
                          for value in record.fields.values()]
                check_equal(f'{scheme}: {capture.name}: {list(row)}', list(row.values()), values)


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


# --- Messages of our own making: what an exporter on a live machine writes, with drops and names of interfaces.

FIELDS = ((8, 4), (12, 4), (4, 1), (7, 2), (11, 2), (1, 8), (2, 8), (10, 4), (14, 4), (61, 1), (152, 8), (153, 8))
DROP_FIELDS = ((8, 4), (12, 4), (4, 1), (7, 2), (11, 2), (132, 8), (133, 8), (10, 4), (152, 8), (153, 8))
START_MS = 1700000000000


def ipfix_set(number, content):
    return struct.pack('!HH', number, 4 + len(content)) + content


def template(number, fields, scopes=0):
    head = struct.pack('!HH', number, len(fields)) + (struct.pack('!H', scopes) if scopes else b'')
    return ipfix_set(3 if scopes else 2, head + b''.join(struct.pack('!HH', *field) for field in fields))


def message(*sets, sequence=0, domain=7):
    content = b''.join(sets)
    return struct.pack('!HHIII', 10, 16 + len(content), START_MS // 1000, sequence, domain) + content


def flow(host, packets, ingress=0, egress=0, at=0):
    """A record of UDP from 10.0.0.HOST to port 53, which ends `at` seconds after the start; of octets it has ten a packet."""
    return struct.pack('!4s4sBHHQQIIBQQ', bytes((10, 0, 0, host)), b'\x0a\x00\x00\xfe', 17, 5000, 53, packets * 10, packets,
                       ingress, egress, 1 if egress else 0, START_MS, START_MS + at * 1000)


def drop(host, packets, ingress):
    return struct.pack('!4s4sBHHQQIQQ', bytes((10, 0, 0, host)), b'\x0a\x00\x00\xfe', 17, 5000, 53, packets * 10, packets,
                       ingress, START_MS, START_MS)


FLOW_TEMPLATE, DROP_TEMPLATE = template(300, FIELDS), template(301, DROP_FIELDS)
NAME_TEMPLATE = template(302, ((149, 4), (10, 4), (82, 16)), scopes=2)


def flows(*records):
    return ipfix_set(300, b''.join(records))


def names(*pairs, domain=7):
    return ipfix_set(302, b''.join(struct.pack('!II16s', domain, *pair) for pair in pairs))


def sums(*arguments):
    """Sums of --top in JSON: key -> (octets, packets, flows)"""
    status, out, err = read('-o', 'jsonl', '--last', 1000, *arguments)
    check_equal(f'{arguments}: status and words', (status, err), (0, ''))
    rows = [json.loads(line) for line in out.splitlines()]
    return {next(iter(row.values())): (row['octets'], row['packets'], row['flows']) for row in rows}


def test_drops():
    """A packet that was metered and dropped counts once in the sums of flows; who asks for drops gets them."""
    with scratch() as folder:
        file = Path(folder) / 'drops.ipfix'
        file.write_bytes(message(FLOW_TEMPLATE, DROP_TEMPLATE, flows(flow(1, 100, 2), flow(2, 50, 2)),
                                 ipfix_set(301, drop(1, 30, 2))))
        check_equal('records', len(read(file)[1].splitlines()), 3)
        metered = {'10.0.0.1': (1000, 100, 1), '10.0.0.2': (500, 50, 1)}
        check_equal('sums', sums('--top', 'src', file), metered)
        check_equal('sums of what was not dropped', sums('--top', 'src', '--verdict', 'FORWARDED', file), metered)
        check_equal('sums of drops', sums('--top', 'src', '--verdict', 'DROPPED', file), {'10.0.0.1': (300, 30, 1)})
        check_equal('sums of both', sums('--top', 'src', '--filter', 'drop or udp', file),
                    {**metered, '10.0.0.1': (1300, 130, 2)})
        check_equal('a key of drops', sums('--top', 'class', file), {'-': (1800, 180, 3)})
        table = read('-o', 'table', '--top', 'src', file)[1].splitlines()
        check_equal('the last line', table[-1].split(), '1500 150 2 all, of 2 rows; without 1 records of drops'.split())


def test_names():
    """Interfaces have the names that options of the same file and domain tell; where there are none a word says so."""
    with scratch() as folder:
        file, second = Path(folder) / 'names.ipfix', Path(folder) / 'second.ipfix'
        told = names((2, b'eth0'), (3, b'a"b,c'))
        records = flows(flow(1, 100, 2), flow(2, 50, 3), flow(3, 20, egress=2), flow(4, 10, 4))
        file.write_bytes(message(FLOW_TEMPLATE, NAME_TEMPLATE, told, records) +
                         message(FLOW_TEMPLATE, flows(flow(5, 1, 2)), domain=8))
        second.write_bytes(message(FLOW_TEMPLATE, records))

        def sources(*arguments):
            status, out, err = read('-o', 'jsonl', *arguments)
            check_equal(f'{arguments}: status', status, 0)
            return [json.loads(line)['sourceIPv4Address'][7:] for line in out.splitlines()], err

        check_equal('by name', sources('--interface', 'eth0', file)[0], ['1', '3'])
        check_equal('by number', sources('--interface', '2', file), (['1', '3', '5'], ''))
        check('interfaces of 2 records' in sources('--interface', 'eth0', file)[1], 'two interfaces have no name here')
        check_equal('names of another file', sources('--interface', 'eth0', file, second)[0], ['1', '3'])
        check('second.ipfix' in sources('--interface', 'eth0', second)[1], 'no word of a file without names')
        check_equal('no name is asked for', sources('--port', '53', second)[1], '')
        check_equal('sums', sums('--top', 'iface', file),
                    {'eth0': (1200, 120, 2), 'a"b,c': (500, 50, 1), '4': (100, 10, 1), '2': (10, 1, 1)})
        rows = list(csv.DictReader(read('-o', 'csv', file)[1].splitlines()))
        check_equal('csv', [(row['ifindex'], row['interface']) for row in rows],
                    [('2', 'eth0'), ('3', 'a"b,c'), ('2', 'eth0'), ('4', ''), ('2', '')])
        rows = list(csv.DictReader(read('-o', 'csv', '--top', 'iface,src', file)[1].splitlines()))
        check_equal('csv of sums', [(row['octets'], row['iface'], row['src']) for row in rows[:2]],
                    [('1000', 'eth0', '10.0.0.1'), ('500', 'a"b,c', '10.0.0.2')])
        file.write_bytes(message(FLOW_TEMPLATE, NAME_TEMPLATE, records, told, records))
        check_equal('names that come late', sources('--interface', 'eth0', file)[0], ['1', '3'])
        check('interfaces of 5 records' in sources('--interface', 'eth0', file)[1], 'no word of what came before the names')


def test_times():
    """--since and --until choose by the end of records, both ends included."""
    with scratch() as folder:
        file = Path(folder) / 'times.ipfix'
        file.write_bytes(message(FLOW_TEMPLATE, flows(*(flow(host, 1, at=host * 60) for host in range(1, 6)))))

        def sources(*arguments):
            _, out, _ = read('-o', 'jsonl', '--utc', *arguments, file)
            return [json.loads(line)['sourceIPv4Address'][7:] for line in out.splitlines()]

        check_equal('since', sources('--since', START_MS + 120000), ['2', '3', '4', '5'])
        check_equal('until', sources('--until', '2023-11-14T22:15:20Z'), ['1', '2'])
        check_equal('both', sources('--since', '2023-11-14 22:15:20', '--until', START_MS + 180000), ['2', '3'])
        check_equal('ago', sources('--since', '1h'), [])


def test_refused():
    """What means nothing together is refused with a word about it, and nothing is shown."""
    with scratch() as folder:
        file = Path(folder) / 'flows.ipfix'
        file.write_bytes(message(FLOW_TEMPLATE, flows(flow(1, 1))))
        for word, arguments in (('--by', ('--by', 'packets', file)), ('--options', ('--options', '-o', 'csv', file)),
                                ('--options', ('--options', '--top', 'src', file)),
                                ('compact', ('--top', 'src', '-o', 'compact', file)),
                                ('wide', ('--top', 'src', '-o', 'wide', file)),
                                ('hubble-json', ('--top', 'src', '-o', 'hubble-json', file)),
                                ('--follow', ('--follow', '-')), ('--follow', ('--follow', file, file)), ('once', ('-', '-')),
                                ('--until', ('--since', '5m', '--until', '10m', file)), ('--since', ('--since', 'x', file)),
                                ("--output 'tabel': it can be compact, table, wide, json, jsonl, csv or hubble-json; "
                                 'did you mean table?', ('-o', 'tabel', file)),
                                ("--by 'x': it can be octets, packets or flows\n", ('--top', 'src', '--by', 'x', file)),
                                ("--time-format 'rfc': it can be StampMilli, ", ('--time-format', 'rfc', file)),
                                ("--color 'auto ': it can be auto, always or never; did", ('--color', 'auto ', file)),
                                ("--filter 'port 443'", (file, 'port 443'))):
            status, out, err = read(*arguments)
            check_equal(f'{arguments}: status and output', (status, out), (2, ''))
            check(word in err, f'{arguments}: {word} is not named: {err}')
        for arguments in (('--top', 'src'), ('--top', 'src', '-o', 'csv'), ('--top', 'src', '-o', 'json', '--utc'),
                          ('--options', '-o', 'json'), ('--last', '1', '-o', 'hubble-json'), ('--last', '1', '--options'),
                          ('--color', 'always', '-o', 'table')):
            check_equal(f'{arguments}', read(*arguments, file)[::2], (0, ''))


def test_kinds():
    """What is no stream of messages is named as what it is, once, with its name."""
    with scratch() as folder:
        data = message(FLOW_TEMPLATE, flows(flow(1, 1)))
        for name, content, words in (('empty', b'', 'empty'), ('pcap', captures()[0].read_bytes(), 'flowtally replay'),
                                     ('gz', gzip.compress(data), 'zcat FILE | flowtally read -'),
                                     ('json', b'{"a":1}\n' * 20, 'JSON'),
                                     ('text', b'collectors:\n  - x\n' * 20, 'text'), ('short', b'hi\n', 'text')):
            file = Path(folder) / name
            file.write_bytes(content)
            for arguments, shown, stdin in (((file,), str(file), None), (('-',), 'standard input', content)):
                status, out, err = read(*arguments, data=stdin)
                check_equal(f'{name}: status and output', (status, out), (1, ''))
                check(err.count('\n') == 1 and shown in err and words in err, f'{name}: {err}')
        status, _, err = read(folder)
        check(status == 1 and f'{folder}: it is a directory' in err, f'directory: {err}')
        good = Path(folder) / 'good'
        good.write_bytes(data)
        status, out, _ = read(Path(folder) / 'gz', good)
        check_equal('the other file', (status, len(out.splitlines())), (1, 1))
        if os.geteuid() == 0 and shutil.which('setpriv'):
            os.chmod(folder, 0o755)
            good.chmod(0)
            run = subprocess.run(['setpriv', '--reuid', '65534', '--clear-groups', '--inh-caps=-all', program.binary(), 'read',
                                  good], capture_output=True, text=True, timeout=60)
            # 127: the program itself is where nobody may go.
            check(run.returncode == 127 or (run.returncode == 1 and f'{good}: cannot be read' in run.stderr), run.stderr)


def test_head():
    """Whoever has seen enough ends it, and that is no failure; also while it waits for more."""
    with scratch() as folder:
        file = Path(folder) / 'long.ipfix'
        file.write_bytes(message(FLOW_TEMPLATE, flows(*(flow(1, 1) for _ in range(800)))) * 40)
        short = Path(folder) / 'short.ipfix'
        short.write_bytes(message(FLOW_TEMPLATE, flows(flow(1, 1))))
        for arguments in ((file,), ('--follow', file), ('--follow', short)):
            with subprocess.Popen([program.binary(), 'read', *arguments], stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE) as run:
                try:
                    check(run.stdout.readline().startswith(b'{'), 'no first line')
                    run.stdout.close()
                    check_equal(f'{arguments}: status', run.wait(20), 0)
                    check_equal(f'{arguments}: words', run.stderr.read(), b'')
                finally:
                    run.kill()


def follow(folder, *arguments):
    """A program that follows live.ipfix, and what it has shown."""
    shown = Path(folder) / 'shown'
    with open(shown, 'wb') as out:
        run = subprocess.Popen([program.binary(), 'read', *arguments, Path(folder) / 'live.ipfix'], stdout=out,
                               stderr=subprocess.PIPE)
    return run, lambda: [json.loads(line).get('sourceIPv4Address', '')[7:] for line in shown.read_text().splitlines()]


def test_follow_last():
    """The last ones of what is there, and then what comes; sums at the end, by either signal."""
    with scratch() as folder:
        target = Path(folder) / 'live.ipfix'
        for stop in (signal.SIGINT, signal.SIGTERM):
            target.write_bytes(message(FLOW_TEMPLATE, flows(*(flow(host, 1) for host in range(1, 6)))))
            run, hosts = follow(folder, '--last', '2', '--follow')
            try:
                wait_until(lambda hosts=hosts: hosts() == ['4', '5'], 20, 'the last two')
                with open(target, 'ab') as grows:
                    grows.write(message(flows(*(flow(host, 1) for host in range(6, 10))), sequence=5))
                wait_until(lambda hosts=hosts: hosts() == ['4', '5', '6', '7', '8', '9'], 20, 'what comes')
                run.send_signal(stop)
                check_equal(f'{stop}: status and words', (run.wait(20), run.stderr.read()), (0, b''))
            finally:
                run.kill()
            run, hosts = follow(folder, '--top', 'src', '--follow', '-o', 'jsonl')
            time.sleep(0.5)  # it cannot be seen that it has read the file
            run.send_signal(stop)
            check_equal(f'{stop}: status of sums', run.wait(20), 0)
            check_equal('rows', len(hosts()), 9)


def test_pipe():
    """A stream is shown as it comes; its end, or a signal while it waits, ends it in order."""
    with scratch() as folder:
        for end in (None, signal.SIGTERM):
            shown = Path(folder) / 'shown'
            with open(shown, 'wb') as out, subprocess.Popen([program.binary(), 'read', '-'], stdin=subprocess.PIPE, stdout=out,
                                                            stderr=subprocess.PIPE, bufsize=0) as run:
                run.stdin.write(message(FLOW_TEMPLATE, flows(flow(1, 1))))
                wait_until(lambda: shown.read_text().count('\n') == 1, 20, 'the first record of a stream that goes on')
                if end:
                    run.send_signal(end)
                else:
                    run.stdin.close()
                check_equal('status', run.wait(20), 1 if end else 0)  # what comes later was not read


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
              ('ipfixDump reads the same', test_ipfix_dump), ('what libfixbuf writes', test_fixbuf),
              ('tshark reads the same', test_tshark), ('damage', test_damage), ('forms', test_forms),
              ('drops count once', test_drops), ('names of interfaces', test_names), ('times', test_times),
              ('options that do not fit', test_refused), ('files of other kinds', test_kinds),
              ('a reader that goes', test_head), ('the last ones and what comes', test_follow_last), ('a stream', test_pipe),
              ('a file that grows', test_follow), ('nothing is overwritten', test_kept)], at_once=tap.AT_ONCE)
