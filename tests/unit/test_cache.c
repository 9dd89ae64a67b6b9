/* SPDX-License-Identifier: Apache-2.0 */
/* The flow cache: when a flow ends and why, and that no packet is lost, against a simple model. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <arpa/inet.h>
#include <cmocka.h>
#include "exporter/meter/cache.h"
#include "tests/unit/caching.h"

static void test_idle(void **state)
{
	_cleanup_(cache_freep) struct cache *cache = new_cache(64);

	(void)state;
	merge(cache, 1, 1 * SEC, 3 * SEC, ACK);
	cache_expire(cache, 3 * SEC + IDLE - 1);
	assert_int_equal(records.count, 0);
	merge(cache, 1, 4 * SEC, 5 * SEC, ACK);
	cache_expire(cache, 5 * SEC + IDLE - 1);
	assert_int_equal(records.count, 0);
	cache_expire(cache, 5 * SEC + IDLE);
	expect_record(FLOW_END_IDLE, 4);
	assert_int_equal(records.flow[0].record.first_ns, 1 * SEC);
	assert_int_equal(records.flow[0].record.last_ns, 5 * SEC);
	expect_empty(cache);
	assert_int_equal(cache_stats(cache)->exported[FLOW_END_IDLE], 1);
	assert_int_equal(cache_stats(cache)->merged, 2);
}

/* A pass is interrupted and goes on later in the same tick, when what it had put back is over too. */
static void test_same_tick(void **state)
{
	_cleanup_(cache_freep) struct cache *cache = new_cache(64);
	const uint64_t tick = (1000 * SEC) & ~((1ull << 26) - 1), ms = NSEC_PER_MSEC;

	(void)state;
	cache_expire(cache,
		     tick - IDLE); /* or they wait in the last slot and not in that of the tick */
	merge(cache, 1, tick - IDLE + 20 * ms, tick - IDLE + 20 * ms, SYN);
	merge(cache, 2, tick - IDLE + 20 * ms, tick - IDLE + 20 * ms, SYN);
	assert_false(cache_expire_some(cache, tick + 10 * ms, 1));
	assert_int_equal(records.count, 0);
	assert_true(cache_expire_some(cache, tick + 30 * ms, 8));
	assert_int_equal(records.count, 2);
	expect_empty(cache);
}

static void test_active(void **state)
{
	_cleanup_(cache_freep) struct cache *cache = new_cache(64);
	uint64_t last = 0, starts[4] = {0};
	unsigned int count = 0;

	(void)state;
	/* A packet each second; the records are to hold them all, without gap or overlap. */
	for (uint64_t now = 1; now < 300 && count < 4; now++) {
		merge(cache, 1, now * SEC, now * SEC, now == 1 ? SYN : ACK);
		cache_expire(cache, now * SEC);
		if (!records.count)
			continue;
		starts[count++] = records.flow[0].record.first_ns;
		assert_int_equal(records.flow[0].record.first_ns, last + SEC);
		assert_int_equal(records.flow[0].record.last_ns, now * SEC);
		assert_int_equal(records.flow[0].record.octets, (now * SEC - last) / SEC * 100);
		assert_int_equal(records.flow[0].record.tcp_flags, count == 1 ? SYN | ACK : ACK);
		assert_int_equal(records.flow[0].record.first_flags, SYN);
		expect_record(FLOW_END_ACTIVE, (now * SEC - last) / SEC * 2);
		last = now * SEC;
		assert_int_equal(cache_stats(cache)->packets, 0);
		assert_int_equal(cache_stats(cache)->entries, 1);
	}
	assert_int_equal(count, 4);
	/* Only the first interval is shortened; the second begins with the packet after it. */
	assert_in_range(starts[1] - starts[0], ACTIVE / 2, ACTIVE + SEC);
	assert_int_equal(starts[2] - starts[1], ACTIVE + SEC);
	assert_int_equal(starts[3] - starts[2], ACTIVE + SEC);

	/* Nothing came since its last record: it goes without another. */
	cache_expire(cache, last + IDLE);
	assert_int_equal(records.count, 0);
	expect_empty(cache);
}

