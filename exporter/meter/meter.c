/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include "exporter/log.h"
#include "exporter/loop.h"
#include "exporter/meter/kernel_clock.h"
#include "exporter/meter/kind.h"
#include "exporter/meter/meter.h"
#include "exporter/thread.h"

/* Slots for reasons of datapaths that are gone, a power of two; a half of them is used at most. */
#define REASON_SLOTS (4 * UNRECORDED_MAX)

/* A datapath and its drain; NULL, NULL: none. */
struct generation {
	struct datapath *datapath;
	struct drain *drain;
};

/* What datapaths that are gone have counted. */
struct past {
	struct meter_count count;
	uint32_t reason_count;
	struct drain_reason
		reasons[REASON_SLOTS]; /* by hash of the key; free where reason is REASON_NONE */
	struct drop_count drops[DROP_REASON_MAX];
};

/*
 * A datapath that is loaded by a thread, which nobody waits for: the last of meter and thread to leave frees this.  The thread
 * has the options and what they make, until it has written to `done`.
 */
struct loading {
	unsigned int owners; /* by atomic operations */
	int done;	     /* eventfd: the thread is at its end */
	struct datapath_options options;
	struct datapath *made;
	int error;
	struct datapath
		*replaced; /* left here by a meter that went before the thread was done with it */
};

struct meter {
	struct meter_options options;
	struct drop_filter filter; /* what options.datapath.drops was, or has become */
	bool retiring;
	bool late; /* options.retired() has been called, and the old one is still there */

	/* Changed by the loop's thread with the lock held, which others need to read. */
	pthread_mutex_t lock;
	struct generation now;
	struct generation old;
	struct past past;
	uint64_t missed; /* drops, when that was last known */

	bool preparing; /* there is a thread that loads */
	struct loading *loading;
	struct loop_source *source; /* of its descriptor */
};

static struct loading *loading_leave(struct loading *l)
{
	if (__atomic_sub_fetch(&l->owners, 1, __ATOMIC_ACQ_REL) > 0)
		return NULL;
	datapath_freep(&l->made);
	datapath_freep(&l->replaced);
	closep(&l->done);
	free(l);
	return NULL;
}
DEFINE_CLEANUP(struct loading *, loading_leave)

static void generation_clear(struct generation *g)
{
	if (g->drain)
		g->drain = drain_free(g->drain);
	datapath_freep(&g->datapath);
}

/* All that both have given, nothing of which waits in a bank. */
static uint64_t swapped_ns(const struct meter *m)
{
	uint64_t ns = drain_swapped_ns(m->now.drain);

	return m->old.drain ? MIN(ns, drain_swapped_ns(m->old.drain)) : ns;
}

static void on_batch(void *userdata, struct drain_batch *batch)
{
	const struct meter *m = userdata;

	batch->swap_ns = swapped_ns(m);
	m->options.callback(m->options.userdata, batch);
}

/* --- What is gone. */

static struct drain_reason *find_reason(struct past *p, const struct reason_key *key)
{
	uint64_t bits;
	size_t n;

	memcpy(&bits, key, sizeof(bits));
	n = (bits * 0x9e3779b97f4a7c15ull) >> 32 & (REASON_SLOTS - 1);
	while (p->reasons[n].key.reason && memcmp(&p->reasons[n].key, key, sizeof(*key)) != 0)
		n = (n + 1) & (REASON_SLOTS - 1);
	return &p->reasons[n];
}

/* Interfaces for which there is no room any more are summed under 0, as in the kernel. */
static void add_reason(struct past *p, const struct drain_reason *from)
{
	struct reason_key key = from->key;
	struct drain_reason *to;

	key.bank = 0;
	to = find_reason(p, &key);
	if (!to->key.reason && p->reason_count >= REASON_SLOTS / 2) {
		key.ifindex = 0;
		to = find_reason(p, &key);
	}
	p->reason_count += !to->key.reason;
	to->key = key;
	to->count.packets += from->count.packets;
	to->count.octets += from->count.octets;
}

static void add_counts(struct bank_count *to, const struct bank_count *from)
{
	for (int i = 0; i < POINTS_MAX; i++) {
		to[i].seen += from[i].seen;
		to[i].packets += from[i].packets;
		to[i].octets += from[i].octets;
		to[i].inserts += from[i].inserts;
	}
}

