#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What helm makes of the chart: by its own lint, by the program that reads the configuration, and value by value."""
import json
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import yaml

import chart
from chart import CHART, MONITORING, VALUE_SETS, find, helm, refused, render, the_config, the_container, the_pod
from program import binary
from tap import cases, check, check_equal, main

ALERTS = '''groups:
  - name: flowtally
    rules:
      - record: flowtally:loss:rate5m
        expr: rate(flowtally_lost_packets_total[5m])
      - alert: FlowtallyDown
        expr: absent(up{job="flowtally"})
        for: 5m
        labels: {severity: critical}
        annotations: {summary: "no exporter on {{ $labels.node }}"}
      - alert: FlowtallyLoss
        expr: flowtally:loss:rate5m > 0
        for: 10m
'''
DASHBOARD = '{"title": "Nodes", "panels": [{"legendFormat": "{{interface}}"}]}\n'
# Of the pod that keeps to the Pod Security Standards as far as it can.
SECURITY = {'privileged': False, 'allowPrivilegeEscalation': False, 'readOnlyRootFilesystem': True, 'runAsUser': 0,
            'runAsGroup': 0, 'runAsNonRoot': False,
            'capabilities': {'drop': ['ALL'], 'add': ['BPF', 'NET_ADMIN', 'PERFMON']}}


def program(*words, text=None):
    """flowtally config VERB of a file with the text."""
    with tempfile.TemporaryDirectory(prefix='flowtally-chart-') as folder:
        path = Path(folder) / 'flowtally.yaml'
        path.write_text(text, encoding='utf-8')
        return subprocess.run([binary(), 'config', *words, path], capture_output=True, text=True, check=False)


def with_content():
    """A copy of the chart with a dashboard and rules of the test's own."""
    folder = Path(tempfile.mkdtemp(prefix='flowtally-chart-'))
    copy = folder / 'flowtally'
    shutil.copytree(CHART, copy)
    rules = {'alerts.yaml': ALERTS, 'alerts_test.yaml': ':'}
    for name, files in ('dashboards', {'some_nodes.json': DASHBOARD}), ('rules', rules):
        shutil.rmtree(copy / name, ignore_errors=True)
        (copy / name).mkdir()
        for file, text in files.items():
            (copy / name / file).write_text(text, encoding='utf-8')
    return folder, copy


def test_lint():
    for values in VALUE_SETS:
        out, _ = helm('lint', '--strict', CHART, '--values', values)
        check('0 chart(s) failed' in out and 'WARNING' not in out and 'INFO' not in out, out)


def test_value_sets():
    """Each is what the program takes, and has nothing of the host's but its network."""
    for values in VALUE_SETS:
        resources = render(values, *MONITORING)
        done = program('check', text=the_config_of(resources))
        check(done.returncode == 0, f'{values.name}: flowtally config check', done.stdout, done.stderr)
        spec = the_pod(resources)['spec']
        check_equal(f'{values.name}: volumes of the host', [v for v in spec['volumes'] if 'hostPath' in v], [])
        check_equal(f'{values.name}: token', spec['automountServiceAccountToken'], False)
        check('hostPID' not in spec and 'hostIPC' not in spec, f'{values.name}: hostPID or hostIPC')
        for resource in resources:
            check_equal(f'{values.name}: {resource["kind"]} is of',
                        resource['metadata']['labels']['app.kubernetes.io/part-of'] if 'labels' in resource['metadata']
                        else 'flowtally', 'flowtally')


def the_config_of(resources):
    return next(r for r in resources if r['kind'] == 'ConfigMap' and 'flowtally.yaml' in r['data'])['data']['flowtally.yaml']