static void test_detected(void **state)
{
	_cleanup_(cache_freep) struct cache *cache = new_cache(64);
	const uint32_t ends[] = {FIN | ACK, RST};

	(void)state;
	for (unsigned int i = 0; i < ARRAY_SIZE(ends); i++) {
		uint64_t t = (100 * i + 1) * SEC;

		merge(cache, i, t, t, SYN);
		merge(cache, i, t + SEC, t + SEC, ends[i]);
		cache_expire(cache, t + SEC + LINGER - 1);
		assert_int_equal(records.count, 0);
		/* A packet after its end is part of it, and it lingers anew. */
		merge(cache, i, t + 2 * SEC, t + 2 * SEC, ACK);
		cache_expire(cache, t + SEC + LINGER);
		assert_int_equal(records.count, 0);
		cache_expire(cache, t + 2 * SEC + LINGER);
		assert_int_equal(records.flow[0].record.tcp_flags, SYN | ends[i] | ACK);
		expect_record(FLOW_END_DETECTED, 6);
		expect_empty(cache);
	}
}

static void test_precedence(void **state)
{
	_cleanup_(cache_freep) struct cache *cache = new_cache(64);

	(void)state;
	merge(cache, 1, 1 * SEC, 300 * SEC, ACK);
	cache_expire(cache, 300 * SEC + IDLE);
	expect_record(FLOW_END_IDLE, 2); /* and past the active timeout */
	merge(cache, 2, 400 * SEC, 900 * SEC, FIN);
	cache_expire(cache, 900 * SEC + 2 * IDLE);
	expect_record(FLOW_END_DETECTED, 2); /* and past both */
	merge(cache, 3, 1000 * SEC, 1300 * SEC, FIN);
	cache_expire(cache, 1300 * SEC + LINGER - 1);
	expect_record(FLOW_END_ACTIVE, 2); /* lingers still */
	merge(cache, 3, 1301 * SEC, 1301 * SEC, ACK);
	cache_expire(cache, 1301 * SEC + LINGER);
	assert_int_equal(records.flow[0].record.tcp_flags, ACK);
	expect_record(FLOW_END_DETECTED, 2); /* its end was seen before the last record */
	expect_empty(cache);
	merge(cache, 4, 1400 * SEC, 1700 * SEC, RST);
	cache_expire(cache, 1700 * SEC + LINGER - 1);
	expect_record(FLOW_END_ACTIVE, 2);
	cache_expire(cache, 1700 * SEC + LINGER);
	assert_int_equal(records.count, 0);
	expect_empty(cache);
}

/* A gap ends the flow although nobody looked in between: what comes after it is a new one. */
static void test_gap(void **state)
{
	_cleanup_(cache_freep) struct cache *cache = new_cache(64);

	(void)state;
	merge(cache, 1, 1 * SEC, 1 * SEC, ACK);
	merge(cache, 1, 1 * SEC + IDLE - 1, 1 * SEC + IDLE - 1, ACK);
	merge(cache, 1, 1 * SEC + 2 * IDLE - 1, 1 * SEC + 2 * IDLE - 1, FIN | ACK);
	assert_int_equal(records.flow[0].record.last_ns, 1 * SEC + IDLE - 1);
	expect_record(FLOW_END_IDLE, 4);
	merge(cache, 1, 1 * SEC + 2 * IDLE - 1 + LINGER, 400 * SEC, SYN);
	expect_record(FLOW_END_DETECTED, 2);
	cache_flush(cache, FLOW_END_FORCED);
	assert_int_equal(records.flow[0].record.first_flags, SYN);
	expect_record(FLOW_END_FORCED, 2);
}

static void test_full(void **state)
{
	_cleanup_(cache_freep) struct cache *cache = new_cache(64);

	(void)state;
	for (uint32_t i = 0; i < 64; i++)
		merge(cache, i, SEC, SEC, 0);
	assert_int_equal(records.count, 0);
	merge(cache, 0, SEC, SEC, 0); /* now 1 is the oldest */
	for (uint32_t i = 64; i < 200; i++)
		merge(cache, i, SEC, SEC, 0);
	assert_int_equal(records.count, 136);
	for (uint32_t i = 0; i < 136; i++) {
		struct flow_key key = key_of(i < 63 ? i + 1 : i == 63 ? 0 : i);

		assert_memory_equal(&records.flow[i].key, &key, sizeof(key));
		assert_int_equal(records.flow[i].end, FLOW_END_RESOURCES);
		assert_int_equal(records.flow[i].record.packets, i == 63 ? 4 : 2);
	}
	assert_int_equal(cache_stats(cache)->entries, 64);
	assert_int_equal(cache_stats(cache)->packets, 128);
	assert_int_equal(cache_stats(cache)->octets, 6400);
	records.count = 0;
	cache_flush(cache, FLOW_END_FORCED);
	assert_int_equal(records.count, 64);
	assert_int_equal(records.flow[63].end, FLOW_END_FORCED);
	expect_empty(cache);
	assert_int_equal(cache_stats(cache)->exported[FLOW_END_RESOURCES], 136);
	assert_int_equal(cache_stats(cache)->exported[FLOW_END_FORCED], 64);
}

