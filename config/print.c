/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>
#include "config/print.h"
#include "config/problems.h"
#include "config/set.h"
#include "config/yaml.h"

#define COMMENT_COLUMN 40
#define COMMENT_WIDTH  100

/* Text that a YAML reader reads as that text, never as a number or a truth. */
static void print_text(FILE *file, const char *text)
{
	if (yaml_is_plain(text)) {
		fputs(text, file);
		return;
	}
	fputc('"', file);
	for (; *text; text++) {
		if (*text == '"' || *text == '\\')
			fprintf(file, "\\%c", *text);
		else if ((unsigned char)*text < 0x20 || *text == 0x7f)
			fprintf(file, "\\x%02x", (unsigned char)*text);
		else
			fputc(*text, file);
	}
	fputc('"', file);
}

/* Whether the values are words, which a reader could take for something else. */
static bool is_text(const struct setting *s)
{
	return s->type == SETTING_WORD || s->type == SETTING_LIMIT ||
	       (s->type >= SETTING_REASONS && s->type <= SETTING_ADDRESS);
}

static void print_value(FILE *file, const struct setting *s, const char *text)
{
	if (is_text(s) && !(s->type == SETTING_LIMIT && *text >= '0' && *text <= '9'))
		print_text(file, text);
	else
		fputs(text, file);
}

/* --- A configuration */

/* What is said of the collector beside its URL, each in a call. */
static void each_option(const struct config_collector *c, FILE *file,
			void (*print)(FILE *file, const char *key, const char *value))
{
	struct collector_url parsed = {.options = URL_OPTIONS_NONE};
	char why[URL_WHY_MAX], text[VALUE_TEXT_MAX];

	(void)url_parse(c->url, &parsed, why);
	if (c->name)
		print(file, "name", c->name);
	for (unsigned int i = 0; url_option_name(i); i++)
		if (url_option_said(i, &c->options) && !url_option_said(i, &parsed.options))
			print(file, url_option_name(i), url_option_print(i, &c->options, text));
}

static bool is_number(const char *text)
{
	return *text && strspn(text, "0123456789") == strlen(text);
}

static void print_option_line(FILE *file, const char *key, const char *value)
{
	fprintf(file, "    %s: ", key);
	if (strcmp(key, "name") != 0 && (is_number(value) || !strcmp(key, "rate")))
		fputs(value, file);
	else
		print_text(file, value);
	fputc('\n', file);
}

/* The origin as a comment behind what was printed since `start`. */
static void print_origin(FILE *file, const struct config *config, const struct setting *s,
			 const struct config_origin *origin, long start)
{
	struct config_source source = config_source_of(config, s, origin);
	char text[CONFIG_SOURCE_MAX];
	long used = ftell(file) - start;

	config_source_print(&source, text);
	if (origin->layer == CONFIG_FILE) /* the key stands there already */
		text[strlen(text) - strlen(setting_key(s)) - 2] = '\0';
	fprintf(file, "%*s# %s\n", (int)MAX(COMMENT_COLUMN - used, 2), "",
		origin->layer == CONFIG_DEFAULT ? "default" : text);
}

static void print_list(FILE *file, const struct config *config, const struct setting *s)
{
	size_t count = s->type == SETTING_INTERFACES ? config->interface_count
						     : config->collector_count;
	long start = ftell(file);

	fprintf(file, "%s:%s", setting_key(s), count ? "" : " []");
	print_origin(file, config, s, &config->origins[setting_number(s)], start);
	for (size_t i = 0; i < count; i++) {
		bool interface = s->type == SETTING_INTERFACES;

		fputs(interface ? "  - " : "  - url: ", file);
		print_text(file, interface ? config->interfaces[i] : config->collectors[i].url);
		fputc('\n', file);
		if (!interface)
			each_option(&config->collectors[i], file, print_option_line);
	}
}

static int print_setting(FILE *file, const struct config *config, const struct setting *s)
{
	_cleanup_(freep) char *text = NULL;
	long start = ftell(file);
	int r = setting_print(s, config, &text);

	if (r < 0)
		return r;
	if (text) {
		fprintf(file, "%s: ", s->name);
		print_value(file, s, text);
	} else {
		fprintf(file, "# %s:", s->name);
	}
	print_origin(file, config, s, &config->origins[setting_number(s)], start);
	return 0;
}

