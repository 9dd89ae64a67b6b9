# SPDX-License-Identifier: Apache-2.0
"""The stories of tests/rules told as other Prometheus servers would see them: their alerts must not change.

Stories are told with a sample a minute, and with few labels.  Another server scrapes every 15 seconds.  Another one puts labels
of the target on each series, and has a second cluster whose nodes have the same names.  Where all is well, all is well too when
the pod is replaced, when the node is taken away, and when the server was away itself.
"""
import copy
import re

ITEM = re.compile(r'(?P<first>-?[\d.]+|_|stale)(?P<step>[+-][\d.]+)?(?:x(?P<count>\d+))?')
LABEL = re.compile(r'(\w+)="([^"]*)"')
TARGET = {'cluster': 'one', 'namespace': 'monitoring', 'node': 'n', 'pod': 'flowtally-x', 'container': 'flowtally'}
AT, AWAY = 70, 12  # minutes
OFTEN = 4          # samples a minute
FIRING = 'ALERTS{alertstate="firing"}'


# --- Series.

def samples(text):
    """The values that promtool makes of a series; None where there is none."""
    found = []
    for item in text.split():
        match = ITEM.fullmatch(item)
        count = int(match['count']) if match['count'] else None
        if match['first'] in ('_', 'stale'):
            found += [None if match['first'] == '_' else 'stale'] * (count or 1)
        else:
            found += [float(match['first']) + float(match['step'] or 0) * number for number in range((count or 0) + 1)]
    return found


def values(found):
    return ' '.join('_' if value is None else str(value) for value in found)


def is_counter(series):
    return series.partition('{')[0].endswith('_total')


def oftener(series, found):
    """Counters rise between two samples; all else stays."""
    made = []
    for value, after in zip(found, found[1:] + [None]):
        rises = isinstance(value, float) and isinstance(after, float) and after > value and is_counter(series)
        steady = value if isinstance(value, float) else None
        made += [value] + [value + (after - value) * part / OFTEN if rises else steady for part in range(1, OFTEN)]
    return made


def labelled(series, labels):
    name, _, rest = series.partition('{')
    all_labels = {**dict(LABEL.findall(rest)), **labels}
    return f'{name}{{' + ', '.join(f'{key}="{value}"' for key, value in all_labels.items() if value) + '}'


def replaced(series, found):
    """[(series, values)] of the pod before and of the one after it, whose counters begin at 0."""
    before, after = found[:AT], found[AT + 1:]
    base = next((value for value in after if isinstance(value, float)), 0)
    if is_counter(series):
        after = [value - base if isinstance(value, float) and value >= base else value for value in after]
    return [(labelled(series, {'pod': 'before'}), before + ['stale']),
            (labelled(series, {'pod': 'after'}), [None] * (AT + 1) + after)]


def taken_away(series, found):
    return [(series, found[:AT] + ['stale'] if 'instance="a' in series else found)]


def unseen(series, found):
    return [(series, found[:AT] + [None] * AWAY + found[AT + AWAY:])]


# --- Stories.

def of_cluster(question, cluster):
    """The same alerts of that cluster, each once, whatever other labels of the target they have."""
    others = ', '.join(key for key in TARGET if key != 'cluster')
    wanted = [{**sample, 'labels': labelled(sample['labels'].replace('ALERTS', ''), {'cluster': cluster})}
              for sample in question['exp_samples'] if 'instance=' in sample['labels']]
    return {**question, 'expr': f'count without ({others}) ({FIRING[:-1]}, cluster="{cluster}"}})', 'exp_samples': wanted}


def scraped_oftener(story):
    made = copy.deepcopy(story)
    made['interval'] = f'{60 // OFTEN}s'
    for series in made['input_series']:
        series['values'] = values(oftener(series['series'], samples(series['values'])))
    return made


def beside(story, healthy):
    """Each series has labels of its target; another cluster, where all is well, has nodes of the same names."""
    made = copy.deepcopy(story)
    for series in made['input_series']:
        series['series'] = labelled(series['series'], {**TARGET, **dict(LABEL.findall(series['series']))})
    made['promql_expr_test'] = [of_cluster(question, 'one') for question in made['promql_expr_test']]
    nodes = dict.fromkeys(dict(LABEL.findall(series['series']))['instance'] for series in story['input_series'])
    well = [series for series in healthy['input_series'] if re.search('job="flowtally", instance="a[:"]', series['series'])]
    made['input_series'] += [{**series, 'series': labelled(series['series'], {**TARGET, 'cluster': 'two', 'instance': node})}
                             for series in well for node in nodes]
    made['promql_expr_test'] += [{**question, 'expr': f'{FIRING[:-1]}, cluster="two"}}', 'exp_samples': []}
                                 for question in story['promql_expr_test']]
    return made


def changed(story, change):
    """By a function from (series, values) to a list of such pairs."""
    series = [pair for one in story['input_series'] for pair in change(one['series'], samples(one['values']))]
    return {**story, 'input_series': [{'series': name, 'values': values(found)} for name, found in series]}


def variants(tests):
    """Of the stories of a file, of which the first is one where all is well."""
    healthy = tests[0]
    for story in tests:
        yield {**scraped_oftener(story), 'name': f'{story["name"]}; scraped every 15 seconds'}
        yield {**beside(story, healthy), 'name': f'{story["name"]}; another cluster has nodes of the same names'}
    for change in replaced, taken_away, unseen:
        yield {**changed(healthy, change), 'name': f'{healthy["name"]}; {change.__name__}'}
