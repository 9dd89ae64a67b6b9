/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* libbpf's own messages, which are the detail behind an error that is logged where it is handled: --verbose shows them. */
#include <stdarg.h>
#include <bpf/libbpf.h>

/* Of a longer message, as of the verifier, these first and last lines: the last ones say why it refuses a program. */
#define LIBBPF_LOG_FIRST 20
#define LIBBPF_LOG_LAST	 80

/* For libbpf_set_print(). */
int libbpf_log(enum libbpf_print_level level, const char *format, va_list args);

/* Gives the lines of a message to `put` one after the other; of those left out, a line with their number. */
void libbpf_log_lines(char *message, void (*put)(void *userdata, const char *line), void *userdata);
