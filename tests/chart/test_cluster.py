#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The chart at a real Kubernetes API server: valid, installed, upgraded, removed, with few rights; and kubectl flowtally."""
import contextlib
import functools
import json
import os
import signal
import subprocess
from pathlib import Path

import yaml

import chart
import program
from chart import CHART, MONITORING, NAMESPACE, RELEASE, VALUE_SETS, render, the_pod
from cluster import Cluster
from kubelet import Container
from lab import DIES_WITH_TEST, Lab, wait_until
from tap import cases, check, check_equal, main, require

PLUGIN = chart.ROOT / 'helm/kubectl-flowtally'
# Records what it is asked to run in a pod, for no pod runs here; the rest goes to the real one.
STUB = '''#!/bin/sh
for word; do
	[ "$word" != exec ] || { echo "$*"; exit "${EXEC_STATUS:-0}"; }
done
exec "%s" "$@"
'''


def as_pod(template, namespace, name='one'):
    metadata = {key: value for key, value in template['metadata'].items() if key in ('labels', 'annotations')}
    metadata |= {'name': name, 'namespace': namespace}
    return {'apiVersion': 'v1', 'kind': 'Pod', 'metadata': metadata, 'spec': template['spec']}


def account(name, namespace):
    return {'apiVersion': 'v1', 'kind': 'ServiceAccount', 'metadata': {'name': name, 'namespace': namespace}}


def test_validation(cluster):
    """Each value set is valid to the field: names that the server does not know are errors."""
    cluster.namespace(NAMESPACE)
    for name in f'{RELEASE}-flowtally', 'exporter':
        cluster.apply(account(name, NAMESPACE))  # the pod of the test is to be admitted
    for values in VALUE_SETS:
        resources = render(values, *MONITORING)
        for resource in resources:
            if resource['kind'] == 'ServiceAccount':
                resource['metadata']['name'] += '-new'
        said = cluster.apply(*resources, more=('--dry-run=server', '--validate=strict'), status=None)
        check(len(said[0].splitlines()) == len(resources) and 'rror' not in said[1], f'{values.name}:', *said)
    daemon = next(r for r in render() if r['kind'] == 'DaemonSet')
    daemon['spec']['template']['spec']['hostNetwerk'] = True
    _, error = cluster.apply(daemon, more=('--dry-run=server', '--validate=strict'), status=1)
    check('unknown field' in error, error)


def rendered(values, namespace):
    """(kind, name) of what the release consists of."""
    resources = render(values, '--namespace', namespace, *MONITORING)
    return sorted((r['kind'], r['metadata']['name']) for r in resources
                  if 'helm.sh/hook' not in r['metadata'].get('annotations', {}))


def manifest(cluster, namespace):
    text, _ = cluster.helm('get', 'manifest', RELEASE, '-n', namespace)
    return sorted((r['kind'], r['metadata']['name']) for r in yaml.safe_load_all(text) if r)


def test_upgrades(cluster):
    """From the defaults to each value set and back; what is there then is what the set says, and at the end nothing."""
    namespace = NAMESPACE + '-upgrades'
    cluster.namespace(namespace)
    cluster.helm('install', RELEASE, CHART, '-n', namespace)
    default = cluster.everything(namespace)
    for values in VALUE_SETS:
        if values.name == 'everything-values.yaml':  # its names are others
            continue
        cluster.helm('upgrade', RELEASE, CHART, '-n', namespace, '--values', values)
        check_equal(f'{values.name}: resources', manifest(cluster, namespace), rendered(values, namespace))
        daemon = cluster.get('daemonset', f'{RELEASE}-flowtally', '-n', namespace)
        check_equal(f'{values.name}: args', daemon['spec']['template']['spec']['containers'][0]['args'][0], 'run')
        cluster.helm('upgrade', RELEASE, CHART, '-n', namespace, '--reset-values')
        left = [name for name in cluster.everything(namespace) if 'secret/sh.helm' not in name]
        check_equal(f'after {values.name} and back', left, [name for name in default if 'secret/sh.helm' not in name])
    cluster.helm('uninstall', RELEASE, '-n', namespace)
    check_equal('after uninstall', cluster.everything(namespace), [])
    left, _ = cluster.kubectl('get', 'securitycontextconstraints,clusterrole,clusterrolebinding', '-o', 'name',
                              '-l', 'app.kubernetes.io/part-of=flowtally')
    check_equal('of the cluster', [name for name in left.split() if namespace in name], [])
    check_equal('for Prometheus', cluster.everything('monitoring'), [])


