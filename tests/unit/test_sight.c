/* SPDX-License-Identifier: Apache-2.0 */
/* Which hooks count as silent; what the netlink messages behind the reasons say; whose a clsact filter is. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <libmnl/libmnl.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include "exporter/meter/hook.h"
#include "exporter/meter/ifstats.h"
#include "exporter/meter/owner.h"
#include "exporter/meter/sight.h"
#include "exporter/meter/tc_filters.h"

#define SECONDS(n) ((n)*NSEC_PER_SEC)

/* A sample each 5 s; both counters since the start. */
struct step {
	uint64_t kernel;
	uint64_t seen;
	uint64_t drained_s; /* seconds after the start */
};

/* The verdict of the last step; UNDECIDED is expected of all before it. */
static enum sight_verdict last_verdict(const struct step *steps, size_t count,
				       struct sight_window *ret)
{
	struct sight_watch watch = {0};
	enum sight_verdict verdict = SIGHT_UNDECIDED;

	for (size_t i = 0; i < count; i++) {
		const struct sight_sample sample = {steps[i].kernel, steps[i].seen,
						    SECONDS(1000 + 5 * i),
						    SECONDS(1000 + steps[i].drained_s)};

		assert_int_equal(verdict, SIGHT_UNDECIDED);
		verdict = sight_compare(&watch, &sample, ret);
	}
	return verdict;
}

#define VERDICT(window, ...) \
	last_verdict((struct step[]){__VA_ARGS__}, ARRAY_SIZE(((struct step[]){__VA_ARGS__})), \
		     window)

static void test_none(_unused_ void **state)
{
	struct sight_window window;

	/* what was counted before the first sample is nobody's */
	assert_int_equal(VERDICT(&window, {1000, 50, 0}, {1010, 50, 5}, {1020, 50, 10}),
			 SIGHT_NONE);
	assert_int_equal(window.kernel, 20);
	assert_int_equal(window.seen, 0);
	assert_int_equal(window.ns, SECONDS(10));
}

static void test_undrained(_unused_ void **state)
{
	struct sight_window window;

	/* the packets may still be in a bank: it is drained 60 s later, with 30 of them */
	assert_int_equal(VERDICT(&window, {0, 0, 0}, {15, 0, 0}, {30, 0, 0}, {45, 0, 9}),
			 SIGHT_UNDECIDED);
	assert_int_equal(VERDICT(&window, {0, 0, 0}, {15, 0, 0}, {30, 0, 0}, {45, 30, 10}),
			 SIGHT_SEES);
	assert_int_equal(window.kernel, 30);
	assert_int_equal(window.seen, 30);
}

static void test_few_packets(_unused_ void **state)
{
	struct sight_window window;

	/* 19 packets, however long it takes */
	assert_int_equal(VERDICT(&window, {0, 0, 0}, {10, 0, 5}, {19, 0, 10}, {19, 0, 15},
				 {19, 0, 20}),
			 SIGHT_UNDECIDED);
	/* any number in one sample */
	assert_int_equal(VERDICT(&window, {0, 0, 0}, {900, 0, 5}, {900, 0, 10}, {900, 0, 15}),
			 SIGHT_UNDECIDED);
	/* nothing at all */
	assert_int_equal(VERDICT(&window, {7, 7, 0}, {7, 7, 5}, {7, 7, 10}), SIGHT_UNDECIDED);
}

static void test_parts(_unused_ void **state)
{
	struct sight_window window;

	assert_int_equal(VERDICT(&window, {0, 0, 0}, {50, 5, 5}, {100, 10, 10}), SIGHT_FEW);
	assert_int_equal(window.seen, 10);
	assert_int_equal(VERDICT(&window, {0, 0, 0}, {50, 5, 5}, {100, 11, 10}), SIGHT_UNDECIDED);
	assert_int_equal(VERDICT(&window, {0, 0, 0}, {50, 5, 5}, {100, 49, 10}), SIGHT_UNDECIDED);
	assert_int_equal(VERDICT(&window, {0, 0, 0}, {50, 5, 5}, {100, 50, 10}), SIGHT_SEES);
	/* the kernel counts a super-packet as one, the hook as what is on the wire */
	assert_int_equal(VERDICT(&window, {0, 0, 0}, {50, 900, 5}, {100, 4000, 10}), SIGHT_SEES);
}

static void test_windows(_unused_ void **state)
{
	struct sight_watch watch = {0};
	struct sight_window window;
	enum sight_verdict verdict = SIGHT_UNDECIDED;
	int none = 0;

	/* each window begins where the last one was closed */
	for (unsigned int i = 0; i < 21; i++) {
		const struct sight_sample sample = {10ull * i, 0, SECONDS(5 * i), SECONDS(5 * i)};

		verdict = sight_compare(&watch, &sample, &window);
		none += verdict == SIGHT_NONE;
	}
	assert_int_equal(none, 10);
}

