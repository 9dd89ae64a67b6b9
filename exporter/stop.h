/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The end of a verb.  A signal asks for it; from then on everything that is left to do has so much time,
 * and another signal ends it at once.  A thread of its own hears the signals and watches the time, so that the
 * process ends whatever the main thread waits for.
 */
#include <stdbool.h>
#include <stdint.h>
#include "exporter/util.h"

struct stop;

struct stop_options {
	uint64_t timeout_ns; /* from the first signal to the end of the process */
	bool hangup; /* SIGHUP asks for the end too, unless it was ignored at the start (nohup) */
	bool interrupt; /* the thread that calls stop_new() may be in a read(2): it fails with EINTR (by SIGUSR1) */
	/*
	 * Called in the thread, before it ends the process with status 1: the main thread has not come to
	 * stop_free() in time.  NULL: nothing is left to say.
	 */
	void (*overdue)(void *userdata);
	void *userdata;
};

/*
 * Blocks SIGTERM and SIGINT (and SIGHUP) in the calling thread, to be called before there are others.
 * Errors: -ENOMEM, -errno.
 */
int stop_new(struct stop **ret, const struct stop_options *options);

/* The end is here: the thread watches no more. */
struct stop *stop_free(struct stop *stop);
DEFINE_CLEANUP(struct stop *, stop_free)

/* Another time for the end, before it has begun. */
void stop_set_timeout(struct stop *stop, uint64_t timeout_ns);

/* Readable from the first signal on. */
int stop_fd(const struct stop *stop);

/* The end begins without a signal: time runs from now on. */
void stop_begin(struct stop *stop);

/* Whether it has begun; the caller then reads nothing more. */
bool stop_begun(struct stop *stop);

/*
 * When nothing may wait any more, CLOCK_MONOTONIC: a little before the process has to end, so that it can say what was
 * left undone; UINT64_MAX before the end begins, 0 after a second signal.
 */
uint64_t stop_deadline_ns(const void *stop);

/* Whether that is over, and why: "--stop-timeout" or "another signal"; NULL: it is not. */
const char *stop_why(const struct stop *stop);

/* Writes what the log still holds (log_flush()), as long as there is time. */
void stop_flush_log(const struct stop *stop);
