/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The listening end of the control socket, made where nobody can put something else in its place.  While it is there the
 * process holds a lock on PATH.lock: a socket without that is a dead process's, and is replaced.
 */
#include <stdbool.h>
#include <sys/types.h>
#include "exporter/util.h"

#define LISTENER_WHY_MAX 512

struct listener_options {
	/* Absolute.  Its last folder is made if it is missing; others lose the right to write it if it is ours and empty. */
	const char *path;
	const char *group; /* name or number, whose members may connect; NULL: the process's own */
};

struct listener;

/* Nonblocking.  -errno: `why` has a sentence on what is wrong, and where it helps the fix. */
int listener_new(struct listener **ret, const struct listener_options *options,
		 char why[LISTENER_WHY_MAX]);

/* Removes the socket. */
struct listener *listener_free(struct listener *listener);
DEFINE_CLEANUP(struct listener *, listener_free)

int listener_fd(const struct listener *listener);

/*
 * The next client, nonblocking.  -EAGAIN: none; -EPERM: one was turned away who is neither root, nor the exporter's own user,
 * nor a member of the group; other -errno of accept4(2).
 */
int listener_accept(struct listener *listener);
