/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <getopt.h>
#include <string.h>
#include "config/load.h"
#include "exporter/cli/arguments.h"
#include "exporter/cli/options.h"
#include "exporter/cli/verbs.h"
#include "exporter/log.h"

#define OPTION_BASE 1000 /* getopt's value for the first setting of the table */

/* One command line being read. */
struct parser {
	enum config_verb verb;
	const char *name; /* of the verb */
	struct config_request request;
	struct config_assignment *assignments;
	struct problems problems;
};

#define fail(p, ...) problems_error(&(p)->problems, __VA_ARGS__)

/* The option of this verb whose name is close to `name`, or NULL. */
static const struct setting *find_similar(enum config_verb verb, const char *name)
{
	const struct setting *best = NULL;
	unsigned int distance, best_distance = 3;

	for (size_t i = 0; i < settings_count; i++) {
		distance = value_distance(name, settings[i].name);
		if (settings[i].verbs & verb && distance < best_distance) {
			best_distance = distance;
			best = &settings[i];
		}
	}
	return best;
}

/* Neither of this verb nor close to one; what it was meant to be, as far as known. */
static const struct setting *fail_unknown(struct parser *p, const char *word)
{
	const struct setting *similar;
	char name[32];

	snprintf(name, sizeof(name), "%.*s", (int)strcspn(word + 2, "="), word + 2);
	for (size_t i = 0; i < settings_count; i++) {
		if (!strcmp(settings[i].name, name) && !(settings[i].verbs & p->verb)) {
			fail(p, "%s: not an option of `flowtally %s`", word, p->name);
			return &settings[i];
		}
	}
	similar = find_similar(p->verb, name);
	if (similar)
		fail(p, "%s: no such option, did you mean --%s?", word, similar->name);
	else
		fail(p, "%s: no such option, `flowtally %s --help` lists them", word, p->name);
	return similar;
}

static void take(struct parser *p, const struct setting *s, const char *text)
{
	struct config_request *q = &p->request;

	if (s->type == SETTING_FILE && q->file)
		fail(p, "--%s '%s': given twice; it takes one value", s->name, text);
	else if (s->type == SETTING_FILE)
		q->file = text;
	p->assignments[q->assignment_count++] =
		(struct config_assignment){.setting = s, .text = text};
}

/* getopt_long() answered '?' or ':' about argv[optind - 1]. */
static void fail_getopt(struct parser *p, int answer, char **argv)
{
	const struct setting *s;
	const char *word = argv[optind - 1];

	if (optopt >= OPTION_BASE) {
		s = &settings[optopt - OPTION_BASE];
		if (answer == ':') {
			fail(p, "--%s: lacks its value, write --%s %s", s->name, s->name,
			     s->argument);
			if (setting_is_list(s))
				take(p, s, NULL);
		} else {
			fail(p, "%s: --%s takes no value", word, s->name);
		}
	} else if (optopt) {
		fail(p, "-%c: no such option, `flowtally %s --help` lists them", optopt, p->name);
	} else {
		s = fail_unknown(p, word);
		/* What follows is the value of what was meant, and no mistake of its own. */
		if (s && s->argument && !strchr(word, '=') && argv[optind] &&
		    argv[optind][0] != '-')
			optind++;
	}
}

/* Returns 1 for --help. */
static int read_words(struct parser *p, int argc, char **argv)
{
	struct option options[CONFIG_SETTINGS_MAX + 2] = {0};
	size_t count = 0;
	int answer;

	for (size_t i = 0; i < settings_count; i++)
		if (settings[i].verbs & p->verb)
			options[count++] = (struct option){
				.name = settings[i].name,
				.has_arg = settings[i].argument ? required_argument : no_argument,
				.val = OPTION_BASE + (int)i,
			};
	options[count] = (struct option){.name = "help", .val = 'h'};
	optind = 0; /* glibc: start anew */
	opterr = 0;
	while ((answer = getopt_long(argc, argv, ":h", options, NULL)) != -1) {
		if (answer == 'h')
			return 1;
		if (answer < OPTION_BASE)
			fail_getopt(p, answer, argv);
		else
			take(p, &settings[answer - OPTION_BASE], optarg);
	}
	if (p->verb == VERB_REPLAY && optind < argc)
		p->request.capture = argv[optind++];
	for (; optind < argc; optind++)
		fail(p, "'%s': unexpected argument", argv[optind]);
	return 0;
}

