/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <net/if.h>
#include <string.h>
#include <xxhash.h>
#include "exporter/cli/collectors.h"
#include "exporter/cli/option_specs.h"
#include "exporter/cli/value.h"
#include "exporter/export/export.h"
#include "exporter/log.h"
#include "exporter/meter/datapath.h"

#define DRAIN_DEFAULT_NS (5 * NSEC_PER_SEC)
#define BANK_DEFAULT	 131072u
#define DROPS_DEFAULT	 16384u
#define DRAIN_LIVE_NS	 NSEC_PER_SEC
#define OPTION_BASE	 1000 /* getopt's value for the first option of the table */

/* One command line being read. */
struct parser {
	struct run_options options;
	enum option_verb verb;
	const char *name; /* of the verb */
	unsigned int errors;
	bool given[OPTION_SPECS_MAX];
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
	return spec->offset == offsetof(struct run_options, bank_entries) ||
			       spec->offset == offsetof(struct run_options, drop_entries)
		       ? datapath_entries_min()
		       : spec->min;
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

static void set_template(struct parser *p, const struct option_spec *spec, const char *text)
{
	const char *why;

	if (exports_template_valid(text, &why))
		*(const char **)field(&p->options, spec) = text;
	else
		fail(p, "--%s '%s': %s", spec->name, text, why);
}

static void set_address(struct parser *p, const struct option_spec *spec, const char *text)
{
	struct in6_addr address;

	if (inet_pton(AF_INET, text, &address) == 1 || inet_pton(AF_INET6, text, &address) == 1)
		*(const char **)field(&p->options, spec) = text;
	else
		fail(p, "--%s '%s': not an address", spec->name, text);
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
	case OPTION_STRING:
		*(const char **)field(&p->options, spec) = text;
		break;
	case OPTION_MASK:
		set_mask(p, spec, text);
		break;
	case OPTION_TEMPLATE:
		set_template(p, spec, text);
		break;
	case OPTION_ADDRESS:
		set_address(p, spec, text);
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

	for (size_t i = 0; i < option_specs_count; i++) {
		distance = value_distance(name, option_specs[i].name);
		if (option_specs[i].verbs & verb && distance < best_distance) {
			best_distance = distance;
			best = &option_specs[i];
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
	for (size_t i = 0; i < option_specs_count; i++) {
		if (!strcmp(option_specs[i].name, name) && !(option_specs[i].verbs & p->verb)) {
			fail(p, "%s: not an option of `flowtally %s`", word, p->name);
			return &option_specs[i];
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
		spec = &option_specs[optopt - OPTION_BASE];
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
	struct option options[OPTION_SPECS_MAX + 2] = {0};
	size_t count = 0;
	int answer;

	for (size_t i = 0; i < option_specs_count; i++)
		if (option_specs[i].verbs & p->verb)
			options[count++] = (struct option){
				.name = option_specs[i].name,
				.has_arg = option_specs[i].argument ? required_argument
								    : no_argument,
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
		set_value(p, &option_specs[answer - OPTION_BASE], optarg);
	}
	if (p->verb == VERB_REPLAY && optind < argc)
		p->options.file = argv[optind++];
	for (; optind < argc; optind++)
		fail(p, "'%s': unexpected argument", argv[optind]);
	return 0;
}

static bool was_given(const struct parser *p, const char *name)
{
	for (size_t i = 0; i < option_specs_count; i++)
		if (!strcmp(option_specs[i].name, name))
			return p->given[i];
	return false;
}

/* Files are overwritten, so that nothing else may be in them that is wanted. */
static void check_files(struct parser *p)
{
	const struct run_options *o = &p->options;

	for (size_t i = 0; i < o->collector_count; i++) {
		const char *url = o->collectors[i];

		if (o->file && collectors_overwrite(url, o->file))
			fail(p, "--collector '%s': would overwrite the capture '%s'", url, o->file);
		for (size_t n = 0; n < i; n++)
			if (collectors_share_file(url, o->collectors[n])) {
				fail(p, "--collector '%s': the same file as --collector '%s'", url,
				     o->collectors[n]);
				break;
			}
	}
}

/* What no single option tells. */
static void check_together(struct parser *p)
{
	const struct run_options *o = &p->options;

	if (o->quiet && o->verbose)
		fail(p, "--quiet and --verbose: choose one");
	if (o->collector_count > EXPORT_COLLECTORS_MAX)
		fail(p, "--collector: given %zu times, there can be %d", o->collector_count,
		     EXPORT_COLLECTORS_MAX);
	else
		check_files(p);
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
	if (!was_given(p, "drop-entries"))
		o->drop_entries = MAX(DROPS_DEFAULT, datapath_entries_min());
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
	for (size_t i = 0; i < option_specs_count; i++) {
		const struct option_spec *spec = &option_specs[i];
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
	for (size_t i = 0; i < option_specs_count; i++)
		if (option_specs[i].standard)
			set_value(p, &option_specs[i], option_specs[i].standard);
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

struct export_options run_options_export(const struct run_options *o)
{
	return (struct export_options){
		.domain = o->domain,
		.message_max = o->message_max,
		.template_interval_ns = o->template_interval_ns,
		.template_messages = o->template_messages,
		.options_interval_ns = o->options_interval_ns,
		.statistics_interval_ns = o->statistics_interval_ns,
		.template = o->template,
		.enterprise = o->enterprise,
		.rate = o->rate,
		.source = o->source,
		.dscp = (uint8_t)o->dscp,
		.balance = o->balance,
	};
}
