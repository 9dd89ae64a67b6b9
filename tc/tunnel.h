/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
#pragma once
/*
 * Super-packets in a tunnel: each segment also repeats the headers behind the outer ones.  An skb does
 * not tell programs that it is one; but its inner IP length goes to the end of the super-packet (or is 0:
 * BIG TCP), and that of the first of several datagrams, which UDP GRO has merged, does not.
 *
 * The headers are copied from where they lie.  They may lie behind the linear part of an skb, and pulling
 * them there would take bytes out of the datagrams that UDP GRO keeps in a list.
 */
#include "xdp/parse.h"

#define TUNNEL_ETHERNET \
	0x6558 /* transparent Ethernet bridging: the protocol of Ethernet in GRE and Geneve */

/*
 * Where the copies come from.  Whoever includes this says beforehand how to: int TUNNEL_COPY(source, offset, void
 * *to, octets) is 0, or negative when the frame does not hold them.
 */
#ifdef TUNNEL_COPY
#define TUNNEL_SOURCE struct __sk_buff *
#else
struct tunnel_bytes {
	const void *bytes; /* from the frame's beginning on */
	__u32 octets;
};
#define TUNNEL_SOURCE const struct tunnel_bytes *

static inline int tunnel_copy(const struct tunnel_bytes *b, __u32 offset, void *to, __u32 octets)
{
	if (offset > b->octets || octets > b->octets - offset)
		return -1;
	__builtin_memcpy(to, (const char *)b->bytes + offset, octets);
	return 0;
}
#define TUNNEL_COPY   tunnel_copy
#endif

struct tunnel_gre {
	__be16 flags;
	__be16 protocol;
};

/* VXLAN's header, and the fixed part of Geneve's and of GUE's. */
struct tunnel_udp {
	__u8 flags;	 /* Geneve: words of options in the low 6 bits; GUE: in the low 5 */
	__u8 flags2;	 /* GUE: the protocol */
	__be16 protocol; /* VXLAN: 0, or a policy id; VXLAN-GPE: its own numbers */
	__be32 id;
};

/* Where the reading is, and what lies there. */
struct tunnel_place {
	__u32 offset;	 /* from the frame's beginning */
	__u16 ethertype; /* 0: what we do not know */
};

/* VXLAN-GPE: the next protocol is in the last octet (draft-ietf-nvo3-vxlan-gpe). */
static __always_inline __u16 tunnel_gpe(__u8 next)
{
	return next == 1 ? ETH_P_IP : next == 2 ? ETH_P_IPV6 : next == 3 ? TUNNEL_ETHERNET : 0;
}

/* Past the header of what UDP carries: IP at once (FOU), GUE, VXLAN, VXLAN-GPE or Geneve. */
static __always_inline int tunnel_udp(TUNNEL_SOURCE source, struct tunnel_place *at)
{
	struct tunnel_udp udp;
	__u16 type;

	if (TUNNEL_COPY(source, at->offset, &udp, sizeof(udp)) < 0)
		return -1;
	if (udp.flags >> 4 == 4 || udp.flags >> 4 == 6) {
		at->ethertype = udp.flags >> 4 == 4 ? ETH_P_IP : ETH_P_IPV6;
		return 0;
	}
	if (udp.flags >> 5 == 0 && (udp.flags2 == IPPROTO_IPIP || udp.flags2 == IPPROTO_IPV6)) {
		at->offset += 4 + (udp.flags & 31) * 4;
		at->ethertype = udp.flags2 == IPPROTO_IPIP ? ETH_P_IP : ETH_P_IPV6;
		return 0;
	}
	type = bpf_ntohs(udp.protocol);
	at->offset += sizeof(udp);
	if (type == TUNNEL_ETHERNET || type == ETH_P_IP || type == ETH_P_IPV6) {
		at->ethertype = type;
		at->offset += (udp.flags & 63) * 4;
	} else if ((udp.flags & 0x3c) == 0x0c) {
		at->ethertype = tunnel_gpe(type & 0xff);
	} else {
		at->ethertype = TUNNEL_ETHERNET;
	}
	return 0;
}

