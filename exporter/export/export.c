/* SPDX-License-Identifier: Apache-2.0 */
#include <ares.h>
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <xxhash.h>
#include "exporter/export/exports.h"
#include "exporter/export/queue.h"
#include "exporter/export/transport/udp_health.h"
#include "exporter/log.h"
#include "exporter/loop.h"

#define MESSAGE_MAX	  1400 /* fits an Ethernet frame with tunnel headers around it */
#define QUEUE_MESSAGES	  8192
#define TEMPLATE_NS	  (60 * NSEC_PER_SEC)
#define TEMPLATE_MESSAGES 1000
#define OPTIONS_NS	  (300 * NSEC_PER_SEC)
#define STATISTICS_NS	  (60 * NSEC_PER_SEC)
#define BLOCK_TIMEOUT_NS  (1 * NSEC_PER_SEC)
#define DEADLINE_STEP_NS  (100 * NSEC_PER_MSEC) /* between two looks at the deadline */

static bool template_valid(const char *text, char why[PROFILE_WHY_MAX])
{
	_cleanup_(profile_freep) struct profile *profile = NULL;

	why[0] = '\0';
	return profile_new(&profile, text, ENTERPRISE_DEFAULT, record_kinds(false), why) != -EINVAL;
}

bool exports_template_valid(const char *text, const char **ret_why)
{
	static _Thread_local char why[PROFILE_WHY_MAX];

	if (template_valid(text, why))
		return true;
	*ret_why = why;
	return false;
}

bool exports_url_valid(const char *url, const char **ret_why)
{
	static _Thread_local char why[URL_WHY_MAX];
	struct collector_url parsed;
	char template_why[PROFILE_WHY_MAX];

	if (url_parse(url, &parsed, why) >= 0) {
		if (!*parsed.options.template ||
		    template_valid(parsed.options.template, template_why))
			return true;
		snprintf(why, sizeof(why), "template: %s", template_why);
	}
	*ret_why = why;
	return false;
}

int exports_complete_options(struct export_options *o)
{
	_cleanup_(profile_freep) struct profile *profile = NULL;

	o->message_max = o->message_max ? o->message_max : MESSAGE_MAX;
	o->queue_messages = o->queue_messages ? o->queue_messages : QUEUE_MESSAGES;
	o->template_interval_ns = o->template_interval_ns ? o->template_interval_ns : TEMPLATE_NS;
	o->template_messages = o->template_messages ? o->template_messages : TEMPLATE_MESSAGES;
	o->options_interval_ns = o->options_interval_ns ? o->options_interval_ns : OPTIONS_NS;
	o->statistics_interval_ns = o->statistics_interval_ns ? o->statistics_interval_ns
							      : STATISTICS_NS;
	o->template = o->template ? o->template : "default";
	o->enterprise = o->enterprise ? o->enterprise : ENTERPRISE_DEFAULT;
	if (o->message_max < URL_MESSAGE_MIN || o->message_max > URL_MESSAGE_MAX ||
	    o->queue_messages < 16 || o->queue_messages > 65536 || o->dscp > URL_DSCP_MAX)
		return -EINVAL;
	return profile_new(&profile, o->template, o->enterprise, record_kinds(o->drops), NULL);
}

/* What an empty one has of its own. */
static int fill(struct exports *exports, const struct export_options *o, struct loop *loop)
{
	struct export_context *context = &exports->context;

	*context = (struct export_context){
		.options = *o, .loop = loop, .offline = !loop, .blocking = !loop};
	context->options.template = strdup(o->template);
	context->options.source = o->source ? strdup(o->source) : NULL;
	context->hosts = calloc(EXPORT_HOSTS_MAX, sizeof(*context->hosts));
	if (!context->options.template || (o->source && !context->options.source) ||
	    !context->hosts)
		return -ENOMEM;
	if (loop)
		context->base_ms = clock_ns(CLOCK_REALTIME) / NSEC_PER_MSEC - STREAM_BASE_AHEAD_MS;
	return loop ? loop_add_timer(loop, exports_see_off, exports, &exports->leave_timer) : 0;
}

