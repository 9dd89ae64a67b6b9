/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* When to try again what failed: after twice as long each time, up to a cap.  All times are CLOCK_MONOTONIC, in ns. */
#include <stdbool.h>
#include <stdint.h>
#include "exporter/util.h"

#define BACKOFF_MIN_NS (5 * NSEC_PER_SEC)
#define BACKOFF_MAX_NS (60 * NSEC_PER_SEC)

/* Begins as {0}: due at once. */
struct backoff {
	uint64_t tried_ns;
	uint64_t delay_ns; /* 0: nothing has failed */
	uint64_t due_ns;
};

static inline bool backoff_due(const struct backoff *b, uint64_t now_ns)
{
	return now_ns >= b->due_ns;
}

static inline void backoff_failed(struct backoff *b, uint64_t now_ns)
{
	uint64_t delay = b->delay_ns ? 2 * b->delay_ns : BACKOFF_MIN_NS;

	b->delay_ns = MIN(delay, BACKOFF_MAX_NS);
	b->tried_ns = now_ns;
	b->due_ns = now_ns + b->delay_ns;
}

/* Something changed that may help: the next try comes sooner, but never sooner than the shortest delay after the last. */
static inline void backoff_hurry(struct backoff *b)
{
	if (b->delay_ns)
		b->due_ns = MIN(b->due_ns, b->tried_ns + BACKOFF_MIN_NS);
}

/* It worked, or somebody asks for a try at once. */
static inline void backoff_reset(struct backoff *b)
{
	*b = (struct backoff){0};
}
