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


def check_given(ledger, what, given):
    """Records hold what is accounted and not elsewhere; given: of one collector, or summed over those that share."""
    for name in AMOUNTS:
        elsewhere = total((ledger[place] for place in ('bank', 'cache', 'evicted', 'drain_error')), name)
        check_equal(f'{what}: {name} accounted', ledger['accounted'][name], elsewhere + total(given, name))
    check_equal(f'{what}: records', total(given, 'records'), sum(ledger['records'].values()))


def proven(ledger):
    """The final ledger, after its identities have been checked."""
    check_seen(ledger)
    for name in 'bank', 'evicted', 'drain_error':
        check_equal(f'{name} at the end', ledger[name], NOTHING)
    check_equal('cache at the end', ledger['cache'], {'flows': 0, **NOTHING})
    shares = [collector['given'] for collector in ledger['collectors'] if collector['shares']]
    if shares:
        check_given(ledger, 'collectors that share', shares)
    for collector in ledger['collectors']:
        check_collector(collector)
        if not collector['shares']:
            check_given(ledger, collector['url'], [collector['given']])
    check(ledger['balanced'], 'the ledger says that it does not balance')
    return ledger


def ignored(ledger):
    return total(ledger['ignored'].values(), 'packets')
