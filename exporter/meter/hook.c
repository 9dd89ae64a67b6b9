/* SPDX-License-Identifier: Apache-2.0 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/bpf.h>
#include <linux/if_link.h>
#include <linux/pkt_sched.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include "exporter/meter/datapath.h"
#include "exporter/meter/hook.h"
#include "exporter/meter/netdev.h"

/* From 6.6's <linux/bpf.h>, which Debian 12 does not have yet. */
#define ATTACH_TCX_INGRESS 46
#define ATTACH_TCX_EGRESS  47
#define ATTACH_BEFORE	   (1U << 3)

/* Not 1, where others put theirs.  A filter is taken away by these and its program's id alone. */
#define CLSACT_PRIORITY 2
#define CLSACT_HANDLE	0xf10a
#define CLSACT_NAME	"flowtally_tc_s"

int hook_attach_xdp(struct hook *hook, const struct datapath *datapath, uint32_t ifindex)
{
	LIBBPF_OPTS(bpf_link_create_opts, opts, .flags = XDP_FLAGS_DRV_MODE);
	int fd = bpf_link_create(datapath_program_fd(datapath, PROGRAM_XDP), (int)ifindex, BPF_XDP,
				 &opts);

	if (fd < 0)
		return fd;
	*hook = (struct hook){.fd = fd, .ifindex = ifindex, .direction = DIRECTION_INGRESS};
	return 0;
}

static struct bpf_tc_hook clsact_hook(uint32_t ifindex, enum flow_direction direction)
{
	return (struct bpf_tc_hook){
		.sz = sizeof(struct bpf_tc_hook),
		.ifindex = (int)ifindex,
		.attach_point = direction == DIRECTION_INGRESS ? BPF_TC_INGRESS : BPF_TC_EGRESS,
	};
}

/* Whether the socket bound to this name belongs to somebody who may keep us off: root, or our own user. */
static bool holder_counts(const struct sockaddr_un *address, socklen_t length)
{
	_cleanup_(closep) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct ucred peer;
	socklen_t size = sizeof(peer);

	if (fd < 0 || connect(fd, (const struct sockaddr *)address, length) < 0 ||
	    getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
		return false;
	return peer.uid == 0 || peer.uid == geteuid();
}

/*
 * An abstract socket lives exactly as long as the process that bound it, and is known in its network
 * namespace alone, as the filter is: whoever can bind it knows that a filter at our place is a dead
 * exporter's.  Anybody can bind the name, so a holder's user is looked at.
 */
static int clsact_lock(uint32_t ifindex, enum flow_direction direction)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	_cleanup_(closep) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int n = snprintf(address.sun_path + 1, sizeof(address.sun_path) - 1,
			 "flowtally/clsact/%u/%d", ifindex, (int)direction);
	socklen_t length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n);

	if (fd < 0)
		return -errno;
	if (bind(fd, (struct sockaddr *)&address, length) < 0) {
		if (errno != EADDRINUSE)
			return -errno;
		if (holder_counts(&address, length))
			return -EBUSY;
	} else if (listen(fd, 8) < 0) {
		return -errno;
	}
	return TAKE_FD(fd);
}

/* The filter at our place of the chain bears a name of ours (libbpf names it after its program). */
static bool clsact_named_ours(uint32_t ifindex, enum flow_direction direction)
{
	const uint32_t parent = TC_H_MAKE(
		TC_H_CLSACT, direction == DIRECTION_INGRESS ? TC_H_MIN_INGRESS : TC_H_MIN_EGRESS);
	char name[64];

	return netdev_bpf_filter_name(ifindex, parent, CLSACT_PRIORITY, CLSACT_HANDLE, name,
				      sizeof(name)) == 0 &&
	       !strncmp(name, CLSACT_NAME, strlen(CLSACT_NAME));
}

