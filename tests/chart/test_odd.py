#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Odd names and values: what YAML takes for a number, what a template could run, a chart around this one, other versions."""
import json
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import yaml

from chart import CHART, MONITORING, find, need, options, clean, helm, refused, render, the_config, the_container, the_pod
from program import binary
from tap import cases, check, check_equal, main

# Everything that there is at once.
ALL = {'preset': 'full', 'podMonitor': {'enabled': True}, 'prometheusRule': {'enabled': True}, 'openshift': {'enabled': True},
       'networkPolicy': {'enabled': True}, 'collector': {'enabled': True}}
# To YAML these are numbers and truths, and to a template or a shell they are more.
NUMBERS = '123', '1e5', '0x10', 'true', 'null', 'on', '1.0'
NASTY = '{{ fail "run" }} $(HOME) "\'`: #&*!|>%@\n\ttab über ✓ \\n'
LABEL = re.compile(r'[a-z]([-a-z0-9]{0,61}[a-z0-9])?')
# Names and labels of a resource, wherever they stand in it.
TEXTS = 'name', 'namespace', 'labels', 'annotations', 'matchLabels', 'selector', 'serviceAccountName', 'priorityClassName', \
    'matchNames', 'users', 'app.kubernetes.io/name', 'app.kubernetes.io/instance'


def texts(tree, way=''):
    """(way, value) of all that has to be text."""
    if isinstance(tree, list):
        for number, part in enumerate(tree):
            yield from texts(part, f'{way}[{number}]')
    for key, value in tree.items() if isinstance(tree, dict) else ():
        values = value.values() if isinstance(value, dict) else value if isinstance(value, list) else [value]
        if key in TEXTS and not (key == 'selector' and 'matchLabels' in value):
            yield from ((f'{way}.{key}', one) for one in values)
        yield from texts(value, f'{way}.{key}')


def test_numbers_as_names():
    """A release that is called 123 or true has names and labels that are text."""
    for name in NUMBERS:
        release = name if re.fullmatch(r'[a-z0-9.]+', name) else 'node'
        values = {**ALL, 'fullnameOverride': 'flows', 'nameOverride': name, 'namespaceOverride': name,
                  'priorityClassName': name, 'serviceAccount': {'name': name},
                  'collector': {'enabled': True, 'priorityClassName': name},
                  'podMonitor': {'enabled': True, 'namespace': name}}
        resources = render(values, *MONITORING, release=release)
        wrong = [(r['kind'], way, value) for r in resources for way, value in texts(r) if not isinstance(value, str)]
        check(not wrong, f'{name!r} is no text in {wrong[:4]}')
        check_equal(f'account for {name!r}', the_pod(resources)['spec']['serviceAccountName'], name)
        check_equal(f'label for {name!r}', the_pod(resources)['metadata']['labels']['app.kubernetes.io/instance'], release)


def test_names():
    """Names are such as a Service may have, whatever the release is called; what cannot be one is refused."""
    for release in 'a.b', 'x' * 53, 'x' * 43 + '-y', 'flowtally', 'my-flowtally.v2':
        resources = render({**ALL, 'dashboards': {'enabled': True}}, *MONITORING, release=release)
        wrong = [(r['kind'], r['metadata']['name']) for r in resources
                 if r['kind'] != 'SecurityContextConstraints' and not LABEL.fullmatch(r['metadata']['name'])]
        check(not wrong, f'{release}: {wrong}')
        names = [(r['kind'], r['metadata']['name']) for r in resources]
        check_equal(f'{release}: names that are there twice', sorted(set(names)), sorted(names))
    for values, release in (({}, '1node'), ({'fullnameOverride': 'Flows'}, 'node'), ({'nameOverride': 'a_b'}, 'node'),
                            ({'fullnameOverride': 'true '}, 'node')):
        said = refused(values, release=release)
        check('set fullnameOverride' in said, f'{release} with {values}:', said)
    render({'fullnameOverride': 'node-1'}, release='1node')


