/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Our IPFIX against libfixbuf: the same octets from the same flows, decoded back to the same values.
 * What a record should hold is stated here by hand, not taken from the field table.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <arpa/inet.h>
#include <cmocka.h>
#include "exporter/export/format/fields.h"
#include "exporter/export/format/wire.h"
#include "tests/unit/exporting.h"
#include <fixbuf/public.h> /* last: GLib defines MIN and MAX anew, quietly */

#define DOMAIN	    0xfedcba98
#define EXPORT_TIME 1750000000u
#define CLOCK_NS    (int64_t)(1749999000ull * NSEC_PER_SEC + 123456789)
#define FLOWS	    1000
#define MESSAGE_MAX 1400

/* A record in memory as libfixbuf wants it: host order, IPv4 addresses too. */
struct __attribute__((packed)) expected {
	uint8_t src[16], dst[16];
	uint32_t src4, dst4;
	uint16_t src_port, dst_port;
	uint8_t protocol, version, tos;
	uint16_t tcp_flags;
	uint16_t icmp4, icmp6;
	uint32_t flow_label;
	uint8_t direction;
	uint32_t ingress, egress;
	uint16_t vlan, post_vlan, inner_vlan;
	uint8_t src_mac[6], dst_mac[6];
	uint64_t start_ms, end_ms;
	uint8_t reason, min_ttl, max_ttl;
	uint64_t min_length, max_length;
	uint64_t octets, packets;
};

/* The record above, whole; `wire` is the length in our templates, and which of them has it. */
static const struct {
	const char *name;
	uint16_t length, wire;
	bool in_ipv4, in_ipv6;
} layout[] = {
	{"sourceIPv6Address", 16, 16, false, true},
	{"destinationIPv6Address", 16, 16, false, true},
	{"sourceIPv4Address", 4, 4, true, false},
	{"destinationIPv4Address", 4, 4, true, false},
	{"sourceTransportPort", 2, 2, true, true},
	{"destinationTransportPort", 2, 2, true, true},
	{"protocolIdentifier", 1, 1, true, true},
	{"ipVersion", 1, 1, true, true},
	{"ipClassOfService", 1, 1, true, true},
	{"tcpControlBits", 2, 1, true, true},
	{"icmpTypeCodeIPv4", 2, 2, true, false},
	{"icmpTypeCodeIPv6", 2, 2, false, true},
	{"flowLabelIPv6", 4, 4, false, true},
	{"flowDirection", 1, 1, true, true},
	{"ingressInterface", 4, 4, true, true},
	{"egressInterface", 4, 4, true, true},
	{"vlanId", 2, 2, true, true},
	{"postVlanId", 2, 2, true, true},
	{"dot1qCustomerVlanId", 2, 2, true, true},
	{"sourceMacAddress", 6, 6, true, true},
	{"destinationMacAddress", 6, 6, true, true},
	{"flowStartMilliseconds", 8, 8, true, true},
	{"flowEndMilliseconds", 8, 8, true, true},
	{"flowEndReason", 1, 1, true, true},
	{"minimumTTL", 1, 1, true, true},
	{"maximumTTL", 1, 1, true, true},
	{"minimumIpTotalLength", 8, 2, true, true},
	{"maximumIpTotalLength", 8, 2, true, true},
	{"octetDeltaCount", 8, 8, true, true},
	{"packetDeltaCount", 8, 8, true, true},
};

#define TID_EXPECTED 400 /* internal template: the whole struct */

static struct expected expect(const struct flow *f)
{
	bool egress = f->key.kind & FLOW_EGRESS, ipv6 = f->key.kind & FLOW_IPV6;
	struct expected e = {
		.src_port = ntohs(f->key.src_port),
		.dst_port = ntohs(f->key.dst_port),
		.protocol = f->key.protocol,
		.version = ipv6 ? 6 : 4,
		.tos = f->record.tos,
		.tcp_flags = f->record.tcp_flags & 0xff,
		.direction = egress,
		.ingress = egress ? 0 : f->key.ifindex,
		.egress = egress ? f->key.ifindex : 0,
		.vlan = egress ? 0 : f->key.outer_vlan,
		.post_vlan = egress ? f->key.outer_vlan : 0,
		.inner_vlan = f->key.inner_vlan,
		.start_ms = (f->record.first_ns + CLOCK_NS) / 1000000,
		.end_ms = (f->record.last_ns + CLOCK_NS) / 1000000,
		.reason = f->end,
		.min_ttl = f->record.min_ttl,
		.max_ttl = f->record.max_ttl,
		.min_length = f->record.min_length,
		.max_length = f->record.max_length,
		.octets = f->record.octets,
		.packets = f->record.packets,
	};

