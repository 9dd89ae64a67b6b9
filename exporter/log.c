/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stdbool.h>
#include <string.h>
#include "exporter/log.h"

static int max_level = LOG_INFO;

void log_set_level(int level)
{
	max_level = level;
}

static void log_line(int level, const char *text, int error)
{
	const char *tail = error ? strerror(error) : "";
	const char *colon = error ? ": " : "";

	if (getenv("JOURNAL_STREAM"))
		fprintf(stderr, "<%d>%s%s%s\n", level, text, colon, tail);
	else
		fprintf(stderr, "flowtally: %s%s%s\n", text, colon, tail);
}

_printf_(3, 0) static void log_va(int level, int error, const char *format, va_list args)
{
	char text[1024];

	if (level > max_level)
		return;
	vsnprintf(text, sizeof(text), format, args);
	log_line(level, text, error);
}

void log_message(int level, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	log_va(level, 0, format, args);
	va_end(args);
}

int log_errno(int level, int error, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	log_va(level, abs(error), format, args);
	va_end(args);
	return -abs(error);
}
