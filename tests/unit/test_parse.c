/* SPDX-License-Identifier: Apache-2.0 */
/* The parser natively: each packet of the table, each of them cut at every byte, and how they count. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "exporter/util.h"
#include "tests/packet_rules.h"
#include "tests/packets.h"
#include "tests/parse_buffer.h"

#define TEST_IFINDEX 77

static struct frame test_frame(const struct test_packet *t, uint32_t octets)
{
	return (struct frame){
		.octets = octets,
		.ethertype = t->ethertype,
		.vlan = t->vlan,
		.vlan_tagged = t->vlan_tagged,
		.gso = t->gso_size != 0,
	};
}

static void check_tally_rules(const struct test_packet *t, const struct packet *p)
{
	static const uint32_t segments[] = {0, 1, 2, 3, 65535}, sizes[] = {0, 1, 7, 100, 65535};
	const char *broken;
	struct tally tally;

	for (size_t i = 0; i < ARRAY_SIZE(segments); i++)
		for (size_t j = 0; j < ARRAY_SIZE(sizes); j++) {
			tally_packet(p, segments[i], sizes[j], &tally);
			broken = rules_check_tally(p, segments[i], sizes[j], &tally);
			if (broken)
				fail_msg("%s, %u segments of %u: %s", t->name, segments[i],
					 sizes[j], broken);
		}
}

/* From a copy the parser says the same. */
static void check_buffer(const struct test_packet *t, const struct frame *f, const uint8_t *bytes,
			 uint32_t reach, int reason, const struct packet *p)
{
	struct packet other = {.key.ifindex = TEST_IFINDEX, .key.kind = FLOW_EGRESS};
	int r;

	if (reach > PARSE_BUFFER_OCTETS)
		return;
	r = parse_in_buffer(f, t->ethertype != 0, bytes, reach, &other);
	if (r != reason)
		fail_msg("%s, %u of %u octets: reason %d from a buffer, else %d", t->name, reach,
			 f->octets, r, reason);
	if (r == REASON_NONE)
		assert_memory_equal(p, &other, sizeof(other));
}

/*
 * Parses the first `reach` bytes of a frame of `octets`.  They lie at the end of an allocation of their
 * own, so that the address sanitizer sees any read behind them.
 */
static int parse_cut(const struct test_packet *t, uint32_t reach, uint32_t octets, struct packet *p)
{
	struct frame f = test_frame(t, octets);
	_cleanup_(freep) uint8_t *copy = malloc(reach ? reach : 1);
	struct cursor c;
	const char *broken;
	int reason;

	assert_non_null(copy);
	memcpy(copy, t->bytes, reach);
	c = (struct cursor){.pos = copy, .end = copy + reach};
	memset(p, 0, sizeof(*p));
	p->key.ifindex = TEST_IFINDEX;
	p->key.kind = FLOW_EGRESS;
	reason = t->ethertype ? parse_bare(&c, &f, p) : parse_ethernet(&c, &f, p);
	broken = rules_check(&f, copy, reach, reason, p);
	if (broken)
		fail_msg("%s, %u of %u octets: %s", t->name, reach, octets, broken);
	check_buffer(t, &f, copy, reach, reason, p);
	if (reason == REASON_NONE)
		check_tally_rules(t, p);
	return reason;
}

#define check_equal(t, what, a, b) \
	do { \
		unsigned long _a = (unsigned long)(a), _b = (unsigned long)(b); \
\
		if (_a != _b) \
			fail_msg("%s: %s is %lu, not %lu", (t)->name, what, _a, _b); \
	} while (0)

static struct flow_key expected_key(const struct test_packet *t)
{
	static const uint8_t src4[] = {TEST_SRC4}, dst4[] = {TEST_DST4}, src6[] = {TEST_SRC6},
			     dst6[] = {TEST_DST6};
	struct flow_key key = {
		.src_port = htobe16(t->src_port),
		.dst_port = htobe16(t->dst_port),
		.ifindex = TEST_IFINDEX,
		.outer_vlan = t->outer_vlan,
		.inner_vlan = t->inner_vlan,
		.protocol = t->protocol,
		.kind = FLOW_EGRESS | (t->version == 6 ? FLOW_IPV6 : 0),
	};

