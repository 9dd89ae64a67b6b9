/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <sys/eventfd.h>
#include "exporter/loop.h"
#include "exporter/meter/cache.h"
#include "exporter/meter/drain.h"
#include "tests/bench/subject.h"
#include "tests/bench/swap.h"

struct swapper {
	struct loop *loop;
	struct cache *cache;
	struct drain *drain;
	struct loop_source *stop;
	int stop_fd;
	pthread_t thread;
	bool running;
};

void swap_pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

static void on_batch(void *userdata, struct drain_batch *batch)
{
	struct swapper *e = userdata;

	cache_merge_many(e->cache, batch->keys, batch->records, batch->count);
	if (batch->end)
		cache_expire(e->cache, batch->swap_ns);
}

static void on_flow(_unused_ void *userdata, _unused_ const struct flow *flow)
{
}

static int on_stop(void *userdata, _unused_ uint32_t events)
{
	loop_stop(userdata);
	return 0;
}

static void *swapper_main(void *userdata)
{
	struct swapper *e = userdata;

	loop_run(e->loop);
	return NULL;
}

static int start(struct swapper *s, struct datapath *datapath)
{
	const struct cache_options cache = {.entries = SUBJECT_ENTRIES * 2,
					    .idle_ns = 15 * NSEC_PER_SEC,
					    .active_ns = 60 * NSEC_PER_SEC,
					    .linger_ns = NSEC_PER_SEC,
					    .sink = on_flow};
	struct drain_options drain = {.datapath = datapath,
				      .interval_ns = NSEC_PER_SEC,
				      .callback = on_batch,
				      .userdata = s};
	int r = loop_new(&s->loop) ?: cache_new(&s->cache, &cache);

	if (r < 0)
		return r;
	s->stop_fd = eventfd(0, EFD_CLOEXEC);
	r = loop_add_fd(s->loop, s->stop_fd, 1, on_stop, s->loop, &s->stop);
	drain.loop = s->loop;
	r = r ?: drain_new(&s->drain, &drain);
	r = r ?: -pthread_create(&s->thread, NULL, swapper_main, s);
	s->running = r == 0;
	return r;
}

int swapper_new(struct swapper **ret, struct datapath *datapath)
{
	_cleanup_(swapper_freep) struct swapper *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return -ENOMEM;
	s->stop_fd = -1;
	swap_pin(SWAP_DRAIN_CPU); /* threads inherit it */
	r = start(s, datapath);
	swap_pin(SWAP_SENDER_CPU);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(s);
	return 0;
}

struct swapper *swapper_free(struct swapper *s)
{
	if (s->running && eventfd_write(s->stop_fd, 1) == 0)
		pthread_join(s->thread, NULL);
	if (s->drain)
		drain_finish(s->drain);
	drain_freep(&s->drain);
	loop_source_freep(&s->stop);
	closep(&s->stop_fd);
	cache_freep(&s->cache);
	loop_freep(&s->loop);
	free(s);
	return NULL;
}
