/* SPDX-License-Identifier: Apache-2.0 */
/* Sums over records, against sums made by looking at each record again. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "exporter/observe/record_top.h"
#include "tests/unit/flows.h"

#define RECORDS 3000

static struct record_view records[RECORDS];
static uint64_t state = 99;

static unsigned int pick(unsigned int count)
{
	return (unsigned int)((random_next(&state) >> 20) % count);
}

/* Few hosts and ports, so that rows have several records. */
static void make_record(struct record_view *v)
{
	static const char *const interfaces[] = {"eth0", "eth1", ""};
	static const char *const reasons[] = {"NETFILTER_DROP", "NO_SOCKET"};

	*v = (struct record_view){
		.parts = VIEW_ADDRESSES | VIEW_PORTS | VIEW_PROTOCOL | VIEW_COUNTERS |
			 VIEW_DIRECTION,
		.packets = 1 + pick(1000),
		.octets = 100 + pick(100000),
		.src = {10, 0, 0, (uint8_t)pick(20)},
		.dst = {10, 0, 0, (uint8_t)pick(20)},
		.src_port = (uint16_t)(30000 + pick(5)),
		.dst_port = (uint16_t)(pick(2) ? 443 : 53),
		.ip_version = 4,
		.protocol = pick(2) ? 6 : 17,
		.direction = (uint8_t)pick(2),
	};
	snprintf(v->interface, sizeof(v->interface), "%s", interfaces[pick(3)]);
	if (pick(4) == 0) {
		v->parts |= VIEW_DROP;
		snprintf(v->drop_reason, sizeof(v->drop_reason), "%s", reasons[pick(2)]);
	}
	if (pick(10) == 0)
		v->parts &= ~(unsigned int)VIEW_PORTS;
}

static struct record_top *make(const char *keys, enum top_by by, uint32_t rows)
{
	struct record_top *top = NULL;
	char error[TOP_ERROR_MAX];

	if (record_top_new(&top, keys, by, rows, error) != 0)
		fail_msg("%s: %s", keys, error);
	return top;
}

/* The cells of a record that a row is made of, by another way: text. */
static void cells_of(char *text, size_t size, const struct record_view *v)
{
	bool ports = v->parts & VIEW_PORTS;
	char port[16] = "-";

	if (ports)
		snprintf(port, sizeof(port), "%u", v->dst_port);
	snprintf(text, size, "10.0.0.%u %s %s %s %s %s", v->src[3], port,
		 v->protocol == 6 ? "TCP" : "UDP", *v->interface ? v->interface : "-",
		 v->direction ? "out" : "in", *v->drop_reason ? v->drop_reason : "-");
}

static void test_sums(void **unused)
{
	struct record_top *top = make("src,dport,proto,iface,dir,reason", TOP_BY_PACKETS, 4096);
	const struct top_row *const *rows;
	uint64_t last = UINT64_MAX, flows = 0;
	size_t count;

	(void)unused;
	for (int i = 0; i < RECORDS; i++)
		record_top_add(top, &records[i]);
	count = record_top_sort(top, &rows);
	assert_int_equal(record_top_others(top).flows, 0);
	for (size_t row = 0; row < count; row++) {
		char cells[256] = "", cell[TOP_CELL_MAX], other[256];
		struct top_sums sums = {0};

		for (unsigned int i = 0; i < record_top_keys(top); i++) {
			size_t used = strlen(cells);

			snprintf(cells + used, sizeof(cells) - used, "%s%s", i ? " " : "",
				 record_top_cell(cell, top, rows[row], i));
		}
		for (int i = 0; i < RECORDS; i++) {
			cells_of(other, sizeof(other), &records[i]);
			if (strcmp(other, cells) != 0)
				continue;
			sums.flows++;
			sums.packets += records[i].packets;
			sums.octets += records[i].octets;
		}
		assert_memory_equal(&sums, &rows[row]->sums, sizeof(sums));
		assert_true(sums.packets <= last);
		last = sums.packets;
		flows += sums.flows;
	}
	assert_int_equal(flows, RECORDS);
	assert_int_equal(record_top_total(top).flows, RECORDS);
	record_top_free(top);
}

/* Each host has what it sent and what it received; who talks to itself, once. */
static void test_ends(void **unused)
{
	struct record_top *top = make("host", TOP_BY_OCTETS, 64);
	const struct top_row *const *rows;
	size_t count;

	(void)unused;
	for (int i = 0; i < RECORDS; i++)
		record_top_add(top, &records[i]);
	count = record_top_sort(top, &rows);
	assert_int_equal(count, 20);
	for (size_t row = 0; row < count; row++) {
		uint64_t octets = 0;

		for (int i = 0; i < RECORDS; i++)
			if (records[i].src[3] == rows[row]->key.host[3] ||
			    records[i].dst[3] == rows[row]->key.host[3])
				octets += records[i].octets;
		assert_int_equal(rows[row]->sums.octets, octets);
	}
	record_top_free(top);
}

