#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Each alert has a runbook, a dashboard and a place in the index, and each runbook an alert; each alert is tested both ways.

promtool's unit tests of FILE of helm/flowtally/rules are in tests/rules/FILE.  There each alert of the file fires at some
moment, and at some other moment of the same story it does not.
"""
import re
import sys

import tree

sys.path.insert(0, str(tree.ROOT / 'tools'))
import expressions  # noqa: E402  pylint: disable=wrong-import-position

try:
    import yaml
except ImportError:
    yaml = None

RULES, TESTS, PAGES = 'helm/flowtally/rules', 'tests/rules', 'docs/runbooks'
URL = f'https://github.com/flowtally/flowtally/blob/main/{PAGES}/%s.md'
PARTS = '**What it means.**', '**How to see it.**', '**What mends it.**', '**When it is harmless.**'
DASHBOARD = re.compile(r'/d/([\w-]+)(\?var-instance=\{\{ \$labels\.instance \| urlquery \}\}.*)?')
FOOT = re.compile(r'\nDashboard: \[([^]]+)\]\(\.\./dashboards\.md#([\w-]+)\)\.\n$')
JOB = 'job=~"(.+/)?(.+-)?flowtally"'
TEXTS = 'summary', 'description'
SEVERITIES = 'critical', 'warning', 'info'
FIRING = 'ALERTS{alertstate="firing"}'
LABEL = re.compile(r'(\w+)="([^"]*)"')


def load(name):
    return yaml.safe_load((tree.ROOT / name).read_text(encoding='utf-8'))


def check_rule(rule):
    """An alert by itself."""
    name, notes = rule['alert'], rule['annotations']
    if rule['labels'].get('severity') not in SEVERITIES:
        yield f'{name}: severity {rule["labels"]}'
    if notes.get('runbook_url') != URL % name:
        yield f'{name}: runbook_url is not {URL % name}'
    for part in TEXTS:
        if not notes.get(part, '').rstrip().endswith('.'):
            yield f'{name}: {part} is no sentence'
    for selector in re.findall(r'\b(?:up|process_\w+)\b(?:\{[^}]*\})?', rule['expr']):
        if JOB not in selector:
            yield f'{name}: {selector} is not of {JOB}'


def check_dashboard(rule, page, boards):
    """The alert and its page lead to the same dashboard; boards: {uid: title}."""
    path, foot = DASHBOARD.fullmatch(rule['annotations'].get('dashboard', '')), FOOT.search(page)
    if not path or path[1] not in boards:
        yield f'{rule["alert"]}: its annotation dashboard is not /d/UID, with the instance'
        return
    title = boards[path[1]].partition(' / ')[2]
    if not foot or foot[1] != title or foot[2] != title.lower().replace(' ', '-'):
        yield f'{PAGES}/{rule["alert"]}.md: does not end with the dashboard of the alert, "{title}"'


def check_page(name, severity, text, index):
    if not text.startswith(f'# {name}\n'):
        yield f'{PAGES}/{name}.md: is not headed "# {name}"'
    for part in PARTS:
        if part not in text:
            yield f'{PAGES}/{name}.md: does not say {part}'
    if '\n```\n' not in text:
        yield f'{PAGES}/{name}.md: has no commands'
    if f'| [{name}]({name}.md) | {severity} |' not in index:
        yield f'{PAGES}/README.md: no row of {name} with severity {severity}'


def moments(test):
    """[{alert: its labels}] of all moments at which a story is looked at."""
    found = []
    for question in test.get('promql_expr_test', []):
        if question['expr'] == FIRING:
            alerts = [dict(LABEL.findall(sample['labels'])) for sample in question['exp_samples'] or []]
            found.append({labels['alertname']: labels for labels in alerts})
    return found


def check_tests(name, rules, tests):
    """Each alert fires and does not in one story; what its texts name are labels that it has then."""
    for rule in rules:
        alert = rule['alert']
        stories = [moments(test) for test in tests]
        firing = [moment[alert] for story in stories for moment in story if alert in moment]
        if not any(alert in moment for story in stories for moment in story):
            yield f'{TESTS}/{name}: {alert} never fires'
        if not any({alert in moment for moment in story} == {True, False} for story in stories):
            yield f'{TESTS}/{name}: in no story {alert} both fires and does not'
        wanted = set(re.findall(r'\$labels\.(\w+)', ' '.join(rule['annotations'].get(part, '') for part in TEXTS)))
        for labels in firing:
            if wanted - set(labels):
                yield f'{TESTS}/{name}: {alert} fires without {sorted(wanted - set(labels))}, which its texts name'


def check():
    index = (tree.ROOT / PAGES / 'README.md').read_text(encoding='utf-8')
    pages = {path.stem: path.read_text(encoding='utf-8') for path in (tree.ROOT / PAGES).glob('*.md') if path.stem != 'README'}
    boards = {board['uid']: board['title'] for board in expressions.dashboards().values()}
    alerts = {}
    for path in sorted((tree.ROOT / RULES).glob('*.yaml')):
        rules = [rule for group in load(f'{RULES}/{path.name}')['groups'] for rule in group['rules']]
        for rule in rules:
            if rule['alert'] in alerts:
                yield f'{RULES}/{path.name}: {rule["alert"]} twice'
            alerts[rule['alert']] = rule['labels'].get('severity')
            yield from check_rule(rule)
            yield from check_dashboard(rule, pages.get(rule['alert'], ''), boards)
        yield from check_tests(path.name, rules, load(f'{TESTS}/{path.name}')['tests'])
    for name in sorted(alerts.keys() - pages.keys()):
        yield f'{PAGES}/{name}.md: missing'
    for name in sorted(pages.keys() - alerts.keys()):
        yield f'{PAGES}/{name}.md: no alert has that name'
    for name in sorted(alerts.keys() & pages.keys()):
        yield from check_page(name, alerts[name], pages[name], index)


if __name__ == '__main__':
    tree.finish(list(check()) if yaml else ['python3-yaml is missing'])
