/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <string.h>
#include "exporter/meter/drops.h"
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

static const char *const directions[] = {"ingress", "egress"};

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

static void read_side(struct ledger *l, enum bank_use use, const struct drain *drain, bool final)
{
	const struct drain_stats *stats = drain_stats(drain, use);
	struct ledger_side *side = &l->sides[use];

	side->drained = (struct ledger_amount){stats->packets, stats->octets};
	side->evicted = (struct ledger_amount){stats->evicted_packets, stats->evicted_octets};
	side->drain_error = (struct ledger_amount){0};
	if (final)
		side->drain_error = ledger_bank(l, use);
}

static void add_settled(struct ledger *l, const struct drain_settled *settled)
{
	for (int i = 0; i < _POINT_MAX; i++) {
		l->seen[i] += settled->counts[i].seen;
		l->accounted[i].packets += settled->counts[i].packets;
		l->accounted[i].octets += settled->counts[i].octets;
	}
	for (uint32_t i = 0; i < settled->reason_count; i++) {
		const struct drain_reason *from = &settled->reasons[i];
		struct reason_count *to = &l->reasons[from->key.point][from->key.reason];

		to->packets += from->count.packets;
		to->octets += from->count.octets;
	}
}

static void add_drops(struct ledger_reasons *l, const struct drain_settled *settled)
{
	for (uint32_t i = 0; i < settled->drop_count; i++) {
		struct drop_count *to = &l->reasons[settled->drops[i].reason];

		to->packets += settled->drops[i].count.packets;
		to->octets += settled->drops[i].count.octets;
	}
}

static void begin_reading(struct ledger *l, const struct datapath *datapath)
{
	memset(l->seen, 0, sizeof(l->seen));
	memset(l->accounted, 0, sizeof(l->accounted));
	memset(l->reasons, 0, sizeof(l->reasons));
	l->drops_traced = datapath_uses(datapath) >> BANK_DROPS & 1;
	if (l->drops_traced)
		(void)drops_missed(datapath, &l->drops_missed); /* failing that, as before */
}

void ledger_read_drain(struct ledger *l, const struct datapath *datapath, const struct drain *drain,
		       bool final)
{
	begin_reading(l, datapath);
	l->unsettled = false;
	for (int use = 0; use < _BANK_USE_MAX; use++) {
		for (unsigned int bank = 0; bank < 2; bank++)
			add_settled(l, drain_settled(drain, (enum bank_use)use, bank));
		l->unsettled |= drain_stats(drain, (enum bank_use)use)->unsettled;
		read_side(l, (enum bank_use)use, drain, final);
	}
}

void ledger_read_reasons(struct ledger_reasons *ret, const struct drain *drain)
{
	*ret = (struct ledger_reasons){0};
	for (unsigned int bank = 0; bank < 2; bank++)
		add_drops(ret, drain_settled(drain, BANK_DROPS, bank));
}

int ledger_read_now(struct ledger *l, struct ledger_reasons *ret_reasons,
		    const struct datapath *datapath, const struct drain *drain)
{
	_cleanup_(freep) struct drain_settled *counted = malloc(sizeof(*counted));
	int r;

	if (!counted)
		return -ENOMEM;
	begin_reading(l, datapath);
	*ret_reasons = (struct ledger_reasons){0};
	for (int use = 0; use < _BANK_USE_MAX; use++) {
		for (unsigned int bank = 0; bank < 2 && datapath_uses(datapath) >> use & 1;
		     bank++) {
			r = drain_count(drain, (enum bank_use)use, bank, counted);
			if (r < 0)
				return r;
			add_settled(l, counted);
			add_drops(ret_reasons, counted);
		}
		read_side(l, (enum bank_use)use, drain, false);
	}
	return 0;
}

static void add(struct ledger_amount *sum, uint64_t packets, uint64_t octets)
{
	sum->packets += packets;
	sum->octets += octets;
}

static bool point_is_of(int point, enum bank_use use)
{
	return (point == POINT_DROP) == (use == BANK_DROPS);
}

static uint64_t seen(const struct ledger *l, enum bank_use use)
{
	uint64_t sum = 0;

	for (int i = 0; i < _POINT_MAX; i++)
		if (point_is_of(i, use))
			sum += l->seen[i];
	return sum;
}

static struct ledger_amount accounted(const struct ledger *l, enum bank_use use)
{
	struct ledger_amount sum = {0};

	for (int i = 0; i < _POINT_MAX; i++)
		if (point_is_of(i, use))
			add(&sum, l->accounted[i].packets, l->accounted[i].octets);
	return sum;
}

static struct ledger_amount unrecorded(const struct ledger *l, enum bank_use use, int reason)
{
	struct ledger_amount sum = {0};

	for (int i = 0; i < _POINT_MAX; i++)
		if (point_is_of(i, use))
			add(&sum, l->reasons[i][reason].packets, l->reasons[i][reason].octets);
	return sum;
}

struct ledger_amount ledger_bank(const struct ledger *l, enum bank_use use)
{
	const struct ledger_amount all = accounted(l, use);
	const struct ledger_side *s = &l->sides[use];

