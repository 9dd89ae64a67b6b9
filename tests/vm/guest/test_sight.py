# SPDX-License-Identifier: Apache-2.0
"""Hooks that see nothing, on kinds of devices and filters that not every kernel has; all under one exporter, by clsact.

It is in a time namespace, so that the clock of its banks is not its own.
"""
import re
import time

import machine
import program
import time_namespace
import traffic
from machine import point
from lab import Lab, wait_until
from tap import Skip, check, check_equal

HIDDEN_SECONDS = 120


def address(number, side):
    return f'10.85.{number}.{side}'


def make_vrf(box):
    box.ip('meter', 'link', 'add', 'vrf0', 'type', 'vrf', 'table', '10')
    box.ip('meter', 'link', 'set', 'vrf0', 'up')
    box.ip('meter', 'link', 'set', 'm0', 'master', 'vrf0')
    mac = box.link('peer', 'p0')['address']  # it went with the old table
    box.ip('meter', 'neighbour', 'replace', address(0, 2), 'lladdr', mac, 'dev', 'm0', 'nud', 'permanent')


def make(box, vrf):
    """m0 in a VRF, if there are any; m1 behind a filter that accepts; m2 with a policer in an ingress qdisc."""
    for number in range(3):
        box.veth(('meter', f'm{number}'), ('peer', f'p{number}'), offloads=False)
        box.address(('meter', f'm{number}', [address(number, 1)]), ('peer', f'p{number}', [address(number, 2)]))
    if vrf:
        make_vrf(box)
    box.ip_tc('meter', 'qdisc', 'add', 'dev', 'm1', 'clsact')
    box.ip_tc('meter', 'filter', 'add', 'dev', 'm1', 'egress', 'protocol', 'all', 'prio', '1', 'matchall', 'action', 'ok')
    box.ip_tc('meter', 'qdisc', 'add', 'dev', 'm2', 'ingress')
    box.ip_tc('meter', 'filter', 'add', 'dev', 'm2', 'ingress', 'protocol', 'ip', 'prio', '7', 'matchall', 'action', 'police',
              'rate', '100mbit', 'burst', '100k', 'conform-exceed', 'drop/ok')


def exchange(box, number):
    """A datagram each way; nobody listens in the meter, and what would answer that is silent."""
    traffic.udp(box, 'peer', (address(number, 2), 1001), (address(number, 1), 9), 1)
    if number:
        traffic.udp(box, 'meter', (address(number, 1), 1001), (address(number, 2), 9), 1)


def said(daemon, *words):
    return any(all(word in line for word in words) for line in daemon.stderr().splitlines())


def main():
    program.READY_SECONDS = program.STOP_SECONDS = machine.PATIENCE
    vrf = machine.has_module('vrf')
    names = 'vrf0', 'm0', 'm1', 'm2'
    options = [word for name in names[not vrf:] for word in ('--interface', name)]
    with Lab('meter', 'peer') as box:
        make(box, vrf)
        for role in box.names:
            box.run(role, 'sysctl', '-qw', 'net.ipv4.icmp_ratemask=8', 'net.ipv4.icmp_ratelimit=1000000')
        with program.Daemon(box, 'meter', *machine.SMALL, '--mask', 'tcx', '--ingress', 'tc', '--drain-interval', '1s',
                            *options, prefix=time_namespace.prefix_if_any(100000, 200000)) as daemon:
            count, end = 0, time.monotonic() + HIDDEN_SECONDS
            while time.monotonic() < end and not all(said(daemon, name, 'saw 0') for name in ("'vrf0'", "'m1'")[not vrf:]):
                for number in range(3):
                    exchange(box, number)
                count += 1
                time.sleep(0.2)
            wait_until(lambda: box.packets('meter', 'm2', 'rx') >= count, 10, 'the last packets')
            ledger = daemon.stop()
            text = daemon.stderr()
    hooks = {one['name']: one['hooks'] for one in ledger['interfaces']}
    with point('sight: a VRF is named'):
        if not vrf:
            raise Skip(machine.NO_VRF)
        check(re.search(r"'vrf0': its counters say \d+ packets arrived .* ingress hook saw 0: .*VRF", text), text)
        check(hooks['vrf0']['ingress']['hidden'] and not hooks['m0']['ingress']['hidden'], hooks)
    with point('sight: a filter in front is named'):
        check(re.search(r"'m1': its counters say \d+ packets left .* saw 0: the filter 'matchall' at priority 1", text), text)
        check(hooks['m1']['egress']['hidden'] and not hooks['m1']['ingress']['hidden'], hooks)
    with point('sight: an ingress qdisc with a policer has no egress, and what arrives is exact'):
        check(re.search(r"'m2': egress TC: the `ingress` qdisc there has no egress", text), text)
        check_equal('warnings', len(re.findall('its counters say', text)), 1 + vrf)
        check_equal('egress', hooks['m2']['egress']['hook'], 'none')
        check(hooks['m2']['ingress']['accounted'] >= count, count, hooks)


if __name__ == '__main__':
    main()
