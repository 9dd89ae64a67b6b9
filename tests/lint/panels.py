#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Dashboards are as tools/dashboards.py writes them and alike in what users rely on; metrics and labels of all expressions
are those of docs/metrics.md."""
import re
import sys

import tree

sys.path.insert(0, str(tree.ROOT / 'tools'))
import dashboards  # noqa: E402  pylint: disable=wrong-import-position
import expressions  # noqa: E402  pylint: disable=wrong-import-position

COLUMNS = 24
SOURCE = '${datasource}'
OF_TARGETS = {'cluster', 'job', 'instance'}  # of Prometheus' own, or of who gathers several
OF_ALERTS = {'alertname', 'alertstate', 'severity', 'interface', 'collector'}
MADE = {'explanation'}            # by label_join() in a panel
UNITS = {'short', 'bps', 'Bps', 'pps', 'si:/s', 'bytes', 's', 'percentunit'}


def catalogue(page):
    """{metric: its labels}, by docs/metrics.md."""
    rows = re.findall(r'^\| `(\w+)` \| (\w+) \| ([^|]*) \|', page, re.M)
    return {name: {label.strip() for label in labels.split(',') if label.strip()} for name, _, labels in rows}


def check_expression(expression, metrics):
    """Each metric and label exists, and what is drawn is of the nodes that were chosen."""
    text = expression.text
    known = OF_TARGETS | MADE
    found = expressions.selectors(text)
    if not found:
        yield f'{expression.where}: no metric in {text}'
    for name, matchers, selector in found:
        if name not in ('up', 'ALERTS') and name not in metrics:
            yield f'{expression.where}: {name} is not in docs/metrics.md'
            continue
        labels = (OF_ALERTS if name == 'ALERTS' else metrics.get(name, set())) | OF_TARGETS
        known |= labels
        for label in set(matchers) - labels:
            yield f'{expression.where}: {name} has no label {label}'
        if '.json' in expression.where and not OF_TARGETS <= set(matchers):
            yield f'{expression.where}: {selector} is not of the chosen cluster, job and instance'
    for label in expressions.grouped(text) - known:
        yield f'{expression.where}: no metric of the expression has the label {label}'
    for label in set(re.findall(r'\{\{\s*(\w+)\s*\}\}', expression.legend)) - known:
        yield f'{expression.where}: the legend has {label}, which no metric of the expression has'


def overlap(one, other):
    return (one['x'] < other['x'] + other['w'] and other['x'] < one['x'] + one['w']
            and one['y'] < other['y'] + other['h'] and other['y'] < one['y'] + one['h'])


def sources(value):
    """uid of each data source that is named anywhere."""
    if isinstance(value, dict):
        if isinstance(value.get('datasource'), dict):
            yield value['datasource'].get('uid')
        for inner in value.values():
            yield from sources(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from sources(inner)


def check_panel(where, panel):
    if panel['gridPos']['x'] + panel['gridPos']['w'] > COLUMNS:
        yield f'{where}: wider than the page'
    if not panel['title']:
        yield f'{where}: a panel without a title'
    if panel['type'] in ('row', 'text'):
        return
    if not panel['description'].endswith('.'):
        yield f'{where}: {panel["title"]}: the description is no sentence'
    if panel['fieldConfig']['defaults']['unit'] not in UNITS:
        yield f'{where}: {panel["title"]}: unit {panel["fieldConfig"]["defaults"]["unit"]}'
    if panel['type'] not in ('stat', 'table') and not all(target['legendFormat'] for target in panel['targets']):
        yield f'{where}: {panel["title"]}: no legend'


def check_board(name, board):
    names = [variable['name'] for variable in board['templating']['list']]
    if names[:4] != ['datasource', 'cluster', 'job', 'instance']:
        yield f'{name}: variables {names}'
    for uid in set(sources(board)) - {SOURCE}:
        yield f'{name}: data source {uid} instead of {SOURCE}'
    panels = board['panels']
    if len({panel['id'] for panel in panels}) != len(panels):
        yield f'{name}: two panels of one id'
    for index, panel in enumerate(panels):
        yield from check_panel(name, panel)
        for other in panels[:index]:
            if overlap(panel['gridPos'], other['gridPos']):
                yield f'{name}: {panel["title"]} covers {other["title"]}'
    used = {word for expression in expressions.of_dashboards() if expression.where.startswith(name + ':')
            for word in re.findall(r'\$(\w+)', expression.text)}
    for word in used - set(names) - {'__rate_interval', '__range'}:
        yield f'{name}: no variable ${word}'


def check(boards, found, metrics):
    """Problems of {name: dashboard} and of expressions."""
    for name, board in boards.items():
        yield from check_board(name, board)
    for expression in found:
        yield from check_expression(expression, metrics)


if __name__ == '__main__':
    PROBLEMS = [f'{dashboards.FOLDER / name}: not as tools/dashboards.py writes it'
                for name in dashboards.differences(dashboards.FOLDER)]
    if not PROBLEMS:
        PROBLEMS += check(expressions.dashboards(), [*expressions.of_dashboards(), *expressions.of_rules()],
                          catalogue((tree.ROOT / 'docs/metrics.md').read_text(encoding='utf-8')))
    tree.finish(PROBLEMS)
