/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The parser under libFuzzer.  An input is what the hook knows of a frame, then its bytes.  Seeds are
 * the packets of the table.
 */
#include "tests/fuzz/fuzz.h"
#include "tests/packet_rules.h"
#include "tests/packets.h"
#include "tests/parse_buffer.h"

struct input {
	uint8_t flags; /* INPUT_* */
	uint8_t gso_segs;
	uint16_t gso_size;
	uint16_t vlan;
	uint16_t ethertype;
	uint16_t beyond; /* octets of the frame that are out of reach */
};

#define INPUT_BARE   0x01
#define INPUT_TAGGED 0x02
#define INPUT_EGRESS 0x04

static int parse_input(const struct input *in, const struct frame *f, const uint8_t *bytes,
		       uint32_t reach, struct packet *p)
{
	struct cursor c = {.pos = (void *)bytes, .end = (void *)(bytes + reach)};
	int reason;

	memset(p, 0, sizeof(*p));
	p->key.ifindex = 77;
	p->key.kind = in->flags & INPUT_EGRESS ? FLOW_EGRESS : 0;
	reason = in->flags & INPUT_BARE ? parse_bare(&c, f, p) : parse_ethernet(&c, f, p);
	fuzz_require(rules_check(f, bytes, reach, reason, p));
	if (p->key.ifindex != 77 ||
	    (p->key.kind & FLOW_EGRESS) != (in->flags & INPUT_EGRESS ? FLOW_EGRESS : 0))
		fuzz_require("interface or direction changed");
	return reason;
}

/* A copy of the first bytes: the same answer as from the bytes themselves. */
static void check_buffer(const struct input *in, const struct frame *f, const uint8_t *bytes,
			 uint32_t reach)
{
	struct packet p,
		other = {.key.ifindex = 77, .key.kind = in->flags & INPUT_EGRESS ? FLOW_EGRESS : 0};
	int reason, buffered;

	if (reach > PARSE_BUFFER_OCTETS)
		reach = PARSE_BUFFER_OCTETS;
	reason = parse_input(in, f, bytes, reach, &p);
	buffered = parse_in_buffer(f, in->flags & INPUT_BARE, bytes, reach, &other);
	if (reason != buffered || (reason == REASON_NONE && memcmp(&p, &other, sizeof(p)) != 0))
		fuzz_require("another answer from a buffer");
}

/* Fewer bytes in reach: the same answer, or that it is out of reach. */
static void check_reach(const struct input *in, const struct frame *f, const uint8_t *bytes,
			uint32_t reach, int reason, const struct packet *whole)
{
	struct packet p;
	int near = parse_input(in, f, bytes, reach, &p);

	if (near == REASON_OUT_OF_REACH)
		return;
	if (near != reason || (reason == REASON_NONE && !rules_same_packet(&p, whole)))
		fuzz_require("another answer with fewer bytes in reach");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in;
	struct frame f;
	struct packet p;
	struct tally t;
	uint32_t reach;
	int reason, inner;

	if (size < sizeof(in))
		return -1;
	memcpy(&in, data, sizeof(in));
	data += sizeof(in);
	reach = (uint32_t)(size - sizeof(in));
	f = (struct frame){
		.octets = reach + in.beyond,
		.ethertype = in.ethertype,
		.vlan = in.vlan & 0x0fff,
		.vlan_tagged = (in.flags & INPUT_TAGGED) != 0,
		.gso = in.gso_size != 0,
	};
	check_buffer(&in, &f, data, reach);
	reason = parse_input(&in, &f, data, reach, &p);
	if (reach)
		check_reach(&in, &f, data, (in.beyond ^ in.vlan) % reach, reason, &p);
	if (reason != REASON_NONE)
		return 0;
	inner = rules_inner(data, reach, &f, &p);
	p.inner = (uint16_t)(inner > 0 ? inner : 0);
	tally_packet(&p, in.gso_segs, in.gso_size, &t);
	fuzz_require(rules_check_tally(&p, in.gso_segs, in.gso_size, &t));
	return 0;
}

void fuzz_write_seeds(void)
{
	for (size_t i = 0; i < TEST_PACKETS; i++) {
		const struct test_packet *t = &test_packets[i];
		const struct input in = {
			.flags = (t->ethertype ? INPUT_BARE : 0) |
				 (t->vlan_tagged ? INPUT_TAGGED : 0),
			.gso_segs = (uint8_t)t->gso_segs,
			.gso_size = t->gso_size,
			.vlan = t->vlan,
			.ethertype = t->ethertype,
		};

		fuzz_write_seed(i, &in, sizeof(in), t->bytes, t->size);
	}
}