static void test_record(void **state)
{
	_cleanup_(cache_freep) struct cache *cache = new_cache(64);
	struct flow_key key = key_of(7);
	struct flow_record first = {.packets = 3,
				    .octets = 300,
				    .first_ns = 50,
				    .last_ns = 70,
				    .tcp_flags = SYN | ACK,
				    .flow_label = 0xabcde,
				    .src_mac = {2, 1},
				    .dst_mac = {2, 2},
				    .first_flags = SYN,
				    .min_length = 100,
				    .max_length = 200,
				    .min_ttl = 60,
				    .max_ttl = 61,
				    .tos = 8};
	struct flow_record second = {.packets = 1,
				     .octets = 1000,
				     .first_ns = 40,
				     .last_ns = 45,
				     .tcp_flags = 0x100,
				     .flow_label = 1,
				     .src_mac = {4, 1},
				     .dst_mac = {4, 2},
				     .first_flags = 0x100,
				     .min_length = 90,
				     .max_length = 1000,
				     .min_ttl = 1,
				     .max_ttl = 255,
				     .tos = 4};
	struct flow_record both = first;

	(void)state;
	both.packets = 4;
	both.octets = 1300;
	both.first_ns = 40;
	both.tcp_flags = SYN | ACK | 0x100;
	both.min_length = 90;
	both.max_length = 1000;
	both.min_ttl = 1;
	both.max_ttl = 255;
	cache_merge(cache, &key, &first);
	cache_merge(cache, &key, &second);
	cache_merge(cache, &key, &(struct flow_record){.octets = 9}); /* no packet: nothing */
	assert_int_equal(cache_stats(cache)->octets, 1300);
	cache_flush(cache, FLOW_END_FORCED);
	assert_int_equal(records.count, 1);
	assert_memory_equal(&records.flow[0].record, &both, sizeof(both));
	assert_memory_equal(&records.flow[0].key, &key, sizeof(key));
}

static void test_phase(void **state)
{
	enum {
		FLOWS = 2000,
		STEPS = 40
	};
	_cleanup_(cache_freep) struct cache *cache = new_cache(FLOWS);
	unsigned int before = 0;

	(void)state;
	/* All begin in one instant: the first active records are spread over half the timeout. */
	for (uint32_t i = 0; i < FLOWS; i++) {
		merge(cache, i, SEC, SEC + ACTIVE, 0);
	}
	cache_expire(cache, SEC + ACTIVE / 2 - 1);
	assert_int_equal(records.count, 0);
	for (unsigned int step = 1; step <= STEPS; step++) {
		cache_expire(cache, SEC + ACTIVE / 2 + step * (ACTIVE / 2 / STEPS));
		assert_in_range(records.count - before, FLOWS / STEPS / 3, FLOWS / STEPS * 3);
		before = records.count;
	}
	assert_int_equal(records.count, FLOWS);
	assert_int_equal(cache_stats(cache)->exported[FLOW_END_ACTIVE], FLOWS);
}

/* Phases come from the seeded hash: two caches do not agree on when 32 flows are due. */
static void test_seed(void **state)
{
	unsigned int count[2][60] = {0};

	(void)state;
	for (unsigned int run = 0; run < 2; run++) {
		_cleanup_(cache_freep) struct cache *cache = new_cache(64);

		for (uint32_t i = 0; i < 32; i++) {
			merge(cache, i, 0, ACTIVE, 0);
		}
		for (unsigned int step = 0; step < 60; step++) {
			cache_expire(cache, ACTIVE / 2 + (step + 1) * (ACTIVE / 120));
			count[run][step] = records.count;
		}
		assert_int_equal(records.count, 32);
	}
	assert_memory_not_equal(count[0], count[1], sizeof(count[0]));
}

