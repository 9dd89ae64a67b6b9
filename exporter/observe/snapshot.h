/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * What the exporter shows of itself: all that was true at one settled swap, in one object that nothing changes any more.
 * The loop's thread publishes one after each swap; threads that serve readers (control socket, metrics) take the newest and
 * keep it as long as they like.  So no reader ever waits for the loop, nor the loop for a reader.
 */
#include <stdbool.h>
#include <stdint.h>
#include "exporter/meter/hooks.h"
#include "exporter/observe/ledger.h"
#include "exporter/observe/traffic.h"
#include "exporter/util.h"

/* One kind of records in kernel and cache. */
struct snapshot_kind {
	bool metered;
	uint32_t bank_entries;	/* capacity of one bank */
	uint32_t cache_entries; /* capacity */
	struct drain_stats drain;
	uint32_t last_entries; /* read from the bank at the last swap */
};

/* A BPF program, as the kernel tells; all 0 without BPF statistics (kernel.bpf_stats_enabled). */
struct snapshot_program {
	char name[16];
	uint64_t runs;
	uint64_t run_ns;
};
#define SNAPSHOT_PROGRAMS_MAX 16

struct snapshot_process {
	uint64_t cpu_ns;
	uint64_t resident_octets;
	uint32_t descriptors, descriptors_max;
	uint32_t threads;
};

struct snapshot {
	uint64_t number;      /* from 1 */
	uint64_t time_ns;     /* CLOCK_REALTIME of the swap */
	uint64_t settled_ns;  /* CLOCK_MONOTONIC likewise */
	uint64_t started_ns;  /* CLOCK_REALTIME: of the exporter */
	uint64_t interval_ns; /* between swaps */
	uint64_t idle_ns, active_ns;
	uint32_t domain;      /* observation domain */
	bool traces_drops;
	struct ledger ledger; /* owns all it points to */
	struct snapshot_kind kinds[_RECORD_KIND_MAX];
	const struct hooks_interface *interfaces; /* with sight in ledger.sight */
	size_t interface_count;
	struct traffic *traffic; /* since the start; NULL: not known */
	uint64_t reloads_good, reloads_failed, reloaded_ns; /* reload.h */
	bool reload_failed;				    /* the last one */
	struct snapshot_program programs[SNAPSHOT_PROGRAMS_MAX];
	unsigned int program_count;
	struct snapshot_process process;
	/* The one before, for rates: what of it is needed, 0 at the first. */
	uint64_t seconds_ns; /* between the two */
	const struct snapshot *before; /* has no `before` of its own; NULL: this is the first */
	unsigned int references; /* atomic */
};

/* Another holder; any thread. */
const struct snapshot *snapshot_hold(const struct snapshot *snapshot);
/* Any thread; the last one frees it.  NULL is nothing. */
const struct snapshot *snapshot_release(const struct snapshot *snapshot);
DEFINE_CLEANUP(const struct snapshot *, snapshot_release)

/* Where the newest is found. */
struct snapshots;
int snapshots_new(struct snapshots **ret);
struct snapshots *snapshots_free(struct snapshots *snapshots);
DEFINE_CLEANUP(struct snapshots *, snapshots_free)

/* In the loop's thread: takes over `snapshot`, which becomes the newest. */
void snapshots_publish(struct snapshots *snapshots, struct snapshot *snapshot);

/* Any thread, held for the caller; NULL: there is none yet. */
const struct snapshot *snapshots_newest(struct snapshots *snapshots);

/* Any thread: waits until there is one with a greater number, `timeout_ms` at most (-1: for ever); held, or NULL. */
const struct snapshot *snapshots_wait(struct snapshots *snapshots, uint64_t number, int timeout_ms);
