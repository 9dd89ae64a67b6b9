/* SPDX-License-Identifier: Apache-2.0 */
/* The sums over flows: each packet is in one cell, tables are bounded, and nothing is lost where they are full. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <string.h>
#include "exporter/meter/cache.h"
#include "exporter/observe/traffic.h"
#include "tests/unit/flows.h"

#define MINUTE (60 * NSEC_PER_SEC)

static struct flow_key make_key(uint8_t protocol, uint8_t kind, uint32_t ifindex)
{
	return (struct flow_key){.protocol = protocol, .kind = kind, .ifindex = ifindex};
}

static struct flow_record make_record(uint64_t packets, uint64_t octets, uint64_t last_ns)
{
	return (struct flow_record){.packets = packets, .octets = octets, .last_ns = last_ns};
}

static void add_one(struct traffic *t, uint32_t ifindex, uint64_t now_ns)
{
	const struct flow_key key = make_key(IPPROTO_UDP, 0, ifindex);
	const struct flow_record record = make_record(1, 100, now_ns);

	traffic_add(t, RECORD_FLOW, &key, &record);
}

static struct traffic_count sum_cells(const struct traffic_count cells[][_TRAFFIC_PROTOCOL_MAX])
{
	struct traffic_count sum = {0};

	for (int f = 0; f < _TRAFFIC_FAMILY_MAX; f++)
		for (int p = 0; p < _TRAFFIC_PROTOCOL_MAX; p++) {
			sum.packets += cells[f][p].packets;
			sum.octets += cells[f][p].octets;
		}
	return sum;
}

static struct traffic_count sum_interface(const struct traffic_interface *i)
{
	const struct traffic_count in = sum_cells(i->cells[DIRECTION_INGRESS]);
	const struct traffic_count out = sum_cells(i->cells[DIRECTION_EGRESS]);

	return (struct traffic_count){in.packets + out.packets, in.octets + out.octets};
}

static uint64_t sum_interfaces(const struct traffic *t)
{
	uint64_t sum = sum_interface(&t->other_interfaces).packets +
		       sum_interface(&t->gone_interfaces).packets;

	for (uint32_t i = 0; i < t->interfaces.count; i++)
		sum += sum_interface(traffic_interface(t, i)).packets;
	return sum;
}

static void test_cells(_unused_ void **state)
{
	static const struct {
		uint8_t protocol, kind;
		enum traffic_family family;
		enum traffic_protocol cell;
	} rows[] = {
		{6, 0, TRAFFIC_IPV4, TRAFFIC_TCP},
		{17, FLOW_IPV6, TRAFFIC_IPV6, TRAFFIC_UDP},
		{1, 0, TRAFFIC_IPV4, TRAFFIC_ICMP},
		{58, FLOW_IPV6, TRAFFIC_IPV6, TRAFFIC_ICMP},
		{58, 0, TRAFFIC_IPV4, TRAFFIC_OTHER}, /* ICMPv6 is none in IPv4 */
		{1, FLOW_IPV6, TRAFFIC_IPV6, TRAFFIC_OTHER},
		{132, FLOW_EGRESS, TRAFFIC_IPV4, TRAFFIC_SCTP},
		{50, FLOW_EGRESS | FLOW_IPV6, TRAFFIC_IPV6, TRAFFIC_ESP},
		{47, 0, TRAFFIC_IPV4, TRAFFIC_OTHER},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		_cleanup_(traffic_freep) struct traffic *t = NULL;
		const struct flow_key key = make_key(rows[i].protocol, rows[i].kind, 7);
		const struct flow_record record = make_record(3, 400, 1);
		const struct traffic_interface *row;
		int direction = rows[i].kind & FLOW_EGRESS;

		assert_int_equal(traffic_new(&t), 0);
		traffic_add(t, RECORD_FLOW, &key, &record);
		assert_int_equal(t->interfaces.count, 1);
		row = traffic_interface(t, 0);
		assert_int_equal(row->row.key, 7);
		assert_int_equal(row->cells[direction][rows[i].family][rows[i].cell].packets, 3);
		assert_int_equal(row->cells[direction][rows[i].family][rows[i].cell].octets, 400);
		assert_int_equal(sum_interface(row).packets, 3);
		assert_int_equal(t->seen[RECORD_FLOW][direction][rows[i].family][rows[i].cell], 1);
	}
}

/* RFC 9293, section 3.1, by the numbers of the bits. */
static void test_flags(_unused_ void **state)
{
	static const struct {
		uint16_t all, first;
		uint64_t counted[_TRAFFIC_FLAG_MAX]; /* SYN, SYN-ACK, FIN, RST */
	} rows[] = {
		{0x02, 0x02, {1, 0, 0, 0}}, {0x1b, 0x02, {1, 0, 1, 0}}, /* client */
		{0x1b, 0x12, {0, 1, 1, 0}},				/* server */
		{0x14, 0x14, {0, 0, 0, 1}}, {0x18, 0x18, {0, 0, 0, 0}},
		{0x13, 0x11, {1, 0, 1, 0}}, /* FIN, then another connection by the same ports */
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		_cleanup_(traffic_freep) struct traffic *t = NULL;
		const struct flow_key key = make_key(IPPROTO_TCP, FLOW_IPV6 | FLOW_EGRESS, 7);
		struct flow_record record = make_record(9, 900, 1);

		record.tcp_flags = rows[i].all;
		record.first_flags = rows[i].first;
		assert_int_equal(traffic_new(&t), 0);
		traffic_add(t, RECORD_FLOW, &key, &record);
		for (int f = 0; f < _TRAFFIC_FLAG_MAX; f++) {
			assert_int_equal(t->flags[f][TRAFFIC_IPV6][DIRECTION_EGRESS],
					 rows[i].counted[f]);
			assert_int_equal(t->flags[f][TRAFFIC_IPV6][DIRECTION_INGRESS], 0);
		}
	}
}

