#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""dashboards.py [--check] [FOLDER]: writes Grafana's dashboards from the table of panels (dashboard_panels.py).

Without a folder they are those of the chart, helm/flowtally/dashboards.  With --check nothing is written: the files that
are not as they would be written are named.
"""
import json
import re
import sys
from pathlib import Path

import dashboard_panels

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / 'helm/flowtally/dashboards'
REASONS = ROOT / 'exporter/meter/drop_reasons.def'
COLUMNS, ROW_HEIGHT = 24, 1
SCHEMA_VERSION = 39  # of Grafana 10.4 and 11; newer ones read it
CHOSEN = 'cluster=~"$cluster", job=~"$job", instance=~"$instance"'
SOURCE = {'type': 'prometheus', 'uid': '${datasource}'}
RUNBOOKS = 'https://github.com/flowtally/flowtally/blob/main/docs/runbooks'
# With the largest first, so that it is of use with a hundred nodes.
LEGEND = {'displayMode': 'table', 'placement': 'bottom', 'showLegend': True, 'calcs': ['lastNotNull', 'max'],
          'sortBy': 'Max', 'sortDesc': True}


def expression(text):
    return text.replace('@', CHOSEN).replace('[R]', '[$__rate_interval]').replace('[T]', '[$__range]')


def explanations():
    """{reason: what it means}, of the table from which docs/drop-reasons.md is made."""
    found = re.findall(r'^DROP_REASON\((\w+), \w+, \w+, "((?:[^"\\]|\\.)*)"\)', REASONS.read_text(encoding='utf-8'), re.M)
    return {name: re.sub(r'\\(.)', r'\1', text) for name, text in found}


# --- Variables.

def choice(name, label, query, description, everything='.+'):
    return {'name': name, 'label': label, 'description': description, 'type': 'query', 'datasource': SOURCE,
            'query': {'query': query, 'refId': name}, 'definition': query, 'refresh': 2, 'sort': 1, 'hide': 0,
            'multi': True, 'includeAll': True, 'allValue': everything, 'regex': '', 'skipUrlSync': False, 'options': [],
            'current': {'selected': True, 'text': ['All'], 'value': ['$__all']}}


def variables(interfaces):
    source = {'name': 'datasource', 'label': 'Data source', 'description': 'The Prometheus that scrapes flowtally',
              'type': 'datasource', 'query': 'prometheus', 'hide': 0, 'refresh': 1, 'regex': '', 'multi': False,
              'includeAll': False, 'skipUrlSync': False, 'options': [],
              'current': {'selected': False, 'text': 'default', 'value': 'default'}}
    # Most servers have one cluster, and no such label.
    chosen = [source,
              choice('cluster', 'Cluster', 'label_values(flowtally_build_info, cluster)', 'Clusters, by the label cluster',
                     '.*'),
              choice('job', 'Job', 'label_values(flowtally_build_info{cluster=~"$cluster"}, job)',
                     'Jobs that scrape an exporter'),
              choice('instance', 'Node', 'label_values(flowtally_build_info{cluster=~"$cluster", job=~"$job"}, instance)',
                     'Exporters, by the address at which they are scraped')]
    if interfaces:
        chosen.append(choice('interface', 'Interface', f'label_values(flowtally_hook_attached{{{CHOSEN}}}, interface)',
                             'Interfaces that are metered'))
    return chosen


def restarts():
    """A line across all panels where an exporter was started again, maybe in another pod, and maybe an hour after its end."""
    start = f'max by (cluster, job, instance) (%sprocess_start_time_seconds{{{CHOSEN}}}%s)'
    return {'name': 'Starts', 'enable': True, 'hide': False, 'iconColor': 'orange', 'datasource': SOURCE,
            'expr': f'{start % ("", "")} - {start % ("max_over_time(", "[1h] offset $__rate_interval)")} > 0 '
                    f'and on (cluster, job, instance) flowtally_build_info{{{CHOSEN}}}',
            'titleFormat': 'start of the exporter', 'textFormat': '{{cluster}} {{instance}}'}


# --- Panels.

def steps(thresholds):
    """Grafana's thresholds; the first has no value."""
    return {'mode': 'absolute', 'steps': [{'value': value, 'color': color} for value, color in thresholds]}


