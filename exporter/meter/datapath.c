/* SPDX-License-Identifier: Apache-2.0 */
#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/bpf.h>
#include <linux/capability.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "exporter/log.h"
#include "exporter/meter/datapath.h"
#include "exporter/meter/drops.h"
#include "exporter/meter/libbpf_log.h"
#include "exporter/meter/owner.h"
#include "flowtally.skel.h"

#ifndef BPF_F_XDP_HAS_FRAGS
#define BPF_F_XDP_HAS_FRAGS (1U << 5)
#endif

struct datapath {
	struct flowtally_bpf *skel;
	struct kernel_features features;
	struct ring_buffer *wakeups;
	unsigned int uses;  /* a bit for each enum bank_use */
	unsigned int woken; /* likewise: while the ring buffer is emptied */
	int cpus;	    /* possible CPUs: what per-CPU maps hold */
	int owner_fd;	    /* owner.h; -1: none */
	uint32_t owner;
};

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
		[PROGRAM_DROP] = "flowtally_drop",
		[PROGRAM_XDP_EXCEPTION] = "flowtally_xdp_exception",
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
		[PROGRAM_DROP] = d->skel->progs.flowtally_drop,
		[PROGRAM_XDP_EXCEPTION] = d->skel->progs.flowtally_xdp_exception,
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

uint32_t datapath_owner(const struct datapath *d)
{
	return d->owner;
}

int datapath_map_fd(const struct datapath *d, enum datapath_map map)
{
	const struct bpf_map *const maps[] = {
		[MAP_DROP_COUNTS] = d->skel->maps.drop_counts,
		[MAP_XDP_EXCEPTIONS] = d->skel->maps.xdp_exceptions,
	};

	return bpf_map__fd(maps[map]);
}

const struct kernel_features *datapath_features(const struct datapath *d)
{
	return &d->features;
}

static bool has_capability(const struct __user_cap_data_struct *sets, unsigned int capability)
{
	return sets[CAP_TO_INDEX(capability)].effective & CAP_TO_MASK(capability);
}

/* Without CAP_PERFMON the verifier refuses programs, for reasons that do not name it: -EACCES, as for a faulty one. */
static bool lacks_capabilities(int error)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3] = {0};

	if (error != -EACCES || syscall(SYS_capget, &header, sets) < 0)
		return error == -EPERM;
	return !has_capability(sets, CAP_SYS_ADMIN) &&
	       !(has_capability(sets, CAP_BPF) && has_capability(sets, CAP_PERFMON));
}

static int log_load_error(int error)
{
	if (lacks_capabilities(error))
		return log_errno(
			LOG_ERR, error,
			"cannot load the BPF programs: CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON are needed, "
			"run as root or grant them");
	if (error == -ENOMEM)
		return log_errno(
			LOG_ERR, error,
			"cannot load the BPF programs: choose a smaller --bank-entries or --drop-entries");
	return log_errno(LOG_ERR, error,
			 "cannot load the BPF programs (--verbose shows the kernel's reasons)");
}

static struct bpf_map *bank_get(const struct datapath *d, enum bank_use use, unsigned int bank)
{
	struct bpf_map *const banks[_BANK_USE_MAX][2] = {
		[BANK_FLOWS] = {d->skel->maps.bank0, d->skel->maps.bank1},
		[BANK_DROPS] = {d->skel->maps.drop_bank0, d->skel->maps.drop_bank1},
	};

	return banks[use][bank];
}

int datapath_bank_fd(const struct datapath *d, enum bank_use use, unsigned int bank)
{
	return bpf_map__fd(bank_get(d, use, bank));
}

