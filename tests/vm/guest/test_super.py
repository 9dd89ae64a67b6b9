# SPDX-License-Identifier: Apache-2.0
"""Super-packets of TSO, GRO and UDP GSO, bare and in VXLAN and GRE, count as the packets that are on the wire.

    near (a0) --- (b0) hop (b1) --- (c0) far       as in tests/e2e/test_gso.py

One exporter meters a0, where they are whole and their outermost headers count, and the tunnels' own interfaces, where the
inner ones do.  What they are on the wire is taken where they are cut: on b1 those for the far end, on c0 those from it.
"""
import contextlib

import test_gso as gso
import wire
from machine import Exporter, check_flows, point, summed
from lab import Lab
from tap import check, check_equal

GRE_NEAR, GRE_FAR = {4: '10.73.4.1', 6: '10.73.6.1'}, {4: '10.73.4.2', 6: '10.73.6.2'}  # by outer version
TUNNELS = {'vx4': gso.INNER_NEAR[4], 'vx6': gso.INNER_NEAR[6], 'gr4': GRE_NEAR[4], 'gr6': GRE_NEAR[6]}
OUTER = {*gso.NEAR.values(), *gso.FAR.values()}


def add_gre(box):
    for version, kind, extra in (4, 'gre', ()), (6, 'ip6gre', ('encaplimit', 'none')):
        name = f'gr{version}'
        for role, local, remote, inner, peer in (('near', gso.NEAR, gso.FAR, GRE_NEAR, GRE_FAR),
                                                 ('far', gso.FAR, gso.NEAR, GRE_FAR, GRE_NEAR)):
            box.ip(role, 'link', 'add', name, 'type', kind, 'local', local[version], 'remote', remote[version], *extra)
            box.ip(role, 'link', 'set', name, 'mtu', '1400', 'up')
            box.ip(role, 'address', 'add', inner[version], 'peer', peer[version], 'dev', name)


def send(net):
    """Bare, through VXLAN and through GRE: TCP both ways, and sends that are cut into datagrams."""
    gso.OCTETS, gso.PACE = 300 << 10, 6 << 20
    for net.near, net.far in (gso.NEAR, gso.FAR), (gso.INNER_NEAR, gso.INNER_FAR), (GRE_NEAR, GRE_FAR):
        gso.send(net)


def of_kind(flows, kind):
    """Flows of a0 with the outermost headers of that kind."""
    def is_kind(key):
        if not {key.source, key.destination} <= OUTER:
            return False
        if key.protocol == wire.UDP and key.destination_port == wire.VXLAN_PORT:
            return kind == 'VXLAN'
        return kind == {wire.UDP: 'bare', wire.TCP: 'bare', wire.GRE: 'GRE'}.get(key.protocol)
    return {key: flow for key, flow in flows.items() if is_kind(key)}


def inside(flows, address):
    return {key: flow for key, flow in flows.items() if address in (key.source, key.destination)}


def judge(frames, flows, skbs):
    for kind in 'bare', 'VXLAN', 'GRE':
        for direction, what in (1, 'leave'), (0, 'arrive'):
            with point(f'super-packets {kind}: as they {what}'):
                expected = of_kind(wire.flows(frames[direction]), kind)
                check(len(expected) >= 2, f'on the wire: {expected}')
                check_flows('a0', expected, of_kind(flows.get(('a0', direction), {}), kind))
    for name, address in TUNNELS.items():
        with point(f'super-packets: {name} itself'):
            for direction in 0, 1:
                expected = inside(wire.flows(frames[direction], depth=1), address)
                check(len(expected) >= 3, f'on the wire: {expected}')
                check_flows(f'{name}, direction {direction}', expected, inside(flows.get((name, direction), {}), address))
    with point('super-packets: there are some'):
        for direction, side in enumerate(('rx', 'tx')):
            packets = summed(flows[('a0', direction)])['packets']
            check(packets > 1.5 * skbs[side], f'{side}: {packets} packets came as {skbs[side]} skbs')


def main():
    with Lab('near', 'hop', 'far', ipv6=True) as box, contextlib.ExitStack() as stack:
        net = gso.Net(box, stack.enter_context)
        net.veth()
        net.route()
        net.vxlan()
        net.vxlan_listener()
        add_gre(box)
        interfaces = [word for name in ('a0', *TUNNELS) for word in ('--interface', name)]
        with Exporter(box, 'near', 'super', *interfaces, '--ingress', 'tc', '--egress', 'tc') as exporter:
            wires = {1: wire.Wire(box, 'hop', 'b1', outgoing=True), 0: wire.Wire(box, 'far', 'c0', outgoing=True)}
            before, dropped = {side: box.packets('near', 'a0', side) for side in ('rx', 'tx')}, gso.dropped(box)
            send(net)
            skbs = {side: box.packets('near', 'a0', side) - before[side] for side in ('rx', 'tx')}
            frames = {direction: [data for _, data in one.frames()] for direction, one in wires.items()}
            check_equal('packets that the interfaces dropped: the test cannot be judged', gso.dropped(box) - dropped, 0)
            with point('super-packets: SIGTERM, the ledger balances'):
                exporter.stop()
            judge(frames, exporter.flows(), skbs)


if __name__ == '__main__':
    main()
