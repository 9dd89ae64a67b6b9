/* SPDX-License-Identifier: Apache-2.0 */
/* What collectors are told beside flows, and when; ceilings; streams that are shared; numbers that wrap. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>
#include "exporter/export/session.h"
#include "exporter/export/format/wire.h"
#include "exporter/loop.h"
#include "tests/unit/exporting.h"

#define INTERFACE_TEMPLATE  514
#define INTERFACE_LENGTH    88 /* domain, index, name of 16 octets, description of 64 */
#define STATISTICS_TEMPLATE 515
#define LOSSES_TEMPLATE	    517

/* Where nothing was found. */
static const uint8_t nothing[256];

static struct loop *loop;
static struct sink sink;

static void begin(const struct export_options *options, const char *scheme)
{
	char url[100];

	assert_true(sink_open(&sink, "127.0.0.1", 0));
	assert_int_equal(loop_new(&loop), 0);
	start(options, loop);
	snprintf(url, sizeof(url), "%s://127.0.0.1:%u", scheme, sink.port);
	assert_int_equal(exports_add(exports, url), 0);
}

static void end(void)
{
	assert_false(sink.gap);
	assert_false(sink.data_first);
	stop();
	loop = loop_free(loop);
	sink_close(&sink);
}

/* Lets the loop send, and reads. */
static void run(unsigned int milliseconds)
{
	exports_flush(exports);
	run_for(loop, milliseconds);
	sink_read(&sink);
}

/* The data set of this id in the i-th message: its content, and its length; NULL when there is none. */
static const uint8_t *find_set(unsigned int i, uint16_t id, unsigned int *ret_length)
{
	const uint8_t *m = sink_message(&sink, i), *stop_at = m + sink_length(&sink, i);

	for (const uint8_t *at = m + (wire_load16(m) == 10 ? 16 : 20); at < stop_at;
	     at += wire_load16(at + 2)) {
		if (wire_load16(at) != id)
			continue;
		*ret_length = wire_load16(at + 2) - 4u;
		return at + 4;
	}
	return NULL;
}

/* Records of interfaces in the messages from the first on; the last one is kept. */
static unsigned int read_interfaces(unsigned int first, const uint8_t **ret_last)
{
	unsigned int count = 0, length;

	for (unsigned int i = first; i < sink.count; i++) {
		const uint8_t *set = find_set(i, INTERFACE_TEMPLATE, &length);

		if (!set)
			continue;
		assert_int_equal(length % INTERFACE_LENGTH, 0);
		count += length / INTERFACE_LENGTH;
		*ret_last = set + length - INTERFACE_LENGTH;
	}
	return count;
}

/* Templates and interfaces go at once when interfaces have changed, and only then. */
static void test_interfaces(void **state)
{
	struct export_interface interfaces[2] = {{7, "eth0", "uplink"}, {9, "veth1", ""}};
	unsigned int before, templates;
	const uint8_t *last = nothing;

	(void)state;
	begin(&(struct export_options){.domain = 5}, "ipfix");
	run(20);
	assert_int_equal(read_interfaces(0, &last), 0);
	for (unsigned int turn = 0; turn < 3; turn++) {
		before = sink.count;
		templates = sink.templates;
		interfaces[1].ifindex = turn == 2 ? 10 : 9;
		assert_int_equal(exports_set_interfaces(exports, interfaces, 2), 0);
		run(20);
		assert_int_equal(read_interfaces(before, &last), turn == 1 ? 0 : 2);
		assert_int_equal(sink.templates, templates + (turn == 1 ? 0 : 1));
	}
	assert_int_equal(wire_load32(last), 5);
	assert_int_equal(wire_load32(last + 4), 10);
	assert_string_equal((const char *)last + 8, "veth1");
	end();
}

/* More than a message holds, in messages that fit, without one twice. */
static void test_many_interfaces(void **state)
{
	static struct export_interface interfaces[500];
	const uint8_t *last = nothing;

	(void)state;
	for (unsigned int i = 0; i < ARRAY_SIZE(interfaces); i++) {
		interfaces[i].ifindex = i + 1;
		snprintf(interfaces[i].name, sizeof(interfaces[i].name), "if%u", i + 1);
	}
	begin(&(struct export_options){.domain = 5, .message_max = 600}, "ipfix");
	assert_int_equal(exports_set_interfaces(exports, interfaces, ARRAY_SIZE(interfaces)), 0);
	run(300);
	assert_int_equal(read_interfaces(0, &last), ARRAY_SIZE(interfaces));
	assert_string_equal((const char *)last + 8, "if500");
	assert_in_range(sink.longest, 500, 600);
	end();
}

