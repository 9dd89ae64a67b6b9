#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Every value of the chart does something, none that is taken away leads to a riddle, and labels meet in no way."""
import json
import re

import yaml

import chart
from chart import CHART, MONITORING, find, helm, options, clean, refused, render, the_pod
from tap import cases, check, check_equal, main

# In force at once with all that they are values of; the port is Prometheus'.
ALL = {'preset': 'full', 'config': {'collectors': ['ipfix://192.0.2.1'], 'metrics-listen': '0.0.0.0:9717'},
       'prometheusRule': {'enabled': True}, 'dashboards': {'enabled': True}, 'networkPolicy': {'enabled': True},
       'collector': {'enabled': True}, 'openshift': {'enabled': True}}
MONITORS = {'podMonitor': {'podMonitor': {'enabled': True}}, 'serviceMonitor': {'serviceMonitor': {'enabled': True}}}
CHOICES = {'preset': None, 'dnsPolicy': 'Default', 'image.pullPolicy': 'Always', 'collector.image.pullPolicy': 'Never'}
# Not shown by any resource of their own: a rule is changed by its name.
RULE = 'FlowtallyStalled'


def leaves(rules, values, path=()):
    """(name, default, rule of the schema) of every value but `config`, which is the program's."""
    for key, rule in rules.items():
        if path + (key,) in (('config',), ('enabled',)):
            continue
        if 'properties' in rule:
            yield from leaves(rule['properties'], values[key], (*path, key))
        else:
            yield '.'.join((*path, key)), values[key], rule


def all_values():
    schema = json.loads((CHART / 'values.schema.json').read_text(encoding='utf-8'))
    values = yaml.safe_load((CHART / 'values.yaml').read_text(encoding='utf-8'))
    return list(leaves(schema['properties'], values))


def put(values, name, value):
    *groups, last = name.split('.')
    for group in groups:
        values = values.setdefault(group, {})
    values[last] = value


def merged(*parts):
    """Mappings over one another, to the bottom."""
    whole = {}
    for part in parts:
        for key, value in part.items():
            whole[key] = merged(whole.get(key, {}), value) if isinstance(value, dict) else value
    return whole


def text(values):
    words = options(values)
    try:
        return helm('template', 'node', CHART, '--namespace', 'flowtally', *words, *MONITORING)[0]
    finally:
        clean(words)


def marked(name, default, rule, number):
    """(a value that is seen nowhere else, what shows it)"""
    mark = f'mark-{number}'
    if name in CHOICES:
        return CHOICES[name], CHOICES[name]
    if name == 'prometheusRule.disabled':
        return None, None
    if name == 'prometheusRule.alerts':
        return {RULE: {'annotations': {'note': mark}}}, mark
    if name.endswith('.digest'):
        digest = f'sha256:{number:064x}'
        return digest, digest
    if 'pattern' in rule:
        return f'{7000 + number}s', f'{7000 + number}s'
    if isinstance(default, bool) or rule.get('type') == ['boolean', 'null']:
        return None, None
    if isinstance(default, int):
        return 7000 + number, str(7000 + number)
    if isinstance(default, str):
        return mark, mark
    if isinstance(default, list):
        kind = rule.get('items', {}).get('type')
        return [{'name': mark, 'mountPath': '/mark'} if kind == 'object' else mark], mark
    return {mark: mark}, mark


def test_each_is_shown():
    """A value that is not a truth is somewhere in what is rendered: with the one monitor or the other, by digest or by tag."""
    shown, marks = '', {}
    for monitor, on in MONITORS.items():
        values = merged(ALL, on)
        for number, (name, default, rule) in enumerate(all_values(), 100):
            value, mark = marked(name, default, rule, number)
            # A tag is shown without a digest, and a registry where there is none for all images.
            if mark and not (monitor == 'serviceMonitor' and name.endswith(('.digest', 'imageRegistry'))):
                marks[name] = mark
                put(values, name, value)
        values['extraObjects'] = [{'kind': 'Object', 'metadata': {'name': marks['extraObjects']}}]
        shown += text(values)
    dead = [name for name, mark in marks.items() if mark not in shown]
    check(not dead, f'values that do nothing: {dead}')
    check(len(marks) > 70, f'{len(marks)} values')


