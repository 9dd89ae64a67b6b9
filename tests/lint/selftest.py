#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The lint tests of our own fail on what they are there to find, and on nothing else."""
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path
import architecture
import calls
import hardening
import includes
import limits
import panels
import runbooks
import tree
import troubleshooting

sys.path.insert(0, str(tree.ROOT / 'tools'))
import compile_commands  # noqa: E402  pylint: disable=wrong-import-position
import expressions  # noqa: E402  pylint: disable=wrong-import-position
import results  # noqa: E402  pylint: disable=wrong-import-position

HEADERS = [
    'xdp/flow.h', 'xdp/parse.h', 'xdp/account.bpf.h', 'exporter/util.h', 'exporter/log.h', 'exporter/meter/cache.h',
    'exporter/export/export.h', 'exporter/observe/live.h', 'exporter/cli/cli.h', 'config/config.h', 'exporter/value.h',
    'tests/packets.h', 'exporter/exporter.h', 'exporter/source.h', 'exporter/meter/hooks.h', 'exporter/export/account.h',
    'exporter/export/stream.h', 'exporter/export/format/fields.h', 'exporter/export/transport/transport.h', 'tools/x.h',
]
GOOD = [
    ('xdp/parse.h', '"xdp/flow.h"'), ('xdp/ingress.bpf.c', '"xdp/account.bpf.h"'), ('tc/egress.bpf.c', '"xdp/parse.h"'),
    ('exporter/log.c', '"exporter/util.h"'), ('exporter/meter/cache.c', '"xdp/flow.h"'),
    ('exporter/meter/hooks.c', '"flowtally.skel.h"'), ('exporter/export/format/ipfix.c', '"exporter/meter/cache.h"'),
    ('exporter/observe/live.c', '"exporter/export/export.h"'), ('exporter/cli/replay.c', '"xdp/parse.h"'),
    ('exporter/main.c', '"exporter/cli/cli.h"'), ('tests/unit/test_x.c', '"exporter/meter/cache.h"'),
    ('exporter/main.c', '<stdio.h>'), ('config/load.c', '"exporter/export/export.h"'),
    ('exporter/cli/run.c', '"config/config.h"'), ('exporter/export/url.c', '"exporter/value.h"'),
    ('exporter/exporter.h', '"config/config.h"'), ('exporter/source_kernel.c', '"exporter/meter/hooks.h"'),
    ('exporter/pipeline.h', '"exporter/source.h"'), ('exporter/cli/run.c', '"exporter/exporter.h"'),
    ('config/config.h', '"exporter/meter/hooks.h"'), ('exporter/observe/live.c', '"exporter/export/format/fields.h"'),
    ('exporter/export/stream.c', '"exporter/export/format/fields.h"'), ('tools/x.c', '"exporter/export/format/fields.h"'),
    ('exporter/export/network.c', '"exporter/export/transport/transport.h"'),
    ('exporter/export/transport/transport.h', '"exporter/export/account.h"'),
]
BAD = [
    ('xdp/flow.h', '"xdp/parse.h"'), ('xdp/parse.h', '"xdp/account.bpf.h"'), ('xdp/parse.h', '"exporter/util.h"'),
    ('exporter/log.c', '"exporter/meter/cache.h"'), ('exporter/meter/cache.c', '"exporter/export/export.h"'),
    ('exporter/export/format/ipfix.c', '"exporter/cli/cli.h"'), ('exporter/meter/cache.c', '"xdp/account.bpf.h"'),
    ('exporter/meter/cache.c', '"cache.h"'), ('exporter/meter/cache.c', '"../util.h"'),
    ('exporter/meter/cache.h', '"flowtally.skel.h"'), ('exporter/cli/run.c', '"flowtally.skel.h"'),
    ('exporter/main.c', '"tests/packets.h"'), ('exporter/main.c', '"exporter/gone.h"'),
    ('exporter/main.c', '<xdp/flow.h>'), ('exporter/orphan.c', '"exporter/util.h"'),
    ('exporter/export/url.c', '"config/config.h"'), ('exporter/observe/live.c', '"config/config.h"'),
    ('config/load.c', '"exporter/cli/cli.h"'), ('exporter/value.c', '"config/config.h"'),
    ('config/config.h', '"exporter/exporter.h"'), ('exporter/observe/live.h', '"exporter/exporter.h"'),
    ('exporter/meter/hooks.h', '"config/config.h"'), ('exporter/source.h', '"exporter/cli/cli.h"'),
    ('exporter/export/format/fields.h', '"exporter/export/stream.h"'), ('exporter/main.c', '"tools/x.h"'),
    ('exporter/export/format/fields.h', '"exporter/export/account.h"'),
    ('exporter/export/transport/tcp.c', '"exporter/export/stream.h"'),
    ('exporter/export/transport/tcp.c', '"exporter/export/format/fields.h"'),
    ('exporter/export/format/ipfix.c', '"exporter/export/transport/transport.h"'),
]