int exports_new(struct exports **ret, const struct export_options *options, struct loop *loop)
{
	struct export_options o = *options;
	struct exports *exports;
	int r = exports_complete_options(&o);

	if (r < 0)
		return r;
	if (ares_library_init(ARES_LIB_INIT_ALL) != ARES_SUCCESS)
		return -ENOMEM;
	exports = calloc(1, sizeof(*exports));
	if (!exports) {
		ares_library_cleanup();
		return -ENOMEM;
	}
	pthread_mutex_init(&exports->lock, NULL);
	r = fill(exports, &o, loop);
	if (r < 0) {
		exports_free(exports);
		return r;
	}
	*ret = exports;
	return 0;
}

void exports_free_collector(struct collector *c)
{
	char *url = (char *)c->account.stats.url, *name = (char *)c->account.stats.name;

	c->ops->free(c);
	free(url);
	free(name);
}

struct exports *exports_free(struct exports *exports)
{
	if (!exports)
		return NULL;
	loop_source_free(exports->leave_timer);
	for (unsigned int i = 0; i < exports->stream_count; i++)
		stream_free(exports->streams[i]);
	for (unsigned int i = 0; i < exports->share_count; i++)
		stream_free(exports->shares[i]);
	for (unsigned int i = exports->leaving_count; i-- > 0;)
		exports_free_collector(exports->leaving[i]);
	for (unsigned int i = exports->count; i-- > 0;)
		exports_free_collector(exports->collectors[i]);
	for (unsigned int i = 0; i < exports->removed_count; i++) {
		free((char *)exports->removed[i].url);
		free((char *)exports->removed[i].name);
	}
	ares_library_cleanup();
	pthread_mutex_destroy(&exports->lock);
	free((char *)exports->context.options.template);
	free((char *)exports->context.options.source);
	free(exports->context.interfaces);
	free(exports->context.hosts);
	free(exports);
	return NULL;
}

/* --- What collectors are told beside flows */

static void make_pending(struct exports *exports, unsigned int kinds)
{
	for (unsigned int i = 0; i < exports->count; i++)
		exports->collectors[i]->session.pending |= kinds;
}

static int compare_interfaces(const void *a, const void *b)
{
	const struct export_interface *one = a, *other = b;

	return (one->ifindex > other->ifindex) - (one->ifindex < other->ifindex);
}

int exports_set_interfaces(struct exports *exports, const struct export_interface *interfaces,
			   unsigned int count)
{
	struct export_context *context = &exports->context;
	size_t size = count * sizeof(*interfaces);
	struct export_interface *copy = malloc(MAX(size, 1u));

	if (!copy)
		return -ENOMEM;
	if (size)
		memcpy(copy, interfaces, size);
	qsort(copy, count, sizeof(*copy), compare_interfaces);
	if (count == context->interface_count &&
	    (!count || !memcmp(copy, context->interfaces, size))) {
		free(copy);
		return 0;
	}
	free(context->interfaces);
	context->interfaces = copy;
	context->interface_count = count;
	for (unsigned int i = 0; i < exports->count; i++)
		exports->collectors[i]->session.next[ANNOUNCE_INTERFACES] = 0;
	make_pending(exports, 1u << ANNOUNCE_TEMPLATES | 1u << ANNOUNCE_INTERFACES);
	return 0;
}

void exports_set_metering(struct exports *exports, uint64_t packets, uint64_t octets)
{
	struct export_unmetered *u = &exports->context.unmetered;

	if (packets != u->packets) {
		u->last_ms = clock_ns(CLOCK_REALTIME) / NSEC_PER_MSEC;
		if (!u->first_ms)
			u->first_ms = u->last_ms;
	}
	u->packets = packets;
	u->octets = octets;
}

