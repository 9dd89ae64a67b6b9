/* SPDX-License-Identifier: Apache-2.0 */
/* The ring of recent records: numbers, overtaken readers, and readers beside a writer that never waits. */
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <string.h>
#include "exporter/observe/ring.h"

#define SIZE	RING_RECORDS_MIN
#define WRITTEN 400000 /* some hundred times around */
#define READERS 3

/* Each field says which record it is of, so that a mixture of two is seen. */
static struct ring_record make(uint64_t number)
{
	struct ring_record r = {.told_ns = number * 10};

	memset(&r.key, (int)(number & 0xff), sizeof(r.key));
	r.record.packets = number;
	r.record.octets = number * 3;
	r.record.first_ns = ~number;
	memset(r.record.src_mac, (int)(number & 0xff), sizeof(r.record.src_mac));
	return r;
}

static bool is_whole(const struct ring_record *r, uint64_t number)
{
	const struct ring_record want = make(number);

	return memcmp(r, &want, sizeof(want)) == 0;
}

static void write_records(struct ring *ring, uint64_t from, uint64_t to)
{
	for (uint64_t i = from; i < to; i++) {
		const struct ring_record r = make(i);

		ring_add(ring, &r);
	}
}

static void test_sizes(void **state)
{
	struct ring *ring = NULL;

	(void)state;
	assert_int_equal(ring_new(&ring, RING_RECORDS_MIN - 1), -EINVAL);
	assert_int_equal(ring_new(&ring, RING_RECORDS_MAX + 1), -EINVAL);
	assert_null(ring);
	assert_int_equal(ring_new(&ring, RING_RECORDS_MIN), 0);
	assert_int_equal(ring_next(ring), 0);
	assert_int_equal(ring_oldest(ring), 0);
	ring_free(ring);
}

/* Numbers go on for ever, and the last SIZE of them are there. */
static void test_numbers(void **state)
{
	_cleanup_(ring_freep) struct ring *ring = NULL;
	struct ring_record r;
	uint64_t number = 0, missed = 0;

	(void)state;
	assert_int_equal(ring_new(&ring, SIZE), 0);
	assert_false(ring_read(ring, &number, &r, &missed));
	assert_false(ring_get(ring, 0, &r));
	write_records(ring, 0, 10);
	for (; number < 10; number++) {
		assert_true(ring_read(ring, &number, &r, &missed));
		assert_true(is_whole(&r, number));
	}
	assert_false(ring_read(ring, &number, &r, &missed));
	assert_int_equal(missed, 0);
	write_records(ring, 10, 3 * SIZE + 7);
	assert_int_equal(ring_next(ring), 3 * SIZE + 7);
	assert_int_equal(ring_oldest(ring), 2 * SIZE + 7);
	assert_false(ring_get(ring, 2 * SIZE + 6, &r));
	assert_true(ring_get(ring, 2 * SIZE + 7, &r));
	assert_true(is_whole(&r, 2 * SIZE + 7));
}

/* Who has read up to 10 and comes back later has missed what has been overwritten, to the record. */
static void test_overtaken(void **state)
{
	_cleanup_(ring_freep) struct ring *ring = NULL;
	struct ring_record r;
	uint64_t number = 10, missed = 0, read = 0, all = 1000;

	(void)state;
	assert_int_equal(ring_new(&ring, SIZE), 0);
	ring_count_missed(ring, &all);
	write_records(ring, 0, 5 * SIZE);
	for (; ring_read(ring, &number, &r, &missed); number++, read++)
		assert_true(is_whole(&r, number));
	assert_int_equal(missed, 4 * SIZE - 10);
	assert_int_equal(all, 1000 + 4 * SIZE - 10);
	assert_int_equal(read, SIZE);
}

static void test_find(void **state)
{
	_cleanup_(ring_freep) struct ring *ring = NULL;

	(void)state;
	assert_int_equal(ring_new(&ring, SIZE), 0);
	assert_int_equal(ring_find(ring, 0), 0);
	write_records(ring, 0, 2 * SIZE); /* record n is of the time 10 n */
	assert_int_equal(ring_find(ring, 0), SIZE);
	assert_int_equal(ring_find(ring, 10 * SIZE), SIZE);
	assert_int_equal(ring_find(ring, 10 * SIZE + 1), SIZE + 1);
	assert_int_equal(ring_find(ring, 10 * (SIZE + 500)), SIZE + 500);
	assert_int_equal(ring_find(ring, UINT64_MAX), 2 * SIZE);
}

struct reader {
	struct ring *ring;
	pthread_t thread;
	uint64_t read, missed, torn, disorder;
	unsigned int pause; /* records after which it looks away for a while */
};

static void *run_reader(void *userdata)
{
	struct reader *reader = userdata;
	uint64_t number = 0, last = 0;
	struct ring_record r;

	while (number < WRITTEN) {
		if (!ring_read(reader->ring, &number, &r, &reader->missed))
			continue;
		reader->torn += !is_whole(&r, number);
		reader->disorder += reader->read && number <= last;
		last = number++;
		reader->read++;
		if (reader->pause && reader->read % reader->pause == 0)
			usleep(200);
	}
	return NULL;
}

/* Readers of all paces beside a writer that does not care: no record is a mixture, and none is forgotten. */
static void test_threads(void **state)
{
	struct reader readers[READERS] = {{.pause = 0}, {.pause = 50}, {.pause = 5000}};
	_cleanup_(ring_freep) struct ring *ring = NULL;

	(void)state;
	assert_int_equal(ring_new(&ring, SIZE), 0);
	for (int i = 0; i < READERS; i++) {
		readers[i].ring = ring;
		assert_int_equal(pthread_create(&readers[i].thread, NULL, run_reader, &readers[i]),
				 0);
	}
	write_records(ring, 0, WRITTEN);
	for (int i = 0; i < READERS; i++) {
		assert_int_equal(pthread_join(readers[i].thread, NULL), 0);
		assert_int_equal(readers[i].torn, 0);
		assert_int_equal(readers[i].disorder, 0);
		assert_int_equal(readers[i].read + readers[i].missed, WRITTEN);
	}
	assert_true(readers[1].missed > 0); /* else nobody was overtaken */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sizes),	  cmocka_unit_test(test_numbers),
		cmocka_unit_test(test_overtaken), cmocka_unit_test(test_find),
		cmocka_unit_test(test_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
