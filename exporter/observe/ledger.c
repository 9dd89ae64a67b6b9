/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <string.h>
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

static void add_reason(void *userdata, const struct reason_key *key,
		       const struct reason_count *count)
{
	struct ledger *l = userdata;

	l->reasons[key->direction][key->reason].packets += count->packets;
	l->reasons[key->direction][key->reason].octets += count->octets;
}

int ledger_read_datapath(struct ledger *l, const struct datapath *datapath,
			 const struct drain_stats *drain, bool final)
{
	struct hook_count count;
	int r;

	for (int i = 0; i < _DIRECTION_MAX; i++) {
		r = datapath_counts(datapath, (enum flow_direction)i, &count);
		if (r < 0)
			return r;
		l->seen[i] = count.seen;
		l->accounted[i].packets = count.bank[0].packets + count.bank[1].packets;
		l->accounted[i].octets = count.bank[0].octets + count.bank[1].octets;
	}
	memset(l->reasons, 0, sizeof(l->reasons));
	r = datapath_unrecorded(datapath, add_reason, l);
	if (r < 0)
		return r;
	l->drained = (struct ledger_amount){drain->packets, drain->octets};
	l->evicted = (struct ledger_amount){drain->evicted_packets, drain->evicted_octets};
	l->drain_error = (struct ledger_amount){0};
	if (final)
		l->drain_error = ledger_bank(l);
	return 0;
}

static struct ledger_amount accounted(const struct ledger *l)
{
	return (struct ledger_amount){
		.packets = l->accounted[0].packets + l->accounted[1].packets,
		.octets = l->accounted[0].octets + l->accounted[1].octets,
	};
}

struct ledger_amount ledger_bank(const struct ledger *l)
{
	const struct ledger_amount all = accounted(l);

	return (struct ledger_amount){
		.packets = all.packets - l->drained.packets - l->evicted.packets -
			   l->drain_error.packets,
		.octets =
			all.octets - l->drained.octets - l->evicted.octets - l->drain_error.octets,
	};
}

struct ledger_amount ledger_handed_over(const struct ledger *l)
{
	return (struct ledger_amount){
		.packets = l->drained.packets - l->cache.packets,
		.octets = l->drained.octets - l->cache.octets,
	};
}