static void check_cells(const char *keys, const struct record_view *v, const char *const *expected)
{
	struct record_top *top = make(keys, TOP_BY_FLOWS, 16);
	const struct top_row *const *rows;
	char cell[TOP_CELL_MAX];
	unsigned int i;

	record_top_add(top, v);
	assert_int_equal(record_top_sort(top, &rows), 1);
	for (i = 0; expected[i]; i++)
		assert_string_equal(record_top_cell(cell, top, rows[0], i), expected[i]);
	assert_int_equal(record_top_keys(top), i);
	record_top_free(top);
}

static void test_cells(void **unused)
{
	struct record_view v = {
		.parts = VIEW_ADDRESSES | VIEW_PORTS | VIEW_PROTOCOL | VIEW_TOS | VIEW_END_REASON |
			 VIEW_VLAN | VIEW_DROP,
		.src = {0x20, 1, [15] = 1},
		.dst = {0x20, 1, [15] = 2},
		.src_port = 443,
		.dst_port = 40000,
		.ip_version = 6,
		.protocol = 6,
		.tos = 0xb8,
		.end_reason = 3,
		.vlan = 12,
		.interface = "e\033[2J",
		.drop_class = "policy",
	};

	(void)unused;
	check_cells("service,sport,dport,src,dst,proto", &v,
		    (const char *const[]){"TCP/443", "443", "40000", "2001::1", "2001::2", "TCP",
					  NULL});
	check_cells("tos,end,vlan,iface,class,reason,dir", &v,
		    (const char *const[]){"0xb8", "detected", "12", "e?[2J", "policy", "-", "-",
					  NULL});
	v.src_port = 40001;
	v.dst_port = 53;
	check_cells("service", &v, (const char *const[]){"TCP/53", NULL});
	v.parts = 0;
	v.interface[0] = '\0';
	v.ifindex = 7;
	check_cells("service,src,iface", &v, (const char *const[]){"-", "-", "7", NULL});
}

/* Far more rows than there is room for: nothing is lost from the sums, and the busy ones stay. */
static void test_flood(void **unused)
{
	struct record_top *top = make("src,dst,sport,dport", TOP_BY_OCTETS, 256);
	const struct top_row *const *rows;
	struct top_sums sums, total;
	size_t count;

	(void)unused;
	for (unsigned int i = 0; i < 200000; i++) {
		struct record_view v = records[0];

		v.parts |= VIEW_PORTS;
		random_octets(&state, v.src, 4);
		v.octets = 40;
		v.packets = 1;
		if (i % 100 == 0) {
			memset(v.src, 0, sizeof(v.src));
			v.src[3] = (uint8_t)(i / 100 % 4);
			v.octets = 1500;
		}
		record_top_add(top, &v);
	}
	count = record_top_sort(top, &rows);
	assert_in_range(count, 4, 256);
	sums = record_top_others(top);
	assert_true(sums.flows > 0);
	for (size_t i = 0; i < count; i++) {
		sums.octets += rows[i]->sums.octets;
		sums.packets += rows[i]->sums.packets;
		sums.flows += rows[i]->sums.flows;
	}
	total = record_top_total(top);
	assert_memory_equal(&sums, &total, sizeof(sums));
	assert_int_equal(total.flows, 200000);
	for (int i = 0; i < 4; i++) {
		assert_int_equal(rows[i]->sums.flows, 500);
		assert_int_equal(rows[i]->sums.octets, 500 * 1500);
	}
	record_top_free(top);
}

#define PERIODS	       3
#define PERIOD_RECORDS (RECORDS / PERIODS)

/* What host `last` has sent, in the records of a range. */
static struct top_sums sent(uint8_t last, int from, int to)
{
	struct top_sums sums = {0};

	for (int i = from; i < to; i++)
		if (records[i].src[3] == last) {
			sums.octets += records[i].octets;
			sums.packets += records[i].packets;
			sums.flows++;
		}
	return sums;
}

/* Each row has the sums of the period beside those of all time, and the busiest of the period comes first. */
static void test_periods(void **unused)
{
	struct record_top *top = make("src", TOP_BY_PACKETS, 64);
	const struct top_row *const *rows;
	uint64_t last;
	size_t count;

	(void)unused;
	for (int period = 0; period < PERIODS; period++) {
		const int from = period * PERIOD_RECORDS, to = from + PERIOD_RECORDS;

		record_top_next(top);
		for (int i = from; i < to; i++)
			record_top_add(top, &records[i]);
		count = record_top_sort(top, &rows);
		last = UINT64_MAX;
		for (size_t i = 0; i < count; i++) {
			struct top_sums all = sent(rows[i]->key.src[3], 0, to);
			struct top_sums recent = sent(rows[i]->key.src[3], from, to);

			assert_memory_equal(&rows[i]->sums, &all, sizeof(all));
			assert_memory_equal(&rows[i]->recent, &recent, sizeof(recent));
			assert_true(recent.packets <= last);
			last = recent.packets;
		}
		assert_int_equal(record_top_total_recent(top).flows, PERIOD_RECORDS);
		assert_int_equal(record_top_total(top).flows, to);
		assert_int_equal(record_top_others_recent(top).flows, 0);
	}
	record_top_free(top);
}

