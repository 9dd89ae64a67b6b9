/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
#pragma once
/* What a parsed packet adds to its flow: a super-packet counts as the packets that are on the wire. */
#include "xdp/parse.h"

/* How a frame counts. */
struct tally {
	__u32 packets;
	__u64 octets;	  /* IP layer, over all of them */
	__u16 min_length; /* of the shortest packet, IP layer */
	__u16 max_length;
};

static __always_inline __u16 tally_clamp16(__u32 value)
{
	return value > 0xffff ? 0xffff : value;
}

/*
 * `segments` may be 0 (tun and virtio leave it to whoever needs it): then it follows from `size`, the
 * payload octets of a full segment (gso_size).  0: not a super-packet.
 */
static __always_inline void tally_packet(const struct packet *p, __u32 segments, __u32 size,
					 struct tally *t)
{
	__u32 header = p->l4_offset + p->l4_header + p->inner, payload, last;

	t->packets = 1;
	t->octets = p->octets;
	t->min_length = t->max_length = tally_clamp16(p->octets);
	if (size == 0 || p->octets <= header)
		return;
	payload = p->octets - header;
	if (segments == 0)
		segments = (payload + size - 1) / size;
	header -= p->jumbo;
	t->packets = segments;
	t->octets = (__u64)segments * header + payload;
	if (segments < 2 || payload <= (segments - 1) * size) {
		t->min_length = t->max_length = tally_clamp16(header + payload);
		return;
	}
	last = payload - (segments - 1) * size;
	t->min_length = tally_clamp16(header + (last < size ? last : size));
	t->max_length = tally_clamp16(header + (last < size ? size : last));
}

/* The record of a flow that begins with this packet. */
static __always_inline void tally_record(const struct packet *p, const struct tally *t,
					 __u64 now_ns, struct flow_record *r)
{
	r->packets = t->packets;
	r->octets = t->octets;
	r->first_ns = now_ns;
	r->last_ns = now_ns;
	r->tcp_flags = p->tcp_flags;
	r->flow_label = p->flow_label;
	parse_copy_mac(r->src_mac, p->src_mac);
	parse_copy_mac(r->dst_mac, p->dst_mac);
	r->first_flags = p->tcp_flags;
	r->min_length = t->min_length;
	r->max_length = t->max_length;
	r->min_ttl = p->ttl;
	r->max_ttl = p->ttl;
	r->tos = p->tos;
	r->link_octets = p->link_octets;
}
