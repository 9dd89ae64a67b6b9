/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Attaching a program to one hook of one interface.  What attach returns is a handle: a bpf_link
 * that ends with its descriptor (XDP, tcx), or a clsact filter that must be taken away.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "exporter/meter/datapath.h"
#include "xdp/flow.h"

struct tc_filter;
struct tc_filters;

struct hook {
	int fd;	     /* bpf_link; -1: none */
	bool clsact; /* attached as a filter */
	enum datapath_program program;
	uint32_t ifindex;
	enum flow_direction direction;
	uint32_t prog_id;  /* of what is attached by TC */
	uint16_t priority; /* of the clsact filter */
};

#define HOOK_INIT ((struct hook){.fd = -1})

/* Native only.  -EOPNOTSUPP: the driver cannot; -EBUSY, -EEXIST: a program is there; other -errno. */
int hook_attach_xdp(struct hook *hook, const struct datapath *datapath, uint32_t ifindex);

/*
 * tcx where the kernel has it, else clsact; in front of all others where there is room.  `bare`: the link layer
 * has no header.  -ENODEV: no such interface.  Of clsact: -EBUSY: another flowtally's filter is there; -EEXIST: a
 * foreign one has our handle; -EMEDIUMTYPE: an ingress qdisc is there, which has no egress; -EMLINK: the qdisc's
 * filters are shared with other interfaces.  Other -errno.  hook_tc_error() says them all.
 */
int hook_attach_tc(struct hook *hook, const struct datapath *datapath, uint32_t ifindex,
		   enum flow_direction direction, bool bare);

/* The reason and what helps, in up to 160 octets. */
void hook_tc_error(int error, char *ret, size_t size);

/*
 * Makes a hook that is attached, also one that hook_silence() left, run the same program of another datapath, which replaces
 * the first (datapath_options): the link stays the same, and each packet meets one of the two programs.  Who has begun with
 * the old one is through with it after an RCU grace period.  That needs no privileges (Linux 6.1 and later).  A clsact
 * filter stays as it is, for its stub calls the programs of who has taken the stubs.  -errno: it runs what it ran, or is
 * detached: hook_alive().
 */
int hook_move(struct hook *hook, const struct datapath *datapath);

/* NULL-safe in the sense of fd -1; leaves HOOK_INIT. */
void hook_detach(struct hook *hook);

/*
 * A program that does nothing, for hook_silence(); to be closed.  -errno, also where TC hooks are not tcx.
 */
int hook_load_idle(const struct datapath *datapath);

/*
 * Makes a hook do nothing from now on, but for packets that it has begun with: it is detached, or, where that would
 * take the kernel 10 to 30 ms (tcx), gets the idle program (-1: there is none) and is still to be detached.
 */
void hook_silence(struct hook *hook, int idle);

/* Still in place: neither detached by others nor gone with its interface. */
bool hook_alive(const struct hook *hook);

/* A clsact filter of this or another flowtally, alive or dead. */
bool hook_filter_is_ours(const struct tc_filter *filter);

/* Where a clsact filter of ours sees the most and keeps nobody out; for tests. */
uint16_t hook_clsact_priority(const struct tc_filters *filters);
