// SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only)
/*
 * The skb side: egress after the stack, and ingress where XDP is not wise.  One program per
 * direction and kind of link layer, because an skb does not say which of them it is in.
 */
#include <linux/pkt_cls.h>
#include "xdp/account.bpf.h"
#include "tc/skb.bpf.h"
#define TUNNEL_COPY bpf_skb_load_bytes
#include "tc/tunnel.h"

#define PACKET_LOOPBACK 5 /* <linux/if_packet.h>: the host's own, back from the way out */

/* Octets pulled into the linear part when the headers are not all there: ample for real chains. */
#define PULL_OCTETS 512

enum link_layer {
	LINK_ETHERNET,
	LINK_BARE, /* no header of its own, or one that is not Ethernet's: tun, PPP, tunnels */
};

static __always_inline struct frame skb_frame(const struct __sk_buff *skb)
{
	struct frame f = {
		.octets = skb->len,
		.vlan_tagged = skb->vlan_present != 0,
		.gso = skb->gso_size != 0,
	};

	if (f.vlan_tagged)
		f.vlan = skb->vlan_tci & 0x0fff;
	return f;
}

static __always_inline void packet_init(struct packet *p, const struct __sk_buff *skb, __u8 kind)
{
	__builtin_memset(p, 0, sizeof(*p));
	p->key.ifindex = skb->ifindex;
	p->key.kind = kind;
}

static __always_inline int parse_from_link(struct __sk_buff *skb, __u8 kind, struct packet *p)
{
	struct cursor c = {.pos = (void *)(long)skb->data, .end = (void *)(long)skb->data_end};
	struct frame f = skb_frame(skb);

	packet_init(p, skb, kind);
	return parse_ethernet(&c, &f, p);
}

static __always_inline int parse_from_network(struct __sk_buff *skb, __u32 start, __u8 kind,
					      struct packet *p)
{
	struct cursor c = {.pos = (void *)(long)skb->data, .end = (void *)(long)skb->data_end};
	struct frame f = skb_frame(skb);

	packet_init(p, skb, kind);
	f.start = start;
	f.ethertype = bpf_ntohs(skb->protocol);
	return parse_bare(&c, &f, p);
}

/*
 * An interface of Ethernet may be given packets without: ifb, of what another interface's filter sends there.
 * The network header is then marked where Ethernet's would be.
 */
static __always_inline int lacks_ethernet(const struct __sk_buff *skb)
{
	if (skb->protocol != bpf_htons(ETH_P_IP) && skb->protocol != bpf_htons(ETH_P_IPV6))
		return 0;
	return (__u32)skb_network_offset(skb) < ETH_HLEN;
}

/*
 * Of a super-packet no more is pulled than the first segment has: what is behind it may be datagrams of their
 * own.  Headers that are not all in the linear part are longer than that, so its payload is as far as one can go.
 */
static __always_inline void pull_headers(struct __sk_buff *skb)
{
	__u32 octets = PULL_OCTETS, segment = skb->data_end - skb->data + skb->gso_size;

	if (skb->gso_size && segment < octets)
		octets = segment;
	bpf_skb_pull_data(skb, skb->len < octets ? skb->len : octets);
}

/*
 * From where the kernel has marked the network header.
 *
 * This and other functions are not static: the verifier then looks at them once, by themselves, and not once
 * for each way that leads to them.
 */
__noinline int parse_marked(struct __sk_buff *skb, __u32 kind, __u32 pull, struct packet *p)
{
	__u32 start = skb_network_offset(skb);

	if (!p)
		return REASON_OUT_OF_REACH;
	if (pull)
		pull_headers(skb);
	PARSE_OPAQUE(start);
	if (start >=
	    PULL_OCTETS) /* not marked, or further away than any header: at the beginning */
		start = 0;
	return parse_from_network(skb, start, kind, p);
}

/* For the few skbs of which the first look found no flow, for `reason`: without Ethernet's header, or with all pulled. */
__noinline int parse_again(struct __sk_buff *skb, __u32 kind, __u32 reason, struct packet *p)
{
	if (!p)
		return reason;
	if (lacks_ethernet(skb))
		return parse_marked(skb, kind, 1, p);
	if (reason != REASON_OUT_OF_REACH)
		return reason;
	pull_headers(skb);
	return parse_from_link(skb, kind, p);
}

