/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>
#include <xxhash.h>
#include "config/load.h"
#include "config/set.h"
#include "config/yaml.h"
#include "exporter/export/export.h"
#include "exporter/export/url.h"

#define DRAIN_DEFAULT_NS (5 * NSEC_PER_SEC)
#define BANK_DEFAULT	 131072u
#define DROPS_DEFAULT	 16384u
#define DRAIN_LIVE_NS	 NSEC_PER_SEC
#define ENVIRONMENT	 "FLOWTALLY_"

/* What is being made. */
struct loader {
	struct config config;
	const struct config_request *request;
	struct problems *problems;
};

/* --- What is asked for */

/* Deep copies; *failed is set without memory. */
static char *copy_text(const char *text, bool *failed)
{
	char *copy = text ? strdup(text) : NULL;

	*failed |= text && !copy;
	return copy;
}

static char **copy_environment(char *const *environment, bool *failed)
{
	size_t count = 0, kept = 0;
	char **copy;

	while (environment[count])
		count++;
	copy = calloc(count + 1, sizeof(*copy));
	*failed |= !copy;
	for (size_t i = 0; copy && i < count; i++)
		if (!strncmp(environment[i], ENVIRONMENT, strlen(ENVIRONMENT)))
			kept += (copy[kept] = copy_text(environment[i], failed)) != NULL;
	return copy;
}

static void free_text(const char *text)
{
	free((char *)text);
}

struct config_request *config_request_free(struct config_request *request)
{
	for (size_t i = 0; request->assignments && i < request->assignment_count; i++)
		free_text(request->assignments[i].text);
	for (size_t i = 0; request->environment && request->environment[i]; i++)
		free(request->environment[i]);
	free((struct config_assignment *)request->assignments);
	free((char **)request->environment);
	free_text(request->capture);
	free_text(request->file);
	free(request);
	return NULL;
}

struct config_request *config_request_copy(const struct config_request *request)
{
	_cleanup_(config_request_freep) struct config_request *copy = calloc(1, sizeof(*copy));
	struct config_assignment *list = calloc(request->assignment_count + 1, sizeof(*list));
	bool failed = !copy || !list;

	if (failed) {
		free(list);
		return NULL;
	}
	*copy = (struct config_request){.verb = request->verb,
					.assignments = list,
					.assignment_count = request->assignment_count,
					.partial = request->partial};
	for (size_t i = 0; i < request->assignment_count; i++)
		list[i] = (struct config_assignment){.setting = request->assignments[i].setting,
						     .text = copy_text(request->assignments[i].text,
								       &failed)};
	copy->capture = copy_text(request->capture, &failed);
	copy->file = copy_text(config_request_file(request), &failed);
	if (request->environment)
		copy->environment = copy_environment(request->environment, &failed);
	return failed ? NULL : TAKE_PTR(copy);
}

const char *config_request_file(const struct config_request *request)
{
	static const char name[] = ENVIRONMENT "CONFIG=";

	if (request->file)
		return request->file;
	for (char *const *e = request->environment; e && *e; e++)
		if (!strncmp(*e, name, strlen(name)) && (*e)[strlen(name)])
			return *e + strlen(name);
	return NULL;
}

/* --- Layers */

static int set_defaults(struct loader *l)
{
	int r = 0;

	for (size_t i = 0; i < settings_count && r == 0; i++) {
		struct config_source source = {.layer = CONFIG_DEFAULT, .setting = &settings[i]};

		if (settings[i].standard)
			r = config_set(&l->config, &source, settings[i].standard, l->problems);
	}
	return r;
}

#define BLANKS " \t\n"

/* No URL begins with a bracket, but a glob may: it does not end with one. */
static bool is_yaml_list(const struct setting *s, const char *text)
{
	size_t length = strlen(text);

	while (length && strchr(BLANKS, text[length - 1]))
		length--;
	return *text == '[' && (s->type == SETTING_COLLECTORS || text[length - 1] == ']');
}

/* A password may have blanks: where a word is none of a URL, an @ may be the end of one that began words before. */
static bool splits_password(const char *text, char *words)
{
	char *word, why[URL_WHY_MAX];
	struct collector_url url;
	bool wrong = false;

	while ((word = strsep(&words, BLANKS)))
		wrong |= *word && url_parse(word, &url, why) < 0;
	return wrong && strchr(text, '@');
}

