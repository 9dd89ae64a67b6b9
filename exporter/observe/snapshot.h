/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * What the exporter shows of itself: all that was true at one settled swap, in one object that nothing changes any more.
 * The loop's thread publishes one after each swap; threads that serve readers (control socket, metrics) take the newest and
 * keep it as long as they like.  So no reader ever waits for the loop, nor the loop for a reader.
 */
#include <linux/bpf.h>
#include <stdbool.h>
#include <stdint.h>
#include "exporter/meter/hooks.h"
#include "exporter/meter/meter.h"
#include "exporter/meter/sight.h"
#include "exporter/observe/ledger.h"
#include "exporter/observe/traffic.h"
#include "exporter/util.h"

struct snapshots;

/* One kind of records in kernel and cache. */
struct snapshot_kind {
	bool metered;
	uint32_t bank_limit;	  /* new flows that a bank takes between two swaps */
	uint32_t cache_entries;	  /* flows that the cache holds at most */
	struct drain_stats drain; /* over the run */
};

/* A BPF program, as the kernel tells: both 0 without BPF statistics (kernel.bpf_stats_enabled). */
struct snapshot_program {
	char name[BPF_OBJ_NAME_LEN];
	uint64_t runs;
	uint64_t run_ns;
};

struct snapshot {
	uint64_t number;	      /* from 1 */
	uint64_t time_ns;	      /* CLOCK_REALTIME, when it was taken */
	uint64_t monotonic_ns;	      /* CLOCK_MONOTONIC likewise */
	uint64_t boottime_ns;	      /* CLOCK_BOOTTIME likewise */
	uint64_t started_ns;	      /* CLOCK_REALTIME of the exporter's start */
	uint64_t started_boottime_ns; /* CLOCK_BOOTTIME likewise */
	uint64_t interval_ns;	      /* between swaps */
	uint64_t idle_ns, active_ns;  /* timeouts of flows */
	uint32_t domain;	      /* observation domain */
	struct ledger ledger;
	struct snapshot_kind kinds[_RECORD_KIND_MAX];
	bool starting; /* interfaces are still being tried for the first time, and are not known yet */
	const struct hooks_view *view; /* NULL: no interface is known */
	const struct hooks_interface
		*interfaces; /* of that; what the hooks saw of each is in ledger.sight */
	size_t interface_count;
	struct traffic *traffic; /* since the start; NULL: not known */
	struct snapshot_reloads {
		uint64_t good, failed;
		uint64_t last_ns; /* CLOCK_REALTIME; 0: there was none */
		bool last_failed;
	} reloads;
	struct snapshot_program
		programs[_PROGRAM_MAX]; /* by enum datapath_program; without a name: not loaded */

	struct ledger_reasons reasons; /* to which the ledger points */

	unsigned int references; /* atomic */
};

/* What goes into a snapshot: what the loop goes on to change is copied, the rest held. */
struct snapshot_sources {
	const struct hooks *hooks;     /* NULL: none */
	struct meter *const *meters;   /* by kind; NULL of what is not metered */
	const struct traffic *traffic; /* NULL: not counted */
};

/* An empty one of this moment, held by the caller, who fills it and then lets others hold it.  NULL: no memory. */
struct snapshot *snapshot_new(void);

/* One that was made ahead of time is of this moment. */
void snapshot_stamp(struct snapshot *snapshot);

/* When the kernel's own counters of interfaces were read (CLOCK_REALTIME, ns); 0: they were not. */
uint64_t snapshot_counters_ns(const struct snapshot *snapshot);

/* Interfaces, kinds, programs and traffic as they are; what there is no memory for is left out. */
void snapshot_describe(struct snapshot *snapshot, const struct snapshot_sources *sources);

/* Its interfaces are those of the view, which it takes over. */
void snapshot_take_view(struct snapshot *snapshot, const struct hooks_view *view);

/* Another holder, in any thread. */
const struct snapshot *snapshot_hold(const struct snapshot *snapshot);

/* In any thread; the last holder frees it. */
const struct snapshot *snapshot_release(const struct snapshot *snapshot);
DEFINE_CLEANUP(const struct snapshot *, snapshot_release)

/* Where the newest are found.  -ENOMEM. */
int snapshots_new(struct snapshots **ret);
struct snapshots *snapshots_free(struct snapshots *snapshots);
DEFINE_CLEANUP(struct snapshots *, snapshots_free)

/* It becomes the newest, and nobody changes it any more.  Gives it its number; the caller keeps his hold. */
void snapshots_publish(struct snapshots *snapshots, struct snapshot *snapshot);

/*
 * In any thread: the newest, held for the caller.  NULL: there is none yet.  `ret_before` (NULL: not wanted) is an older
 * one to take rates from, held likewise: of one interval of swaps before where there is one, else the oldest; NULL: none.
 */
const struct snapshot *snapshots_newest(struct snapshots *snapshots,
					const struct snapshot **ret_before);
