#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Breaks the exporter at random, one place at a time, and says which test sees it.

    tests/mutate/mutate.py elements|fields|parse [--count 20] [--seed 1] [--scratch FOLDER]

`elements` and `fields` change a row of that table in exporter/export/format, `parse` a place of xdp/parse.h. It works in a
copy of the tree, which it builds once and then again for each change; the same seed makes the same changes. It ends with
status 1 when a change was seen by nobody: then a test is missing, unless the program does the same with it.
"""
import argparse
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TEST_SECONDS = 120
TRIES = 2
FORMAT = 'exporter/export/format'
ELEMENTS, FIELDS, PARSE = f'{FORMAT}/elements.def', f'{FORMAT}/fields.def', 'xdp/parse.h'
# ELEMENT(pen, id, name, type, semantics, units, least, greatest, v9_type); those that options alone have are not changed
ELEMENT = re.compile(r'^ELEMENT\((\w+), (\d+), (\w+), (\w+), (\w+), (\w+), (\d+), (\d+), (\d+)\)$', re.M)
(_, ID, ELEMENT_NAME, TYPE, SEMANTICS, UNITS, _, _, V9_TYPE) = range(1, 10)
# FIELD(symbol, element, length, v9_length, kind, family, role, op, source,
ROW = re.compile(r'^FIELD\((\w+), (\w+), (\w+), (\d+), (\w+), (\w+), (\w+), (\w+), (.*),$', re.M)
(SYMBOL, NAME, LENGTH, V9_LENGTH, KIND, FAMILY, ROLE, OP, SOURCE) = range(1, 10)

# By kind: what is built, and the tests in the order in which they are asked.
TARGETS = {
    'fields': ['flowtally', 'tests/test_ipfix', 'tests/test_netflow9', 'tests/test_profile'],
    'elements': ['flowtally', 'tests/test_ipfix'],
    'parse': ['tests/e2e/parse_frames', 'tests/test_parse'],
}
TESTS = {
    'fields': [('test_fields', ['tests/e2e/test_fields.py', '{build}/flowtally']),
               ('unit ipfix', ['{build}/tests/test_ipfix']), ('unit netflow9', ['{build}/tests/test_netflow9']),
               ('unit profile', ['{build}/tests/test_profile']),
               ('test_fields_live', ['tests/e2e/test_fields_live.py', '{build}/flowtally'])],
    'elements': [('unit ipfix', ['{build}/tests/test_ipfix']),
                 ('test_fields', ['tests/e2e/test_fields.py', '{build}/flowtally'])],
    'parse': [('test_parse_judge', ['tests/e2e/test_parse_judge.py', '{build}/tests/e2e/parse_frames']),
              ('unit parse', ['{build}/tests/test_parse'])],
}


def replaced(text, match, group, new):
    return text[:match.start(group)] + new + text[match.end(group):]


def other(choose, values, one):
    return choose([value for value in values if value != one])


def change_element(text, choose):
    """(what was done, the registry with it) for one element."""
    used = {row[NAME] for row in ROW.finditer((ROOT / FIELDS).read_text(encoding='utf-8'))}
    rows = [row for row in ELEMENT.finditer(text) if row[ELEMENT_NAME] in used]
    row = choose(rows)
    neighbour = rows[rows.index(row) - 1]
    values = {
        TYPE: ('U8', 'U16', 'U32', 'U64'),
        SEMANTICS: ('DEFAULT', 'QUANTITY', 'DELTA_COUNTER', 'IDENTIFIER', 'FLAGS'),
        UNITS: ('NONE', 'OCTETS', 'PACKETS', 'MILLISECONDS'),
    }
    changes = {'id + 1': (ID, str(int(row[ID]) + 1)), 'id of its neighbour': (ID, neighbour[ID])}
    if row[V9_TYPE] != '0':
        changes['v9 type + 1'] = V9_TYPE, str(int(row[V9_TYPE]) + 1)
        changes['v9 type of its neighbour'] = V9_TYPE, neighbour[V9_TYPE]
    changes |= {f'another {name}': (group, other(choose, values[group], row[group]))
                for name, group in (('semantics', SEMANTICS), ('units', UNITS))}
    if row[TYPE].startswith('U'):
        changes['another type'] = TYPE, other(choose, values[TYPE], row[TYPE])
    what = choose(sorted(changes))
    group, new = changes[what]
    return f'{row[ELEMENT_NAME]}: {what}', replaced(text, row, group, new)


def change_row(text, choose):
    """(what was done, the table with it) for one row."""
    rows = list(ROW.finditer(text))
    row = choose(rows)
    neighbour = rows[rows.index(row) - 1]
    source = row[SOURCE]
    changes = {'another role': (ROLE, other(choose, ('KEY', 'VALUE'), row[ROLE])),
               'element of its neighbour': (NAME, neighbour[NAME])}
    if row[LENGTH].isdigit() and int(row[LENGTH]) > 1:
        changes['half the length'] = LENGTH, str(int(row[LENGTH]) // 2)
    if row[FAMILY] != 'ANY':
        changes['another family'] = FAMILY, other(choose, ('IPV4', 'IPV6'), row[FAMILY])
    changes |= {what: (SOURCE, new) for what, new in {
        'NUMBER': {'shifted right': f'({source}) >> 1', 'shifted left': f'({source}) << 1', 'plus 1': f'({source}) + 1',
                   'bytes swapped': f'__builtin_bswap16((uint16_t)({source}))', 'halved': f'({source}) / 2', 'nothing': '0'},
        'OCTETS': {'one octet further': f'(const uint8_t *)({source}) + 1'},
        'TIME': {'a ms late': f'{source} + 1000000', 'halved': f'{source} / 2'},
        'STRING': {'one character further': f'{source} + 1'},
    }[row[OP]].items()}
    if neighbour[OP] == row[OP]:
        changes['source of its neighbour'] = SOURCE, neighbour[SOURCE]
    what = choose(sorted(changes))
    group, new = changes[what]
    return f'{row[SYMBOL]} ({row[NAME]}): {what}', replaced(text, row, group, new)


# What of C is changed, and to what.
OPERATORS = {'<': '<=', '>': '>=', '<=': '<', '>=': '>', '==': '!=', '!=': '==', '&&': '||', '||': '&&', '+': '-', '-': '+',
             '<<': '>>', '>>': '<<', '|': '&', '&': '|', '+=': '-=', '|=': '&='}
WORDS = {'src': 'dst', 'dst': 'src', 'bpf_ntohs': '', 'bpf_ntohl': '', 'bpf_htons': '', 'outer_vlan': 'inner_vlan',
         'type': 'code', 'code': 'type', 'tos': 'ttl', 'ttl': 'tos'}
TOKEN = re.compile(r'0x[0-9a-f]+|\b\d+(?!\w)|(?<= )(?:<<|>>|<=|>=|==|!=|&&|\|\||\+=|\|=|[<>+\-|&])(?= )|\b[a-z]\w*\b')
COMMENT = re.compile(r'/\*.*?\*/|"[^"]*"|^#[^\n]*', re.S | re.M)


def changed_token(token, choose):
    if token[0].isdigit():
        value = int(token, 0)
        new = choose([value + 1, max(value - 1, 0), value * 2])
        return hex(new) if token.startswith('0x') else str(new)
    return OPERATORS.get(token, WORDS.get(token))


def change_code(text, choose):
    """(what was done, the source with it) for one place inside a function."""
    begin = text.index('static __always_inline')
    skipped = [match.span() for match in COMMENT.finditer(text)]
    places = [match for match in TOKEN.finditer(text, begin)
              if changed_token(match[0], choose) not in (None, match[0])
              and not any(start <= match.start() < end for start, end in skipped)]
    place = choose(places)
    new = changed_token(place[0], choose)
    while new == place[0]:
        new = changed_token(place[0], choose)
    start, end = text.rfind('\n', 0, place.start()) + 1, text.find('\n', place.end())
    line = text.count('\n', 0, place.start()) + 1
    after = text[start:place.start()] + new + text[place.end():end]
    return f'line {line}: {after.strip()}   (was {place[0]})', replaced(text, place, 0, new)


class Tree:
    """A copy of the tree and its build."""

    def __init__(self, folder, kind):
        self.folder, self.build, self.kind = Path(folder), Path(folder) / 'build', kind
        listed = subprocess.run(['git', '-C', ROOT, 'ls-files', '-co', '--exclude-standard', '-z'], check=True,
                                capture_output=True, text=True).stdout
        for name in filter(None, listed.split('\0')):
            to = self.folder / name
            if (ROOT / name).is_file() and not (to.exists() and to.read_bytes() == (ROOT / name).read_bytes()):
                to.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, to)
        if not (self.build / 'build.ninja').exists():
            subprocess.run(['/usr/bin/meson', 'setup', '-Dtests=enabled', '-Doptimization=0', self.build, self.folder],
                           check=True, capture_output=True)

    def make(self):
        """Does it still compile?"""
        done = subprocess.run(['ninja', '-C', self.build, *TARGETS[self.kind]], capture_output=True, check=False)
        return done.returncode == 0

    def seen_by(self):
        """The first test that fails; None: no test."""
        environment = os.environ | {'FLOWTALLY_PCAPS': os.environ.get('FLOWTALLY_PCAPS', str(ROOT / '../shared/pcaps')),
                                    'PYTHONDONTWRITEBYTECODE': '1'}
        for name, words in TESTS[self.kind]:
            words = [word.format(build=self.build) for word in words]
            # A test of times may fail for want of a CPU: it has to fail again.
            if all(not self.passes(words, environment) for _ in range(TRIES)):
                return name
        return None

    def passes(self, words, environment):
        try:
            done = subprocess.run(words, cwd=self.folder, env=environment, capture_output=True, check=False,
                                  timeout=TEST_SECONDS)
        except subprocess.TimeoutExpired:
            return False
        return done.returncode == 0


def attempt(tree, path, change, choose, done):
    """(what was done, who has seen it); done: texts that were tried before"""
    text = path.read_text(encoding='utf-8')
    what, new = change(text, choose)
    while new in done:
        what, new = change(text, choose)
    done.add(new)
    path.write_text(new, encoding='utf-8')
    try:
        return what, tree.seen_by() if tree.make() else 'the compiler'
    finally:
        path.write_text(text, encoding='utf-8')


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('kind', choices=TARGETS)
    parser.add_argument('--count', type=int, default=20)
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('--scratch', help='keeps the copy here, for another run')
    options = parser.parse_args()
    file, change = {'elements': (ELEMENTS, change_element), 'fields': (FIELDS, change_row),
                    'parse': (PARSE, change_code)}[options.kind]
    choose = random.Random(options.seed).choice
    with tempfile.TemporaryDirectory(prefix='flowtally-mutate-') as temporary:
        tree = Tree(options.scratch or temporary, options.kind)
        seen = tree.seen_by() if tree.make() else 'the compiler'
        if seen:
            sys.exit(f'seen without a change, by {seen}')
        survived, done = 0, set()
        for number in range(1, options.count + 1):
            start = time.monotonic()
            what, seen = attempt(tree, tree.folder / file, change, choose, done)
            survived += seen is None
            print(f'{number:3} {seen or "SURVIVED":22} {what}   [{time.monotonic() - start:.0f} s]', flush=True)
        print(f'{options.count - survived} of {options.count} changes of {file} were seen, {survived} were not')
        sys.exit(1 if survived else 0)


if __name__ == '__main__':
    main()
