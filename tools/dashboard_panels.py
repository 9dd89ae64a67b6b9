# SPDX-License-Identifier: Apache-2.0
"""The panels of the dashboards, of numbers of docs/metrics.md alone.

In an expression @ stands for the labels by which cluster, job and node are chosen, [R] for a few scrapes, [T] for the chosen
time; in a legend @ stands for the names of cluster and node.
"""
from typing import NamedTuple

import expressions

GREEN, YELLOW, RED, BLUE = 'green', 'yellow', 'red', 'blue'
PLAIN = ((None, BLUE),)
NONE_IS_GOOD = ((None, GREEN), (1, RED))
SHARE = ((None, GREEN), (0.7, YELLOW), (0.9, RED))
NODE = {'cluster': 'Cluster', 'instance': 'Node'}


class Panel(NamedTuple):
    """units: Grafana's ids.  columns: {label: heading} of a table.  words: (value, text, color) of a stat."""
    kind: str
    title: str
    unit: str
    description: str
    queries: tuple = ()
    width: int = 12
    height: int = 8
    thresholds: tuple = PLAIN
    columns: dict = {}
    sort: str = ''
    words: tuple = ()
    stacked: bool = False
    centered: bool = False  # what leaves is below zero
    signed: bool = False    # may be below zero
    text: str = ''


class Board(NamedTuple):
    """rows: (heading, panels)"""
    uid: str
    title: str
    description: str
    rows: tuple


def lines(title, unit, description, *queries, **more):
    return Panel('timeseries', title, unit, description, queries, **more)


def stat(title, unit, description, query, **more):
    return Panel('stat', title, unit, description, ((query, more.pop('legend', '')),), **{'width': 4, 'height': 4, **more})


def table(title, unit, description, columns, *queries, **more):
    return Panel('table', title, unit, description, queries, columns=columns, **more)


def bars(title, unit, description, *queries, **more):
    return Panel('bargauge', title, unit, description, queries, **more)


def pie(title, unit, description, *queries, **more):
    return Panel('piechart', title, unit, description, queries, **more)


def text(title, words, **more):
    return Panel('text', title, '', '', text=words, **more)


ON = '{@, interface=~"$interface"}'
NAMES = '|'.join(sorted(rule['alert'] for rules in expressions.rules().values() for rule in rules))
ALERTS = table('Alerts that fire', 'short', 'Those of flowtally, as Prometheus has them. A name leads to its runbook.',
               {'alertname': 'Alert', 'severity': 'Severity', **NODE, 'interface': 'Interface', 'collector': 'Collector'},
               ('max by (alertname, severity, cluster, instance, interface, collector)'
                f' (ALERTS{{@, alertstate="firing", alertname=~"{NAMES}"}})', ''), width=24, height=6)

