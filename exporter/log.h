/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * One line a message on stderr, of any length and with control characters as \x0a: "flowtally: message",
 * with the <priority> prefix of sd-daemon(3) instead of the name when stderr is the journal. A
 * failure is logged once, where it is handled;
 * trouble on the data path is a counter.
 */
#include <syslog.h>
#include "exporter/util.h"

void log_set_level(int level); /* LOG_ERR to LOG_DEBUG; LOG_INFO until set */
void log_message(int level, const char *format, ...) _printf_(2, 3);

/* Logs the message, ": " and strerror(|error|); returns -|error|, so that `return log_errno(...)` reads well. */
int log_errno(int level, int error, const char *format, ...) _printf_(3, 4);

#define log_error(...)	 log_message(LOG_ERR, __VA_ARGS__)
#define log_warning(...) log_message(LOG_WARNING, __VA_ARGS__)
#define log_notice(...)	 log_message(LOG_NOTICE, __VA_ARGS__)
#define log_info(...)	 log_message(LOG_INFO, __VA_ARGS__)
#define log_debug(...)	 log_message(LOG_DEBUG, __VA_ARGS__)