static void add_stats(struct drain_stats *to, const struct drain_stats *from)
{
	to->swaps += from->swaps;
	to->early += from->early;
	to->entries += from->entries;
	to->packets += from->packets;
	to->octets += from->octets;
	to->evicted_entries += from->evicted_entries;
	to->evicted_packets += from->evicted_packets;
	to->evicted_octets += from->evicted_octets;
	to->errors += from->errors;
	to->busy_ns += from->busy_ns;
	if (from->last_swap_ns > to->last_swap_ns) {
		to->last_swap_ns = from->last_swap_ns;
		to->last_entries = from->last_entries;
		to->last_ns = from->last_ns;
	}
	to->unsettled |= from->unsettled;
}

static uint64_t above(uint64_t sum, uint64_t part)
{
	return sum > part ? sum - part : 0;
}

/*
 * In its last settled state nothing is in the banks, unless the kernel did not give it back.  Where its counters could not
 * be read at the end, more may have been drained than is known of.
 */
static void add_unread(struct meter_count *to, const struct meter_count *gone)
{
	uint64_t packets = 0, octets = 0;

	for (int i = 0; i < POINTS_MAX; i++) {
		packets += gone->points[i].packets;
		octets += gone->points[i].octets;
	}
	to->unread_packets += above(packets, gone->drain.packets + gone->drain.evicted_packets);
	to->unread_octets += above(octets, gone->drain.octets + gone->drain.evicted_octets);
}

static void count_generation(const struct generation *g, struct meter_count *ret)
{
	for (unsigned int bank = 0; bank < 2; bank++)
		add_counts(ret->points, drain_settled(g->drain, bank)->counts);
	add_stats(&ret->drain, drain_stats(g->drain));
}

static void add_past(struct past *p, const struct generation *gone)
{
	struct meter_count count = {0};

	count_generation(gone, &count);
	add_counts(p->count.points, count.points);
	add_stats(&p->count.drain, &count.drain);
	add_unread(&p->count, &count);
	for (unsigned int bank = 0; bank < 2; bank++) {
		const struct drain_settled *s = drain_settled(gone->drain, bank);

		for (uint32_t i = 0; i < s->reason_count; i++)
			add_reason(p, &s->reasons[i]);
		for (uint32_t i = 0; i < s->drop_count; i++) {
			p->drops[s->drops[i].reason].packets += s->drops[i].count.packets;
			p->drops[s->drops[i].reason].octets += s->drops[i].count.octets;
		}
	}
}

/* The owner hears once that the old datapath is no longer to be waited for. */
static void tell_retired(struct meter *m)
{
	if (m->options.retired)
		m->options.retired(m->options.userdata);
}

static void on_late(void *userdata)
{
	struct meter *m = userdata;

	m->late = true;
	tell_retired(m);
}

static void on_retired(void *userdata)
{
	struct meter *m = userdata;
	struct generation gone = m->old;
	const bool told = m->late;

	pthread_mutex_lock(&m->lock);
	add_past(&m->past, &gone);
	m->old = (struct generation){0};
	pthread_mutex_unlock(&m->lock);
	m->retiring = m->late = false;
	generation_clear(&gone);
	if (!told)
		tell_retired(m);
}

void meter_retire_old(struct meter *m)
{
	if (!m->old.drain || m->retiring)
		return;
	m->retiring = true;
	drain_retire(m->old.drain, m->now.datapath);
}

bool meter_is_replaced(const struct meter *m)
{
	return m->old.drain && !m->retiring;
}

void meter_keep_old(struct meter *m)
{
	const struct generation unwanted = m->now;

	if (!meter_is_replaced(m))
		return;
	pthread_mutex_lock(&m->lock);
	m->now = m->old;
	m->old = unwanted;
	pthread_mutex_unlock(&m->lock);
	meter_retire_old(m);
}

/* --- Another datapath. */

static int start_drain(struct meter *m, struct generation *g)
{
	const struct drain_options options = {
		.datapath = g->datapath,
		.loop = m->options.loop,
		.clock = m->options.clock,
		.interval_ns = m->options.interval_ns,
		.callback = on_batch,
		.late = on_late,
		.retired = on_retired,
		.userdata = m,
	};
	int r = drain_new(&g->drain, &options);

	return r < 0 ? log_errno(LOG_ERR, r, "cannot start the drain thread") : 0;
}

