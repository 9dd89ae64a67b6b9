/* SPDX-License-Identifier: Apache-2.0 */
/* Other timeouts and another size for a flow cache that has flows in it. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/resource.h>
#include <cmocka.h>
#include "exporter/meter/cache.h"
#include "tests/unit/caching.h"

static unsigned int pass_in_slices(struct cache *cache, uint64_t now, uint32_t flows)
{
	unsigned int slices = 1, before = records.count;

	while (!cache_expire_some(cache, now, flows)) {
		assert_true(records.count - before <= slices * flows);
		slices++;
	}
	return slices;
}

/* What is in the cache ends by the new timeouts: nothing earlier, nothing later. */
static void test_other_timeouts(void **state)
{
	_cleanup_(cache_freep) struct cache *cache = new_cache(64);

	(void)state;
	merge(cache, 1, 100 * SEC, 100 * SEC, ACK);
	cache_expire(cache, 101 * SEC);
	assert_int_equal(cache_set_timeouts(cache, 600 * SEC, 500 * SEC, LINGER), 0);
	cache_expire(cache, 700 * SEC - 1);
	assert_int_equal(records.count, 1); /* the active timeout, shortened by the phase */
	expect_record(FLOW_END_ACTIVE, 2);
	merge(cache, 1, 699 * SEC, 699 * SEC, ACK);
	assert_int_equal(cache_set_timeouts(cache, 5 * SEC, 900 * SEC, LINGER), 0);
	cache_expire(cache, 704 * SEC - 1);
	assert_int_equal(records.count, 0);
	cache_expire(cache, 704 * SEC);
	expect_record(FLOW_END_IDLE, 2);
	/* the linger time is no longer than the idle timeout */
	assert_int_equal(cache_set_timeouts(cache, 5 * SEC, 900 * SEC, 99 * SEC), 0);
	merge(cache, 2, 705 * SEC, 705 * SEC, FIN);
	cache_expire(cache, 710 * SEC - 1);
	assert_int_equal(records.count, 0);
	cache_expire(cache, 710 * SEC);
	expect_record(FLOW_END_DETECTED, 2);
	expect_empty(cache);
}

/* A refused change changes nothing. */
static void test_timeouts_refused(void **state)
{
	_cleanup_(cache_freep) struct cache *cache = new_cache(64);

	(void)state;
	assert_int_equal(cache_set_timeouts(cache, 0, SEC, SEC), -EINVAL);
	assert_int_equal(cache_set_timeouts(cache, SEC, 0, SEC), -EINVAL);
	merge(cache, 1, 1 * SEC, 1 * SEC, ACK);
	cache_expire(cache, SEC + IDLE - 1);
	assert_int_equal(records.count, 0);
	cache_expire(cache, SEC + IDLE);
	expect_record(FLOW_END_IDLE, 2);
}

/* Wherever in the wheel a flow waits, also shortly after the machine has started, a shorter timeout finds it. */
static void test_shorter_anywhere(void **state)
{
	static const uint64_t starts[] = {0, 1 * SEC, 136 * SEC, 138 * SEC, 1000000 * SEC};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(starts); i++) {
		_cleanup_(cache_freep) struct cache *cache = new_cache(512);
		const uint64_t start = starts[i] + 200 * SEC;

		cache_expire(cache, starts[i]);
		assert_int_equal(cache_set_timeouts(cache, 200 * SEC, 9999 * SEC, 0), 0);
		for (uint32_t n = 1; n <= 200; n++)
			merge(cache, n, starts[i] + n * SEC, starts[i] + n * SEC, ACK);
		cache_expire(cache, start);
		assert_int_equal(records.count, 0);
		assert_int_equal(cache_set_timeouts(cache, SEC, 9999 * SEC, 0), 0);
		assert_int_equal(records.count, 0); /* the change itself exports nothing */
		pass_in_slices(cache, start, 16);
		assert_int_equal(records.count, 199);
		cache_expire(cache, start + SEC);
		assert_int_equal(records.count, 200);
		expect_empty(cache);
	}
}

