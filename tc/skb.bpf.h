/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
#pragma once
/*
 * What the kernel knows of an skb and does not show in __sk_buff.  A program's context is the skb itself: its
 * fields are read by bpf_probe_read_kernel() at the offsets of the running kernel (CO-RE).  Without the
 * kernel's BTF nothing of this is known, and each function says so in its own way.
 */
#include <bpf/bpf_core_read.h>
#include "xdp/cursor.h"

#define XFRM_GRO \
	32 /* include/net/xfrm.h: decrypted by GRO, before the packet has arrived anywhere */

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct rtnl_link_ops___ft {
	const char *kind;
};

struct net_device___ft {
	const struct rtnl_link_ops___ft *rtnl_link_ops;
};

struct skb_ext___ft {
	__u8 offset[1]; /* in units of 8 octets; as many as there are extensions */
};

struct sk_buff___ft {
	struct net_device___ft *dev;
	__u8 active_extensions; /* a bit for each */
	__u16 network_header;	/* an offset from head */
	unsigned char *head;
	unsigned char *data;
	struct skb_ext___ft *extensions;
};

struct xfrm_offload___ft {
	__u32 flags;
};

struct sec_path___ft {
	int len;  /* transformations that have been undone */
	int olen; /* of these by the NIC, in a packet that is still to come to the stack */
	struct xfrm_offload___ft ovec[1];
};

#pragma clang attribute pop

enum skb_ext_id___ft {
	SKB_EXT_SEC_PATH___ft,
};

/*
 * As a rule the network header is where the program's bytes begin.  Two headers in one packet differ at least in
 * their lengths.
 */
static __always_inline int skb_begins_with_network(const struct __sk_buff *ctx)
{
	const __u64 *here = (void *)(long)ctx->data;
	__u64 there[2];

	if ((void *)(here + 2) > (void *)(long)ctx->data_end ||
	    bpf_skb_load_bytes_relative(ctx, 0, there, sizeof(there), BPF_HDR_START_NET))
		return 0;
	return here[0] == there[0] && here[1] == there[1];
}

/*
 * Octets from where the program's bytes begin to the network header, as the kernel has marked it.  They hold
 * whatever link layer there is: Ethernet's header in front of what leaves an xfrm interface's tunnel, the
 * outer headers of GRE, nothing at all.  -1: there is no mark within those bytes.
 */
static __always_inline int skb_network_offset(const struct __sk_buff *ctx)
{
	const struct sk_buff___ft *skb = (const void *)ctx;
	unsigned char *head, *data;
	__u16 network;
	long offset;

	if (!bpf_core_field_exists(skb->network_header) ||
	    bpf_core_read(&network, sizeof(network), &skb->network_header) ||
	    bpf_core_read(&head, sizeof(head), &skb->head) ||
	    bpf_core_read(&data, sizeof(data), &skb->data))
		return -1;
	offset = head + network - data;
	return offset < 0 || offset > ctx->len ? -1 : (int)offset;
}

/* Interfaces on which what comes out of a tunnel of IPsec arrives for the first time: xfrm, vti, vti6. */
static __always_inline int skb_has_tunnel_device(const struct sk_buff___ft *skb)
{
	char kind[4] = "";

	bpf_probe_read_kernel(kind, sizeof(kind), BPF_CORE_READ(skb, dev, rtnl_link_ops, kind));
	return (kind[0] == 'x' && kind[1] == 'f' && kind[2] == 'r' && kind[3] == 'm') ||
	       (kind[0] == 'v' && kind[1] == 't' && kind[2] == 'i');
}

/*
 * 1: the stack hands the packet over for the second time, taken out of the IPsec packet that has arrived at the
 * same interface before.  What the NIC or GRO has decrypted comes only once.
 */
static __always_inline int skb_is_reinjected(const struct __sk_buff *ctx)
{
	const struct sk_buff___ft *skb = (const void *)ctx;
	struct sec_path___ft *path;
	struct skb_ext___ft *extensions;
	__u8 active = 0, offset = 0;
	__u32 id;

	if (!bpf_core_field_exists(skb->active_extensions) ||
	    !bpf_core_enum_value_exists(enum skb_ext_id___ft, SKB_EXT_SEC_PATH___ft))
		return 0;
	id = bpf_core_enum_value(enum skb_ext_id___ft, SKB_EXT_SEC_PATH___ft);
	bpf_core_read(&active, sizeof(active), &skb->active_extensions);
	if (!(active >> (id & 7) & 1) ||
	    bpf_core_read(&extensions, sizeof(extensions), &skb->extensions) ||
	    bpf_probe_read_kernel(&offset, sizeof(offset), &extensions->offset[0] + id))
		return 0;
	path = (void *)((char *)extensions + offset * 8u);
	return BPF_CORE_READ(path, len) > 0 && BPF_CORE_READ(path, olen) == 0 &&
	       !(BPF_CORE_READ(path, ovec[0].flags) & XFRM_GRO) && !skb_has_tunnel_device(skb);
}
