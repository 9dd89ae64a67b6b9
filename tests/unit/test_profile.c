/* SPDX-License-Identifier: Apache-2.0 */
/* Profiles and lists of elements: what they hold, the ids of layouts, and that each mistake is named. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>
#include "exporter/export/format/profile.h"
#include "tests/unit/flows.h"

static struct profile *make(const char *text, uint32_t enterprise)
{
	struct profile *p = NULL;
	char why[PROFILE_WHY_MAX] = "untouched";

	assert_int_equal(profile_new(&p, text, enterprise, 1u << RECORD_FLOW, why), 0);
	assert_string_equal(why, "untouched");
	return p;
}

/* The ids that collectors may know from another run. */
static void test_named(void **state)
{
	static const struct {
		const char *name;
		uint16_t id, ipv4, ipv6, v9_ipv4, v9_ipv6;
	} cases[] = {
		{"default", 256, 84, 112, 76, 103},
		{"minimal", 280, 57, 81, 49, 73},
		{"extended", 282, 102, 130, 91, 118},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct profile *p = make(cases[i].name, ENTERPRISE_DEFAULT);
		const struct flow_template *t = p->templates;

		assert_int_equal(t[FAMILY_IPV4].id, cases[i].id);
		assert_int_equal(t[FAMILY_IPV6].id, cases[i].id + 1);
		assert_int_equal(t[FAMILY_IPV4].length[PROTOCOL_IPFIX], cases[i].ipv4);
		assert_int_equal(t[FAMILY_IPV6].length[PROTOCOL_IPFIX], cases[i].ipv6);
		assert_int_equal(t[FAMILY_IPV4].length[PROTOCOL_NETFLOW9], cases[i].v9_ipv4);
		assert_int_equal(t[FAMILY_IPV6].length[PROTOCOL_NETFLOW9], cases[i].v9_ipv6);
		profile_free(p);
	}
}

/* A list names the fields in their order; each family gets its own. */
static void test_list(void **state)
{
	struct profile *p =
		make("sourceIPv4Address,sourceIPv6Address,tcpControlBits:2,octetDeltaCount",
		     ENTERPRISE_DEFAULT);
	const struct flow_template *t = p->templates;

	(void)state;
	assert_int_equal(t[FAMILY_IPV4].count, 3);
	assert_int_equal(t[FAMILY_IPV4].fields[0], FIELD_SRC_IPV4);
	assert_int_equal(t[FAMILY_IPV4].fields[1], FIELD_TCP_FLAGS_16);
	assert_int_equal(t[FAMILY_IPV4].fields[2], FIELD_OCTETS);
	assert_int_equal(t[FAMILY_IPV6].fields[0], FIELD_SRC_IPV6);
	assert_int_equal(t[FAMILY_IPV4].length[PROTOCOL_IPFIX], 4 + 2 + 8);
	assert_int_equal(t[FAMILY_IPV6].length[PROTOCOL_IPFIX], 16 + 2 + 8);
	assert_int_equal(t[FAMILY_IPV4].length[PROTOCOL_NETFLOW9], 4 + 1 + 8);
	assert_int_equal(template_keys(&t[FAMILY_IPV4], PROTOCOL_IPFIX), 1);
	profile_free(p);
}

/* One layout, one id: in each run, and for no other layout. */
static void test_ids(void **state)
{
	static const char *const lists[] = {
		"octetDeltaCount,packetDeltaCount",
		"packetDeltaCount,octetDeltaCount",
		"octetDeltaCount",
		"tcpControlBits,octetDeltaCount",
		"tcpControlBits:2,octetDeltaCount",
		"octetDeltaCount,firstTcpControlBits",
	};
	uint16_t ids[ARRAY_SIZE(lists) + 2];
	struct profile *p;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(ids); i++) {
		bool list = i < ARRAY_SIZE(lists);

		/* The enterprise number is part of a layout that has elements of it. */
		p = make(list ? lists[i] : "extended", list ? ENTERPRISE_DEFAULT : (uint32_t)i);
		ids[i] = p->templates[FAMILY_IPV4].id;
		assert_true(ids[i] >= 1024);
		assert_int_equal(p->templates[FAMILY_IPV6].id, ids[i] + 1);
		for (size_t j = 0; j < i; j++)
			assert_int_not_equal(ids[j], ids[i]);
		profile_free(p);
		p = make(list ? lists[i] : "extended", list ? ENTERPRISE_DEFAULT : (uint32_t)i);
		assert_int_equal(p->templates[FAMILY_IPV4].id, ids[i]);
		profile_free(p);
	}
	p = make("default", 7);
	assert_int_equal(p->templates[FAMILY_IPV4].id, 256);
	profile_free(p);
}