static void add_from(struct record_top *top, uint32_t address, uint64_t octets)
{
	struct record_view v = {
		.parts = VIEW_ADDRESSES, .ip_version = 4, .octets = octets, .packets = 1};

	memcpy(v.src, &address, sizeof(address));
	record_top_add(top, &v);
}

/* Rows that were busy long ago make room, those of the last period do not; the period's sums are exact meanwhile. */
static void test_worth(void **unused)
{
	struct record_top *top = make("src", TOP_BY_OCTETS, 16);
	const struct top_row *const *rows;
	struct top_sums recent;
	size_t count;

	(void)unused;
	for (uint32_t i = 0; i < 16; i++)
		add_from(top, i, 1000000);
	record_top_next(top);
	record_top_next(top);
	for (uint32_t i = 100; i < 104; i++)
		add_from(top, i, 500);
	record_top_next(top);
	for (uint32_t i = 1000; i < 1100; i++)
		add_from(top, i, 40);
	for (uint32_t i = 100; i < 104; i++)
		add_from(top, i, 500);
	count = record_top_sort(top, &rows);
	for (size_t i = 0; i < 4; i++) {
		assert_int_equal(rows[i]->sums.octets, 1000);
		assert_int_equal(rows[i]->recent.octets, 500);
	}
	recent = record_top_others_recent(top);
	for (size_t i = 0; i < count; i++) {
		recent.octets += rows[i]->recent.octets;
		recent.flows += rows[i]->recent.flows;
	}
	assert_int_equal(recent.octets, 100 * 40 + 4 * 500);
	assert_int_equal(recent.flows, 104);
	record_top_free(top);
}

/* Types and codes as RFC 792 numbers them: an echo, and a port that is unreachable. */
static void test_icmp(void **unused)
{
	static const uint8_t types[][2] = {{8, 0}, {3, 3}, {0, 0}};
	static const char *const cells[][3] = {{"ICMP", "8/0", "ICMP/8/0"},
					       {"ICMP", "3/3", "ICMP/3/3"},
					       {"ICMP", "0/0", "ICMP/0/0"}};
	struct record_top *top = make("proto,dport,service", TOP_BY_OCTETS, 64);
	const struct top_row *const *rows;
	char cell[TOP_CELL_MAX];

	(void)unused;
	for (unsigned int i = 0; i < ARRAY_SIZE(types); i++)
		record_top_add(top, &(struct record_view){.parts = VIEW_PROTOCOL | VIEW_ICMP |
								   VIEW_COUNTERS,
							  .protocol = 1,
							  .icmp_type = types[i][0],
							  .icmp_code = types[i][1],
							  .packets = 1,
							  .octets = 100 - i});
	assert_int_equal(record_top_sort(top, &rows), ARRAY_SIZE(types));
	for (unsigned int i = 0; i < ARRAY_SIZE(types); i++)
		for (unsigned int key = 0; key < 3; key++)
			assert_string_equal(record_top_cell(cell, top, rows[i], key),
					    cells[i][key]);
	record_top_free(top);
	assert_int_equal(record_top_by_parse("bytes"), TOP_BY_OCTETS);
	assert_int_equal(record_top_by_parse("byte"), -1);
}

static void test_refusals(void **unused)
{
	static const char *const keys[] = {
		"",    "src,",	  "scr",	 "src,,dst",
		"SRC", "src dst", "src,dst,src", "src,dst,sport,dport,proto,iface,dir,vlan,tos",
		"\033"};
	char error[TOP_ERROR_MAX];

	(void)unused;
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		struct record_top *top = NULL;

		assert_int_equal(record_top_new(&top, keys[i], TOP_BY_OCTETS, 64, error), -EINVAL);
		assert_null(top);
		assert_true(error[0]);
		assert_null(strchr(error, '\033'));
	}
	record_top_new(&(struct record_top *){NULL}, "dports", TOP_BY_OCTETS, 64, error);
	assert_non_null(strstr(error, "did you mean dport?"));
	assert_int_equal(record_top_by_parse("packets"), TOP_BY_PACKETS);
	assert_int_equal(record_top_by_parse("octets"), TOP_BY_OCTETS);
	assert_int_equal(record_top_by_parse("flows"), TOP_BY_FLOWS);
	assert_int_equal(record_top_by_parse("bits"), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sums),	 cmocka_unit_test(test_ends),
		cmocka_unit_test(test_cells),	 cmocka_unit_test(test_flood),
		cmocka_unit_test(test_periods),	 cmocka_unit_test(test_worth),
		cmocka_unit_test(test_refusals), cmocka_unit_test(test_icmp),
	};

	for (int i = 0; i < RECORDS; i++)
		make_record(&records[i]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
