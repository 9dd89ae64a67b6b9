/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
#pragma once
/*
 * The contract between the datapath (BPF) and the exporter: what a flow is, what is kept of it, and
 * by which name a packet is counted that is in no flow.  Compiled by both sides.
 *
 * Counting rules, valid for every hook:
 *  - A packet is what is on the wire.  A GSO or GRO skb counts as its segments.
 *  - Octets are IP-layer octets (IPv4 total length; IPv6 payload length + 40), summed over the
 *    segments; neither link-layer headers nor Ethernet padding are in them.
 *  - The outermost IP header of a frame is the one that counts.
 *  - Times are CLOCK_MONOTONIC_COARSE in ns (resolution one tick, 4 ms at HZ=250).
 */
#include <linux/types.h>

/* Bits of flow_key.kind. */
#define FLOW_EGRESS 0x01 /* seen when leaving the node (flowDirection 1), else when arriving */
#define FLOW_IPV6   0x02 /* the addresses are IPv6; ::ffff:a.b.c.d on the wire stays IPv6 */
#define FLOW_DROP   0x04 /* packets that the kernel has dropped, for drop_reason */

/* What is metered and becomes records.  Each kind has banks of its own; a packet may be in records of several. */
enum record_kind {
	RECORD_FLOW, /* packets at the hooks, in two directions */
	RECORD_DROP, /* packets that the kernel has dropped */
	_RECORD_KIND_MAX,
};

/*
 * 48 bytes, no holes, every unused byte 0: the key is hashed and compared as bytes.
 *
 * Ports are those of TCP, UDP, UDP-Lite, SCTP and DCCP.  ICMP (IPv4) and ICMPv6 (IPv6) have source
 * port 0 and type * 256 + code as destination port.  All else has ports 0: other protocols, and
 * fragments that do not hold a transport header.
 *
 * A VLAN id is 0 where there is no tag, and for a priority tag.
 */
struct flow_key {
	__u8 src[16];	 /* network order; IPv4 in the first four bytes */
	__u8 dst[16];	 /* likewise */
	__be16 src_port; /* network order */
	__be16 dst_port; /* network order */
	__u32 ifindex; /* interface of the hook; of a drop the packet's, if known; 0 in a capture */
	__u16 outer_vlan;  /* 802.1Q/802.1ad VLAN id of the outermost tag, 1 to 4094 */
	__u16 inner_vlan;  /* of the next one */
	__u8 protocol;	   /* IANA number, the one after IPv6 extension headers */
	__u8 kind;	   /* FLOW_EGRESS | FLOW_IPV6 | FLOW_DROP */
	__u16 drop_reason; /* of a drop: drop_reason_pack(); else 0 */
};

/*
 * The kernel's reason for a drop is subsystem << 16 | number (include/net/dropreason.h); in a key and as
 * an index it is subsystem << 8 | number.  There have been 4 subsystems, of 140 reasons at most; what
 * does not fit is DROP_REASON_OTHER.
 */
#define DROP_REASON_MAX	  2048
#define DROP_REASON_OTHER (DROP_REASON_MAX - 1)

static inline __u16 drop_reason_pack(__u32 reason)
{
	return reason >> 16 < 8 && (reason & 0xffff) < 256 ? reason >> 8 | (reason & 0xff)
							   : DROP_REASON_OTHER;
}

/* DROP_REASON_OTHER has the kernel's code 0x000700ff, which no kernel uses. */
static inline __u32 drop_reason_unpack(__u16 packed)
{
	return (__u32)(packed >> 8) << 16 | (packed & 0xff);
}

/*
 * What is kept of a flow.  packets, octets and tcp_flags are exact (atomic).  min_* and max_* are
 * written without a lock: of two packets in the same instant on two CPUs one may be lost in them.
 */
struct flow_record {
	/* What each packet touches: half a cache line. */
	__u64 packets;
	__u64 octets;  /* IP layer */
	__u64 last_ns; /* time of the last packet */
	union {
		struct {
			__u16 tcp_flags; /* OR of each TCP header's 12 flag bits (RFC 9565); fragments add none */
			__u8 min_ttl; /* least and greatest TTL or hop limit */
			__u8 max_ttl;
		};
		__u32 flags_word; /* tcp_flags for atomic operations, of which BPF has none for 16 bits */
	};
	__u16 min_length; /* least and greatest IP length of a packet, octets (65535 if more) */
	__u16 max_length;
	/* The first packet's. */
	__u64 first_ns;	   /* its time */
	__u32 flow_label;  /* IPv6 flow label, 20 bits, host order */
	__u8 src_mac[6];   /* 0 where the link layer has none */
	__u8 dst_mac[6];   /* likewise */
	__u16 first_flags; /* tcp_flags */
	__u8 tos;	   /* IPv4 TOS or IPv6 traffic class */
	__u8 link_octets;  /* of headers in front of its IP header, VLAN tags included */
	__u8 spare[4];	   /* 0 */
};

