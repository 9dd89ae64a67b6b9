/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/cli/option_specs.h"
#include "exporter/meter/cache.h"

#define DAY_NS (86400 * NSEC_PER_SEC)

static const struct option_word ingress_words[] = {
	{"auto", HOOK_MODE_AUTO},
	{"xdp", HOOK_MODE_XDP},
	{"tc", HOOK_MODE_TC},
	{"off", HOOK_MODE_OFF},
	{NULL, 0},
};
static const struct option_word egress_words[] = {
	{"auto", HOOK_MODE_AUTO},
	{"tc", HOOK_MODE_TC},
	{"off", HOOK_MODE_OFF},
	{NULL, 0},
};
static const struct option_word drops_words[] = {
	{"auto", DROPS_AUTO},
	{"on", DROPS_ON},
	{"off", DROPS_OFF},
	{NULL, 0},
};
static const struct option_word namespace_words[] = {
	{"own", false},
	{"all", true},
	{NULL, 0},
};
static const struct option_word by_words[] = {
	{"flow", DROPS_BY_FLOW},
	{"reason", DROPS_BY_REASON},
	{"interface", DROPS_BY_INTERFACE},
	{NULL, 0},
};
static const struct option_word summary_words[] = {
	{"text", SUMMARY_TEXT},
	{"json", SUMMARY_JSON},
	{"off", SUMMARY_OFF},
	{NULL, 0},
};
static const struct option_word mask_words[] = {
	{"tcx", 0},	 {"xdp-frags", 0},    {"batch", 0}, {"ringbuf", 0},
	{"xdp-link", 0}, {"coarse-clock", 0}, {"fetch", 0}, {NULL, 0},
};

#define FIELD(name) offsetof(struct run_options, name)
#define BOTH	    (VERB_RUN | VERB_REPLAY)
#define ALL	    (BOTH | VERB_DROPS)

