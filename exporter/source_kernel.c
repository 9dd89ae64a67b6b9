/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Packets that the kernel's programs count: hooks on interfaces, and the tracer of drops.  Hooks are attached last, when
 * all else is known to work, and detached first.
 */
#include <errno.h>
#include <sys/epoll.h>
#include "exporter/exporter.h"
#include "exporter/log.h"
#include "exporter/loop.h"
#include "exporter/meter/datapath.h"
#include "exporter/meter/drain.h"
#include "exporter/meter/drop_filter.h"
#include "exporter/meter/drop_reason.h"
#include "exporter/meter/drops.h"
#include "exporter/meter/hooks.h"
#include "exporter/meter/ifstats.h"
#include "exporter/meter/sight.h"
#include "exporter/pipeline.h"
#include "exporter/source.h"
#include "exporter/stop.h"

struct kernel_source {
	struct source source;
	struct source_options options;
	struct pipeline *pipeline;
	struct kernel_clock clock;
	int clock_fd; /* tells of sleeps; -1: none */
	struct loop_source *clock_source;
	struct datapath *datapath;
	struct drain *drain;
	struct drops *drops; /* NULL: not traced */
	struct sight *sight; /* NULL: no hooks are wanted */
	int hooks_error;     /* of the first attempt on all interfaces */
};

static struct kernel_source *to_kernel(const struct source *s)
{
	return (struct kernel_source *)s;
}

static struct source *free_source(struct source *source)
{
	struct kernel_source *s = to_kernel(source);

	hooks_freep(&s->source.hooks);
	sight_freep(&s->sight);
	drops_freep(&s->drops);
	drain_freep(&s->drain);
	datapath_freep(&s->datapath);
	drop_reasons_freep(&s->source.drop_names);
	loop_source_freep(&s->clock_source);
	closep(&s->clock_fd);
	free(s);
	return NULL;
}

/* --- The clock. */

/* The machine has slept, or the wall clock been set. */
static int on_clock(void *userdata, _unused_ uint32_t events)
{
	struct kernel_source *s = userdata;

	kernel_clock_look(&s->clock);
	if (kernel_clock_rearm(s->clock_fd) < 0)
		s->clock_source = loop_source_free(s->clock_source);
	return 0;
}

/* Without its descriptor sleeps are noticed at the next drain. */
static void watch_clock(struct kernel_source *s)
{
	kernel_clock_init(&s->clock);
	if (s->clock.ahead_ns)
		log_info("in a time namespace: its monotonic clock is %.3f s ahead of the kernel's",
			 (double)s->clock.ahead_ns / NSEC_PER_SEC);
	s->clock_fd = kernel_clock_fd();
	if (s->clock_fd >= 0)
		(void)loop_add_fd(s->options.loop, s->clock_fd, EPOLLIN, on_clock, s,
				  &s->clock_source);
}

/* --- Banks. */

/* What the hooks saw up to the last swap, against the kernel's newest counters. */
static void look(struct kernel_source *s)
{
	const uint64_t swap_ns = pipeline_settled_ns(s->pipeline, BANK_FLOWS);
	const struct sight_sources sources = {
		.drain = s->drain,
		.hooks = s->source.hooks,
		.ifstats = hooks_ifstats(s->source.hooks),
		.drained_ns = swap_ns ? kernel_clock_here_ns(&s->clock, swap_ns) : 0,
	};

	if (s->sight && sources.ifstats) /* else nothing is attached yet */
		sight_look(s->sight, &sources);
}

static void account(struct kernel_source *s, const struct drain_batch *batch)
{
	if (!s->sight || batch->use != BANK_FLOWS)
		return;
	if (hooks_ifstats(s->source.hooks))
		sight_make_room(s->sight, hooks_ifstats(s->source.hooks));
	sight_account(s->sight, batch->keys, batch->records, batch->count);
}

static void on_batch(void *userdata, const struct drain_batch *batch)
{
	struct kernel_source *s = userdata;
	const struct exporter_events *events = s->options.events;

	pipeline_look_at_clock(s->pipeline); /* a full cache exports while it merges */
	account(s, batch);
	for (uint32_t i = 0; i < batch->count; i++) {
		pipeline_add(s->pipeline, batch->use, &batch->keys[i], &batch->records[i]);
		if (events->delta)
			events->delta(events->userdata, batch->use, &batch->keys[i],
				      &batch->records[i]);
	}
	if (!batch->end)
		return;
	look(s);
	pipeline_settle(s->pipeline, batch->use, batch->swap_ns);
}

/* --- The ledger. */

static void read_ledger(const struct source *source, struct ledger *ret,
			struct ledger_reasons *ret_reasons, bool final)
{
	const struct kernel_source *s = to_kernel(source);

	ret->ifstats = s->source.hooks ? hooks_ifstats(s->source.hooks) : NULL;
	ret->sight = s->sight;
	ledger_read_drain(ret, s->datapath, s->drain, final);
	if (!ret->drops_traced)
		return;
	ledger_read_reasons(ret_reasons, s->drain);
	ret->drop_reasons = ret_reasons;
	ret->drop_names = s->source.drop_names;
}

/* Interfaces are left out, which are the main thread's, or that of the hooks. */
static int read_ledger_now(const struct source *source, struct ledger *ret,
			   struct ledger_reasons *ret_reasons)
{
	const struct kernel_source *s = to_kernel(source);
	int error = s->drain ? ledger_read_now(ret, ret_reasons, s->datapath, s->drain) : -ENODATA;

	if (error < 0)
		return log_errno(LOG_ERR, error, "cannot read the ledger");
	if (ret->drops_traced) {
		ret->drop_reasons = ret_reasons;
		ret->drop_names = s->source.drop_names;
	}
	return 0;
}

