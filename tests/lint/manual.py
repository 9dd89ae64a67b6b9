#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""manual.py PROGRAM PAGE...: the pages of the manual pass mandoc's lint, and those of verbs say what --help says."""
import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import tree

# scdoc writes this before each paragraph of a heading, and nothing follows from it.
HARMLESS = 'skipping paragraph macro'
OPTION = re.compile(r'^ +(?:-(\w), )?--([\w-]+)', re.MULTILINE)


def run(*words, **environment):
    return subprocess.run(words, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60,
                          env={**os.environ, 'MANWIDTH': '5000', 'MAN_KEEP_FORMATTING': '', **environment})


def plain(text):
    """One space where there are several; hyphens are hyphens."""
    return re.sub(r'\s+', ' ', text.replace('‐', '-').replace('−', '-'))


def lint(page):
    found = run('mandoc', '-T', 'lint', '-W', 'warning', str(page)).stdout.splitlines()
    return [line for line in found if HARMLESS not in line]


def shown(page):
    return run('man', '-l', str(page)).stdout


def section(text, name):
    found = re.search(rf'^{name}\n(.*?)(?=^\S|\Z)', text, re.MULTILINE | re.DOTALL)
    return found.group(1) if found else ''


def compare(program, verb, page):
    """Options with their letters, texts and defaults, and examples, are in both."""
    words = ['config', 'show'] if verb == 'config' else [verb]
    text = run(program, *words, '--help').stdout
    manual = shown(page)
    helped = set(OPTION.findall(text.split('\nexamples:\n')[0])) - {('', 'help')}
    listed = set(OPTION.findall(section(manual, 'OPTIONS'))) - {('', 'help')}
    problems = [f'{verb}: -{letter} --{name}: in one of --help and the page' for letter, name in helped ^ listed]
    whole = plain(manual).lower()
    for line in text.split('\nexamples:\n')[0].splitlines():
        option = re.match(r'  (?:-\w, |    )?--([\w-]+)(?: \S+|\[=\S+\])? +(.*)', line)
        if not option or option.group(1) == 'help':
            continue
        for part in re.split(r' \((\S+)\)$', option.group(2).lower()):
            if plain(part).strip() not in whole:
                problems.append(f'{verb} --{option.group(1)}: the page lacks {part!r}')
    for line in examples(run(program, verb, '--help').stdout):
        if plain(line) not in plain(section(manual, 'EXAMPLES')):
            problems.append(f'{verb}: the page lacks the example {line!r}')
    if not helped and verb != 'completion':
        problems.append(f'{verb}: --help lists no options')
    return problems


def examples(text):
    found = re.search(r'^examples:\n((?:  .*\n)+)', text, re.MULTILINE)
    return found.group(1).splitlines() if found else []


def programs(line):
    """The command lines of flowtally in one of a shell."""
    words = shlex.split(line, comments=True)
    for i, word in enumerate(words):
        if word in ('flowtally', '<(flowtally'):
            rest = words[i + 1:]
            end = next((k for k, other in enumerate(rest) if other.startswith(('|', '>', '&&'))), len(rest))
            yield [other.rstrip(')') for other in rest[:end]]


def try_example(program, words):
    """All mistakes of a command line are told at once: one that we add must be the only one."""
    if words[0] in ('config', 'completion'):
        said = run(program, *words)
        return [said.stderr or 'fails'] if said.stderr or said.returncode else []
    said = run(program, *words, '--no-such-option').stderr.splitlines()
    problems = [line for line in said if '--no-such-option' not in line]
    if words[0] in ('observe', 'top'):
        said = run(program, *words, '--socket', '/nonexistent/flowtally.sock', TERM='xterm').stderr
        problems += [] if '/nonexistent/flowtally.sock' in said or 'terminal' in said else [said]
    return problems


def check_examples(program, verb):
    text = run(program, verb, '--help').stdout
    if text != run(program, 'help', verb).stdout:
        return [f'flowtally help {verb} differs from {verb} --help']
    lines = examples(text)
    if not lines:
        return [f'{verb} --help has no examples']
    commands = [words for line in lines for words in programs(line)]
    problems = [] if len(commands) >= len(lines) else [f'{verb}: an example is no command of flowtally']
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for name in ('flowtally.yaml', 'old.yaml', 'new.yaml'):
            Path(name).write_text('interfaces: [eth0]\n', encoding='utf-8')
        commands = [[word.replace('/etc/flowtally/', '') for word in words] for words in commands]
        return problems + [f'{verb}: {shlex.join(words)}: {said}' for words in commands for said in try_example(program, words)]


def main(program, *pages):
    verbs = re.findall(r'^  (\w+) +\S', run(program, '--help').stdout, re.MULTILINE)
    by_name = {Path(page).name: Path(page).resolve() for page in pages}
    problems = [f'{name}: {line}' for name, page in by_name.items() for line in lint(page)]
    problems += [f'docs/man/{name}: the build makes no page of it' for name in os.listdir(tree.ROOT / 'docs/man')
                 if name.removesuffix('.scd') not in by_name]
    for verb in verbs:
        page = by_name.get(f'flowtally-{verb}.8')
        problems += compare(program, verb, page) if page else [f'{verb}: has no page']
        problems += check_examples(program, verb)
    tree.finish(problems if verbs else ['--help lists no verbs'])


main(os.path.abspath(sys.argv[1]), *(os.path.abspath(page) for page in sys.argv[2:]))
