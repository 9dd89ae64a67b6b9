/* SPDX-License-Identifier: Apache-2.0 */
/*
 * NetFlow v9 on the wire, by what RFC 3954 says: header, templates, options, and records whose times
 * are told by the uptime.  The sink refuses what the protocol forbids.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include "exporter/loop.h"
#include "exporter/export/format/wire.h"
#include "tests/unit/exporting.h"

#define SOURCE 0xfedcba98
#define DAY_MS (86400 * 1000ull)

static const struct export_options options = {.domain = SOURCE};

static struct flow make_flow(uint64_t start_ms, uint64_t end_ms)
{
	return (struct flow){
		.key = {.src = {10, 0, 0, 1},
			.dst = {10, 0, 0, 2},
			.src_port = htons(1000),
			.dst_port = htons(53),
			.ifindex = 7,
			.outer_vlan = 12,
			.protocol = 17,
			.kind = FLOW_EGRESS},
		.record = {.packets = 3,
			   .octets = 0x123456789a,
			   .first_ns = start_ms * NSEC_PER_MSEC,
			   .last_ns = end_ms * NSEC_PER_MSEC,
			   .tcp_flags = 0x1ff,
			   .src_mac = {2, 0, 0, 0, 0, 1},
			   .dst_mac = {2, 0, 0, 0, 0, 2},
			   .min_length = 40,
			   .max_length = 1500,
			   .min_ttl = 63,
			   .max_ttl = 64,
			   .tos = 0xb8},
		.end = FLOW_END_IDLE,
	};
}

/* The n-th message whose first set has this id; -1: none. */
static int find_message(const struct sink *s, uint16_t set, unsigned int n)
{
	for (unsigned int i = 0; i < s->count; i++)
		if (wire_load16(sink_message(s, i) + 20) == set && n-- == 0)
			return (int)i;
	return -1;
}

/* A time of a record: FIRST or LAST by the header of its message, ms since 1970. */
static uint64_t time_of(const uint8_t *m, uint32_t relative)
{
	return wire_load32(m + 8) * 1000ull - wire_load32(m + 4) + relative;
}

/* A record of IPv4, octet by octet. */
static void test_record(void **state)
{
	static const uint8_t head[] =
		{
			10, 0,	  0,	1, 10, 0, 0, 2, 0, 0, 3, 0xe8, 0, 53, 17,
			4,  0xb8, 0xff, 1, 0,  0, 0, 0, 0, 0, 0, 7,    0, 0,  0,
			12, 0,	  0,	2, 0,  0, 0, 0, 1, 2, 0, 0,    0, 0,  2, /* FIRST, LAST */
		};
	static const uint8_t tail[] = {1,    63,   64,	 0, 40, 5, 0xdc, 0, 0, 0, 0x12, 0x34,
				       0x56, 0x78, 0x9a, 0, 0,	0, 0,	 0, 0, 0, 3};
	struct flow flow = make_flow(1700000000123, 1700000001456);
	const uint8_t *m;
	struct sink s;

	(void)state;
	assert_true(sink_open(&s, "127.0.0.1", 0));
	send_flows(&s, "netflow9", &options, 0, &flow, 1);
	m = sink_message(&s, s.count - 1);
	assert_int_equal(sink_length(&s, s.count - 1), 20 + 4 + 76);
	assert_int_equal(wire_load16(m), 9);
	assert_int_equal(wire_load16(m + 2), 1);
	assert_int_equal(wire_load32(m + 8), 1700000002); /* rounded up */
	assert_int_equal(wire_load32(m + 16), SOURCE);
	assert_int_equal(wire_load16(m + 20), 256);
	assert_int_equal(wire_load16(m + 22), 80);
	assert_memory_equal(m + 24, head, sizeof(head));
	assert_int_equal(time_of(m, wire_load32(m + 24 + sizeof(head))), 1700000000123);
	assert_int_equal(time_of(m, wire_load32(m + 28 + sizeof(head))), 1700000001456);
	assert_memory_equal(m + 32 + sizeof(head), tail, sizeof(tail));
	sink_close(&s);
}