	memcpy(e.src_mac, f->record.src_mac, 6);
	memcpy(e.dst_mac, f->record.dst_mac, 6);
	if (ipv6) {
		memcpy(e.src, f->key.src, 16);
		memcpy(e.dst, f->key.dst, 16);
		e.flow_label = f->record.flow_label;
		e.icmp6 = f->key.protocol == 58 ? ntohs(f->key.dst_port) : 0;
	} else {
		e.src4 = wire_load32(f->key.src);
		e.dst4 = wire_load32(f->key.dst);
		e.icmp4 = f->key.protocol == 1 ? ntohs(f->key.dst_port) : 0;
	}
	return e;
}

/* Fails the test with libfixbuf's own words. */
static void check(bool ok, GError *error)
{
	if (!ok)
		fail_msg("libfixbuf: %s", error ? error->message : "failed");
}

static void add_internal(fbInfoModel_t *model, fbSession_t *session)
{
	fbTemplate_t *template = fbTemplateAlloc(model);
	GError *error = NULL;

	for (size_t i = 0; i < ARRAY_SIZE(layout); i++) {
		fbInfoElementSpec_t spec = {(char *)layout[i].name, layout[i].length, 0};

		check(fbTemplateAppendSpec(template, &spec, 0, &error), error);
	}
	check(fbSessionAddTemplate(session, TRUE, TID_EXPECTED, template, &error), error);
}

/* The order on the wire that is promised to collectors. */
static void add_external(fbInfoModel_t *model, fbSession_t *session, uint16_t tid)
{
	static const char *const order[] = {
		"sourceIPv4Address",
		"destinationIPv4Address",
		"sourceIPv6Address",
		"destinationIPv6Address",
		"icmpTypeCodeIPv4",
		"icmpTypeCodeIPv6",
		"sourceTransportPort",
		"destinationTransportPort",
		"protocolIdentifier",
		"ipVersion",
		"ipClassOfService",
		"tcpControlBits",
		"flowLabelIPv6",
		"flowDirection",
		"ingressInterface",
		"egressInterface",
		"vlanId",
		"postVlanId",
		"dot1qCustomerVlanId",
		"sourceMacAddress",
		"destinationMacAddress",
		"flowStartMilliseconds",
		"flowEndMilliseconds",
		"flowEndReason",
		"minimumTTL",
		"maximumTTL",
		"minimumIpTotalLength",
		"maximumIpTotalLength",
		"octetDeltaCount",
		"packetDeltaCount",
	};
	fbTemplate_t *template = fbTemplateAlloc(model);
	GError *error = NULL;

	for (size_t i = 0; i < ARRAY_SIZE(order); i++) {
		for (size_t j = 0; j < ARRAY_SIZE(layout); j++) {
			fbInfoElementSpec_t spec = {(char *)order[i], layout[j].wire, 0};

			if (!strcmp(order[i], layout[j].name) &&
			    (tid == 256 ? layout[j].in_ipv4 : layout[j].in_ipv6))
				check(fbTemplateAppendSpec(template, &spec, 0, &error), error);
		}
	}
	check(fbSessionAddTemplate(session, FALSE, tid, template, &error), error);
}

/* --- libfixbuf as exporter into a buffer */

struct fixbuf {
	fbInfoModel_t *model;
	fbSession_t *session;
	fbExporter_t *exporter;
	fBuf_t *fbuf;
	uint8_t data[MESSAGE_MAX];
};

static void fixbuf_open(struct fixbuf *x)
{
	GError *error = NULL;

	x->model = fbInfoModelAlloc();
	x->session = fbSessionAlloc(x->model);
	fbSessionSetDomain(x->session, DOMAIN); /* first: templates belong to a domain */
	add_internal(x->model, x->session);
	add_external(x->model, x->session, 256);
	add_external(x->model, x->session, 257);
	x->exporter = fbExporterAllocBuffer(x->data, sizeof(x->data));
	x->fbuf = fBufAllocForExport(x->session, x->exporter);
	fBufSetAutomaticMode(x->fbuf, FALSE);
	fBufSetExportTime(x->fbuf, EXPORT_TIME);
	check(fBufSetInternalTemplate(x->fbuf, TID_EXPECTED, &error), error);
}

