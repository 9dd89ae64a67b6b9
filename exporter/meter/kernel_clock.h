/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The clock that packets are stamped with in the kernel, and what it means.
 *
 * Kernel times are of the machine's monotonic clock (ktime_get_ns(), ktime_get_coarse_ns()).  This process
 * may be in a time namespace (time_namespaces(7)), where CLOCK_MONOTONIC is another: all that is compared
 * with kernel times is to be of this clock.  And it stands still while the machine sleeps: a time from
 * before a sleep lies further back on the wall than it says.
 *
 * kernel_clock_now_ns() and kernel_clock_coarse_ns() may be called in any thread, the rest in one.
 */
#include <stdbool.h>
#include <stdint.h>
#include "exporter/util.h"

#define KERNEL_CLOCK_SLEEPS 64 /* that are remembered: flows last a day at most */

/* Clocks as this process sees them, ns; injected by tests. */
struct kernel_clock_reading {
	uint64_t monotonic_ns;
	uint64_t boottime_ns; /* goes on while the machine sleeps */
	uint64_t realtime_ns;
};

struct kernel_clock {
	int64_t ahead_ns;  /* CLOCK_MONOTONIC here less the kernel's own */
	int64_t differ_ns; /* CLOCK_BOOTTIME less CLOCK_MONOTONIC, when last looked at */
	uint64_t slept_ns; /* since kernel_clock_init() */
	struct kernel_clock_sleep {
		uint64_t at_ns;	    /* by the kernel's clock, which stood still */
		uint64_t before_ns; /* slept_ns before it */
	} sleeps[KERNEL_CLOCK_SLEEPS];
	unsigned int count;	/* of sleeps ever */
	unsigned int forgotten; /* of these */
};

/* Finds out where the kernel's clock is, by a BPF program (CAP_BPF); failing that by what procfs says. */
void kernel_clock_init(struct kernel_clock *clock);

/* Now, to compare with kernel times; coarse: as bpf_ktime_get_coarse_ns(), never ahead of it. */
uint64_t kernel_clock_now_ns(const struct kernel_clock *clock);
uint64_t kernel_clock_coarse_ns(const struct kernel_clock *clock);

/* What CLOCK_MONOTONIC is in this process at a time of the kernel's. */
uint64_t kernel_clock_here_ns(const struct kernel_clock *clock, uint64_t kernel_ns);

/*
 * Notices sleeps.  What happened up to now is taken for older than a sleep that it notices: to be called soon after one
 * (kernel_clock_fd()), and before times are told.
 */
void kernel_clock_look(struct kernel_clock *clock);

/*
 * The kernel's time with the sleeps up to it: what lies between two of them is how long it took, asleep or not.  Plus
 * kernel_clock_offset_ns() it is ns since 1970.
 */
uint64_t kernel_clock_told_ns(const struct kernel_clock *clock, uint64_t kernel_ns);
int64_t kernel_clock_offset_ns(const struct kernel_clock *clock);

/* What CLOCK_BOOTTIME was in this process at a time of the kernel's: nobody sets it. */
uint64_t kernel_clock_boottime_ns(const struct kernel_clock *clock, uint64_t kernel_ns);

/*
 * A descriptor that becomes readable after a sleep, and when the wall clock is set; -errno.  kernel_clock_rearm() is to
 * be called then.
 */
int kernel_clock_fd(void);
int kernel_clock_rearm(int fd);

/* The parts that tests call. */

/* How far CLOCK_MONOTONIC is ahead of the kernel's clock, which was read between two readings of it, ns. */
struct kernel_clock_measured {
	int64_t ahead_ns;
	uint64_t within_ns; /* between the two; UINT64_MAX: nothing was measured */
};

/* Keeps the closer one: a process that has to wait for a CPU in the middle has measured nothing. */
void kernel_clock_measure(struct kernel_clock_measured *best, uint64_t before_ns,
			  uint64_t kernel_ns, uint64_t after_ns);

/* As measured, and exactly what procfs says of the namespace, if that agrees. */
int64_t kernel_clock_choose(const struct kernel_clock_measured *measured, int64_t listed_ns);
void kernel_clock_start(struct kernel_clock *clock, int64_t ahead_ns,
			const struct kernel_clock_reading *now);
void kernel_clock_notice(struct kernel_clock *clock, const struct kernel_clock_reading *now);
