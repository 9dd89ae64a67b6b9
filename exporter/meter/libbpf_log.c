/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/meter/libbpf_log.h"
#include <string.h>
#include "exporter/log.h"

static size_t count_lines(const char *text)
{
	size_t lines = 0;

	for (; *text; text += strcspn(text, "\n"), text += *text == '\n')
		lines++;
	return lines;
}

void libbpf_log_lines(char *message, void (*put)(void *userdata, const char *line), void *userdata)
{
	const size_t lines = count_lines(message);
	const size_t shown = LIBBPF_LOG_FIRST + LIBBPF_LOG_LAST;
	const size_t left_out = lines > shown ? lines - shown : 0;
	char text[64], *next;
	size_t length;

	for (size_t n = 0; *message; n++, message = next) {
		length = strcspn(message, "\n");
		next = message + length + (message[length] == '\n');
		message[length] = '\0';
		if (left_out && n == LIBBPF_LOG_FIRST) {
			snprintf(text, sizeof(text), "[%zu lines are left out]", left_out);
			put(userdata, text);
		}
		if (*message && (n < LIBBPF_LOG_FIRST || n >= LIBBPF_LOG_FIRST + left_out))
			put(userdata, message);
	}
}

static void put_debug(_unused_ void *userdata, const char *line)
{
	log_debug("%s", line);
}

/* The verifier's log is up to 16 MB long. */
_printf_(2, 0) int libbpf_log(enum libbpf_print_level level, const char *format, va_list args)
{
	_cleanup_(freep) char *text = NULL;

	if (level == LIBBPF_DEBUG)
		return 0;
	if (vasprintf(&text, format, args) < 0) {
		text = NULL;
		return 0;
	}
	libbpf_log_lines(text, put_debug, NULL);
	return 0;
}