def targets(panel):
    table = panel.kind in ('table', 'bargauge', 'piechart', 'stat')
    return [{'refId': chr(ord('A') + number), 'datasource': SOURCE, 'expr': expression(query),
             'legendFormat': legend.replace('@', '{{cluster}} {{instance}}'),
             'instant': table, 'range': not table, 'format': 'table' if panel.kind == 'table' else 'time_series'}
            for number, (query, legend) in enumerate(panel.queries)]


def field_config(panel):
    defaults = {'unit': panel.unit, 'thresholds': steps(panel.thresholds), 'mappings': [],
                'color': {'mode': 'palette-classic' if panel.kind in ('timeseries', 'piechart') else 'thresholds'}}
    if panel.kind == 'stat':
        defaults['noValue'] = '-'
    if panel.words:
        defaults['mappings'] = [{'type': 'value', 'options': {
            value: {'text': text, 'color': color, 'index': index}
            for index, (value, text, color) in enumerate(panel.words)}}]
    if panel.kind == 'timeseries':
        defaults['min'] = None if panel.centered or panel.signed else 0
        defaults['custom'] = {'drawStyle': 'line', 'lineWidth': 1, 'fillOpacity': 30 if panel.stacked else 10,
                              'showPoints': 'never', 'spanNulls': False, 'lineInterpolation': 'linear',
                              'stacking': {'mode': 'normal' if panel.stacked else 'none', 'group': 'A'}}
    return {'defaults': {key: value for key, value in defaults.items() if value is not None},
            'overrides': overrides(panel)}


def overrides(panel):
    """Below zero is what leaves, and columns of a table have names and widths."""
    found = [{'matcher': {'id': 'byRegexp', 'options': '/(^| )egress$/'},
              'properties': [{'id': 'custom.transform', 'value': 'negative-Y'}]}] if panel.centered else []
    if 'explanation' in panel.columns:
        texts = {reason: {'text': text, 'index': index} for index, (reason, text) in enumerate(explanations().items())}
        found.append({'matcher': {'id': 'byName', 'options': panel.columns['explanation']}, 'properties': [
            {'id': 'mappings', 'value': [{'type': 'value', 'options': texts}]}, {'id': 'custom.width', 'value': 760}]})
    if 'alertname' in panel.columns:
        link = {'title': 'Runbook', 'url': f'{RUNBOOKS}/${{__value.raw}}.md', 'targetBlank': True}
        found.append({'matcher': {'id': 'byName', 'options': panel.columns['alertname']},
                      'properties': [{'id': 'links', 'value': [link]}]})
    return found


REDUCED = {'values': False, 'calcs': ['lastNotNull'], 'fields': ''}
OPTIONS = {
    'timeseries': {'legend': LEGEND, 'tooltip': {'mode': 'multi', 'sort': 'desc'}},
    'stat': {'reduceOptions': REDUCED, 'colorMode': 'value', 'graphMode': 'none', 'textMode': 'auto', 'justifyMode': 'auto',
             'orientation': 'auto', 'wideLayout': True, 'showPercentChange': False, 'percentChangeColorMode': 'standard'},
    'bargauge': {'reduceOptions': REDUCED, 'orientation': 'horizontal', 'displayMode': 'basic', 'showUnfilled': True,
                 'valueMode': 'color', 'namePlacement': 'auto', 'sizing': 'auto', 'minVizWidth': 8, 'minVizHeight': 16,
                 'maxVizHeight': 300,
                 'legend': {'displayMode': 'list', 'placement': 'bottom', 'showLegend': False, 'calcs': []}},
    'piechart': {'reduceOptions': REDUCED, 'pieType': 'donut', 'displayLabels': ['name', 'percent'], 'orientation': 'auto',
                 'legend': {'displayMode': 'table', 'placement': 'right', 'showLegend': True, 'calcs': [],
                            'values': ['value', 'percent']},
                 'tooltip': {'mode': 'single', 'sort': 'none'}},
    'table': {'showHeader': True, 'cellHeight': 'sm', 'frameIndex': 0, 'sortBy': []},
    'text': {'mode': 'markdown'},
}


