/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* The command line of the verbs: one table of options for all of them. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "exporter/cli/value.h"
#include "exporter/export/export.h"
#include "exporter/meter/datapath.h"
#include "exporter/meter/hooks.h"
#include "exporter/util.h"

enum option_verb {
	VERB_RUN = 1 << 0,
	VERB_REPLAY = 1 << 1,
	VERB_DROPS = 1 << 2,
};

/* The final ledger on stderr. */
enum summary_form {
	SUMMARY_TEXT,
	SUMMARY_JSON,
	SUMMARY_OFF,
};

/* What makes a line of `flowtally drops`, beside the reason. */
enum drops_by {
	DROPS_BY_FLOW,
	DROPS_BY_REASON,
	DROPS_BY_INTERFACE, /* and direction */
};

/* All times in ns.  Strings belong to argv; options that a verb does not have hold their defaults. */
struct run_options {
	const char *file;	 /* of replay; "-" is stdin */
	const char **interfaces; /* names and globs */
	size_t interface_count;
	enum hook_mode ingress;
	enum hook_mode egress;
	enum drops_wanted drops;
	const char *drops_include;
	const char *drops_exclude;
	unsigned int drops_everywhere;
	uint32_t drop_entries;
	uint32_t drops_budget; /* 0: none */
	enum drops_by by;
	uint64_t interval_ns;
	uint64_t for_ns;	     /* 0: until a signal */
	struct value_prefix address; /* family 0: any */
	uint16_t port;		     /* 0: any */
	bool json;
	const char **collectors; /* URLs that exports_url_valid() has taken */
	size_t collector_count;
	uint64_t idle_ns;
	uint64_t active_ns;
	uint64_t linger_ns;
	uint64_t drain_ns;
	uint32_t bank_entries;
	uint32_t cache_entries;
	uint64_t stop_timeout_ns;
	uint32_t domain; /* never 0 */
	uint16_t message_max;
	uint64_t template_interval_ns;
	uint32_t template_messages;
	uint64_t options_interval_ns;
	uint64_t statistics_interval_ns;
	const char *template;
	uint32_t enterprise;
	uint32_t rate;	    /* records a second, 0: no ceiling */
	const char *source; /* NULL: chosen by the system */
	uint32_t dscp;
	bool balance;
	enum summary_form summary;
	const char *mask; /* NULL: none */
	bool live;
	bool verbose;
	bool quiet;
};

/*
 * argv[0] is the verb; argv is permuted as by getopt_long(3).  Returns 0, 1 when --help has been
 * printed on stdout, or -EINVAL after all errors have been logged, one line each.  Sets the level of
 * the log as --quiet and --verbose say.  *ret needs run_options_clear() after success alone.
 */
int run_options_parse(struct run_options *ret, enum option_verb verb, int argc, char **argv);
void run_options_clear(struct run_options *options);

/* What the options say to the exports; shared by the verbs. */
struct export_options run_options_export(const struct run_options *options);

/* Stable per host and not 0: from /etc/machine-id, without it from the host's name. */
uint32_t run_options_default_domain(void);
