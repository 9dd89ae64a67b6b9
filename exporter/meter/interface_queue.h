/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Interfaces that are to be tried now, one after the other.  Those that somebody waits for go first, whatever else comes
 * meanwhile: the wait ends when the last of them has been taken, and not when nothing is left, which may never be where
 * interfaces come and go all the time.  Belongs to the thread of hooks.c.
 */
#include <stdbool.h>

struct interface;

/* Begins as {0}. */
struct interface_queue {
	struct {
		struct interface *first, *last;
	} lists[2]; /* by `awaited` */
};

/* `awaited`: somebody waits for it.  One that is in the queue is waited for if this or an earlier call says so. */
void interface_queue_put(struct interface_queue *queue, struct interface *i, bool awaited);

/* The next one, which stays; NULL: there is none. */
struct interface *interface_queue_first(const struct interface_queue *queue);

/* One that somebody waits for is there. */
bool interface_queue_awaits(const struct interface_queue *queue);

/* Nothing where it is not in the queue.  Whoever tries the first, or frees one, calls this. */
void interface_queue_remove(struct interface_queue *queue, struct interface *i);
