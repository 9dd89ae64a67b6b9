# SPDX-License-Identifier: Apache-2.0
"""The benchmark's JSON as a table."""
STAGES = {'drain': 'drained entry', 'merge_new': 'delta of a new flow', 'merge': 'delta of a known flow',
          'expire': 'expired flow', 'encode': 'encoded record'}
METHODS = {'live': 'through a veth pair', 'loop': 'alone, in a loop'}


def programs(rows):
    yield ''
    yield 'ns per packet (median of rounds, less the empty program; quartiles; against the floor program)'
    for method, words in METHODS.items():
        yield f'  {words}'
        for row in rows:
            if row['method'] != method:
                continue
            place = f'    {row["load"]:<32} {row["hook"]:<10} {row["program"]:<28}'
            if 'ns' not in row:
                yield f'{place} {row["total_ns"]["median"]:8.1f} in all'
                continue
            ns, ratio = row['ns'], row['ratio']
            yield (f'{place} {ns["median"]:8.1f} [{ns["low"]:.1f} .. {ns["high"]:.1f}]'
                   + (f'  {ratio:.2f}x' if ratio is not None else '')
                   + (f'  {row["refused_share"]:.1%} refused' if row.get('refused_share') else ''))


def stages(rows):
    yield ''
    yield 'ns of CPU per entry, from the bank to the wire'
    for row in rows:
        yield f'    {row["flows"]:,} flows: {row["bank_to_wire"]:.0f} in all'
        for name, words in STAGES.items():
            yield f'        {words:<24} {row[name]["median"]:8.1f} [{row[name]["low"]:.1f} .. {row[name]["high"]:.1f}]'


def peers(rows):
    yield ''
    yield 'CPU seconds for a million packets, 50 to a flow'
    names = ('load', 18), ('exporter', 16)
    yield '    ' + ' '.join(f'{name:<{width}}' for name, width in names) + (
        ' delivered  accounted              path  exporter   in all')
    for row in rows:
        yield (f'    {row["load"]:<18} {row["name"]:<16} {row["delivered"]:>9.0f} {row["accounted"]:>10.0f} '
               f'{row["accounted_share"]:>8.2%} {row["path_seconds"]:>8.3f} {row["daemon_seconds"]:>9.3f} '
               f'{row["cpu_seconds"]:>8.3f}')


def drops(rows):
    yield ''
    yield 'ns per dropped packet (median of rounds, less an empty program on the tracepoint; quartiles)'
    for row in rows:
        rate = 1e3 / row['total_ns']['median']
        ns = row['ns']
        yield (f'    {row["flows"]:>7,} flows  {row["tracer"]:<20} {ns["median"]:8.1f} [{ns["low"]:.1f} .. {ns["high"]:.1f}]'
               f'   at {rate:.2f} M drops/s' + (f', {row["dropped"]} dropped, {row["seen"]} seen, {row["missed"]} missed'
                                                if row['tracer'].startswith('flowtally') else ''))


def encode(rows):
    yield ''
    yield 'ns of CPU per record, from the flow to where it goes (median of rounds; quartiles)'
    for row in rows:
        ns = row['ns']
        yield (f'    {row["profile"]:<10} {row["protocol"]:<10} {row["subject"]:<24} '
               f'{ns["median"]:8.1f} [{ns["low"]:.1f} .. {ns["high"]:.1f}]   {1e3 / ns["median"]:.2f} M records/s')


