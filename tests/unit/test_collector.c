/* SPDX-License-Identifier: Apache-2.0 */
/* UDP collectors on real sockets: templates, sequence, pacing, losses and their names. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include "exporter/log.h"
#include "exporter/loop.h"
#include "exporter/meter/drop_reason.h"
#include "tests/unit/exporting.h"

static void drain_to(const char *listen_at, const char *host)
{
	struct sink s, other;
	bool both;

	if (!sink_open(&s, listen_at, 0))
		skip();
	both = !strcmp(host, "localhost") && sink_open(&other, "::1", s.port);
	start(&(struct export_options){.message_max = 600, .domain = 7}, NULL);
	add_udp(host, s.port);
	assert_int_equal(stats()->state, COLLECTOR_RESOLVING);
	give(500);
	assert_int_equal(stats()->exported.records, 0);
	exports_send_queued(exports, DRAIN_NS, true);
	assert_ledger(exports, &given);
	assert_int_equal(stats()->exported.records, 500);
	assert_int_equal(stats()->state, COLLECTOR_UP);
	sink_read(&s);
	if (both) { /* a name has several addresses, and either may come first */
		sink_read(&other);
		if (other.count) {
			struct sink swap = s;

			s = other;
			other = swap;
		}
		sink_close(&other);
	}
	assert_int_equal(s.templates, 3);
	assert_int_equal(s.records, 500);
	assert_false(s.gap);
	assert_false(s.data_first);
	assert_in_range(s.longest, 600 - 112 + 1, 600);
	assert_int_equal(stats()->messages, s.count);
	assert_int_equal(stats()->bytes, s.used);
	assert_int_equal(stats()->errors, 0);
	assert_int_equal(stderr_lines("flowtally"), 0);
	stop();
	sink_close(&s);
}

static void test_ipv4(void **state)
{
	(void)state;
	drain_to("127.0.0.1", "127.0.0.1");
}

static void test_ipv6(void **state)
{
	(void)state;
	drain_to("::1", "[::1]");
}

/* A name of /etc/hosts. */
static void test_name(void **state)
{
	(void)state;
	drain_to("127.0.0.1", "localhost");
}

/* On the loop: copies of the templates after 0, 1 and 5 s, the first before the data. */
static void test_schedule(void **state)
{
	_cleanup_(loop_freep) struct loop *loop = NULL;
	struct sink s;

	(void)state;
	assert_true(sink_open(&s, "127.0.0.1", 0));
	assert_int_equal(loop_new(&loop), 0);
	start(&(struct export_options){0}, loop);
	add_udp("127.0.0.1", s.port);
	give(40);
	exports_flush(exports);
	run_for(loop, 500);
	sink_read(&s);
	assert_int_equal(s.templates, 1);
	assert_int_equal(s.records, 40);
	run_for(loop, 1000);
	sink_read(&s);
	assert_int_equal(s.templates, 2);
	run_for(loop, 3000);
	sink_read(&s);
	assert_int_equal(s.templates, 2);
	run_for(loop, 1000);
	sink_read(&s);
	assert_int_equal(s.templates, 3);
	assert_false(s.gap);
	assert_false(s.data_first);
	assert_ledger(exports, &given);
	stop();
	sink_close(&s);
}

/* At the interval templates go again, before what is queued. */
static void test_interval(void **state)
{
	_cleanup_(loop_freep) struct loop *loop = NULL;
	struct sink s;

	(void)state;
	assert_true(sink_open(&s, "127.0.0.1", 0));
	assert_int_equal(loop_new(&loop), 0);
	start(&(struct export_options){.template_interval_ns = 300 * NSEC_PER_MSEC}, loop);
	add_udp("127.0.0.1", s.port);
	for (unsigned int i = 0; i < 3; i++) {
		give(20);
		exports_flush(exports);
		run_for(loop, i == 1 ? 350 : 20);
		sink_read(&s);
		assert_int_equal(s.records, 20 * (i + 1));
		assert_int_equal(s.templates, i == 2 ? 2 : 1);
	}
	assert_int_equal(stats()->messages, 2 + 2 + 3 * 2); /* templates, options, data */
	assert_false(s.gap);
	assert_ledger(exports, &given);
	stop();
	sink_close(&s);
}