/* Strings are well-formed UTF-8, cut between characters, and fill their field at most. */
static void test_strings(void **state)
{
	static const struct {
		const char *name, *want;
	} cases[] = {
		{"eth0", "eth0"},
		{"\xff\x80x", "??x"},
		{"\xc3\xa4\xc3", "\xc3\xa4?"},
		{"\xc0\xaf", "??"},
		{"\xed\xa0\x80", "???"},
		{"\xf0\x9f\x90\xa7", "\xf0\x9f\x90\xa7"},
		{"\xf4\x90\x80\x80", "????"},
		{"0123456789abcde", "0123456789abcde"},
		{"0123456789abcd\xc3", "0123456789abcd?"},
	};
	const uint8_t *last = nothing;

	(void)state;
	begin(&(struct export_options){.domain = 5}, "ipfix");
	for (unsigned int i = 0; i < ARRAY_SIZE(cases); i++) {
		struct export_interface interface = {.ifindex = i + 1};
		unsigned int before = sink.count;

		memcpy(interface.name, cases[i].name, strlen(cases[i].name));
		/* A character of two octets does not fit behind 63. */
		memset(interface.description, 'd', 63);
		interface.description[62] = '\xc3';
		assert_int_equal(exports_set_interfaces(exports, &interface, 1), 0);
		run(10);
		assert_int_equal(read_interfaces(before, &last), 1);
		assert_memory_equal(last + 8, cases[i].want, strlen(cases[i].want));
		for (size_t j = strlen(cases[i].want); j < 16; j++)
			assert_int_equal(last[8 + j], 0);
		assert_int_equal(last[24 + 61], 'd');
		assert_int_equal(last[24 + 62], '?');
		assert_int_equal(last[24 + 63], 0);
	}
	end();
}

/* In IPFIX statistics are of no domain, and have a sequence of their own; NetFlow v9 has one for all. */
static void statistics(const char *scheme)
{
	const struct export_options options = {.domain = 5,
					       .statistics_interval_ns = 40 * NSEC_PER_MSEC};
	bool ipfix = !strcmp(scheme, "ipfix");
	unsigned int found = 0, length;
	const uint8_t *set = nothing;

	begin(&options, scheme);
	exports_set_metering(exports, 1000, 70000);
	give_messages(3);
	for (unsigned int i = 0; i < 6; i++)
		run(40);
	for (unsigned int i = 0; i < sink.count; i++) {
		const uint8_t *at = find_set(i, STATISTICS_TEMPLATE, &length);

		if (!at)
			continue;
		found++;
		set = at;
		assert_int_equal(wire_load32(sink_message(&sink, i) + (ipfix ? 12 : 16)),
				 ipfix ? 0 : 5);
		at = find_set(i, STATISTICS_TEMPLATE + 1, &length);
		assert_non_null(at);
		assert_int_equal(wire_load(at + (ipfix ? 8 : 4), 8), 1000);
		assert_int_equal(wire_load(at + (ipfix ? 16 : 12), 8), 70000);
		assert_non_null(find_set(i, LOSSES_TEMPLATE, &length));
	}
	assert_in_range(found, 5, 7); /* 240 ms */
	assert_ptr_not_equal(set, nothing);
	assert_int_equal(wire_load32(set), 5); /* the domain that they are about */
	assert_int_equal(wire_load(set + (ipfix ? 16 : 12), 8), 48);
	end();
}

static void test_statistics(void **state)
{
	(void)state;
	statistics("ipfix");
	statistics("netflow9");
}

