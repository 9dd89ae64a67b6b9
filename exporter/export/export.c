/* SPDX-License-Identifier: Apache-2.0 */
#include <ares.h>
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <xxhash.h>
#include "exporter/export/control.h"
#include "exporter/export/stream.h"
#include "exporter/export/transport/udp_health.h"
#include "exporter/log.h"

#define MESSAGE_MAX	  1400 /* fits an Ethernet frame with tunnel headers around it */
#define QUEUE_MESSAGES	  8192
#define TEMPLATE_NS	  (60 * NSEC_PER_SEC)
#define TEMPLATE_MESSAGES 1000
#define OPTIONS_NS	  (300 * NSEC_PER_SEC)
#define STATISTICS_NS	  (60 * NSEC_PER_SEC)
#define BLOCK_TIMEOUT_NS  (1 * NSEC_PER_SEC)
#define DEADLINE_STEP_NS  (100 * NSEC_PER_MSEC) /* between two looks at the deadline */

/* A stream and what it is made by: collectors that ask for the same share it. */
struct exports_stream {
	struct stream stream;
	struct profile *profile;
};

struct exports {
	struct export_context context;
	struct profile *profile; /* of collectors that ask for none */
	struct collector *collectors[EXPORT_COLLECTORS_MAX];
	unsigned int count;
	struct exports_stream *streams[EXPORT_COLLECTORS_MAX]; /* mirrored: each gets all flows */
	unsigned int stream_count;
	struct exports_stream *shares[EXPORT_COLLECTORS_MAX]; /* balanced: each flow goes to one */
	unsigned int share_count;
};

static unsigned int record_kinds(bool drops)
{
	return 1u << RECORD_FLOW | (unsigned int)drops << RECORD_DROP;
}

static bool template_valid(const char *text, char why[PROFILE_WHY_MAX])
{
	_cleanup_(profile_freep) struct profile *profile = NULL;

	why[0] = '\0';
	return profile_new(&profile, text, ENTERPRISE_DEFAULT, record_kinds(false), why) != -EINVAL;
}

bool exports_template_valid(const char *text, const char **ret_why)
{
	static char why[PROFILE_WHY_MAX];

	if (template_valid(text, why))
		return true;
	*ret_why = why;
	return false;
}