def test_settled(cluster):
    """Put there by server-side apply, as Flux, Argo CD and Helm 4 do it: nothing is left to change, however often one looks."""
    namespace = NAMESPACE + '-settled'
    cluster.namespace(namespace)
    for values in VALUE_SETS:
        resources = [r for r in render(values, '--namespace', namespace, *MONITORING)
                     if 'helm.sh/hook' not in r['metadata'].get('annotations', {})]
        for resource in resources:
            if 'namespace' in resource['metadata']:  # not that of Prometheus, where other tests look
                resource['metadata']['namespace'] = namespace
        how = '--server-side', '--field-manager=flux', '--force-conflicts'
        cluster.apply(*resources, verb='apply', more=how)
        changes, _ = cluster.apply(*resources, verb='diff', more=how)
        check_equal(f'{values.name}: what is left to change', changes, '')
        changes, _ = cluster.apply(*resources, verb='diff', more=('--field-manager=other',))
        check_equal(f'{values.name}: and on the client', changes, '')


def test_everything(cluster):
    """The value set with other names: installed, and gone."""
    namespace = NAMESPACE + '-everything'
    cluster.namespace(namespace)
    values = CHART / 'ci/everything-values.yaml'
    cluster.helm('install', RELEASE, CHART, '-n', namespace, '--values', values)
    check_equal('resources', manifest(cluster, namespace), rendered(values, namespace))
    cluster.helm('uninstall', RELEASE, '-n', namespace)
    check_equal('after uninstall', cluster.everything(namespace), [])


def test_rollback(cluster):
    """To a configuration that was; the DaemonSet changes only where it has to."""
    namespace = NAMESPACE + '-rollback'
    cluster.namespace(namespace)

    def state():
        daemon = cluster.get('daemonset', f'{RELEASE}-flowtally', '-n', namespace)
        text = cluster.get('configmap', f'{RELEASE}-flowtally', '-n', namespace)['data']['flowtally.yaml']
        return daemon['metadata']['generation'], yaml.safe_load(text)
    cluster.helm('install', RELEASE, CHART, '-n', namespace, '--set', 'config.idle-timeout=20s')
    first = state()
    cluster.helm('upgrade', RELEASE, CHART, '-n', namespace, '--set', 'config.idle-timeout=30s')
    check_equal('the DaemonSet, when the configuration changes', state(), (first[0], {**first[1], 'idle-timeout': '30s'}))
    cluster.helm('rollback', RELEASE, '1', '-n', namespace)
    check_equal('after rollback', state(), first)
    cluster.helm('upgrade', RELEASE, CHART, '-n', namespace, '--set', 'config.idle-timeout=30s,restartOnConfigChange=true')
    check(state()[0] > first[0], 'no restart, where one is wanted')
    cluster.helm('uninstall', RELEASE, '-n', namespace)
    check_equal('after uninstall', cluster.everything(namespace), [])


def test_pod_security(cluster):
    """privileged takes the pod; baseline refuses it for the network and the capabilities alone; the collector is restricted."""
    for level in 'privileged', 'baseline', 'restricted':
        cluster.namespace(f'level-{level}', enforce=level)
        resources = render({'collector': {'enabled': True}})
        names = {r['metadata']['name'] for r in resources if r['kind'] == 'ServiceAccount'}
        for name in names:
            cluster.apply(account(name, f'level-{level}'))
        pod = as_pod(the_pod(resources), f'level-{level}')
        _, error = cluster.apply(pod, status=0 if level == 'privileged' else 1)
        if level == 'baseline':
            check('forbidden: violates PodSecurity "baseline:latest"' in error, error)
            causes = error.split('"baseline:latest":')[1].strip()
            check_equal('reasons', sorted(part.split(' (')[0].strip() for part in causes.replace('), ', ')|').split('|')),
                        ['host namespaces', 'hostPort', 'non-default capabilities'])
            check('"BPF", "NET_ADMIN", "PERFMON"' in error, error)
        if level == 'restricted':
            check('host namespaces' in error and 'runAsNonRoot' in error and 'seccompProfile' not in error
                  and 'allowPrivilegeEscalation' not in error, error)
        collector = chart.find(resources, 'Deployment')['spec']['template']
        cluster.apply(as_pod(collector, f'level-{level}', 'collector'))
    cluster.namespace('level-warned', enforce='privileged', warn='baseline')
    _, error = cluster.apply(*[r for r in render(None, '--namespace', 'level-warned') if r['kind'] == 'DaemonSet'])
    check('would violate PodSecurity "baseline:latest"' in error, 'no warning where the namespace asks for one', error)


