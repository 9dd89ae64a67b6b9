/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The packets of the datapath's tests: bytes, what a hook knows beside them, and what the parser must
 * make of them.  Used natively, by the BPF programs and as seeds of the fuzzer.  Lengths and offsets
 * are written out by hand on both sides, so that neither follows from the other.
 *
 * Bytes 12 and 13 of both kinds of IP header, in the source address, are that header's own ethertype
 * (8.0.0.1 and 2001:db8:86dd::1): as an Ethernet header, which they are not, they look as well as can be.
 *
 * What lies behind a packet's headers is 0xee, not 0: it is noticed when it is taken for a port.
 */
#include <stdbool.h>
#include "xdp/parse.h"

struct test_packet {
	const char *name;
	const __u8 *bytes;
	__u32 size;

	/* What the hook knows beside the bytes. */
	__u16 ethertype; /* of a link layer without a header; 0: the bytes begin with an Ethernet header */
	bool vlan_tagged;
	__u16 vlan;
	__u16 gso_size;
	__u16 gso_segs;

	/* What the parser must say: a reason, or a flow. */
	enum flow_reason reason;
	__u8 version; /* of IP: 4 or 6 */
	__u8 protocol;
	__u16 src_port;
	__u16 dst_port;
	__u16 outer_vlan;
	__u16 inner_vlan;
	__u32 octets;
	__u16 link; /* octets between an Ethernet header, if any, and the IP header: tags, PPPoE */
	__u16 l4_offset;
	__u16 l4_header;
	__u16 tunnel; /* octets of headers behind l4_header that each segment repeats */
	__u16 jumbo;
	__u16 tcp_flags;
	__u8 ttl;
	__u8 tos;
	__u32 flow_label;
	bool fragment;
	bool no_transport;

	/* And how it counts; packets 0: as one, with its octets. */
	__u32 packets;
	__u32 wire_octets;
	__u16 min_length;
	__u16 max_length;
};

/* clang-format off */
#define BYTES(...) .bytes = (const __u8[]){__VA_ARGS__}, .size = sizeof((const __u8[]){__VA_ARGS__})
#define BE16(x) (__u8)((x) >> 8), (__u8)(x)
#define BE32(x) BE16((x) >> 16), BE16(x)
#define R4(...) __VA_ARGS__, __VA_ARGS__, __VA_ARGS__, __VA_ARGS__
#define R5(...) __VA_ARGS__, R4(__VA_ARGS__)
#define R8(...) R4(__VA_ARGS__), R4(__VA_ARGS__)
#define DATA4 0xee, 0xee, 0xee, 0xee
#define DATA8 DATA4, DATA4
#define DATA20 R5(DATA4)
#define DATA100 R5(DATA20)

#define TEST_DST_MAC 0x02, 0, 0, 0, 0, 0x02
#define TEST_SRC_MAC 0x02, 0, 0, 0, 0, 0x01
#define ETH(type) TEST_DST_MAC, TEST_SRC_MAC, BE16(type)
#define TAG(tci, type) BE16(tci), BE16(type) /* behind a type of ETH() or TAG() that says so */
#define PPPOE(length, proto) 0x11, 0, BE16(0x1234), BE16(length), BE16(proto)

#define TEST_SRC4 8, 0, 0, 1
#define TEST_DST4 198, 51, 100, 2
#define IP4_(vihl, tos, length, frag, ttl, proto) \
	vihl, tos, BE16(length), BE16(0x1d2c), BE16(frag), ttl, proto, BE16(0), TEST_SRC4, TEST_DST4
#define IP4(length, proto) IP4_(0x45, 0xb8, length, 0x4000, 61, proto)
#define IP4_IHL(words, length, proto) IP4_(0x40 | (words), 0xb8, length, 0x4000, 61, proto)
#define IP4_FRAG(length, frag, proto) IP4_(0x45, 0xb8, length, frag, 61, proto)
#define NOPS 1, 1, 1, 1 /* one word of options */

#define TEST_SRC6 0x20, 1, 0x0d, 0xb8, 0x86, 0xdd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1
#define TEST_DST6 0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2
#define IP6_(first, length, next, hops, src) BE32(first), BE16(length), next, hops, src, TEST_DST6
#define IP6(length, next) IP6_(0x628abcde, length, next, 63, TEST_SRC6)
#define HOPOPTS(next) next, 0, 1, 4, 0, 0, 0, 0 /* 8 octets: PadN */
#define DSTOPTS(next) HOPOPTS(next)
#define ROUTING(next) next, 2, 4, 0, 0, 0, 0, 0, TEST_DST6 /* 24 octets: segment routing */
#define FRAG(next, offset) next, 0, BE16(offset), BE32(0xabad1dea)
#define AH(next) next, 4, 0, 0, BE32(0x100), BE32(7), DATA4, DATA8 /* 24 octets */
#define JUMBO(next, length) next, 0, 0xc2, 4, BE32(length)

#define TCP_(src, dst, offset_flags) \
	BE16(src), BE16(dst), BE32(0x01020304), BE32(0x05060708), BE16(offset_flags), BE16(0xffff), BE16(0), BE16(0)
#define TCP(flags) TCP_(1025, 443, 0x5000 | (flags))
#define UDP(length) BE16(5353), BE16(53), BE16(length), BE16(0)
#define PORTS12 BE16(2905), BE16(36412), BE32(0x11), BE32(0x22) /* the first 12 octets of SCTP or DCCP */
#define VXLAN BE32(0x08000000), BE32(0x00002a00)
#define ICMP(type, code) type, code, BE16(0), BE32(0x00010002)

#define BAD(why) .reason = REASON_##why
#define FLOW4(octets_, l4, proto, src, dst, header) .version = 4, .ttl = 61, .tos = 0xb8, \
	.octets = octets_, .l4_offset = l4, .protocol = proto, .src_port = src, .dst_port = dst, .l4_header = header
#define FLOW6(octets_, l4, proto, src, dst, header) .version = 6, .ttl = 63, .tos = 0x28, .flow_label = 0xabcde, \
	.octets = octets_, .l4_offset = l4, .protocol = proto, .src_port = src, .dst_port = dst, .l4_header = header
#define TCP4(octets, flags) FLOW4(octets, 20, 6, 1025, 443, 20), .tcp_flags = flags
#define UDP4(octets) FLOW4(octets, 20, 17, 5353, 53, 8)
#define TCP6(octets, l4, flags) FLOW6(octets, l4, 6, 1025, 443, 20), .tcp_flags = flags
#define UDP6(octets, l4) FLOW6(octets, l4, 17, 5353, 53, 8)
#define OTHER4(octets, proto) FLOW4(octets, 20, proto, 0, 0, 0)
#define OTHER6(octets, l4, proto) FLOW6(octets, l4, proto, 0, 0, 0)
#define TALLY(n, octets_, min, max) .packets = n, .wire_octets = octets_, .min_length = min, .max_length = max

static const struct test_packet test_packets[] = {
#include "tests/packets/link.h"
#include "tests/packets/ipv4.h"
#include "tests/packets/ipv6.h"
#include "tests/packets/transport.h"
#include "tests/packets/gso.h"
};
/* clang-format on */

#define TEST_PACKETS (sizeof(test_packets) / sizeof(test_packets[0]))