/* 300 messages at 64 in 10 ms, the first 64 at once. */
static void test_pace(void **state)
{
	_cleanup_(loop_freep) struct loop *loop = NULL;
	uint64_t start_ns;
	struct sink s;

	(void)state;
	assert_true(sink_open(&s, "127.0.0.1", 0));
	assert_int_equal(loop_new(&loop), 0);
	start(&(struct export_options){0}, loop);
	add_udp("127.0.0.1", s.port);
	run_for(loop, 50);
	sink_read(&s);
	give_messages(300);
	exports_flush(exports);
	sink_read(&s);
	assert_int_equal(s.records, 64 * 16);
	run_for(loop, 20);
	sink_read(&s);
	assert_in_range(s.records, 64 * 2 * 16, 64 * 3 * 16);
	run_for(loop, 30);
	sink_read(&s);
	assert_int_equal(s.records, 300 * 16);
	assert_false(s.gap);
	assert_int_equal(stats()->queued.records, 0);

	exports_set_blocking(exports);
	start_ns = clock_passed_ns();
	give_messages(300);
	exports_send_queued(exports, DRAIN_NS, true);
	assert_in_range((clock_passed_ns() - start_ns) / NSEC_PER_MSEC, (300 - 64) * 10 / 64 - 1,
			(300 - 64) * 10 / 64 + 10);
	sink_read(&s);
	assert_int_equal(s.records, 600 * 16);
	assert_int_equal(stats()->exported.records, 600 * 16);
	stop();
	sink_close(&s);
}

static void test_queue_full(void **state)
{
	_cleanup_(loop_freep) struct loop *loop = NULL;

	(void)state;
	assert_int_equal(loop_new(&loop), 0);
	start(&(struct export_options){.queue_messages = 16}, loop);
	add_udp("127.0.0.1", closed_port());
	give_messages(20);
	assert_int_equal(stats()->queued.records, 16 * 16);
	assert_int_equal(stats()->lost[EXPORT_LOSS_QUEUE_FULL].records, 4 * 16);
	give(100);
	assert_int_equal(stats()->queued.records, 16 * 16);
	stop();
}

/* However many drops come, half of the queue is for flows. */
static void test_queue_share(void **state)
{
	_cleanup_(loop_freep) struct loop *loop = NULL;
	const struct flow drop = {.key.kind = FLOW_DROP,
				  .record = {.packets = 1, .octets = 60},
				  .drop = &drop_reason_texts[0]};
	/* of which so many fill a message: 70 octets, and those of the name */
	const unsigned int each = (1400 - 20) / (70 + (unsigned int)strlen(drop.drop->name));

	(void)state;
	assert_int_equal(loop_new(&loop), 0);
	start(&(struct export_options){.queue_messages = 16, .drops = true}, loop);
	add_udp("127.0.0.1", closed_port());
	for (unsigned int i = 0; i < 16 * each; i++) {
		given.records++;
		given.packets += drop.record.packets;
		given.octets += drop.record.octets;
		exports_flow(exports, &drop);
	}
	assert_int_equal(stats()->queued.records, 8 * each);
	assert_int_equal(stats()->lost[EXPORT_LOSS_QUEUE_FULL].records, 8 * each);
	give_messages(9);
	assert_int_equal(stats()->queued.records, 8 * each + 8 * 16);
	stop();
}

/* Records given to each of these collectors, with 10 flows and 5 drops; "" ends them. */
static void expect_given(const struct export_options *options, struct loop *loop,
			 const char *const *urls, const unsigned int *records)
{
	const struct flow drop = {.key.kind = FLOW_DROP,
				  .record = {.packets = 1, .octets = 60},
				  .drop = &drop_reason_texts[0]};
	const struct flow flow = {.record = {.packets = 3, .octets = 180}};

	start(options, loop);
	for (unsigned int i = 0; *urls[i]; i++)
		assert_int_equal(exports_add(exports, urls[i]), 0);
	for (unsigned int i = 0; i < 10; i++)
		exports_flow(exports, &flow);
	for (unsigned int i = 0; i < 5; i++)
		exports_flow(exports, &drop);
	for (unsigned int i = 0; *urls[i]; i++) {
		assert_int_equal(exports_stats(exports, i)->given.records, records[i]);
		assert_int_equal(exports_stats(exports, i)->drops, records[i] == 15);
	}
	stop();
}

