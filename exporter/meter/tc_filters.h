/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The classifiers of an interface: its ingress or clsact qdisc and the filters in it, by rtnetlink, in the
 * network namespace of the calling thread.  -errno of netlink throughout.
 */
#include <linux/netlink.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "xdp/flow.h"

/* The qdisc at the place that ingress and clsact share: an interface has one of them at most. */
struct tc_qdisc {
	char kind[16];
	uint32_t blocks[_DIRECTION_MAX]; /* shared with other interfaces, by index; 0: its own */
};

/* One filter of chain 0, where packets begin.  A priority has one kind and one protocol, which it may have without a filter. */
struct tc_filter {
	uint16_t priority; /* packets meet the lower ones first */
	uint16_t protocol; /* host order, ETH_P_ALL or an ethertype */
	uint32_t handle;   /* 0: the priority itself */
	char kind[16];
	char name[64];	  /* of a bpf filter */
	uint32_t prog_id; /* likewise */
};

struct tc_filters {
	struct tc_filter *all; /* in the order in which packets meet them */
	size_t count;
};

/* -ENOENT: there is neither. */
int tc_qdisc_get(uint32_t ifindex, struct tc_qdisc *ret);

/* -EEXIST: one of either kind is there. */
int tc_qdisc_add_clsact(uint32_t ifindex);

/* `direction` EGRESS means clsact's: in an ingress qdisc the kernel would take it for ingress. */
int tc_filters_get(uint32_t ifindex, enum flow_direction direction, struct tc_filters *ret);
void tc_filters_clear(struct tc_filters *filters);

/* The filter that packets meet first, read without the many that may follow.  -ENOENT: there is none. */
int tc_filters_first(uint32_t ifindex, enum flow_direction direction, struct tc_filter *ret);

/* A direct-action bpf filter for all protocols.  -EEXIST: the handle is taken at this priority. */
int tc_filter_add(uint32_t ifindex, enum flow_direction direction, uint16_t priority,
		  uint32_t handle, int program, const char *name);

/*
 * Puts another program into that filter, at its place: the kernel exchanges the two at once (list_replace_rcu() in
 * cls_bpf_change(), net/sched/cls_bpf.c), so that each packet meets one of them.  -ENOENT: there is no such filter.
 */
int tc_filter_replace(uint32_t ifindex, enum flow_direction direction, uint16_t priority,
		      uint32_t handle, int program, const char *name);
int tc_filter_delete(uint32_t ifindex, enum flow_direction direction, uint16_t priority,
		     uint32_t handle);

/* Program id of that bpf filter; -ENOENT: there is none. */
int tc_filter_program(uint32_t ifindex, enum flow_direction direction, uint16_t priority,
		      uint32_t handle, uint32_t *ret_id);

/* From one message; false: it is none of a filter in chain 0, or of a qdisc in that place. */
bool tc_filter_parse(const struct nlmsghdr *message, struct tc_filter *ret);
bool tc_qdisc_parse(const struct nlmsghdr *message, struct tc_qdisc *ret);