def test_one_to_one():
    """Every key of the example goes through values unchanged, on and off as well, and means the same to the program."""
    example = subprocess.run([binary(), 'config', 'example'], check=True, capture_output=True, text=True).stdout
    text = '\n'.join(line.removeprefix('#') if line[:2] != '# ' or line[:3] == '#  ' else '' for line in example.splitlines())
    config = yaml.safe_load(text)
    for key in 'mask', 'control-group':
        config.pop(key, None)  # of a machine
    config |= {'cache-entries': 16777216, 'domain': 4294967295, 'watch': False, 'summary': False, 'interfaces': ['*', 'eth0']}
    config['collectors'] = [c for c in config['collectors'] if 'json' not in str(c)]
    resources = render({'config': config, 'resources': {'limits': {'memory': '8Gi'}}})
    check_equal('flowtally.yaml', yaml.safe_load(the_config(resources)), config)
    wanted = program('show', '--effective', '--config', text=text_of(config))
    got = program('show', '--effective', '--config', text=the_config(resources))
    check_equal('the program reads the rendered file', (got.returncode, got.stderr), (0, ''))
    check_equal('as the program reads it', settings(got.stdout), settings(wanted.stdout))


def settings(text):
    return [re.sub(r' *#.*', '', line) for line in text.splitlines()]


def text_of(config):
    """With the words that YAML 1.1 reads as truths."""
    return yaml.safe_dump(config).replace('watch: false', 'watch: off').replace('summary: false', 'summary: off')


def test_presets():
    base = yaml.safe_load(the_config(render()))
    check_equal('interfaces by default', base['interfaces'], ['eth*', 'en[opsx]*'])
    for name, values in (('minimal', {'preset': 'minimal'}), ('full', {'preset': 'full'})):
        config = yaml.safe_load(the_config(render(values)))
        preset = yaml.safe_load((CHART / f'presets/{name}.yaml').read_text(encoding='utf-8'))
        check_equal(f'config of {name}', config, preset['config'])
    config = yaml.safe_load(the_config(render(
        {'preset': 'full', 'config': {'template': 'default', 'bank-entries': 65536, 'metrics': {'listen': '[::]:1'}}})))
    check_equal('values over the preset', (config['template'], config['bank-entries']), ('default', 65536))
    check_equal('a section over the preset', ([k for k in config if k.startswith('metrics')], config['metrics']),
                (['metrics'], {'listen': '[::]:1'}))
    kinds = [r['kind'] for r in render({'preset': 'full'})]
    check('PodMonitor' not in kinds, 'full makes a PodMonitor where there is no operator')
    kinds = [r['kind'] for r in render({'preset': 'full'}, *MONITORING)]
    check('PodMonitor' in kinds, f'full makes {kinds}')
    kinds = [r['kind'] for r in render({'preset': 'full', 'serviceMonitor': {'enabled': True}}, *MONITORING)]
    check('PodMonitor' not in kinds and 'ServiceMonitor' in kinds, f'full with a ServiceMonitor makes {kinds}')


def test_security():
    """Root with three capabilities, and nothing that the Pod Security Standards call a risk but those and the network."""
    resources = render()
    spec, container = the_pod(resources)['spec'], the_container(resources)
    check_equal('security context', container['securityContext'], SECURITY)
    check_equal('of the pod', spec['securityContext'], {'seccompProfile': {'type': 'RuntimeDefault'}})
    check_equal('network and names', (spec['hostNetwork'], spec['dnsPolicy']), (True, 'ClusterFirstWithHostNet'))
    check_equal('tolerations', spec['tolerations'], [{'operator': 'Exists'}])
    check_equal('grace', spec['terminationGracePeriodSeconds'], 40)
    check_equal('volumes', spec['volumes'], [{'name': 'config', 'configMap': {'name': 'node-flowtally'}},
                                             {'name': 'run', 'emptyDir': {'sizeLimit': '1Mi'}}])
    check_equal('kinds', sorted(r['kind'] for r in resources), ['ConfigMap', 'DaemonSet', 'Pod', 'ServiceAccount'])
    check_equal('token of the account', find(resources, 'ServiceAccount')['automountServiceAccountToken'], False)
    check_equal('update', find(resources, 'DaemonSet')['spec']['updateStrategy'],
                {'type': 'RollingUpdate', 'rollingUpdate': {'maxUnavailable': '10%'}})
    test = find(resources, 'Pod')
    check_equal('of the test pod', test['spec']['containers'][0]['securityContext'], SECURITY)
    check_equal('hook', test['metadata']['annotations']['helm.sh/hook'], 'test')


