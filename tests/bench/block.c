/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench-block FLOWS URL...: how long the loop is held at most while that many flows end at once, in
 * slices as `flowtally run` takes them, for UDP collectors that share one encoding.  A timer beats on
 * the loop each ms: held_ms is the longest CPU time of this thread from one beat to the next, so that
 * other work of the machine is not in it; wall_ms is the time that passed, in which it is.  pass_ms is
 * how long the whole pass takes, and lost the records that found no room in a queue.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "exporter/export/export.h"
#include "exporter/loop.h"
#include "exporter/meter/cache.h"
#include "exporter/util.h"

#define IDLE_NS	     (15 * NSEC_PER_SEC)
#define ROOM_WAIT_NS (10 * NSEC_PER_MSEC) /* as in run.c */

struct block {
	struct loop *loop;
	struct exports *exports;
	struct cache *cache;
	struct loop_source *expiry;
	struct loop_source *beat;
	uint64_t now_ns; /* of the cache, when all have ended */
	uint64_t beat_cpu_ns;
	uint64_t beat_wall_ns;
	uint64_t held_ns;
	uint64_t wall_ns;
	uint64_t pass_ns;
	unsigned int slices;
	bool expired;
};

static int on_slice(void *userdata, _unused_ uint32_t events)
{
	struct block *b = userdata;

	if (!exports_have_room(b->exports))
		return loop_set_timer(b->expiry, ROOM_WAIT_NS, 0);
	b->slices++;
	if (!cache_expire_some(b->cache, b->now_ns, CACHE_SLICE))
		return loop_set_timer(b->expiry, 1, 0);
	exports_flush(b->exports);
	b->pass_ns = clock_ns(CLOCK_MONOTONIC) - b->pass_ns;
	b->expired = true;
	return 0;
}

static int on_beat(void *userdata, _unused_ uint32_t events)
{
	struct block *b = userdata;
	uint64_t cpu_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID), wall_ns = clock_ns(CLOCK_MONOTONIC);

	b->held_ns = MAX(b->held_ns, cpu_ns - b->beat_cpu_ns);
	b->wall_ns = MAX(b->wall_ns, wall_ns - b->beat_wall_ns);
	b->beat_cpu_ns = cpu_ns;
	b->beat_wall_ns = wall_ns;
	if (b->expired)
		loop_stop(b->loop);
	return 0;
}

static void fill(struct block *b, uint32_t flows)
{
	uint64_t start_ns = clock_ns(CLOCK_MONOTONIC);
	const struct flow_record record = {.packets = 3,
					   .octets = 180,
					   .first_ns = start_ns,
					   .last_ns = start_ns,
					   .min_length = 60,
					   .max_length = 60};

	for (uint32_t i = 0; i < flows; i++) {
		struct flow_key key = {.dst_port = htons(53), .protocol = 17};

		memcpy(key.src, &i, sizeof(i));
		cache_merge(b->cache, &key, &record);
	}
	b->now_ns = start_ns + IDLE_NS + NSEC_PER_SEC;
}

static int block_open(struct block *b, uint32_t flows, char *const *urls)
{
	const struct export_options export = {.domain = 1};
	struct cache_options cache = {.entries = flows,
				      .idle_ns = IDLE_NS,
				      .active_ns = 60 * NSEC_PER_SEC,
				      .linger_ns = NSEC_PER_SEC,
				      .sink = exports_flow};
	int r = loop_new(&b->loop) ?: exports_new(&b->exports, &export, b->loop);

	for (; r == 0 && *urls; urls++)
		r = exports_add(b->exports, *urls);
	cache.userdata = b->exports;
	return r ?: cache_new(&b->cache, &cache) ?:
	       loop_add_timer(b->loop, on_slice, b, &b->expiry) ?:
	       loop_add_timer(b->loop, on_beat, b, &b->beat);
}

static void block_close(struct block *b)
{
	loop_source_freep(&b->beat);
	loop_source_freep(&b->expiry);
	cache_freep(&b->cache);
	exports_freep(&b->exports);
	loop_freep(&b->loop);
}

static int block_run(struct block *b)
{
	uint64_t offset_ns = clock_ns(CLOCK_REALTIME) - clock_ns(CLOCK_MONOTONIC);

	b->pass_ns = clock_ns(CLOCK_MONOTONIC);
	exports_set_clock(b->exports, (int64_t)(offset_ns - IDLE_NS - NSEC_PER_SEC));
	b->beat_cpu_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID);
	b->beat_wall_ns = clock_ns(CLOCK_MONOTONIC);
	return loop_set_timer(b->beat, NSEC_PER_MSEC, NSEC_PER_MSEC) ?:
	       loop_set_timer(b->expiry, 1, 0) ?: loop_run(b->loop);
}

int main(int argc, char **argv)
{
	_cleanup_(block_close) struct block b = {0};
	uint32_t flows = argc > 2 ? (uint32_t)strtoul(argv[1], NULL, 10) : 0;
	uint64_t lost = 0;
	int r;

	if (flows < CACHE_ENTRIES_MIN) {
		fprintf(stderr, "usage: bench-block FLOWS URL...\n");
		return 2;
	}
	r = block_open(&b, flows, argv + 2);
	if (r == 0) {
		fill(&b, flows);
		r = block_run(&b);
	}
	if (r < 0) {
		fprintf(stderr, "bench-block: %s\n", strerror(-r));
		return 1;
	}
	for (unsigned int i = 0; exports_stats(b.exports, i); i++)
		lost += exports_stats(b.exports, i)->lost[EXPORT_LOSS_QUEUE_FULL].records;
	printf("{\"flows\":%u,\"expired\":%llu,\"slices\":%u,\"held_ms\":%.2f,\"wall_ms\":%.2f,"
	       "\"pass_ms\":%.0f,\"lost\":%llu}\n",
	       flows, (unsigned long long)cache_stats(b.cache)->exported[FLOW_END_IDLE], b.slices,
	       (double)b.held_ns / NSEC_PER_MSEC, (double)b.wall_ns / NSEC_PER_MSEC,
	       (double)b.pass_ns / NSEC_PER_MSEC, (unsigned long long)lost);
	return 0;
}
