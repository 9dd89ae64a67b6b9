/* SPDX-License-Identifier: Apache-2.0 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/bpf.h>
#include <string.h>
#include <sys/utsname.h>
#include "exporter/log.h"
#include "exporter/meter/datapath.h"
#include "flowtally.skel.h"

#define KERNEL_MAJOR_MIN 5
#define KERNEL_MINOR_MIN 15

#ifndef BPF_F_XDP_HAS_FRAGS
#define BPF_F_XDP_HAS_FRAGS (1U << 5)
#endif

/* enum bpf_attach_type of 6.6, which Debian 12's headers do not have */
#define ATTACH_TCX_EGRESS 47

struct datapath {
	struct flowtally_bpf *skel;
	struct kernel_features features;
	struct ring_buffer *wakeups;
	int cpus; /* possible CPUs: what per-CPU maps hold */
};

static const char *const feature_names[] = {"tcx", "xdp-frags"};

static bool *feature_at(struct kernel_features *features, size_t index)
{
	bool *const flags[] = {&features->tcx, &features->xdp_frags};

	return flags[index];
}

/* libbpf's own messages are the detail behind an error that is logged where it is handled. */
_printf_(2, 0) static int print_libbpf(enum libbpf_print_level level, const char *format,
				       va_list args)
{
	char text[4096];

	if (level == LIBBPF_DEBUG)
		return 0;
	vsnprintf(text, sizeof(text), format, args);
	text[strcspn(text, "\n")] = '\0';
	log_debug("%s", text);
	return 0;
}

uint32_t datapath_entries_min(void)
{
	int cpus = libbpf_num_possible_cpus();

	return MAX(4096, cpus > 0 ? (uint32_t)cpus * 1024 : 0);
}

uint64_t datapath_memory(uint32_t bank_entries)
{
	/* struct htab_elem with its LRU node, key, value; a bucket head per entry, to a power of two */
	const uint64_t element = 64 + sizeof(struct flow_key) + sizeof(struct flow_record);
	uint64_t buckets = 1;

	while (buckets < bank_entries)
		buckets *= 2;
	return 2 * (element * bank_entries + 16 * buckets);
}

const char *datapath_program_name(enum datapath_program program)
{
	static const char *const names[] = {
		[PROGRAM_XDP] = "flowtally_xdp",
		[PROGRAM_TC_EGRESS] = "flowtally_tc",
		[PROGRAM_TC_INGRESS] = "flowtally_tc_in",
		[PROGRAM_TC_EGRESS_BARE] = "flowtally_tc_l3",
		[PROGRAM_TC_INGRESS_BARE] = "flowtally_tc_i3",
	};

	return names[program];
}

static struct bpf_program *program_get(const struct datapath *d, enum datapath_program program)
{
	struct bpf_program *const programs[] = {
		[PROGRAM_XDP] = d->skel->progs.flowtally_xdp,
		[PROGRAM_TC_EGRESS] = d->skel->progs.flowtally_tc,
		[PROGRAM_TC_INGRESS] = d->skel->progs.flowtally_tc_in,
		[PROGRAM_TC_EGRESS_BARE] = d->skel->progs.flowtally_tc_l3,
		[PROGRAM_TC_INGRESS_BARE] = d->skel->progs.flowtally_tc_i3,
	};

	return programs[program];
}

int datapath_program_fd(const struct datapath *d, enum datapath_program program)
{
	return bpf_program__fd(program_get(d, program));
}

int datapath_stub_fd(const struct datapath *d, enum datapath_program program)
{
	struct bpf_program *const stubs[] = {
		[PROGRAM_XDP] = NULL,
		[PROGRAM_TC_EGRESS] = d->skel->progs.flowtally_tc_s1,
		[PROGRAM_TC_INGRESS] = d->skel->progs.flowtally_tc_s2,
		[PROGRAM_TC_EGRESS_BARE] = d->skel->progs.flowtally_tc_s3,
		[PROGRAM_TC_INGRESS_BARE] = d->skel->progs.flowtally_tc_s4,
	};

	return bpf_program__fd(stubs[program]);
}

