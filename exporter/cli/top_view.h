/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Asks an exporter again and again for what flows most, and shows it: on a full screen, or as text.  The exporter is one that
 * runs, or that of this process (live.h).  What goes wrong with it is shown, and is tried again.  While another job has the
 * terminal, nothing is asked, drawn or read.
 */
#include <stdatomic.h>
#include "exporter/cli/client.h"
#include "exporter/cli/top_model.h"

struct top_view_options {
	/* A connection to the exporter.  -errno: `why` says what is wrong. */
	int (*connect)(const void *userdata, struct client **ret, char why[CLIENT_WHY_MAX]);
	const void *userdata;
	struct top_choice choice;
	bool own;		 /* it is the exporter of this process */
	const atomic_int *ended; /* not 0: it is to return; a signal interrupts its waiting, */
	int wake;		 /* or it gets readable; -1: it does not */
};

struct top_view;

/* -ENOMEM. */
int top_view_new(struct top_view **ret, const struct top_view_options *options);
struct top_view *top_view_free(struct top_view *view);
DEFINE_CLEANUP(struct top_view *, top_view_free)

/* Asks for the first time.  -errno: top_view_message() says what is wrong. */
int top_view_ask(struct top_view *view);
const char *top_view_message(const struct top_view *view);

/*
 * Shows pictures until the user or `ended` ends it.  -ENOTTY: this terminal has no full screen, and `why` says so; -ENODATA:
 * the terminal has gone; -ENOMEM.
 */
int top_view_screen(struct top_view *view, char why[TOP_MESSAGE_MAX]);

/*
 * Prints so many pictures (0: until `ended`) to standard output.  -errno: there is no answer any more, as
 * top_view_message() says, or nobody reads.  Of the exporter of this process it asks again each second instead, and says once
 * why there is no answer.
 */
int top_view_batch(struct top_view *view, uint64_t count);