/* Files get drops, collectors in the network when it is asked for. */
static void test_who_gets_drops(void **state)
{
	static const char *const urls[] = {
		"ipfix://127.0.0.1:9",
		"netflow9://127.0.0.1:9?drops=on",
		"ipfix://127.0.0.1:9?drops=off",
		"file:///dev/null",
		"json:///dev/null",
		"",
	};
	struct export_options options = {.drops = true, .drops_in_files = true};
	_cleanup_(loop_freep) struct loop *loop = NULL;

	(void)state;
	assert_int_equal(loop_new(&loop), 0);
	expect_given(&options, loop, urls, (const unsigned int[]){10, 15, 10, 15, 15});
	options.drops_in_files = false;
	expect_given(&options, loop, urls, (const unsigned int[]){15, 15, 10, 15, 15});
	/* Of those that share, the one that takes drops gets all of them, and its share of flows: all here, or none. */
	options.balance = true;
	start(&options, loop);
	assert_int_equal(exports_add(exports, "ipfix://127.0.0.1:9?drops=off"), 0);
	assert_int_equal(exports_add(exports, "ipfix://127.0.0.1:9"), 0);
	for (unsigned int i = 0; i < 100; i++) {
		struct flow drop = {.key = {.kind = FLOW_DROP, .src_port = (uint16_t)i},
				    .record = {.packets = 1, .octets = 60},
				    .drop = &drop_reason_texts[0]};

		exports_flow(exports, &drop);
	}
	assert_int_equal(exports_stats(exports, 0)->given.records, 0);
	assert_int_equal(exports_stats(exports, 1)->given.records, 100);
	stop();
}

/* Who waits for room loses nothing at the pace of UDP, and waits for no collector that takes less. */
static void test_room(void **state)
{
	_cleanup_(loop_freep) struct loop *loop = NULL;
	unsigned int waits = 0;
	char url[100];
	struct sink s;

	(void)state;
	assert_true(sink_open(&s, "127.0.0.1", 0));
	assert_int_equal(loop_new(&loop), 0);
	start(&(struct export_options){.queue_messages = 512}, loop);
	add_udp("127.0.0.1", s.port);
	add_udp("flows.onion", 4739);
	snprintf(url, sizeof(url), "ipfix://127.0.0.1:%u?rate=100", s.port);
	assert_int_equal(exports_add(exports, url), 0);
	run_for(loop, 20);
	for (unsigned int slices = 0; slices < 20; slices++) {
		for (; !exports_have_room(exports) && waits < 300; waits++)
			run_for(loop, 10);
		give_messages(64);
	}
	assert_in_range(waits, 5, 299);
	assert_int_equal(stats()->lost[EXPORT_LOSS_QUEUE_FULL].records, 0);
	for (unsigned int i = 1; i < 3; i++)
		assert_in_range(exports_stats(exports, i)->lost[EXPORT_LOSS_QUEUE_FULL].records, 1,
				20 * 64 * 16);
	run_for(loop, 300);
	assert_int_equal(stats()->exported.records, 20 * 64 * 16);
	assert_true(exports_have_room(exports));
	stop();
	sink_close(&s);
}

/* Without a loop nothing is lost for lack of room, however small the queue. */
static void test_blocking(void **state)
{
	struct sink s;

	(void)state;
	assert_true(sink_open(&s, "127.0.0.1", 0));
	start(&(struct export_options){.queue_messages = 16}, NULL);
	add_udp("127.0.0.1", s.port);
	give(3000);
	exports_send_queued(exports, DRAIN_NS, true);
	sink_read(&s);
	assert_int_equal(s.records, 3000);
	assert_false(s.gap);
	assert_int_equal(stats()->exported.records, 3000);
	stop();
	sink_close(&s);
}

/* ... but a collector that cannot be reached is waited for once, not with each record. */
static void test_stalled(void **state)
{
	uint64_t start_ns = clock_passed_ns();

	(void)state;
	start(&(struct export_options){.queue_messages = 16}, NULL);
	add_udp("flows.onion", 4739);
	give_messages(100);
	exports_send_queued(exports, 200 * NSEC_PER_MSEC, true);
	assert_int_equal((clock_passed_ns() - start_ns) / NSEC_PER_MSEC, 1000 + 200);
	assert_ledger(exports, &given);
	assert_int_equal(stats()->lost[EXPORT_LOSS_UNSENT].records, 16 * 16);
	assert_int_equal(stats()->lost[EXPORT_LOSS_QUEUE_FULL].records, 84 * 16);
	assert_int_equal(stats()->queued.records, 0);
	stop();
}

