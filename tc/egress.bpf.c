// SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only)
/*
 * The skb side: egress after the stack, and ingress where XDP is not wise.  One program per
 * direction and kind of link layer, because an skb does not say which of them it is in.
 */
#include <linux/pkt_cls.h>
#include "xdp/account.bpf.h"
#include "tc/tunnel.h"

/* Octets pulled into the linear part when the headers are not all there: ample for real chains. */
#define PULL_OCTETS 512

enum link_layer {
	LINK_ETHERNET,
	LINK_BARE, /* no header of its own: tun, PPP, tunnels */
};

static __always_inline int parse_skb(struct __sk_buff *skb, enum link_layer link, __u8 kind,
				     struct packet *p)
{
	struct cursor c = {.pos = (void *)(long)skb->data, .end = (void *)(long)skb->data_end};
	struct frame f = {
		.octets = skb->len,
		.vlan_tagged = skb->vlan_present != 0,
		.gso = skb->gso_size != 0,
	};

	if (link == LINK_BARE)
		f.ethertype = bpf_ntohs(skb->protocol);
	if (f.vlan_tagged)
		f.vlan = skb->vlan_tci & 0x0fff;
	__builtin_memset(p, 0, sizeof(*p));
	p->key.ifindex = skb->ifindex;
	p->key.kind = kind;
	return link == LINK_ETHERNET ? parse_ethernet(&c, &f, p) : parse_bare(&c, &f, p);
}

/*
 * Out of line: for the few skbs whose headers lay in their fragments.  Not static: the verifier then
 * looks at it once, by itself, and not once for each way that leads to it.
 */
__noinline int parse_pulled(struct __sk_buff *skb, __u32 link, __u32 kind, struct packet *p)
{
	if (!p)
		return REASON_OUT_OF_REACH;
	return link == LINK_ETHERNET ? parse_skb(skb, LINK_ETHERNET, kind, p)
				     : parse_skb(skb, LINK_BARE, kind, p);
}

/*
 * Octets of headers that each segment of a tunnel's super-packet repeats behind the outer ones.  On
 * egress the kernel has worked out what all headers take (qdisc_pkt_len_init()).
 */
static __always_inline int inner_egress(const struct __sk_buff *skb, const struct packet *p)
{
	__u32 segments = skb->gso_segs, outer = p->l3_offset + p->l4_offset + p->l4_header;

	if (segments < 2 || skb->wire_len <= skb->len)
		return 0;
	return (int)((skb->wire_len - skb->len) / (segments - 1)) - (int)outer;
}

/* On arrival the headers themselves tell, pulled where they are not all in the linear part. */
static __always_inline int inner_reached(struct __sk_buff *skb, __u32 outer, __u8 protocol)
{
	struct cursor c = {.pos = (void *)(long)skb->data, .end = (void *)(long)skb->data_end};

	if (outer > PULL_OCTETS)
		return 0;
	parse_seek(&c, c.pos, outer);
	return tunnel_headers(&c, skb->len - outer, protocol);
}

static __noinline int inner_ingress(struct __sk_buff *skb, __u32 outer, __u8 protocol)
{
	int r = inner_reached(skb, outer, protocol);

	if (r < 0 && !bpf_skb_pull_data(skb, skb->len < PULL_OCTETS ? skb->len : PULL_OCTETS))
		r = inner_reached(skb, outer, protocol);
	return r;
}

static __always_inline void tally_skb(struct __sk_buff *skb, __u32 direction, struct packet *p,
				      struct tally *t)
{
	int inner;

	if (skb->gso_size == 0) {
		tally_packet(p, 0, 0, t);
		return;
	}
	if (p->key.protocol != IPPROTO_TCP) {
		inner = direction == DIRECTION_EGRESS
				? inner_egress(skb, p)
				: inner_ingress(skb, p->l3_offset + p->l4_offset + p->l4_header,
						p->key.protocol);
		p->inner = inner > 0 ? inner : 0;
	}
	tally_packet(p, skb->gso_segs, skb->gso_size, t);
}

static __always_inline int count_skb(struct __sk_buff *skb, __u32 direction, enum link_layer link)
{
	__u8 kind = direction == DIRECTION_EGRESS ? FLOW_EGRESS : 0;
	struct hook_count *count = bpf_map_lookup_elem(&counts, &direction);
	__u32 octets = skb->len, segments = skb->gso_segs ?: 1;
	struct packet p;
	struct tally t;
	int reason;

	if (!count)
		return TC_ACT_UNSPEC;
	count->seen += segments;
	reason = parse_skb(skb, link, kind, &p);
	if (reason == REASON_OUT_OF_REACH &&
	    !bpf_skb_pull_data(skb, octets < PULL_OCTETS ? octets : PULL_OCTETS))
		reason = parse_pulled(skb, link, kind, &p);
	if (reason != REASON_NONE) {
		count_unrecorded(skb->ifindex, direction, reason, segments, octets);
		return TC_ACT_UNSPEC;
	}
	tally_skb(skb, direction, &p, &t);
	/* tun and virtio leave gso_segs 0; of a super-packet without payload fewer are left than it says */
	if (t.packets != segments)
		count->seen += (__u64)t.packets - segments;
	account(BANK_FLOWS, count, direction, &p, &t);
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
 * exporter dies, and what stays behind does nothing.  Slots are enum datapath_program.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 8);
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

DEFINE_STUB(flowtally_tc_s1, 1)
DEFINE_STUB(flowtally_tc_s2, 2)
DEFINE_STUB(flowtally_tc_s3, 3)
DEFINE_STUB(flowtally_tc_s4, 4)
