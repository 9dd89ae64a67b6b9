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
