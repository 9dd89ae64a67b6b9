/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The flags by which records are chosen, with the names that Hubble has for them.  They become an expression, so that both
 * mean the same: of one flag several times either holds, of different flags each, and --not negates the next flag.
 */
#include <stdbool.h>
#include <stddef.h>
#include "exporter/observe/record_filter.h"
#include "exporter/util.h"

struct record_flag {
	const char *name;     /* --NAME */
	char letter;	      /* 0: none */
	const char *argument; /* in --help; NULL: it has no value */
	const char *help;
	const char *expression; /* what it becomes, for docs and --help; NULL: --not */
	const char *words;	/* usual values, with spaces between; NULL: they are many */
};

extern const struct record_flag record_flags[];
extern const size_t record_flag_count;

struct record_choice;

int record_choice_new(struct record_choice **ret); /* -ENOMEM */
struct record_choice *record_choice_free(struct record_choice *choice);
DEFINE_CLEANUP(struct record_choice *, record_choice_free)

/*
 * In the order of the command line; `flag` is of record_flags, `value` NULL where it has none.  -EINVAL: `error` says what
 * is wrong with the value; -E2BIG: too many flags; -ENOMEM.
 */
int record_choice_add(struct record_choice *choice, const struct record_flag *flag,
		      const char *value, char error[FILTER_ERROR_MAX]);

/*
 * The filter of all flags and of `expression` (NULL: none), which both must hold; errors as record_filter_new(), and
 * -EINVAL for --not without a flag behind it.  The text of the whole, for a socket or a message, is *ret_text if that
 * is not NULL: the caller frees it.
 */
int record_choice_filter(struct record_filter **ret, char **ret_text,
			 const struct record_choice *choice, const char *expression,
			 char error[FILTER_ERROR_MAX]);
