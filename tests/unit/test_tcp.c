/* SPDX-License-Identifier: Apache-2.0 */
/* TCP collectors on real sockets: sessions, what breaks them, what is lost then, and who is not touched. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <sys/resource.h>
#include "tests/unit/peer.h"

/* Sets of options templates with this id, 0: of all, in the messages of the session. */
static unsigned int options_templates(const struct sink *s, uint16_t id)
{
	unsigned int count = 0;

	for (unsigned int i = 0; i < s->count; i++) {
		const uint8_t *m = sink_message(s, i), *stop_at = m + sink_length(s, i);

		for (const uint8_t *at = m + 16; at < stop_at; at += wire_load16(at + 2))
			count += wire_load16(at) == 3 && (!id || wire_load16(at + 4) == id);
	}
	return count;
}

/* Templates once in a session, though options and statistics go again and interfaces change. */
static void test_once(void **state)
{
	struct export_interface interface = {7, "eth0", ""};

	(void)state;
	begin(&(struct export_options){.domain = 5, .statistics_interval_ns = 40 * NSEC_PER_SEC},
	      "");
	run(100);
	assert_int_equal(stats()->state, COLLECTOR_UP);
	assert_int_equal(peer.s.templates, 1);
	for (unsigned int i = 0; i < 60; i++) {
		interface.ifindex = i;
		assert_int_equal(exports_set_interfaces(exports, &interface, 1), 0);
		give_messages(2);
		run(20);
		clock_skip(20 * NSEC_PER_SEC);
	}
	run(1500);
	assert_int_equal(peer.connections, 1);
	assert_int_equal(peer.s.templates, 1);
	assert_int_equal(peer.s.records, 120 * 16);
	assert_true(peer.s.options > 60);
	assert_int_equal(options_templates(&peer.s, 0), 8 - 1); /* no elements of our own */
	for (uint16_t id = 512; id < 520; id++)
		assert_in_range(options_templates(&peer.s, id), 0, 1);
	assert_int_equal(stats()->exported.records, 120 * 16);
	assert_int_equal(stats()->messages, peer.s.count);
	assert_int_equal(stats()->bytes, peer.s.used);
	end();
}

/* Nobody listens: records wait; when somebody does they come, the templates before them. */
static void test_no_listener(void **state)
{
	(void)state;
	begin(&(struct export_options){0}, "?retry=1");
	peer_stop_listening(&peer);
	give_messages(50);
	run(3000);
	assert_int_equal(stats()->state, COLLECTOR_REFUSED);
	assert_int_equal(stats()->queued.records, 800);
	assert_int_equal(stats()->exported.records, 0);
	assert_int_equal(stderr_lines("collector"), 1);
	assert_int_equal(stderr_lines("refused"), 1);
	peer_listen(&peer, "127.0.0.1", 0);
	run(5000);
	assert_int_equal(peer.s.records, 800);
	assert_int_equal(peer.s.templates, 1);
	assert_int_equal(stats()->exported.records, 800);
	assert_int_equal(stats()->state, COLLECTOR_REFUSED); /* it has to last */
	run(6000);
	assert_int_equal(stats()->state, COLLECTOR_UP);
	assert_int_equal(stderr_lines("up again"), 1);
	assert_int_equal(stderr_lines("collector"), 2);
	end();
}

/* It dies and comes back, several times: templates each time, sequences from 0, and no record is lost. */
static void test_comes_back(void **state)
{
	(void)state;
	begin(&(struct export_options){0}, "?retry=1");
	for (unsigned int i = 1; i <= 4; i++) {
		give_messages(10);
		run(20 * 1000);
		assert_int_equal(peer.connections, i);
		assert_int_equal(peer.s.templates, i);
		assert_int_equal(peer.s.records, i * 20 * 16 - 160);
		assert_int_equal(stats()->exported.records, peer.s.records);
		peer_hang_up(&peer, i % 2);
		peer_stop_listening(&peer);
		give_messages(10);
		exports_flush(exports);
		run_for(loop, 1500);
		assert_int_equal(stats()->state, COLLECTOR_REFUSED);
		assert_int_equal(stats()->queued.records, 160);
		peer_listen(&peer, "127.0.0.1", 0);
	}
	run(20 * 1000);
	assert_int_equal(peer.s.records, given.records);
	assert_int_equal(stats()->exported.records, given.records);
	end();
}

