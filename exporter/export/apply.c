/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Collectors come, change and go.  A plan of what is to be is made first, with all that can fail; then it takes the place
 * of what runs, which cannot.
 */
#include <errno.h>
#include <string.h>
#include "exporter/export/announce.h"
#include "exporter/export/exports.h"
#include "exporter/export/queue.h"
#include "exporter/log.h"
#include "exporter/loop.h"

#define LEAVE_NS \
	(5 * NSEC_PER_SEC) /* so long a collector that was removed may send what is queued */
#define LEAVE_STEP_NS (50 * NSEC_PER_MSEC)

/* The doctor cannot know: it is outside. */
#define OF_SERVICE \
	" (flowtally.service writes below /var/lib/flowtally, and elsewhere if `systemctl edit flowtally` says ReadWritePaths=)"

/* A collector as it is to be. */
struct wanted {
	struct collector_url url; /* its strings are `text` */
	char *text, *name;
	struct collector_settings settings;
	struct encoding *encoding;
	struct collector *c; /* that runs, or that has been made */
	bool made;
	bool changed;
};

/* Collectors that are to be members of one stream. */
struct group {
	struct encoding *encoding; /* the member's */
	struct collector *members[EXPORT_COLLECTORS_MAX];
	unsigned int count;
	bool share;
	struct stream *stream;
	bool made;
};

struct plan {
	struct exports *exports;
	struct export_options options; /* with strings of its own */
	struct wanted wanted[EXPORT_COLLECTORS_MAX];
	unsigned int count;
	struct wanted *order
		[EXPORT_COLLECTORS_MAX]; /* those that run, as they do, and then those that are made */
	struct wanted *
		of[EXPORT_COLLECTORS_MAX]; /* what becomes of the i-th that runs; NULL: it is removed */
	struct group groups[EXPORT_COLLECTORS_MAX];
	unsigned int group_count;
};

static struct plan *plan_free(struct plan *p)
{
	for (unsigned int i = 0; i < p->group_count; i++)
		if (p->groups[i].made)
			stream_free(p->groups[i].stream);
	for (unsigned int i = 0; i < p->count; i++) {
		struct wanted *w = &p->wanted[i];

		if (w->made)
			w->c->ops->free(w->c);
		encoding_unref(w->encoding);
		free(w->text);
		free(w->name);
	}
	free((char *)p->options.template);
	free((char *)p->options.source);
	free(p);
	return NULL;
}
DEFINE_CLEANUP(struct plan *, plan_free)

/* --- What is wanted */

/* What is not a matter of apply stays. */
static int plan_options(struct plan *p, const struct export_options *options)
{
	const struct export_options *now = &p->exports->context.options;
	struct export_options o = *options;
	int r;

	o.domain = now->domain;
	o.enterprise = now->enterprise;
	o.balance = now->balance;
	o.drops = now->drops;
	o.queue_messages = now->queue_messages;
	r = exports_complete_options(&o);
	if (r < 0)
		return r;
	p->options = o;
	p->options.template = strdup(o.template);
	p->options.source = o.source ? strdup(o.source) : NULL;
	return p->options.template && (!o.source || p->options.source) ? 0 : -ENOMEM;
}

/*
 * Most collectors take records of drops for flows of 0 packets, and count them: those in the network get none unless
 * that is asked for.
 */
static bool wants_drops(const struct export_options *o, const struct collector_url *url)
{
	if (url->options.drops != URL_DROPS_UNSAID)
		return o->drops && url->options.drops == URL_DROPS_ON;
	return o->drops && !(o->drops_in_files && url_in_network(url));
}

