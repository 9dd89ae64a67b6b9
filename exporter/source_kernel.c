/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Packets that the kernel's programs count: hooks on interfaces, and the tracer of drops.  Hooks are attached last, when
 * all else is known to work, and detached first.
 */
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include "config/schema.h"
#include "exporter/exporter.h"
#include "exporter/log.h"
#include "exporter/loop.h"
#include "exporter/meter/datapath.h"
#include "exporter/meter/drop_filter.h"
#include "exporter/meter/drop_reason.h"
#include "exporter/meter/drop_tracer.h"
#include "exporter/meter/hooks.h"
#include "exporter/meter/ifstats.h"
#include "exporter/meter/kind.h"
#include "exporter/meter/meter.h"
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
	struct meter *meters[_RECORD_KIND_MAX]; /* NULL: of what is not metered */
	struct drop_tracer *drops;		/* NULL: not traced */
	struct sight *sight;			/* NULL: no hooks are wanted */
	int hooks_error;			/* of the first attempt on all interfaces */
	unsigned int preparing;			/* datapaths that are being loaded */
	int prepare_error;			/* of one of them */
	unsigned int unsettled; /* what apply() or cancel() began that has not ended */
	bool detached;
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
	drop_tracer_freep(&s->drops);
	for (int kind = 0; kind < _RECORD_KIND_MAX; kind++)
		meter_freep(&s->meters[kind]);
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
	const uint64_t swap_ns = pipeline_settled_ns(s->pipeline, RECORD_FLOW);
	const struct sight_sources sources = {
		.meter = s->meters[RECORD_FLOW],
		.hooks = s->source.hooks,
		.ifstats = hooks_ifstats(s->source.hooks),
		.drained_ns = swap_ns ? kernel_clock_here_ns(&s->clock, swap_ns) : 0,
	};

	if (s->sight && sources.ifstats) /* else nothing is attached yet */
		sight_look(s->sight, &sources);
}

static void account(struct kernel_source *s, const struct drain_batch *batch)
{
	if (!s->sight || batch->kind != RECORD_FLOW)
		return;
	if (hooks_ifstats(s->source.hooks))
		sight_make_room(s->sight, hooks_ifstats(s->source.hooks));
	sight_account(s->sight, batch->keys, batch->records, batch->count);
}

static void on_batch(void *userdata, const struct drain_batch *batch)
{
	struct kernel_source *s = userdata;

	if (!s->pipeline) /* the start has failed, and what was drained meanwhile has no place to go */
		return;
	pipeline_look_at_clock(s->pipeline); /* a full cache exports while it merges */
	account(s, batch);
	pipeline_add(s->pipeline, batch->kind, batch->keys, batch->records, batch->count);
	for (uint32_t i = 0; i < batch->count; i++)
		s->options.delta(s->options.userdata, batch->kind, &batch->keys[i],
				 &batch->records[i]);
	if (!batch->end)
		return;
	look(s);
	pipeline_settle(s->pipeline, batch->kind, batch->swap_ns);
}

/* --- The ledger. */

static void read_ledger(const struct source *source, struct ledger *ret,
			struct ledger_reasons *ret_reasons, bool final)
{
	const struct kernel_source *s = to_kernel(source);

	ledger_read_interfaces(ret, hooks_ifstats(s->source.hooks), s->sight);
	ledger_read(ret, s->meters, final);
	if (!ret->drops_traced)
		return;
	ledger_read_reasons(ret_reasons, s->meters[RECORD_DROP]);
	ret->drop_reasons = ret_reasons;
	ret->drop_names = s->source.drop_names;
}

/* Interfaces are left out, which are the main thread's, or that of the hooks. */
static int read_ledger_now(const struct source *source, struct ledger *ret,
			   struct ledger_reasons *ret_reasons)
{
	const struct kernel_source *s = to_kernel(source);
	int error = ledger_read_now(ret, ret_reasons, s->meters);

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

	s->detached = true;
	loop_stop(s->options.loop);
}

/* Flows do without it. */
static int attach_drops(struct kernel_source *s)
{
	bool wanted = !s->options.flows || s->options.config->drops == DROPS_ON;
	int error;

	if (!(s->source.kinds & 1u << RECORD_DROP))
		return 0;
	error = drop_tracer_new(&s->drops, meter_datapath(s->meters[RECORD_DROP]));
	if (error < 0 && wanted)
		return log_errno(LOG_ERR, error, "cannot trace drops");
	if (error < 0)
		log_errno(LOG_WARNING, error, "drops are not recorded");
	s->source.drops = error == 0;
	return 0;
}

