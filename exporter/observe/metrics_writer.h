/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Lines of metrics: a family's own when its first sample comes, so that a family without samples does not show. */
#include "exporter/observe/metrics.h"

struct metrics_writer {
	enum metrics_format format;
	const struct metrics_family *family; /* whose samples come */
	uint64_t *series;		     /* of each family so far, by number */
	char *text;
	size_t size, capacity;
	bool failed; /* there was no memory: the text is of no use */
};

/* `values` of the labels of its family, the first behind an empty one: metrics_add(). */
void metrics_sample(struct metrics_writer *writer, uint64_t value, const char *const *values);

/* The value is in ns and is told in seconds. */
void metrics_sample_ns(struct metrics_writer *writer, uint64_t value, const char *const *values);

/* A sample with values of the family's labels in their order, as many as there are; a label with an empty value is left out. */
#define metrics_add(writer, value, ...) \
	metrics_sample(writer, value, (const char *const[]){"", ##__VA_ARGS__})
#define metrics_add_ns(writer, value, ...) \
	metrics_sample_ns(writer, value, (const char *const[]){"", ##__VA_ARGS__})