def test_names_of_the_cluster():
    """What has no namespace is called otherwise in each release."""
    def name(namespace, release):
        resources = render(ALL, '--namespace', namespace, release=release)
        return find(resources, 'SecurityContextConstraints')['metadata']['name']
    long = 'n' * 63
    for first, second in (('a-b', 'c-flowtally'), ('a', 'b-c-flowtally')), ((long, 'a'), (long, 'b')):
        check(name(*first) != name(*second), f'{first} and {second} are both called {name(*first)}')


def test_text():
    """Text arrives as it is: nothing in it is run, and nothing in it is YAML."""
    values = {
        'podAnnotations': {'a': NASTY}, 'daemonSetAnnotations': {'a': NASTY}, 'serviceAccount': {'annotations': {'a': NASTY}},
        'service': {'annotations': {'a': NASTY}}, 'extraArgs': [f'--source={NASTY}'],
        'extraEnv': [{'name': 'A', 'value': NASTY}],
        'commonLabels': {'a': '1e3'}, 'podLabels': {'b': 'true'}, 'nodeSelector': {'c': 'on'},
        'dashboards': {'enabled': True, 'labelValue': 'yes', 'folder': NASTY, 'annotations': {'a': NASTY}},
        'config': {'metrics-listen': '0.0.0.0:9717', 'collectors': [{'url': 'ipfix://192.0.2.1', 'name': NASTY}]},
        'prometheusRule': {'enabled': True, 'alertLabels': {'a': NASTY}}, 'collector': {'enabled': True, 'args': [NASTY]}}
    resources = render(values, *MONITORING)
    spec, container = the_pod(resources)['spec'], the_container(resources)
    config = next(r for r in resources if r['kind'] == 'ConfigMap' and 'flowtally.yaml' in r['data'])
    board = next(r for r in resources if 'grafana_dashboard' in r['metadata']['labels'])
    for what, got, wanted in (
            ('annotation of the pod', the_pod(resources)['metadata']['annotations']['a'], NASTY),
            ('of the DaemonSet', find(resources, 'DaemonSet')['metadata']['annotations']['a'], NASTY),
            ('of the account', find(resources, 'ServiceAccount')['metadata']['annotations']['a'], NASTY),
            ('of the Service', find(resources, 'Service', 'node-flowtally')['metadata']['annotations']['a'], NASTY),
            ('argument', container['args'][-1], f'--source={NASTY}'), ('variable', container['env'][0]['value'], NASTY),
            ('labels', [the_pod(resources)['metadata']['labels'][key] for key in 'ab'], ['1e3', 'true']),
            ('nodes', spec['nodeSelector']['c'], 'on'),
            ('name of a collector', yaml.safe_load(config['data']['flowtally.yaml'])['collectors'][0]['name'], NASTY),
            ('dashboard', (board['metadata']['labels']['grafana_dashboard'], board['metadata']['annotations']),
             ('yes', {'grafana_folder': NASTY, 'a': NASTY})),
            ('alerts', {r['labels']['a'] for g in find(resources, 'PrometheusRule')['spec']['groups'] for r in g['rules']
                        if 'alert' in r}, {NASTY}),
            ('argument of the collector', find(resources, 'Deployment')['spec']['template']['spec']['containers'][0]['args'],
             [NASTY])):
        check_equal(what, got, wanted)


def test_wrong_kind():
    """A number or a truth where the API wants text is refused by its name, before anything is installed."""
    for values in ({'nodeSelector': {'a': True}}, {'service': {'labels': {'a': 1}}}, {'service': {'annotations': {'a': True}}},
                   {'serviceAccount': {'annotations': {'a': 1}}}, {'podMonitor': {'labels': {'a': 1}}},
                   {'prometheusRule': {'labels': {'a': 1}}}, {'dashboards': {'annotations': {'a': 1}}},
                   {'collector': {'nodeSelector': {'a': True}}}, {'extraEnv': [{'name': 'A', 'value': 1}]},
                   {'extraEnv': [{'value': 'a'}]}):
        said = refused(values)
        check('values don\'t meet the specifications' in said and list(values)[0] in said, f'{values}:', said)


