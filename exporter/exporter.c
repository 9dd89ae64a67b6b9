/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signal.h>
#include "config/schema.h"
#include "exporter/exporter.h"
#include "exporter/log.h"
#include "exporter/loop.h"
#include "exporter/meter/hooks.h"
#include "exporter/meter/kind.h"
#include "exporter/notify.h"
#include "exporter/observe/snapshot.h"
#include "exporter/observe/traffic.h"
#include "exporter/pipeline.h"
#include "exporter/reload.h"
#include "exporter/source.h"
#include "exporter/stop.h"

/* How long the end waits for a collector that takes nothing: a node shuts down, a capture is in no hurry. */
#define FINAL_DRAIN_NS	 (2 * NSEC_PER_SEC)
#define CAPTURE_DRAIN_NS (5 * NSEC_PER_SEC)

#define CAPTURE_SEED 1 /* any will do: two runs give the same records */

struct exporter {
	enum exporter_source kind;
	struct config config;
	struct exporter_events events;
	struct stop *stop;
	struct loop *loop; /* NULL: of a capture */
	struct loop_source *stop_source;
	struct notifier notifier;
	struct source *source;
	struct pipeline *pipeline;
	bool applying;
	int refused;		      /* -errno of what is being applied; 0: it is in force */
	struct config next;	      /* that is being applied */
	struct snapshot *snapshot;    /* of the last settled swap; held */
	struct snapshot *spare;	      /* for the last one of all, which memory may not fail */
	struct snapshots *snapshots;  /* for other threads; NULL: nobody is shown any */
	struct traffic *traffic;      /* likewise */
	const struct reload *reload;  /* whose counters are shown; NULL: none */
	uint64_t started_ns;	      /* CLOCK_REALTIME */
	uint64_t started_boottime_ns; /* CLOCK_BOOTTIME */
	bool begun;		      /* every interface has been tried */
	bool unbalanced;	      /* the last one that was settled did not balance */

	pthread_mutex_t ending; /* whoever has it may read the books */
	bool readable;		/* under it: they are there */
	bool spoken;		/* likewise: the last words have been said */
};

static void set_readable(struct exporter *e, bool readable)
{
	pthread_mutex_lock(&e->ending);
	e->readable = readable;
	e->spoken |= !readable; /* nothing is left to be said */
	pthread_mutex_unlock(&e->ending);
}

struct exporter *exporter_free(struct exporter *e)
{
	if (!e)
		return NULL;
	if (e->stop)
		stop_flush_log(e->stop);
	set_readable(e, false);
	source_freep(&e->source); /* hooks go before anything else */
	pipeline_freep(&e->pipeline);
	loop_source_freep(&e->stop_source);
	loop_freep(&e->loop);
	stop_freep(&e->stop);
	snapshots_freep(&e->snapshots);
	snapshot_release(e->spare);
	snapshot_release(e->snapshot);
	traffic_freep(&e->traffic);
	config_clear(&e->next);
	config_clear(&e->config);
	pthread_mutex_destroy(&e->ending);
	free(e);
	return NULL;
}

/* --- Snapshots. */

static void describe(const struct exporter *e, struct snapshot *snapshot)
{
	const struct config *c = &e->config;
	const struct reload_stats *stats = e->reload ? reload_stats(e->reload) : NULL;
	const struct snapshot_sources sources = {
		.hooks = e->source->hooks,
		.meters = e->source->meters,
		.traffic = e->traffic,
	};

	snapshot->started_ns = e->started_ns;
	snapshot->started_boottime_ns = e->started_boottime_ns;
	snapshot->starting = !e->begun;
	snapshot->interval_ns = c->drain_ns;
	snapshot->idle_ns = c->idle_ns;
	snapshot->active_ns = c->active_ns;
	snapshot->domain = c->export.domain;
	for (int kind = 0; kind < _RECORD_KIND_MAX; kind++)
		snapshot->kinds[kind].cache_entries =
			setting_count(kind_get((enum record_kind)kind)->cache_setting, c);
	if (stats)
		snapshot->reloads = (struct snapshot_reloads){stats->good, stats->failed,
							      stats->last_ns, stats->last_failed};
	snapshot_describe(snapshot, &sources);
}

