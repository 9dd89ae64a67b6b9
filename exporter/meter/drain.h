/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The drain thread: swaps the banks at each interval, or a pair earlier when one fills, reads the bank that
 * stands still and hands whole batches to the loop's thread.  Waiting for an RCU grace period blocks,
 * so nothing else lives in this thread, and it shares nothing else with the loop.
 */
#include <stdint.h>
#include "exporter/meter/datapath.h"

struct kernel_clock;
struct loop;
struct drain;

#define DRAIN_BATCH 2048

/* Entries of one bank, or the end of one: after the last batch of a swap comes one with `end` set. */
struct drain_batch {
	enum bank_use use;
	uint32_t count;
	uint64_t swap_ns; /* of the swap, by the kernel's clock: all packets up to then are in this or earlier ones */
	bool end;
	struct flow_key keys[DRAIN_BATCH];
	struct flow_record records[DRAIN_BATCH];
};

/* Called in the loop's thread. */
typedef void (*drain_callback)(void *userdata, const struct drain_batch *batch);

struct drain_options {
	struct datapath *datapath;
	struct loop *loop;
	const struct kernel_clock *clock; /* NULL: this process is in no time namespace */
	uint64_t interval_ns;
	drain_callback callback;
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
	struct bank_count counts[_POINT_MAX]; /* 0 of points that belong to other banks */
	uint32_t reason_count;
	uint32_t drop_count;
	struct drain_reason reasons[UNRECORDED_MAX];
	struct drain_drop drops[DROP_REASON_MAX];
};

/* Of one pair of banks.  All exact at the end of a swap; read them in the loop's thread. */
struct drain_stats {
	uint64_t swaps;
	uint64_t early;	  /* of these, because a bank had reached its high-water mark */
	uint64_t entries; /* read from the banks */
	uint64_t packets; /* in those entries */
	uint64_t octets;
	uint64_t evicted_entries; /* made in a bank, but not there when it was drained */
	uint64_t evicted_packets;
	uint64_t evicted_octets;
	uint64_t errors; /* failed swaps and reads; the entries wait for the next drain of that bank */
};

int drain_new(struct drain **ret, const struct drain_options *options);

/* Stops the thread; see drain_finish() for what is still in the banks. */
struct drain *drain_free(struct drain *drain);
DEFINE_CLEANUP(struct drain *, drain_free)

/*
 * Stops the thread and drains all banks in the caller's thread, through the same callback.  For the
 * end: nothing may be attached any more.
 */
void drain_finish(struct drain *drain);

const struct drain_stats *drain_stats(const struct drain *drain, enum bank_use use);

/* Likewise; `bank` is 0 or 1. */
const struct drain_settled *drain_settled(const struct drain *drain, enum bank_use use,
					  unsigned int bank);
