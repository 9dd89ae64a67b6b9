/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <limits.h>
#include <string.h>
#include "config/set.h"
#include "exporter/export/transport/address.h"
#include "exporter/export/export.h"
#include "exporter/meter/drop_reason.h"
#include "exporter/observe/http.h"

/* What is being set, for the functions that read it. */
struct task {
	struct config *config;
	const struct config_source *source;
	const struct setting *setting;
	struct problems *problems;
	struct drop_reasons *names; /* of the running kernel; NULL until they are asked for */
};

#define refuse(t, ...) (problems_at((t)->problems, (t)->source, __VA_ARGS__), -EINVAL)

static void *field(const struct task *t)
{
	return (char *)t->config + t->setting->offset;
}

static void store(const struct task *t, uint64_t value)
{
	if (t->setting->size == 1)
		*(uint8_t *)field(t) = (uint8_t)value;
	else if (t->setting->size == 2)
		*(uint16_t *)field(t) = (uint16_t)value;
	else if (t->setting->size == 4)
		*(uint32_t *)field(t) = (uint32_t)value;
	else
		*(uint64_t *)field(t) = value;
}

static int store_text(const struct task *t, const char *text)
{
	char *copy = strdup(text);

	if (!copy)
		return -ENOMEM;
	free(*(char **)field(t));
	*(char **)field(t) = copy;
	return 0;
}

/* --- Values of each type */

static int set_flag(const struct task *t, const char *text)
{
	static const char *const words[] = {"false", "true", "no", "yes", "off", "on"};
	struct value_guess guess = {0};
	char hint[VALUE_HINT_MAX];

	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		value_guess_offer(&guess, text, words[i]);
		if (strcmp(words[i], text) != 0)
			continue;
		*(bool *)field(t) = i % 2;
		return 0;
	}
	return refuse(t, "'%s': neither true nor false%s", text, value_guess_hint(&guess, hint));
}

static int set_duration(const struct task *t, const char *text)
{
	const struct setting *s = t->setting;
	char min[VALUE_TEXT_MAX], max[VALUE_TEXT_MAX];
	uint64_t ns;

	if (value_number(text, &ns) == 0)
		return refuse(t, "'%s': lacks a unit; write ms, s, m or h behind the number", text);
	if (value_duration(text, &ns) < 0)
		return refuse(t, "'%s': not a time; write one like 500ms, 15s, 2m or 1h", text);
	if (ns < s->min || ns > s->max) {
		value_print_duration(min, s->min);
		value_print_duration(max, s->max);
		return refuse(t, "'%s': out of range; it can be %s to %s", text, min, max);
	}
	store(t, ns);
	return 0;
}

static int set_amount(const struct task *t, const char *text,
		      int (*read)(const char *text, uint64_t *ret), const char *what)
{
	uint64_t value, min = t->setting->min;
	bool limit = t->setting->type == SETTING_LIMIT;
	const char *off = limit ? ", or off" : "";

	if (limit && (!strcmp(text, "off") || !strcmp(text, "0"))) {
		store(t, 0);
		return 0;
	}
	if (read(text, &value) < 0)
		return refuse(t, "'%s': not a %s; it can be %llu to %llu%s", text, what,
			      (unsigned long long)min, (unsigned long long)t->setting->max, off);
	if (value < min || value > t->setting->max)
		return refuse(t, "'%s': out of range; it can be %llu to %llu%s", text,
			      (unsigned long long)min, (unsigned long long)t->setting->max, off);
	store(t, value);
	return 0;
}

static const struct setting_word *find_word(const struct setting *s, const char *text,
					    struct value_guess *guess)
{
	for (const struct setting_word *w = s->words; w->word; w++) {
		if (!strcmp(w->word, text))
			return w;
		value_guess_offer(guess, text, w->word);
	}
	return NULL;
}

static int set_word(const struct task *t, const char *text)
{
	char words[SETTING_WORDS_MAX], hint[VALUE_HINT_MAX];
	struct value_guess guess = {0};
	const struct setting_word *word = find_word(t->setting, text, &guess);

	if (!word)
		return refuse(t, "'%s': no such word; it can be %s%s", text,
			      setting_words(t->setting, words), value_guess_hint(&guess, hint));
	store(t, word->value);
	return 0;
}

