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

What tests/vm found in virtual machines, on the days that the first table names; `tests/vm/table.py` has written this page
from their results. 5.15 and 6.8 are Ubuntu's kernels, all others Debian's, each with what its distribution has added.
The exporter ran with CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON alone, in the bounding set too, and with `sandbox: kill`, by which
a system call that is not on the list of [security.md](security.md#system-calls) ends it. What begins with "three capabilities"
came after the start: rotation, questions, an interface that came, a hook that somebody took away, a reload that loaded other
programs, files that landlock refuses. "Static" is the program without shared libraries. A word behind a kernel was on its
command line, and there the tests of the sandbox ran alone.

On 2026-11-29 the machine had much else to do. 5.15, 6.8, 6.12 and arm64 were run in parts, some anew after a test was mended or
the time limit had ended it. Times are those of the longest part on such a machine. The program of the
Debian package ran "three capabilities" and the verbs on 5.15 and 7.3 that day, and passed.
'''
DIFFERENCES = '''
## What differs

What a kernel lacks is what `flowtally --version` calls missing; its version of landlock is what the kernel answers (0: none,
or not among its security modules); reasons are those that it has names for. `flowtally doctor --interface lo` was root's; what
it says of the clock of emulated machines is left out. Before 6.6 there is no tcx: clsact filters take its place. Before 5.18
a kernel has no reason for what it drops of TCP over IPv6: records have NOT_SPECIFIED.
'''
VERIFIED = '''
The verifier allows a program a million instructions, and these tests a quarter of that.
'''
PROGRAMS = {'flowtally_xdp': 'XDP', 'flowtally_tc': 'TC egress', 'flowtally_tc_in': 'TC ingress',
            'flowtally_tc_l3': 'TC egress, no link header', 'flowtally_tc_i3': 'TC ingress, no link header',
            'flowtally_drop': 'drops', 'flowtally_xdp_e': 'XDP exceptions'}
OF_MACHINE = re.compile(r'\w+ (clock-\w+|collectors):')  # of the emulated one, and of this test
WORDS = {'ok': 'passed', 'not ok': 'failed'}


def series(result):
    return tuple(int(number) for number in re.findall(r'\d+', result['release'])[:2]), result['arch'], result.get('word', '')


def values(result, kind):
    return {fact['name']: fact['value'] for fact in result['facts'] if fact['kind'] == kind}


def row(cells):
    return '| ' + ' | '.join(str(cell) for cell in cells) + ' |'


def table(head, rows):
    return '\n'.join([row(head), '|' + '---|' * len(head), *map(row, rows)])


def name(result):
    return ' '.join(filter(None, ['.'.join(map(str, series(result)[0])), 'arm64' if result['arch'] == 'aarch64' else '',
                                  result.get('word', '')]))


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


def differences(results):
    rows = []
    for result in results:
        missing, said = values(result, 'missing').get('flowtally'), values(result, 'doctor').get('flowtally')
        if missing is None or said is None:
            continue
        landlock, reasons = values(result, 'sandbox').get('landlock', 0), values(result, 'reasons').get('known', '-')
        said = [one for one in said if not OF_MACHINE.match(one)]
        rows.append((name(result), ', '.join(missing) or 'nothing', landlock, reasons, '<br>'.join(said) or 'nothing'))
    return table(('kernel', 'missing', 'landlock', 'drop reasons', 'what doctor warns of'), rows)


def skipped(results):
    rows = [(name(one), point['name'], point['skip']) for one in results for point in one['points'] if point['skip']]
    return table(('kernel', 'skipped', 'why'), rows)


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
    print(DIFFERENCES)
    print(differences(results))
    print('\n## Skipped\n')
    print(skipped(results))
    for clang in 14, 19:
        print(f'\n## Instructions that the verifier walks, clang {clang}\n{VERIFIED}')
        print(walked(results, clang))
    print('\n## Tests\n')
    print(tests(results))


if __name__ == '__main__':
    main()