/* Nor is it waited for at each drain of a replay; the last one tries once more. */
static void test_stalled_drains(void **state)
{
	uint64_t start_ns = clock_passed_ns(), stalled_ns;

	(void)state;
	start(&(struct export_options){0}, NULL);
	add_udp("flows.onion", 4739);
	for (unsigned int i = 0; i < 20; i++) {
		give_messages(1);
		exports_send_queued(exports, 200 * NSEC_PER_MSEC, false);
	}
	stalled_ns = clock_passed_ns();
	assert_int_equal((stalled_ns - start_ns) / NSEC_PER_MSEC, 200);
	exports_send_queued(exports, 200 * NSEC_PER_MSEC, true);
	assert_int_equal((clock_passed_ns() - stalled_ns) / NSEC_PER_MSEC, 200);
	assert_ledger(exports, &given);
	assert_int_equal(stats()->lost[EXPORT_LOSS_UNSENT].records, 20 * 16);
	stop();
}

/* A name that does not resolve is one line, and does not touch the other collector. */
static void test_unresolvable(void **state)
{
	_cleanup_(loop_freep) struct loop *loop = NULL;
	struct sink s;

	(void)state;
	assert_true(sink_open(&s, "127.0.0.1", 0));
	assert_int_equal(loop_new(&loop), 0);
	start(&(struct export_options){0}, loop);
	add_udp("flows.onion", 4739);
	add_udp("127.0.0.1", s.port);
	give(100);
	exports_flush(exports);
	run_for(loop, 1500);
	sink_read(&s);
	assert_int_equal(s.records, 100);
	assert_int_equal(stats()->state, COLLECTOR_RESOLVING);
	assert_int_equal(stats()->errors, 2); /* at once, and after a second */
	assert_int_equal(stats()->queued.records, 100);
	assert_int_equal(exports_stats(exports, 1)->state, COLLECTOR_UP);
	assert_int_equal(exports_stats(exports, 1)->exported.records, 100);
	assert_int_equal(stderr_lines("does not resolve"), 1);
	assert_int_equal(stderr_lines("collector"), 1);
	assert_ledger(exports, &given);
	stop();
	sink_close(&s);
}

static void test_eagain(void **state)
{
	_cleanup_(loop_freep) struct loop *loop = NULL;
	struct sink s;

	(void)state;
	assert_true(sink_open(&s, "127.0.0.1", 0));
	assert_int_equal(loop_new(&loop), 0);
	start(&(struct export_options){0}, loop);
	add_udp("127.0.0.1", s.port);
	run_for(loop, 10);
	fail_sends(EAGAIN, 3);
	give_messages(2);
	exports_flush(exports);
	assert_int_equal(stats()->queued.records, 32);
	run_for(loop, 50); /* epoll says that it can be written, at once */
	assert_int_equal(failed_sends(), 0);
	assert_int_equal(stats()->exported.records, 32);
	exports_set_blocking(exports);
	fail_sends(EAGAIN, 3);
	give_messages(2);
	exports_send_queued(exports, DRAIN_NS, true);
	fail_sends(ENOBUFS, 2);
	give_messages(2);
	exports_send_queued(exports, DRAIN_NS, true);
	assert_int_equal(failed_sends(), 0);
	assert_int_equal(stats()->exported.records, 96);
	assert_int_equal(stats()->errors, 2);
	assert_int_equal(stats()->state, COLLECTOR_UP);
	sink_read(&s);
	assert_int_equal(s.records, 96);
	assert_false(s.gap);
	assert_int_equal(stderr_lines("collector"), 0);
	stop();
	sink_close(&s);
}

/* What the system refuses to send is lost and named, and shows in the sequence. */
static void test_send_error(void **state)
{
	struct sink s;

	(void)state;
	assert_true(sink_open(&s, "127.0.0.1", 0));
	start(&(struct export_options){0}, NULL);
	add_udp("127.0.0.1", s.port);
	fail_sends(EPERM, 2);
	give_messages(2);
	exports_send_queued(exports, DRAIN_NS, false);
	assert_int_equal(stats()->lost[EXPORT_LOSS_SEND_ERROR].records, 32);
	assert_int_equal(stats()->state, COLLECTOR_FAILING);
	give_messages(2);
	exports_send_queued(exports, DRAIN_NS, false);
	assert_int_equal(stats()->state,
			 COLLECTOR_FAILING); /* until a second is over without another */
	clock_skip(NSEC_PER_SEC);
	give_messages(1);
	exports_send_queued(exports, DRAIN_NS, false);
	assert_int_equal(stats()->state, COLLECTOR_UP);
	assert_int_equal(stats()->exported.records, 48);
	assert_int_equal(stats()->errors, 2);
	sink_read(&s);
	assert_int_equal(s.records, 48);
	assert_int_equal(s.sequence, 80 + s.options);
	assert_int_equal(stderr_lines("collector"), 2);
	assert_int_equal(stderr_lines("Operation not permitted"), 1);
	assert_ledger(exports, &given);
	stop();
	sink_close(&s);
}

