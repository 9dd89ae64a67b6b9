/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * A snapshot as text for Prometheus: one table of families says what there is (metrics_families.c).  From it come the text in
 * both forms and docs/metrics.md.
 *
 * Forms: https://prometheus.io/docs/instrumenting/exposition_formats/ (0.0.4) and OpenMetrics 1.0.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "exporter/util.h"

struct snapshot;

enum metrics_format {
	METRICS_PROMETHEUS,  /* text/plain; version=0.0.4 */
	METRICS_OPENMETRICS, /* application/openmetrics-text; version=1.0.0 */
};

enum metrics_type {
	METRICS_COUNTER, /* its samples are called NAME_total */
	METRICS_GAUGE,
	METRICS_INFO, /* NAME_info, whose value is 1 */
};

/* Of the exporter's process; what the system does not tell is 0. */
struct metrics_process {
	uint64_t cpu_ns;
	uint64_t resident_octets;
	uint64_t virtual_octets;
	uint64_t descriptors, descriptors_max;
	uint64_t started_ns; /* CLOCK_REALTIME; the same in each reading, however that clock is set */
	uint64_t threads;
};

void metrics_read_process(struct metrics_process *ret);

/* What the text is made of. */
struct metrics_source {
	const struct snapshot *snapshot; /* NULL: there is none yet */
	const struct metrics_process *process;
	const char *kernel;   /* release of the running one */
	uint64_t config_hash; /* of the configuration in force; 0: not known */
	bool hubble;	      /* with the families of Hubble's names */
	const uint64_t *
		missed; /* records that readers of the control socket have missed; NULL: not known */
};

/* Of the source of this program, in hex, as flowtally_build_info tells it; empty: not known.  main() sets it. */
extern const char *metrics_commit;

struct metrics_context;
struct metrics_writer;

#define METRICS_LABELS_MAX 5

struct metrics_family {
	const char *name; /* without _total and _info */
	enum metrics_type type;
	const char *unit; /* with which the name ends: "bytes", "seconds"; NULL: none */
	const char *labels[METRICS_LABELS_MAX + 1]; /* ends with NULL */
	const char *help;			    /* one line */
	const char *when; /* when it exists, a clause for the page; NULL: always */
	bool hubble;	  /* one of Hubble's */
	bool always;	  /* without a snapshot too */
	void (*print)(struct metrics_writer *writer, const struct metrics_context *context);
};

extern const struct metrics_family metrics_families[];
extern const size_t metrics_family_count;

/* On the heap, *ret_size octets; no 0 at its end.  -ENOMEM. */
int metrics_print(const struct metrics_source *source, enum metrics_format format, char **ret,
		  size_t *ret_size);

/* What a client with this header Accept gets (RFC 9110, section 12.5.1); NULL: none was sent. */
enum metrics_format metrics_negotiate(const char *accept);

/* Whether a client with this header Accept-Encoding takes gzip (RFC 9110, section 12.5.3); NULL: none was sent. */
bool metrics_takes_gzip(const char *accept_encoding);

/* For the header Content-Type. */
const char *metrics_content_type(enum metrics_format format);
