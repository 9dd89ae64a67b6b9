# SPDX-License-Identifier: Apache-2.0
"""The exporter's final ledger (--summary json) and the identities that must hold in it."""
from tap import check, check_equal

AMOUNTS = 'packets', 'octets'
NOTHING = {'packets': 0, 'octets': 0}


def total(counts, name):
    return sum(count[name] for count in counts)


def check_seen(ledger):
    """seen = accounted + ignored + refused, by direction and in all."""
    directions = ledger['directions']
    for name, count in directions.items():
        check_equal(f'{name}: seen against accounted and unrecorded', count['seen'],
                    count['accounted']['packets'] + count['unrecorded'])
    check_equal('seen in all', ledger['seen'], sum(count['seen'] for count in directions.values()))
    unrecorded = total(ledger['ignored'].values(), 'packets') + total(ledger['refused'].values(), 'packets')
    check_equal('seen against accounted, ignored and refused', ledger['seen'],
                ledger['accounted']['packets'] + unrecorded)


def check_collector(collector):
    """What a collector was given is exported or lost under a name; nothing may be left in its queue at the end."""
    counts = [collector['exported'], collector['queued'], *collector['lost'].values()]
    for name in (*AMOUNTS, 'records'):
        check_equal(f'{collector["url"]}: {name} given', collector['given'][name], total(counts, name))
    check_equal(f'{collector["url"]}: packets queued at the end', collector['queued']['packets'], 0)


def check_drops(drops):
    """seen = accounted + ignored + refused, and the reasons are of all that was seen, but for what may be another's."""
    unrecorded = total(drops['ignored'].values(), 'packets') + total(drops['refused'].values(), 'packets')
    check_equal('drops: seen against accounted, ignored and refused', drops['seen'],
                drops['accounted']['packets'] + unrecorded)
    homeless = drops['ignored'].get('namespace_unknown', {'packets': 0})['packets']
    check_equal('drops: seen against reasons', drops['seen'], total(drops['reasons'].values(), 'packets') + homeless)


def check_interfaces(ledger):
    """What the hooks of each interface saw adds up to what was seen; of very many interfaces some share a counter."""
    hooks = [one.get('hooks') for one in ledger.get('interfaces', [])]
    if not hooks or None in hooks or len(hooks) > 50:
        return
    for name, count in ledger['directions'].items():
        check_equal(f'{name}: seen against that of all interfaces', count['seen'],
                    sum(hook[name]['accounted'] + hook[name]['unrecorded'] for hook in hooks))


def sides(ledger):
    """Flows and, where they are traced, drops."""
    return [ledger, ledger['drops']] if 'drops' in ledger else [ledger]


def check_given(ledger, what, collectors):
    """Records hold what is accounted and not elsewhere; one collector, or all of those that share."""
    given = [collector['given'] for collector in collectors]
    taken = sides(ledger) if any(collector['drops'] for collector in collectors) else [ledger]
    for name in AMOUNTS:
        accounted = sum(side['accounted'][name] for side in taken)
        elsewhere = sum(total((side[place] for place in ('bank', 'cache', 'evicted', 'drain_error')), name)
                        for side in taken)
        check_equal(f'{what}: {name} accounted', accounted, elsewhere + total(given, name))
    check_equal(f'{what}: records', total(given, 'records'),
                sum(sum(side['records'].values()) for side in taken))


def proven(ledger, always=None):
    """The final ledger, after its identities have been checked.

    always: URLs of collectors that were there all the time, where others came and went
    """
    check_seen(ledger)
    check_interfaces(ledger)
    if 'drops' in ledger:
        check_drops(ledger['drops'])
    for side in sides(ledger):
        for name in 'bank', 'evicted', 'drain_error':
            check_equal(f'{name} at the end', side[name], NOTHING)
        check_equal('cache at the end', side['cache'], {'flows': 0, **NOTHING})
    shares = [collector for collector in ledger['collectors'] if collector['shares']]
    if shares:
        check_given(ledger, 'collectors that share', shares)
    for collector in ledger['collectors']:
        check_collector(collector)
        for name in (*AMOUNTS, 'records'):
            check_equal(f'{collector["url"]}: {name} due', collector['due'][name], collector['given'][name])
        if not collector['shares'] and (always is None or collector['url'] in always):
            check_given(ledger, collector['url'], [collector])
    check(ledger['balanced'], 'the ledger says that it does not balance')
    return ledger


def ignored(ledger):
    return total(ledger['ignored'].values(), 'packets')
