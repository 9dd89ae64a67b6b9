/* SPDX-License-Identifier: Apache-2.0 */
#include <bpf/bpf.h>
#include <errno.h>
#include <linux/bpf.h>
#include <string.h>
#include <sys/utsname.h>
#include "exporter/log.h"
#include "exporter/meter/features.h"

#define KERNEL_MAJOR_MIN 5
#define KERNEL_MINOR_MIN 15

#ifndef BPF_F_XDP_HAS_FRAGS
#define BPF_F_XDP_HAS_FRAGS (1U << 5)
#endif

/* enum bpf_attach_type of 6.6, which Debian 12's headers do not have */
#define ATTACH_TCX_EGRESS 47

static const char *const feature_names[] = {"tcx", "xdp-frags"};

static bool *feature_at(struct kernel_features *features, size_t index)
{
	bool *const flags[] = {&features->tcx, &features->xdp_frags};

	return flags[index];
}

static int check_kernel(void)
{
	unsigned int major = 0, minor = 0;
	struct utsname name;

	uname(&name);
	if (sscanf(name.release, "%u.%u", &major, &minor) == 2 &&
	    (major < KERNEL_MAJOR_MIN || (major == KERNEL_MAJOR_MIN && minor < KERNEL_MINOR_MIN))) {
		log_error("kernel %s is too old: flowtally needs Linux %d.%d or newer",
			  name.release, KERNEL_MAJOR_MIN, KERNEL_MINOR_MIN);
		return -EOPNOTSUPP;
	}
	if (access("/sys/kernel/btf/vmlinux", R_OK) < 0)
		log_warning(
			"the kernel gives no BTF (/sys/kernel/btf/vmlinux; CONFIG_DEBUG_INFO_BTF=y provides it): "
			"flows are metered without it");
	return 0;
}

static int mask_feature(struct kernel_features *features, const char *name, size_t length)
{
	for (size_t i = 0; i < ARRAY_SIZE(feature_names); i++)
		if (strlen(feature_names[i]) == length &&
		    !strncmp(feature_names[i], name, length)) {
			*feature_at(features, i) = false;
			return 0;
		}
	log_error("--mask: no feature '%.*s', there are tcx and xdp-frags", (int)length, name);
	return -EINVAL;
}

static int mask_features(struct kernel_features *features, const char *mask)
{
	size_t length;
	int r;

	for (; mask && *mask; mask += length + (mask[length] == ',')) {
		length = strcspn(mask, ",");
		r = mask_feature(features, mask, length);
		if (r < 0)
			return r;
	}
	return 0;
}

static bool probe_xdp_frags(void)
{
	const struct bpf_insn pass[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = XDP_PASS},
		{.code = BPF_JMP | BPF_EXIT},
	};
	LIBBPF_OPTS(bpf_prog_load_opts, opts, .prog_flags = BPF_F_XDP_HAS_FRAGS);
	int fd = bpf_prog_load(BPF_PROG_TYPE_XDP, "flowtally_probe", "GPL", pass, ARRAY_SIZE(pass),
			       &opts);

	if (fd < 0)
		return false;
	close(fd);
	return true;
}

/* With no interface 0, a kernel that knows the attach type says ENODEV, one that does not EINVAL. */
void features_probe_tcx(struct kernel_features *features, int program)
{
	int fd = bpf_link_create(program, 0, ATTACH_TCX_EGRESS, NULL);

	if (fd >= 0)
		close(fd);
	features->tcx &= fd == -ENODEV || fd >= 0;
}

int features_probe(struct kernel_features *ret, const char *mask)
{
	struct kernel_features features = {.tcx = true};
	int r = check_kernel();

	if (r < 0)
		return r;
	features.xdp_frags = probe_xdp_frags();
	r = mask_features(&features, mask);
	if (r < 0)
		return r;
	*ret = features;
	return 0;
}