/* With Ethernet's header. */
static __always_inline int parse_link(struct __sk_buff *skb, __u8 kind, struct packet *p)
{
	int reason = parse_from_link(skb, kind, p);

	return reason == REASON_NONE ? reason : parse_again(skb, kind, reason, p);
}

/* Without; `look`: the network header need not be where the bytes begin. */
static __always_inline int parse_network_first(struct __sk_buff *skb, __u8 kind, __u32 look,
					       struct packet *p)
{
	int reason;

	if (look && !skb_begins_with_network(skb)) {
		packet_init(p, skb, kind); /* for 5.15, see count_skb() */
		reason = parse_marked(skb, kind, 0, p);
	} else {
		reason = parse_from_network(skb, 0, kind, p);
	}
	return reason == REASON_OUT_OF_REACH ? parse_marked(skb, kind, 1, p) : reason;
}

/*
 * Octets of headers that each segment of a tunnel's super-packet repeats behind the outer ones; 0 or less: there are
 * none.  Of a tunnel that is not known here the kernel may know it, in what it takes all headers for when they
 * leave (qdisc_pkt_len_init()): the inner ones are in it from 6.17 on, and in stable releases of that time.
 */
static __always_inline int inner_octets(struct __sk_buff *skb, __u32 direction,
					const struct packet *p)
{
	__u32 outer = p->l3_offset + p->l4_offset + p->l4_header, segments = skb->gso_segs;
	int inner = tunnel_headers(skb, outer, skb->len, p->key.protocol);

	if (inner > 0 || direction == DIRECTION_INGRESS)
		return inner;
	if (segments < 2 || skb->wire_len <= skb->len)
		return 0;
	return (int)((skb->wire_len - skb->len) / (segments - 1)) - (int)outer;
}

__noinline int tally_super(struct __sk_buff *skb, __u32 direction, struct packet *p,
			   struct tally *t)
{
	int inner;

	if (!p || !t)
		return 0;
	if (p->key.protocol != IPPROTO_TCP) {
		inner = inner_octets(skb, direction, p);
		p->inner = inner > 0 ? inner : 0;
	}
	tally_packet(p, skb->gso_segs, skb->gso_size, t);
	return 0;
}

/*
 * Looking for the mark costs as much as a fifth of all the rest.  Until there has been a packet with its network
 * header elsewhere, those of flows in the bank need no look: such a packet's bytes are never put into a flow.
 */
__noinline int begins_elsewhere(struct __sk_buff *skb)
{
	if (skb_begins_with_network(skb) || (int)skb_network_offset(skb) <= 0)
		return 0;
	state.marked = 1;
	return 1;
}

/* ESP, AH, IPComp, and ESP in UDP or TCP by its port (RFC 3948, RFC 9329). */
static __always_inline int is_ipsec(const struct packet *p)
{
	if (p->key.protocol == IPPROTO_UDP || p->key.protocol == IPPROTO_TCP)
		return p->key.src_port == bpf_htons(4500) || p->key.dst_port == bpf_htons(4500);
	return p->key.protocol == IPPROTO_ESP || p->key.protocol == IPPROTO_AH ||
	       p->key.protocol == IPPROTO_COMP;
}

__noinline int is_reinjected(struct __sk_buff *skb)
{
	if (!skb_is_reinjected(skb))
		return 0;
	state.ipsec = IPSEC_REINJECTED;
	return 1;
}

/*
 * Looking costs more than the rest, so it is not done before there is a reason to.  A packet that is handed over twice
 * is never put into a flow: until one has been seen, packets of flows in the bank need no look.  Since then
 * they do, as another host may send the same flow in the clear.
 */
static __always_inline int is_second(struct __sk_buff *skb, const struct packet *p)
{
	if (!state.ipsec && is_ipsec(p))
		state.ipsec = IPSEC_PACKET;
	return state.ipsec && is_reinjected(skb);
}

