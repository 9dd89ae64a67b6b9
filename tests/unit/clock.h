/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Time for tests.  A test that links this has clocks, timers and waits of its own in place of libc's:
 * clock_gettime(), timerfd, poll(), ppoll() and epoll_wait().  The clocks stand still while code runs, and
 * move on when it waits and nothing is ready: at once, to the next timer or to the end of the wait.  So no
 * test waits, and none depends on how busy the machine is.
 */
#include <stdint.h>

/* When a test starts: CLOCK_REALTIME and all clocks that nobody sets. */
#define CLOCK_START_WALL_NS 1800000000000000000ull
#define CLOCK_START_NS	    1000000000000000ull

/* Since the start of the test, ns. */
uint64_t clock_passed_ns(void);

/* Time passes, and nothing else happens. */
void clock_skip(uint64_t ns);

/* The wall clock is off by so much. */
void clock_set_wall(int64_t offset_ns);

/* What somebody else does after so long, while the code under test waits. */
void clock_at(uint64_t after_ns, void (*call)(void *userdata), void *userdata);

/* Called before time moves on: lets arrive what is on its way. */
void clock_before_moving(void (*call)(void));

/*
 * From now on time moves by clock_skip() alone, for another thread that waits: it has dealt with all that was
 * ready before, and then with the time, when clock_skip() returns.  One thread at most may wait.
 */
void clock_hold(void);

/* The start of another test. */
void clock_reset(void);
