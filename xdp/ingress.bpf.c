// SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only)
/* Ingress at the driver: each frame before the stack sees it. */
#include <bpf/bpf_core_read.h>
#include "xdp/account.bpf.h"

/* Bonds with the program, which their members run: keys are interfaces, values nothing. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, __u32);
} bonds SEC(".maps");

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct list_head___ft {
	struct list_head___ft *next;
};

struct net_device___ft {
	int ifindex;
	struct {
		struct list_head___ft upper; /* the master first, if there is one */
	} adj_list;
};

struct netdev_adjacent___ft {
	struct net_device___ft *dev;
	_Bool master;
	struct list_head___ft list;
};

struct xdp_rxq_info___ft {
	struct net_device___ft *dev;
};

struct xdp_buff___ft {
	struct xdp_rxq_info___ft *rxq;
};

#pragma clang attribute pop

/*
 * The interface that has the program: the bond of the member that runs it, or the one that runs it.  By the
 * kernel's own list, which changes with the members.  Not static, so that the verifier looks at it once.
 */
__noinline __u32 attached_ifindex(struct xdp_md *ctx)
{
	struct xdp_buff___ft *xdp = (void *)ctx;
	struct net_device___ft *dev, *master;
	struct list_head___ft *next, *head;
	__u32 ifindex = ctx->ingress_ifindex, upper;
	void *adjacent;

	if (!bpf_core_field_exists(struct netdev_adjacent___ft, master))
		return ifindex;
	dev = BPF_CORE_READ(xdp, rxq, dev);
	head = (void *)dev + bpf_core_field_offset(struct net_device___ft, adj_list.upper);
	next = BPF_CORE_READ(head, next);
	if (!next || next == head)
		return ifindex;
	adjacent = (void *)next - bpf_core_field_offset(struct netdev_adjacent___ft, list);
	if (!BPF_CORE_READ((struct netdev_adjacent___ft *)adjacent, master))
		return ifindex;
	master = BPF_CORE_READ((struct netdev_adjacent___ft *)adjacent, dev);
	upper = BPF_CORE_READ(master, ifindex);
	return bpf_map_lookup_elem(&bonds, &upper) ? upper : ifindex;
}

/* `octets`: of the whole frame, of which the linear part may be the beginning. */
static __always_inline int parse_frame(struct xdp_md *ctx, __u32 ifindex, __u32 octets,
				       struct packet *p)
{
	struct cursor c = {.pos = (void *)(long)ctx->data, .end = (void *)(long)ctx->data_end};
	struct frame f = {.octets = octets};

	__builtin_memset(p, 0, sizeof(*p));
	p->key.ifindex = ifindex;
	return parse_ethernet(&c, &f, p);
}

/* Out of line: for frames of several buffers, and for what is in no flow anyway. */
static __noinline int parse_buffers(struct xdp_md *ctx, __u32 ifindex, __u32 octets,
				    struct packet *p)
{
	return parse_frame(ctx, ifindex, octets, p);
}

SEC("xdp")
int flowtally_xdp(struct xdp_md *ctx)
{
	__u32 bank = active_bank(), direction = DIRECTION_INGRESS;
	struct bank_count *count = count_begin(direction, bank);
	__u32 ifindex = ctx->ingress_ifindex, octets, linear;
	struct packet p;
	struct tally t;
	int reason;

	if (!count)
		return XDP_PASS;
	count->seen++;
	octets = linear = ctx->data_end - ctx->data;
	PARSE_OPAQUE(ctx); /* or half of a pointer is kept for both, and is one no more */
	if (state.bonds)
		ifindex = attached_ifindex(ctx);
	reason = parse_frame(ctx, ifindex, octets, &p);
	/* Asking for the length costs more than parsing: a frame of one buffer is right without. */
	if (reason != REASON_NONE && config.xdp_frags) {
		octets = bpf_xdp_get_buff_len(ctx);
		if (octets > linear)
			reason = parse_buffers(ctx, ifindex, octets, &p);
	}
	if (reason != REASON_NONE) {
		count_unrecorded(ifindex, direction, bank, reason, 1, octets);
		return XDP_PASS;
	}
	tally_packet(&p, 0, 0, &t);
	account(bank, count, direction, &p, &t);
	return XDP_PASS;
}

char _license[] SEC("license") __weak = "Dual BSD/GPL";
