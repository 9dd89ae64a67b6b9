#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""docs/troubleshooting.md has a section for each check of the doctor, in their order, and none besides.

The section of NAME is headed `### \`NAME\`` and says what it means, how it looks and how it is mended.
"""
import re
import tree

CHECKS, PAGE = 'exporter/observe/doctor_checks.def', 'docs/troubleshooting.md'
PARTS = ('What it means', 'How it looks', 'How to mend it')


def check(checks, page):
    """Problems, by the text of the table and of the page."""
    ids = re.findall(r'^CHECK\("([^"]+)"', checks, re.M)
    sections = re.split(r'^#+ ', page, flags=re.M)
    sections = [section for section in sections if section.startswith('`')]
    headings = [section.split('\n')[0].strip('`') for section in sections]
    if not ids:
        yield f'{CHECKS}: no check'
    for name in ids:
        if headings.count(name) != 1:
            yield f'{PAGE}: {headings.count(name)} sections are headed `{name}`, for the check of {CHECKS}'
    for name in headings:
        if name not in ids:
            yield f'{PAGE}: `{name}` is no check of {CHECKS}'
    if not any(name not in ids for name in headings) and set(ids) == set(headings) and ids != headings:
        yield f'{PAGE}: the sections are not in the order of {CHECKS}'
    for name, section in zip(headings, sections):
        for part in PARTS:
            if f'**{part}.**' not in section:
                yield f'{PAGE}: the section `{name}` does not say **{part}.**'


if __name__ == '__main__':
    tree.finish(list(check((tree.ROOT / CHECKS).read_text(), (tree.ROOT / PAGE).read_text())))
