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

static int has_item(const struct config *config, const struct setting *s, const char *text)
{
	for (size_t i = 0; i < item_count(config, s); i++) {
		_cleanup_(freep) char *other = item_text(config, s, i);

		if (!other)
			return -ENOMEM;
		if (!strcmp(other, text))
			return 1;
	}
	return 0;
}

/* What is in `one` and not in `other`. */
static int print_items(FILE *file, const struct setting *s, char sign, const struct config *one,
		       const struct config *other, size_t *count)
{
	for (size_t i = 0; i < item_count(one, s); i++) {
		_cleanup_(freep) char *text = item_text(one, s, i);
		int r = text ? has_item(other, s, text) : -ENOMEM;

		if (r < 0)
			return r;
		if (r > 0)
			continue;
		fprintf(file, "%s: %c %s\n", setting_key(s), sign, text);
		++*count;
	}
	return 0;
}

static int print_change(FILE *file, const struct setting *s, const struct config *before,
			const struct config *after, size_t *count)
{
	_cleanup_(freep) char *a = NULL, *b = NULL;
	int r = setting_print(s, before, &a) ?: setting_print(s, after, &b);

	if (r < 0 || !strcmp(a ?: "", b ?: ""))
		return r;
	fprintf(file, "%s: %s -> %s%s\n", s->name, a ?: "not set", b ?: "not set",
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
			r = print_items(file, s, '-', before, after, &count)
				    ?: print_items(file, s, '+', after, before, &count);
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
	      "#  - netflow9://192.0.2.21:2055\n",
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
