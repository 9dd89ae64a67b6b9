/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `flowtally run`: the whole pipeline on live interfaces.  What is created later depends on what was
 * created earlier, and goes first: hooks are attached last, when all else is known to work, and
 * detached first.
 */
#include <errno.h>
#include <pthread.h>
#include <stddef.h>
#include <stdbool.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/epoll.h>
#include <sys/signal.h>
#include <termios.h>
#include "config/print.h"
#include "exporter/cli/collectors.h"
#include "exporter/cli/drop_filter.h"
#include "exporter/cli/live.h"
#include "exporter/cli/notify.h"
#include "exporter/cli/options.h"
#include "exporter/cli/reload.h"
#include "exporter/cli/stop.h"
#include "exporter/cli/summary.h"
#include "exporter/cli/verbs.h"
#include "exporter/export/export.h"
#include "exporter/log.h"
#include "exporter/loop.h"
#include "exporter/meter/cache.h"
#include "exporter/meter/datapath.h"
#include "exporter/meter/drain.h"
#include "exporter/meter/drop_reason.h"
#include "exporter/meter/drops.h"
#include "exporter/meter/hooks.h"
#include "exporter/meter/ifstats.h"
#include "exporter/meter/kernel_clock.h"
#include "exporter/meter/sight.h"
#include "exporter/observe/ledger.h"

/* How long the end waits for a collector that takes nothing. */
#define FINAL_DRAIN_NS (2 * NSEC_PER_SEC)

struct run {
	struct config options;
	struct stop *stop;
	struct loop *loop;
	struct loop_source *stop_source;
	struct kernel_clock clock;
	int clock_fd; /* tells of sleeps; -1: none */
	struct loop_source *clock_source;
	struct notifier notifier;
	struct config_request *request; /* of the start */
	struct reload *reload;		/* NULL without a file */
	struct exports *exports;
	struct live *live;		     /* NULL without --live */
	struct cache *caches[_BANK_USE_MAX]; /* NULL: of what is not metered */
	uint64_t swaps_ns[_BANK_USE_MAX];    /* of the last swap whose bank has been merged */
	struct loop_source *expiry;	     /* the timer of the next slice of an expiry pass */
	bool refresh;			     /* the live table is due at the end of the pass */
	struct drop_reasons *drop_names;
	struct datapath *datapath;
	struct drain *drain;
	struct drops *drops; /* NULL: not traced */
	struct sight *sight;
	struct hooks *hooks;
	int hooks_error;	/* of the first attempt on all interfaces */
	pthread_mutex_t ending; /* the ledger is printed once, and by one thread */
	bool metering;		/* under it: what the ledger is read from is there */
	bool printed;		/* likewise */
	bool unbalanced;	/* the ledger did not balance at some swap */
	unsigned int terminals; /* a bit for each standard stream that was one at the start */
};

static void set_metering(struct run *r, bool metering)
{
	pthread_mutex_lock(&r->ending);
	r->metering = metering;
	pthread_mutex_unlock(&r->ending);
}

static void run_clear(struct run *r)
{
	set_metering(r, false);
	reload_freep(&r->reload);
	hooks_freep(&r->hooks);
	sight_freep(&r->sight);
	drops_freep(&r->drops);
	drain_freep(&r->drain);
	datapath_freep(&r->datapath);
	loop_source_freep(&r->expiry);
	drop_reasons_freep(&r->drop_names);
	for (int use = 0; use < _BANK_USE_MAX; use++)
		cache_freep(&r->caches[use]);
	live_freep(&r->live);
	exports_freep(&r->exports);
	loop_source_freep(&r->clock_source);
	closep(&r->clock_fd);
	loop_source_freep(&r->stop_source);
	loop_freep(&r->loop);
	stop_freep(&r->stop);
	config_request_freep(&r->request);
	config_clear(&r->options);
}

static void name_interfaces(const struct run *r, char *ret, size_t size)
{
	const struct hooks_interface *interface;
	size_t length = 0;

	ret[0] = '\0';
	for (size_t i = 0; r->hooks && (interface = hooks_get(r->hooks, i)) && length < size; i++)
		if (hooks_interface_meters(interface))
			length += (size_t)snprintf(ret + length, size - length, "%s%s",
						   length ? ", " : "", interface->name);
}

