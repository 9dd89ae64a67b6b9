/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <yaml.h>
#include "config/set.h"
#include "config/yaml.h"

#define DEPTH_MAX 8    /* of the document, of which four are in use */
#define VALUE_MAX 4096 /* octets of a value */
#define KEY_MAX	  63   /* of a key */
#define HINT_MAX  80   /* of a value that is shown as part of a list */
#define PAIRS_MAX 16   /* of a collector's mapping */

struct reader {
	yaml_parser_t parser;
	yaml_event_t event; /* the current one */
	unsigned int depth;
	const char *text;
	size_t size;
	struct config *config;
	struct config_source source; /* layer and path; line and column are those of the event */
	struct problems *problems;
	size_t errors; /* that were there before */
	int error;     /* it cannot go on */
};

#define wrong(r, ...) problems_at((r)->problems, &(r)->source, __VA_ARGS__)

/* --- Events */

/* "FILE:LINE:COLUMN:" for what has no key. */
_printf_(3, 4) static void wrong_at(struct reader *r, yaml_mark_t mark, const char *format, ...)
{
	_cleanup_(freep) char *text = NULL;
	char where[CONFIG_SOURCE_MAX];
	va_list args;

	va_start(args, format);
	if (vasprintf(&text, format, args) < 0)
		text = NULL;
	va_end(args);
	if (r->source.layer == CONFIG_FILE)
		problems_error(r->problems, "%s:%zu:%zu: %s", r->source.path, mark.line + 1,
			       mark.column + 1, text ?: "");
	else
		problems_error(r->problems, "%s: %s", config_source_print(&r->source, where),
			       text ?: "");
}

/* Whether a tab stands at the mark, and nothing but blanks in front of it. */
static bool is_indented_by_tab(const struct reader *r, yaml_mark_t mark)
{
	const char *p = r->text, *end = r->text + r->size;
	size_t blanks = 0;

	for (size_t line = mark.line; line && p; line--) {
		p = memchr(p, '\n', (size_t)(end - p));
		p = p ? p + 1 : NULL;
	}
	if (!p || mark.column >= (size_t)(end - p)) /* where the text ends there is no 0 */
		return false;
	while (blanks < mark.column && p[blanks] == ' ')
		blanks++;
	return blanks == mark.column && p[blanks] == '\t';
}

static void wrong_syntax(struct reader *r)
{
	const yaml_parser_t *p = &r->parser;
	const char *problem = p->problem ? p->problem : "unknown";

	r->error = p->error == YAML_MEMORY_ERROR ? -ENOMEM : -EINVAL;
	if (is_indented_by_tab(r, p->problem_mark))
		wrong_at(r, p->problem_mark,
			 "a tab; YAML is indented by spaces (what follows was not read)");
	else if (p->context && !strcmp(p->context, "while scanning an alias"))
		wrong_at(
			r, p->context_mark,
			"a value that begins with *, which YAML takes for an alias; quote it, as in"
			" \"*\" (what follows was not read)");
	else
		wrong_at(r, p->problem_mark, "not YAML: %s%s%s (what follows was not read)",
			 problem, p->context ? " " : "", p->context ? p->context : "");
}

static void refuse_properties(struct reader *r)
{
	const yaml_event_t *e = &r->event;
	const yaml_char_t *anchor = NULL, *tag = NULL;

	if (e->type == YAML_SCALAR_EVENT) {
		anchor = e->data.scalar.anchor;
		tag = e->data.scalar.tag;
	} else if (e->type == YAML_SEQUENCE_START_EVENT) {
		anchor = e->data.sequence_start.anchor;
		tag = e->data.sequence_start.tag;
	} else if (e->type == YAML_MAPPING_START_EVENT) {
		anchor = e->data.mapping_start.anchor;
		tag = e->data.mapping_start.tag;
	} else if (e->type == YAML_ALIAS_EVENT) {
		wrong_at(r, e->start_mark,
			 "an alias, '*%.40s'; write the value itself (quote "
			 "it, if it is a name that begins with *)",
			 e->data.alias.anchor);
	}
	if (anchor)
		wrong_at(r, e->start_mark, "an anchor, '&%.40s'; it has no use here",
			 (const char *)anchor);
	if (tag)
		wrong_at(r, e->start_mark, "a tag, '%.40s'; it has no use here", (const char *)tag);
}

