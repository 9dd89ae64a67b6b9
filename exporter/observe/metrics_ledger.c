/* SPDX-License-Identifier: Apache-2.0 */
/* Metrics of the ledger: banks, caches and collectors. */
#include "exporter/meter/kind.h"
#include "exporter/observe/metrics_context.h"
#include "exporter/observe/metrics_print.h"
#include "exporter/observe/metrics_writer.h"
#include "exporter/observe/snapshot.h"

typedef struct metrics_writer writer;
typedef const struct metrics_context context;

/* Those kinds that are metered: FOR_KINDS(kind, context). */
#define FOR_KINDS(kind, c) \
	for (int kind = 0; kind < _RECORD_KIND_MAX; kind++) \
		if ((c)->snapshot->kinds[kind].metered)

static const char *kind_name(int kind)
{
	return kind_get((enum record_kind)kind)->name;
}

static const struct ledger_side *side(context *c, int kind)
{
	return &c->snapshot->ledger.sides[kind];
}

/* Points of a kind: calls `value` for each. */
static void each_point(writer *w, context *c,
		       uint64_t (*value)(const struct ledger_side *s, unsigned int point))
{
	FOR_KINDS(kind, c)
	{
		const struct kind *k = kind_get((enum record_kind)kind);

		for (unsigned int i = 0; i < k->point_count; i++)
			metrics_add(w, value(side(c, kind), i), k->name, k->points[i]);
	}
}

static uint64_t seen(const struct ledger_side *s, unsigned int point)
{
	return s->seen[point];
}

static uint64_t accounted(const struct ledger_side *s, unsigned int point)
{
	return s->accounted[point].packets;
}

static uint64_t accounted_octets(const struct ledger_side *s, unsigned int point)
{
	return s->accounted[point].octets;
}

void metrics_print_seen(writer *w, context *c)
{
	each_point(w, c, seen);
}

void metrics_print_accounted(writer *w, context *c)
{
	each_point(w, c, accounted);
}

void metrics_print_accounted_octets(writer *w, context *c)
{
	each_point(w, c, accounted_octets);
}

void metrics_print_ignored(writer *w, context *c)
{
	FOR_KINDS(kind, c)
	{
		const struct kind *k = kind_get((enum record_kind)kind);

		for (unsigned int i = 0; i < k->point_count; i++)
			for (int r = REASON_NONE + 1; r < _REASON_MAX; r++)
				if (!flow_reason_refused((enum flow_reason)r) &&
				    side(c, kind)->reasons[i][r].packets)
					metrics_add(w, side(c, kind)->reasons[i][r].packets,
						    k->name, k->points[i],
						    flow_reason_name((enum flow_reason)r));
	}
}

/* --- Losses. */

static const struct collector_stats *collector(context *c, unsigned int i)
{
	const struct export_copy *all = c->snapshot->ledger.collectors;

	return all && i < all->count ? &all->stats[i] : NULL;
}

/* What the meters refused: no kind but drops has a budget. */
static void print_refused(writer *w, context *c, int kind)
{
	const struct kind *k = kind_get((enum record_kind)kind);

	for (int r = REASON_NONE + 1; r < _REASON_MAX; r++) {
		uint64_t packets = 0;

		if (!flow_reason_refused((enum flow_reason)r) ||
		    (r == REASON_BUDGET && kind != RECORD_DROP))
			continue;
		for (unsigned int i = 0; i < k->point_count; i++)
			packets += side(c, kind)->reasons[i][r].packets;
		metrics_add(w, packets, k->name, flow_reason_name((enum flow_reason)r), "");
	}
}

void metrics_print_lost(writer *w, context *c)
{
	const struct collector_stats *stats;

	FOR_KINDS(kind, c)
	{
		print_refused(w, c, kind);
		metrics_add(w, side(c, kind)->evicted.packets, kind_name(kind), "evicted", "");
		metrics_add(w, side(c, kind)->drain_error.packets, kind_name(kind), "drain_error",
			    "");
	}
	for (unsigned int i = 0; (stats = collector(c, i)); i++)
		for (int l = 0; l < _EXPORT_LOSS_MAX; l++)
			metrics_add(w, stats->lost[l].packets, "",
				    export_loss_name((enum export_loss)l), c->collectors[i]);
}

void metrics_print_bank_packets(writer *w, context *c)
{
	FOR_KINDS(kind, c)
	metrics_add(w, ledger_bank(&c->snapshot->ledger, (enum record_kind)kind).packets,
		    kind_name(kind));
}

void metrics_print_cache_packets(writer *w, context *c)
{
	FOR_KINDS(kind, c)
	metrics_add(w, side(c, kind)->cache.packets, kind_name(kind));
}

void metrics_print_handed_over(writer *w, context *c)
{
	FOR_KINDS(kind, c)
	metrics_add(w, ledger_handed_over(&c->snapshot->ledger, (enum record_kind)kind).packets,
		    kind_name(kind));
}

void metrics_print_balanced(writer *w, context *c)
{
	metrics_add(w, ledger_balanced(&c->snapshot->ledger));
}

void metrics_print_settled(writer *w, context *c)
{
	metrics_add(w, !c->snapshot->ledger.unsettled);
}

