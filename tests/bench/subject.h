/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* What is measured: programs that count packets, and the maps they fill. */
#include <stdbool.h>
#include <stdint.h>
#include "exporter/util.h"
#include "tests/bench/load.h"

struct bench_bpf;
struct datapath;
struct flows_bpf;

enum bench_hook {
	HOOK_XDP,
	HOOK_TC_EGRESS,
	HOOK_TC_INGRESS,
	_HOOK_MAX,
};

enum subject_kind {
	SUBJECT_EMPTY,
	SUBJECT_FLOOR,
	SUBJECT_FLOWTALLY,
	SUBJECT_HASH,	    /* flowtally with plain hash maps as banks */
	SUBJECT_LRU_PERCPU, /* with LRU maps that hold a value per CPU */
	SUBJECT_LRU_LOCAL,  /* with LRU maps that keep an LRU list per CPU (BPF_F_NO_COMMON_LRU) */
	SUBJECT_SWAPPED,    /* flowtally as the exporter loads it, for a drain thread to swap */
	_SUBJECT_MAX,
};

struct subject {
	enum subject_kind kind;
	struct bench_bpf *bench; /* EMPTY, FLOOR: not owned */
	struct flows_bpf *flowtally;
	struct datapath *datapath; /* SUBJECT_SWAPPED */
};

/* What flowtally's programs have counted; all 0 for others. */
struct subject_count {
	uint64_t seen;
	uint64_t accounted;
	uint64_t inserts;
	uint64_t refused; /* bank_full and insert_error */
};

/* Flows that every map holds, so that all of them take the same memory. */
#define SUBJECT_ENTRIES (1u << 17)

const char *subject_name(enum subject_kind kind);
const char *hook_name(enum bench_hook hook);

/* The programs of floor.bpf.c and load.bpf.c. */
int bench_bpf_new(struct bench_bpf **ret);
struct bench_bpf *bench_bpf_free(struct bench_bpf *bench);
DEFINE_CLEANUP(struct bench_bpf *, bench_bpf_free)

int subject_new(struct subject **ret, enum subject_kind kind, struct bench_bpf *bench);
struct subject *subject_free(struct subject *subject);
DEFINE_CLEANUP(struct subject *, subject_free)

int subject_program(const struct subject *subject, enum bench_hook hook, enum load_shape shape);

/* Empties the maps. */
int subject_clear(struct subject *subject);

int subject_count(const struct subject *subject, enum bench_hook hook, struct subject_count *ret);
