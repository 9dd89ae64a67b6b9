/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The drain thread of one datapath: swaps its banks at each interval, or earlier when one fills, reads the bank that
 * stands still and hands whole batches to the loop's thread.  Waiting for an RCU grace period blocks, so nothing else
 * lives in this thread.
 *
 * Batches go to the loop's thread and come back empty, each by a pipe: whoever has one may write to it.  The datapath is
 * used by both threads, whose calls do not disturb each other.  Nothing else is shared, and what functions return here is
 * the loop's thread's.
 */
#include <stdbool.h>
#include <stdint.h>
#include "exporter/meter/datapath.h"

struct kernel_clock;
struct loop;
struct drain;

/*
 * The loop is held for one batch: so many deltas take it less than a millisecond (docs/performance.md).  The kernel gives
 * a bucket of the hash as a whole, else -ENOSPC: that has a few entries.
 */
#define DRAIN_BATCH 1024

/* Entries of one bank, or the end of one: after the last batch of a swap comes one with `end` set. */
struct drain_batch {
	enum record_kind kind;
	uint32_t count;
	uint64_t swap_ns; /* of the swap, by the kernel's clock: all packets up to then are in this or earlier ones */
	bool end;
	struct flow_key keys[DRAIN_BATCH];
	struct flow_record records[DRAIN_BATCH];
};

/* Called in the loop's thread; the batch is the callee's until it returns. */
typedef void (*drain_callback)(void *userdata, struct drain_batch *batch);

struct drain_options {
	struct datapath *datapath;
	struct loop *loop;
	const struct kernel_clock *clock; /* NULL: this process is in no time namespace */
	uint64_t interval_ns;
	drain_callback callback;
	/* See drain_retire(); in the loop's thread.  The second may free the drain. */
	void (*late)(void *userdata);
	void (*retired)(void *userdata);
	void *userdata;
};

/* Packets in no record, and drops by drop_reason_pack(). */
struct drain_reason {
	struct reason_key key;
	struct reason_count count;
};
struct drain_drop {
	struct drop_count count;
	uint16_t reason;
};

/*
 * All that the kernel had counted with one bank in use, since load, when that bank last stood still.  Of both banks
 * together it is what was counted up to one moment, and all of it what became of the same packets.
 */
struct drain_settled {
	struct bank_count counts[POINTS_MAX];
	uint32_t reason_count;
	uint32_t drop_count;
	struct drain_reason reasons[UNRECORDED_MAX];
	struct drain_drop drops[DROP_REASON_MAX];
};

/* What was read is exact after each batch, what was evicted at the end of a swap: until then it counts as in a bank. */
struct drain_stats {
	uint64_t swaps;
	uint64_t early;	  /* of these, because a bank had reached its high-water mark */
	uint64_t entries; /* read from the banks */
	uint64_t packets; /* in those entries */
	uint64_t octets;
	uint64_t evicted_entries; /* made in a bank, but not there when it was drained */
	uint64_t evicted_packets;
	uint64_t evicted_octets;
	uint64_t last_swap_ns; /* by the kernel's clock, of the last swap; 0: there was none */
	uint64_t last_entries; /* read from the bank at that swap */
	uint64_t last_ns;      /* that it took, from the swap to the last entry */
	uint64_t busy_ns;      /* that all swaps took */
	uint64_t errors; /* failed swaps and reads; the entries wait for the next drain of that bank */
	/* The kernel's counters of a bank could not be read when it was last drained: those before are the newest. */
	bool unsettled;
};

int drain_new(struct drain **ret, const struct drain_options *options);

/* Stops the thread; see drain_finish() for what is still in the banks. */
struct drain *drain_free(struct drain *drain);
DEFINE_CLEANUP(struct drain *, drain_free)

/*
 * Stops the thread and drains both banks in the caller's thread, through the same callback.  For the
 * end: nothing may be attached any more.
 */
void drain_finish(struct drain *drain);

/*
 * For a datapath whose place another one takes, `heir`, which must live until then: gives it the stubs, waits until no
 * program of this datapath runs any more, drains both banks to the end, in the thread, and calls retired().  All
 * links must have the heir's programs by now.  Where the kernel does not let the stubs go, it is tried again some times
 * within half a second.  Then late() is called, once, a warning is logged, and it is tried at each interval; until
 * retired() the banks are drained as ever.
 */
void drain_retire(struct drain *drain, const struct datapath *heir);

/* From the next swap on, which is that far away. */
void drain_set_interval(struct drain *drain, uint64_t interval_ns);

const struct drain_stats *drain_stats(const struct drain *drain);

/* The same in any thread. */
void drain_stats_copy(struct drain *drain, struct drain_stats *ret);

/* `bank` is 0 or 1. */
const struct drain_settled *drain_settled(const struct drain *drain, unsigned int bank);

/* By the kernel's clock: all packets up to then have been given to the callback, or come to another datapath. */
uint64_t drain_swapped_ns(const struct drain *drain);

/*
 * In any thread: what the kernel has counted by now with a bank in use, which need not stand still.  -ENOMEM, -errno of
 * the kernel: *ret is not to be used.
 */
int drain_count(const struct datapath *datapath, unsigned int bank, struct drain_settled *ret);
