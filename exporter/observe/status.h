/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * What `flowtally status` shows, as one JSON object: the newest snapshot, rates since the one before, what is wrong and how it
 * is mended.  docs/control.md names its members.
 */
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include "exporter/observe/snapshot.h"

/* For what has happened of late: it is remembered for one to two minutes.  Begins as {0}. */
struct status_sample {
	const struct snapshot *snapshot; /* held */
	uint64_t monotonic_ns;
	uint64_t cpu_ns; /* of the process */
};
struct status_memory {
	struct status_sample recent, older;
};

/* To be called about once a second. */
void status_remember(struct status_memory *memory, struct snapshots *snapshots);
void status_forget(struct status_memory *memory);

struct status_sources {
	struct snapshots *snapshots;
	const struct status_memory *memory;
	uint64_t ring_records; /* held for `observe` */
};

/* One line with its end.  -ENODATA: there is no snapshot yet; -ENOMEM. */
int status_print(const struct status_sources *sources, FILE *file);

/*
 * Of the same collector, whatever its URL is and was; NULL: it was not there, or the number is 0, which sums of removed
 * ones have.
 */
const struct collector_stats *status_find_collector(const struct snapshot *s, unsigned int number);

/* What is wrong: an array of {"what", "fix"}.  `since` (NULL: all time) is what was lost already. */
json_t *status_problems(const struct snapshot *now, const struct snapshot *since, uint64_t age_ns);
