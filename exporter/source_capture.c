/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A capture through the same parser, by a clock made of the capture's times.  A packet waits for the next, whose time tells
 * what to think of this one's.
 */
#include <errno.h>
#include <string.h>
#include "exporter/exporter.h"
#include "exporter/log.h"
#include "exporter/meter/capture.h"
#include "exporter/meter/capture_clock.h"
#include "exporter/pipeline.h"
#include "exporter/source.h"
#include "exporter/stop.h"

#define EXPIRE_STEP_NS	 (10 * NSEC_PER_MSEC) /* of the capture's time */
#define PROGRESS_PACKETS 4096

struct capture_source {
	struct source source;
	struct source_options options;
	struct pipeline *pipeline;
	struct capture *capture;
	struct capture_clock clock;
	uint64_t expired_ns;	   /* its time at the last pass */
	struct ledger_side counts; /* of flows */
};

static struct capture_source *to_capture(const struct source *s)
{
	return (struct capture_source *)s;
}

/* `next` is the packet behind it; NULL: there is none. */
static void add_packet(struct capture_source *s, const struct capture_packet *packet,
		       const struct capture_packet *next)
{
	struct ledger_side *l = &s->counts;

	l->seen[DIRECTION_INGRESS]++;
	capture_clock_tick(&s->clock, packet->time_ns, next ? &next->time_ns : NULL);
	exports_set_time(pipeline_exports(s->pipeline), packet->time_ns);
	if (s->clock.now_ns - s->expired_ns >= EXPIRE_STEP_NS) {
		pipeline_expire(s->pipeline, s->clock.now_ns);
		s->expired_ns = s->clock.now_ns;
	}
	if (packet->reason != REASON_NONE) {
		l->reasons[DIRECTION_INGRESS][packet->reason].packets++;
		l->reasons[DIRECTION_INGRESS][packet->reason].octets += packet->octets;
		return;
	}
	l->accounted[DIRECTION_INGRESS].packets += packet->record.packets;
	l->accounted[DIRECTION_INGRESS].octets += packet->record.octets;
	pipeline_add_at(s->pipeline, &packet->key, &packet->record, s->clock.now_ns);
}

static int start(struct source *source, struct pipeline *pipeline)
{
	to_capture(source)->pipeline = pipeline;
	return 0;
}

/* Why not all of the capture is in the ledger. */
static int report(const struct capture_source *s, int error)
{
	const char *path = s->options.config->capture, *why = capture_error(s->capture);
	unsigned long long packets = s->counts.seen[DIRECTION_INGRESS];
	const struct capture_unknown unknown = capture_unknown(s->capture);

	if (error == -EBADMSG)
		log_error("'%s' is damaged after %llu packets: %s", path, packets, why);
	else if (error == -EINTR)
		log_warning("interrupted after %llu packets", packets);
	else if (error < 0)
		log_error("cannot read '%s' beyond %llu packets: %s", path, packets, why);
	if (!unknown.packets)
		return error;
	log_error("%llu packets of '%s' are in no flow: link layer %s (%d) is not understood",
		  (unsigned long long)unknown.packets, path, capture_link_name(unknown.link),
		  unknown.link);
	return error ?: -EBADMSG;
}

static void show_progress(const struct capture_source *s, bool over)
{
	const struct exporter_events *events = s->options.events;

	if (events->progress)
		events->progress(events->userdata, s->counts.seen[DIRECTION_INGRESS],
				 over ? UINT64_MAX : capture_position(s->capture));
}

static int run(struct source *source)
{
	struct capture_source *s = to_capture(source);
	struct capture_packet packets[2];
	uint64_t count = 0;
	int error = 0;

	while (!stop_begun(s->options.stop) &&
	       (error = capture_next(s->capture, &packets[count % 2])) > 0) {
		if (count++)
			add_packet(s, &packets[count % 2], &packets[(count - 1) % 2]);
		if (count % PROGRESS_PACKETS == 0)
			show_progress(s, false);
	}
	if (stop_begun(s->options.stop))
		error = -EINTR;
	if (count)
		add_packet(s, &packets[(count - 1) % 2], NULL);
	show_progress(s, true);
	return report(s, error);
}

/* Each packet is with the pipeline at once. */
static void finish(_unused_ struct source *source)
{
}

static void read_ledger(const struct source *source, struct ledger *ret,
			_unused_ struct ledger_reasons *ret_reasons, _unused_ bool final)
{
	const struct ledger_side *counts = &to_capture(source)->counts;
	struct ledger_side *side = &ret->sides[RECORD_FLOW];
	const struct cache_stats cache = side->cache;

	*side = *counts;
	side->drained = counts->accounted[DIRECTION_INGRESS];
	side->cache = cache;
}

static int read_ledger_now(const struct source *source, struct ledger *ret,
			   struct ledger_reasons *ret_reasons)
{
	read_ledger(source, ret, ret_reasons, true);
	return 0;
}

static struct source *free_source(struct source *source)
{
	struct capture_source *s = to_capture(source);

	capture_closep(&s->capture);
	free(s);
	return NULL;
}

static const struct source_ops capture_ops = {
	.start = start,
	.run = run,
	.finish = finish,
	.read = read_ledger,
	.read_now = read_ledger_now,
	.free = free_source,
};

int capture_source_new(struct source **ret, const struct source_options *options)
{
	struct capture_source *s = calloc(1, sizeof(*s));
	_cleanup_(source_freep) struct source *made = s ? &s->source : NULL;
	const char *path = options->config->capture;
	char text[CAPTURE_ERROR_MAX];
	FILE *stream;
	int error;

	if (!s)
		return log_errno(LOG_ERR, -ENOMEM, "cannot read '%s'", path);
	s->source = (struct source){.ops = &capture_ops, .kinds = 1u << RECORD_FLOW};
	s->options = *options;
	stream = strcmp(path, "-") != 0 ? fopen(path, "re") : stdin;
	if (!stream)
		return log_errno(LOG_ERR, errno, "cannot read '%s'", path);
	error = capture_open(&s->capture, stream, text);
	if (error < 0) {
		log_error("cannot replay '%s': %s", path, text);
		return error;
	}
	*ret = TAKE_PTR(made);
	return 0;
}