def test_large_numbers():
    """helm reads 2000000 of a file as 2e+06, which is no whole number to the API."""
    values = {'minReadySeconds': 2000000, 'revisionHistoryLimit': 2000000, 'terminationGracePeriodSeconds': 2000000,
              'podMonitor': {'enabled': True, 'sampleLimit': 2000000}, 'config': {'metrics-listen': '0.0.0.0:9717'},
              'resources': {'requests': {'memory': 2000000000}}}
    words = options(values)
    try:
        text, _ = helm('template', 'node', CHART, *words)
    finally:
        clean(words)
    check_equal('lines', re.findall(r'^.*\de\+\d.*$', text, re.M), [])
    check_equal('the number', len(re.findall(r': 2000000$', text, re.M)), 4)


def around(values, parts=('first', 'second')):
    """What helm makes of a chart that has this one twice, each by another name and by a condition."""
    folder = Path(tempfile.mkdtemp(prefix='flowtally-chart-'))
    try:
        about = {'apiVersion': 'v2', 'name': 'around', 'version': '1.0.0', 'dependencies': [
            {'name': 'flowtally', 'version': '*', 'repository': '', 'alias': part, 'condition': f'{part}.enabled'}
            for part in parts]}
        (folder / 'charts').mkdir()
        (folder / 'Chart.yaml').write_text(json.dumps(about), encoding='utf-8')
        shutil.copytree(CHART, folder / 'charts/flowtally')
        return render(values, *MONITORING, chart=folder)
    finally:
        shutil.rmtree(folder)