def test_each_truth_counts():
    """What is rendered differs with each switch; so it does with a preset, and with rules that are left out."""
    base = merged(ALL, MONITORS['podMonitor'])
    before = text(base)
    switches = [name for name, default, rule in all_values() if isinstance(default, bool) or default is None]
    check(len(switches) > 10, switches)
    for name in switches:
        values = merged(base, {})
        at = values
        for part in name.split('.'):
            at = at.get(part, {}) if isinstance(at, dict) else {}
        default = next(d for n, d, _ in all_values() if n == name)
        put(values, name, not (at if isinstance(at, bool) else default))
        if name == 'serviceMonitor.enabled':
            values['podMonitor'] = {'enabled': False}
        elif name == 'serviceMonitor.attachNodeMetadata':
            values = merged(values, MONITORS['serviceMonitor'], {'podMonitor': {'enabled': False}})
            check('attachMetadata' in text(values), f'{name} does nothing')
            continue
        check(text(values) != before, f'{name} does nothing')
    check(f'alert: {RULE}' in before, f'there is no {RULE}')
    check(f'alert: {RULE}' not in text(merged(base, {'prometheusRule': {'disabled': [RULE]}})), 'prometheusRule.disabled')


def test_null():
    """Taken away, a mapping or a list is an empty one; what cannot be missing is missed by its name."""
    needed = json.loads((CHART / 'values.schema.json').read_text(encoding='utf-8'))['required']
    values = merged(ALL, MONITORS['podMonitor'])
    for name, default, _ in all_values():
        if (isinstance(default, (dict, list)) or default in ('', None)) and name not in needed \
                and not name.endswith('.enabled'):
            put(values, name, None)
    resources = render(values, *MONITORING)
    spec = the_pod(resources)['spec']
    check('tolerations' not in spec and 'affinity' not in spec and 'startupProbe' not in spec['containers'][0], spec)
    for name in 'image', 'preset', 'securityContext', 'probes', 'collector', 'updateStrategy', 'hostNetwork':
        said = refused({name: None})
        check(f"missing property '{name}'" in said, f'{name} is null:', said)


def test_names_that_meet():
    """Of two labels or annotations of a name there is one, and selectors are the chart's (render() refuses a key twice)."""
    names = {key: 'mine' for key in ('app.kubernetes.io/name', 'app.kubernetes.io/part-of', 'app.kubernetes.io/version',
                                     'release', 'grafana_dashboard')}
    notes = {'cluster-autoscaler.kubernetes.io/safe-to-evict': 'false', 'grafana_folder': 'mine'}
    values = merged(ALL, MONITORS['podMonitor'], {
        'commonLabels': {**names, 'only': 'common'}, 'podLabels': {**names, 'release': 'pod'}, 'podAnnotations': notes,
        'service': {'labels': names}, 'podMonitor': {'labels': {'release': 'prometheus'}},
        'prometheusRule': {'labels': {'release': 'prometheus'}}, 'dashboards': {'annotations': notes}})
    resources = render(values, *MONITORING)
    pod, labels = the_pod(resources)['metadata'], the_pod(resources)['metadata']['labels']
    check_equal('labels of the pod', {key: labels.get(key) for key in (*names, 'only')}, {
        'app.kubernetes.io/name': 'flowtally', 'app.kubernetes.io/part-of': 'flowtally', 'app.kubernetes.io/version': 'mine',
        'release': 'pod', 'grafana_dashboard': 'mine', 'only': 'common'})
    check_equal('annotations', pod['annotations']['cluster-autoscaler.kubernetes.io/safe-to-evict'], 'false')
    for kind in 'PodMonitor', 'PrometheusRule':
        own = find(resources, kind)['metadata']['labels']
        check_equal(f'labels of the {kind}', (own['release'], own['only']), ('prometheus', 'common'))
    dashboard = next(r for r in resources if 'nodes' in r['metadata']['name'] and r['kind'] == 'ConfigMap'
                     and 'flowtally.yaml' not in r['data'])
    check_equal('the sidecar finds it', dashboard['metadata']['labels']['grafana_dashboard'], '1')


def test_job():
    """The rules look for the name that the monitors give, whatever else is called otherwise."""
    patterns = set(re.findall(r'job=~"([^"]+)"', ''.join(p.read_text(encoding='utf-8') for p in CHART.glob('rules/*.yaml'))))
    check(patterns, 'no rule names a job')
    for monitor, kind, target in (('podMonitor', 'PodMonitor', lambda r: the_pod(r)['metadata']['labels']),
                                  ('serviceMonitor', 'ServiceMonitor',
                                   lambda r: find(r, 'Service', 'x')['metadata']['labels'])):
        values = merged(ALL, MONITORS[monitor], {'nameOverride': 'flows', 'fullnameOverride': 'x'})
        resources = render(values, *MONITORING)
        label = find(resources, kind)['spec']['jobLabel']
        job = target(resources)[label]
        for pattern in patterns:
            check(re.fullmatch(pattern, job), f'{kind}: the job is {job!r}, the rules look for {pattern}')


if __name__ == '__main__':
    chart.need('helm')
    main(cases(globals()), at_once=3)
