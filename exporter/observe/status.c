/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/observe/status.h"
#include <dirent.h>
#include <errno.h>
#include <string.h>
#include "exporter/observe/control_request.h"
#include "exporter/observe/text.h"

#define RECENT_NS (60 * NSEC_PER_SEC)

#define INTEGER(value) json_integer((json_int_t)(value))

/* --- What is remembered. */

static void sample_clear(struct status_sample *sample)
{
	snapshot_releasep(&sample->snapshot);
	*sample = (struct status_sample){0};
}

void status_remember(struct status_memory *m, struct snapshots *snapshots)
{
	const uint64_t now_ns = clock_ns(CLOCK_MONOTONIC);

	if (m->recent.snapshot && now_ns - m->recent.monotonic_ns < RECENT_NS)
		return;
	sample_clear(&m->older);
	m->older = m->recent;
	m->recent = (struct status_sample){
		.snapshot = snapshots_newest(snapshots, NULL),
		.monotonic_ns = now_ns,
		.cpu_ns = clock_ns(CLOCK_PROCESS_CPUTIME_ID),
	};
}

void status_forget(struct status_memory *m)
{
	sample_clear(&m->recent);
	sample_clear(&m->older);
}

/* --- The process. */

static unsigned int count_descriptors(void)
{
	DIR *folder = opendir("/proc/self/fd");
	unsigned int count = 0;

	while (folder && readdir(folder))
		count++;
	if (folder)
		closedir(folder);
	return count > 3 ? count - 3 : 0; /* ".", "..", and the folder's own */
}

/* proc(5): num_threads is the 20th field of stat, rss the 24th; behind the name follows the third. */
static void read_stat(unsigned long *ret_threads, unsigned long *ret_pages)
{
	_cleanup_(fclosep) FILE *file = fopen("/proc/self/stat", "re");
	char line[1024], *field;

	*ret_threads = *ret_pages = 0;
	field = file && fgets(line, sizeof(line), file) ? strrchr(line, ')') : NULL;
	for (int i = 3; field && i <= 24; i++) {
		field = strchr(field + 1, ' ');
		if (field && i == 20)
			*ret_threads = strtoul(field, NULL, 10);
		else if (field && i == 24)
			*ret_pages = strtoul(field, NULL, 10);
	}
}

static json_t *process(const struct status_memory *m)
{
	const struct status_sample *from = m->older.monotonic_ns ? &m->older : &m->recent;
	const uint64_t ns = clock_ns(CLOCK_MONOTONIC) - from->monotonic_ns;
	const uint64_t cpu_ns = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
	unsigned long threads, pages;

	read_stat(&threads, &pages);
	return json_pack("{s:i,s:I,s:f,s:I,s:I,s:I}", "pid", getpid(), "cpu_ns", (json_int_t)cpu_ns,
			 "cpu_percent",
			 from->monotonic_ns && ns
				 ? 100.0 * (double)(cpu_ns - from->cpu_ns) / (double)ns
				 : 0.0,
			 "resident_octets", (json_int_t)pages * sysconf(_SC_PAGESIZE),
			 "descriptors", (json_int_t)count_descriptors(), "threads",
			 (json_int_t)threads);
}

/* --- Rates. */

struct rates {
	const struct snapshot *before; /* NULL: none */
	double seconds;
};

/* Of a counter that may be younger than the snapshot before. */
static json_t *rate(const struct rates *r, uint64_t now, uint64_t before)
{
	return r->before && r->seconds > 0 && now >= before
		       ? json_real((double)(now - before) / r->seconds)
		       : json_null();
}

static json_t *kind_rates(const struct snapshot *s, const struct rates *r, int kind, int point)
{
	const struct ledger_side *a = &s->ledger.sides[kind];
	const struct ledger_side *b = r->before ? &r->before->ledger.sides[kind] : a;

	return json_pack("{s:o,s:o}", "packets", rate(r, a->seen[point], b->seen[point]), "octets",
			 rate(r, a->accounted[point].octets, b->accounted[point].octets));
}

/* --- Hooks. */

static const struct sight_side *find_side(const struct snapshot *s, uint32_t ifindex, int direction)
{
	const struct sight_interface *seen =
		s && s->ledger.sight ? sight_get(s->ledger.sight, ifindex) : NULL;

	return seen ? &seen->sides[direction] : NULL;
}

static json_t *direction_rate(const struct snapshot *s, const struct rates *r, uint32_t ifindex,
			      int direction)
{
	const struct sight_side *now = find_side(s, ifindex, direction);
	const struct sight_side *before = find_side(r->before, ifindex, direction);

	if (!now)
		return json_null();
	return rate(r, now->accounted + now->unrecorded,
		    before ? before->accounted + before->unrecorded : 0);
}