/* Parses the packet and looks for its flow. */
static __always_inline int find_flow(struct __sk_buff *skb, __u32 direction, enum link_layer link,
				     __u32 bank, struct packet *p, struct place *place)
{
	__u8 kind = direction == DIRECTION_EGRESS ? FLOW_EGRESS : 0;
	__u32 look = *(volatile __u32 *)&state.marked;
	int reason;

	if (direction == DIRECTION_INGRESS && skb->pkt_type == PACKET_LOOPBACK)
		return REASON_LOOPED;
	*place = (struct place){};
	reason = link == LINK_ETHERNET ? parse_link(skb, kind, p)
				       : parse_network_first(skb, kind, look, p);
	if (reason == REASON_NONE)
		account_find(bank, p, place);
	if (link == LINK_ETHERNET || look || place->record || !begins_elsewhere(skb))
		return reason;
	reason = parse_marked(skb, kind, 1, p);
	if (reason == REASON_NONE)
		account_find(bank, p, place);
	return reason;
}

static __always_inline int count_skb(struct __sk_buff *skb, __u32 direction, enum link_layer link)
{
	__u32 point =
		direction; /* whose address is taken is no constant to the compiler any more */
	__u32 bank = active_bank();
	struct bank_count *count = count_begin(point, bank);
	__u32 octets = skb->len, segments = skb->gso_segs ?: 1;
	struct place place;
	struct packet p;
	struct tally t;
	int reason;

	if (!count)
		return TC_ACT_UNSPEC;
	count->seen += segments;
	reason = find_flow(skb, direction, link, bank, &p, &place);
	if (reason != REASON_NONE) {
		count_unrecorded(skb->ifindex, direction, bank, reason, segments, octets);
		return TC_ACT_UNSPEC;
	}
	if (skb->gso_size) {
		t = (struct tally){}; /* 5.15: no function is given uninitialized memory */
		tally_super(skb, direction, &p, &t);
	} else {
		tally_packet(&p, 0, 0, &t);
	}
	/* tun and virtio leave gso_segs 0; of a super-packet without payload fewer are left than it says */
	if (t.packets != segments)
		count->seen += (__u64)t.packets - segments;
	if (direction == DIRECTION_INGRESS && (!place.record || state.ipsec == IPSEC_REINJECTED) &&
	    is_second(skb, &p)) {
		count_unrecorded(skb->ifindex, direction, bank, REASON_REINJECTED, t.packets,
				 octets);
		return TC_ACT_UNSPEC;
	}
	account_add(bank, count, direction, &p, &t, &place);
	return TC_ACT_UNSPEC;
}

SEC("tc")
int flowtally_tc(struct __sk_buff *skb)
{
	return count_skb(skb, DIRECTION_EGRESS, LINK_ETHERNET);
}

SEC("tc")
int flowtally_tc_in(struct __sk_buff *skb)
{
	return count_skb(skb, DIRECTION_INGRESS, LINK_ETHERNET);
}

SEC("tc")
int flowtally_tc_l3(struct __sk_buff *skb)
{
	return count_skb(skb, DIRECTION_EGRESS, LINK_BARE);
}

SEC("tc")
int flowtally_tc_i3(struct __sk_buff *skb)
{
	return count_skb(skb, DIRECTION_INGRESS, LINK_BARE);
}

/*
 * Kernels without tcx get a clsact filter, which outlives the process.  It is one of these stubs: it
 * calls through a program array that nobody else holds, so that the kernel empties it when the
 * exporter dies, and what stays behind does nothing.  Slots are enum datapath_program.  An object that takes the
 * place of another one has the same array, so that the stubs call its programs.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, _PROGRAM_MAX);
	__type(key, __u32);
	__type(value, __u32);
} jump SEC(".maps");

#define DEFINE_STUB(name, slot) \
	SEC("tc") \
	int name(struct __sk_buff *skb) \
	{ \
		bpf_tail_call(skb, &jump, slot); \
		return TC_ACT_UNSPEC; \
	}

DEFINE_STUB(flowtally_tc_s1, PROGRAM_TC_EGRESS)
DEFINE_STUB(flowtally_tc_s2, PROGRAM_TC_INGRESS)
DEFINE_STUB(flowtally_tc_s3, PROGRAM_TC_EGRESS_BARE)
DEFINE_STUB(flowtally_tc_s4, PROGRAM_TC_INGRESS_BARE)
