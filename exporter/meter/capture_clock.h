/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * A monotonic clock made of the times in a capture, which are in no order that could be trusted: packets
 * of several CPUs or interfaces overtake each other, clocks are set, captures are joined, a time is wrong.
 *
 * The clock follows the packets while they go on, or come late, by little.  A jump counts when the next
 * packet confirms it.  Ahead it is time in which there was no packet, of which two days are enough.  Back,
 * the clock goes on from where it is, by a shift between the packets' times and its own.  The shift before
 * is remembered, so that packets of two clocks may alternate.
 */
#include <stdbool.h>
#include <stdint.h>

/* All 0: before the first packet. */
struct capture_clock {
	bool runs;
	uint64_t now_ns;
	int64_t shift_ns; /* a packet's time plus this is the clock's */
	int64_t other_ns; /* the shift before */
};

/* Time of the clock when a packet comes that has `time_ns`, and behind it one that has `next_ns`, if any. */
uint64_t capture_clock_tick(struct capture_clock *clock, uint64_t time_ns, const uint64_t *next_ns);
