/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* What there is to configure, and what is configured, as text. */
#include <stdbool.h>
#include <stdio.h>
#include "config/schema.h"

/*
 * The settings as a file that config_read_file() takes, with who gave each as a comment behind it; those that hold their
 * defaults too if `all`.  -ENOMEM.
 */
int config_print(FILE *file, const struct config *config, bool all);

/* A line or more for each setting that differs; *ret: how many do.  -ENOMEM. */
int config_print_difference(FILE *file, const struct config *before, const struct config *after,
			    size_t *ret);

/* config/flowtally.yaml: every key with its default, or as a comment where it has none that is fixed. */
void config_print_example(FILE *file);

/* A JSON schema (draft 7) of the file.  -ENOMEM. */
int config_print_schema(FILE *file);
