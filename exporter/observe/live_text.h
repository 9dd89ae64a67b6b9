/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* The lines of the live table. */
#include <stdbool.h>
#include "exporter/observe/live.h"

struct live_rate {
	uint64_t packets;
	uint64_t octets; /* IP layer */
};

/* A flow in the table. */
struct live_flow {
	struct flow_key key;
	struct live_rate rate; /* since the last refresh */
	uint64_t total;	       /* octets since it is in the table */
	uint64_t first_ns;
	uint64_t last_ns;
};

/* How to show it. */
struct live_view {
	double seconds;	      /* since the last refresh */
	unsigned int columns; /* of the terminal: no line is wider */
	bool color;
};

void live_print_header(FILE *file, const struct live_view *view, const struct live_totals *totals,
		       const struct live_rate rate[_DIRECTION_MAX]);
void live_print_columns(FILE *file, const struct live_view *view);
void live_print_flow(FILE *file, const struct live_view *view, const struct live_flow *flow,
		     uint64_t now_ns);
