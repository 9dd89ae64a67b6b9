#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Includes point one way and are relative to the root.

Datapath: xdp/flow.h <- cursor.h <- parse.h <- tally.h, tc/tunnel.h <- *.bpf.h <- *.bpf.c.
Exporter: leaves <- meter <- kube <- export
<- observe <- config <- cli <- main.c, where everybody may include the .h of xdp/.  Tests
include what they like; nobody includes tests.  One .c file of meter/ alone includes the skeleton.
"""
import re
import tree

LEAVES = {'util', 'log', 'loop', 'thread', 'value', 'stop', 'notify'}
STAGES = ['exporter/meter', 'exporter/kube', 'exporter/export', 'exporter/observe', 'config', 'exporter/cli']
DATAPATH = {'xdp/flow.h': 0, 'xdp/cursor.h': 1, 'xdp/parse.h': 2, 'xdp/tally.h': 3, 'tc/tunnel.h': 3}
INCLUDE = re.compile(r'\s*#\s*include\s*(["<])([^">]+)[">]')
OURS = ('xdp/', 'tc/', 'exporter/', 'config/', 'tests/')


def stage(name):
    """Rank of a file of the exporter: 0 for leaves, rising to main.c; None for others."""
    if re.fullmatch(r'exporter/(%s)\.[ch]' % '|'.join(sorted(LEAVES)), name):
        return 0
    for rank, folder in enumerate(STAGES, 1):
        if name.startswith(folder + '/'):
            return rank
    return len(STAGES) + 1 if name == 'exporter/main.c' else None


def datapath(name):
    """Rank of a file of the datapath: the plain headers, *.bpf.h, *.bpf.c; None for others."""
    if name in DATAPATH:
        return DATAPATH[name]
    if name.startswith(('xdp/', 'tc/')):
        return 5 if name.endswith('.bpf.c') else 4
    return None


def allowed(name, target):
    """Why `name` must not include our file `target`; None when it may."""
    if name.startswith('tests/'):
        return None
    if target.startswith('tests/'):
        return 'nothing but tests includes tests'
    if datapath(name) is not None:
        rank = datapath(target)
        if rank is None:
            return 'the datapath includes nothing of the exporter'
        return None if rank < datapath(name) or rank == 4 == datapath(name) else 'against the direction of the datapath'
    own, other = stage(name), stage(target)
    if own is None:
        return 'no stage is known for the including file: see tests/lint/includes.py'
    if target in DATAPATH:
        return None if own or target == 'xdp/flow.h' else 'a leaf includes leaves and xdp/flow.h alone'
    if other is None:
        return 'the exporter includes of the datapath its plain headers alone'
    return None if other <= own else 'against the direction leaves <- %s <- main.c' % ' <- '.join(STAGES)


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


def check(root, names):
    problems, skeletons = [], {}
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
    problems += [f'{users[1]}: {skeleton} is included by {users[0]} already'
                 for skeleton, users in skeletons.items() if len(users) > 1]
    return problems


if __name__ == '__main__':
    tree.finish(check(tree.ROOT, tree.c_files()))