static bool rotates_by_time(const struct exports *exports)
{
	for (unsigned int i = 0; i < exports->count; i++)
		if (exports->collectors[i]->settings.rotation.ns)
			return true;
	return false;
}

void exports_set_time(struct exports *exports, uint64_t time_ns)
{
	/* Files are rotated at whole seconds: what was given before is in the file of its time. */
	if (time_ns / NSEC_PER_SEC != exports->context.time_ms / 1000 && rotates_by_time(exports))
		exports_flush(exports);
	exports->context.timed = true;
	exports->context.time_ms = time_ns / NSEC_PER_MSEC;
}

static void move_time(uint64_t *time_ms, int64_t ms)
{
	if (*time_ms)
		*time_ms += (uint64_t)ms;
}

/* What waits in a queue; several may hold the same message, which moves once. */
static void move_queue(const struct queue *q, int64_t ms, bool first)
{
	for (uint32_t i = 0; q && i < q->count; i++) {
		struct message *m = queue_at(q, i)->message;

		if (first && !m->moved)
			message_move(m, ms);
		m->moved = first;
	}
}

static void move_collectors(struct exports *exports, int64_t ms, bool first)
{
	for (unsigned int i = 0; i < exports->count; i++)
		move_queue(exports->collectors[i]->queue, ms, first);
	for (unsigned int i = 0; i < exports->leaving_count; i++)
		move_queue(exports->leaving[i]->queue, ms, first);
}

/*
 * Messages under way are completed after they have moved: a file writes them at once.
 */
static void move_open(struct stream *s, int64_t ms)
{
	for (unsigned int i = 0; i < PROFILE_TEMPLATES_MAX; i++) {
		if (!s->open[i])
			continue;
		message_move(s->open[i], ms);
		s->open[i]->moved = true;
	}
	stream_flush(s);
}

/* The wall clock was wrong when these times were noted: by how much is known now. */
static void move_clock(struct exports *exports, int64_t ms)
{
	struct export_unmetered *u = &exports->context.unmetered;

	log_info("the wall clock has been set by %lld s: times that wait to be exported follow",
		 (long long)(ms / 1000));
	exports->context.clock_moves++;
	for (unsigned int i = 0; i < exports->stream_count; i++)
		move_open(exports->streams[i], ms);
	for (unsigned int i = 0; i < exports->share_count; i++)
		move_open(exports->shares[i], ms);
	exports->context.base_ms += (uint64_t)ms;
	move_collectors(exports, ms, true);
	move_collectors(exports, ms, false);
	for (unsigned int i = 0; i < exports->count; i++) {
		move_time(&exports->collectors[i]->account.first_loss_ms, ms);
		move_time(&exports->collectors[i]->account.last_loss_ms, ms);
	}
	move_time(&u->first_ms, ms);
	move_time(&u->last_ms, ms);
}

void exports_set_clock(struct exports *exports, int64_t offset_ns)
{
	struct export_context *context = &exports->context;
	int64_t wall_ns = (int64_t)(clock_ns(CLOCK_REALTIME) - clock_ns(CLOCK_BOOTTIME));
	int64_t moved_ms = (wall_ns - context->wall_ns) / (int64_t)NSEC_PER_MSEC;

	if (!context->offline && context->wall_ns && (uint64_t)llabs(moved_ms) > SESSION_BRIDGE_MS)
		move_clock(exports, moved_ms);
	context->wall_ns = wall_ns;
	context->clock_ns = offset_ns;
}

/* Those that run, and those that have been removed and still send. */
static unsigned int list_all(const struct exports *exports,
			     struct collector *ret[2 * EXPORT_COLLECTORS_MAX])
{
	unsigned int count = 0;

	for (unsigned int i = 0; i < exports->count; i++)
		ret[count++] = exports->collectors[i];
	for (unsigned int i = 0; i < exports->leaving_count; i++)
		ret[count++] = exports->leaving[i];
	return count;
}

