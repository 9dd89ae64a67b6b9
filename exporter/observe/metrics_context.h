/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* What families look up while they are printed. */
#include "exporter/observe/metrics.h"

/* An interface that has series of its own, by its name. */
struct metrics_interface {
	uint32_t ifindex;
	const char *name;
};

struct metrics_context {
	const struct metrics_source *source;
	const struct snapshot *snapshot;      /* of the source */
	const uint64_t *series;		      /* of each family before the one that is printed */
	struct metrics_interface *interfaces; /* by rising ifindex */
	size_t interface_count;
	char (*collectors)[256]; /* names in labels, no two alike, by index; of the snapshot's */
};

/* -ENOMEM. */
int metrics_context_make(struct metrics_context *context, const struct metrics_source *source,
			 const uint64_t *series);
void metrics_context_clear(struct metrics_context *context);

/* NULL: it has no series of its own. */
const char *metrics_interface_name(const struct metrics_context *context, uint32_t ifindex);