BESIDE = '''
import os, sys, time
sys.path.insert(0, {folder!r})
import tap

def wrong():
    tap.check(False, 'a reason')

def skipped():
    raise tap.Skip('another')

tap.main([('slow', lambda: time.sleep(0.3)), ('wrong', wrong), ('killed', lambda: os.kill(os.getpid(), 9)),
          ('exits', lambda: os._exit(0)), ('leaves', sys.exit), ('skipped', skipped), ('other', lambda: None)], {at_once})
'''
# A test of argv[3] writes its name into argv[2] when it begins, and again when it may end.
LOCKED = '''
import os, sys, time
sys.path.insert(0, {folder!r})
import tap

def say():
    os.write(fd, sys.argv[3].encode())

def held():
    say()
    while sys.argv[3] == 's' and not os.path.exists(sys.argv[2] + '.end'):
        time.sleep(0.01)
    say()

fd = os.open(sys.argv[2], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
tap.main([('held', held)], alone=sys.argv[3] == 'a')
'''


class Tap(unittest.TestCase):
    """Of tests/e2e/tap.py, on which the verdict of each end-to-end test rests."""

    folder = str(Path(__file__).resolve().parents[1] / 'e2e')

    def test_beside(self):
        """In their order, each with its verdict; one without a verdict has failed, whatever its status."""
        done = subprocess.run([sys.executable, '-c', BESIDE.format(folder=self.folder, at_once=3)], capture_output=True,
                              text=True, check=False, timeout=60)
        lines = [line for line in done.stdout.splitlines() if not line.startswith('#')]
        self.assertEqual(lines, ['1..7', 'ok 1 - slow', 'not ok 2 - wrong', 'not ok 3 - killed', 'not ok 4 - exits',
                                 'not ok 5 - leaves', 'ok 6 - skipped # SKIP another', 'ok 7 - other'])
        self.assertIn('# a reason', done.stdout.splitlines())
        self.assertEqual(done.returncode, 1)

    def test_alone(self):
        """One that is to be alone waits for the two that are beside each other."""
        with tempfile.TemporaryDirectory() as directory:
            binary, log = Path(directory) / 'program', Path(directory) / 'log'
            binary.touch()
            log.touch()

            def start(what):
                return subprocess.Popen([sys.executable, '-c', LOCKED.format(folder=self.folder), binary, log, what],
                                        stdout=subprocess.DEVNULL)

            def wait(text):
                end = time.monotonic() + 30
                while log.read_text() != text and time.monotonic() < end:
                    time.sleep(0.01)
                self.assertEqual(log.read_text(), text)
            tests = [start('s'), start('s')]
            wait('ss')
            tests.append(start('a'))
            time.sleep(0.5)  # it begins, if it can
            (Path(directory) / 'log.end').touch()
            self.assertEqual([test.wait(30) for test in tests], [0, 0, 0])
            self.assertEqual(log.read_text(), 'ssssaa')


