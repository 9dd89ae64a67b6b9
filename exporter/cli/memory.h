/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* What an exporter takes of memory, and whether it may. */
#include <stdbool.h>
#include "config/config.h"

/*
 * Before the start: a warning where a control group's limit leaves less than all that this configuration takes.  Banks are
 * taken at the start; caches and recent records grow as flows come, and at the limit the kernel ends the exporter.
 */
void memory_warn(const struct config *config);

/* After the start; drops: they are recorded. */
void memory_announce(const struct config *config, bool drops);
