/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include <errno.h>
#include <string.h>
#include "config/schema.h"
#include "exporter/meter/cache.h"
#include "exporter/observe/control.h"
#include "exporter/observe/ring.h"

#define DAY_NS (86400 * NSEC_PER_SEC)

static const struct setting_word ingress_words[] = {
	{"auto", HOOK_MODE_AUTO},
	{"xdp", HOOK_MODE_XDP},
	{"tc", HOOK_MODE_TC},
	{"off", HOOK_MODE_OFF},
	{NULL, 0},
};
static const struct setting_word egress_words[] = {
	{"auto", HOOK_MODE_AUTO},
	{"tc", HOOK_MODE_TC},
	{"off", HOOK_MODE_OFF},
	{NULL, 0},
};
static const struct setting_word drops_words[] = {
	{"auto", DROPS_AUTO},
	{"on", DROPS_ON},
	{"off", DROPS_OFF},
	{NULL, 0},
};
static const struct setting_word namespace_words[] = {
	{"own", false},
	{"all", true},
	{NULL, 0},
};
static const struct setting_word by_words[] = {
	{"flow", DROPS_BY_FLOW},
	{"reason", DROPS_BY_REASON},
	{"interface", DROPS_BY_INTERFACE},
	{"service", DROPS_BY_SERVICE},
	{NULL, 0},
};
static const struct setting_word watch_words[] = {
	{"on", true},
	{"off", false},
	{NULL, 0},
};
static const struct setting_word summary_words[] = {
	{"text", SUMMARY_TEXT},
	{"json", SUMMARY_JSON},
	{"off", SUMMARY_OFF},
	{NULL, 0},
};
static const struct setting_word sandbox_words[] = {
	{"on", SANDBOX_ON},
	{"off", SANDBOX_OFF},
	{"kill", SANDBOX_KILL},
	{NULL, 0},
};
static const struct setting_word mask_words[] = {
	{"tcx", 0},	 {"xdp-frags", 0},    {"batch", 0}, {"ringbuf", 0},
	{"xdp-link", 0}, {"coarse-clock", 0}, {"fetch", 0}, {NULL, 0},
};

#define FIELD(name)   offsetof(struct config, name), sizeof(((struct config *)NULL)->name)
#define NO_FIELD      0, 0
#define RUN	      (VERB_RUN | VERB_SHOW)
#define BOTH	      (RUN | VERB_REPLAY)
#define ALL	      (BOTH | VERB_DROPS)
#define RUN_AND_DROPS (RUN | VERB_DROPS)

