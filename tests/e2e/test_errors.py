#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Bad input: what is wrong is named, the exit status says whose fault it is, and nothing is left attached."""
import functools
import json
import os
import pty
import re
import shutil
import signal
import struct
import subprocess
from pathlib import Path

import collect
import program
import tap
import traffic
from lab import Lab, bpf_object, command, scratch, wait_until
from tap import check, check_equal

USAGE, FAILED = 2, 1
NOWHERE = 'file:///dev/null'
NOBODY = ['setpriv', '--reuid', '65534', '--regid', '65534', '--clear-groups', '--no-new-privs', '--inh-caps=-all']
HANGS_UP = ['env', '--default-signal=HUP']  # below nohup too
XDP_SOURCE = '''
__attribute__((section("xdp"), used)) int foreign_xdp(void *ctx) { return 2; }
__attribute__((section("license"), used)) char _license[] = "GPL";
'''

# Sends one frame.
SENDER = ['/usr/bin/python3', '-c', 'import socket, sys; s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); '
          's.bind((sys.argv[1], 0)); s.send(bytes(12) + b"\\x08\\x06" + bytes(46))']

# name: (arguments, exit status, patterns that each match one line and no other)
COMMANDS = {
    'unknown interface': (['run', '--interface', 'nosuch0', '--collector', NOWHERE], FAILED, ["'nosuch0'"]),
    'no interface': (['run', '--collector', NOWHERE], USAGE, ['--interface']),
    'malformed URL': (['run', '--interface', 'm0', '--collector', 'ipfix//collector'], USAGE, ['ipfix//collector']),
    'URL of no known kind': (['run', '--interface', 'm0', '--collector', 'gopher://collector'], USAGE, ['gopher']),
    'URL with a bad port': (['run', '--interface', 'm0', '--collector', 'ipfix://127.0.0.1:70000'], USAGE, ['70000']),
    'unknown option': (['run', '--interface', 'm0', '--colector', NOWHERE], USAGE, ['colector']),
    'unknown verb': (['meter'], USAGE, ["'meter'"]),
    'several bad options': (
        ['run', '--interface', 'm0', '--idle-timeout', 'soon', '--collector', 'gopher://x', '--ingress', 'maybe',
         '--bank-entries', '-5', '--cache-entries', '1', '--mask', 'nothing', '--nonsense'], USAGE,
        ['soon', 'gopher', 'maybe', 'bank-entries', 'cache-entries', 'nothing', 'nonsense']),
    'file that cannot be written': (['run', '--interface', 'm0', '--collector', 'file:///nonexistent/flows.ipfix'],
                                    FAILED, ['/nonexistent/flows.ipfix']),
    'file that cannot be written, after the first swap': (
        ['run', '--interface', 'm0', '--live', '--drain-interval', '100ms', '--collector', 'file:///nonexistent/flows.ipfix'],
        FAILED, ['/nonexistent/flows.ipfix']),
    'XDP where there is none': (['run', '--interface', 'lo', '--ingress', 'xdp', '--collector', NOWHERE], FAILED,
                                ["'lo'.*--ingress tc"]),
    'capture that is not there': (['replay', '/nonexistent/file.pcap', '--collector', NOWHERE], FAILED,
                                  ['/nonexistent/file.pcap']),
    'capture that is a folder': (['replay', '/proc', '--collector', NOWHERE], FAILED, ['/proc']),
    'capture that is none': (['replay', '/proc/version', '--collector', NOWHERE], FAILED, ['/proc/version']),
    'configuration that is not there': (['run', '--config', '/nonexistent/f.yaml'], USAGE,
                                        ['/nonexistent/f.yaml', 'no interface']),
    'option given twice': (['run', '--interface', 'm0', '--domain', '1', '--domain', '2'], USAGE,
                           ["--domain '2': given twice"]),
    'replay without a file': (['replay', '--collector', NOWHERE], USAGE, ['FILE|file']),
}


def attached(box, interface='m0'):
    """Programs on an interface, by `ip` and `tc`."""
    found = [box.link('meter', interface).get('xdp', {}).get('prog')]
    for side in 'ingress', 'egress':
        text = box.ip_tc('meter', 'filter', 'show', 'dev', interface, side)
        found += [line for line in text.splitlines() if 'bpf' in line]
    return [one for one in found if one]


