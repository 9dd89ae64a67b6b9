// SPDX-License-Identifier: Apache-2.0
/*
 * What flowtally is measured against.  bench_empty_*: nothing at all.  bench_floor_*: the least that a
 * program can do per packet which counts flows: read the headers of one known shape of frame, one LRU
 * lookup, atomic additions, the coarse clock.  Key and value are flowtally's, so are the sizes; bounds
 * are checked since the verifier asks for it, and nothing else is.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include "xdp/flow.h"

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1); /* set at load */
	__type(key, struct flow_key);
	__type(value, struct flow_record);
} floor_flows SEC(".maps");

enum shape {
	SHAPE_IPV4,
	SHAPE_IPV6,
	SHAPE_VLAN, /* IPv4 behind one tag in the frame */
};

struct tagged_ethhdr {
	struct ethhdr eth;
	__be16 tci;
	__be16 ethertype;
};

static __always_inline void floor_add(struct flow_key *key, __u32 octets)
{
	__u64 now_ns = bpf_ktime_get_coarse_ns();
	struct flow_record *record = bpf_map_lookup_elem(&floor_flows, key);

	if (!record) {
		struct flow_record fresh = {
			.packets = 1, .octets = octets, .first_ns = now_ns, .last_ns = now_ns};

		bpf_map_update_elem(&floor_flows, key, &fresh, BPF_NOEXIST);
		return;
	}
	__sync_fetch_and_add(&record->packets, 1);
	__sync_fetch_and_add(&record->octets, octets);
	record->last_ns = now_ns;
}

static __always_inline void floor_ipv4(void *data, void *end, struct flow_key *key)
{
	struct iphdr *ip = data;
	struct udphdr *udp = (void *)(ip + 1);

	if ((void *)(udp + 1) > end)
		return;
	__builtin_memcpy(key->src, &ip->saddr, 4);
	__builtin_memcpy(key->dst, &ip->daddr, 4);
	key->protocol = ip->protocol;
	key->src_port = udp->source;
	key->dst_port = udp->dest;
	floor_add(key, bpf_ntohs(ip->tot_len));
}

static __always_inline void floor_ipv6(void *data, void *end, struct flow_key *key)
{
	struct ipv6hdr *ip = data;
	struct udphdr *udp = (void *)(ip + 1);

	if ((void *)(udp + 1) > end)
		return;
	__builtin_memcpy(key->src, &ip->saddr, 16);
	__builtin_memcpy(key->dst, &ip->daddr, 16);
	key->protocol = ip->nexthdr;
	key->kind = FLOW_IPV6;
	key->src_port = udp->source;
	key->dst_port = udp->dest;
	floor_add(key, sizeof(*ip) + bpf_ntohs(ip->payload_len));
}

/* `vlan`: of a tag that the hook carries outside the frame. */
static __always_inline void floor_count(void *data, void *end, __u32 ifindex, enum shape shape,
					__u16 vlan)
{
	struct flow_key key = {.ifindex = ifindex, .outer_vlan = vlan};
	struct tagged_ethhdr *tagged = data;
	struct ethhdr *eth = data;

	if ((void *)(tagged + 1) > end)
		return;
	if (shape == SHAPE_IPV6 && eth->h_proto == bpf_htons(ETH_P_IPV6))
		floor_ipv6(eth + 1, end, &key);
	else if (shape != SHAPE_IPV6 && eth->h_proto == bpf_htons(ETH_P_IP))
		floor_ipv4(eth + 1, end, &key);
	else if (shape == SHAPE_VLAN && tagged->ethertype == bpf_htons(ETH_P_IP)) {
		key.outer_vlan = bpf_ntohs(tagged->tci) & 0x0fff;
		floor_ipv4(tagged + 1, end, &key);
	}
}

#define DEFINE_FLOOR(name, shape) \
	SEC("xdp") \
	int bench_floor_xdp_##name(struct xdp_md *ctx) \
	{ \
		floor_count((void *)(long)ctx->data, (void *)(long)ctx->data_end, \
			    ctx->ingress_ifindex, shape, 0); \
		return XDP_PASS; \
	} \
	SEC("tc") \
	int bench_floor_tc_##name(struct __sk_buff *skb) \
	{ \
		floor_count((void *)(long)skb->data, (void *)(long)skb->data_end, skb->ifindex, \
			    shape, (shape) == SHAPE_VLAN ? skb->vlan_tci & 0x0fff : 0); \
		return TC_ACT_UNSPEC; \
	}

DEFINE_FLOOR(ipv4, SHAPE_IPV4)
DEFINE_FLOOR(ipv6, SHAPE_IPV6)
DEFINE_FLOOR(vlan, SHAPE_VLAN)

SEC("xdp")
int bench_empty_xdp(struct xdp_md *ctx)
{
	(void)ctx;
	return XDP_PASS;
}

SEC("tc")
int bench_empty_tc(struct __sk_buff *skb)
{
	(void)skb;
	return TC_ACT_UNSPEC;
}

SEC("tp_btf/kfree_skb")
int bench_empty_drop(__u64 *ctx)
{
	(void)ctx;
	return 0;
}

char _license[] SEC("license") __weak = "Dual BSD/GPL";