def probe(values, which='livenessProbe'):
    return the_container(render(values)).get(which)


def test_probes():
    for listen, host in (('127.0.0.1:9717', '127.0.0.1'), ('0.0.0.0:9717', '127.0.0.1'), ('[::]:9717', 'localhost'),
                         ('[::1]:9717', 'localhost'), ('192.0.2.7:9717', '192.0.2.7'), ('[2001:db8::7]:9717', '2001:db8::7')):
        check_equal(f'the kubelet asks, with {listen}', probe({'config': {'metrics-listen': listen}})['httpGet'],
                    {'path': '/healthz', 'port': 'metrics', 'host': host})
    own = {'hostNetwork': False, 'config': {'metrics-listen': '0.0.0.0:9999'}}
    check_equal('with a network of its own', probe(own)['httpGet'], {'path': '/healthz', 'port': 'metrics'})
    check_equal('port', the_container(render(own))['ports'], [{'name': 'metrics', 'containerPort': 9999, 'protocol': 'TCP'}])
    check_equal('ready', probe({}, 'readinessProbe')['httpGet']['path'], '/readyz')
    off = {'config': {'metrics': False, 'collectors': ['ipfix://192.0.2.1']}}
    for which in 'startupProbe', 'livenessProbe', 'readinessProbe':
        check_equal(f'{which} without metrics', probe(off, which), None)
        check_equal(f'{which} by null', probe({'probes': {which.removesuffix('Probe'): None}}, which), None)


def test_refusals():
    """What cannot work is refused, and the message names the way out."""
    for values, words in (
            ({'config': {'metrics-listen': 'off'}}, 'no collector and no metrics'),
            ({'config': {'metrics': False}}, 'no collector and no metrics'),
            ({'config': {'interfaces': []}}, 'config.interfaces is empty'),
            ({'config': {'metrics-listen': '0.0.0.0:1'}, 'podMonitor': {'enabled': True}, 'serviceMonitor': {'enabled': True}},
             'choose one'),
            ({'podMonitor': {'enabled': True}}, 'set config.metrics-listen=0.0.0.0:9717'),
            ({'serviceMonitor': {'enabled': True}}, 'set config.metrics-listen=0.0.0.0:9717'),
            ({'config': {'metrics-listen': '0.0.0.0:1'}, 'serviceMonitor': {'enabled': True}, 'service': {'enabled': False}},
             'needs service.enabled'),
            ({'hostNetwork': False}, 'the kubelet cannot ask'),
            ({'terminationGracePeriodSeconds': 34}, 'set it to 35 at least'),
            ({'config': {'stop-timeout': '2m'}}, 'set it to 125 at least'),
            ({'config': {'bank-entries': 1048576}}, 'resources.limits.memory is 256Mi'),
            ({'resources': {'limits': {'memory': '100M'}}}, 'resources.limits.memory is 100M'),
            ({'config': {'collectors': ['json:///data/flows.json']}}, 'the root file system is read-only'),
            ({'config': {'collectors': [{'protocol': 'file', 'path': '/data/flows.ipfix'}]}}, 'extraVolumeMounts'),
            ({'updateStrategy': {'type': 'RollingUpdate', 'rollingUpdate': {'maxSurge': 1}}}, 'use maxUnavailable')):
        said = refused(values)
        check(words in said, f'{values}: not refused by {words!r}:', said)


def test_schema():
    """Of the chart and of the configuration, each where helm sees it: the way of a value is in the message."""
    for values, words in (
            ({'presett': 'full'}, 'presett'), ({'preset': 'all'}, 'preset'),
            ({'config': {'idle-timout': '15s'}}, 'idle-timout'),
            ({'config': {'idle-timeout': 15}}, 'idle-timeout'), ({'config': {'collectors': [{'url': 'ipfix://a', 'dscp': 64}]}},
                                                                 'collectors'),
            ({'image': {'digest': 'sha256:1'}}, 'digest'), ({'hostNetwork': 'yes'}, 'hostNetwork'),
            ({'collector': {'port': 70000}}, 'port'), ({'imagePullSecrets': [{'nam': 'x'}]}, 'imagePullSecrets')):
        said = refused(values)
        check(words in said, f'{values}:', said)
    render({'enabled': True, 'global': {'other': 1}})


