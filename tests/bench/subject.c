/* SPDX-License-Identifier: Apache-2.0 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/bpf.h>
#include "exporter/meter/datapath.h"
#include "flows.skel.h"
#include "tests/bench/subject.h"
/* needs load.h */
#include "bench.skel.h"

#ifndef BPF_F_XDP_HAS_FRAGS
#define BPF_F_XDP_HAS_FRAGS (1U << 5)
#endif

#define CLEAR_BATCH 4096

const char *subject_name(enum subject_kind kind)
{
	static const char *const names[] = {
		[SUBJECT_EMPTY] = "empty",
		[SUBJECT_FLOOR] = "floor",
		[SUBJECT_FLOWTALLY] = "flowtally",
		[SUBJECT_HASH] = "flowtally, plain hash",
		[SUBJECT_LRU_PERCPU] = "flowtally, per-CPU LRU",
		[SUBJECT_LRU_LOCAL] = "flowtally, LRU list per CPU",
		[SUBJECT_SWAPPED] = "flowtally, swapped",
	};

	return names[kind];
}

const char *hook_name(enum bench_hook hook)
{
	static const char *const names[] = {
		[HOOK_XDP] = "xdp",
		[HOOK_TC_EGRESS] = "tc egress",
		[HOOK_TC_INGRESS] = "tc ingress",
	};

	return names[hook];
}

/* A program array takes XDP programs of one kind: all are for multi-buffer frames, as flowtally's is. */
int bench_bpf_new(struct bench_bpf **ret)
{
	_cleanup_(bench_bpf_freep) struct bench_bpf *b = bench_bpf__open();
	struct bpf_program *program;
	int r;

	if (!b)
		return -errno;
	bpf_object__for_each_program(program,
				     b->obj) if (bpf_program__type(program) == BPF_PROG_TYPE_XDP)
		bpf_program__set_flags(program, BPF_F_XDP_HAS_FRAGS);
	r = bpf_map__set_max_entries(b->maps.floor_flows, SUBJECT_ENTRIES) ?: bench_bpf__load(b);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(b);
	return 0;
}

struct bench_bpf *bench_bpf_free(struct bench_bpf *bench)
{
	bench_bpf__destroy(bench);
	return NULL;
}

static int set_banks(struct flows_bpf *f, enum subject_kind kind)
{
	struct bpf_map *const banks[] = {f->maps.bank0, f->maps.bank1};
	const enum bpf_map_type type = kind == SUBJECT_HASH	    ? BPF_MAP_TYPE_HASH
				       : kind == SUBJECT_LRU_PERCPU ? BPF_MAP_TYPE_LRU_PERCPU_HASH
								    : BPF_MAP_TYPE_LRU_HASH;
	int r = 0;

	for (size_t i = 0; i < ARRAY_SIZE(banks) && r == 0; i++) {
		r = bpf_map__set_max_entries(banks[i], SUBJECT_ENTRIES)
			    ?: bpf_map__set_type(banks[i], type);
		if (r == 0 && kind == SUBJECT_LRU_LOCAL)
			r = bpf_map__set_map_flags(banks[i], BPF_F_NO_COMMON_LRU);
	}
	return r;
}

/* What datapath.c sets before load, with other types of bank. */
static int flowtally_load(struct flows_bpf **ret, enum subject_kind kind)
{
	struct flows_bpf *f = flows_bpf__open();
	int r;

	if (!f)
		return -errno;
	f->rodata->config.limit =
		SUBJECT_ENTRIES - (uint32_t)libbpf_num_possible_cpus() * BANK_RESERVE_PER_CPU;
	f->rodata->config.high_water = f->rodata->config.limit / 8 * 7;
	f->rodata->config.xdp_frags = true;
	bpf_program__set_flags(f->progs.flowtally_xdp, BPF_F_XDP_HAS_FRAGS);
	r = set_banks(f, kind);
	r = r ?: flows_bpf__load(f);
	if (r < 0) {
		flows_bpf__destroy(f);
		return r;
	}
	*ret = f;
	return 0;
}

int subject_new(struct subject **ret, enum subject_kind kind, struct bench_bpf *bench)
{
	const struct datapath_options options = {.entries = SUBJECT_ENTRIES};
	_cleanup_(subject_freep) struct subject *s = calloc(1, sizeof(*s));
	int r = 0;

	if (!s)
		return -ENOMEM;
	s->kind = kind;
	s->bench = bench;
	if (kind == SUBJECT_SWAPPED)
		r = datapath_new(&s->datapath, &options);
	else if (kind >= SUBJECT_FLOWTALLY)
		r = flowtally_load(&s->flowtally, kind);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(s);
	return 0;
}

struct subject *subject_free(struct subject *s)
{
	if (s->flowtally)
		flows_bpf__destroy(s->flowtally);
	datapath_freep(&s->datapath);
	free(s);
	return NULL;
}

