/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `flowtally replay`: a capture through parser, cache and encoders, by a clock made of the capture's
 * times.  A packet waits for the next, whose time tells what to think of this one's.
 */
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>
#include "exporter/cli/collectors.h"
#include "exporter/cli/options.h"
#include "exporter/stop.h"
#include "exporter/cli/summary.h"
#include "exporter/cli/verbs.h"
#include "exporter/export/export.h"
#include "exporter/log.h"
#include "exporter/meter/cache.h"
#include "exporter/meter/capture.h"
#include "exporter/meter/capture_clock.h"
#include "exporter/observe/ledger.h"

#define EXPIRE_STEP_NS	 (10 * NSEC_PER_MSEC)  /* of the capture's time */
#define PROGRESS_STEP_NS (250 * NSEC_PER_MSEC) /* of ours */
#define PROGRESS_PACKETS 4096		       /* between two looks at the clock */
#define DRAIN_RECORDS	 1024		       /* given to the collectors between two drains */
#define DRAIN_NS	 (5 * NSEC_PER_SEC)    /* without progress */
#define SEED		 1		       /* any will do: two runs give the same records */

struct replay {
	struct config options;
	struct stop *stop;
	pthread_mutex_t ending; /* the ledger is printed once, and by one thread */
	bool printed;		/* under it: it has been, or there is none any more */
	struct capture *capture;
	struct exports *exports;
	struct cache *cache;
	struct ledger ledger;
	struct capture_clock clock;
	uint64_t expired_ns; /* its time at the last expiry pass */
	unsigned int waiting;
	bool progress;
	uint64_t size;	      /* of the file; 0: unknown */
	uint64_t progress_ns; /* when it was last shown, or the start */
	bool progress_shown;
};

static void replay_clear(struct replay *r)
{
	pthread_mutex_lock(&r->ending);
	r->printed = true;
	pthread_mutex_unlock(&r->ending);
	cache_freep(&r->cache);
	exports_freep(&r->exports);
	capture_closep(&r->capture);
	stop_freep(&r->stop);
	config_clear(&r->options);
}

static void on_flow(void *userdata, const struct flow *flow)
{
	struct replay *r = userdata;

	exports_flow(r->exports, flow);
	r->waiting++;
}

/* The collectors' queues are bounded; nothing empties them but this. */
static void drain_some(struct replay *r)
{
	if (r->waiting < DRAIN_RECORDS)
		return;
	exports_drain(r->exports, DRAIN_NS, false);
	r->waiting = 0;
}

static void expire(struct replay *r)
{
	if (r->clock.now_ns - r->expired_ns < EXPIRE_STEP_NS)
		return;
	cache_expire(r->cache, r->clock.now_ns);
	r->expired_ns = r->clock.now_ns;
}

/* `next` is the packet behind it; NULL: there is none. */
static void add_packet(struct replay *r, const struct capture_packet *packet,
		       const struct capture_packet *next)
{
	struct ledger *l = &r->ledger;

	l->seen[POINT_INGRESS]++;
	capture_clock_tick(&r->clock, packet->time_ns, next ? &next->time_ns : NULL);
	exports_set_time(r->exports, packet->time_ns);
	expire(r);
	if (packet->reason != REASON_NONE) {
		l->reasons[POINT_INGRESS][packet->reason].packets++;
		l->reasons[POINT_INGRESS][packet->reason].octets += packet->octets;
	} else {
		l->accounted[POINT_INGRESS].packets += packet->record.packets;
		l->accounted[POINT_INGRESS].octets += packet->record.octets;
		cache_merge_at(r->cache, &packet->key, &packet->record, r->clock.now_ns);
	}
	drain_some(r);
}

static void show_progress(struct replay *r)
{
	uint64_t now = clock_ns(CLOCK_MONOTONIC), packets = r->ledger.seen[POINT_INGRESS];
	uint64_t position = capture_position(r->capture);

	if (now - r->progress_ns < PROGRESS_STEP_NS)
		return;
	r->progress_ns = now;
	r->progress_shown = true;
	if (r->size)
		fprintf(stderr, "\r\033[K%s: %d %%, %llu packets", r->options.capture,
			(int)(MIN(position, r->size) * 100 / r->size), (unsigned long long)packets);
	else
		fprintf(stderr, "\r\033[K%s: %llu packets", r->options.capture,
			(unsigned long long)packets);
}

/* 0, or -errno of capture_next(). */
static int read_packets(struct replay *r)
{
	struct capture_packet packets[2];
	uint64_t count = 0;
	int error = 0;

	while (!stop_begun(r->stop) &&
	       (error = capture_next(r->capture, &packets[count % 2])) > 0) {
		if (count++)
			add_packet(r, &packets[count % 2], &packets[(count - 1) % 2]);
		if (r->progress && count % PROGRESS_PACKETS == 0)
			show_progress(r);
	}
	if (count)
		add_packet(r, &packets[(count - 1) % 2], NULL);
	if (r->progress_shown)
		fprintf(stderr, "\r\033[K");
	return stop_begun(r->stop) ? 0 : error;
}

static int open_capture(struct replay *r)
{
	const char *path = r->options.capture;
	FILE *stream = strcmp(path, "-") != 0 ? fopen(path, "re") : stdin;
	char text[CAPTURE_ERROR_MAX];
	struct stat status;
	int error;

	if (!stream)
		return log_errno(LOG_ERR, errno, "cannot read '%s'", path);
	if (fstat(fileno(stream), &status) == 0 && S_ISREG(status.st_mode))
		r->size = (uint64_t)status.st_size;
	r->progress = isatty(STDERR_FILENO) && !r->options.quiet;
	r->progress_ns = clock_ns(CLOCK_MONOTONIC);
	error = capture_open(&r->capture, stream, text);
	if (error < 0)
		log_error("cannot replay '%s': %s", path, text);
	return error;
}