static json_t *interface_json(const struct snapshot *s, const struct rates *r,
			      const struct hooks_interface *i)
{
	return json_pack("{s:o,s:o,s:I,s:s,s:s,s:b,s:o,s:{s:o,s:o},s:{s:o,s:o}}", "name",
			 text_json_name(i->name), "device", text_json_name(i->device), "ifindex",
			 (json_int_t)i->ifindex, "ingress", hook_kind_name(i->ingress), "egress",
			 hook_kind_name(i->egress), "attached", i->attached, "reason",
			 text_json(i->reason), "obstacles", "ingress",
			 text_json(i->obstacles[DIRECTION_INGRESS]), "egress",
			 text_json(i->obstacles[DIRECTION_EGRESS]), "rates", "ingress",
			 direction_rate(s, r, i->ifindex, DIRECTION_INGRESS), "egress",
			 direction_rate(s, r, i->ifindex, DIRECTION_EGRESS));
}

static json_t *interfaces_json_of(const struct snapshot *s, const struct rates *r)
{
	json_t *array = json_array();

	for (size_t i = 0; i < s->interface_count; i++)
		json_array_append_new(array, interface_json(s, r, &s->interfaces[i]));
	return array;
}

static json_t *programs(const struct snapshot *s)
{
	json_t *array = json_array();

	for (int i = 0; i < _PROGRAM_MAX; i++)
		if (s->programs[i].name[0])
			json_array_append_new(
				array, json_pack("{s:s,s:I,s:I}", "name", s->programs[i].name,
						 "runs", (json_int_t)s->programs[i].runs, "run_ns",
						 (json_int_t)s->programs[i].run_ns));
	return array;
}

/* --- Banks and caches. */

static json_t *kind_json(const struct snapshot *s, const struct rates *r, int kind)
{
	const struct snapshot_kind *k = &s->kinds[kind];
	const struct drain_stats *b = r->before ? &r->before->kinds[kind].drain : NULL;
	const uint64_t swaps = k->drain.swaps - (b ? b->swaps : 0);
	const uint64_t entries = k->drain.entries - (b ? b->entries : 0);

	return json_pack("{s:I,s:I,s:I,s:I,s:I,s:I,s:I}", "bank_limit", (json_int_t)k->bank_limit,
			 "bank_entries", (json_int_t)(swaps ? entries / swaps : 0), "swaps",
			 (json_int_t)k->drain.swaps, "early_swaps", (json_int_t)k->drain.early,
			 "drain_errors", (json_int_t)k->drain.errors, "cache_limit",
			 (json_int_t)k->cache_entries, "cache_entries",
			 (json_int_t)s->ledger.sides[kind].cache.entries);
}

/* --- Collectors. */

const struct collector_stats *status_find_collector(const struct snapshot *s, unsigned int number)
{
	const struct export_copy *all = s ? s->ledger.collectors : NULL;

	for (unsigned int i = 0; number && all && i < all->count; i++)
		if (all->stats[i].number == number)
			return &all->stats[i];
	return NULL;
}

/* A sum of removed collectors grows by what was exported long before: it has no rate. */
static json_t *collector_rate(const struct collector_stats *c, const struct rates *r, uint64_t now,
			      uint64_t before)
{
	return c->number ? rate(r, now, before) : json_null();
}

/* How long ago that was, ms, however the wall clock was set meanwhile; null of what never was. */
static json_t *ago_json(uint64_t boottime_ns)
{
	return boottime_ns ? INTEGER((clock_ns(CLOCK_BOOTTIME) - boottime_ns) / NSEC_PER_MSEC)
			   : json_null();
}

static json_t *collector_json(const struct collector_stats *c, const struct rates *r)
{
	const struct collector_stats *b = status_find_collector(r->before, c->number);
	json_t *lost = json_object();

	for (int i = 0; i < _EXPORT_LOSS_MAX; i++)
		if (c->lost[i].records)
			json_object_set_new(lost, export_loss_name((enum export_loss)i),
					    INTEGER(c->lost[i].records));
	return json_pack("{s:I,s:s,s:s*,s:s,s:o,s:o,s:I,s:o,s:I,s:o}", "number",
			 (json_int_t)c->number, "url", c->url, "name", c->name, "state",
			 collector_state_name(c->state), "records_rate",
			 collector_rate(c, r, c->exported.records, b ? b->exported.records : 0),
			 "octets_rate", collector_rate(c, r, c->bytes, b ? b->bytes : 0), "queued",
			 (json_int_t)c->queued.records, "lost", lost, "sent_ms",
			 (json_int_t)c->sent_ms, "sent_ago_ms", ago_json(c->sent_boottime_ns));
}

static json_t *collectors(const struct snapshot *s, const struct rates *r)
{
	const struct export_copy *all = s->ledger.collectors;
	json_t *array = json_array();

	for (unsigned int i = 0; all && i < all->count; i++)
		json_array_append_new(array, collector_json(&all->stats[i], r));
	return array;
}

/* --- Drops. */