static void test_clock(void **state)
{
	const uint64_t starts[] = {0, 1700000000 * SEC, UINT64_MAX / 2, UINT64_MAX - 2 * IDLE};

	(void)state;
	for (unsigned int i = 0; i < ARRAY_SIZE(starts); i++) {
		_cleanup_(cache_freep) struct cache *cache = new_cache(64);
		uint64_t t = starts[i];

		merge(cache, 1, t, t, ACK);
		cache_expire(cache, t);
		merge(cache, 2, t, t + SEC, ACK);
		cache_expire(cache, t + IDLE - 1);
		assert_int_equal(records.count, 0);
		cache_expire(cache, 5); /* a clock that goes back does nothing */
		assert_int_equal(records.count, 0);
		cache_expire(cache, t + IDLE);
		expect_record(FLOW_END_IDLE, 2);
		cache_expire(cache, t + SEC + IDLE);
		expect_record(FLOW_END_IDLE, 2);
		expect_empty(cache);
	}
}

/* Times close to the end of the clock saturate instead of wrapping into the past. */
static void test_clock_end(void **state)
{
	_cleanup_(cache_freep) struct cache *cache = new_cache(64);

	(void)state;
	merge(cache, 1, UINT64_MAX - 1, UINT64_MAX - 1, ACK);
	cache_expire(cache, UINT64_MAX - 1);
	assert_int_equal(records.count, 0);
	cache_expire(cache, UINT64_MAX);
	expect_record(FLOW_END_IDLE, 2);
}

static void test_clock_jump(void **state)
{
	const uint64_t jumps[] = {100 * SEC, 3600 * SEC, 86400 * 365 * SEC, 1000000000 * SEC};
	_cleanup_(cache_freep) struct cache *cache = new_cache(1000);
	uint64_t now = 7 * SEC;

	(void)state;
	for (unsigned int i = 0; i < ARRAY_SIZE(jumps); i++) {
		for (uint32_t flow = 0; flow < 1000; flow++)
			merge(cache, flow, now, now + flow * (SEC / 100), flow % 2 ? FIN : ACK);
		now += jumps[i];
		cache_expire(cache, now);
		assert_int_equal(records.count, 1000);
		expect_empty(cache);
		records.count = 0;
		/* Behind the clock by far: due at once.  Ahead of it by far: due then. */
		merge(cache, 1, 1, 1, ACK);
		merge(cache, 2, now + 3600 * SEC, now + 3600 * SEC, ACK);
		cache_expire(cache, now);
		expect_record(FLOW_END_IDLE, 2);
		now += 3600 * SEC + IDLE;
		cache_expire(cache, now - 1);
		assert_int_equal(records.count, 0);
		cache_expire(cache, now);
		expect_record(FLOW_END_IDLE, 2);
	}
}

/* ::ffff:1.2.3.4 on the wire is another flow than 1.2.3.4, and each part of the key counts. */
static void test_keys(void **state)
{
	_cleanup_(cache_freep) struct cache *cache = new_cache(64);
	struct flow_record delta = {.packets = 1, .octets = 40};
	struct flow_key keys[10];

	(void)state;
	memset(keys, 0, sizeof(keys));
	memcpy(keys[0].src, (__u8[]){1, 2, 3, 4}, 4);
	keys[1].kind = FLOW_IPV6;
	memcpy(keys[1].src, (__u8[]){[10] = 0xff, 0xff, 1, 2, 3, 4}, 16);
	for (unsigned int i = 2; i < ARRAY_SIZE(keys); i++)
		keys[i] = keys[0];
	keys[2].kind = FLOW_IPV6;
	keys[3].kind = FLOW_EGRESS;
	keys[4].ifindex = 1;
	keys[5].outer_vlan = 1;
	keys[6].inner_vlan = 1;
	keys[7].protocol = 17;
	keys[8].src_port = 1;
	keys[9].dst_port = 1;
	for (unsigned int i = 0; i < 2 * ARRAY_SIZE(keys); i++)
		cache_merge(cache, &keys[i % ARRAY_SIZE(keys)], &delta);
	cache_flush(cache, FLOW_END_FORCED);
	assert_int_equal(records.count, ARRAY_SIZE(keys));
	for (unsigned int i = 0; i < ARRAY_SIZE(keys); i++) {
		assert_memory_equal(&records.flow[i].key, &keys[i], sizeof(keys[i]));
		assert_int_equal(records.flow[i].record.packets, 2);
	}
}