bool exports_url_valid(const char *url, const char **ret_why)
{
	static char why[URL_WHY_MAX];
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

static void set_defaults(struct export_options *o)
{
	o->message_max = o->message_max ? o->message_max : MESSAGE_MAX;
	o->queue_messages = o->queue_messages ? o->queue_messages : QUEUE_MESSAGES;
	o->template_interval_ns = o->template_interval_ns ? o->template_interval_ns : TEMPLATE_NS;
	o->template_messages = o->template_messages ? o->template_messages : TEMPLATE_MESSAGES;
	o->options_interval_ns = o->options_interval_ns ? o->options_interval_ns : OPTIONS_NS;
	o->statistics_interval_ns = o->statistics_interval_ns ? o->statistics_interval_ns
							      : STATISTICS_NS;
	o->template = o->template ? o->template : "default";
	o->enterprise = o->enterprise ? o->enterprise : ENTERPRISE_DEFAULT;
}

int exports_new(struct exports **ret, const struct export_options *options, struct loop *loop)
{
	struct export_options o = *options;
	struct exports *exports;
	int r;

	set_defaults(&o);
	if (o.message_max < URL_MESSAGE_MIN || o.message_max > URL_MESSAGE_MAX ||
	    o.queue_messages < 16 || o.queue_messages > 65536 || o.dscp > URL_DSCP_MAX)
		return -EINVAL;
	if (ares_library_init(ARES_LIB_INIT_ALL) != ARES_SUCCESS)
		return -ENOMEM;
	exports = calloc(1, sizeof(*exports));
	if (!exports) {
		ares_library_cleanup();
		return -ENOMEM;
	}
	exports->context = (struct export_context){
		.options = o, .loop = loop, .offline = !loop, .blocking = !loop};
	exports->context.hosts = calloc(EXPORT_HOSTS_MAX, sizeof(*exports->context.hosts));
	r = exports->context.hosts
		    ? profile_new(&exports->profile, o.template, o.enterprise, record_kinds(o.drops), NULL)
		    : -ENOMEM;
	if (r < 0) {
		exports_free(exports);
		return r;
	}
	*ret = exports;
	return 0;
}

static void free_collector(struct collector *c)
{
	char *url = (char *)c->account.stats.url, *name = (char *)c->account.stats.name;

	c->ops->free(c);
	free(url);
	free(name);
}

static void free_stream(struct exports_stream *s)
{
	stream_done(&s->stream);
	profile_free(s->profile);
	free(s);
}

struct exports *exports_free(struct exports *exports)
{
	if (!exports)
		return NULL;
	for (unsigned int i = exports->count; i-- > 0;)
		free_collector(exports->collectors[i]);
	for (unsigned int i = 0; i < exports->stream_count; i++)
		free_stream(exports->streams[i]);
	for (unsigned int i = 0; i < exports->share_count; i++)
		free_stream(exports->shares[i]);
	ares_library_cleanup();
	profile_free(exports->profile);
	free(exports->context.interfaces);
	free(exports->context.hosts);
	free(exports);
	return NULL;
}

/* --- Collectors and their streams */

static uint16_t message_max(const struct exports *exports, const struct collector_url *url)
{
	return url->options.message_max ? url->options.message_max
					: exports->context.options.message_max;
}

static const struct protocol *protocol_of(const struct collector_url *url)
{
	return url->scheme == URL_NETFLOW9 ? &protocol_netflow9 : &protocol_ipfix;
}

static struct exports_stream *find_stream(struct exports *exports, const struct collector_url *url,
					  const struct profile *profile)
{
	for (unsigned int i = 0; i < exports->stream_count; i++) {
		struct exports_stream *s = exports->streams[i];

		if (s->stream.protocol == protocol_of(url) &&
		    s->stream.message_max == message_max(exports, url) &&
		    profile_equal(s->profile, profile))
			return s;
	}
	return NULL;
}

/*
 * Most collectors take records of drops for flows of 0 packets, and count them: those in the network get none unless
 * that is asked for.
 */
static bool wants_drops(const struct exports *exports, const struct collector_url *url)
{
	const struct export_options *o = &exports->context.options;

	if (url->options.drops != URL_DROPS_UNSAID)
		return o->drops && url->options.drops == URL_DROPS_ON;
	return o->drops && !(o->drops_in_files && url_in_network(url));
}

/* The stream that this collector is to be a member of; a new one has no members, and is not in use yet. */
static int get_stream(struct exports *exports, const struct collector_url *url, bool share,
		      struct exports_stream **ret)
{
	const struct export_options *o = &exports->context.options;
	_cleanup_(profile_freep) struct profile *profile = NULL;
	struct exports_stream *s = NULL;
	int r = profile_new(&profile, *url->options.template ? url->options.template : o->template,
			    o->enterprise, record_kinds(wants_drops(exports, url)), NULL);

	if (r < 0)
		return r;
	if (!share)
		s = find_stream(exports, url, profile);
	if (!s) {
		s = calloc(1, sizeof(*s));
		if (!s)
			return -ENOMEM;
		s->profile = TAKE_PTR(profile);
		stream_init(&s->stream, protocol_of(url), s->profile, message_max(exports, url));
		if (!exports->context.offline)
			s->stream.base_ms =
				clock_ns(CLOCK_REALTIME) / NSEC_PER_MSEC - STREAM_BASE_AHEAD_MS;
	}
	*ret = s;
	return 0;
}

/* A collector that becomes a member of the stream, or none. */
static int make_member(struct exports *exports, const struct collector_url *url, struct stream *s,
		       struct collector **ret)
{
	struct collector *c;
	int r = url_in_network(url) ? network_collector_new(&c, url, s, &exports->context)
				    : file_collector_new(&c, url, s, &exports->context);

	if (r < 0)
		return r;
	r = stream_join(s, c);
	if (r < 0) {
		c->ops->free(c);
		return r;
	}
	*ret = c;
	return 0;
}

static int make_collector(struct exports *exports, const struct collector_url *url,
			  struct collector **ret)
{
	bool share = url_in_network(url) && exports->context.options.balance;
	struct exports_stream *s;
	int r;

	if (url->scheme == URL_JSON)
		return json_collector_new(ret, url, exports->profile, &exports->context);
	r = get_stream(exports, url, share, &s);
	if (r < 0)
		return r;
	r = make_member(exports, url, &s->stream, ret);
	if (r < 0) {
		/* A stream without members would take flows from the others. */
		if (!s->stream.count)
			free_stream(s);
		return r;
	}
	(*ret)->account.stats.shares = share;
	if (s->stream.count > 1)
		return 0;
	if (share)
		exports->shares[exports->share_count++] = s;
	else
		exports->streams[exports->stream_count++] = s;
	return 0;
}

int exports_add(struct exports *exports, const char *url)
{
	return exports_add_collector(exports, &(struct export_collector){.url = url});
}

int exports_add_collector(struct exports *exports, const struct export_collector *collector)
{
	_cleanup_(freep) char *url = strdup(collector->url), *name = NULL;
	struct collector_url parsed;
	char why[URL_WHY_MAX];
	struct collector *c;
	int r;

	if (collector->name)
		name = strdup(collector->name);
	if (!url || (collector->name && !name))
		return -ENOMEM;
	if (exports->count == EXPORT_COLLECTORS_MAX)
		return -ENOSPC;
	r = url_parse(url, &parsed, why);
	if (r < 0)
		return r;
	if (collector->options)
		parsed.options = *collector->options;
	r = make_collector(exports, &parsed, &c);
	if (r < 0)
		return r;
	TAKE_PTR(url); /* is stats.url */
	c->account.stats.name = TAKE_PTR(name);
	c->account.stats.drops = wants_drops(exports, &parsed);
	exports->collectors[exports->count++] = c;
	c->number = exports->count;
	return 0;
}

/* --- What collectors are told beside flows */

static void make_pending(struct exports *exports, unsigned int kinds)
{
	for (unsigned int i = 0; i < exports->count; i++)
		exports->collectors[i]->control.pending |= kinds;
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
		exports->collectors[i]->control.next[CONTROL_INTERFACES] = 0;
	make_pending(exports, 1u << CONTROL_TEMPLATES | 1u << CONTROL_INTERFACES);
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

void exports_set_time(struct exports *exports, uint64_t time_ns)
{
	exports->context.timed = true;
	exports->context.time_ms = time_ns / NSEC_PER_MSEC;
}

static void move_time(uint64_t *time_ms, int64_t ms)
{
	if (*time_ms)
		*time_ms += (uint64_t)ms;
}

/* The wall clock was wrong when these times were noted: by how much is known now. */
static void move_clock(struct exports *exports, int64_t ms)
{
	struct export_unmetered *u = &exports->context.unmetered;

	log_info("the wall clock has been set by %lld s: times that wait to be exported follow",
		 (long long)(ms / 1000));
	exports->context.clock_moves++;
	for (unsigned int i = 0; i < exports->stream_count; i++)
		stream_move_clock(&exports->streams[i]->stream, ms);
	for (unsigned int i = 0; i < exports->share_count; i++)
		stream_move_clock(&exports->shares[i]->stream, ms);
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

void exports_set_blocking(struct exports *exports)
{
	exports->context.blocking = true;
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

/*
 * Steps these collectors until nothing is queued, or what is queued has not moved for timeout_ns.  Those
 * that are stalled already have one step to show that they are not any more.  The deadline ends it, which may become
 * known meanwhile.
 */
static void drain(struct collector **collectors, unsigned int count, uint64_t timeout_ns)
{
	const struct export_context *context = count ? collectors[0]->context : NULL;
	uint64_t start_ns = clock_ns(CLOCK_MONOTONIC);

	for (unsigned int i = 0; i < count; i++)
		collectors[i]->progress_ns = start_ns;
	for (bool first = true;; first = false) {
		struct pollfd fds[EXPORT_COLLECTORS_MAX];
		uint64_t wait_ns = MIN(timeout_ns, DEADLINE_STEP_NS);
		struct collector_step step;
		unsigned int busy = 0;

		for (unsigned int i = 0; i < count; i++) {
			struct collector *c = collectors[i];
			uint64_t now_ns = clock_ns(CLOCK_MONOTONIC);

			if (c->account.stalled && !first)
				continue;
			c->ops->step(c, now_ns, &step);
			if (!step.busy || !progresses(c, now_ns, timeout_ns))
				continue;
			fds[busy++] = (struct pollfd){.fd = step.fd, .events = step.events};
			wait_ns = MIN(wait_ns,
				      MIN(step.wait_ns, c->progress_ns + timeout_ns - now_ns));
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
	drain(&c, 1, BLOCK_TIMEOUT_NS);
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
	return profile_has(s->profile, flow_template_index(flow));
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
static void add_to_share(struct exports *exports, const struct flow *flow)
{
	unsigned int count = 0, number;

	for (unsigned int i = 0; i < exports->share_count; i++)
		count += takes(&exports->shares[i]->stream, flow);
	if (!count)
		return;
	number = (unsigned int)(flow_hash(flow) % count);
	for (unsigned int i = 0; i < exports->share_count; i++) {
		struct stream *s = &exports->shares[i]->stream;

		if (takes(s, flow) && number-- == 0)
			add_to(exports, s, flow);
	}
}

void exports_flow(void *userdata, const struct flow *flow)
{
	struct exports *exports = userdata;
	bool drop = flow_is_drop(flow);

	for (unsigned int i = 0; i < exports->stream_count; i++)
		add_to(exports, &exports->streams[i]->stream, flow);
	add_to_share(exports, flow);
	for (unsigned int i = 0; i < exports->count; i++) {
		struct collector *c = exports->collectors[i];

		if (c->ops->flow && (!drop || c->account.stats.drops))
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
		stream_flush(&exports->streams[i]->stream);
	for (unsigned int i = 0; i < exports->share_count; i++)
		stream_flush(&exports->shares[i]->stream);
	for (unsigned int i = 0; i < exports->count; i++)
		exports->collectors[i]->ops->flush(exports->collectors[i]);
}

/* Empties the queue; the counters are the caller's to set. */
static void discard(struct collector *c)
{
	while (c->queue && c->queue->count)
		queue_pop(c->queue);
	if (c->ops->discard)
		c->ops->discard(c);
}

void exports_drain(struct exports *exports, uint64_t timeout_ns, bool final)
{
	exports_flush(exports);
	for (unsigned int i = 0; final && i < exports->count; i++)
		exports->collectors[i]->account.stalled = false;
	drain(exports->collectors, exports->count, timeout_ns);
	for (unsigned int i = 0; final && i < exports->count; i++) {
		struct collector *c = exports->collectors[i];
		struct export_count rest = c->account.stats.queued;

		if (!rest.records)
			continue;
		discard(c);
		account_drop(&c->account, EXPORT_LOSS_UNSENT, &rest);
	}
}

void exports_abandon(struct exports *exports)
{
	for (unsigned int i = 0; i < exports->count; i++) {
		struct collector_stats *stats = &exports->collectors[i]->account.stats;
		struct export_count rest = stats->queued;

		count_remove(&stats->queued, &rest);
		count_add(&stats->lost[EXPORT_LOSS_UNSENT], &rest);
	}
}

const struct collector_stats *exports_stats(struct exports *exports, unsigned int index)
{
	return index < exports->count ? &exports->collectors[index]->account.stats : NULL;
}