/* A packet filter that takes every other message is one line, not two for each. */
static void test_flapping(void **state)
{
	struct sink s;

	(void)state;
	assert_true(sink_open(&s, "127.0.0.1", 0));
	start(&(struct export_options){0}, NULL);
	add_udp("127.0.0.1", s.port);
	for (unsigned int i = 0; i < 200; i++) {
		fail_sends(EPERM, i & 1);
		give_messages(1);
		exports_send_queued(exports, DRAIN_NS, false);
		clock_skip(100 * NSEC_PER_MSEC);
	}
	assert_int_equal(stats()->state, COLLECTOR_FAILING);
	assert_int_equal(stderr_lines("collector"), 1);
	assert_in_range(stats()->lost[EXPORT_LOSS_SEND_ERROR].records, 80 * 16, 100 * 16);
	assert_ledger(exports, &given);
	stop();
	sink_close(&s);
}

/* Our own address or the route goes: what is queued waits for a new socket, and nothing is lost. */
static void test_reconnect(void **state)
{
	_cleanup_(loop_freep) struct loop *loop = NULL;
	static const int errors[] = {EINVAL, ENETUNREACH, EADDRNOTAVAIL};
	struct sink s;

	(void)state;
	assert_true(sink_open(&s, "127.0.0.1", 0));
	assert_int_equal(loop_new(&loop), 0);
	start(&(struct export_options){0}, loop);
	add_udp("127.0.0.1", s.port);
	for (unsigned int i = 0; i < ARRAY_SIZE(errors); i++) {
		give_messages(1);
		exports_flush(exports);
		run_for(loop, 20);
		assert_int_equal(stats()->state, COLLECTOR_UP);
		assert_int_equal(stats()->queued.records, 0);
		fail_sends(errors[i], 1);
		give_messages(10);
		exports_flush(exports);
		run_for(loop, 500);
		assert_int_equal(stats()->state, COLLECTOR_FAILING);
		assert_int_equal(stats()->queued.records, 160);
		assert_int_equal(stats()->errors, i + 1);
		assert_ledger(exports, &given);
		run_for(loop, 700);
		clock_skip(120 * NSEC_PER_SEC); /* the next is not taken for a relapse */
	}
	sink_read(&s);
	assert_int_equal(s.records, 3 * 11 * 16);
	assert_int_equal(stats()->exported.records, 3 * 11 * 16);
	assert_int_equal(stderr_lines("cannot send"), 3);
	assert_int_equal(stderr_lines("up again"), 3);
	assert_ledger(exports, &given);
	stop();
	sink_close(&s);
}

static void test_options(void **state)
{
	static const struct export_options bad[] = {{.message_max = 511},
						    {.message_max = 9001},
						    {.queue_messages = 15},
						    {.queue_messages = 65537}};
	struct exports *none = NULL;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(exports_new(&none, &bad[i], NULL), -EINVAL);
	assert_null(none);
	start(&(struct export_options){.queue_messages = 16}, NULL);
	assert_int_equal(exports_add(exports, "ipfix://"), -EINVAL);
	assert_null(exports_stats(exports, 0));
	for (unsigned int i = 0; i < EXPORT_COLLECTORS_MAX; i++)
		add_udp("127.0.0.1", 4739);
	assert_int_equal(exports_add(exports, "json:-"), -ENOSPC);
	assert_string_equal(exports_stats(exports, EXPORT_COLLECTORS_MAX - 1)->url,
			    "ipfix://127.0.0.1:4739");
	assert_null(exports_stats(exports, EXPORT_COLLECTORS_MAX));
	stop();
}

#define TEST(f) cmocka_unit_test_teardown(f, stderr_release)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_ipv4),	   TEST(test_ipv6),	      TEST(test_name),
		TEST(test_schedule),	   TEST(test_interval),	      TEST(test_pace),
		TEST(test_queue_full),	   TEST(test_blocking),	      TEST(test_stalled),
		TEST(test_stalled_drains), TEST(test_unresolvable),   TEST(test_eagain),
		TEST(test_room),	   TEST(test_who_gets_drops), TEST(test_send_error),
		TEST(test_reconnect),	   TEST(test_options),	      TEST(test_queue_share),
		TEST(test_flapping),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
