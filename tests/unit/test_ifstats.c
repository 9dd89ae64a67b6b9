/* SPDX-License-Identifier: Apache-2.0 */
/* The kernel's counters of interfaces: from netlink messages to sums that survive wraps, resets and removal. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>
#include <libmnl/libmnl.h>
#include <linux/gen_stats.h>
#include <linux/if_link.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include "exporter/meter/ifstats.h"
#include "exporter/observe/interfaces.h"
#include "exporter/util.h"

#define MESSAGE_MAX 1024

/* `size` octets of the statistics: kernels before 4.6 have no rx_nohandler, later ones have more than is known. */
static struct nlmsghdr *link_message(char *buffer, uint16_t type, size_t size)
{
	struct nlmsghdr *message = mnl_nlmsg_put_header(buffer);
	struct ifinfomsg *info = mnl_nlmsg_put_extra_header(message, sizeof(*info));
	const struct rtnl_link_stats64 stats = {
		.rx_packets = 1ull << 40,
		.tx_packets = 2,
		.rx_errors = 3,
		.tx_errors = 4,
		.rx_dropped = 5,
		.tx_dropped = 6,
		.rx_missed_errors = 7,
		.rx_nohandler = 8,
	};
	char bytes[sizeof(stats) + 64];

	memset(bytes, 0xff, sizeof(bytes));
	memcpy(bytes, &stats, sizeof(stats));
	message->nlmsg_type = type;
	info->ifi_index = 70000;
	mnl_attr_put_strz(message, IFLA_IFNAME, "eth7");
	if (size)
		mnl_attr_put(message, IFLA_STATS64, size, bytes);
	mnl_attr_put_u32(message, IFLA_MTU, 1500);
	return message;
}

static void test_link(void **state)
{
	static const size_t sizes[] = {sizeof(struct rtnl_link_stats64),
				       sizeof(struct rtnl_link_stats64) + 64,
				       offsetof(struct rtnl_link_stats64, rx_nohandler)};
	static const uint64_t expected[_IFSTAT_MAX] = {
		[IFSTAT_rx_packets] = 1ull << 40, [IFSTAT_tx_packets] = 2, [IFSTAT_rx_errors] = 3,
		[IFSTAT_tx_errors] = 4,		  [IFSTAT_rx_dropped] = 5, [IFSTAT_tx_dropped] = 6,
		[IFSTAT_rx_missed_errors] = 7,
	};
	char buffer[MESSAGE_MAX] __attribute__((aligned(8)));
	struct ifstats_sample sample = {0};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		assert_true(
			ifstats_parse_link(link_message(buffer, RTM_NEWLINK, sizes[i]), &sample));
		assert_string_equal(sample.name, "eth7");
		assert_int_equal(sample.ifindex, 70000);
		for (int stat = 0; stat < _IFSTAT_MAX; stat++)
			if (stat != IFSTAT_rx_nohandler)
				assert_int_equal(sample.link[stat], expected[stat]);
		assert_int_equal(sample.link[IFSTAT_rx_nohandler], i == 2 ? 0 : 8);
	}
	sample.ifindex = 1;
	assert_false(ifstats_parse_link(link_message(buffer, RTM_DELLINK, sizes[0]), &sample));
	assert_false(ifstats_parse_link(link_message(buffer, RTM_NEWLINK, 0), &sample));
	assert_int_equal(sample.ifindex, 1);
}

static struct nlmsghdr *qdisc_message(char *buffer, uint16_t type, uint32_t parent, bool queue)
{
	struct nlmsghdr *message = mnl_nlmsg_put_header(buffer);
	struct tcmsg *tc = mnl_nlmsg_put_extra_header(message, sizeof(*tc));
	const struct gnet_stats_queue stats = {.qlen = 1, .backlog = 2, .drops = 3, .requeues = 4};
	const struct gnet_stats_basic basic = {.bytes = 99, .packets = 98};
	struct nlattr *nest;

	message->nlmsg_type = type;
	tc->tcm_ifindex = 70000;
	tc->tcm_parent = parent;
	tc->tcm_handle = 0x80010000;
	mnl_attr_put_strz(message, TCA_KIND, "tbf");
	nest = mnl_attr_nest_start(message, TCA_STATS2);
	mnl_attr_put(message, TCA_STATS_BASIC, sizeof(basic), &basic);
	if (queue)
		mnl_attr_put(message, TCA_STATS_QUEUE, sizeof(stats), &stats);
	mnl_attr_nest_end(message, nest);
	return message;
}