/* Who takes connections and closes them at once is asked once a minute (RFC 7011 10.4.4), and loses nothing else. */
static void closes_at_once(const char *options, unsigned int least, unsigned int most)
{
	begin(&(struct export_options){0}, options);
	give_messages(5);
	exports_flush(exports);
	for (unsigned int i = 0; i < 60 * 100; i++) {
		run_for(loop, 100);
		if (peer_accept(&peer))
			peer_hang_up(&peer, true);
	}
	assert_in_range(peer.connections, least, most);
	assert_int_equal(stderr_lines("cannot send"), 1);
	assert_int_equal(stderr_lines("up again"), 0);
	end();
}

static void test_closes_at_once(void **state)
{
	(void)state;
	closes_at_once("", 8, 10);
	closes_at_once("?retry=1", 13, 20); /* 1, 2, 4 ... 60 s */
}

/* A collector that never reads: its queue overflows, the loop and the others do not notice. */
static void test_never_reads(void **state)
{
	struct sink other;
	unsigned int i;

	(void)state;
	begin(&(struct export_options){.queue_messages = 64}, "");
	assert_true(sink_open(&other, "127.0.0.1", 0));
	add("ipfix", "127.0.0.1", other.port, "");
	for (i = 0; i < 120; i++) {
		give_messages(30);
		exports_flush(exports);
		run_for(loop, 10);
		assert_int_equal(clock_passed_ns() % (10 * NSEC_PER_MSEC), 0); /* nothing waited */
		sink_read(&other);
	}
	assert_true(peer_accept(&peer));
	systems_at_rest(&peer);
	/* The host answers the probes of its window, and is not gone. */
	run_for(loop, 120 * 1000);
	assert_int_equal(stats()->state, COLLECTOR_STALLED);
	assert_string_equal(collector_state_name(COLLECTOR_STALLED), "stalled");
	assert_int_equal(stderr_lines("taken nothing"), 1);
	assert_true(stats()->lost[EXPORT_LOSS_QUEUE_FULL].records > 0);
	assert_int_equal(stats()->lost[EXPORT_LOSS_SEND_ERROR].records, 0);
	assert_true(stats()->queued.records > 64 * 16);
	assert_ledger(exports, &given);
	sink_read(&other);
	assert_int_equal(exports_stats(exports, 1)->exported.records, given.records);
	assert_int_equal(other.records, given.records);
	/* It reads at last: what was not lost is there. */
	run(2000);
	assert_int_equal(stats()->state, COLLECTOR_UP);
	assert_int_equal(stderr_lines("takes records again"), 1);
	assert_int_equal(stderr_lines("collector"), 2);
	assert_int_equal(stats()->queued.records, 0);
	assert_int_equal(peer.s.records, stats()->exported.records);
	assert_int_equal(peer.s.records,
			 given.records - stats()->lost[EXPORT_LOSS_QUEUE_FULL].records);
	give_messages(1);
	run(20);
	assert_true(peer.s.gap); /* which is what was lost */
	peer.s.gap = false;
	sink_close(&other);
	end();
}

/* At the end it is waited for as long as any, and what it has not taken is unsent. */
static void test_never_reads_end(void **state)
{
	uint64_t start_ns;

	(void)state;
	begin(&(struct export_options){.queue_messages = 64}, "");
	for (unsigned int i = 0; i < 200; i++) {
		give_messages(30);
		exports_flush(exports);
		run_for(loop, 10);
	}
	assert_true(peer_accept(&peer));
	systems_at_rest(&peer);
	run_for(loop, 10);
	exports_set_blocking(exports);
	start_ns = clock_passed_ns();
	exports_send_queued(exports, 2 * NSEC_PER_SEC, true);
	assert_in_range((clock_passed_ns() - start_ns) / NSEC_PER_MSEC, 2000, 2100);
	assert_int_equal(stats()->queued.records, 0);
	assert_true(stats()->lost[EXPORT_LOSS_UNSENT].records > 64 * 16);
	end();
}

/* Records in the complete messages that the peer's system has got, read or not. */
static uint64_t records_got(struct peer *p)
{
	static uint8_t bytes[1 << 20];
	ssize_t n = recv(p->fd, bytes, sizeof(bytes), MSG_PEEK);
	struct sink got = p->s;

	got.bytes = malloc(SINK_MESSAGES * 1500);
	assert_non_null(got.bytes);
	got.count = 0;
	got.used = 0;
	got.records = 0;
	for (ssize_t at = 0; n - at >= 16 && n - at >= wire_load16(bytes + at + 2);
	     at += wire_load16(bytes + at + 2))
		sink_take(&got, bytes + at, wire_load16(bytes + at + 2));
	free(got.bytes);
	return got.records;
}