static int open_collectors(struct replay *r)
{
	int error = exports_new(&r->exports, &r->options.export, NULL);

	if (error < 0)
		return log_errno(LOG_ERR, error, "cannot make the collectors");
	exports_set_clock(r->exports, 0);
	exports_set_deadline(r->exports, stop_deadline_ns, r->stop);
	exports_set_time(r->exports, 0);
	return collectors_add(r->exports, &r->options);
}

static int make_cache(struct replay *r)
{
	const struct cache_options options = {
		.entries = r->options.cache_entries,
		.idle_ns = r->options.idle_ns,
		.active_ns = r->options.active_ns,
		.linger_ns = r->options.linger_ns,
		.seed = SEED,
		.sink = on_flow,
		.userdata = r,
	};
	int error = cache_new(&r->cache, &options);

	if (error < 0)
		return log_errno(
			LOG_ERR, error,
			"cannot make a cache of %u flows, choose a smaller --cache-entries",
			options.entries);
	return 0;
}

/* Says which collectors did not get everything; 0 if none. */
static int check_lost(struct replay *r)
{
	const struct collector_stats *stats;
	int lost = 0;

	for (unsigned int i = 0; (stats = exports_stats(r->exports, i)); i++)
		for (unsigned int loss = 0; loss < _EXPORT_LOSS_MAX; loss++)
			if (stats->lost[loss].records) {
				log_error("%s: %llu records lost (%s)", stats->url,
					  (unsigned long long)stats->lost[loss].records,
					  export_loss_name((enum export_loss)loss));
				lost = -EIO;
			}
	return lost;
}

/* With the lock held. */
static void print_ledger(struct replay *r)
{
	r->printed = true;
	r->ledger.sides[BANK_FLOWS] = (struct ledger_side){
		.drained = r->ledger.accounted[POINT_INGRESS],
		.cache = *cache_stats(r->cache),
	};
	r->ledger.exports = r->exports;
	summary_print(&r->ledger, r->options.summary);
}

/* In the thread of `stop`: the main thread hangs somewhere.  The lock is kept, for the process is at its end. */
static void on_overdue(void *userdata)
{
	struct replay *r = userdata;

	pthread_mutex_lock(&r->ending);
	if (r->printed)
		return;
	log_always(LOG_ERR, "the end was cut short by %s, before all was exported",
		   stop_why(r->stop));
	if (!r->exports || !r->cache)
		return;
	exports_abandon(r->exports);
	print_ledger(r);
}

/* Without a signal there is no hurry: collectors get what is theirs as fast as they take it. */
static int finish(struct replay *r)
{
	int error;

	cache_flush(r->cache, FLOW_END_FORCED);
	exports_flush(r->exports);
	exports_drain(r->exports, DRAIN_NS, true);
	error = summary_report_unsent(r->exports, stop_why(r->stop));
	pthread_mutex_lock(&r->ending);
	print_ledger(r);
	pthread_mutex_unlock(&r->ending);
	return error;
}

/* Why not all of the capture was read; whether there is a reason. */
static bool report_capture(const struct replay *r, int error)
{
	unsigned long long packets = r->ledger.seen[POINT_INGRESS];
	const struct capture_unknown unknown = capture_unknown(r->capture);
	const char *why = capture_error(r->capture);

	if (error == -EBADMSG)
		log_error("'%s' is damaged after %llu packets: %s", r->options.capture, packets,
			  why);
	else if (error < 0)
		log_error("cannot read '%s' beyond %llu packets: %s", r->options.capture, packets,
			  why);
	if (unknown.packets)
		log_error(
			"%llu packets of '%s' are in no flow: link layer %s (%d) is not understood",
			(unsigned long long)unknown.packets, r->options.capture,
			capture_link_name(unknown.link), unknown.link);
	return error < 0 || unknown.packets;
}

int replay_main(int argc, char **argv)
{
	_cleanup_(replay_clear) struct replay r = {.ending = PTHREAD_MUTEX_INITIALIZER};
	struct stop_options stop = {
		.hangup = true, .interrupt = true, .overdue = on_overdue, .userdata = &r};
	bool interrupted, whole;
	int error = options_parse(&r.options, VERB_REPLAY, argc, argv);

	if (error != 0)
		return error < 0 ? 2 : 0; /* --help */
	stop.timeout_ns = r.options.stop_timeout_ns;
	error = stop_new(&r.stop, &stop);
	if (error < 0)
		return log_errno(LOG_ERR, error, "cannot watch for signals"), 1;
	if (open_capture(&r) < 0 || open_collectors(&r) < 0 || make_cache(&r) < 0)
		return 1;
	error = read_packets(&r);
	interrupted = stop_begun(
		r.stop); /* by the signal, and not by finish() or a signal behind the end */
	whole = error == 0 && !interrupted;
	finish(&r);
	whole &= !report_capture(&r, error);
	if (interrupted)
		log_warning("interrupted after %llu packets",
			    (unsigned long long)r.ledger.seen[POINT_INGRESS]);
	whole &= check_lost(&r) == 0;
	stop_flush_log(r.stop);
	return whole ? 0 : 1;
}
