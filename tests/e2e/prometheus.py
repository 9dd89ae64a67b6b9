# SPDX-License-Identifier: Apache-2.0
"""Debian's Prometheus in a namespace of a lab."""
import contextlib
import json
import socket
import time
import urllib.parse
from pathlib import Path

from lab import wait_until
from tap import Failure, check_equal

AT = '127.0.0.1', 9090


def connect(box, role, at, seconds=20):
    with box.entered(role):
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.settimeout(seconds)
    sock.connect(at)
    return sock


class Prometheus:
    """Scrapes the job flowtally twice a second.  targets: {address:port: its labels}; rules: files."""

    def __init__(self, box, directory, targets, rules=(), role='meter'):
        self.box, self.role = box, role
        static = [{'targets': [target], 'labels': labels} for target, labels in targets.items()]
        config = Path(directory) / 'prometheus.yml'
        config.write_text(json.dumps({'global': {'scrape_interval': '500ms', 'evaluation_interval': '1s'},
                                      'rule_files': [str(rule) for rule in rules],
                                      'scrape_configs': [{'job_name': 'flowtally', 'static_configs': static}]}),
                          encoding='ascii')
        self.log = Path(directory) / 'log'
        with open(self.log, 'wb') as log:
            self.process = box.start(role, 'prometheus', f'--config.file={config}', f'--storage.tsdb.path={directory}/data',
                                     f'--web.listen-address={AT[0]}:{AT[1]}', stdout=log, stderr=log)
        try:
            wait_until(lambda: self.is_ready() or self.process.poll() is not None, 60, 'Prometheus to be ready')
        finally:
            if self.process.poll() is not None:
                raise Failure(self.log.read_text(encoding='utf-8'))

    def ask(self, path, **parameters):
        with connect(self.box, self.role, AT) as sock:
            sock.sendall(f'GET {path}?{urllib.parse.urlencode(parameters)} HTTP/1.0\r\nHost: x\r\n\r\n'.encode())
            answer = b''
            while block := sock.recv(1 << 16):
                answer += block
        return answer.partition(b'\r\n\r\n')[2].decode()

    def is_ready(self):
        with contextlib.suppress(OSError):
            return 'Ready' in self.ask('/-/ready')
        return False

    def answer(self, path, **parameters):
        """What is under `data` of an answer of its API."""
        answer = json.loads(self.ask(f'/api/v1/{path}', **parameters))
        check_equal(f'{path} {parameters}: {answer.get("error", "")}', answer['status'], 'success')
        return answer['data']

    def query(self, expression):
        """[(labels, value)] at this moment."""
        return [(row['metric'], float(row['value'][1])) for row in self.answer('query', query=expression)['result']]

    def query_range(self, expression, seconds, step):
        """[(labels, [(time, value)])] of the last so many seconds."""
        now = time.time()
        rows = self.answer('query_range', query=expression, start=now - seconds, end=now, step=step)['result']
        return [(row['metric'], [(float(at), float(value)) for at, value in row['values']]) for row in rows]