def test_rights(cluster):
    """Who may only change workloads of one namespace can install it; the pods may do nothing, and have no token."""
    namespace = NAMESPACE + '-tenant'
    cluster.namespace(namespace)
    rules = [{'apiGroups': [''], 'resources': ['configmaps', 'secrets', 'serviceaccounts', 'services'], 'verbs': ['*']},
             {'apiGroups': ['apps'], 'resources': ['daemonsets', 'deployments'], 'verbs': ['*']}]
    group = 'rbac.authorization.k8s.io'
    metadata = {'name': 'tenant', 'namespace': namespace}
    cluster.apply({'apiVersion': f'{group}/v1', 'kind': 'Role', 'metadata': metadata, 'rules': rules},
                  {'apiVersion': f'{group}/v1', 'kind': 'RoleBinding', 'metadata': metadata,
                   'subjects': [{'kind': 'User', 'name': 'tenant', 'apiGroup': group}],
                   'roleRef': {'kind': 'Role', 'name': 'tenant', 'apiGroup': group}})
    cluster.helm('install', RELEASE, CHART, '-n', namespace, '--set', 'collector.enabled=true', user='tenant')
    _, error = cluster.helm('upgrade', RELEASE, CHART, '-n', namespace, '--set', 'openshift.enabled=true',
                            user='tenant', status=1)
    check('securitycontextconstraints' in error.lower(), error)
    spec = cluster.get('daemonset', f'{RELEASE}-flowtally', '-n', namespace)['spec']['template']['spec']
    subject = f'system:serviceaccount:{namespace}:{spec["serviceAccountName"]}'
    for verb, what in ('list', 'pods'), ('get', 'secrets'), ('get', 'nodes'), ('create', 'pods'):
        said, _ = cluster.kubectl('auth', 'can-i', verb, what, '-n', namespace, '--as', subject, status=None)
        check_equal(f'{subject} can {verb} {what}', said.strip(), 'no')
    cluster.apply(as_pod({'metadata': {}, 'spec': spec}, namespace))
    pod = cluster.get('pod', 'one', '-n', namespace)
    check_equal('volumes', [v['name'] for v in pod['spec']['volumes']], ['config', 'run'])
    check_equal('ports of the node', [p.get('hostPort') for p in pod['spec']['containers'][0]['ports']], [9717])


def test_notes(cluster):
    """helm shows them when it installs, and finds that the version of Kubernetes will do."""
    namespace = NAMESPACE + '-notes'
    cluster.namespace(namespace)
    out, _ = cluster.helm('install', RELEASE, CHART, '-n', namespace)
    check('Next:' in out and f'kubectl -n {namespace} rollout status daemonset/{RELEASE}-flowtally' in out, out)
    cluster.helm('uninstall', RELEASE, '-n', namespace)
    text, _ = chart.helm('template', RELEASE, CHART, '--kube-version', '1.24.0', status=1)
    check_equal('of 1.24', text, '')


def config_maps(cluster, namespace):
    return {r['metadata']['name']: r['data'] for r in cluster.get('configmaps', '-n', namespace)['items']}