static void test_account(_unused_ void **state)
{
	_cleanup_(sight_freep) struct sight *sight = NULL;
	static struct flow_key keys[5000];
	static struct flow_record records[5000];
	uint64_t sum = 0;

	assert_int_equal(sight_new(&sight), 0);
	for (uint32_t i = 0; i < ARRAY_SIZE(keys); i++) {
		keys[i].ifindex = 1 + i * 7919 % 150;
		keys[i].kind = (i & 1 ? FLOW_EGRESS : 0) | (i & 2 ? FLOW_IPV6 : 0);
		records[i].packets = i;
	}
	sight_account(sight, keys, records, ARRAY_SIZE(keys));
	for (uint32_t ifindex = 1; ifindex <= 150; ifindex++) {
		uint64_t expected[_DIRECTION_MAX] = {0};

		for (uint32_t i = 0; i < ARRAY_SIZE(keys); i++)
			if (1 + i * 7919 % 150 == ifindex)
				expected[i & 1] += i;
		assert_int_equal(sight_get(sight, ifindex)->sides[DIRECTION_INGRESS].accounted,
				 expected[0]);
		assert_int_equal(sight_get(sight, ifindex)->sides[DIRECTION_EGRESS].accounted,
				 expected[1]);
		sum += expected[0] + expected[1];
	}
	assert_int_equal(sum, 5000ull * 4999 / 2);
	assert_null(sight_get(sight, 151));
	assert_null(sight_get(sight, 0));
	/* more interfaces than there is room for: no loop, no write beyond */
	for (uint32_t i = 0; i < ARRAY_SIZE(keys); i++)
		keys[i].ifindex = 1000 + i;
	sight_account(sight, keys, records, ARRAY_SIZE(keys));
	assert_non_null(sight_get(sight, 1000));
	assert_null(sight_get(sight, 5999));
}

/* Interfaces come and go: counters stay with those that are known, and nobody's make room. */
static void test_room(_unused_ void **state)
{
	_cleanup_(sight_freep) struct sight *sight = NULL;
	static struct ifstats_interface known[3000];
	struct ifstats stats = {.interfaces = known, .count = 0};
	struct flow_key key = {0};
	const struct flow_record record = {.packets = 3};

	assert_int_equal(sight_new(&sight), 0);
	for (uint32_t i = 1; i <= 3000; i++) {
		known[i - 1].ifindex = i * 4;
		stats.count = i;
		sight_make_room(sight, &stats);
		key.ifindex = i * 4;
		sight_account(sight, &key, &record, 1);
		key.ifindex = i * 4 + 1; /* never known */
		sight_account(sight, &key, &record, 1);
	}
	for (uint32_t i = 1; i <= 3000; i++) {
		assert_non_null(sight_get(sight, i * 4));
		assert_int_equal(sight_get(sight, i * 4)->sides[DIRECTION_INGRESS].accounted, 3);
	}
	assert_null(sight_get(sight, 5));
}

static void test_hidden(_unused_ void **state)
{
	struct sight_side side = {.hook = HOOK_TCX};

	assert_true(sight_is_hidden(&side, 20));
	assert_false(sight_is_hidden(&side, 19));
	side.unrecorded = 1;
	assert_false(sight_is_hidden(&side, 1000));
	side.hidden = true;
	assert_true(sight_is_hidden(&side, 0));
	side = (struct sight_side){.hook = HOOK_NONE};
	assert_false(sight_is_hidden(&side, 1000));
}

/* Lines as Linux 6.18 prints them. */
static void test_owner(_unused_ void **state)
{
	static const char *const header =
		"sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops    Inode\n";
	static const char *const live =
		"0000000095467322 2   8327329    00000200 0        0        0     2        0        49902   \n";
	static const char *const foreign =
		"0000000095467322 2   8327329    00000000 0        0        0     2        0        49902   \n";
	static const char *const other_protocol =
		"0000000095467322 0   8327329    00000200 0        0        0     2        0        49902   \n";
	static const char *const large =
		"0000000095467322 2   4294963200 00000201 0        0        0     2        0        49902   \n";

	assert_int_equal(owner_parse(header, 8327329), OWNER_NONE);
	assert_int_equal(owner_parse(live, 8327329), OWNER_LIVE);
	assert_int_equal(owner_parse(live, 832732), OWNER_NONE);
	assert_int_equal(owner_parse(foreign, 8327329), OWNER_FOREIGN);
	assert_int_equal(owner_parse(other_protocol, 8327329), OWNER_NONE);
	assert_int_equal(owner_parse(large, 4294963200u), OWNER_LIVE);
	assert_int_equal(owner_parse("", 1), OWNER_NONE);
}

static struct tc_filter filter(uint16_t priority, const char *kind, uint16_t protocol)
{
	struct tc_filter f = {.priority = priority, .protocol = protocol, .handle = 1};

	snprintf(f.kind, sizeof(f.kind), "%s", kind);
	return f;
}