/* A reset in the middle of a message: exported is what the peer's system has got in full, and the rest has a name. */
static void test_reset(void **state)
{
	uint64_t got;

	(void)state;
	begin(&(struct export_options){.queue_messages = 256}, "?retry=1");
	peer_stop_listening(&peer);
	run(20);
	peer_listen(&peer, "127.0.0.1", 20000);
	for (unsigned int i = 0; i < 100; i++) { /* more than both systems take */
		give_messages(60);
		exports_flush(exports);
		run_for(loop, 200);
		if (i < 90)
			continue;
		if (peer.fd < 0)
			assert_true(peer_accept(&peer));
		acknowledge(peer.fd);
	}
	systems_at_rest(&peer);
	run_for(loop, 2000);
	got = stats()->exported.records;
	assert_true(got > 0);
	/* But for what its system has not acknowledged yet, a window at most: it may take its time. */
	assert_in_range(records_got(&peer), got, got + 20000 / 84);
	assert_int_equal(stats()->lost[EXPORT_LOSS_SEND_ERROR].records, 0);
	assert_int_equal(stats()->queued.records,
			 given.records - got - stats()->lost[EXPORT_LOSS_QUEUE_FULL].records);
	peer_hang_up(&peer, true);
	run_for(loop, 1);
	assert_int_equal(stats()->state, COLLECTOR_FAILING);
	assert_int_equal(stats()->exported.records, got);
	assert_true(stats()->lost[EXPORT_LOSS_SEND_ERROR].records > 0);
	assert_in_range(stats()->queued.records, 16, 256 * 16);
	assert_ledger(exports, &given);
	/* What had not been taken goes in the next session, from the start of a message. */
	peer.s.gap = false;
	run(10 * 1000);
	assert_int_equal(peer.s.records, stats()->exported.records - got);
	assert_int_equal(stats()->queued.records, 0);
	assert_int_equal(peer.s.templates, 1);
	peer.s.gap = false; /* of what the queue had no room for */
	end();
}

/* What was called lost does not arrive after all: a collector that says that it ends, and goes on reading. */
static void test_half_closed(void **state)
{
	(void)state;
	peer_open(&peer, "127.0.0.1", 20000);
	assert_int_equal(loop_new(&loop), 0);
	start(&(struct export_options){0}, loop);
	add("ipfix+tcp", "127.0.0.1", peer.port, "");
	for (unsigned int i = 0; i < 20; i++) {
		give_messages(10);
		exports_flush(exports);
		run_for(loop, 100);
	}
	assert_true(peer_accept(&peer));
	acknowledge(peer.fd);
	run_for(loop, 2000);
	assert_int_equal(shutdown(peer.fd, SHUT_WR), 0);
	run_for(loop, 10);
	assert_int_equal(stats()->state, COLLECTOR_FAILING);
	assert_int_equal(stats()->queued.records, 0);
	assert_in_range(stats()->exported.records, 1, given.records - 1);
	while (peer_read(&peer))
		run_for(loop, 10);
	/* But for what was under way at that moment: a window at most. */
	assert_in_range(peer.s.records, stats()->exported.records,
			stats()->exported.records + 20000 / 84);
	end();
}

static void test_ipv6(void **state)
{
	(void)state;
	peer_open(&peer, "::1", 0);
	assert_int_equal(loop_new(&loop), 0);
	start(&(struct export_options){0}, loop);
	add("ipfix+tcp", "[::1]", peer.port, "?dscp=8");
	give(300);
	run(100);
	assert_int_equal(peer.s.records, 300);
	assert_int_equal(stats()->exported.records, 300);
	end();
}

/* A name of /etc/hosts. */
static void test_name(void **state)
{
	(void)state;
	peer_open(&peer, "127.0.0.1", 0);
	assert_int_equal(loop_new(&loop), 0);
	start(&(struct export_options){0}, loop);
	add("ipfix+tcp", "localhost", peer.port, "");
	give(300);
	run(500);
	assert_int_equal(peer.s.records, 300);
	end();
}

