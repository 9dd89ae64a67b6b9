/* SPDX-License-Identifier: Apache-2.0 */
/* Flows: the programs of the hooks, xdp/ingress.bpf.c and tc/egress.bpf.c in one object. */
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/bpf.h>
#include <sys/mman.h>
#include <unistd.h>
#include "exporter/log.h"
#include "exporter/meter/kind.h"
#include "flows.skel.h"

#ifndef BPF_F_XDP_HAS_FRAGS
#define BPF_F_XDP_HAS_FRAGS (1U << 5)
#endif

static bool kernel_has_btf(void)
{
	struct btf *btf = btf__load_vmlinux_btf();

	btf__free(btf);
	return btf != NULL;
}

/* An empty one for libbpf; its descriptor, or -1. */
static int make_btf(void)
{
	_cleanup_(closep) int fd = memfd_create("btf", MFD_CLOEXEC);
	struct btf *btf = btf__new_empty();
	uint32_t size = 0;
	const void *data = btf ? btf__raw_data(btf, &size) : NULL;
	bool made = fd >= 0 && data && write(fd, data, size) == (ssize_t)size;

	btf__free(btf);
	return made ? TAKE_FD(fd) : -1;
}

/*
 * libbpf wants the kernel's BTF for relocations; where there is none an empty one will do for flows, whose programs
 * then do without what they would read of the kernel's structures.  It is read when the object is loaded.
 */
static struct flows_bpf *open_skeleton(int *ret_btf)
{
	LIBBPF_OPTS(bpf_object_open_opts, options);
	char path[32];

	if (!kernel_has_btf()) {
		*ret_btf = make_btf();
		snprintf(path, sizeof(path), "/proc/self/fd/%d", *ret_btf);
		if (*ret_btf >= 0)
			options.btf_custom_path = path;
	}
	return flows_bpf__open_opts(&options);
}

static int flow_open(struct kind_object *ret, _unused_ const struct datapath_options *options,
		     const struct kernel_features *features,
		     _unused_ const struct datapath_config *like, _unused_ const char **ret_why)
{
	struct flows_bpf *own = ret->own = open_skeleton(&ret->btf);

	if (!own)
		return -errno;
	ret->skeleton = own->skeleton;
	ret->object = own->obj;
	ret->config = &own->rodata->config;
	ret->state = &own->bss->state;
	ret->config->xdp_frags = features->xdp_frags;
	if (features->xdp_frags)
		bpf_program__set_flags(own->progs.flowtally_xdp, BPF_F_XDP_HAS_FRAGS);
	return 0;
}

static void flow_close(struct kind_object *object)
{
	flows_bpf__destroy(object->own);
}

static void flow_log_failure(_unused_ const struct datapath_options *options, int error,
			     const char *why)
{
	if (error == -ENOMEM || error == -E2BIG)
		log_error("cannot load the BPF programs: no memory for the banks, choose a smaller "
			  "--bank-entries");
	else if (error == -EMFILE)
		log_error("cannot load the BPF programs: too many open files, raise the limit: "
			  "LimitNOFILE=65536 (systemctl edit flowtally), or ulimit -n");
	else if (why)
		log_error("cannot load the BPF programs: %s", why);
	else
		log_errno(
			LOG_ERR, error,
			"cannot load the BPF programs (--verbose shows the kernel's reasons; where "
			"it shows none, a security module refuses)");
}

static const char *const points[] = {"ingress", "egress"};
static const char *const shared[] = {"jump", "bonds", NULL};
static const struct kind_program programs[] = {
	{PROGRAM_XDP, "flowtally_xdp", NULL},
	{PROGRAM_TC_EGRESS, "flowtally_tc", "flowtally_tc_s1"},
	{PROGRAM_TC_INGRESS, "flowtally_tc_in", "flowtally_tc_s2"},
	{PROGRAM_TC_EGRESS_BARE, "flowtally_tc_l3", "flowtally_tc_s3"},
	{PROGRAM_TC_INGRESS_BARE, "flowtally_tc_i3", "flowtally_tc_s4"},
};

const struct kind flow_kind = {
	.name = "flow",
	.capabilities = "CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON",
	.points = points,
	.point_count = ARRAY_SIZE(points),
	.programs = programs,
	.program_count = ARRAY_SIZE(programs),
	.bank_setting = "bank-entries",
	.cache_setting = "cache-entries",
	.lingers = true,
	.shared = shared,
	.open = flow_open,
	.close = flow_close,
	.log_failure = flow_log_failure,
};
