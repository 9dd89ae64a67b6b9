/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <jansson.h>
#include <string.h>
#include "config/print.h"
#include "config/set.h"

#define TIME_PATTERN   "^[0-9]+(ms|s|m|h)$"
#define RATE_PATTERN   "^[0-9]+[kM]?(/s)?$"
#define LISTEN_PATTERN "^(\\[[0-9a-fA-F:.]+(%.+)?\\]|[0-9.]+|localhost):[0-9]+$"
#define SIZE_PATTERN   "^[0-9]+(B|kB|KB|MB|GB|KiB|MiB|GiB)?$"

static json_t *integer(uint64_t min, uint64_t max)
{
	return json_pack("{s:s,s:I,s:I}", "type", "integer", "minimum", (json_int_t)min, "maximum",
			 (json_int_t)max);
}

static json_t *pattern(const char *text)
{
	return json_pack("{s:s,s:s}", "type", "string", "pattern", text);
}

/* Readers of YAML 1.1 make truths of on and off. */
static json_t *words(const struct setting_word *word)
{
	json_t *list = json_array();

	for (; word->word; word++) {
		json_array_append_new(list, json_string(word->word));
		if (!strcmp(word->word, "off"))
			json_array_append_new(list, json_false());
		if (!strcmp(word->word, "on"))
			json_array_append_new(list, json_true());
	}
	return json_pack("{s:o}", "enum", list);
}

static json_t *type_of(const struct setting *s);

static json_t *protocols(bool of_network)
{
	json_t *list = json_array();
	const char *name;
	bool network;

	for (size_t i = 0; (name = config_protocol(i, &network)); i++)
		if (network == of_network)
			json_array_append_new(list, json_string(name));
	return json_pack("{s:o}", "enum", list);
}

/* None of these keys. */
static json_t *without(const char *a, const char *b, const char *c)
{
	return json_pack("{s:[{s:[s]},{s:[s]},{s:[s]}]}", "anyOf", "required", a, "required", b,
			 "required", c);
}

/* What names a collector: its URL, or one of two sets of parts. */
static json_t *ways(void)
{
	return json_pack("[{s:[s],s:o,s:o},{s:[ss],s:{s:o},s:o},{s:[ss],s:{s:o},s:o}]", "required",
			 "url", "not", without("protocol", "host", "path"), "dependencies",
			 json_pack("{s:[s]}", "port", "host"), "required", "protocol", "host",
			 "properties", "protocol", protocols(true), "not",
			 without("url", "path", "path"), "required", "protocol", "path",
			 "properties", "protocol", protocols(false), "not",
			 without("url", "host", "port"));
}

/* Of a mapping; the settings that a URL can say are as they are for all. */
static json_t *collector(void)
{
	json_t *keys = json_pack("{s:{s:s},s:{s:s,s:i,s:i}}", "url", "type", "string", "name",
				 "type", "string", "minLength", 1, "maxLength", 63);
	static const struct setting_word on_or_off[] = {{"on", 0}, {"off", 0}, {NULL, 0}};
	const char *names[CONFIG_COLLECTOR_KEYS_MAX];
	size_t count = config_collector_keys(names);

	for (size_t i = 0; i < count; i++)
		if (!strcmp(names[i], config_part_name(PART_PROTOCOL)))
			json_object_set_new(keys, names[i],
					    json_pack("{s:s}", "type", "string")); /* ways() */
		else if (!strcmp(names[i], config_part_name(PART_PORT)))
			json_object_set_new(keys, names[i], integer(1, 65535));
		else if (!strcmp(names[i], config_part_name(PART_HOST)) ||
			 !strcmp(names[i], config_part_name(PART_PATH)))
			json_object_set_new(keys, names[i], json_pack("{s:s}", "type", "string"));
		else if (!strcmp(names[i], "drops")) /* without the setting's auto */
			json_object_set_new(keys, names[i], words(on_or_off));
		else if (setting_find(names[i]))
			json_object_set_new(keys, names[i], type_of(setting_find(names[i])));
		else if (!strcmp(names[i], "retry"))
			json_object_set_new(keys, names[i],
					    json_pack("{s:[o,o]}", "anyOf", integer(1, 3600),
						      pattern(TIME_PATTERN)));
		else if (!strcmp(names[i], "rotate"))
			json_object_set_new(keys, names[i],
					    json_pack("{s:[{s:s},{s:i}]}", "anyOf", "type",
						      "string", "const", 0));
		else if (!strcmp(names[i], "keep"))
			json_object_set_new(keys, names[i], integer(0, URL_KEEP_MAX));
	return json_pack("{s:[{s:s},{s:s,s:o,s:o,s:b}]}", "anyOf", "type", "string", "type",
			 "object", "properties", keys, "oneOf", ways(), "additionalProperties",
			 false);
}

