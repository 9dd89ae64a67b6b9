/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* The collectors of a configuration, the same for both verbs. */
#include "config/config.h"

/* Adds all of them; what fails is logged.  Errors: those of exports_add(). */
int collectors_add(struct exports *exports, const struct config *config);