static void resolve_settings(struct wanted *w, const struct export_options *o)
{
	const struct url_options *own = &w->url.options;
	const char *source = *own->source ? own->source : o->source;
	struct collector_settings *s = &w->settings;
	char why[ADDRESS_WHY_MAX];

	s->message_max = own->message_max ? own->message_max : o->message_max;
	s->drops = wants_drops(o, &w->url);
	s->rotation = (struct file_rotation){own->rotate_ns, own->rotate_size, own->keep};
	if (!url_in_network(&w->url))
		return;
	s->rate = own->rate ? own->rate : o->rate;
	s->retry_ns = own->retry * NSEC_PER_SEC;
	s->dscp = own->dscp >= 0 ? (uint8_t)own->dscp : o->dscp;
	if (source)
		(void)address_parse(source, &s->source, why);
}

static int plan_collector(struct plan *p, const struct export_collector *from)
{
	struct wanted *w = &p->wanted[p->count++];
	char why[URL_WHY_MAX];
	int r;

	w->text = strdup(from->url);
	w->name = from->name ? strdup(from->name) : NULL;
	if (!w->text || (from->name && !w->name))
		return -ENOMEM;
	r = url_parse(w->text, &w->url, why);
	if (r < 0)
		return r;
	if (from->options)
		w->url.options = *from->options;
	resolve_settings(w, &p->options);
	return 0;
}

/* --- Which of those that run it is */

static bool same_target(const struct collector_url *a, const struct collector_url *b)
{
	if (a->scheme != b->scheme)
		return false;
	if (!url_in_network(a))
		return !strcmp(a->path, b->path);
	if (a->port != b->port || a->numeric != b->numeric)
		return false;
	return a->numeric ? address_equal(&a->address, &b->address) : !strcasecmp(a->host, b->host);
}

static bool same_name(const struct wanted *w, const struct collector *c)
{
	const char *name = c->account.stats.name;

	return w->name && name ? !strcmp(w->name, name) : !w->name && !name;
}

static bool same_options(const struct url_options *a, const struct url_options *b)
{
	return !strcmp(a->template, b->template) && !strcmp(a->source, b->source) &&
	       a->rate == b->rate && a->message_max == b->message_max && a->dscp == b->dscp &&
	       a->drops == b->drops && a->retry == b->retry && a->rotate_ns == b->rotate_ns &&
	       a->rotate_size == b->rotate_size && a->keep == b->keep;
}

/* How much is the same, the target at least; 0: it is another collector. */
enum {
	SAME_TARGET = 1,
	SAME_NAME,
	SAME_ALL
};

static int likeness(const struct wanted *w, const struct collector *c)
{
	if (!same_target(&w->url, &c->url))
		return 0;
	if (!same_name(w, c))
		return SAME_TARGET;
	return same_options(&w->url.options, &c->url.options) ? SAME_ALL : SAME_NAME;
}

/* Those that are alike in all find each other first. */
static void match(struct plan *p)
{
	struct exports *exports = p->exports;

	for (int least = SAME_ALL; least >= SAME_TARGET; least--) {
		for (unsigned int i = 0; i < p->count; i++) {
			struct wanted *w = &p->wanted[i];

			for (unsigned int j = 0; !w->c && j < exports->count; j++) {
				if (p->of[j] || likeness(w, exports->collectors[j]) < least)
					continue;
				w->c = exports->collectors[j];
				p->of[j] = w;
			}
		}
	}
}

/* Shares follow from the order: who stays keeps its place. */
static void put_in_order(struct plan *p)
{
	unsigned int count = 0;

	for (unsigned int i = 0; i < p->exports->count; i++)
		if (p->of[i])
			p->order[count++] = p->of[i];
	for (unsigned int i = 0; i < p->count; i++)
		if (!p->wanted[i].c)
			p->order[count++] = &p->wanted[i];
}

/* --- Encodings */

static bool has_stream(const struct wanted *w)
{
	return w->url.scheme != URL_JSON;
}

static int make_profile(const struct plan *p, const struct wanted *w, struct profile **ret)
{
	const struct export_options *o = &p->options;
	const char *own = w->url.options.template;
	_cleanup_(profile_freep) struct profile *profile = NULL;
	struct session none = {0};
	int r = profile_new(&profile, has_stream(w) && *own ? own : o->template, o->enterprise,
			    record_kinds(has_stream(w) ? w->settings.drops : o->drops), NULL);

	if (r >= 0)
		r = session_reserve_ids(w->c ? &w->c->session : &none, profile);
	session_done(&none);
	if (r >= 0)
		*ret = TAKE_PTR(profile);
	return r;
}

