/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* A flow cache for tests, what is merged into it, and the records that come out. */
#include <string.h>
#include "exporter/meter/cache.h"

#define SEC	NSEC_PER_SEC
#define IDLE	(15 * SEC)
#define ACTIVE	(60 * SEC)
#define LINGER	(2 * SEC)
#define SYN	0x02
#define FIN	0x01
#define RST	0x04
#define ACK	0x10
#define RECORDS 4096

/* What the sink got since records.count was last set to 0. */
static struct {
	struct flow flow[RECORDS];
	unsigned int count;
} records;

static inline void record_sink(void *userdata, const struct flow *flow)
{
	assert_ptr_equal(userdata, &records);
	assert_true(records.count < RECORDS);
	records.flow[records.count++] = *flow;
}

static inline struct cache *new_cache(uint32_t entries)
{
	struct cache_options options = {.entries = entries,
					.idle_ns = IDLE,
					.active_ns = ACTIVE,
					.linger_ns = LINGER,
					.sink = record_sink,
					.userdata = &records};
	struct cache *cache = NULL;

	records.count = 0;
	assert_int_equal(cache_new(&cache, &options), 0);
	return cache;
}

static inline struct flow_key key_of(uint32_t number)
{
	struct flow_key key = {.src = {10}, .dst = {192, 0, 2, 1}, .protocol = 6};

	memcpy(key.src + 1, &number, 3);
	return key;
}

static inline void merge(struct cache *cache, uint32_t number, uint64_t first, uint64_t last,
			 uint32_t flags)
{
	struct flow_key key = key_of(number);
	struct flow_record delta = {.packets = 2,
				    .octets = 100,
				    .first_ns = first,
				    .last_ns = last,
				    .tcp_flags = flags,
				    .first_flags = (__u16)flags,
				    .min_length = 40,
				    .max_length = 60,
				    .min_ttl = 63,
				    .max_ttl = 64};

	cache_merge(cache, &key, &delta);
}

/* One record came, with this reason and as many packets; forgets it. */
static inline void expect_record(enum flow_end end, uint64_t packets)
{
	assert_int_equal(records.count, 1);
	assert_int_equal(records.flow[0].end, end);
	assert_int_equal(records.flow[0].record.packets, packets);
	records.count = 0;
}

static inline void expect_empty(const struct cache *cache)
{
	assert_int_equal(cache_stats(cache)->entries, 0);
	assert_int_equal(cache_stats(cache)->packets, 0);
	assert_int_equal(cache_stats(cache)->octets, 0);
}
