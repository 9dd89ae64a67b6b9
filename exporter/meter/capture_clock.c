/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/meter/capture_clock.h"
#include "exporter/util.h"

#define AHEAD_NS    ((int64_t)NSEC_PER_SEC)		  /* what needs no confirmation */
#define LATE_NS	    ((int64_t)(10 * NSEC_PER_SEC))	  /* likewise */
#define JUMP_MAX_NS ((int64_t)(2 * 86400 * NSEC_PER_SEC)) /* by then every flow has ended */

/* How far ahead of the clock a time is, by that shift; more than 292 years are as good as those. */
static int64_t ahead(const struct capture_clock *clock, uint64_t time_ns, int64_t shift_ns)
{
	__int128 ns = (__int128)time_ns + shift_ns - clock->now_ns;

	return (int64_t)MIN(MAX(ns, INT64_MIN / 2), INT64_MAX / 2);
}

static uint64_t distance(int64_t a)
{
	return (uint64_t)(a < 0 ? -a : a);
}

/* Lets the clock go on when it is no jump by that shift, of more than `ahead_ns`. */
static bool follow(struct capture_clock *clock, uint64_t time_ns, int64_t shift_ns,
		   int64_t ahead_ns)
{
	int64_t ns = ahead(clock, time_ns, shift_ns);

	if (ns < -LATE_NS || ns > ahead_ns)
		return false;
	if (ns > 0)
		clock->now_ns = MIN(clock->now_ns + (uint64_t)ns, INT64_MAX);
	return true;
}

uint64_t capture_clock_tick(struct capture_clock *clock, uint64_t time_ns, const uint64_t *next_ns)
{
	int64_t shift_ns = clock->shift_ns, ns;

	if (!clock->runs) {
		clock->runs = true;
		clock->now_ns = time_ns;
	}
	if (follow(clock, time_ns, shift_ns, AHEAD_NS))
		return clock->now_ns;
	if (follow(clock, time_ns, clock->other_ns, LATE_NS)) {
		clock->shift_ns = clock->other_ns;
		clock->other_ns = shift_ns;
		return clock->now_ns;
	}
	ns = ahead(clock, time_ns, shift_ns);
	/* The next packet is nearer to the present than to this one: this one's time is wrong. */
	if (next_ns && distance(ahead(clock, *next_ns, shift_ns)) <
			       distance(ahead(clock, *next_ns, shift_ns) - ns))
		return clock->now_ns;
	if (ns > 0)
		clock->now_ns = MIN(clock->now_ns + (uint64_t)MIN(ns, JUMP_MAX_NS), INT64_MAX);
	clock->shift_ns = (int64_t)(clock->now_ns - time_ns);
	if (clock->shift_ns != shift_ns)
		clock->other_ns = shift_ns;
	return clock->now_ns;
}