/* What was lost is told, with its packets and octets, and when. */
static void test_losses(void **state)
{
	const struct export_options options = {
		.domain = 5, .queue_messages = 16, .statistics_interval_ns = 30 * NSEC_PER_MSEC};
	uint64_t now_ms = clock_ns(CLOCK_REALTIME) / NSEC_PER_MSEC;
	const uint8_t *set = nothing;
	unsigned int length;

	(void)state;
	begin(&options, "ipfix");
	give_messages(20); /* four of them find no room */
	for (unsigned int i = 0; i < 3; i++)
		run(40);
	for (unsigned int i = 0; i < sink.count; i++)
		set = find_set(i, LOSSES_TEMPLATE, &length) ?: set;
	assert_ptr_not_equal(set, nothing);
	assert_int_equal(wire_load32(set), 1);
	assert_int_equal(wire_load(set + 4, 8), 64);
	assert_int_equal(wire_load(set + 12, 8), 64 * 3);
	assert_int_equal(wire_load(set + 20, 8), 64 * 180);
	assert_in_range(wire_load(set + 28, 8), now_ms, now_ms + 120);
	assert_in_range(wire_load(set + 36, 8), wire_load(set + 28, 8), now_ms + 120);
	end();
}

/* What found no room is a gap in the sequence. */
static void test_gap(void **state)
{
	(void)state;
	begin(&(struct export_options){.queue_messages = 16}, "ipfix");
	give_messages(20);
	run(50);
	assert_int_equal(sink.records, 256);
	assert_false(sink.gap);
	give_messages(1);
	run(20);
	assert_true(sink.gap);
	assert_int_equal(sink.sequence, 21 * 16 + sink.options);
	sink.gap = false;
	end();
}

/* Templates again after so many messages. */
static void test_template_messages(void **state)
{
	(void)state;
	begin(&(struct export_options){.template_messages = 10}, "netflow9");
	run(10);
	assert_int_equal(sink.templates, 1);
	for (unsigned int i = 0; i < 30; i++) {
		give_messages(1);
		run(1);
	}
	run(20);
	assert_in_range(sink.templates, 3, 4);
	end();
}

/* No more records a second than the ceiling says. */
static void test_rate(void **state)
{
	(void)state;
	begin(&(struct export_options){.rate = 1600}, "ipfix");
	run(10);
	give_messages(40); /* 640 records */
	run(200);
	/* 320 in 200 ms, and what may go in advance. */
	assert_in_range(sink.records, 320, 360);
	run(160);
	assert_in_range(sink.records, 576, 616);
	run(40);
	assert_int_equal(sink.records, 640);
	end();
}

/* Two collectors that ask for the same get the same octets, each in a session of its own. */
static void test_shared(void **state)
{
	struct sink other;
	char url[64];

	(void)state;
	begin(&(struct export_options){.queue_messages = 16}, "ipfix");
	assert_true(sink_open(&other, "127.0.0.1", 0));
	snprintf(url, sizeof(url), "ipfix://127.0.0.1:%u?rate=1000000", other.port);
	assert_int_equal(exports_add(exports, url), 0);
	run(20);
	give(200);
	run(50);
	sink_read(&other);
	assert_int_equal(other.records, 200);
	assert_int_equal(sink.records, 200);
	assert_int_equal(other.used, sink.used);
	for (unsigned int i = 0; i < sink.count; i++) {
		assert_int_equal(sink_length(&sink, i), sink_length(&other, i));
		assert_memory_equal(sink_message(&sink, i) + 8, sink_message(&other, i) + 8,
				    sink_length(&sink, i) - 8);
	}
	sink_close(&other);
	end();
}

/* One that is full loses what the other gets. */
static void test_one_full(void **state)
{
	(void)state;
	begin(&(struct export_options){.queue_messages = 16}, "ipfix");
	assert_int_equal(exports_add(exports, "ipfix://flows.onion"), 0);
	run(20);
	for (unsigned int i = 0; i < 10; i++) {
		give_messages(8);
		run(20);
	}
	assert_int_equal(sink.records, 80 * 16);
	assert_int_equal(stats()->lost[EXPORT_LOSS_QUEUE_FULL].records, 0);
	assert_int_equal(exports_stats(exports, 1)->queued.records, 16 * 16);
	assert_int_equal(exports_stats(exports, 1)->lost[EXPORT_LOSS_QUEUE_FULL].records, 64 * 16);
	end();
}

