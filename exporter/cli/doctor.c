/* SPDX-License-Identifier: Apache-2.0 */
/* `flowtally doctor`: what may keep flowtally from working here, and what mends it. */
#include <errno.h>
#include <getopt.h>
#include <string.h>
#include "config/load.h"
#include "exporter/cli/arguments.h"
#include "exporter/cli/doctor.h"
#include "exporter/cli/mask.h"
#include "exporter/cli/verbs.h"
#include "exporter/log.h"
#include "exporter/meter/cache.h"
#include "exporter/observe/control.h"

#define USAGE		2
#define STANDARD_CONFIG "/etc/flowtally/flowtally.yaml"
#define MESSAGE_MAX	1400 /* of message-size, where nobody has said */

/* What the command line says. */
struct command {
	struct problems problems;
	const char *file; /* NULL: none */
	const char *socket;
	const char *bundle;
	struct config_assignment *assignments; /* interfaces and collectors */
	size_t assignment_count;
	bool json;
	bool mask;
};

enum {
	OPTION_CONFIG = 1000,
	OPTION_INTERFACE,
	OPTION_COLLECTOR,
	OPTION_SOCKET,
	OPTION_JSON,
	OPTION_BUNDLE,
	OPTION_MASK
};

static const struct option options[] = {
	{"config", required_argument, NULL, OPTION_CONFIG},
	{"interface", required_argument, NULL, OPTION_INTERFACE},
	{"collector", required_argument, NULL, OPTION_COLLECTOR},
	{"socket", required_argument, NULL, OPTION_SOCKET},
	{"json", no_argument, NULL, OPTION_JSON},
	{"bundle", required_argument, NULL, OPTION_BUNDLE},
	{"mask", no_argument, NULL, OPTION_MASK},
	{"help", no_argument, NULL, 'h'},
	{0},
};

size_t doctor_options(struct argument_option *ret)
{
	return arguments_add_getopt(ret, 0, options);
}

static void print_help(void)
{
	fputs("usage: flowtally doctor [OPTION]...\n\n"
	      "Looks for what keeps flowtally from working on this system, and says what mends it.\n"
	      "It changes nothing, and needs neither root nor a running exporter, but sees more with both.\n\n"
	      "  --config FILE              look at what this file configures (" STANDARD_CONFIG
	      ", if it is there)\n"
	      "  --interface NAME|GLOB      look at this interface, in place of the file's; repeatable\n"
	      "  --collector URL            look at this collector, in place of the file's; repeatable\n"
	      "  --socket PATH              of the running exporter (" CONTROL_SOCKET ")\n"
	      "  --json                     one JSON object\n"
	      "  --bundle FILE              write all that a support case needs into a new tar file\n"
	      "  --mask                     with names in place of addresses, the same for the same one\n"
	      "  --help                     print this\n\n"
	      "Exit status: 0 when all is OK or WARN, 1 when something is FAIL, 2 for a wrong command line.\n\n"
	      "Examples:\n"
	      "  flowtally doctor --interface eth0 --collector ipfix://192.0.2.20\n"
	      "  flowtally doctor --json | jq -r '.findings[] | select(.level != \"OK\") | .fix[]'\n"
	      "  flowtally doctor --bundle case.tar --mask\n",
	      stdout);
}

/* --- The command line. */

static void take_once(struct command *c, const char **field, const char *name, const char *text)
{
	if (*field)
		problems_error(&c->problems, "--%s '%s': given twice; it takes one value", name,
			       text);
	else
		*field = text;
}

static void take(struct command *c, int answer, const char *text)
{
	switch (answer) {
	case OPTION_CONFIG:
		take_once(c, &c->file, "config", text);
		break;
	case OPTION_SOCKET:
		take_once(c, &c->socket, "socket", text);
		break;
	case OPTION_BUNDLE:
		take_once(c, &c->bundle, "bundle", text);
		break;
	case OPTION_INTERFACE:
	case OPTION_COLLECTOR:
		c->assignments[c->assignment_count++] = (struct config_assignment){
			.setting = setting_find(answer == OPTION_INTERFACE ? "interfaces"
									   : "collectors"),
			.text = text,
		};
		break;
	case OPTION_JSON:
		c->json = true;
		break;
	default:
		c->mask = true;
		break;
	}
}

