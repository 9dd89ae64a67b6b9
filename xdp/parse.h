/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
#pragma once
/*
 * Packet bytes -> flow key and the facts of one packet.  Pure C over a cursor, no helper and no map,
 * so that the same source runs in the kernel, in unit tests, in the fuzzer and in `flowtally replay`.
 *
 * Every function returns REASON_NONE or the reason why the packet belongs to no flow.
 */
#include "xdp/cursor.h"

#define PARSE_VLAN_MAX	    4 /* tags followed inside the frame; the two outermost are in the key */
#define PARSE_EXTENSION_MAX 8 /* IPv6 extension headers followed */
#define PARSE_EXTENSION_MIN 8 /* octets of the shortest one */
#define PARSE_OPTION_JUMBO  0xc2 /* RFC 2675 */

/* Masks of cursor_seek(): no header ends further away. */
#define PARSE_LINK_MASK 0x3ff /* in front of the IP header */
#define PARSE_IPV4_MASK 0x3f
#define PARSE_IPV6_MASK 0x7fff /* with all extension headers */

/* What the hook knows of the frame beside its bytes. */
struct frame {
	__u32 octets;	  /* length of the frame, from the first byte of the cursor on */
	__u16 ethertype;  /* host order, of a link layer without an Ethernet header */
	__u16 start;	  /* likewise: octets in front of the first header, below 512 */
	__u16 vlan;	  /* VLAN id of a tag carried outside the bytes, which is the outermost */
	__u8 vlan_tagged; /* there is such a tag */
	__u8 gso;	  /* a super-packet: the IP length fields say nothing */
	__u8 captured;	  /* read from a capture, see parse_captured() */
};

struct packet {
	struct flow_key key;
	__u32 octets; /* IP layer: of the packet, or of the whole super-packet as it is in memory */
	__u32 flow_label; /* host order */
	__u16 l3_offset;  /* octets in front of the IP header */
	__u16 l4_offset;  /* octets from the IP header to the transport header */
	__u16 l4_header;  /* octets of the TCP, UDP or SCTP header; 0 for others and without one */
	__u16 inner; /* octets of headers in a tunnel, which each segment of a super-packet repeats */
	__u16 jumbo; /* octets of an IPv6 jumbo payload option's header, which BIG TCP never sends */
	__u16 tcp_flags; /* 12 bits, as in flow_record */
	__u8 src_mac[6];
	__u8 dst_mac[6];
	__u8 ttl;
	__u8 tos;
	__u8 fragment;	   /* part of a fragmented packet; an atomic fragment of IPv6 is not */
	__u8 link_octets;  /* in front of the IP header: l3_offset, and a tag outside the bytes */
	__u8 no_transport; /* a later fragment: what follows is no transport header */
};

static __always_inline void parse_copy_mac(__u8 *dst, const __u8 *src)
{
	__builtin_memcpy(dst, src, 6);
}

/*
 * A capture may have been made where the NIC has yet to cut super-packets (TSO), so that a length of 0
 * in the IP header stands for as long as the frame; and it may hold only the beginning of each frame.
 * On the wire that length is malformed, and the kernel drops the packet: the hooks have none of this.
 */
static __always_inline int parse_captured(const struct frame *f)
{
#ifdef __bpf__
	(void)f;
	return 0;
#else
	return f->captured;
#endif
}

/* Why `octets` from the frame's beginning on could not be taken: it ends before, or it goes on out of reach. */
static __always_inline int parse_missing(const struct frame *f, __u32 octets, int reason)
{
	return f->octets < octets ? reason : REASON_OUT_OF_REACH;
}

/* Octets that the IP header leaves for the transport header and what it carries; the frame has them. */
static __always_inline int parse_room(const struct packet *p)
{
	return (int)p->octets - p->l4_offset;
}

static __always_inline int parse_ports(struct cursor *c, struct packet *p, int header)
{
	struct parse_ports *ports;

	if (parse_room(p) < header)
		return REASON_TRANSPORT_SHORT;
	if (parse_take_ports(c, &ports) < 0)
		return REASON_OUT_OF_REACH;
	__builtin_memcpy(&p->key.src_port, &ports->src_dst, 4);
	return REASON_NONE;
}

static __always_inline void parse_tcp_flags(struct packet *p, __be16 offset_flags)
{
	p->tcp_flags = bpf_ntohs(offset_flags) & 0x0fff;
	p->l4_header = (bpf_ntohs(offset_flags) >> 12) * 4;
}

