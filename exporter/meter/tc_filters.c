/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/meter/tc_filters.h"
#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include "exporter/meter/netdev.h"

static uint32_t parent_of(enum flow_direction direction)
{
	return TC_H_MAKE(TC_H_CLSACT,
			 direction == DIRECTION_INGRESS ? TC_H_MIN_INGRESS : TC_H_MIN_EGRESS);
}

static struct nlmsghdr *begin(char *buffer, uint16_t type, uint16_t flags, uint32_t ifindex,
			      uint32_t parent)
{
	struct nlmsghdr *request = mnl_nlmsg_put_header(buffer);
	struct tcmsg *tc;

	request->nlmsg_type = type;
	request->nlmsg_flags = flags;
	tc = mnl_nlmsg_put_extra_header(request, sizeof(*tc));
	tc->tcm_family = AF_UNSPEC;
	tc->tcm_ifindex = (int)ifindex;
	tc->tcm_parent = parent;
	return request;
}

static struct nlmsghdr *begin_filter(char *buffer, uint16_t type, uint16_t flags, uint32_t ifindex,
				     enum flow_direction direction, uint16_t priority,
				     uint32_t handle)
{
	struct nlmsghdr *request = begin(buffer, type, flags, ifindex, parent_of(direction));
	struct tcmsg *tc = mnl_nlmsg_get_payload(request);

	tc->tcm_handle = handle;
	tc->tcm_info = TC_H_MAKE((uint32_t)priority << 16, htons(ETH_P_ALL));
	mnl_attr_put_strz(request, TCA_KIND, "bpf");
	return request;
}

bool tc_qdisc_parse(const struct nlmsghdr *message, struct tc_qdisc *ret)
{
	const struct tcmsg *tc = mnl_nlmsg_get_payload(message);
	struct tc_qdisc qdisc = {0};
	const struct nlattr *attr;

	if (message->nlmsg_type != RTM_NEWQDISC || tc->tcm_parent != TC_H_INGRESS)
		return false;
	mnl_attr_for_each(attr, message, sizeof(*tc))
	{
		if (mnl_attr_get_type(attr) == TCA_KIND)
			snprintf(qdisc.kind, sizeof(qdisc.kind), "%s", mnl_attr_get_str(attr));
		else if (mnl_attr_get_type(attr) == TCA_INGRESS_BLOCK)
			qdisc.blocks[DIRECTION_INGRESS] = mnl_attr_get_u32(attr);
		else if (mnl_attr_get_type(attr) == TCA_EGRESS_BLOCK)
			qdisc.blocks[DIRECTION_EGRESS] = mnl_attr_get_u32(attr);
	}
	*ret = qdisc;
	return qdisc.kind[0];
}

static int on_qdisc(const struct nlmsghdr *message, void *data)
{
	tc_qdisc_parse(message, data);
	return MNL_CB_OK;
}

int tc_qdisc_get(uint32_t ifindex, struct tc_qdisc *ret)
{
	char buffer[256];
	struct nlmsghdr *request = begin(buffer, RTM_GETQDISC, 0, ifindex, TC_H_INGRESS);
	struct tc_qdisc qdisc = {0};
	/* by NLM_F_ECHO: without it kernels before 6.8 answer nobody but who listens to RTNLGRP_TC */
	int r = netdev_get(request, on_qdisc, &qdisc);

	if (r < 0)
		return r;
	if (!qdisc.kind[0])
		return -ENOENT;
	*ret = qdisc;
	return 0;
}

int tc_qdisc_add_clsact(uint32_t ifindex)
{
	char buffer[256];
	struct nlmsghdr *request =
		begin(buffer, RTM_NEWQDISC, NLM_F_CREATE | NLM_F_EXCL, ifindex, TC_H_CLSACT);
	struct tcmsg *tc = mnl_nlmsg_get_payload(request);

	tc->tcm_handle = TC_H_MAKE(TC_H_CLSACT, 0);
	mnl_attr_put_strz(request, TCA_KIND, "clsact");
	return netdev_request(request, NULL, NULL);
}

static void parse_options(const struct nlattr *options, struct tc_filter *filter)
{
	const struct nlattr *attr;

	mnl_attr_for_each_nested(attr, options)
	{
		if (mnl_attr_get_type(attr) == TCA_BPF_NAME)
			snprintf(filter->name, sizeof(filter->name), "%s", mnl_attr_get_str(attr));
		else if (mnl_attr_get_type(attr) == TCA_BPF_ID)
			filter->prog_id = mnl_attr_get_u32(attr);
	}
}

