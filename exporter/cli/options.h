/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* The command line of the verbs, by the table of settings (config/schema.h). */
#include "config/load.h"

struct argument_option; /* cli/arguments.h */

/* The settings that are options of this verb, as a list of ARGUMENTS_OPTIONS_MAX; how many there are. */
size_t options_list(enum config_verb verb, struct argument_option *ret);

/*
 * argv[0] is the verb; argv is permuted as by getopt_long(3).  For `run` the configuration file and the environment have
 * their say too.  Returns 0, 1 when --help has been printed on stdout, or -EINVAL after all errors have been logged, one
 * line each.  Sets the level of the log as --quiet and --verbose say.  *ret needs config_clear() after success alone.
 */
int options_parse(struct config *ret, enum config_verb verb, int argc, char **argv);

/* Likewise; *ret_request is what was asked for, a copy, to load the configuration once more (reload.h). */
int options_parse_request(struct config *ret, struct config_request **ret_request,
			  enum config_verb verb, int argc, char **argv);
