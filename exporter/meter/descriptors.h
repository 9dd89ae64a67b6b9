/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * File descriptors, of which each hook takes one.  What the process has beside hooks (collectors, netlink) must never
 * go short because of them, and an interface gets all of its hooks or none for this reason.
 */
#include <stdbool.h>
#include <stdint.h>

/* What stays free for all else: collectors that open again, netlink sockets, pipes. */
#define DESCRIPTORS_RESERVE 32

struct descriptors {
	uint64_t limit; /* RLIMIT_NOFILE, soft */
	uint64_t other; /* open, or kept free, for what is no hook */
	uint64_t hooks; /* held by hooks */
};

/* Raises the soft limit to the hard one, which needs no privilege, and counts what is open. */
void descriptors_init(struct descriptors *descriptors);

bool descriptors_fit(const struct descriptors *descriptors, uint64_t more);

/* The limit that so many hooks need. */
uint64_t descriptors_needed(const struct descriptors *descriptors, uint64_t hooks);
