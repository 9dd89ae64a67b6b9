#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""docs/security.md has the system calls that exporter/sandbox_calls.c lets pass, and no others."""
import re
import tree

CODE, PAGE = 'exporter/sandbox_calls.c', 'docs/security.md'
# Tables of the code: what a line of the page begins with.
TABLES = {'common': 'Always', 'files': 'Files', 'network': 'Network', 'kernel': 'Kernel', 'bpf_commands': '`bpf`',
          'netlink_protocols': '`socket` of netlink', 'ioctl_requests': '`ioctl`', 'prctl_options': '`prctl`',
          'fcntl_commands': '`fcntl`'}
CONDITIONS = 'With conditions'


def of_code(text):
    """{table: names}, and the names of calls that have conditions."""
    found = {}
    for name, body in re.findall(r'^static const [^;=]*?(\w+)\[\] = \{(.*?)\};', text, re.M | re.S):
        body = re.sub(r'/\*.*?\*/', '', body, flags=re.S)
        found[name] = set(re.findall(r'\w+', body))
    found[CONDITIONS] = set(re.findall(r'\ballow(?:_if)?\(f, "(\w+)"', text))
    return found


def of_page(text):
    """{what a line begins with: names}: `- **Always**: `read`, `write``, up to the first full stop."""
    items = re.findall(r'^- \*\*(.+?)\*\*: (.*(?:\n  .*)*)', text, re.M)
    return {title: set(re.findall(r'`(\w+)`', body.split('.')[0])) for title, body in items}


def check(code, page):
    """Problems, by the text of the code and of the page."""
    tables, items = of_code(code), of_page(page)
    for table in sorted(set(tables) - set(TABLES) - {CONDITIONS}):
        yield f'{CODE}: {table}: no line of {PAGE} stands for this table'
    for table, title in [*TABLES.items(), (CONDITIONS, CONDITIONS)]:
        have, told = tables.get(table, set()), items.get(title, set())
        if not have:
            yield f'{CODE}: there is no table {table}'
        for name in sorted(have - told):
            yield f'{PAGE}: **{title}** lacks `{name}`, which {CODE} lets pass'
        for name in sorted(told - have):
            yield f'{PAGE}: **{title}** has `{name}`, which {CODE} does not let pass'


if __name__ == '__main__':
    tree.finish(list(check((tree.ROOT / CODE).read_text(), (tree.ROOT / PAGE).read_text())))
