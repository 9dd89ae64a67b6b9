#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""json_schema.py FLOWTALLY: the JSON schema by a validator that is not ours: it takes and refuses what the program does."""
import subprocess
import sys
import tempfile

try:
    import jsonschema
    import yaml
except ImportError as error:
    print(error)
    sys.exit(77)

GOOD = [
    'interfaces: [eth0]\ncollectors: [ipfix://a, {url: "ipfix://b", name: x, rate: 10k/s, dscp: 8, drops: on}]',
    'ingress: off\ndrops: on\ndrops-budget: off\nsummary: off', 'rate: 5000\nmessage-size: 1KiB\nlive: true', '{}',
    'metrics: {listen: off, hubble: true}', 'metrics: {listen: "[::1]:9717"}', 'metrics-listen: "0.0.0.0:9717"',
    'collectors: [{protocol: ipfix, host: a}, {protocol: ipfix+tcp, host: a, port: 4740, retry: 5}]',
    'collectors: [{protocol: json, path: "-"}, {protocol: file, path: /x, name: a}, {url: "ipfix+tcp://a", retry: 5s}]',
    'control: off', 'metrics: off', 'control: {socket: /x, records: 5000, keep: 1h}', 'control-socket: /x',
]
BAD = [
    'idle-timout: 15s', 'idle-timeout: 15', 'idle-timeout: 15x', 'interfaces: eth0', 'dscp: 64', 'dscp: x', 'live: maybe',
    'collectors: [{name: x}]', 'collectors: [{url: "ipfix://a", ratte: 5}]', 'collectors: [{url: "ipfix://a", dscp: 64}]',
    'collectors: [{url: "ipfix://a", drops: auto}]', 'collectors: [{url: "ipfix+tcp://a", retry: 0}]',
    'collectors: [{url: "ipfix://a", host: b}]', 'collectors: [{url: "ipfix://a", port: 5}]', 'collectors: [{host: b}]',
    'collectors: [{protocol: ipfix, path: /x}]', 'collectors: [{protocol: ipfix}]', 'collectors: [{protocol: file, host: x}]',
    'collectors: [{protocol: file, path: /x, port: 5}]', 'collectors: [{protocol: ipfx, host: a}]',
    'collectors: [{protocol: ipfix, host: a, port: 0}]', 'collectors: [{protocol: ipfix, host: a, path: /x}]',
    'ingress: xpd', 'message-size: 10000', 'rate: 5/m', '[]', 'egress: xdp',
    'control: {sockt: /x}', 'control: {records: 5}',
    'metrics: {listn: off}', 'metrics: {listen: 9717}',
]


def run(*arguments):
    return subprocess.run([sys.argv[1], 'config', *arguments], check=True, capture_output=True, text=True).stdout


def verdict(validator, text):
    return not list(validator.iter_errors(yaml.safe_load(text)))


def program_takes(text):
    """What another program writes that has read the text by YAML 1.1, where on and off are truths."""
    with tempfile.NamedTemporaryFile('w', suffix='.yaml') as file:
        yaml.safe_dump(yaml.safe_load(text), file)
        file.flush()
        return subprocess.run([sys.argv[1], 'config', 'check', file.name], capture_output=True, check=False).returncode == 0


schema = yaml.safe_load(run('schema'))
jsonschema.Draft7Validator.check_schema(schema)
validator = jsonschema.Draft7Validator(schema)
example = run('example')
commented = '\n'.join(line.removeprefix('#') if line[:2] != '# ' or line[:3] == '#  ' else '' for line in example.splitlines())
wrong = [f'refused: {text}' for text in [*GOOD, example, commented] if not verdict(validator, text)]
wrong += [f'taken: {text}' for text in BAD if verdict(validator, text)]
wrong += [f'the program refuses: {text}' for text in GOOD if not program_takes(text)]
wrong += [f'the program takes: {text}' for text in BAD if program_takes(text)]
sections = {key for key, value in schema['properties'].items()
            if any('properties' in form for form in value.get('anyOf', []))}
missing = set(schema['properties']) - set(yaml.safe_load(commented)) - sections
wrong += [f'not in the example: {key}' for key in missing]
print('\n'.join(wrong))
sys.exit(1 if wrong else 0)
