/* SPDX-License-Identifier: Apache-2.0 */
/* Records as views: of flows, of the JSON that the exporter makes of these, and of what others write. */
#include <arpa/inet.h>
#include <errno.h>
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "exporter/export/format/json.h"
#include "exporter/observe/record_view.h"
#include "tests/unit/flows.h"

#define OFFSET_NS 1700000000000000000

static const struct export_interface interfaces[] = {
	{.ifindex = 2, .name = "eth0"},
	{.ifindex = 7, .name = "wan\033[2J\"\\"},
};
static const struct record_context context = {
	.offset_ns = OFFSET_NS,
	.interfaces = interfaces,
	.interface_count = ARRAY_SIZE(interfaces),
};

/* The line that a collector of json: gets. */
static void line_of(char line[JSON_LINE_MAX + 1], const struct flow_template *template,
		    const struct flow *flow)
{
	uint8_t record[JSON_RECORD_MAX];
	unsigned int cut;

	record_encode(record, sizeof(record), template, PROTOCOL_IPFIX, flow, &context, &cut);
	line[json_record(line, template, record, flow->drop)] = '\0';
}

static void view_of_line(struct record_view *ret, const char *line)
{
	json_t *object = json_loads(line, 0, NULL);

	if (!object || record_view_of_json(ret, object) != 0)
		fail_msg("no record: %s", line);
	json_decref(object);
}

static bool is_alike(const struct record_view *a, const struct record_view *b)
{
#define ALIKE(field) (memcmp(&a->field, &b->field, sizeof(a->field)) == 0)
	return ALIKE(parts) && ALIKE(start_ms) && ALIKE(end_ms) && ALIKE(packets) &&
	       ALIKE(octets) && ALIKE(src) && ALIKE(dst) && ALIKE(src_port) && ALIKE(dst_port) &&
	       ALIKE(tcp_flags) && ALIKE(vlan) && ALIKE(inner_vlan) && ALIKE(ifindex) &&
	       ALIKE(ip_version) && ALIKE(protocol) && ALIKE(icmp_type) && ALIKE(icmp_code) &&
	       ALIKE(direction) && ALIKE(tos) && ALIKE(end_reason) && ALIKE(interface) &&
	       ALIKE(drop_reason) && ALIKE(drop_class) && ALIKE(drop_function);
#undef ALIKE
}

/* A flow's view is what its JSON says, whatever it holds. */
static void check_same(const struct flow_template *template, const struct flow *flow)
{
	struct record_view of_flow, of_json;
	char line[JSON_LINE_MAX + 1];

	line_of(line, template, flow);
	memset(&of_flow, 0x5a, sizeof(of_flow));
	record_view_of_flow(&of_flow, flow, &context);
	view_of_line(&of_json, line);
	assert_int_equal(of_flow.parts, of_json.parts);
	if (!is_alike(&of_flow, &of_json))
		fail_msg("the flow and its JSON are not alike: %s", line);
}

/* What the template tells and the name of the interface. */
static void test_flows(void **state)
{
	uint64_t random = 42;

	(void)state;
	for (int i = 0; i < 5000; i++) {
		struct flow flow = random_flow(&random);
		bool ipv6 = flow.key.kind & FLOW_IPV6;
		const struct flow_template *extended =
			&flow_templates[ipv6 ? TEMPLATE_EXTENDED_IPV6 : TEMPLATE_EXTENDED_IPV4];
		enum field_symbol fields[_FIELD_MAX];
		struct flow_template named;

		memcpy(fields, extended->fields, extended->count * sizeof(fields[0]));
		fields[extended->count] = FIELD_INTERFACE_NAME;
		named = template_of(fields, extended->count + 1);
		flow.key.ifindex = i % 9;
		if (i % 50 == 0)
			flow.key.src_port = flow.key.dst_port = 0;
		check_same(&named, &flow);
		/* The default template has eight of the flags. */
		flow.key.ifindex = 3;
		flow.record.tcp_flags &= 0xff;
		check_same(&flow_templates[ipv6 ? TEMPLATE_IPV6 : TEMPLATE_IPV4], &flow);
	}
}

static void test_drops(void **state)
{
	uint64_t random = 43;

	(void)state;
	for (int i = 0; i < 1000; i++) {
		struct flow flow = random_flow(&random);
		bool ipv6 = flow.key.kind & FLOW_IPV6;

		flow.key.kind |= FLOW_DROP;
		flow.key.ifindex = 3;
		flow.drop = &drop_reason_texts[(unsigned int)i % drop_reason_text_count];
		check_same(&flow_templates[ipv6 ? TEMPLATE_DROP_IPV6 : TEMPLATE_DROP_IPV4], &flow);
	}
}