/* What may have changed while it was loaded; from its drain on it is the one to attach. */
static int adopt(struct meter *m)
{
	struct generation next = {.datapath = m->loading->made};
	int r;

	datapath_set_drop_filter(next.datapath, &m->filter);
	datapath_inherit(next.datapath, m->now.datapath);
	r = start_drain(m, &next);
	if (r < 0)
		return r;
	m->loading->made = NULL;
	pthread_mutex_lock(&m->lock);
	m->old = m->now;
	m->now = next;
	pthread_mutex_unlock(&m->lock);
	return 0;
}

static int on_done(void *userdata, _unused_ uint32_t events)
{
	struct meter *m = userdata;
	struct loading *l = m->loading;
	eventfd_t value;
	int r;

	if (eventfd_read(l->done, &value) < 0)
		return 0;
	m->preparing = false;
	r = l->error < 0 ? l->error : adopt(m);
	datapath_freep(&l->made);
	m->options.prepared(m->options.userdata, r);
	return 0;
}

static void *load_thread(void *userdata)
{
	_cleanup_(loading_leavep) struct loading *l = userdata;

	pthread_setname_np(pthread_self(), "flowtally-load");
	l->error = datapath_new(&l->made, &l->options);
	(void)eventfd_write(l->done, 1);
	return NULL;
}

static int start_loading(struct loading *l)
{
	pthread_t thread;
	int r;

	__atomic_add_fetch(&l->owners, 1, __ATOMIC_ACQ_REL);
	r = thread_start(&thread, load_thread, l);
	if (r < 0)
		__atomic_sub_fetch(&l->owners, 1, __ATOMIC_ACQ_REL);
	else
		pthread_detach(thread);
	return r;
}

int meter_prepare(struct meter *m, uint32_t entries)
{
	int r;

	if (m->preparing || m->old.drain)
		return -EBUSY;
	m->loading->options = m->options.datapath;
	m->loading->options.entries = entries;
	m->loading->options.drops = NULL; /* may change meanwhile */
	m->loading->options.optional = false;
	m->loading->options.replaces = m->now.datapath;
	r = start_loading(m->loading);
	m->preparing = r == 0;
	return r;
}

/* --- The whole. */

static int make_loading(struct meter *m)
{
	struct loading *l = calloc(1, sizeof(*l));

	if (!l)
		return -ENOMEM;
	m->loading = l;
	l->owners = 1;
	l->done = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (l->done < 0)
		return -errno;
	return loop_add_fd(m->options.loop, l->done, EPOLLIN, on_done, m, &m->source);
}

static int open_meter(struct meter *m)
{
	int r = datapath_new(&m->now.datapath, &m->options.datapath);

	if (r < 0)
		return r;
	r = make_loading(m);
	return r ?: start_drain(m, &m->now);
}

int meter_new(struct meter **ret, const struct meter_options *options)
{
	_cleanup_(meter_freep) struct meter *m = calloc(1, sizeof(*m));
	int r;

	if (!m)
		return -ENOMEM;
	m->options = *options;
	pthread_mutex_init(&m->lock, NULL);
	if (options->datapath.drops)
		m->filter = *options->datapath.drops;
	r = open_meter(m);
	/* their owners may free them now */
	m->options.datapath.drops = NULL;
	m->options.datapath.features = NULL;
	m->options.datapath.mask = NULL;
	if (r < 0)
		return r;
	*ret = TAKE_PTR(m);
	return 0;
}

struct meter *meter_free(struct meter *m)
{
	if (!m)
		return NULL;
	loop_source_freep(&m->source);
	if (m->preparing)
		m->loading->replaced = TAKE_PTR(m->now.datapath); /* the thread may read it */
	generation_clear(&m->old);
	generation_clear(&m->now);
	if (m->loading)
		loading_leavep(&m->loading); /* after the drain, which reads what was left there */
	pthread_mutex_destroy(&m->lock);
	free(m);
	return NULL;
}

void meter_finish(struct meter *m)
{
	if (m->old.drain)
		drain_finish(m->old.drain);
	drain_finish(m->now.drain);
}

struct datapath *meter_datapath(const struct meter *m)
{
	return m->now.datapath;
}