static json_t *type_of(const struct setting *s)
{
	static const struct setting_word off[] = {{"off", 0}, {NULL, 0}};

	switch (s->type) {
	case SETTING_FLAG:
		return json_pack("{s:s}", "type", "boolean");
	case SETTING_DURATION:
		return pattern(TIME_PATTERN);
	case SETTING_NUMBER:
		return integer(s->min, s->max);
	case SETTING_SIZE:
		return json_pack("{s:[o,o]}", "anyOf", integer(s->min, s->max),
				 pattern(SIZE_PATTERN));
	case SETTING_RATE:
		return json_pack("{s:[o,o]}", "anyOf", integer(s->min, s->max),
				 pattern(RATE_PATTERN));
	case SETTING_LIMIT:
		return json_pack("{s:[o,o,o]}", "anyOf", integer(0, s->max), pattern(RATE_PATTERN),
				 words(off));
	case SETTING_SOCKET:
		return json_pack("{s:[{s:s},o]}", "anyOf", "type", "string", words(off));
	case SETTING_WORD:
		return words(s->words);
	case SETTING_INTERFACES:
		return json_pack("{s:s,s:{s:s,s:i}}", "type", "array", "items", "type", "string",
				 "minLength", 1);
	case SETTING_COLLECTORS:
		return json_pack("{s:s,s:i,s:o}", "type", "array", "maxItems",
				 EXPORT_COLLECTORS_MAX, "items", collector());
	case SETTING_LISTEN:
		return json_pack("{s:[o,o]}", "anyOf", pattern(LISTEN_PATTERN), words(off));
	case SETTING_REASONS:
	case SETTING_FEATURES:
	case SETTING_TEMPLATE:
	case SETTING_GROUP:
	case SETTING_ADDRESS:
	case SETTING_PREFIX:
	case SETTING_FILE:
	case SETTING_PAIR:
		break;
	}
	return json_pack("{s:s}", "type", "string");
}

/* As a reader of YAML has it. */
static json_t *standard(const struct setting *s)
{
	uint64_t value;

	if (s->type == SETTING_FLAG)
		return json_false();
	if (!s->standard)
		return NULL;
	return value_number(s->standard, &value) == 0 ? json_integer((json_int_t)value)
						      : json_string(s->standard);
}

static json_t *property(const struct setting *s)
{
	json_t *type = type_of(s), *value = standard(s);

	json_object_set_new(type, "description", json_string(s->help));
	if (value)
		json_object_set_new(type, "default", value);
	return type;
}

/* The settings that can stand in a mapping of this name, or the value of the first of them. */
static json_t *section(const char *name)
{
	json_t *keys = json_object();

	for (size_t i = 0; i < settings_count; i++) {
		const char *key = setting_key_in(&settings[i], name);

		if (key)
			json_object_set_new(keys, key, property(&settings[i]));
	}
	return json_pack("{s:[o,{s:s,s:o,s:b}]}", "anyOf", type_of(setting_first_in(name)), "type",
			 "object", "properties", keys, "additionalProperties", false);
}

int config_print_schema(FILE *file)
{
	json_t *keys = json_object(), *all;
	int r;

	for (size_t i = 0; i < settings_count; i++)
		if (setting_in_file(&settings[i]))
			json_object_set_new(keys, setting_key(&settings[i]),
					    property(&settings[i]));
	for (size_t i = 0; setting_section(i); i++)
		json_object_set_new(keys, setting_section(i), section(setting_section(i)));
	all = json_pack("{s:s,s:s,s:s,s:o,s:b}", "$schema",
			"http://json-schema.org/draft-07/schema#", "title",
			"configuration of flowtally run", "type", "object", "properties", keys,
			"additionalProperties", false);
	if (!all)
		return -ENOMEM;
	r = json_dumpf(all, file, JSON_INDENT(2));
	json_decref(all);
	fputc('\n', file);
	return r < 0 && !ferror(file) ? -ENOMEM : 0; /* what cannot be written main() tells */
}
