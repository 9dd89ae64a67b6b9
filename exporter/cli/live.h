/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * What the exporter of this process meters, on the screen of `flowtally top` (top_view.h), or as text again and again where
 * there is no full screen.  It has a thread of its own, which asks the control thread as any client does: neither a terminal
 * that is stopped nor a slow reader holds the loop.
 */
#include <stdbool.h>
#include "exporter/cli/top_model.h"
#include "exporter/util.h"

struct control;
struct live;
struct loop;

struct live_options {
	struct control *control;
	struct loop *loop;
	struct top_choice choice;
	/*
	 * In the loop's thread.  0: the user wants the end; -errno: nothing is shown any more, and `why`, -ENODATA: since the
	 * terminal has gone.
	 */
	void (*ended)(void *userdata, int error, const char *why);
	void *userdata;
};

/* Begins to show.  From then on messages of the log wait, if they are for the terminal of the screen.  -errno. */
int live_new(struct live **ret, const struct live_options *options);

/*
 * Gives the terminal back, and what was said meanwhile is written.  Waits for a terminal that takes nothing for a second, and
 * leaves the thread to itself then.
 */
struct live *live_free(struct live *live);
DEFINE_CLEANUP(struct live *, live_free)

/* In another thread, before the process ends: the terminal is as it was, and messages of the log wait no more. */
void live_abandon(void);