static void fail_unknown(struct command *c, const char *word)
{
	struct value_guess guess = {0};
	char name[32], hint[VALUE_HINT_MAX];

	snprintf(name, sizeof(name), "%.*s", (int)strcspn(word + 2, "="), word + 2);
	for (const struct option *o = options; o->name; o++)
		value_guess_offer(&guess, name, o->name);
	if (guess.word)
		snprintf(hint, sizeof(hint), "did you mean --%s?", guess.word);
	else
		snprintf(hint, sizeof(hint), "`flowtally doctor --help` lists them");
	problems_error(&c->problems, "%s: no such option, %s", word, hint);
}

static void fail_option(struct command *c, int answer, char **argv)
{
	const char *name = NULL;

	for (const struct option *o = options; o->name; o++)
		if (o->val == optopt)
			name = o->name;
	if (name && answer == ':')
		problems_error(&c->problems, "--%s: lacks its value", name);
	else if (name)
		problems_error(&c->problems, "%s: --%s takes no value", argv[optind - 1], name);
	else if (optopt)
		problems_error(&c->problems,
			       "-%c: no such option, `flowtally doctor --help` lists them", optopt);
	else
		fail_unknown(c, argv[optind - 1]);
}

/* 1: --help has been printed; -EINVAL: there are problems. */
static int read_words(struct command *c, int argc, char **argv)
{
	int answer;

	optind = 0; /* glibc: start anew */
	opterr = 0;
	while ((answer = getopt_long(argc, argv, ":h", options, NULL)) != -1) {
		if (answer == 'h')
			return print_help(), 1;
		if (answer < OPTION_CONFIG)
			fail_option(c, answer, argv);
		else
			take(c, answer, optarg);
	}
	for (; optind < argc; optind++)
		problems_error(&c->problems, "'%s': unexpected argument", argv[optind]);
	if (c->mask && !c->bundle && !c->json)
		problems_error(&c->problems, "--mask: is for --bundle FILE or --json");
	return c->problems.errors ? -EINVAL : 0;
}

/* --- The configuration. */

static struct config_request request_of(const struct command *c, bool whole)
{
	return (struct config_request){
		.verb = VERB_RUN,
		.file = whole ? c->file : NULL,
		.environment = whole ? environ : NULL,
		.assignments = c->assignments,
		.assignment_count = c->assignment_count,
		.partial = true,
	};
}

/* What is wrong with options is a wrong command line; what is wrong with the file is a finding. */
static int load_options(struct command *c, struct config *ret)
{
	const struct config_request request = request_of(c, false);

	return config_load(ret, &request, &c->problems);
}

/* `config` stays what the options say if the file cannot be read. */
static int load_file(const struct command *c, struct config *config, struct problems *problems,
		     bool *ret_good)
{
	const struct config_request request = request_of(c, true);
	struct config whole = {0};
	int r = config_load(&whole, &request, problems);

	*ret_good = r == 0;
	if (r == 0) {
		config_clear(config);
		*config = whole;
	}
	return r == -ENOMEM ? r : 0;
}

/* --- What is wanted. */

struct visit {
	struct doctor_wanted wanted;
	struct doctor_problem problems[PROBLEMS_MAX];
	struct doctor_place places[EXPORT_COLLECTORS_MAX];
	struct doctor_facts facts;
	struct doctor_report report;
	struct mask *mask;
	char *listen; /* as configured; NULL: it does not listen */
	char *socket; /* likewise; NULL: no such setting */
};

static void visit_clear(struct visit *v)
{
	doctor_facts_clear(&v->facts);
	doctor_report_clear(&v->report);
	mask_freep(&v->mask);
	free(v->listen);
	free(v->socket);
}

/* The value of a setting by its option, on the heap; NULL: there is no such setting, or no value. */
static char *configured(const struct config *config, const char *name)
{
	char *text = NULL;

	for (size_t i = 0; i < settings_count; i++)
		if (!strcmp(settings[i].name, name) &&
		    setting_print(&settings[i], config, &text) < 0)
			return NULL;
	return text;
}

static const char *unless_off(const char *text)
{
	return text && strcmp(text, "off") != 0 ? text : NULL;
}

