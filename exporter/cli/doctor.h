/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* The parts of `flowtally doctor`. */
#include "config/config.h"
#include "exporter/observe/doctor_facts.h"

struct mask;

struct bundle {
	const char *path;
	const struct config *config; /* NULL: it has mistakes, and is not known */
	const struct doctor_facts *facts;
	const struct doctor_report *report;
	struct mask *mask; /* NULL: addresses stay as they are */
};

/*
 * Writes a tar file, mode 0600, that must not exist yet: findings, versions, configuration, interfaces, features, BPF
 * programs, the exporter's state.  -errno.
 */
int bundle_write(const struct bundle *bundle);
