/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* The value of one option: read, checked, and put where the table says. */
#include "exporter/cli/option_specs.h"

/*
 * `text` is NULL for a flag.  Interfaces and collectors have room for one more.  -EINVAL after what is wrong
 * has been logged, in a line for each mistake.
 */
int option_value_set(struct run_options *options, const struct option_spec *spec, const char *text);
