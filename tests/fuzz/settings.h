/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* What the fuzzers of the command line and of configuration files share: stubs, and what every configuration keeps to. */
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/socket.h>
#include "config/config.h"
#include "exporter/export/format/profile.h"
#include "exporter/log.h"
#include "exporter/meter/drop_reason.h"
#include "tests/fuzz/fuzz.h"

static unsigned int errors;

/* In place of the log, which would say it all on stderr. */
void log_message(int level, const char *format, ...)
{
	va_list args;
	char *text;

	va_start(args, format);
	if (vasprintf(&text, format, args) < 0)
		abort();
	va_end(args);
	free(text);
	errors += level <= LOG_ERR;
}

int log_errno(int level, int error, const char *format, ...)
{
	(void)format;
	errors += level <= LOG_ERR;
	return -abs(error);
}

void log_set_level(int level)
{
	(void)level;
}

/* In place of the datapath, the kernel's reasons and the exports: nothing is opened here. */
const struct drop_reason drop_reason_texts[] = {{.name = "NO_SOCKET"}};
const unsigned int drop_reason_text_count = 1;

const struct drop_reason *drop_reason_text(const char *name)
{
	return strcmp(name, "NO_SOCKET") == 0 ? drop_reason_texts : NULL;
}

const char *drop_class_name(enum drop_class class)
{
	return class == DROP_POLICY ? "policy" : "benign";
}

int drop_class_parse(enum drop_class *ret, const char *name)
{
	*ret = DROP_POLICY;
	return strcmp(name, "policy") == 0 ? 0 : -EINVAL;
}

int drop_reasons_new(struct drop_reasons **ret, const char *path)
{
	(void)ret;
	(void)path;
	return -ENOENT;
}

struct drop_reasons *drop_reasons_free(struct drop_reasons *reasons)
{
	return reasons;
}

const struct drop_reason *drop_reasons_find(struct drop_reasons *reasons, const char *name)
{
	(void)reasons;
	(void)name;
	return NULL;
}

unsigned int drop_reasons_count(const struct drop_reasons *reasons)
{
	(void)reasons;
	return 0;
}

const struct drop_reason *drop_reasons_at(const struct drop_reasons *reasons, unsigned int i)
{
	(void)reasons;
	(void)i;
	return NULL;
}

uint32_t datapath_entries_min(void)
{
	return 4096;
}

bool exports_url_valid(const char *url, const char **ret_why)
{
	static char why[URL_WHY_MAX];
	struct collector_url parsed;

	*ret_why = why;
	return url_parse(url, &parsed, why) == 0;
}

bool exports_template_valid(const char *text, const char **ret_why)
{
	static char why[PROFILE_WHY_MAX];
	_cleanup_(profile_freep) struct profile *profile = NULL;
	int r = profile_new(&profile, text, ENTERPRISE_DEFAULT, 1u << RECORD_FLOW, why);

	fuzz_require((r == 0) == (profile != NULL) ? NULL : "refused, and written");
	*ret_why = why;
	return r == 0;
}

static inline const char *check_settings(const struct config *o)
{
	const char *why;

	for (size_t i = 0; i < o->collector_count; i++)
		if (!exports_url_valid(o->collectors[i].url, &why))
			return "a collector that is none";
	for (size_t i = 0; i < o->interface_count; i++)
		if (!*o->interfaces[i])
			return "an interface without a name";
	if (o->collector_count > EXPORT_COLLECTORS_MAX)
		return "more collectors than there can be";
	if (!o->idle_ns || !o->active_ns || !o->drain_ns || !o->export.template_interval_ns)
		return "a time of 0";
	if (o->export.domain == 0 || o->export.message_max < 512)
		return "a number out of its range";
	if (o->bank_entries < datapath_entries_min() || o->cache_entries == 0)
		return "no room for flows";
	return NULL;
}
