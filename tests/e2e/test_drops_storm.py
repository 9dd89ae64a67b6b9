#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Storms of drops: each is counted, within the budget and beyond it, and where a bank fills."""
import json
import os
import subprocess
import time

import program
import tap
import traffic
from drops import packets_of, take_homeless
from lab import Lab
from tap import check, check_equal

HOST, ROUTER = '10.1.0.2', '10.1.0.1'
STORM_MIN = 30000  # packets, however slow the machine is
RULES = '''table inet drops {
  counter in { }
  chain in { type filter hook input priority 0; udp dport 5001 counter name "in" drop; }
}'''


def join(box):
    box.veth(('host', 'h0'), ('router', 'r0'))
    box.address(('host', 'h0', [HOST]), ('router', 'r0', [ROUTER]))
    box.ip('host', 'route', 'add', 'default', 'via', ROUTER)
    box.run('router', 'sysctl', '-qw', 'net.ipv4.conf.r0.rp_filter=0', 'net.ipv4.conf.all.rp_filter=0')
    subprocess.run(box.inside('router', 'nft', '-f', '-'), input=RULES, text=True, check=True)


def storm(box, daemon_options, senders, flows):
    """Some seconds of datagrams that the firewall refuses, from so many processes: (ledger, firewall's packets)."""
    script = ('import socket,sys,time\n'
              's=socket.socket(socket.AF_INET,socket.SOCK_RAW,socket.IPPROTO_RAW)\n'
              'import struct\n'
              'first,flows=int(sys.argv[1]),int(sys.argv[2])\n'
              'end=time.monotonic()+3\n'
              'n=0\n'
              f'while time.monotonic()<end or n<{STORM_MIN // senders}:\n'
              '    for _ in range(500):\n'
              '        i=first+n%flows; n+=1\n'
              '        source=socket.inet_aton("10.%d.%d.%d"%(50+(i>>16),i>>8&255,i&255))\n'
              f'        h=struct.pack("!BBHHHBBH4s4sHHHH",0x45,0,36,0,0,64,17,0,source,'
              f'socket.inet_aton("{ROUTER}"),4000,5001,16,0)+bytes(8)\n'
              f'        s.sendto(h,("{ROUTER}",0))\n')
    drain = [] if '--drain-interval' in daemon_options else ['--drain-interval', '1s']
    with program.Daemon(box, 'router', '--interface', 'r0', '--ingress', 'tc', *drain, *daemon_options, drops='on') as daemon:
        processes = [box.start('host', '/usr/bin/python3', '-c', script, str(number * flows), str(flows))
                     for number in range(senders)]
        for process in processes:
            process.wait(60)
        traffic.pass_queues(box, ('host', 'h0'), ('router', 'r0'))  # it has been dropped, if it is to be
        ledger = daemon.stop()
    listed = json.loads(box.run('router', 'nft', '-j', 'list', 'counters'))['nftables']
    return ledger, next(item['counter']['packets'] for item in listed if item.get('counter', {}).get('name') == 'in')


def run_storm(options, flows):
    with Lab('host', 'router', ipv6=True) as box:
        join(box)
        ledger, refused = storm(box, options, 2, flows)
    drops = ledger['drops']
    drops['seen'] -= take_homeless(drops)
    reasons = packets_of(drops['reasons'])
    check(0 <= refused - reasons['NETFILTER_DROP'] <= drops['missed'],
          f'the firewall dropped {refused}, {drops["missed"]} are missed, of {reasons}')
    check_equal('reasons', set(reasons), {'NETFILTER_DROP'})
    check(drops['seen'] >= STORM_MIN, f'no storm: {drops["seen"]} drops')
    return drops


def test_storm():
    """Two CPUs, banks that swap: each drop is counted."""
    drops = run_storm(['--drops-budget', 'off'], 500)
    check_equal('refused', drops['refused'], {})


def test_budget():
    """A storm beyond the budget: what is in no record is counted by name, and the kernel's reasons have all."""
    budget, start = 1000, time.monotonic()
    drops = run_storm(['--drops-budget', str(budget)], 500)
    seconds = time.monotonic() - start
    accounted, refused = drops['accounted']['packets'], packets_of(drops['refused'])
    check_equal('kinds of refused ones', set(refused), {'budget'})
    check_equal('seen', accounted + refused['budget'], drops['seen'])
    check_equal('by reason of the kernel', sum(packets_of(drops['reasons']).values()), drops['seen'])
    # Each CPU has a second's worth at once, and the same again each second.
    check(budget < accounted <= os.cpu_count() * budget * (1 + seconds), f'{accounted} in records after {seconds} s')
    check(refused['budget'] > accounted, f'{refused} beyond the budget, {accounted} within')


def test_full_bank():
    """More flows than a bank has room for: what is in no record is counted, and the reasons have all."""
    drops = run_storm(['--drop-entries', '4096', '--drain-interval', '10s', '--drops-budget', 'off'], 30000)
    check(drops['refused'].get('bank_full', {}).get('packets', 0) > 0, f'the bank did not fill: {drops}')
    check_equal('evicted', drops['evicted'], {'packets': 0, 'octets': 0})


tap.require('nft')
tap.main([('a storm on two CPUs', test_storm), ('a storm beyond the budget', test_budget),
          ('a bank that fills', test_full_bank)])