/* Field types and lengths of the template for IPv4. */
static void test_template(void **state)
{
	static const uint16_t fields[][2] = {
		{8, 4},	 {12, 4},  {32, 2}, {7, 2},  {11, 2}, {4, 1},	{60, 1}, {5, 1},  {6, 1},
		{61, 1}, {10, 4},  {14, 4}, {58, 2}, {59, 2}, {245, 2}, {56, 6}, {80, 6}, {22, 4},
		{21, 4}, {136, 1}, {52, 1}, {53, 1}, {25, 2}, {26, 2},	{1, 8},	 {2, 8},
	};
	struct flow flow = make_flow(1700000000000, 1700000000000);
	const uint8_t *m;
	struct sink s;

	(void)state;
	assert_true(sink_open(&s, "127.0.0.1", 0));
	send_flows(&s, "netflow9", &options, 0, &flow, 1);
	assert_int_equal(s.templates, 3);
	m = sink_message(&s, 0);
	assert_int_equal(wire_load16(m + 2), 2); /* templates count as records */
	assert_int_equal(wire_load16(m + 20), 0);
	assert_int_equal(wire_load16(m + 24), 256);
	assert_int_equal(wire_load16(m + 26), ARRAY_SIZE(fields));
	for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
		assert_int_equal(wire_load16(m + 28 + 4 * i), fields[i][0]);
		assert_int_equal(wire_load16(m + 30 + 4 * i), fields[i][1]);
	}
	sink_close(&s);
}

/* Lengths in octets, not counts; scope types of NetFlow v9; padded to four octets. */
static void test_options(void **state)
{
	static const uint8_t sampling[] = {
		0, 1, 0, 20, 2,	   1,	 0,    4,    0, 4, 0, 1,
		0, 4, 0, 34, 0,	   4,	 0,    0, /* template 513 */
		2, 1, 0, 12, 0xfe, 0xdc, 0xba, 0x98, 0, 0, 0, 1,
	};
	struct flow flow = make_flow(1700000000000, 1700000000000);
	struct sink s;
	int i;

	(void)state;
	assert_true(sink_open(&s, "127.0.0.1", 0));
	send_flows(&s, "netflow9", &options, 0, &flow, 1);
	i = find_message(&s, 1, 0);
	assert_true(i >= 0);
	assert_int_equal(sink_length(&s, (unsigned int)i), 20 + sizeof(sampling));
	assert_int_equal(wire_load16(sink_message(&s, (unsigned int)i) + 2), 2);
	assert_memory_equal(sink_message(&s, (unsigned int)i) + 20, sampling, sizeof(sampling));
	assert_int_equal(s.options, 1 + 2); /* sampling, keys of two templates */
	sink_close(&s);
}

/* Padding is behind the records of IPv6, which have 103 octets. */
static void test_padding(void **state)
{
	struct flow flows[5];
	struct sink s;

	(void)state;
	for (unsigned int count = 1; count <= ARRAY_SIZE(flows); count++) {
		unsigned int padded = (count * 103 + 3) / 4 * 4;

		for (unsigned int i = 0; i < count; i++) {
			flows[i] = make_flow(1700000000000, 1700000000000);
			flows[i].key.kind |= FLOW_IPV6;
			flows[i].record.packets =
				UINT64_MAX; /* the last field, not to be taken for padding */
		}
		assert_true(sink_open(&s, "127.0.0.1", 0));
		send_flows(&s, "netflow9", &options, 0, flows, count);
		assert_int_equal(sink_length(&s, s.count - 1), 20 + 4 + padded);
		assert_int_equal(wire_load16(sink_message(&s, s.count - 1) + 2), count);
		sink_close(&s);
	}
}

/* The uptime of each record's message says its times exactly, and never lies before LAST. */
static void check_times(const struct sink *s, const struct flow *flows)
{
	unsigned int record = 0;

	for (unsigned int i = 0; i < s->count; i++) {
		const uint8_t *m = sink_message(s, i);
		uint32_t uptime = wire_load32(m + 4);

		if (wire_load16(m + 20) != 256)
			continue;
		for (unsigned int j = 0; j < wire_load16(m + 2); j++, record++) {
			const uint8_t *at = m + 24 + 76 * j;
			uint32_t first = wire_load32(at + 45), last = wire_load32(at + 49);

			assert_true(first <= last);
			assert_true(last <= uptime);
			assert_int_equal(time_of(m, first),
					 flows[record].record.first_ns / NSEC_PER_MSEC);
			assert_int_equal(time_of(m, last),
					 flows[record].record.last_ns / NSEC_PER_MSEC);
		}
	}
	assert_int_equal(record, s->records);
}

