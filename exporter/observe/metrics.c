/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/observe/metrics.h"
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <strings.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include "exporter/export/format/utf8.h"
#include "exporter/observe/metrics_context.h"
#include "exporter/observe/metrics_writer.h"

#define FIRST_CAPACITY	65536
#define NAME_MAX_OCTETS 1024 /* of a label's value; no name of ours is longer */

/* --- Text. */

static void put(struct metrics_writer *w, const char *text, size_t size)
{
	size_t capacity = w->capacity ? w->capacity : FIRST_CAPACITY;
	char *larger;

	while (capacity < w->size + size)
		capacity *= 2;
	if (capacity != w->capacity) {
		larger = w->failed ? NULL : realloc(w->text, capacity);
		if (!larger) {
			w->failed = true;
			return;
		}
		w->text = larger;
		w->capacity = capacity;
	}
	memcpy(w->text + w->size, text, size);
	w->size += size;
}

static void put_text(struct metrics_writer *w, const char *text)
{
	put(w, text, strlen(text));
}

static void put_number(struct metrics_writer *w, uint64_t value)
{
	char digits[20];
	size_t at = sizeof(digits);

	do
		digits[--at] = (char)('0' + value % 10);
	while (value /= 10);
	put(w, digits + at, sizeof(digits) - at);
}

/* A backslash and a quotation mark are escaped in both forms, an end of line is by utf8_escape(). */
static void put_value(struct metrics_writer *w, const char *value)
{
	char valid[NAME_MAX_OCTETS];

	for (const char *c = utf8_escape(valid, sizeof(valid), value, "\\"); *c; c++)
		if (*c == '\\' || *c == '"')
			put(w, (const char[]){'\\', *c}, 2);
		else
			put(w, c, 1);
}

/* --- Families and samples. */

static const char *suffix(enum metrics_type type)
{
	return type == METRICS_COUNTER ? "_total" : type == METRICS_INFO ? "_info" : "";
}

/* "# KEYWORD NAME TEXT"; in OpenMetrics the name is the family's, before that it is the samples'. */
static void put_comment(struct metrics_writer *w, const char *keyword, const char *text)
{
	put_text(w, "# ");
	put_text(w, keyword);
	put_text(w, " ");
	put_text(w, w->family->name);
	if (w->format == METRICS_PROMETHEUS)
		put_text(w, suffix(w->family->type));
	put_text(w, " ");
	put_text(w, text);
	put_text(w, "\n");
}

static void begin_family(struct metrics_writer *w)
{
	static const char *const types[] = {"counter", "gauge", "info"};
	const bool open = w->format == METRICS_OPENMETRICS;
	const enum metrics_type type = w->family->type;

	put_comment(w, "HELP", w->family->help);
	put_comment(w, "TYPE", types[type == METRICS_INFO && !open ? METRICS_GAUGE : type]);
	if (open && w->family->unit)
		put_comment(w, "UNIT", w->family->unit);
}

static void put_labels(struct metrics_writer *w, const char *const *values)
{
	const char *before = "{";

	for (unsigned int i = 0; w->family->labels[i]; i++) {
		if (!values[i + 1][0])
			continue;
		put_text(w, before);
		put_text(w, w->family->labels[i]);
		put_text(w, "=\"");
		put_value(w, values[i + 1]);
		put_text(w, "\"");
		before = ",";
	}
	put_text(w, *before == '{' ? " " : "} ");
}

static void begin_sample(struct metrics_writer *w, const char *const *values)
{
	uint64_t *series = &w->series[w->family - metrics_families];

	if (!(*series)++)
		begin_family(w);
	put_text(w, w->family->name);
	put_text(w, suffix(w->family->type));
	put_labels(w, values);
}

void metrics_sample(struct metrics_writer *w, uint64_t value, const char *const *values)
{
	begin_sample(w, values);
	put_number(w, value);
	put_text(w, "\n");
}

void metrics_sample_ns(struct metrics_writer *w, uint64_t value, const char *const *values)
{
	char digits[16];

	begin_sample(w, values);
	put_number(w, value / NSEC_PER_SEC);
	snprintf(digits, sizeof(digits), ".%09llu\n", (unsigned long long)(value % NSEC_PER_SEC));
	put_text(w, digits);
}

int metrics_print(const struct metrics_source *source, enum metrics_format format, char **ret,
		  size_t *ret_size)
{
	_cleanup_(metrics_context_clear) struct metrics_context context = {0};
	_cleanup_(freep) uint64_t *series = calloc(metrics_family_count, sizeof(*series));
	struct metrics_writer w = {.format = format, .series = series};

	if (!series || metrics_context_make(&context, source, series) < 0)
		return -ENOMEM;
	for (size_t i = 0; i < metrics_family_count; i++) {
		w.family = &metrics_families[i];
		if ((w.family->hubble && !source->hubble) ||
		    (!w.family->always && !source->snapshot))
			continue;
		w.family->print(&w, &context);
	}
	if (format == METRICS_OPENMETRICS)
		put_text(&w, "# EOF\n");
	if (w.failed) {
		free(w.text);
		return -ENOMEM;
	}
	*ret = w.text;
	*ret_size = w.size;
	return 0;
}

/* --- Who gets which form. */

const char *metrics_content_type(enum metrics_format format)
{
	return format == METRICS_OPENMETRICS
		       ? "application/openmetrics-text; version=1.0.0; charset=utf-8"
		       : "text/plain; version=0.0.4; charset=utf-8";
}