/* Sequences wrap at 2^32; NetFlow v9 counts messages, IPFIX data records, statistics by themselves. */
static void test_sequence(void **state)
{
	struct session s = {.protocol = &protocol_ipfix, .domain = 3};

	(void)state;
	s.sequence[SEQUENCE_DOMAIN] = UINT32_MAX - 15;
	session_advance(&s, SEQUENCE_DOMAIN, 32);
	assert_int_equal(*session_sequence(&s, SEQUENCE_DOMAIN), 16);
	session_advance(&s, SEQUENCE_STATISTICS, 3);
	assert_int_equal(*session_sequence(&s, SEQUENCE_DOMAIN), 16);
	assert_int_equal(*session_sequence(&s, SEQUENCE_STATISTICS), 3);
	session_advance(&s, SEQUENCE_DOMAIN, 0); /* templates */
	assert_int_equal(*session_sequence(&s, SEQUENCE_DOMAIN), 16);
	s = (struct session){.protocol = &protocol_netflow9, .domain = 3};
	s.sequence[SEQUENCE_DOMAIN] = UINT32_MAX;
	session_advance(&s, SEQUENCE_DOMAIN, 0);
	assert_int_equal(*session_sequence(&s, SEQUENCE_STATISTICS), 0);
	session_advance(&s, SEQUENCE_STATISTICS, 3);
	assert_int_equal(*session_sequence(&s, SEQUENCE_DOMAIN), 1);
}

static uint32_t stamp(struct session *s, uint64_t wall_ms, uint64_t newest_ms, uint32_t *ret_uptime)
{
	struct protocol_header h = {.wall_ms = wall_ms, .base_ms = 1000};
	uint8_t header[PROTOCOL_HEADER_MAX];
	bool ipfix = s->protocol == &protocol_ipfix;

	session_put_header(s, header, &h, SEQUENCE_DOMAIN, newest_ms);
	if (ret_uptime)
		*ret_uptime = wire_load32(header + 4);
	return wire_load32(header + (ipfix ? 4 : 8));
}

/* Small steps back of the clock are bridged, and no flow ends after the export, unless a clock is quite wrong. */
static void test_export_time(void **state)
{
	struct session s = {.protocol = &protocol_ipfix, .domain = 3};
	uint32_t uptime;

	(void)state;
	assert_int_equal(stamp(&s, 1000999, 0, NULL), 1000);
	assert_false(session_stale(&s, 990000));
	assert_int_equal(stamp(&s, 990000, 0, NULL), 1000);
	assert_int_equal(stamp(&s, 996000, 1005500, NULL), 1005);
	assert_int_equal(stamp(&s, 996000, 1007000, NULL), 1005);
	assert_int_equal(stamp(&s, 2000000, 3000000000, NULL), 2000);
	assert_false(session_stale(&s, 1990000));
	assert_true(session_stale(&s, 1989999));
	assert_int_equal(stamp(&s, 1989999, 0, NULL), 1989);
	s = (struct session){.protocol = &protocol_netflow9, .domain = 3};
	assert_int_equal(stamp(&s, 1000001, 0, &uptime), 1001);
	assert_int_equal(uptime, 1000000);
	assert_int_equal(stamp(&s, 996000, 1005500, &uptime), 1006);
	assert_int_equal(uptime, 1005000);
	assert_int_equal(stamp(&s, 997000, 0, &uptime), 1006);
	assert_int_equal(uptime, 1005000);
	/* The times of a capture are the only clock there is. */
	s = (struct session){.protocol = &protocol_netflow9, .domain = 3, .by_base = true};
	assert_int_equal(stamp(&s, 1000000, 9000000, NULL), 9000);
	assert_int_equal(stamp(&s, 1000000, 2000000, NULL), 9000);
}

#define YEARS_10 (315360000ll * (int64_t)NSEC_PER_SEC)

static void set_wall(int64_t offset_ns)
{
	clock_set_wall(offset_ns);
	exports_set_clock(exports, (int64_t)(clock_ns(CLOCK_REALTIME) - clock_ns(CLOCK_MONOTONIC)));
}

/* 16 flows that end now: a message. */
static void give_now(void)
{
	for (unsigned int i = 0; i < 16; i++) {
		uint64_t now_ns = clock_ns(CLOCK_MONOTONIC);
		struct flow flow = {.record = {.packets = 1,
					       .octets = 40,
					       .first_ns = now_ns - 1500 * NSEC_PER_MSEC,
					       .last_ns = now_ns}};

		exports_flow(exports, &flow);
	}
}