NODES = Board('flowtally-nodes', 'flowtally / Nodes and NICs', 'Traffic by node and interface, and what hooks and NICs miss', (
    ('Now', (
        stat('Nodes', 'short', 'Exporters that answer.', 'count(flowtally_build_info{@})'),
        stat('Arriving', 'bps',
             'Bits of IP packets a second, without link layer. What a node forwards arrives once and leaves once. Where a bond'
             ' and its members are both metered, a packet counts at each of them: choose interfaces above.',
             f'sum(rate(flowtally_interface_bytes_total{ON[:-1]}, direction="ingress"}}[R])) * 8'),
        stat('Leaving', 'bps', 'Bits of IP packets a second, without link layer, as they are before the queueing discipline.',
             f'sum(rate(flowtally_interface_bytes_total{ON[:-1]}, direction="egress"}}[R])) * 8'),
        stat('Packets', 'pps', 'Packets a second in both directions, as on the wire: a super-packet counts as its segments.',
             f'sum(rate(flowtally_interface_packets_total{ON}[R]))'),
        stat('Not attached', 'short', 'Interfaces that are wanted, and lack a hook or are not there.',
             'sum(1 - flowtally_interface_attached{@})', thresholds=NONE_IS_GOOD),
        stat('Silent hooks', 'short', 'Hooks that do not see packets which the kernel counts on their interface.',
             'sum(flowtally_hook_silent{@})', thresholds=NONE_IS_GOOD),
        ALERTS,
    )),
    ('Nodes', (
        lines('Throughput by node', 'bps', 'Bits of IP packets a second. Above zero what arrives, below what leaves.',
              (f'sum by (cluster, instance, direction) (rate(flowtally_interface_bytes_total{ON}[R])) * 8',
               '@ {{direction}}'), centered=True),
        lines('Packets by node', 'pps', 'Packets a second, as on the wire. Above zero what arrives, below what leaves.',
              (f'sum by (cluster, instance, direction) (rate(flowtally_interface_packets_total{ON}[R]))',
               '@ {{direction}}'), centered=True),
        lines('Mean size of packets', 'bytes', 'Octets of IP per packet. Many small packets cost more than few large ones.',
              (f'sum by (cluster, instance, direction) (rate(flowtally_interface_bytes_total{ON}[R]))'
               f' / sum by (cluster, instance, direction) (rate(flowtally_interface_packets_total{ON}[R]))',
               '@ {{direction}}')),
        lines('Packets without a flow', 'pps', 'Packets that carry no flow, such as ARP, or are malformed, by reason.',
              ('sum by (cluster, instance, reason) (rate(flowtally_ignored_packets_total{@, record="flow"}[R]))',
               '@ {{reason}}')),
    )),
    ('Interfaces', (
        lines('Throughput by interface', 'bps', 'Bits of IP packets a second. Above zero what arrives, below what leaves.',
              (f'sum by (cluster, instance, interface, direction) (rate(flowtally_interface_bytes_total{ON}[R])) * 8',
               '@ {{interface}} {{direction}}'), centered=True),
        lines('Packets by interface', 'pps', 'Packets a second, as on the wire. Above zero what arrives, below what leaves.',
              (f'sum by (cluster, instance, interface, direction) (rate(flowtally_interface_packets_total{ON}[R]))',
               '@ {{interface}} {{direction}}'), centered=True),
        table('Hooks', 'short', 'Which kind of hook each interface has in each direction; 0 with none: there is no hook.',
              {**NODE, 'interface': 'Interface', 'direction': 'Direction', 'hook': 'Hook', 'Value': 'Attached'},
              (f'max by (cluster, instance, interface, direction, hook) (flowtally_hook_attached{ON})', '')),
        table('Not attached', 'short',
              'Interfaces that are wanted, and lack a hook or are not there. flowtally doctor has the reason.',
              {**NODE, 'interface': 'Interface', 'Value': 'Attached'},
              ('max by (cluster, instance, interface) (flowtally_interface_attached{@}) == 0', '')),
        lines('Attempts to attach that failed', 'si:/s', 'By what kept the hook away. They are repeated by themselves.',
              ('sum by (cluster, instance, interface, direction, reason) (rate(flowtally_attach_errors_total{@}[R]))',
               '@ {{interface}} {{direction}} {{reason}}'), width=24),
    )),
    ('NICs: the kernel\'s own counters', (
        lines('Kernel and hooks', 'pps',
              'What the kernel counts, less what the hooks saw. On a physical NIC the rest goes past the hooks. veth, tun and'
              ' the like count a super-packet as one, so that this is below zero there and says nothing.',
              (f'sum by (cluster, instance, interface, direction) (rate(flowtally_kernel_interface_packets_total{ON}[R]))'
               f' - sum by (cluster, instance, interface, direction) (rate(flowtally_hook_packets_total{ON}[R]))',
               '@ {{interface}} {{direction}}'), signed=True),
        lines('Errors and drops of interfaces', 'pps',
              'By the kernel\'s own counters. rx_missed_errors: the NIC had no room. No hook sees what is lost before it.',
              (f'sum by (cluster, instance, interface, counter) (rate(flowtally_kernel_interface_losses_total{ON}[R]))',
               '@ {{interface}} {{counter}}')),
        lines('Age of the kernel\'s counters', 's', 'How long ago they were read, by Prometheus\' clock.',
              ('timestamp(flowtally_kernel_counters_timestamp_seconds{@}) - flowtally_kernel_counters_timestamp_seconds{@}',
               '@'), width=24),
    )),
))

