#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Clocks that do not go on evenly: steps of the wall clock, sleeps of the machine, time namespaces.

The wall clock is stepped by an hour, forward and back, and by ten years, while flows go on and are exported;
it is stepped for the exporter alone, by clock_shim.c, and the capture has the true time.  So are sleeps: wall
clock and CLOCK_BOOTTIME go ahead.
"""
import calendar
import functools
import json
import os
import socket
import sys
import time
from pathlib import Path

import program
import strict
import tap
import time_namespace
import traffic
from collect import Nfcapd
from lab import wait_until
from sinks import METER, PEER, QUICK, Bench, lost, ours
from tap import check, check_equal

HOUR = 3600
YEARS = 315360000  # ten
STEPS = 0, HOUR, 0, -HOUR  # what the clock is off by, in turn
FLOWS = 20
DELAY_SECONDS = 4   # of a record: idle timeout, two drains and a busy machine
SLACK_SECONDS = 1.5
LONG = 30000, 31000  # source ports: of the first pair of steps, of the second


def daemon_with_shim(bench, scheme, offset, *options):
    environment = ['env', f'LD_PRELOAD={os.path.abspath(sys.argv[2])}', f'FLOWTALLY_CLOCK_SHIM={offset}']
    return program.Daemon(bench.box, 'meter', *QUICK, '--active-timeout', '60s', '--statistics-interval', '500ms',
                          '--sandbox-folder', Path(offset).parent,  # which the shim reads
                          '--collector', f'{scheme}://{PEER}:9995', *options, prefix=environment)


def set_offset(path, seconds):
    new = Path(f'{path}.new')
    new.write_text(f'{seconds}\n', encoding='ascii')
    new.rename(path)


def send_across(bench, offset, port, step):
    """A flow of 2 s, in the middle of which the clock is stepped."""
    for i in range(10):
        if i == 5:
            set_offset(offset, step)
        traffic.udp(bench.box, 'peer', (PEER, port), (METER, 9), 1)
        time.sleep(0.2)


def check_flow(record, offset):
    """It is told by the clock as it is when the record is made: durations are those of another clock."""
    start, end = record.times()
    port, when = record.number(7), record.message.when
    if port in LONG:
        check_equal(f'packets of flow {port}', record.number(2), 10)
        check(1500 <= end - start <= 3500, f'flow {port} lasts {end - start} ms')
    else:
        check_equal(f'duration of flow {port}', end - start, 0)
    delay = when + offset - end / 1000
    check(0 <= delay < DELAY_SECONDS, f'flow {port} is exported {delay} s after its end, by a clock off by {offset} s')
    check_equal(f'end of flow {port}', record.number(136), 1)


def check_export_times(messages, offsets):
    """That of the clock: in each session, for a clock that is set back begins a new one."""
    for message in messages:
        found = offsets(message.when)
        check(min(found) - SLACK_SECONDS < message.export_time - message.when < max(found) + SLACK_SECONDS,
              f'export time {message.export_time} at {message.when}, by a clock off by {found} s')


def test_steps(scheme):
    with Bench() as bench:
        bench.sink(9995)
        offset = f'{bench.directory.name}/offset'
        set_offset(offset, STEPS[0])
        capture = bench.capture()
        changes = []
        with daemon_with_shim(bench, scheme, offset) as daemon:
            for i, step in enumerate(STEPS):
                if i in (1, 3):
                    send_across(bench, offset, LONG[i // 2], step)
                    changes.append(time.time() - 1)
                else:
                    set_offset(offset, step)
                    changes.append(time.time())
                bench.flows(FLOWS, 20000 + 100 * i)
                time.sleep(DELAY_SECONDS + SLACK_SECONDS)  # so that all are exported well before the next step
            ledger = daemon.stop()
        capture.stop()
        judge(capture, ledger, changes)


def judge(capture, ledger, changes):
    """Everything by the strict decoder, and each flow against the clock at its export."""
    decoder = strict.decode(capture)

    def offsets(when):
        """What the clock may have been off by, at about that time."""
        near = {STEPS[i] for i, change in enumerate(changes) if abs(when - change) < SLACK_SECONDS}
        return near | {STEPS[max([i for i, change in enumerate(changes) if change <= when], default=0)]}

    flows = [record for record in decoder.records() if record.number(11) == 9]
    expected = sorted([20000 + 100 * i + j for i in range(len(STEPS)) for j in range(FLOWS)] + list(LONG))
    check_equal('flows, each in one record', ours(decoder), expected)
    check_equal('lost', lost(ledger['collectors'][0]), {})
    for record in flows:
        found = offsets(record.message.when)
        check_equal(f'what the clock is off by at the export of flow {record.number(7)}', len(found), 1)
        check_flow(record, *found)
    check_export_times(decoder.messages(), offsets)
    # IPFIX: one more when the clock was set back, twice; NetFlow v9, which tells times by an uptime, at each step.
    check_equal('sessions', len(decoder.sessions), {9: 4, 10: 3}[decoder.messages()[0].version])


def tshark_times(capture):
    """(export time, end) of each record of ours by tshark, s since 1970."""
    fields = ['cflow.exporttime', 'cflow.abstimeend', 'cflow.timestamp', 'cflow.sysuptime', 'cflow.timeend', 'cflow.dstport']
    rows = capture.rows(fields, '-d', 'udp.port==9995,cflow', '-d', 'udp.port==9996,cflow', '-E', 'occurrence=a', '-E',
                        'aggregator=;', '-Y', 'cflow.abstimeend || cflow.timeend')
    for row in rows:
        exported, boot, ends = seconds(row['cflow.exporttime']), 0, row['cflow.abstimeend']
        if row['cflow.timeend']:  # NetFlow v9
            exported, ends = seconds(row['cflow.timestamp']), row['cflow.timeend']
            boot = exported - seconds(row['cflow.sysuptime'])
        for end, port in zip(ends.split(';'), row['cflow.dstport'].split(';'), strict=True):
            if port == '9':
                yield exported, boot + seconds(end)


def seconds(text):
    """Of a number, empty is 0, or a date as tshark writes it: Nov 28, 2026 15:00:00.123000000 UTC."""
    try:
        return float(text or 0)
    except ValueError:
        date, _, fraction = text.partition('.')
        return calendar.timegm(time.strptime(date, '%b %d, %Y %H:%M:%S')) + float('0.' + fraction.split()[0])


def test_years(scheme):
    """Ten years ahead at the start, with a second collector that is not there yet; what is sent after that is right."""
    with Bench() as bench:
        nfcapd = Nfcapd(bench.box, 'peer', bench.directory.name, 9995, PEER)
        offset = f'{bench.directory.name}/offset'
        set_offset(offset, YEARS)
        capture = bench.capture()
        late = f'{scheme}://{PEER}:9996'
        with daemon_with_shim(bench, scheme, offset, '--collector', late) as daemon:
            bench.flows(FLOWS, 20000)
            time.sleep(3)
            set_offset(offset, 0)
            corrected = time.time()
            other = Nfcapd(bench.box, 'peer', bench.directory.name, 9996, PEER)
            bench.flows(FLOWS, 21000)
            wait_until(lambda: f'{late}: up again' in daemon.stderr(), 40, 'the second collector to be up')
            bench.flows(FLOWS, 22000)
            time.sleep(3)
            ledger = daemon.stop()
        capture.stop()
        now = time.time()
        for collector in ledger['collectors']:
            check_equal(f'lost to {collector["url"]}', lost(collector), {})
        check_years(nfcapd, {20000: YEARS}, corrected - 10, now)
        check_years(other, {}, corrected - 10, now)
        strict.decode(capture, 9995)
        strict.decode(capture, 9996)
        times = list(tshark_times(capture))
        check_equal('records by tshark', len(times), 2 * 3 * FLOWS)
        check_equal('records that are years off by tshark', sum(exported > now + 5 for exported, _ in times), FLOWS)
        for exported, end in times:
            check(0 <= exported - end + 1 < 60, f'a flow ended at {end}, exported at {exported}, by tshark')


def check_years(nfcapd, off, start, end):
    """Times by nfdump; off: first port of flows that are told by the wrong clock, and its offset."""
    records = [r for r in nfcapd.stop() if r.key.destination_port == 9 and r.key.source_port >= 20000]
    check_equal('flows', sorted(r.key.source_port for r in records),
                [first + i for first in (20000, 21000, 22000) for i in range(FLOWS)])
    for r in records:
        seen = r.flow.last_ms / 1000 - off.get(r.key.source_port // 1000 * 1000, 0)
        check(start < seen < end, f'flow {r.key.source_port} ended at {seen}, not from {start} to {end}')


def sleep_machine(path, seconds):
    """Asleep so long in all, since the start."""
    new = Path(f'{path}.new')
    new.write_text(f'{seconds} {seconds}\n', encoding='ascii')
    new.rename(path)


def json_flows(path):
    """{source port: (start, end), s since 1970}, by what the exporter takes for the time"""
    rows = [json.loads(line) for line in Path(path).read_text(encoding='ascii').splitlines()]
    return {row['sourceTransportPort']: (row['flowStartMilliseconds'] / 1000, row['flowEndMilliseconds'] / 1000)
            for row in rows if row.get('destinationTransportPort') == 9}


def check_time(what, got, expected):
    check(abs(got - expected) < SLACK_SECONDS, f'{what}: {got - expected:.3f} s off')


def test_sleep():
    """Flows from before a sleep, across it and after it, twice; each end of them is told as it was on the wall."""
    with Bench() as bench:
        path, offset = (f'{bench.directory.name}/{name}' for name in ('flows.json', 'offset'))
        sleep_machine(offset, 0)
        environment = ['env', f'LD_PRELOAD={os.path.abspath(sys.argv[2])}', f'FLOWTALLY_CLOCK_SHIM={offset}']
        sent = {}

        def send(port, slept):
            traffic.udp(bench.box, 'peer', (PEER, port), (METER, 9), 1)
            sent.setdefault(port, []).append(time.time() + slept)

        with traffic.bound(bench.box, 'meter', socket.SOCK_DGRAM, METER, 9), \
                program.Daemon(bench.box, 'meter', '--interface', 'm0', '--drain-interval', '500ms', '--idle-timeout', '20s',
                               '--sandbox-folder', bench.directory.name, '--collector', f'json://{path}',
                               prefix=environment) as daemon:
            send(20000, 0)
            send(20001, 0)
            time.sleep(1.5)
            sleep_machine(offset, HOUR)
            time.sleep(1.5)  # until that is noticed: the shim does not wake
            send(20001, HOUR)
            send(20002, HOUR)
            time.sleep(1.5)
            sleep_machine(offset, 3 * HOUR)
            time.sleep(1.5)
            send(20001, 3 * HOUR)
            send(20002, 3 * HOUR)
            send(20003, 3 * HOUR)
            time.sleep(1)
            daemon.stop()
        flows = json_flows(path)
        check_equal('flows', sorted(flows), sorted(sent))
        for port, times in sent.items():
            check_time(f'start of flow {port}', flows[port][0], times[0])
            check_time(f'end of flow {port}', flows[port][1], times[-1])


def test_namespace(idle, *options):
    """Its monotonic clock is a day ahead, and the boot clock two; idle: as the option has it, longer than any pause."""
    prefix = time_namespace.prefix(100000, 200000)
    with Bench() as bench:
        path = f'{bench.directory.name}/flows.json'
        with program.Daemon(bench.box, 'meter', '--interface', 'm0', '--drain-interval', '500ms', '--idle-timeout', idle,
                            '--collector', f'json://{path}', *options, prefix=prefix) as daemon:
            sent = []
            with traffic.bound(bench.box, 'meter', socket.SOCK_DGRAM, METER, 9):
                for _ in range(4):  # one flow, of which no part is idle long enough
                    traffic.udp(bench.box, 'peer', (PEER, 20000), (METER, 9), 1)
                    sent.append(time.time())
                    time.sleep(0.6)
            ledger = daemon.stop()
        check_equal('records', ledger['collectors'][0]['given']['records'], 1)
        start, end = json_flows(path)[20000]
        check_time('start', start, sent[0])
        check_time('end', end, sent[-1])


def main():
    tap.require('ip', 'ethtool', 'dumpcap', 'tshark', 'nfcapd', 'nfdump')
    program.binary()
    tap.main(at_once=tap.AT_ONCE, tests=[(f'{scheme}: {what}', functools.partial(test, scheme))
              for what, test in (('steps of the wall clock', test_steps), ('ten years', test_years))
              for scheme in ('ipfix', 'netflow9')] +
             [('sleeps of the machine', test_sleep), ('a time namespace', functools.partial(test_namespace, '60s')),
              ('idle timeouts in a time namespace', functools.partial(test_namespace, '5s'))])


if __name__ == '__main__':
    main()
