/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* The command line of verbs that ask a running exporter: their options are no settings, and no file has a say. */
#include <stdbool.h>
#include <stddef.h>
#include "exporter/observe/record_top.h"

#define ARGUMENTS_OPTIONS_MAX 64
#define ARGUMENTS_ERROR_MAX   256
#define ARGUMENT_WORDS_MAX    96

/* What --output can be, where records are shown. */
#define ARGUMENTS_FORMS "compact table wide json jsonl csv hubble-json"

/* And --time-format, with Hubble's names. */
#define ARGUMENTS_TIMES "StampMilli RFC3339 RFC3339Milli RFC3339Micro RFC3339Nano RFC1123Z"
#define ARGUMENTS_TIMES_HELP \
	"StampMilli, RFC3339, RFC3339Milli, RFC3339Micro, RFC3339Nano or RFC1123Z: times of compact, " \
	"table and wide (StampMilli)"

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
	 * "'x': not a time"; the option's name is put in front.  If `error` is left empty, the value is none of the option's
	 * words: they are listed.
	 */
	int (*take)(void *userdata, int id, const char *text, char error[ARGUMENTS_ERROR_MAX]);
	void *userdata;
};

struct record_choice;
struct record_text;

/*
 * What follows adds options to a list of ARGUMENTS_OPTIONS_MAX, of which `count` are there, and returns how many there are
 * then.  Those of record_flags have the ids from `base` on.
 */
size_t arguments_add_flags(struct argument_option *list, size_t count, int base);

/* The classes of drops, as what a value can be. */
void arguments_list_classes(char words[ARGUMENT_WORDS_MAX]);

/*
 * What `take` does with a flag of record_flags, by its place there, and with a word of the expression, which may be one word
 * of the shell's, or several: it is added to `words`.  -errno: `error` says what is wrong.
 */
int arguments_take_flag(struct record_choice *choice, int flag, const char *text,
			char error[ARGUMENTS_ERROR_MAX]);
int arguments_take_word(char *words, size_t size, const char *text,
			char error[ARGUMENTS_ERROR_MAX]);

/*
 * The expression of the flags and the words for the exporter, on the heap.  It is checked here first, where what is wrong is
 * said at once, and without an exporter.  NULL after that has been logged.
 */
char *arguments_filter(const struct record_choice *choice, const char *words);

/*
 * What `take` does with options whose value is a word.  -EINVAL: it is none of theirs.
 *
 * --output is one of ARGUMENTS_FORMS; *ret_objects: an object a line, json or jsonl.  --time-format is one of ARGUMENTS_TIMES,
 * --color auto, always or never, --by what sums are ordered by.
 */
int arguments_take_form(struct record_text *ret, bool *ret_objects, const char *text);
int arguments_take_time(struct record_text *ret, const char *text);
int arguments_take_color(const char **ret, const char *text);
int arguments_take_by(enum top_by *ret, const char *text);

/* Whether standard output shows colours, by --color; NULL is as auto. */
bool arguments_color(const char *when);

/* 0; 1: --help has been printed; -EINVAL: all that is wrong has been logged, a line each. */
int arguments_parse(const struct arguments *arguments, int argc, char **argv);
