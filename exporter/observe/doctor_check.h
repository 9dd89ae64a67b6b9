/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* For the checks themselves: what they judge, and how they say it. */
#include "exporter/observe/doctor_facts.h"

struct doctor {
	const struct doctor_wanted *wanted;
	const struct doctor_facts *facts;
	struct doctor_report *report;
	const char *id, *title; /* of the check that runs */
};

/* One finding.  `subject` and `fix` may be NULL; the rest is as printf(3) has it.  With WARN and FAIL there is a fix. */
void doctor_find(struct doctor *d, enum doctor_level level, const char *subject, const char *fix,
		 const char *format, ...) _printf_(5, 6);

#define doctor_ok(d, subject, ...) doctor_find(d, DOCTOR_OK, subject, NULL, __VA_ARGS__)

#define DOCTOR_FIX_MAX (3 * DOCTOR_PATH_MAX)

/* The fix, made as by printf(3), in the caller's array. */
const char *doctor_fix(char fix[DOCTOR_FIX_MAX], const char *format, ...) _printf_(2, 3);

/* A word as shells and YAML take it: as it is, or in single quotes; what is too long is cut. */
#define DOCTOR_QUOTE_MAX (2 * DOCTOR_PATH_MAX)
const char *doctor_quote(char quoted[DOCTOR_QUOTE_MAX], const char *word);

/* Octets of the kernel that both kinds of banks take. */
uint64_t doctor_bank_memory(const struct doctor_wanted *wanted);

/* By its capabilities this process may load programs for packets. */
bool doctor_may_load(const struct doctor *d);

/* Those that are looked at, in turn: begins with NULL, NULL past the last. */
const struct doctor_device *doctor_next_device(const struct doctor *d,
					       const struct doctor_device *previous);
const struct doctor_device *doctor_device_by_index(const struct doctor *d, uint32_t ifindex);

#define CHECK(id, title, function) void function(struct doctor *d);
#include "exporter/observe/doctor_checks.def"
#undef CHECK