	return (struct ledger_amount){
		.packets = all.packets - s->drained.packets - s->evicted.packets -
			   s->drain_error.packets,
		.octets =
			all.octets - s->drained.octets - s->evicted.octets - s->drain_error.octets,
	};
}

struct ledger_amount ledger_handed_over(const struct ledger *l, enum bank_use use)
{
	const struct ledger_side *s = &l->sides[use];

	return (struct ledger_amount){
		.packets = s->drained.packets - s->cache.packets,
		.octets = s->drained.octets - s->cache.octets,
	};
}

static uint64_t sum_reasons(const struct ledger *l, enum flow_point point)
{
	uint64_t sum = 0;

	for (int i = REASON_NONE + 1; i < _REASON_MAX; i++)
		sum += l->reasons[point][i].packets;
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
	const struct ledger_amount flows = ledger_handed_over(l, BANK_FLOWS);
	const struct ledger_amount drops = ledger_handed_over(l, BANK_DROPS);
	const struct export_totals *totals = l->exports ? exports_totals(l->exports) : NULL;
	struct ledger_amount shared = {0};
	const struct collector_stats *c;

	if (!totals)
		return true;
	for (unsigned int i = 0; (c = exports_stats(l->exports, i)); i++) {
		const struct ledger_amount given = {c->given.packets, c->given.octets};

		if (!collector_balanced(c) || !amount_is(&given, &c->due))
			return false;
		if (c->shares)
			add(&shared, given.packets, given.octets);
	}
	return amount_is(&flows, &totals->flows) && amount_is(&drops, &totals->drops) &&
	       amount_is(&shared, &totals->shared);
}

/* Every drop has a reason of the kernel's, whatever became of it here. */
static bool drop_reasons_balanced(const struct ledger *l)
{
	uint64_t sum = 0;

	for (int i = 0; l->drop_reasons && i < DROP_REASON_MAX; i++)
		sum += l->drop_reasons->reasons[i].packets;
	return !l->drop_reasons || sum == l->seen[POINT_DROP];
}

bool ledger_balanced(const struct ledger *l)
{
	for (int i = 0; i < _POINT_MAX; i++)
		if (l->seen[i] != l->accounted[i].packets + sum_reasons(l, (enum flow_point)i))
			return false;
	for (int i = 0; i < _BANK_USE_MAX; i++) {
		enum bank_use use = (enum bank_use)i;

		if (ledger_bank(l, use).packets > accounted(l, use).packets ||
		    ledger_handed_over(l, use).packets > l->sides[use].drained.packets)
			return false; /* more came out than went in */
	}
	return drop_reasons_balanced(l) && given_balanced(l);
}

struct ledger_amount ledger_unmetered(const struct ledger *l)
{
	struct ledger_amount sum = {0}, one;

	for (int i = REASON_NONE + 1; i < _REASON_MAX; i++) {
		one = unrecorded(l, BANK_FLOWS, i);
		add(&sum, one.packets, one.octets);
	}
	return sum;
}

/* " + ignored 12 (arp 10, llc 2)" */
static void print_class(const struct ledger *l, enum bank_use use, bool refused, FILE *file)
{
	const char *separator = " (";
	struct ledger_amount count;
	uint64_t sum = 0;

	for (int i = REASON_NONE + 1; i < _REASON_MAX; i++)
		if (reasons[i].refused == refused)
			sum += unrecorded(l, use, i).packets;
	fprintf(file, " + %s %" PRIu64, refused ? "refused" : "ignored", sum);
	for (int i = REASON_NONE + 1; sum && i < _REASON_MAX; i++) {
		count = unrecorded(l, use, i);
		if (reasons[i].refused != refused || !count.packets)
			continue;
		fprintf(file, "%s%s %" PRIu64, separator, reasons[i].name, count.packets);
		separator = ", ";
	}
	if (sum)
		fprintf(file, ")");
}

void ledger_print_unrecorded(const struct ledger *l, enum bank_use use, FILE *file)
{
	print_class(l, use, false, file);
	print_class(l, use, true, file);
}

static uint64_t collector_lost(const struct collector_stats *c)
{
	uint64_t lost = 0;

	for (int i = 0; i < _EXPORT_LOSS_MAX; i++)
		lost += c->lost[i].packets;
	return lost;
}

uint64_t ledger_lost(const struct ledger *l)
{
	const struct collector_stats *c;
	uint64_t lost = 0;

	for (int use = 0; use < _BANK_USE_MAX; use++) {
		lost += l->sides[use].evicted.packets + l->sides[use].drain_error.packets;
		for (int i = REASON_NONE + 1; i < _REASON_MAX; i++)
			if (reasons[i].refused)
				lost += unrecorded(l, (enum bank_use)use, i).packets;
	}
	for (unsigned int i = 0; l->exports && (c = exports_stats(l->exports, i)); i++)
		lost += collector_lost(c);
	return lost;
}