def test_image():
    for values, name in (
            ({}, 'ghcr.io/flowtally/flowtally:0.1.0'), ({'image': {'tag': 'x'}}, 'ghcr.io/flowtally/flowtally:x'),
            ({'image': {'digest': 'sha256:' + '0' * 64, 'tag': 'x'}}, 'ghcr.io/flowtally/flowtally@sha256:' + '0' * 64),
            ({'global': {'imageRegistry': 'r:5000'}}, 'r:5000/flowtally/flowtally:0.1.0'),
            ({'image': {'registry': ''}}, 'flowtally/flowtally:0.1.0')):
        check_equal(f'image with {values}', the_container(render(values))['image'], name)
    resources = render({'global': {'imageRegistry': 'r:5000', 'imagePullSecrets': ['a', {'name': 'b'}]},
                        'imagePullSecrets': ['a', 'c'], 'collector': {'enabled': True}})
    for kind in 'DaemonSet', 'Deployment':
        check_equal(f'secrets of the {kind}', find(resources, kind)['spec']['template']['spec']['imagePullSecrets'],
                    [{'name': 'a'}, {'name': 'b'}, {'name': 'c'}])
    image = find(resources, 'Deployment')['spec']['template']['spec']['containers'][0]['image']
    check_equal('image of the collector', image, 'r:5000/netsampler/goflow2:v2.2.1')


def test_everything():
    """Each value arrives where a pod has it."""
    values = CHART / 'ci/everything-values.yaml'
    given = yaml.safe_load(values.read_text(encoding='utf-8'))
    resources = render(values)
    daemon, spec = find(resources, 'DaemonSet'), the_pod(resources)['spec']
    labels, notes = the_pod(resources)['metadata']['labels'], the_pod(resources)['metadata']['annotations']
    container = the_container(resources)
    check_equal('name', daemon['metadata']['name'], 'flows-of-nodes')
    check_equal('labels', (labels['team'], labels['tier'], labels['app.kubernetes.io/name']), ('network', 'node', 'flows'))
    check('team' not in daemon['spec']['selector']['matchLabels'], 'commonLabels are in the selector, which cannot change')
    check_equal('annotations', (daemon['metadata']['annotations']['example.com/owner'], notes['example.com/scrape']),
                ('network', 'false'))
    check_equal('account', (spec['serviceAccountName'], find(resources, 'ServiceAccount')['metadata']['name']),
                ('exporter', 'exporter'))
    for key in 'priorityClassName', 'dnsConfig', 'tolerations', 'terminationGracePeriodSeconds':
        check_equal(key, spec[key], given[key])
    check_equal('AppArmor', spec['securityContext']['appArmorProfile'], {'type': 'RuntimeDefault'})
    check_equal('args', container['args'][-1], '--verbose')
    check_equal('env', container['env'], given['extraEnv'])
    check_equal('resources', container['resources'], given['resources'])
    check_equal('volumes', spec['volumes'][2:], given['extraVolumes'])
    check_equal('mounts', container['volumeMounts'][2:], given['extraVolumeMounts'])
    check_equal('init containers', spec['initContainers'], given['extraInitContainers'])
    check_equal('extra objects', find(resources, 'ConfigMap', 'flows-of-nodes-extra')['data'], {'release': 'node'})
    check(find(resources, 'Pod') is None, 'a test pod that is not wanted')
    old = the_pod(render(values, '--kube-version', '1.29'))
    check('appArmorProfile' not in old['spec']['securityContext'], 'a field that 1.29 does not know')
    check_equal('AppArmor of 1.29', old['metadata']['annotations']['container.apparmor.security.beta.kubernetes.io/flowtally'],
                'runtime/default')