/* --- Banks and caches. */

void metrics_print_bank_limit(writer *w, context *c)
{
	FOR_KINDS(kind, c)
	metrics_add(w, c->snapshot->kinds[kind].bank_limit, kind_name(kind));
}

void metrics_print_bank_entries(writer *w, context *c)
{
	FOR_KINDS(kind, c)
	metrics_add(w, c->snapshot->kinds[kind].drain.entries, kind_name(kind));
}

void metrics_print_evicted(writer *w, context *c)
{
	FOR_KINDS(kind, c)
	metrics_add(w, c->snapshot->kinds[kind].drain.evicted_entries, kind_name(kind));
}

void metrics_print_swaps(writer *w, context *c)
{
	FOR_KINDS(kind, c)
	{
		const struct drain_stats *drain = &c->snapshot->kinds[kind].drain;

		metrics_add(w, drain->swaps - drain->early, kind_name(kind), "interval");
		metrics_add(w, drain->early, kind_name(kind), "early");
	}
}

void metrics_print_bank_last(writer *w, context *c)
{
	FOR_KINDS(kind, c)
	metrics_add(w, c->snapshot->kinds[kind].drain.last_entries, kind_name(kind));
}

void metrics_print_drain_last(writer *w, context *c)
{
	FOR_KINDS(kind, c)
	metrics_add_ns(w, c->snapshot->kinds[kind].drain.last_ns, kind_name(kind));
}

void metrics_print_drain_time(writer *w, context *c)
{
	FOR_KINDS(kind, c)
	metrics_add_ns(w, c->snapshot->kinds[kind].drain.busy_ns, kind_name(kind));
}

void metrics_print_drain_errors(writer *w, context *c)
{
	FOR_KINDS(kind, c)
	metrics_add(w, c->snapshot->kinds[kind].drain.errors, kind_name(kind));
}

void metrics_print_cache_limit(writer *w, context *c)
{
	FOR_KINDS(kind, c)
	metrics_add(w, c->snapshot->kinds[kind].cache_entries, kind_name(kind));
}

void metrics_print_cache_updates(writer *w, context *c)
{
	FOR_KINDS(kind, c)
	metrics_add(w, side(c, kind)->cache.merged, kind_name(kind));
}

void metrics_print_records(writer *w, context *c)
{
	FOR_KINDS(kind, c)
	for (int end = 1; end < _FLOW_END_MAX; end++)
		metrics_add(w, side(c, kind)->cache.exported[end], kind_name(kind),
			    flow_end_name((enum flow_end)end));
}

void metrics_print_active(writer *w, context *c)
{
	FOR_KINDS(kind, c)
	metrics_add(w, side(c, kind)->cache.entries, kind_name(kind));
}

/* --- Collectors. */

/* One counter of each of them, by where it stands in struct collector_stats. */
static void each_collector(writer *w, context *c, size_t offset)
{
	const struct collector_stats *stats;

	for (unsigned int i = 0; (stats = collector(c, i)); i++)
		metrics_add(w, *(const uint64_t *)((const char *)stats + offset), c->collectors[i]);
}

#define COLLECTOR(name, field) \
	void metrics_print_##name(writer *w, context *c) \
	{ \
		each_collector(w, c, offsetof(struct collector_stats, field)); \
	}
COLLECTOR(given, given.records)
COLLECTOR(exported, exported.records)
COLLECTOR(exported_packets, exported.packets)
COLLECTOR(exported_octets, exported.octets)
COLLECTOR(queued, queued.records)
COLLECTOR(queued_packets, queued.packets)
COLLECTOR(messages, messages)
COLLECTOR(message_octets, bytes)
COLLECTOR(templates, template_messages)
COLLECTOR(cut, cut)
COLLECTOR(errors, errors)
#undef COLLECTOR

void metrics_print_collector_up(writer *w, context *c)
{
	const struct collector_stats *stats;

	for (unsigned int i = 0; (stats = collector(c, i)); i++)
		if (stats->state != COLLECTOR_REMOVED)
			metrics_add(w, stats->state == COLLECTOR_UP, c->collectors[i]);
}

void metrics_print_sent_time(writer *w, context *c)
{
	const struct collector_stats *stats;

	for (unsigned int i = 0; (stats = collector(c, i)); i++)
		if (stats->sent_ms)
			metrics_add_ns(w, stats->sent_ms * NSEC_PER_MSEC, c->collectors[i]);
}

void metrics_print_collector_state(writer *w, context *c)
{
	const struct collector_stats *stats;

	for (unsigned int i = 0; (stats = collector(c, i)); i++)
		for (int state = 0; state < _COLLECTOR_STATE_MAX; state++)
			metrics_add(w, (int)stats->state == state, c->collectors[i],
				    collector_state_name((enum collector_state)state));
}

void metrics_print_lost_records(writer *w, context *c)
{
	const struct collector_stats *stats;

	for (unsigned int i = 0; (stats = collector(c, i)); i++)
		for (int l = 0; l < _EXPORT_LOSS_MAX; l++)
			metrics_add(w, stats->lost[l].records, c->collectors[i],
				    export_loss_name((enum export_loss)l));
}