/* Without a loop, as in replay: the queue is small, and nothing is lost. */
static void test_blocking(void **state)
{
	(void)state;
	peer_open(&peer, "127.0.0.1", 0);
	clock_before_moving(read_before_moving); /* when the exporter waits */
	start(&(struct export_options){.queue_messages = 16}, NULL);
	add("ipfix+tcp", "127.0.0.1", peer.port, "");
	give(3000);
	exports_send_queued(exports, DRAIN_NS, true);
	peer_read(&peer);
	assert_int_equal(peer.s.records, 3000);
	assert_int_equal(stats()->exported.records, 3000);
	assert_int_equal(stats()->errors, 0);
	end();
}

/* A collector with a rate keeps it. */
static void test_rate(void **state)
{
	(void)state;
	begin(&(struct export_options){0}, "?rate=1600");
	run(10);
	give_messages(40); /* 640 records */
	run(200);
	assert_in_range(peer.s.records, 300, 360);
	run(300);
	assert_int_equal(peer.s.records, 640);
	end();
}

/* The wall clock is set back: a new connection, after the old one has delivered. */
static void test_clock_set(void **state)
{
	(void)state;
	begin(&(struct export_options){.domain = 5}, "");
	exports_set_clock(exports, 0);
	give_messages(3);
	run(100);
	clock_set_wall(-3600ll * (int64_t)NSEC_PER_SEC);
	exports_set_clock(exports, 0);
	give_messages(3);
	exports_flush(exports);
	run_for(loop, 20);
	assert_false(peer_read(&peer)); /* closed */
	peer_hang_up(&peer, false);
	run(100);
	assert_int_equal(peer.connections, 2);
	assert_int_equal(peer.s.records, given.records);
	assert_int_equal(peer.s.templates, 2);
	assert_int_equal(stderr_lines("a new session begins"), 1);
	end();
}

/* What the old connection has is waited for, however slow the collector is. */
static void test_clock_set_waiting(void **state)
{
	(void)state;
	peer_open(&peer, "127.0.0.1", 20000);
	assert_int_equal(loop_new(&loop), 0);
	start(&(struct export_options){.domain = 5}, loop);
	add("ipfix+tcp", "127.0.0.1", peer.port, "");
	exports_set_clock(exports, 0);
	run(20);
	for (unsigned int i = 0; i < 5; i++) {
		give_messages(20); /* more than its system takes */
		exports_flush(exports);
		run_for(loop, 10);
	}
	clock_set_wall(-3600ll * (int64_t)NSEC_PER_SEC);
	exports_set_clock(exports, 0);
	give_messages(3);
	exports_flush(exports);
	run_for(loop, 500);
	assert_true(stats()->queued.records > 3 * 16);
	for (unsigned int i = 0; i < 100 && peer.connections < 2; i++) {
		if (!peer_read(&peer)) /* closed */
			peer_hang_up(&peer, false);
		run_for(loop, 1000);
	}
	run(2000);
	assert_int_equal(peer.connections, 2);
	assert_int_equal(peer.s.records, given.records);
	assert_int_equal(stats()->exported.records, given.records);
	assert_int_equal(stats()->lost[EXPORT_LOSS_SEND_ERROR].records, 0);
	end();
}