/* One of the things that apply() or cancel() began has come to its end. */
static void on_settled(void *userdata)
{
	struct kernel_source *s = userdata;

	if (s->unsettled && --s->unsettled == 0)
		s->options.settled(s->options.userdata);
}

static void on_moved(void *userdata, _unused_ struct datapath *datapath)
{
	struct kernel_source *s = userdata;

	meter_retire_old(s->meters[RECORD_FLOW]); /* on_settled() follows */
}

static int attach_hooks(struct kernel_source *s)
{
	const struct config *config = s->options.config;
	const struct hooks_options hooks = {
		.datapath = meter_datapath(s->meters[RECORD_FLOW]),
		.loop = s->options.loop,
		.interfaces = (const char **)config->interfaces,
		.interface_count = config->interface_count,
		.ingress = config->ingress,
		.egress = config->egress,
		.tried = on_tried,
		.detached = on_detached,
		.applied = on_settled,
		.moved = on_moved,
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
	int error;

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
	while (!s->detached && loop_run(s->options.loop) == 0)
		; /* until on_detached(), whoever else stops the loop */
	stats = hooks_ifstats(s->source.hooks);
	for (size_t i = 0; stats && s->meters[RECORD_DROP] && i < stats->count; i++)
		if (stats->interfaces[i].ifindex)
			stats->interfaces[i].counters[IFSTAT_xdp_exceptions] =
				drop_tracer_xdp_exceptions(meter_datapath(s->meters[RECORD_DROP]),
							   stats->interfaces[i].ifindex);
}

static void finish(struct source *source)
{
	struct kernel_source *s = to_kernel(source);

	detach_hooks(s);
	drop_tracer_freep(&s->drops);
	pipeline_block(s->pipeline); /* a queue that is full now has time to empty */
	for (int kind = 0; kind < _RECORD_KIND_MAX; kind++)
		if (s->meters[kind])
			meter_finish(s->meters[kind]);
	if (s->sight)
		sight_settle(s->sight, s->meters[RECORD_FLOW]);
}

static void make_filter(const struct kernel_source *s, const struct config *config,
			struct drop_filter *ret)
{
	ret->budget = config->drops_budget;
	ret->everywhere = config->drops_everywhere;
	drop_filter_make(s->source.drop_names, config->drops_include, config->drops_exclude,
			 ret->excluded);
}

/* --- Another configuration. */

static uint32_t bank_size(const struct config *config, enum record_kind kind)
{
	return setting_count(kind_get(kind)->bank_setting, config);
}

static void on_prepared(void *userdata, int error)
{
	struct kernel_source *s = userdata;

	if (error < 0)
		s->prepare_error = error;
	if (--s->preparing == 0)
		s->options.prepared(s->options.userdata, s->prepare_error);
}

static bool same_interfaces(const struct config *a, const struct config *b)
{
	if (a->ingress != b->ingress || a->egress != b->egress ||
	    a->interface_count != b->interface_count)
		return false;
	for (size_t i = 0; i < a->interface_count; i++)
		if (strcmp(a->interfaces[i], b->interfaces[i]) != 0)
			return false;
	return true;
}

/* All that can fail of other interfaces: apply() then only says that it is to be done. */
static int prepare_hooks(struct kernel_source *s, const struct config *next)
{
	const struct hooks_change change = {
		.interfaces = (const char *const *)next->interfaces,
		.interface_count = next->interface_count,
		.ingress = next->ingress,
		.egress = next->egress,
	};
	int error;

	if (!s->source.hooks || same_interfaces(s->options.config, next))
		return 0;
	error = hooks_prepare(s->source.hooks, &change);
	return error < 0 ? log_errno(LOG_ERR, error, "cannot change the interfaces") : 0;
}

static int prepare(struct source *source, const struct config *next)
{
	struct kernel_source *s = to_kernel(source);
	int error;

	s->prepare_error = prepare_hooks(s, next);
	for (int i = 0; i < _RECORD_KIND_MAX && s->prepare_error == 0; i++) {
		enum record_kind kind = (enum record_kind)i;
		uint32_t size = bank_size(next, kind);

		if (!s->meters[kind] || size == bank_size(s->options.config, kind))
			continue;
		error = meter_prepare(s->meters[kind], size);
		if (error == -EBUSY) /* see meter_retire_old() */
			s->prepare_error = log_errno(
				LOG_ERR, error,
				"the banks before these are still in use, try again later");
		else if (error < 0)
			s->prepare_error = log_errno(LOG_ERR, error, "cannot load other programs");
		else
			s->preparing++;
	}
	return s->preparing ? 1 : s->prepare_error;
}

static int cancel(struct source *source)
{
	struct kernel_source *s = to_kernel(source);

	for (int kind = 0; kind < _RECORD_KIND_MAX; kind++)
		if (s->meters[kind] && meter_is_replaced(s->meters[kind])) {
			s->unsettled++;
			meter_keep_old(s->meters[kind]);
		}
	return s->unsettled ? 1 : 0;
}

static void change_hooks(struct kernel_source *s, const struct config *next)
{
	if (!s->source.hooks || same_interfaces(s->options.config, next))
		return;
	s->unsettled++;
	hooks_apply(s->source.hooks); /* until on_settled() */
}

static void move(struct kernel_source *s, enum record_kind kind)
{
	struct meter *m = s->meters[kind];

	if (!m || !meter_is_replaced(m))
		return;
	s->unsettled++;
	if (kind == RECORD_FLOW && s->source.hooks)
		hooks_set_datapath(s->source.hooks, meter_datapath(m)); /* until on_moved() */
	else
		meter_retire_old(m);
}

static int apply(struct source *source, const struct config *next)
{
	struct kernel_source *s = to_kernel(source);
	struct drop_filter filter;

	if (s->meters[RECORD_DROP]) {
		make_filter(s, next, &filter);
		meter_set_drop_filter(s->meters[RECORD_DROP], &filter);
	}
	change_hooks(s, next);
	for (int kind = 0; kind < _RECORD_KIND_MAX; kind++) {
		move(s, (enum record_kind)kind);
		/* else reloads that come faster than the interval would put off the swaps for ever */
		if (s->meters[kind] && next->drain_ns != s->options.config->drain_ns)
			meter_set_interval(s->meters[kind], next->drain_ns);
	}
	return s->unsettled ? 1 : 0;
}

static const struct source_ops kernel_ops = {
	.start = start,
	.run = run,
	.prepare = prepare,
	.apply = apply,
	.cancel = cancel,
	.finish = finish,
	.read = read_ledger,
	.read_now = read_ledger_now,
	.free = free_source,
};

static int make_meter(struct kernel_source *s, const struct datapath_options *datapath)
{
	const struct config *config = s->options.config;
	const struct meter_options options = {
		.datapath = *datapath,
		.loop = s->options.loop,
		.clock = &s->clock,
		.interval_ns = s->options.flows ? config->drain_ns : config->interval_ns,
		.callback = on_batch,
		.prepared = on_prepared,
		.retired = on_settled,
		.userdata = s,
	};
	int error = meter_new(&s->meters[datapath->kind], &options);

	if (error == 0)
		s->source.kinds |= 1u << datapath->kind;
	return error;
}

static int make_flow_meter(struct kernel_source *s)
{
	const struct datapath_options options = {
		.kind = RECORD_FLOW,
		.entries = s->options.config->bank_entries,
		.mask = s->options.config->mask,
	};

	return make_meter(s, &options);
}

/* Flows do without it. */
static int make_drop_meter(struct kernel_source *s)
{
	const struct config *config = s->options.config;
	const struct meter *flows = s->meters[RECORD_FLOW];
	struct drop_filter filter;
	const struct datapath_options options = {
		.kind = RECORD_DROP,
		.entries = config->drop_entries,
		.drops = &filter,
		.optional = flows && config->drops != DROPS_ON,
		.features = flows ? datapath_features(meter_datapath(flows)) : NULL,
	};
	int error;

	make_filter(s, config, &filter);
	error = make_meter(s, &options);
	return options.optional ? 0 : error;
}

static int make_meters(struct kernel_source *s)
{
	bool drops = !s->options.flows || s->options.config->drops != DROPS_OFF;
	int error = drop_reasons_new(&s->source.drop_names, NULL);

	if (error < 0)
		return log_errno(LOG_ERR, error, "cannot read the kernel's reasons for drops");
	if (s->options.flows)
		error = make_flow_meter(s);
	return error == 0 && drops ? make_drop_meter(s) : error;
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
	s->source.meters = s->meters;
	watch_clock(s);
	error = make_meters(s);
	if (error < 0)
		return error;
	error = options->flows ? sight_new(&s->sight) : 0;
	if (error < 0)
		return log_errno(LOG_ERR, error, "cannot make the counters of interfaces");
	*ret = TAKE_PTR(made);
	return 0;
}