static void fixbuf_close(struct fixbuf *x)
{
	fBufFree(x->fbuf);
	fbInfoModelFree(x->model);
}

/* Ends the message and compares it with ours. */
static void fixbuf_compare(struct fixbuf *x, const uint8_t *message, size_t length)
{
	GError *error = NULL;

	check(fBufEmit(x->fbuf, &error), error);
	assert_int_equal(fbExporterGetMsgLen(x->exporter), length);
	assert_memory_equal(x->data, message, length);
	fBufSetExportTime(x->fbuf, EXPORT_TIME);
}

static void fixbuf_append(struct fixbuf *x, const struct flow *flow)
{
	struct expected e = expect(flow);
	GError *error = NULL;

	check(fBufAppend(x->fbuf, (uint8_t *)&e, sizeof(e), &error), error);
}

/* --- The tests */

static struct flow flows[FLOWS];

static int make_flows(void **state)
{
	seed = 20250615;

	(void)state;
	for (unsigned int i = 0; i < FLOWS; i++)
		flows[i] = random_flow(&seed);
	return 0;
}

/* The next flow of that template at or after *at; moves *at behind it. */
static const struct flow *next_of(unsigned int *at, uint16_t tid)
{
	while (*at < FLOWS && ((flows[*at].key.kind & FLOW_IPV6) ? 257 : 256) != tid)
		(*at)++;
	assert_true(*at < FLOWS);
	return &flows[(*at)++];
}

/* What our exporter sends of the flows; templates, options and data. */
static void send_all(struct sink *s)
{
	const struct export_options options = {.domain = DOMAIN, .message_max = MESSAGE_MAX};

	assert_true(sink_open(s, "127.0.0.1", 0));
	send_flows(s, "ipfix", &options, CLOCK_NS, flows, FLOWS);
	for (unsigned int i = 0; i < s->count; i++)
		wire_store32(s->bytes + s->at[i] + 4, EXPORT_TIME);
}

static void test_data(void **state)
{
	unsigned int at[2] = {0, 0}, records = 0, most[2] = {0, 0};
	GError *error = NULL;
	struct fixbuf x;
	struct sink s;

	(void)state;
	send_all(&s);
	fixbuf_open(&x);
	for (unsigned int i = 0; i < s.count; i++) {
		const uint8_t *m = sink_message(&s, i);
		uint16_t tid = wire_load16(m + 16);
		unsigned int count = (wire_load16(m + 18) - 4) / (tid == 256 ? 84 : 112);

		if (tid != 256 && tid != 257)
			continue;
		assert_true(count > 0);
		/* The options before the first flow are none of libfixbuf's records. */
		wire_store32(s.bytes + s.at[i] + 8, wire_load32(m + 8) - (uint32_t)s.options);
		check(fBufSetExportTemplate(x.fbuf, tid, &error), error);
		for (unsigned int j = 0; j < count; j++)
			fixbuf_append(&x, next_of(&at[tid - 256], tid));
		fixbuf_compare(&x, m, sink_length(&s, i));
		records += count;
		most[tid - 256] = MAX(most[tid - 256], count);
	}
	assert_int_equal(records, FLOWS);
	assert_int_equal(most[0], 16);
	assert_int_equal(most[1], 12);
	fixbuf_close(&x);
	sink_close(&s);
}

static void test_templates(void **state)
{
	GError *error = NULL;
	struct fixbuf x;
	struct sink s;

	(void)state;
	send_all(&s);
	fixbuf_open(&x);
	fBufSetAutomaticMode(x.fbuf, TRUE);
	check(fbSessionExportTemplate(x.session, 256, &error), error);
	check(fbSessionExportTemplate(x.session, 257, &error), error);
	assert_int_equal(sink_length(&s, 0), 16 + 4 + 4 + 26 * 4 + 4 + 27 * 4);
	fixbuf_compare(&x, sink_message(&s, 0), sink_length(&s, 0));
	fixbuf_close(&x);
	sink_close(&s);
}