def test_part_of_another():
    """Twice in a chart around it: nothing meets, what is global counts, and monitors find both."""
    values = {'global': {'imageRegistry': 'mirror.example.com', 'imagePullSecrets': [{'name': 'mirror'}], 'other': {'a': 1}},
              'first': ALL, 'second': {**ALL, 'enabled': True, 'config': {'metrics-listen': '0.0.0.0:9718'}}}
    resources = around(values)
    names = [(r['kind'], r['metadata']['name']) for r in resources]
    check_equal('names that are there twice', sorted(set(names)), sorted(names))
    pods = [r['spec'] if r['kind'] == 'Pod' else r['spec']['template']['spec'] for r in resources
            if r['kind'] in ('Pod', 'DaemonSet', 'Deployment')]
    check_equal('pods', len(pods), 6)
    for spec in pods:
        check(spec['containers'][0]['image'].startswith('mirror.example.com/'), spec['containers'][0]['image'])
        check_equal('secrets', spec['imagePullSecrets'], [{'name': 'mirror'}])
    daemons = [r for r in resources if r['kind'] == 'DaemonSet']
    for monitor in (r for r in resources if r['kind'] == 'PodMonitor'):
        found = [d['metadata']['name'] for d in daemons if monitor['spec']['selector']['matchLabels'].items()
                 <= d['spec']['template']['metadata']['labels'].items()]
        check_equal('exporters of a monitor', found, [monitor['metadata']['name']])
    values['second']['enabled'] = False
    left = around(values)
    check_equal('with one of them', len(left), len(resources) // 2)


def test_versions():
    """As the servers of clouds call themselves; a version of the program that is no label."""
    for version, field in (('v1.30.5-eks-36ce238', True), ('v1.29.7-gke.1104000', False), ('v1.33.3+k3s1', True)):
        resources = render({'appArmorProfile': {'type': 'RuntimeDefault'}}, '--kube-version', version)
        check_equal(version, 'appArmorProfile' in the_pod(resources)['spec']['securityContext'], field)
        notes = the_pod(resources)['metadata']['annotations']
        check_equal(version, 'container.apparmor.security.beta.kubernetes.io/flowtally' in notes, not field)
    folder = Path(tempfile.mkdtemp(prefix='flowtally-chart-'))
    try:
        helm('package', CHART, '--app-version', '0.1.0+git.1', '--version', '0.1.0+git.1', '--destination', folder)
        labels = find(render(chart=next(folder.glob('*.tgz'))), 'DaemonSet')['metadata']['labels']
    finally:
        shutil.rmtree(folder)
    check_equal('labels', (labels['app.kubernetes.io/version'], labels['helm.sh/chart']),
                ('0.1.0_git.1', 'flowtally-0.1.0_git.1'))


def test_rules_by_name():
    """A name that no rule has would do nothing."""
    for values in {'disabled': ['FlowtallyStaled']}, {'alerts': {'FlowtallyStaled': {'for': '1h'}}}:
        said = refused({'prometheusRule': {'enabled': True, **values}})
        check('no rule is called FlowtallyStaled' in said, f'{values}:', said)


def test_other_ways():
    """An option or a variable that probes and grace would not know of is refused; others are not."""
    for values in ({'extraArgs': ['--metrics-listen=0.0.0.0:1']}, {'extraArgs': ['--metrics-listen', 'off']},
                   {'extraArgs': ['--set', 'stop-timeout=5m']}, {'extraArgs': ['--set=metrics-listen=off']},
                   {'extraArgs': ['--stop-timeout=5m']}, {'extraEnv': [{'name': 'FLOWTALLY_METRICS_LISTEN', 'value': 'off'}]},
                   {'extraEnv': [{'name': 'FLOWTALLY_STOP_TIMEOUT', 'value': '5m'}]},
                   {'extraArgs': ['--config=/etc/other.yaml']}):
        said = refused(values)
        check(re.search(r'set config\.?\S* instead', said), f'{values}:', said)
    render({'extraArgs': ['--set', 'idle-timeout=5s', '--verbose'], 'extraEnv': [{'name': 'FLOWTALLY_SOURCE', 'value': 'x'}]})


def test_doctor():
    """It is asked about what the exporter gets: the same variables and the same volumes."""
    env = [{'name': 'FLOWTALLY_SOURCE', 'valueFrom': {'fieldRef': {'fieldPath': 'status.hostIP'}}}]
    resources = render({'extraEnv': env})
    pod = find(resources, 'Pod')['spec']
    check_equal('variables', pod['containers'][0]['env'], [*env, {'name': 'FLOWTALLY_METRICS_LISTEN', 'value': 'off'}])
    check_equal('volumes', pod['volumes'], the_pod(resources)['spec']['volumes'])


def test_memory():
    """What is refused for a limit grows as the program says that its tables do."""
    schema = json.loads(subprocess.run([binary(), 'config', 'schema'], check=True, capture_output=True, text=True).stdout)
    each = int(re.search(r'(\d+) octets each', schema['properties']['control-records']['description'])[1])

    def need_of(records):
        said = refused({'config': {'control-records': records}, 'resources': {'limits': {'memory': '1Mi'}}})
        return int(re.search(r'take (\d+) Mi', said)[1])
    grown = (need_of(4194304) - need_of(1024)) * 2**20
    check(abs(grown - each * (4194304 - 1024)) < 2**21, f'{grown} octets more, and {each} for each record')


def test_many_cpus():
    """Each preset on a node with 256 CPUs, or with places for them: the program takes it."""
    with tempfile.TemporaryDirectory(prefix='flowtally-chart-') as folder:
        (Path(folder) / 'possible').write_text('0-255\n', encoding='ascii')
        for preset in 'minimal', 'default', 'full':
            path = Path(folder) / f'{preset}.yaml'
            path.write_text(the_config(render({'preset': preset})), encoding='utf-8')
            done = subprocess.run(['unshare', '--mount', 'sh', '-c',
                                   'mount --bind "$0" /sys/devices/system/cpu/possible && exec "$@"',
                                   Path(folder) / 'possible', binary(), 'config', 'check', path],
                                  capture_output=True, text=True, check=False)
            check_equal(f'{preset}: flowtally config check', done.returncode, 0)


if __name__ == '__main__':
    need('helm')
    main(cases(globals()), at_once=3)
