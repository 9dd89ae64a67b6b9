/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The table of settings: what each is called, how its value is read, where it goes, and what a reload may do with it.  The
 * command line, the reader of files and the environment, the commented example, the JSON schema and
 * docs/configuration.md are made from it.
 */
#include "config/config.h"

enum setting_type {
	SETTING_FLAG,	    /* bool */
	SETTING_DURATION,   /* uint64_t, ns */
	SETTING_NUMBER,	    /* an integer of the field's size */
	SETTING_SIZE,	    /* likewise, octets */
	SETTING_RATE,	    /* likewise, a second */
	SETTING_LIMIT,	    /* a rate, or "off" for 0 */
	SETTING_WORD,	    /* an enum */
	SETTING_REASONS,    /* char *, classes and reasons of drops */
	SETTING_FEATURES,   /* char *, words with commas */
	SETTING_TEMPLATE,   /* char *, a profile or element names */
	SETTING_SOCKET,	    /* char *, an absolute path, or "off" */
	SETTING_FOLDER,	    /* char *, an absolute path */
	SETTING_GROUP,	    /* char *, a name or number of the system's groups */
	SETTING_LISTEN,	    /* char *, an address and a port, or "off" */
	SETTING_ADDRESS,    /* char *, IPv4 or IPv6 */
	SETTING_PREFIX,	    /* struct value_prefix */
	SETTING_INTERFACES, /* names and globs, one at a time */
	SETTING_COLLECTORS, /* likewise */
	SETTING_FILE,	    /* of the command line alone: the file to read */
	SETTING_PAIR,	    /* of the command line alone: KEY=VALUE */
};

enum setting_reload {
	RELOAD_APPLIES, /* a running exporter can take another value */
	RELOAD_NEVER,	/* it takes a restart */
};

struct setting_word {
	const char *word; /* NULL: the end */
	unsigned int value;
};

struct setting {
	const char *name;     /* of the option */
	const char *plural;   /* the key in a file, where it is a list; NULL: the name */
	const char *argument; /* in --help; NULL: a flag */
	const char *help;
	const char *standard; /* the default, read like a value; NULL: see help, or none */
	const char *sample;   /* another value: for the example, and for tests */
	enum setting_type type;
	unsigned int verbs; /* enum config_verb */
	enum setting_reload reload;
	size_t offset; /* in struct config */
	size_t size;
	uint64_t min, max; /* in the unit of the field */
	const struct setting_word *words;
};

extern const struct setting settings[];
extern const size_t settings_count;

static inline const char *setting_key(const struct setting *s)
{
	return s->plural ? s->plural : s->name;
}

static inline size_t setting_number(const struct setting *s)
{
	return (size_t)(s - settings);
}

/* Whether it can stand in a file. */
static inline bool setting_in_file(const struct setting *s)
{
	return s->verbs & VERB_RUN && s->type != SETTING_FILE && s->type != SETTING_PAIR;
}

static inline bool setting_is_list(const struct setting *s)
{
	return s->type == SETTING_INTERFACES || s->type == SETTING_COLLECTORS;
}

/* By the key in a file; NULL: there is none. */
const struct setting *setting_find(const char *key);

/*
 * Some settings may also be written in a mapping, a section: metrics: {listen: off} is metrics-listen: off.  The key of a
 * section by number, NULL past the last; and the setting by its key in there, NULL: there is none.
 */
const char *setting_section(size_t i);
const struct setting *setting_find_in(const char *section, const char *key);

/* What is no mapping is the value of the first of a section: `metrics: off`. */
const struct setting *setting_first_in(const char *section);

/* Its key in there; NULL: it is not in that section. */
const char *setting_key_in(const struct setting *s, const char *section);

/* What a setting of that name says, which is a number of 32 bits. */
uint32_t setting_count(const char *key, const struct config *config);

/* "FLOWTALLY_IDLE_TIMEOUT" */
#define SETTING_ENVIRONMENT_MAX 48
const char *setting_environment(const struct setting *s, char name[SETTING_ENVIRONMENT_MAX]);

/* "auto, xdp, tc or off" */
#define SETTING_WORDS_MAX 96
const char *setting_words(const struct setting *s, char text[SETTING_WORDS_MAX]);

/*
 * The value as one can write it, on the heap: "15s".  For lists NULL, and for what is not set.  `config` may be one
 * whose late defaults are not known.  -ENOMEM.
 */
int setting_print(const struct setting *s, const struct config *config, char **ret);
