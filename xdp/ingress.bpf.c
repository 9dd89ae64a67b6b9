// SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only)
/* Ingress at the driver: each frame before the stack sees it. */
#include "xdp/account.bpf.h"

/* `octets`: of the whole frame, of which the linear part may be the beginning. */
static __always_inline int parse_frame(struct xdp_md *ctx, __u32 octets, struct packet *p)
{
	struct cursor c = {.pos = (void *)(long)ctx->data, .end = (void *)(long)ctx->data_end};
	struct frame f = {.octets = octets};

	__builtin_memset(p, 0, sizeof(*p));
	p->key.ifindex = ctx->ingress_ifindex;
	return parse_ethernet(&c, &f, p);
}

/* Out of line: for frames of several buffers, and for what is in no flow anyway. */
static __noinline int parse_buffers(struct xdp_md *ctx, __u32 octets, struct packet *p)
{
	return parse_frame(ctx, octets, p);
}

SEC("xdp")
int flowtally_xdp(struct xdp_md *ctx)
{
	__u32 octets = ctx->data_end - ctx->data, linear = octets, direction = DIRECTION_INGRESS;
	struct hook_count *count = bpf_map_lookup_elem(&counts, &direction);
	struct packet p;
	struct tally t;
	int reason;

	if (!count)
		return XDP_PASS;
	count->seen++;
	reason = parse_frame(ctx, octets, &p);
	/* Asking for the length costs more than parsing: a frame of one buffer is right without. */
	if (reason != REASON_NONE && config.xdp_frags) {
		octets = bpf_xdp_get_buff_len(ctx);
		if (octets > linear)
			reason = parse_buffers(ctx, octets, &p);
	}
	if (reason != REASON_NONE) {
		count_unrecorded(ctx->ingress_ifindex, direction, reason, 1, octets);
		return XDP_PASS;
	}
	tally_packet(&p, 0, 0, &t);
	account(BANK_FLOWS, count, direction, &p, &t);
	return XDP_PASS;
}

char _license[] SEC("license") __weak = "Dual BSD/GPL";