static struct bpf_program *floor_program(const struct bench_bpf *b, enum bench_hook hook,
					 enum load_shape shape)
{
	struct bpf_program *const xdp[] = {
		[LOAD_IPV4] = b->progs.bench_floor_xdp_ipv4,
		[LOAD_IPV6] = b->progs.bench_floor_xdp_ipv6,
		[LOAD_VLAN] = b->progs.bench_floor_xdp_vlan,
	};
	struct bpf_program *const tc[] = {
		[LOAD_IPV4] = b->progs.bench_floor_tc_ipv4,
		[LOAD_IPV6] = b->progs.bench_floor_tc_ipv6,
		[LOAD_VLAN] = b->progs.bench_floor_tc_vlan,
	};

	return hook == HOOK_XDP ? xdp[shape] : tc[shape];
}

static int flowtally_program(const struct subject *s, enum bench_hook hook)
{
	static const enum datapath_program programs[] = {
		[HOOK_XDP] = PROGRAM_XDP,
		[HOOK_TC_EGRESS] = PROGRAM_TC_EGRESS,
		[HOOK_TC_INGRESS] = PROGRAM_TC_INGRESS,
	};

	if (s->datapath)
		return datapath_program_fd(s->datapath, programs[hook]);
	return bpf_program__fd(hook == HOOK_XDP		? s->flowtally->progs.flowtally_xdp
			       : hook == HOOK_TC_EGRESS ? s->flowtally->progs.flowtally_tc
							: s->flowtally->progs.flowtally_tc_in);
}

int subject_program(const struct subject *s, enum bench_hook hook, enum load_shape shape)
{
	if (s->kind == SUBJECT_EMPTY)
		return bpf_program__fd(hook == HOOK_XDP ? s->bench->progs.bench_empty_xdp
							: s->bench->progs.bench_empty_tc);
	if (s->kind == SUBJECT_FLOOR)
		return bpf_program__fd(floor_program(s->bench, hook, shape));
	return flowtally_program(s, hook);
}

static int map_clear(const struct bpf_map *map)
{
	size_t value = sizeof(struct flow_record) * (size_t)libbpf_num_possible_cpus();
	_cleanup_(freep) void *keys = calloc(CLEAR_BATCH, sizeof(struct flow_key));
	_cleanup_(freep) void *values = calloc(CLEAR_BATCH, value);
	uint32_t position = 0, count;
	bool first = true;
	int r;

	if (!keys || !values)
		return -ENOMEM;
	do {
		count = CLEAR_BATCH;
		r = bpf_map_lookup_and_delete_batch(bpf_map__fd(map), first ? NULL : &position,
						    &position, keys, values, &count, NULL);
		first = false;
	} while (r == 0);
	return r == -ENOENT ? 0 : r;
}

int subject_clear(struct subject *s)
{
	int r;

	if (s->kind == SUBJECT_FLOOR)
		return map_clear(s->bench->maps.floor_flows);
	if (!s->flowtally)
		return 0;
	r = map_clear(s->flowtally->maps.bank0) ?: map_clear(s->flowtally->maps.bank1);
	s->flowtally->bss->state.fill[0].entries = 0;
	s->flowtally->bss->state.fill[1].entries = 0;
	return r;
}

static int count_refused(const struct subject *s, struct subject_count *count)
{
	int cpus = libbpf_num_possible_cpus(), fd = bpf_map__fd(s->flowtally->maps.unrecorded), r;
	_cleanup_(freep) struct reason_count *values = calloc((size_t)cpus, sizeof(*values));
	struct reason_key key, *previous = NULL;

	if (!values)
		return -ENOMEM;
	while (bpf_map_get_next_key(fd, previous, &key) == 0) {
		r = bpf_map_lookup_elem(fd, &key, values);
		if (r < 0)
			return r;
		previous = &key;
		if (key.reason != REASON_BANK_FULL && key.reason != REASON_INSERT_ERROR)
			continue;
		for (int i = 0; i < cpus; i++)
			count->refused += values[i].packets;
	}
	return 0;
}

int subject_count(const struct subject *s, enum bench_hook hook, struct subject_count *ret)
{
	uint32_t direction = hook == HOOK_TC_EGRESS ? DIRECTION_EGRESS : DIRECTION_INGRESS;
	_cleanup_(freep) struct hook_count *counts = NULL;
	struct subject_count sum = {0};
	int cpus = libbpf_num_possible_cpus(), r;

	*ret = sum;
	if (!s->flowtally)
		return 0;
	counts = calloc((size_t)cpus, sizeof(*counts));
	if (!counts)
		return -ENOMEM;
	r = bpf_map_lookup_elem(bpf_map__fd(s->flowtally->maps.counts), &direction, counts)
		    ?: count_refused(s, &sum);
	if (r < 0)
		return r;
	for (int i = 0; i < cpus; i++) {
		sum.seen += counts[i].bank[0].seen + counts[i].bank[1].seen;
		sum.accounted += counts[i].bank[0].packets + counts[i].bank[1].packets;
		sum.inserts += counts[i].bank[0].inserts + counts[i].bank[1].inserts;
	}
	*ret = sum;
	return 0;
}