static void read_caches(const struct run *r, struct ledger *ledger)
{
	for (int use = 0; use < _BANK_USE_MAX; use++)
		if (r->caches[use])
			ledger->sides[use].cache = *cache_stats(r->caches[use]);
}

static struct ledger read_ledger(const struct run *r, bool final)
{
	struct ledger ledger = {
		.exports = r->exports, .ifstats = hooks_ifstats(r->hooks), .sight = r->sight};

	ledger_read_drain(&ledger, r->datapath, r->drain, final);
	read_caches(r, &ledger);
	return ledger;
}

/* After each swap every packet up to it must be in one place: trouble shows long before the end. */
static void check_ledger(struct run *r)
{
	const struct ledger ledger = read_ledger(r, false);

	if (r->unbalanced || ledger.unsettled || ledger_balanced(&ledger))
		return;
	r->unbalanced = true;
	log_error(
		"the ledger does not balance: packets are neither in a record nor in a counter of losses");
}

static void describe_interface(const struct hooks_interface *from, struct export_interface *ret)
{
	*ret = (struct export_interface){.ifindex = from->ifindex};
	snprintf(ret->name, sizeof(ret->name), "%s", from->device);
	/* With the name in it, since nfdump shows the description in its place. */
	snprintf(ret->description, sizeof(ret->description), "%s: ingress %s, egress %s",
		 from->device, hook_kind_name(from->ingress), hook_kind_name(from->egress));
}

/* What collectors are told beside flows: interfaces, and packets that are in no record. */
static int tell_collectors(struct run *r)
{
	_cleanup_(freep) struct export_interface *interfaces = NULL;
	const struct hooks_interface *interface;
	unsigned int count = 0, all = 0;
	const struct ledger ledger = read_ledger(r, false);
	const struct ledger_amount unmetered = ledger_unmetered(&ledger);

	exports_set_metering(r->exports, unmetered.packets, unmetered.octets);
	while (r->hooks && hooks_get(r->hooks, all))
		all++;
	interfaces = calloc(MAX(all, 1u), sizeof(*interfaces));
	if (!interfaces)
		return -ENOMEM;
	for (unsigned int i = 0; i < all; i++) {
		interface = hooks_get(r->hooks, i);
		if (hooks_interface_meters(interface))
			describe_interface(interface, &interfaces[count++]);
	}
	return exports_set_interfaces(r->exports, interfaces, count);
}

static void refresh_live(struct run *r, uint64_t now_ns)
{
	struct live_totals totals = {.now_ns = now_ns,
				     .flows = cache_stats(r->caches[BANK_FLOWS])->entries};
	const struct ledger ledger = read_ledger(r, false);
	char interfaces[256];

	name_interfaces(r, interfaces, sizeof(interfaces));
	totals.interfaces = interfaces;
	totals.lost = ledger_lost(&ledger);
	live_refresh(r->live, &totals);
}

/* Times are the kernel's up to here, so that a step of the wall clock changes no duration. */
static void set_clock(struct run *r)
{
	kernel_clock_look(&r->clock);
	exports_set_clock(r->exports, kernel_clock_offset_ns(&r->clock));
}

/* The machine has slept, or the wall clock been set. */
static int on_clock(void *userdata, _unused_ uint32_t events)
{
	struct run *r = userdata;

	kernel_clock_look(&r->clock);
	if (kernel_clock_rearm(r->clock_fd) < 0)
		r->clock_source = loop_source_free(r->clock_source);
	return 0;
}

/* Without its descriptor sleeps are noticed at the next drain. */
static void watch_clock(struct run *r)
{
	kernel_clock_init(&r->clock);
	if (r->clock.ahead_ns)
		log_info("in a time namespace: its monotonic clock is %.3f s ahead of the kernel's",
			 (double)r->clock.ahead_ns / NSEC_PER_SEC);
	r->clock_fd = kernel_clock_fd();
	if (r->clock_fd >= 0)
		(void)loop_add_fd(r->loop, r->clock_fd, EPOLLIN, on_clock, r, &r->clock_source);
}

/* A flow that has ended, with the kernel's times. */
static struct flow tell_times(const struct run *r, const struct flow *flow)
{
	struct flow told = *flow;

	told.record.first_ns = kernel_clock_told_ns(&r->clock, flow->record.first_ns);
	told.record.last_ns = kernel_clock_told_ns(&r->clock, flow->record.last_ns);
	return told;
}

