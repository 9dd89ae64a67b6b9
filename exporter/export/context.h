/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* What all collectors share: options, clocks, the loop, and what they tell beside flow records. */
#include "exporter/export/export.h"

struct udp_host;

/* Those that run, those that have been removed and still send, and the host to which one moves. */
#define EXPORT_HOSTS_MAX (2 * EXPORT_COLLECTORS_MAX + 1)

/* Packets that are in no flow, and when that first and last happened, ms since 1970. */
struct export_unmetered {
	uint64_t packets;
	uint64_t octets;
	uint64_t first_ms;
	uint64_t last_ms;
};

/* Owned by the exports. */
struct export_context {
	struct export_options options;
	int64_t clock_ns;  /* record times plus this are ns since 1970 */
	struct loop *loop; /* NULL: driven by steps alone */
	int64_t wall_ns; /* the wall clock minus a clock that nobody sets, when clock_ns was told */
	unsigned int clock_moves; /* times that the wall clock was set */
	bool offline;		  /* there never was a loop: records are as old as the capture */
	bool timed;		  /* by exports_set_time() */
	uint64_t time_ms;	  /* its time, ms since 1970; 0: not known yet */
	bool blocking;		  /* the loop does not run (any more) */
	uint64_t (*deadline_ns)(const void *userdata); /* exports_set_deadline(); NULL: none */
	const void *deadline_userdata;
	struct export_interface *interfaces; /* by rising ifindex */
	unsigned int interface_count;
	struct export_unmetered unmetered;
	uint64_t base_ms;	/* NetFlow v9: record_context of the next messages */
	struct udp_host *hosts; /* of UDP collectors, EXPORT_HOSTS_MAX */
};

/* Whether the time is over in which anything may wait. */
static inline bool context_overdue(const struct export_context *context)
{
	uint64_t deadline_ns = context->deadline_ns
				       ? context->deadline_ns(context->deadline_userdata)
				       : UINT64_MAX;

	return deadline_ns != UINT64_MAX && clock_ns(CLOCK_MONOTONIC) >= deadline_ns;
}

/* Whether the loop runs, so that what is not urgent may wait for it. */
static inline bool context_on_loop(const struct export_context *context)
{
	return context->loop && !context->blocking;
}