static void hurry(struct exports *exports)
{
	struct collector *all[2 * EXPORT_COLLECTORS_MAX];
	unsigned int count = list_all(exports, all);

	for (unsigned int i = 0; i < count; i++)
		if (all[i]->ops->hurry)
			all[i]->ops->hurry(all[i]);
}

void exports_set_blocking(struct exports *exports)
{
	exports->context.blocking = true;
	hurry(exports);
}

void exports_set_deadline(struct exports *exports, uint64_t (*deadline_ns)(const void *userdata),
			  const void *userdata)
{
	exports->context.deadline_ns = deadline_ns;
	exports->context.deadline_userdata = userdata;
}

/* Records that were in the queue and are not any more. */
static uint64_t records_gone(const struct collector *c)
{
	const struct collector_stats *s = &c->account.stats;

	return s->given.records - s->queued.records - s->lost[EXPORT_LOSS_QUEUE_FULL].records;
}

/* Whether the collector got rid of a record within the last `timeout_ns`. */
static bool progresses(struct collector *c, uint64_t now_ns, uint64_t timeout_ns)
{
	uint64_t gone = records_gone(c);

	if (gone != c->progress_records) {
		c->progress_records = gone;
		c->progress_ns = now_ns;
		c->account.stalled = false;
	}
	c->account.stalled |= now_ns - c->progress_ns >= timeout_ns;
	return !c->account.stalled;
}

/* How long it may go on without progress. */
static uint64_t patience(const struct collector *c, const struct collector_step *step,
			 uint64_t timeout_ns)
{
	bool patient = c->context->offline && step->patient;

	return patient ? MAX(timeout_ns, CONTEXT_PATIENCE_NS) : timeout_ns;
}

/*
 * Steps these collectors until nothing is queued, or what is queued has not moved for timeout_ns.  Those
 * that are stalled already have one step to show that they are not any more.  The deadline ends it, which may become
 * known meanwhile.
 */
void exports_send_queued_of(struct collector **collectors, unsigned int count, uint64_t timeout_ns)
{
	const struct export_context *context = count ? collectors[0]->context : NULL;
	uint64_t start_ns = clock_ns(CLOCK_MONOTONIC);

	for (unsigned int i = 0; i < count; i++)
		collectors[i]->progress_ns = start_ns;
	for (bool first = true;; first = false) {
		struct pollfd fds[2 * EXPORT_COLLECTORS_MAX];
		uint64_t wait_ns = MIN(timeout_ns, DEADLINE_STEP_NS);
		struct collector_step step;
		unsigned int busy = 0;

		for (unsigned int i = 0; i < count; i++) {
			struct collector *c = collectors[i];
			uint64_t now_ns = clock_ns(CLOCK_MONOTONIC), patience_ns;

			if (c->account.stalled && !first)
				continue;
			c->ops->step(c, now_ns, &step);
			patience_ns = patience(c, &step, timeout_ns);
			if (!step.busy || !progresses(c, now_ns, patience_ns))
				continue;
			fds[busy++] = (struct pollfd){.fd = step.fd, .events = step.events};
			wait_ns = MIN(wait_ns,
				      MIN(step.wait_ns, c->progress_ns + patience_ns - now_ns));
		}
		if (!busy || context_overdue(context))
			return;
		ppoll(fds, busy,
		      &(struct timespec){.tv_sec = (time_t)(wait_ns / NSEC_PER_SEC),
					 .tv_nsec = (long)(wait_ns % NSEC_PER_SEC)},
		      NULL);
	}
}

static void make_room(struct collector *c)
{
	if ((c->account.stalled && records_gone(c) == c->progress_records) ||
	    context_overdue(c->context))
		return;
	exports_send_queued_of(&c, 1, BLOCK_TIMEOUT_NS);
}