/* Written out by hand. */
static void test_one_flow(void **state)
{
	const struct flow flow = {
		.key = {.src = {10, 0, 0, 1},
			.dst = {192, 0, 2, 7},
			.src_port = htons(40000),
			.dst_port = htons(443),
			.ifindex = 2,
			.outer_vlan = 100,
			.inner_vlan = 7,
			.protocol = 6,
			.kind = FLOW_EGRESS},
		.record = {.packets = 3,
			   .octets = 180,
			   .first_ns = 1500000000,
			   .last_ns = 3000000000,
			   .tcp_flags = 0x102,
			   .tos = 0xb8},
		.end = FLOW_END_DETECTED,
	};
	struct record_view v;

	(void)state;
	record_view_of_flow(&v, &flow, &context);
	assert_int_equal(v.parts, VIEW_TIMES | VIEW_ADDRESSES | VIEW_PORTS | VIEW_PROTOCOL |
					  VIEW_TCP_FLAGS | VIEW_DIRECTION | VIEW_INTERFACE |
					  VIEW_VLAN | VIEW_TOS | VIEW_END_REASON | VIEW_COUNTERS);
	assert_int_equal(v.start_ms, 1700000001500);
	assert_int_equal(v.end_ms, 1700000003000);
	assert_int_equal(v.packets, 3);
	assert_int_equal(v.octets, 180);
	assert_memory_equal(v.src, ((uint8_t[16]){10, 0, 0, 1}), 16);
	assert_memory_equal(v.dst, ((uint8_t[16]){192, 0, 2, 7}), 16);
	assert_int_equal(v.src_port, 40000);
	assert_int_equal(v.dst_port, 443);
	assert_int_equal(v.tcp_flags, 0x102);
	assert_int_equal(v.vlan, 100);
	assert_int_equal(v.inner_vlan, 7);
	assert_int_equal(v.ip_version, 4);
	assert_int_equal(v.protocol, 6);
	assert_int_equal(v.direction, 1);
	assert_int_equal(v.tos, 0xb8);
	assert_int_equal(v.end_reason, 3);
	assert_string_equal(v.interface, "eth0");
	assert_string_equal(v.drop_reason, "");
}

#define T 1700000001500

/* What others write: start, end, packets, octets, ports and parts. */
static void test_foreign(void **state)
{
	static const struct {
		const char *line;
		unsigned int parts;
		uint64_t start_ms, end_ms, packets, octets;
		unsigned int src_port, dst_port, icmp, vlan, tos;
	} rows[] = {
		{"{\"flowStartMilliseconds\":\"2023-11-14T22:13:21.500Z\","
		 "\"flowEndMilliseconds\":\"2023-11-14 22:13:22\"}",
		 VIEW_TIMES, T, T + 500, 0, 0, 0, 0, 0, 0, 0},
		{"{\"flowStartMilliseconds\":\"2023-11-15T00:13:21.5+02:00\",\"flowDurationMilliseconds\":9}",
		 VIEW_TIMES, T, T + 9, 0, 0, 0, 0, 0, 0, 0},
		{"{\"flowEndSeconds\":1700000001}", VIEW_TIMES, T - 500, T - 500, 0, 0, 0, 0, 0, 0,
		 0},
		{"{\"flowStartNanoseconds\":1700000001500000000,\"flowEndMicroseconds\":1700000001501000}",
		 VIEW_TIMES, T, T + 1, 0, 0, 0, 0, 0, 0, 0},
		/* What is finer wins. */
		{"{\"flowStartSeconds\":1700000001,\"flowStartMilliseconds\":1700000001500}",
		 VIEW_TIMES, T, T, 0, 0, 0, 0, 0, 0, 0},
		{"{\"packetTotalCount\":9,\"octetTotalCount\":99}", VIEW_COUNTERS, 0, 0, 9, 99, 0,
		 0, 0, 0, 0},
		{"{\"packetTotalCount\":9,\"packetDeltaCount\":2,\"octetDeltaCount\":\"20\"}",
		 VIEW_COUNTERS, 0, 0, 2, 20, 0, 0, 0, 0, 0},
		{"{\"droppedPacketDeltaCount\":2,\"droppedOctetDeltaCount\":30}",
		 VIEW_COUNTERS | VIEW_DROP, 0, 0, 2, 30, 0, 0, 0, 0, 0},
		{"{\"protocolIdentifier\":17,\"udpSourcePort\":5,\"udpDestinationPort\":53}",
		 VIEW_PROTOCOL | VIEW_PORTS, 0, 0, 0, 0, 5, 53, 0, 0, 0},
		/* ICMP's type and code, where no other element has them. */
		{"{\"protocolIdentifier\":1,\"sourceIPv4Address\":\"1.2.3.4\","
		 "\"destinationTransportPort\":2048}",
		 VIEW_PROTOCOL | VIEW_ICMP | VIEW_ADDRESSES, 0, 0, 0, 0, 0, 0, 0x800, 0, 0},
		{"{\"protocolIdentifier\":58,\"sourceIPv6Address\":\"::1\",\"icmpTypeIPv6\":128,"
		 "\"icmpCodeIPv6\":1}",
		 VIEW_PROTOCOL | VIEW_ICMP | VIEW_ADDRESSES, 0, 0, 0, 0, 0, 0, 0x8001, 0, 0},
		{"{\"dot1qVlanId\":12,\"ipDiffServCodePoint\":46}", VIEW_VLAN | VIEW_TOS, 0, 0, 0,
		 0, 0, 0, 0, 12, 0xb8},
		/* What is wrong or unknown is passed over. */
		{"{\"vlanId\":5000,\"protocolIdentifier\":256,\"sourceIPv4Address\":\"x\",\"other\":[1],"
		 "\"flowDirection\":2,\"packetDeltaCount\":-1,\"flowStartMilliseconds\":\"2023-13-01\","
		 "\"tcpControlBits\":null,\"ipClassOfService\":7}",
		 VIEW_TOS, 0, 0, 0, 0, 0, 0, 0, 0, 7},
		{"{\"flowStartMilliseconds\":\"2023-11-14T22:13:21+9\",\"ipClassOfService\":7}",
		 VIEW_TOS, 0, 0, 0, 0, 0, 0, 0, 0, 7},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct record_view v;

		view_of_line(&v, rows[i].line);
		if (v.parts != rows[i].parts || v.start_ms != rows[i].start_ms ||
		    v.end_ms != rows[i].end_ms || v.packets != rows[i].packets ||
		    v.octets != rows[i].octets || v.src_port != rows[i].src_port ||
		    v.dst_port != rows[i].dst_port || v.vlan != rows[i].vlan ||
		    v.tos != rows[i].tos || v.icmp_type * 256u + v.icmp_code != rows[i].icmp)
			fail_msg("another view: %s: parts 0x%x, start %lu, end %lu", rows[i].line,
				 v.parts, v.start_ms, v.end_ms);
	}
}