	memcpy(key.src, t->version == 6 ? src6 : src4, t->version == 6 ? 16 : 4);
	memcpy(key.dst, t->version == 6 ? dst6 : dst4, t->version == 6 ? 16 : 4);
	return key;
}

static void check_facts(const struct test_packet *t, const struct packet *p)
{
	static const uint8_t src_mac[] = {TEST_SRC_MAC}, dst_mac[] = {TEST_DST_MAC}, none[6];

	check_equal(t, "octets", p->octets, t->octets);
	check_equal(t, "l3_offset", p->l3_offset, (t->ethertype ? 0 : ETH_HLEN) + t->link);
	check_equal(t, "l4_offset", p->l4_offset, t->l4_offset);
	check_equal(t, "l4_header", p->l4_header, t->l4_header);
	check_equal(t, "jumbo", p->jumbo, t->jumbo);
	check_equal(t, "tcp_flags", p->tcp_flags, t->tcp_flags);
	check_equal(t, "ttl", p->ttl, t->ttl);
	check_equal(t, "tos", p->tos, t->tos);
	check_equal(t, "flow_label", p->flow_label, t->flow_label);
	check_equal(t, "fragment", p->fragment, t->fragment);
	check_equal(t, "no_transport", p->no_transport, t->no_transport);
	check_equal(t, "link_octets", p->link_octets, p->l3_offset + 4 * t->vlan_tagged);
	assert_memory_equal(p->src_mac, t->ethertype ? none : src_mac, 6);
	assert_memory_equal(p->dst_mac, t->ethertype ? none : dst_mac, 6);
}

static void check_tally(const struct test_packet *t, struct packet *p)
{
	const struct frame f = test_frame(t, t->size);
	struct tally tally;

	check_equal(t, "headers in a tunnel", rules_inner(t->bytes, t->size, &f, p), t->tunnel);
	p->inner = t->tunnel;
	tally_packet(p, t->gso_segs, t->gso_size, &tally);
	check_equal(t, "tally.packets", tally.packets, t->packets ? t->packets : 1);
	check_equal(t, "tally.octets", tally.octets, t->packets ? t->wire_octets : t->octets);
	check_equal(t, "tally.min_length", tally.min_length,
		    t->packets ? t->min_length : t->octets);
	check_equal(t, "tally.max_length", tally.max_length,
		    t->packets ? t->max_length : t->octets);
}

static void test_table(_unused_ void **state)
{
	struct flow_key key;
	struct packet p;

	for (size_t i = 0; i < TEST_PACKETS; i++) {
		const struct test_packet *t = &test_packets[i];

		check_equal(t, "reason", parse_cut(t, t->size, t->size, &p), t->reason);
		if (t->reason != REASON_NONE)
			continue;
		key = expected_key(t);
		if (memcmp(&p.key, &key, sizeof(key)) != 0)
			fail_msg("%s: wrong key", t->name);
		check_facts(t, &p);
		check_tally(t, &p);
	}
}

/* A frame that ends early: in no flow until the whole packet is there, and then always in the same one. */
static void test_short_frames(_unused_ void **state)
{
	struct packet whole, p;
	uint32_t end;
	int reason;

	for (size_t i = 0; i < TEST_PACKETS; i++) {
		const struct test_packet *t = &test_packets[i];

		if (parse_cut(t, t->size, t->size, &whole) != REASON_NONE || t->gso_size)
			whole.octets = UINT32_MAX;
		end = whole.l3_offset + whole.octets;
		for (uint32_t n = 0; n <= t->size; n++) {
			reason = parse_cut(t, n, n, &p);
			if (whole.octets == UINT32_MAX)
				continue; /* the rules have been checked */
			check_equal(t, "in a flow", reason == REASON_NONE, n >= end);
			if (reason == REASON_NONE && !rules_same_packet(&p, &whole))
				fail_msg("%s: another packet at %u octets", t->name, n);
		}
	}
}