/* The next event; false: it cannot go on. */
static bool next(struct reader *r)
{
	if (r->error)
		return false;
	yaml_event_delete(&r->event);
	if (problems_full(r->problems)) {
		r->problems->left_out++; /* at least */
		r->error = -EINVAL;
		return false;
	}
	if (!yaml_parser_parse(&r->parser, &r->event)) {
		wrong_syntax(r);
		return false;
	}
	r->source.line = (uint32_t)r->event.start_mark.line + 1;
	r->source.column = (uint32_t)r->event.start_mark.column + 1;
	if (r->event.type == YAML_SEQUENCE_START_EVENT || r->event.type == YAML_MAPPING_START_EVENT)
		r->depth++;
	if (r->event.type == YAML_SEQUENCE_END_EVENT || r->event.type == YAML_MAPPING_END_EVENT)
		r->depth--;
	if (r->depth > DEPTH_MAX) {
		wrong_at(r, r->event.start_mark,
			 "nested too deeply; %d levels can be (what follows was not read)",
			 DEPTH_MAX);
		r->error = -EINVAL;
		return false;
	}
	refuse_properties(r);
	return true;
}

/* Passes over the current value. */
static void skip(struct reader *r)
{
	unsigned int depth = r->depth - 1;

	if (r->event.type != YAML_SEQUENCE_START_EVENT && r->event.type != YAML_MAPPING_START_EVENT)
		return;
	while (r->depth > depth && next(r))
		;
}

static const char *kind(const struct reader *r)
{
	return r->event.type == YAML_SEQUENCE_START_EVENT  ? "a list"
	       : r->event.type == YAML_MAPPING_START_EVENT ? "a mapping"
							   : "one value";
}

static bool is_null(const struct reader *r)
{
	static const char *const words[] = {"", "~", "null", "Null", "NULL"};

	if (r->event.type != YAML_SCALAR_EVENT ||
	    r->event.data.scalar.style != YAML_PLAIN_SCALAR_STYLE)
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		if (!strcmp((const char *)r->event.data.scalar.value, words[i]))
			return true;
	return false;
}

/* The text of a key; NULL after what is wrong has been said.  Valid until the next event. */
static const char *read_key(struct reader *r)
{
	const yaml_event_t *e = &r->event;
	const char *text = (const char *)e->data.scalar.value;

	if (e->type == YAML_ALIAS_EVENT)
		return NULL; /* has been said */
	if (e->type != YAML_SCALAR_EVENT) {
		wrong_at(r, e->start_mark, "%s where a key is needed", kind(r));
		skip(r);
		return NULL;
	}
	if (e->data.scalar.length > KEY_MAX || strlen(text) != e->data.scalar.length) {
		wrong_at(r, e->start_mark, "a key of more than %d characters, or with a 0 in it",
			 KEY_MAX);
		return NULL;
	}
	return text;
}

/* The text of a scalar; NULL after what is wrong has been said.  Valid until the next event. */
static const char *scalar(struct reader *r, const char *needed)
{
	const char *text = (const char *)r->event.data.scalar.value;

	if (r->event.type == YAML_ALIAS_EVENT)
		return NULL; /* has been said */
	if (r->event.type != YAML_SCALAR_EVENT) {
		wrong(r, ": %s where there can be one value; %s", kind(r), needed);
		skip(r);
		return NULL;
	}
	if (is_null(r)) {
		wrong(r, ": lacks its value; %s", needed);
		return NULL;
	}
	if (r->event.data.scalar.length > VALUE_MAX ||
	    strlen(text) != r->event.data.scalar.length) {
		wrong(r, ": a value of more than %d characters, or with a 0 in it; %s", VALUE_MAX,
		      needed);
		return NULL;
	}
	return text;
}

static bool takes(const struct setting *s, const char *word)
{
	if (s->type == SETTING_LIMIT || s->type == SETTING_SOCKET || s->type == SETTING_LISTEN)
		return !strcmp(word, "off");
	for (const struct setting_word *w = s->type == SETTING_WORD ? s->words : NULL; w && w->word;
	     w++)
		if (!strcmp(w->word, word))
			return true;
	return false;
}