static void print_collector(const struct collector_stats *c, FILE *file)
{
	uint64_t lost = collector_lost(c);

	fprintf(file, "; %s: exported %" PRIu64 " in %" PRIu64 " records, lost %" PRIu64,
		c->name ? c->name : c->url, c->exported.packets, c->exported.records, lost);
	for (int i = 0; lost && i < _EXPORT_LOSS_MAX; i++)
		if (c->lost[i].packets)
			fprintf(file, " (%s %" PRIu64 ")", export_loss_name((enum export_loss)i),
				c->lost[i].packets);
}

static void print_side(const struct ledger *l, enum bank_use use, FILE *file)
{
	const struct ledger_amount all = accounted(l, use);
	const struct ledger_side *side = &l->sides[use];

	fprintf(file, "seen %" PRIu64 " packets = accounted %" PRIu64, seen(l, use), all.packets);
	ledger_print_unrecorded(l, use, file);
	fprintf(file,
		"; accounted (%" PRIu64 " octets) = in records %" PRIu64 " + cache %" PRIu64
		" + bank %" PRIu64 " + evicted %" PRIu64 " + drain_error %" PRIu64,
		all.octets, ledger_handed_over(l, use).packets, side->cache.packets,
		ledger_bank(l, use).packets, side->evicted.packets, side->drain_error.packets);
}

static void print_drops(const struct ledger *l, FILE *file)
{
	const char *separator = "; reasons: ";

	fprintf(file, "; drops (a packet may be in a flow too): missed %" PRIu64 "; ",
		l->drops_missed);
	print_side(l, BANK_DROPS, file);
	for (int i = 0; l->drop_reasons && i < DROP_REASON_MAX; i++) {
		const struct drop_count *count = &l->drop_reasons->reasons[i];

		if (!count->packets)
			continue;
		fprintf(file, "%s%s %" PRIu64, separator,
			drop_reasons_get(l->drop_names, drop_reason_unpack((uint16_t)i))->name,
			(uint64_t)count->packets);
		separator = ", ";
	}
}

void ledger_print_text(const struct ledger *l, FILE *file)
{
	const struct collector_stats *c;

	fprintf(file, "ledger: %s", ledger_balanced(l) ? "" : "THE LEDGER DOES NOT BALANCE; ");
	print_side(l, BANK_FLOWS, file);
	if (l->drops_traced)
		print_drops(l, file);
	for (unsigned int i = 0; l->exports && (c = exports_stats(l->exports, i)); i++)
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

static json_t *json_class(const struct ledger *l, enum bank_use use, bool refused)
{
	json_t *object = json_object();
	struct ledger_amount count;

	for (int i = REASON_NONE + 1; i < _REASON_MAX; i++) {
		count = unrecorded(l, use, i);
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
	return json_pack("{s:s,s:s*,s:s,s:b,s:b,s:o,s:o,s:o,s:o,s:I,s:I,s:I}", "url", c->url,
			 "name", c->name, "state", collector_state_name(c->state), "shares",
			 c->shares, "drops", c->drops, "given", json_count(&c->given), "exported",
			 json_count(&c->exported), "queued", json_count(&c->queued), "lost", lost,
			 "messages", (json_int_t)c->messages, "bytes", (json_int_t)c->bytes,
			 "errors", (json_int_t)c->errors);
}

static json_t *json_collectors(const struct ledger *l)
{
	json_t *array = json_array();
	const struct collector_stats *c;

	for (unsigned int i = 0; l->exports && (c = exports_stats(l->exports, i)); i++)
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
	json_t *object = json_object();

	for (int i = 0; i < _DIRECTION_MAX; i++)
		json_object_set_new(object, directions[i],
				    json_pack("{s:I,s:o,s:I}", "seen", (json_int_t)l->seen[i],
					      "accounted", json_amount(l->accounted[i]),
					      "unrecorded",
					      (json_int_t)sum_reasons(l, (enum flow_point)i)));
	return object;
}

/* What flows and drops have in common. */
static json_t *json_side(const struct ledger *l, enum bank_use use)
{
	const struct ledger_side *side = &l->sides[use];

	return json_pack("{s:I,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o}", "seen", (json_int_t)seen(l, use),
			 "accounted", json_amount(accounted(l, use)), "ignored",
			 json_class(l, use, false), "refused", json_class(l, use, true), "bank",
			 json_amount(ledger_bank(l, use)), "cache",
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
	json_t *object = json_side(l, BANK_DROPS);

	json_object_set_new(object, "missed", json_integer((json_int_t)l->drops_missed));
	json_object_set_new(object, "reasons", json_drop_reasons(l));
	return object;
}

int ledger_print_json(const struct ledger *l, FILE *file)
{
	json_t *root = json_side(l, BANK_FLOWS);

	if (!root)
		return -ENOMEM;
	json_object_set_new(root, "directions", json_directions(l));
	if (l->drops_traced)
		json_object_set_new(root, "drops", json_drops(l));
	if (l->ifstats)
		json_object_set_new(root, "interfaces", interfaces_json(l->ifstats, l->sight));
	json_object_set_new(root, "collectors", json_collectors(l));
	json_object_set_new(root, "balanced", json_boolean(ledger_balanced(l)));
	json_dumpf(root, file, JSON_COMPACT);
	json_decref(root);
	return 0;
}