/* Words with commas between them; `check` says what is wrong with one. */
static int set_list(struct task *t, const char *text,
		    int (*check)(struct task *t, const char *word))
{
	_cleanup_(freep) char *copy = strdup(text);
	char *rest = copy, *word;
	int r = copy ? 0 : -ENOMEM;

	while (!problems_full(t->problems) && (word = strsep(&rest, ",")))
		r = check(t, word) ?: r;
	return r ?: store_text(t, text);
}

static int check_feature(struct task *t, const char *word)
{
	char words[SETTING_WORDS_MAX], hint[VALUE_HINT_MAX];
	struct value_guess guess = {0};

	if (find_word(t->setting, word, &guess))
		return 0;
	return refuse(t, "'%s': no such feature; there is %s%s", word,
		      setting_words(t->setting, words), value_guess_hint(&guess, hint));
}

static int check_reason(struct task *t, const char *word)
{
	char hint[VALUE_HINT_MAX];
	struct value_guess guess = {0};
	enum drop_class class;

	if (drop_class_parse(&class, word) == 0 || drop_reason_text(word))
		return 0;
	if (!t->names)
		(void)drop_reasons_new(&t->names, NULL); /* it may have others */
	if (t->names && drop_reasons_find(t->names, word))
		return 0;
	for (unsigned int i = 0; i < _DROP_CLASS_MAX; i++)
		value_guess_offer(&guess, word, drop_class_name((enum drop_class)i));
	for (unsigned int i = 0; i < drop_reason_text_count; i++)
		value_guess_offer(&guess, word, drop_reason_texts[i].name);
	for (unsigned int i = 0; t->names && i < drop_reasons_count(t->names); i++)
		value_guess_offer(&guess, word, drop_reasons_at(t->names, i)->name);
	return refuse(t, "'%s': neither a class nor a reason; flowtally-drops(8) lists them%s",
		      word, value_guess_hint(&guess, hint));
}

static int set_template(const struct task *t, const char *text)
{
	const char *why;

	if (!exports_template_valid(text, &why))
		return refuse(t, "'%s': %s", text, why);
	return store_text(t, text);
}

static int set_address(const struct task *t, const char *text)
{
	char why[ADDRESS_WHY_MAX];
	struct ip_address address;

	if (address_parse(text, &address, why) < 0)
		return refuse(t, ": %s", why);
	return store_text(t, text);
}

static int set_socket(const struct task *t, const char *text)
{
	size_t length = strlen(text);

	if (!strcmp(text, "off"))
		return store_text(t, text);
	if (*text != '/')
		return refuse(t, "'%s': the path must be absolute; or off", text);
	if (text[length - 1] == '/' || length >= PATH_MAX)
		return refuse(t, "'%s': no path of a socket", text);
	return store_text(t, text);
}

static int set_folder(const struct task *t, const char *text)
{
	if (*text != '/' || strlen(text) >= PATH_MAX)
		return refuse(t, "'%s': the path must be absolute", text);
	return store_text(t, text);
}

static int set_listen(const struct task *t, const char *text)
{
	char why[HTTP_WHY_MAX];
	struct ip_address address;
	uint16_t port;

	if (strcmp(text, "off") != 0 && http_listen_parse(text, &address, &port, why) < 0)
		return refuse(t, "'%s': %s", text, why);
	return store_text(t, text);
}

static int set_prefix(const struct task *t, const char *text)
{
	if (value_prefix(text, field(t)) < 0)
		return refuse(
			t,
			"'%s': neither an address nor a prefix such as 192.0.2.0/24 or 2001:db8::/32",
			text);
	return 0;
}