/* Takes away the stub that a dead exporter left behind. */
static void clsact_sweep(uint32_t ifindex, enum flow_direction direction)
{
	struct bpf_tc_hook tc = clsact_hook(ifindex, direction);
	LIBBPF_OPTS(bpf_tc_opts, opts, .handle = CLSACT_HANDLE, .priority = CLSACT_PRIORITY);
	_cleanup_(closep) int lock = -1;

	if (!clsact_named_ours(ifindex, direction))
		return;
	lock = clsact_lock(ifindex, direction);
	if (lock >= 0)
		bpf_tc_detach(&tc, &opts);
}

/* First in the chain: a program in front of ours that accepts or redirects would end it (cilium #41393). */
static int attach_tcx(struct hook *hook, int prog, uint32_t ifindex, enum flow_direction direction)
{
	LIBBPF_OPTS(bpf_link_create_opts, opts, .flags = ATTACH_BEFORE);
	const int type = direction == DIRECTION_INGRESS ? ATTACH_TCX_INGRESS : ATTACH_TCX_EGRESS;
	int fd = bpf_link_create(prog, (int)ifindex, (enum bpf_attach_type)type, &opts);

	if (fd < 0)
		return fd;
	clsact_sweep(ifindex, direction);
	*hook = (struct hook){.fd = fd, .ifindex = ifindex, .direction = direction};
	return 0;
}

static int attach_clsact(struct hook *hook, int stub, uint32_t ifindex,
			 enum flow_direction direction)
{
	_cleanup_(closep) int lock = clsact_lock(ifindex, direction);
	struct bpf_tc_hook tc = clsact_hook(ifindex, direction);
	LIBBPF_OPTS(bpf_tc_opts, opts, .handle = CLSACT_HANDLE, .priority = CLSACT_PRIORITY,
		    .prog_fd = stub);
	int r;

	if (lock < 0)
		return lock;
	r = bpf_tc_hook_create(&tc);
	if (r < 0 && r != -EEXIST)
		return r;
	if (clsact_named_ours(ifindex, direction))
		opts.flags = BPF_TC_F_REPLACE; /* the stub of a dead exporter */
	r = bpf_tc_attach(&tc, &opts);
	if (r < 0)
		return r;
	*hook = (struct hook){
		.fd = TAKE_FD(lock),
		.clsact = true,
		.ifindex = ifindex,
		.direction = direction,
		.prog_id = opts.prog_id,
	};
	return 0;
}

int hook_attach_tc(struct hook *hook, const struct datapath *datapath, uint32_t ifindex,
		   enum flow_direction direction, bool bare)
{
	enum datapath_program program =
		direction == DIRECTION_INGRESS
			? (bare ? PROGRAM_TC_INGRESS_BARE : PROGRAM_TC_INGRESS)
			: (bare ? PROGRAM_TC_EGRESS_BARE : PROGRAM_TC_EGRESS);

	if (datapath_features(datapath)->tcx)
		return attach_tcx(hook, datapath_program_fd(datapath, program), ifindex, direction);
	return attach_clsact(hook, datapath_stub_fd(datapath, program), ifindex, direction);
}

static bool clsact_is_ours(const struct hook *hook)
{
	struct bpf_tc_hook tc = clsact_hook(hook->ifindex, hook->direction);
	LIBBPF_OPTS(bpf_tc_opts, opts, .handle = CLSACT_HANDLE, .priority = CLSACT_PRIORITY);

	return bpf_tc_query(&tc, &opts) == 0 && opts.prog_id == hook->prog_id;
}

/* The qdisc stays: others may have put filters there since, and without any it costs nothing. */
void hook_detach(struct hook *hook)
{
	struct bpf_tc_hook tc = clsact_hook(hook->ifindex, hook->direction);
	LIBBPF_OPTS(bpf_tc_opts, opts, .handle = CLSACT_HANDLE, .priority = CLSACT_PRIORITY);

	if (hook->fd >= 0 && hook->clsact && clsact_is_ours(hook))
		bpf_tc_detach(&tc, &opts);
	closep(&hook->fd);
	*hook = HOOK_INIT;
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