/* clang-format off */
const struct setting settings[] = {
	{ "config", NULL, "FILE",
	  "read this file first (flowtally.yaml, `flowtally config example` prints one)",
	  NULL, NULL, SETTING_FILE, RUN, RELOAD_NEVER,
	  NO_FIELD, 0, 0, NULL },
	{ "set", NULL, "KEY=VALUE",
	  "a setting as in the file, such as idle-timeout=20s; repeatable",
	  NULL, NULL, SETTING_PAIR, RUN, RELOAD_NEVER,
	  NO_FIELD, 0, 0, NULL },
	{ "watch", NULL, "WHEN",
	  "read the file again when it changes, not only on SIGHUP: on or off",
	  "on", "off", SETTING_WORD, RUN, RELOAD_APPLIES,
	  FIELD(watch), 0, 0, watch_words },
	{ "interface", "interfaces", "NAME|GLOB",
	  "meter this interface, or all that match; repeatable",
	  NULL, "veth*", SETTING_INTERFACES, RUN, RELOAD_APPLIES,
	  FIELD(interfaces), 0, 0, NULL },
	{ "ingress", NULL, "MODE",
	  "hook for arriving packets: auto, xdp, tc or off",
	  "auto", "tc", SETTING_WORD, RUN, RELOAD_APPLIES,
	  FIELD(ingress), 0, 0, ingress_words },
	{ "egress", NULL, "MODE",
	  "hook for leaving packets: auto, tc or off",
	  "auto", "tc", SETTING_WORD, RUN, RELOAD_APPLIES,
	  FIELD(egress), 0, 0, egress_words },
	{ "drops", NULL, "MODE",
	  "record what the kernel drops, and why: auto (where that is possible), on or off",
	  "auto", "on", SETTING_WORD, RUN, RELOAD_NEVER,
	  FIELD(drops), 0, 0, drops_words },
	{ "drops-include", NULL, "LIST",
	  "classes and reasons of drops to record, with commas (all)",
	  NULL, "policy,NO_SOCKET", SETTING_REASONS, RUN, RELOAD_APPLIES,
	  FIELD(drops_include), 0, 0, NULL },
	{ "drops-exclude", NULL, "LIST",
	  "those that are counted, but not recorded (benign, without --drops-include)",
	  NULL, "benign,tcp_state", SETTING_REASONS, RUN, RELOAD_APPLIES,
	  FIELD(drops_exclude), 0, 0, NULL },
	{ "drops-namespaces", NULL, "WHICH",
	  "drops of the exporter's own network namespace, or of all: own or all",
	  "own", "all", SETTING_WORD, RUN, RELOAD_APPLIES,
	  FIELD(drops_everywhere), 0, 0, namespace_words },
	{ "by", NULL, "WHAT",
	  "a row for each reason and flow, interface or service (a server's port), or reason alone",
	  "flow", "reason", SETTING_WORD, VERB_DROPS, RELOAD_NEVER,
	  FIELD(by), 0, 0, by_words },
	{ "reason", NULL, "LIST",
	  "only these classes and reasons, with commas (all but benign)",
	  NULL, "policy", SETTING_REASONS, VERB_DROPS, RELOAD_NEVER,
	  FIELD(drops_include), 0, 0, NULL },
	{ "exclude", NULL, "LIST",
	  "all but these (benign, without --reason)",
	  NULL, "benign", SETTING_REASONS, VERB_DROPS, RELOAD_NEVER,
	  FIELD(drops_exclude), 0, 0, NULL },
	{ "address", NULL, "ADDRESS[/PREFIX]",
	  "only packets from or to these addresses",
	  NULL, "10.0.0.0/8", SETTING_PREFIX, VERB_DROPS, RELOAD_NEVER,
	  FIELD(address), 0, 0, NULL },
	{ "port", NULL, "N",
	  "only packets from or to this port",
	  NULL, "53", SETTING_NUMBER, VERB_DROPS, RELOAD_NEVER,
	  FIELD(port), 1, UINT16_MAX, NULL },
	{ "namespaces", NULL, "WHICH",
	  "drops of the own network namespace, or of all: own or all",
	  "own", "all", SETTING_WORD, VERB_DROPS, RELOAD_NEVER,
	  FIELD(drops_everywhere), 0, 0, namespace_words },
	{ "interval", NULL, "TIME",
	  "how often to show what was dropped meanwhile",
	  "1s", "2s", SETTING_DURATION, VERB_DROPS, RELOAD_NEVER,
	  FIELD(interval_ns), 100 * NSEC_PER_MSEC, DAY_NS, NULL },
	{ "for", NULL, "TIME",
	  "end by itself after this time",
	  NULL, "30s", SETTING_DURATION, VERB_DROPS, RELOAD_NEVER,
	  FIELD(for_ns), 100 * NSEC_PER_MSEC, DAY_NS, NULL },
	{ "json", NULL, NULL,
	  "one JSON object a line",
	  NULL, "true", SETTING_FLAG, VERB_DROPS, RELOAD_NEVER,
	  FIELD(json), 0, 0, NULL },
	{ "drop-entries", NULL, "N",
	  "dropped flows of each of the two banks for them (16384, more with over 16 CPUs)",
	  NULL, "32768", SETTING_NUMBER, RUN_AND_DROPS, RELOAD_APPLIES,
	  FIELD(drop_entries), 4096, 1 << 24, NULL },
	{ "drops-budget", NULL, "N",
	  "drops a second that each CPU records by flow, the rest by reason alone; or off",
	  "50000", "10k/s", SETTING_LIMIT, RUN_AND_DROPS, RELOAD_APPLIES,
	  FIELD(drops_budget), 1, 10000000, NULL },
	{ "collector", "collectors", "URL",
	  "where records go: ipfix[+tcp]://, netflow9://, file:/// or json: (flowtally.yaml(5)); repeatable",
	  NULL, "ipfix://192.0.2.20:4739", SETTING_COLLECTORS, BOTH, RELOAD_APPLIES,
	  FIELD(collectors), 0, 0, NULL },
	{ "idle-timeout", NULL, "TIME",
	  "a flow is over after this time without a packet",
	  "15s", "20s", SETTING_DURATION, BOTH, RELOAD_APPLIES,
	  FIELD(idle_ns), 100 * NSEC_PER_MSEC, DAY_NS, NULL },
	{ "active-timeout", NULL, "TIME",
	  "a flow that goes on gets a record that often",
	  "60s", "2m", SETTING_DURATION, BOTH, RELOAD_APPLIES,
	  FIELD(active_ns), 100 * NSEC_PER_MSEC, DAY_NS, NULL },
	{ "linger", NULL, "TIME",
	  "quiet time after FIN or RST before a flow is over",
	  "2s", "500ms", SETTING_DURATION, BOTH, RELOAD_APPLIES,
	  FIELD(linger_ns), 100 * NSEC_PER_MSEC, DAY_NS, NULL },
	{ "drain-interval", NULL, "TIME",
	  "how often the banks are read (5s or the shorter timeout; 1s with --live)",
	  NULL, "3s", SETTING_DURATION, RUN, RELOAD_APPLIES,
	  FIELD(drain_ns), 100 * NSEC_PER_MSEC, DAY_NS, NULL },
	{ "bank-entries", NULL, "N",
	  "flows of each of the two banks in the kernel (131072, more with over 128 CPUs)",
	  NULL, "262144", SETTING_NUMBER, RUN, RELOAD_APPLIES,
	  FIELD(bank_entries), 4096, 1 << 24, NULL },
	{ "cache-entries", NULL, "N",
	  "flows that the cache can hold",
	  "262144", "1000000", SETTING_NUMBER, BOTH, RELOAD_APPLIES,
	  FIELD(cache_entries), CACHE_ENTRIES_MIN, 1 << 24, NULL },
	{ "domain", NULL, "N",
	  "observation domain id (from the machine id)",
	  NULL, "7", SETTING_NUMBER, BOTH, RELOAD_NEVER,
	  FIELD(export.domain), 1, UINT32_MAX, NULL },
	{ "message-size", NULL, "OCTETS",
	  "size of a message in the network, at most",
	  "1400", "1200", SETTING_SIZE, BOTH, RELOAD_APPLIES,
	  FIELD(export.message_max), URL_MESSAGE_MIN, URL_MESSAGE_MAX, NULL },
	{ "template-interval", NULL, "TIME",
	  "how often templates are sent again over UDP",
	  "60s", "10m", SETTING_DURATION, RUN, RELOAD_APPLIES,
	  FIELD(export.template_interval_ns), 100 * NSEC_PER_MSEC, DAY_NS, NULL },
	{ "template-messages", NULL, "N",
	  "and after so many messages",
	  "1000", "4096", SETTING_NUMBER, RUN, RELOAD_APPLIES,
	  FIELD(export.template_messages), 1, UINT32_MAX, NULL },
	{ "options-interval", NULL, "TIME",
	  "how often interfaces, sampling and flow keys are sent again",
	  "300s", "30m", SETTING_DURATION, RUN, RELOAD_APPLIES,
	  FIELD(export.options_interval_ns), 100 * NSEC_PER_MSEC, DAY_NS, NULL },
	{ "statistics-interval", NULL, "TIME",
	  "how often statistics of metering and exporting are sent",
	  "60s", "30s", SETTING_DURATION, RUN, RELOAD_APPLIES,
	  FIELD(export.statistics_interval_ns), 100 * NSEC_PER_MSEC, DAY_NS, NULL },
	{ "template", NULL, "PROFILE",
	  "fields of a record: minimal, default, extended, or names of elements, with commas",
	  "default", "extended", SETTING_TEMPLATE, BOTH, RELOAD_APPLIES,
	  FIELD(export.template), 0, 0, NULL },
	{ "enterprise", NULL, "N",
	  "enterprise number of elements that are not IANA's",
	  "32473", "64999", SETTING_NUMBER, BOTH, RELOAD_NEVER,
	  FIELD(export.enterprise), 1, UINT32_MAX - 1, NULL },
	{ "balance", NULL, NULL,
	  "share the flows among network collectors instead of sending all to each",
	  NULL, "true", SETTING_FLAG, BOTH, RELOAD_NEVER,
	  FIELD(export.balance), 0, 0, NULL },
	{ "rate", NULL, "N",
	  "records a second to a network collector, at most (no ceiling)",
	  NULL, "20k/s", SETTING_RATE, BOTH, RELOAD_APPLIES,
	  FIELD(export.rate), 1, UINT32_MAX, NULL },
	{ "source", NULL, "ADDRESS",
	  "send from this address (chosen by the system)",
	  NULL, "192.0.2.1", SETTING_ADDRESS, BOTH, RELOAD_APPLIES,
	  FIELD(export.source), 0, 0, NULL },
	{ "dscp", NULL, "N",
	  "differentiated services code point of what goes to the network",
	  "0", "8", SETTING_NUMBER, BOTH, RELOAD_APPLIES,
	  FIELD(export.dscp), 0, URL_DSCP_MAX, NULL },
	{ "control-socket", NULL, "PATH",
	  "where status, observe and other verbs ask the exporter; or off",
	  CONTROL_SOCKET, "/run/metering/other.sock", SETTING_SOCKET, RUN, RELOAD_NEVER,
	  FIELD(control_socket), 0, 0, NULL },
	{ "control-group", NULL, "GROUP",
	  "a group whose members may ask it too, beside root and the exporter's user (its own group)",
	  NULL, "adm", SETTING_GROUP, RUN, RELOAD_NEVER,
	  FIELD(control_group), 0, 0, NULL },
	{ "control-records", NULL, "N",
	  "recent records that are kept for observe, 136 octets each",
	  "65536", "16384", SETTING_NUMBER, RUN, RELOAD_NEVER,
	  FIELD(control_records), RING_RECORDS_MIN, RING_RECORDS_MAX, NULL },
	{ "control-keep", NULL, "TIME",
	  "how long they are shown",
	  "10m", "1h", SETTING_DURATION, RUN, RELOAD_NEVER,
	  FIELD(control_keep_ns), NSEC_PER_SEC, DAY_NS, NULL },
	{ "metrics-listen", NULL, "ADDRESS:PORT",
	  "where /metrics, /healthz and /readyz are served over HTTP, or off",
	  "127.0.0.1:9717", "[::1]:9718", SETTING_LISTEN, RUN, RELOAD_APPLIES,
	  FIELD(metrics_listen), 0, 0, NULL },
	{ "metrics-hubble", NULL, NULL,
	  "serve metrics by Hubble's names too: flow, drop, tcp, icmp, port-distribution",
	  NULL, "true", SETTING_FLAG, RUN, RELOAD_APPLIES,
	  FIELD(metrics_hubble), 0, 0, NULL },
	{ "stop-timeout", NULL, "TIME",
	  "time for the end, from the signal on; what is not sent by then is counted as unsent",
	  "30s", "20s", SETTING_DURATION, ALL, RELOAD_APPLIES,
	  FIELD(stop_timeout_ns), 100 * NSEC_PER_MSEC, DAY_NS, NULL },
	{ "summary", NULL, "FORM",
	  "final ledger on standard error: text, json or off",
	  "text", "json", SETTING_WORD, ALL, RELOAD_APPLIES,
	  FIELD(summary), 0, 0, summary_words },
	{ "live", NULL, NULL,
	  "show what flows most, as `flowtally top` does, or as text where there is no terminal",
	  NULL, "true", SETTING_FLAG, RUN, RELOAD_NEVER,
	  FIELD(live), 0, 0, NULL },
	{ "sandbox", NULL, "MODE",
	  "once all is open, give up what is not needed any more: on, off, or kill (end at a forbidden system call)",
	  "on", "off", SETTING_WORD, ALL, RELOAD_NEVER,
	  FIELD(sandbox), 0, 0, sandbox_words },
	{ "sandbox-folder", NULL, "PATH",
	  "where files of collectors may be that a reload adds, beside the folders of the start",
	  "/var/lib/flowtally", "/srv/flows", SETTING_FOLDER, RUN, RELOAD_NEVER,
	  FIELD(sandbox_folder), 0, 0, NULL },
	{ "mask", NULL, "FEATURES",
	  "for tests: do without these features of the kernel: tcx,xdp-frags",
	  NULL, "tcx", SETTING_FEATURES, RUN, RELOAD_NEVER,
	  FIELD(mask), 0, 0, mask_words },
	{ "verbose", NULL, NULL,
	  "say more",
	  NULL, "true", SETTING_FLAG, ALL, RELOAD_APPLIES,
	  FIELD(verbose), 0, 0, NULL },
	{ "quiet", NULL, NULL,
	  "say no more than errors, warnings, ready and the ledger",
	  NULL, "true", SETTING_FLAG, ALL, RELOAD_APPLIES,
	  FIELD(quiet), 0, 0, NULL },
	{ "effective", NULL, NULL,
	  "all settings, not just those that were given",
	  NULL, NULL, SETTING_FLAG, VERB_SHOW, RELOAD_NEVER,
	  FIELD(effective), 0, 0, NULL },
};
/* clang-format on */

