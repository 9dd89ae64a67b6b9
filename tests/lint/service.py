#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""service.py FLOWTALLY CONFIG: systemd finds nothing wrong with the unit, and its times and its filter fit the exporter."""
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
import calls
import tree

program, folder = Path(sys.argv[1]).resolve(), Path(sys.argv[2])
unit, reload = ((folder / name).read_text(encoding='ascii') for name in ('flowtally.service', 'notify-reload.conf'))
RELOAD = "/bin/sh -c 'kill -HUP ${MAINPID}'"
wrong = []


def need(condition, what):
    if not condition:
        wrong.append(what)


def settings(text):
    """{'Service': [('Type', 'notify'), ...], ...}; a line without '=' is wrong."""
    sections, section = {}, None
    for line in text.splitlines():
        if line.startswith('[') and line.endswith(']'):
            section = sections.setdefault(line[1:-1], [])
        elif line and line[0] not in '#;':
            need('=' in line and section is not None, f'not NAME=VALUE: {line}')
            section.append(tuple(line.split('=', 1)))
    return sections


def seconds(text):
    number, unit_of_time = re.fullmatch(r'([0-9]+)(s|m|min)', text).groups()
    return int(number) * (1 if unit_of_time == 's' else 60)


def verify(text):
    """What systemd has to say of the unit, by the program that was built."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / 'flowtally.service'
        path.write_text(text.replace('ExecStart=flowtally ', f'ExecStart={program} '), encoding='ascii')
        run = subprocess.run(['systemd-analyze', 'verify', '--man=no', path], capture_output=True, text=True, check=False)
        return run.stdout + run.stderr + (f'exit status {run.returncode}' if run.returncode else '')


# What the exporter gives itself needs these before it does; the rest of its calls are those of docs/security.md.
CALLS_OF_START = {'seccomp', 'landlock_create_ruleset', 'landlock_add_rule', 'execve', 'mkdir', 'fchmod', 'fchmodat',
                  'fchownat'}
EXPOSURE_MAX = 2.0  # of 10


def exposure(text):
    """How much systemd thinks that a break-in could do, from 0 to 10."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / 'flowtally.service'
        path.write_text(text, encoding='ascii')
        run = subprocess.run(['systemd-analyze', 'security', '--offline=true', '--no-pager', path], capture_output=True,
                             text=True, check=False)
        return float(re.search(r'Overall exposure level for \S+: ([0-9.]+)', run.stdout)[1])


def group(name, known={}):  # pylint: disable=dangerous-default-value
    """The system calls of a group of systemd's, with those of groups in it."""
    if name not in known:
        run = subprocess.run(['systemd-analyze', 'syscall-filter', '--no-pager', name], capture_output=True, text=True,
                             check=True)
        words = [line.strip() for line in run.stdout.splitlines()[1:]]
        known[name] = calls_of(word for word in words if word and word[0] != '#')
    return known[name]


def calls_of(words):
    return {call for word in words for call in (group(word) if word[0] == '@' else {word})}


def allowed_calls(lines):
    """What the lines of SystemCallFilter= let pass, the first of which is a list of what is allowed."""
    allowed = set()
    for line in lines:
        named = calls_of(line.lstrip('~').split())
        allowed = allowed - named if line[0] == '~' else allowed | named
    return allowed


service = dict(settings(unit)['Service'])
shown = subprocess.run([program, 'config', 'show', '--effective'], check=True, capture_output=True, text=True, env={}).stdout
need(service['Type'] == 'notify', 'systemd 252 knows notify and not notify-reload')
need(service['ExecReload'] == RELOAD, 'without notify-reload systemd sends no SIGHUP by itself')
need(service['RestartPreventExitStatus'] == '2', 'a wrong configuration is started again')
need(dict(settings(unit)['Unit'])['StartLimitIntervalSec'] == '0', 'it is not tried again for ever')
need(service['ExecStart'].startswith('flowtally run --config /'), 'the unit runs something else')
need(seconds(service['TimeoutStopSec']) > seconds(re.search(r'^stop-timeout: (\w+)', shown, re.M)[1]),
     'systemd kills the exporter before its stop-timeout is over')
need(settings(reload) == {'Service': [('Type', 'notify-reload'), ('ExecReload', '')]}, 'notify-reload.conf says something else')
if shutil.which('systemd-analyze'):
    version = int(re.search(r'systemd (\d+)', subprocess.run(['systemd-analyze', '--version'], check=True, capture_output=True,
                                                             text=True).stdout)[1])
    said = verify(unit)
    need(not said, f'systemd says: {said}')
    need('ignoring' in verify(unit.replace('Type=notify', 'Type=nosuch')), 'systemd-analyze finds no mistakes')
    found = exposure(unit)
    need(found <= EXPOSURE_MAX, f'systemd-analyze security: {found}')
    need(exposure('[Service]\nExecStart=/bin/true\n') > 9, 'systemd-analyze security finds no mistakes')
    told = calls.of_page((tree.ROOT / calls.PAGE).read_text())
    needed = CALLS_OF_START | told['Always'] | told['Files'] | told['Network'] | told['Kernel'] | told['With conditions']
    lacking = needed - allowed_calls([value for name, value in settings(unit)['Service'] if name == 'SystemCallFilter'])
    need(not lacking, f'SystemCallFilter= forbids what the exporter needs: {", ".join(sorted(lacking))}')
    if version >= 253:
        said = verify(unit.replace('Type=notify', 'Type=notify-reload').replace(f'ExecReload={RELOAD}\n', ''))
        need(not said, f'systemd says of notify-reload: {said}')
print('\n'.join(wrong))
sys.exit(1 if wrong else 0)