/* To YAML 1.1 on and off are truths.  A program that has read them as such, as Helm does, writes true and false. */
static const char *as_word(const struct reader *r, const char *text)
{
	const char *word = !strcmp(text, "true") ? "on" : !strcmp(text, "false") ? "off" : NULL;
	const char *key = r->source.within;

	if (!word || r->event.data.scalar.style != YAML_PLAIN_SCALAR_STYLE)
		return text;
	return (key ? !strcmp(key, "drops") : takes(r->source.setting, word)) ? word : text;
}

/* --- Lists */

struct pair {
	char *text;
	const char *key; /* one of config_collector_keys() */
	uint32_t line, column;
};

static void clear_pairs(struct pair (*pairs)[PAIRS_MAX])
{
	for (size_t i = 0; i < PAIRS_MAX; i++)
		free((*pairs)[i].text);
}

static const char *find_key(struct reader *r, const char *text)
{
	const char *keys[CONFIG_COLLECTOR_KEYS_MAX];
	size_t count = config_collector_keys(keys);
	char all[160] = "", hint[VALUE_HINT_MAX];
	struct value_guess guess = {0};

	for (size_t i = 0; i < count; i++) {
		if (!strcmp(keys[i], text))
			return keys[i];
		value_guess_offer(&guess, text, keys[i]);
		snprintf(all + strlen(all), sizeof(all) - strlen(all), "%s%s",
			 i == 0		 ? ""
			 : i + 1 < count ? ", "
					 : " and ",
			 keys[i]);
	}
	wrong_at(r, r->event.start_mark, "'%s': no such key of a collector; there are %s%s", text,
		 all, value_guess_hint(&guess, hint));
	return NULL;
}

/* A key and its value; false: it cannot go on. */
static bool read_pair(struct reader *r, struct pair pairs[PAIRS_MAX], size_t *count)
{
	yaml_mark_t mark = r->event.start_mark;
	const char *text = read_key(r), *known = text ? find_key(r, text) : NULL;

	for (size_t i = 0; known && i < *count; i++)
		if (pairs[i].key == known) {
			wrong_at(r, mark, "%s: given twice; line %u has it already", known,
				 pairs[i].line);
			known = NULL;
		}
	if (!next(r))
		return false;
	r->source.within = known;
	text = known ? scalar(r, "write KEY: VALUE") : NULL;
	if (!known)
		skip(r);
	if (text && *count < PAIRS_MAX) {
		pairs[*count] = (struct pair){.text = strdup(as_word(r, text)),
					      .key = known,
					      .line = r->source.line,
					      .column = r->source.column};
		if (!pairs[(*count)++].text)
			r->error = -ENOMEM;
	}
	r->source.within = NULL;
	return !r->error;
}

/* Where a key stands among the pairs; the count of pairs when it does not. */
static size_t find_pair(const struct pair pairs[PAIRS_MAX], size_t count, const char *key)
{
	size_t i = 0;

	while (i < count && strcmp(pairs[i].key, key) != 0)
		i++;
	return i;
}

static bool is_part(const char *key)
{
	for (unsigned int i = 0; i < _PART_MAX; i++)
		if (!strcmp(config_part_name((enum config_part_key)i), key))
			return true;
	return false;
}

/* Beside a URL its parts say nothing, or something else. */
static void refuse_parts(struct reader *r, const struct pair pairs[PAIRS_MAX], size_t count)
{
	for (size_t i = 0; i < count; i++) {
		r->source.line = pairs[i].line;
		r->source.column = pairs[i].column;
		r->source.within = pairs[i].key;
		if (is_part(pairs[i].key))
			wrong(r, ": given beside url; write the one or the other");
	}
	r->source.within = NULL;
}

/* The source of what names the collector, and its URL on the heap; NULL after what is wrong has been said. */
static char *collector_url(struct reader *r, const struct pair pairs[PAIRS_MAX], size_t count,
			   struct config_source *source)
{
	struct config_part parts[_PART_MAX] = {0};
	size_t url = find_pair(pairs, count, "url"), at;
	char *text = NULL;
	int error;

