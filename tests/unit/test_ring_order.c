/* SPDX-License-Identifier: Apache-2.0 */
/* The order of a ring's records: each part sorted, each record at one place or missed, however far a reader is behind. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <string.h>
#include "exporter/observe/ring.h"
#include "exporter/observe/ring_order.h"

#define SIZE	 RING_RECORDS_MIN
#define READINGS 400
#define READ_MAX 700 /* records; more than are settled at once */

static struct ring *ring;
static struct ring_order *order;
static uint64_t seed;

static int set_up(_unused_ void **state)
{
	seed = 1;
	assert_int_equal(ring_new(&ring, SIZE), 0);
	return ring_order_new(&order, ring);
}

static int tear_down(_unused_ void **state)
{
	order = ring_order_free(order);
	ring = ring_free(ring);
	return 0;
}

/* Knuth's, TAOCP 3.3.4. */
static uint64_t draw(uint64_t below)
{
	seed = seed * 6364136223846793005u + 1442695040888963407u;
	return (seed >> 33) % below;
}

/* Records of one reading have times of that reading, in no order; the octets say which record it is. */
static void add(uint64_t reading, uint64_t first_ns)
{
	struct ring_record r = {.told_ns = (reading + 1) * 1000};

	r.record.first_ns = reading * 1000 + first_ns;
	r.record.octets = ring_next(ring);
	ring_add(ring, &r);
}

static void read_bank(uint64_t reading, uint64_t count)
{
	for (uint64_t i = 0; i < count; i++)
		add(reading, draw(1000));
	ring_settle(ring);
}

static void test_nothing(_unused_ void **state)
{
	struct ring_record r;
	uint64_t position = 0, missed = 0;

	ring_order_look(order);
	assert_int_equal(ring_order_next(order), 0);
	assert_int_equal(ring_order_oldest(order), 0);
	assert_int_equal(ring_order_find(order, 0), 0);
	add(0, 5);
	ring_order_look(order); /* it is not settled */
	assert_false(ring_order_get(order, 0, &r));
	assert_false(ring_order_read(order, &position, &r, &missed));
	ring_settle(ring);
	assert_false(ring_order_get(order, 0, &r)); /* nor looked at */
	ring_order_look(order);
	assert_true(ring_order_read(order, &position, &r, &missed));
	assert_int_equal(missed, 0);
}

/* A reader that keeps up gets each record once, in the order of time. */
static void test_sorted(_unused_ void **state)
{
	struct ring_record r;
	uint64_t position = 0, missed = 0, sum = 0, before_ns = 0;

	for (uint64_t reading = 0; reading < READINGS; reading++) {
		read_bank(reading, draw(SIZE / 2));
		ring_order_look(order);
		for (; ring_order_read(order, &position, &r, &missed); position++) {
			assert_true(r.record.first_ns >= before_ns);
			before_ns = r.record.first_ns;
			sum += r.record.octets + 1;
		}
		assert_int_equal(position, ring_next(ring));
	}
	assert_int_equal(missed, 0);
	assert_int_equal(sum, position * (position + 1) / 2);
}

/* One that does not, or looks late, misses some, and gets none twice; each position is one record. */
static void test_overtaken(_unused_ void **state)
{
	static bool seen[READINGS * READ_MAX];
	struct ring_record r;
	uint64_t position = 0, missed = 0, got = 0;

	memset(seen, 0, sizeof(seen));
	for (uint64_t reading = 0; reading < READINGS; reading++) {
		read_bank(reading, draw(READ_MAX));
		if (draw(3) == 0)
			ring_order_look(order);
		for (uint64_t n = draw(READ_MAX);
		     n && ring_order_read(order, &position, &r, &missed); n--, position++) {
			assert_false(seen[r.record.octets]);
			seen[r.record.octets] = true;
			got++;
		}
	}
	ring_order_look(order);
	for (; ring_order_read(order, &position, &r, &missed); position++)
		got++;
	assert_int_equal(position, ring_next(ring));
	assert_int_equal(got + missed, position);
	assert_true(missed > 0 && got > missed / 10);
}

/* From where it finds on there is all that was read since, and what is still there is where it says. */
static void test_find(_unused_ void **state)
{
	struct ring_record r;

	for (uint64_t reading = 0; reading < 40; reading++) {
		read_bank(reading, 50);
		ring_order_look(order);
	}
	for (uint64_t i = 0; i < 20; i++)
		add(40, 999 - i); /* not settled, over the oldest ones */
	ring_order_look(order);
	assert_int_equal(ring_order_next(order), 2000);
	assert_int_equal(ring_oldest(ring), 996);
	/* Of the part that begins at 950, 26 places are lost. */
	assert_int_equal(ring_order_oldest(order), 976);
	assert_int_equal(ring_order_find(order, 0), 976);
	for (uint64_t reading = 21; reading < 40; reading++) {
		assert_int_equal(ring_order_find(order, (reading + 1) * 1000), reading * 50);
		assert_true(ring_order_get(order, reading * 50, &r));
	}
	assert_int_equal(ring_order_find(order, 41000), 2000);
}

/* What is more than can be waited for is settled by itself, in parts. */
static void test_large(_unused_ void **state)
{
	for (uint64_t i = 0; i < SIZE / 2 - 1; i++)
		add(0, SIZE - i);
	assert_int_equal(ring_settled(ring), 0);
	add(0, 0);
	assert_int_equal(ring_settled(ring), SIZE / 2);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_nothing), TEST(test_sorted), TEST(test_overtaken),
		TEST(test_find),    TEST(test_large),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
