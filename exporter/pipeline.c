/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include "config/schema.h"
#include "exporter/log.h"
#include "exporter/loop.h"
#include "exporter/meter/kind.h"
#include "exporter/pipeline.h"
#include "exporter/stop.h"

/* How long a pass waits for a queue to empty: what leaves meanwhile is less than a slice. */
#define ROOM_WAIT_NS (10 * NSEC_PER_MSEC)

#define SEND_RECORDS 1024 /* given to the collectors between two looks at their queues */
#define SEND_NS	     (5 * NSEC_PER_SEC) /* without progress */

struct pipeline {
	struct pipeline_options options;
	struct exports *exports;
	struct cache *caches[_RECORD_KIND_MAX]; /* NULL: of what is not metered */
	uint64_t settled_ns[_RECORD_KIND_MAX];	/* of the last swap that has been settled */
	unsigned int settled;			/* kinds for which the pass under way is done */
	unsigned int waiting;	    /* records since the collectors were last waited for */
	struct loop_source *expiry; /* the timer of the next slice of a pass */
};

struct pipeline *pipeline_free(struct pipeline *p)
{
	if (!p)
		return NULL;
	loop_source_freep(&p->expiry);
	for (int kind = 0; kind < _RECORD_KIND_MAX; kind++)
		cache_freep(&p->caches[kind]);
	exports_freep(&p->exports);
	free(p);
	return NULL;
}

/* --- Records. */

/* A flow that has ended, with times that collectors understand. */
static struct flow tell_times(const struct pipeline *p, const struct flow *flow)
{
	struct flow told = *flow;

	if (!p->options.clock)
		return told;
	told.record.first_ns = kernel_clock_told_ns(p->options.clock, flow->record.first_ns);
	told.record.last_ns = kernel_clock_told_ns(p->options.clock, flow->record.last_ns);
	return told;
}

/* Of any kind. */
static void on_record(void *userdata, const struct flow *flow)
{
	const uint8_t kind = flow->key.kind;
	struct pipeline *p = userdata;
	struct flow told = tell_times(p, flow);

	p->options.record(p->options.userdata, flow);
	told.drop = NULL;
	if (kind & FLOW_DROP)
		told.drop = drop_reasons_get(p->options.drop_names,
					     drop_reason_unpack(flow->key.drop_reason));
	exports_flow(p->exports, &told);
	p->waiting++;
}

/* --- Passes. */

static int expire_slice(void *userdata, _unused_ uint32_t events)
{
	struct pipeline *p = userdata;
	unsigned int settled = p->settled;

	if (p->exports && !exports_have_room(p->exports))
		return loop_set_timer(p->expiry, ROOM_WAIT_NS, 0);
	pipeline_look_at_clock(p);
	for (int kind = 0; kind < _RECORD_KIND_MAX; kind++)
		if (p->caches[kind] &&
		    !cache_expire_some(p->caches[kind], p->settled_ns[kind], CACHE_SLICE))
			return loop_set_timer(p->expiry, 1, 0);
	p->settled = 0;
	p->options.passed(p->options.userdata, settled);
	if (p->exports)
		exports_flush(p->exports);
	return 0;
}

void pipeline_look_at_clock(struct pipeline *p)
{
	if (!p->options.clock)
		return;
	kernel_clock_look(p->options.clock);
	/* Times are the kernel's up to here, so that a step of the wall clock changes no duration. */
	if (p->exports)
		exports_set_clock(p->exports, kernel_clock_offset_ns(p->options.clock));
}

void pipeline_add(struct pipeline *p, enum record_kind kind, const struct flow_key *keys,
		  const struct flow_record *records, uint32_t count)
{
	if (p->caches[kind])
		cache_merge_many(p->caches[kind], keys, records, count);
}

void pipeline_settle(struct pipeline *p, enum record_kind kind, uint64_t swap_ns)
{
	p->settled_ns[kind] = swap_ns;
	p->settled |= 1u << kind;
	p->options.settled(p->options.userdata);
	expire_slice(p, 0); /* without a timer the rest comes with the next bank */
}

/* --- Captures. */

/* The collectors' queues are bounded, and nothing else empties them. */
static void wait_for_collectors(struct pipeline *p)
{
	if (p->waiting < SEND_RECORDS)
		return;
	exports_send_queued(p->exports, SEND_NS, false);
	p->waiting = 0;
}

void pipeline_add_at(struct pipeline *p, const struct flow_key *key,
		     const struct flow_record *record, uint64_t now_ns)
{
	cache_merge_at(p->caches[RECORD_FLOW], key, record, now_ns);
	wait_for_collectors(p);
}

void pipeline_expire(struct pipeline *p, uint64_t now_ns)
{
	p->settled_ns[RECORD_FLOW] = now_ns;
	cache_expire(p->caches[RECORD_FLOW], now_ns);
	wait_for_collectors(p);
}

/* --- The end. */

void pipeline_block(struct pipeline *p)
{
	if (p->exports)
		exports_set_blocking(p->exports);
}

/* A collector that takes little is not to blame when there was no time. */
static int report_unsent(const struct pipeline *p)
{
	const struct collector_stats *stats;
	const char *why = stop_why(p->options.stop);
	unsigned long long records = 0;

	for (unsigned int i = 0; (stats = exports_stats(p->exports, i)); i++)
		records += stats->lost[EXPORT_LOSS_UNSENT].records;
	if (!why || !records)
		return 0;
	log_always(LOG_WARNING, "the end was cut short by %s: %llu records were not sent (unsent)",
		   why, records);
	return -ETIME;
}