/* A year of flows: past the 49 days in which the uptime wraps. */
static void test_wrap(void **state)
{
	struct flow flows[365];
	struct sink s;

	(void)state;
	for (unsigned int i = 0; i < ARRAY_SIZE(flows); i++)
		flows[i] =
			make_flow(1600000000000 + i * DAY_MS, 1600000000000 + i * DAY_MS + 59999);
	assert_true(sink_open(&s, "127.0.0.1", 0));
	send_flows(&s, "netflow9", &options, 0, flows, ARRAY_SIZE(flows));
	check_times(&s, flows);
	sink_close(&s);
}

/* ... and each of them when it is sent at once. */
static void test_wrap_live(void **state)
{
	struct exports *e;
	struct sink s;
	char url[64];

	(void)state;
	assert_true(sink_open(&s, "127.0.0.1", 0));
	assert_int_equal(exports_new(&e, &options, NULL), 0);
	snprintf(url, sizeof(url), "netflow9://127.0.0.1:%u", s.port);
	assert_int_equal(exports_add(e, url), 0);
	for (unsigned int i = 0; i < 120; i++) {
		struct flow flow =
			make_flow(1600000000000 + i * DAY_MS, 1600000000000 + i * DAY_MS + 59999);
		uint64_t boot_ms = s.boot_ms;

		exports_flow(e, &flow);
		exports_send_queued(e, DRAIN_NS, false);
		s.count = 0;
		s.records = 0;
		s.used = 0;
		sink_read(&s);
		assert_int_equal(s.records, 1);
		check_times(&s, &flow);
		/* When the uptime was 0 stays the same for 24 days. */
		if (i % 24 != 0)
			assert_int_equal(s.boot_ms, boot_ms);
		else
			assert_int_not_equal(s.boot_ms, boot_ms);
	}
	exports_free(e);
	sink_close(&s);
}

/* Live, the header says what time it is. */
static void test_now(void **state)
{
	_cleanup_(loop_freep) struct loop *loop = NULL;
	uint64_t now_ms = clock_ns(CLOCK_REALTIME) / NSEC_PER_MSEC;
	struct flow flow = make_flow(now_ms - 5000, now_ms);
	struct sink s;
	char url[64];

	(void)state;
	assert_true(sink_open(&s, "127.0.0.1", 0));
	assert_int_equal(loop_new(&loop), 0);
	start(&options, loop);
	snprintf(url, sizeof(url), "netflow9://127.0.0.1:%u", s.port);
	assert_int_equal(exports_add(exports, url), 0);
	exports_flow(exports, &flow);
	exports_flush(exports);
	run_for(loop, 50);
	sink_read(&s);
	assert_int_equal(s.records, 1);
	assert_in_range(s.export_time, now_ms / 1000, now_ms / 1000 + 1);
	check_times(&s, &flow);
	stop();
	sink_close(&s);
}

/* The clock is set back an hour: neither export time nor uptime goes back, and times are right. */
static void test_clock_step(void **state)
{
	struct flow flows[2];
	struct sink s;

	(void)state;
	flows[0] = make_flow(1700000000000, 1700000030000);
	flows[1] = make_flow(1700000000000 - 3600000, 1700000030000 - 3600000);
	assert_true(sink_open(&s, "127.0.0.1", 0));
	send_flows(&s, "netflow9", &options, 0, flows, 2);
	check_times(&s, flows);
	sink_close(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_record),
		cmocka_unit_test(test_template),
		cmocka_unit_test(test_options),
		cmocka_unit_test(test_padding),
		cmocka_unit_test(test_wrap),
		cmocka_unit_test(test_wrap_live),
		cmocka_unit_test_teardown(test_now, stderr_release),
		cmocka_unit_test(test_clock_step),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
