/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <getopt.h>
#include <string.h>
#include <xxhash.h>
#include "exporter/cli/collectors.h"
#include "exporter/cli/option_specs.h"
#include "exporter/cli/option_values.h"
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

/* --- The words of the command line. */

static void set_value(struct parser *p, const struct option_spec *spec, const char *text)
{
	if (option_value_set(&p->options, spec, text) < 0)
		p->errors++;
}

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

static void check_run(struct parser *p)
{
	const struct run_options *o = &p->options;

	if (!was_given(p, "interface"))
		fail(p, "no interface: add --interface NAME, `ip link` lists them");
	for (size_t i = 0; o->live && i < o->collector_count; i++)
		if (!strcmp(o->collectors[i], "json:-"))
			fail(p,
			     "--live and --collector json:- both need standard output, choose one");
	if (o->ingress == HOOK_MODE_OFF && o->egress == HOOK_MODE_OFF)
		fail(p, "--ingress off --egress off: nothing to meter, leave one of them on");
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
	if (p->verb == VERB_REPLAY && !o->file)
		fail(p, "no capture: name a pcap or pcapng file, or - for standard input");
	if (p->verb == VERB_REPLAY && !was_given(p, "collector"))
		fail(p, "no collector: add --collector URL, such as json:- for standard output");
	if (p->verb == VERB_RUN)
		check_run(p);
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
	static const char *const usages[] = {
		[VERB_RUN] = "run --interface NAME [OPTION]...\n\n"
			     "Meters network interfaces and exports their flows.",
		[VERB_REPLAY] =
			"replay FILE --collector URL [OPTION]...\n\n"
			"Exports the flows of a pcap or pcapng file by its own clock; FILE - is standard input.",
		[VERB_DROPS] =
			"drops [OPTION]...\n\n"
			"Shows which packets the kernel drops, and why: a table on a terminal, lines elsewhere.",
	};

	printf("usage: flowtally %s\n\n", usages[verb]);
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