def others(result):
    flood, idle = result['flood'], result['idle']
    yield ''
    yield 'All-new flows at full rate, in packets'
    yield '    ' + ', '.join(f'{name} {value}' for name, value in flood.items())
    yield ''
    yield 'Bulk TCP with TSO and GRO, TC in both directions; ns by run-time statistics'
    for row in result['bulk']:
        yield (f'    {row["program"]:<10} {row["gbit"]:6.2f} Gbit/s, {row["gbit_lost"]:5.2f} lost; '
               f'{row["ns_per_wire_packet"]:.2f} ns per packet on the wire')
    yield ''
    yield 'A million flows that end at once, to two collectors: the longest time the loop is held'
    for row in result['block']:
        yield f'    {row["held_ms"]:.1f} ms of CPU, {row["wall_ms"]:.1f} ms in all; {row["slices"]} slices'
    yield ''
    yield 'Memory of the exporter'
    for row in result['memory']:
        sizes = {name: row[name] / 2**20 for name in ('rss', 'rss_empty', 'maps')}
        yield (f'    {row["flows"]:,} flows: {sizes["rss"]:.1f} MiB RSS ({row["rss_per_flow"]:.0f} octets a flow; '
               f'{sizes["rss_empty"]:.1f} MiB empty), {sizes["maps"]:.1f} MiB of maps in the kernel')
    yield ''
    yield 'A reload, from SIGHUP to the word that it is in force'
    for row in result['reload']:
        yield (f'    {row["change"]:<28} {row["ms"]:7.1f} ms, {row["ms_most"]:.1f} at most; '
               f'{row["cpu_ms"]:.1f} ms of CPU')
    yield ''
    yield f'Idle: {idle["cpu_share"]:.4%} of a CPU over {idle["seconds"]} s'


def views(result):
    threads = 'loop', 'drain', 'hooks', 'control', 'metrics'
    yield ''
    yield (f'Who asks an exporter of {result["interfaces"]:,} interfaces and {result["flows"]:,} flows: '
           'how long the loop is held at most, and CPU seconds a minute')
    yield f'    {"":<38} ms of CPU [least .. most]     in all ' + ''.join(f'{name:>9}' for name in (*threads, 'viewer'))
    for row in result['rows']:
        used = [*(row['threads'].get(name, 0) for name in threads), row['viewer']]
        yield (f'    {row["view"]:<38} {row["held_ms"]:9.2f} [{row["held_ms_least"]:.2f} .. {row["held_ms_most"]:.2f}] '
               f'{row["wall_ms"]:13.1f} ' + ''.join(f'{seconds:9.3f}' for seconds in used))
    snapshot = result['snapshot']
    yield (f'    {snapshot["snapshot_ms"]:.2f} ms of CPU of the loop for what a snapshot has of the interfaces; '
           f'{snapshot["scrape_ms"]:.0f} ms of another thread for {snapshot["octets"] / 1e6:.1f} MB of metrics')
    yield 'observe --follow of new flows at 100,000 a second, and CPU seconds of each thread'
    for row in result['flood']:
        used = ', '.join(f'{name} {row["threads"].get(name, 0):.2f}' for name in threads)
        yield (f'    {row["filter"] or "all":<10} {row["shown"]:,} shown, {row["missed"]:,} said to be missed, '
               f'of {row["accounted"]:,}; loop held {row["held_ms"]:.1f} ms; {used}')


def nodes(rows):
    yield ''
    yield 'A thousand nodes to one collector over UDP, simulated; each has so many records a second'
    for row in rows:
        sent, seconds = row['sent'], row['seconds']
        yield (f'    {row["collector"]:<10} {row["nodes"]:,} x {row["rate"]:<4} '
               f'{sent["messages"] / seconds:8,.0f} datagrams/s, {8e-6 * sent["octets"] / seconds:6.1f} Mbit/s; '
               f'{row["datagrams_lost"] / sent["messages"]:7.2%} without room, '
               f'{row["received"]:,} of {sent["given"]:,} records there; '
               f'{row["collector_cpu"] / seconds:.1%} of a CPU, {row["collector_rss"] / 2**20:.0f} MiB')


def table(result):
    machine = result['machine']
    yield (f'{machine["cpu"]}, {machine["cpus"]} CPUs, {machine["memory"] / 2**30:.1f} GiB, Linux {machine["kernel"]}; '
           f'load {machine["load"]}')
    yield f'{result["command"]}, {result["seconds"]:.0f} s'
    yield from programs(result['programs'])
    yield from stages(result['stages'])
    yield from encode(result['encode'])
    yield from peers(result['peers'])
    yield from drops(result['drops'])
    yield from others(result)
    yield from nodes(result['nodes'])
    yield from views(result['views'])