/* A frame that goes on beyond the reach: the answer is the whole frame's, or that it is out of reach. */
static void test_short_reach(_unused_ void **state)
{
	struct packet whole, p;
	int expected, reason;

	for (size_t i = 0; i < TEST_PACKETS; i++) {
		const struct test_packet *t = &test_packets[i];

		expected = parse_cut(t, t->size, t->size, &whole);
		for (uint32_t n = 0; n < t->size; n++) {
			reason = parse_cut(t, n, t->size, &p);
			if (reason == REASON_OUT_OF_REACH)
				continue;
			if (reason != expected)
				fail_msg("%s: reason %d with %u octets in reach, then %d", t->name,
					 reason, n, expected);
			if (reason == REASON_NONE && !rules_same_packet(&p, &whole))
				fail_msg("%s: another packet with %u octets in reach", t->name, n);
		}
	}
}

/* What the packet's own lengths cut off is not out of reach, however far its frame goes on. */
static void test_long_frames(_unused_ void **state)
{
	_cleanup_(freep) uint8_t *bytes = malloc(9216);
	struct packet whole, p;
	int packets = 0, expected;

	assert_non_null(bytes);
	for (size_t i = 0; i < TEST_PACKETS; i++) {
		struct test_packet t = test_packets[i];

		memset(bytes, 0xff, 9216);
		memcpy(bytes, t.bytes, t.size);
		t.bytes = bytes;
		expected = parse_cut(&t, 9216, 9216, &whole);
		if (t.gso_size || !whole.octets || whole.l3_offset + whole.octets > t.size)
			continue;
		packets += expected == REASON_TRANSPORT_SHORT || expected == REASON_IPV6_EXTENSION;
		check_equal(&t, "reason", parse_cut(&t, t.size, 9216, &p), expected);
	}
	assert_true(packets > 10);
}

/* Bytes behind the packet change nothing, up to the greatest reach. */
static void test_padding(_unused_ void **state)
{
	_cleanup_(freep) uint8_t *bytes = malloc(9216);
	struct packet whole, p;

	assert_non_null(bytes);
	for (size_t i = 0; i < TEST_PACKETS; i++) {
		struct test_packet t = test_packets[i];

		if (t.gso_size || parse_cut(&t, t.size, t.size, &whole) != REASON_NONE)
			continue;
		memset(bytes, 0xff, 9216);
		memcpy(bytes, t.bytes, t.size);
		t.bytes = bytes;
		for (uint32_t n = t.size; n < 9216; n += 613) {
			check_equal(&t, "reason", parse_cut(&t, n, n, &p), REASON_NONE);
			if (!rules_same_packet(&p, &whole))
				fail_msg("%s: another packet when padded to %u", t.name, n);
		}
	}
}

/* Each byte of each packet set to each of a few values: whatever the parser says, it keeps to the rules. */
static void test_changed_bytes(_unused_ void **state)
{
	static const uint8_t values[] = {0x00, 0x01, 0x2c, 0x3c, 0x45, 0x60, 0x7f, 0x80, 0xff};
	uint8_t bytes[512];
	struct packet p;

	for (size_t i = 0; i < TEST_PACKETS; i++) {
		struct test_packet t = test_packets[i];

		assert_true(t.size <= sizeof(bytes));
		for (uint32_t at = 0; at < MIN(t.size, 120u); at++)
			for (size_t v = 0; v < ARRAY_SIZE(values); v++) {
				memcpy(bytes, test_packets[i].bytes, t.size);
				bytes[at] = values[v];
				t.bytes = bytes;
				parse_cut(&t, t.size, t.size, &p);
				parse_cut(&t, t.size * 2 / 3, t.size, &p);
			}
	}
}

