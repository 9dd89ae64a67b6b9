/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* How verbs wait that show what comes: until a signal is to end them, or nobody reads standard output any more. */
#include <stdatomic.h>
#include <stdbool.h>

/* From now on this signal ends what interrupt_wait() waits for.  Calls of the system that it interrupts are not restarted. */
void interrupt_catch(int number);

/* Whether such a signal came; the flag is not 0 then. */
bool interrupt_came(void);
const atomic_int *interrupt_flag(void);

/*
 * Waits for `fd` (-1: none) to be readable, `timeout_ms` at most (-1: for ever).  1: it is; 0: the time is over; -EINTR: a
 * signal came, also before the call; -EPIPE: nobody reads standard output any more; other -errno.
 */
int interrupt_wait(int fd, int timeout_ms);