/* An encoding that there is already; its own rather than another's. */
static struct encoding *find_encoding(const struct plan *p, const struct wanted *w,
				      const struct encoding *like)
{
	struct exports *exports = p->exports;

	if (w->c && encoding_equal(w->encoding, like))
		return w->encoding;
	for (unsigned int i = 0; i < exports->count; i++) {
		struct collector *c = exports->collectors[i];

		if (c->stream && encoding_equal(c->stream->encoding, like))
			return c->stream->encoding;
	}
	for (const struct wanted *other = p->wanted; other < w; other++)
		if (encoding_equal(other->encoding, like))
			return other->encoding;
	return NULL;
}

static const struct protocol *protocol_of(const struct collector_url *url)
{
	return url->scheme == URL_NETFLOW9 ? &protocol_netflow9 : &protocol_ipfix;
}

size_t exports_octets_needed(const struct export_options *options, const struct collector_url *url)
{
	_cleanup_(profile_freep) struct profile *profile = NULL;
	const char *own = url->options.template;
	struct export_options o = *options;

	if (exports_complete_options(&o) < 0 ||
	    profile_new(&profile, *own ? own : o.template, o.enterprise,
			record_kinds(wants_drops(&o, url)), NULL) < 0)
		return 0;
	return announce_template_octets(profile, protocol_of(url));
}

static bool same_settings(const struct collector_settings *a, const struct collector_settings *b)
{
	return a->rate == b->rate && a->retry_ns == b->retry_ns && a->dscp == b->dscp &&
	       a->message_max == b->message_max && a->drops == b->drops &&
	       address_equal(&a->source, &b->source) && a->rotation.ns == b->rotation.ns &&
	       a->rotation.size == b->rotation.size && a->rotation.keep == b->rotation.keep;
}

static int plan_encoding(struct plan *p, struct wanted *w)
{
	_cleanup_(profile_freep) struct profile *profile = NULL;
	struct encoding like, *found;
	int r = make_profile(p, w, &profile);

	if (r < 0)
		return r;
	like = (struct encoding){.protocol = protocol_of(&w->url),
				 .profile = profile,
				 .message_max = has_stream(w) ? w->settings.message_max : 0};
	if (w->c)
		w->encoding = encoding_ref(w->c->stream ? w->c->stream->encoding : w->c->announced);
	found = find_encoding(p, w, &like);
	if (found)
		encoding_ref(found);
	else
		r = encoding_new(&found, like.protocol, TAKE_PTR(profile), like.message_max);
	w->changed = w->c &&
		     (found != w->encoding || !same_settings(&w->settings, &w->c->settings));
	encoding_unref(w->encoding);
	w->encoding = r < 0 ? NULL : found;
	return r;
}

/* --- What has to be made */

static int make_collector(struct plan *p, struct wanted *w)
{
	const struct export_context *context = &p->exports->context;
	int r;

	if (w->c)
		return 0;
	r = url_in_network(&w->url)
		    ? network_collector_new(&w->c, &w->url, &w->settings, w->encoding, context)
		    : file_collector_new(&w->c, &w->url, &w->settings, w->encoding, context);
	if (r < 0)
		return r;
	w->made = true;
	return session_reserve_ids(&w->c->session, w->encoding->profile);
}

static void join_group(struct plan *p, struct wanted *w)
{
	bool share = url_in_network(&w->url) && p->options.balance;
	struct group *g = NULL;

	for (unsigned int i = 0; !share && !g && i < p->group_count; i++)
		if (!p->groups[i].share && encoding_equal(p->groups[i].encoding, w->encoding))
			g = &p->groups[i];
	if (!g) {
		g = &p->groups[p->group_count++];
		g->encoding = w->encoding;
		g->share = share;
	}
	g->members[g->count++] = w->c;
}

