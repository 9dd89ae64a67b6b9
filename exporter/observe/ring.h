/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * What was read from the banks of late: a ring of so many records, of which the oldest makes room for the next.  One
 * thread writes, in constant time, without memory of its own and without waiting for anybody.  Any number of others read
 * meanwhile; a reader that is overtaken learns how many records it has missed.
 *
 * Each slot has a number that is odd while it is written (a sequence lock, as the kernel's seqcount_t).  A reader that finds
 * another number after copying than before has copied nothing.
 *
 * Times are of CLOCK_BOOTTIME, which nobody sets: a step of the wall clock neither ages a record nor hides it.
 */
#include <stdbool.h>
#include <stdint.h>
#include "exporter/util.h"
#include "xdp/flow.h"

#define RING_RECORDS_MIN 1024
#define RING_RECORDS_MAX (1 << 22)

/* Records that are settled at once at most; of a small ring half of what it holds. */
#define RING_SETTLE_MAX 32768

/* What a flow or a drop has had since it was last read. */
struct ring_record {
	uint64_t told_ns; /* when it was read from the bank */
	struct flow_key key;
	struct flow_record record; /* first_ns and last_ns likewise */
};

struct ring;

/* Records to hold.  -EINVAL: out of range; -ENOMEM. */
int ring_new(struct ring **ret, uint32_t records);
struct ring *ring_free(struct ring *ring);
DEFINE_CLEANUP(struct ring *, ring_free)

/* Before anybody reads: where ring_read() adds too what any reader has missed, atomically.  It outlives the ring. */
void ring_count_missed(struct ring *ring, uint64_t *missed);

/* Octets of memory, which the kernel gives when it is first written. */
uint64_t ring_memory(uint32_t records);

/* In the thread of the writer.  Records are numbered from 0. */
void ring_add(struct ring *ring, const struct ring_record *record);

/*
 * In the thread of the writer: what was added is a whole that readers can put in order (ring_order.h), as one reading of the
 * banks is.  ring_add() does so by itself where that becomes too much to wait for.
 */
void ring_settle(struct ring *ring);

/* In any thread: the number that the next record gets, and that of the oldest one that is still there. */
uint64_t ring_next(const struct ring *ring);
uint64_t ring_oldest(const struct ring *ring);

/* Likewise: the number of the first record that is not settled; and how many records the ring holds at most. */
uint64_t ring_settled(const struct ring *ring);
uint32_t ring_size(const struct ring *ring);

/*
 * In any thread: the record of the number *number, or of the oldest that is still there, to which *number is put.  False:
 * that is not there yet.  *missed grows by the numbers that were left out.
 */
bool ring_read(const struct ring *ring, uint64_t *number, struct ring_record *ret,
	       uint64_t *missed);

/* In any thread: the record of that number; false: it is not there any more, or not yet. */
bool ring_get(const struct ring *ring, uint64_t number, struct ring_record *ret);

/*
 * In any thread: the number of the first record that was read at `told_ns` or later, as far as they are in the order
 * of their times; that of the next one if there is none.
 */
uint64_t ring_find(const struct ring *ring, uint64_t told_ns);
