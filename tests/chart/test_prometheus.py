#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A real Prometheus finds the exporters by the chart's monitors, as the operator's own code has it do.

The pods are those that a real API server has; who answers for them is this test, for there is no kubelet.  Debian's
Prometheus is built without the discovery of Kubernetes: it gets here what that would find.
"""
import contextlib
import ctypes
import functools
import http.server
import json
import re
import subprocess
import threading
import urllib.parse
import urllib.request

import yaml

import chart
from chart import CHART, RELEASE
from cluster import Cluster, free_ports
from lab import CLONE_NEWNET, LIBC, command, wait_until
from tap import Failure, check, check_equal, main, require

# Other names than the usual ones, by which nothing may look for the exporters.
NAME = 'flows-of-nodes'
VALUES = {'preset': 'full', 'nameOverride': 'flows', 'fullnameOverride': NAME,
          'config': {'collectors': ['ipfix://192.0.2.1']}}
THERE, AWAY = '198.51.100.1', '198.51.100.2'  # of a network namespace of the test's, for no endpoint may be in 127.0.0.0/8
NODES = {'one': THERE, 'two': AWAY}
RULES = 'FlowtallyExporterDown', 'FlowtallyExporterMissing'
METRIC = b'# TYPE flowtally_snapshots counter\nflowtally_snapshots_total 1\n'


class Metrics(http.server.BaseHTTPRequestHandler):
    """What an exporter would serve, as far as it matters here."""

    def do_GET(self):  # pylint: disable=invalid-name
        self.send_response(200 if self.path == '/metrics' else 404)
        self.end_headers()
        self.wfile.write(METRIC)

    def log_message(self, *_):
        pass


def labels_of(kind, labels):
    """As the discovery of Kubernetes tells them."""
    names = {key: re.sub(r'\W', '_', key) for key in labels}
    return {f'__meta_kubernetes_{kind}_label_{names[key]}': value for key, value in labels.items()} | {
        f'__meta_kubernetes_{kind}_labelpresent_{name}': 'true' for name in names.values()}


def meta(pod, container, port):
    about = {'pod_name': pod['metadata']['name'], 'pod_ip': pod['status']['podIP'], 'pod_phase': pod['status']['phase'],
             'pod_ready': 'true', 'pod_node_name': pod['spec']['nodeName'], 'pod_container_name': container['name'],
             'pod_container_port_name': port['name'], 'pod_container_port_number': str(port['containerPort'])}
    return {'__meta_kubernetes_namespace': pod['metadata']['namespace'],
            **{f'__meta_kubernetes_{key}': value for key, value in about.items()},
            **labels_of('pod', pod['metadata']['labels'])}


def find_pods(cluster, namespace):
    """[(address, labels)] of the role `pod`: each port of each container."""
    for pod in cluster.get('pods', '-n', namespace)['items']:
        for container in pod['spec']['containers']:
            for port in container.get('ports', []):
                yield f'{pod["status"]["podIP"]}:{port["containerPort"]}', meta(pod, container, port)


def find_endpoints(cluster, namespace):
    """[(address, labels)] of the role `endpoints`: each port of each pod that a Service selects."""
    for service in cluster.get('services', '-n', namespace)['items']:
        wanted = service['spec']['selector'].items()
        for pod in cluster.get('pods', '-n', namespace)['items']:
            if not wanted <= pod['metadata']['labels'].items():
                continue
            container = pod['spec']['containers'][0]
            for port in container['ports']:
                at = port['name'], port['containerPort']
                names = [p['name'] for p in service['spec']['ports'] if p['targetPort'] in at]
                about = {'service_name': service['metadata']['name'], 'endpoint_ready': 'true',
                         'endpoint_address_target_kind': 'Pod', 'endpoint_address_target_name': pod['metadata']['name']}
                for name in names:
                    yield f'{pod["status"]["podIP"]}:{port["containerPort"]}', {
                        **meta(pod, container, port), '__meta_kubernetes_endpoint_port_name': name,
                        **{f'__meta_kubernetes_{key}': value for key, value in about.items()},
                        **labels_of('service', service['metadata']['labels'])}


FOUND = {'pod': find_pods, 'endpoints': find_endpoints}


class Server:
    """Debian's Prometheus, by the configuration that the operator makes of the monitors of a namespace."""

    def __init__(self, cluster, namespace):
        self.port, = free_ports(1)
        self.folder = cluster.folder / f'prometheus-{namespace}'
        self.folder.mkdir()
        rules = cluster.get('prometheusrules', '-n', namespace)['items']
        (self.folder / 'rules.yaml').write_text(json.dumps({'groups': [g for r in rules for g in r['spec']['groups']]}),
                                                encoding='utf-8')
        (self.folder / 'prometheus.yml').write_text(json.dumps(self.configuration(cluster, namespace)), encoding='utf-8')
        self.process = cluster.start('prometheus', f'--config.file={self.folder}/prometheus.yml',
                                     f'--storage.tsdb.path={self.folder}/data',
                                     f'--web.listen-address=127.0.0.1:{self.port}')

    def configuration(self, cluster, namespace):
        found = {'Server': {'metadata': {'name': 'test', 'namespace': namespace},
                            'spec': {'version': 'v2.42.0', 'scrapeInterval': '30s'}}}
        for key, kind in ('Pods', 'podmonitors'), ('Services', 'servicemonitors'):
            found[key] = {f'{m["metadata"]["namespace"]}/{m["metadata"]["name"]}': m
                          for m in cluster.get(kind, '-n', namespace)['items']}
        done = subprocess.run([chart.BIN / 'scrape-config'], input=json.dumps(found), capture_output=True, text=True,
                              check=False)
        if done.returncode:
            raise Failure(f'the operator does not take the monitor:\n{done.stderr}')
        # The operator's reloader puts these in, by the environment of its pod.
        config = yaml.safe_load(done.stdout.replace('$(SHARD)', '0').replace('$(POD_NAME)', 'test'))
        for job in config['scrape_configs']:
            place, = job.pop('kubernetes_sd_configs')
            check_equal('namespaces', place['namespaces'], {'names': [namespace]})
            job['static_configs'] = [{'targets': [address], 'labels': labels}
                                     for address, labels in FOUND[place['role']](cluster, namespace)]
        config['global'] |= {'evaluation_interval': '1s'}
        config['rule_files'] = [str(self.folder / 'rules.yaml')]
        config.pop('alerting', None)
        return config

    def answer(self, path, **parameters):
        words = urllib.parse.urlencode(parameters)
        try:
            with urllib.request.urlopen(f'http://127.0.0.1:{self.port}/api/v1/{path}?{words}', timeout=10) as answer:
                return json.load(answer)['data']
        except OSError:
            return None

    def up(self):
        """{(job, instance, node, pod): whether it answers} of what the chart has."""
        rows = (self.answer('query', query='up') or {'result': []})['result']
        return {tuple(row['metric'].get(key) for key in ('job', 'instance', 'node', 'pod')): int(row['value'][1])
                for row in rows}

    def alerts(self):
        """[(name, node)] of those that are about exporters as such, pending or firing."""
        found = (self.answer('alerts') or {'alerts': []})['alerts']
        return [(a['labels']['alertname'], a['labels'].get('node')) for a in found if a['labels']['alertname'] in RULES]


