# SPDX-License-Identifier: Apache-2.0
"""ns per packet of programs, and per entry of the stages behind them."""
import json
import statistics

from space import RECEIVER, SENDER, SINK, Space

FLOORED = 'empty', 'floor'


def objects(text):
    return [json.loads(line) for line in text.splitlines() if line.startswith('{')]


def spread(values):
    """Median and quartiles."""
    low, middle, high = statistics.quantiles(values, n=4, method='inclusive') if len(values) > 1 else values * 3
    return {'median': middle, 'low': low, 'high': high}


def summarize(runs):
    """One object for each load, hook, method and program: ns less the empty program's of the same round."""
    groups = {}
    for run in runs:
        groups.setdefault((run['row'], run['hook'], run['method']), {}).setdefault(run['subject'], []).append(run)
    rows = []
    for (load, hook, method), subjects in groups.items():
        empty = {run['round']: run['ns'] for run in subjects['empty']}
        medians = {}
        for subject, measured in subjects.items():
            row = {'load': load, 'hook': hook, 'method': method, 'program': subject, 'rounds': len(measured),
                   'total_ns': spread([run['ns'] for run in measured]),
                   'lost': sum(run['sent'] - run['delivered'] for run in measured)}
            if subject != 'empty':
                row['ns'] = spread([run['ns'] - empty[run['round']] for run in measured])
                medians[subject] = row['ns']['median']
            if subject not in FLOORED:
                row['refused_share'] = sum(run['refused'] for run in measured) / sum(run['sent'] for run in measured)
                row['unseen'] = sum(run['delivered'] - run['seen'] for run in measured if run['seen'])
            rows.append(row)
        for row in rows:
            if (row['load'], row['hook'], row['method']) == (load, hook, method) and row['program'] in medians:
                row['ratio'] = medians[row['program']] / medians['floor'] if medians['floor'] > 0 else None
    return rows


def programs(tools, quick):
    """Many short rounds: what disturbs one on a shared machine is gone in the next."""
    rounds, packets = (7, 50000) if quick else (15, 100000)
    loads = ['1 flow', '4096 flows', '100000 flows', 'new flows'] if quick else []
    with Space('load') as space:
        space.generator('load')
        text = space.run('load', tools / 'bench-rate', SENDER, RECEIVER, SINK, rounds, packets, *loads)
    return summarize(objects(text))


def drops(tools, quick):
    """ns per dropped packet, less those of the same path with an empty program on the tracepoint."""
    rounds, packets = (5, 200000) if quick else (15, 200000)
    with Space('load') as space:
        space.generator('load')
        runs = objects(space.run('load', tools / 'bench-drops', SENDER, RECEIVER, SINK, rounds, packets))
    rows = []
    for flows in dict.fromkeys(run['flows'] for run in runs):
        of_flows = [run for run in runs if run['flows'] == flows]
        empty = {run['round']: run['ns'] for run in of_flows if run['tracer'] == 'empty'}
        for tracer in dict.fromkeys(run['tracer'] for run in of_flows):
            measured = [run for run in of_flows if run['tracer'] == tracer]
            rows.append({'flows': flows, 'tracer': tracer, 'rounds': rounds,
                         'total_ns': spread([run['ns'] for run in measured]),
                         'ns': spread([run['ns'] - empty[run['round']] for run in measured]),
                         'dropped': sum(run['delivered'] for run in measured),
                         'seen': sum(run['seen'] for run in measured), 'missed': max(run['missed'] for run in measured)})
    return rows


def encode(tools, quick):
    """ns per record, from the flow to memory, a file or a socket."""
    rounds, records = (3, 40000) if quick else (9, 40000)
    with Space('load') as space:
        runs = objects(space.run('load', tools / 'bench-encode', rounds, records))
    rows = {}
    for run in runs:
        rows.setdefault((run['profile'], run['protocol'], run['subject']), []).append(run['ns'])
    return [{'profile': profile, 'protocol': protocol, 'subject': subject, 'ns': spread(values)}
            for (profile, protocol, subject), values in rows.items()]


def block(tools, quick):
    """The longest time for which the loop is held while a million flows end at once."""
    with Space('load') as space:
        runs = [objects(space.run('load', tools / 'bench-block', 1000000, 'ipfix://127.0.0.1:4739',
                                  'ipfix://127.0.0.1:4740'))[-1] for _ in range(1 if quick else 5)]
    return runs


def stages(tools, quick):
    result = []
    with Space('load') as space:
        space.generator('load')
        for flows, rounds in ((100000, 3 if quick else 9), (1000000, 1 if quick else 3)):
            runs = objects(space.run('load', tools / 'bench-stages', SENDER, RECEIVER, SINK, flows, rounds))
            names = 'drain', 'merge_new', 'merge', 'expire', 'encode'
            row = {'flows': flows, **{name: spread([run[name] for run in runs]) for name in names}}
            row['bank_to_wire'] = sum(row[name]['median'] for name in ('drain', 'merge_new', 'expire', 'encode'))
            result.append(row)
    return result