static void test_options(void **state)
{
	struct cache_options good = {.entries = CACHE_ENTRIES_MIN,
				     .idle_ns = SEC,
				     .active_ns = SEC,
				     .linger_ns = 0,
				     .sink = record_sink};
	_cleanup_(cache_freep) struct cache *cache = NULL;
	struct cache_options bad = good;

	(void)state;
	bad.entries = CACHE_ENTRIES_MIN - 1;
	assert_int_equal(cache_new(&cache, &bad), -EINVAL);
	bad.entries = UINT32_MAX;
	assert_int_equal(cache_new(&cache, &bad), -EINVAL);
	bad = good;
	bad.idle_ns = 0;
	assert_int_equal(cache_new(&cache, &bad), -EINVAL);
	bad = good;
	bad.active_ns = 0;
	assert_int_equal(cache_new(&cache, &bad), -EINVAL);
	bad = good;
	bad.sink = NULL;
	assert_int_equal(cache_new(&cache, &bad), -EINVAL);
	assert_null(cache);
	assert_int_equal(cache_new(&cache, &good), 0);
	assert_non_null(cache);
}

static void test_memory(void **state)
{
	(void)state;
	/* 64 bits of bucket index per entry at most, and what does not grow with the entries. */
	assert_in_range(cache_memory(262144) - cache_memory(131072), 131072 * 116, 131072 * 152);
	assert_true(cache_memory(262144) > 262144 * sizeof(struct flow));
	assert_true(cache_memory(100000000) > 11600000000);
}

/* With a seed of one's own two caches agree. */
static void test_own_seed(void **state)
{
	struct flow_key order[2][32];

	(void)state;
	for (unsigned int run = 0; run < 2; run++) {
		struct cache_options options = {.entries = 64,
						.idle_ns = 2 * ACTIVE,
						.active_ns = ACTIVE,
						.seed = 7,
						.sink = record_sink,
						.userdata = &records};
		_cleanup_(cache_freep) struct cache *cache = NULL;

		records.count = 0;
		assert_int_equal(cache_new(&cache, &options), 0);
		for (uint32_t i = 0; i < 32; i++)
			merge(cache, i, SEC, SEC, 0);
		for (uint64_t now = SEC; now <= SEC + ACTIVE; now += ACTIVE / 1000)
			cache_expire(cache, now);
		assert_int_equal(records.count, 32);
		for (unsigned int i = 0; i < 32; i++)
			order[run][i] = records.flow[i].key;
	}
	assert_memory_equal(order[0], order[1], sizeof(order[0]));
}

/* Of two CPUs that race for a flow's first packet, one may write an older time as the last one. */
static void test_raced(void **state)
{
	static const uint64_t tick = 4 * NSEC_PER_MSEC;
	_cleanup_(cache_freep) struct cache *cache = new_cache(64);

	(void)state;
	merge(cache, 1, SEC + tick, SEC, 0);
	cache_flush(cache, FLOW_END_FORCED);
	assert_int_equal(records.flow[0].record.first_ns, SEC);
	assert_int_equal(records.flow[0].record.last_ns, SEC + tick);
	expect_record(FLOW_END_FORCED, 2);
	merge(cache, 1, 2 * SEC, 2 * SEC, 0);
	merge(cache, 1, 2 * SEC - tick, 2 * SEC - 2 * tick, 0);
	cache_flush(cache, FLOW_END_FORCED);
	assert_int_equal(records.flow[0].record.first_ns, 2 * SEC - 2 * tick);
	assert_int_equal(records.flow[0].record.last_ns, 2 * SEC);
	expect_record(FLOW_END_FORCED, 4);
}

/* A record never becomes longer than the active timeout, also when no expiry pass comes in time. */
static void test_too_long(void **state)
{
	_cleanup_(cache_freep) struct cache *cache = new_cache(64);

	(void)state;
	for (uint64_t t = 100; t <= 160; t += 10)
		merge(cache, 1, t * SEC, t * SEC, ACK);
	assert_int_equal(records.count, 0);
	merge(cache, 1, 155 * SEC, 160 * SEC + 1, FIN);
	assert_int_equal(records.flow[0].record.first_ns, 100 * SEC);
	assert_int_equal(records.flow[0].record.last_ns, 160 * SEC);
	assert_int_equal(records.flow[0].record.tcp_flags, ACK);
	expect_record(FLOW_END_ACTIVE, 14);
	/* and what comes late is no reason to be longer either */
	merge(cache, 1, 100 * SEC + 1, 141 * SEC, 0);
	merge(cache, 1, 98 * SEC, 100 * SEC, 0);
	assert_int_equal(records.flow[0].record.first_ns, 100 * SEC + 1);
	assert_int_equal(records.flow[0].record.last_ns, 160 * SEC + 1);
	expect_record(FLOW_END_ACTIVE, 4);
	cache_flush(cache, FLOW_END_FORCED);
	assert_int_equal(records.flow[0].record.first_ns, 98 * SEC);
	assert_int_equal(records.flow[0].record.last_ns, 100 * SEC);
	expect_record(FLOW_END_FORCED, 2);
}