/* Ports are enough for the flow; flags are taken where the capture holds them. */
static __always_inline int parse_captured_tcp(struct cursor *c, struct packet *p)
{
	struct cursor ahead = *c;
	struct parse_tcp_start *start;

	if (parse_take_tcp_start(&ahead, &start) == 0)
		parse_tcp_flags(p, start->offset_flags);
	return parse_ports(c, p, sizeof(struct parse_ports));
}

static __always_inline int parse_tcp(struct cursor *c, const struct frame *f, struct packet *p)
{
	struct parse_tcp *tcp;

	if (parse_room(p) < (int)sizeof(*tcp))
		return REASON_TRANSPORT_SHORT;
	if (parse_take_tcp(c, &tcp) < 0)
		return parse_captured(f) ? parse_captured_tcp(c, p) : REASON_OUT_OF_REACH;
	__builtin_memcpy(&p->key.src_port, &tcp->src_dst, 4);
	parse_tcp_flags(p, tcp->offset_flags);
	return REASON_NONE;
}

static __always_inline int parse_icmp(struct cursor *c, struct packet *p)
{
	struct parse_icmp *icmp;

	if (parse_room(p) < (int)sizeof(*icmp))
		return REASON_TRANSPORT_SHORT;
	if (parse_take_icmp(c, &icmp) < 0)
		return REASON_OUT_OF_REACH;
	p->key.dst_port = bpf_htons(icmp->type << 8 | icmp->code);
	return REASON_NONE;
}

static __always_inline int parse_transport_header(struct cursor *c, const struct frame *f,
						  struct packet *p)
{
	switch (p->key.protocol) {
	case IPPROTO_TCP:
		return p->fragment ? parse_ports(c, p, sizeof(struct parse_ports))
				   : parse_tcp(c, f, p);
	case IPPROTO_UDP:
		p->l4_header = 8;
		return parse_ports(c, p, 8);
	case PARSE_PROTO_UDPLITE:
		return parse_ports(c, p, 8);
	case IPPROTO_SCTP:
		p->l4_header = 12;
		return parse_ports(c, p, 12);
	case PARSE_PROTO_DCCP:
		return parse_ports(c, p, 12);
	case IPPROTO_ICMP:
		return p->key.kind & FLOW_IPV6 ? REASON_NONE : parse_icmp(c, p);
	case IPPROTO_ICMPV6:
		return p->key.kind & FLOW_IPV6 ? parse_icmp(c, p) : REASON_NONE;
	default:
		return REASON_NONE;
	}
}

/*
 * A first fragment need not hold the whole transport header: it is in a flow all the same, with ports
 * where there are any.  Its TCP flags are not taken: a later fragment may overwrite them (RFC 1858).
 */
static __always_inline int parse_transport(struct cursor *c, const struct frame *f,
					   struct packet *p)
{
	/* The key is hashed by words: reading one that was written in parts waits for the stores. */
	union {
		__u8 part[4];
		__u32 word;
	} kind = {.part = {p->key.protocol, p->key.kind}};
	int r;

	__builtin_memcpy(&p->key.protocol, &kind.word, sizeof(kind.word));
	if (p->no_transport)
		return REASON_NONE;
	r = parse_transport_header(c, f, p);
	return p->fragment && r == REASON_TRANSPORT_SHORT ? REASON_NONE : r;
}

static __always_inline int parse_ipv4(struct cursor *c, const struct frame *f, struct packet *p)
{
	cursor_place at = c->pos;
	struct parse_ipv4 *ip;
	__u16 fragment;
	__u32 header, room;

	if (parse_take_ipv4(c, &ip) < 0)
		return parse_missing(f, p->l3_offset + sizeof(*ip), REASON_IPV4_SHORT);
	if (ip->version_ihl >> 4 != 4)
		return REASON_IPV4_VERSION;
	header = (ip->version_ihl & 15) * 4;
	if (header < sizeof(*ip))
		return REASON_IPV4_IHL;
	room = f->octets - p->l3_offset;
	p->octets = f->gso || (parse_captured(f) && !ip->length) ? room : bpf_ntohs(ip->length);
	if (p->octets < header || p->octets > room)
		return REASON_IPV4_LENGTH;
	fragment = bpf_ntohs(ip->fragment);
	p->fragment = (fragment & 0x3fff) != 0;
	p->no_transport = (fragment & 0x1fff) != 0;
	__builtin_memcpy(p->key.src, &ip->src, 4);
	__builtin_memcpy(p->key.dst, &ip->dst, 4);
	p->key.protocol = ip->protocol;
	p->tos = ip->tos;
	p->ttl = ip->ttl;
	p->l4_offset = header;
	cursor_seek(c, at, header, PARSE_IPV4_MASK);
	if (c->pos > c->end)
		return REASON_OUT_OF_REACH; /* the total length holds the options, and the frame that */
	return parse_transport(c, f, p);
}