const size_t settings_count = ARRAY_SIZE(settings);
_Static_assert(ARRAY_SIZE(settings) <= CONFIG_SETTINGS_MAX, "room for where each comes from");

const struct setting *setting_find(const char *key)
{
	for (size_t i = 0; i < settings_count; i++)
		if (setting_in_file(&settings[i]) && !strcmp(setting_key(&settings[i]), key))
			return &settings[i];
	return NULL;
}

static const char *const sections[] = {"control", "metrics"};

const char *setting_section(size_t i)
{
	return i < ARRAY_SIZE(sections) ? sections[i] : NULL;
}

const char *setting_key_in(const struct setting *s, const char *section)
{
	size_t length = strlen(section);

	return setting_in_file(s) && !strncmp(s->name, section, length) && s->name[length] == '-'
		       ? s->name + length + 1
		       : NULL;
}

const struct setting *setting_first_in(const char *section)
{
	for (size_t i = 0; i < settings_count; i++)
		if (setting_key_in(&settings[i], section))
			return &settings[i];
	return NULL;
}

const struct setting *setting_find_in(const char *section, const char *key)
{
	for (size_t i = 0; i < settings_count; i++) {
		const char *name = setting_key_in(&settings[i], section);

		if (name && !strcmp(name, key))
			return &settings[i];
	}
	return NULL;
}

