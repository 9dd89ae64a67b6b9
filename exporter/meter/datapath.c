/* SPDX-License-Identifier: Apache-2.0 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/capability.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "exporter/log.h"
#include "exporter/meter/datapath.h"
#include "exporter/meter/kind.h"
#include "exporter/meter/libbpf_log.h"
#include "exporter/meter/owner.h"

struct datapath {
	const struct kind *kind;
	enum record_kind number;
	struct kind_object object;
	struct kernel_features features;
	struct datapath_config config; /* as it was loaded */
	struct ring_buffer *wakeups;
	int stubs[_PROGRAM_MAX]; /* -1: there is none */
	bool woken;		 /* while the ring buffer is emptied */
	int cpus;		 /* possible CPUs: what per-CPU maps hold */
	int owner_fd;		 /* owner.h; -1: none */
	uint32_t owner;
};

uint32_t datapath_limit(const struct datapath *d)
{
	return d->config.limit;
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

static const struct kind_program *find_program(enum record_kind kind, enum datapath_program program)
{
	const struct kind *k = kind_get(kind);

	for (size_t i = 0; i < k->program_count; i++)
		if (k->programs[i].program == program)
			return &k->programs[i];
	return NULL;
}

const char *datapath_program_name(enum datapath_program program)
{
	const struct kind_program *p = NULL;

	for (int kind = 0; !p && kind < _RECORD_KIND_MAX; kind++)
		p = find_program((enum record_kind)kind, program);
	return p ? p->name : NULL;
}

int datapath_program_fd(const struct datapath *d, enum datapath_program program)
{
	const struct kind_program *p = find_program(d->number, program);

	return p ? bpf_program__fd(bpf_object__find_program_by_name(d->object.object, p->name))
		 : -ENOENT;
}

_Static_assert(DATAPATH_TAG_OCTETS == BPF_TAG_SIZE, "as the kernel has it");

void datapath_visit_programs(const struct datapath *d, datapath_program_visit visit, void *userdata)
{
	struct bpf_program *program;

	bpf_object__for_each_program(program, d->object.object)
	{
		struct bpf_prog_info info = {0};
		uint32_t size = sizeof(info);
		int fd = bpf_program__fd(program);

		if (fd >= 0 && bpf_obj_get_info_by_fd(fd, &info, &size) == 0)
			visit(userdata, bpf_program__name(program), info.tag);
	}
}

int datapath_stub_fd(const struct datapath *d, enum datapath_program program)
{
	return d->stubs[program];
}

uint32_t datapath_owner(const struct datapath *d)
{
	return d->owner;
}

int datapath_map_fd(const struct datapath *d, const char *name)
{
	return bpf_object__find_map_fd_by_name(d->object.object, name);
}

enum record_kind datapath_kind(const struct datapath *d)
{
	return d->number;
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

/* Logs why; returns the error. */
static int log_load_error(const struct datapath *d, const struct datapath_options *options,
			  int error, const char *why)
{
	char needed[128];

	if (lacks_capabilities(error)) {
		snprintf(needed, sizeof(needed), "%s are needed, run as root or grant them",
			 d->kind->capabilities);
		why = needed;
	}
	d->kind->log_failure(options, error, why);
	return error;
}

static const char *const banks[] = {"bank0", "bank1"};

int datapath_bank_fd(const struct datapath *d, unsigned int bank)
{
	return datapath_map_fd(d, banks[bank]);
}

static int size_banks(struct datapath *d, uint32_t entries)
{
	uint32_t reserve = (uint32_t)d->cpus * BANK_RESERVE_PER_CPU;
	int r = 0;

	d->object.config->limit = entries - reserve;
	d->object.config->high_water = (entries - reserve) / 8 * 7;
	for (unsigned int i = 0; i < ARRAY_SIZE(banks) && r == 0; i++)
		r = bpf_map__set_max_entries(
			bpf_object__find_map_by_name(d->object.object, banks[i]), entries);
	return r;
}

/* What stays of the datapath whose place this one takes. */
static int share(struct datapath *d, const struct datapath *from)
{
	int r = 0;

	for (size_t i = 0; d->kind->shared[i] && r == 0; i++)
		r = bpf_map__reuse_fd(bpf_object__find_map_by_name(d->object.object,
								   d->kind->shared[i]),
				      datapath_map_fd(from, d->kind->shared[i]));
	for (size_t i = 0; i < d->kind->program_count && r == 0; i++) {
		const struct kind_program *p = &d->kind->programs[i];

		if (p->stub)
			r = bpf_program__set_autoload(
				bpf_object__find_program_by_name(d->object.object, p->stub), false);
	}
	return r;
}

/* Descriptors of the stubs: of the object's own, or of those of the one before. */
static int keep_stubs(struct datapath *d, const struct datapath *from)
{
	for (size_t i = 0; i < d->kind->program_count; i++) {
		const struct kind_program *p = &d->kind->programs[i];
		int fd = -1;

		if (from)
			fd = from->stubs[p->program];
		else if (p->stub)
			fd = bpf_program__fd(
				bpf_object__find_program_by_name(d->object.object, p->stub));
		if (fd < 0) /* or a program that this kernel has nothing for */
			continue;
		d->stubs[p->program] = fcntl(fd, F_DUPFD_CLOEXEC, 0);
		if (d->stubs[p->program] < 0)
			return -errno;
	}
	return 0;
}

/* Tracepoints always have the stub; of hooks clsact alone, and no filter of it is made where there is tcx. */
static bool stub_may_hang(const struct datapath *d, const struct kind_program *p)
{
	return p->program >= _PROGRAM_HOOK_MAX || !d->features.tcx;
}

static int take_stubs(const struct datapath *d, bool all)
{
	int map = datapath_map_fd(d, "jump"), r = 0;

	for (size_t i = 0; i < d->kind->program_count && r == 0; i++) {
		const struct kind_program *p = &d->kind->programs[i];
		uint32_t slot = p->program;
		int fd = datapath_program_fd(d, p->program);

		if (p->stub && strcmp(p->stub, p->name) != 0 && (all || stub_may_hang(d, p)))
			r = bpf_map_update_elem(map, &slot, &fd, BPF_ANY);
	}
	return r;
}

int datapath_take_stubs(const struct datapath *d)
{
	return take_stubs(d, false);
}

/* The catch-all counters of ifindex 0 exist from the start, so that a full map costs detail but no packet. */
static int make_catch_all(struct datapath *d)
{
	_cleanup_(freep) struct reason_count *zero = calloc((size_t)d->cpus, sizeof(*zero));
	int fd = datapath_map_fd(d, "unrecorded"), r = 0;
	struct reason_key key = {0};

	if (!zero)
		return -ENOMEM;
	for (key.point = 0; key.point < d->kind->point_count; key.point++)
		for (key.bank = 0; key.bank < 2; key.bank++)
			for (key.reason = REASON_NONE + 1; r == 0 && key.reason < _REASON_MAX;
			     key.reason++)
				r = bpf_map_update_elem(fd, &key, zero, BPF_ANY);
	return r;
}

static int on_wakeup(void *userdata, _unused_ void *data, _unused_ size_t size)
{
	struct datapath *d = userdata;

	d->woken = true;
	return 0;
}

void datapath_set_drop_filter(struct datapath *d, const struct drop_filter *filter)
{
	struct drop_selection *to = d->object.selection;

	if (!to)
		return;
	to->everywhere = filter->everywhere;
	to->cost_ns = filter->budget ? (uint32_t)(NSEC_PER_SEC / filter->budget) : 0;
	memcpy(to->excluded, filter->excluded, sizeof(to->excluded));
}

static int load(struct datapath *d, const struct datapath_options *options, const char **ret_why)
{
	const struct datapath *from = options->replaces;
	int r = d->kind->open(&d->object, options, &d->features, from ? &from->config : NULL,
			      ret_why);

	if (r == 0 && from)
		r = share(d, from);
	if (r == 0)
		r = size_banks(d, options->entries);
	if (r < 0)
		return r;
	d->config = *d->object.config;
	if (options->drops)
		datapath_set_drop_filter(d, options->drops);
	r = bpf_object__load_skeleton(d->object.skeleton) ?: make_catch_all(d);
	r = r ?: keep_stubs(d, from);
	if (r == 0 && !from)
		r = take_stubs(d, true);
	if (r < 0)
		return r;
	d->wakeups = ring_buffer__new(datapath_map_fd(d, "wakeups"), on_wakeup, d, NULL);
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

/* The owner's id stays, so that filters which are there are known as this exporter's. */
static int keep_owner(struct datapath *d, const struct datapath *from)
{
	if (from->owner_fd < 0)
		return 0;
	d->owner = from->owner;
	d->owner_fd = fcntl(from->owner_fd, F_DUPFD_CLOEXEC, 0);
	return d->owner_fd < 0 ? -errno : 0;
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

static int know_kernel(struct datapath *d, const struct datapath_options *options)
{
	const struct kernel_features *known = options->replaces ? &options->replaces->features
								: options->features;

	if (!known)
		return features_probe(&d->features, options->mask);
	d->features = *known;
	return 0;
}

int datapath_new(struct datapath **ret, const struct datapath_options *options)
{
	_cleanup_(datapath_freep) struct datapath *d = calloc(1, sizeof(*d));
	const char *why = NULL;
	int r;

	if (!d)
		return -ENOMEM;
	d->owner_fd = d->object.btf = -1;
	memset(d->stubs, -1, sizeof(d->stubs));
	d->number = options->kind;
	d->kind = kind_get(options->kind);
	libbpf_set_print(libbpf_log);
	d->cpus = libbpf_num_possible_cpus();
	if (d->cpus < 0)
		return d->cpus;
	r = know_kernel(d, options) ?: check_entries(options->entries);
	if (r < 0)
		return r;
	r = load(d, options, &why);
	if (r == 0 && options->replaces)
		r = keep_owner(d, options->replaces);
	if (r < 0)
		return log_load_error(d, options, r, why);
	if (d->number == RECORD_FLOW && !options->replaces)
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
	for (size_t i = 0; i < ARRAY_SIZE(d->stubs); i++)
		closep(&d->stubs[i]);
	if (d->object.own)
		d->kind->close(&d->object);
	closep(&d->object.btf);
	free(d);
	return NULL;
}

int datapath_wakeup_fd(const struct datapath *d)
{
	return ring_buffer__epoll_fd(d->wakeups);
}

bool datapath_wakeup_clear(struct datapath *d)
{
	d->woken = false;
	ring_buffer__consume(d->wakeups);
	return d->woken;
}

static uint32_t count_bonds(int map)
{
	uint32_t bonds = 0, key, *previous = NULL;

	for (; bpf_map_get_next_key(map, previous, &key) == 0; previous = &key)
		bonds++;
	return bonds;
}

/* Counted anew, since others have the map too. */
int datapath_set_bond(struct datapath *d, uint32_t ifindex, bool attached)
{
	int map = datapath_map_fd(d, "bonds"), r;
	uint32_t zero = 0;

	r = attached ? bpf_map_update_elem(map, &ifindex, &zero, BPF_ANY)
		     : bpf_map_delete_elem(map, &ifindex);
	d->object.state->bonds = count_bonds(map);
	return r == -ENOENT ? 0 : r;
}

void datapath_inherit(struct datapath *d, const struct datapath *from)
{
	struct datapath_state *to = d->object.state;
	const volatile struct datapath_state *state = from->object.state;

	to->bonds = count_bonds(datapath_map_fd(d, "bonds"));
	to->marked |= state->marked;
	to->ipsec = MAX(to->ipsec, state->ipsec);
}

unsigned int datapath_active(const struct datapath *d)
{
	return *(volatile uint32_t *)&d->object.state->index;
}

/*
 * A write to a slot of a map of maps returns after an RCU grace period (maybe_wait_bpf_programs(),
 * kernel commit 1ae80cf31938), and programs run inside RCU read sections: after it, none that read
 * the old index is left.
 */
int datapath_swap(struct datapath *d, unsigned int *ret_old)
{
	volatile uint32_t *active = &d->object.state->index;
	int inner = datapath_map_fd(d, "inner"), r;
	uint32_t zero = 0, old = *active;

	*active = !old;
	r = bpf_map_update_elem(datapath_map_fd(d, "grace"), &zero, &inner, BPF_ANY);
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
	int r = bpf_map_lookup_and_delete_batch(datapath_bank_fd(d, bank),
						*position ? position : NULL, &next, keys, records,
						&count, NULL);

	if (r < 0 && r != -ENOENT)
		return r;
	*position = next;
	*ret_count = count;
	*ret_done = r == -ENOENT;
	return 0;
}

void datapath_reset_fill(struct datapath *d, unsigned int bank)
{
	*(volatile uint32_t *)&d->object.state->fill[bank].entries = 0;
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

int datapath_counts(const struct datapath *d, unsigned int point, struct hook_count *ret)
{
	_cleanup_(freep) struct hook_count *counts = calloc((size_t)d->cpus, sizeof(*counts));
	struct hook_count sum = {0};
	uint32_t key = point;
	int r;

	if (!counts)
		return -ENOMEM;
	r = bpf_map_lookup_elem(datapath_map_fd(d, "counts"), &key, counts);
	if (r < 0)
		return r;
	for (int i = 0; i < d->cpus; i++)
		hook_count_add(&sum, &counts[i]);
	*ret = sum;
	return 0;
}

#define UNRECORDED_BATCH 128 /* more than the kernel's hash table ever has in one of its buckets */

int datapath_unrecorded(const struct datapath *d, datapath_visit visit, void *userdata)
{
	size_t cpus = (size_t)d->cpus;
	_cleanup_(freep) struct reason_count *counts =
		calloc(cpus * UNRECORDED_BATCH, sizeof(*counts));
	int fd = datapath_map_fd(d, "unrecorded"), r = 0;
	struct reason_key keys[UNRECORDED_BATCH];
	uint32_t position = 0, count;
	bool first = true;

	if (!counts)
		return -ENOMEM;
	while (r == 0) {
		count = UNRECORDED_BATCH;
		r = bpf_map_lookup_batch(fd, first ? NULL : &position, &position, keys, counts,
					 &count, NULL);
		if (r < 0 && r != -ENOENT) /* which says that these were the last */
			return r;
		for (uint32_t i = 0; i < count; i++) {
			struct reason_count sum = {0};

			for (size_t cpu = 0; cpu < cpus; cpu++) {
				sum.packets += counts[i * cpus + cpu].packets;
				sum.octets += counts[i * cpus + cpu].octets;
			}
			if (sum.packets)
				visit(userdata, &keys[i], &sum);
		}
		first = false;
	}
	return 0;
}