static int size_banks(struct datapath *d, enum bank_use use, uint32_t entries)
{
	uint32_t reserve = (uint32_t)d->cpus * BANK_RESERVE_PER_CPU;
	bool used = d->uses >> use & 1;
	int r = 0;

	d->skel->rodata->config.limit[use] = entries - reserve;
	d->skel->rodata->config.high_water[use] = (entries - reserve) / 8 * 7;
	for (unsigned int bank = 0; bank < 2 && r == 0; bank++)
		r = used ? bpf_map__set_max_entries(bank_get(d, use, bank), entries)
			 : bpf_map__set_autocreate(bank_get(d, use, bank), false);
	return r;
}

static int configure_drops(struct datapath *d, const struct datapath_options *options,
			   const struct drops_kernel *kernel)
{
	struct datapath_config *config = &d->skel->rodata->config;

	config->drop_socket = kernel->socket;
	config->drop_namespace = kernel->own_namespace;
	config->release = kernel->release;
	config->release_list = kernel->release_list;
	config->not_specified = kernel->not_specified;
	if (!kernel->release.size)
		log_info("/proc/kallsyms is closed (CAP_SYSLOG opens it): parts of reassembled "
			 "packets show as drops, NOT_SPECIFIED");
	config->drop_cost_ns =
		options->drops_budget ? (uint32_t)(NSEC_PER_SEC / options->drops_budget) : 0;
	config->drop_everywhere = options->drops_everywhere;
	if (options->drop_excluded)
		memcpy(config->drop_excluded, options->drop_excluded,
		       sizeof(config->drop_excluded));
	bpf_program__set_autoload(d->skel->progs.flowtally_drop, true);
	bpf_program__set_autoload(d->skel->progs.flowtally_xdp_exception, kernel->xdp_exception);
	return size_banks(d, BANK_DROPS, options->drop_entries);
}

static int leave_drops(struct datapath *d)
{
	return size_banks(d, BANK_DROPS, 0)
		       ?: bpf_map__set_autocreate(d->skel->maps.drops, false)
		       ?: bpf_map__set_autocreate(d->skel->maps.drop_counts, false)
		       ?: bpf_map__set_autocreate(d->skel->maps.xdp_exceptions, false);
}

static int configure_flows(struct datapath *d, uint32_t entries)
{
	struct bpf_program *program;

	d->skel->rodata->config.xdp_frags = d->features.xdp_frags;
	if (d->features.xdp_frags)
		bpf_program__set_flags(d->skel->progs.flowtally_xdp, BPF_F_XDP_HAS_FRAGS);
	if (!(d->uses & 1u << BANK_FLOWS))
		bpf_object__for_each_program(program, d->skel->obj)
			bpf_program__set_autoload(program, false);
	return size_banks(d, BANK_FLOWS, entries);
}

/* The catch-all counters of ifindex 0 exist from the start, so that a full map costs detail but no packet. */
static int make_catch_all(struct datapath *d)
{
	_cleanup_(freep) struct reason_count *zero = calloc((size_t)d->cpus, sizeof(*zero));
	int fd = bpf_map__fd(d->skel->maps.unrecorded), r = 0;
	struct reason_key key = {0};

	if (!zero)
		return -ENOMEM;
	for (key.point = 0; key.point < _POINT_MAX; key.point++)
		for (key.bank = 0; key.bank < 2; key.bank++)
			for (key.reason = REASON_NONE + 1; r == 0 && key.reason < _REASON_MAX;
			     key.reason++)
				r = bpf_map_update_elem(fd, &key, zero, BPF_ANY);
	return r;
}

static int fill_jump(struct datapath *d)
{
	int fd, r;

	for (uint32_t i = PROGRAM_XDP + 1; i < _PROGRAM_HOOK_MAX; i++) {
		fd = datapath_program_fd(d, (enum datapath_program)i);
		r = bpf_map_update_elem(bpf_map__fd(d->skel->maps.jump), &i, &fd, BPF_ANY);
		if (r < 0)
			return r;
	}
	return 0;
}

static int on_wakeup(void *userdata, void *data, _unused_ size_t size)
{
	struct datapath *d = userdata;

	d->woken |= 1u << *(const uint32_t *)data;
	return 0;
}