const char *setting_environment(const struct setting *s, char name[SETTING_ENVIRONMENT_MAX])
{
	size_t length =
		(size_t)snprintf(name, SETTING_ENVIRONMENT_MAX, "FLOWTALLY_%s", setting_key(s));

	for (size_t i = 0; i < length; i++)
		name[i] = name[i] == '-' ? '_' : (char)toupper((unsigned char)name[i]);
	return name;
}

const char *setting_words(const struct setting *s, char text[SETTING_WORDS_MAX])
{
	size_t used = 0;

	text[0] = '\0';
	for (const struct setting_word *w = s->words; w->word; w++) {
		const char *behind = !w[1].word ? "" : w[2].word ? ", " : " or ";

		used += (size_t)snprintf(text + used, SETTING_WORDS_MAX - used, "%s%s", w->word,
					 behind);
	}
	return text;
}

/* --- A value as text. */

static uint64_t load(const struct setting *s, const void *field)
{
	return s->size == 1   ? *(const uint8_t *)field
	       : s->size == 2 ? *(const uint16_t *)field
	       : s->size == 4 ? *(const uint32_t *)field
			      : *(const uint64_t *)field;
}

uint32_t setting_count(const char *key, const struct config *config)
{
	const struct setting *s = setting_find(key);

	return (uint32_t)load(s, (const char *)config + s->offset);
}