TALKERS = Board('flowtally-talkers', 'flowtally / Top talkers', 'Protocols, ports and interfaces with the most traffic', (
    ('About', (
        text('Hosts', 'No address is a label of a metric, for there may be millions. **Hosts are in the records**: ask the'
             ' collector, or the node itself: `flowtally top --tab hosts`, `flowtally top --keys src,service`. What passes two'
             ' interfaces that are metered, such as a bond and its member, counts at each of them.',
             width=24, height=3),
    )),
    ('Most traffic in the chosen time', (
        bars('Interfaces', 'bytes', 'Octets of IP packets, both directions.',
             ('topk(10, sum by (cluster, instance, interface) (increase(flowtally_interface_bytes_total{@}[T])))',
              '@ {{interface}}'), width=8),
        bars('Ports', 'bytes',
             'By the lower of the two ports of a flow, which is the service as a rule. Ports from 1024 on are __other__.',
             ('topk(10, sum by (protocol, port) (increase(flowtally_port_bytes_total{@, port!="__other__"}[T])))',
              '{{protocol}} {{port}}'), width=8),
        pie('Protocols', 'bytes', 'Octets of IP packets by protocol.',
            ('sum by (protocol) (increase(flowtally_interface_bytes_total{@}[T]))', '{{protocol}}'), width=8),
    )),
    ('Over time', (
        lines('Protocols', 'bps', 'Bits of IP packets a second.',
              ('sum by (protocol) (rate(flowtally_interface_bytes_total{@}[R])) * 8', '{{protocol}}'), stacked=True),
        lines('Ports', 'bps', 'The ten ports with most of it at each moment. Ports from 1024 on are __other__.',
              ('topk(10, sum by (protocol, port) (rate(flowtally_port_bytes_total{@}[R]))) * 8',
               '{{protocol}} {{port}}'), stacked=True),
        lines('Packets by port', 'pps', 'The ten ports with most packets at each moment.',
              ('topk(10, sum by (protocol, port) (rate(flowtally_port_packets_total{@}[R])))',
               '{{protocol}} {{port}}')),
        lines('IPv4 and IPv6', 'bps', 'Bits of IP packets a second by version of IP.',
              ('sum by (family) (rate(flowtally_interface_bytes_total{@}[R])) * 8', '{{family}}'), stacked=True),
        lines('ICMP', 'pps',
              'Messages by the numbers of type and code: 3 and its codes are destinations unreachable, 8 and 0 echo.',
              ('topk(10, sum by (family, type, code) (rate(flowtally_icmp_messages_total{@, family!="__other__"}[R])))',
               '{{family}} type {{type}} code {{code}}')),
        lines('DNS, both ways', 'pps',
              'Packets to and from port 53. Where questions are answered both lines are about the same.',
              ('sum by (cluster, instance, direction) (rate(flowtally_port_packets_total{@, port="53"}[R]))',
               '@ {{direction}}'), centered=True),
    )),
    ('Flows', (
        lines('Flows in the cache', 'short', 'Flows of which no end is known yet.',
              ('sum by (cluster, instance) (flowtally_flows_active{@, record="flow"})', '@')),
        lines('Records by their end', 'si:/s',
              'Records a second. active: a long flow gets one each active timeout. resources: the cache was full.',
              ('sum by (end_reason) (rate(flowtally_flows_total{@}[R]))', '{{end_reason}}'), stacked=True),
    )),
))

CLASSES = '''| class | who has to act |
|---|---|
| policy | somebody's rule: firewall, tc, BPF, IPsec |
| congestion | a queue or buffer was full, or the receiving program is too slow |
| no_receiver | it reached its host, where nobody wanted it |
| routing | no way on: routes, neighbours, MTU, reverse path filter |
| malformed | the packet is wrong: sender, link, offloads |
| memory | the kernel had no memory for it |
| tcp_state | a segment that does not fit its connection |
| benign | nothing is lost |
| other | the rest, also where the kernel gives no reason |
'''
DROPPED = 'flowtally_drops_total{@, class!="benign"}'