static void test_qdisc(void **state)
{
	char buffer[MESSAGE_MAX] __attribute__((aligned(8)));
	struct ifstats_qdisc qdisc = {.drops = 77};
	uint32_t ifindex = 77;
	bool ingress = false;

	(void)state;
	assert_false(ifstats_parse_qdisc(qdisc_message(buffer, RTM_NEWQDISC, 0x10001, true),
					 &ifindex, &ingress, &qdisc)); /* below the root */
	assert_false(ifstats_parse_qdisc(qdisc_message(buffer, RTM_DELQDISC, TC_H_ROOT, true),
					 &ifindex, &ingress, &qdisc));
	assert_false(ifstats_parse_qdisc(qdisc_message(buffer, RTM_NEWQDISC, TC_H_ROOT, false),
					 &ifindex, &ingress, &qdisc));
	assert_int_equal(ifindex, 77);
	assert_int_equal(qdisc.drops, 77);
	assert_true(ifstats_parse_qdisc(qdisc_message(buffer, RTM_NEWQDISC, TC_H_INGRESS, true),
					&ifindex, &ingress, &qdisc));
	assert_true(ingress);
	assert_true(ifstats_parse_qdisc(qdisc_message(buffer, RTM_NEWQDISC, TC_H_ROOT, true),
					&ifindex, &ingress, &qdisc));
	assert_false(ingress);
	assert_int_equal(ifindex, 70000);
	assert_int_equal(qdisc.handle, 0x80010000);
	assert_int_equal(qdisc.drops, 3);
	assert_string_equal(qdisc.kind, "tbf");
}

static void test_link_growth(void **state)
{
	struct ifstats_interface i = {0};
	struct ifstats_sample sample = {.name = "eth0", .link[IFSTAT_rx_dropped] = 1000};

	(void)state;
	ifstats_account(&i, &sample);
	assert_int_equal(i.counters[IFSTAT_rx_dropped], 0);
	assert_false(ifstats_has_loss(&i));
	sample.link[IFSTAT_rx_packets] = 9;
	ifstats_account(&i, &sample);
	assert_false(ifstats_has_loss(&i)); /* packets that got through */
	sample.link[IFSTAT_rx_dropped] = 1003;
	ifstats_account(&i, &sample);
	assert_int_equal(i.counters[IFSTAT_rx_dropped], 3);
	assert_true(ifstats_has_loss(&i));
	sample.link[IFSTAT_rx_dropped] = 1; /* a driver's reset */
	ifstats_account(&i, &sample);
	sample.link[IFSTAT_rx_dropped] = 5;
	snprintf(sample.name, sizeof(sample.name), "eth1"); /* renamed */
	ifstats_account(&i, &sample);
	assert_int_equal(i.counters[IFSTAT_rx_dropped], 7);
	assert_string_equal(i.name, "eth1");
}

static void test_qdisc_growth(void **state)
{
	static const struct {
		struct ifstats_qdisc qdisc;
		uint64_t expected; /* in all */
	} steps[] = {
		{{"tbf", 0x10000, UINT32_MAX - 1}, 0}, /* where counting begins */
		{{"tbf", 0x10000, 3}, 5},	       /* wrapped */
		{{"tbf", 0x20000, 3}, 8},	       /* another one, that has dropped as many */
		{{"fq", 0x20000, 4}, 12},	       /* of another kind */
		{{"", 0, 0}, 12},		       /* none */
		{{"mq", 0, 10}, 22},
		{{"mq", 0, 6}, 22}, /* a queue got another qdisc */
		{{"mq", 0, 7}, 23},
		{{"mq", 0, 7u + INT32_MAX}, 23ull + INT32_MAX},
		{{"mq", 0, 7u + 2u * INT32_MAX}, 23ull + 2ull * INT32_MAX}, /* more than 32 bits */
		{{"mq", 0, 9}, 23ull + 2ull * INT32_MAX + 4},
	};
	struct ifstats_interface i = {0};
	struct ifstats_sample sample = {0};

	(void)state;
	for (size_t n = 0; n < ARRAY_SIZE(steps); n++) {
		sample.root = steps[n].qdisc;
		sample.ingress.drops = 2 * (uint32_t)n;
		ifstats_account(&i, &sample);
		assert_int_equal(i.counters[IFSTAT_qdisc_drops], steps[n].expected);
		assert_int_equal(i.counters[IFSTAT_ingress_qdisc_drops], 2 * n);
	}
}

/* What is attached again goes on from where it was, without what grew meanwhile. */
static void test_attached_again(void **state)
{
	_cleanup_(ifstats_clear) struct ifstats s = {0};
	struct ifstats_sample sample = {.name = "eth0", .ifindex = 70000};

	(void)state;
	for (uint64_t turn = 0; turn < 2; turn++) {
		assert_int_equal(ifstats_attach(&s, "eth0", 70000), 0);
		assert_false(s.interfaces[0].sampled); /* there is none with that number */
		sample.link[IFSTAT_tx_dropped] += 100;
		ifstats_account(&s.interfaces[0], &sample);
		sample.link[IFSTAT_tx_dropped] += 7;
		ifstats_account(&s.interfaces[0], &sample);
		ifstats_detach(&s, 70000);
		assert_int_equal(s.count, 1);
		assert_false(s.interfaces[0].attached);
		assert_int_equal(s.interfaces[0].counters[IFSTAT_tx_dropped], 7 * (turn + 1));
	}
}