static bool is_stream_of(const struct stream *s, const struct group *g)
{
	return s->count == g->count && encoding_equal(s->encoding, g->encoding) &&
	       !memcmp(s->members, g->members, g->count * sizeof(*g->members));
}

/* The generation there is, where nothing has changed. */
static struct stream *find_stream(const struct exports *exports, const struct group *g)
{
	struct stream *const *streams = g->share ? exports->shares : exports->streams;
	unsigned int count = g->share ? exports->share_count : exports->stream_count;

	for (unsigned int i = 0; i < count; i++)
		if (is_stream_of(streams[i], g))
			return streams[i];
	return NULL;
}

static int make_streams(struct plan *p)
{
	for (unsigned int i = 0; i < p->count; i++)
		if (has_stream(p->order[i]))
			join_group(p, p->order[i]);
	for (unsigned int i = 0; i < p->group_count; i++) {
		struct group *g = &p->groups[i];
		int r;

		g->stream = find_stream(p->exports, g);
		if (g->stream)
			continue;
		r = stream_new(&g->stream, g->encoding, &p->exports->context.base_ms, g->members,
			       g->count);
		if (r < 0)
			return r;
		g->made = true;
	}
	return 0;
}

/* All that can fail; `ret_bad` is set then to the collector that it is about. */
static int prepare(struct plan *p, const struct export_collector *collectors, unsigned int count,
		   const struct export_collector **ret_bad)
{
	int r = 0;

	for (unsigned int i = 0; i < count && r >= 0; i++) {
		*ret_bad = &collectors[i];
		r = plan_collector(p, &collectors[i]);
	}
	if (r < 0)
		return r;
	match(p);
	put_in_order(p);
	for (unsigned int i = 0; i < count && r >= 0; i++) {
		*ret_bad = &collectors[i];
		r = plan_encoding(p, &p->wanted[i]);
	}
	for (unsigned int i = 0; i < count && r >= 0; i++) {
		*ret_bad = &collectors[i];
		r = make_collector(p, &p->wanted[i]);
	}
	if (r < 0)
		return r;
	*ret_bad = NULL;
	return make_streams(p);
}

/* --- Those that have been removed */

static struct collector_stats *keep(struct exports *exports)
{
	struct collector_stats *oldest = &exports->removed[0];
	struct collector_stats *sum = &exports->merged[oldest->shares];

	if (exports->removed_count < EXPORTS_REMOVED_MAX)
		return &exports->removed[exports->removed_count++];
	sum->url = "removed collectors";
	sum->state = COLLECTOR_REMOVED;
	sum->shares = oldest->shares;
	sum->drops |= oldest->drops;
	count_add(&sum->due, &oldest->due);
	count_add(&sum->given, &oldest->given);
	count_add(&sum->exported, &oldest->exported);
	for (unsigned int i = 0; i < _EXPORT_LOSS_MAX; i++)
		count_add(&sum->lost[i], &oldest->lost[i]);
	sum->messages += oldest->messages;
	sum->bytes += oldest->bytes;
	sum->template_messages += oldest->template_messages;
	sum->cut += oldest->cut;
	sum->errors += oldest->errors;
	free((char *)oldest->url);
	free((char *)oldest->name);
	memmove(oldest, oldest + 1, (EXPORTS_REMOVED_MAX - 1) * sizeof(*oldest));
	return &exports->removed[EXPORTS_REMOVED_MAX - 1];
}

static void end(struct exports *exports, unsigned int index)
{
	struct collector *c = exports->leaving[index];

	exports_give_up(c);
	pthread_mutex_lock(&exports->lock);
	*keep(exports) = c->account.stats; /* with its strings */
	exports->leaving_count--;
	memmove(&exports->leaving[index], &exports->leaving[index + 1],
		(exports->leaving_count - index) * sizeof(c));
	c->account.stats.url = c->account.stats.name = NULL;
	pthread_mutex_unlock(&exports->lock);
	exports_free_collector(c);
}

