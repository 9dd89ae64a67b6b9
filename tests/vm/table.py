#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Prints docs/kernels.md from what runs of run.py found: table.py FOLDER > docs/kernels.md

FOLDER: the one with KERNEL.json, by default that of ./torture or ./check, build/check/gcc/tests/vm.
"""
import json
import re
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
INTRODUCTION = '''# Kernels

What tests/vm found in virtual machines; `tests/vm/table.py` has written this page from their results.
Of each kernel: the hooks, what the kernel's verifier walks of each program (it allows a million instructions, the tests a
quarter of that) when clang 14 and clang 19 compile it, and how many tests passed.
'''
PROGRAMS = {'flowtally_xdp': 'XDP', 'flowtally_tc': 'TC egress', 'flowtally_tc_in': 'TC ingress',
            'flowtally_tc_l3': 'TC egress, no link header', 'flowtally_tc_i3': 'TC ingress, no link header',
            'flowtally_drop': 'drops', 'flowtally_xdp_e': 'XDP exceptions'}
WORDS = {'ok': 'passed', 'not ok': 'failed'}


def series(result):
    return tuple(int(number) for number in re.findall(r'\d+', result['release'])[:2]), result['arch']


def values(result, kind):
    return {fact['name']: fact['value'] for fact in result['facts'] if fact['kind'] == kind}


def row(cells):
    return '| ' + ' | '.join(str(cell) for cell in cells) + ' |'


def table(head, rows):
    return '\n'.join([row(head), '|' + '---|' * len(head), *map(row, rows)])


def name(result):
    return '.'.join(map(str, series(result)[0])) + (' arm64' if result['arch'] == 'aarch64' else '')


def hooks(result):
    said = values(result, 'hooks')
    kinds = [re.search(r'egress (\w+)', text)[1] for text in said.values()]
    ingress = 'XDP' if any('ingress XDP' in text for text in said.values()) else ''
    return ', '.join(dict.fromkeys([ingress, *kinds] if ingress else kinds)) or '-'


def verdicts(result):
    count = Counter('skipped' if point['skip'] else WORDS[point['verdict']] for point in result['points'])
    return ', '.join(f'{number} {word}' for word, number in count.items())


def summary(results):
    refused = {name(one): text for one in results for text in values(one, 'refused').values() if isinstance(text, str)}
    rows = [(name(one), one['release'], f'refused: {refused[name(one)]}' if name(one) in refused else hooks(one), verdicts(one),
             one['date'], f'{one["seconds"]} s') for one in results]
    return table(('kernel', 'release', 'hooks', 'tests', 'date', 'time'), rows)


def walked(results, clang):
    rows = []
    for result in results:
        counts = values(result, 'verified')
        if counts.get(f'flowtally_tc clang {clang}'):
            rows.append((name(result), *(f'{counts.get(f"{program} clang {clang}", 0):,}' for program in PROGRAMS)))
    return table(('kernel', *PROGRAMS.values()), rows)


def verdict(result, text):
    """Of a test by its name; nothing where it does not run."""
    found = [point for point in result['points'] if point['name'] == text]
    if not found:
        return ''
    return 'skipped' if found[0]['skip'] else 'yes' if all(point['verdict'] == 'ok' for point in found) else '**no**'


def tests(results):
    names = dict.fromkeys(point['name'] for one in results for point in one['points'])
    return table(('passed', *map(name, results)), [(text, *(verdict(one, text) for one in results)) for text in names])


def main():
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / 'build/check/gcc/tests/vm')
    results = sorted((json.loads(path.read_text(encoding='utf-8')) for path in folder.glob('*.json')), key=series)
    print(INTRODUCTION)
    print(summary(results))
    for clang in 14, 19:
        print(f'\n## Instructions that the verifier walks, clang {clang}\n')
        print(walked(results, clang))
    print('\n## Tests\n')
    print(tests(results))


if __name__ == '__main__':
    main()