/*
 * Payload length 0 with a jumbo payload option (RFC 2675) right behind: the length is in the option.
 * Linux makes such headers for BIG TCP in memory and takes them out before sending, so a GSO
 * super-packet's is remembered as not being on the wire.
 */
static __always_inline int parse_jumbo(const struct cursor *c, const struct frame *f,
				       struct packet *p)
{
	struct cursor ahead = *c;
	struct parse_jumbo *jumbo;
	__u64 octets;

	if (p->key.protocol != IPPROTO_HOPOPTS)
		return REASON_NONE;
	if (parse_take_jumbo(&ahead, &jumbo) < 0)
		return parse_missing(f, p->l3_offset + sizeof(struct parse_ipv6) + sizeof(*jumbo),
				     REASON_IPV6_EXTENSION);
	if (jumbo->length != 0 || jumbo->option != PARSE_OPTION_JUMBO || jumbo->option_length != 4)
		return REASON_NONE;
	octets = sizeof(struct parse_ipv6) + (__u64)bpf_ntohl(jumbo->payload);
	if (f->gso)
		p->jumbo = sizeof(*jumbo);
	else
		p->octets = octets > 0xffffffff ? 0xffffffff : octets; /* longer than any frame */
	return REASON_NONE;
}

/*
 * The same in a capture: the option may stand behind others (RFC 2675).  Without one the packet is as
 * long as the frame, unless nothing is to follow: then that is padding (RFC 8200, section 4.7).
 */
static __always_inline int parse_captured_jumbo(const struct cursor *c, const struct frame *f,
						struct packet *p)
{
	struct cursor ahead = *c;
	struct parse_extension *ext;
	struct parse_option *option;
	struct parse_ports *payload;
	cursor_place at;
	__u64 octets;
	__u32 left;

	if (p->key.protocol == IPPROTO_NONE)
		return REASON_NONE;
	p->octets = f->octets - p->l3_offset;
	if (p->key.protocol != IPPROTO_HOPOPTS || parse_take_extension(&ahead, &ext) < 0)
		return REASON_NONE;
	cursor_seek(&ahead, c->pos, 2, PARSE_IPV6_MASK);
	left = ext->length * 8 + 6;
	while (left >= sizeof(*option)) {
		at = ahead.pos;
		if (parse_take_option(&ahead, &option) < 0)
			break;
		if (option->type == PARSE_OPTION_JUMBO && option->length == 4 && left >= 6) {
			if (parse_take_ports(&ahead, &payload) < 0)
				break;
			octets = sizeof(struct parse_ipv6) + (__u64)bpf_ntohl(payload->src_dst);
			p->octets = octets > 0xffffffff ? 0xffffffff : octets;
			break;
		}
		octets = option->type == 0 ? 1 : sizeof(*option) + option->length;
		cursor_seek(&ahead, at, octets, PARSE_IPV6_MASK);
		left -= octets < left ? octets : left;
	}
	return REASON_NONE;
}

/* 1 when `protocol` is `which` (below 64), without a branch: see parse_ipv6_extensions(). */
static __always_inline __u32 parse_is(__u8 protocol, __u8 which)
{
	return (__u32)((1ull << which) >> (protocol & 63)) & 1;
}

static __always_inline int parse_is_extension(__u8 protocol)
{
	const __u64 extensions = 1ull << IPPROTO_HOPOPTS | 1ull << IPPROTO_ROUTING |
				 1ull << IPPROTO_FRAGMENT | 1ull << IPPROTO_AH |
				 1ull << IPPROTO_DSTOPTS;

	return protocol < 64 && (extensions >> protocol & 1);
}

/*
 * Arithmetic in place of a switch over the kinds of header: each branch in here multiplies the paths
 * that the verifier walks, once per header of the chain.
 */
