/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The metering of one kind of records: its datapath, the drain of that, and what has been counted since the start of the
 * run.  The datapath can be replaced while packets come, by one with banks of another size.  All that is told here goes
 * on over that: sums are those of the run.
 *
 * Replacing goes in steps, of which the owner makes the second and the third:
 *  1. meter_prepare() loads another datapath, in a thread of its own, and starts its drain.  prepared() says how that went.
 *  2. All links get the programs of meter_datapath(), which is the new one by then.  What is
 *     linked by stubs (drops, clsact) stays as it is.
 *  3. meter_retire_old() gives the stubs to the new one, waits until nothing is counted in the old banks any more, drains
 *     them to the end and frees them.  retired() says when.
 * Meanwhile both are drained by the same callback.  Nothing is counted twice or lost, and sums hold after each batch.
 */
#include <stdbool.h>
#include <stdint.h>
#include "exporter/meter/datapath.h"
#include "exporter/meter/drain.h"
#include "exporter/meter/drop_tracer.h"
#include "exporter/util.h"

struct kernel_clock;
struct loop;
struct meter;

/* `batch->swap_ns` is the time up to which all packets of this kind have come, in this batch or before. */
typedef void (*meter_callback)(void *userdata, const struct drain_batch *batch);

struct meter_options {
	struct datapath_options datapath;
	struct loop *loop;
	const struct kernel_clock *clock; /* NULL: this process is in no time namespace */
	uint64_t interval_ns;		  /* of swaps */
	meter_callback callback;
	/* NULL where nothing is replaced.  0: meter_datapath() is another one; -errno, logged: all is as it was. */
	void (*prepared)(void *userdata, int error);
	/* NULL: does not matter.  Called once for each that was prepared, see meter_retire_old(). */
	void (*retired)(void *userdata);
	void *userdata;
};

/* Loads, and starts to drain.  -errno, logged: see datapath_new(). */
int meter_new(struct meter **ret, const struct meter_options *options);

/*
 * What is still in the banks is lost: meter_finish().  Does not wait for a datapath that is being prepared: a thread goes on
 * to load it, and frees it, with the one that it was to replace.
 */
struct meter *meter_free(struct meter *meter);
DEFINE_CLEANUP(struct meter *, meter_free)

/* For the end, when nothing is attached any more: drains all in the caller's thread, through the same callback. */
void meter_finish(struct meter *meter);

/* Whose programs are to be attached. */
struct datapath *meter_datapath(const struct meter *meter);

/* From the next swap on, which is that far away. */
void meter_set_interval(struct meter *meter, uint64_t interval_ns);

/* Of drops, at any time. */
void meter_set_drop_filter(struct meter *meter, const struct drop_filter *filter);

/*
 * Begins to load another datapath with banks of that many entries.  Does not wait for it.  -EBUSY: the one before has
 * not been prepared or retired yet; other -errno: it could not be begun.
 */
int meter_prepare(struct meter *meter, uint32_t entries);

/* One that was prepared waits for its links: steps 2 and 3, or meter_keep_old(). */
bool meter_is_replaced(const struct meter *meter);

/* In place of step 2, while nothing has the new programs: the old datapath stays, and the new one is retired. */
void meter_keep_old(struct meter *meter);

/*
 * The old datapath's links have the new programs: drains it to the end, without waiting.  Nothing where there is none.
 * Where the kernel does not let go of it, retired() is called after half a second all the same.  It is drained beside the
 * new one until it can be had, and till then meter_prepare() says -EBUSY.
 */
void meter_retire_old(struct meter *meter);

/* Sums over the run, of what is settled: up to the last swap. */
struct meter_count {
	struct bank_count points[POINTS_MAX];
	/* unsettled for good where it was of a datapath that is gone */
	struct drain_stats drain;
	uint64_t unread_packets; /* in banks that were given up, and that the kernel did not give back */
	uint64_t unread_octets;
};

void meter_count(const struct meter *meter, struct meter_count *ret);

/* Calls `visit` for each counter of packets in no record; several times for one key, whose counts are to be added. */
void meter_reasons(const struct meter *meter, datapath_visit visit, void *userdata);

/* Likewise for the kernel's reasons for drops. */
void meter_drops(const struct meter *meter, drop_tracer_visit visit, void *userdata);

/*
 * In another thread, for when the loop hangs: the same in one, with what the kernel has counted by now, of which more may
 * be on its way.  `drain` is of the last batches.  -ENOMEM, -errno of the kernel: nothing is known.
 */
int meter_count_now(struct meter *meter, struct meter_count *ret, datapath_visit reason,
		    drop_tracer_visit drop, void *userdata);

/* Of drops, in any thread: drop_tracer_missed(), or what it said last. */
uint64_t meter_missed(struct meter *meter);