/* Is told whole, so that the password is found and hidden. */
static int check_passwords(struct loader *l, const struct config_source *source, const char *text)
{
	_cleanup_(freep) char *copy = strdup(text);

	if (!copy)
		return -ENOMEM;
	if (source->setting->type != SETTING_COLLECTORS || !splits_password(text, copy))
		return 0;
	problems_at(
		l->problems, source,
		"'%s': a word of it is not a URL, or has a user name, which has no meaning here",
		text);
	return -EINVAL;
}

/* A list in one word of the environment or --set: in YAML, or words with blanks between them. */
static int set_list(struct loader *l, const struct config_source *source, const char *text)
{
	_cleanup_(freep) char *copy = strdup(text);
	char *rest = copy, *word;
	int r = copy ? 0 : -ENOMEM;

	if (is_yaml_list(source->setting, text))
		return config_read_list(&l->config, source, text, l->problems);
	r = r ?: check_passwords(l, source, text);
	if (r < 0)
		return r;
	config_list_begin(&l->config, source);
	while (r != -ENOMEM && (word = strsep(&rest, BLANKS))) {
		if (!*word)
			continue;
		r = (source->setting->type == SETTING_COLLECTORS
			     ? config_add_collector
			     : config_add_interface)(&l->config, source, word, l->problems);
	}
	return r;
}

static int set_value(struct loader *l, const struct config_source *source, const char *text)
{
	const struct config_origin *origin = &l->config.origins[setting_number(source->setting)];

	if (!setting_is_list(source->setting))
		return config_set(&l->config, source, text, l->problems);
	if (origin->layer == source->layer) {
		problems_at(l->problems, source, "'%s': given twice; it takes one list", text);
		return -EINVAL;
	}
	return set_list(l, source, text);
}

/* A variable that is meant for us, by all appearance, and is not. */
static void check_variable(struct loader *l, const char *variable, size_t length)
{
	char name[SETTING_ENVIRONMENT_MAX], hint[VALUE_HINT_MAX], written[SETTING_ENVIRONMENT_MAX];
	char names[CONFIG_SETTINGS_MAX][SETTING_ENVIRONMENT_MAX];
	struct value_guess guess = {0};

	snprintf(written, sizeof(written), "%.*s", (int)length, variable);
	if (!strcmp(written, ENVIRONMENT "CONFIG"))
		return; /* config_request_file() has it */
	if (!strcmp(written, ENVIRONMENT "SET")) {
		problems_warning(l->problems,
				 "%s: --set has no variable, ignored; write " ENVIRONMENT
				 "KEY=VALUE",
				 written);
		return;
	}
	for (size_t i = 0; i < settings_count; i++) {
		snprintf(names[i], sizeof(names[i]), "%s", setting_environment(&settings[i], name));
		if (setting_in_file(&settings[i]))
			value_guess_offer(&guess, written, names[i]);
	}
	if (guess.word)
		problems_warning(l->problems, "%s: no setting has this name, ignored%s", written,
				 value_guess_hint(&guess, hint));
}

static int set_variable(struct loader *l, const char *variable)
{
	size_t length = strcspn(variable, "=");
	char name[SETTING_ENVIRONMENT_MAX];

	for (size_t i = 0; i < settings_count; i++) {
		const struct config_source source = {.layer = CONFIG_ENVIRONMENT,
						     .setting = &settings[i]};

		setting_environment(&settings[i], name);
		if (!setting_in_file(&settings[i]) || strlen(name) != length ||
		    memcmp(name, variable, length) != 0)
			continue;
		/* Empty is as good as not set. */
		return variable[length] && variable[length + 1]
			       ? set_value(l, &source, variable + length + 1)
			       : 0;
	}
	check_variable(l, variable, length);
	return 0;
}

static int set_environment(struct loader *l)
{
	int r = 0;

	for (char *const *e = l->request->environment; e && *e && r != -ENOMEM; e++)
		if (!strncmp(*e, ENVIRONMENT, strlen(ENVIRONMENT)))
			r = set_variable(l, *e);
	return r == -ENOMEM ? r : 0;
}

/* Of --set: KEY=VALUE. */
static int set_pair(struct loader *l, const char *text)
{
	struct config_source source = {.layer = CONFIG_SET};
	size_t length = strcspn(text, "=");
	char key[64], hint[VALUE_HINT_MAX];
	struct value_guess guess = {0};

	snprintf(key, sizeof(key), "%.*s", (int)length, text);
	source.setting = setting_find(key);
	for (size_t i = 0; i < settings_count; i++)
		if (setting_in_file(&settings[i]))
			value_guess_offer(&guess, key, setting_key(&settings[i]));
	if (!text[length])
		problems_error(l->problems, "--set '%s': lacks its value; write --set KEY=VALUE",
			       text);
	else if (!source.setting)
		problems_error(l->problems,
			       "--set '%s': no such key; `flowtally config example` shows all%s",
			       text, value_guess_hint(&guess, hint));
	else
		return set_value(l, &source, text + length + 1);
	return -EINVAL;
}