/* Past the tunnel's own header. */
static __always_inline int tunnel_header(TUNNEL_SOURCE source, __u8 protocol,
					 struct tunnel_place *at)
{
	struct tunnel_gre gre;
	__u16 flags;

	if (protocol == IPPROTO_UDP)
		return tunnel_udp(source, at);
	if (protocol == IPPROTO_GRE) {
		if (TUNNEL_COPY(source, at->offset, &gre, sizeof(gre)) < 0)
			return -1;
		flags = bpf_ntohs(gre.flags); /* checksum, key, sequence number: a word each */
		at->offset +=
			sizeof(gre) + ((flags >> 15) + (flags >> 13 & 1) + (flags >> 12 & 1)) * 4;
		at->ethertype = bpf_ntohs(gre.protocol);
		return 0;
	}
	at->ethertype = protocol == IPPROTO_IPIP   ? ETH_P_IP
			: protocol == IPPROTO_IPV6 ? ETH_P_IPV6
						   : 0;
	return 0;
}

static __always_inline int tunnel_link(TUNNEL_SOURCE source, struct tunnel_place *at)
{
	struct parse_ethernet eth;
	struct parse_vlan tag;

	if (at->ethertype != TUNNEL_ETHERNET)
		return 0;
	if (TUNNEL_COPY(source, at->offset, &eth, sizeof(eth)) < 0)
		return -1;
	at->offset += sizeof(eth);
	at->ethertype = bpf_ntohs(eth.ethertype);
	if (!parse_is_vlan(at->ethertype))
		return 0;
	if (TUNNEL_COPY(source, at->offset, &tag, sizeof(tag)) < 0)
		return -1;
	at->offset += sizeof(tag);
	at->ethertype = bpf_ntohs(tag.ethertype);
	return 0;
}

/* Past the inner IP header; *ret_protocol is 0 when it is none of a super-packet that ends at `end`. */
static __always_inline int tunnel_ip(TUNNEL_SOURCE source, struct tunnel_place *at, __u32 end,
				     __u8 *ret_protocol)
{
	__u32 rest = end - at->offset, length;
	struct parse_ipv4 ip4;
	struct parse_ipv6 ip6;

	*ret_protocol = 0;
	if (at->ethertype == ETH_P_IP) {
		if (TUNNEL_COPY(source, at->offset, &ip4, sizeof(ip4)) < 0)
			return -1;
		length = bpf_ntohs(ip4.length);
		at->offset += (ip4.version_ihl & 15) * 4;
		if (ip4.version_ihl >> 4 == 4 && (length == rest || length == 0))
			*ret_protocol = ip4.protocol;
	} else if (at->ethertype == ETH_P_IPV6) {
		if (TUNNEL_COPY(source, at->offset, &ip6, sizeof(ip6)) < 0)
			return -1;
		length = bpf_ntohs(ip6.length);
		at->offset += sizeof(ip6);
		if (bpf_ntohl(ip6.first) >> 28 == 6 &&
		    (length + sizeof(ip6) == rest || length == 0))
			*ret_protocol = ip6.next;
	}
	return 0;
}

/*
 * Octets of the headers that each segment repeats behind the outermost transport header, which lies at
 * `offset`; behind the IP header for a protocol without ports.  `end`: octets of the whole frame.
 * 0 when this is no tunnel; -1 when the frame does not hold enough to tell.
 */
static __always_inline int tunnel_headers(TUNNEL_SOURCE source, __u32 offset, __u32 end,
					  __u8 protocol)
{
	struct tunnel_place at = {.offset = offset};
	struct parse_tcp tcp;
	__u8 inner;

	if (tunnel_header(source, protocol, &at) < 0 || tunnel_link(source, &at) < 0 ||
	    tunnel_ip(source, &at, end, &inner) < 0)
		return -1;
	if (inner == IPPROTO_TCP) {
		if (TUNNEL_COPY(source, at.offset, &tcp, sizeof(tcp)) < 0)
			return -1;
		at.offset += (bpf_ntohs(tcp.offset_flags) >> 12) * 4;
	} else if (inner == IPPROTO_UDP) {
		at.offset += 8;
	}
	return inner ? (int)(at.offset - offset) : 0;
}