static void test_ports(_unused_ void **state)
{
	static const struct {
		uint16_t src, dst, port; /* port 0: in other */
		uint64_t flows;
	} rows[] = {
		{40000, 53, 53, 1},   {53, 40000, 53, 0}, {40000, 50000, 0, 0},
		{50000, 40000, 0, 1}, {0, 0, 0, 0},	  {500, 500, 500, 1},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		_cleanup_(traffic_freep) struct traffic *t = NULL;
		struct flow_key key = make_key(IPPROTO_UDP, 0, 7);
		const struct flow_record record = make_record(2, 200, 1);
		const struct traffic_port *row;

		key.src_port = htons(rows[i].src);
		key.dst_port = htons(rows[i].dst);
		assert_int_equal(traffic_new(&t), 0);
		traffic_add(t, RECORD_FLOW, &key, &record);
		assert_int_equal(t->ports.count, rows[i].port != 0);
		row = rows[i].port ? traffic_port(t, 0) : &t->other_ports[TRAFFIC_UDP];
		if (rows[i].port)
			assert_int_equal(row->row.key & 0xffff, rows[i].port);
		assert_int_equal(row->counts[DIRECTION_INGRESS].packets, 2);
		assert_int_equal(row->flows, rows[i].flows);
	}
}

/* Beyond its rows a table counts in `other`; a quiet interface gives its row away, into `gone`. */
static void test_overflow(_unused_ void **state)
{
	_cleanup_(traffic_freep) struct traffic *t = NULL;
	const uint32_t max = TRAFFIC_INTERFACES_MAX;

	assert_int_equal(traffic_new(&t), 0);
	for (uint32_t i = 1; i <= max; i++)
		add_one(t, i, MINUTE);
	add_one(t, max + 1, 2 * MINUTE);
	assert_int_equal(t->interfaces.count, max);
	assert_int_equal(t->interfaces.overflow, 1);
	assert_int_equal(sum_interface(&t->other_interfaces).packets, 1);
	add_one(t, 5, 2 * MINUTE); /* one that has a row has no need of another */
	assert_int_equal(t->interfaces.overflow, 1);

	for (uint32_t i = 1; i <= 4 * max; i++)
		add_one(t, 1000000 + i, 40 * MINUTE);
	assert_int_equal(t->interfaces.count, max);
	assert_int_equal(sum_interface(&t->gone_interfaces).packets, max + 1);
	assert_int_equal(sum_interface(&t->other_interfaces).packets, 1 + 3 * max);
	assert_int_equal(sum_interfaces(t), max + 2 + 4 * max);
	add_one(t, 5, 40 * MINUTE); /* its row is another's now */
	assert_int_equal(t->interfaces.overflow, 2 + 3 * max);
	for (uint32_t i = 1; i <= max; i++) /* each is found by its own number */
		add_one(t, 1000000 + i, 40 * MINUTE);
	assert_int_equal(t->interfaces.overflow, 2 + 3 * max);
}

static void test_end(_unused_ void **state)
{
	_cleanup_(traffic_freep) struct traffic *t = NULL;
	struct flow flow = {.key = make_key(IPPROTO_TCP, FLOW_EGRESS, 7), .end = FLOW_END_DETECTED};

	assert_int_equal(traffic_new(&t), 0);
	traffic_end(t, &flow);
	assert_int_equal(t->ended[3][DIRECTION_EGRESS][TRAFFIC_IPV4][TRAFFIC_TCP], 1);
	flow.key.kind = FLOW_DROP;
	traffic_end(t, &flow);
	assert_int_equal(t->ended[3][DIRECTION_INGRESS][TRAFFIC_IPV4][TRAFFIC_TCP], 0);
}

/* Random flows and drops: all packets are in the tables, and a copy is one. */
static void test_sums(_unused_ void **state)
{
	_cleanup_(traffic_freep) struct traffic *t = NULL, *copy = NULL;
	struct traffic_count sum[_RECORD_KIND_MAX] = {0}, drops = {0};
	uint64_t random = 3;

	assert_int_equal(traffic_new(&t), 0);
	for (int i = 0; i < 200000; i++) {
		struct flow flow = random_flow(&random);
		enum record_kind kind = random_next(&random) % 2 ? RECORD_FLOW : RECORD_DROP;

		flow.record.packets &= 0xfffff;
		flow.record.octets &= 0xffffff;
		sum[kind].packets += flow.record.packets;
		sum[kind].octets += flow.record.octets;
		traffic_add(t, kind, &flow.key, &flow.record);
	}
	assert_int_equal(traffic_copy(&copy, t), 0);
	traffic_freep(&t);
	t = NULL;
	assert_int_equal(sum_interfaces(copy), sum[RECORD_FLOW].packets);
	drops = sum_cells(copy->other_reasons.cells);
	for (uint32_t i = 0; i < copy->reasons.count; i++) {
		const struct traffic_count one = sum_cells(traffic_reason(copy, i)->cells);

		drops.packets += one.packets;
		drops.octets += one.octets;
	}
	assert_int_equal(copy->reasons.count, TRAFFIC_REASONS_MAX);
	assert_int_equal(drops.packets, sum[RECORD_DROP].packets);
	assert_int_equal(drops.octets, sum[RECORD_DROP].octets);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cells), cmocka_unit_test(test_flags),
		cmocka_unit_test(test_ports), cmocka_unit_test(test_overflow),
		cmocka_unit_test(test_end),   cmocka_unit_test(test_sums),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
