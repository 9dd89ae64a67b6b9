/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/observe/snapshot.h"
#include <bpf/bpf.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include "exporter/meter/datapath.h"

#define KEPT 4 /* two kinds of records swap once in an interval: enough for the one before */

struct snapshots {
	pthread_mutex_t lock;
	uint64_t number;
	const struct snapshot *kept[KEPT]; /* newest first */
};

/* --- One. */

static void snapshot_free(struct snapshot *s)
{
	ledger_clear(&s->ledger);
	traffic_freep(&s->traffic);
	hooks_view_releasep(&s->view);
	free(s);
}

void snapshot_take_view(struct snapshot *s, const struct hooks_view *view)
{
	hooks_view_release(s->view);
	s->view = view;
	s->interfaces = view ? view->interfaces : NULL;
	s->interface_count = view ? view->count : 0;
}

/* Without BPF statistics the kernel says 0; what it does not tell is left out. */
static void read_program(struct snapshot_program *ret, int fd)
{
	struct bpf_prog_info info = {0};
	uint32_t size = sizeof(info);

	if (fd < 0 || bpf_obj_get_info_by_fd(fd, &info, &size) < 0)
		return;
	memcpy(ret->name, info.name, sizeof(ret->name));
	ret->runs = info.run_cnt;
	ret->run_ns = info.run_time_ns;
}

static void read_kind(struct snapshot *s, const struct meter *meter, enum record_kind kind)
{
	const struct datapath *datapath = meter_datapath(meter);
	struct snapshot_kind *k = &s->kinds[kind];
	struct meter_count count;

	meter_count(meter, &count);
	k->metered = true;
	k->bank_limit = datapath_limit(datapath);
	k->drain = count.drain;
	for (int i = 0; i < _PROGRAM_MAX; i++)
		if (!s->programs[i].name[0])
			read_program(&s->programs[i],
				     datapath_program_fd(datapath, (enum datapath_program)i));
}

void snapshot_stamp(struct snapshot *s)
{
	s->time_ns = clock_ns(CLOCK_REALTIME);
	s->monotonic_ns = clock_ns(CLOCK_MONOTONIC);
	s->boottime_ns = clock_ns(CLOCK_BOOTTIME);
}

uint64_t snapshot_counters_ns(const struct snapshot *snapshot)
{
	const struct ifstats *stats = snapshot->ledger.ifstats;

	/* either may be the later one */
	return stats && stats->read_ns ? snapshot->time_ns + stats->read_ns - snapshot->monotonic_ns
				       : 0;
}

struct snapshot *snapshot_new(void)
{
	struct snapshot *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->references = 1;
	snapshot_stamp(s);
	return s;
}

void snapshot_describe(struct snapshot *s, const struct snapshot_sources *sources)
{
	if (sources->hooks)
		snapshot_take_view(s, hooks_view_hold(hooks_newest(sources->hooks)));
	if (sources->traffic)
		(void)traffic_copy(&s->traffic,
				   sources->traffic); /* failing that, it is not known */
	for (int kind = 0; kind < _RECORD_KIND_MAX; kind++)
		if (sources->meters[kind])
			read_kind(s, sources->meters[kind], (enum record_kind)kind);
}

const struct snapshot *snapshot_hold(const struct snapshot *s)
{
	if (s)
		__atomic_add_fetch(&((struct snapshot *)s)->references, 1, __ATOMIC_RELAXED);
	return s;
}

const struct snapshot *snapshot_release(const struct snapshot *s)
{
	struct snapshot *own = (struct snapshot *)s;

	if (s && __atomic_sub_fetch(&own->references, 1, __ATOMIC_ACQ_REL) == 0)
		snapshot_free(own);
	return NULL;
}

/* --- The newest. */

int snapshots_new(struct snapshots **ret)
{
	struct snapshots *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	pthread_mutex_init(&s->lock, NULL);
	*ret = s;
	return 0;
}

struct snapshots *snapshots_free(struct snapshots *s)
{
	if (!s)
		return NULL;
	for (unsigned int i = 0; i < KEPT; i++)
		snapshot_releasep(&s->kept[i]);
	pthread_mutex_destroy(&s->lock);
	free(s);
	return NULL;
}

void snapshots_publish(struct snapshots *s, struct snapshot *snapshot)
{
	const struct snapshot *oldest;

	snapshot_hold(snapshot);
	pthread_mutex_lock(&s->lock);
	snapshot->number = ++s->number;
	oldest = s->kept[KEPT - 1];
	memmove(&s->kept[1], &s->kept[0], sizeof(s->kept) - sizeof(s->kept[0]));
	s->kept[0] = snapshot;
	pthread_mutex_unlock(&s->lock);
	snapshot_release(oldest); /* which may take its time */
}

/* Whichever is nearest to one interval before the newest, from behind; timers are late at times. */
static const struct snapshot *find_before(const struct snapshots *s)
{
	const struct snapshot *newest = s->kept[0], *found = NULL;

	for (unsigned int i = 1; i < KEPT && s->kept[i]; i++) {
		found = s->kept[i];
		if (newest->monotonic_ns - found->monotonic_ns >= newest->interval_ns / 10 * 9)
			break;
	}
	return found;
}

const struct snapshot *snapshots_newest(struct snapshots *s, const struct snapshot **ret_before)
{
	const struct snapshot *newest;

	pthread_mutex_lock(&s->lock);
	newest = snapshot_hold(s->kept[0]);
	if (ret_before)
		*ret_before = snapshot_hold(find_before(s));
	pthread_mutex_unlock(&s->lock);
	return newest;
}