def test_restart():
    """The checksum is there if it is wanted, and changes with the configuration alone."""
    def sums(idle):
        resources = render({'restartOnConfigChange': True, 'config': {'idle-timeout': idle}})
        return the_pod(resources)['metadata']['annotations']['checksum/config']
    check(sums('15s') == sums('15s') != sums('16s'), 'the checksum')
    check('checksum/config' not in the_pod(render())['metadata']['annotations'], 'a restart that nobody wants')


def test_collector():
    resources = render({'collector': {'enabled': True, 'port': 4740}, 'config': {'collectors': ['ipfix://192.0.2.1']}})
    config = yaml.safe_load(the_config(resources))
    check_equal('collectors', config['collectors'], [
        'ipfix://192.0.2.1', {'name': 'in-cluster', 'url': 'ipfix://node-flowtally-collector.flowtally.svc:4740'}])
    service = find(resources, 'Service')
    pod = find(resources, 'Deployment')['spec']['template']
    check_equal('service', (service['metadata']['name'], service['spec']['ports']), (
        'node-flowtally-collector', [{'name': 'flows', 'port': 4740, 'targetPort': 'flows', 'protocol': 'UDP'}]))
    check(service['spec']['selector'].items() <= pod['metadata']['labels'].items(), 'the service selects other pods')
    exporter = find(resources, 'DaemonSet')['spec']['selector']['matchLabels']
    check(not exporter.items() <= pod['metadata']['labels'].items(), 'the DaemonSet selects the collector')


def test_monitors():
    resources = render(CHART / 'ci/pod-monitor-values.yaml', *MONITORING)
    monitor = find(resources, 'PodMonitor')
    pod = the_pod(resources)
    check(monitor['spec']['selector']['matchLabels'].items() <= pod['metadata']['labels'].items(), 'it selects other pods')
    check_equal('namespace', monitor['spec']['namespaceSelector'], {'matchNames': ['flowtally']})
    endpoint = monitor['spec']['podMetricsEndpoints'][0]
    check(endpoint['port'] in [p['name'] for p in the_container(resources)['ports']], 'it asks another port')
    limits = monitor['spec']['sampleLimit'], endpoint['scrapeTimeout'], endpoint['interval']
    check_equal('limits', limits, (20000, '10s', '30s'))
    check_equal('labels', monitor['metadata']['labels']['release'], 'prometheus')
    resources = render(CHART / 'ci/service-monitor-values.yaml', *MONITORING)
    monitor, service = find(resources, 'ServiceMonitor'), find(resources, 'Service')
    check(monitor['spec']['selector']['matchLabels'].items() <= service['metadata']['labels'].items(), 'another service')
    check_equal('where', (monitor['metadata']['namespace'], service['spec']['clusterIP']), ('monitoring', 'None'))
    check(service['spec']['selector'].items() <= the_pod(resources)['metadata']['labels'].items(), 'it selects other pods')
    check(find(render(), 'Service') is None, 'a service for metrics that are on loopback')


def test_content():
    """Dashboards and rules go through unchanged, but for what values say."""
    folder, copy = with_content()
    try:
        resources = render(CHART / 'ci/pod-monitor-values.yaml', *MONITORING, chart=copy)
        changed = render({'prometheusRule': {
            'enabled': True, 'disabled': ['FlowtallyLoss'],
            'alerts': {'FlowtallyDown': {'for': '1h', 'labels': {'severity': 'info'}}}}}, *MONITORING, chart=copy)
        none = render({'prometheusRule': {'enabled': True, 'disabled': [
            'FlowtallyLoss', 'FlowtallyDown', 'flowtally:loss:rate5m']}}, *MONITORING, chart=copy)
    finally:
        shutil.rmtree(folder)
    dashboard = find(resources, 'ConfigMap', 'node-flowtally-some-nodes')
    check_equal('dashboard', json.loads(dashboard['data']['some_nodes.json']), json.loads(DASHBOARD))
    check_equal('its label', dashboard['metadata']['labels']['grafana_dashboard'], '1')
    check_equal('its folders', dashboard['metadata']['annotations'], {
        'grafana_folder': 'flowtally', 'k8s-sidecar-target-directory': '/tmp/dashboards/network'})
    wanted = yaml.safe_load(ALERTS)['groups']
    for rule in wanted[0]['rules']:
        if 'alert' in rule:
            rule['labels'] = {**rule.get('labels', {}), 'team': 'network'}
    check_equal('rules', find(resources, 'PrometheusRule')['spec']['groups'], wanted)
    rules = find(changed, 'PrometheusRule')['spec']['groups'][0]['rules']
    check_equal('what is left', [r.get('alert', r.get('record')) for r in rules], ['flowtally:loss:rate5m', 'FlowtallyDown'])
    check_equal('an alert of values', (rules[1]['for'], rules[1]['labels']['severity'], rules[1]['expr']),
                ('1h', 'info', 'absent(up{job="flowtally"})'))
    check(find(none, 'PrometheusRule') is None, 'a resource without rules')