static int set_value(struct task *t, const char *text)
{
	switch (t->setting->type) {
	case SETTING_FLAG:
		return set_flag(t, text);
	case SETTING_DURATION:
		return set_duration(t, text);
	case SETTING_NUMBER:
		return set_amount(t, text, value_number, "number");
	case SETTING_SIZE:
		return set_amount(t, text, value_size, "size");
	case SETTING_RATE:
	case SETTING_LIMIT:
		return set_amount(t, text, value_rate, "rate");
	case SETTING_WORD:
		return set_word(t, text);
	case SETTING_REASONS:
		return set_list(t, text, check_reason);
	case SETTING_FEATURES:
		return set_list(t, text, check_feature);
	case SETTING_TEMPLATE:
		return set_template(t, text);
	case SETTING_SOCKET:
		return set_socket(t, text);
	case SETTING_FOLDER:
		return set_folder(t, text);
	case SETTING_GROUP:
		return *text ? store_text(t, text) : refuse(t, ": empty; a group is needed");
	case SETTING_LISTEN:
		return set_listen(t, text);
	case SETTING_ADDRESS:
		return set_address(t, text);
	case SETTING_PREFIX:
		return set_prefix(t, text);
	case SETTING_INTERFACES:
	case SETTING_COLLECTORS:
	case SETTING_FILE:
	case SETTING_PAIR:
		break;
	}
	return -EINVAL;
}

static struct config_origin origin_of(const struct config_source *source)
{
	return (struct config_origin){
		.layer = source->layer, .line = source->line, .column = source->column};
}

int config_set(struct config *config, const struct config_source *source, const char *text,
	       struct problems *problems)
{
	struct task t = {.config = config,
			 .source = source,
			 .setting = source->setting,
			 .problems = problems};
	struct config_origin *origin = &config->origins[setting_number(source->setting)];
	int r;

	/* A flag on the command line says the same each time. */
	if (source->layer != CONFIG_DEFAULT && origin->layer == source->layer && text) {
		if (origin->line)
			return refuse(&t, "'%s': given twice; line %u has it already", text,
				      origin->line);
		return refuse(&t, "'%s': given twice; it takes one value", text);
	}
	*origin = origin_of(source); /* a wrong one too: a second is no better */
	r = set_value(&t, text ? text : source->setting->type == SETTING_FLAG ? "true" : "");
	drop_reasons_freep(&t.names);
	return r;
}

/* --- Interfaces and collectors */

static void clear_interfaces(struct config *config)
{
	for (size_t i = 0; i < config->interface_count; i++)
		free(config->interfaces[i]);
	free(config->interfaces);
	config->interfaces = NULL;
	config->interface_count = config->interfaces_given = 0;
}

static void clear_collectors(struct config *config)
{
	for (size_t i = 0; i < config->collector_count; i++) {
		free(config->collectors[i].url);
		free(config->collectors[i].name);
	}
	free(config->collectors);
	config->collectors = NULL;
	config->collector_count = config->collectors_given = 0;
}

void config_list_begin(struct config *config, const struct config_source *source)
{
	struct config_origin *origin = &config->origins[setting_number(source->setting)];

	if (origin->layer == source->layer)
		return;
	*origin = origin_of(source);
	if (source->setting->type == SETTING_INTERFACES)
		clear_interfaces(config);
	else
		clear_collectors(config);
}

/* One more element, all 0; at powers of two there is no room left.  NULL without memory. */
static void *grow(void *array, size_t count, size_t size)
{
	char *larger = array;

	if (!(count & (count - 1)))
		larger = reallocarray(array, count ? 2 * count : 1, size);
	if (larger)
		memset(larger + count * size, 0, size);
	return larger;
}

int config_add_interface(struct config *config, const struct config_source *source,
			 const char *text, struct problems *problems)
{
	const struct task t = {.source = source, .problems = problems};
	char **list, *copy;

	config_list_begin(config, source);
	config->interfaces_given++;
	if (!*text || strpbrk(text, "/ \t\n") || !strcmp(text, ".") || !strcmp(text, "..") ||
	    (strchr(text, ':') && !strpbrk(text, "*?["))) /* dev_valid_name() of the kernel */
		return refuse(&t, "'%s': no interface can have this name; `ip link` lists them",
			      text);
	if (strlen(text) >= IFNAMSIZ && !strpbrk(text, "*?["))
		return refuse(&t, "'%s': longer than the %d letters of an interface name", text,
			      IFNAMSIZ - 1);
	copy = strdup(text);
	list = copy ? grow(config->interfaces, config->interface_count, sizeof(*list)) : NULL;
	if (!list) {
		free(copy);
		return -ENOMEM;
	}
	config->interfaces = list;
	list[config->interface_count++] = copy;
	return 0;
}