def options(panel):
    more = {'content': panel.text} if panel.kind == 'text' else {}
    if panel.sort:
        more = {'sortBy': [{'displayName': panel.sort, 'desc': True}]}
    return {**OPTIONS[panel.kind], **more}


def transformations(panel):
    """One row for each series, with the columns that are named, in that order."""
    if panel.kind != 'table':
        return []
    order = {name: index for index, name in enumerate(panel.columns)}
    hidden = {name: True for name in ('Time', 'job', '__name__', 'Value') if name not in panel.columns}
    merged = [{'id': 'merge', 'options': {}}] if len(panel.queries) > 1 else []
    return merged + [{'id': 'organize', 'options': {'excludeByName': hidden, 'indexByName': order,
                                                    'renameByName': dict(panel.columns)}}]


def make_panel(number, panel, place):
    made = {'id': number, 'type': panel.kind, 'title': panel.title, 'description': panel.description, 'gridPos': place,
            'options': options(panel)}
    if panel.kind == 'text':
        return made
    made.update({'datasource': SOURCE, 'targets': targets(panel), 'fieldConfig': field_config(panel)})
    if panel.kind == 'table':
        made['transformations'] = transformations(panel)
    return made


def place_panels(rows):
    """All panels, each row under its heading, from left to right."""
    made, top, number = [], 0, 0
    for title, panels in rows:
        number += 1
        made.append({'id': number, 'type': 'row', 'title': title, 'collapsed': False, 'panels': [],
                     'gridPos': {'x': 0, 'y': top, 'w': COLUMNS, 'h': ROW_HEIGHT}})
        left, top, height = 0, top + ROW_HEIGHT, 0
        for panel in panels:
            if left + panel.width > COLUMNS:
                left, top, height = 0, top + height, 0
            number += 1
            made.append(make_panel(number, panel, {'x': left, 'y': top, 'w': panel.width, 'h': panel.height}))
            left, height = left + panel.width, max(height, panel.height)
        top += height
    return made


# --- Dashboards.

def make(board):
    interfaces = any('$interface' in query for _, panels in board.rows for panel in panels for query, _ in panel.queries)
    link = {'type': 'dashboards', 'title': 'flowtally', 'tags': ['flowtally'], 'asDropdown': True, 'includeVars': True,
            'keepTime': True, 'targetBlank': False, 'icon': '', 'tooltip': '', 'url': ''}
    runbooks = {**link, 'type': 'link', 'title': 'Runbooks', 'tags': [], 'asDropdown': False, 'includeVars': False,
                'keepTime': False, 'targetBlank': True, 'icon': 'doc', 'tooltip': 'A page for each alert',
                'url': f'{RUNBOOKS}/README.md'}
    return {'uid': board.uid, 'title': board.title, 'description': board.description, 'tags': ['flowtally'],
            'editable': True, 'graphTooltip': 1, 'refresh': '30s', 'schemaVersion': SCHEMA_VERSION, 'timezone': 'browser',
            'time': {'from': 'now-1h', 'to': 'now'}, 'timepicker': {}, 'fiscalYearStartMonth': 0, 'liveNow': False,
            'weekStart': '', 'links': [link, runbooks], 'annotations': {'list': [restarts()]},
            'templating': {'list': variables(interfaces)}, 'panels': place_panels(board.rows)}


def texts():
    """{name of the file: its text}"""
    return {f'{board.uid}.json': json.dumps(make(board), indent=1, ensure_ascii=False) + '\n'
            for board in dashboard_panels.BOARDS}


def differences(folder):
    """Names of files that are not as they would be written, or are not written from here."""
    wanted = texts()
    there = {path.name: path.read_text(encoding='utf-8') for path in Path(folder).glob('*.json')}
    return sorted(name for name in wanted.keys() | there.keys() if wanted.get(name) != there.get(name))


def main(words):
    check = '--check' in words
    folder = Path(next((word for word in words if word != '--check'), FOLDER))
    if check:
        for name in differences(folder):
            print(f'{folder / name}: not as tools/dashboards.py writes it')
        return bool(differences(folder))
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts().items():
        (folder / name).write_text(text, encoding='utf-8')
    return False


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
