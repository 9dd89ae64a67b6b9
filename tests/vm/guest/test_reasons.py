# SPDX-License-Identifier: Apache-2.0
"""Packets that the kernel drops on purpose, by reason: the kinds of tests/e2e/test_drops.py, all under one exporter.

An older kernel has fewer names: what it has none for it calls NOT_SPECIFIED.
"""
import drops
import machine
import program
import test_drops as kinds
from machine import LOGS, fact, point, version
from tap import Skip, check, check_equal

KINDS = [('closed port', kinds.closed_port), ('firewall', kinds.firewall), ('checksums', kinds.checksums),
         ('full socket', kinds.full_socket), ('super-packets', kinds.super_packets), ('fragments', kinds.fragments)]
TCP6_TOLD = 5, 18  # Linux that gives reasons of TCP over IPv6


def is_told(drop, names):
    """Whether this kernel has a name for the reason, and says it there."""
    tcp6 = drop.key.protocol == drops.TCP and ':' in drop.key.source
    return drop.reason in names and (version() >= TCP6_TOLD or not tcp6)


def by_kernel(expected, names):
    """What is expected, under the names that this kernel has."""
    amounts = drops.Amounts()
    for drop, (packets, octets) in expected.items():
        reason = drop.reason if is_told(drop, names) else 'NOT_SPECIFIED'
        amounts.add_drop(drop._replace(reason=reason), packets, octets)
    return amounts


def main():
    known = machine.drop_reasons()
    fact('reasons', 'known', len(known))
    if not known:
        with point('drops by reason'):
            raise Skip('this kernel gives no reasons, which came with Linux 5.17')
        return
    program.READY_SECONDS = program.STOP_SECONDS = machine.PATIENCE
    expected, names = {}, {'NO_SOCKET'} | known
    with drops.network() as net, drops.Meter(net, *machine.SMALL, '--ingress', 'off', '--egress', 'tc') as meter:
        for name, make in KINDS:
            expected[name] = by_kernel(make(net), names)
        with point('drops: SIGTERM, the ledger balances'):
            ledger = meter.stop()
            check_equal('missed', ledger['drops']['missed'], 0)
        (LOGS / 'drops.stderr').write_text(meter.daemon.stderr(), encoding='utf-8')
        fact('drops', 'reasons', meter.reasons)
    whole = drops.Amounts()  # one flow may be dropped by two kinds
    for amounts in expected.values():
        for drop, amount in amounts.items():
            whole.add_drop(drop, *amount)
    for name, amounts in expected.items():
        with point(f'drops: {name}'):
            lines = drops.differences({drop: whole[drop] for drop in amounts},
                                      {drop: meter.amounts[drop] for drop in amounts if drop in meter.amounts})
            check(not lines, 'records differ from what was dropped:', *lines)
    with point('drops: no others'):
        check_equal('further records', {str(drop): amount for drop, amount in meter.amounts.items() if drop not in whole}, {})


if __name__ == '__main__':
    main()
