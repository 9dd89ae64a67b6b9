/* SPDX-License-Identifier: Apache-2.0 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/if_link.h>
#include <string.h>
#include "exporter/meter/datapath.h"
#include "exporter/meter/hook.h"
#include "exporter/meter/owner.h"
#include "exporter/meter/tc_filters.h"
#include "exporter/meter/tcx.h"

/* BPF_F_BEFORE of 6.6's <linux/bpf.h>, which Debian 12 does not have yet. */
#define ATTACH_BEFORE (1U << 3)
#define TCX_NEXT      (-1)

/*
 * Not 1 where that can be: a priority has one kind of filter and one protocol, so that others could not put theirs
 * there.  A filter is taken away by its priority, handle and program's id alone.
 */
#define CLSACT_PRIORITY 2
#define CLSACT_HANDLE	0xf10a

/* The filter's name: a stub program's, and whose it is (owner.h), in hexadecimal. */
#define CLSACT_NAME  "flowtally_tc_s"
#define CLSACT_OWNER ":owner="

int hook_attach_xdp(struct hook *hook, const struct datapath *datapath, uint32_t ifindex)
{
	LIBBPF_OPTS(bpf_link_create_opts, opts, .flags = XDP_FLAGS_DRV_MODE);
	int fd = bpf_link_create(datapath_program_fd(datapath, PROGRAM_XDP), (int)ifindex, BPF_XDP,
				 &opts);

	if (fd < 0)
		return fd;
	*hook = (struct hook){.fd = fd,
			      .program = PROGRAM_XDP,
			      .ifindex = ifindex,
			      .direction = DIRECTION_INGRESS};
	return 0;
}

/*
 * An ingress qdisc answers to clsact's names and takes an egress filter into its one block, where it would
 * see what arrives.  Filters of a block with an index belong to all interfaces that share it.
 */
static int qdisc_fits(const struct tc_qdisc *qdisc, enum flow_direction direction)
{
	if (strcmp(qdisc->kind, "clsact") != 0 &&
	    (strcmp(qdisc->kind, "ingress") != 0 || direction != DIRECTION_INGRESS))
		return -EMEDIUMTYPE;
	return qdisc->blocks[direction] ? -EMLINK : 0;
}

/* The owner that a filter of ours names, 0 where it names none; false: the filter is not ours. */
static bool filter_owner(const struct tc_filter *filter, uint32_t *ret_owner)
{
	uint32_t owner = 0;
	const char *at;

	if (filter->handle != CLSACT_HANDLE ||
	    strncmp(filter->name, CLSACT_NAME, strlen(CLSACT_NAME)) != 0)
		return false;
	at = strstr(filter->name, CLSACT_OWNER);
	if (at && sscanf(at + strlen(CLSACT_OWNER), "%x", &owner) != 1)
		owner = 0;
	*ret_owner = owner;
	return true;
}

bool hook_filter_is_ours(const struct tc_filter *filter)
{
	uint32_t owner;

	return filter_owner(filter, &owner);
}

/* Takes away the stub that a dead exporter left behind; 1: there was one.  -EBUSY: its exporter is alive. */
static int clsact_sweep(uint32_t ifindex, enum flow_direction direction,
			const struct tc_filters *filters)
{
	_cleanup_(closep) int takeover = -1; /* held until the stub is gone */
	uint32_t owner;
	int r;

	for (size_t i = 0; i < filters->count; i++) {
		if (!filter_owner(&filters->all[i], &owner))
			continue;
		r = owner ? owner_take(owner, &takeover) : 0;
		if (r == 0)
			r = tc_filter_delete(ifindex, direction, filters->all[i].priority,
					     CLSACT_HANDLE);
		return r == 0 || r == -ENOENT ? 1 : r;
	}
	return 0;
}

