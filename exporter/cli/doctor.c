/* SPDX-License-Identifier: Apache-2.0 */
/* `flowtally doctor`: what may keep flowtally from working here, and what mends it. */
#include <errno.h>
#include <string.h>
#include "config/load.h"
#include "exporter/cli/arguments.h"
#include "exporter/cli/doctor.h"
#include "exporter/cli/mask.h"
#include "exporter/cli/verbs.h"
#include "exporter/log.h"
#include "exporter/meter/cache.h"
#include "exporter/observe/control.h"

#define STANDARD_CONFIG "/etc/flowtally/flowtally.yaml"

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
	OPTION_CONFIG,
	OPTION_INTERFACE,
	OPTION_COLLECTOR,
	OPTION_SOCKET,
	OPTION_JSON,
	OPTION_BUNDLE,
	OPTION_MASK
};

/* clang-format off */
static const struct argument_option options[] = {
	{"config", 0, ARGUMENT_NEEDED, "FILE",
	 "look at what this file configures (" STANDARD_CONFIG ", if it is there)", OPTION_CONFIG},
	{"interface", 0, ARGUMENT_NEEDED, "NAME|GLOB",
	 "look at this interface, in place of the file's; repeatable", OPTION_INTERFACE},
	{"collector", 0, ARGUMENT_NEEDED, "URL",
	 "look at this collector, in place of the file's; repeatable", OPTION_COLLECTOR},
	{"socket", 0, ARGUMENT_NEEDED, "PATH", "of the running exporter (" CONTROL_SOCKET ")",
	 OPTION_SOCKET},
	{"json", 0, ARGUMENT_NONE, NULL, "one JSON object", OPTION_JSON},
	{"bundle", 0, ARGUMENT_NEEDED, "FILE",
	 "write all that a support case needs into a new tar file", OPTION_BUNDLE},
	{"mask", 0, ARGUMENT_NONE, NULL,
	 "with names in place of addresses, the same for the same one", OPTION_MASK},
};
/* clang-format on */

size_t doctor_options(struct argument_option *ret)
{
	memcpy(ret, options, sizeof(options));
	return ARRAY_SIZE(options);
}

/* --- The command line. */

static int take_once(const char **field, const char *text, char error[ARGUMENTS_ERROR_MAX])
{
	if (*field)
		return snprintf(error, ARGUMENTS_ERROR_MAX, "'%s': given twice; it takes one value",
				text),
		       -EINVAL;
	*field = text;
	return 0;
}

static int take(void *userdata, int id, const char *text, char error[ARGUMENTS_ERROR_MAX])
{
	struct command *c = userdata;

	switch (id) {
	case OPTION_CONFIG:
		return take_once(&c->file, text, error);
	case OPTION_SOCKET:
		return take_once(&c->socket, text, error);
	case OPTION_BUNDLE:
		return take_once(&c->bundle, text, error);
	case OPTION_INTERFACE:
	case OPTION_COLLECTOR:
		c->assignments[c->assignment_count++] = (struct config_assignment){
			.setting =
				setting_find(id == OPTION_INTERFACE ? "interfaces" : "collectors"),
			.text = text,
		};
		return 0;
	case OPTION_JSON:
		c->json = true;
		return 0;
	case OPTION_MASK:
		c->mask = true;
		return 0;
	default:
		return snprintf(error, ARGUMENTS_ERROR_MAX, "'%s': unexpected argument", text),
		       -EINVAL;
	}
}

/* 1: --help has been printed; -EINVAL: all mistakes have been told. */
static int read_words(struct command *c, int argc, char **argv)
{
	const struct arguments arguments = {
		.verb = "doctor",
		.usage =
			"doctor [OPTION]...\n\n"
			"Looks for what keeps flowtally from working on this system, and says what mends\n"
			"it. It changes nothing, and needs neither root nor a running exporter, but sees\n"
			"more with both.",
		.examples =
			"examples:\n"
			"  flowtally doctor --interface eth0 --collector ipfix://192.0.2.20\n"
			"  flowtally doctor --json | jq -r '.findings[] | select(.level != \"OK\") | .fix[]'\n"
			"  flowtally doctor --bundle case.tar --mask\n",
		.options = options,
		.option_count = ARRAY_SIZE(options),
		.take = take,
		.userdata = c,
	};
	int r = arguments_parse(&arguments, argc, argv);

	if (r == 0 && c->mask && !c->bundle && !c->json)
		r = (log_error("--mask: is for --bundle FILE or --json"), -EINVAL);
	return r;
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

/* As the exporter would have them. */
static struct export_options export_options(const struct config *config)
{
	struct export_options o = config->export;

	o.drops = config->drops != DROPS_OFF;
	o.drops_in_files = config->drops != DROPS_ON;
	return o;
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
		.export = export_options(config),
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
	return status < 0 ? EXIT_USAGE : status;
}