static void on_flow(void *userdata, const struct flow *flow)
{
	struct run *r = userdata;
	const struct flow told = tell_times(r, flow);

	exports_flow(r->exports, &told);
}

/* How long a pass waits for a queue to empty: what leaves meanwhile is less than a slice. */
#define ROOM_WAIT_NS (10 * NSEC_PER_MSEC)

/*
 * In slices, so that sockets and the drain never wait for a million flows that end at once, and no
 * faster than the collectors get them, so that the flows wait in the cache and do not overflow a queue.
 */
static int expire_slice(void *userdata, _unused_ uint32_t events)
{
	struct run *r = userdata;

	if (!exports_have_room(r->exports))
		return loop_set_timer(r->expiry, ROOM_WAIT_NS, 0);
	set_clock(r);
	for (int use = 0; use < _BANK_USE_MAX; use++)
		if (r->caches[use] &&
		    !cache_expire_some(r->caches[use], r->swaps_ns[use], CACHE_SLICE))
			return loop_set_timer(r->expiry, 1, 0);
	tell_collectors(r); /* failing that, they keep what they know */
	exports_flush(r->exports);
	if (r->live && r->refresh)
		refresh_live(r, r->swaps_ns[BANK_FLOWS]);
	r->refresh = false;
	return 0;
}

/* What the hooks saw up to this swap, against the kernel's newest counters. */
static void look(struct run *r)
{
	const uint64_t swap_ns = r->swaps_ns[BANK_FLOWS];
	const struct sight_sources sources = {
		.drain = r->drain,
		.hooks = r->hooks,
		.ifstats = hooks_ifstats(r->hooks),
		.drained_ns = swap_ns ? kernel_clock_here_ns(&r->clock, swap_ns) : 0,
	};

	if (sources.ifstats) /* else nothing is attached yet */
		sight_look(r->sight, &sources);
}

static void on_batch(void *userdata, const struct drain_batch *batch)
{
	struct run *r = userdata;
	struct cache *cache = r->caches[batch->use];

	set_clock(r); /* a full cache exports while it merges */
	if (batch->use == BANK_FLOWS && hooks_ifstats(r->hooks))
		sight_make_room(r->sight, hooks_ifstats(r->hooks));
	if (batch->use == BANK_FLOWS)
		sight_account(r->sight, batch->keys, batch->records, batch->count);
	for (uint32_t i = 0; i < batch->count; i++) {
		cache_merge(cache, &batch->keys[i], &batch->records[i]);
		if (r->live && batch->use == BANK_FLOWS)
			live_delta(r->live, &batch->keys[i], &batch->records[i]);
	}
	if (!batch->end)
		return;
	log_flush(0);
	notifier_tell_again(&r->notifier);
	r->swaps_ns[batch->use] = batch->swap_ns;
	r->refresh |= batch->use == BANK_FLOWS;
	check_ledger(r);
	look(r);
	expire_slice(r, 0); /* without a timer the rest comes with the next bank */
}

/* A signal. */
static int on_stop(void *userdata, _unused_ uint32_t events)
{
	struct run *r = userdata;

	loop_stop(r->loop);
	return 0;
}

/* Nobody is there any more, as at the end of an ssh session. */
static bool terminal_gone(const struct run *r)
{
	struct termios mode;

	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		if (r->terminals & 1u << fd && tcgetattr(fd, &mode) < 0 && errno == EIO)
			return true;
	return false;
}

static int on_hangup(void *userdata, _unused_ uint32_t events)
{
	struct run *r = userdata;

	if (terminal_gone(r)) {
		loop_stop(r->loop);
		return 0;
	}
	if (r->reload)
		reload_request(r->reload);
	else
		log_notice(
			"SIGHUP: there is no configuration to read again, looking at the interfaces");
	hooks_rescan(r->hooks); /* logs what fails */
	return 0;
}

/* What a running exporter cannot take yet is refused. */
static int apply(void *userdata, struct config *config)
{
	struct run *r = userdata;
	struct config *o = &r->options, was = *o;
	_cleanup_(fclosep) FILE *nowhere = fopen("/dev/null", "we");
	size_t left = 1;

	o->summary = config->summary;
	o->watch = config->watch;
	o->verbose = config->verbose;
	o->quiet = config->quiet;
	if (!nowhere || config_print_difference(nowhere, o, config, &left) < 0 || left) {
		*o = was;
		log_error("a running exporter cannot take %zu of these changes yet", left);
		return -EOPNOTSUPP;
	}
	config_clear(o);
	*o = *config;
	*config = (struct config){0};
	log_set_level(o->quiet ? LOG_NOTICE : o->verbose ? LOG_DEBUG : LOG_INFO);
	return 0;
}