static bool kernel_has_btf(void)
{
	struct btf *btf = btf__load_vmlinux_btf();

	btf__free(btf);
	return btf != NULL;
}

/*
 * libbpf wants the kernel's BTF for relocations; where there is none an empty one will do for flows, whose programs
 * then do without what they would read of the kernel's structures.  *ret_btf must stay open until the load.
 */
static int open_skeleton(struct flowtally_bpf **ret, bool drops, int *ret_btf)
{
	LIBBPF_OPTS(bpf_object_open_opts, options);
	struct btf *btf = drops || kernel_has_btf() ? NULL : btf__new_empty();
	char path[32];
	uint32_t size;
	const void *data = btf ? btf__raw_data(btf, &size) : NULL;

	if (data) {
		*ret_btf = memfd_create("btf", MFD_CLOEXEC);
		if (write(*ret_btf, data, size) == (ssize_t)size)
			options.btf_custom_path = path;
		snprintf(path, sizeof(path), "/proc/self/fd/%d", *ret_btf);
	}
	*ret = flowtally_bpf__open_opts(&options);
	btf__free(btf);
	return *ret ? 0 : -errno;
}

static int load(struct datapath *d, const struct datapath_options *options,
		const struct drops_kernel *kernel)
{
	_cleanup_(closep) int btf = -1;
	int r;

	flowtally_bpf__destroy(d->skel);
	r = open_skeleton(&d->skel, d->uses & 1u << BANK_DROPS, &btf);
	if (r < 0)
		return r;
	r = configure_flows(d, options->bank_entries);
	if (r == 0)
		r = d->uses & 1u << BANK_DROPS ? configure_drops(d, options, kernel)
					       : leave_drops(d);
	return r ?: flowtally_bpf__load(d->skel);
}

/* Drops are what may be impossible where flows are not. */
static int load_wanted(struct datapath *d, const struct datapath_options *options)
{
	struct drops_kernel kernel = {0};
	const char *why = NULL;
	int r = 0;

	d->uses = (options->bank_entries ? 1u << BANK_FLOWS : 0) |
		  (options->drops ? 1u << BANK_DROPS : 0);
	if (options->drops)
		r = drops_probe(&kernel, &why);
	if (r == 0) {
		r = load(d, options, &kernel);
		if (r == 0 || !options->drops)
			return r;
	}
	if (!why)
		why = lacks_capabilities(r) ? "CAP_BPF and CAP_PERFMON are needed" : strerror(-r);
	if (options->drops == DROPS_ON) {
		log_error("cannot trace drops: %s", why);
		return r;
	}
	d->uses &= ~(1u << BANK_DROPS);
	r = load(d, options, &kernel);
	if (r == 0)
		log_warning("drops are not recorded: %s", why);
	return r;
}

static int open_datapath(struct datapath *d, const struct datapath_options *options)
{
	int r;

	d->cpus = libbpf_num_possible_cpus();
	if (d->cpus < 0)
		return d->cpus;
	r = load_wanted(d, options) ?: make_catch_all(d);
	if (r == 0 && d->uses & 1u << BANK_FLOWS)
		r = fill_jump(d);
	if (r < 0)
		return r;
	d->wakeups = ring_buffer__new(bpf_map__fd(d->skel->maps.wakeups), on_wakeup, d, NULL);
	return d->wakeups ? 0 : -errno;
}

static int check_entries(uint32_t entries)
{
	if (entries >= datapath_entries_min())
		return 0;
	log_error("bank of %u entries is too small: %u at least on this machine", entries,
		  datapath_entries_min());
	return -EINVAL;
}

static void prepare_hooks(struct datapath *d)
{
	int r = 0;

	features_probe_tcx(&d->features, datapath_program_fd(d, PROGRAM_TC_EGRESS));
	if (!d->features.tcx)
		r = owner_open(&d->owner_fd, &d->owner);
	if (r < 0) /* clsact filters are refused then */
		log_errno(LOG_WARNING, r, "cannot mark clsact filters as this exporter's");
}