int config_print(FILE *file, const struct config *config, bool all)
{
	int r = 0;

	for (size_t i = 0; i < settings_count && r == 0; i++) {
		const struct setting *s = &settings[i];

		if (!setting_in_file(s) || (!all && config->origins[i].layer == CONFIG_DEFAULT))
			continue;
		if (setting_is_list(s))
			print_list(file, config, s);
		else
			r = print_setting(file, config, s);
	}
	return r;
}

/* --- The difference of two */

static void print_option_inline(FILE *file, const char *key, const char *value)
{
	fprintf(file, ", %s: ", key);
	print_text(file, value);
}

/* An interface or collector in one line, on the heap. */
static char *item_text(const struct config *config, const struct setting *s, size_t i)
{
	char *text = NULL;
	size_t size;
	FILE *file = open_memstream(&text, &size);

	if (!file)
		return NULL;
	if (s->type == SETTING_INTERFACES) {
		fputs(config->interfaces[i], file);
	} else {
		fputs(config->collectors[i].url, file);
		each_option(&config->collectors[i], file, print_option_inline);
	}
	if (fclose(file) == 0)
		return text;
	free(text);
	return NULL;
}

static size_t item_count(const struct config *config, const struct setting *s)
{
	return s->type == SETTING_INTERFACES ? config->interface_count : config->collector_count;
}

/* The items of a list in order of their text, so that two lists are compared in one walk. */
struct item {
	char *text;
	const struct config_collector *collector; /* NULL: an interface */
};

struct items {
	struct item *list;
	size_t count;
};

static void items_clear(struct items *items)
{
	for (size_t i = 0; i < items->count; i++)
		free(items->list[i].text);
	free(items->list);
}

static int compare_items(const void *a, const void *b)
{
	return strcmp(((const struct item *)a)->text, ((const struct item *)b)->text);
}

static int items_of(struct items *items, const struct config *config, const struct setting *s)
{
	size_t count = item_count(config, s);

	items->list = calloc(MAX(count, 1u), sizeof(*items->list));
	if (!items->list)
		return -ENOMEM;
	for (; items->count < count; items->count++) {
		struct item *item = &items->list[items->count];

		item->text = item_text(config, s, items->count);
		if (s->type == SETTING_COLLECTORS)
			item->collector = &config->collectors[items->count];
		if (!item->text)
			return -ENOMEM;
	}
	qsort(items->list, count, sizeof(*items->list), compare_items);
	return 0;
}

/* Leaves in each what the other does not have, as often as it is there. */
static void drop_common(struct items *before, struct items *after)
{
	size_t a = 0, b = 0, kept_a = 0, kept_b = 0;

	while (a < before->count || b < after->count) {
		int order = a == before->count	? 1
			    : b == after->count ? -1
						: compare_items(&before->list[a], &after->list[b]);

		if (order == 0) {
			free(before->list[a++].text);
			free(after->list[b++].text);
		} else if (order < 0) {
			before->list[kept_a++] = before->list[a++];
		} else {
			after->list[kept_b++] = after->list[b++];
		}
	}
	before->count = kept_a;
	after->count = kept_b;
}

/* It is the same one while its name is, or without a name its URL up to the options. */
static bool is_same_collector(const struct config_collector *a, const struct config_collector *b)
{
	size_t length = strcspn(a->url, "?");

	if (a->name || b->name)
		return a->name && b->name && !strcmp(a->name, b->name);
	return strcspn(b->url, "?") == length && !memcmp(a->url, b->url, length);
}

/* The text of the item that stands in the place of this one, taken out of `after`; NULL: there is none. */
static char *take_changed(const struct item *item, struct items *after)
{
	for (size_t i = 0; item->collector && i < after->count; i++) {
		char *text = after->list[i].text;

		if (!is_same_collector(item->collector, after->list[i].collector))
			continue;
		after->count--;
		memmove(&after->list[i], &after->list[i + 1],
			(after->count - i) * sizeof(*after->list));
		return text;
	}
	return NULL;
}

