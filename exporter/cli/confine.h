/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* What a metering verb may do, by its configuration: sandbox.h. */
#include "config/config.h"

/* Before there are threads.  -errno, logged. */
int confine_begin(const struct config *config);

/* When it meters: what loading and attaching again need is kept.  -errno, logged. */
int confine_enter(void);

/* Whether all files of the collectors are in folders that were known at the start.  -EPERM, logged. */
int confine_allows(const struct config *config);
