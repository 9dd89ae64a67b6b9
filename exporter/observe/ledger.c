/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <string.h>
#include "exporter/log.h"
#include "exporter/meter/kind.h"
#include "exporter/meter/sight.h"
#include "exporter/observe/interfaces.h"
#include "exporter/observe/ledger.h"

static const struct {
	const char *name;
	bool refused;
} reasons[] = {
#define IGNORED			     false
#define REFUSED			     true
#define X(symbol, class, name, text) [REASON_##symbol] = {name, class},
	FLOW_REASONS(X)
#undef X
#undef IGNORED
#undef REFUSED
};

/* NULL past the last. */
static const struct collector_stats *collector_get(const struct ledger *l, unsigned int index)
{
	return l->collectors && index < l->collectors->count ? &l->collectors->stats[index] : NULL;
}

void ledger_read_exports(struct ledger *l, struct exports *exports)
{
	free(l->collectors);
	l->collectors = exports_copy(exports);
	l->unsettled |= !l->collectors;
}

void ledger_read_interfaces(struct ledger *l, struct ifstats *stats, const struct sight *sight)
{
	ifstats_freep(&l->ifstats);
	sight_freep(&l->sight);
	if (stats)
		l->ifstats = ifstats_hold(stats);
	if (stats && sight)
		(void)sight_copy(&l->sight, sight, stats); /* failing that, it is not known */
}

void ledger_clear(struct ledger *l)
{
	free(l->collectors);
	ifstats_freep(&l->ifstats);
	sight_freep(&l->sight);
	*l = (struct ledger){0};
}

const char *flow_reason_name(enum flow_reason reason)
{
	return reasons[reason].name;
}

bool flow_reason_refused(enum flow_reason reason)
{
	return reasons[reason].refused;
}

const char *flow_end_name(enum flow_end end)
{
	static const char *const names[] = {
		[FLOW_END_IDLE] = "idle",	    [FLOW_END_ACTIVE] = "active",
		[FLOW_END_DETECTED] = "detected",   [FLOW_END_FORCED] = "forced",
		[FLOW_END_RESOURCES] = "resources",
	};

	return names[end];
}

static void add(struct ledger_amount *sum, uint64_t packets, uint64_t octets)
{
	sum->packets += packets;
	sum->octets += octets;
}

static void add_reason(void *userdata, const struct reason_key *key,
		       const struct reason_count *count)
{
	struct ledger_side *side = userdata;
	struct reason_count *to = &side->reasons[key->point][key->reason];

	to->packets += count->packets;
	to->octets += count->octets;
}

static void add_drop(void *userdata, uint16_t reason, const struct drop_count *count)
{
	struct ledger_reasons *l = userdata;

	l->reasons[reason].packets += count->packets;
	l->reasons[reason].octets += count->octets;
}

/* All but the cache and the reasons. */
static void read_count(struct ledger_side *side, const struct meter_count *count)
{
	for (int i = 0; i < POINTS_MAX; i++) {
		side->seen[i] = count->points[i].seen;
		side->accounted[i] =
			(struct ledger_amount){count->points[i].packets, count->points[i].octets};
	}
	side->drained = (struct ledger_amount){count->drain.packets, count->drain.octets};
	side->evicted =
		(struct ledger_amount){count->drain.evicted_packets, count->drain.evicted_octets};
	side->drain_error = (struct ledger_amount){count->unread_packets, count->unread_octets};
}

static void read_missed(struct ledger *l, struct meter *drops)
{
	l->drops_traced = drops;
	if (drops)
		l->drops_missed = meter_missed(drops);
}

void ledger_read(struct ledger *l, struct meter *const meters[_RECORD_KIND_MAX], bool final)
{
	struct meter_count count;
	struct ledger_amount rest;

	read_missed(l, meters[RECORD_DROP]);
	for (int kind = 0; kind < _RECORD_KIND_MAX; kind++) {
		struct ledger_side *side = &l->sides[kind];

		if (!meters[kind])
			continue;
		meter_count(meters[kind], &count);
		read_count(side, &count);
		memset(side->reasons, 0, sizeof(side->reasons));
		meter_reasons(meters[kind], add_reason, side);
		l->unsettled |= count.drain.unsettled;
		if (!final)
			continue;
		rest = ledger_bank(l, (enum record_kind)kind);
		add(&side->drain_error, rest.packets, rest.octets);
	}
}

