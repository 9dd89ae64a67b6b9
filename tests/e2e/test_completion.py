#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""bash, zsh and fish complete verbs, options and words, as far as the shells are here; the truth is the text of --help."""
import functools
import os
import pty
import re
import shlex
import shutil
import subprocess
import time
from pathlib import Path

import program
import tap
from lab import command, scratch
from tap import Failure, Skip, check, check_equal

# Typed: what may stand there.
CASES = {
    'ob': {'observe'},
    'config sh': {'show'},
    'run --ing': {'--ingress'},
    'run --ingress ': {'auto', 'xdp', 'tc', 'off'},
    'run --ingress x': {'xdp'},
    'replay --template ': {'minimal', 'default', 'extended'},
    'config show --eff': {'--effective'},
    'observe --output h': {'hubble-json'},
    'observe -o j': {'json', 'jsonl', 'jsonpb'},
    'read --by ': {'octets', 'packets', 'flows'},
    'top --traffic-direction ': {'ingress', 'egress'},
    'drops --reason p': {'policy'},
    'completion ': {'bash', 'zsh', 'fish'},
    'run --interface l': {'lo'},
}
VERBS = ['run', 'drops', 'status', 'observe', 'top', 'replay', 'doctor', 'read', 'config show']

BASH_COMPLETION = '/usr/share/bash-completion/bash_completion'
BASH = r'''
source "$1"; COMP_WORDS=(flowtally $2); [[ -z $2 || $2 == *' ' ]] && COMP_WORDS+=('')
COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _flowtally; printf '%s\n' "${COMPREPLY[@]}"
'''
FISH = 'source $argv[1]; complete -C "flowtally $argv[2]"'
# What would be offered goes to a file instead: compadd is how zsh's functions offer it.
ZSH = r'''
PS1=; unsetopt zle_bracketed_paste beep; fpath=(%(folder)s $fpath)
autoload -Uz compinit; compinit -u -D
compadd() {
  local -a offered
  if [[ ${@[1,(i)(-|--)]} == *-(O|A|D)\ * ]]; then builtin compadd "$@"; return; fi
  builtin compadd -O offered "$@"
  (( $#offered )) && print -rl -- $offered >>%(folder)s/offered
  builtin compadd "$@"
}
finish() { print -r -- END >>%(folder)s/offered; zle kill-whole-line; }
zle -N finish; bindkey '^X' finish; bindkey '^I' complete-word
print -r -- READY >>%(folder)s/offered
'''


def script(shell):
    return command(program.binary(), 'completion', shell)


def ask_once(words, shell, text, folder):
    path = f'{folder}/script'
    with open(path, 'w', encoding='utf-8') as file:
        file.write(script(shell))
    lines = command(*words, path, text).splitlines()
    return {line.split('\t')[0] for line in lines if line}


def wait_for(path, end, word):
    """What stands in front of the line `word`, when it has come."""
    while time.monotonic() < end:
        lines = open(path, encoding='utf-8').read().splitlines() if os.path.exists(path) else []
        if word in lines:
            return lines[:lines.index(word)]
        time.sleep(0.02)
    raise Failure(f'zsh does not say {word}')


def ask_zsh(text, folder):
    """A zsh on a terminal of its own, to which the text and a tab are typed."""
    with open(f'{folder}/_flowtally', 'w', encoding='utf-8') as file:
        file.write(script('zsh'))
    with open(f'{folder}/.zshrc', 'w', encoding='utf-8') as file:
        file.write(ZSH % {'folder': folder})
    pid, fd = pty.fork()
    if pid == 0:
        os.execvpe('zsh', ['zsh', '-d', '-i'], os.environ | {'ZDOTDIR': folder, 'TERM': 'dumb', 'LISTMAX': '10000'})
    end = time.monotonic() + 30
    try:
        wait_for(f'{folder}/offered', end, 'READY')
        os.unlink(f'{folder}/offered')
        os.write(fd, f'flowtally {text}\t\x18'.encode())
        return {line for line in wait_for(f'{folder}/offered', end, 'END') if line}
    finally:
        os.kill(pid, 9)
        os.close(fd)
        os.waitpid(pid, 0)


def ask(shell, text):
    with scratch() as folder:
        if shell == 'zsh':
            return ask_zsh(text, folder)
        if shell == 'fish':
            return ask_once(['env', f'HOME={folder}', 'fish', '-c', FISH], 'fish', text, folder)
        return ask_once(['bash', '--norc', '-c', BASH, 'bash'], 'bash', text, folder)


def plain(words):
    """zsh puts = behind options, and a description behind verbs."""
    return {re.sub(r'(?<=\w)=?-?$', '', word.split(':')[0]) for word in words}


