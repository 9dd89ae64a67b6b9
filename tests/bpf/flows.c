/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>
#include "tests/bpf/flows.h"
#include "tests/packets.h"

#define PLAIN_TCP  0
#define TAGGED_UDP 1
#define IPV6_UDP   2

const uint32_t flow_octets[FLOW_KINDS] = {40, 28, 48};

int flow_books_init(struct flow_books *books, uint32_t count)
{
	books->count = count;
	for (int i = 0; i < _DIRECTION_MAX; i++) {
		books->sums[i] = calloc(count, sizeof(*books->sums[i]));
		if (!books->sums[i])
			return -ENOMEM;
	}
	return 0;
}

void flow_books_clear(struct flow_books *books)
{
	for (int i = 0; i < _DIRECTION_MAX; i++)
		free(books->sums[i]);
}

/* The number goes into the last three bytes of the source address. */
uint32_t flow_packet(uint32_t number, uint8_t bytes[FLOW_BYTES_MAX])
{
	static const uint8_t plain[] = {ETH(0x0800), IP4(40, 6), TCP(0x010)};
	static const uint8_t tagged[] = {ETH(0x8100), TAG(100, 0x0800), IP4(28, 17), UDP(8)};
	static const uint8_t ipv6[] = {ETH(0x86dd), IP6(8, 17), UDP(8)};
	static const struct {
		const uint8_t *bytes;
		uint32_t size;
		uint32_t number_at;
	} kinds[FLOW_KINDS] = {
		[PLAIN_TCP] = {plain, sizeof(plain), 14 + 13},
		[TAGGED_UDP] = {tagged, sizeof(tagged), 18 + 13},
		[IPV6_UDP] = {ipv6, sizeof(ipv6), 14 + 21},
	};
	uint32_t kind = number % FLOW_KINDS;

	memcpy(bytes, kinds[kind].bytes, kinds[kind].size);
	bytes[kinds[kind].number_at] = (uint8_t)(number >> 16);
	bytes[kinds[kind].number_at + 1] = (uint8_t)(number >> 8);
	bytes[kinds[kind].number_at + 2] = (uint8_t)number;
	return kinds[kind].size;
}

static uint32_t flow_number(const struct flow_key *key)
{
	const uint8_t *low = key->src + (key->kind & FLOW_IPV6 ? 13 : 1);

	return (uint32_t)low[0] << 16 | (uint32_t)low[1] << 8 | low[2];
}

static const char *check_record(const struct flow_key *key, const struct flow_record *r,
				uint32_t ifindex)
{
	uint32_t number = flow_number(key), octets = flow_octets[number % FLOW_KINDS];
	struct packet p = {.key.ifindex = ifindex, .key.kind = key->kind & FLOW_EGRESS};
	uint8_t bytes[FLOW_BYTES_MAX];
	struct frame f = {.octets = flow_packet(number, bytes)};
	struct cursor c = {.pos = bytes, .end = bytes + f.octets};

	if (parse_ethernet(&c, &f, &p) != REASON_NONE || memcmp(&p.key, key, sizeof(*key)) != 0)
		return "not the key of its number";
	if (r->packets == 0 || r->octets < r->packets * octets)
		return "an empty record, or packets without their octets";
	if (r->min_length < octets || r->max_length < r->min_length || r->min_ttl != p.ttl ||
	    r->max_ttl != p.ttl)
		return "lengths or TTLs that no packet had";
	if (r->tcp_flags != p.tcp_flags || r->first_flags != p.tcp_flags || r->tos != p.tos)
		return "flags or TOS that no packet had";
	if (r->flow_label != p.flow_label || memcmp(r->src_mac, p.src_mac, 6) != 0 ||
	    memcmp(r->dst_mac, p.dst_mac, 6) != 0)
		return "flow label or MACs that no packet had";
	/* Of two CPUs the one with the earlier time may write last. */
	if (r->first_ns == 0 || r->last_ns + NSEC_PER_SEC < r->first_ns)
		return "times out of order";
	return NULL;
}

const char *flow_books_add(struct flow_books *books, uint32_t ifindex,
			   const struct drain_batch *batch)
{
	const char *broken;

	for (uint32_t i = 0; i < batch->count; i++) {
		const struct flow_key *key = &batch->keys[i];
		uint32_t number = flow_number(key);
		struct flow_sum *sum;

		broken = check_record(key, &batch->records[i], ifindex);
		if (broken)
			return broken;
		if (number >= books->count)
			return "a flow that nobody sent";
		sum = &books->sums[key->kind & FLOW_EGRESS ? DIRECTION_EGRESS : DIRECTION_INGRESS]
				  [number];
		sum->packets += batch->records[i].packets;
		sum->octets += batch->records[i].octets;
	}
	return NULL;
}
