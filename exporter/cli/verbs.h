/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* One file a verb.  argv[0] is the verb; the return value is the program's, an enum verb_exit. */
#include <stddef.h>

struct argument_option; /* cli/arguments.h */

enum verb_exit {
	EXIT_DONE,
	EXIT_FAILED,
	EXIT_USAGE,
	EXIT_NOT_RUNNING = EXIT_USAGE, /* of those that ask a running exporter */
};
#define VERB_EXITS 3

struct verb {
	const char *name; /* NULL: the end of the table */
	int (*main)(int argc, char **argv);
	const char *help;
	/* Fills a list of ARGUMENTS_OPTIONS_MAX, without --help, and returns how many; NULL: it has none. */
	size_t (*options)(struct argument_option *ret);
	const char *arguments; /* what it takes beside options: "FILE", "FILE..." or another text */
	const char *exits[VERB_EXITS]; /* what the statuses 0, 1 and 2 mean */
};

extern const struct verb verbs[];
extern const struct verb config_verbs[]; /* those of `config` */

/* Of `verbs` by its name; NULL: there is none. */
const struct verb *verb_find(const char *name);

/* For --help. */
void verb_print_exits(const char *name);

int run_main(int argc, char **argv);
int replay_main(int argc, char **argv);
int doctor_main(int argc, char **argv);
int drops_main(int argc, char **argv);
int read_main(int argc, char **argv);
int status_main(int argc, char **argv);
int observe_main(int argc, char **argv);
int top_main(int argc, char **argv);
int config_main(int argc, char **argv);
int completion_main(int argc, char **argv);

size_t run_options(struct argument_option *ret);
size_t replay_options(struct argument_option *ret);
size_t doctor_options(struct argument_option *ret);
size_t drops_options(struct argument_option *ret);
size_t read_options(struct argument_option *ret);
size_t status_options(struct argument_option *ret);
size_t observe_options(struct argument_option *ret);
size_t top_options(struct argument_option *ret);