def place(cluster, namespace, template, node, address):
    name = f'{template["spec"]["containers"][0]["name"]}-{node}'
    cluster.apply({'apiVersion': 'v1', 'kind': 'Pod', 'spec': {**template['spec'], 'nodeName': node},
                   'metadata': {'name': name, 'namespace': namespace, 'labels': template['metadata']['labels']}})
    status = {'phase': 'Running', 'podIP': address, 'podIPs': [{'ip': address}], 'hostIP': address}
    cluster.kubectl('patch', 'pod', name, '-n', namespace, '--subresource=status', '--type=merge', '-p',
                    json.dumps({'status': status}))


def place_pods(cluster, namespace):
    """An exporter on each node, and the collector, which is none."""
    for node, address in NODES.items():
        place(cluster, namespace, cluster.get('daemonset', NAME, '-n', namespace)['spec']['template'], node, address)
    collector = cluster.get('deployment', f'{NAME}-collector', '-n', namespace)['spec']['template']
    place(cluster, namespace, collector, 'one', THERE)


def check_found(cluster, kind):
    namespace = f'flowtally-{kind.lower()}'
    cluster.namespace(namespace)
    with http.server.ThreadingHTTPServer((THERE, 0), Metrics) as exporter:
        port = exporter.server_address[1]
        threading.Thread(target=exporter.serve_forever, daemon=True).start()
        values = {**VALUES, 'config': {**VALUES['config'], 'metrics-listen': f'0.0.0.0:{port}'},
                  kind: {'enabled': True, 'interval': '1s'}, 'collector': {'enabled': True}}
        words = chart.options(values)
        try:
            cluster.helm('install', RELEASE, CHART, '-n', namespace, *words)
        finally:
            chart.clean(words)
        place_pods(cluster, namespace)
        server = Server(cluster, namespace)
        wanted = {('flowtally', node, node, f'flowtally-{node}'): int(address == THERE)
                  for node, address in NODES.items()}
        with contextlib.suppress(Failure):
            wait_until(lambda: server.up() == wanted or server.process.poll() is not None, 60, 'the exporters')
        check_equal('exporters', server.up(), wanted)
        # Before the first scrape all of them are missing.
        with contextlib.suppress(Failure):
            wait_until(lambda: server.alerts() == [('FlowtallyExporterDown', 'two')], 30, 'the alert')
        check_equal('alerts about exporters', server.alerts(), [('FlowtallyExporterDown', 'two')])
        rules = [rule for group in server.answer('rules')['groups'] for rule in group['rules']]
        check(len(rules) > 20 and all(rule['health'] == 'ok' for rule in rules), rules)
        exporter.shutdown()


def own_network():
    if LIBC.unshare(CLONE_NEWNET) < 0:
        raise OSError(ctypes.get_errno(), 'unshare')
    command('ip', 'link', 'add', 'd0', 'type', 'veth', 'peer', 'name', 'd1')
    for name in 'lo', 'd0', 'd1':
        command('ip', 'link', 'set', name, 'up')
    for address in NODES.values():
        command('ip', 'address', 'add', f'{address}/32', 'dev', 'd0')
    command('ip', 'route', 'add', 'default', 'dev', 'd0')  # without one the server does not start


def run():
    own_network()
    with Cluster() as cluster:
        main([(kind, functools.partial(check_found, cluster, kind)) for kind in ('podMonitor', 'serviceMonitor')], at_once=2)


if __name__ == '__main__':
    chart.need('helm', 'kube-apiserver', 'kubectl', 'etcd', 'scrape-config')
    require('openssl', 'setpriv', 'prometheus', 'ip')
    run()