def doctor(cluster, namespace, box):
    """Runs helm test, and the pod that it makes as a node would; exit status of the pod and of helm, what both say."""
    name = f'{RELEASE}-flowtally-doctor'
    helm = subprocess.Popen([*DIES_WITH_TEST, chart.BIN / 'helm', 'test', RELEASE, '-n', namespace, '--timeout', '60s'],
                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                            env={**os.environ, **cluster.environment()})
    wait_until(lambda: cluster.kubectl('get', 'pod', name, '-n', namespace, status=None)[0] or helm.poll() is not None, 30,
               'the pod of helm test')
    pod = cluster.get('pod', name, '-n', namespace)
    with Container(box, 'node', pod, config_maps(cluster, namespace), program.binary()) as container:
        status, said = container.wait(), container.output()
    cluster.kubectl('patch', 'pod', name, '-n', namespace, '--subresource=status', '--type=merge', '-p',
                    json.dumps({'status': {'phase': 'Failed' if status else 'Succeeded'}}))
    said += helm.communicate(timeout=60)[0]
    return status, helm.returncode, said


def test_helm_test(cluster):
    """As the server stored them, the exporter runs and `helm test` ends well; it does not where the interface is missing."""
    namespace = NAMESPACE + '-doctor'
    cluster.namespace(namespace)
    config = {'interfaces': ['m0'], 'bank-entries': 4096, 'cache-entries': 4096, 'drops': 'off'}
    cluster.helm('install', RELEASE, CHART, '-n', namespace, '--set-json', f'config={json.dumps(config)}')
    template = cluster.get('daemonset', f'{RELEASE}-flowtally', '-n', namespace)['spec']['template']
    with Lab('node', 'peer') as box:
        box.veth(('node', 'm0'), ('peer', 'p0'))
        with Container(box, 'node', template, config_maps(cluster, namespace), program.binary()) as pod:
            pod.wait_ready()
            pod_status, helm_status, said = doctor(cluster, namespace, box)
            check((pod_status, helm_status) == (0, 0), f'doctor ended with {pod_status}, helm test with {helm_status}', said)
            check_equal('exit status of the exporter', pod.stop()[0], 0)
        config['interfaces'] = ['nosuch0']
        cluster.helm('upgrade', RELEASE, CHART, '-n', namespace, '--set-json', f'config={json.dumps(config)}')
        pod_status, helm_status, said = doctor(cluster, namespace, box)
        check(pod_status and helm_status and 'nosuch0' in said, f'{pod_status}, helm test {helm_status}', said)
    cluster.helm('uninstall', RELEASE, '-n', namespace)


class Nodes:
    """Three nodes; exporters on two of them, one in each of two namespaces, and a pod of somebody's on the second."""

    def __init__(self, cluster):
        self.cluster, self.folder = cluster, cluster.folder
        (self.folder / 'stub').write_text(STUB % (chart.BIN / 'kubectl'), encoding='ascii')
        (self.folder / 'stub').chmod(0o755)
        resources = render()
        for name in 'node-1', 'node-2', 'node-3':
            cluster.apply({'apiVersion': 'v1', 'kind': 'Node', 'metadata': {'name': name}})
        for namespace, pod, node in ('ours', 'flowtally-aaaaa', 'node-1'), ('theirs', 'flowtally-bbbbb', 'node-2'):
            cluster.namespace(namespace)
            cluster.apply(account(f'{RELEASE}-flowtally', namespace))
            self.place(as_pod(the_pod(resources), namespace, pod), node, 'Running')
        self.place(as_pod(the_pod(resources), 'ours', 'flowtally-ccccc'), 'node-3', 'Pending')
        other = {'metadata': {}, 'spec': {'containers': [{'name': 'web', 'image': 'x'}]}}
        self.place(as_pod(other, 'theirs', 'web-0'), 'node-2', 'Running')

    def place(self, pod, node, phase):
        pod['spec'] = {**pod['spec'], 'nodeName': node}
        self.cluster.apply(pod)
        name, namespace = pod['metadata']['name'], pod['metadata']['namespace']
        self.cluster.kubectl('patch', 'pod', name, '-n', namespace, '--subresource=status', '--type=merge', '-p',
                             '{"status": {"phase": "%s"}}' % phase)

    def plugin(self, *words, status=0, **environment):
        environment |= {**os.environ, **self.cluster.environment(), 'KUBECTL': str(self.folder / 'stub'), **environment}
        done = subprocess.run([PLUGIN, *words], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
                              timeout=60, env=environment)
        check(done.returncode == status, f'kubectl flowtally {" ".join(words)}: exit status {done.returncode}',
              done.stdout, done.stderr)
        return done.stdout + done.stderr