/* Without memory the one before stays. */
static void take_snapshot(struct exporter *e, bool final)
{
	struct snapshot *s = final ? TAKE_PTR(e->spare) : snapshot_new();

	if (!s)
		return;
	snapshot_stamp(s); /* the last one was made at the start */
	pipeline_read(e->pipeline, &s->ledger);
	e->source->ops->read(e->source, &s->ledger, &s->reasons, final);
	snapshot_release(e->snapshot);
	e->snapshot = s;
	if (!e->snapshots)
		return;
	describe(e, s);
	snapshots_publish(e->snapshots, s);
}

const struct ledger *exporter_snapshot(const struct exporter *e)
{
	return &e->snapshot->ledger;
}

int exporter_snapshot_now(struct exporter *e, struct ledger *ret,
			  struct ledger_reasons *ret_reasons)
{
	if (!e->readable)
		return -ENODATA;
	*ret = (struct ledger){0};
	pipeline_read(e->pipeline, ret);
	if (ret->collectors)
		export_copy_abandon(ret->collectors);
	return e->source->ops->read_now(e->source, ret, ret_reasons);
}

bool exporter_may_speak(struct exporter *e)
{
	pthread_mutex_lock(&e->ending);
	if (!e->spoken)
		return true;
	pthread_mutex_unlock(&e->ending);
	return false;
}

void exporter_spoken(struct exporter *e)
{
	e->spoken = true;
	pthread_mutex_unlock(&e->ending);
}

static void on_delta(void *userdata, enum record_kind kind, const struct flow_key *key,
		     const struct flow_record *record)
{
	struct exporter *e = userdata;

	if (e->traffic)
		traffic_add(e->traffic, kind, key, record);
	if (e->events.delta)
		e->events.delta(e->events.userdata, kind, key, record);
}

static void on_record(void *userdata, const struct flow *flow)
{
	struct exporter *e = userdata;

	if (e->traffic)
		traffic_end(e->traffic, flow);
}

/* After each swap every packet up to it must be in one place: trouble shows long before the end. */
static void on_swap(void *userdata)
{
	struct exporter *e = userdata;

	log_flush(0);
	notifier_tell_again(&e->notifier);
	take_snapshot(e, false);
	ledger_watch(&e->snapshot->ledger, &e->unbalanced);
}

/* --- After each pass. */

static void describe_interface(const struct hooks_interface *from, struct export_interface *ret)
{
	*ret = (struct export_interface){.ifindex = from->ifindex};
	snprintf(ret->name, sizeof(ret->name), "%s", from->device);
	/* With the name in it, since nfdump shows the description in its place. */
	snprintf(ret->description, sizeof(ret->description), "%s: ingress %s, egress %s",
		 from->device, hook_kind_name(from->ingress), hook_kind_name(from->egress));
}

/* What collectors are told beside flows: interfaces, and packets that are in no record. */
static int tell_collectors(struct exporter *e)
{
	_cleanup_(freep) struct export_interface *interfaces = NULL;
	struct exports *exports = pipeline_exports(e->pipeline);
	const struct hooks *hooks = e->source->hooks;
	const struct hooks_interface *interface;
	unsigned int count = 0, all = 0;
	const struct ledger_amount unmetered = ledger_unmetered(exporter_snapshot(e));

	exports_set_metering(exports, unmetered.packets, unmetered.octets);
	while (hooks && hooks_get(hooks, all))
		all++;
	interfaces = calloc(MAX(all, 1u), sizeof(*interfaces));
	if (!interfaces)
		return -ENOMEM;
	for (unsigned int i = 0; i < all; i++) {
		interface = hooks_get(hooks, i);
		if (hooks_interface_meters(interface))
			describe_interface(interface, &interfaces[count++]);
	}
	return exports_set_interfaces(exports, interfaces, count);
}

static void on_passed(void *userdata, unsigned int kinds)
{
	struct exporter *e = userdata;
	uint64_t now_ns = 0;

	if (pipeline_exports(e->pipeline))
		(void)tell_collectors(e); /* failing that, they keep what they know */
	for (int kind = 0; kind < _RECORD_KIND_MAX; kind++)
		if (kinds >> kind & 1)
			now_ns = MAX(now_ns, pipeline_settled_ns(e->pipeline, kind));
	if (e->events.settled)
		e->events.settled(e->events.userdata, kinds, now_ns);
}

/* --- Another configuration. */

static void end_applying(struct exporter *e)
{
	e->applying = false;
	config_clear(&e->next);
}