static int set_option(struct loader *l, const struct config_assignment *a)
{
	const struct config_source source = {.layer = CONFIG_OPTION, .setting = a->setting};

	if (setting_is_list(a->setting) && !a->text) {
		config_list_begin(&l->config, &source);
		*(a->setting->type == SETTING_INTERFACES ? &l->config.interfaces_given
							 : &l->config.collectors_given) += 1;
		return 0;
	}
	if (a->setting->type == SETTING_INTERFACES)
		return config_add_interface(&l->config, &source, a->text, l->problems);
	if (a->setting->type == SETTING_COLLECTORS)
		return config_add_collector(&l->config, &source, a->text, l->problems);
	return config_set(&l->config, &source, a->text, l->problems);
}

static int set_options(struct loader *l, bool pairs)
{
	int r = 0;

	for (size_t i = 0; i < l->request->assignment_count && r != -ENOMEM; i++) {
		const struct config_assignment *a = &l->request->assignments[i];

		if (a->setting->type == SETTING_FILE || (a->setting->type == SETTING_PAIR) != pairs)
			continue;
		r = pairs ? set_pair(l, a->text) : set_option(l, a);
	}
	return r == -ENOMEM ? r : 0;
}

/* --- What no single value tells */

static const struct setting *find(const char *name)
{
	for (size_t i = 0; i < settings_count; i++)
		if (!strcmp(settings[i].name, name))
			return &settings[i];
	return NULL;
}

/* "--quiet", "f.yaml:3:1: quiet": where the value of a setting comes from. */
static const char *place(const struct loader *l, const char *name, char text[CONFIG_SOURCE_MAX])
{
	const struct setting *s = find(name);
	struct config_source source =
		config_source_of(&l->config, s, &l->config.origins[setting_number(s)]);

	return config_source_print(&source, text);
}

static struct config_source collector_source(const struct loader *l, size_t i)
{
	return config_source_of(&l->config, find("collector"), &l->config.collectors[i].origin);
}

/* One file for each of them, which no other deletes. */
static void check_other_files(struct loader *l, size_t i)
{
	const struct config *c = &l->config;
	struct config_source source = collector_source(l, i), other;
	const char *url = c->collectors[i].url;
	char place[CONFIG_SOURCE_MAX];

	for (size_t n = 0; n < c->collector_count; n++) {
		const char *theirs = c->collectors[n].url;

		other = collector_source(l, n);
		if (n < i && config_share_file(url, theirs)) {
			problems_at(l->problems, &source, "'%s': the same file as %s '%s'", url,
				    config_source_print(&other, place), theirs);
			break;
		}
		if (config_is_finished_name(url, theirs))
			problems_at(l->problems, &source,
				    "'%s': the name of a finished file of %s '%s'; choose another",
				    url, config_source_print(&other, place), theirs);
	}
}

/* Files are overwritten, so that nothing else may be in them that is wanted. */
static void check_files(struct loader *l)
{
	const struct config *c = &l->config;

	for (size_t i = 0; i < c->collector_count; i++) {
		struct config_source source = collector_source(l, i);
		const char *url = c->collectors[i].url, *why = config_cannot_rotate(url);

		if (why)
			problems_at(l->problems, &source,
				    "'%s': the file cannot be rotated, it %s; a regular file can",
				    url, why);
		if (c->capture && config_overwrites(url, c->capture))
			problems_at(l->problems, &source, "'%s': would overwrite the capture '%s'",
				    url, c->capture);
		if (c->path && config_overwrites(url, c->path))
			problems_at(l->problems, &source,
				    "'%s': would overwrite the configuration '%s'", url, c->path);
		check_other_files(l, i);
	}
}

