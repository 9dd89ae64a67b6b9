/* SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include "exporter/log.h"

static int max_level = LOG_INFO;
static pthread_once_t journal_once = PTHREAD_ONCE_INIT;
static bool journal;

void log_set_level(int level)
{
	max_level = level;
}

/* JOURNAL_STREAM is inherited by what runs below a service; its device and inode say which stream it means. */
static void find_journal(void)
{
	const char *text = getenv("JOURNAL_STREAM");
	unsigned long long device, inode;
	struct stat status;

	if (text && sscanf(text, "%llu:%llu", &device, &inode) == 2 &&
	    fstat(STDERR_FILENO, &status) == 0)
		journal = status.st_dev == device && status.st_ino == inode;
}

/* What a message quotes must not begin another line, nor steer a terminal. */
static void put_escaped(FILE *file, const char *text)
{
	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;

		if (c < ' ' || c == 0x7f)
			fprintf(file, "\\x%02x", c);
		else
			fputc(c, file);
	}
}

static void put_line(FILE *file, int level, const char *text, int error)
{
	if (journal)
		fprintf(file, "<%d>", level);
	else
		fputs("flowtally: ", file);
	put_escaped(file, text);
	if (error)
		fprintf(file, ": %s", strerror(error));
	fputc('\n', file);
}

/* By a single write(), so that lines of two processes do not mix. */
static void log_line(int level, const char *text, int error)
{
	_cleanup_(freep) char *line = NULL;
	size_t size = 0;
	FILE *file = open_memstream(&line, &size);
	bool whole;

	pthread_once(&journal_once, find_journal);
	if (file) {
		put_line(file, level, text, error);
		whole = !ferror(file);
		if (fclose(file) == 0 && whole) {
			fwrite(line, 1, size, stderr);
			return;
		}
	}
	put_line(stderr, level, text, error); /* no memory */
}

_printf_(3, 0) static void log_va(int level, int error, const char *format, va_list args)
{
	_cleanup_(freep) char *text = NULL;

	if (level > max_level)
		return;
	if (vasprintf(&text, format, args) < 0) {
		text = NULL;
		log_line(level, format, error); /* no memory */
		return;
	}
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
