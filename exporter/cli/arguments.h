/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* The command line of verbs that ask a running exporter: their options are no settings, and no file has a say. */
#include <stdbool.h>
#include <stddef.h>

#define ARGUMENTS_OPTIONS_MAX 64
#define ARGUMENTS_ERROR_MAX   256
#define ARGUMENT_WORDS_MAX    96

/* What an option's value may be. */
enum argument_value {
	ARGUMENT_NONE,
	ARGUMENT_NEEDED,
	ARGUMENT_MAY, /* --watch, --watch=2s */
};

struct argument_option {
	const char *name; /* without the dashes */
	char letter;	  /* 0: it has none */
	enum argument_value value;
	const char *argument;		/* in --help */
	const char *help;		/* NULL: another spelling, not shown */
	int id;				/* for `take` */
	char words[ARGUMENT_WORDS_MAX]; /* what the value can be, with spaces between; "": more than words */
};

struct arguments {
	const char *verb;
	const char *usage;    /* behind "usage: flowtally " */
	const char *examples; /* whole lines */
	const struct argument_option *options;
	size_t option_count;
	/*
	 * `id` of an option, or -1: `text` is a word that is no option.  -errno: `error` says what is wrong with the value,
	 * "'x': not a time"; the option's name is put in front.
	 */
	int (*take)(void *userdata, int id, const char *text, char error[ARGUMENTS_ERROR_MAX]);
	void *userdata;
};

struct option; /* getopt_long(3) */

/*
 * What follows adds options to a list of ARGUMENTS_OPTIONS_MAX, of which `count` are there, and returns how many there are
 * then.  Those of record_flags have the ids from `base` on.
 */
size_t arguments_add_flags(struct argument_option *list, size_t count, int base);

/* `options` end with an empty one; --help is left out.  They have no help. */
size_t arguments_add_getopt(struct argument_option *list, size_t count,
			    const struct option *options);

/* The classes of drops, as what a value can be. */
void arguments_list_classes(char words[ARGUMENT_WORDS_MAX]);

/* Sets what the value of the option `name` of the list can be. */
void arguments_set_words(struct argument_option *list, size_t count, const char *name,
			 const char *words);

/* 0; 1: --help has been printed; -EINVAL: all that is wrong has been logged, a line each. */
int arguments_parse(const struct arguments *arguments, int argc, char **argv);