def test_own_content():
    """The rules and dashboards that the chart ships are taken."""
    resources = render({'preset': 'full'}, *MONITORING)
    names = {path.name for path in CHART.glob('dashboards/*.json')}
    found = {key for r in resources if r['kind'] == 'ConfigMap' for key in r['data'] if key.endswith('.json')}
    check_equal('dashboards', found, names)
    files = [yaml.safe_load(p.read_text(encoding='utf-8')) for p in sorted(CHART.glob('rules/*.yaml')) if 'test' not in p.name]
    alerts = [rule.get('alert', rule.get('record')) for file in files for group in file['groups'] for rule in group['rules']]
    rule = find(resources, 'PrometheusRule')
    check_equal('rules', [r.get('alert', r.get('record')) for g in rule['spec']['groups'] for r in g['rules']] if rule else [],
                alerts)


def test_package():
    """Versions are those of the program and of values, and the package has what the chart needs and no tests of rules."""
    about = yaml.safe_load((CHART / 'Chart.yaml').read_text(encoding='utf-8'))
    version = subprocess.run([binary(), '--version'], check=True, capture_output=True, text=True).stdout
    check(about['appVersion'] in version.split(), f'appVersion {about["appVersion"]}, and the program is {version}')
    listed = {image['image'] for image in yaml.safe_load(about['annotations']['artifacthub.io/images'])}
    used = {container['image'] for resource in render({'collector': {'enabled': True}})
            for container in resource.get('spec', {}).get('template', {}).get('spec', {}).get('containers', [])}
    check_equal('images of the annotation', listed, used)
    raw = 'https://raw.githubusercontent.com/flowtally/flowtally/main/'
    notes = about['annotations']
    shown = [one['url'] for one in yaml.safe_load(notes['artifacthub.io/screenshots'])]
    for url in [about['icon'], *shown]:
        check(url.startswith(raw) and (chart.ROOT / url.removeprefix(raw)).is_file(), f'{url} is not in the tree')
    boards = {path.stem for path in CHART.glob('dashboards/*.json')}
    check_equal('a picture of each dashboard', {Path(url).stem for url in shown}, boards)
    for name in 'changes', 'links', 'recommendations':
        check(all(isinstance(one, dict) for one in yaml.safe_load(notes[f'artifacthub.io/{name}'])), name)
    folder, copy = with_content()
    try:
        helm('package', copy, '--destination', folder)
        names = subprocess.run(['tar', '-tzf', next(folder.glob('*.tgz'))], check=True, capture_output=True, text=True).stdout
    finally:
        shutil.rmtree(folder)
    for name in 'README.md', 'values.schema.json', 'presets/full.yaml', 'rules/alerts.yaml', 'dashboards/some_nodes.json':
        check(f'flowtally/{name}' in names.split(), f'{name} is not in the package:', names)
    check('alerts_test' not in names, names)


