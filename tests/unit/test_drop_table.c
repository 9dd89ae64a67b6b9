/* SPDX-License-Identifier: Apache-2.0 */
/* Sums of drops that lose nothing, their order, and what matches. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include "exporter/meter/drop_filter.h"
#include "exporter/observe/drop_table.h"
#include "tests/unit/drops.h"

static void test_sums(void **state)
{
	_cleanup_(drop_table_freep) struct drop_table *t = NULL;
	const struct drop_row *const *rows;
	size_t active;

	(void)state;
	assert_int_equal(drop_table_new(&t, DROPS_BY_FLOW, 100), 0);
	add_drops(t, 1, NO_SOCKET, 5);
	add_drops(t, 2, NO_SOCKET, 7);
	add_drops(t, 1, NO_SOCKET, 1);
	add_drops(t, 1, NETFILTER_DROP, 6);
	assert_int_equal(drop_table_sort(t, &rows, &active), 3);
	assert_int_equal(active, 3);
	assert_int_equal(rows[0]->packets, 7);
	assert_int_equal(rows[1]->packets + rows[2]->packets, 12);
	drop_table_next(t);
	add_drops(t, 1, NO_SOCKET, 2);
	assert_int_equal(drop_table_sort(t, &rows, &active), 3);
	assert_int_equal(active, 1);
	assert_int_equal(rows[0]->packets, 2);
	assert_int_equal(rows[0]->octets, 200);
	assert_int_equal(rows[0]->total_packets, 8);
	assert_int_equal(rows[0]->total_octets, 800);
	assert_int_equal(rows[1]->total_packets, 7); /* quiet ones by their total */
	assert_int_equal(rows[2]->total_packets, 6);
	assert_int_equal(drop_table_total(t), 21);
}

/* The span of time is that of all deltas since the last time. */
static void test_times(void **state)
{
	_cleanup_(drop_table_freep) struct drop_table *t = NULL;
	const struct flow_key key = key_of(1, NO_SOCKET);
	struct flow_record record = {.packets = 1, .first_ns = 50, .last_ns = 60, .tos = 8};
	const struct drop_row *const *rows;
	size_t active;

	(void)state;
	assert_int_equal(drop_table_new(&t, DROPS_BY_REASON, 10), 0);
	drop_table_add(t, &key, &record);
	record = (struct flow_record){.packets = 1, .first_ns = 40, .last_ns = 55, .tos = 4};
	drop_table_add(t, &key, &record);
	drop_table_sort(t, &rows, &active);
	assert_int_equal(rows[0]->first_ns, 40);
	assert_int_equal(rows[0]->last_ns, 60);
	assert_int_equal(rows[0]->tos, 8);
	drop_table_next(t);
	record = (struct flow_record){.packets = 1, .first_ns = 70, .last_ns = 80};
	drop_table_add(t, &key, &record);
	assert_int_equal(rows[0]->first_ns, 70);
	assert_int_equal(rows[0]->last_ns, 80);
}

static void test_by(void **state)
{
	static const size_t expected[] = {
		[DROPS_BY_FLOW] = 5, [DROPS_BY_REASON] = 2, [DROPS_BY_INTERFACE] = 4};
	const struct flow_record record = {.packets = 1};
	const struct drop_row *const *rows;
	struct flow_key keys[5];
	size_t active;

	(void)state;
	for (uint16_t i = 0; i < 5; i++)
		keys[i] = key_of(i, NO_SOCKET);
	keys[2].ifindex = 3;
	keys[3].kind |= FLOW_EGRESS;
	keys[4].drop_reason = NETFILTER_DROP;
	for (size_t by = 0; by < ARRAY_SIZE(expected); by++) {
		_cleanup_(drop_table_freep) struct drop_table *t = NULL;

		assert_int_equal(drop_table_new(&t, (enum drops_by)by, 10), 0);
		for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
			drop_table_add(t, &keys[i], &record);
		assert_int_equal(drop_table_sort(t, &rows, &active), expected[by]);
		assert_int_equal(drop_table_total(t), 5);
	}
}

/* Clients of one port, in either direction and on any interface, are one row; of another protocol or reason they are not. */
static void test_by_service(void **state)
{
	const struct flow_record record = {.packets = 1};
	_cleanup_(drop_table_freep) struct drop_table *t = NULL;
	const struct drop_row *const *rows;
	struct flow_key key;
	size_t active;

	(void)state;
	assert_int_equal(drop_table_new(&t, DROPS_BY_SERVICE, 16), 0);
	for (uint16_t i = 0; i < 100; i++) {
		key = key_of(i, NO_SOCKET);
		key.ifindex = i;
		key.kind |= i % 2 ? FLOW_EGRESS | FLOW_IPV6 : 0;
		key.src_port = htons(i % 3 ? 32768 + i : 53);
		key.dst_port = htons(i % 3 ? 53 : 32768 + i);
		drop_table_add(t, &key, &record);
	}
	assert_int_equal(drop_table_sort(t, &rows, &active), 1);
	assert_int_equal(rows[0]->packets, 100);
	assert_int_equal(ntohs(rows[0]->key.dst_port), 53);
	key.protocol = 6;
	drop_table_add(t, &key, &record);
	key.protocol = 1; /* ICMP has a type and a code there */
	for (uint16_t i = 0; i < 3; i++) {
		key.dst_port = htons(i);
		drop_table_add(t, &key, &record);
	}
	assert_int_equal(drop_table_sort(t, &rows, &active), 3);
	assert_int_equal(rows[1]->packets, 3);
	assert_int_equal(rows[1]->key.dst_port, 0);
}

