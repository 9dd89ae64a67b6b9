// SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only)
/* Ingress at the driver: each frame before the stack sees it. */
#include "xdp/account.bpf.h"

SEC("xdp")
int flowtally_xdp(struct xdp_md *ctx)
{
	struct cursor c = {.pos = (void *)(long)ctx->data, .end = (void *)(long)ctx->data_end};
	struct packet p = {.key.ifindex = ctx->ingress_ifindex};
	__u32 reach = c.end - c.pos, direction = DIRECTION_INGRESS;
	struct frame f = {.octets = config.xdp_frags ? bpf_xdp_get_buff_len(ctx) : reach};
	struct hook_count *count = bpf_map_lookup_elem(&counts, &direction);
	struct tally t;
	int reason;

	if (!count)
		return XDP_PASS;
	count->seen++;
	reason = parse_ethernet(&c, &f, &p);
	if (reason != REASON_NONE) {
		count_unrecorded(p.key.ifindex, direction, reason, 1, f.octets);
		return XDP_PASS;
	}
	tally_packet(&p, 0, 0, &t);
	account(count, direction, &p, &t);
	return XDP_PASS;
}

char _license[] SEC("license") __weak = "Dual BSD/GPL";
