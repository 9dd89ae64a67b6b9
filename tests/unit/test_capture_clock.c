/* SPDX-License-Identifier: Apache-2.0 */
/* The clock of a replay: what it makes of times that are in no order. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "exporter/meter/capture_clock.h"
#include "exporter/util.h"

#define START	  1700000000ll /* s */
#define HOUR	  3600ll
#define YEAR	  (365 * 24 * HOUR)
#define MAX_TIMES 64

/* The clock after each of these times, s since START, in order; both lists end with NONE. */
#define NONE INT64_MIN

static void check(const int64_t *times, const int64_t *expected)
{
	struct capture_clock clock = {0};
	uint64_t next, now;

	for (unsigned int i = 0; times[i] != NONE; i++) {
		next = (uint64_t)(START + times[i + 1]) * NSEC_PER_SEC;
		now = capture_clock_tick(&clock, (uint64_t)(START + times[i]) * NSEC_PER_SEC,
					 times[i + 1] == NONE ? NULL : &next);
		assert_int_equal(now, clock.now_ns);
		if ((int64_t)(now / NSEC_PER_SEC) - START != expected[i])
			fail_msg("packet %u: %lld, not %lld", i,
				 (long long)(now / NSEC_PER_SEC) - START, (long long)expected[i]);
	}
}

#define CHECK(times, ...) \
	check((const int64_t[]){times, NONE}, (const int64_t[]){__VA_ARGS__, NONE})
#define LIST(...) __VA_ARGS__

/* In order, and with packets that overtook others, it is the latest time; gaps are time that passed. */
static void test_order(void **state)
{
	(void)state;
	CHECK(LIST(0, 1, 2, 3), 0, 1, 2, 3);
	CHECK(LIST(0, 1, 0, 2, 1, 3), 0, 1, 1, 2, 2, 3);
	CHECK(LIST(0, 60, 120, HOUR, 2 * HOUR), 0, 60, 120, HOUR, 2 * HOUR);
	CHECK(LIST(0, 60, 59, 61), 0, 60, 60, 61);
	CHECK(LIST(0, 24 * HOUR), 0, 24 * HOUR);
}

/* Set back, it goes on from where it was. */
static void test_set_back(void **state)
{
	(void)state;
	CHECK(LIST(10, 11, 12, 13 - HOUR, 14 - HOUR, 15 - HOUR), 10, 11, 12, 12, 13, 14);
	/* and forward again, which is where it came from */
	CHECK(LIST(10, 11 - HOUR, 12 - HOUR, 13, 14), 10, 10, 11, 13, 14);
	/* twice */
	CHECK(LIST(10, 11 - HOUR, 12 - HOUR, 13 - 2 * HOUR, 14 - 2 * HOUR), 10, 10, 11, 11, 12);
}

/* A time that is wrong moves nothing. */
static void test_wrong(void **state)
{
	(void)state;
	CHECK(LIST(0, 1, YEAR, 2, 3), 0, 1, 1, 2, 3);
	CHECK(LIST(0, 1, -START, 2, 3), 0, 1, 1, 2, 3);
	CHECK(LIST(0, 1, YEAR, 2, YEAR, 3), 0, 1, 1, 2, 2, 3);
	/* the first one */
	CHECK(LIST(YEAR, 1, 2, 3), YEAR, YEAR, YEAR + 1, YEAR + 2);
}

/* Packets of two clocks, an hour apart, one after the other and by twos. */
static void test_two_clocks(void **state)
{
	(void)state;
	CHECK(LIST(0, -HOUR, 1, 1 - HOUR, 2, 2 - HOUR), 0, 0, 1, 1, 2, 2);
	CHECK(LIST(0, 0, -HOUR, -HOUR, 1, 1, 1 - HOUR, 1 - HOUR, 2, 2), 0, 0, 0, 0, 1, 1, 1, 1, 2,
	      2);
}

/* Whatever comes, it does not go back, and two days are the most that it goes ahead at once. */
static void test_any(void **state)
{
	static const uint64_t times[] = {0, 1, 4000000000000000000, 9000000000000000000, 1 << 30};
	struct capture_clock clock = {0};
	uint64_t before = 0, x = 88172645463325252, next, time = 0;

	(void)state;
	for (unsigned int i = 0; i < 1000000; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		next = x % 3 ? time : times[x / 3 % ARRAY_SIZE(times)];
		capture_clock_tick(&clock, time, &next);
		assert_true(clock.now_ns >= before);
		assert_true(clock.now_ns - before <= 2 * 24 * HOUR * NSEC_PER_SEC);
		before = clock.now_ns;
		time = next;
	}
	assert_true(clock.now_ns <= INT64_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_order), cmocka_unit_test(test_set_back),
		cmocka_unit_test(test_wrong), cmocka_unit_test(test_two_clocks),
		cmocka_unit_test(test_any),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
