/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* The table of options: what each is called, how its value is read, and where it goes. */
#include "exporter/cli/options.h"

#define OPTION_SPECS_MAX 64

enum option_type {
	OPTION_FLAG,	  /* bool */
	OPTION_DURATION,  /* uint64_t, ns */
	OPTION_NUMBER32,  /* uint32_t */
	OPTION_NUMBER16,  /* uint16_t */
	OPTION_LIMIT,	  /* uint32_t, or "off" for 0 */
	OPTION_WORD,	  /* an enum */
	OPTION_INTERFACE, /* appended to the interfaces */
	OPTION_COLLECTOR, /* appended to the collectors */
	OPTION_DROPS,	  /* const char *, classes and reasons of drops */
	OPTION_MASK,	  /* const char * */
	OPTION_TEMPLATE,  /* const char *, a profile or element names */
	OPTION_ADDRESS,	  /* const char *, IPv4 or IPv6 */
	OPTION_PREFIX,	  /* struct value_prefix */
};

struct option_word {
	const char *word;
	unsigned int value;
};

struct option_spec {
	const char *name;
	const char *argument; /* in --help; NULL: a flag */
	const char *help;
	const char *standard; /* the default, read like a value; NULL: see help, or none */
	enum option_type type;
	unsigned int verbs;
	size_t offset;
	uint64_t min, max;
	const struct option_word *words;
};

extern const struct option_spec option_specs[];
extern const size_t option_specs_count;