/*
 * Why a packet is in no flow.  Class ignored: it carries no flow.  Class refused: it does, but there
 * was no room.  X(symbol, class, name, explanation)
 */
/* clang-format off */
#define FLOW_REASONS(X) \
	X(ARP, IGNORED, "arp", "ARP or RARP") \
	X(LLC, IGNORED, "llc", "IEEE 802.3 length instead of an ethertype: LLC, SNAP, spanning tree") \
	X(MPLS, IGNORED, "mpls", "MPLS label stack") \
	X(PPPOE_CONTROL, IGNORED, "pppoe_control", "PPPoE discovery, or a PPP protocol that is not IP") \
	X(LINK_CONTROL, IGNORED, "link_control", "LLDP, 802.1X, LACP, CFM, PTP, MACsec, pause, loopback") \
	X(OTHER_ETHERTYPE, IGNORED, "other_ethertype", "any other ethertype that is not IP") \
	X(LINK_SHORT, IGNORED, "link_short", "frame ends inside its link-layer header or VLAN tag") \
	X(VLAN_DEPTH, IGNORED, "vlan_depth", "more VLAN tags than the parser follows") \
	X(PPPOE_BAD, IGNORED, "pppoe_bad", "PPPoE version, type, code or length is wrong") \
	X(IPV4_SHORT, IGNORED, "ipv4_short", "frame ends inside the IPv4 header") \
	X(IPV4_VERSION, IGNORED, "ipv4_version", "ethertype IPv4, but the version field is not 4") \
	X(IPV4_IHL, IGNORED, "ipv4_ihl", "IPv4 header length below 5 words") \
	X(IPV4_LENGTH, IGNORED, "ipv4_length", "IPv4 total length below the header's or beyond the frame's") \
	X(IPV6_SHORT, IGNORED, "ipv6_short", "frame ends inside the IPv6 header") \
	X(IPV6_VERSION, IGNORED, "ipv6_version", "ethertype IPv6, but the version field is not 6") \
	X(IPV6_LENGTH, IGNORED, "ipv6_length", "IPv6 payload length beyond the frame's") \
	X(IPV6_EXTENSION, IGNORED, "ipv6_extension", "packet ends inside an IPv6 extension header") \
	X(IPV6_DEPTH, IGNORED, "ipv6_depth", "more IPv6 extension headers than the parser follows") \
	X(TRANSPORT_SHORT, IGNORED, "transport_short", "packet ends inside its transport header") \
	X(OUT_OF_REACH, IGNORED, "out_of_reach", "headers beyond the bytes the hook or capture has") \
	X(NO_HEADER, IGNORED, "no_header", "drop of a packet in which no network or link-layer header is marked") \
	X(LINK_UNKNOWN, IGNORED, "link_unknown", "capture of a link layer that is not understood") \
	X(LOOPED, IGNORED, "looped", "the host's own multicast or broadcast, handed back to it") \
	X(REINJECTED, IGNORED, "reinjected", "taken out of an IPsec packet that has been counted on the same interface") \
	X(EXCLUDED, IGNORED, "excluded", "drop for a reason that is not to be recorded") \
	X(NAMESPACE_UNKNOWN, IGNORED, "namespace_unknown", "drop of which the kernel does not tell the network namespace") \
	X(BANK_FULL, REFUSED, "bank_full", "new flow, and the bank has reached its limit") \
	X(INSERT_ERROR, REFUSED, "insert_error", "new flow, and the kernel refused the insertion") \
	X(BUDGET, REFUSED, "budget", "drop beyond --drops-budget: counted by the kernel's reason alone")
/* clang-format on */

enum flow_reason {
	REASON_NONE, /* the packet is in a flow */
#define X(symbol, class, name, text) REASON_##symbol,
	FLOW_REASONS(X)
#undef X
	_REASON_MAX,
};

/*
 * A point is where packets of a kind are counted, as an index: flows at their hooks in two directions, drops in one
 * place, 0.
 */
enum flow_direction {
	DIRECTION_INGRESS,
	DIRECTION_EGRESS,
	_DIRECTION_MAX,
};

#define POINTS_MAX 2 /* of any kind */

/* The programs of all kinds: also slots of the program arrays `jump`, through which stubs call them. */
enum datapath_program {
	PROGRAM_XDP,
	PROGRAM_TC_EGRESS,
	PROGRAM_TC_INGRESS,
	PROGRAM_TC_EGRESS_BARE, /* link layers without a header */
	PROGRAM_TC_INGRESS_BARE,
	_PROGRAM_HOOK_MAX,
	PROGRAM_DROP = _PROGRAM_HOOK_MAX, /* of tracepoints */
	PROGRAM_XDP_EXCEPTION,
	_PROGRAM_MAX,
};

