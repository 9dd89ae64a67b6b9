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


def check_collector(ledger, collector):
    """accounted = exported + what is lost under a name; nothing may be left anywhere else at the end."""
    url = collector['url']
    counts = [collector['exported'], collector['queued'], *collector['lost'].values()]
    for name in AMOUNTS:
        elsewhere = total((ledger[place] for place in ('bank', 'cache', 'evicted', 'drain_error')), name)
        check_equal(f'{url}: {name} accounted', ledger['accounted'][name], elsewhere + total(counts, name))
    check_equal(f'{url}: records', total(counts, 'records'), sum(ledger['records'].values()))
    check_equal(f'{url}: packets queued at the end', collector['queued']['packets'], 0)


def proven(ledger):
    """The final ledger, after its identities have been checked."""
    check_seen(ledger)
    for name in 'bank', 'evicted', 'drain_error':
        check_equal(f'{name} at the end', ledger[name], NOTHING)
    check_equal('cache at the end', ledger['cache'], {'flows': 0, **NOTHING})
    for collector in ledger['collectors']:
        check_collector(ledger, collector)
    check(ledger['balanced'], 'the ledger says that it does not balance')
    return ledger


def ignored(ledger):
    return total(ledger['ignored'].values(), 'packets')