def check_complaint(result, status, patterns):
    """One line for each pattern, and the exit status."""
    code, _, stderr = result
    check_equal(f'exit status, of\n{program.shown(stderr)}', code, status)
    for pattern in patterns:
        lines = [line for line in stderr.splitlines() if re.search(pattern, line)]
        check(len(lines) == 1, f'{len(lines)} lines match /{pattern}/, expected one, in', program.shown(stderr))


def test_command(box, name):
    arguments, status, patterns = COMMANDS[name]
    check_complaint(program.run(*arguments, prefix=box.inside('meter'), timeout=20), status, patterns)
    check_equal('left attached', attached(box), [])


def test_no_verb():
    """A newcomer is told the five commands to begin with, and each of them is one."""
    code, stdout, stderr = program.run()
    check_equal('exit status', code, USAGE)
    check_equal('standard output', stdout, '')
    verbs = [line.split()[1] for line in stderr.splitlines() if line.startswith('  flowtally ')]
    check_equal('commands', verbs, ['doctor', 'run', 'status', 'top', 'drops'])
    for verb in verbs:
        code, stdout, _ = program.run(verb, '--help')
        check_equal(f'{verb} --help', (code, stdout.split()[:3]), (0, ['usage:', 'flowtally', verb]))


def version_lines(stdout):
    """What `flowtally --version` prints, by the first word of the line."""
    lines, word = {}, None
    for line in stdout.splitlines():
        word = line.split()[0] if line[0] != ' ' else word
        lines.setdefault(word, []).append(line[11:])
    return lines


def test_version():
    """What a report of a fault must name; who leaves the dashes away is told, and who is not root what he is not told."""
    code, stdout, stderr = program.run('--version')
    check_equal('exit status and errors', (code, stderr), (0, ''))
    check(re.match(r'flowtally [0-9.]+ ?(\(commit [0-9a-f]{12}\))?\n', stdout), stdout)
    lines = version_lines(stdout)
    check_equal('system', lines['system'], [f'Linux {os.uname().release} {os.uname().machine}'])
    for name in 'libbpf', 'c-ares', 'glibc', 'libmicrohttpd':
        check(re.search(rf'\b{name} [0-9.]+', lines['libraries'][0]), stdout)
    listed, _, missing = lines['features'][0].partition('; missing: ')
    check('ringbuf' in listed.split(', ') and missing, stdout)
    check_equal('btf', 'btf' in listed.split(', '), os.path.exists('/sys/kernel/btf/vmlinux'))
    code, stdout, stderr = program.run('--version', prefix=NOBODY)
    check_equal('as nobody: exit status and errors', (code, stderr), (0, ''))
    check_equal('as nobody', version_lines(stdout)['programs'], ['only root is told their tags'])
    code, _, stderr = program.run('version')
    check_equal('exit status', code, USAGE)
    check("no verb 'version'; did you mean --version?" in stderr, stderr)


def test_version_tags():
    """The tags of --version are those that the kernel says of the programs that run."""
    _, stdout, _ = program.run('--version')
    told = dict(line.split() for line in version_lines(stdout)['programs'])
    with Lab('meter', 'peer') as box:
        box.veth(('meter', 'm0'), ('peer', 'p0'))
        with program.Daemon(box, 'meter', '--interface', 'm0', drops='auto') as daemon:
            seen = set()
            for path in Path(f'/proc/{daemon.process.pid}/fdinfo').iterdir():
                seen |= set(re.findall(r'^prog_tag:\s*(\w+)\n(?:.*\n)*prog_id:\s*(\d+)$', path.read_text(encoding='ascii'),
                                       re.M))
            names = set()
            for tag, number in seen:
                one = json.loads(command('bpftool', '-j', 'prog', 'show', 'id', number))
                check_equal(f'tag of {one["name"]}', one['tag'], tag)
                if one['name'] == 'flowtally_idle':  # two instructions, which are in no object
                    continue
                name, = [name for name in told if name.startswith(one['name']) and len(one['name']) in (len(name), 15)]
                check_equal(f'tag of {name}', told[name], tag)
                names.add(name)
            check_equal('programs that run', sorted(names), sorted(told))


