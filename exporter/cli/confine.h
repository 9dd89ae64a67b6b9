/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* What a verb may do, by its configuration or its files: sandbox.h. */
#include "config/config.h"
#include "exporter/sandbox.h"

/* Before there are threads.  -errno, logged. */
int confine_begin(const struct config *config);

/*
 * When all is open.  `keep`: SANDBOX_METERING, which is what loading and attaching again need, or SANDBOX_NOTHING.  -errno,
 * logged.
 */
int confine_enter(uint64_t keep);

/*
 * A verb that shows these files, which may come from anybody: from here on it opens no others but, where it is to `follow`
 * them, those beside them, and has no network.  In the way of FLOWTALLY_SANDBOX.  -errno, logged.
 */
int confine_reader(const char *const *paths, size_t count, bool follow);

/* Whether all files of the collectors are in folders that were known at the start.  -EPERM, logged. */
int confine_allows(const struct config *config);
