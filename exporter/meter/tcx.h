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
