#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Counts test results for ./check from the logs of `meson test`, each TAP subtest by itself.

results.py summary BASE    what BASE.json and BASE.junit.xml hold: a line a test, and the end of the
                           output of those that failed; exits 1 if any did
results.py total FOLDER    the closing line over all logs in the folder; exits 1 if any failed or none ran

The file `builds` in the folder has results that do not come from meson: verdict, tab, name.
"""
import json
import re
import sys
import xml.etree.ElementTree as xml
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

TAIL_LINES = 60
VERDICTS = {'OK': 'passed', 'EXPECTEDFAIL': 'passed', 'SKIP': 'skipped'}
NOT_XML = re.compile('[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]')


@dataclass
class Entry:
    verdict: str
    name: str


def subtests(base):
    """Entries by name of the test, of tests that report more than an exit status."""
    found = {}
    path = Path(f'{base}.junit.xml')
    if not path.exists():
        return found
    # Output of tests is quoted in it, and meson does not mind what XML forbids.
    root = xml.fromstring(NOT_XML.sub('', path.read_text(encoding='utf-8', errors='replace')))
    for suite in root.iter('testsuite'):
        name = suite.get('name').split('.', 1)[-1]
        for case in suite.iter('testcase'):
            bad = case.find('failure') is not None or case.find('error') is not None
            verdict = 'failed' if bad else 'skipped' if case.find('skipped') is not None else 'passed'
            found.setdefault(name, []).append(Entry(verdict, case.get('name')))
    return found


def read_log(base):
    path = Path(f'{base}.json')
    text = path.read_text(encoding='utf-8', errors='replace') if path.exists() else ''
    return [json.loads(line) for line in text.splitlines() if line]


def entries_of(test, parts):
    """What one test counts as: its subtests, and itself if it failed and none of them did."""
    name = test['name'].rsplit(' / ', 1)[-1]
    verdict = VERDICTS.get(test['result'], 'failed')
    entries = [Entry(part.verdict, f'{name}: {part.name}') for part in parts]
    if not entries or (verdict == 'failed' and not any(part.verdict == 'failed' for part in parts)):
        entries.append(Entry(verdict, name))
    return entries


def read_tests(base):
    parts = subtests(base)
    return [entry for test in read_log(base) for entry in entries_of(test, parts.get(test['name'], []))]


def counted(entries):
    count = Counter(entry.verdict for entry in entries)
    return f'{count["passed"]} passed, {count["failed"]} failed, {count["skipped"]} skipped', count


def tail(text):
    return '\n'.join('    ' + line for line in text.splitlines()[-TAIL_LINES:])


def summary(base):
    parts, failed = subtests(base), False
    for test in read_log(base):
        entries = entries_of(test, parts.get(test['name'], []))
        line, count = counted(entries)
        print(f'{test["name"].removeprefix("flowtally:")}: {line} ({test["duration"]:.1f} s)')
        output = test.get('stdout') or ''
        if count['failed']:
            failed = True
            print(''.join(f'  failed: {entry.name}\n' for entry in entries if entry.verdict == 'failed'), end='')
            print(f'  {test["result"]}, status {test["returncode"]}; the end of its output:')
            print(tail(output + (test.get('stderr') or '')))
        elif count['skipped']:
            reasons = re.findall(r'^(?:ok .*# *skip.*|1\.\.0.*|skipped?:.*)$', output, re.I | re.M)
            print(''.join(f'  {reason}\n' for reason in reasons[:10]), end='')
    return 1 if failed else 0


def total(folder):
    builds = Path(folder) / 'builds'
    lines = builds.read_text().splitlines() if builds.exists() else []
    entries = [Entry(line.split('\t')[0], line.split('\t')[-1]) for line in lines]
    for log in sorted(Path(folder).glob('*.json')):
        entries += read_tests(log.with_suffix(''))
    line, count = counted(entries)
    print(''.join(f'failed: {entry.name}\n' for entry in entries if entry.verdict == 'failed') + line)
    return 1 if count['failed'] or not entries else 0


if __name__ == '__main__':
    sys.exit({'summary': summary, 'total': total}[sys.argv[1]](sys.argv[2]))