static void on_settled(void *userdata)
{
	struct exporter *e = userdata;

	end_applying(e);
	e->events.applied(e->events.userdata, e->refused);
}

/* The new one is in force from here on, though some of it takes its time (1). */
static int commit(struct exporter *e)
{
	int unsettled = e->source->ops->apply(e->source, &e->next);
	const struct config old = e->config;

	stop_set_timeout(e->stop, e->next.stop_timeout_ns);
	pthread_mutex_lock(&e->ending); /* the last words look at it */
	e->config = e->next;
	pthread_mutex_unlock(&e->ending);
	e->next = old; /* freed at the end */
	return unsettled;
}

/* `error`: of what has been prepared. */
static int go_on(struct exporter *e, int error)
{
	int unsettled;

	if (error == 0 && exporter_ending(e))
		error = -ECANCELED;
	if (error == 0)
		error = pipeline_apply(e->pipeline, &e->next);
	e->refused = MIN(error, 0);
	unsettled = error < 0 ? e->source->ops->cancel(e->source) : commit(e);
	if (unsettled)
		return 1; /* what was prepared in vain has to go before the next can be prepared */
	end_applying(e);
	return e->refused;
}

static void on_prepared(void *userdata, int error)
{
	struct exporter *e = userdata;

	error = go_on(e, error);
	if (error <= 0)
		e->events.applied(e->events.userdata, error);
}

int exporter_apply(struct exporter *e, struct config *config)
{
	int preparing;

	if (e->applying)
		return -EBUSY;
	e->applying = true;
	e->next = *config;
	*config = (struct config){0};
	preparing = e->source->ops->prepare(e->source, &e->next);
	return preparing > 0 ? 1 : go_on(e, preparing);
}

/* --- Making one. */

/* A signal. */
static int on_stop(void *userdata, _unused_ uint32_t events)
{
	exporter_end(userdata);
	return 0;
}

static int on_hangup(void *userdata, _unused_ uint32_t events)
{
	struct exporter *e = userdata;

	e->events.hangup(e->events.userdata);
	return 0;
}

static int on_report(void *userdata, _unused_ uint32_t events)
{
	struct exporter *e = userdata;

	e->events.report(e->events.userdata);
	return 0;
}

static void on_overdue(void *userdata)
{
	struct exporter *e = userdata;

	e->events.overdue(e->events.userdata);
}

static int make_loop(struct exporter *e)
{
	int error = loop_new(&e->loop);

	if (error == 0)
		error = loop_add_fd(e->loop, stop_fd(e->stop), EPOLLIN, on_stop, e,
				    &e->stop_source);
	if (error == 0 && e->events.hangup)
		error = loop_add_signal(e->loop, SIGHUP, on_hangup, e);
	if (error == 0 && e->events.report)
		error = loop_add_signal(e->loop, SIGUSR1, on_report, e);
	return error < 0 ? log_errno(LOG_ERR, error, "cannot make the event loop") : 0;
}

/* Before there is another thread. */
static int watch_signals(struct exporter *e)
{
	bool capture = e->kind == SOURCE_CAPTURE;
	const struct stop_options options = {
		.timeout_ns = e->config.stop_timeout_ns,
		.hangup = !e->events.hangup,
		.interrupt = capture,
		.overdue = e->events.overdue ? on_overdue : NULL,
		.userdata = e,
	};
	int error = stop_new(&e->stop, &options);

	if (error < 0)
		return log_errno(LOG_ERR, error, "cannot watch for signals");
	return capture ? 0 : make_loop(e);
}

static int make_source(struct exporter *e)
{
	const struct source_options options = {
		.config = &e->config,
		.loop = e->loop,
		.stop = e->stop,
		.flows = e->kind != SOURCE_DROPS,
		.delta = on_delta,
		.prepared = on_prepared,
		.settled = on_settled,
		.userdata = e,
		.events = &e->events,
	};

	return e->kind == SOURCE_CAPTURE ? capture_source_new(&e->source, &options)
					 : kernel_source_new(&e->source, &options);
}

