/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Attaching a program to one hook of one interface.  What attach returns is a handle: a bpf_link
 * that ends with its descriptor (XDP, tcx), or a clsact filter that must be taken away.
 */
#include <stdbool.h>
#include <stdint.h>
#include "xdp/flow.h"

struct datapath;

struct hook {
	int fd; /* bpf_link, or the socket that marks a clsact filter as alive; -1: not attached */
	bool clsact;
	uint32_t ifindex;
	enum flow_direction direction;
	uint32_t prog_id; /* of the clsact filter */
};

#define HOOK_INIT ((struct hook){.fd = -1})

/* Native only.  -EOPNOTSUPP: the driver cannot; -EBUSY, -EEXIST: a program is there; other -errno. */
int hook_attach_xdp(struct hook *hook, const struct datapath *datapath, uint32_t ifindex);

/*
 * tcx where the kernel has it, else clsact.  `bare`: the link layer has no header.  -EBUSY: another
 * flowtally's filter is there; -EEXIST: a foreign one; other -errno.
 */
int hook_attach_tc(struct hook *hook, const struct datapath *datapath, uint32_t ifindex,
		   enum flow_direction direction, bool bare);

/* NULL-safe in the sense of fd -1; leaves HOOK_INIT. */
void hook_detach(struct hook *hook);

/* Still in place: neither detached by others nor gone with its interface. */
bool hook_alive(const struct hook *hook);
