/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <getopt.h>
#include <net/if.h>
#include <string.h>
#include <xxhash.h>
#include "exporter/cli/options.h"
#include "exporter/cli/value.h"
#include "exporter/export/export.h"
#include "exporter/log.h"
#include "exporter/meter/cache.h"
#include "exporter/meter/datapath.h"

#define DAY_NS		 (86400 * NSEC_PER_SEC)
#define DRAIN_DEFAULT_NS (5 * NSEC_PER_SEC)
#define BANK_DEFAULT	 131072u
#define DRAIN_LIVE_NS	 NSEC_PER_SEC
#define OPTION_BASE	 1000 /* getopt's value for the first option of the table */

enum option_type {
	OPTION_FLAG,	  /* bool */
	OPTION_DURATION,  /* uint64_t, ns */
	OPTION_NUMBER32,  /* uint32_t */
	OPTION_NUMBER16,  /* uint16_t */
	OPTION_WORD,	  /* an enum */
	OPTION_INTERFACE, /* appended to the interfaces */
	OPTION_COLLECTOR, /* appended to the collectors */
	OPTION_MASK,	  /* const char * */
};

struct option_word {
	const char *word;
	unsigned int value;
};

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
static const struct option_word summary_words[] = {
	{"text", SUMMARY_TEXT},
	{"json", SUMMARY_JSON},
	{"off", SUMMARY_OFF},
	{NULL, 0},
};
static const struct option_word mask_words[] = {
	{"tcx", 0},
	{"xdp-frags", 0},
	{NULL, 0},
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

#define FIELD(name) offsetof(struct run_options, name)
#define BOTH	    (VERB_RUN | VERB_REPLAY)

/* clang-format off */
static const struct option_spec specs[] = {
	{ "interface", "NAME|GLOB", "meter this interface, or all that match; repeatable",
	  NULL, OPTION_INTERFACE, VERB_RUN, 0, 0, 0, NULL },
	{ "ingress", "MODE", "hook for arriving packets: auto, xdp, tc or off",
	  "auto", OPTION_WORD, VERB_RUN, FIELD(ingress), 0, 0, ingress_words },
	{ "egress", "MODE", "hook for leaving packets: auto, tc or off",
	  "auto", OPTION_WORD, VERB_RUN, FIELD(egress), 0, 0, egress_words },
	{ "collector", "URL", "ipfix://HOST[:PORT], file:///PATH, json:///PATH or json:-; repeatable",
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
	{ "message-size", "OCTETS", "size of an IPFIX message over UDP, at most",
	  "1400", OPTION_NUMBER16, BOTH, FIELD(message_max), 512, 9000, NULL },
	{ "template-interval", "TIME", "how often templates are sent again over UDP",
	  "60s", OPTION_DURATION, VERB_RUN, FIELD(template_interval_ns), 100 * NSEC_PER_MSEC, DAY_NS, NULL },
	{ "summary", "FORM", "final ledger on standard error: text, json or off",
	  "text", OPTION_WORD, BOTH, FIELD(summary), 0, 0, summary_words },
	{ "live", NULL, "show the busiest flows on standard output",
	  NULL, OPTION_FLAG, VERB_RUN, FIELD(live), 0, 0, NULL },
	{ "mask", "FEATURES", "for tests: do without these features of the kernel: tcx,xdp-frags",
	  NULL, OPTION_MASK, VERB_RUN, FIELD(mask), 0, 0, mask_words },
	{ "verbose", NULL, "say more", NULL, OPTION_FLAG, BOTH, FIELD(verbose), 0, 0, NULL },
	{ "quiet", NULL, "say no more than errors, warnings, ready and the ledger",
	  NULL, OPTION_FLAG, BOTH, FIELD(quiet), 0, 0, NULL },
};
/* clang-format on */

/* One command line being read. */
struct parser {
	struct run_options options;
	enum option_verb verb;
	const char *name; /* of the verb */
	unsigned int errors;
	bool given[ARRAY_SIZE(specs)];
};

/* One error of the command line: all of them are logged before it is refused. */
#define fail(p, ...) (log_error(__VA_ARGS__), (p)->errors++)

static void *field(struct run_options *options, const struct option_spec *spec)
{
	return (char *)options + spec->offset;
}

/* --- Values. */

static uint64_t spec_min(const struct option_spec *spec)
{
	/* More than the table's on a machine with many CPUs. */
	return spec->offset == FIELD(bank_entries) ? datapath_entries_min() : spec->min;
}

static void set_duration(struct parser *p, const struct option_spec *spec, const char *text)
{
	char min[VALUE_DURATION_MAX], max[VALUE_DURATION_MAX];
	uint64_t ns;

	if (value_number(text, &ns) == 0) {
		fail(p, "--%s '%s': lacks a unit, write ms, s, m or h behind the number",
		     spec->name, text);
	} else if (value_duration(text, &ns) < 0) {
		fail(p, "--%s '%s': not a time, write one like 500ms, 15s, 2m or 1h", spec->name,
		     text);
	} else if (ns < spec->min || ns > spec->max) {
		value_print_duration(min, spec->min);
		value_print_duration(max, spec->max);
		fail(p, "--%s '%s': out of range, it can be %s to %s", spec->name, text, min, max);
	} else {
		*(uint64_t *)field(&p->options, spec) = ns;
	}
}

static void set_number(struct parser *p, const struct option_spec *spec, const char *text)
{
	uint64_t value, min = spec_min(spec);

	if (value_number(text, &value) < 0)
		fail(p, "--%s '%s': not a number, it can be %llu to %llu", spec->name, text,
		     (unsigned long long)min, (unsigned long long)spec->max);
	else if (value < min || value > spec->max)
		fail(p, "--%s '%s': out of range, it can be %llu to %llu", spec->name, text,
		     (unsigned long long)min, (unsigned long long)spec->max);
	else if (spec->type == OPTION_NUMBER16)
		*(uint16_t *)field(&p->options, spec) = (uint16_t)value;
	else
		*(uint32_t *)field(&p->options, spec) = (uint32_t)value;
}

/* "auto, xdp, tc or off" */
static void print_words(char *text, size_t size, const struct option_word *words)
{
	size_t used = 0;

	for (; words->word; words++) {
		const char *behind = !words[1].word ? "" : words[2].word ? ", " : " or ";

		used += (size_t)snprintf(text + used, size - used, "%s%s", words->word, behind);
	}
}

static const struct option_word *find_word(const struct option_word *words, const char *text,
					   size_t length)
{
	for (; words->word; words++)
		if (strlen(words->word) == length && !memcmp(words->word, text, length))
			return words;
	return NULL;
}

static void set_word(struct parser *p, const struct option_spec *spec, const char *text)
{
	const struct option_word *word = find_word(spec->words, text, strlen(text));
	char words[64];

	if (word) {
		*(unsigned int *)field(&p->options, spec) = word->value;
		return;
	}
	print_words(words, sizeof(words), spec->words);
	fail(p, "--%s '%s': no such word, it can be %s", spec->name, text, words);
}

static void set_mask(struct parser *p, const struct option_spec *spec, const char *text)
{
	char words[64];

	p->options.mask = text;
	print_words(words, sizeof(words), spec->words);
	for (;;) {
		size_t length = strcspn(text, ",");

		if (!find_word(spec->words, text, length))
			fail(p, "--%s '%.*s': no such feature, there is %s", spec->name,
			     (int)length, text, words);
		if (!text[length])
			return;
		text += length + 1;
	}
}

/* Room for all of argv is there from the start. */
static void append_interface(struct parser *p, const char *text)
{
	if (!*text || strchr(text, '/') || strpbrk(text, " \t\n"))
		fail(p, "--interface '%s': no interface can have this name, `ip link` lists them",
		     text);
	else if (strlen(text) >= IFNAMSIZ && !strpbrk(text, "*?["))
		fail(p, "--interface '%s': longer than the %d letters of an interface name", text,
		     IFNAMSIZ - 1);
	else
		p->options.interfaces[p->options.interface_count++] = text;
}

static void append_collector(struct parser *p, const char *text)
{
	const char *why;

	if (exports_url_valid(text, &why))
		p->options.collectors[p->options.collector_count++] = text;
	else
		fail(p, "--collector '%s': %s", text, why);
}

static void set_value(struct parser *p, const struct option_spec *spec, const char *text)
{
	switch (spec->type) {
	case OPTION_FLAG:
		*(bool *)field(&p->options, spec) = true;
		break;
	case OPTION_DURATION:
		set_duration(p, spec, text);
		break;
	case OPTION_NUMBER32:
	case OPTION_NUMBER16:
		set_number(p, spec, text);
		break;
	case OPTION_WORD:
		set_word(p, spec, text);
		break;
	case OPTION_MASK:
		set_mask(p, spec, text);
		break;
	case OPTION_INTERFACE:
		append_interface(p, text);
		break;
	case OPTION_COLLECTOR:
		append_collector(p, text);
		break;
	}
}

/* --- The words of the command line. */

/* The option of this verb whose name is close to `name`, or NULL. */
static const struct option_spec *find_similar(enum option_verb verb, const char *name)
{
	const struct option_spec *best = NULL;
	unsigned int distance, best_distance = 3;

	for (size_t i = 0; i < ARRAY_SIZE(specs); i++) {
		distance = value_distance(name, specs[i].name);
		if (specs[i].verbs & verb && distance < best_distance) {
			best_distance = distance;
			best = &specs[i];
		}
	}
	return best;
}

/* Neither of this verb nor close to one; what it was meant to be, as far as known. */
static const struct option_spec *fail_unknown(struct parser *p, const char *word)
{
	const struct option_spec *similar;
	char name[32];

	snprintf(name, sizeof(name), "%.*s", (int)strcspn(word + 2, "="), word + 2);
	for (size_t i = 0; i < ARRAY_SIZE(specs); i++) {
		if (!strcmp(specs[i].name, name) && !(specs[i].verbs & p->verb)) {
			fail(p, "%s: not an option of `flowtally %s`", word, p->name);
			return &specs[i];
		}
	}
	similar = find_similar(p->verb, name);
	if (similar)
		fail(p, "%s: no such option, did you mean --%s?", word, similar->name);
	else
		fail(p, "%s: no such option, `flowtally %s --help` lists them", word, p->name);
	return similar;
}

/* getopt_long() answered '?' or ':' about argv[optind - 1]. */
static void fail_getopt(struct parser *p, int answer, char **argv)
{
	const struct option_spec *spec;
	const char *word = argv[optind - 1];

	if (optopt >= OPTION_BASE) {
		spec = &specs[optopt - OPTION_BASE];
		p->given[optopt - OPTION_BASE] = true;
		if (answer == ':')
			fail(p, "--%s: lacks its value, write --%s %s", spec->name, spec->name,
			     spec->argument);
		else
			fail(p, "%s: --%s takes no value", word, spec->name);
	} else if (optopt) {
		fail(p, "-%c: no such option, `flowtally %s --help` lists them", optopt, p->name);
	} else {
		spec = fail_unknown(p, word);
		/* What follows is the value of what was meant, and no mistake of its own. */
		if (spec && spec->argument && !strchr(word, '=') && argv[optind] &&
		    argv[optind][0] != '-')
			optind++;
	}
}

/* Returns 1 for --help. */
static int read_words(struct parser *p, int argc, char **argv)
{
	struct option options[ARRAY_SIZE(specs) + 2] = {0};
	size_t count = 0;
	int answer;

	for (size_t i = 0; i < ARRAY_SIZE(specs); i++)
		if (specs[i].verbs & p->verb)
			options[count++] = (struct option){
				.name = specs[i].name,
				.has_arg = specs[i].argument ? required_argument : no_argument,
				.val = OPTION_BASE + (int)i,
			};
	options[count] = (struct option){.name = "help", .val = 'h'};
	optind = 0; /* glibc: start anew */
	opterr = 0;
	while ((answer = getopt_long(argc, argv, ":h", options, NULL)) != -1) {
		if (answer == 'h')
			return 1;
		if (answer < OPTION_BASE) {
			fail_getopt(p, answer, argv);
			continue;
		}
		p->given[answer - OPTION_BASE] = true;
		set_value(p, &specs[answer - OPTION_BASE], optarg);
	}
	if (p->verb == VERB_REPLAY && optind < argc)
		p->options.file = argv[optind++];
	for (; optind < argc; optind++)
		fail(p, "'%s': unexpected argument", argv[optind]);
	return 0;
}

static bool was_given(const struct parser *p, const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(specs); i++)
		if (!strcmp(specs[i].name, name))
			return p->given[i];
	return false;
}

/* What no single option tells. */
static void check_together(struct parser *p)
{
	const struct run_options *o = &p->options;

	if (o->quiet && o->verbose)
		fail(p, "--quiet and --verbose: choose one");
	if (p->verb == VERB_REPLAY) {
		if (!o->file)
			fail(p, "no capture: name a pcap or pcapng file, or - for standard input");
		if (!was_given(p, "collector"))
			fail(p,
			     "no collector: add --collector URL, such as json:- for standard output");
		return;
	}
	if (!was_given(p, "interface"))
		fail(p, "no interface: add --interface NAME, `ip link` lists them");
	for (size_t i = 0; o->live && i < o->collector_count; i++)
		if (!strcmp(o->collectors[i], "json:-"))
			fail(p,
			     "--live and --collector json:- both need standard output, choose one");
	if (o->ingress == HOOK_MODE_OFF && o->egress == HOOK_MODE_OFF)
		fail(p, "--ingress off --egress off: nothing to meter, leave one of them on");
}

/* --- Defaults and help. */

/* Those that depend on other options or on the machine. */
static void set_late_defaults(struct parser *p)
{
	struct run_options *o = &p->options;

	if (!was_given(p, "domain"))
		o->domain = run_options_default_domain();
	if (!was_given(p, "bank-entries"))
		o->bank_entries = MAX(BANK_DEFAULT, datapath_entries_min());
	if (!was_given(p, "drain-interval"))
		o->drain_ns = MIN(o->live ? DRAIN_LIVE_NS : DRAIN_DEFAULT_NS,
				  MIN(o->idle_ns, o->active_ns));
}

uint32_t run_options_default_domain(void)
{
	_cleanup_(fclosep) FILE *file = fopen("/etc/machine-id", "re");
	char text[256] = "";
	uint32_t domain;

	if (!file || !fgets(text, sizeof(text), file) || strlen(text) < 32)
		gethostname(text, sizeof(text) - 1);
	domain = (uint32_t)XXH3_64bits(text, strlen(text));
	return domain ? domain : 1;
}

static void print_help(enum option_verb verb)
{
	if (verb == VERB_RUN)
		printf("usage: flowtally run --interface NAME [OPTION]...\n\n"
		       "Meters network interfaces and exports their flows.\n\n");
	else
		printf("usage: flowtally replay FILE --collector URL [OPTION]...\n\n"
		       "Exports the flows of a pcap or pcapng file by its own clock; FILE - is standard input.\n\n");
	for (size_t i = 0; i < ARRAY_SIZE(specs); i++) {
		const struct option_spec *spec = &specs[i];
		char left[48];

		if (!(spec->verbs & verb))
			continue;
		snprintf(left, sizeof(left), "--%s %s", spec->name,
			 spec->argument ? spec->argument : "");
		printf("  %-26s %s", left, spec->help);
		if (spec->standard)
			printf(" (%s)", spec->standard);
		printf("\n");
	}
	printf("  %-26s %s\n", "--help", "print this");
}

static int parse(struct parser *p, int argc, char **argv)
{
	p->options.interfaces = calloc((size_t)argc, sizeof(char *));
	p->options.collectors = calloc((size_t)argc, sizeof(char *));
	if (!p->options.interfaces || !p->options.collectors)
		return log_errno(LOG_ERR, ENOMEM, "cannot read the command line");
	for (size_t i = 0; i < ARRAY_SIZE(specs); i++)
		if (specs[i].standard)
			set_value(p, &specs[i], specs[i].standard);
	if (read_words(p, argc, argv) > 0) {
		print_help(p->verb);
		return 1;
	}
	check_together(p);
	set_late_defaults(p);
	return p->errors ? -EINVAL : 0;
}

int run_options_parse(struct run_options *ret, enum option_verb verb, int argc, char **argv)
{
	struct parser p = {.verb = verb, .name = argv[0]};
	int r = parse(&p, argc, argv);

	if (r != 0) {
		run_options_clear(&p.options);
		return r;
	}
	log_set_level(p.options.quiet ? LOG_NOTICE : p.options.verbose ? LOG_DEBUG : LOG_INFO);
	*ret = p.options;
	return 0;
}

void run_options_clear(struct run_options *options)
{
	free(options->interfaces);
	free(options->collectors);
	*options = (struct run_options){0};
}
