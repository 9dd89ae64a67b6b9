# SPDX-License-Identifier: Apache-2.0
"""A Kubernetes API server with its etcd, for one test program.

There is no kubelet: pods do not run, but for what a test says of them.
"""
import json
import os
import socket
import ssl
import subprocess
import tempfile
import urllib.request
from pathlib import Path

import yaml

import chart
from lab import DIES_WITH_TEST, wait_until
from tap import Failure, check

TOKENS = {'admin': 'system:masters', 'tenant': ''}
KUBECONFIG = '''apiVersion: v1
kind: Config
clusters: [{{name: test, cluster: {{server: "https://127.0.0.1:{port}", insecure-skip-tls-verify: true}}}}]
users: [{{name: {user}, user: {{token: {user}-token}}}}]
contexts: [{{name: test, context: {{cluster: test, user: {user}}}}}]
current-context: test
'''


def free_ports(count):
    held = [socket.create_server(('127.0.0.1', 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return ports


class Cluster:
    """with Cluster() as cluster: ..."""

    def __init__(self):
        self.scratch = tempfile.TemporaryDirectory(prefix='flowtally-chart-')
        self.folder = Path(self.scratch.name)
        client, peer, self.port = free_ports(3)
        self.etcd_url, self.peer_url = f'http://127.0.0.1:{client}', f'http://127.0.0.1:{peer}'
        self.processes = []

    def start(self, *words):
        with open(self.folder / f'{Path(words[0]).name}.log', 'wb') as log:
            self.processes.append(subprocess.Popen([*DIES_WITH_TEST, *map(str, words)], stdin=subprocess.DEVNULL, stdout=log,
                                                   stderr=log, cwd=self.folder))
        return self.processes[-1]

    def __enter__(self):
        self.start(chart.BIN / 'etcd', '--data-dir', self.folder / 'etcd', '--listen-client-urls', self.etcd_url,
                   '--advertise-client-urls', self.etcd_url, '--listen-peer-urls', self.peer_url, '--unsafe-no-fsync',
                   '--initial-advertise-peer-urls', self.peer_url, '--initial-cluster', f'default={self.peer_url}')
        key = self.folder / 'sa.key'
        subprocess.run(['openssl', 'genrsa', '-out', key, '2048'], check=True, capture_output=True)
        subprocess.run(['openssl', 'rsa', '-in', key, '-pubout', '-out', self.folder / 'sa.pub'], check=True,
                       capture_output=True)
        (self.folder / 'tokens.csv').write_text(
            ''.join(f'{user}-token,{user},{user},"{group}"\n' for user, group in TOKENS.items()), encoding='ascii')
        for user in TOKENS:
            (self.folder / user).write_text(KUBECONFIG.format(port=self.port, user=user), encoding='ascii')
        self.start(chart.BIN / 'kube-apiserver', '--etcd-servers', self.etcd_url,
                   f'--service-account-key-file={self.folder}/sa.pub',
                   f'--service-account-signing-key-file={key}', '--service-account-issuer=https://kubernetes.default.svc',
                   f'--token-auth-file={self.folder}/tokens.csv', '--authorization-mode=RBAC', f'--secure-port={self.port}',
                   '--bind-address=127.0.0.1', f'--cert-dir={self.folder}/certs', '--service-cluster-ip-range=10.0.0.0/24',
                   '--enable-admission-plugins=PodSecurity', '--watch-cache=false')
        try:
            wait_until(lambda: self.is_ready() or any(one.poll() is not None for one in self.processes), 120, 'the API server')
            check(self.is_ready(), 'the API server or its etcd has ended')
            self.prepare()
        except BaseException:
            log = (self.folder / 'kube-apiserver.log').read_text(encoding='utf-8', errors='replace')
            self.__exit__()
            print('\n'.join('# ' + line for line in log.splitlines()[-10:]))
            raise
        return self

    def __exit__(self, *_):
        for process in self.processes:
            process.kill()
            process.wait()
        self.scratch.cleanup()

    def is_ready(self):
        request = urllib.request.Request(f'https://127.0.0.1:{self.port}/readyz',
                                         headers={'Authorization': 'Bearer admin-token'})
        nobody = ssl.create_default_context()
        nobody.check_hostname, nobody.verify_mode = False, ssl.CERT_NONE
        try:
            with urllib.request.urlopen(request, timeout=5, context=nobody) as answer:
                return answer.status == 200
        except OSError:
            return False

    def prepare(self):
        """Resources of the Prometheus operator and of OpenShift, and the namespace of the former."""
        self.kubectl('create', '-f', chart.CACHE / 'crds')
        self.kubectl('wait', '--for=condition=Established', 'crd', '--all', '--timeout=60s')
        self.namespace('monitoring')

    def namespace(self, name, **levels):
        """With the account that a controller would make; levels: of Pod Security."""
        labels = {f'pod-security.kubernetes.io/{mode}': level for mode, level in levels.items()}
        self.apply({'apiVersion': 'v1', 'kind': 'Namespace', 'metadata': {'name': name, 'labels': labels}})
        self.apply({'apiVersion': 'v1', 'kind': 'ServiceAccount', 'metadata': {'name': 'default', 'namespace': name}})

    def environment(self, user='admin'):
        return {'KUBECONFIG': str(self.folder / user), 'HELM_CACHE_HOME': str(self.folder / 'helm')}

    def kubectl(self, *words, status=0, user='admin', text=None):
        """Runs kubectl; its standard output and error.  status None: any."""
        done = subprocess.run([chart.BIN / 'kubectl', *map(str, words)], input=text, capture_output=True, text=True,
                              check=False, timeout=120, env={**os.environ, **self.environment(user)})
        if status is not None and done.returncode != status:
            raise Failure(f'kubectl {" ".join(map(str, words))}: exit status {done.returncode}\n'
                          f'{done.stdout[-500:]}{done.stderr}')
        return done.stdout, done.stderr

    def apply(self, *resources, verb='create', more=(), **options):
        return self.kubectl(verb, *more, '-f', '-', text=yaml.safe_dump_all(resources), **options)

    def get(self, *words):
        return json.loads(self.kubectl('get', '-o', 'json', *words)[0])

    def helm(self, *words, user='admin', status=0):
        return chart.helm(*words, env=self.environment(user), status=status)

    def everything(self, namespace):
        """kind/name of all that is in a namespace, but what is in each."""
        kinds = self.kubectl('api-resources', '--verbs=list', '--namespaced', '-o', 'name')[0].split()
        kinds = [kind for kind in kinds if not kind.startswith('events')]
        names = self.kubectl('get', ','.join(kinds), '-n', namespace, '-o', 'name', '--ignore-not-found')[0].split()
        return sorted(set(names) - {'serviceaccount/default', 'configmap/kube-root-ca.crt'})