DROPS = Board('flowtally-drops', 'flowtally / Drops', 'What the kernel drops, by its own reason, with an explanation of each', (
    ('Now', (
        stat('Dropped', 'pps', 'Packets a second that the kernel drops; class benign, by which nothing is lost, left out.',
             f'sum(rate({DROPPED}[R]))', width=6),
        stat('Share of packets', 'percentunit',
             'Drops, benign ones left out, by packets at the hooks. Drops are those of the whole network'
             ' namespace, so that it may be above 100 % where few interfaces are metered.',
             f'sum(rate({DROPPED}[R])) / sum(rate(flowtally_seen_packets_total{{@, record="flow"}}[R]))',
             width=6, thresholds=((None, GREEN), (0.001, YELLOW), (0.01, RED))),
        stat('In no record', 'pps',
             'Drops a second that are counted by reason, and in no record: beyond the budget, or for want of room.',
             'sum(rate(flowtally_lost_packets_total{@, record="drop"}[R]))', width=6),
        stat('Missed', 'pps', 'Drops a second for which the kernel did not call the tracer: in no other number.',
             'sum(rate(flowtally_drops_missed_total{@}[R]))', width=6),
    )),
    ('Why', (
        table('Reasons in the chosen time', 'short',
              'All reasons of this time with their explanations, as in docs/drop-reasons.md.',
              {'reason': 'Reason', 'class': 'Class', 'Value': 'Packets', 'explanation': 'What happened, and what to look at'},
              ('label_join(sum by (reason, class) (increase(flowtally_drops_total{@}[T])) > 0, "explanation", "",'
              ' "reason")', ''),
              width=18, height=12, sort='Packets'),
        text('Classes', CLASSES, width=6, height=12),
        lines('Drops by class', 'pps', 'Packets a second that the kernel drops.',
              ('sum by (class) (rate(flowtally_drops_total{@}[R]))', '{{class}}'), stacked=True),
        lines('Drops by reason', 'pps', 'The ten reasons with most of it at each moment; benign ones left out.',
              (f'topk(10, sum by (reason) (rate({DROPPED}[R])))', '{{reason}}'), stacked=True),
    )),
    ('Where, and what', (
        lines('Drops by node', 'pps', 'Packets a second; benign ones left out.',
              (f'sum by (cluster, instance) (rate({DROPPED}[R]))', '@')),
        lines('Share of packets by node', 'percentunit', 'Drops, benign ones left out, by packets at the hooks of the node.',
              (f'sum by (cluster, instance) (rate({DROPPED}[R]))'
               ' / sum by (cluster, instance) (rate(flowtally_seen_packets_total{@, record="flow"}[R]))', '@')),
        lines('Drops in records by protocol', 'pps', 'What is in records; the flows are there, or in `flowtally drops`.',
              ('sum by (protocol, family) (rate(flowtally_recorded_drops_total{@, family!="__other__"}[R]))',
               '{{protocol}} {{family}}'), stacked=True),
        lines('Octets that are dropped', 'Bps', 'As far as they are known, by class.',
              ('sum by (class) (rate(flowtally_drop_bytes_total{@}[R]))', '{{class}}'), stacked=True),
        lines('Queues and NICs', 'pps',
              'The kernel\'s own counters of interfaces: drops of queues are in the drops above too, those of NICs are not.',
              ('sum by (cluster, instance, interface, counter) (rate(flowtally_kernel_interface_losses_total{@}[R]))',
               '@ {{interface}} {{counter}}'), width=24),
    )),
))

FLAG = 'sum by (cluster, instance) (rate(flowtally_tcp_flags_total{@, flag="%s"}[R]))'

