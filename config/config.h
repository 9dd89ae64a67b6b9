/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * What a verb is to do: every setting with its value, whoever gave it.  A configuration owns all that it holds, so that
 * it outlives the command line and the file it was read from.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "exporter/export/export.h"
#include "exporter/export/url.h"
#include "exporter/meter/datapath.h"
#include "exporter/meter/hooks.h"
#include "exporter/observe/drop_table.h"
#include "exporter/sandbox.h"
#include "exporter/util.h"
#include "exporter/value.h"

/* Room for the settings of all verbs (schema.h). */
#define CONFIG_SETTINGS_MAX 64

enum config_verb {
	VERB_RUN = 1 << 0,
	VERB_REPLAY = 1 << 1,
	VERB_DROPS = 1 << 2,
	VERB_SHOW = 1 << 3, /* `config show`, which has the settings of `run` too */
};

/* Whether drops are recorded. */
enum drops_wanted {
	DROPS_OFF,
	DROPS_AUTO, /* where the kernel and the privileges allow it; a warning says why they do not */
	DROPS_ON,   /* or it is an error */
};

/* The final ledger on stderr. */
enum summary_form {
	SUMMARY_TEXT,
	SUMMARY_JSON,
	SUMMARY_OFF,
};

/* Who said it.  Each counts more than those above it. */
enum config_layer {
	CONFIG_DEFAULT,
	CONFIG_FILE,
	CONFIG_ENVIRONMENT,
	CONFIG_SET, /* --set KEY=VALUE */
	CONFIG_OPTION,
};

struct config_origin {
	enum config_layer layer;
	uint32_t line, column; /* of the value in the file, from 1; 0 elsewhere */
};

struct config_collector {
	char *url;		    /* as it was given: url_parse() takes it */
	char *name;		    /* NULL: none */
	struct url_options options; /* what its URL says, or its mapping in the file */
	struct config_origin origin;
};

/* All times in ns.  Strings that were not given are NULL; settings that a verb does not have hold their defaults. */
struct config {
	char *path;    /* of the file it was read from; NULL: none */
	char *capture; /* of replay; "-" is stdin */
	struct config_origin origins[CONFIG_SETTINGS_MAX]; /* by the number of the setting */

	bool watch;	   /* the file is read again when it changes */
	char **interfaces; /* names and globs */
	size_t interface_count;
	size_t interfaces_given; /* those that cannot be one too */
	struct config_collector *collectors;
	size_t collector_count;	 /* EXPORT_COLLECTORS_MAX at most */
	size_t collectors_given; /* more are an error */

	struct export_options export; /* its strings are the configuration's, and `drops` is the caller's to set */
	enum hook_mode ingress;
	enum hook_mode egress;
	enum drops_wanted drops;
	char *drops_include;
	char *drops_exclude;
	unsigned int drops_everywhere;
	uint32_t drop_entries;
	uint32_t drops_budget; /* 0: none */
	enum drops_by by;
	uint64_t interval_ns;
	uint64_t for_ns;	     /* 0: until a signal */
	struct value_prefix address; /* family 0: any */
	uint16_t port;		     /* 0: any */
	bool json;
	uint64_t idle_ns;
	uint64_t active_ns;
	uint64_t linger_ns;
	uint64_t drain_ns;
	uint32_t bank_entries;
	uint32_t cache_entries;
	char *control_socket; /* "off": none */
	char *control_group;
	uint32_t control_records;
	uint64_t control_keep_ns;
	char *metrics_listen; /* http_listen_parse() takes it, or "off" */
	bool metrics_hubble;
	uint64_t stop_timeout_ns;
	enum summary_form summary;
	enum sandbox_mode sandbox;
	char *sandbox_folder;
	char *mask; /* features of the kernel, with commas */
	bool live;
	bool verbose;
	bool quiet;
	bool effective; /* of `config show` */
};

/* Frees what it holds, and leaves all at 0. */
void config_clear(struct config *config);

/* Stable per host and not 0: from /etc/machine-id, without it from the host's name. */
uint32_t config_default_domain(void);