static void test_keys(void **state)
{
	struct profile *p = make("minimal", ENTERPRISE_DEFAULT);
	const struct flow_template *t = &p->templates[FAMILY_IPV4];

	(void)state;
	/* Addresses, ports, protocol; not class of service and flags; interfaces and direction. */
	assert_int_equal(template_keys(t, PROTOCOL_IPFIX), 0x39f);
	assert_int_equal(template_keys(t, PROTOCOL_NETFLOW9), 0x39f);
	assert_int_equal(template_fields(t, PROTOCOL_IPFIX), 15);
	profile_free(p);
	/* NetFlow v9 counts the fields that it has. */
	p = make("octetDeltaCount,sourceTransportPort,firstTcpControlBits", 1);
	assert_int_equal(template_keys(&p->templates[FAMILY_IPV4], PROTOCOL_NETFLOW9), 2);
	assert_int_equal(template_fields(&p->templates[FAMILY_IPV4], PROTOCOL_IPFIX), 3);
	assert_int_equal(template_fields(&p->templates[FAMILY_IPV4], PROTOCOL_NETFLOW9), 2);
	profile_free(p);
}

static void test_bad(void **state)
{
	static const struct {
		const char *text, *why;
	} cases[] = {
		{"", "'' is no element that is metered, docs/fields.md lists them"},
		{"Default",
		 "'Default' is no element that is metered, docs/fields.md lists them; did you mean default?"},
		{"defualt",
		 "'defualt' is no element that is metered, docs/fields.md lists them; did you mean default?"},
		{"octetDeltaCount,", "'' is no element that is metered, docs/fields.md lists them"},
		{"octetDeltaCount:4",
		 "'octetDeltaCount:4': there is no such length of octetDeltaCount"},
		{"tcpControlBits,tcpControlBits:2", "tcpControlBits is there twice"},
		{"x,octetDeltaCount,y,octetDeltaCount",
		 "'x' is no element that is metered, docs/fields.md lists them; 'y' is no element that is "
		 "metered, docs/fields.md lists them; octetDeltaCount is there twice"},
		{"destinationTransportPort,icmpTypeCodeIPv4",
		 "icmpTypeCodeIPv4 must stand before destinationTransportPort, or some collectors misread "
		 "them"},
		{"firstTcpControlBits,octetDeltaCount",
		 "octetDeltaCount must stand before firstTcpControlBits, or some collectors misread them"},
		{"sourceIPv4Address", "nothing is left for IPv6 in IPFIX"},
		{"firstTcpControlBits", "nothing is left for IPv4 in NetFlow v9"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct profile *p = NULL;
		char why[PROFILE_WHY_MAX] = "";

		assert_int_equal(profile_new(&p, cases[i].text, 1, 1u << RECORD_FLOW, why),
				 -EINVAL);
		assert_null(p);
		assert_string_equal(why, cases[i].why);
	}
}

/* Field by field a record has the same octets as by the unrolled encoder. */
static void test_encoders(void **state)
{
	uint64_t seed = 99;

	(void)state;
	for (unsigned int i = 0; i < 2000; i++) {
		struct flow flow = random_flow(&seed);
		const struct drop_reason *drop = &drop_reason_texts[i % drop_reason_text_count];
		const struct flow_template *t = &flow_templates[i % _TEMPLATE_MAX];
		const struct record_context clock = {.offset_ns = 123456789012345,
						     .base_ms = i * 1000};
		uint8_t unrolled[FLOW_RECORD_MAX + 1] = {0}, one_by_one[FLOW_RECORD_MAX + 1] = {0};

		flow.drop = drop;
		for (unsigned int p = 0; p < _PROTOCOL_MAX; p++) {
			t->encode[p](unrolled, t, &flow, &clock);
			(p == PROTOCOL_IPFIX ? encode_ipfix : encode_netflow9)(one_by_one, t, &flow,
									       &clock);
			assert_memory_equal(unrolled, one_by_one, sizeof(unrolled));
			assert_int_equal(unrolled[t->length[p]], 0);
			memset(unrolled, 0, sizeof(unrolled));
			memset(one_by_one, 0, sizeof(one_by_one));
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_named), cmocka_unit_test(test_list),
		cmocka_unit_test(test_ids),   cmocka_unit_test(test_keys),
		cmocka_unit_test(test_bad),   cmocka_unit_test(test_encoders),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
