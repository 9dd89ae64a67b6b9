# SPDX-License-Identifier: Apache-2.0
"""The expressions of the alert rules and of the dashboards, for those who check, ask or draw them."""
import json
import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
RULES, DASHBOARDS = 'helm/flowtally/rules', 'helm/flowtally/dashboards'
# A vector selector: a name of ours, and what is in braces behind it.
SELECTOR = re.compile(r'\b(flowtally_\w+|process_\w+|up|ALERTS)\b\s*(\{[^}]*\})?')
MATCHER = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"((?:[^"\\]|\\.)*)"')
GROUPING = re.compile(r'\b(?:by|on|without|ignoring|group_left|group_right)\s*\(([^()]*)\)')


class Expression(NamedTuple):
    """where: file, and panel or alert.  legend: of a panel's query."""
    where: str
    text: str
    legend: str = ''


def dashboards(root=ROOT):
    """{file name: the dashboard}"""
    return {path.name: json.loads(path.read_text(encoding='utf-8')) for path in sorted((root / DASHBOARDS).glob('*.json'))}


def rules(root=ROOT):
    """{file name: [rule]}"""
    import yaml  # pylint: disable=import-outside-toplevel
    found = {}
    for path in sorted((root / RULES).glob('*.yaml')):
        groups = yaml.safe_load(path.read_text(encoding='utf-8'))['groups']
        found[path.name] = [rule for group in groups for rule in group['rules']]
    return found


def of_dashboards(root=ROOT):
    for name, board in dashboards(root).items():
        for panel in board['panels']:
            for target in panel.get('targets', []):
                yield Expression(f'{name}: {panel["title"]}', target['expr'], target['legendFormat'])
        for annotation in board['annotations']['list']:
            yield Expression(f'{name}: {annotation["name"]}', annotation['expr'], annotation['textFormat'])


def of_rules(root=ROOT):
    for name, of_file in rules(root).items():
        for rule in of_file:
            yield Expression(f'{name}: {rule["alert"]}', rule['expr'])


def selectors(text):
    """[(metric, {label: (operator, value)}, the selector as it stands)]"""
    return [(match[1], {label: (operator, value) for label, operator, value in MATCHER.findall(match[2] or '')}, match[0])
            for match in SELECTOR.finditer(GROUPING.sub('', text))]


def grouped(text):
    """Labels by which is grouped or matched."""
    return {label.strip() for labels in GROUPING.findall(text) for label in labels.split(',') if label.strip()}


def replaced(text, interval, span):
    """Without variables: all that can be chosen is; interval and span as 30s."""
    text = text.replace('$__rate_interval', interval).replace('$__range', span).replace('$cluster', '.*')
    return re.sub(r'\$(job|instance|interface)\b', '.+', text)