static int watch_file(struct run *r)
{
	const struct reload_options options = {.loop = r->loop,
					       .request = r->request,
					       .running = &r->options,
					       .notifier = &r->notifier,
					       .apply = apply,
					       .userdata = r};

	return r->request->file ? reload_new(&r->reload, &options) : 0;
}

/* With SIGHUP ignored (nohup) the end of the session is not to be ours. */
static unsigned int find_terminals(void)
{
	struct sigaction action;
	unsigned int terminals = 0;

	if (sigaction(SIGHUP, NULL, &action) == 0 && action.sa_handler == SIG_IGN)
		return 0;
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		terminals |= (unsigned int)isatty(fd) << fd;
	return terminals;
}

static int make_loop(struct run *r)
{
	int error = loop_new(&r->loop);

	if (error < 0)
		return error;
	r->terminals = find_terminals();
	return loop_add_fd(r->loop, stop_fd(r->stop), EPOLLIN, on_stop, r, &r->stop_source)
		       ?: loop_add_signal(r->loop, SIGHUP, on_hangup, r);
}

static int open_datapath(struct run *r, const uint8_t *drop_excluded)
{
	const struct config *o = &r->options;
	const struct datapath_options options = {
		.bank_entries = o->bank_entries,
		.drop_entries = o->drop_entries,
		.drops = o->drops,
		.drops_budget = o->drops_budget,
		.drops_everywhere = o->drops_everywhere,
		.drop_excluded = drop_excluded,
		.mask = o->mask,
	};

	return datapath_new(&r->datapath, &options);
}

static void on_drop(void *userdata, const struct flow *flow)
{
	struct run *r = userdata;
	struct flow drop = tell_times(r, flow);

	drop.drop = drop_reasons_get(r->drop_names, drop_reason_unpack(flow->key.drop_reason));
	exports_flow(r->exports, &drop);
}

static int make_cache(struct run *r, enum bank_use use)
{
	const struct config *o = &r->options;
	const struct cache_options options = {
		.entries = use == BANK_DROPS ? o->drop_entries : o->cache_entries,
		.idle_ns = o->idle_ns,
		.active_ns = o->active_ns,
		/* that a FIN was dropped is not the end */
		.linger_ns = use == BANK_DROPS ? o->idle_ns : o->linger_ns,
		.sink = use == BANK_DROPS ? on_drop : on_flow,
		.userdata = r,
	};
	int error = cache_new(&r->caches[use], &options);

	if (error < 0)
		return log_errno(LOG_ERR, error,
				 "cannot make a cache of %u flows, choose a smaller --%s",
				 options.entries,
				 use == BANK_DROPS ? "drop-entries" : "cache-entries");
	return 0;
}

/* Everything that touches no network interface. */
static int prepare(struct run *r, const uint8_t *drop_excluded)
{
	const struct config *o = &r->options;
	struct export_options export = o->export;
	int error = make_loop(r);

	if (error < 0)
		return log_errno(LOG_ERR, error, "cannot make the event loop");
	error = open_datapath(r, drop_excluded);
	if (error < 0)
		return error;
	watch_clock(r);
	export.drops = datapath_uses(r->datapath) >> BANK_DROPS & 1;
	export.drops_in_files = o->drops != DROPS_ON;
	error = exports_new(&r->exports, &export, r->loop);
	if (error < 0)
		return log_errno(LOG_ERR, error, "cannot make the collectors");
	exports_set_deadline(r->exports, stop_deadline_ns, r->stop);
	error = collectors_add(r->exports, o);
	if (error < 0)
		return error;
	error = sight_new(&r->sight);
	if (error < 0)
		return log_errno(LOG_ERR, error, "cannot make the counters of interfaces");
	error = make_cache(r, BANK_FLOWS);
	if (error == 0 && export.drops)
		error = make_cache(r, BANK_DROPS);
	if (error == 0)
		error = loop_add_timer(r->loop, expire_slice, r, &r->expiry);
	if (error < 0)
		return error;
	if (o->live) {
		error = live_new(&r->live, STDOUT_FILENO, kernel_clock_now_ns(&r->clock));
		if (error < 0)
			return log_errno(LOG_ERR, error, "cannot make the live table");
	}
	return 0;
}