	if (url < count) {
		refuse_parts(r, pairs, count);
		text = strdup(pairs[url].text);
		error = text ? 0 : -ENOMEM;
	} else {
		for (unsigned int i = 0; i < _PART_MAX; i++) {
			at = find_pair(pairs, count, config_part_name((enum config_part_key)i));
			if (at == count)
				continue;
			parts[i] = (struct config_part){pairs[at].text, pairs[at].line,
							pairs[at].column};
			url = at; /* host, port or path, if it is there */
		}
		error = config_make_url(parts, source, r->problems, &text);
	}
	if (error == -ENOMEM)
		r->error = error;
	if (error < 0)
		return NULL;
	source->line = pairs[url].line;
	source->column = pairs[url].column;
	source->within = pairs[url].key;
	return text;
}

static void read_collector(struct reader *r)
{
	_cleanup_(clear_pairs) struct pair pairs[PAIRS_MAX] = {0};
	struct config_collector scratch = {.options = URL_OPTIONS_NONE}, *c = &scratch;
	struct config_source source = r->source;
	_cleanup_(freep) char *url = NULL;
	size_t count = 0;

	while (next(r) && r->event.type != YAML_MAPPING_END_EVENT)
		if (!read_pair(r, pairs, &count))
			return;
	if (r->error)
		return;
	url = collector_url(r, pairs, count, &source);
	if (url && config_add_collector(r->config, &source, url, r->problems) == 0)
		c = &r->config->collectors[r->config->collector_count - 1];
	for (size_t i = 0; i < count; i++) {
		if (!strcmp(pairs[i].key, "url") || is_part(pairs[i].key))
			continue;
		source.line = pairs[i].line;
		source.column = pairs[i].column;
		source.within = pairs[i].key;
		if (config_set_collector(r->config, c, &source, pairs[i].text, r->problems) ==
		    -ENOMEM)
			r->error = -ENOMEM;
	}
	free(scratch.name);
}

static void read_item(struct reader *r)
{
	bool collector = r->source.setting->type == SETTING_COLLECTORS;
	const char *text;
	int error;

	if (collector && r->event.type == YAML_MAPPING_START_EVENT) {
		read_collector(r);
		return;
	}
	text = scalar(r, collector ? "write a URL, or a mapping with url" : "write a name");
	if (!text)
		return;
	error = (collector ? config_add_collector : config_add_interface)(r->config, &r->source,
									  text, r->problems);
	if (error == -ENOMEM)
		r->error = error;
}

/* What the list could hold: what stands there, if that is one word. */
static const char *list_sample(const struct reader *r)
{
	const bool scalar = r->event.type == YAML_SCALAR_EVENT;
	const char *text = scalar ? (const char *)r->event.data.scalar.value : "";
	const size_t length = strcspn(text, " \t\r\n,;\"\\[]{}");

	return length > 0 && length <= HINT_MAX && !text[length] ? text : r->source.setting->sample;
}

static void read_list(struct reader *r)
{
	const struct setting *s = r->source.setting;

	if (is_null(r)) { /* all its lines are comments */
		config_list_begin(r->config, &r->source);
		return;
	}
	if (r->event.type != YAML_SEQUENCE_START_EVENT) {
		if (r->event.type != YAML_ALIAS_EVENT)
			wrong(r, ": %s where a list is needed; write %s: [\"%s\"]", kind(r),
			      setting_key(s), list_sample(r));
		skip(r);
		return;
	}
	config_list_begin(r->config, &r->source);
	while (next(r) && r->event.type != YAML_SEQUENCE_END_EVENT)
		read_item(r);
}

/* --- The document */

static const struct setting *find_setting(struct reader *r, const char *key)
{
	const struct setting *s = setting_find(key);
	char hint[VALUE_HINT_MAX];
	struct value_guess guess = {0};

	if (s)
		return s;
	for (size_t i = 0; i < settings_count; i++)
		if (setting_in_file(&settings[i])) {
			value_guess_offer(&guess, key, setting_key(&settings[i]));
			/* The option's name in place of the list's. */
			if (!strcmp(key, settings[i].name))
				guess = (struct value_guess){.word = setting_key(&settings[i])};
		}
	wrong_at(r, r->event.start_mark, "'%s': no such key%s%s", key,
		 guess.word ? "" : "; `flowtally config example` shows all",
		 value_guess_hint(&guess, hint));
	return NULL;
}

