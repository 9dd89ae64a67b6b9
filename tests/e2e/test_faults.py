#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Collectors that are slow, away, killed, restarted or behind a small MTU: who gets what, and what the ledger says.

What is sent is captured and read by the strict decoder.
"""
import functools
import os
import random
import re
import signal
import time

import program
import strict
import tap
import traffic
from lab import command, wait_until
from sinks import METER, METER6, PEER, PEER6, QUICK, Bench, by_url, lost, ours
from tap import check, check_equal

NOWHERE = '198.51.100.1'  # no route leads there
HEADERS = {4: 28, 6: 48}
TORTURE = 'FLOWTALLY_TORTURE' in os.environ
MINUTES_SECONDS = 240
FILE_FLOWS = 120
# A message with its template has 40 octets, one with a record 52; with an MTU of 68 there is room for 40.
FEW = 'octetDeltaCount,packetDeltaCount,flowStartMilliseconds,flowEndMilliseconds'
BACK_SECONDS = 30  # until a collector that was away is believed to be back
PROFILES = ('minimal', 'default', 'extended', 'octetDeltaCount,packetDeltaCount,sourceTransportPort,destinationTransportPort',
            'packetDeltaCount,octetDeltaCount,destinationTransportPort,sourceTransportPort')


def test_others():
    """One collector is stopped, one cannot be reached, one is not there: the fourth gets everything in time."""
    with Bench() as bench:
        bench.sink(9996).send_signal(signal.SIGSTOP)
        bench.sink(9995)
        urls = [f'ipfix://{host}:{port}' for host, port in
                ((PEER, 9995), (PEER, 9996), (NOWHERE, 9997), (PEER, 9998), ('collector.invalid', 9999))]
        capture = bench.capture()
        with program.Daemon(bench.box, 'meter', *QUICK, *(w for url in urls for w in ('--collector', url))) as daemon:
            for turn in range(3):
                bench.flows(300, 20000 + 300 * turn)
                time.sleep(1)
            ledger = daemon.stop()
        capture.stop()
        good, stopped, unroutable, absent, unresolved = (by_url(ledger)[url] for url in urls)
        decoder = strict.decode(capture, 9995)
        check_equal('flows at the good one', ours(decoder), list(range(20000, 20900)))
        for collector in good, stopped:
            check_equal(f'lost to {collector["url"]}', lost(collector), {})
        for collector in unroutable, unresolved:
            check_equal(f'lost to {collector["url"]}', lost(collector), {'unsent': collector['given']['records']})
        check('unsent' in lost(absent) and not lost(absent).keys() - {'refused', 'unsent'}, f'lost: {lost(absent)}')


def test_restart(scheme):
    """A collector that comes late, is killed and comes back can read what it gets from the first message on."""
    with Bench() as bench:
        url = f'{scheme}://{PEER}:9995'
        capture = bench.capture()
        with program.Daemon(bench.box, 'meter', *QUICK, '--collector', url) as daemon:
            bench.flows(20)
            time.sleep(2)
            first = bench.sink(9995)
            started = time.time()
            bench.flows(20, 21000)
            wait_until(lambda: 'up again' in daemon.stderr(), BACK_SECONDS, 'the collector to be up again')
            first.kill()
            bench.flows(20, 22000)
            time.sleep(2)
            bench.sink(9995)
            back = time.time()
            bench.flows(20, 23000)
            time.sleep(BACK_SECONDS / 2)
            ledger = daemon.stop()
        capture.stop()
        collector = by_url(ledger)[url]
        decoder = strict.decode(capture)
        for when, first_port in (started, 21000), (back, 23000):
            check_relearned(decoder, when, first_port)
        check(not lost(collector).keys() - {'refused'}, f'lost: {lost(collector)}')
        check_equal('flows on the wire', ours(decoder), [first + i for first in range(20000, 24000, 1000) for i in range(20)])


def check_relearned(decoder, when, first_port):
    """The templates come before the data in what a collector sees that began to listen then."""
    templates = False
    for message in decoder.messages():
        if message.when < when:
            continue
        templates |= any(number in strict.TEMPLATE_SETS[message.version][:1] for number in message.sets)
        if any(first_port <= record.number(7) < first_port + 20 for record in message.records if not record.options):
            check(templates, f'data at {message.when}, but no templates since {when}')
            return
    check(False, f'no flows of port {first_port} on the wire')


def test_mtu(family, mtu, scheme):
    """Messages are as long as the path takes, no record is lost, and none is in fragments."""
    with Bench() as bench:
        address = PEER if family == 4 else PEER6
        host = address if family == 4 else f'[{address}]'
        bench.sink(9995, address)
        bench.mtu(mtu)
        capture = bench.capture()
        with program.Daemon(bench.box, 'meter', *QUICK, '--message-size', '9000', '--collector',
                            f'{scheme}://{host}:9995') as daemon:
            bench.flows(200)
            time.sleep(2.5)
            ledger = daemon.stop()
        capture.stop()
        decoder = strict.decode(capture)
        check_equal('flows', ours(decoder), list(range(20000, 20200)))
        longest = max(message.octets for message in decoder.messages())
        check(mtu - HEADERS[family] - 112 < longest <= mtu - HEADERS[family], f'{longest} octets, MTU {mtu}')
        check_equal('lost', lost(ledger['collectors'][0]), {})


def test_mtu_change():
    """The MTU shrinks while messages wait for their turn, and grows again."""
    with Bench() as bench:
        bench.sink(9995)
        capture = bench.capture()
        with program.Daemon(bench.box, 'meter', *QUICK, '--template-interval', '1s', '--collector',
                            f'ipfix://{PEER}:9995') as daemon:
            bench.flows(100)
            time.sleep(2)
            bench.mtu(576)
            bench.flows(100, 21000)
            time.sleep(2.5)
            bench.mtu(1500)
            small = time.time()
            bench.flows(100, 22000)
            time.sleep(2.5)
            bench.flows(100, 23000)
            time.sleep(2.5)
            ledger = daemon.stop()
        capture.stop()
        decoder = strict.decode(capture)
        check_equal('flows', ours(decoder), [first + i for first in range(20000, 24000, 1000) for i in range(100)])
        check(max(m.octets for m in decoder.messages() if m.when > small) > 1000, 'messages stayed short')
        check_equal('lost', lost(ledger['collectors'][0]), {})


def test_no_room(scheme, template, mtu, narrow):
    """The path has no room for templates, or for records: none is sent without end, what is lost has a name, and it ends."""
    with Bench() as bench:
        url, path = f'{scheme}://{PEER}:9995', f'{bench.directory.name}/run/socket'
        bench.sink(9995)
        bench.box.ip('meter', 'route', 'add', f'{PEER}/32', 'dev', 'm0', 'mtu', 'lock', mtu)
        capture = bench.capture()
        with program.Daemon(bench.box, 'meter', *QUICK, '--control-socket', path, '--template', template, '--template-interval',
                            '1s', '--collector', url) as daemon:
            bench.flows(50)
            wait_until(lambda: 'has lost 50 records of late (send_error)' in program.run('status', '--socket', path)[1], 20,
                       'the loss to be told')
            time.sleep(3)
            _, said, _ = program.run('status', '--socket', path)
            capture.stop()
            check(len(capture.rows(['udp.length'])) < 100, f'{len(capture.rows(["udp.length"]))} datagrams in some seconds')
            if narrow:
                check_equal('datagrams', len(capture.rows(['udp.length'])), 0)
                check(f'collector {url} cannot be sent to: Message too long: the MTU of the path is too small for its templates'
                      in said and 'template: minimal' in said, said)
            bench.box.ip('meter', 'route', 'del', f'{PEER}/32')
            wide = bench.capture('wide')
            bench.flows(50, 21000)
            wait_until(lambda: ': up, ' in program.run('status', '--socket', path)[1], 20, 'the collector to be up')
            bench.flows(50, 22000)
            time.sleep(2)
            ledger = daemon.stop()
        wide.stop()
        check_equal('lost', lost(ledger['collectors'][0]), {'send_error': 50})
        check_equal('exported', ledger['collectors'][0]['exported']['records'], 100)
        if template == 'default':
            decoder = strict.decode(wide, lossless=False)
            check_equal('flows', ours(decoder), [*range(21000, 21050), *range(22000, 22050)])
            check(decoder.missing == 50 or (decoder.missing and scheme == 'netflow9'), f'told to be missing: {decoder.missing}')


def test_mixed():
    """Restarts with other templates and protocols, to one collector: an id stands for one layout, for ever."""
    templates = ['default', 'minimal', 'octetDeltaCount,packetDeltaCount,sourceTransportPort,destinationTransportPort',
                 'extended', 'packetDeltaCount,octetDeltaCount,sourceTransportPort,destinationTransportPort', 'default']
    with Bench() as bench:
        bench.sink(9995)
        bench.sink(9996)
        capture = bench.capture()
        records = 0
        for i, template in enumerate(templates):
            with program.Daemon(bench.box, 'meter', *QUICK, '--template', template, '--statistics-interval', '500ms',
                                '--options-interval', '700ms', '--template-messages', 3, '--collector',
                                f'ipfix://{PEER}:9995', '--collector', f'netflow9://{PEER}:9996') as daemon:
                bench.flows(60, 20000 + 100 * i)
                time.sleep(1.5)
                if i == 0:
                    bench.box.ip('meter', 'link', 'set', 'm0', 'down')
                    bench.box.ip('meter', 'link', 'set', 'm0', 'up')
                records += sum(daemon.stop()['records'].values())
        capture.stop()
        decoder = strict.decode(capture)
        check_equal('sessions', len(decoder.sessions), 2 * len(templates))
        check_equal('records', len(decoder.records()), 2 * records)
        for port in 9995, 9996:
            check_equal(f'flows at port {port}', ours(strict.decode(capture, port)),
                        [20000 + 100 * i + j for i in range(len(templates)) for j in range(60)])


def send_random(bench, dice, first):
    """Datagrams of both families, some flows of several; how many there were."""
    sent = 0
    with bench.box.entered('peer'):
        for port in range(first, first + dice.randrange(1, 200)):
            source, destination = dice.choice([(PEER, METER), (PEER6, METER6)])
            count = dice.choice([1, 1, 1, 2, 40])
            traffic.udp(bench.box, 'peer', (source, port), (destination, 9), count, bytes(dice.randrange(600)))
            sent += count
    return sent


def test_minutes():
    """Minutes of random flows to four collectors, with restarts with other templates each few seconds."""
    seed = int(os.environ.get('FLOWTALLY_SEED', time.time()))
    print(f'# seed {seed}', flush=True)
    dice, restarts, sent, records = random.Random(seed), 0, 0, 0
    end = time.monotonic() + MINUTES_SECONDS
    with Bench() as bench:
        ports = {9995: 'ipfix', 9996: 'netflow9', 9997: 'ipfix', 9998: 'netflow9'}
        for port in ports:
            bench.sink(port)
        capture = bench.capture()
        while time.monotonic() < end:
            urls = [f'{scheme}://{PEER}:{port}?template={dice.choice(PROFILES)}' for port, scheme in ports.items()]
            with program.Daemon(bench.box, 'meter', *QUICK, '--statistics-interval', '500ms', '--options-interval', '700ms',
                                '--template-messages', dice.randrange(1, 20),
                                *(word for url in urls for word in ('--collector', url))) as daemon:
                for i in range(dice.randrange(1, 6)):
                    sent += send_random(bench, dice, 20000 + 200 * i)
                    time.sleep(dice.random())
                records += sum(daemon.stop()['records'].values())
            restarts += 1
        capture.stop()
        check(restarts > MINUTES_SECONDS / 20, f'{restarts} restarts')
        check_equal('sessions', len(strict.decode(capture).sessions), len(ports) * restarts)
        for port in ports:
            flows = strict.decode(capture, port).records()
            check_equal(f'records at port {port}', len(flows), records)
            packets = sum(record.number(2) for record in flows if record.number(11) == 9)
            check_equal(f'packets at port {port}', packets, sent)


def test_balance():
    """Each flow goes to one of two collectors, both its directions to the same; a file gets all."""
    with Bench() as bench:
        bench.sink(9995)
        bench.sink(9996)
        capture = bench.capture()
        urls = [f'ipfix://{PEER}:9995', f'netflow9://{PEER}:9996', f'file://{bench.directory.name}/flows.ipfix']
        with program.Daemon(bench.box, 'meter', *QUICK[:2], '--drain-interval', '500ms', '--idle-timeout', '1s',
                            '--balance', *(word for url in urls for word in ('--collector', url))) as daemon:
            for port in range(20000, 20100):
                traffic.udp(bench.box, 'peer', (PEER, port), (METER, 9), 1)
                traffic.udp(bench.box, 'meter', (METER, 9), (PEER, port), 1)
            time.sleep(2.5)
            daemon.stop()
        capture.stop()
        ports = []
        for port in 9995, 9996:
            records = strict.decode(capture, port).records()
            ports.append(({r.number(7) for r in records if r.number(11) == 9},
                          {r.number(11) for r in records if r.number(7) == 9}))
        for arriving, leaving in ports:
            check_equal('flows whose other direction is elsewhere', arriving ^ leaving, set())
            check(len(arriving) > 25, f'{len(arriving)} flows of 100')
        check_equal('flows', sorted(ports[0][0] | ports[1][0]), list(range(20000, 20100)))
        check_equal('flows at both', ports[0][0] & ports[1][0], set())


def test_sender():
    """Source address and code point are those that were asked for, for each collector."""
    with Bench() as bench:
        bench.box.ip('meter', 'address', 'add', '10.75.0.3/24', 'dev', 'm0')
        bench.box.ip('meter', 'address', 'add', 'fd75::3/64', 'dev', 'm0', 'nodad')
        for port, address in (9995, PEER), (9996, PEER6), (9997, PEER):
            bench.sink(port, address)
        capture = bench.capture()
        with program.Daemon(bench.box, 'meter', *QUICK, '--dscp', 8, '--collector', f'ipfix://{PEER}:9997', '--collector',
                            f'ipfix://{PEER}:9995?source=10.75.0.3&dscp=46', '--collector',
                            f'netflow9://[{PEER6}]:9996?source=fd75::3') as daemon:
            time.sleep(1)
            daemon.stop()
        capture.stop()
        rows = capture.rows(['udp.dstport', 'ip.src', 'ip.dsfield.dscp', 'ipv6.src', 'ipv6.tclass.dscp'])
        check_equal('senders', {tuple(row.values()) for row in rows},
                    {('9997', METER, '8', '', ''), ('9995', '10.75.0.3', '46', '', ''), ('9996', '', '', 'fd75::3', '8')})


def test_file_with_drops():
    """Flows and drops of both families at once into a file: ipfixDump finds each of them."""
    with Bench() as bench:
        file = f'{bench.directory.name}/flows.ipfix'
        with program.Daemon(bench.box, 'meter', *QUICK, '--collector', f'file://{file}', drops='on') as daemon:
            for port in range(20000, 20000 + FILE_FLOWS):
                for source, destination in (PEER, METER), (PEER6, METER6):
                    traffic.udp(bench.box, 'peer', (source, port), (destination, 9), 3)
            ledger = daemon.stop()
        text = command('ipfixDump', '--data', '--in', file)
        records = re.split(r'^--- data record \d+ ---$', text, flags=re.M)[1:]
        for element, side in ('packetDeltaCount', ledger), ('droppedPacketDeltaCount', ledger['drops']):
            found = [int(number) for record in records for number in re.findall(rf'\b{element} : (\d+)', record)]
            check_equal(f'records with {element}', len(found), sum(side['records'].values()))
            check_equal(f'sum of {element}', sum(found), side['accounted']['packets'])
        check(ledger['drops']['accounted']['packets'] >= 2 * 3 * FILE_FLOWS, f'drops: {ledger["drops"]["accounted"]}')
        check_equal('lost', lost(ledger['collectors'][0]), {})


def main():
    tap.require('ip', 'ethtool', 'dumpcap', 'tshark', 'ipfixDump')
    program.binary()
    tap.main([
        ('one stopped, one unroutable, one absent, one unresolvable', test_others),
        *((f'{scheme}: absent, killed, restarted', functools.partial(test_restart, scheme))
          for scheme in ('ipfix', 'netflow9')),
        *((f'{scheme}: IPv{family}, MTU {mtu}', functools.partial(test_mtu, family, mtu, scheme))
          for family, mtu, scheme in ((4, 576, 'ipfix'), (4, 576, 'netflow9'), (6, 1280, 'netflow9'), (4, 9000, 'ipfix'),
                                      (6, 9000, 'ipfix'))),
        *((f'{scheme}: MTU {mtu} of {template}', functools.partial(test_no_room, scheme, template, mtu, narrow))
          for scheme, template, mtu, narrow in (('ipfix', 'default', 100, True), ('netflow9', 'default', 100, True),
                                                ('ipfix', FEW, 68, False))),
        ('the MTU changes', test_mtu_change),
        ('restarts with other templates', test_mixed),
        *([('minutes of restarts, templates and random flows', test_minutes)] if TORTURE else []),
        ('balance', test_balance),
        ('source address and code point', test_sender),
        ('flows and drops in a file', test_file_with_drops),
    ], tap.AT_ONCE)


if __name__ == '__main__':
    main()