/* Both directions of a connection go to the same collector. */
static uint64_t flow_hash(const struct flow *flow)
{
	const struct flow_key *k = &flow->key;
	uint64_t ends = XXH3_64bits_withSeed(k->src, sizeof(k->src), k->src_port) +
			XXH3_64bits_withSeed(k->dst, sizeof(k->dst), k->dst_port);

	return XXH3_64bits_withSeed(&ends, sizeof(ends), k->protocol);
}

static bool takes(const struct stream *s, const struct flow *flow)
{
	return profile_has(s->encoding->profile, flow_template_index(flow));
}

static void add_to(struct exports *exports, struct stream *s, const struct flow *flow)
{
	if (!takes(s, flow))
		return;
	for (unsigned int i = 0; exports->context.blocking && i < s->count; i++)
		if (!stream_has_room(s, i, flow))
			make_room(s->members[i]);
	stream_add(s, flow, exports->context.clock_ns);
}

/* To one of those that share the flows and take such a record at all. */
static void add_to_share(struct exports *exports, const struct flow *flow,
			 const struct export_count *n)
{
	unsigned int count = 0, number;

	for (unsigned int i = 0; i < exports->share_count; i++)
		count += takes(exports->shares[i], flow);
	if (!count)
		return;
	count_add(&exports->totals.shared, n);
	number = (unsigned int)(flow_hash(flow) % count);
	for (unsigned int i = 0; i < exports->share_count; i++) {
		struct stream *s = exports->shares[i];

		if (!takes(s, flow) || number-- != 0)
			continue;
		count_add(&s->members[0]->due, n);
		add_to(exports, s, flow);
	}
}

/* Of collectors that choose by no template. */
static bool is_given(const struct collector_stats *stats, enum record_kind kind)
{
	return kind != RECORD_DROP || stats->drops;
}

void exports_flow(void *userdata, const struct flow *flow)
{
	const struct export_count n = count_flow(flow);
	struct exports *exports = userdata;
	enum record_kind kind = flow_record_kind(flow);

	count_add(&exports->totals.kinds[kind], &n);
	for (unsigned int i = 0; i < exports->stream_count; i++)
		add_to(exports, exports->streams[i], flow);
	add_to_share(exports, flow, &n);
	for (unsigned int i = 0; i < exports->count; i++) {
		struct collector *c = exports->collectors[i];

		if (c->ops->flow && is_given(&c->account.stats, kind))
			c->ops->flow(c, flow);
	}
}

static bool nearly_full(const struct collector *c)
{
	return c->queue && c->queue->count > c->queue->slots / 4 * 3;
}

bool exports_have_room(struct exports *exports)
{
	for (unsigned int i = 0; i < exports->count; i++) {
		struct collector *c = exports->collectors[i];

		if (nearly_full(c) && !c->paced)
			c->ops->flush(c); /* it may not have begun */
		if (nearly_full(c) && c->paced)
			return false;
	}
	return true;
}

void exports_flush(struct exports *exports)
{
	for (unsigned int i = 0; i < exports->stream_count; i++)
		stream_flush(exports->streams[i]);
	for (unsigned int i = 0; i < exports->share_count; i++)
		stream_flush(exports->shares[i]);
	for (unsigned int i = 0; i < exports->count; i++)
		exports->collectors[i]->ops->flush(exports->collectors[i]);
}

void exports_give_up(struct collector *c)
{
	struct export_count rest = c->account.stats.queued;

	if (!rest.records)
		return;
	while (c->queue && c->queue->count)
		queue_pop(c->queue);
	c->ops->discard(c);
	account_drop(&c->account, EXPORT_LOSS_UNSENT, &rest);
}

