/* SPDX-License-Identifier: Apache-2.0 */
#include <ares.h>
#include <errno.h>
#include <poll.h>
#include <string.h>
#include "exporter/export/collector.h"

#define MESSAGE_MAX	 1400 /* fits an Ethernet frame with tunnel headers around it */
#define QUEUE_MESSAGES	 8192
#define TEMPLATE_NS	 (60 * NSEC_PER_SEC)
#define BLOCK_TIMEOUT_NS (1 * NSEC_PER_SEC)

struct exports {
	struct export_context context;
	struct collector *collectors[EXPORT_COLLECTORS_MAX];
	unsigned int count;
};

bool exports_url_valid(const char *url, const char **ret_why)
{
	static char why[URL_WHY_MAX];
	struct collector_url parsed;

	if (url_parse(url, &parsed, why) >= 0)
		return true;
	*ret_why = why;
	return false;
}

int exports_new(struct exports **ret, const struct export_options *options, struct loop *loop)
{
	struct export_options o = *options;
	struct exports *exports;

	o.message_max = o.message_max ? o.message_max : MESSAGE_MAX;
	o.queue_messages = o.queue_messages ? o.queue_messages : QUEUE_MESSAGES;
	o.template_interval_ns = o.template_interval_ns ? o.template_interval_ns : TEMPLATE_NS;
	if (o.message_max < 512 || o.message_max > 9000 || o.queue_messages < 16 ||
	    o.queue_messages > 65536)
		return -EINVAL;
	if (ares_library_init(ARES_LIB_INIT_ALL) != ARES_SUCCESS)
		return -ENOMEM;
	exports = calloc(1, sizeof(*exports));
	if (!exports) {
		ares_library_cleanup();
		return -ENOMEM;
	}
	exports->context = (struct export_context){.options = o, .loop = loop, .blocking = !loop};
	*ret = exports;
	return 0;
}

static void free_collector(struct collector *c)
{
	char *url = (char *)c->stats.url;

	c->ops->free(c);
	free(url);
}

struct exports *exports_free(struct exports *exports)
{
	if (!exports)
		return NULL;
	for (unsigned int i = exports->count; i-- > 0;)
		free_collector(exports->collectors[i]);
	ares_library_cleanup();
	free(exports);
	return NULL;
}

int exports_add(struct exports *exports, const char *url)
{
	_cleanup_(freep) char *copy = strdup(url);
	struct collector_url parsed;
	char why[URL_WHY_MAX];
	struct collector *c;
	int r;

	if (!copy)
		return -ENOMEM;
	if (exports->count == EXPORT_COLLECTORS_MAX)
		return -ENOSPC;
	r = url_parse(copy, &parsed, why);
	if (r < 0)
		return r;
	if (parsed.scheme == URL_IPFIX)
		r = udp_collector_new(&c, &parsed, &exports->context);
	else
		r = file_collector_new(&c, &parsed, &exports->context);
	if (r < 0)
		return r;
	TAKE_PTR(copy); /* is stats.url */
	exports->collectors[exports->count++] = c;
	return 0;
}

void exports_set_clock(struct exports *exports, int64_t offset_ns)
{
	exports->context.clock_ns = offset_ns;
}

void exports_set_blocking(struct exports *exports)
{
	exports->context.blocking = true;
}

/* Whether the collector got rid of a message within the last `timeout_ns`. */
static bool progresses(struct collector *c, uint64_t now_ns, uint64_t timeout_ns)
{
	if (c->stats.messages != c->progress_messages) {
		c->progress_messages = c->stats.messages;
		c->progress_ns = now_ns;
		c->stalled = false;
	}
	c->stalled |= now_ns - c->progress_ns >= timeout_ns;
	return !c->stalled;
}

/* Steps these collectors until nothing is queued, or what is queued has not moved for timeout_ns. */
static void drain(struct collector **collectors, unsigned int count, uint64_t timeout_ns)
{
	uint64_t start_ns = clock_ns(CLOCK_MONOTONIC);

	for (unsigned int i = 0; i < count; i++) {
		collectors[i]->progress_ns = start_ns;
		collectors[i]->progress_messages = collectors[i]->stats.messages;
		collectors[i]->stalled = false;
	}
	for (;;) {
		struct pollfd fds[EXPORT_COLLECTORS_MAX];
		uint64_t wait_ns = timeout_ns;
		struct collector_step step;
		unsigned int busy = 0;

		for (unsigned int i = 0; i < count; i++) {
			struct collector *c = collectors[i];
			uint64_t now_ns = clock_ns(CLOCK_MONOTONIC);

			if (c->stalled)
				continue;
			c->ops->step(c, now_ns, &step);
			if (!step.busy || !progresses(c, now_ns, timeout_ns))
				continue;
			fds[busy++] = (struct pollfd){.fd = step.fd, .events = step.events};
			wait_ns = MIN(wait_ns,
				      MIN(step.wait_ns, c->progress_ns + timeout_ns - now_ns));
		}
		if (!busy)
			return;
		ppoll(fds, busy,
		      &(struct timespec){.tv_sec = (time_t)(wait_ns / NSEC_PER_SEC),
					 .tv_nsec = (long)(wait_ns % NSEC_PER_SEC)},
		      NULL);
	}
}

static void make_room(struct collector *c)
{
	if (c->stalled && c->stats.messages == c->progress_messages)
		return;
	drain(&c, 1, BLOCK_TIMEOUT_NS);
}

void exports_flow(void *userdata, const struct flow *flow)
{
	struct exports *exports = userdata;

	for (unsigned int i = 0; i < exports->count; i++) {
		struct collector *c = exports->collectors[i];

		if (exports->context.blocking && !c->ops->has_room(c, flow))
			make_room(c);
		c->ops->flow(c, flow);
	}
}

void exports_flush(struct exports *exports)
{
	for (unsigned int i = 0; i < exports->count; i++)
		exports->collectors[i]->ops->flush(exports->collectors[i]);
}

void exports_drain(struct exports *exports, uint64_t timeout_ns, bool final)
{
	exports_flush(exports);
	drain(exports->collectors, exports->count, timeout_ns);
	for (unsigned int i = 0; final && i < exports->count; i++) {
		struct collector *c = exports->collectors[i];
		struct export_count rest = c->stats.queued;

		c->ops->discard(c);
		count_move(&c->stats.queued, &c->stats.lost[EXPORT_LOSS_UNSENT], &rest);
	}
}

const struct collector_stats *exports_stats(struct exports *exports, unsigned int index)
{
	return index < exports->count ? &exports->collectors[index]->stats : NULL;
}