static __always_inline int parse_ipv6_extensions(struct cursor *c, cursor_place header,
						 struct packet *p)
{
	struct parse_extension *ext;
	__u8 protocol = p->key.protocol;
	__u32 offset = sizeof(struct parse_ipv6), length, fragment, ah, later = 0, parts = 0;
	int i;

	for (i = 0; i < PARSE_EXTENSION_MAX && !later && parse_is_extension(protocol); i++) {
		if (parse_take_extension(c, &ext) < 0)
			return offset + PARSE_EXTENSION_MIN > p->octets ? REASON_IPV6_EXTENSION
									: REASON_OUT_OF_REACH;
		fragment = parse_is(protocol, IPPROTO_FRAGMENT);
		ah = parse_is(protocol, IPPROTO_AH);
		/* in units of 8 octets without the first 8; AH: of 4 without the first 8; fragment: always 8 */
		length = (ext->length * (1 - fragment) + 1 + ah) << (3 - ah);
		offset += length;
		/* offset and the flag that more follow: neither is in an atomic fragment (RFC 6946) */
		parts |= bpf_ntohs(ext->fragment) & 0xfff9 & -fragment;
		later = parts & 0xfff8;
		protocol = ext->next;
		if (offset > p->octets)
			return REASON_IPV6_EXTENSION;
		cursor_seek(c, header, offset, PARSE_IPV6_MASK);
		if (c->pos > c->end)
			return REASON_OUT_OF_REACH;
	}
	if (!later && parse_is_extension(protocol))
		return REASON_IPV6_DEPTH;
	p->fragment = parts != 0;
	p->no_transport = later != 0;
	p->key.protocol = protocol;
	p->l4_offset = offset;
	return REASON_NONE;
}

static __always_inline int parse_ipv6(struct cursor *c, const struct frame *f, struct packet *p)
{
	cursor_place at = c->pos;
	struct parse_ipv6 *ip;
	__u32 first, room;
	int r;

	if (parse_take_ipv6(c, &ip) < 0)
		return parse_missing(f, p->l3_offset + sizeof(*ip), REASON_IPV6_SHORT);
	first = bpf_ntohl(ip->first);
	if (first >> 28 != 6)
		return REASON_IPV6_VERSION;
	p->key.kind |= FLOW_IPV6;
	p->tos = first >> 20;
	p->flow_label = first & 0xfffff;
	p->ttl = ip->hop_limit;
	p->key.protocol = ip->next;
	__builtin_memcpy(p->key.src, ip->src, 16);
	__builtin_memcpy(p->key.dst, ip->dst, 16);
	room = f->octets - p->l3_offset;
	p->octets = f->gso ? room : sizeof(*ip) + bpf_ntohs(ip->length);
	r = ip->length != 0	? REASON_NONE
	    : parse_captured(f) ? parse_captured_jumbo(c, f, p)
				: parse_jumbo(c, f, p);
	if (r != REASON_NONE)
		return r;
	if (p->octets > room)
		return REASON_IPV6_LENGTH;
	r = parse_ipv6_extensions(c, at, p);
	if (r != REASON_NONE)
		return r;
	return parse_transport(c, f, p);
}

static __always_inline int parse_pppoe(struct cursor *c, const struct frame *f, __u32 *offset,
				       __u16 *ret_ethertype)
{
	struct parse_pppoe *pppoe;
	__u32 length;

	if (parse_take_pppoe(c, &pppoe) < 0)
		return parse_missing(f, *offset + sizeof(*pppoe), REASON_LINK_SHORT);
	*offset += sizeof(*pppoe);
	length = bpf_ntohs(pppoe->length);
	/* The length counts from the PPP protocol on; a super-packet's is too small a field. */
	if (pppoe->version_type != 0x11 || pppoe->code != 0 || length < 2 ||
	    (!f->gso && length > f->octets - *offset + 2))
		return REASON_PPPOE_BAD;
	switch (bpf_ntohs(pppoe->protocol)) {
	case 0x0021:
		*ret_ethertype = ETH_P_IP;
		return REASON_NONE;
	case 0x0057:
		*ret_ethertype = ETH_P_IPV6;
		return REASON_NONE;
	default:
		return REASON_PPPOE_CONTROL;
	}
}