void ledger_read_reasons(struct ledger_reasons *ret, const struct meter *drops)
{
	*ret = (struct ledger_reasons){0};
	if (drops)
		meter_drops(drops, add_drop, ret);
}

struct now {
	struct ledger_side *side;
	struct ledger_reasons *reasons;
};

static void add_reason_now(void *userdata, const struct reason_key *key,
			   const struct reason_count *count)
{
	const struct now *now = userdata;

	add_reason(now->side, key, count);
}

static void add_drop_now(void *userdata, uint16_t reason, const struct drop_count *count)
{
	const struct now *now = userdata;

	add_drop(now->reasons, reason, count);
}

int ledger_read_now(struct ledger *l, struct ledger_reasons *ret_reasons,
		    struct meter *const meters[_RECORD_KIND_MAX])
{
	struct meter_count count;
	int r = 0;

	*ret_reasons = (struct ledger_reasons){0};
	read_missed(l, meters[RECORD_DROP]);
	for (int kind = 0; kind < _RECORD_KIND_MAX; kind++) {
		struct now now = {&l->sides[kind], ret_reasons};

		if (!meters[kind])
			continue;
		memset(now.side->reasons, 0, sizeof(now.side->reasons));
		r = meter_count_now(meters[kind], &count, add_reason_now, add_drop_now, &now);
		if (r < 0)
			break;
		read_count(now.side, &count);
		l->unsettled |= count.drain.unsettled;
	}
	return r;
}

static uint64_t seen(const struct ledger *l, enum record_kind kind)
{
	uint64_t sum = 0;

	for (int i = 0; i < POINTS_MAX; i++)
		sum += l->sides[kind].seen[i];
	return sum;
}

static struct ledger_amount accounted(const struct ledger *l, enum record_kind kind)
{
	struct ledger_amount sum = {0};

	for (int i = 0; i < POINTS_MAX; i++)
		add(&sum, l->sides[kind].accounted[i].packets, l->sides[kind].accounted[i].octets);
	return sum;
}

static struct ledger_amount unrecorded(const struct ledger *l, enum record_kind kind, int reason)
{
	struct ledger_amount sum = {0};

	for (int i = 0; i < POINTS_MAX; i++)
		add(&sum, l->sides[kind].reasons[i][reason].packets,
		    l->sides[kind].reasons[i][reason].octets);
	return sum;
}

/* What has left the banks, one way or the other. */
static struct ledger_amount left_bank(const struct ledger_side *s)
{
	struct ledger_amount sum = s->drained;

	add(&sum, s->evicted.packets, s->evicted.octets);
	add(&sum, s->drain_error.packets, s->drain_error.octets);
	return sum;
}

static uint64_t above(uint64_t sum, uint64_t part)
{
	return sum > part ? sum - part : 0;
}

struct ledger_amount ledger_bank(const struct ledger *l, enum record_kind kind)
{
	const struct ledger_amount all = accounted(l, kind), left = left_bank(&l->sides[kind]);

	return (struct ledger_amount){
		.packets = above(all.packets, left.packets),
		.octets = above(all.octets, left.octets),
	};
}

struct ledger_amount ledger_handed_over(const struct ledger *l, enum record_kind kind)
{
	const struct ledger_side *s = &l->sides[kind];

	return (struct ledger_amount){
		.packets = s->drained.packets - s->cache.packets,
		.octets = s->drained.octets - s->cache.octets,
	};
}

static uint64_t sum_reasons(const struct ledger_side *side, unsigned int point)
{
	uint64_t sum = 0;

	for (int i = REASON_NONE + 1; i < _REASON_MAX; i++)
		sum += side->reasons[point][i].packets;
	return sum;
}

static bool collector_balanced(const struct collector_stats *c)
{
	struct ledger_amount sum = {c->exported.packets + c->queued.packets,
				    c->exported.octets + c->queued.octets};

	for (int i = 0; i < _EXPORT_LOSS_MAX; i++) {
		sum.packets += c->lost[i].packets;
		sum.octets += c->lost[i].octets;
	}
	return sum.packets == c->given.packets && sum.octets == c->given.octets;
}

static bool amount_is(const struct ledger_amount *amount, const struct export_count *count)
{
	return amount->packets == count->packets && amount->octets == count->octets;
}

/*
 * The exports were given what has left the caches; of that each collector got what it is due, from when it came until it
 * was removed, and each record that is shared one of those that share.
 */