/* How far the times of the i-th message's first record, and its export, are from what they should be, in s. */
static void assert_times(unsigned int i, bool ipfix, int64_t offset_ns)
{
	const uint8_t *m = sink_message(&sink, i), *record = m + (ipfix ? 20 : 24) + 45;
	uint64_t boot_ms = ipfix ? 0 : wire_load32(m + 8) * 1000ull - wire_load32(m + 4);
	uint64_t start_ms = boot_ms + wire_load(record, ipfix ? 8 : 4);
	uint64_t end_ms = boot_ms + wire_load(record + (ipfix ? 8 : 4), ipfix ? 8 : 4);
	/* Not by the clock that the exporter reads. */
	uint64_t now_ms =
		(CLOCK_START_WALL_NS + clock_passed_ns() + (uint64_t)offset_ns) / NSEC_PER_MSEC;

	assert_in_range(now_ms / 1000 - wire_load32(m + (ipfix ? 4 : 8)) + 1, 0, 2);
	assert_in_range(now_ms - end_ms, 0, 40);
	assert_in_range(end_ms - start_ms, 1499, 1501);
}

/* The wall clock is ten years off, and corrected while records wait: they and all that follows are right. */
static void set_back(const char *scheme, int64_t wrong_ns)
{
	bool ipfix = !strcmp(scheme, "ipfix");

	clock_set_wall(wrong_ns);
	begin(&(struct export_options){.domain = 5}, scheme);
	set_wall(wrong_ns);
	give_now();
	exports_flow(exports,
		     &(struct flow){.record = {.packets = 1}}); /* in a message under way */
	set_wall(0);
	give_now();
	run(30);
	assert_true(sink.count >= 4);
	for (unsigned int i = sink.count - 3; i < sink.count; i++)
		if (wire_load16(sink_message(&sink, i) + 2) != 1 && sink_length(&sink, i) > 500)
			assert_times(i, ipfix, 0);
	end();
}

static void test_clock_waiting(void **state)
{
	(void)state;
	set_back("ipfix", YEARS_10);
	set_back("netflow9", YEARS_10);
	set_back("ipfix", -YEARS_10);
	set_back("netflow9", -YEARS_10);
}

/* It is corrected after messages have gone: a new session, from another port, with templates and numbers from 0. */
static void new_session(const char *scheme)
{
	bool ipfix = !strcmp(scheme, "ipfix");
	unsigned int before, templates;
	uint16_t peer;

	clock_set_wall(YEARS_10);
	begin(&(struct export_options){.domain = 5}, scheme);
	set_wall(YEARS_10);
	give_now();
	run(30);
	assert_times(sink.count - 1, ipfix, YEARS_10);
	before = sink.count;
	templates = sink.templates;
	peer = sink.peer;
	assert_false(sink.gap);
	set_wall(0);
	give_now();
	run(30);
	assert_true(sink.count > before);
	assert_int_not_equal(sink.peer, peer);
	assert_int_equal(sink.templates, templates + 1);
	assert_int_equal(wire_load32(sink_message(&sink, before) + (ipfix ? 8 : 12)), 0);
	assert_times(sink.count - 1, ipfix, 0);
	assert_int_equal(stderr_lines("a new session begins"), 1);
	/* A step forward needs none, but where times are told by an uptime. */
	peer = sink.peer;
	set_wall(3600ll * (int64_t)NSEC_PER_SEC);
	give_now();
	run(30);
	assert_int_equal(sink.peer == peer, ipfix);
	assert_times(sink.count - 1, ipfix, 3600ll * (int64_t)NSEC_PER_SEC);
	end();
}

static void test_clock_sent(void **state)
{
	(void)state;
	new_session("ipfix");
	new_session("netflow9");
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
		TEST(test_interfaces),
		TEST(test_many_interfaces),
		TEST(test_strings),
		TEST(test_statistics),
		TEST(test_losses),
		TEST(test_gap),
		TEST(test_template_messages),
		TEST(test_rate),
		TEST(test_shared),
		TEST(test_one_full),
		TEST(test_sequence),
		TEST(test_export_time),
		TEST(test_clock_waiting),
		TEST(test_clock_sent),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