const struct kernel_features *datapath_features(const struct datapath *d)
{
	return &d->features;
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
static bool probe_tcx(const struct datapath *d)
{
	int fd = bpf_link_create(datapath_program_fd(d, PROGRAM_TC_EGRESS), 0, ATTACH_TCX_EGRESS,
				 NULL);

	if (fd >= 0)
		close(fd);
	return fd == -ENODEV || fd >= 0;
}

static int log_load_error(int error)
{
	if (error == -EPERM || error == -EACCES)
		return log_errno(
			LOG_ERR, error,
			"cannot load the BPF programs: CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON are needed, "
			"run as root or grant them");
	if (error == -ENOMEM)
		return log_errno(LOG_ERR, error,
				 "cannot load the BPF programs: choose a smaller --bank-entries");
	return log_errno(LOG_ERR, error,
			 "cannot load the BPF programs (--verbose shows the kernel's reasons)");
}

static int size_maps(struct datapath *d, uint32_t entries)
{
	uint32_t reserve = (uint32_t)d->cpus * BANK_RESERVE_PER_CPU;

	d->skel->rodata->config.limit = entries - reserve;
	d->skel->rodata->config.high_water = (entries - reserve) / 8 * 7;
	d->skel->rodata->config.xdp_frags = d->features.xdp_frags;
	if (d->features.xdp_frags)
		bpf_program__set_flags(d->skel->progs.flowtally_xdp, BPF_F_XDP_HAS_FRAGS);
	return bpf_map__set_max_entries(d->skel->maps.bank0, entries)
		       ?: bpf_map__set_max_entries(d->skel->maps.bank1, entries);
}

/* The catch-all counters of ifindex 0 exist from the start, so that a full map costs detail but no packet. */
static int make_catch_all(struct datapath *d)
{
	_cleanup_(freep) struct reason_count *zero = calloc((size_t)d->cpus, sizeof(*zero));
	struct reason_key key = {0};
	int r;

	if (!zero)
		return -ENOMEM;
	for (key.direction = 0; key.direction < _DIRECTION_MAX; key.direction++)
		for (key.reason = REASON_NONE + 1; key.reason < _REASON_MAX; key.reason++) {
			r = bpf_map_update_elem(bpf_map__fd(d->skel->maps.unrecorded), &key, zero,
						BPF_ANY);
			if (r < 0)
				return r;
		}
	return 0;
}

static int fill_jump(struct datapath *d)
{
	int fd, r;

	for (uint32_t i = PROGRAM_XDP + 1; i < _PROGRAM_MAX; i++) {
		fd = datapath_program_fd(d, (enum datapath_program)i);
		r = bpf_map_update_elem(bpf_map__fd(d->skel->maps.jump), &i, &fd, BPF_ANY);
		if (r < 0)
			return r;
	}
	return 0;
}

static int ignore_wakeup(_unused_ void *userdata, _unused_ void *data, _unused_ size_t size)
{
	return 0;
}

static int load(struct datapath *d, const struct datapath_options *options)
{
	int r;

	d->cpus = libbpf_num_possible_cpus();
	if (d->cpus < 0)
		return d->cpus;
	d->skel = flowtally_bpf__open();
	if (!d->skel)
		return -errno;
	r = size_maps(d, options->bank_entries);
	if (r < 0)
		return r;
	r = flowtally_bpf__load(d->skel);
	if (r < 0)
		return r;
	r = make_catch_all(d) ?: fill_jump(d);
	if (r < 0)
		return r;
	d->wakeups =
		ring_buffer__new(bpf_map__fd(d->skel->maps.wakeups), ignore_wakeup, NULL, NULL);
	return d->wakeups ? 0 : -errno;
}

int datapath_new(struct datapath **ret, const struct datapath_options *options)
{
	_cleanup_(datapath_freep) struct datapath *d = calloc(1, sizeof(*d));
	int r;

	if (!d)
		return -ENOMEM;
	libbpf_set_print(print_libbpf);
	r = check_kernel();
	if (r < 0)
		return r;
	d->features = (struct kernel_features){.tcx = true, .xdp_frags = probe_xdp_frags()};
	r = mask_features(&d->features, options->mask);
	if (r < 0)
		return r;
	if (options->bank_entries < datapath_entries_min()) {
		log_error("bank of %u entries is too small: %u at least on this machine",
			  options->bank_entries, datapath_entries_min());
		return -EINVAL;
	}
	r = load(d, options);
	if (r < 0)
		return log_load_error(r);
	d->features.tcx = d->features.tcx && probe_tcx(d);
	*ret = TAKE_PTR(d);
	return 0;
}

struct datapath *datapath_free(struct datapath *d)
{
	if (!d)
		return NULL;
	ring_buffer__free(d->wakeups);
	if (d->skel)
		flowtally_bpf__destroy(d->skel);
	free(d);
	return NULL;
}

int datapath_wakeup_fd(const struct datapath *d)
{
	return ring_buffer__epoll_fd(d->wakeups);
}

void datapath_wakeup_clear(struct datapath *d)
{
	ring_buffer__consume(d->wakeups);
}

unsigned int datapath_active(const struct datapath *d)
{
	return *(volatile uint32_t *)&d->skel->bss->active.index;
}

static int bank_fd(const struct datapath *d, unsigned int bank)
{
	return bpf_map__fd(bank ? d->skel->maps.bank1 : d->skel->maps.bank0);
}

/*
 * A write to a slot of a map of maps returns after an RCU grace period (maybe_wait_bpf_programs(),
 * kernel commit 1ae80cf31938), and programs run inside RCU read sections: after it, none that read
 * the old index is left.
 */
int datapath_swap(struct datapath *d, unsigned int *ret_old)
{
	volatile uint32_t *active = &d->skel->bss->active.index;
	int inner = bpf_map__fd(d->skel->maps.inner), r;
	uint32_t zero = 0, old = *active;

	*active = !old;
	r = bpf_map_update_elem(bpf_map__fd(d->skel->maps.grace), &zero, &inner, BPF_ANY);
	if (r < 0) {
		*active =
			old; /* both banks may have been written: neither may be read as standing still */
		return r;
	}
	*ret_old = old;
	return 0;
}

int datapath_read(struct datapath *d, unsigned int bank, uint32_t *position, struct flow_key *keys,
		  struct flow_record *records, uint32_t max, uint32_t *ret_count, bool *ret_done)
{
	uint32_t next = 0, count = max;
	int r = bpf_map_lookup_and_delete_batch(bank_fd(d, bank), *position ? position : NULL,
						&next, keys, records, &count, NULL);

	if (r < 0 && r != -ENOENT)
		return r;
	*position = next;
	*ret_count = count;
	*ret_done = r == -ENOENT;
	return 0;
}

void datapath_reset_fill(struct datapath *d, unsigned int bank)
{
	*(volatile uint32_t *)&d->skel->bss->fill[bank].entries = 0;
}

static void hook_count_add(struct hook_count *sum, const struct hook_count *count)
{
	sum->seen += count->seen;
	for (unsigned int i = 0; i < ARRAY_SIZE(sum->bank); i++) {
		sum->bank[i].packets += count->bank[i].packets;
		sum->bank[i].octets += count->bank[i].octets;
		sum->bank[i].inserts += count->bank[i].inserts;
	}
}

int datapath_counts(const struct datapath *d, enum flow_direction direction, struct hook_count *ret)
{
	_cleanup_(freep) struct hook_count *counts = calloc((size_t)d->cpus, sizeof(*counts));
	struct hook_count sum = {0};
	uint32_t key = direction;
	int r;

	if (!counts)
		return -ENOMEM;
	r = bpf_map_lookup_elem(bpf_map__fd(d->skel->maps.counts), &key, counts);
	if (r < 0)
		return r;
	for (int i = 0; i < d->cpus; i++)
		hook_count_add(&sum, &counts[i]);
	*ret = sum;
	return 0;
}

int datapath_unrecorded(const struct datapath *d, datapath_visit visit, void *userdata)
{
	_cleanup_(freep) struct reason_count *counts = calloc((size_t)d->cpus, sizeof(*counts));
	struct reason_key key, *previous = NULL;
	int fd = bpf_map__fd(d->skel->maps.unrecorded), r;
	struct reason_count sum;

	if (!counts)
		return -ENOMEM;
	/* Nothing is ever deleted from this map, so that the walk neither ends early nor starts again. */
	while (bpf_map_get_next_key(fd, previous, &key) == 0) {
		r = bpf_map_lookup_elem(fd, &key, counts);
		if (r < 0)
			return r;
		sum = (struct reason_count){0};
		for (int i = 0; i < d->cpus; i++) {
			sum.packets += counts[i].packets;
			sum.octets += counts[i].octets;
		}
		if (sum.packets)
			visit(userdata, &key, &sum);
		previous = &key;
	}
	return 0;
}
