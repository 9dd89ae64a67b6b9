/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Text behind text for a reader who may be slow, and is never waited for: he gets it less often. */
#include <stdbool.h>
#include "exporter/util.h"

struct lines;

/* Writes to `fd`, which stays the caller's.  -ENOMEM, -errno. */
int lines_new(struct lines **ret, int fd);
struct lines *lines_free(struct lines *lines);
DEFINE_CLEANUP(struct lines *, lines_free)

/* To watch for a reader that has gone. */
int lines_fd(const struct lines *lines);

/* -errno of what could not be written, such as -EPIPE when nobody reads any more; 0: nothing failed. */
int lines_error(const struct lines *lines);

/*
 * The stream for the next lines, this one's own.  NULL: the reader has not taken the last ones, or there is no memory;
 * what was to be shown can be shown later.
 */
FILE *lines_begin(struct lines *lines);

/* Shows what was written into the stream since. */
void lines_show(struct lines *lines);

/* False: the reader has not taken it all, however long that was waited for at each step. */
bool lines_end(struct lines *lines, int wait_ms);
