#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Each problem that `flowtally status` tells (exporter/observe/problems.c) is in the table of docs/operate.md."""
import re

import tree

TEXT = r'"((?:[^"\\]|\\.)*)"'
LITERAL = r'"(?:[^"\\]|\\.)*"'


def joined(text):
    """What the compiler makes of adjacent literals; a number is N."""
    return ''.join(re.findall(TEXT, text.replace('PRIu64', '"u"')))


def told(source):
    """The texts of problems: the format of each add(), and of the states of collectors the first."""
    found = []
    for call in re.findall(r'\badd\(list,(.*?)\);', source, re.DOTALL):
        arguments = re.findall(rf'(?:{LITERAL}|\([^()]*\)|[^,"()])+', call)
        found.append(joined(arguments[1]))
    states = re.search(r'states\[.*?\n};', source, re.DOTALL).group()
    found += [match.group(1) for match in re.finditer(rf'= {{{TEXT}', states)]
    return [text for text in found if text not in ('%s', 'collector %s %s')]


def longest(text):
    return max((piece.strip() for piece in re.split(r'%\w+|%', text)), key=len)


page = (tree.ROOT / 'docs/operate.md').read_text(encoding='utf-8')
table = page[page.index('| It says | What that means |'):].split('\n\n')[0]
says = '\n'.join(line.split('|')[1] for line in table.splitlines())
texts = told((tree.ROOT / 'exporter/observe/problems.c').read_text(encoding='utf-8'))
texts += re.findall(r': its counters say ', (tree.ROOT / 'exporter/observe/interfaces.c').read_text(encoding='utf-8'))
pieces = [longest(text) for text in texts]
problems = [f'docs/operate.md: no row of the table says {piece!r}' for piece in pieces if piece.strip(': ') not in says]
tree.finish(problems if len(pieces) > 10 else ['problems.c: fewer problems than there are'])