/* Entries of the map `unrecorded`. */
#define UNRECORDED_MAX 2048

/* Key and value of the map `unrecorded`: packets in no flow, by interface, point and reason. */
struct reason_key {
	__u32 ifindex; /* 0: unknown, or interfaces for which there was no room left in the map */
	__u16 reason;  /* enum flow_reason, not REASON_NONE */
	__u8 point;    /* of its kind */
	__u8 bank;     /* in use when the program began */
};

struct reason_count {
	__u64 packets;
	__u64 octets; /* refused: IP layer; ignored, and refused for the budget: the whole frame */
};

/*
 * Per CPU and point, since load.  Each program reads once, where it begins, which bank is in use, and counts all that
 * becomes of its packet with that bank.  So all counters of a bank stand still together while it is not in use.
 */
struct bank_count {
	__u64 seen; /* counted by itself at the program's entry, so that the ledger's identity can fail */
	__u64 packets; /* accounted in the bank */
	__u64 octets;  /* IP layer */
	__u64 inserts; /* entries made */
};

struct hook_count {
	struct bank_count bank[2];
};

/*
 * Index: drop_reason_pack(), and DROP_REASON_MAX more with bank 1.  Per CPU, since load: all drops for that reason,
 * in a record or not, but for those of REASON_NAMESPACE_UNKNOWN.
 */
struct drop_count {
	__u64 packets;
	__u64 octets; /* IP layer; of those in no record all that is in memory */
};

/* Where a function of the kernel is; 0, 0: unknown. */
struct code_range {
	__u64 start;
	__u64 size; /* octets */
};

/*
 * Set before load, constant afterwards.  A bank holds `entries`; an LRU map starts to evict when each
 * CPU's private list has taken its share of free nodes, so inserts stop at `limit`, below that point.
 */
struct datapath_config {
	__u32 limit;	  /* inserts per bank and interval before refusing */
	__u32 high_water; /* inserts at which userspace is woken for an early swap */
	/* Of flows. */
	__u32 xdp_frags; /* the XDP program is loaded for multi-buffer frames */
	/* Of drops. */
	__u32 drop_socket;	   /* the kernel tells the receiving socket of a drop (6.11) */
	__u32 drop_namespace;	   /* inode of the exporter's own network namespace; 0: unknown */
	__u32 not_specified;	   /* the kernel's code for a drop without a reason */
	struct code_range release; /* skb_release_data(), which frees the parts of a packet */
	struct code_range
		release_list; /* kfree_skb_list_reason(), which it calls for its fragment list */
};

/* What has arrived since load: tc/egress.bpf.c. */
enum ipsec_seen {
	IPSEC_NONE,
	IPSEC_PACKET,	  /* one that carries another */
	IPSEC_REINJECTED, /* one that was handed over for the second time */
};

/* What programs and exporter change while packets come. */
struct datapath_state {
	/* Read once per packet. */
	__u32 index;  /* written by the exporter: the bank in use */
	__u32 bonds;  /* of flows, likewise: entries of the map `bonds` */
	__u32 ipsec;  /* of flows, written by programs: enum ipsec_seen */
	__u32 marked; /* likewise: some packet's network header was not where its bytes began */
	__u32 spare[12];
	/* Entries made in each bank since it was drained; touched on insert alone, on lines of their own. */
	struct {
		__u32 entries;
		__u32 spare[15];
	} fill[2];
};

/* Which drops are recorded by flow; written by the exporter at any time. */
struct drop_selection {
	__u32 cost_ns; /* a CPU records one drop in that time on average; 0: as many as there are */
	__u32 everywhere;		/* drops of other network namespaces count too */
	__u8 excluded[DROP_REASON_MAX]; /* by drop_reason_pack(): 1 for what is counted, but not recorded */
};

/* Free nodes an LRU map may keep to one CPU (kernel/bpf/bpf_lru_list.c, LOCAL_FREE_TARGET). */
#define BANK_RESERVE_PER_CPU 128

#define FLOW_STATIC_ASSERT(cond) _Static_assert(cond, #cond)
FLOW_STATIC_ASSERT(sizeof(struct flow_key) == 48);
FLOW_STATIC_ASSERT(sizeof(struct flow_record) == 64);
FLOW_STATIC_ASSERT(sizeof(struct reason_key) == 8);
FLOW_STATIC_ASSERT(sizeof(struct hook_count) == 64);
FLOW_STATIC_ASSERT(sizeof(struct datapath_state) == 192);