/* Names are cut, a class follows from its reason, and of two interfaces that of the direction is meant. */
static void test_names(void **state)
{
	char line[512], name[200];
	struct record_view v;

	(void)state;
	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	snprintf(line, sizeof(line),
		 "{\"interfaceName\":\"%s\",\"dropReasonName\":\"NETFILTER_DROP\"}", name);
	view_of_line(&v, line);
	assert_int_equal(strlen(v.interface), VIEW_NAME_MAX - 1);
	assert_int_equal(v.parts, VIEW_INTERFACE | VIEW_DROP);
	assert_string_equal(v.drop_reason, "NETFILTER_DROP");
	assert_string_equal(v.drop_class, "policy");
	view_of_line(&v, "{\"ingressInterface\":2,\"egressInterface\":3,\"flowDirection\":1}");
	assert_int_equal(v.ifindex, 3);
	view_of_line(&v, "{\"ingressInterface\":2,\"egressInterface\":3}");
	assert_int_equal(v.ifindex, 2);
	view_of_line(&v, "{\"ingressInterface\":2,\"egressInterface\":0,\"flowDirection\":1}");
	assert_int_equal(v.ifindex, 2);
}

static void test_none(void **state)
{
	static const char *const lines[] = {"[]",
					    "{}",
					    "3",
					    "null",
					    "\"x\"",
					    "{\"other\":1}",
					    "{\"protocolIdentifier\":\"tcp\"}"};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
		json_t *value = json_loads(lines[i], JSON_DECODE_ANY, NULL);
		struct record_view v, untouched;

		memset(&untouched, 0x5a, sizeof(untouched));
		v = untouched;
		assert_non_null(value);
		assert_int_equal(record_view_of_json(&v, value), -EINVAL);
		assert_memory_equal(&v, &untouched, sizeof(v));
		json_decref(value);
	}
}

/* A server that has the greater port is told by who begins; without that the lesser port is taken. */
static void test_service(void **state)
{
	static const struct {
		uint16_t src, dst, flags;
		uint64_t packets;
		uint16_t port;
	} rows[] = {
		{40000, 443, 0, 1, 443},
		{443, 40000, 0, 1, 443},
		{2000, 9300, 0x02, 3, 9300}, /* SYN, again and again */
		{2000, 9300, 0xc2, 1, 9300}, /* with ECE and CWR (RFC 3168) */
		{9300, 2000, 0x12, 1, 9300}, /* SYN with ACK */
		{2000, 9300, 0x12, 5, 2000}, /* a client's whole connection, or a server's */
		{2000, 9300, 0x10, 1, 2000},
		{9300, 2000, 0x14, 1, 2000},
		{0, 53, 0, 1, 53},
		{53, 0, 0, 1, 53},
		{0, 0, 0, 1, 0},
		{7, 7, 0, 1, 7},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		assert_int_equal(record_view_service(rows[i].src, rows[i].dst, rows[i].flags,
						     rows[i].packets),
				 rows[i].port);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_flows),	 cmocka_unit_test(test_drops),
		cmocka_unit_test(test_one_flow), cmocka_unit_test(test_foreign),
		cmocka_unit_test(test_service),	 cmocka_unit_test(test_names),
		cmocka_unit_test(test_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
