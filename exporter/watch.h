/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Notices when another file is at a path, or the file has other contents: by inotify(7) on each directory in which the
 * way to it may change: that of each symbolic link on the path, that of the file, and those of the folders above, up to
 * the root or the working directory.  So it sees a file that is written in place, one that is renamed over it, a ConfigMap,
 * whose files are links through ..data, a link that is swapped, and a folder that comes in the place of another.
 *
 * The watch is of the path as it was when it was made: after a change a new one is made.
 */
#include <stdbool.h>
#include "exporter/util.h"

struct watch;

enum watch_change {
	WATCH_NOTHING,
	WATCH_WRITING, /* the file is being written, more is to come */
	WATCH_CHANGED,
};

/*
 * Waits as long as the file system does.  A path that leads nowhere is watched up to where it ends.  Errors: -ENOSPC (no
 * watch is left to the user), -EMFILE, -ENFILE, -ENOMEM, -ELOOP, -errno.
 */
int watch_new(struct watch **ret, const char *path);
struct watch *watch_free(struct watch *watch);
DEFINE_CLEANUP(struct watch *, watch_free)

/* Readable when something happened in one of the directories. */
int watch_fd(const struct watch *watch);

/* Takes what has happened since the last call, and says what of it is about the path. */
enum watch_change watch_read(struct watch *watch);
