/* SPDX-License-Identifier: Apache-2.0 */
#include <bpf/bpf.h>
#include <errno.h>
#include <linux/bpf.h>
#include <linux/if_link.h>
#include <string.h>
#include <sys/utsname.h>
#include "exporter/log.h"
#include "exporter/meter/features.h"
#include "exporter/meter/tcx.h"

#ifndef BPF_F_XDP_HAS_FRAGS
#define BPF_F_XDP_HAS_FRAGS (1U << 5)
#endif

#define LOOPBACK_IFINDEX 1

#define LOAD_WORD(reg, value) \
	{ \
		.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = (reg), .imm = (value) \
	}
#define EXIT \
	{ \
		.code = BPF_JMP | BPF_EXIT \
	}

static int probe_program(enum bpf_prog_type type, const struct bpf_insn *code, size_t count,
			 uint32_t flags)
{
	LIBBPF_OPTS(bpf_prog_load_opts, opts, .prog_flags = flags);
	int fd = bpf_prog_load(type, "flowtally_probe", "GPL", code, count, &opts);

	if (fd < 0)
		return fd;
	close(fd);
	return 0;
}

static int probe_ringbuf(void)
{
	_cleanup_(closep) int fd = bpf_map_create(BPF_MAP_TYPE_RINGBUF, "flowtally_probe", 0, 0,
						  (uint32_t)getpagesize(), NULL);

	return fd < 0 ? fd : 0;
}

/* An empty map has no next entry. */
static int probe_batch(void)
{
	_cleanup_(closep) int fd =
		bpf_map_create(BPF_MAP_TYPE_LRU_HASH, "flowtally_probe", 4, 4, 1024, NULL);
	uint32_t next = 0, key, value, count = 1;
	int r;

	if (fd < 0)
		return fd;
	r = bpf_map_lookup_and_delete_batch(fd, NULL, &next, &key, &value, &count, NULL);
	return r == -ENOENT ? 0 : r;
}

static int probe_coarse_clock(void)
{
	const struct bpf_insn code[] = {
		{.code = BPF_JMP | BPF_CALL, .imm = BPF_FUNC_ktime_get_coarse_ns},
		LOAD_WORD(BPF_REG_0, 0),
		EXIT,
	};

	return probe_program(BPF_PROG_TYPE_SCHED_CLS, code, ARRAY_SIZE(code), 0);
}

static int probe_fetch(void)
{
	const struct bpf_insn code[] = {
		LOAD_WORD(BPF_REG_1, 1),
		{.code = BPF_STX | BPF_MEM | BPF_DW,
		 .dst_reg = BPF_REG_10,
		 .src_reg = BPF_REG_1,
		 .off = -8},
		{.code = BPF_STX | BPF_ATOMIC | BPF_DW,
		 .dst_reg = BPF_REG_10,
		 .src_reg = BPF_REG_1,
		 .off = -8,
		 .imm = BPF_ADD | BPF_FETCH},
		LOAD_WORD(BPF_REG_0, 0),
		EXIT,
	};

	return probe_program(BPF_PROG_TYPE_SCHED_CLS, code, ARRAY_SIZE(code), 0);
}

/*
 * The loopback interface, 1 in every namespace, has no native XDP: nothing is attached.  EOPNOTSUPP says so, EINVAL that
 * there are no such links.
 */
static int probe_xdp_link(void)
{
	LIBBPF_OPTS(bpf_link_create_opts, opts, .flags = XDP_FLAGS_DRV_MODE);
	const struct bpf_insn code[] = {LOAD_WORD(BPF_REG_0, XDP_PASS), EXIT};
	_cleanup_(closep) int program = bpf_prog_load(BPF_PROG_TYPE_XDP, "flowtally_probe", "GPL",
						      code, ARRAY_SIZE(code), NULL);
	_cleanup_(closep) int fd = -1;

	if (program < 0)
		return program;
	fd = bpf_link_create(program, LOOPBACK_IFINDEX, BPF_XDP, &opts);
	return fd == -EINVAL ? fd : 0;
}

static int probe_xdp_frags(void)
{
	const struct bpf_insn code[] = {LOAD_WORD(BPF_REG_0, XDP_PASS), EXIT};

	return probe_program(BPF_PROG_TYPE_XDP, code, ARRAY_SIZE(code), BPF_F_XDP_HAS_FRAGS);
}

/* What there is no doing without: `name` masks it.  Distributions carry features to older kernels. */
static const struct {
	const char *name;
	const char *what;
	const char *since;
	int (*probe)(void);
} needed[] = {
	{"batch", "batches from LRU maps", "5.6", probe_batch},
	{"ringbuf", "BPF ring buffers", "5.8", probe_ringbuf},
	{"xdp-link", "BPF links for XDP", "5.9", probe_xdp_link},
	{"coarse-clock", "bpf_ktime_get_coarse_ns()", "5.11", probe_coarse_clock},
	{"fetch", "atomic operations of BPF that fetch", "5.12", probe_fetch},
};

