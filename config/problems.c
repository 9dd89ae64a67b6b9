/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <string.h>
#include "config/problems.h"
#include "exporter/log.h"

/* Where the user of a URL begins, in a value that begins at `value`, before `at`; NULL: there is none. */
static char *find_user(char *text, char *value, const char *at)
{
	bool has_scheme = false;
	char *user = text;

	while ((user = strstr(user, "://")) && user < at) {
		has_scheme = true;
		user += 3;
		if (*user != '/') /* else a path */
			return user;
	}
	if (has_scheme || value >= at || *value == '/')
		return NULL;
	return memchr(value, ':', (size_t)(at - value)) ? value : NULL;
}

/* A password may hold any character, also quotes, blanks and an @: too much is hidden before too little is. */
static void hide_user(char *text, char *value)
{
	char *at = strrchr(text, '@'), *user = at ? find_user(text, value, at) : NULL;

	if (!user || user == at)
		return;
	*user = '*';
	memmove(user + 1, at, strlen(at) + 1);
}

void problems_hide_user(char *value)
{
	hide_user(value, value);
}

static void add(struct problems *p, bool warning, char *text)
{
	if (text) {
		size_t before = strcspn(text, "'\"="); /* the value is behind the first of them */

		hide_user(text, text[before] ? text + before + 1 : text);
	}
	p->errors += !warning;
	if (!text || problems_full(p)) {
		p->left_out++;
		free(text);
		return;
	}
	p->list[p->count++] = (struct problem){.warning = warning, .text = text};
}

_printf_(1, 0) static char *print(const char *format, va_list args)
{
	char *text;

	return vasprintf(&text, format, args) < 0 ? NULL : text;
}

void problems_error(struct problems *p, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	add(p, false, print(format, args));
	va_end(args);
}

void problems_warning(struct problems *p, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	add(p, true, print(format, args));
	va_end(args);
}

const char *config_source_print(const struct config_source *s, char text[CONFIG_SOURCE_MAX])
{
	char name[SETTING_ENVIRONMENT_MAX];
	const char *key = s->setting ? setting_key(s->setting) : "";
	const char *dot = s->within ? " " : "", *within = s->within ? s->within : "";

	switch (s->layer) {
	case CONFIG_OPTION:
		snprintf(text, CONFIG_SOURCE_MAX, "--%s", s->setting ? s->setting->name : "");
		break;
	case CONFIG_SET:
		snprintf(text, CONFIG_SOURCE_MAX, "--set %s%s%s", key, dot, within);
		break;
	case CONFIG_ENVIRONMENT:
		snprintf(text, CONFIG_SOURCE_MAX, "%s%s%s",
			 s->setting ? setting_environment(s->setting, name) : "", dot, within);
		break;
	case CONFIG_FILE:
		snprintf(text, CONFIG_SOURCE_MAX, "%s:%u:%u: %s", s->path, s->line, s->column,
			 s->within ? within : key);
		break;
	case CONFIG_DEFAULT:
		snprintf(text, CONFIG_SOURCE_MAX, "%s", key);
		break;
	}
	return text;
}

struct config_source config_source_of(const struct config *config, const struct setting *setting,
				      const struct config_origin *origin)
{
	return (struct config_source){
		.layer = origin->layer,
		.path = config->path,
		.line = origin->line,
		.column = origin->column,
		.setting = setting,
	};
}

void problems_at(struct problems *p, const struct config_source *source, const char *format, ...)
{
	_cleanup_(freep) char *rest = NULL;
	char where[CONFIG_SOURCE_MAX];
	va_list args;

	va_start(args, format);
	rest = print(format, args);
	va_end(args);
	if (rest)
		problems_error(p, "%s%s%s", config_source_print(source, where),
			       *rest == ':' ? "" : " ", rest);
	else
		add(p, false, NULL);
}

void problems_log(const struct problems *p)
{
	for (size_t i = 0; i < p->count; i++)
		log_message(p->list[i].warning ? LOG_WARNING : LOG_ERR, "%s", p->list[i].text);
	if (p->left_out)
		log_error("more is wrong than these %d lines tell", PROBLEMS_MAX);
}

void problems_clear(struct problems *p)
{
	for (size_t i = 0; i < p->count; i++)
		free(p->list[i].text);
	*p = (struct problems){0};
}