static void check_run(struct loader *l)
{
	const struct config *c = &l->config;
	char one[CONFIG_SOURCE_MAX], other[CONFIG_SOURCE_MAX];
	struct config_source source;

	if (!c->interfaces_given && !l->request->partial)
		problems_error(l->problems,
			       "no interface: add --interface NAME%s, `ip link` lists them",
			       c->path ? ", or interfaces: [NAME] to the file" : "");
	/* A verb that runs says so by itself, whether the list is there or not. */
	if (l->request->partial && !c->collectors_given && !l->problems->errors &&
	    c->origins[setting_number(find("collector"))].layer != CONFIG_DEFAULT)
		problems_warning(l->problems,
				 "%s: an empty list; flows are metered and then forgotten",
				 place(l, "collector", one));
	for (size_t i = 0; c->live && i < c->collector_count; i++) {
		if (strcmp(c->collectors[i].url, "json:-") != 0)
			continue;
		source = collector_source(l, i);
		problems_error(l->problems,
			       "%s and %s json:- both need standard output, choose one",
			       place(l, "live", one), config_source_print(&source, other));
	}
	if (c->ingress == HOOK_MODE_OFF && c->egress == HOOK_MODE_OFF)
		problems_error(l->problems, "%s off %s off: nothing to meter; leave one of them on",
			       place(l, "ingress", one), place(l, "egress", other));
}

static void check_together(struct loader *l)
{
	const struct config *c = &l->config;
	char one[CONFIG_SOURCE_MAX], other[CONFIG_SOURCE_MAX];

	if (c->quiet && c->verbose)
		problems_error(l->problems, "%s and %s: choose one", place(l, "quiet", one),
			       place(l, "verbose", other));
	if (c->collectors_given > EXPORT_COLLECTORS_MAX)
		problems_error(l->problems, "%s: given %zu times; there can be %d",
			       place(l, "collector", one), c->collectors_given,
			       EXPORT_COLLECTORS_MAX);
	else
		check_files(l);
	if (l->request->verb == VERB_REPLAY && !c->capture)
		problems_error(l->problems,
			       "no capture: name a pcap or pcapng file, or - for standard input");
	if (l->request->verb == VERB_REPLAY && !c->collectors_given)
		problems_error(
			l->problems,
			"no collector: add --collector URL, such as json:- for standard output");
	if (l->request->verb & (VERB_RUN | VERB_SHOW))
		check_run(l);
}

/* --- The whole */

uint32_t config_default_domain(void)
{
	_cleanup_(fclosep) FILE *file = fopen("/etc/machine-id", "re");
	char text[256] = "";
	uint32_t domain;

	if (!file || !fgets(text, sizeof(text), file) || strlen(text) < 32)
		gethostname(text, sizeof(text) - 1);
	domain = (uint32_t)XXH3_64bits(text, strlen(text));
	return domain ? domain : 1;
}

/*
 * A bank needs room for each CPU.  A file may be for many machines, so that what is too few for this one is raised, and said,
 * and no reason not to start.
 */
static void fit_bank(struct loader *l, const char *key, uint32_t *entries, uint32_t standard)
{
	const uint32_t least = datapath_entries_min();

	if (!*entries) {
		*entries = MAX(standard, least);
	} else if (*entries < least) {
		problems_warning(l->problems,
				 "%s: %u are too few for the CPUs of this machine, which gets %u",
				 key, *entries, least);
		*entries = least;
	}
}

/* Those that depend on others or on the machine. */
static void set_late_defaults(struct loader *l)
{
	struct config *c = &l->config;

	if (!c->export.domain)
		c->export.domain = config_default_domain();
	fit_bank(l, "bank-entries", &c->bank_entries, BANK_DEFAULT);
	fit_bank(l, "drop-entries", &c->drop_entries, DROPS_DEFAULT);
	if (!c->drain_ns)
		c->drain_ns = MIN(c->live ? DRAIN_LIVE_NS : DRAIN_DEFAULT_NS,
				  MIN(c->idle_ns, c->active_ns));
}

static int load(struct loader *l)
{
	const struct config_request *q = l->request;
	const char *file = config_request_file(q);
	int r = set_defaults(l);

	if (r == 0 && q->capture) {
		l->config.capture = strdup(q->capture);
		r = l->config.capture ? 0 : -ENOMEM;
	}
	if (r == 0 && file) {
		l->config.path = strdup(file);
		r = l->config.path ? config_read_file(&l->config, file, l->problems) : -ENOMEM;
	}
	if (r != -ENOMEM)
		r = set_environment(l) ?: set_options(l, true) ?: set_options(l, false);
	if (r == -ENOMEM)
		return r;
	check_together(l);
	set_late_defaults(l);
	return l->problems->errors ? -EINVAL : 0;
}

int config_load(struct config *ret, const struct config_request *request, struct problems *problems)
{
	struct loader l = {.request = request, .problems = problems};
	int r = load(&l);

	if (r < 0) {
		config_clear(&l.config);
		return r;
	}
	*ret = l.config;
	return 0;
}