/* A flow's part of the active timeout is the same of the new one: it is made from its key and the seed. */
static void test_phase_stays(void **state)
{
	uint64_t before[8], after[8];
	struct cache_options options = {.entries = 64,
					.idle_ns = 1000 * SEC,
					.active_ns = 64 * SEC,
					.seed = 7,
					.sink = record_sink,
					.userdata = &records};

	(void)state;
	for (int changed = 0; changed < 2; changed++) {
		_cleanup_(cache_freep) struct cache *cache = NULL;
		uint64_t *due = changed ? after : before;

		options.active_ns = changed ? 128 * SEC : 64 * SEC;
		assert_int_equal(cache_new(&cache, &options), 0);
		records.count = 0;
		for (uint32_t n = 0; n < 8; n++)
			merge(cache, n, 1000 * SEC, 1000 * SEC, ACK);
		if (changed)
			assert_int_equal(cache_set_timeouts(cache, 1000 * SEC, 64 * SEC, 0), 0);
		for (uint64_t now = 1000 * SEC; records.count < 8; now += SEC / 100)
			for (unsigned int had = records.count, k = (cache_expire(cache, now), had);
			     k < records.count; k++)
				due[records.flow[k].key.src[1]] = now;
	}
	assert_memory_equal(before, after, sizeof(before));
	assert_true(before[0] != before[1]); /* phases differ */
}

/* More fit at once, and what is there stays as it was, in its order. */
static void test_grow(void **state)
{
	_cleanup_(cache_freep) struct cache *cache = new_cache(64);
	const struct cache_stats *stats = cache_stats(cache);

	(void)state;
	for (uint32_t n = 0; n < 64; n++)
		merge(cache, n, 100 * SEC, 100 * SEC + n, ACK);
	assert_int_equal(cache_resize(cache, 1000), 0);
	for (uint32_t n = 32; n < 1000; n++)
		merge(cache, n, 101 * SEC, 101 * SEC + n, ACK);
	assert_int_equal(records.count, 0);
	assert_int_equal(stats->entries, 1000);
	assert_int_equal(stats->packets, 2 * (64 + 968));
	assert_int_equal(stats->merged, 64 + 968);
	merge(cache, 5000, 102 * SEC, 102 * SEC, ACK);
	assert_int_equal(records.flow[0].key.src[1], 0); /* the oldest is still the first */
	expect_record(FLOW_END_RESOURCES, 2);
	cache_expire(cache, 100 * SEC + IDLE + 31);
	assert_int_equal(records.count, 31);
	for (uint32_t n = 0; n < 31; n++)
		assert_int_equal(records.flow[n].record.packets, 2);
	pass_in_slices(cache, 200 * SEC, 100);
	expect_empty(cache);
}

/* The oldest that find no room end early, in slices; the others stay, with what they had. */
static void test_shrink(void **state)
{
	_cleanup_(cache_freep) struct cache *cache = new_cache(1000);
	const struct cache_stats *stats = cache_stats(cache);

	(void)state;
	for (uint32_t n = 0; n < 1000; n++)
		merge(cache, n, 100 * SEC, 100 * SEC + n, n < 10 ? FIN : ACK);
	merge(cache, 100, 101 * SEC, 101 * SEC, ACK); /* now it is the newest */
	assert_int_equal(cache_resize(cache, 64), 0);
	assert_int_equal(records.count, 0);
	assert_int_equal(stats->entries, 1000);
	merge(cache, 5000, 101 * SEC, 101 * SEC, ACK); /* takes one's place */
	assert_int_equal(records.flow[0].key.src[1], 0);
	expect_record(FLOW_END_RESOURCES, 2);
	/* what is over is called so, and the rest comes from the oldest on */
	assert_true(pass_in_slices(cache, 100 * SEC + LINGER + 9, 50) > 18);
	assert_int_equal(stats->entries, 64);
	assert_int_equal(records.count, 936);
	for (uint32_t at = 0, n = 10; at < records.count; at++) {
		uint32_t number = 0;

		memcpy(&number, records.flow[at].key.src + 1, 3);
		assert_int_equal(records.flow[at].end,
				 at < 9 ? FLOW_END_DETECTED : FLOW_END_RESOURCES);
		if (at >= 9) {
			assert_int_equal(number, n);
			n += n == 99 ? 2 : 1;
		}
	}
	assert_int_equal(stats->merged, 1002);
	records.count = 0;
	merge(cache, 999, 101 * SEC, 101 * SEC, ACK); /* is found where it was put */
	assert_int_equal(stats->entries, 64);
	assert_int_equal(records.count, 0);
	cache_expire(cache, 101 * SEC + IDLE);
	assert_int_equal(records.count, 64);
	expect_empty(cache);
}

