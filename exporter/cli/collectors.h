/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* The collectors of a command line, the same for both verbs. */
#include <stdbool.h>
#include "exporter/cli/options.h"

/* Adds all of them; what fails is logged.  Errors: those of exports_add(). */
int collectors_add(struct exports *exports, const struct run_options *options);

/*
 * Whether two collectors would write into one file, by whatever paths.  Both are URLs that
 * exports_url_valid() has taken.  Character devices can be shared.
 */
bool collectors_share_file(const char *url, const char *other);

/* Whether the collector would write into the regular file that is read; "-" is standard input. */
bool collectors_overwrite(const char *url, const char *file);