static void print_help(enum config_verb verb)
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
		[VERB_SHOW] =
			"config show [--effective] [OPTION]...\n\n"
			"Prints the settings that `flowtally run` has with these options, and who gave them.",
	};
	static const char *const examples[] = {
		[VERB_RUN] =
			"  flowtally run --interface eth0 --collector ipfix://192.0.2.20\n"
			"  flowtally run --interface 'veth*' --live\n"
			"  flowtally run --interface eth0 --collector json:- | jq .octetDeltaCount\n"
			"  flowtally run --config /etc/flowtally/flowtally.yaml --idle-timeout 20s\n",
		[VERB_REPLAY] =
			"  flowtally replay capture.pcap --collector json:-\n"
			"  flowtally replay capture.pcap --collector file:///tmp/capture.ipfix --quiet\n"
			"  tcpdump -w - -c 1000 | flowtally replay - --collector ipfix://192.0.2.20\n",
		[VERB_DROPS] = "  flowtally drops\n"
			       "  flowtally drops --reason congestion\n"
			       "  flowtally drops --address 10.0.0.0/8 --for 30s --by reason\n"
			       "  flowtally drops --json | jq -r .interfaceName\n",
		[VERB_SHOW] = "  flowtally config show --config /etc/flowtally/flowtally.yaml\n"
			      "  flowtally config show --effective --interface eth0\n",
	};

	printf("usage: flowtally %s\n\n", usages[verb]);
	for (size_t i = 0; i < settings_count; i++) {
		const struct setting *s = &settings[i];
		char left[48];

		if (!(s->verbs & verb))
			continue;
		snprintf(left, sizeof(left), "--%s %s", s->name, s->argument ? s->argument : "");
		printf("  %-26s %s", left, s->help);
		if (s->standard)
			printf(" (%s)", s->standard);
		printf("\n");
	}
	printf("  %-26s %s\n\nexamples:\n%s", "--help", "print this", examples[verb]);
	verb_print_exits(verb == VERB_RUN      ? "run"
			 : verb == VERB_REPLAY ? "replay"
			 : verb == VERB_DROPS  ? "drops"
					       : "config");
}

static void list_words(const struct setting *s, char text[ARGUMENT_WORDS_MAX])
{
	size_t used = 0;

	if (s->type == SETTING_TEMPLATE)
		snprintf(text, ARGUMENT_WORDS_MAX, "minimal default extended");
	if (s->type == SETTING_REASONS)
		arguments_list_classes(text);
	for (const struct setting_word *w = s->words; w && w->word; w++)
		used += (size_t)snprintf(text + used, ARGUMENT_WORDS_MAX - used, "%s%s",
					 used ? " " : "", w->word);
}

size_t options_list(enum config_verb verb, struct argument_option *ret)
{
	size_t count = 0;

	_Static_assert(CONFIG_SETTINGS_MAX <= ARGUMENTS_OPTIONS_MAX, "room for all settings");
	for (size_t i = 0; i < settings_count; i++) {
		const struct setting *s = &settings[i];

		if (!(s->verbs & verb))
			continue;
		ret[count] = (struct argument_option){
			.name = s->name,
			.value = s->argument ? ARGUMENT_NEEDED : ARGUMENT_NONE,
			.argument = s->argument,
			.help = s->help,
		};
		list_words(s, ret[count++].words);
	}
	return count;
}

static int parse(struct parser *p, struct config *ret, int argc, char **argv)
{
	p->assignments = calloc((size_t)argc + 1, sizeof(*p->assignments));
	if (!p->assignments)
		return -ENOMEM;
	p->request.verb = p->verb;
	p->request.assignments = p->assignments;
	p->request.partial = p->verb == VERB_SHOW;
	if (p->verb & (VERB_RUN | VERB_SHOW))
		p->request.environment = environ;
	if (read_words(p, argc, argv) > 0) {
		print_help(p->verb);
		return 1;
	}
	return config_load(ret, &p->request, &p->problems);
}

int options_parse(struct config *ret, enum config_verb verb, int argc, char **argv)
{
	return options_parse_request(ret, NULL, verb, argc, argv);
}

int options_parse_request(struct config *ret, struct config_request **ret_request,
			  enum config_verb verb, int argc, char **argv)
{
	struct parser p = {.verb = verb, .name = argv[0]};
	struct config config = {0};
	struct config_request *request = NULL;
	int r = parse(&p, &config, argc, argv);

	if (r == 0 && ret_request) {
		request = config_request_copy(&p.request);
		if (!request) {
			config_clear(&config);
			r = -ENOMEM;
		}
	}
	if (r == 0)
		log_set_level(config.quiet ? LOG_NOTICE : config.verbose ? LOG_DEBUG : LOG_INFO);
	problems_log(&p.problems);
	problems_clear(&p.problems);
	free(p.assignments);
	if (r == -ENOMEM)
		log_errno(LOG_ERR, r, "cannot read the command line");
	if (r == 0)
		*ret = config;
	if (r == 0 && ret_request)
		*ret_request = request;
	return r;
}