/* The parameter's value in thousandths; 1000 without one, 0 for what is none. */
static unsigned int quality(const char *parameters, const char *end)
{
	static const unsigned int weights[] = {1000, 0, 100, 10, 1}; /* of "1.234" */
	const char *q = parameters;
	unsigned int sum = 0;

	do {
		q = memchr(q, ';', (size_t)(end - q));
		q = q ? q + 1 + strspn(q + 1, " \t") : end;
	} while (q < end && strncasecmp(q, "q=", 2) != 0);
	if (q >= end)
		return 1000;
	for (unsigned int i = 0; i < ARRAY_SIZE(weights) && q + 2 + i < end; i++)
		if (isdigit((unsigned char)q[2 + i]))
			sum += weights[i] * (unsigned int)(q[2 + i] - '0');
	return MIN(sum, 1000u);
}

/* Whether the parameters name a version that is none of ours. */
static bool other_version(const char *parameters, const char *end)
{
	const char *at = memmem(parameters, (size_t)(end - parameters), "version=", 8);
	size_t length;

	if (!at)
		return false;
	at += 8;
	at += *at == '"';
	length = (size_t)(end - at);
	return (length < 5 || strncmp(at, "1.0.0", 5) != 0) &&
	       (length < 5 || strncmp(at, "0.0.1", 5) != 0);
}

enum metrics_format metrics_negotiate(const char *accept)
{
	static const char open[] = "application/openmetrics-text";
	unsigned int best_open = 0, best_text = 0;

	for (const char *at = accept; at && *at;) {
		const char *end = at + strcspn(at, ",");
		const char *type = at + strspn(at, " \t");
		size_t length = strcspn(type, ";, \t");
		unsigned int q = quality(type, end);

		if (length == strlen(open) && !strncasecmp(type, open, length)) {
			if (!other_version(type + length, end))
				best_open = MAX(best_open, q);
		} else if (!strncasecmp(type, "text/plain", 10) || !strncmp(type, "text/*", 6) ||
			   !strncmp(type, "*/*", 3)) {
			best_text = MAX(best_text, q);
		}
		at = end + (*end == ',');
	}
	return best_open && best_open >= best_text ? METRICS_OPENMETRICS : METRICS_PROMETHEUS;
}

bool metrics_takes_gzip(const char *accept)
{
	unsigned int named = 0, any = 0;
	bool is_named = false;

	for (const char *at = accept; at && *at;) {
		const char *end = at + strcspn(at, ",");
		const char *coding = at + strspn(at, " \t");
		const size_t length = strcspn(coding, ";, \t");
		const unsigned int q = quality(coding, end);

		if ((length == 4 && !strncasecmp(coding, "gzip", 4)) ||
		    (length == 6 && !strncasecmp(coding, "x-gzip", 6))) {
			named = MAX(named, q);
			is_named = true;
		} else if (length == 1 && *coding == '*') {
			any = q;
		}
		at = end + (*end == ',');
	}
	return is_named ? named > 0 : any > 0;
}

/* --- The process. */

/* Fields of /proc/self/stat behind the name, which may hold anything: proc(5), the third is the first of them. */
#define STAT_THREADS 20
#define STAT_START   22
#define STAT_VSIZE   23
#define STAT_RSS     24

/*
 * CLOCK_REALTIME of the start, `since_boot_ns` after the system's: fixed by whoever asks first.  The distance of the two
 * clocks changes with every step and slew of the wall clock, and a start that moves would look like another one.
 */
static uint64_t fixed_start_ns(uint64_t since_boot_ns)
{
	static uint64_t fixed;
	uint64_t before = 0,
		 now = clock_ns(CLOCK_REALTIME) - clock_ns(CLOCK_BOOTTIME) + since_boot_ns;

	return __atomic_compare_exchange_n(&fixed, &before, now, false, __ATOMIC_RELAXED,
					   __ATOMIC_RELAXED)
		       ? now
		       : before;
}

static void read_stat(struct metrics_process *p)
{
	_cleanup_(fclosep) FILE *file = fopen("/proc/self/stat", "re");
	char line[1024] = "", *rest, *word;
	uint64_t fields[STAT_RSS + 1] = {0}, ticks = (uint64_t)sysconf(_SC_CLK_TCK);

	if (!file || !fgets(line, sizeof(line), file) || !(rest = strrchr(line, ')')))
		return;
	rest++;
	for (int i = 2; i <= STAT_RSS && (word = strsep(&rest, " ")); i++)
		fields[i] = strtoull(word, NULL, 10);
	p->threads = fields[STAT_THREADS];
	p->virtual_octets = fields[STAT_VSIZE];
	p->resident_octets = fields[STAT_RSS] * (uint64_t)sysconf(_SC_PAGESIZE);
	p->started_ns = fixed_start_ns(fields[STAT_START] * (NSEC_PER_SEC / ticks));
}

/* The kernel tells the number as the folder's size since Linux 6.2. */
static uint64_t count_descriptors(void)
{
	struct stat status;
	uint64_t count = 0;
	DIR *folder;

	if (stat("/proc/self/fd", &status) == 0 && status.st_size > 0)
		return (uint64_t)status.st_size;
	folder = opendir("/proc/self/fd");
	while (folder && readdir(folder))
		count++;
	if (folder)
		closedir(folder);
	return count > 3 ? count - 3 : 0; /* itself, "." and ".." */
}

void metrics_read_process(struct metrics_process *ret)
{
	struct timespec used;
	struct rlimit limit;

	*ret = (struct metrics_process){.descriptors = count_descriptors()};
	if (clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used) == 0)
		ret->cpu_ns = timespec_ns(&used);
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0)
		ret->descriptors_max = limit.rlim_cur;
	read_stat(ret);
}