int exports_see_off(void *userdata, _unused_ uint32_t events)
{
	struct exports *exports = userdata;
	uint64_t now_ns = clock_ns(CLOCK_MONOTONIC);

	for (unsigned int i = exports->leaving_count; i-- > 0;) {
		const struct collector *c = exports->leaving[i];

		if (!c->account.stats.queued.records || now_ns >= c->leave_ns)
			end(exports, i);
	}
	if (!exports->leave_timer || !exports->leaving_count)
		return 0;
	return loop_set_timer(exports->leave_timer, LEAVE_STEP_NS, 0);
}

/* What its stream had under way is in its queue.  With the lock held; there is a place. */
static void leave(struct exports *exports, struct collector *c)
{
	c->stream = NULL;
	exports_count_due(exports, c);
	c->leave_ns = clock_ns(CLOCK_MONOTONIC) + LEAVE_NS;
	c->due = c->account.stats.due;
	c->account.stats.state = COLLECTOR_REMOVED;
	exports->leaving[exports->leaving_count++] = c;
}

static void send_last(struct exports *exports, struct collector *c)
{
	if (context_on_loop(&exports->context))
		c->ops->flush(c);
	else
		exports_send_queued_of(&c, 1, LEAVE_NS);
	if (!context_on_loop(&exports->context))
		c->leave_ns = clock_ns(CLOCK_MONOTONIC);
}

/* --- The plan becomes what is */

static void take_streams(struct plan *p)
{
	struct exports *exports = p->exports;

	exports->stream_count = exports->share_count = 0;
	for (unsigned int i = 0; i < p->group_count; i++) {
		struct group *g = &p->groups[i];

		g->made = false;
		for (unsigned int j = 0; j < g->count; j++)
			g->members[j]->stream = g->stream;
		if (g->share)
			exports->shares[exports->share_count++] = g->stream;
		else
			exports->streams[exports->stream_count++] = g->stream;
	}
}

static bool is_in_plan(const struct plan *p, const struct stream *s)
{
	for (unsigned int i = 0; i < p->group_count; i++)
		if (p->groups[i].stream == s)
			return true;
	return false;
}

/* What they have under way goes into the queues of their members, before all that comes now. */
static void retire_streams(struct plan *p)
{
	struct exports *exports = p->exports;

	for (unsigned int i = 0; i < exports->stream_count; i++)
		if (!is_in_plan(p, exports->streams[i]))
			stream_retire(exports->streams[i]);
	for (unsigned int i = 0; i < exports->share_count; i++)
		if (!is_in_plan(p, exports->shares[i]))
			stream_retire(exports->shares[i]);
}

/* Other options in place of those there are, which the plan frees. */
static void take_options(struct plan *p)
{
	struct export_options before = p->exports->context.options;

	p->exports->context.options = p->options;
	p->options = before;
}

static void take_strings(struct wanted *w)
{
	struct collector_stats *stats = &w->c->account.stats;
	char *url = (char *)stats->url, *name = (char *)stats->name;

	w->c->url = w->url;
	stats->url = w->text;
	stats->name = w->name;
	w->text = w->made ? NULL : url; /* the plan frees those of before */
	w->name = name;
}

/* The collector goes on, with what is new. */
static void carry_on(struct exports *exports, struct wanted *w)
{
	struct collector *c = w->c;
	struct collector_stats *stats = &c->account.stats;

	session_retime(&c->session, clock_ns(CLOCK_MONOTONIC));
	if (!w->changed)
		return;
	if (stats->drops != w->settings.drops) {
		pthread_mutex_lock(&exports->lock);
		exports_count_due(exports, c);
		c->due = stats->due;
		c->marks = exports->totals;
		stats->drops = w->settings.drops;
		pthread_mutex_unlock(&exports->lock);
	}
	if (!c->queue) {
		encoding_unref(c->announced);
		c->announced = encoding_ref(w->encoding);
	}
	c->ops->change(c, &w->settings);
	c->settings = w->settings;
}