static int print_items(FILE *file, const struct setting *s, const struct config *before,
		       const struct config *after, size_t *count)
{
	_cleanup_(items_clear) struct items old = {0}, new = {0};
	int r = items_of(&old, before, s) ?: items_of(&new, after, s);

	if (r < 0)
		return r;
	drop_common(&old, &new);
	*count += old.count;
	for (size_t i = 0; i < old.count; i++) {
		_cleanup_(freep) char *changed = take_changed(&old.list[i], &new);

		if (changed)
			fprintf(file, "%s: %s, was %s\n", s->name, changed, old.list[i].text);
		else
			fprintf(file, "%s: %s is removed\n", s->name, old.list[i].text);
	}
	*count += new.count;
	for (size_t i = 0; i < new.count; i++)
		fprintf(file, "%s: %s is added\n", s->name, new.list[i].text);
	return 0;
}

static int print_change(FILE *file, const struct setting *s, const struct config *before,
			const struct config *after, size_t *count)
{
	_cleanup_(freep) char *a = NULL, *b = NULL;
	int r = setting_print(s, before, &a) ?: setting_print(s, after, &b);

	if (r < 0 || !strcmp(a ?: "", b ?: ""))
		return r;
	fprintf(file, "%s: %s, was %s%s\n", s->name, b ?: "not set", a ?: "not set",
		s->reload == RELOAD_NEVER ? " (takes a restart)" : "");
	++*count;
	return 0;
}

int config_print_difference(FILE *file, const struct config *before, const struct config *after,
			    size_t *ret)
{
	size_t count = 0;
	int r = 0;

	for (size_t i = 0; i < settings_count && r == 0; i++) {
		const struct setting *s = &settings[i];

		if (!setting_in_file(s))
			continue;
		if (setting_is_list(s))
			r = print_items(file, s, before, after, &count);
		else
			r = print_change(file, s, before, after, &count);
	}
	if (r == 0)
		*ret = count;
	return r;
}

/* --- The example */

/* A comment of as many lines as it takes. */
static void print_comment(FILE *file, const char *text)
{
	size_t width = 0;

	while (*text) {
		size_t length = strcspn(text, " ");

		if (width && width + 1 + length > COMMENT_WIDTH - 2) {
			fputc('\n', file);
			width = 0;
		}
		fprintf(file, "%s%.*s", width ? " " : "# ", (int)length, text);
		width += length + (width > 0);
		text += length;
		text += strspn(text, " ");
	}
	fputc('\n', file);
}

static void print_example_list(FILE *file, const struct setting *s)
{
	fprintf(file, "#%s:\n", setting_key(s));
	if (s->type == SETTING_INTERFACES) {
		fprintf(file, "#  - eth0\n#  - ");
		print_text(file, s->sample);
		fputc('\n', file);
		return;
	}
	fprintf(file, "#  - url: %s\n", s->sample);
	fputs("#    name: main\n#    template: extended\n#    rate: 20k/s\n"
	      "#  - protocol: netflow9\n#    host: 192.0.2.21\n#    port: 2055\n"
	      "#  - \"json:///var/lib/flowtally/flows.json\"\n",
	      file);
}

void config_print_example(FILE *file)
{
	fputs("# SPDX-License-Identifier: Apache-2.0\n"
	      "# The configuration of `flowtally run --config FILE`, with all keys and their defaults.\n"
	      "# A key with # in front has no default that is fixed; its value here is an example.\n"
	      "# Each can also be given as an option --KEY VALUE, as --set KEY=VALUE, and as a variable\n"
	      "# FLOWTALLY_KEY of the environment. Options count more than --set, that more than the\n"
	      "# environment, and all more than this file. `flowtally config check FILE` tells mistakes.\n",
	      file);
	for (size_t i = 0; i < settings_count; i++) {
		const struct setting *s = &settings[i];

		if (!setting_in_file(s))
			continue;
		fputc('\n', file);
		print_comment(file, s->help);
		if (setting_is_list(s)) {
			print_example_list(file, s);
			continue;
		}
		if (s->type == SETTING_FLAG) {
			fprintf(file, "%s: false\n", s->name);
			continue;
		}
		fprintf(file, "%s%s: ", s->standard ? "" : "#", s->name);
		print_value(file, s, s->standard ? s->standard : s->sample);
		fputc('\n', file);
	}
}