/* Samples of the kernel's are taken when it is attached, detached, and with all others in between. */
static void test_sampled(void **state)
{
	_cleanup_(ifstats_clear) struct ifstats s = {0};
	struct ifstats_interface *i;

	(void)state;
	assert_int_equal(ifstats_attach(&s, "lo", 1), 0); /* each network namespace has it */
	i = &s.interfaces[0];
	assert_true(i->sampled);
	for (int n = 0; n < 3; n++) {
		i->last.link[IFSTAT_rx_packets] = 0;
		i->last.ifindex = 77;
		if (n == 1)
			ifstats_detach(&s, 1);
		else
			assert_int_equal(ifstats_read(&s), 0);
		assert_int_equal(i->last.ifindex, n < 2 ? 1 : 77);
	}
}

/* The one interface's own qdisc is what a sample of all has: else the next would see another one. */
static void test_same_qdisc(void **state)
{
	_cleanup_(ifstats_clear) struct ifstats s = {0};
	struct ifstats_qdisc one;

	(void)state;
	assert_int_equal(ifstats_attach(&s, "lo", 1), 0);
	one = s.interfaces[0].last.root;
	assert_int_equal(ifstats_read(&s), 0);
	assert_string_equal(s.interfaces[0].last.root.kind, one.kind);
	assert_int_equal(s.interfaces[0].last.root.handle, one.handle);
}

static void test_copy(void **state)
{
	_cleanup_(ifstats_clear) struct ifstats s = {0}, copy = {0};

	(void)state;
	assert_int_equal(ifstats_attach(&s, "eth0", 70000), 0);
	s.interfaces[0].counters[IFSTAT_rx_dropped] = 5;
	assert_int_equal(ifstats_copy(&copy, &s), 0);
	s.interfaces[0].counters[IFSTAT_rx_dropped] = 6;
	assert_int_equal(copy.count, 1);
	assert_string_equal(copy.interfaces[0].name, "eth0");
	assert_int_equal(copy.interfaces[0].counters[IFSTAT_rx_dropped], 5);
}

/* Interfaces that come and go take no more memory in the end, and nothing of theirs gets lost. */
static void test_gone(void **state)
{
	_cleanup_(ifstats_clear) struct ifstats s = {0};
	const uint32_t all = 3 * IFSTATS_GONE_MAX, kept = 70001;
	uint64_t sum = 0;

	(void)state;
	for (uint32_t n = 0; n < all; n++) {
		assert_int_equal(ifstats_attach(&s, "veth", 70000 + n), 0);
		s.interfaces[s.count - 1].counters[IFSTAT_rx_dropped] = 1;
		s.interfaces[s.count - 1].attached = 70000 + n == kept;
	}
	assert_in_range(s.count, IFSTATS_GONE_MAX, IFSTATS_GONE_MAX + 2);
	assert_string_equal(s.interfaces[0].name, "gone");
	assert_int_equal(s.interfaces[0].ifindex, 0);
	assert_int_equal(s.interfaces[1].ifindex, kept);
	assert_int_equal(s.interfaces[s.count - 1].ifindex, 70000 + all - 1);
	for (size_t n = 0; n < s.count; n++)
		sum += s.interfaces[n].counters[IFSTAT_rx_dropped];
	assert_int_equal(sum, all);
}

static void test_text(void **state)
{
	struct ifstats_interface i = {.name = "eth0", .counters[IFSTAT_rx_packets] = 12};
	char text[256] = "";
	_cleanup_(fclosep) FILE *file = fmemopen(text, sizeof(text), "w");

	(void)state;
	assert_false(interface_print_text(&i, file));
	i.counters[IFSTAT_qdisc_drops] = 1ull << 33;
	assert_true(interface_print_text(&i, file));
	fflush(file);
	assert_string_equal(text,
			    "interface 'eth0', the kernel's own counters, in no sum of the ledger: "
			    "rx_packets 12, qdisc_drops 8589934592");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_link),	       cmocka_unit_test(test_qdisc),
		cmocka_unit_test(test_link_growth),    cmocka_unit_test(test_qdisc_growth),
		cmocka_unit_test(test_attached_again), cmocka_unit_test(test_gone),
		cmocka_unit_test(test_sampled),	       cmocka_unit_test(test_same_qdisc),
		cmocka_unit_test(test_copy),	       cmocka_unit_test(test_text),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
