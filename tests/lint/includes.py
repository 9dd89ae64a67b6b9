#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Includes point one way, in no circle, and are relative to the root.

Datapath: xdp/flow.h <- cursor.h <- parse.h <- tally.h, tc/tunnel.h <- *.bpf.h <- *.bpf.c.  Exporter: STAGES, from the leaves
to main.c, where everybody may include the plain headers of the datapath.  What stands in one line of STAGES does not know of
each other.  Tools and tests include what they like; nobody includes tests or tools.  One .c file of meter/ alone includes the
skeleton of a BPF object.
"""
import re
import tree

LEAVES = {'util', 'commit', 'log', 'loop', 'sandbox', 'sandbox_calls', 'thread', 'value', 'stop', 'notify', 'watch'}
# Each a name and the files that it stands for.
STAGES = [
    {'leaves': r'exporter/(%s)\.[ch]' % '|'.join(sorted(LEAVES))},
    {'meter': r'exporter/meter/.*'},
    {'kube': r'exporter/kube/.*'},
    {'export/format': r'exporter/export/format/.*', 'export/transport': r'exporter/export/transport/.*'},
    {'export': r'exporter/export/[^/]*'},
    {'observe': r'exporter/observe/.*'},
    {'config': r'config/.*'},
    {'exporter': r'exporter/(exporter|pipeline|reload|source(_\w+)?)\.[ch]'},
    {'cli': r'exporter/cli/.*'},
    {'main': r'exporter/main\.c'},
]
DIRECTION = ' <- '.join(', '.join(stage) for stage in STAGES)
# What a stage may include of one behind it: transports tell the account of a collector what becomes of its records.
ALSO = {('export/transport', 'exporter/export/account.h')}
DATAPATH = {'xdp/flow.h': 0, 'xdp/cursor.h': 1, 'xdp/parse.h': 2, 'xdp/tally.h': 3, 'tc/tunnel.h': 3}
INCLUDE = re.compile(r'\s*#\s*include\s*(["<])([^">]+)[">]')
OURS = ('xdp/', 'tc/', 'exporter/', 'config/', 'tests/', 'tools/')


def stage(name):
    """(rank, stage) of a file of the exporter, from the leaves to main.c; None for others."""
    for rank, stages in enumerate(STAGES):
        for title, pattern in stages.items():
            if re.fullmatch(pattern, name):
                return rank, title
    return None


def datapath(name):
    """Rank of a file of the datapath: the plain headers, *.bpf.h, *.bpf.c; None for others."""
    if name in DATAPATH:
        return DATAPATH[name]
    if name.startswith(('xdp/', 'tc/')):
        return 5 if name.endswith('.bpf.c') else 4
    return None


def allowed(name, target):
    """Why `name` must not include our file `target`; None when it may."""
    if name.startswith(('tests/', 'tools/')):
        return None
    if target.startswith(('tests/', 'tools/')):
        return 'nothing but tests and tools includes those'
    if datapath(name) is not None:
        rank = datapath(target)
        if rank is None:
            return 'the datapath includes nothing of the exporter'
        return None if rank < datapath(name) or rank == 4 == datapath(name) else 'against the direction of the datapath'
    own, other = stage(name), stage(target)
    if own is None:
        return 'no stage is known for the including file: see tests/lint/includes.py'
    if target in DATAPATH:
        return None if own[0] or target == 'xdp/flow.h' else 'a leaf includes leaves and xdp/flow.h alone'
    if other is None:
        return 'the exporter includes of the datapath its plain headers alone'
    if (own[1], target) in ALSO:
        return None
    return None if other[0] < own[0] or other == own else f'against the direction {DIRECTION}'


def check_line(root, name, form, target):
    """What is wrong with one include line; None if nothing."""
    ours = target.startswith(OURS)
    if form == '<':
        return 'our own file in <>' if ours and (root / target).exists() else None
    if target.endswith('.skel.h'):
        if name.startswith('tests/') or (name.startswith('exporter/meter/') and name.endswith('.c')):
            return None
        return 'a skeleton is included by a .c file of exporter/meter/ alone'
    if not ours or '..' in target.split('/'):
        return 'not relative to the root'
    if not (root / target).exists():
        return 'no such file'
    return allowed(name, target)


def circles(graph):
    """Each circle of headers that include each other, as the names in turn, the first of them twice."""
    found, done = [], set()

    def visit(name, path):
        if name in path:
            found.append([*path[path.index(name):], name])
        elif name not in done:
            for target in graph.get(name, ()):
                visit(target, [*path, name])
            done.add(name)

    for name in sorted(graph):
        visit(name, [])
    return found


def check(root, names):
    problems, skeletons, graph = [], {}, {}
    for name in names:
        for number, line in enumerate(tree.lines(root, name) or [], 1):
            match = INCLUDE.match(line)
            if not match:
                continue
            why = check_line(root, name, *match.groups())
            if why:
                problems.append(f'{name}:{number}: includes {match[2]}: {why}')
            elif match[2].endswith('.skel.h') and not name.startswith('tests/'):
                skeletons.setdefault(match[2], []).append(name)
            elif match[1] == '"':
                graph.setdefault(name, []).append(match[2])
    problems += [f'{users[1]}: {skeleton} is included by {users[0]} already'
                 for skeleton, users in skeletons.items() if len(users) > 1]
    problems += [f'{circle[0]}: includes itself: {" -> ".join(circle)}' for circle in circles(graph)]
    return problems


if __name__ == '__main__':
    tree.finish(check(tree.ROOT, tree.c_files()))