/* It is one of those that run.  With the lock held. */
static void enter(struct exports *exports, const struct wanted *w)
{
	struct collector *c = w->c;

	c->account.stats.number = ++exports->numbers;
	c->settings = w->settings;
	c->account.stats.shares = url_in_network(&c->url) && exports->context.options.balance;
	c->account.stats.drops = c->settings.drops;
	c->marks = exports->totals;
}

static void begin(struct wanted *w)
{
	w->made = false;
	w->c->ops->begin(w->c);
}

/* All that another thread may look at, at once; nothing here takes time. */
static void change_lists(struct plan *p, struct collector *const *gone, unsigned int gone_count)
{
	struct exports *exports = p->exports;

	while (exports->leaving_count + gone_count > EXPORT_COLLECTORS_MAX)
		end(exports, 0);
	pthread_mutex_lock(&exports->lock);
	exports->count = p->count;
	for (unsigned int i = 0; i < p->count; i++) {
		exports->collectors[i] = p->order[i]->c;
		take_strings(p->order[i]);
		if (p->order[i]->made)
			enter(exports, p->order[i]);
	}
	for (unsigned int i = 0; i < gone_count; i++)
		leave(exports, gone[i]);
	pthread_mutex_unlock(&exports->lock);
}

static void commit(struct plan *p, struct export_changes *changes)
{
	struct exports *exports = p->exports;
	struct collector *gone[EXPORT_COLLECTORS_MAX];

	retire_streams(p);
	for (unsigned int i = 0; i < exports->count; i++)
		if (!p->of[i])
			gone[changes->removed++] = exports->collectors[i];
	take_options(p);
	take_streams(p);
	change_lists(p, gone, changes->removed);
	for (unsigned int i = 0; i < changes->removed; i++)
		send_last(exports, gone[i]);
	exports_see_off(exports, 0); /* closes files that others begin */
	for (unsigned int i = 0; i < p->count; i++) {
		struct wanted *w = p->order[i];

		changes->added += w->made;
		changes->changed += w->changed;
		changes->kept += !w->made && !w->changed;
		if (w->made)
			begin(w);
		else
			carry_on(exports, w);
	}
}

static int apply(struct exports *exports, const struct export_options *options,
		 const struct export_collector *collectors, unsigned int count,
		 struct export_changes *changes, const struct export_collector **ret_bad)
{
	_cleanup_(plan_freep) struct plan *p = NULL;
	int r;

	*ret_bad = NULL;
	if (count > EXPORT_COLLECTORS_MAX)
		return -ENOSPC;
	p = calloc(1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	p->exports = exports;
	r = plan_options(p, options);
	if (r >= 0)
		r = prepare(p, collectors, count, ret_bad);
	if (r < 0)
		return r;
	commit(p, changes);
	return 0;
}

int exports_apply(struct exports *exports, const struct export_options *options,
		  const struct export_collector *collectors, unsigned int count,
		  struct export_changes *ret)
{
	const struct export_collector *bad;
	struct export_changes changes = {0};
	int r = apply(exports, options, collectors, count, &changes, &bad);

	if (r < 0 && bad)
		return log_errno(LOG_ERR, r, "cannot open collector '%s'%s", bad->url,
				 r == -EROFS ? OF_SERVICE : "");
	if (r < 0)
		return log_errno(LOG_ERR, r, "cannot apply the settings of export");
	if (ret)
		*ret = changes;
	return 0;
}

int exports_add(struct exports *exports, const char *url)
{
	struct export_collector all[EXPORT_COLLECTORS_MAX + 1];
	struct export_changes changes = {0};
	const struct export_collector *bad;

	for (unsigned int i = 0; i < exports->count; i++) {
		const struct collector *c = exports->collectors[i];

		all[i] = (struct export_collector){.url = c->account.stats.url,
						   .name = c->account.stats.name,
						   .options = &c->url.options};
	}
	all[exports->count] = (struct export_collector){.url = url};
	return apply(exports, &exports->context.options, all, exports->count + 1, &changes, &bad);
}