static const char *find_word(const struct setting *s, uint64_t value)
{
	for (const struct setting_word *w = s->words; w->word; w++)
		if (w->value == value)
			return w->word;
	return "";
}

int setting_print(const struct setting *s, const struct config *config, char **ret)
{
	const void *field = (const char *)config + s->offset;
	char text[VALUE_TEXT_MAX] = "";
	const char *from = text;

	switch (s->type) {
	case SETTING_FLAG:
		from = *(const bool *)field ? "true" : "false";
		break;
	case SETTING_DURATION:
		if (load(s, field))
			value_print_duration(text, load(s, field));
		break;
	case SETTING_NUMBER:
		if (load(s, field) >= s->min)
			snprintf(text, sizeof(text), "%llu", (unsigned long long)load(s, field));
		break;
	case SETTING_SIZE:
		value_print_size(text, load(s, field));
		break;
	case SETTING_LIMIT:
	case SETTING_RATE:
		if (load(s, field))
			value_print_rate(text, load(s, field));
		else if (s->type == SETTING_LIMIT)
			from = "off";
		break;
	case SETTING_WORD:
		from = find_word(s, load(s, field));
		break;
	case SETTING_REASONS:
	case SETTING_FEATURES:
	case SETTING_TEMPLATE:
	case SETTING_SOCKET:
	case SETTING_FOLDER:
	case SETTING_GROUP:
	case SETTING_LISTEN:
	case SETTING_ADDRESS:
		from = *(char *const *)field;
		break;
	case SETTING_PREFIX:
	case SETTING_INTERFACES:
	case SETTING_COLLECTORS:
	case SETTING_FILE:
	case SETTING_PAIR:
		break;
	}
	if (from == text && !*text)
		from = NULL;
	*ret = from ? strdup(from) : NULL;
	return from && !*ret ? -ENOMEM : 0;
}