/* Flow records alone, with their templates. */
static void remove_options(struct sink *s)
{
	size_t used = 0;

	for (unsigned int i = 0; i < s->count; i++) {
		uint16_t set = wire_load16(sink_message(s, i) + 16);
		size_t length = sink_length(s, i);

		if (set != 2 && set < 256)
			continue;
		memmove(s->bytes + used, sink_message(s, i), length);
		used += length;
	}
	s->used = used;
}

static void test_decode(void **state)
{
	fbInfoModel_t *model = fbInfoModelAlloc();
	fbSession_t *session = fbSessionAlloc(model);
	unsigned int at[2] = {0, 0}, records = 0;
	GError *error = NULL;
	struct sink s;
	fBuf_t *fbuf;

	(void)state;
	send_all(&s);
	remove_options(&s);
	add_internal(model, session);
	fbuf = fBufAllocForCollection(session, NULL);
	fBufSetBuffer(fbuf, s.bytes, s.used);
	check(fBufSetInternalTemplate(fbuf, TID_EXPECTED, &error), error);
	for (;; records++) {
		struct expected got, want;
		size_t length = sizeof(got);
		uint16_t tid;

		if (!fBufNextCollectionTemplate(fbuf, &tid, &error))
			break;
		check(fBufNext(fbuf, (uint8_t *)&got, &length, &error), error);
		want = expect(next_of(&at[tid - 256], tid));
		assert_int_equal(length, sizeof(got));
		assert_memory_equal(&got, &want, sizeof(want));
	}
	g_clear_error(&error);
	assert_int_equal(records, FLOWS);
	fBufFree(fbuf);
	fbInfoModelFree(model);
	sink_close(&s);
}

/* The registry says of each element what libfixbuf's says. */
static void test_elements(void **state)
{
	fbInfoModel_t *model = fbInfoModelAlloc();
	unsigned int known = 0;

	(void)state;
	for (unsigned int i = 0; i < _ELEMENT_MAX; i++) {
		const struct element *element = &elements[i];
		const fbInfoElement_t *ie = fbInfoModelGetElementByName(model, element->name);

		if (element->pen == ELEMENT_PEN_OWN) {
			assert_null(ie);
			continue;
		}
		known++;
		assert_non_null(ie);
		assert_int_equal(ie->ent, element->pen);
		assert_int_equal(ie->num, element->id);
		assert_int_equal(ie->type, element->type);
		assert_int_equal(ie->len, element_type_length(element->type));
		assert_int_equal(FB_IE_SEMANTIC(ie->flags), element->semantics);
		assert_int_equal(FB_IE_UNITS(ie->flags), element->units);
		assert_int_equal(ie->min, element->least);
		assert_int_equal(ie->max, element->greatest);
	}
	assert_true(known > 60);
	for (unsigned int i = 0; i < _FIELD_MAX; i++) {
		const struct field *field = &flow_fields[i];

		assert_true(field->length <= element_type_length(field->element->type));
		assert_true(strlen(field->text) > 3);
	}
	fbInfoModelFree(model);
}

/* Record counts and lengths at the ends of the range of message_max, and one octet below a record. */
static void test_limits(void **state)
{
	static const struct {
		uint16_t max, ipv4, ipv6;
	} cases[] = {{512, 5, 4}, {1363, 15, 11}, {1364, 16, 12}, {1400, 16, 12}, {9000, 106, 80}};

	(void)state;
	for (unsigned int i = 0; i < 2 * ARRAY_SIZE(cases); i++) {
		const struct export_options options = {.message_max = cases[i / 2].max};
		bool ipv6 = i % 2;
		unsigned int want = ipv6 ? cases[i / 2].ipv6 : cases[i / 2].ipv4;
		struct flow many[200];
		struct sink s;

		for (unsigned int j = 0; j < ARRAY_SIZE(many); j++)
			many[j] = (struct flow){.key.kind = ipv6 ? FLOW_IPV6 : 0,
						.record = {.packets = 2, .octets = 3}};
		assert_true(sink_open(&s, "127.0.0.1", 0));
		send_flows(&s, "ipfix", &options, 0, many, ARRAY_SIZE(many));
		assert_int_equal(s.longest, MAX(240u, 20 + want * (ipv6 ? 112u : 84u)));
		sink_close(&s);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_data),   cmocka_unit_test(test_templates),
		cmocka_unit_test(test_decode), cmocka_unit_test(test_elements),
		cmocka_unit_test(test_limits),
	};

	return cmocka_run_group_tests(tests, make_flows, NULL);
}
