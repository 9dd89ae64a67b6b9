/* SPDX-License-Identifier: Apache-2.0 */
/* A meter whose datapaths fail: it is replaced all the same, waits for nothing for ever, and its sums are never wrong. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>
#include "exporter/loop.h"
#include "exporter/meter/meter.h"
#include "tests/unit/fake_datapath.h"

#define ENTRIES 4096
#define NEVER	(3600 * NSEC_PER_SEC) /* an interval */
#define SOON	(2 * NSEC_PER_MSEC)   /* likewise */

/* Each wait ends when what is waited for has come; a test that fails waits that long. */
#define PATIENCE_NS (10 * NSEC_PER_SEC)

static struct {
	struct loop *loop;
	struct loop_source *timer;
	struct meter *meter;
	bool (*until)(void);
	uint64_t deadline_ns;
	unsigned int prepared, retired;
	uint64_t drained; /* packets */
	unsigned int ends;
} t;

static void on_batch(_unused_ void *userdata, const struct drain_batch *batch)
{
	for (uint32_t i = 0; i < batch->count; i++)
		t.drained += batch->records[i].packets;
	t.ends += batch->end;
}

static void on_prepared(_unused_ void *userdata, int error)
{
	assert_int_equal(error, 0);
	t.prepared++;
}

static void on_retired(_unused_ void *userdata)
{
	t.retired++;
}

static int on_timer(_unused_ void *userdata, _unused_ uint32_t events)
{
	if (t.until() || clock_ns(CLOCK_MONOTONIC) > t.deadline_ns)
		loop_stop(t.loop);
	return 0;
}

static bool wait_until(bool (*until)(void))
{
	t.until = until;
	t.deadline_ns = clock_ns(CLOCK_MONOTONIC) + PATIENCE_NS;
	assert_int_equal(loop_run(t.loop), 0);
	return until();
}

static bool is_prepared(void)
{
	return t.prepared > 0;
}

static bool is_retired(void)
{
	return t.retired > 0;
}

static bool is_alone(void)
{
	return fake_alive() == 1;
}

static bool has_ended(void)
{
	return t.ends > 0;
}

static bool has_ended_thrice(void)
{
	return t.ends >= 3;
}

static void open_meter(uint64_t interval_ns)
{
	const struct meter_options options = {
		.datapath = {.kind = RECORD_FLOW, .entries = ENTRIES},
		.loop = t.loop,
		.interval_ns = interval_ns,
		.callback = on_batch,
		.prepared = on_prepared,
		.retired = on_retired,
	};

	assert_int_equal(meter_new(&t.meter, &options), 0);
}

static int set_up(_unused_ void **state)
{
	memset(&t, 0, sizeof(t));
	fake_reset();
	assert_int_equal(loop_new(&t.loop), 0);
	assert_int_equal(loop_add_timer(t.loop, on_timer, NULL, &t.timer), 0);
	assert_int_equal(loop_set_timer(t.timer, NSEC_PER_MSEC, NSEC_PER_MSEC), 0);
	return 0;
}

static int tear_down(_unused_ void **state)
{
	meter_freep(&t.meter);
	loop_source_freep(&t.timer);
	loop_freep(&t.loop);
	assert_int_equal(fake_alive(), 0);
	return 0;
}

static void replace(void)
{
	t.prepared = t.retired = 0;
	assert_int_equal(meter_prepare(t.meter, ENTRIES), 0);
	assert_true(wait_until(is_prepared));
	meter_retire_old(t.meter);
}

static struct meter_count count(void)
{
	struct meter_count c;

	meter_count(t.meter, &c);
	return c;
}

/* A kernel that refuses for a moment: nobody waits for the next swap, which is an hour away. */
static void test_refused_for_a_moment(_unused_ void **state)
{
	open_meter(NEVER);
	fake_give(meter_datapath(t.meter), 7);
	atomic_store(&fake_failures.take_stubs, 3);
	replace();
	assert_true(wait_until(is_retired));
	assert_int_equal(fake_alive(), 1);
	assert_int_equal(t.drained, 7);
	assert_int_equal(atomic_load(&fake_failures.take_stubs), 0);
}