/* Under tcx a dead exporter's stub does nothing but cost a call. */
static void clsact_sweep_any(uint32_t ifindex, enum flow_direction direction)
{
	_cleanup_(tc_filters_clear) struct tc_filters filters = {0};
	struct tc_qdisc qdisc;

	if (tc_qdisc_get(ifindex, &qdisc) == 0 && qdisc_fits(&qdisc, direction) == 0 &&
	    tc_filters_get(ifindex, direction, &filters) == 0)
		clsact_sweep(ifindex, direction, &filters);
}

/* 0: not known. */
static uint32_t program_id(int prog)
{
	struct bpf_prog_info info = {0};
	__u32 size = sizeof(info);

	return bpf_obj_get_info_by_fd(prog, &info, &size) < 0 ? 0 : info.id;
}

/* First in the chain: a program in front of ours that accepts or redirects would end it (cilium #41393). */
static int attach_tcx(struct hook *hook, const struct datapath *datapath)
{
	LIBBPF_OPTS(bpf_link_create_opts, opts, .flags = ATTACH_BEFORE);
	int prog = datapath_program_fd(datapath, hook->program);
	int fd = bpf_link_create(prog, (int)hook->ifindex, tcx_attach_type(hook->direction), &opts);

	if (fd < 0)
		return fd;
	clsact_sweep_any(hook->ifindex, hook->direction);
	hook->fd = fd;
	hook->prog_id = program_id(prog);
	return 0;
}

static int clsact_prepare(uint32_t ifindex, enum flow_direction direction)
{
	struct tc_qdisc qdisc;
	int r = tc_qdisc_get(ifindex, &qdisc);

	if (r == -ENOENT) {
		r = tc_qdisc_add_clsact(ifindex);
		if (r < 0 && r != -EEXIST)
			return r;
		r = tc_qdisc_get(ifindex, &qdisc); /* somebody may have been quicker with another */
	}
	return r ?: qdisc_fits(&qdisc, direction);
}

/* A filter of ours can stand at this priority: with others of its kind the newest comes first. */
static bool priority_takes_ours(const struct tc_filter *filter)
{
	return !strcmp(filter->kind, "bpf") && filter->protocol == ETH_P_ALL;
}

uint16_t hook_clsact_priority(const struct tc_filters *filters)
{
	uint16_t next = CLSACT_PRIORITY;

	for (size_t i = 0; i < filters->count; i++) {
		const struct tc_filter *filter = &filters->all[i];

		if (filter->priority > next)
			break;
		if (priority_takes_ours(filter))
			return filter->priority;
		if (i == 0 && filter->priority == CLSACT_PRIORITY)
			return CLSACT_PRIORITY - 1;
		if (filter->priority == next)
			next++;
	}
	return next;
}

/* The filters at our place when those of dead exporters are gone. */
static int clsact_clear(uint32_t ifindex, enum flow_direction direction, struct tc_filters *ret)
{
	int r = tc_filters_get(ifindex, direction, ret);

	if (r == 0)
		r = clsact_sweep(ifindex, direction, ret);
	if (r <= 0)
		return r;
	tc_filters_clear(ret);
	return tc_filters_get(ifindex, direction, ret);
}

static int attach_clsact(struct hook *hook, const struct datapath *datapath)
{
	_cleanup_(tc_filters_clear) struct tc_filters filters = {0};
	const uint32_t owner = datapath_owner(datapath);
	const int stub = datapath_stub_fd(datapath, hook->program);
	struct bpf_prog_info info = {0};
	__u32 size = sizeof(info);
	char name[64];
	int r = owner ? bpf_obj_get_info_by_fd(stub, &info, &size) : -EPERM;

	if (r == 0)
		r = clsact_prepare(hook->ifindex, hook->direction);
	if (r == 0)
		r = clsact_clear(hook->ifindex, hook->direction, &filters);
	if (r < 0)
		return r;
	hook->clsact = true;
	hook->prog_id = info.id;
	hook->priority = hook_clsact_priority(&filters);
	snprintf(name, sizeof(name), "%s" CLSACT_OWNER "%08x", info.name, owner);
	return tc_filter_add(hook->ifindex, hook->direction, hook->priority, CLSACT_HANDLE, stub,
			     name);
}