/* Flows do without it. */
static int attach_drops(struct run *r)
{
	int error;

	if (!r->caches[BANK_DROPS])
		return 0;
	error = drops_new(&r->drops, r->datapath);
	if (error < 0 && r->options.drops == DROPS_ON)
		return log_errno(LOG_ERR, error, "cannot trace drops");
	if (error < 0)
		log_errno(LOG_WARNING, error, "drops are not recorded");
	return 0;
}

static void announce(struct run *r)
{
	const struct hooks_interface *interface;
	size_t attached = 0, partly = 0;

	for (size_t i = 0; (interface = hooks_get(r->hooks, i)); i++) {
		attached += interface->attached;
		partly += !interface->attached && hooks_interface_meters(interface);
	}
	log_info(
		"memory: two banks of %u flows take %.1f MB in the kernel, a cache of %u flows %.1f MB",
		r->options.bank_entries, (double)datapath_memory(r->options.bank_entries) / 1e6,
		r->options.cache_entries, (double)cache_memory(r->options.cache_entries) / 1e6);
	if (r->drops)
		log_info(
			"drops are recorded: two banks and a cache of %u dropped flows take %.1f MB and %.1f MB",
			r->options.drop_entries,
			(double)datapath_memory(r->options.drop_entries) / 1e6,
			(double)cache_memory(r->options.drop_entries) / 1e6);
	if (partly)
		log_warning("%zu more interface%s metered in one direction of two", partly,
			    partly == 1 ? " is" : "s are");
	log_notice("ready: metering %zu interface%s, domain %u, timeouts idle %g s active %g s, "
		   "banks drained every %g s",
		   attached, attached == 1 ? "" : "s", r->options.export.domain,
		   (double)r->options.idle_ns / NSEC_PER_SEC,
		   (double)r->options.active_ns / NSEC_PER_SEC,
		   (double)r->options.drain_ns / NSEC_PER_SEC);
	notifier_tell(&r->notifier, "READY=1");
	if (r->reload)
		reload_ready(r->reload);
}

/* Every interface has been tried; none of them attached is the end. */
static void on_tried(void *userdata, int result)
{
	struct run *r = userdata;

	r->hooks_error = result;
	if (result < 0)
		loop_stop(r->loop);
	else
		announce(r);
}

static void on_detached(void *userdata)
{
	struct run *r = userdata;

	loop_stop(r->loop);
}

static int attach(struct run *r)
{
	const struct config *o = &r->options;
	const struct drain_options drain = {
		.datapath = r->datapath,
		.loop = r->loop,
		.clock = &r->clock,
		.interval_ns = o->drain_ns,
		.callback = on_batch,
		.userdata = r,
	};
	const struct hooks_options hooks = {
		.datapath = r->datapath,
		.loop = r->loop,
		.interfaces = (const char **)o->interfaces,
		.interface_count = o->interface_count,
		.ingress = o->ingress,
		.egress = o->egress,
		.tried = on_tried,
		.detached = on_detached,
		.userdata = r,
	};
	int error = drain_new(&r->drain, &drain);

	if (error < 0)
		return log_errno(LOG_ERR, error, "cannot start the drain thread");
	set_metering(r, true);
	if (stop_begun(r->stop)) /* before it was ready */
		return 0;
	return attach_drops(r) ?: hooks_new(&r->hooks, &hooks);
}

/* With the lock held. */
static void print_ledger(struct run *r, struct ledger *ledger, const struct ledger_reasons *reasons)
{
	r->printed = true;
	if (ledger->drops_traced) {
		ledger->drop_reasons = reasons;
		ledger->drop_names = r->drop_names;
	}
	summary_print(ledger, r->options.summary);
}

/* What still sees packets meanwhile is drained as ever. */
static void detach(struct run *r)
{
	struct ifstats *stats;

	if (!r->hooks) /* the end began before they were made */
		return;
	look(r);
	hooks_stop(r->hooks);
	r->stop_source = loop_source_free(r->stop_source); /* readable from the first signal on */
	loop_run(r->loop);				   /* until on_detached() */
	stats = hooks_ifstats(r->hooks);
	for (size_t i = 0; stats && i < stats->count; i++)
		if (stats->interfaces[i].ifindex)
			stats->interfaces[i].counters[IFSTAT_xdp_exceptions] =
				drops_xdp_exceptions(r->datapath, stats->interfaces[i].ifindex);
}