TCP = Board('flowtally-tcp', 'flowtally / TCP', 'Connections by the flags that they show, and segments that TCP drops', (
    ('About', (
        text('What is counted', '**Flows that showed a flag**, each counted once in each reading of the banks, so that a'
             ' connection that lives on is counted again only when it shows the flag again. These are no packets.'
             ' Retransmissions, round-trip times and HTTP errors are not known yet; a reset is not a retransmission.',
             width=24, height=3),
    )),
    ('Connections', (
        pie('Flags in the chosen time', 'short', 'Flows that showed SYN, SYN-ACK, FIN or RST.',
            ('sum by (flag) (increase(flowtally_tcp_flags_total{@}[T]))', '{{flag}}'), width=8),
        lines('Flags', 'si:/s', 'Flows a second that showed the flag.',
              ('sum by (flag) (rate(flowtally_tcp_flags_total{@}[R]))', '{{flag}}'), width=16),
        lines('Opened and refused by node', 'si:/s', 'SYN-ACK: somebody accepts. RST: reset, refused or aborted.',
              (FLAG % 'SYN-ACK', '@ SYN-ACK'), (FLAG % 'RST', '@ RST')),
        lines('SYN without SYN-ACK', 'percentunit',
              'Share of connections that were begun and not answered. Says nothing where one direction is not metered.',
              (f'clamp_min(1 - {FLAG % "SYN-ACK"} / {FLAG % "SYN"}, 0)', '@')),
        lines('Direction of SYN', 'si:/s', 'Above zero connections that come in, below those that go out.',
              ('sum by (cluster, instance, direction) (rate(flowtally_tcp_flags_total{@, flag="SYN"}[R]))',
               '@ {{direction}}'), centered=True),
        lines('TCP throughput', 'bps', 'Bits of IP packets a second.',
              ('sum by (cluster, instance, direction) (rate(flowtally_interface_bytes_total{@, protocol="tcp"}[R])) * 8',
               '@ {{direction}}'), centered=True),
    )),
    ('Segments that are dropped', (
        lines('Segments that do not fit their connection', 'pps', 'The kernel\'s drops for reasons of TCP.',
              ('topk(10, sum by (reason) (rate(flowtally_drops_total{@, reason=~"TCP_.+"}[R])))', '{{reason}}')),
        lines('Segments that had arrived before', 'percentunit',
              'Share of the arriving TCP packets. Peers send again what had got here: the part of the retransmissions that a'
              ' receiver can see.',
              ('sum by (cluster, instance)'
               ' (rate(flowtally_drops_total{@, reason=~"TCP_OLD_DATA|TCP_OLD_SEQUENCE|TCP_OFO_DROP"}[R]))'
               ' / sum by (cluster, instance)'
               ' (rate(flowtally_interface_packets_total{@, direction="ingress", protocol="tcp"}[R]))',
               '@')),
        lines('Drops of TCP packets by reason', 'pps', 'What is in records, whatever the reason: also what a firewall refuses.',
              ('topk(10, sum by (reason) (rate(flowtally_recorded_drops_total{@, protocol="tcp"}[R])))',
               '{{reason}}'), width=24),
    )),
))