/* Segments that a lying or careless sender claims: nothing is lost, nothing overflows. */
static void test_tally_claims(_unused_ void **state)
{
	const struct packet p = {.octets = 1040, .l4_offset = 20, .l4_header = 20};
	struct tally t;

	tally_packet(&p, 7, 1000, &t); /* more segments than the size makes */
	assert_int_equal(t.packets, 7);
	assert_int_equal(t.octets, 7 * 40 + 1000);
	tally_packet(&p, 2, 1, &t); /* fewer */
	assert_int_equal(t.packets, 2);
	assert_int_equal(t.octets, 2 * 40 + 1000);
	tally_packet(&p, 1, 100, &t); /* one, though the size makes ten */
	assert_int_equal(t.packets, 1);
	assert_int_equal(t.octets, 1040);
	tally_packet(&p, 0, 65535, &t);
	assert_int_equal(t.packets, 1);
	tally_packet(&p, 0, 1, &t);
	assert_int_equal(t.packets, 1000);
	assert_int_equal(t.octets, 1000 * 41);
	tally_packet(&p, 5, 0, &t); /* no size: no super-packet, whatever the count */
	assert_int_equal(t.packets, 1);
	assert_int_equal(t.octets, 1040);
}

/* Every length around the boundaries of every count, against counting one by one. */
static void test_tally_exact(_unused_ void **state)
{
	for (uint32_t size = 1; size < 40; size++)
		for (uint32_t payload = 1; payload < 200; payload++)
			for (int counted = 0; counted < 2; counted++) {
				struct packet p = {.octets = 68 + payload,
						   .l4_offset = 48,
						   .l4_header = 20,
						   .jumbo = 8};
				uint32_t packets = 0, left = payload, last = 0;
				struct tally t;

				for (; left; left -= last, packets++)
					last = MIN(left, size);
				tally_packet(&p, counted ? packets : 0, size, &t);
				assert_int_equal(t.packets, packets);
				assert_int_equal(t.octets, 60 * packets + payload);
				assert_int_equal(t.min_length, 60 + last);
				assert_int_equal(t.max_length, 60 + MIN(payload, size));
			}
}

/* What is in a tunnel, cut at each byte: the same answer, or that it is not in reach. */
static void test_tunnel_reach(_unused_ void **state)
{
	struct packet p;
	int inner;

	for (size_t i = 0; i < TEST_PACKETS; i++) {
		const struct test_packet *t = &test_packets[i];
		const struct frame f = test_frame(t, t->size);
		uint32_t outer;

		if (!t->gso_size || parse_cut(t, t->size, t->size, &p) != REASON_NONE)
			continue;
		outer = p.l3_offset + p.l4_offset + p.l4_header;
		for (uint32_t n = 0; n < t->size; n++) {
			_cleanup_(freep) uint8_t *copy = malloc(n ? n : 1);

			assert_non_null(copy);
			memcpy(copy, t->bytes, n);
			inner = rules_inner(copy, n, &f, &p);
			if (inner >= 0 || n >= outer + t->tunnel + 60u)
				check_equal(t, "headers in a tunnel, cut", inner, t->tunnel);
		}
	}
}

static void test_tally_large(_unused_ void **state)
{
	struct packet p = {.octets = 524288 + 60, .l4_offset = 40, .l4_header = 20};
	struct tally t;

	tally_packet(&p, 0, 1428, &t);
	assert_int_equal(t.packets, 368);
	assert_int_equal(t.octets, 368 * 60 + 524288);
	tally_packet(&p, 1, 100, &t); /* a length does not wrap in 16 bits */
	assert_int_equal(t.min_length, 65535);
	assert_int_equal(t.max_length, 65535);
	p.octets = 100000;
	tally_packet(&p, 0, 0, &t);
	assert_int_equal(t.octets, 100000);
	assert_int_equal(t.max_length, 65535);
}