def test_plugin(cluster):
    """kubectl flowtally finds the exporter of a node, in whatever namespace, and runs the verb there, word by word."""
    nodes = Nodes(cluster)
    first = 'exec -n ours flowtally-aaaaa -c flowtally -- flowtally'
    second = 'exec -n theirs flowtally-bbbbb -c flowtally -- flowtally'
    check_equal('of all nodes', nodes.plugin(), 
                f'== node-1 (ours/flowtally-aaaaa)\n{first} status\n== node-2 (theirs/flowtally-bbbbb)\n{second} status\n')
    check_equal('of a node', nodes.plugin('--node', 'node-2', 'observe', '-f', 'tcp and port 443'),
                f'{second} observe -f tcp and port 443\n')
    check_equal('of a pod', nodes.plugin('--pod=web-0', '-n', 'theirs', 'top'), f'{second} top\n')
    check_equal('in a namespace', nodes.plugin('--exporters', 'ours', 'status', '--json'), f'{first} status --json\n')
    check_equal('context', nodes.plugin('--context', 'test', '--node', 'node-1'), f'--context test {first} status\n')
    check_equal('after --', nodes.plugin('--node', 'node-1', '--', 'status'), f'{first} status\n')
    for words in ('top', '-b', '-n', '1'), ('drops', '--for=5s'), ('observe', '-n', '5'), ('status', '--json'):
        check_equal(f'{words} of all nodes', nodes.plugin(*words).count(' '.join(('flowtally', *words))), 2)
    nodes.plugin('--node', 'node-1', status=3, EXEC_STATUS='3')
    nodes.plugin(status=1, EXEC_STATUS='1')
    for words, said in ((('--node', 'node-3'), 'no exporter runs on node node-3'), (('--node', 'nowhere'), 'no exporter runs'),
                        (('top',), 'node-1, by --exporters ours\n  node-2, by --exporters theirs'),
                        (('observe', '-f'), 'observe goes on'), (('observe', 'tcp', '--follow'), 'observe goes on'),
                        (('status', '--watch=1s'), 'status goes on'), (('status', '-w1s'), 'status goes on'),
                        (('drops',), 'drops goes on'), (('--node=', 'top'), 'lacks its value'),
                        (('--pod', ''), 'lacks its value'),
                        (('--nod', 'x'), 'no such option'), (('--node', 'a', '--pod', 'b'), 'give one of them'),
                        (('--selector', 'a=b'), 'no exporter runs'), (('--node',), 'lacks its value')):
        check(said in nodes.plugin(*words, status=2), words, nodes.plugin(*words, status=2))
    check('usage: kubectl flowtally' in nodes.plugin('--help'), 'no usage')
    found = subprocess.run([chart.BIN / 'kubectl', 'flowtally', '--help'], capture_output=True, text=True, check=False,
                           env={**os.environ, 'PATH': f'{PLUGIN.parent}:{os.environ["PATH"]}'})
    check('usage: kubectl flowtally' in found.stdout, 'kubectl does not find it', found.stderr)


def test_plugin_signals(cluster):
    """A signal for the plugin reaches kubectl, and so `observe -f` ends; the status is that of kubectl."""
    stub = cluster.folder / 'waits'
    stub.write_text('#!/bin/sh\ncase "$*" in\n*" exec "* | exec*) ;;\n*) echo "a one node-1"; exit ;;\nesac\n'
                    'trap "echo ended; exit 7" TERM\necho ready\nwhile :; do sleep 0.1; done\n', encoding='ascii')
    stub.chmod(0o755)
    with subprocess.Popen([*DIES_WITH_TEST, PLUGIN, 'observe', '-f'], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          text=True, env={**os.environ, 'KUBECTL': str(stub)}, start_new_session=True) as process:
        check_equal('kubectl', process.stdout.readline(), 'ready\n')
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        check_equal('status, and what kubectl said', (process.returncode, process.stdout.readline()), (7, 'ended\n'))


def run():
    with Cluster() as cluster:
        main([(name, functools.partial(function, cluster)) for name, function in cases(globals())], at_once=3)


if __name__ == '__main__':
    chart.need('helm', 'kube-apiserver', 'kubectl', 'etcd', 'runc', 'seccomp-profile')
    require('openssl', 'setpriv', 'ip', 'nsenter')
    run()
