/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
#pragma once
/*
 * Super-packets in a tunnel: each segment also repeats the headers behind the outer ones.  An skb does
 * not tell programs that it is one; but its inner IP length goes to the end of the super-packet (or is 0:
 * BIG TCP), and that of the first of several datagrams, which UDP GRO has merged, does not.
 */
#include "xdp/parse.h"

#define TUNNEL_ETHERNET \
	0x6558 /* transparent Ethernet bridging: the protocol of Ethernet in GRE and Geneve */

struct tunnel_gre {
	__be16 flags;
	__be16 protocol;
} PARSE_HEADER;

/* VXLAN's header, and the fixed part of Geneve's. */
struct tunnel_udp {
	__u8 flags; /* Geneve: words of options in the low 6 bits */
	__u8 flags2;
	__be16 protocol; /* VXLAN: 0, or a policy id */
	__be32 id;
} PARSE_HEADER;

DEFINE_PARSE_TAKE(gre, struct tunnel_gre)
DEFINE_PARSE_TAKE(udp_tunnel, struct tunnel_udp)

/* Past the tunnel's own header; *ret_ethertype: of what is in it, 0 for what we do not know. */
static __always_inline int tunnel_header(struct cursor *c, __u8 protocol, __u16 *ret_ethertype)
{
	struct tunnel_udp *udp;
	struct tunnel_gre *gre;
	__u16 flags, type;

	*ret_ethertype = protocol == IPPROTO_IPIP   ? ETH_P_IP
			 : protocol == IPPROTO_IPV6 ? ETH_P_IPV6
						    : 0;
	if (protocol == IPPROTO_GRE) {
		if (parse_take_gre(c, &gre) < 0)
			return -1;
		flags = bpf_ntohs(gre->flags); /* checksum, key, sequence number: a word each */
		parse_seek(c, gre + 1, ((flags >> 15) + (flags >> 13 & 1) + (flags >> 12 & 1)) * 4);
		*ret_ethertype = bpf_ntohs(gre->protocol);
	} else if (protocol == IPPROTO_UDP) {
		if (parse_take_udp_tunnel(c, &udp) < 0)
			return -1;
		type = bpf_ntohs(udp->protocol);
		*ret_ethertype = TUNNEL_ETHERNET;
		if (type != TUNNEL_ETHERNET && type != ETH_P_IP && type != ETH_P_IPV6)
			return 0;
		*ret_ethertype = type;
		parse_seek(c, udp + 1, (udp->flags & 63) * 4);
	}
	return 0;
}

static __always_inline int tunnel_link(struct cursor *c, __u16 *ethertype)
{
	struct parse_vlan *tag;
	struct parse_ethernet *eth;

	if (*ethertype != TUNNEL_ETHERNET)
		return 0;
	if (parse_take_ethernet(c, &eth) < 0)
		return -1;
	*ethertype = bpf_ntohs(eth->ethertype);
	if (!parse_is_vlan(*ethertype))
		return 0;
	if (parse_take_vlan(c, &tag) < 0)
		return -1;
	*ethertype = bpf_ntohs(tag->ethertype);
	return 0;
}

/* Past the inner IP header; *ret_protocol is 0 when it is none of a super-packet that ends at `end`. */
static __always_inline int tunnel_ip(struct cursor *c, __u32 rest, __u16 ethertype,
				     __u8 *ret_protocol)
{
	struct parse_ipv4 *ip4;
	struct parse_ipv6 *ip6;
	__u32 length;

	*ret_protocol = 0;
	if (ethertype == ETH_P_IP) {
		if (parse_take_ipv4(c, &ip4) < 0)
			return -1;
		length = bpf_ntohs(ip4->length);
		parse_seek(c, ip4, (ip4->version_ihl & 15) * 4);
		if (ip4->version_ihl >> 4 == 4 && (length == rest || length == 0))
			*ret_protocol = ip4->protocol;
	} else if (ethertype == ETH_P_IPV6) {
		if (parse_take_ipv6(c, &ip6) < 0)
			return -1;
		length = bpf_ntohs(ip6->length);
		if (bpf_ntohl(ip6->first) >> 28 == 6 &&
		    (length + sizeof(*ip6) == rest || length == 0))
			*ret_protocol = ip6->next;
	}
	return 0;
}

/*
 * Octets of the headers that each segment repeats behind the outermost transport header, which the cursor is
 * at; behind the IP header for a protocol without ports.  `octets` are in the frame from there on.
 * 0 when this is no tunnel; -1 when the cursor does not reach far enough to tell.
 */
static __always_inline int tunnel_headers(struct cursor *c, __u32 octets, __u8 protocol)
{
	void *start = c->pos;
	struct parse_tcp *tcp;
	__u16 ethertype;
	__u8 inner;

	if (tunnel_header(c, protocol, &ethertype) < 0 || tunnel_link(c, &ethertype) < 0 ||
	    tunnel_ip(c, octets - (c->pos - start), ethertype, &inner) < 0)
		return -1;
	if (inner == IPPROTO_TCP) {
		if (parse_take_tcp(c, &tcp) < 0)
			return -1;
		parse_seek(c, tcp, (bpf_ntohs(tcp->offset_flags) >> 12) * 4);
	} else if (inner == IPPROTO_UDP) {
		parse_seek(c, c->pos, 8);
	}
	return inner ? (int)(c->pos - start) : 0;
}