void meter_set_interval(struct meter *m, uint64_t interval_ns)
{
	m->options.interval_ns = interval_ns;
	drain_set_interval(m->now.drain, interval_ns);
	if (m->old.drain)
		drain_set_interval(m->old.drain, interval_ns);
}

void meter_set_drop_filter(struct meter *m, const struct drop_filter *filter)
{
	m->filter = *filter;
	datapath_set_drop_filter(m->now.datapath, filter);
	if (m->old.datapath)
		datapath_set_drop_filter(m->old.datapath, filter);
}

/* --- What it has counted. */

/* With the lock held, or in the loop's thread; NULL past the last. */
static const struct generation *generation_get(const struct meter *m, unsigned int index)
{
	if (index == 0)
		return &m->now;
	return index == 1 && m->old.drain ? &m->old : NULL;
}

void meter_count(const struct meter *m, struct meter_count *ret)
{
	const struct generation *g;

	*ret = m->past.count;
	for (unsigned int i = 0; (g = generation_get(m, i)); i++)
		count_generation(g, ret);
}

static void visit_settled(const struct drain_settled *s, datapath_visit reason,
			  drop_tracer_visit drop, void *userdata)
{
	for (uint32_t i = 0; reason && i < s->reason_count; i++)
		reason(userdata, &s->reasons[i].key, &s->reasons[i].count);
	for (uint32_t i = 0; drop && i < s->drop_count; i++)
		drop(userdata, s->drops[i].reason, &s->drops[i].count);
}

static void visit_past(const struct past *p, datapath_visit reason, drop_tracer_visit drop,
		       void *userdata)
{
	for (size_t i = 0; reason && p->reason_count && i < REASON_SLOTS; i++)
		if (p->reasons[i].key.reason)
			reason(userdata, &p->reasons[i].key, &p->reasons[i].count);
	for (int i = 0; drop && i < DROP_REASON_MAX; i++)
		if (p->drops[i].packets)
			drop(userdata, (uint16_t)i, &p->drops[i]);
}

static void visit_all(const struct meter *m, datapath_visit reason, drop_tracer_visit drop,
		      void *userdata)
{
	const struct generation *g;

	visit_past(&m->past, reason, drop, userdata);
	for (unsigned int i = 0; (g = generation_get(m, i)); i++)
		for (unsigned int bank = 0; bank < 2; bank++)
			visit_settled(drain_settled(g->drain, bank), reason, drop, userdata);
}

void meter_reasons(const struct meter *m, datapath_visit visit, void *userdata)
{
	visit_all(m, visit, NULL, userdata);
}

void meter_drops(const struct meter *m, drop_tracer_visit visit, void *userdata)
{
	visit_all(m, NULL, visit, userdata);
}

/* With the lock held. */
static int count_now(const struct meter *m, struct drain_settled *counted, struct meter_count *ret,
		     datapath_visit reason, drop_tracer_visit drop, void *userdata)
{
	const struct generation *g;
	struct drain_stats stats;
	int r;

	*ret = m->past.count;
	visit_past(&m->past, reason, drop, userdata);
	for (unsigned int i = 0; (g = generation_get(m, i)); i++) {
		drain_stats_copy(g->drain, &stats);
		stats.unsettled = false; /* the kernel's counters are the newest here */
		add_stats(&ret->drain, &stats);
		for (unsigned int bank = 0; bank < 2; bank++) {
			r = drain_count(g->datapath, bank, counted);
			if (r < 0)
				return r;
			add_counts(ret->points, counted->counts);
			visit_settled(counted, reason, drop, userdata);
		}
	}
	return 0;
}

int meter_count_now(struct meter *m, struct meter_count *ret, datapath_visit reason,
		    drop_tracer_visit drop, void *userdata)
{
	_cleanup_(freep) struct drain_settled *counted = malloc(sizeof(*counted));
	int r;

	if (!counted)
		return -ENOMEM;
	pthread_mutex_lock(&m->lock);
	r = count_now(m, counted, ret, reason, drop, userdata);
	pthread_mutex_unlock(&m->lock);
	return r;
}

uint64_t meter_missed(struct meter *m)
{
	uint64_t missed;

	pthread_mutex_lock(&m->lock);
	(void)drop_tracer_missed(m->now.datapath, &m->missed);
	missed = m->missed;
	pthread_mutex_unlock(&m->lock);
	return missed;
}