int config_add_collector(struct config *config, const struct config_source *source, const char *url,
			 struct problems *problems)
{
	const struct task t = {.source = source, .problems = problems};
	_cleanup_(freep) char *copy = strdup(url);
	struct config_collector *list;
	struct collector_url parsed;
	char why[URL_WHY_MAX];
	const char *reason;

	config_list_begin(config, source);
	config->collectors_given++;
	if (!exports_url_valid(url, &reason))
		return refuse(&t, "'%s': %s", url, reason);
	if (config->collector_count == EXPORT_COLLECTORS_MAX)
		return -EINVAL; /* said when all are counted */
	list = copy ? grow(config->collectors, config->collector_count, sizeof(*list)) : NULL;
	if (!list || url_parse(url, &parsed, why) < 0)
		return -ENOMEM;
	config->collectors = list;
	list[config->collector_count++] = (struct config_collector){
		.url = TAKE_PTR(copy), .options = parsed.options, .origin = origin_of(source)};
	return 0;
}

static int set_name(const struct task *t, struct config_collector *c, const char *text)
{
	const struct config *config = t->config;
	char *copy;

	if (!*text || strlen(text) > 63)
		return refuse(t, "'%s': not a name; it has 1 to 63 characters", text);
	for (size_t i = 0; i < config->collector_count; i++)
		if (config->collectors[i].name && !strcmp(config->collectors[i].name, text))
			return refuse(t, "'%s': another collector has this name", text);
	copy = strdup(text);
	if (!copy)
		return -ENOMEM;
	free(c->name);
	c->name = copy;
	return 0;
}

/* Of what a collector of this scheme does not heed nothing is to be said. */
static int check_scheme(const struct task *t, const struct config_collector *c)
{
	struct collector_url parsed;
	char why[URL_WHY_MAX];

	if (!c->url || url_parse(c->url, &parsed, why) < 0)
		return 0;
	for (unsigned int i = 0; url_option_name(i); i++)
		if (!strcmp(url_option_name(i), t->source->within) &&
		    !url_option_applies(i, parsed.scheme))
			return refuse(t, ": of no use to '%s'; collectors elsewhere have it",
				      c->url);
	return 0;
}

int config_set_collector(const struct config *config, struct config_collector *c,
			 const struct config_source *source, const char *text,
			 struct problems *problems)
{
	const struct task t = {
		.config = (struct config *)config, .source = source, .problems = problems};
	const char *key = source->within, *why_template;
	char why[URL_WHY_MAX];
	int r;

	if (!strcmp(key, "name"))
		return set_name(&t, c, text);
	r = check_scheme(&t, c);
	if (r < 0)
		return r;
	if (!strcmp(key, "template") && !exports_template_valid(text, &why_template))
		return refuse(&t, "'%s': %s", text, why_template);
	if (url_option_set(&c->options, key, text, why) < 0)
		return refuse(&t, ": %s", why);
	return 0;
}

size_t config_collector_keys(const char *ret[CONFIG_COLLECTOR_KEYS_MAX])
{
	size_t count = 0;

	ret[count++] = "url";
	for (unsigned int i = 0; i < _PART_MAX; i++)
		ret[count++] = config_part_name((enum config_part_key)i);
	ret[count++] = "name";
	for (unsigned int i = 0; url_option_name(i); i++)
		ret[count++] = url_option_name(i);
	return count;
}

void config_clear(struct config *config)
{
	clear_interfaces(config);
	clear_collectors(config);
	free(config->path);
	free(config->capture);
	free((char *)config->export.template);
	free((char *)config->export.source);
	free(config->control_socket);
	free(config->control_group);
	free(config->drops_include);
	free(config->drops_exclude);
	free(config->metrics_listen);
	free(config->sandbox_folder);
	free(config->mask);
	*config = (struct config){0};
}
