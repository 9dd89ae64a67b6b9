/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Reads the configuration again, on request and when its file changes, and hands on what is good.
 *
 * A thread reads, so that a file on a disk that hangs stops nothing; there is one reading at a time, and what is asked for
 * meanwhile is one more behind it.  The environment and the command line keep their say: only the file can change.
 *
 * A file with mistakes, or with a setting that takes a restart, changes nothing: all that is wrong is logged as at the
 * start, and counted.
 */
#include <stdbool.h>
#include <stdint.h>
#include "config/load.h"

struct loop;
struct notifier;
struct reload;

struct reload_stats {
	uint64_t good;	  /* applied, or found to be as it was */
	uint64_t failed;  /* refused or not applied: all is as it was */
	uint64_t last_ns; /* when the last of them ended, CLOCK_REALTIME; 0: there was none */
	bool last_failed;
};

struct reload_options {
	struct loop *loop;
	const struct config_request *request; /* of the start, with a file; copied */
	const struct config *running;	      /* what is in force; `apply` alone changes it */
	struct notifier *notifier;	      /* told of reloads once reload_ready() was called */
	/*
	 * In the loop's thread: makes the configuration the one in force.  On success it has taken over the contents and
	 * left it cleared: 0, or 1 if that takes its time, and reload_applied() says how it went.  -errno after it has
	 * logged why not.
	 */
	int (*apply)(void *userdata, struct config *config);
	void *userdata;
};

/*
 * Where the configuration that runs says so, watches the file, and looks once whether it has changed since it was read.
 * Without means to watch it a warning says so: reload_request() still works.  -ENOMEM, -errno.
 */
int reload_new(struct reload **ret, const struct reload_options *options);

/* Waits for nobody: a thread that hangs in a reading keeps what it uses. */
struct reload *reload_free(struct reload *reload);
DEFINE_CLEANUP(struct reload *, reload_free)

/* READY=1 has been told for the start: from now on the service manager hears of reloads. */
void reload_ready(struct reload *reload);

/* Reads the file now, or once more after the reading that is under way. */
void reload_request(struct reload *reload);

/* What options.apply() began has come to its end: 0, or -errno, logged. */
void reload_applied(struct reload *reload, int error);

/* Whether a reading is under way or to come. */
bool reload_busy(const struct reload *reload);

const struct reload_stats *reload_stats(const struct reload *reload);