class Tree(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = Path(folder.name)
        for name in HEADERS:
            self.write(name, '')

    def write(self, name, text):
        (self.root / name).parent.mkdir(parents=True, exist_ok=True)
        (self.root / name).write_text(text)
        return name


class Changed(Tree):
    def test_changed(self):
        git = ['git', '-C', str(self.root), '-c', 'user.name=x', '-c', 'user.email=x@example.org']

        def run(*words):
            subprocess.run([*git, *words], check=True, capture_output=True)

        run('init', '-b', 'trunk')
        for name in 'same.c', 'edited.c', 'gone.c', 'ahead.c':
            (self.root / name).write_text('old\n')
        run('add', '.')
        run('commit', '-m', 'first')
        run('checkout', '-b', 'work', '--track', 'trunk')
        (self.root / 'ahead.c').write_text('new\n')
        run('commit', '-am', 'second')
        (self.root / 'edited.c').write_text('new\n')
        (self.root / 'new.c').write_text('new\n')
        (self.root / 'gone.c').unlink()
        self.assertEqual(tree.changed(self.root), {'ahead.c', 'edited.c', 'new.c'})
        run('branch', '--unset-upstream')
        self.assertEqual(tree.changed(self.root), {'edited.c', 'new.c'})


class Includes(Tree):
    def test_good(self):
        for name, target in GOOD:
            self.assertEqual(includes.check(self.root, [self.write(name, f'#include {target}\n')]), [], (name, target))

    def test_bad(self):
        for name, target in BAD:
            found = includes.check(self.root, [self.write(name, f'\n#include {target}\n')])
            self.assertEqual(len(found), 1, (name, target))
            self.assertTrue(found[0].startswith(f'{name}:2: '), found)

    def test_circles(self):
        one, two = (f'exporter/meter/{name}.h' for name in ('a', 'b'))
        self.write(two, '')
        self.write(one, f'#include "{two}"\n#include "exporter/util.h"\n')
        self.write('exporter/meter/c.c', f'#include "{one}"\n#include "{two}"\n')
        names = [one, two, 'exporter/meter/c.c']
        self.assertEqual(includes.check(self.root, names), [])
        self.write(two, f'#include "{one}"\n')
        self.assertEqual(includes.check(self.root, names), [f'{one}: includes itself: {one} -> {two} -> {one}'])

    def test_second_user_of_skeleton(self):
        users = [self.write(f'exporter/meter/{name}.c', '#include "flowtally.skel.h"\n') for name in 'ab']
        self.assertEqual(len(includes.check(self.root, users)), 1)


class Architecture(Tree):
    NAMES = ['xdp/a.bpf.c', 'exporter/export/url.c', 'exporter/export/url.h', 'config/file.c', 'tests/x.c']

    def found(self, page):
        self.write('docs/architecture.md', page)
        return architecture.check(self.root, self.NAMES)

    def test_told(self):
        self.assertEqual(self.found('```\nxdp/a.bpf.c ─►\n```\n`export/url.h`, and the `file` (`x_y()`)\n'), [])

    def test_not_told(self):
        self.assertEqual(len(self.found('```\na.bpf.c\n```\nthe url of `file`')), 2)

    def test_not_there(self):
        self.assertEqual(self.found('`a` `url` `file` `export/file.c`'), ['docs/architecture.md: export/file.c is not there'])


class Limits(Tree):
    def found(self, name, text):
        return len(limits.check(self.root, [self.write(name, text)]))

    def test_files(self):
        top = '/* SPDX-License-Identifier: Apache-2.0 */\n'
        self.assertEqual(self.found('exporter/a.c', top + 'int a;\n' * 799), 0)
        self.assertEqual(self.found('exporter/a.c', top + 'int a;\n' * 800), 1)
        self.assertEqual(self.found('exporter/a.c', top + '\t' * 16 + 'a\n'), 1)

    def test_functions(self):
        top = '/* SPDX-License-Identifier: Apache-2.0 */\nint f(void)\n{\n'
        self.assertEqual(self.found('exporter/a.c', top + '\tg();\n' * 58 + '}\n'), 0)
        self.assertEqual(self.found('exporter/a.c', top + '\tg();\n' * 59 + '}\n'), 1)
        top = '# SPDX-License-Identifier: Apache-2.0\ndef f():\n'
        self.assertEqual(self.found('tests/a.py', top + '    g()\n' * 59), 0)
        self.assertEqual(self.found('tests/a.py', top + '    g()\n' * 60), 1)

    def test_modes(self):
        top = '#!/usr/bin/python3\n# SPDX-License-Identifier: Apache-2.0\n'
        self.assertEqual(self.found('tests/a.py', top), 1)
        (self.root / 'tests/a.py').chmod(0o755)
        self.assertEqual(self.found('tests/a.py', top), 0)

    def test_prose(self):
        wide = 'word ' * 20 + 'w'
        for name in 'README.md', 'CONTRIBUTING.md', 'docs/export.md', 'docs/decisions/0001-x.md':
            self.assertEqual(self.found(name, wide[1:] + '\n'), 0)
            self.assertEqual(self.found(name, wide + '\n'), 1)
            self.assertEqual(self.found(name, f'- {wide}\n'), 1)
            self.assertEqual(self.found(name, f'```\n{wide}\n```\n| {wide} |\n## {wide}\n'), 0)
            self.assertEqual(self.found(name, f'```\n{wide}\n```\n{wide}\n'), 1)
            self.assertEqual(self.found(name, f'see [this](https://example.org/{"x" * 100})\n'), 0)
        self.assertEqual(self.found('docs/fields.md', wide + '\n'), 0)

    def test_licenses(self):
        line = '/* SPDX-License-Identifier: %s */\n'
        self.assertEqual(self.found('tc/a.bpf.c', line % '(BSD-2-Clause OR GPL-2.0-only)'), 0)
        self.assertEqual(self.found('tc/a.bpf.c', line % 'Apache-2.0'), 1)
        self.assertEqual(self.found('exporter/a.c', 'int a;\n'), 1)
        self.assertEqual(self.found('script', '#!/bin/sh\n'), 2)  # it cannot be run either

    def test_machines(self):
        for path in ('work', 'root', 'home'):
            self.assertEqual(self.found('README.md', f'see /{path}/x\n'), 1)
        self.assertEqual(self.found('README.md', 'see docs/work/x and file:///path\n'), 0)


HARD = ['-O2', '-fPIE', '-pie', '-fstack-protector-all', '-fcf-protection', '-D_FORTIFY_SOURCE=2', '-Wl,-z,relro,-z,now']
SOFT = {  # what is put behind those, and what is said then
    '-no-pie': 'position independent', '-Wl,-z,norelro': 'no RELRO', '-Wl,-z,lazy': 'lazily',
    '-Wl,-z,execstack': 'stack can be run', '-Wl,-rpath,/nonexistent': 'RPATH',
    '-fno-stack-protector': 'no stack protector', '-U_FORTIFY_SOURCE': '_FORTIFY_SOURCE',
    '-DALONE -nostdlib -static -no-pie -fno-stack-protector -e main -Wl,-N': 'written and run',
}
FORTIFIED = """#include <stdio.h>
#include <string.h>
#ifdef ALONE
#define strcpy(to, from)
#define puts(text) argc
#endif
int main(int argc, char **argv)
{
	char text[16];
	strcpy(text, argv[argc - 1]);
	return puts(text);
}
"""


class Hardening(unittest.TestCase):
    def compile(self, text, *options):
        subprocess.run(['gcc', *options, '-x', 'c', '-'], input=text, text=True, check=True, capture_output=True)

    def test_each(self):
        with tempfile.TemporaryDirectory() as folder:
            for option, words in {'-O2': '', **SOFT}.items():
                self.compile(FORTIFIED, *HARD, *option.split(), '-o', f'{folder}/a')
                found = hardening.check(f'{folder}/a')
                self.assertTrue(any(words in problem for problem in found) if words else not found, (option, found))

    def test_control_flow(self):
        with tempfile.TemporaryDirectory() as folder:
            for option, count in ('-fcf-protection=full', 0), ('-fcf-protection=none', 1):
                self.compile('int a(void) { return 1; }', option, '-c', '-o', f'{folder}/a.o')
                subprocess.run(['ar', 'rc', f'{folder}/{option}.a', f'{folder}/a.o'], check=True)
                self.assertEqual(len(hardening.objects_without_control_flow(f'{folder}/{option}.a')), count, option)


CALLS_CODE = """
static const char *const common[] = {
	"read", /* of what is open */
	"write",
};
static const int prctl_options[] = {PR_SET_NAME};
	allow_if(f, "mmap", 1);
"""
CALLS_PAGE = """
- **Always**: `read`,
  `write`. Not for `nobody`.
- **`prctl`**: `PR_SET_NAME`.
- **With conditions**: `mmap`.
"""


class Calls(unittest.TestCase):
    def found(self, code, page):
        return [problem for problem in calls.check(code, page) if 'there is no table' not in problem]

    def test_same(self):
        self.assertEqual(self.found(CALLS_CODE, CALLS_PAGE), [])

    def test_different(self):
        for word in 'read', 'write', 'PR_SET_NAME', 'mmap':
            self.assertEqual(len(self.found(CALLS_CODE, CALLS_PAGE.replace(f'`{word}`', ''))), 1, word)
            self.assertEqual(len(self.found(CALLS_CODE.replace(word, 'x'), CALLS_PAGE)), 2, word)
        self.assertEqual(len(self.found(CALLS_CODE + 'static const char *const more[] = {"x"};', CALLS_PAGE)), 1)


class CompileCommands(unittest.TestCase):
    def test_merge(self):
        old = [{'file': '../exporter/main.c'}, {'file': '/s/xdp/a.bpf.c', 'arguments': ['old']}]
        compiler = ['clang', '-O2', '-MD', '-MF', '@DEPFILE@', '-c', '@INPUT@', '-o', '@OUTPUT@']
        new = compile_commands.merge(old, Path('/b'), Path('/s'), ['xdp/a.bpf.c'], compiler)
        self.assertEqual(new[0], old[0])
        self.assertEqual(new[1:], [{'directory': '/b', 'file': '/s/xdp/a.bpf.c', 'output': 'a.bpf.o',
                                    'arguments': ['clang', '-O2', '-c', '/s/xdp/a.bpf.c', '-o', 'a.bpf.o']}])


class Results(Tree):
    def test_counts(self):
        test = ('{"name": "flowtally:%s / %s", "result": "%s", "returncode": %d, "duration": 1, '
                '"stdout": ""}\n')
        self.write('check.json', test % ('unit', 'cache', 'OK', 0) + test % ('unit', 'loop', 'ERROR', 1) +
                   test % ('lint', 'tidy', 'FAIL', 1) + test % ('lint', 'man', 'SKIP', 77))
        suite = '<testsuite name="flowtally.flowtally:unit / %s">%s</testsuite>'
        case = '<testcase name="%s" classname="x">%s</testcase>'
        self.write('check.junit.xml', '<testsuites>%s%s</testsuites>' % (
            suite % ('cache', case % ('a', '') + case % ('b', '<skipped/>')), suite % ('loop', case % ('c', ''))))
        counted = [(entry.verdict, entry.name) for entry in results.read_tests(self.root / 'check')]
        self.assertEqual(counted, [('passed', 'cache: a'), ('skipped', 'cache: b'), ('passed', 'loop: c'),
                                   ('failed', 'loop'), ('failed', 'tidy'), ('skipped', 'man')])


class Troubleshooting(unittest.TestCase):
    """A section for each check, in their order, with all that belongs into one."""

    CHECKS = 'CHECK("btf", "Types", doctor_btf)\nCHECK("jit", "Compiler", doctor_jit)\n'
    SECTION = '### `%s`\n\n**What it means.** x\n\n**How it looks.**\n\n**How to mend it.** y\n'

    def page(self, *names):
        return '# Page\n\n## Kernel\n\n' + '\n'.join(self.SECTION % name for name in names)

    def problems(self, page):
        return list(troubleshooting.check(self.CHECKS, page))

    def test_good(self):
        self.assertEqual(self.problems(self.page('btf', 'jit')), [])

    def test_bad(self):
        for page, what in ((self.page('btf'), '0 sections'), (self.page('btf', 'jit', 'jit'), '2 sections'),
                           (self.page('btf', 'jit', 'old'), '`old` is no check'), (self.page('jit', 'btf'), 'order'),
                           (self.page('btf', 'jit').replace('**How it looks.**', '', 1), 'How it looks')):
            self.assertTrue(any(what in problem for problem in self.problems(page)), what)
        self.assertTrue(list(troubleshooting.check('', self.page())))


class Expressions(unittest.TestCase):
    """Metrics and labels of rules and panels are those of the catalogue."""

    METRICS = panels.catalogue('| `flowtally_a_total` | counter | record, stage | x |\n| `flowtally_b` | gauge |  | x |\n')
    CHOSEN = 'cluster=~"$cluster", job=~"$job", instance=~"$instance"'

    def problems(self, text, where='x.yaml: X', legend=''):
        return list(panels.check_expression(expressions.Expression(where, text, legend), self.METRICS))

    def test_good(self):
        for text in ('sum by (job, stage) (rate(flowtally_a_total{stage!~"x|y"}[5m])) > 0 and on (job) flowtally_b == 1',
                     'up == 0'):
            self.assertEqual(self.problems(text), [])
        self.assertEqual(self.problems(f'flowtally_a_total{{{self.CHOSEN}}}', 'x.json: X', '{{instance}} {{stage}}'), [])

    def test_bad(self):
        for text, what in (('flowtally_c > 0', 'flowtally_c is not in'), ('flowtally_b{stage="x"}', 'no label stage'),
                           ('sum by (reason) (flowtally_a_total)', 'has the label reason'), ('vector(1)', 'no metric')):
            self.assertTrue(any(what in problem for problem in self.problems(text)), what)
        self.assertIn('not of the chosen', ' '.join(self.problems('flowtally_b', 'x.json: X')))
        self.assertIn('the legend has reason', ' '.join(self.problems('flowtally_b', legend='{{reason}}')))

    def test_replaced(self):
        text = ('rate(flowtally_b{cluster=~"$cluster", job=~"$job", interface=~"$interface"}[$__rate_interval])'
                ' / flowtally_b[$__range]')
        self.assertEqual(expressions.replaced(text, '5s', '1m'),
                         'rate(flowtally_b{cluster=~".*", job=~".+", interface=~".+"}[5s]) / flowtally_b[1m]')


class Runbooks(unittest.TestCase):
    """Of alerts, their pages and their tests."""

    RULE = {'alert': 'A', 'expr': 'flowtally_b == 0', 'labels': {'severity': 'warning'}, 'annotations': {
        'summary': 'At {{ $labels.instance }}.', 'description': 'X.', 'runbook_url': runbooks.URL % 'A'}}
    PAGE = '# A\n\n' + '\n\n'.join(runbooks.PARTS) + '\n```\nls\n```\n'
    FIRES = {'expr': runbooks.FIRING, 'exp_samples': [{'labels': 'ALERTS{alertname="A", instance="a"}', 'value': 1}]}
    SILENT = {'expr': runbooks.FIRING, 'exp_samples': []}

    def test_rule(self):
        self.assertEqual(list(runbooks.check_rule(self.RULE)), [])
        for change in ({'labels': {}}, {'expr': 'up == 0'}, {'annotations': {**self.RULE['annotations'], 'runbook_url': 'x'}},
                       {'annotations': {**self.RULE['annotations'], 'summary': 'no sentence'}}):
            self.assertEqual(len(list(runbooks.check_rule({**self.RULE, **change}))), 1, change)

    def test_dashboard(self):
        notes = {'dashboard': '/d/b?var-instance={{ $labels.instance | urlquery }}'}
        good, page = {'alert': 'A', 'annotations': notes}, 'x\n\nDashboard: [B and c](../dashboards.md#b-and-c).\n'
        boards = {'b': 'flowtally / B and c'}
        self.assertEqual(list(runbooks.check_dashboard(good, page, boards)), [])
        for rule, text, known in (({**good, 'annotations': {}}, page, boards), (good, 'x\n', boards), (good, page, {}),
                                  (good, page.replace('#b', '#c'), boards), (good, page, {'b': 'flowtally / D'}),
                                  ({**good, 'annotations': {'dashboard': '/d/b?var-instance=x'}}, page, boards)):
            self.assertEqual(len(list(runbooks.check_dashboard(rule, text, known))), 1, (rule, text))

    def test_page(self):
        row = '| [A](A.md) | warning | x |'
        self.assertEqual(list(runbooks.check_page('A', 'warning', self.PAGE, row)), [])
        for page, severity in ((self.PAGE, 'critical'), (self.PAGE.replace('# A', '# B'), 'warning'),
                               (self.PAGE.replace('mends', 'ends'), 'warning'), (self.PAGE.replace('```', ''), 'warning')):
            self.assertEqual(len(list(runbooks.check_page('A', severity, page, row))), 1, page)

    def test_tests(self):
        def problems(*moments, rule=None):
            return len(list(runbooks.check_tests('x', [rule or self.RULE], [{'promql_expr_test': list(moments)}])))
        self.assertEqual(problems(self.FIRES, self.SILENT), 0)
        self.assertEqual(problems(self.FIRES), 1)
        self.assertEqual(problems(self.SILENT), 2)
        names = {**self.RULE, 'annotations': {'summary': '{{ $labels.interface }}'}}
        self.assertEqual(problems(self.FIRES, self.SILENT, rule=names), 1)


if __name__ == '__main__':
    unittest.main()