/* A clock that was set back by an hour, or one packet of a year ahead: another flow. */
static void test_before(void **state)
{
	const uint64_t now = 1700000000 * SEC, year = 365 * 86400 * SEC;
	_cleanup_(cache_freep) struct cache *cache = new_cache(64);

	(void)state;
	merge(cache, 1, now, now + SEC, 0);
	merge(cache, 1, now + SEC - 3600 * SEC, now + 2 * SEC - 3600 * SEC, 0);
	assert_int_equal(records.flow[0].record.first_ns, now);
	assert_int_equal(records.flow[0].record.last_ns, now + SEC);
	expect_record(FLOW_END_IDLE, 2);
	merge(cache, 1, now + 3 * SEC - 3600 * SEC, now + 3 * SEC - 3600 * SEC, 0);
	merge(cache, 1, now + year, now + year, 0);
	assert_int_equal(records.flow[0].record.first_ns, now + SEC - 3600 * SEC);
	assert_int_equal(records.flow[0].record.last_ns, now + 3 * SEC - 3600 * SEC);
	expect_record(FLOW_END_IDLE, 4);
	merge(cache, 1, now, now, 0);
	assert_int_equal(records.flow[0].record.last_ns, now + year);
	expect_record(FLOW_END_IDLE, 2);
}

static void merge_at(struct cache *cache, uint32_t number, uint64_t time, uint64_t now)
{
	struct flow_key key = key_of(number);
	struct flow_record delta = {.packets = 2, .first_ns = time, .last_ns = time};

	cache_merge_at(cache, &key, &delta, now);
}

/* Flows end by the cache's clock, wherever the clock stood that gave the packets their times. */
static void test_other_clock(void **state)
{
	const uint64_t start = 1700000000 * SEC, year = 365 * 86400 * SEC;
	const uint64_t times[] = {start, start - 3600 * SEC, start + year, 5 * SEC,
				  9000000000 * SEC};

	(void)state;
	for (unsigned int i = 0; i < ARRAY_SIZE(times); i++) {
		_cleanup_(cache_freep) struct cache *cache = new_cache(64);

		cache_expire(cache, start);
		for (uint64_t s = 0; s <= 10; s += 5) {
			merge_at(cache, 1, times[i] + s * SEC, start + s * SEC);
			cache_expire(cache, start + s * SEC);
		}
		cache_expire(cache, start + 10 * SEC + IDLE - 1);
		assert_int_equal(records.count, 0);
		/* to the unit in which a lag is kept, and a slot of the wheel */
		cache_expire(cache, start + 10 * SEC + IDLE + (i == 0 ? 0 : 5 * SEC));
		assert_int_equal(records.flow[0].record.first_ns, times[i]);
		assert_int_equal(records.flow[0].record.last_ns, times[i] + 10 * SEC);
		expect_record(FLOW_END_IDLE, 6);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_idle),	    cmocka_unit_test(test_active),
		cmocka_unit_test(test_detected),    cmocka_unit_test(test_precedence),
		cmocka_unit_test(test_gap),	    cmocka_unit_test(test_full),
		cmocka_unit_test(test_record),	    cmocka_unit_test(test_phase),
		cmocka_unit_test(test_seed),	    cmocka_unit_test(test_clock),
		cmocka_unit_test(test_clock_end),   cmocka_unit_test(test_clock_jump),
		cmocka_unit_test(test_keys),	    cmocka_unit_test(test_options),
		cmocka_unit_test(test_same_tick),   cmocka_unit_test(test_memory),
		cmocka_unit_test(test_own_seed),    cmocka_unit_test(test_raced),
		cmocka_unit_test(test_too_long),    cmocka_unit_test(test_before),
		cmocka_unit_test(test_other_clock),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