/* A collector that cannot be made takes no share of the flows with it. */
static void test_balance_without(void **state)
{
	struct rlimit before, none;

	(void)state;
	peer_open(&peer, "127.0.0.1", 0);
	assert_int_equal(loop_new(&loop), 0);
	start(&(struct export_options){.balance = true}, loop);
	add("ipfix+tcp", "127.0.0.1", peer.port, "");
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	none = (struct rlimit){.rlim_max = before.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	assert_int_equal(exports_add(exports, "ipfix://127.0.0.1"), -EMFILE);
	assert_int_equal(exports_add(exports, "ipfix+tcp://127.0.0.1"), -EMFILE);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	give(300);
	run(100);
	assert_int_equal(stats()->exported.records, 300);
	assert_int_equal(peer.s.records, 300);
	end();
}

/* --- What changes while it runs */

static void change(const char *url_options)
{
	char url[200];
	const struct export_collector collector = {.url = url};

	snprintf(url, sizeof(url), "ipfix+tcp://127.0.0.1:%u%s", peer.port, url_options);
	assert_int_equal(exports_apply(exports, &(struct export_options){0}, &collector, 1, NULL),
			 0);
	assert_ledger(exports, &given);
}

/* Another template in the same connection: told once, however often it changes, and behind what was queued. */
static void test_template_changes(void **state)
{
	(void)state;
	begin(&(struct export_options){.domain = 5}, "");
	for (unsigned int i = 0; i < 6; i++) {
		give_messages(100);
		give(7); /* under way */
		change(i & 1 ? "" : "?template=minimal");
		run(100);
		assert_int_equal(peer.s.records, given.records);
	}
	assert_int_equal(peer.connections, 1);
	assert_int_equal(peer.s.templates, 2);
	assert_int_equal(stats()->exported.records, given.records);
	end();
}

/* The queue of one that does not read has messages of three templates when the connection breaks. */
static void test_template_changes_broken(void **state)
{
	(void)state;
	begin(&(struct export_options){.domain = 5}, "?retry=1");
	run(100);
	peer_stop_listening(&peer);
	peer_hang_up(&peer, true);
	for (unsigned int i = 0; i < 3; i++) {
		give_messages(20);
		change(i == 1 ? "?retry=1"
		       : i    ? "?retry=1&template=extended"
			      : "?retry=1&template=minimal");
		run(3000);
	}
	give_messages(20);
	assert_int_equal(stats()->queued.records, 80 * 16);
	peer_listen(&peer, "127.0.0.1", 0);
	run(10000);
	assert_int_equal(peer.connections, 2);
	assert_int_equal(peer.s.templates, 1 + 3); /* default, minimal, extended */
	assert_int_equal(peer.s.records, 80 * 16);
	end();
}

/* What is queued goes, all of it is acknowledged, and the connection is closed. */
static void test_removed(void **state)
{
	(void)state;
	begin(&(struct export_options){.domain = 5}, "?rate=1000");
	run(100);
	give_messages(100);
	exports_flush(exports);
	assert_int_equal(exports_apply(exports, &(struct export_options){0}, NULL, 0, NULL), 0);
	assert_int_equal(stats()->state, COLLECTOR_REMOVED);
	run(3000);
	assert_int_equal(peer.s.records, 1600);
	assert_int_equal(stats()->exported.records, 1600);
	assert_int_equal(stats()->state, COLLECTOR_REMOVED);
	assert_false(peer_read(&peer));
	end();
}

/* A collector that was to be tried in a minute is tried by the time that is said now. */
static void test_retry_changes(void **state)
{
	(void)state;
	begin(&(struct export_options){0}, "");
	peer_stop_listening(&peer);
	run(2000);
	peer_listen(&peer, "127.0.0.1", 0);
	run(5000);
	assert_int_equal(peer.connections, 0);
	change("?retry=10");
	run(6000);
	assert_int_equal(peer.connections, 1);
	end();
}

/* From another address: when all that was sent is acknowledged, and nothing is lost. */
static void test_source_changes(void **state)
{
	struct sockaddr_in from = {0};
	socklen_t length = sizeof(from);

	(void)state;
	begin(&(struct export_options){.domain = 5}, "");
	run(100);
	give_messages(50);
	exports_flush(exports);
	change("?source=127.0.0.2");
	for (unsigned int i = 0; i < 100 && peer.connections < 2; i++) {
		if (!peer_read(&peer)) /* closed */
			peer_hang_up(&peer, false);
		run_for(loop, 10);
	}
	give_messages(50);
	run(500);
	assert_int_equal(peer.connections, 2);
	assert_int_equal(peer.s.records, 1600);
	assert_int_equal(getpeername(peer.fd, (struct sockaddr *)&from, &length), 0);
	assert_int_equal(from.sin_addr.s_addr, htonl(INADDR_LOOPBACK + 1));
	assert_int_equal(stats()->lost[EXPORT_LOSS_SEND_ERROR].records, 0);
	end();
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
		TEST(test_once),
		TEST(test_no_listener),
		TEST(test_comes_back),
		TEST(test_closes_at_once),
		TEST(test_never_reads),
		TEST(test_never_reads_end),
		TEST(test_reset),
		TEST(test_half_closed),
		TEST(test_ipv6),
		TEST(test_name),
		TEST(test_blocking),
		TEST(test_rate),
		TEST(test_clock_set),
		TEST(test_clock_set_waiting),
		TEST(test_balance_without),
		TEST(test_template_changes),
		TEST(test_template_changes_broken),
		TEST(test_removed),
		TEST(test_retry_changes),
		TEST(test_source_changes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