/* NULL: it is the key of no section. */
static const char *find_section(const char *key)
{
	for (size_t i = 0; setting_section(i); i++)
		if (!strcmp(setting_section(i), key))
			return setting_section(i);
	return NULL;
}

static const struct setting *find_in_section(struct reader *r, const char *section, const char *key)
{
	const struct setting *s = setting_find_in(section, key);
	struct value_guess guess = {0};
	char hint[VALUE_HINT_MAX];

	for (size_t i = 0; !s && i < settings_count; i++)
		if (setting_key_in(&settings[i], section))
			value_guess_offer(&guess, key, setting_key_in(&settings[i], section));
	if (!s)
		wrong_at(r, r->event.start_mark, "'%s': no such key of %s%s%s", key, section,
			 guess.word ? "" : "; `flowtally config example` shows all",
			 value_guess_hint(&guess, hint));
	return s;
}

static void read_value(struct reader *r, uint32_t key_line)
{
	const struct setting *s = r->source.setting;
	const struct config_origin *origin = &r->config->origins[setting_number(s)];
	char needed[160];
	const char *text;

	if (setting_is_list(s)) {
		if (origin->layer != CONFIG_FILE) {
			read_list(r);
			return;
		}
		r->source.line = key_line;
		wrong(r, ": given twice; line %u has it already", origin->line);
		skip(r);
		return;
	}
	snprintf(needed, sizeof(needed), "write %s: %s", s->name,
		 s->standard ? s->standard : s->sample);
	text = scalar(r, needed);
	if (text && config_set(r->config, &r->source, as_word(r, text), r->problems) == -ENOMEM)
		r->error = -ENOMEM;
}

/* A mapping of settings that begin alike, or what is of the first of them alone: `control: off`. */
static void read_section(struct reader *r, const char *section, uint32_t key_line)
{
	if (r->event.type != YAML_MAPPING_START_EVENT) {
		r->source.setting = setting_first_in(section);
		read_value(r, key_line);
		return;
	}
	while (next(r) && r->event.type != YAML_MAPPING_END_EVENT) {
		uint32_t line = r->source.line;
		const char *key = read_key(r);

		r->source.setting = key ? find_in_section(r, section, key) : NULL;
		if (!next(r))
			return;
		if (r->source.setting)
			read_value(r, line);
		else
			skip(r);
	}
}

static void read_mapping(struct reader *r)
{
	while (next(r) && r->event.type != YAML_MAPPING_END_EVENT) {
		uint32_t line = r->source.line;
		const char *key, *section;

		r->source.setting = NULL;
		key = read_key(r);
		section = key ? find_section(key) : NULL;
		if (key && !section)
			r->source.setting = find_setting(r, key);
		if (!next(r))
			return;
		if (section)
			read_section(r, section, line);
		else if (r->source.setting)
			read_value(r, line);
		else
			skip(r);
	}
}

static void read_stream(struct reader *r, bool list)
{
	/* The begin of the stream, that of a document or the end, and the value. */
	for (int i = 0; i < 3; i++)
		if (!next(r) || r->event.type == YAML_STREAM_END_EVENT)
			return;
	if (list)
		read_list(r);
	else if (r->event.type == YAML_MAPPING_START_EVENT)
		read_mapping(r);
	else if (!is_null(r)) {
		if (r->event.type != YAML_ALIAS_EVENT)
			wrong_at(r, r->event.start_mark, "%s where lines of KEY: VALUE are needed",
				 kind(r));
		skip(r);
	}
	for (int i = 0; i < 2; i++) /* the ends of both */
		if (!next(r))
			return;
	if (r->event.type != YAML_STREAM_END_EVENT)
		wrong_at(r, r->event.start_mark, "a second document; there can be one");
}