/* More than fits: the less busy make room, and what is in no row is in the others, to the packet. */
static void test_bounded(void **state)
{
	_cleanup_(drop_table_freep) struct drop_table *t = NULL;
	const struct drop_row *const *rows;
	uint64_t sum;
	size_t active;

	(void)state;
	assert_int_equal(drop_table_new(&t, DROPS_BY_FLOW, 64), 0);
	for (uint16_t flow = 0; flow < 100; flow++)
		add_drops(t, flow, NO_SOCKET, 2);
	add_drops(t, 50, NO_SOCKET, 5);
	assert_int_equal(drop_table_sort(t, &rows, &active), 64);
	assert_int_equal(active, 64);
	assert_int_equal(drop_table_others(t)->packets, 72);
	assert_int_equal(drop_table_others(t)->octets, 7200);
	drop_table_next(t);
	assert_int_equal(drop_table_others(t)->packets, 0);
	assert_int_equal(drop_table_others(t)->total_packets, 72 + 32 * 2);
	assert_int_equal(drop_table_sort(t, &rows, &active), 32);
	assert_int_equal(active, 0);
	assert_int_equal(rows[0]->total_packets, 7);
	for (uint16_t flow = 50; flow < 62; flow++)
		add_drops(t, flow, NO_SOCKET, 1);
	assert_int_equal(drop_table_sort(t, &rows, &active), 43); /* 50 has been there */
	assert_int_equal(active, 12);
	assert_int_equal(rows[0]->total_packets, 8);
	drop_table_next(t);			   /* there is room */
	for (uint16_t flow = 0; flow < 31; flow++) /* have stayed */
		add_drops(t, flow, NO_SOCKET, 1);
	assert_int_equal(drop_table_sort(t, &rows, &active), 43);
	assert_int_equal(active, 31);
	sum = drop_table_others(t)->total_packets;
	for (size_t i = 0; i < 43; i++)
		sum += rows[i]->total_packets;
	assert_int_equal(sum, 248);
	assert_int_equal(drop_table_total(t), 248);
}

/* The busiest stays, whether anybody has looked or not. */
static void test_unseen(void **state)
{
	_cleanup_(drop_table_freep) struct drop_table *t = NULL;
	const struct drop_row *const *rows;
	uint64_t sum = 0;
	size_t active;

	(void)state;
	assert_int_equal(drop_table_new(&t, DROPS_BY_FLOW, 64), 0);
	for (uint16_t flow = 0; flow < 64; flow++)
		add_drops(t, flow, NO_SOCKET, 1u + flow);
	drop_table_next(t);
	assert_int_equal(drop_table_sort(t, &rows, &active), 32);
	assert_int_equal(rows[0]->total_packets, 64);
	assert_int_equal(rows[31]->total_packets, 33);
	for (uint16_t flow = 32; flow < 64; flow++)
		add_drops(t, flow, NO_SOCKET, 1);
	assert_int_equal(drop_table_sort(t, &rows, &active), 32);
	for (size_t i = 0; i < 32; i++)
		sum += rows[i]->total_packets;
	assert_int_equal(sum, (33 + 64) * 32 / 2 + 32);
}

static void test_match(void **state)
{
	struct drop_match match = {0};
	struct flow_key key = key_of(1, NO_SOCKET);

	(void)state;
	assert_true(drop_match(&match, &key));
	match.port = 53;
	assert_true(drop_match(&match, &key));
	match.port = 40000;
	assert_true(drop_match(&match, &key));
	match.port = 54;
	assert_false(drop_match(&match, &key));
	key.protocol = 1;
	key.dst_port = htons(54);
	assert_false(drop_match(&match, &key)); /* of ICMP that is no port */
	match.port = 0;
	assert_int_equal(value_prefix("192.0.2.0/24", &match.address), 0);
	assert_true(drop_match(&match, &key));
	assert_int_equal(value_prefix("10.0.0.1", &match.address), 0);
	assert_true(drop_match(&match, &key));
	assert_int_equal(value_prefix("10.0.0.2/31", &match.address), 0);
	assert_false(drop_match(&match, &key));
	assert_int_equal(value_prefix("10.0.0.1/0", &match.address), 0);
	assert_true(drop_match(&match, &key));
	assert_int_equal(value_prefix("::/0", &match.address), 0);
	assert_false(drop_match(&match, &key));
	key.kind |= FLOW_IPV6;
	assert_true(drop_match(&match, &key));
	assert_int_equal(value_prefix("a00:3::/30", &match.address), 0); /* begins as 10.0.0.1 */
	assert_true(drop_match(&match, &key));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sums),	cmocka_unit_test(test_times),
		cmocka_unit_test(test_by),	cmocka_unit_test(test_by_service),
		cmocka_unit_test(test_bounded), cmocka_unit_test(test_match),
		cmocka_unit_test(test_unseen),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
