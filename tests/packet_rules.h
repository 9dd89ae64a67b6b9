/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* What holds for whatever bytes the parser is given: for unit tests over cut packets and for the fuzzer. */
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include "xdp/parse.h"
#include "tc/tunnel.h"
#include "xdp/tally.h"

static inline bool rules_has_ports(__u8 protocol)
{
	return protocol == IPPROTO_TCP || protocol == IPPROTO_UDP ||
	       protocol == PARSE_PROTO_UDPLITE || protocol == IPPROTO_SCTP ||
	       protocol == PARSE_PROTO_DCCP;
}

static inline bool rules_is_icmp(const struct packet *p)
{
	return p->key.protocol == (p->key.kind & FLOW_IPV6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP);
}

/* Everything but the padding behind the last member. */
static inline bool rules_same_packet(const struct packet *a, const struct packet *b)
{
	return !memcmp(a, b, offsetof(struct packet, no_transport) + sizeof(a->no_transport));
}

/* The ports are bytes of this packet, or 0; never what lies behind it in the frame or beyond reach. */
static inline const char *rules_check_ports(const __u8 *bytes, __u32 reach, const struct packet *p)
{
	__u32 at = p->l3_offset + p->l4_offset, octets = rules_has_ports(p->key.protocol) ? 4 : 2;
	__u8 ports[4] = {0};

	if (p->key.src_port == 0 && p->key.dst_port == 0)
		return NULL;
	if (p->no_transport)
		return "a later fragment has ports";
	if (!rules_has_ports(p->key.protocol) && !rules_is_icmp(p))
		return "ports of a protocol that has none";
	if (at + octets > reach)
		return "ports from beyond the reach";
	if (p->l4_offset + octets > p->octets)
		return "ports from beyond the packet";
	memcpy(ports + 4 - octets, bytes + at, octets);
	if (memcmp(ports, &p->key.src_port, 2) != 0 || memcmp(ports + 2, &p->key.dst_port, 2) != 0)
		return "ports that are not at the transport offset";
	return NULL;
}

static inline const char *rules_check_key(const __u8 *bytes, const struct packet *p)
{
	static const __u8 zero[16];
	bool ipv6 = p->key.kind & FLOW_IPV6;
	size_t length = ipv6 ? 16 : 4;
	const __u8 *source = bytes + p->l3_offset + (ipv6 ? 8 : 12);

	if (bytes[p->l3_offset] >> 4 != (ipv6 ? 6 : 4))
		return "address family is not the header's version";
	if (memcmp(p->key.src, source, length) != 0 ||
	    memcmp(p->key.dst, source + length, length) != 0)
		return "addresses are not the header's";
	if (memcmp(p->key.src + length, zero, 16 - length) != 0 ||
	    memcmp(p->key.dst + length, zero, 16 - length) != 0)
		return "unused address bytes are not 0";
	if (p->key.drop_reason)
		return "a reason for a drop that is none";
	if (p->key.outer_vlan > 0xfff || p->key.inner_vlan > 0xfff)
		return "VLAN id of more than 12 bits";
	return NULL;
}

static inline const char *rules_check_facts(const struct packet *p)
{
	if (p->tcp_flags > 0xfff)
		return "more than 12 TCP flags";
	if (p->tcp_flags && (p->key.protocol != IPPROTO_TCP || p->fragment))
		return "TCP flags of a fragment or another protocol";
	if (p->no_transport && (p->l4_header || !p->fragment))
		return "a later fragment has a transport header";
	if (p->flow_label > 0xfffff || (p->flow_label && !(p->key.kind & FLOW_IPV6)))
		return "flow label of more than 20 bits, or of IPv4";
	return NULL;
}

/* What a super-packet's segments repeat in a tunnel; below 0 when that is not in reach. */
static inline int rules_inner(const __u8 *bytes, __u32 reach, const struct frame *f,
			      const struct packet *p)
{
	__u32 outer = p->l3_offset + p->l4_offset + p->l4_header;
	const struct tunnel_bytes source = {.bytes = bytes, .octets = reach};

	if (!f->gso || p->key.protocol == IPPROTO_TCP)
		return 0;
	return tunnel_headers(&source, outer, f->octets, p->key.protocol);
}

/* NULL, or the rule that a parser's answer breaks. */
static inline const char *rules_check(const struct frame *f, const __u8 *bytes, __u32 reach,
				      int reason, const struct packet *p)
{
	const char *broken;

	if (reason < REASON_NONE || reason > REASON_OUT_OF_REACH)
		return "not a reason of the parser's";
	if (reason == REASON_OUT_OF_REACH && reach == f->octets)
		return "out of reach, with the whole frame in it";
	if (reason != REASON_NONE)
		return NULL;
	if (p->l3_offset + p->l4_offset > reach)
		return "transport offset beyond the reach";
	if (p->octets > f->octets - p->l3_offset)
		return "packet longer than its frame";
	if (p->l4_offset > p->octets || p->l4_offset < (p->key.kind & FLOW_IPV6 ? 40 : 20))
		return "transport offset outside the packet";
	if (p->jumbo && (!f->gso || !(p->key.kind & FLOW_IPV6)))
		return "jumbo option that is not a super-packet's";
	broken = rules_check_ports(bytes, reach, p) ?: rules_check_key(bytes, p);
	return broken ?: rules_check_facts(p);
}

/* Likewise of how a packet counts. */
static inline const char *rules_check_tally(const struct packet *p, __u32 segments, __u32 size,
					    const struct tally *t)
{
	if (t->packets == 0)
		return "no packet";
	if (t->packets != 1 && size == 0)
		return "segments of what is no super-packet";
	if (t->min_length > t->max_length)
		return "shortest packet longer than the longest";
	if (t->max_length > t->octets || t->octets + p->jumbo < p->octets)
		return "fewer octets than in memory";
	if (t->octets > (__u64)t->packets * p->octets)
		return "more octets than copies of the whole";
	if (segments == 0 && size && t->octets < (__u64)t->packets * t->min_length)
		return "fewer octets than so many of the shortest packet";
	return NULL;
}