static json_t *drops(const struct snapshot *s, const struct rates *r)
{
	const struct ledger *l = &s->ledger;
	uint64_t sums[_DROP_CLASS_MAX] = {0};
	json_t *classes = json_object();

	for (int i = 0; l->drop_reasons && l->drop_names && i < DROP_REASON_MAX; i++)
		if (l->drop_reasons->reasons[i].packets)
			sums[drop_reasons_get(l->drop_names, drop_reason_unpack((uint16_t)i))
				     ->class] += l->drop_reasons->reasons[i].packets;
	for (int i = 0; i < _DROP_CLASS_MAX; i++)
		if (sums[i])
			json_object_set_new(classes, drop_class_name((enum drop_class)i),
					    INTEGER(sums[i]));
	return json_pack("{s:b,s:o,s:o}", "traced", l->drops_traced, "rate",
			 rate(r, l->sides[RECORD_DROP].seen[0],
			      r->before ? r->before->ledger.sides[RECORD_DROP].seen[0] : 0),
			 "classes", classes);
}

/* --- All of it. */

static json_t *head(const struct snapshot *s, const struct snapshot *since, uint64_t age_ns)
{
	json_t *problems = status_problems(s, since, age_ns);
	const char *health = json_array_size(problems) ? "degraded" : "healthy";

	return json_pack("{s:i,s:s,s:s,s:s,s:o,s:I,s:I,s:o,s:I,s:I,s:I,s:I,s:I,s:I}", "version",
			 CONTROL_VERSION, "answer", "status", "health", health, "exporter",
			 FLOWTALLY_VERSION, "problems", problems, "started_ms",
			 (json_int_t)(s->started_ns / NSEC_PER_MSEC), "time_ms",
			 (json_int_t)(s->time_ns / NSEC_PER_MSEC), "uptime_ms",
			 ago_json(s->started_boottime_ns), "counters_ms",
			 (json_int_t)(snapshot_counters_ns(s) / NSEC_PER_MSEC), "age_ms",
			 (json_int_t)(age_ns / NSEC_PER_MSEC), "interval_ms",
			 (json_int_t)(s->interval_ns / NSEC_PER_MSEC), "idle_ms",
			 (json_int_t)(s->idle_ns / NSEC_PER_MSEC), "active_ms",
			 (json_int_t)(s->active_ns / NSEC_PER_MSEC), "domain",
			 (json_int_t)s->domain);
}

static json_t *make(const struct status_sources *sources, const struct snapshot *s,
		    const struct snapshot *before)
{
	struct rates r = {.before = before};
	json_t *root = head(s, sources->memory->older.snapshot,
			    clock_ns(CLOCK_MONOTONIC) - s->monotonic_ns);

	if (before)
		r.seconds = (double)(s->monotonic_ns - before->monotonic_ns) / NSEC_PER_SEC;
	if (r.seconds < (double)s->interval_ns / NSEC_PER_SEC / 2)
		r.before =
			NULL; /* two kinds of records, swapped one after the other: no time for a rate */
	json_object_set_new(root, "rates",
			    json_pack("{s:f,s:o,s:o}", "seconds", r.seconds, "ingress",
				      kind_rates(s, &r, RECORD_FLOW, DIRECTION_INGRESS), "egress",
				      kind_rates(s, &r, RECORD_FLOW, DIRECTION_EGRESS)));
	json_object_set_new(root, "interfaces", interfaces_json_of(s, &r));
	json_object_set_new(root, "flows", kind_json(s, &r, RECORD_FLOW));
	if (s->kinds[RECORD_DROP].metered)
		json_object_set_new(root, "dropped_flows", kind_json(s, &r, RECORD_DROP));
	json_object_set_new(root, "collectors", collectors(s, &r));
	json_object_set_new(root, "drops", drops(s, &r));
	json_object_set_new(root, "programs", programs(s));
	json_object_set_new(root, "process", process(sources->memory));
	json_object_set_new(root, "records_held", INTEGER(sources->ring_records));
	json_object_set_new(root, "reloads",
			    json_pack("{s:I,s:I,s:b}", "good", (json_int_t)s->reloads.good,
				      "failed", (json_int_t)s->reloads.failed, "last_failed",
				      s->reloads.last_failed));
	return root;
}

/* The ledger is put in as it is printed at the end. */
int status_print(const struct status_sources *sources, FILE *file)
{
	_cleanup_(snapshot_releasep) const struct snapshot *before = NULL;
	_cleanup_(snapshot_releasep)
		const struct snapshot *s = snapshots_newest(sources->snapshots, &before);
	_cleanup_(freep) char *text = NULL;
	json_t *root;
	int r;

	if (!s)
		return -ENODATA;
	root = make(sources, s, before);
	text = root ? json_dumps(root, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;
	json_decref(root);
	if (!text)
		return -ENOMEM;
	text[strlen(text) - 1] = '\0'; /* the brace */
	fprintf(file, "%s,\"ledger\":", text);
	r = ledger_print_json(&s->ledger, file);
	fputs("}\n", file);
	return r;
}
