/* SPDX-License-Identifier: Apache-2.0 */
/* UDP collectors that answer with ICMP errors: which records are lost, and when it is over. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>
#include "exporter/loop.h"
#include "exporter/export/format/wire.h"
#include "tests/unit/exporting.h"

/* Nobody listens: what is queued waits, which a line says once, and goes when somebody does. */
static void test_refused(void **state)
{
	uint16_t port = closed_port();
	struct sink s;

	(void)state;
	start(&(struct export_options){0}, NULL);
	add_udp("127.0.0.1", port);
	give_messages(100);
	exports_send_queued(exports, DRAIN_NS, false);
	assert_ledger(exports, &given);
	assert_int_equal(stats()->exported.records, 0);
	assert_int_equal(stats()->queued.records, 1600);
	assert_int_equal(stats()->state, COLLECTOR_REFUSED);
	assert_int_equal(stats()->errors, 1);
	assert_int_equal(stderr_lines("collector"), 1);
	assert_int_equal(stderr_lines("refused"), 1);

	/* Hours of it cost no record, and no other line. */
	for (unsigned int i = 0; i < 1000; i++) {
		exports_send_queued(exports, DRAIN_NS, false);
		clock_skip(10 * NSEC_PER_SEC);
	}
	assert_int_equal(stats()->exported.records, 0);
	assert_int_equal(stats()->queued.records, 1600);
	assert_int_equal(stderr_lines("collector"), 1);

	/* It comes back: no record was lost, and templates come first. */
	assert_true(sink_open(&s, "127.0.0.1", port));
	exports_send_queued(exports, 15 * NSEC_PER_SEC, true);
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
	exports_send_queued(exports, DRAIN_NS, true);
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
	run_for(loop, 20);
	clock_skip(20 * NSEC_PER_SEC); /* what has gone so far has arrived */
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
	run_for(loop, 1200);
	assert_int_equal(stats()->errors - errors, 1); /* a probe after a second */
	assert_int_equal(stats()->queued.records, 160);
	assert_int_equal(stderr_lines("collector"), 1);
	stop();
}

/* All that went before anything proved that somebody takes it is lost, not just what the error is about. */
static void test_unproven(void **state)
{
	_cleanup_(loop_freep) struct loop *loop = NULL;
	uint8_t head[20];
	struct sink s;

	(void)state;
	assert_true(sink_open(&s, "127.0.0.1", 0));
	assert_int_equal(loop_new(&loop), 0);
	start(&(struct export_options){0}, loop);
	add_udp("127.0.0.1", s.port);
	run_for(loop, 20);
	give_messages(50);
	exports_flush(exports);
	run_for(loop, 20);
	sink_read(&s);
	assert_int_equal(stats()->exported.records, 800);
	memcpy(head, sink_message(&s, s.count - 1), sizeof(head));
	if (!sink_refuse(&s, "127.0.0.1", head, sizeof(head)))
		skip();
	run_for(loop, 5);
	assert_int_equal(stats()->exported.records, 0);
	assert_int_equal(stats()->lost[EXPORT_LOSS_REFUSED].records, 800);
	assert_ledger(exports, &given);
	stop();
	sink_close(&s);
}

/* The i-th message of data. */
static const uint8_t *data_message(const struct sink *s, unsigned int index)
{
	for (unsigned int i = 0; i < s->count; i++)
		if (wire_load16(sink_message(s, i) + 16) == 256 && !index--)
			return sink_message(s, i);
	fail();
	return NULL;
}

/* A collector that has taken messages for a while, and three more of them. */
static struct loop *serve(struct sink *s)
{
	struct loop *loop;

	assert_true(sink_open(s, "127.0.0.1", 0));
	assert_int_equal(loop_new(&loop), 0);
	start(&(struct export_options){0}, loop);
	add_udp("127.0.0.1", s->port);
	run_for(loop, 20);
	clock_skip(20 * NSEC_PER_SEC);
	give_messages(3);
	exports_flush(exports);
	run_for(loop, 20);
	sink_read(s);
	assert_int_equal(s->records, 48);
	return loop;
}

