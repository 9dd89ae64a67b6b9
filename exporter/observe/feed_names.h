/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * What feeds have from elsewhere than the ring: names of interfaces and times of readings, from the newest snapshot, and
 * the wall clock.  In the thread of the control socket.
 */
#include "exporter/observe/feed.h"
#include "exporter/observe/snapshot.h"

struct feed_names {
	struct feed_context context; /* for the feeds; what this does not look at is the caller's */
	struct export_interface *interfaces; /* of the context, by rising ifindex */
	char (*names)[FEED_NAME_MAX];	     /* likewise */
	uint64_t number;		     /* of the snapshot that they are from */
};

/* To be called before feeds are asked. */
void feed_names_look(struct feed_names *names, struct snapshots *snapshots);
void feed_names_clear(struct feed_names *names);