/* One that refuses for good: the owner is told once, and nothing is lost however long it lasts. */
static void test_refused_for_good(_unused_ void **state)
{
	struct datapath *old;

	open_meter(NEVER);
	old = meter_datapath(t.meter);
	atomic_store(&fake_failures.take_stubs, -1);
	replace();
	assert_true(wait_until(is_retired));
	assert_int_equal(fake_alive(), 2);
	assert_int_equal(meter_prepare(t.meter, ENTRIES), -EBUSY);
	assert_false(meter_is_replaced(t.meter));
	/* the old banks are drained as ever */
	fake_give(old, 5);
	fake_give(meter_datapath(t.meter), 3);
	t.ends = 0;
	meter_set_interval(t.meter, SOON);
	assert_true(wait_until(has_ended_thrice));
	/* and go when the kernel lets them */
	atomic_store(&fake_failures.take_stubs, 0);
	assert_true(wait_until(is_alone));
	assert_int_equal(t.retired, 1);
	meter_finish(t.meter);
	assert_int_equal(t.drained, 8);
	assert_int_equal(count().points[0].packets, 8);
	assert_int_equal(count().drain.packets, 8);
	assert_int_equal(count().unread_packets, 0);
}

/* The next one that is replaced is waited for anew. */
static void test_refused_and_replaced(_unused_ void **state)
{
	open_meter(SOON);
	atomic_store(&fake_failures.take_stubs, 15);
	replace();
	assert_true(wait_until(is_retired));
	assert_true(wait_until(is_alone));
	assert_int_equal(t.retired, 1);
	replace();
	assert_true(wait_until(is_retired));
	assert_true(wait_until(is_alone));
	assert_int_equal(t.retired, 1);
}

/* The end comes while the kernel refuses. */
static void test_end_while_refused(_unused_ void **state)
{
	open_meter(NEVER);
	fake_give(meter_datapath(t.meter), 7);
	atomic_store(&fake_failures.take_stubs, -1);
	replace();
	fake_give(meter_datapath(t.meter), 2);
	meter_finish(t.meter);
	assert_int_equal(t.drained, 9);
}

/* One swap: the first is of bank 0, the next of bank 1. */
static void give_and_swap(uint64_t packets)
{
	t.ends = 0;
	fake_give(meter_datapath(t.meter), packets);
	fake_wake(meter_datapath(t.meter));
	assert_true(wait_until(has_ended));
}

/* Counters of bank 0 that could not be read are missed until bank 0 is read again, not until the next swap. */
static void test_unsettled(_unused_ void **state)
{
	bool unsettled[3];
	uint64_t accounted[3];

	open_meter(NEVER);
	atomic_store(&fake_failures.counts[0], 1);
	for (int i = 0; i < 3; i++) {
		give_and_swap(10);
		unsettled[i] = count().drain.unsettled;
		accounted[i] = count().points[0].packets;
		if (!unsettled[i])
			assert_int_equal(accounted[i], t.drained);
	}
	assert_true(unsettled[0]);
	assert_true(unsettled[1]);
	assert_false(unsettled[2]);
	assert_int_equal(accounted[2], 30);
}

/* The counters of a bank that goes cannot be read at all: its sums are no difference of less and more. */
static void test_unsettled_past(_unused_ void **state)
{
	open_meter(NEVER);
	fake_give(meter_datapath(t.meter), 10);
	atomic_store(&fake_failures.counts[0], -1);
	atomic_store(&fake_failures.counts[1], -1);
	replace();
	assert_true(wait_until(is_retired));
	fake_reset();
	assert_int_equal(t.drained, 10);
	assert_int_equal(count().unread_packets, 0);
	assert_int_equal(count().unread_octets, 0);
	give_and_swap(10);
	assert_true(count().drain.unsettled);
	assert_int_equal(count().unread_packets, 0);
}

/* Of a bank that goes the counters cannot be read at first: it is tried again before it does. */
static void test_settled_past(_unused_ void **state)
{
	open_meter(NEVER);
	fake_give(meter_datapath(t.meter), 10);
	atomic_store(&fake_failures.counts[0], 1);
	replace();
	assert_true(wait_until(is_retired));
	assert_false(count().drain.unsettled);
	assert_int_equal(count().points[0].packets, 10);
}

/* --- Another thread. */

static atomic_bool leave;

static void *read_on(_unused_ void *userdata)
{
	struct meter_count c;

	while (!atomic_load(&leave)) {
		(void)meter_missed(t.meter);
		(void)meter_count_now(t.meter, &c, NULL, NULL, NULL);
	}
	return NULL;
}

static void test_other_thread(_unused_ void **state)
{
	pthread_t thread;

	open_meter(SOON);
	atomic_store(&leave, false);
	assert_int_equal(pthread_create(&thread, NULL, read_on, NULL), 0);
	for (int i = 0; i < 20; i++) {
		replace();
		assert_true(wait_until(is_retired));
	}
	atomic_store(&leave, true);
	pthread_join(thread, NULL);
	assert_int_equal(fake_stale(), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_refused_for_a_moment, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_refused_for_good, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_refused_and_replaced, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_end_while_refused, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_unsettled, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_unsettled_past, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_settled_past, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_other_thread, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