/* What an ICMP error is about is read from what it quotes; what went after that is lost too, none of it twice. */
static void test_quotes(void **state)
{
	_cleanup_(loop_freep) struct loop *loop = NULL;
	struct sink s;

	(void)state;
	loop = serve(&s);
	if (!sink_refuse(&s, "127.0.0.1", data_message(&s, 1), 20))
		skip();
	run_for(loop, 5);
	assert_int_equal(stats()->state, COLLECTOR_REFUSED);
	assert_int_equal(stats()->lost[EXPORT_LOSS_REFUSED].records, 32);
	sink_refuse(&s, "127.0.0.1", data_message(&s, 2), 20);
	run_for(loop, 5);
	assert_int_equal(stats()->lost[EXPORT_LOSS_REFUSED].records, 32);
	assert_ledger(exports, &given);
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

/* Who knows the ports, and neither what was sent nor the collector's address, has nothing to say. */
static void test_forged(void **state)
{
	_cleanup_(loop_freep) struct loop *loop = NULL;
	uint8_t forged[64];
	struct sink s;

	(void)state;
	loop = serve(&s);
	memcpy(forged, data_message(&s, 1), sizeof(forged));
	for (unsigned int i = 0; i < 20; i++) {
		forged[i] ^= 1;
		if (!sink_refuse(&s, "127.0.0.1", forged, sizeof(forged)))
			skip();
		forged[i] ^= 1;
	}
	for (unsigned int quoted = 0; quoted < 20; quoted += 4)
		sink_refuse(&s, "127.0.0.9", forged, quoted);
	run_for(loop, 20);
	assert_int_equal(stats()->errors, 25);
	assert_int_equal(stats()->state, COLLECTOR_UP);
	assert_int_equal(stats()->lost[EXPORT_LOSS_REFUSED].records, 0);
	assert_int_equal(stderr_lines("collector"), 0);
	give_messages(10);
	exports_flush(exports);
	run_for(loop, 20);
	sink_read(&s);
	assert_int_equal(s.records, 48 + 160);
	stop();
	sink_close(&s);
}

/* A flood of them delays nothing. */
static void test_forged_flood(void **state)
{
	_cleanup_(loop_freep) struct loop *loop = NULL;
	uint8_t forged[64] = {0};
	struct sink s;

	(void)state;
	loop = serve(&s);
	for (unsigned int i = 0; i < 100; i++) {
		for (unsigned int j = 0; j < 100; j++)
			if (!sink_refuse(&s, "127.0.0.9", forged, sizeof(forged)))
				skip();
		give_messages(1);
		exports_flush(exports);
		run_for(loop, 1);
	}
	run_for(loop, 50);
	sink_read(&s);
	assert_int_equal(s.records, 48 + 1600);
	assert_int_equal(stats()->state, COLLECTOR_UP);
	assert_int_equal(stats()->lost[EXPORT_LOSS_REFUSED].records, 0);
	stop();
	sink_close(&s);
}

/* Who has the collector's address, or is a host that quotes no more than ports, costs one message each time. */
static void test_short(void **state)
{
	_cleanup_(loop_freep) struct loop *loop = NULL;
	struct sink s;

	(void)state;
	loop = serve(&s);
	for (unsigned int i = 0; i < 5; i++)
		if (!sink_refuse(&s, "127.0.0.1", data_message(&s, 0), 0))
			skip();
	run_for(loop, 5);
	assert_int_equal(stats()->errors, 5);
	assert_int_equal(stats()->state, COLLECTOR_REFUSED);
	assert_int_equal(stats()->lost[EXPORT_LOSS_REFUSED].records, 16);
	assert_ledger(exports, &given);
	/* More answers than messages: it is believed no more, however long that goes on. */
	for (unsigned int i = 0; i < 300; i++)
		sink_refuse(&s, "127.0.0.1", data_message(&s, 0), 0);
	run_for(loop, 20);
	give_messages(10);
	for (unsigned int i = 0; i < 20; i++) {
		clock_skip(NSEC_PER_SEC);
		sink_refuse(&s, "127.0.0.1", data_message(&s, 0), 0);
		exports_flush(exports);
		run_for(loop, 5);
	}
	sink_read(&s);
	assert_int_equal(s.records, 48 + 160);
	assert_int_equal(stats()->state, COLLECTOR_UP);
	assert_int_equal(stats()->lost[EXPORT_LOSS_REFUSED].records, 16);
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

static int release(void **state)
{
	clock_reset();
	return stderr_release(state);
}

#define TEST(f) cmocka_unit_test_teardown(f, release)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_refused),
		TEST(test_refused_for_ever),
		TEST(test_refused_later),
		TEST(test_unproven),
		TEST(test_quotes),
		TEST(test_forged),
		TEST(test_forged_flood),
		TEST(test_short),
		TEST(test_full_receive_buffer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
