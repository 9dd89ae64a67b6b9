/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The records of a ring (ring.h) in the order of their first packets.  A bank is read in no order; what was read up to one
 * ring_settle() and behind the one before is sorted, RING_SETTLE_MAX records at most at a time.  In the thread of a reader,
 * which sorts each part once for all who read.
 *
 * Records have positions from 0, as many as they have numbers.  A part has the same positions as numbers.
 */
#include "exporter/observe/ring.h"

struct ring_order;

int ring_order_new(struct ring_order **ret, const struct ring *ring); /* -ENOMEM */
struct ring_order *ring_order_free(struct ring_order *order);
DEFINE_CLEANUP(struct ring_order *, ring_order_free)

/* Octets of memory for a ring of so many records. */
uint64_t ring_order_memory(uint32_t records);

/* Takes over what has been settled since it was last called: some milliseconds for RING_SETTLE_MAX records. */
void ring_order_look(struct ring_order *order);

/* The first position that has no record yet, and the first one whose record may still be there. */
uint64_t ring_order_next(const struct ring_order *order);
uint64_t ring_order_oldest(const struct ring_order *order);

/* The record at that position; false: it is not there any more, or not yet. */
bool ring_order_get(const struct ring_order *order, uint64_t position, struct ring_record *ret);

/*
 * The record at *position, or the next one that is still there, to which *position is put.  False: that is not there yet.
 * *missed grows by the positions that were left out.
 */
bool ring_order_read(const struct ring_order *order, uint64_t *position, struct ring_record *ret,
		     uint64_t *missed);

/*
 * A position before which all records were read before `told_ns`: where the part begins that has the first one of then
 * or later; ring_order_next() if there is none.
 */
uint64_t ring_order_find(const struct ring_order *order, uint64_t told_ns);
