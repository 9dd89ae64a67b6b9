#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The wall clock is stepped by an hour, forward and back, while flows go on and are exported.

It is stepped for the exporter alone, by clock_shim.c; the capture has the true time.
"""
import functools
import os
import sys
import time
from pathlib import Path

import program
import strict
import tap
import traffic
from sinks import METER, PEER, QUICK, Bench, lost, ours
from tap import check, check_equal

HOUR = 3600
STEPS = 0, HOUR, 0, -HOUR  # what the clock is off by, in turn
FLOWS = 20
DELAY_SECONDS = 4   # of a record: idle timeout, two drains and a busy machine
SLACK_SECONDS = 1.5
LONG = 30000, 31000  # source ports: of the first pair of steps, of the second


def daemon_with_shim(bench, scheme, offset):
    environment = ['env', f'LD_PRELOAD={os.path.abspath(sys.argv[2])}', f'FLOWTALLY_CLOCK_SHIM={offset}']
    return program.Daemon(bench.box, 'meter', *QUICK, '--active-timeout', '60s', '--statistics-interval', '500ms',
                          '--collector', f'{scheme}://{PEER}:9995', prefix=environment)


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
    """That of the clock, but never before that of an earlier message."""
    newest = 0
    for message in messages:
        offset = max(offsets(message.when))
        check(newest <= message.export_time, f'export time {message.export_time} after {newest}')
        least = min(offsets(message.when))
        if newest > message.when + offset + SLACK_SECONDS:
            check_equal('export time of a clock that is set back', message.export_time, newest)
        else:
            check(message.when + least - SLACK_SECONDS < message.export_time < message.when + offset + SLACK_SECONDS,
                  f'export time {message.export_time} at {message.when}, by a clock off by {offset} s')
        newest = message.export_time


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
                time.sleep(3)
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


def main():
    tap.require('ip', 'ethtool', 'dumpcap', 'tshark')
    program.binary()
    tap.main([(f'{scheme}: steps of the wall clock', functools.partial(test_steps, scheme))
              for scheme in ('ipfix', 'netflow9')])


if __name__ == '__main__':
    main()