static const char *const feature_names[] = {"tcx", "xdp-frags"};

static bool *feature_at(struct kernel_features *features, size_t index)
{
	bool *const flags[] = {&features->tcx, &features->xdp_frags};

	return flags[index];
}

static bool is_masked(const char *mask, const char *name)
{
	const size_t length = strlen(name);

	for (; mask && *mask; mask += strcspn(mask, ",") + (mask[strcspn(mask, ",")] == ','))
		if (strcspn(mask, ",") == length && !strncmp(mask, name, length))
			return true;
	return false;
}

/* What may not be tried is taken to be there: the load will say which privilege it wants. */
static int check_needed(const char *mask)
{
	struct utsname system;
	char missing[256] = "";
	size_t length = 0;
	int r;

	for (size_t i = 0; i < ARRAY_SIZE(needed); i++) {
		r = is_masked(mask, needed[i].name) ? -EOPNOTSUPP : needed[i].probe();
		if (r == 0 || r == -EPERM)
			continue;
		if (length < sizeof(missing))
			length += (size_t)snprintf(missing + length, sizeof(missing) - length,
						   "%sno %s (Linux %s)", length ? ", " : "",
						   needed[i].what, needed[i].since);
	}
	if (!length)
		return 0;
	uname(&system);
	log_error("kernel %s is too old: %s", system.release, missing);
	return -EOPNOTSUPP;
}

static void check_btf(void)
{
	if (access("/sys/kernel/btf/vmlinux", R_OK) < 0)
		log_warning(
			"the kernel gives no BTF (/sys/kernel/btf/vmlinux; CONFIG_DEBUG_INFO_BTF=y provides it): "
			"flows are metered without it");
}

static int mask_feature(struct kernel_features *features, const char *name, size_t length)
{
	for (size_t i = 0; i < ARRAY_SIZE(feature_names); i++)
		if (strlen(feature_names[i]) == length &&
		    !strncmp(feature_names[i], name, length)) {
			*feature_at(features, i) = false;
			return 0;
		}
	for (size_t i = 0; i < ARRAY_SIZE(needed); i++)
		if (strlen(needed[i].name) == length && !strncmp(needed[i].name, name, length))
			return 0; /* check_needed() has refused it */
	log_error("--mask: there is no feature '%.*s'", (int)length, name);
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

/* With no interface 0, a kernel that knows the attach type says ENODEV, one that does not EINVAL. */
static int try_tcx(int program)
{
	int fd = bpf_link_create(program, 0, tcx_attach_type(DIRECTION_EGRESS), NULL);

	if (fd >= 0)
		close(fd);
	return fd >= 0 || fd == -ENODEV ? 0 : fd;
}

void features_probe_tcx(struct kernel_features *features, int program)
{
	features->tcx &= try_tcx(program) == 0;
}

static int probe_tcx(void)
{
	const struct bpf_insn code[] = {LOAD_WORD(BPF_REG_0, 0), EXIT};
	_cleanup_(closep) int program = bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "flowtally_probe",
						      "GPL", code, ARRAY_SIZE(code), NULL);

	return program < 0 ? program : try_tcx(program);
}

/* In the order of feature_names. */
static const struct {
	const char *what;
	const char *since;
	int (*probe)(void);
} optional[] = {
	{"BPF links for TC (tcx)", "6.6", probe_tcx},
	{"XDP programs for frames in fragments", "5.18", probe_xdp_frags},
};
_Static_assert(ARRAY_SIZE(optional) == ARRAY_SIZE(feature_names), "one for each name");
_Static_assert(ARRAY_SIZE(optional) + ARRAY_SIZE(needed) <= FEATURES_MAX, "room for all");

size_t features_list(struct feature ret[FEATURES_MAX], const char *mask)
{
	size_t count = 0;

	for (size_t i = 0; i < ARRAY_SIZE(needed); i++)
		ret[count++] = (struct feature){needed[i].name, needed[i].what, needed[i].since,
						.needed = true, .error = needed[i].probe()};
	for (size_t i = 0; i < ARRAY_SIZE(optional); i++)
		ret[count++] = (struct feature){feature_names[i], optional[i].what,
						optional[i].since, .error = optional[i].probe()};
	for (size_t i = 0; i < count; i++) {
		ret[i].masked = is_masked(mask, ret[i].name);
		if (ret[i].masked)
			ret[i].error = -EOPNOTSUPP;
	}
	return count;
}

int features_probe(struct kernel_features *ret, const char *mask)
{
	struct kernel_features features = {.tcx = true};
	int r = check_needed(mask);

	if (r < 0)
		return r;
	check_btf();
	features.xdp_frags = probe_xdp_frags() == 0;
	r = mask_features(&features, mask);
	if (r < 0)
		return r;
	*ret = features;
	return 0;
}