static void test_record(_unused_ void **state)
{
	const struct packet p = {.tcp_flags = 0xabc,
				 .flow_label = 0x12345,
				 .ttl = 9,
				 .tos = 0x2e,
				 .src_mac = {1, 2, 3, 4, 5, 6},
				 .dst_mac = {7, 8, 9, 10, 11, 12}};
	const struct tally t = {
		.packets = 3, .octets = 5000000000, .min_length = 90, .max_length = 140};
	const struct flow_record expected = {
		.packets = 3,
		.octets = 5000000000,
		.first_ns = 123456789012,
		.last_ns = 123456789012,
		.tcp_flags = 0xabc,
		.flow_label = 0x12345,
		.src_mac = {1, 2, 3, 4, 5, 6},
		.dst_mac = {7, 8, 9, 10, 11, 12},
		.first_flags = 0xabc,
		.min_length = 90,
		.max_length = 140,
		.min_ttl = 9,
		.max_ttl = 9,
		.tos = 0x2e,
	};
	struct flow_record r = {0};

	tally_record(&p, &t, 123456789012, &r);
	assert_memory_equal(&r, &expected, sizeof(r));
}

/* ::ffff:192.0.2.1 on the wire is IPv6 and stays it. */
static void test_mapped_address(_unused_ void **state)
{
	static const uint8_t bytes[] = {ETH(0x86dd), BE32(0x60000000),
					BE16(8),     17,
					64,	     0,
					0,	     0,
					0,	     0,
					0,	     0,
					0,	     0,
					0,	     0xff,
					0xff,	     192,
					0,	     2,
					1,	     TEST_DST6,
					UDP(8)};
	const struct test_packet t = {
		.name = "mapped address", .bytes = bytes, .size = sizeof(bytes)};
	struct packet p;

	assert_int_equal(parse_cut(&t, t.size, t.size, &p), REASON_NONE);
	assert_int_equal(p.key.kind, FLOW_EGRESS | FLOW_IPV6);
	assert_memory_equal(p.key.src, bytes + ETH_HLEN + 8, 16);
}

/*
 * From a capture, cut at each octet: never another flow than the hooks have, and more of them only where
 * they are out of reach, or a length is 0.
 */
static void test_captured(_unused_ void **state)
{
	unsigned int more = 0, zero = 0;
	struct packet live, p;

	for (size_t i = 0; i < TEST_PACKETS; i++) {
		const struct test_packet *t = &test_packets[i];
		struct frame f = test_frame(t, t->size);

		for (uint32_t reach = 0; !t->gso_size && reach <= t->size; reach++) {
			_cleanup_(freep) uint8_t *copy = malloc(reach ? reach : 1);
			struct cursor c = {.pos = copy, .end = copy + reach};
			int expected = parse_cut(t, reach, t->size, &live), r;
			const char *broken;

			assert_non_null(copy);
			memcpy(copy, t->bytes, reach);
			memset(&p, 0, sizeof(p));
			p.key.ifindex = TEST_IFINDEX;
			p.key.kind = FLOW_EGRESS;
			f.captured = 1;
			r = t->ethertype ? parse_bare(&c, &f, &p) : parse_ethernet(&c, &f, &p);
			broken = rules_check(&f, copy, reach, r, &p);
			if (broken)
				fail_msg("%s, %u octets: %s", t->name, reach, broken);
			if (r == expected) {
				if (r == REASON_NONE && !rules_same_packet(&p, &live))
					fail_msg("%s, %u octets: another packet", t->name, reach);
			} else if (expected == REASON_OUT_OF_REACH) {
				check_equal(t, "protocol", p.key.protocol, IPPROTO_TCP);
				more++;
			} else {
				check_equal(t, "octets", p.octets, t->size - p.l3_offset);
				zero++;
			}
		}
	}
	assert_true(more > 100);
	assert_true(zero > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_table),	       cmocka_unit_test(test_short_frames),
		cmocka_unit_test(test_short_reach),    cmocka_unit_test(test_long_frames),
		cmocka_unit_test(test_padding),	       cmocka_unit_test(test_changed_bytes),
		cmocka_unit_test(test_tally_claims),   cmocka_unit_test(test_tally_exact),
		cmocka_unit_test(test_tunnel_reach),

		cmocka_unit_test(test_tally_large),    cmocka_unit_test(test_record),
		cmocka_unit_test(test_mapped_address), cmocka_unit_test(test_captured),
	};

	return cmocka_run_group_tests_name("parse", tests, NULL, NULL);
}