static uint64_t sum_reasons(const struct ledger *l, enum flow_direction direction)
{
	uint64_t sum = 0;

	for (int i = REASON_NONE + 1; i < _REASON_MAX; i++)
		sum += l->reasons[direction][i].packets;
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

/* Each collector was given everything, or those that share were together. */
static bool given_balanced(const struct ledger *l)
{
	const struct ledger_amount handed = ledger_handed_over(l);
	struct ledger_amount shared = {0};
	const struct collector_stats *c;
	bool any = false;

	for (unsigned int i = 0; l->exports && (c = exports_stats(l->exports, i)); i++) {
		if (!collector_balanced(c))
			return false;
		if (c->shares) {
			shared.packets += c->given.packets;
			shared.octets += c->given.octets;
			any = true;
		} else if (c->given.packets != handed.packets || c->given.octets != handed.octets) {
			return false;
		}
	}
	return !any || (shared.packets == handed.packets && shared.octets == handed.octets);
}

bool ledger_balanced(const struct ledger *l)
{
	for (int i = 0; i < _DIRECTION_MAX; i++)
		if (l->seen[i] != l->accounted[i].packets + sum_reasons(l, (enum flow_direction)i))
			return false;
	if (ledger_bank(l).packets > accounted(l).packets ||
	    ledger_handed_over(l).packets > l->drained.packets)
		return false; /* more came out than went in */
	return given_balanced(l);
}

static struct ledger_amount both_directions(const struct ledger *l, enum flow_reason reason)
{
	const struct reason_count *in = &l->reasons[DIRECTION_INGRESS][reason],
				  *out = &l->reasons[DIRECTION_EGRESS][reason];

	return (struct ledger_amount){.packets = in->packets + out->packets,
				      .octets = in->octets + out->octets};
}

struct ledger_amount ledger_unmetered(const struct ledger *l)
{
	struct ledger_amount sum = {0}, one;

	for (int i = REASON_NONE + 1; i < _REASON_MAX; i++) {
		one = both_directions(l, (enum flow_reason)i);
		sum.packets += one.packets;
		sum.octets += one.octets;
	}
	return sum;
}

/* " + ignored 12 (arp 10, llc 2)" */
static void print_class(const struct ledger *l, bool refused, FILE *file)
{
	const char *separator = " (";
	struct ledger_amount count;
	uint64_t sum = 0;

	for (int i = REASON_NONE + 1; i < _REASON_MAX; i++)
		if (reasons[i].refused == refused)
			sum += both_directions(l, (enum flow_reason)i).packets;
	fprintf(file, " + %s %" PRIu64, refused ? "refused" : "ignored", sum);
	for (int i = REASON_NONE + 1; sum && i < _REASON_MAX; i++) {
		count = both_directions(l, (enum flow_reason)i);
		if (reasons[i].refused != refused || !count.packets)
			continue;
		fprintf(file, "%s%s %" PRIu64, separator, reasons[i].name, count.packets);
		separator = ", ";
	}
	if (sum)
		fprintf(file, ")");
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
	uint64_t lost = l->evicted.packets + l->drain_error.packets;
	const struct collector_stats *c;

	for (int i = REASON_NONE + 1; i < _REASON_MAX; i++)
		if (reasons[i].refused)
			lost += both_directions(l, (enum flow_reason)i).packets;
	for (unsigned int i = 0; l->exports && (c = exports_stats(l->exports, i)); i++)
		lost += collector_lost(c);
	return lost;
}

static void print_collector(const struct collector_stats *c, FILE *file)
{
	uint64_t lost = collector_lost(c);

	fprintf(file, "; %s: exported %" PRIu64 " in %" PRIu64 " records, lost %" PRIu64, c->url,
		c->exported.packets, c->exported.records, lost);
	for (int i = 0; lost && i < _EXPORT_LOSS_MAX; i++)
		if (c->lost[i].packets)
			fprintf(file, " (%s %" PRIu64 ")", export_loss_name((enum export_loss)i),
				c->lost[i].packets);
}

void ledger_print_text(const struct ledger *l, FILE *file)
{
	const struct ledger_amount all = accounted(l), bank = ledger_bank(l);
	const struct collector_stats *c;

	fprintf(file, "ledger: %sseen %" PRIu64 " packets = accounted %" PRIu64,
		ledger_balanced(l) ? "" : "THE LEDGER DOES NOT BALANCE; ", l->seen[0] + l->seen[1],
		all.packets);
	print_class(l, false, file);
	print_class(l, true, file);
	fprintf(file,
		"; accounted (%" PRIu64 " octets) = in records %" PRIu64 " + cache %" PRIu64
		" + bank %" PRIu64 " + evicted %" PRIu64 " + drain_error %" PRIu64,
		all.octets, ledger_handed_over(l).packets, l->cache.packets, bank.packets,
		l->evicted.packets, l->drain_error.packets);
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

static json_t *json_class(const struct ledger *l, bool refused)
{
	json_t *object = json_object();
	struct ledger_amount count;

	for (int i = REASON_NONE + 1; i < _REASON_MAX; i++) {
		count = both_directions(l, (enum flow_reason)i);
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
	return json_pack("{s:s,s:s,s:b,s:o,s:o,s:o,s:o,s:I,s:I,s:I}", "url", c->url, "state",
			 collector_state_name(c->state), "shares", c->shares, "given",
			 json_count(&c->given), "exported", json_count(&c->exported), "queued",
			 json_count(&c->queued), "lost", lost, "messages", (json_int_t)c->messages,
			 "bytes", (json_int_t)c->bytes, "errors", (json_int_t)c->errors);
}

static json_t *json_collectors(const struct ledger *l)
{
	json_t *array = json_array();
	const struct collector_stats *c;

	for (unsigned int i = 0; l->exports && (c = exports_stats(l->exports, i)); i++)
		json_array_append_new(array, json_collector(c));
	return array;
}

static json_t *json_records(const struct ledger *l)
{
	json_t *object = json_object();

	for (int i = FLOW_END_IDLE; i < _FLOW_END_MAX; i++)
		json_object_set_new(object, flow_end_name((enum flow_end)i),
				    json_integer((json_int_t)l->cache.exported[i]));
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
					      (json_int_t)sum_reasons(l, (enum flow_direction)i)));
	return object;
}

int ledger_print_json(const struct ledger *l, FILE *file)
{
	json_t *root = json_pack(
		"{s:o,s:I,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:b}", "directions",
		json_directions(l), "seen", (json_int_t)l->seen[0] + (json_int_t)l->seen[1],
		"accounted", json_amount(accounted(l)), "ignored", json_class(l, false), "refused",
		json_class(l, true), "bank", json_amount(ledger_bank(l)), "cache",
		json_pack("{s:I,s:I,s:I}", "flows", (json_int_t)l->cache.entries, "packets",
			  (json_int_t)l->cache.packets, "octets", (json_int_t)l->cache.octets),
		"evicted", json_amount(l->evicted), "drain_error", json_amount(l->drain_error),
		"records", json_records(l), "collectors", json_collectors(l), "balanced",
		ledger_balanced(l));

	if (!root)
		return -ENOMEM;
	json_dumpf(root, file, JSON_COMPACT);
	json_decref(root);
	return 0;
}