void exports_send_queued(struct exports *exports, uint64_t timeout_ns, bool final)
{
	struct collector *all[2 * EXPORT_COLLECTORS_MAX];
	unsigned int count = list_all(exports, all);

	exports_flush(exports);
	if (final && exports->context.offline)
		hurry(exports); /* live exports_set_blocking() has */
	for (unsigned int i = 0; final && i < count; i++)
		all[i]->account.stalled = false;
	exports_send_queued_of(all, count, timeout_ns);
	for (unsigned int i = 0; final && i < count; i++)
		exports_give_up(all[i]);
}

static struct export_count due_of(const struct exports *exports, const struct collector *c)
{
	const struct collector_stats *stats = &c->account.stats;
	struct export_count due = c->due;

	if (stats->shares || c->leave_ns)
		return due;
	for (int kind = 0; kind < _RECORD_KIND_MAX; kind++)
		if (is_given(stats, (enum record_kind)kind)) {
			count_add(&due, &exports->totals.kinds[kind]);
			count_remove(&due, &c->marks.kinds[kind]);
		}
	return due;
}

void exports_count_due(const struct exports *exports, struct collector *c)
{
	c->account.stats.due = due_of(exports, c);
}

/* NULL past the last.  *ret: the collector that is still there, or NULL. */
static const struct collector_stats *find_stats(const struct exports *exports, unsigned int index,
						struct collector **ret)
{
	struct collector *all[2 * EXPORT_COLLECTORS_MAX];
	unsigned int count = list_all(exports, all);

	*ret = index < count ? all[index] : NULL;
	if (*ret)
		return &(*ret)->account.stats;
	index -= count;
	if (index < exports->removed_count)
		return &exports->removed[index];
	index -= exports->removed_count;
	for (unsigned int i = 0; i < ARRAY_SIZE(exports->merged); i++)
		if (exports->merged[i].url && index-- == 0)
			return &exports->merged[i];
	return NULL;
}

const struct collector_stats *exports_stats(struct exports *exports, unsigned int index)
{
	struct collector *c;
	const struct collector_stats *stats = find_stats(exports, index, &c);

	if (c)
		exports_count_due(exports, c);
	return stats;
}

/* --- Copies. */

/* Puts the words of a collector to `at`; returns where they end. */
static char *copy_words(struct collector_stats *c, char *at)
{
	const char **const words[] = {&c->url, &c->name};

	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		if (*words[i]) {
			size_t size = strlen(*words[i]) + 1;

			*words[i] = memcpy(at, *words[i], size);
			at += size;
		}
	return at;
}

/* With the lock held. */
static struct export_copy *make_copy(const struct exports *exports)
{
	const struct collector_stats *stats;
	struct export_copy *copy;
	struct collector *c;
	unsigned int count = 0;
	size_t words = 0;
	char *at;

	for (; (stats = find_stats(exports, count, &c)); count++)
		words += strlen(stats->url) + 1 + (stats->name ? strlen(stats->name) + 1 : 0);
	copy = malloc(sizeof(*copy) + count * sizeof(*stats) + words);
	if (!copy)
		return NULL;
	copy->totals = exports->totals;
	copy->count = count;
	at = (char *)&copy->stats[count];
	for (unsigned int i = 0; i < count; i++) {
		copy->stats[i] = *find_stats(exports, i, &c);
		if (c)
			copy->stats[i].due = due_of(exports, c);
		at = copy_words(&copy->stats[i], at);
	}
	return copy;
}

struct export_copy *exports_copy(struct exports *exports)
{
	struct export_copy *copy;

	pthread_mutex_lock(&exports->lock);
	copy = make_copy(exports);
	pthread_mutex_unlock(&exports->lock);
	return copy;
}

void export_copy_abandon(struct export_copy *copy)
{
	for (unsigned int i = 0; i < copy->count; i++) {
		struct collector_stats *stats = &copy->stats[i];

		count_add(&stats->lost[EXPORT_LOSS_UNSENT], &stats->queued);
		stats->queued = (struct export_count){0};
	}
}

const struct export_totals *exports_totals(const struct exports *exports)
{
	return &exports->totals;
}
