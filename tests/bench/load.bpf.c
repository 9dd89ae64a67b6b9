// SPDX-License-Identifier: Apache-2.0
/*
 * Load generators.  bench_live turns each frame of a BPF_PROG_TEST_RUN with live frames into a packet
 * of some flow and sends it into the veth pair; bench_loop_* do the same to one frame over and over
 * and call the program under test on it.  bench_steer sends what arrives out of another interface,
 * past the stack.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include "tests/bench/load.h"

/* Written by userspace between runs. */
struct load_config load SEC(".data.load") = {};
struct load_state load_state SEC(".data.load") = {}; /* of the one CPU that sends */

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} loop_xdp SEC(".maps"), loop_tc SEC(".maps");

static __always_inline __u32 load_flow(void)
{
	__u64 number = load_state.next++;

	if (number == load.first)
		load_state.first_ns = bpf_ktime_get_ns();
	if (number == load.last)
		load_state.last_ns = bpf_ktime_get_ns();
	return load.random ? bpf_get_prandom_u32() % load.flows : number % load.flows;
}

/* 4096 source ports for each source address from 10.0.0.0 on. */
static __always_inline void load_set(__be32 *address, __be16 *port)
{
	__u32 flow = load_flow();

	*address = bpf_htonl(0x0a000000 | flow >> 12);
	*port = bpf_htons(1024 + (flow & 0xfff));
}

/* The stack takes VLAN tags out of a frame whose memory comes back: the whole header is put in again. */
static __always_inline void load_link(__u8 *frame, __u32 octets)
{
	for (__u32 i = 0; i < octets; i++)
		frame[i] = load.link[i];
}

static __always_inline int load_frame(void *data, void *end)
{
	struct ethhdr *eth = data;

	if (data + LOAD_OCTETS > end)
		return -1;
	if (load.shape == LOAD_VLAN) {
		struct iphdr *ip = data + 18;

		load_link(data, 18);
		load_set(&ip->saddr, &((struct udphdr *)(ip + 1))->source);
	} else if (load.shape == LOAD_IPV6) {
		struct ipv6hdr *ip = (void *)(eth + 1);

		load_set(&ip->saddr.in6_u.u6_addr32[3], &((struct udphdr *)(ip + 1))->source);
	} else {
		struct iphdr *ip = (void *)(eth + 1);

		load_set(&ip->saddr, &((struct udphdr *)(ip + 1))->source);
	}
	return 0;
}

SEC("xdp")
int bench_live(struct xdp_md *ctx)
{
	if (load_frame((void *)(long)ctx->data, (void *)(long)ctx->data_end) < 0)
		return XDP_ABORTED;
	return bpf_redirect(load.ifindex, 0);
}

SEC("xdp")
int bench_loop_xdp(struct xdp_md *ctx)
{
	if (load_frame((void *)(long)ctx->data, (void *)(long)ctx->data_end) < 0)
		return XDP_ABORTED;
	bpf_tail_call(ctx, &loop_xdp, 0);
	return XDP_ABORTED;
}

SEC("tc")
int bench_loop_tc(struct __sk_buff *skb)
{
	if (load_frame((void *)(long)skb->data, (void *)(long)skb->data_end) < 0)
		return TC_ACT_SHOT;
	bpf_tail_call(skb, &loop_tc, 0);
	return TC_ACT_SHOT;
}

SEC("tc")
int bench_steer(struct __sk_buff *skb)
{
	(void)skb;
	return bpf_redirect(load.steer_ifindex, 0);
}

char _license[] SEC("license") __weak = "Dual BSD/GPL";
