/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Which file is next for whoever follows one that is rotated. */

/*
 * The file at `path` was read to its end, by the descriptor, and has another name by now.  Opens the one that was
 * begun after it: the next finished file (PATH.N+1 behind PATH.N, as flowtally numbers them), or else that at the
 * path.  Where others number them the other way, as logrotate does, PATH.2 is older than PATH.1, and not next.  The
 * descriptor, -errno.
 */
int read_next(const char *path, int fd);