static bool given_balanced(const struct ledger *l)
{
	const struct export_totals *totals;
	struct ledger_amount shared = {0};

	if (!l->collectors)
		return true;
	totals = &l->collectors->totals;
	for (unsigned int i = 0; i < l->collectors->count; i++) {
		const struct collector_stats *c = &l->collectors->stats[i];
		const struct ledger_amount given = {c->given.packets, c->given.octets};

		if (!collector_balanced(c) || !amount_is(&given, &c->due))
			return false;
		if (c->shares)
			add(&shared, given.packets, given.octets);
	}
	for (int kind = 0; kind < _RECORD_KIND_MAX; kind++) {
		const struct ledger_amount given = ledger_handed_over(l, (enum record_kind)kind);

		if (!amount_is(&given, &totals->kinds[kind]))
			return false;
	}
	return amount_is(&shared, &totals->shared);
}

/* Every drop has a reason of the kernel's, whatever became of it here, unless it may be of another namespace. */
static bool drop_reasons_balanced(const struct ledger *l)
{
	uint64_t sum = unrecorded(l, RECORD_DROP, REASON_NAMESPACE_UNKNOWN).packets;

	for (int i = 0; l->drop_reasons && i < DROP_REASON_MAX; i++)
		sum += l->drop_reasons->reasons[i].packets;
	return !l->drop_reasons || sum == l->sides[RECORD_DROP].seen[0];
}

static bool side_balanced(const struct ledger *l, enum record_kind kind)
{
	const struct ledger_side *side = &l->sides[kind];
	const struct ledger_amount all = accounted(l, kind), left = left_bank(side);

	for (unsigned int i = 0; i < POINTS_MAX; i++)
		if (side->seen[i] != side->accounted[i].packets + sum_reasons(side, i))
			return false;
	/* else more came out than went in */
	return left.packets <= all.packets && left.octets <= all.octets &&
	       side->cache.packets <= side->drained.packets &&
	       side->cache.octets <= side->drained.octets;
}

bool ledger_balanced(const struct ledger *l)
{
	for (int kind = 0; kind < _RECORD_KIND_MAX; kind++)
		if (!side_balanced(l, (enum record_kind)kind))
			return false;
	return drop_reasons_balanced(l) && given_balanced(l);
}

const char *ledger_verdict(const struct ledger *l)
{
	if (l->unsettled)
		return "not all counters could be read, so that the sums are of several moments; ";
	return ledger_balanced(l) ? "" : "THE LEDGER DOES NOT BALANCE; ";
}

void ledger_watch(const struct ledger *l, bool *unbalanced)
{
	bool before = *unbalanced;

	if (l->unsettled)
		return;
	*unbalanced = !ledger_balanced(l);
	if (*unbalanced && !before)
		log_error(
			"the ledger does not balance: packets are neither in a record nor in a counter of losses");
	else if (!*unbalanced && before)
		log_notice("the ledger balances again");
}

struct ledger_amount ledger_unmetered(const struct ledger *l)
{
	struct ledger_amount sum = {0}, one;

	for (int i = REASON_NONE + 1; i < _REASON_MAX; i++) {
		one = unrecorded(l, RECORD_FLOW, i);
		add(&sum, one.packets, one.octets);
	}
	return sum;
}

/* " + ignored 12 (arp 10, llc 2)" */
static void print_class(const struct ledger *l, enum record_kind kind, bool refused, FILE *file)
{
	const char *separator = " (";
	struct ledger_amount count;
	uint64_t sum = 0;

	for (int i = REASON_NONE + 1; i < _REASON_MAX; i++)
		if (reasons[i].refused == refused)
			sum += unrecorded(l, kind, i).packets;
	fprintf(file, " + %s %" PRIu64, refused ? "refused" : "ignored", sum);
	for (int i = REASON_NONE + 1; sum && i < _REASON_MAX; i++) {
		count = unrecorded(l, kind, i);
		if (reasons[i].refused != refused || !count.packets)
			continue;
		fprintf(file, "%s%s %" PRIu64, separator, reasons[i].name, count.packets);
		separator = ", ";
	}
	if (sum)
		fprintf(file, ")");
}

void ledger_print_unrecorded(const struct ledger *l, enum record_kind kind, FILE *file)
{
	print_class(l, kind, false, file);
	print_class(l, kind, true, file);
}

static uint64_t collector_lost(const struct collector_stats *c)
{
	uint64_t lost = 0;

	for (int i = 0; i < _EXPORT_LOSS_MAX; i++)
		lost += c->lost[i].packets;
	return lost;
}

