/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* What is wrong with a configuration: all of it, in the order in which it was found. */
#include <stdbool.h>
#include <stddef.h>
#include "config/schema.h"

#define PROBLEMS_MAX 100 /* lines that are kept; the rest are counted */

struct problem {
	bool warning;
	char *text; /* one line, without its end; control characters are the reader's to escape */
};

struct problems {
	struct problem list[PROBLEMS_MAX];
	size_t count;
	size_t errors;	 /* all of them */
	size_t left_out; /* for want of room; whoever stops reading then counts one */
};

/* Where a value comes from. */
struct config_source {
	enum config_layer layer;
	const char *path; /* of the file */
	uint32_t line, column;
	const struct setting *setting; /* NULL: what it is about has no name */
	const char *within;	       /* the key of a collector's mapping; NULL: none */
};

/* "--idle-timeout", "--set idle-timeout", "FLOWTALLY_IDLE_TIMEOUT", "f.yaml:3:5: idle-timeout" */
#define CONFIG_SOURCE_MAX 4400
const char *config_source_print(const struct config_source *source, char text[CONFIG_SOURCE_MAX]);

/* Of a value that the configuration has. */
struct config_source config_source_of(const struct config *config, const struct setting *setting,
				      const struct config_origin *origin);

void problems_error(struct problems *p, const char *format, ...) _printf_(2, 3);
void problems_warning(struct problems *p, const char *format, ...) _printf_(2, 3);

/* An error: the source, a blank, and the text. */
void problems_at(struct problems *p, const struct config_source *source, const char *format, ...)
	_printf_(3, 4);

/*
 * What stands before the @ of a URL may be a password, and logs are read by many: an asterisk takes its place.  All
 * problems are told so; this is for a value in another message.
 */
void problems_hide_user(char *value);

/* Takes no more; whoever reads untrusted input ends then. */
static inline bool problems_full(const struct problems *p)
{
	return p->count == PROBLEMS_MAX;
}

/* Says all of them on the log. */
void problems_log(const struct problems *p);

void problems_clear(struct problems *p);