static int read_text(struct reader *r, bool list)
{
	r->errors = r->problems->errors;
	if (!yaml_parser_initialize(&r->parser))
		return -ENOMEM;
	yaml_parser_set_encoding(&r->parser, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(&r->parser, (const unsigned char *)r->text, r->size);
	read_stream(r, list);
	yaml_event_delete(&r->event);
	yaml_parser_delete(&r->parser);
	return r->error ?: r->problems->errors > r->errors ? -EINVAL : 0;
}

/* --- Characters */

/* Octets of the UTF-8 character, 0 when it is none. */
static size_t decode(const unsigned char *p, size_t size, uint32_t *ret)
{
	size_t length = *p < 0x80   ? 1
			: *p < 0xc2 ? 0
			: *p < 0xe0 ? 2
			: *p < 0xf0 ? 3
			: *p < 0xf5 ? 4
				    : 0;
	uint32_t value = length == 1 ? *p : *p & (0xffu >> (length + 1));

	if (!length || length > size)
		return 0;
	for (size_t i = 1; i < length; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		value = value << 6 | (p[i] & 0x3f);
	}
	if ((length == 3 && value < 0x800) || (length == 4 && value < 0x10000) ||
	    value > 0x10ffff || (value >= 0xd800 && value < 0xe000))
		return 0;
	*ret = value;
	return length;
}

/* What YAML takes (1.1, section 5.1).  libyaml refuses the rest too, but does not say where it stands. */
static bool is_text(uint32_t value)
{
	return value == '\t' || value == '\n' || value == '\r' || (value >= 0x20 && value < 0x7f) ||
	       value == 0x85 || (value >= 0xa0 && value < 0xfffe) || value >= 0x10000;
}

/* As libyaml counts lines: CR LF is one end, and so is each of the others alone. */
static bool ends_line(uint32_t value, const unsigned char *next, const unsigned char *end)
{
	return value == '\n' || (value == '\r' && (next == end || *next != '\n')) ||
	       value == 0x85 || value == 0x2028 || value == 0x2029;
}

static bool check_characters(struct reader *r)
{
	const unsigned char *p = (const unsigned char *)r->text, *end = p + r->size;
	yaml_mark_t mark = {0};

	while (p < end) {
		uint32_t value;
		size_t length = decode(p, (size_t)(end - p), &value);

		if (!length) {
			wrong_at(r, mark, "not UTF-8, 0x%02x; text in UTF-8 is needed", *p);
			return false;
		}
		if (!is_text(value)) {
			wrong_at(r, mark, "a control character, %s%0*x; text is needed",
				 length == 1 ? "0x" : "U+", length == 1 ? 2 : 4, value);
			return false;
		}
		p += length;
		mark.column++;
		if (ends_line(value, p, end)) {
			mark.line++;
			mark.column = 0;
		}
	}
	return true;
}

int config_read_yaml(struct config *config, const char *path, const char *text, size_t size,
		     struct problems *problems)
{
	struct reader r = {
		.text = text,
		.size = size,
		.config = config,
		.source = {.layer = CONFIG_FILE, .path = path},
		.problems = problems,
	};

	if (size > CONFIG_TEXT_MAX) {
		problems_error(problems, "%s:1:1: more than 1 MiB; a configuration is smaller",
			       path);
		return -EINVAL;
	}
	if (size >= 3 && !memcmp(text, "\xef\xbb\xbf", 3)) { /* a byte order mark is no column */
		r.text += 3;
		r.size -= 3;
	}
	return check_characters(&r) ? read_text(&r, false) : -EINVAL;
}

int config_read_list(struct config *config, const struct config_source *source, const char *text,
		     struct problems *problems)
{
	struct reader r = {
		.text = text,
		.size = strlen(text),
		.config = config,
		.source = *source,
		.problems = problems,
	};

	return check_characters(&r) ? read_text(&r, true) : -EINVAL;
}

bool yaml_is_plain(const char *text)
{
	static const char *const words[] = {"y",     "n",  "yes", "no",	 "true",
					    "false", "on", "off", "null"};
	size_t length = strlen(text);

	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		if (!strcasecmp(text, words[i]))
			return false;
	return length && strspn(text, "0123456789.+-_eExX:") != length && text[length - 1] != ':' &&
	       strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
			    "._/:+-=?%") == length &&
	       !strchr("-?:%=.+", text[0]);
}