def test_output():
    """What cannot be printed is a failure; that nobody reads on is none."""
    for words in ['config', 'example'], ['config', 'schema'], ['doctor', '--json'], ['run', '--help']:
        with open('/dev/full', 'w', encoding='ascii') as full:
            ended = subprocess.run([program.binary(), *words], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
        check_equal(f'exit status of {words}', ended.returncode, 1)
        check('standard output could not be written' in ended.stderr, f'{words}: {ended.stderr}')
        reader, writer = os.pipe()
        os.close(reader)
        ended = subprocess.run([program.binary(), *words], stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
        os.close(writer)
        check(ended.returncode in (0, 1) and 'standard output' not in ended.stderr, f'{words}: {ended}')


def test_password():
    """Whatever characters it holds and wherever a URL is given: no part of a password is told."""
    parts = ['horse', 'battery', 'staple', 'clip']
    for character in " '\"?/@#:=%&\\\t":
        for scheme in 'ipfix://', 'ipfix+tcp://', 'gopher://', '':
            url = f'{scheme}user:{character.join(parts)}@192.0.2.1:4739'
            for words in ([url], ['config', url], ['run', url], ['drops', url],
                          ['run', '--interface', 'm0', '--collector', url],
                          ['run', '--interface', 'm0', '--set', f'collectors={url}'], ['run', f'--colector={url}'],
                          ['replay', '/dev/null', '--collector', url]):
                code, stdout, stderr = program.run(*words)
                check_equal(f'exit status of {words}', code, USAGE)
                told = [part for part in parts if part in stdout + stderr]
                check_equal(f'told of {words}', told, [])


def as_nobody(box, *arguments):
    """Runs a copy that nobody can reach, wherever the build tree is."""
    with scratch() as directory:
        os.chmod(directory, 0o755)
        copy = shutil.copy(program.binary(), directory)
        os.chmod(copy, 0o755)
        return program.run(*arguments, prefix=[*box.inside('meter'), *NOBODY], timeout=20, path=copy)


def test_no_permission(box):
    result = as_nobody(box, 'run', '--interface', 'm0', '--collector', NOWHERE)
    check_complaint(result, FAILED, ['CAP_BPF.*CAP_NET_ADMIN|root'])
    check_equal('left attached', attached(box), [])


def test_no_btf(box):
    """A kernel that does not show its types is metered all the same: nothing is relocated against them."""
    hide = ['unshare', '--mount', 'sh', '-c', 'mount -t tmpfs none /sys/kernel/btf && exec "$0" "$@"']
    options = ['--interface', 'm0', '--ingress', 'xdp', '--collector', NOWHERE]
    with program.Daemon(box, 'meter', *options, prefix=hide) as daemon:
        box.run('peer', *SENDER, 'p0')
        check_equal('packets seen', daemon.stop()['seen'], 1)
    check_equal('left attached', attached(box), [])


def test_hook_held(box):
    """Somebody else's XDP program stays, and is named."""
    with bpf_object(XDP_SOURCE) as code:
        box.ip('meter', 'link', 'set', 'dev', 'm0', 'xdpdrv', 'obj', code, 'sec', 'xdp')
    try:
        foreign = box.link('meter', 'm0')['xdp']['prog']['id']
        result = program.run('run', '--interface', 'm0', '--ingress', 'xdp', '--collector', NOWHERE,
                             prefix=box.inside('meter'), timeout=20)
        check_complaint(result, FAILED, [rf"'m0'.*\b{foreign}\b.*--ingress tc"])
        check_equal('program on the interface', box.link('meter', 'm0')['xdp']['prog']['id'], foreign)
    finally:
        box.ip('meter', 'link', 'set', 'dev', 'm0', 'xdpdrv', 'off')


def test_one_of_two(box):
    """An interface that cannot be had is reported, and the other is metered."""
    with program.Daemon(box, 'meter', '--interface', 'm0', '--interface', 'nosuch0', '--collector', NOWHERE) as daemon:
        lines = [line for line in daemon.stderr().splitlines() if "'nosuch0'" in line]
        check_equal('lines that name the interface that is not there', len(lines), 1)
        daemon.stop()
    check_equal('left attached', attached(box), [])


def test_second_exporter(box):
    """A second exporter at the same XDP hook gives up, and the first goes on."""
    box.address(('meter', 'm0', ['10.74.0.1']), ('peer', 'p0', ['10.74.0.2']))
    options = ['--interface', 'm0', '--ingress', 'xdp', '--egress', 'off', '--collector', NOWHERE]
    with program.Daemon(box, 'meter', *options) as daemon:
        check_complaint(program.run('run', *options, prefix=box.inside('meter'), timeout=20), FAILED, ["'m0'.*held by"])
        traffic.udp(box, 'peer', ('10.74.0.2', 1000), ('10.74.0.1', 9), 5)
        check_equal('packets seen by the first', daemon.stop()['seen'], 5)


def test_damaged(damage, good):
    """A capture that ends or goes wrong in the middle gives what it holds, and then an error."""
    frames = [traffic.udp_frame(1000 + i) for i in range(10)]
    with scratch() as directory:
        capture, output = Path(directory) / 'damaged.pcap', Path(directory) / 'flows.ipfix'
        capture.write_bytes(damage(traffic.capture_of(frames)))
        result = program.run('replay', capture, '--summary', 'json', '--collector', f'file://{output}', timeout=20)
        check_complaint(result, FAILED, [re.escape(f'{capture}')])
        records = collect.read_ipfix(output)
    check_equal('ports in the records', sorted(record.key.source_port for record in records),
                [1000 + i for i in range(good)])
    check_equal('packets in the ledger', program.last_ledger(result[2])['accounted']['packets'], good)


def cut(text):
    return text[:-20]


def scribble(text):
    """Another length in the header of the sixth record."""
    at = 24 + 5 * (16 + len(traffic.udp_frame(0))) + 8
    return text[:at] + b'\xff\xff\xff\x7f' + text[at + 4:]


def usage_error(environment, path):
    """What a wrong command line says, with its standard error in this file."""
    with open(path, 'wb') as file:
        subprocess.run([program.binary(), 'run'], stderr=file, env=os.environ | environment(file), check=False,
                       timeout=20)
    return path.read_text()


def stream_name(file):
    status = os.fstat(file.fileno())
    return f'{status.st_dev}:{status.st_ino}'


def test_journal():
    """Lines have the priority of the journal where it is what reads them, not below it."""
    with scratch() as directory:
        path = Path(directory) / 'stderr'
        text = usage_error(lambda file: {'JOURNAL_STREAM': stream_name(file)}, path)
        check(text.startswith('<3>no interface'), text)
        text = usage_error(lambda _: {'JOURNAL_STREAM': '8:1'}, path)
        check(text.startswith('flowtally: no interface'), text)


def test_closed_streams():
    """Closed standard streams are not taken for the files that are opened next."""
    with scratch() as directory:
        capture, output = Path(directory) / 'in.pcap', Path(directory) / 'flows.json'
        capture.write_bytes(traffic.capture_of([traffic.udp_frame(1000)]))
        words = [program.binary(), 'replay', str(capture), '--collector', f'json://{output}']
        subprocess.run(['sh', '-c', 'exec "$0" "$@" <&- >&- 2>&-', *words], check=True, timeout=20)
        check_equal('lines in the file', [line[:1] for line in output.read_text().splitlines()], ['{'])


def test_own_input():
    """A capture is not overwritten by what is made of it."""
    with scratch() as directory:
        capture, link = Path(directory) / 'in.pcap', Path(directory) / 'link'
        text = traffic.capture_of([traffic.udp_frame(1000)])
        capture.write_bytes(text)
        link.symlink_to(capture)
        for path in capture, link:
            check_complaint(program.run('replay', capture, '--collector', f'file://{path}', timeout=20), USAGE,
                            [re.escape(f"'file://{path}': would overwrite the capture")])
        check(capture.read_bytes() == text, 'the capture is another')


def test_file_limit():
    """A file that may not grow is a named loss, not the end of the process."""
    with scratch() as directory:
        capture = Path(directory) / 'in.pcap'
        capture.write_bytes(traffic.capture_of([traffic.udp_frame(1000 + i) for i in range(3000)]))
        result = program.run('replay', capture, '--summary', 'json', '--collector', f'file://{directory}/flows.ipfix',
                             prefix=['prlimit', '--fsize=100000'], timeout=20)
    check(result[0] >= 0, f'the process ended by signal {-result[0]}')
    collector = program.last_ledger(result[2])['collectors'][0]
    check(collector['exported']['records'] > 500, f'{collector["exported"]["records"]} records exported')
    check_equal('records', collector['exported']['records'] + collector['lost']['send_error']['records'], 3000)


def test_no_descriptors():
    """What cannot be opened is named."""
    collectors = [word for port in range(1, 31) for word in ('--collector', f'ipfix://127.0.0.1:{port}')]
    with scratch() as directory:
        capture = Path(directory) / 'in.pcap'
        capture.write_bytes(traffic.capture_of([traffic.udp_frame(1000)]))
        result = program.run('replay', capture, *collectors, prefix=['prlimit', '--nofile=12'], timeout=20)
    check_complaint(result, FAILED, ["^flowtally: cannot open collector 'ipfix://127.0.0.1:[0-9]+': Too many open"])


def test_no_collector(box):
    """Metering into nothing is what was asked for, and yet worth a warning."""
    with program.Daemon(box, 'meter', '--interface', 'm0') as daemon:
        daemon.stop()
        check_equal('warnings', len(re.findall('no --collector and no --live', daemon.stderr())), 1)
    with program.Daemon(box, 'meter', '--interface', 'm0', '--collector', NOWHERE) as daemon:
        daemon.stop()
        check('no --collector' not in daemon.stderr(), 'a warning though there is a collector')


def test_hangup(box):
    """Without a terminal SIGHUP is a request to look again, and not the end."""
    with program.Daemon(box, 'meter', '--interface', 'm0', '--collector', NOWHERE) as daemon:
        daemon.process.send_signal(signal.SIGHUP)
        wait_until(lambda: 'SIGHUP' in daemon.stderr(), 5, 'a line about SIGHUP')
        daemon.stop()
        check_equal('lines about SIGHUP', daemon.stderr().count('SIGHUP'), 1)
    check_equal('left attached', attached(box), [])


def test_terminal_gone(box):
    """With the terminal the exporter ends, in order."""
    master, slave = pty.openpty()
    with program.Daemon(box, 'meter', '--interface', 'm0', '--live', prefix=HANGS_UP, stdout=slave) as daemon:
        os.close(slave)
        os.close(master)
        check('SIGHUP' not in daemon.stderr(), 'it was told to look again')
        daemon.stop(signal.SIGHUP)
    check_equal('left attached', attached(box), [])


def awaits(process, sign):
    """It is blocked, and so waits for who reads it."""
    status = Path(f'/proc/{process.pid}/status').read_text(encoding='ascii')
    return int(re.search(r'SigBlk:\s*(\w+)', status)[1], 16) >> sign - 1 & 1


def test_replay_hangup():
    """A replay that is hung up keeps what it has."""
    words = [*HANGS_UP, program.binary(), 'replay', '-', '--collector', NOWHERE, '--summary', 'json']
    with subprocess.Popen(words, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdin.write(traffic.capture_of([traffic.udp_frame(1000)]))
        process.stdin.flush()
        wait_until(lambda: awaits(process, signal.SIGHUP), 5, 'a reader of SIGHUP')
        process.send_signal(signal.SIGHUP)
        process.wait(20)  # the capture does not end
        stderr = process.stderr.read().decode()
    check_complaint((process.returncode, '', stderr), FAILED, ['interrupted after'])
    program.last_ledger(stderr)


def main():
    tap.require('ip', 'tc', 'ethtool', 'setpriv', 'unshare', 'ipfixDump')
    program.binary()
    with Lab('meter', 'peer') as box:
        box.veth(('meter', 'm0'), ('peer', 'p0'), offloads=False)
        tests = [(name, functools.partial(test_command, box, name)) for name in COMMANDS]
        tap.main(tests + [
            ('no verb', test_no_verb),
            ('version', test_version),
            ('tags of BPF programs', test_version_tags),
            ('standard output', test_output),
            ('passwords', test_password),
            ('no permission', functools.partial(test_no_permission, box)),
            ('no BTF', functools.partial(test_no_btf, box)),
            ('XDP hook held by somebody else', functools.partial(test_hook_held, box)),
            ('XDP hook held by another exporter', functools.partial(test_second_exporter, box)),
            ('one of two interfaces is not there', functools.partial(test_one_of_two, box)),
            ('no collector', functools.partial(test_no_collector, box)),
            ('SIGHUP', functools.partial(test_hangup, box)),
            ('terminal that is gone', functools.partial(test_terminal_gone, box)),
            ('a file that may not grow', test_file_limit),
            ('SIGHUP to a replay', test_replay_hangup),
            ('truncated capture', functools.partial(test_damaged, cut, 9)),
            ('damaged capture', functools.partial(test_damaged, scribble, 5)),
            ('standard error is the journal', test_journal),
            ('closed standard streams', test_closed_streams),
            ('capture that would be overwritten', test_own_input),
            ('too many open files', test_no_descriptors),
        ])


if __name__ == '__main__':
    main()