/* clang-format off */
const struct option_spec option_specs[] = {
	{ "interface", "NAME|GLOB", "meter this interface, or all that match; repeatable",
	  NULL, OPTION_INTERFACE, VERB_RUN, 0, 0, 0, NULL },
	{ "ingress", "MODE", "hook for arriving packets: auto, xdp, tc or off",
	  "auto", OPTION_WORD, VERB_RUN, FIELD(ingress), 0, 0, ingress_words },
	{ "egress", "MODE", "hook for leaving packets: auto, tc or off",
	  "auto", OPTION_WORD, VERB_RUN, FIELD(egress), 0, 0, egress_words },
	{ "drops", "MODE", "record what the kernel drops, and why: auto (where that is possible), on or off",
	  "auto", OPTION_WORD, VERB_RUN, FIELD(drops), 0, 0, drops_words },
	{ "drops-include", "LIST", "classes and reasons of drops to record, with commas (all)",
	  NULL, OPTION_DROPS, VERB_RUN, FIELD(drops_include), 0, 0, NULL },
	{ "drops-exclude", "LIST", "those that are counted, but not recorded (benign, without --drops-include)",
	  NULL, OPTION_DROPS, VERB_RUN, FIELD(drops_exclude), 0, 0, NULL },
	{ "drops-namespaces", "WHICH", "drops of the exporter's own network namespace, or of all: own or all",
	  "own", OPTION_WORD, VERB_RUN, FIELD(drops_everywhere), 0, 0, namespace_words },
	{ "by", "WHAT", "a line for each reason and flow, reason alone, or interface: flow, reason or interface",
	  "flow", OPTION_WORD, VERB_DROPS, FIELD(by), 0, 0, by_words },
	{ "reason", "LIST", "only these classes and reasons, with commas (all but benign)",
	  NULL, OPTION_DROPS, VERB_DROPS, FIELD(drops_include), 0, 0, NULL },
	{ "exclude", "LIST", "all but these (benign, without --reason)",
	  NULL, OPTION_DROPS, VERB_DROPS, FIELD(drops_exclude), 0, 0, NULL },
	{ "address", "ADDRESS[/PREFIX]", "only packets from or to these addresses",
	  NULL, OPTION_PREFIX, VERB_DROPS, FIELD(address), 0, 0, NULL },
	{ "port", "N", "only packets from or to this port",
	  NULL, OPTION_NUMBER16, VERB_DROPS, FIELD(port), 1, UINT16_MAX, NULL },
	{ "namespaces", "WHICH", "drops of the own network namespace, or of all: own or all",
	  "own", OPTION_WORD, VERB_DROPS, FIELD(drops_everywhere), 0, 0, namespace_words },
	{ "interval", "TIME", "how often to show what was dropped meanwhile",
	  "1s", OPTION_DURATION, VERB_DROPS, FIELD(interval_ns), 100 * NSEC_PER_MSEC, DAY_NS, NULL },
	{ "for", "TIME", "end by itself after this time",
	  NULL, OPTION_DURATION, VERB_DROPS, FIELD(for_ns), 100 * NSEC_PER_MSEC, DAY_NS, NULL },
	{ "json", NULL, "one JSON object a line",
	  NULL, OPTION_FLAG, VERB_DROPS, FIELD(json), 0, 0, NULL },
	{ "drop-entries", "N", "dropped flows of each of the two banks for them (16384, more with over 16 CPUs)",
	  NULL, OPTION_NUMBER32, VERB_RUN | VERB_DROPS, FIELD(drop_entries), 4096, 1 << 24, NULL },
	{ "drops-budget", "N", "drops a second that each CPU records by flow, the rest by reason alone; or off",
	  "50000", OPTION_LIMIT, VERB_RUN | VERB_DROPS, FIELD(drops_budget), 1, 10000000, NULL },
	{ "collector", "URL", "where records go: ipfix[+tcp]://, netflow9://, file:/// or json: (flowtally(8)); repeatable",
	  NULL, OPTION_COLLECTOR, BOTH, 0, 0, 0, NULL },
	{ "idle-timeout", "TIME", "a flow is over after this time without a packet",
	  "15s", OPTION_DURATION, BOTH, FIELD(idle_ns), 100 * NSEC_PER_MSEC, DAY_NS, NULL },
	{ "active-timeout", "TIME", "a flow that goes on gets a record that often",
	  "60s", OPTION_DURATION, BOTH, FIELD(active_ns), 100 * NSEC_PER_MSEC, DAY_NS, NULL },
	{ "linger", "TIME", "quiet time after FIN or RST before a flow is over",
	  "2s", OPTION_DURATION, BOTH, FIELD(linger_ns), 100 * NSEC_PER_MSEC, DAY_NS, NULL },
	{ "drain-interval", "TIME", "how often the banks are read (5s or the shorter timeout; 1s with --live)",
	  NULL, OPTION_DURATION, VERB_RUN, FIELD(drain_ns), 100 * NSEC_PER_MSEC, DAY_NS, NULL },
	{ "bank-entries", "N", "flows of each of the two banks in the kernel (131072, more with over 128 CPUs)",
	  NULL, OPTION_NUMBER32, VERB_RUN, FIELD(bank_entries), 4096, 1 << 24, NULL },
	{ "cache-entries", "N", "flows that the cache can hold",
	  "262144", OPTION_NUMBER32, BOTH, FIELD(cache_entries), CACHE_ENTRIES_MIN, 1 << 24, NULL },
	{ "domain", "N", "observation domain id (from the machine id)",
	  NULL, OPTION_NUMBER32, BOTH, FIELD(domain), 1, UINT32_MAX, NULL },
	{ "message-size", "OCTETS", "size of a message in the network, at most",
	  "1400", OPTION_NUMBER16, BOTH, FIELD(message_max), 512, 9000, NULL },
	{ "template-interval", "TIME", "how often templates are sent again over UDP",
	  "60s", OPTION_DURATION, VERB_RUN, FIELD(template_interval_ns), 100 * NSEC_PER_MSEC, DAY_NS, NULL },
	{ "template-messages", "N", "and after so many messages",
	  "1000", OPTION_NUMBER32, VERB_RUN, FIELD(template_messages), 1, UINT32_MAX, NULL },
	{ "options-interval", "TIME", "how often interfaces, sampling and flow keys are sent again",
	  "300s", OPTION_DURATION, VERB_RUN, FIELD(options_interval_ns), 100 * NSEC_PER_MSEC, DAY_NS, NULL },
	{ "statistics-interval", "TIME", "how often statistics of metering and exporting are sent",
	  "60s", OPTION_DURATION, VERB_RUN, FIELD(statistics_interval_ns), 100 * NSEC_PER_MSEC, DAY_NS, NULL },
	{ "template", "PROFILE", "fields of a record: minimal, default, extended, or names of elements, with commas",
	  "default", OPTION_TEMPLATE, BOTH, FIELD(template), 0, 0, NULL },
	{ "enterprise", "N", "enterprise number of elements that are not IANA's",
	  "32473", OPTION_NUMBER32, BOTH, FIELD(enterprise), 1, UINT32_MAX - 1, NULL },
	{ "balance", NULL, "share the flows among network collectors instead of sending all to each",
	  NULL, OPTION_FLAG, BOTH, FIELD(balance), 0, 0, NULL },
	{ "rate", "N", "records a second to a network collector, at most (no ceiling)",
	  NULL, OPTION_NUMBER32, BOTH, FIELD(rate), 1, UINT32_MAX, NULL },
	{ "source", "ADDRESS", "send from this address (chosen by the system)",
	  NULL, OPTION_ADDRESS, BOTH, FIELD(source), 0, 0, NULL },
	{ "dscp", "N", "differentiated services code point of what goes to the network",
	  "0", OPTION_NUMBER32, BOTH, FIELD(dscp), 0, 63, NULL },
	{ "stop-timeout", "TIME", "time for the end, from the signal on; what is not sent by then is counted as unsent",
	  "30s", OPTION_DURATION, ALL, FIELD(stop_timeout_ns), 100 * NSEC_PER_MSEC, DAY_NS, NULL },
	{ "summary", "FORM", "final ledger on standard error: text, json or off",
	  "text", OPTION_WORD, ALL, FIELD(summary), 0, 0, summary_words },
	{ "live", NULL, "show the busiest flows on standard output",
	  NULL, OPTION_FLAG, VERB_RUN, FIELD(live), 0, 0, NULL },
	{ "mask", "FEATURES", "for tests: do without these features of the kernel: tcx,xdp-frags",
	  NULL, OPTION_MASK, VERB_RUN, FIELD(mask), 0, 0, mask_words },
	{ "verbose", NULL, "say more", NULL, OPTION_FLAG, ALL, FIELD(verbose), 0, 0, NULL },
	{ "quiet", NULL, "say no more than errors, warnings, ready and the ledger",
	  NULL, OPTION_FLAG, ALL, FIELD(quiet), 0, 0, NULL },
};
/* clang-format on */

const size_t option_specs_count = ARRAY_SIZE(option_specs);
_Static_assert(ARRAY_SIZE(option_specs) <= OPTION_SPECS_MAX, "room for what the user gave");