int pipeline_flush(struct pipeline *p, uint64_t timeout_ns)
{
	for (int kind = 0; kind < _RECORD_KIND_MAX; kind++)
		if (p->caches[kind]) {
			cache_expire(p->caches[kind], p->settled_ns[kind]);
			cache_flush(p->caches[kind], FLOW_END_FORCED);
		}
	if (!p->exports)
		return 0;
	exports_flush(p->exports);
	exports_send_queued(p->exports, timeout_ns, true);
	return report_unsent(p);
}

/* --- What is where. */

struct exports *pipeline_exports(const struct pipeline *p)
{
	return p->exports;
}

void pipeline_read(const struct pipeline *p, struct ledger *ret)
{
	for (int kind = 0; kind < _RECORD_KIND_MAX; kind++)
		if (p->caches[kind])
			ret->sides[kind].cache = *cache_stats(p->caches[kind]);
	if (p->exports)
		ledger_read_exports(ret, p->exports);
}

uint64_t pipeline_settled_ns(const struct pipeline *p, enum record_kind kind)
{
	return p->settled_ns[kind];
}

/* --- Making one. */

static struct export_options export_options(const struct pipeline *p, const struct config *config)
{
	struct export_options options = config->export;

	options.drops = p->options.kinds >> RECORD_DROP & 1;
	options.drops_in_files = config->drops != DROPS_ON;
	return options;
}

static int apply_exports(struct pipeline *p, const struct config *config)
{
	_cleanup_(freep) struct export_collector *collectors =
		calloc(MAX(config->collector_count, 1u), sizeof(*collectors));
	const struct export_options options = export_options(p, config);

	if (!collectors)
		return log_errno(LOG_ERR, -ENOMEM, "cannot make the collectors");
	for (size_t i = 0; i < config->collector_count; i++)
		collectors[i] = (struct export_collector){
			.url = config->collectors[i].url,
			.name = config->collectors[i].name,
			.options = &config->collectors[i].options,
		};
	return exports_apply(p->exports, &options, collectors,
			     (unsigned int)config->collector_count, NULL);
}

static int make_exports(struct pipeline *p)
{
	const struct export_options options = export_options(p, p->options.config);
	int error = exports_new(&p->exports, &options, p->options.loop);

	if (error < 0)
		return log_errno(LOG_ERR, error, "cannot make the collectors");
	exports_set_deadline(p->exports, stop_deadline_ns, p->options.stop);
	if (!p->options.clock) {
		exports_set_clock(p->exports, 0);
		exports_set_time(p->exports, 0);
	}
	return apply_exports(p, p->options.config);
}

static uint32_t cache_size(const struct config *config, enum record_kind kind)
{
	return setting_count(kind_get(kind)->cache_setting, config);
}

static uint64_t linger_ns(const struct config *config, enum record_kind kind)
{
	return kind_get(kind)->lingers ? config->linger_ns : config->idle_ns;
}

static int log_size(int error, uint32_t entries, enum record_kind kind)
{
	return log_errno(LOG_ERR, error, "cannot make a cache of %u flows, choose a smaller --%s",
			 entries, kind_get(kind)->cache_setting);
}

static int make_cache(struct pipeline *p, enum record_kind kind)
{
	const struct config *config = p->options.config;
	const struct cache_options options = {
		.entries = cache_size(config, kind),
		.idle_ns = config->idle_ns,
		.active_ns = config->active_ns,
		.linger_ns = linger_ns(config, kind),
		.seed = p->options.seed,
		.sink = on_record,
		.userdata = p,
	};
	int error = cache_new(&p->caches[kind], &options);

	return error < 0 ? log_size(error, options.entries, kind) : 0;
}

int pipeline_new(struct pipeline **ret, const struct pipeline_options *options)
{
	_cleanup_(pipeline_freep) struct pipeline *p = calloc(1, sizeof(*p));
	int error = 0;

	if (!p)
		return log_errno(LOG_ERR, -ENOMEM, "cannot make the flow caches");
	p->options = *options;
	if (options->exports)
		error = make_exports(p);
	for (int kind = 0; kind < _RECORD_KIND_MAX && error == 0; kind++)
		if (options->exports && options->kinds >> kind & 1)
			error = make_cache(p, (enum record_kind)kind);
	if (error == 0 && options->loop)
		error = loop_add_timer(options->loop, expire_slice, p, &p->expiry);
	if (error < 0)
		return error;
	*ret = TAKE_PTR(p);
	return 0;
}

/* --- Changing it. */

static int resize_caches(struct pipeline *p, const struct config *from, const struct config *to)
{
	uint32_t size;
	int error;

	for (int i = 0; i < _RECORD_KIND_MAX; i++) {
		enum record_kind kind = (enum record_kind)i;

		size = cache_size(to, kind);
		if (!p->caches[kind] || size == cache_size(from, kind))
			continue;
		error = cache_resize(p->caches[kind], size);
		if (error < 0)
			return log_size(error, size, kind);
	}
	return 0;
}

int pipeline_apply(struct pipeline *p, const struct config *next)
{
	const struct config *old = p->options.config;
	int error = resize_caches(p, old, next);

	if (error == 0)
		error = apply_exports(p, next);
	if (error < 0) {
		/* none of them has become smaller yet, so that this needs no memory that is not there */
		(void)resize_caches(p, next, old);
		return error;
	}
	for (int i = 0; i < _RECORD_KIND_MAX; i++)
		if (p->caches[i])
			(void)cache_set_timeouts(p->caches[i], next->idle_ns, next->active_ns,
						 linger_ns(next, (enum record_kind)i));
	return 0;
}