def test_openshift():
    resources = render(CHART / 'ci/openshift-values.yaml')
    scc = find(resources, 'SecurityContextConstraints')
    spec = the_pod(resources)['spec']
    check_equal('capabilities', scc['allowedCapabilities'], SECURITY['capabilities']['add'])
    check_equal('for the account', scc['users'], [f'system:serviceaccount:flowtally:{spec["serviceAccountName"]}'])
    check_equal('what it does not allow', [scc[key] for key in (
        'allowPrivilegedContainer', 'allowPrivilegeEscalation', 'allowHostDirVolumePlugin', 'allowHostPID', 'allowHostIPC')],
        5 * [False])
    check(spec['securityContext']['seccompProfile']['type'] == 'RuntimeDefault' and 'runtime/default' in scc['seccompProfiles'],
          'the profile is not allowed')
    check_equal('SELinux', the_container(resources)['securityContext']['seLinuxOptions'], {'type': 'spc_t'})
    # As OpenShift's own code takes them: a name in full, and no user where restricted-v2 is to choose one.
    for profile, name in (({'type': 'Unconfined'}, 'unconfined'),
                          ({'type': 'Localhost', 'localhostProfile': 'bpf.json'}, 'localhost/bpf.json')):
        values = {'openshift': {'enabled': True}, 'podSecurityContext': {'seccompProfile': profile},
                  'securityContext': {'readOnlyRootFilesystem': False, 'privileged': True}, 'collector': {'enabled': True}}
        resources = render(values)
        scc = find(resources, 'SecurityContextConstraints')
        check_equal('profiles', scc['seccompProfiles'], [name])
        check_equal('as the values say', (scc['readOnlyRootFilesystem'], scc['allowPrivilegedContainer']), (False, True))
    collector = find(resources, 'Deployment')['spec']['template']['spec']
    check_equal('the collector', collector['securityContext'],
                {'runAsNonRoot': True, 'seccompProfile': {'type': 'RuntimeDefault'}})
    check_equal('without capabilities',
                find(render({'openshift': {'enabled': True}, 'securityContext': {'capabilities': None}}),
                     'SecurityContextConstraints')['allowedCapabilities'], [])


def notes(values):
    """NOTES.txt, which helm shows of a real cluster alone: put into a resource."""
    folder = Path(tempfile.mkdtemp(prefix='flowtally-chart-'))
    try:
        shutil.copytree(CHART, folder / 'flowtally')
        templates = folder / 'flowtally/templates'
        text = (templates / 'NOTES.txt').read_text(encoding='utf-8')
        (templates / '_notes.tpl').write_text('{{- define "notes" -}}\n' + text + '{{- end -}}', encoding='utf-8')
        (templates / 'notes.yaml').write_text(
            'kind: Notes\nmetadata: {name: notes}\ntext: {{ include "notes" . | toJson }}\n', encoding='utf-8')
        return find(render(values, chart=folder / 'flowtally'), 'Notes')['text']
    finally:
        shutil.rmtree(folder)


def test_notes():
    """Three commands, and what is risky is said, and only then."""
    said = notes({'config': {'collectors': ['ipfix://192.0.2.1']}})
    check_equal('steps', re.findall(r'^  (\d)\.', said, re.M), ['1', '2', '3'])
    check('WARNING' not in said, said)
    for values, words in (
            ({}, 'there is no collector'), ({'collector': {'enabled': True}}, 'for a try'),
            ({'config': {'metrics-listen': '0.0.0.0:9717'}}, 'to whoever reaches it'),
            (yaml.safe_load((CHART / 'ci/no-metrics-values.yaml').read_text(encoding='utf-8')), 'there are no probes'),
            ({'hostNetwork': False, 'config': {'metrics-listen': '0.0.0.0:9717'}}, 'its own interface alone'),
            ({'securityContext': {'privileged': True}}, 'more than BPF'),
            ({'podSecurityContext': {'seccompProfile': {'type': 'Unconfined'}}}, 'no system calls'),
            ({'resources': {'requests': {'memory': '1Gi'}}}, 'without a limit of memory')):
        said = ' '.join(notes(values).split())
        check('WARNING: ' in said and words in said, f'{values}: {words!r} is not in:', said)


if __name__ == '__main__':
    chart.need('helm')
    main(cases(globals()), at_once=4)