/* Before a resize has come to its end come others, of every kind; then everything is found and nothing was lost. */
static void test_resize_again(void **state)
{
	static const uint32_t sizes[] = {4096, 64, 2048, 64, 65, 128, 4096, 3000, 1500, 64, 1000};
	_cleanup_(cache_freep) struct cache *cache = new_cache(1000);
	const struct cache_stats *stats = cache_stats(cache);
	uint64_t packets = 0;

	(void)state;
	for (uint32_t n = 0; n < 1000; n++)
		merge(cache, n, 100 * SEC, 100 * SEC, ACK);
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		assert_int_equal(cache_resize(cache, sizes[i]), 0);
		cache_expire_some(cache, 100 * SEC, 7);
	}
	for (uint32_t n = 0; n < 1000; n++)
		merge(cache, n, 100 * SEC, 100 * SEC, ACK);
	pass_in_slices(cache, 100 * SEC, 77);
	cache_flush(cache, FLOW_END_FORCED);
	for (unsigned int i = 0; i < records.count; i++)
		packets += records.flow[i].record.packets;
	assert_int_equal(packets, 4000);
	assert_int_equal(stats->exported[FLOW_END_FORCED], 1000);
	expect_empty(cache);
}

/* Without memory, and out of range, the cache is as it was. */
static void test_resize_refused(void **state)
{
	static const uint32_t sizes[] = {8000, 1u << 20}; /* the slab; the buckets */
	_cleanup_(cache_freep) struct cache *cache = new_cache(5000);
	struct rlimit limit, less;

	(void)state;
	assert_int_equal(cache_resize(cache, CACHE_ENTRIES_MIN - 1), -EINVAL);
	assert_int_equal(cache_resize(cache, UINT32_MAX), -EINVAL);
	for (uint32_t n = 0; n < 2000; n++)
		merge(cache, n, 100 * SEC, 100 * SEC + n, ACK);
	assert_int_equal(getrlimit(RLIMIT_AS, &limit), 0);
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		int r;

		less = (struct rlimit){.rlim_cur = 1, .rlim_max = limit.rlim_max};
		assert_int_equal(setrlimit(RLIMIT_AS, &less), 0);
		r = cache_resize(cache, sizes[i]);
		assert_int_equal(setrlimit(RLIMIT_AS, &limit), 0);
		assert_int_equal(r, -ENOMEM);
		assert_true(cache_expire_some(cache, 100 * SEC, 1)); /* there is nothing to do */
	}
	for (uint32_t n = 0; n < 5000; n++)
		merge(cache, n, 100 * SEC, 100 * SEC + n, ACK);
	assert_int_equal(records.count, 0);
	assert_int_equal(cache_stats(cache)->entries, 5000);
	/* a smaller one needs none, and the way back */
	assert_int_equal(setrlimit(RLIMIT_AS, &less), 0);
	assert_int_equal(cache_resize(cache, 100), 0);
	assert_int_equal(cache_resize(cache, 5000), 0);
	assert_int_equal(setrlimit(RLIMIT_AS, &limit), 0);
	merge(cache, 6000, 100 * SEC, 100 * SEC, ACK);
	expect_record(FLOW_END_RESOURCES, 4);
}

/* The sanitizer's allocator is to fail as the C library's does. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
	return "allocator_may_return_null=1";
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_other_timeouts),
		cmocka_unit_test(test_timeouts_refused),
		cmocka_unit_test(test_shorter_anywhere),
		cmocka_unit_test(test_phase_stays),
		cmocka_unit_test(test_grow),
		cmocka_unit_test(test_shrink),
		cmocka_unit_test(test_resize_again),
		cmocka_unit_test(test_resize_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