static __always_inline int parse_non_ip(__u16 ethertype)
{
	switch (ethertype) {
	case ETH_P_ARP:
	case ETH_P_RARP:
		return REASON_ARP;
	case ETH_P_MPLS_UC:
	case ETH_P_MPLS_MC:
		return REASON_MPLS;
	case ETH_P_PPP_DISC:
		return REASON_PPPOE_CONTROL;
	case ETH_P_LLDP:
	case ETH_P_PAE:
	case ETH_P_SLOW:
	case ETH_P_PAUSE:
	case ETH_P_1588:
	case 0x8902: /* CFM, IEEE 802.1ag */
	case ETH_P_MACSEC:
	case ETH_P_LOOPBACK:
		return REASON_LINK_CONTROL;
	default:
		return ethertype < ETH_P_802_3_MIN ? REASON_LLC : REASON_OTHER_ETHERTYPE;
	}
}

static __always_inline int parse_is_vlan(__u16 ethertype)
{
	return ethertype == ETH_P_8021Q || ethertype == ETH_P_8021AD || ethertype == ETH_P_QINQ1;
}

/* Frame tags come behind one that is carried outside the bytes. */
static __always_inline int parse_vlans(struct cursor *c, const struct frame *f, struct packet *p,
				       __u32 *offset, __u16 *ethertype)
{
	union {
		__u16 id[2];
		__u32 word;
	} vlans = {.id = {f->vlan}};
	struct parse_vlan *tag;
	int i, tags = f->vlan_tagged;

	for (i = 0; i < PARSE_VLAN_MAX && parse_is_vlan(*ethertype); i++) {
		if (parse_take_vlan(c, &tag) < 0)
			return parse_missing(f, *offset + sizeof(*tag), REASON_LINK_SHORT);
		if (tags == 0)
			vlans.id[0] = bpf_ntohs(tag->tci) & 0x0fff;
		else if (tags == 1)
			vlans.id[1] = bpf_ntohs(tag->tci) & 0x0fff;
		tags++;
		*offset += sizeof(*tag);
		*ethertype = bpf_ntohs(tag->ethertype);
	}
	__builtin_memcpy(&p->key.outer_vlan, &vlans.word, sizeof(vlans.word));
	return parse_is_vlan(*ethertype) ? REASON_VLAN_DEPTH : REASON_NONE;
}

/* `offset` octets from the frame's beginning on, behind the link layer's own header. */
static __always_inline int parse_network(struct cursor *c, const struct frame *f, struct packet *p,
					 cursor_place frame, __u32 offset, __u16 ethertype)
{
	int r = parse_vlans(c, f, p, &offset, &ethertype);

	if (r != REASON_NONE)
		return r;
	if (ethertype == ETH_P_PPP_SES) {
		r = parse_pppoe(c, f, &offset, &ethertype);
		if (r != REASON_NONE)
			return r;
	}
	p->l3_offset = offset;
	p->link_octets = offset - f->start + f->vlan_tagged * sizeof(struct parse_vlan);
	cursor_seek(c, frame, offset, PARSE_LINK_MASK);
	if (ethertype == ETH_P_IP)
		return parse_ipv4(c, f, p);
	if (ethertype == ETH_P_IPV6)
		return parse_ipv6(c, f, p);
	return parse_non_ip(ethertype);
}

/* A frame from its Ethernet header on.  *p is zeroed by the caller but for key.ifindex and key.kind. */
static __always_inline int parse_ethernet(struct cursor *c, const struct frame *f, struct packet *p)
{
	cursor_place frame = c->pos;
	struct parse_ethernet *eth;

	if (parse_take_ethernet(c, &eth) < 0)
		return parse_missing(f, sizeof(*eth), REASON_LINK_SHORT);
	__builtin_memcpy(p->dst_mac, eth->dst, sizeof(p->dst_mac));
	__builtin_memcpy(p->src_mac, eth->src, sizeof(p->src_mac));
	return parse_network(c, f, p, frame, sizeof(*eth), bpf_ntohs(eth->ethertype));
}

/* A frame of a link layer without a header (tun, PPP, tunnels): frame.ethertype says what it is. */
static __always_inline int parse_bare(struct cursor *c, const struct frame *f, struct packet *p)
{
	cursor_place frame = c->pos;
	__u32 start = f->start;

	PARSE_OPAQUE(
		start); /* of a constant the compiler makes ways of its own through the parser */
	cursor_seek(c, frame, start, PARSE_LINK_MASK);
	return parse_network(c, f, p, frame, start, f->ethertype);
}
