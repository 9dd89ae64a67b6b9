/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* The value of one setting: read, checked, and put where the table says. */
#include "config/problems.h"

/*
 * Of a setting that is no list.  `text` is NULL for a flag without a value.  What is wrong is added to `problems`, and the
 * setting stays as it is.  A second value of the same layer is an error.  -EINVAL, -ENOMEM.
 */
int config_set(struct config *config, const struct config_source *source, const char *text,
	       struct problems *problems);

/* The first value of a layer takes the place of the list so far; this does so without a value. */
void config_list_begin(struct config *config, const struct config_source *source);

/* One more interface or collector; errors as above. */
int config_add_interface(struct config *config, const struct config_source *source,
			 const char *text, struct problems *problems);
int config_add_collector(struct config *config, const struct config_source *source, const char *url,
			 struct problems *problems);

/*
 * What a mapping in a file says of the collector `c`, which need not be one of the configuration (yet): `name`, or an
 * option of URLs.  The source has the key in `within`.
 */
int config_set_collector(const struct config *config, struct config_collector *c,
			 const struct config_source *source, const char *text,
			 struct problems *problems);

/* What can stand in a collector's mapping in place of `url`. */
enum config_part_key {
	PART_PROTOCOL, /* ipfix, ipfix+tcp, netflow9, file or json */
	PART_HOST,
	PART_PORT,
	PART_PATH, /* "-" of json is standard output */
	_PART_MAX,
};

struct config_part {
	const char *text; /* NULL: not given */
	uint32_t line, column;
};

const char *config_part_name(enum config_part_key key);

/* The protocols by number; NULL past the last.  *ret_network: it has host and port, the others a path. */
const char *config_protocol(size_t i, bool *ret_network);

/*
 * The URL that says the same, on the heap.  The source is that of the collector, for what is missing.  What is wrong is added
 * to `problems`.  -EINVAL, -ENOMEM.
 */
int config_make_url(const struct config_part parts[_PART_MAX], const struct config_source *source,
		    struct problems *problems, char **ret);

/* The keys of a collector's mapping; returns how many. */
#define CONFIG_COLLECTOR_KEYS_MAX 16
size_t config_collector_keys(const char *ret[CONFIG_COLLECTOR_KEYS_MAX]);

/* Whether two collectors would write into one file, by whatever paths.  Character devices can be shared. */
bool config_share_file(const char *url, const char *other);

/* Whether the collector would write into the regular file that is read; "-" is standard input. */
bool config_overwrites(const char *url, const char *file);

/* Why the file of a collector that is to be rotated cannot be, NULL when it can: a FIFO, a device, a symbolic link. */
const char *config_cannot_rotate(const char *url);

/* Whether the collector would write into what the other takes for a finished file of its own, and may delete. */
bool config_is_finished_name(const char *url, const char *other);
