/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Drives the load generators of load.bpf.c.
 *
 * Two methods.  LIVE: frames through a veth pair as fast as one CPU makes them; sending, receiving,
 * the program and the stack all run on that CPU, so the wall time of the run is the path's cost, and
 * what a program costs is the difference to the empty one.  Caches are as disturbed as on a real
 * node; but a few ns are the difference of two figures near a microsecond, which on a shared machine
 * takes medians of many interleaved rounds.
 *
 * LOOP: the program alone, called by the generator on one frame that changes between the calls.
 * Repeats to a nanosecond, and is kinder than life: code and branch predictors stay warm.
 *
 * The kernel's run-time statistics (BPF_ENABLE_STATS) are no third method: they read the clock
 * before and after each run, which costs as much as the programs here (20 to 30 ns under KVM), and the
 * reads are not ordered with the program's own loads, so that cache misses at its end are not in them.
 */
#include "tests/bench/subject.h"

enum load_method {
	METHOD_LIVE,
	METHOD_LOOP,
	_METHOD_MAX,
};

struct driver {
	struct bench_bpf *bench;
	uint32_t sender; /* veth; its peer is */
	uint32_t receiver;
	uint32_t sink; /* has no carrier, so that the queue drops; TC egress is measured there */
	char receiver_name[16];
};

struct driver_load {
	enum load_shape shape;
	uint32_t flows;
	bool random;
	uint64_t first; /* number of the first packet: of flow `first` modulo `flows`, unless random */
	uint32_t packets;
};

struct driver_result {
	double ns;	    /* per packet */
	uint64_t delivered; /* packets that came out of the pair */
};

const char *method_name(enum load_method method);

/* Interfaces by name; logs what is wrong on standard error. */
int driver_open(struct driver *driver, struct bench_bpf *bench, char *const names[3]);

/* Attaches the program, or puts it where the loop calls it; *ret_link is -1 for LOOP. */
int driver_attach(const struct driver *driver, enum load_method method, enum bench_hook hook,
		  int program, int ret_links[2]);
void driver_detach(int links[2]);

int driver_run(const struct driver *driver, enum load_method method, enum bench_hook hook,
	       const struct driver_load *load, struct driver_result *ret);