/* --- Beginning and end. */

/* Every interface has been tried. */
static void on_tried(void *userdata, int result)
{
	struct kernel_source *s = userdata;

	s->hooks_error = result;
	loop_stop(s->options.loop);
}

static void on_detached(void *userdata)
{
	struct kernel_source *s = userdata;

	loop_stop(s->options.loop);
}

/* Flows do without it. */
static int attach_drops(struct kernel_source *s)
{
	bool wanted = !s->options.flows || s->options.config->drops == DROPS_ON;
	int error;

	if (!(s->source.kinds & 1u << BANK_DROPS))
		return 0;
	error = drops_new(&s->drops, s->datapath);
	if (error < 0 && wanted)
		return log_errno(LOG_ERR, error, "cannot trace drops");
	if (error < 0)
		log_errno(LOG_WARNING, error, "drops are not recorded");
	s->source.drops = error == 0;
	return 0;
}

static int attach_hooks(struct kernel_source *s)
{
	const struct config *config = s->options.config;
	const struct hooks_options hooks = {
		.datapath = s->datapath,
		.loop = s->options.loop,
		.interfaces = (const char **)config->interfaces,
		.interface_count = config->interface_count,
		.ingress = config->ingress,
		.egress = config->egress,
		.tried = on_tried,
		.detached = on_detached,
		.userdata = s,
	};

	int error = hooks_new(&s->source.hooks, &hooks);

	if (error == 0)
		error = loop_run(s->options.loop); /* until on_tried(), or a signal */
	return error ?: s->hooks_error;
}

static int start(struct source *source, struct pipeline *pipeline)
{
	struct kernel_source *s = to_kernel(source);
	const struct drain_options drain = {
		.datapath = s->datapath,
		.loop = s->options.loop,
		.clock = &s->clock,
		.interval_ns = s->options.flows ? s->options.config->drain_ns
						: s->options.config->interval_ns,
		.callback = on_batch,
		.userdata = s,
	};
	int error = drain_new(&s->drain, &drain);

	if (error < 0)
		return log_errno(LOG_ERR, error, "cannot start the drain thread");
	s->pipeline = pipeline;
	if (stop_begun(s->options.stop)) /* before it was ready */
		return 0;
	error = attach_drops(s);
	return error < 0 || !s->options.flows ? error : attach_hooks(s);
}

static int run(struct source *source)
{
	struct kernel_source *s = to_kernel(source);
	int error = loop_run(s->options.loop);

	if (error < 0)
		log_errno(LOG_ERR, error, "the event loop failed, stopping");
	return error;
}

/* What still sees packets meanwhile is drained as ever. */
static void detach_hooks(struct kernel_source *s)
{
	struct ifstats *stats;

	if (!s->source.hooks) /* the end began before they were made */
		return;
	look(s);
	hooks_stop(s->source.hooks);
	loop_run(s->options.loop); /* until on_detached() */
	stats = hooks_ifstats(s->source.hooks);
	for (size_t i = 0; stats && i < stats->count; i++)
		if (stats->interfaces[i].ifindex)
			stats->interfaces[i].counters[IFSTAT_xdp_exceptions] =
				drops_xdp_exceptions(s->datapath, stats->interfaces[i].ifindex);
}

static void finish(struct source *source)
{
	struct kernel_source *s = to_kernel(source);

	detach_hooks(s);
	drops_freep(&s->drops);
	pipeline_block(s->pipeline); /* a queue that is full now has time to empty */
	drain_finish(s->drain);
	if (s->sight)
		sight_settle(s->sight, s->drain);
}

static const struct source_ops kernel_ops = {
	.start = start,
	.run = run,
	.finish = finish,
	.read = read_ledger,
	.read_now = read_ledger_now,
	.free = free_source,
};

static int open_datapath(struct kernel_source *s)
{
	const struct config *config = s->options.config;
	uint8_t excluded[DROP_REASON_MAX];
	const struct datapath_options options = {
		.bank_entries = s->options.flows ? config->bank_entries : 0,
		.drop_entries = config->drop_entries,
		.drops = s->options.flows ? config->drops : DROPS_ON,
		.drops_budget = config->drops_budget,
		.drops_everywhere = config->drops_everywhere,
		.drop_excluded = excluded,
		.mask = config->mask,
	};
	int error = drop_reasons_new(&s->source.drop_names, NULL);

	if (error < 0)
		return log_errno(LOG_ERR, error, "cannot read the kernel's reasons for drops");
	drop_filter_make(s->source.drop_names, config->drops_include, config->drops_exclude, excluded);
	error = datapath_new(&s->datapath, &options);
	if (error == 0)
		s->source.kinds = datapath_uses(s->datapath);
	return error;
}

int kernel_source_new(struct source **ret, const struct source_options *options)
{
	struct kernel_source *s = calloc(1, sizeof(*s));
	_cleanup_(source_freep) struct source *made = s ? &s->source : NULL;
	int error;

	if (!s)
		return log_errno(LOG_ERR, -ENOMEM, "cannot make the hooks");
	*s = (struct kernel_source){
		.source = {.ops = &kernel_ops, .clock = &s->clock},
		.options = *options,
		.clock_fd = -1,
	};
	error = open_datapath(s);
	if (error < 0)
		return error;
	watch_clock(s);
	error = options->flows ? sight_new(&s->sight) : 0;
	if (error < 0)
		return log_errno(LOG_ERR, error, "cannot make the counters of interfaces");
	*ret = TAKE_PTR(made);
	return 0;
}