int datapath_new(struct datapath **ret, const struct datapath_options *options)
{
	_cleanup_(datapath_freep) struct datapath *d = calloc(1, sizeof(*d));
	int r;

	if (!d)
		return -ENOMEM;
	d->owner_fd = -1;
	libbpf_set_print(libbpf_log);
	r = features_probe(&d->features, options->mask);
	if (r == 0 && options->bank_entries)
		r = check_entries(options->bank_entries);
	if (r == 0 && options->drops)
		r = check_entries(options->drop_entries);
	if (r < 0)
		return r;
	r = open_datapath(d, options);
	if (r < 0)
		return log_load_error(r);
	if (d->uses & 1u << BANK_FLOWS)
		prepare_hooks(d);
	*ret = TAKE_PTR(d);
	return 0;
}

struct datapath *datapath_free(struct datapath *d)
{
	if (!d)
		return NULL;
	closep(&d->owner_fd);
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

unsigned int datapath_wakeup_clear(struct datapath *d)
{
	d->woken = 0;
	ring_buffer__consume(d->wakeups);
	return d->woken;
}

unsigned int datapath_uses(const struct datapath *d)
{
	return d->uses;
}

int datapath_set_bond(struct datapath *d, uint32_t ifindex, bool attached)
{
	int map = bpf_map__fd(d->skel->maps.bonds), r;
	uint32_t zero = 0;

	r = attached ? bpf_map_update_elem(map, &ifindex, &zero, BPF_NOEXIST)
		     : bpf_map_delete_elem(map, &ifindex);
	if (r == 0)
		d->skel->bss->active.bonds += attached ? 1 : -1u;
	return r == -EEXIST || r == -ENOENT ? 0 : r;
}

unsigned int datapath_active(const struct datapath *d, enum bank_use use)
{
	return *(volatile uint32_t *)&d->skel->bss->active.index[use];
}

/*
 * A write to a slot of a map of maps returns after an RCU grace period (maybe_wait_bpf_programs(),
 * kernel commit 1ae80cf31938), and programs run inside RCU read sections: after it, none that read
 * the old index is left.
 */
int datapath_swap(struct datapath *d, enum bank_use use, unsigned int *ret_old)
{
	volatile uint32_t *active = &d->skel->bss->active.index[use];
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

int datapath_read(struct datapath *d, enum bank_use use, unsigned int bank, uint32_t *position,
		  struct flow_key *keys, struct flow_record *records, uint32_t max,
		  uint32_t *ret_count, bool *ret_done)
{
	uint32_t next = 0, count = max;
	int r = bpf_map_lookup_and_delete_batch(bpf_map__fd(bank_get(d, use, bank)),
						*position ? position : NULL, &next, keys, records,
						&count, NULL);

	if (r < 0 && r != -ENOENT)
		return r;
	*position = next;
	*ret_count = count;
	*ret_done = r == -ENOENT;
	return 0;
}

void datapath_reset_fill(struct datapath *d, enum bank_use use, unsigned int bank)
{
	*(volatile uint32_t *)&d->skel->bss->fill[use][bank].entries = 0;
}

static void hook_count_add(struct hook_count *sum, const struct hook_count *count)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(sum->bank); i++) {
		sum->bank[i].seen += count->bank[i].seen;
		sum->bank[i].packets += count->bank[i].packets;
		sum->bank[i].octets += count->bank[i].octets;
		sum->bank[i].inserts += count->bank[i].inserts;
	}
}

int datapath_counts(const struct datapath *d, enum flow_point point, struct hook_count *ret)
{
	_cleanup_(freep) struct hook_count *counts = calloc((size_t)d->cpus, sizeof(*counts));
	struct hook_count sum = {0};
	uint32_t key = point;
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
