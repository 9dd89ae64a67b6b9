/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * What may keep flowtally from working on this system, with what mends it: `flowtally doctor`.
 *
 * First facts are gathered (doctor_facts.h), all that may wait at once and in bounded time.  Then each check of
 * doctor_checks.def judges them, without asking the system anything more, so that tests can make up any sick system.  Nothing
 * here changes the system: at most, small BPF programs are loaded and closed again, and collectors are knocked at.
 */
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include "exporter/export/export.h"
#include "exporter/export/url.h"
#include "exporter/meter/hooks.h"
#include "exporter/util.h"

enum doctor_level {
	DOCTOR_OK,
	DOCTOR_WARN, /* it works, but not as well as it could, or not for long */
	DOCTOR_FAIL, /* something that is configured cannot work */
	_DOCTOR_LEVEL_MAX,
};

struct doctor_finding {
	const char *id;	   /* of the check; a heading of docs/troubleshooting.md */
	const char *title; /* of the check */
	enum doctor_level level;
	char *subject; /* an interface, a collector, a file; NULL: the system */
	char *text;    /* what is, in a sentence */
	/*
	 * What mends it, or shows more: a command or a line of YAML, as it can be typed; what is to be said of it stands
	 * behind a #.  With several lines each is another way.  NULL with DOCTOR_OK alone.
	 */
	char *fix;
};

/* Findings in the order of the checks; {0} is an empty one. */
struct doctor_report {
	struct doctor_finding *list;
	size_t count;
	size_t room;
	bool incomplete; /* for want of memory */
};

/* A mistake of the configuration, or a warning about it. */
struct doctor_problem {
	bool warning;
	const char *text; /* "FILE:LINE:COLUMN: what is wrong; what is allowed" */
};

struct doctor_place {
	const char *url;
	const struct url_options *options;
};

/* What is to work here. */
struct doctor_wanted {
	const char *configuration; /* path of the file; NULL: none */
	const struct doctor_problem *problems;
	size_t problem_count;
	const char *const *interfaces; /* names and globs; none: all that are up but loopback */
	size_t interface_count;
	enum hook_mode ingress, egress;
	const char *mask;      /* features to do without, with commas; NULL: none */
	uint32_t bank_entries; /* of each bank of flows */
	uint32_t drop_entries; /* of each bank of drops; 0: none are recorded */
	uint64_t cache_octets; /* of the exporter's caches */
	const struct doctor_place *collectors;
	size_t collector_count;	      /* EXPORT_COLLECTORS_MAX at most */
	struct export_options export; /* of all collectors, where their own do not say */
	const char *listen;	      /* HOST:PORT at which the exporter will serve; NULL: none */
	const char *socket;	      /* of the running exporter */
};

struct doctor_facts;

/* "kernel-version"; NULL past the last. */
const char *doctor_check_id(size_t index);

/* All checks; *report needs doctor_report_clear(). */
void doctor_judge(const struct doctor_wanted *wanted, const struct doctor_facts *facts,
		  struct doctor_report *report);
void doctor_report_clear(struct doctor_report *report);
size_t doctor_report_count(const struct doctor_report *report, enum doctor_level level);

/* The worst first, then how many there are of each level. */
void doctor_report_print(FILE *file, const struct doctor_report *report);

/* {"version": 1, "verdict": "FAIL", "findings": [{"id", "level", "subject", "text", "fix": [...]}, ...]}; NULL: no memory. */
json_t *doctor_report_json(const struct doctor_report *report);