static void describe(struct visit *v, const struct command *c, const struct config *config,
		     const struct problems *problems)
{
	const bool drops = config->drops != DROPS_OFF;

	v->listen = configured(config, "metrics-listen");
	v->socket = configured(config, "control-socket");

	for (size_t i = 0; i < problems->count; i++)
		v->problems[i] =
			(struct doctor_problem){problems->list[i].warning, problems->list[i].text};
	for (size_t i = 0; i < config->collector_count; i++)
		v->places[i] = (struct doctor_place){config->collectors[i].url,
						     &config->collectors[i].options};
	v->wanted = (struct doctor_wanted){
		.configuration = c->file,
		.problems = v->problems,
		.problem_count = problems->count,
		.interfaces = (const char *const *)config->interfaces,
		.interface_count = config->interface_count,
		.ingress = config->ingress,
		.egress = config->egress,
		.mask = config->mask,
		.bank_entries = config->bank_entries,
		.drop_entries = drops ? config->drop_entries : 0,
		.cache_octets = cache_memory(config->cache_entries) +
				(drops ? cache_memory(config->drop_entries) : 0),
		.collectors = v->places,
		.collector_count = config->collector_count,
		.message_max = config->export.message_max ?: MESSAGE_MAX,
		.source = config->export.source,
		.listen = unless_off(v->listen),
		.socket = c->socket   ? c->socket
			  : v->socket ? unless_off(v->socket)
				      : CONTROL_SOCKET,
	};
}

/* Names of collectors' hosts are to be masked as well. */
static int make_mask(struct visit *v)
{
	int r = mask_new(&v->mask);

	for (size_t i = 0; r == 0 && i < v->facts.collector_count; i++)
		if (url_in_network(&v->facts.collectors[i].url) &&
		    !v->facts.collectors[i].url.numeric)
			r = mask_add(v->mask, v->facts.collectors[i].url.host);
	return r;
}

/* --- The report. */

static int print_json(const struct visit *v, bool masked)
{
	json_t *object = doctor_report_json(&v->report);
	_cleanup_(freep) char *text = NULL, *plain = NULL;

	if (object && v->facts.exporter.status)
		json_object_set(object, "exporter", v->facts.exporter.status);
	text = object ? json_dumps(object, JSON_INDENT(2)) : NULL;
	json_decref(object);
	plain = text && masked ? mask_text(v->mask, text) : NULL;
	if (!text || (masked && !plain))
		return -ENOMEM;
	puts(masked ? plain : text);
	return 0;
}

static int print_report(const struct visit *v, const struct command *c)
{
	if (c->json)
		return print_json(v, c->mask);
	doctor_report_print(stdout, &v->report);
	return 0;
}

static int examine(struct visit *v, const struct command *c, const struct config *config, bool good)
{
	int r = doctor_gather(&v->wanted, &v->facts);
	struct bundle bundle = {.path = c->bundle,
				.config = good ? config : NULL,
				.facts = &v->facts,
				.report = &v->report};

	if (r < 0)
		return log_errno(LOG_ERR, r, "cannot look at the system");
	doctor_judge(&v->wanted, &v->facts, &v->report);
	r = c->mask ? make_mask(v) : 0;
	if (r == 0)
		r = print_report(v, c);
	if (r < 0)
		return log_errno(LOG_ERR, r, "cannot print the findings");
	bundle.mask = v->mask;
	r = c->bundle ? bundle_write(&bundle) : 0;
	if (r == -EEXIST)
		return log_error("'%s' is there already, name another file", c->bundle), r;
	if (r < 0)
		return log_errno(LOG_ERR, r, "cannot write '%s'", c->bundle);
	return 0;
}

static int visit(struct command *c)
{
	_cleanup_(config_clear) struct config config = {0};
	_cleanup_(problems_clear) struct problems problems = {0};
	_cleanup_(visit_clear) struct visit v = {0};
	bool good = false;
	int r = load_options(c, &config);

	if (r < 0)
		return r;
	if (!c->file && !getenv("FLOWTALLY_CONFIG") && !c->assignment_count &&
	    access(STANDARD_CONFIG, R_OK) == 0)
		c->file = STANDARD_CONFIG;
	r = load_file(c, &config, &problems, &good);
	if (!c->file)
		c->file = getenv("FLOWTALLY_CONFIG");
	if (r < 0)
		return log_errno(LOG_ERR, r, "cannot read the configuration");
	describe(&v, c, &config, &problems);
	if (examine(&v, c, &config, good) < 0)
		return 1;
	return doctor_report_count(&v.report, DOCTOR_FAIL) ? 1 : 0;
}

int doctor_main(int argc, char **argv)
{
	struct command c = {.assignments = calloc((size_t)argc + 1, sizeof(*c.assignments))};
	int status = c.assignments ? read_words(&c, argc, argv) : -ENOMEM;

	if (status == 0)
		status = visit(&c);
	else if (status > 0)
		status = 0; /* --help */
	problems_log(&c.problems);
	problems_clear(&c.problems);
	free(c.assignments);
	return status < 0 ? USAGE : status;
}