int hook_attach_tc(struct hook *hook, const struct datapath *datapath, uint32_t ifindex,
		   enum flow_direction direction, bool bare)
{
	struct hook made = {.fd = -1, .ifindex = ifindex, .direction = direction};
	int r;

	if (direction == DIRECTION_INGRESS)
		made.program = bare ? PROGRAM_TC_INGRESS_BARE : PROGRAM_TC_INGRESS;
	else
		made.program = bare ? PROGRAM_TC_EGRESS_BARE : PROGRAM_TC_EGRESS;
	if (datapath_features(datapath)->tcx)
		r = attach_tcx(&made, datapath);
	else
		r = attach_clsact(&made, datapath);
	if (r == 0)
		*hook = made;
	return r;
}

void hook_tc_error(int error, char *ret, size_t size)
{
	const char *text = NULL;

	if (error == -EBUSY)
		text = "another flowtally has its clsact filter there: stop it first";
	else if (error == -EEXIST)
		text = "a foreign clsact filter has the handle 0xf10a: remove it";
	else if (error == -EMEDIUMTYPE)
		text = "the `ingress` qdisc there has no egress: put `clsact` in its place, which takes the same "
		       "filters, or use --egress off";
	else if (error == -EMLINK)
		text = "its qdisc shares its filters with other interfaces (`tc qdisc` shows the block): put a "
		       "`clsact` without ingress_block or egress_block in its place";
	if (text)
		snprintf(ret, size, "%s", text);
	else if (error == -EPERM || error == -EACCES)
		snprintf(ret, size, "%s: CAP_NET_ADMIN is needed", strerror(-error));
	else
		snprintf(
			ret, size,
			"%s: the kernel refuses (is CONFIG_NET_CLS_BPF and CONFIG_NET_SCH_INGRESS there?)",
			strerror(-error));
}

static bool clsact_is_ours(const struct hook *hook)
{
	uint32_t id;

	return tc_filter_program(hook->ifindex, hook->direction, hook->priority, CLSACT_HANDLE,
				 &id) == 0 &&
	       id == hook->prog_id;
}

int hook_move(struct hook *hook, const struct datapath *datapath)
{
	int program = datapath_program_fd(datapath, hook->program), r;

	if (hook->clsact)
		return 0; /* the stub is the same */
	r = bpf_link_update(hook->fd, program, NULL);
	if (r == 0 && hook->program != PROGRAM_XDP)
		hook->prog_id = program_id(program);
	return r;
}

/* The qdisc stays: others may have put filters there since, and without any it costs nothing. */
void hook_detach(struct hook *hook)
{
	if (hook->clsact && clsact_is_ours(hook))
		tc_filter_delete(hook->ifindex, hook->direction, hook->priority, CLSACT_HANDLE);
	closep(&hook->fd);
	*hook = HOOK_INIT;
}

int hook_load_idle(const struct datapath *datapath)
{
	const struct bpf_insn next[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = TCX_NEXT},
		{.code = BPF_JMP | BPF_EXIT},
	};

	if (!datapath_features(datapath)->tcx)
		return -EOPNOTSUPP;
	return bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "flowtally_idle", "GPL", next,
			     ARRAY_SIZE(next), NULL);
}

void hook_silence(struct hook *hook, int idle)
{
	bool tcx = hook->fd >= 0 && hook->program != PROGRAM_XDP;

	/* By replacement there is no grace period to wait for (tcx_link_update(), kernel/bpf/tcx.c). */
	if (!tcx || idle < 0 || bpf_link_update(hook->fd, idle, NULL) < 0)
		hook_detach(hook);
}

/* A detached link says ifindex 0, whoever did it; XDP and tcx links have it at the same place. */
bool hook_alive(const struct hook *hook)
{
	struct bpf_link_info info = {0};
	__u32 size = sizeof(info);

	if (hook->clsact)
		return clsact_is_ours(hook);
	return hook->fd >= 0 && bpf_obj_get_info_by_fd(hook->fd, &info, &size) == 0 &&
	       info.xdp.ifindex == hook->ifindex;
}