/* Of the kernel's packets other threads are shown what becomes. */
static int make_snapshots(struct exporter *e)
{
	int error = 0;

	e->started_ns = clock_ns(CLOCK_REALTIME);
	e->started_boottime_ns = clock_ns(CLOCK_BOOTTIME);
	e->snapshot = snapshot_new();
	e->spare = snapshot_new();
	if (!e->snapshot || !e->spare)
		error = -ENOMEM;
	if (error == 0 && e->kind != SOURCE_CAPTURE)
		error = snapshots_new(&e->snapshots);
	if (error == 0 && e->kind == SOURCE_KERNEL)
		error = traffic_new(&e->traffic);
	return error < 0 ? log_errno(LOG_ERR, error, "cannot make the counters that are shown") : 0;
}

static int make_pipeline(struct exporter *e)
{
	const struct pipeline_options options = {
		.config = &e->config,
		.kinds = e->source->kinds,
		.exports = e->kind != SOURCE_DROPS,
		.loop = e->loop,
		.clock = e->source->clock,
		.seed = e->kind == SOURCE_CAPTURE ? CAPTURE_SEED : 0,
		.drop_names = e->source->drop_names,
		.stop = e->stop,
		.settled = on_swap,
		.record = on_record,
		.passed = on_passed,
		.userdata = e,
	};

	return pipeline_new(&e->pipeline, &options);
}

int exporter_new(struct exporter **ret, enum exporter_source source, struct config *config,
		 const struct exporter_events *events)
{
	struct exporter *e = calloc(1, sizeof(*e));
	int error;

	if (!e) {
		config_clear(config);
		return log_errno(LOG_ERR, -ENOMEM, "cannot begin");
	}
	e->kind = source;
	e->config = *config;
	*config = (struct config){0};
	e->events = *events;
	pthread_mutex_init(&e->ending, NULL);
	*ret = e; /* before there is the thread that calls overdue() */
	error = watch_signals(e);
	if (error == 0)
		error = make_source(e);
	if (error == 0)
		error = make_snapshots(e);
	if (error == 0)
		error = make_pipeline(e);
	if (error < 0)
		*ret = exporter_free(e);
	return error;
}

/* --- Running. */

int exporter_start(struct exporter *e)
{
	int error;

	set_readable(e, true);
	error = e->source->ops->start(e->source, e->pipeline);
	e->begun = true;
	return error;
}

int exporter_run(struct exporter *e)
{
	if (e->loop)
		log_never_wait();
	if (e->kind == SOURCE_KERNEL && !exporter_ending(e))
		notifier_tell(&e->notifier, "READY=1");
	return e->source->ops->run(e->source);
}

void exporter_end(struct exporter *e)
{
	stop_begin(e->stop);
	loop_stop(e->loop);
}

void exporter_rescan(struct exporter *e)
{
	if (e->source->hooks)
		hooks_rescan(e->source->hooks); /* logs what fails */
}

bool exporter_ending(const struct exporter *e)
{
	return stop_begun(e->stop);
}

int exporter_stop(struct exporter *e)
{
	bool hurry = e->kind != SOURCE_CAPTURE;
	int error;

	stop_begin(e->stop);				   /* it may be by itself */
	e->stop_source = loop_source_free(e->stop_source); /* stays readable, and has been heard */
	if (e->kind == SOURCE_KERNEL)
		notifier_tell(&e->notifier, "STOPPING=1");
	e->source->ops->finish(e->source);
	error = pipeline_flush(e->pipeline, hurry ? FINAL_DRAIN_NS : CAPTURE_DRAIN_NS);
	take_snapshot(e, true);
	return error;
}

/* --- Its parts. */

const struct config *exporter_config(const struct exporter *e)
{
	return &e->config;
}

struct loop *exporter_loop(const struct exporter *e)
{
	return e->loop;
}

uint64_t exporter_deadline_ns(const struct exporter *e)
{
	return stop_deadline_ns(e->stop);
}

const char *exporter_why(const struct exporter *e)
{
	return stop_why(e->stop);
}

struct notifier *exporter_notifier(struct exporter *e)
{
	return &e->notifier;
}

const struct hooks *exporter_hooks(const struct exporter *e)
{
	return e->source->hooks;
}

bool exporter_traces_drops(const struct exporter *e)
{
	return e->source->drops;
}

struct snapshots *exporter_snapshots(const struct exporter *e)
{
	return e->snapshots;
}

void exporter_show_reloads(struct exporter *e, const struct reload *reload)
{
	e->reload = reload;
}

const struct kernel_clock *exporter_clock(const struct exporter *e)
{
	return e->source->clock;
}

struct drop_reasons *exporter_drop_names(const struct exporter *e)
{
	return e->source->drop_names;
}
