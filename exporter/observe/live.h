/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The live table of the busiest flows: redrawn in place on a terminal, a block of lines every few
 * seconds elsewhere.  Bounded in memory and time however many flows there are, and it never waits
 * for whoever reads: a reader that does not keep up sees fewer refreshes.
 */
#include <stdint.h>
#include "exporter/util.h"
#include "xdp/flow.h"

struct live;

struct live_totals {
	uint64_t now_ns; /* every packet until then has been given to live_delta(); monotonic */
	const char *interfaces; /* for the header: "eth0, eth1" */
	uint32_t flows;		/* in the cache */
	uint64_t lost;		/* packets refused or lost since start */
};

/* Shows on `fd` (stdout), which stays the caller's; `now_ns` as in live_totals.  -ENOMEM, -errno. */
int live_new(struct live **ret, int fd, uint64_t now_ns);
struct live *live_free(struct live *live);
DEFINE_CLEANUP(struct live *, live_free)

/* Adds what a flow has had since its last delta. */
void live_delta(struct live *live, const struct flow_key *key, const struct flow_record *delta);

/* Shows the busiest since the last refresh: after each round of deltas, about once a second. */
void live_refresh(struct live *live, const struct live_totals *totals);

/* Leaves the table as it is and puts the cursor behind it. */
void live_end(struct live *live);