bool tc_filter_parse(const struct nlmsghdr *message, struct tc_filter *ret)
{
	const struct tcmsg *tc = mnl_nlmsg_get_payload(message);
	struct tc_filter filter = {
		.priority = (uint16_t)(tc->tcm_info >> 16),
		.protocol = ntohs((uint16_t)tc->tcm_info),
		.handle = tc->tcm_handle,
	};
	const struct nlattr *attr, *options = NULL;
	uint32_t chain = 0;

	if (message->nlmsg_type != RTM_NEWTFILTER)
		return false;
	mnl_attr_for_each(attr, message, sizeof(*tc))
	{
		if (mnl_attr_get_type(attr) == TCA_KIND)
			snprintf(filter.kind, sizeof(filter.kind), "%s", mnl_attr_get_str(attr));
		else if (mnl_attr_get_type(attr) == TCA_CHAIN)
			chain = mnl_attr_get_u32(attr);
		else if (mnl_attr_get_type(attr) == TCA_OPTIONS)
			options = attr;
	}
	if (chain || !filter.kind[0])
		return false;
	if (options && !strcmp(filter.kind, "bpf"))
		parse_options(options, &filter);
	*ret = filter;
	return true;
}

static int on_filter(const struct nlmsghdr *message, void *data)
{
	struct tc_filters *filters = data;
	struct tc_filter filter, *grown;

	if (!tc_filter_parse(message, &filter))
		return MNL_CB_OK;
	grown = reallocarray(filters->all, filters->count + 1, sizeof(*grown));
	if (!grown)
		return MNL_CB_ERROR;
	filters->all = grown;
	grown[filters->count++] = filter;
	return MNL_CB_OK;
}

static void restart_filters(void *userdata)
{
	struct tc_filters *filters = userdata;

	filters->count = 0;
}

int tc_filters_get(uint32_t ifindex, enum flow_direction direction, struct tc_filters *ret)
{
	_cleanup_(tc_filters_clear) struct tc_filters filters = {0};
	char buffer[256];
	struct nlmsghdr *request = begin(buffer, RTM_GETTFILTER, 0, ifindex, parent_of(direction));
	int r = netdev_dump(request, on_filter, restart_filters, &filters);

	if (r < 0 && r != -EINTR) /* what changed all the time is hardly this chain */
		return r;
	*ret = filters;
	filters = (struct tc_filters){0};
	return 0;
}

static int on_first(const struct nlmsghdr *message, void *data)
{
	struct tc_filter *first = data;
	struct tc_filter filter;

	if (!tc_filter_parse(message, &filter) || !filter.handle)
		return MNL_CB_OK;
	*first = filter;
	return MNL_CB_STOP;
}

int tc_filters_first(uint32_t ifindex, enum flow_direction direction, struct tc_filter *ret)
{
	struct tc_filter first = {0};
	char buffer[256];
	struct nlmsghdr *request = begin(buffer, RTM_GETTFILTER, 0, ifindex, parent_of(direction));
	int r = netdev_dump(request, on_first, NULL, &first);

	if (r < 0 && r != -EINTR)
		return r;
	if (!first.handle)
		return -ENOENT;
	*ret = first;
	return 0;
}

void tc_filters_clear(struct tc_filters *filters)
{
	free(filters->all);
	*filters = (struct tc_filters){0};
}

static int put_filter(uint16_t flags, uint32_t ifindex, enum flow_direction direction,
		      uint16_t priority, uint32_t handle, int program, const char *name)
{
	char buffer[512];
	struct nlmsghdr *request =
		begin_filter(buffer, RTM_NEWTFILTER, flags, ifindex, direction, priority, handle);
	struct nlattr *options = mnl_attr_nest_start(request, TCA_OPTIONS);

	mnl_attr_put_u32(request, TCA_BPF_FD, (uint32_t)program);
	mnl_attr_put_strz(request, TCA_BPF_NAME, name);
	mnl_attr_put_u32(request, TCA_BPF_FLAGS, TCA_BPF_FLAG_ACT_DIRECT);
	mnl_attr_nest_end(request, options);
	return netdev_request(request, NULL, NULL);
}

int tc_filter_add(uint32_t ifindex, enum flow_direction direction, uint16_t priority,
		  uint32_t handle, int program, const char *name)
{
	return put_filter(NLM_F_CREATE | NLM_F_EXCL, ifindex, direction, priority, handle, program,
			  name);
}

int tc_filter_replace(uint32_t ifindex, enum flow_direction direction, uint16_t priority,
		      uint32_t handle, int program, const char *name)
{
	return put_filter(0, ifindex, direction, priority, handle, program, name);
}

int tc_filter_delete(uint32_t ifindex, enum flow_direction direction, uint16_t priority,
		     uint32_t handle)
{
	char buffer[256];

	return netdev_request(begin_filter(buffer, RTM_DELTFILTER, 0, ifindex, direction, priority,
					   handle),
			      NULL, NULL);
}

static int on_program(const struct nlmsghdr *message, void *data)
{
	struct tc_filter filter;

	if (tc_filter_parse(message, &filter))
		*(uint32_t *)data = filter.prog_id;
	return MNL_CB_OK;
}

int tc_filter_program(uint32_t ifindex, enum flow_direction direction, uint16_t priority,
		      uint32_t handle, uint32_t *ret_id)
{
	char buffer[256];
	uint32_t id = 0;
	int r = netdev_request(begin_filter(buffer, RTM_GETTFILTER, 0, ifindex, direction, priority,
					    handle),
			       on_program, &id);

	if (r < 0)
		return r;
	if (!id)
		return -ENOENT;
	*ret_id = id;
	return 0;
}