static void print_summary(struct run *r)
{
	struct ledger ledger = read_ledger(r, true);
	struct ledger_reasons reasons;

	ledger_read_reasons(&reasons, r->drain);
	pthread_mutex_lock(&r->ending);
	print_ledger(r, &ledger, &reasons);
	pthread_mutex_unlock(&r->ending);
}

/*
 * In the thread of `stop`: the main thread hangs somewhere.  The lock is kept, for the process is at its end.
 * Interfaces are left out, which are the main thread's, or that of the hooks.
 */
static void on_overdue(void *userdata)
{
	struct run *r = userdata;
	struct ledger ledger = {.exports = r->exports};
	struct ledger_reasons reasons;
	int error;

	pthread_mutex_lock(&r->ending);
	if (!r->printed)
		log_always(LOG_ERR, "the end was cut short by %s, before all was exported",
			   stop_why(r->stop));
	if (!r->metering || r->printed)
		return;
	exports_abandon(r->exports);
	error = ledger_read_now(&ledger, &reasons, r->datapath, r->drain);
	if (error < 0) {
		log_errno(LOG_ERR, error, "cannot read the ledger");
		return;
	}
	read_caches(r, &ledger);
	print_ledger(r, &ledger, &reasons);
}

/*
 * From here on nothing of ours sees packets; all that was seen goes out, with reason 4 where the flow went on.
 * Returns a negative errno when there was no time for all of it.
 */
static int finish(struct run *r)
{
	int error;

	stop_begin(r->stop);				   /* it may be by itself */
	r->stop_source = loop_source_free(r->stop_source); /* stays readable, and has been heard */
	reload_freep(&r->reload);
	notifier_tell(&r->notifier, "STOPPING=1");
	if (r->live)
		live_end(r->live);
	live_freep(&r->live); /* shows the last table, not the flows of the end */
	detach(r);
	drops_freep(&r->drops);
	exports_set_blocking(r->exports); /* a queue that is full now has time to empty */
	drain_finish(r->drain);
	sight_settle(r->sight, r->drain);
	for (int use = 0; use < _BANK_USE_MAX; use++)
		if (r->caches[use]) {
			cache_expire(r->caches[use], r->swaps_ns[use]);
			cache_flush(r->caches[use], FLOW_END_FORCED);
		}
	exports_flush(r->exports);
	exports_drain(r->exports, FINAL_DRAIN_NS, true);
	error = summary_report_unsent(r->exports, stop_why(r->stop));
	print_summary(r);
	stop_flush_log(r->stop);
	return error;
}

int run_main(int argc, char **argv)
{
	_cleanup_(run_clear) struct run r = {.ending = PTHREAD_MUTEX_INITIALIZER, .clock_fd = -1};
	struct stop_options stop = {.overdue = on_overdue, .userdata = &r};
	uint8_t drop_excluded[DROP_REASON_MAX];
	int error = options_parse_request(&r.options, &r.request, VERB_RUN, argc, argv);

	if (error != 0)
		return error < 0 ? 2 : 0; /* --help */
	stop.timeout_ns = r.options.stop_timeout_ns;
	error = stop_new(&r.stop, &stop);
	if (error < 0)
		return log_errno(LOG_ERR, error, "cannot watch for signals"), 1;
	error = drop_reasons_new(&r.drop_names, NULL);
	if (error < 0)
		return log_errno(LOG_ERR, error, "cannot read the kernel's reasons for drops"), 1;
	drop_filter_make(r.drop_names, r.options.drops_include, r.options.drops_exclude,
			 drop_excluded);
	if (prepare(&r, drop_excluded) < 0 || attach(&r) < 0)
		return 1;
	error = watch_file(&r);
	if (error < 0)
		log_errno(LOG_WARNING, error, "the configuration cannot be read again");
	if (!r.options.collector_count && !r.options.live)
		log_warning("no --collector and no --live: flows are metered and then forgotten");
	log_never_wait();
	error = loop_run(r.loop);
	if (r.hooks_error < 0)
		return 1; /* has been logged */
	if (error < 0)
		log_errno(LOG_ERR, error, "the event loop failed, stopping");
	return finish(&r) < 0 || error < 0 ? 1 : 0;
}
