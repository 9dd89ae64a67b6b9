/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * What is shown again and again: a picture redrawn in place on a terminal, text behind text elsewhere.
 * It never waits for whoever reads: a reader that does not keep up sees fewer pictures.
 */
#include <stdbool.h>
#include "exporter/util.h"

struct screen;

struct screen_size {
	unsigned int rows; /* 0: text behind text */
	unsigned int columns;
};

/* Shows on `fd`, which stays the caller's; `in_place` if that is a terminal.  -ENOMEM, -errno. */
int screen_new(struct screen **ret, int fd, bool in_place);
struct screen *screen_free(struct screen *screen);
DEFINE_CLEANUP(struct screen *, screen_free)

/* Of the terminal now: a picture has two lines less and no longer ones. */
struct screen_size screen_size(const struct screen *screen);

/* To watch for a reader that has gone. */
int screen_fd(const struct screen *screen);

/* -errno of what could not be written, such as -EPIPE when nobody reads any more; 0: nothing failed. */
int screen_error(const struct screen *screen);

/*
 * The stream for the next picture, the screen's own.  NULL: the reader has not taken the last one, or there is no
 * memory; what was to be shown can be shown later.
 */
FILE *screen_begin(struct screen *screen);

/* Shows what was written into the stream since. */
void screen_show(struct screen *screen);

/*
 * Leaves the last picture as it is and puts the cursor behind it.  False: the reader has not taken it all, however
 * long that was waited for at each step.
 */
bool screen_end(struct screen *screen, int wait_ms);
