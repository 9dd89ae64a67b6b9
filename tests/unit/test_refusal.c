/* SPDX-License-Identifier: Apache-2.0 */
/* UDP collectors that answer with ICMP errors: which records are lost, and when it is over. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include "exporter/loop.h"
#include "tests/unit/exporting.h"

/* Records of options that are sent at the start: sampling, in two forms, and flow keys of two templates. */
#define OPTIONS 4

/* Nobody listens: what is queued waits, which a line says once, and goes when somebody does. */
static void test_refused(void **state)
{
	uint64_t start_ns = clock_ns(CLOCK_MONOTONIC);
	uint16_t port = closed_port();
	struct sink s;

	(void)state;
	start(&(struct export_options){0}, NULL);
	add_udp("127.0.0.1", port);
	give_messages(100);
	exports_drain(exports, DRAIN_NS, false);
	assert_ledger(exports, &given);
	assert_int_equal(stats()->exported.records, 0);
	assert_int_equal(stats()->queued.records, 1600);
	assert_int_equal(stats()->state, COLLECTOR_REFUSED);
	assert_int_equal(stats()->errors, 2); /* templates, before it was known and after */
	assert_int_equal(stderr_lines("collector"), 1);
	assert_int_equal(stderr_lines("refused"), 1);

	/* Waiting did not help: it is not waited for again and again. */
	for (unsigned int i = 0; i < 10; i++)
		exports_drain(exports, DRAIN_NS, false);
	assert_in_range((clock_ns(CLOCK_MONOTONIC) - start_ns) / NSEC_PER_MSEC, 500, 900);

	/* It comes back: no record was lost, and templates come first. */
	assert_true(sink_open(&s, "127.0.0.1", port));
	exports_drain(exports, 5 * NSEC_PER_SEC, true);
	sink_read(&s);
	assert_int_equal(stats()->state, COLLECTOR_UP);
	assert_int_equal(s.records, 1600);
	assert_false(s.data_first);
	assert_false(s.gap);
	assert_int_equal(stats()->exported.records, 1600);
	assert_int_equal(stderr_lines("collector"), 2);
	assert_int_equal(stderr_lines("up again"), 1);
	assert_ledger(exports, &given);
	stop();
	sink_close(&s);
}

/* It stays away: the queue overflows, and what is left at the end is unsent. */
static void test_refused_for_ever(void **state)
{
	(void)state;
	start(&(struct export_options){.queue_messages = 16}, NULL);
	add_udp("127.0.0.1", closed_port());
	give_messages(100);
	exports_drain(exports, DRAIN_NS, true);
	assert_ledger(exports, &given);
	assert_int_equal(stats()->exported.records, 0);
	assert_int_equal(stats()->lost[EXPORT_LOSS_QUEUE_FULL].records, 84 * 16);
	assert_int_equal(stats()->lost[EXPORT_LOSS_UNSENT].records, 16 * 16);
	stop();
}

/* On the loop an ICMP error is noticed without another send, and probes cost no record. */
static void test_refused_later(void **state)
{
	_cleanup_(loop_freep) struct loop *loop = NULL;
	struct sink s;
	uint64_t errors;

	(void)state;
	assert_true(sink_open(&s, "127.0.0.1", 0));
	assert_int_equal(loop_new(&loop), 0);
	start(&(struct export_options){0}, loop);
	add_udp("127.0.0.1", s.port);
	give_messages(1);
	exports_flush(exports);
	run_for(loop, 20);
	assert_int_equal(stats()->exported.records, 16);
	sink_close(&s);
	give_messages(1);
	exports_flush(exports);
	run_for(loop, 20);
	assert_int_equal(stats()->state, COLLECTOR_REFUSED);
	assert_int_equal(stats()->exported.records, 16);
	assert_int_equal(stats()->lost[EXPORT_LOSS_REFUSED].records, 16);
	errors = stats()->errors;
	give_messages(10);
	exports_flush(exports);
	run_for(loop, 2500);
	assert_in_range(stats()->errors - errors, 2, 3); /* a probe a second */
	assert_int_equal(stats()->queued.records, 160);
	assert_int_equal(stderr_lines("collector"), 1);
	assert_true(sink_open(&s, "127.0.0.1", s.port));
	run_for(loop, 4500);
	sink_read(&s);
	assert_int_equal(s.records, 160);
	assert_int_equal(stats()->exported.records, 176);
	assert_int_equal(stats()->lost[EXPORT_LOSS_REFUSED].records, 16);
	assert_ledger(exports, &given);
	stop();
	sink_close(&s);
}

/* Which message an ICMP error is about is read from what it quotes; none is lost twice. */
static void test_quotes(void **state)
{
	_cleanup_(loop_freep) struct loop *loop = NULL;
	static const struct {
		uint32_t sequence;
		uint16_t set;
		unsigned int quoted, lost; /* records lost so far */
	} answers[] = {
		{16 + OPTIONS, 2, 20, 0}, /* templates, sent before the data with this sequence */
		{16 + OPTIONS, 256, 20, 16}, /* data */
		{16 + OPTIONS, 256, 20, 16}, /* again */
		{4711, 256, 20, 16},	     /* none of ours */
		{0, 0, 0,
		 32}, /* a router that quotes no more than ports: the newest not lost yet */
		{OPTIONS, 256, 20, 48},
		{0, 0, 0, 48},
	};
	struct sink s;

	(void)state;
	assert_true(sink_open(&s, "127.0.0.1", 0));
	assert_int_equal(loop_new(&loop), 0);
	start(&(struct export_options){0}, loop);
	add_udp("127.0.0.1", s.port);
	give_messages(3);
	exports_flush(exports);
	run_for(loop, 20);
	sink_read(&s);
	assert_int_equal(s.records, 48);
	for (unsigned int i = 0; i < ARRAY_SIZE(answers); i++) {
		if (!sink_refuse(&s, answers[i].sequence, answers[i].set, answers[i].quoted))
			skip();
		run_for(loop, 5);
		assert_int_equal(stats()->errors, i + 1);
		assert_int_equal(stats()->lost[EXPORT_LOSS_REFUSED].records, answers[i].lost);
		assert_ledger(exports, &given);
	}
	/* Hosts limit ICMP errors: nothing goes that might be lost without one. */
	give_messages(10);
	exports_flush(exports);
	run_for(loop, 100);
	sink_read(&s);
	assert_int_equal(s.records, 48);
	assert_int_equal(stats()->queued.records, 160);
	assert_ledger(exports, &given);
	stop();
	sink_close(&s);
}

/* A collector that talks back fills the receive buffer, and leaves no room for what ICMP says. */
static void test_full_receive_buffer(void **state)
{
	_cleanup_(loop_freep) struct loop *loop = NULL;
	struct sink s;

	(void)state;
	assert_true(sink_open(&s, "127.0.0.1", 0));
	assert_int_equal(loop_new(&loop), 0);
	start(&(struct export_options){0}, loop);
	add_udp("127.0.0.1", s.port);
	run_for(loop, 20);
	sink_read(&s);
	sink_talk(&s, 1000);
	sink_close(&s);
	give_messages(1);
	exports_flush(exports);
	run_for(loop, 20);
	assert_int_equal(stats()->lost[EXPORT_LOSS_REFUSED].records, 16);
	assert_int_equal(stats()->state, COLLECTOR_REFUSED);
	stop();
}

#define TEST(f) cmocka_unit_test_teardown(f, stderr_release)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_refused), TEST(test_refused_for_ever),    TEST(test_refused_later),
		TEST(test_quotes),  TEST(test_full_receive_buffer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