EXPORTER = Board('flowtally-exporter', 'flowtally / Exporter and ledger', 'Where each packet is, and what that costs', (
    ('Now', (
        stat('Balances', 'short',
             'Whether every packet is in one place of the ledger, on all nodes; those whose counters are not of one moment are'
             ' left out.', 'min(flowtally_ledger_balanced{@} unless flowtally_ledger_settled{@} == 0)',
             words=(('0', 'NO', RED), ('1', 'yes', GREEN))),
        stat('Lost', 'short',
             'Packets in the chosen time that are in no record, or in one that did not reach a collector, counted at each'
             ' collector. Drops beyond the budget are on the dashboard of drops.',
             'sum(increase(flowtally_lost_packets_total{@, stage!="budget"}[T]))', thresholds=NONE_IS_GOOD),
        stat('Collectors down', 'short', 'Collectors that do not take what they are sent, as far as that can be known.',
             'sum(1 - flowtally_collector_up{@})', thresholds=NONE_IS_GOOD),
        stat('Reloads failed', 'short', 'Nodes on which the last reload was not taken.',
             'sum(1 - flowtally_config_last_reload_successful{@})', thresholds=NONE_IS_GOOD),
        stat('Oldest reading', 's',
             'How long ago the banks were last read, on the node where that is longest, by Prometheus\' clock.',
             'max(timestamp(flowtally_snapshot_timestamp_seconds{@}) - flowtally_snapshot_timestamp_seconds{@})',
             thresholds=((None, GREEN), (60, YELLOW), (300, RED))),
        stat('CPU', 'percentunit', 'Processors that all exporters use. 100 % is one.',
             'sum(rate(process_cpu_seconds_total{@}[R]) and on (cluster, job, instance) flowtally_build_info{@})'),
    )),
    ('The ledger', (
        lines('Packets at the hooks', 'pps',
              'seen = accounted + ignored + refused. The lines are stacked, so that seen is their upper edge.',
              ('sum(rate(flowtally_accounted_packets_total{@, record="flow"}[R]))', 'accounted'),
              ('sum(rate(flowtally_ignored_packets_total{@, record="flow"}[R]))', 'ignored'),
              ('sum(rate(flowtally_lost_packets_total{@, record="flow", stage=~"bank_full|insert_error"}[R]))', 'refused'),
              stacked=True),
        lines('Lost by stage', 'pps',
              'Packets that are in no record, or in one that did not reach the collector. All but budget is to be 0.',
              ('sum by (cluster, instance, record, stage, collector) (rate(flowtally_lost_packets_total{@}[R])) > 0',
               '@ {{record}} {{stage}} {{collector}}')),
        lines('On their way', 'short',
              'Packets in a bank, in the cache, or in the queue of a collector. The queue of each collector has all of them.',
              ('sum by (record) (flowtally_bank_packets{@})', '{{record}} in banks'),
              ('sum by (record) (flowtally_cache_packets{@})', '{{record}} in caches'),
              ('sum by (collector) (flowtally_export_queue_packets{@})', 'queue of {{collector}}')),
        lines('Handed over', 'pps', 'Packets in the records that the collectors were given.',
              ('sum by (cluster, instance, record) (rate(flowtally_handed_over_packets_total{@}[R]))', '@ {{record}}')),
    )),
    ('Banks and cache', (
        lines('How full banks are when they are read', 'percentunit', 'Mean over the readings. At 7/8 a bank is read early.',
              ('sum by (cluster, instance, record) (rate(flowtally_bank_entries_total{@}[R]))'
               ' / sum by (cluster, instance, record) (rate(flowtally_swaps_total{@}[R]))'
               ' / sum by (cluster, instance, record) (flowtally_bank_limit_entries{@})', '@ {{record}}'), thresholds=SHARE),
        lines('How full the last bank was', 'percentunit', 'Of the last reading alone: a burst that the mean hides.',
              ('flowtally_bank_last_entries{@} / flowtally_bank_limit_entries{@}', '@ {{record}}'),
              thresholds=SHARE),
        lines('How full caches are', 'percentunit', 'A full cache loses nothing: it exports flows early.',
              ('flowtally_flows_active{@} / flowtally_cache_limit_entries{@}', '@ {{record}}'), thresholds=SHARE),
        lines('Time of a reading', 's', 'Mean time from the swap of the banks until the old one was empty.',
              ('sum by (cluster, instance, record) (rate(flowtally_drain_seconds_total{@}[R]))'
               ' / sum by (cluster, instance, record) (rate(flowtally_swaps_total{@}[R]))', '@ {{record}}')),
        lines('Time of the last reading', 's', 'Of the last one alone: a slow one that the mean hides.',
              ('flowtally_drain_last_seconds{@}', '@ {{record}}')),
        lines('Readings of the banks', 'si:/s', 'At the interval, or early because a bank filled.',
              ('sum by (cluster, instance, record, cause) (rate(flowtally_swaps_total{@}[R]))', '@ {{record}} {{cause}}')),
        lines('Faults', 'si:/s', 'Readings that failed, and entries that the kernel evicted. All of it is to be 0.',
              ('sum by (cluster, instance, record) (rate(flowtally_drain_errors_total{@}[R]))', '@ {{record}} errors'),
              ('sum by (cluster, instance, record) (rate(flowtally_evicted_entries_total{@}[R]))', '@ {{record}} evicted'),
              width=24),
    )),
    ('Collectors', (
        table('State', 'short', 'Of each collector.',
              {**NODE, 'collector': 'Collector', 'state': 'State'},
              ('max by (cluster, instance, collector, state) (flowtally_collector_state{@}) == 1', '')),
        lines('Since the last message', 's', 'How long ago a message was last sent or written, by Prometheus\' clock.',
              ('max by (cluster, instance, collector) (timestamp(flowtally_export_last_success_timestamp_seconds{@})'
               ' - flowtally_export_last_success_timestamp_seconds{@})', '@ {{collector}}')),
        lines('Records', 'si:/s', 'Records a second that were sent or written.',
              ('sum by (cluster, instance, collector) (rate(flowtally_export_records_total{@}[R]))', '@ {{collector}}')),
        lines('Octets', 'Bps', 'Octets of messages a second.',
              ('sum by (cluster, instance, collector) (rate(flowtally_export_bytes_total{@}[R]))', '@ {{collector}}')),
        lines('Messages', 'si:/s', 'Messages a second, and those of them that tell templates.',
              ('sum by (cluster, instance, collector) (rate(flowtally_export_messages_total{@}[R]))', '@ {{collector}}'),
              ('sum by (cluster, instance, collector) (rate(flowtally_export_template_messages_total{@}[R]))',
               '@ {{collector}} templates')),
        lines('Queue', 'short', 'Records that wait to be sent, or over TCP to be acknowledged.',
              ('sum by (cluster, instance, collector) (flowtally_export_queue_records{@})', '@ {{collector}}')),
        lines('Errors', 'si:/s', 'System calls that failed, and datagrams that were answered by an ICMP error.',
              ('sum by (cluster, instance, collector) (rate(flowtally_export_errors_total{@}[R]))', '@ {{collector}}')),
        lines('Records lost', 'si:/s', 'Records a second that did not reach the collector, by stage. All of it is to be 0.',
              ('sum by (cluster, instance, collector, stage) (rate(flowtally_export_lost_records_total{@}[R])) > 0',
               '@ {{collector}} {{stage}}')),
        lines('Records that readers missed', 'si:/s',
              'Overwritten before a client of `flowtally observe` or `flowtally top` had them. Collectors are not concerned.',
              ('sum by (cluster, instance) (rate(flowtally_observe_missed_records_total{@}[R]))', '@'), width=24),
    )),
    ('What it costs', (
        lines('CPU of the exporter', 'percentunit', '100 % is one processor. What the BPF programs take is not in it.',
              ('rate(process_cpu_seconds_total{@}[R]) and on (cluster, job, instance) flowtally_build_info{@}', '@')),
        lines('Memory of the exporter', 'bytes', 'Resident. The banks are the kernel\'s, and are not in it.',
              ('process_resident_memory_bytes{@} and on (cluster, job, instance) flowtally_build_info{@}', '@')),
        lines('BPF programs, a run', 's', 'Mean time. There when the sysctl kernel.bpf_stats_enabled is 1.',
              ('sum by (cluster, instance, program) (rate(flowtally_bpf_run_seconds_total{@}[R]))'
               ' / sum by (cluster, instance, program) (rate(flowtally_bpf_runs_total{@}[R]))', '@ {{program}}')),
        lines('Series', 'short', 'Series of /metrics, and entries that found no room in a table of series since the start.',
              ('sum by (cluster, instance) (flowtally_metric_series{@})', '@ series'),
              ('sum by (cluster, instance, table) (flowtally_metric_series_overflow_total{@}) > 0', '@ overflow of'
              ' {{table}}')),
        table('Reloads in the chosen time', 'short', 'How often the configuration was read again, and whether it was taken.',
              {**NODE, 'result': 'Result', 'Value': 'Times'},
              ('sum by (cluster, instance, result) (increase(flowtally_config_reloads_total{@}[T]))', ''), width=6),
        table('Versions', 'short',
              'Of flowtally and of the kernel, and a hash of the settings in force: nodes that should be alike have one.',
              {**NODE, 'version': 'flowtally', 'commit': 'Commit', 'kernel': 'Kernel', 'libbpf': 'libbpf',
               'hash': 'Settings'},
              ('max by (cluster, instance, version, commit, kernel, libbpf, hash) (flowtally_build_info{@}'
               ' * on (cluster, job, instance) group_left (hash) flowtally_config_info{@})', ''), width=18),
    )),
))

BOARDS = NODES, TALKERS, DROPS, TCP, EXPORTER