uint64_t ledger_lost_before(const struct ledger *l, enum record_kind kind)
{
	uint64_t lost = l->sides[kind].evicted.packets + l->sides[kind].drain_error.packets;

	for (int i = REASON_NONE + 1; i < _REASON_MAX; i++)
		if (reasons[i].refused)
			lost += unrecorded(l, kind, i).packets;
	return lost;
}

uint64_t ledger_lost(const struct ledger *l)
{
	const struct collector_stats *c;
	uint64_t lost = 0;

	for (int kind = 0; kind < _RECORD_KIND_MAX; kind++)
		lost += ledger_lost_before(l, (enum record_kind)kind);
	for (unsigned int i = 0; (c = collector_get(l, i)); i++)
		lost += collector_lost(c);
	return lost;
}

static void print_collector(const struct collector_stats *c, FILE *file)
{
	uint64_t lost = collector_lost(c);

	fprintf(file, "%s: exported %" PRIu64 " in %" PRIu64 " records, lost %" PRIu64,
		c->name ? c->name : c->url, c->exported.packets, c->exported.records, lost);
	for (int i = 0; lost && i < _EXPORT_LOSS_MAX; i++)
		if (c->lost[i].packets)
			fprintf(file, " (%s %" PRIu64 ")", export_loss_name((enum export_loss)i),
				c->lost[i].packets);
	fputc('\n', file);
}

static void print_side(const struct ledger *l, enum record_kind kind, const char *name, FILE *file)
{
	const struct ledger_amount all = accounted(l, kind);
	const struct ledger_side *side = &l->sides[kind];

	fprintf(file, "%sseen %" PRIu64 " packets = accounted %" PRIu64, name, seen(l, kind),
		all.packets);
	ledger_print_unrecorded(l, kind, file);
	fprintf(file,
		"\n%saccounted %" PRIu64 " packets (%" PRIu64 " octets) = in records %" PRIu64
		" + cache %" PRIu64 " + bank %" PRIu64 " + evicted %" PRIu64
		" + drain_error %" PRIu64 "\n",
		name, all.packets, all.octets, ledger_handed_over(l, kind).packets,
		side->cache.packets, ledger_bank(l, kind).packets, side->evicted.packets,
		side->drain_error.packets);
}

static void print_drops(const struct ledger *l, FILE *file)
{
	const char *separator = "drops: reasons: ";

	fprintf(file, "drops (a packet may be in a flow too): missed %" PRIu64 "\n",
		l->drops_missed);
	print_side(l, RECORD_DROP, "drops: ", file);
	for (int i = 0; l->drop_reasons && i < DROP_REASON_MAX; i++) {
		const struct drop_count *count = &l->drop_reasons->reasons[i];

		if (!count->packets)
			continue;
		fprintf(file, "%s%s %" PRIu64, separator,
			drop_reasons_get(l->drop_names, drop_reason_unpack((uint16_t)i))->name,
			(uint64_t)count->packets);
		separator = ", ";
	}
	if (*separator == ',')
		fputc('\n', file);
}

void ledger_print_text(const struct ledger *l, FILE *file)
{
	const struct collector_stats *c;

	fprintf(file, "%slost %" PRIu64 " packets\n",
		*ledger_verdict(l) ? ledger_verdict(l) : "balances, ", ledger_lost(l));
	print_side(l, RECORD_FLOW, "", file);
	if (l->drops_traced)
		print_drops(l, file);
	for (unsigned int i = 0; (c = collector_get(l, i)); i++)
		print_collector(c, file);
}

static json_t *json_amount(struct ledger_amount amount)
{
	return json_pack("{s:I,s:I}", "packets", (json_int_t)amount.packets, "octets",
			 (json_int_t)amount.octets);
}

static json_t *json_count(const struct export_count *count)
{
	return json_pack("{s:I,s:I,s:I}", "records", (json_int_t)count->records, "packets",
			 (json_int_t)count->packets, "octets", (json_int_t)count->octets);
}

static json_t *json_class(const struct ledger *l, enum record_kind kind, bool refused)
{
	json_t *object = json_object();
	struct ledger_amount count;

	for (int i = REASON_NONE + 1; i < _REASON_MAX; i++) {
		count = unrecorded(l, kind, i);
		if (reasons[i].refused == refused && count.packets)
			json_object_set_new(object, reasons[i].name, json_amount(count));
	}
	return object;
}

