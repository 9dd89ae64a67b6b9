/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * One line a message on stderr, of any length and with control characters as \x0a: "flowtally: message",
 * with the <priority> prefix of sd-daemon(3) instead of the name when stderr is the journal. A
 * failure is logged once, where it is handled; trouble on the data path is a counter.
 *
 * A reader that does not read never stops the exporter: messages wait for it in memory, 256 KiB of them,
 * and what does not fit is counted and told once there is room.  Any thread may log.
 */
#include <stdbool.h>
#include <syslog.h>
#include "exporter/util.h"

void log_set_level(int level); /* LOG_ERR to LOG_DEBUG; LOG_INFO until set */
void log_message(int level, const char *format, ...) _printf_(2, 3);

/*
 * From now on no message waits for its reader.  Until then each waits as long as something is taken every second:
 * a slow terminal gets all lines of the start.
 */
void log_never_wait(void);

/* Opens what is needed to write without waiting, once and for all: it cannot be opened later. */
void log_open(void);

/*
 * Between these two what is said waits in memory, 256 KiB of it, since a full screen is on the terminal that standard error
 * leads to.  Of more the oldest lines go, and log_release() writes how many before the others.  log_held(): the line that is
 * said `back` lines before the last one, without its end, cut to `size`; false: there is none.
 */
void log_hold(void);
void log_release(void);
bool log_held(unsigned int back, char *ret, size_t size);

/*
 * Writes what waits, for as long as an octet is taken every `timeout_ms` (0: what can be written at once).
 * True when nothing waits any more.
 */
bool log_flush(int timeout_ms);

/*
 * For the ledger: waits like any message, and is never left out, unless it gets too old while messages are held.  log_text():
 * as it is.
 */
void log_always(int level, const char *format, ...) _printf_(2, 3);
void log_text(const char *text, size_t size);

/* Logs the message, ": " and strerror(|error|); returns -|error|, so that `return log_errno(...)` reads well. */
int log_errno(int level, int error, const char *format, ...) _printf_(3, 4);

#define log_error(...)	 log_message(LOG_ERR, __VA_ARGS__)
#define log_warning(...) log_message(LOG_WARNING, __VA_ARGS__)
#define log_notice(...)	 log_message(LOG_NOTICE, __VA_ARGS__)
#define log_info(...)	 log_message(LOG_INFO, __VA_ARGS__)
#define log_debug(...)	 log_message(LOG_DEBUG, __VA_ARGS__)
