/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* tcx, of Linux 6.6: what <linux/bpf.h> of Debian 12 does not have yet. */
#include <linux/bpf.h>
#include "xdp/flow.h"

/* enum bpf_attach_type: BPF_TCX_INGRESS and BPF_TCX_EGRESS. */
static inline enum bpf_attach_type tcx_attach_type(enum flow_direction direction)
{
	return (enum bpf_attach_type)(direction == DIRECTION_INGRESS ? 46 : 47);
}

/* BPF_PROG_QUERY's part of union bpf_attr, by which XDP is asked for too. */
struct tcx_query {
	__u32 ifindex;
	__u32 type;
	__u32 query_flags;
	__u32 attach_flags;
	__aligned_u64 prog_ids;
	__u32 count;
	__u32 pad;
	__aligned_u64 prog_attach_flags;
	__aligned_u64 link_ids;
	__aligned_u64 link_attach_flags;
	__u64 revision;
};