def test_cases(shell):
    for text, expected in CASES.items():
        got = plain(ask(shell, text))
        check_equal(f'flowtally {text}<TAB>', got & expected, expected)
        check(all(word.startswith(text.split(' ')[-1]) for word in got), f'{text!r}: {got}')
        if not text.startswith('run --interface'):
            check_equal(f'flowtally {text}<TAB>', got, expected)


def test_bash_equals():
    """In bash a = is a word of its own."""
    check_equal('--ingress=<TAB>', ask('bash', 'run --ingress ='), {'auto', 'xdp', 'tc', 'off'})
    check_equal('--ingress=x<TAB>', ask('bash', 'run --ingress = x'), {'xdp'})


def test_bash_completion():
    """The package bash-completion finds the script by the name of the command."""
    if not os.path.exists(BASH_COMPLETION):
        raise Skip(f'not installed: {BASH_COMPLETION}')
    with scratch() as folder:
        os.makedirs(f'{folder}/bash-completion/completions')
        with open(f'{folder}/bash-completion/completions/flowtally', 'w', encoding='utf-8') as file:
            file.write(script('bash'))
        done = command('bash', '--norc', '-c', f'. {BASH_COMPLETION}; _completion_loader flowtally; complete -p flowtally',
                       env=os.environ | {'XDG_DATA_HOME': folder})
    check_equal('complete -p', done.strip(), 'complete -F _flowtally flowtally')


def told(verb):
    """The options in the text of --help."""
    text = command(program.binary(), *verb.split(), '--help')
    options = set(re.findall(r'^ +(?:-\w, )?(--[a-z0-9-]+)', text, re.MULTILINE))
    check(len(options) > 4, text)
    return options


def test_options(shell, verb):
    check_equal(f'{verb} --<TAB>', plain(ask(shell, f'{verb} --')), told(verb))


def test_verbs(shell):
    text = command(program.binary(), '--help')
    verbs = set(re.findall(r'^  (\w+) ', text, re.MULTILINE))
    got = {word for word in plain(ask(shell, '')) if not word.startswith('-')}
    check_equal('flowtally <TAB>', got, verbs)


def test_words():
    """Each word that is offered is taken by the verb: --help behind it would not be reached without a complaint."""
    for verb in VERBS:
        for option, words in re.findall(rf"'{verb} (--[a-z-]+)'.*?words='([^']*)'", script('bash')):
            for word in words.split():
                value = word if option != '--mask' else 'tcx'
                done = subprocess.run([program.binary(), *verb.split(), option, value, '--help'], capture_output=True,
                                      text=True, check=False, timeout=20)
                check_equal(f'{verb} {option} {word}', (done.returncode, done.stderr), (0, ''))


def test_mistakes():
    for words in (['completion'], ['completion', 'csh'], ['completion', 'bash', 'zsh']):
        done = subprocess.run([program.binary(), *words], capture_output=True, text=True, check=False, timeout=20)
        check_equal(words, (done.returncode, done.stdout), (2, ''))
        check('bash, zsh or fish' in done.stderr, done.stderr)


def test_coming_from():
    """The command lines of docs/coming-from.md; those of `run` with all their values, as `config show` reads them."""
    page = Path(__file__).resolve().parents[2] / 'docs/coming-from.md'
    lines = re.findall(r'^\$ flowtally (.*)$', page.read_text(encoding='utf-8'), re.MULTILINE)
    check(len(lines) > 10, lines)
    for line in lines:
        words = shlex.split(line)
        words = words[:words.index('|')] if '|' in words else words
        words = ['config', 'show', *words[1:]] if words[0] == 'run' else [words[0], *words[1:], '--help']
        done = subprocess.run([program.binary(), *words], capture_output=True, text=True, check=False, timeout=20)
        check_equal(line, (done.returncode, done.stderr), (0, ''))


def main():
    program.binary()
    tests = [('words', test_words), ('mistakes', test_mistakes), ('docs/coming-from.md', test_coming_from),
             ('bash: an equals sign', test_bash_equals), ('bash: bash-completion', test_bash_completion)]
    for shell in 'bash', 'zsh', 'fish':
        if not shutil.which(shell):
            continue
        tests += [(f'{shell}: cases', functools.partial(test_cases, shell)),
                  (f'{shell}: verbs', functools.partial(test_verbs, shell))]
        tests += [(f'{shell}: {verb}', functools.partial(test_options, shell, verb)) for verb in VERBS]
    tap.main(tests, at_once=2)


if __name__ == '__main__':
    main()