static void test_priority(_unused_ void **state)
{
	const struct {
		struct tc_filter all[4];
		size_t count;
		uint16_t expected;
	} cases[] = {
		{{{0}}, 0, 2},
		/* nobody is in front: 1 stays free for others */
		{{filter(3, "flower", ETH_P_IP)}, 1, 2},
		{{filter(49152, "bpf", ETH_P_ALL)}, 1, 2},
		/* the same kind and protocol: the newest comes first */
		{{filter(1, "bpf", ETH_P_ALL)}, 1, 1},
		{{filter(2, "bpf", ETH_P_ALL), filter(3, "flower", ETH_P_IP)}, 2, 2},
		/* 2 is taken: in front of it */
		{{filter(2, "flower", ETH_P_IP)}, 1, 1},
		{{filter(2, "bpf", ETH_P_IP)}, 1, 1},
		/* 1 is taken: the next that has room */
		{{filter(1, "flower", ETH_P_ALL)}, 1, 2},
		{{filter(1, "flower", ETH_P_ALL), filter(1, "flower", ETH_P_ALL)}, 2, 2},
		{{filter(1, "matchall", ETH_P_ALL), filter(2, "u32", ETH_P_IP)}, 2, 3},
		{{filter(1, "u32", ETH_P_ALL), filter(2, "u32", ETH_P_IP),
		  filter(2, "u32", ETH_P_IP), filter(3, "bpf", ETH_P_ALL)},
		 4,
		 3},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct tc_filters filters = {(struct tc_filter *)cases[i].all, cases[i].count};

		assert_int_equal(hook_clsact_priority(&filters), cases[i].expected);
	}
}

static struct nlmsghdr *message(char *buffer, uint16_t type, uint32_t parent, uint32_t info)
{
	struct nlmsghdr *m = mnl_nlmsg_put_header(buffer);
	struct tcmsg *tc;

	m->nlmsg_type = type;
	tc = mnl_nlmsg_put_extra_header(m, sizeof(*tc));
	tc->tcm_parent = parent;
	tc->tcm_info = info;
	tc->tcm_handle = 0xf10a;
	return m;
}

static void test_parse_filter(_unused_ void **state)
{
	char buffer[512];
	struct nlmsghdr *m = message(buffer, RTM_NEWTFILTER, 0, 7u << 16 | htons(ETH_P_IP));
	struct nlattr *options;
	struct tc_filter f;

	assert_false(tc_filter_parse(m, &f)); /* no kind */
	mnl_attr_put_strz(m, TCA_KIND, "bpf");
	mnl_attr_put_u32(m, TCA_CHAIN, 0);
	options = mnl_attr_nest_start(m, TCA_OPTIONS);
	mnl_attr_put_strz(m, TCA_BPF_NAME, "flowtally_tc_s1:owner=00000001");
	mnl_attr_put_u32(m, TCA_BPF_ID, 77);
	mnl_attr_nest_end(m, options);
	assert_true(tc_filter_parse(m, &f));
	assert_int_equal(f.priority, 7);
	assert_int_equal(f.protocol, ETH_P_IP);
	assert_int_equal(f.prog_id, 77);
	assert_string_equal(f.kind, "bpf");
	assert_true(hook_filter_is_ours(&f));
	f.handle = 1;
	assert_false(hook_filter_is_ours(&f));

	m = message(buffer, RTM_NEWTFILTER, 0, 7u << 16);
	mnl_attr_put_strz(m, TCA_KIND, "flower");
	mnl_attr_put_u32(m, TCA_CHAIN, 5);
	assert_false(tc_filter_parse(m, &f)); /* packets get there by a jump alone */
	m = message(buffer, RTM_DELTFILTER, 0, 7u << 16);
	mnl_attr_put_strz(m, TCA_KIND, "flower");
	assert_false(tc_filter_parse(m, &f));
}

static void test_parse_qdisc(_unused_ void **state)
{
	char buffer[512];
	struct nlmsghdr *m = message(buffer, RTM_NEWQDISC, TC_H_INGRESS, 0);
	struct tc_qdisc qdisc;

	mnl_attr_put_strz(m, TCA_KIND, "clsact");
	mnl_attr_put_u32(m, TCA_EGRESS_BLOCK, 22);
	assert_true(tc_qdisc_parse(m, &qdisc));
	assert_string_equal(qdisc.kind, "clsact");
	assert_int_equal(qdisc.blocks[DIRECTION_INGRESS], 0);
	assert_int_equal(qdisc.blocks[DIRECTION_EGRESS], 22);
	m = message(buffer, RTM_NEWQDISC, TC_H_ROOT, 0);
	mnl_attr_put_strz(m, TCA_KIND, "fq");
	assert_false(tc_qdisc_parse(m, &qdisc));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_none),	     cmocka_unit_test(test_undrained),
		cmocka_unit_test(test_few_packets),  cmocka_unit_test(test_parts),
		cmocka_unit_test(test_windows),	     cmocka_unit_test(test_account),
		cmocka_unit_test(test_room),	     cmocka_unit_test(test_hidden),
		cmocka_unit_test(test_owner),	     cmocka_unit_test(test_priority),
		cmocka_unit_test(test_parse_filter), cmocka_unit_test(test_parse_qdisc),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
