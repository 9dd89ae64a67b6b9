/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
#pragma once
/*
 * The parser's hands: a cursor over the bytes within reach, the headers it takes from there, and
 * nothing that knows what they mean.
 *
 * What is taken is returned through a pointer argument, never as a pointer that may be NULL: clang 14
 * re-associates offsets behind such a pointer and the verifier then rejects the program.
 */
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/in6.h>
#include <bpf/bpf_endian.h>
#include "xdp/flow.h"

#ifndef __always_inline
#define __always_inline inline __attribute__((always_inline))
#endif

/* IANA protocol numbers that not every <linux/in.h> has. */
#define PARSE_PROTO_UDPLITE 136
#define PARSE_PROTO_DCCP    33

/*
 * In userspace a frame may begin at any address, and the compiler must know.  In BPF it must not: it
 * would load byte by byte, where the kernel and its frames take care of alignment.
 */
#ifdef __bpf__
#define PARSE_HEADER
#else
#define PARSE_HEADER __attribute__((packed))
#endif

/*
 * The bytes within reach: a linear buffer, shorter than the frame where the rest lies elsewhere.
 *
 * The verifier proves bounds of a packet by comparing pointers with its end, but those of a buffer in
 * a map by its size.  A program that parses from such a buffer defines CURSOR_BUFFER before all else, the
 * octets that it may hold, a power of two, and makes it CURSOR_SLACK octets longer.
 */
#ifdef CURSOR_BUFFER
#define CURSOR_SLACK 64 /* more than any header that is taken */

typedef __u32 cursor_place;

struct cursor {
	void *data;
	cursor_place pos;
	cursor_place end;
};
#else
typedef void *cursor_place;

struct cursor {
	cursor_place pos;
	cursor_place end;
};
#endif

struct parse_ethernet {
	__be16 dst[3];
	__be16 src[3];
	__be16 ethertype;
} PARSE_HEADER;

struct parse_vlan {
	__be16 tci;
	__be16 ethertype;
} PARSE_HEADER;

struct parse_pppoe {
	__u8 version_type;
	__u8 code;
	__be16 session;
	__be16 length;
	__be16 protocol; /* the PPP protocol that the length counts in */
} PARSE_HEADER;

struct parse_ipv4 {
	__u8 version_ihl;
	__u8 tos;
	__be16 length;
	__be16 id;
	__be16 fragment; /* flags and offset */
	__u8 ttl;
	__u8 protocol;
	__be16 checksum;
	__be32 src;
	__be32 dst;
} PARSE_HEADER;

struct parse_ipv6 {
	__be32 first; /* version, traffic class, flow label */
	__be16 length;
	__u8 next;
	__u8 hop_limit;
	__be64 src[2];
	__be64 dst[2];
} PARSE_HEADER;

struct parse_extension {
	__u8 next;
	__u8 length; /* in units that depend on the header */
	__be16 fragment;
} PARSE_HEADER;

struct parse_option {
	__u8 type;
	__u8 length; /* of what follows; an option of type 0 is one octet, without it */
} PARSE_HEADER;

struct parse_jumbo {
	__u8 next;
	__u8 length;
	__u8 option;
	__u8 option_length;
	__be32 payload;
} PARSE_HEADER;

struct parse_tcp {
	__be32 src_dst; /* both ports */
	__be32 sequence;
	__be32 ack;
	__be16 offset_flags;
	__be16 window;
	__be16 checksum;
	__be16 urgent;
} PARSE_HEADER;

/* The beginning of it, flags included: a capture may end there. */
struct parse_tcp_start {
	__be32 src_dst;
	__be32 sequence;
	__be32 ack;
	__be16 offset_flags;
} PARSE_HEADER;

struct parse_ports {
	__be32 src_dst;
} PARSE_HEADER;

struct parse_icmp {
	__u8 type;
	__u8 code;
} PARSE_HEADER;

/* Hides a value from the compiler: a bound that it proves and drops is one the verifier misses. */
#define PARSE_OPAQUE(value) __asm__ volatile("" : "+r"(value))

/* Steps over `size` octets.  *ret: what lies there; or -1, when they are not within reach. */
static __always_inline int cursor_take(struct cursor *c, __u32 size, void **ret)
{
	cursor_place header = c->pos;

	if (header + size > c->end)
		return -1;
#ifdef CURSOR_BUFFER
	PARSE_OPAQUE(header);
	*ret = (char *)c->data + (header & (CURSOR_BUFFER - 1));
#else
	*ret = header;
#endif
	c->pos += size;
	return 0;
}

/*
 * Puts the cursor `octets` behind a place, up to `mask` (a power of two, less one); what is there is checked by the
 * next take.  The verifier joins the ways that lead here, whose octets it would otherwise tell apart.
 */
static __always_inline void cursor_seek(struct cursor *c, cursor_place from, __u32 octets,
					__u32 mask)
{
	PARSE_OPAQUE(octets);
	c->pos = from + (octets & mask);
}

/* Defines int parse_take_x(cursor, type **ret): *ret is what lies at the cursor, which moves on; or -1. */
#define DEFINE_PARSE_TAKE(name, type) \
	static __always_inline int parse_take_##name(struct cursor *c, type **ret) \
	{ \
		return cursor_take(c, sizeof(type), (void **)ret); \
	}

DEFINE_PARSE_TAKE(ethernet, struct parse_ethernet)
DEFINE_PARSE_TAKE(vlan, struct parse_vlan)
DEFINE_PARSE_TAKE(pppoe, struct parse_pppoe)
DEFINE_PARSE_TAKE(ipv4, struct parse_ipv4)
DEFINE_PARSE_TAKE(ipv6, struct parse_ipv6)
DEFINE_PARSE_TAKE(extension, struct parse_extension)
DEFINE_PARSE_TAKE(option, struct parse_option)
DEFINE_PARSE_TAKE(jumbo, struct parse_jumbo)
DEFINE_PARSE_TAKE(tcp, struct parse_tcp)
DEFINE_PARSE_TAKE(tcp_start, struct parse_tcp_start)
DEFINE_PARSE_TAKE(ports, struct parse_ports)
DEFINE_PARSE_TAKE(icmp, struct parse_icmp)