static json_t *json_collector(const struct collector_stats *c)
{
	json_t *lost = json_object();

	for (int i = 0; i < _EXPORT_LOSS_MAX; i++)
		json_object_set_new(lost, export_loss_name((enum export_loss)i),
				    json_count(&c->lost[i]));
	return json_pack("{s:s,s:s*,s:s,s:b,s:b,s:o,s:o,s:o,s:o,s:o,s:I,s:I,s:I,s:I}", "url",
			 c->url, "name", c->name, "state", collector_state_name(c->state), "shares",
			 c->shares, "drops", c->drops, "due", json_count(&c->due), "given",
			 json_count(&c->given), "exported", json_count(&c->exported), "queued",
			 json_count(&c->queued), "lost", lost, "messages", (json_int_t)c->messages,
			 "bytes", (json_int_t)c->bytes, "cut", (json_int_t)c->cut, "errors",
			 (json_int_t)c->errors);
}

static json_t *json_collectors(const struct ledger *l)
{
	json_t *array = json_array();
	const struct collector_stats *c;

	for (unsigned int i = 0; (c = collector_get(l, i)); i++)
		json_array_append_new(array, json_collector(c));
	return array;
}

static json_t *json_records(const struct cache_stats *cache)
{
	json_t *object = json_object();

	for (int i = FLOW_END_IDLE; i < _FLOW_END_MAX; i++)
		json_object_set_new(object, flow_end_name((enum flow_end)i),
				    json_integer((json_int_t)cache->exported[i]));
	return object;
}

static json_t *json_directions(const struct ledger *l)
{
	const struct ledger_side *side = &l->sides[RECORD_FLOW];
	json_t *object = json_object();

	for (unsigned int i = 0; i < flow_kind.point_count; i++)
		json_object_set_new(object, flow_kind.points[i],
				    json_pack("{s:I,s:o,s:I}", "seen", (json_int_t)side->seen[i],
					      "accounted", json_amount(side->accounted[i]),
					      "unrecorded", (json_int_t)sum_reasons(side, i)));
	return object;
}

/* What flows and drops have in common. */
static json_t *json_side(const struct ledger *l, enum record_kind kind)
{
	const struct ledger_side *side = &l->sides[kind];

	return json_pack("{s:I,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o}", "seen", (json_int_t)seen(l, kind),
			 "accounted", json_amount(accounted(l, kind)), "ignored",
			 json_class(l, kind, false), "refused", json_class(l, kind, true), "bank",
			 json_amount(ledger_bank(l, kind)), "cache",
			 json_pack("{s:I,s:I,s:I}", "flows", (json_int_t)side->cache.entries,
				   "packets", (json_int_t)side->cache.packets, "octets",
				   (json_int_t)side->cache.octets),
			 "evicted", json_amount(side->evicted), "drain_error",
			 json_amount(side->drain_error), "records", json_records(&side->cache));
}

static json_t *json_drop_reasons(const struct ledger *l)
{
	json_t *object = json_object();
	const struct drop_reason *reason;

	for (int i = 0; l->drop_reasons && i < DROP_REASON_MAX; i++) {
		const struct drop_count *count = &l->drop_reasons->reasons[i];

		if (!count->packets)
			continue;
		reason = drop_reasons_get(l->drop_names, drop_reason_unpack((uint16_t)i));
		json_object_set_new(object, reason->name,
				    json_pack("{s:I,s:I,s:s}", "packets",
					      (json_int_t)count->packets, "octets",
					      (json_int_t)count->octets, "class",
					      drop_class_name(reason->class)));
	}
	return object;
}

static json_t *json_drops(const struct ledger *l)
{
	json_t *object = json_side(l, RECORD_DROP);

	json_object_set_new(object, "missed", json_integer((json_int_t)l->drops_missed));
	json_object_set_new(object, "reasons", json_drop_reasons(l));
	return object;
}

int ledger_print_json(const struct ledger *l, FILE *file)
{
	json_t *root = json_side(l, RECORD_FLOW);

	if (!root)
		return -ENOMEM;
	json_object_set_new(root, "directions", json_directions(l));
	if (l->drops_traced)
		json_object_set_new(root, "drops", json_drops(l));
	if (l->ifstats)
		json_object_set_new(root, "interfaces", interfaces_json(l->ifstats, l->sight));
	json_object_set_new(root, "collectors", json_collectors(l));
	json_object_set_new(root, "settled", json_boolean(!l->unsettled));
	json_object_set_new(root, "balanced", json_boolean(ledger_balanced(l)));
	json_dumpf(root, file, JSON_COMPACT);
	json_decref(root);
	return 0;
}
