/* SPDX-License-Identifier: Apache-2.0 */
/* `flowtally read`: the records of files and streams of IPFIX and NetFlow v9, from any exporter. */
#include <errno.h>
#include <string.h>
#include "exporter/cli/arguments.h"
#include "exporter/cli/read_file.h"
#include "exporter/cli/verbs.h"
#include "exporter/export/format/decode_json.h"
#include "exporter/log.h"
#include "exporter/observe/record_filter.h"
#include "exporter/observe/record_flags.h"
#include "exporter/observe/record_text.h"
#include "exporter/observe/record_top.h"
#include "exporter/observe/record_view.h"
#include "exporter/value.h"

#define USAGE	  2
#define LAST_MAX  1000000
#define TOP_ROWS  65536
#define TOP_SHOWN 20
#define FLAG_BASE 100 /* the ids of record_flags */

enum {
	OPTION_OUTPUT,
	OPTION_FILTER,
	OPTION_TOP,
	OPTION_BY,
	OPTION_LAST,
	OPTION_FOLLOW,
	OPTION_OPTIONS,
	OPTION_UTC,
};

/* clang-format off */
static const struct argument_option own_options[] = {
	{"output", 'o', ARGUMENT_NEEDED, "FORM",
	 "table (on a terminal), jsonl (elsewhere), json, csv, compact, wide, hubble-json",
	 OPTION_OUTPUT, "table jsonl json csv compact wide hubble-json"},
	{"filter", 0, ARGUMENT_NEEDED, "EXPR", "records that match, as pcap-filter(7) has it",
	 OPTION_FILTER, ""},
	{"top", 0, ARGUMENT_NEEDED, "KEY[,KEY]",
	 "sums by src, dst, host, sport, dport, port, service, proto, iface, ...", OPTION_TOP, ""},
	{"by", 0, ARGUMENT_NEEDED, "WHAT", "what --top sorts by: octets, packets or flows (octets)",
	 OPTION_BY, "octets packets flows"},
	{"last", 0, ARGUMENT_NEEDED, "N", "the last N records; with --top the first N rows (20)",
	 OPTION_LAST, ""},
	{"follow", 'f', ARGUMENT_NONE, NULL,
	 "go on when the file grows, and with the next one of its name", OPTION_FOLLOW, ""},
	{"options", 0, ARGUMENT_NONE, NULL, "options records too, in JSON", OPTION_OPTIONS, ""},
	{"utc", 0, ARGUMENT_NONE, NULL, "times in UTC", OPTION_UTC, ""},
};
/* clang-format on */

size_t read_options(struct argument_option *ret)
{
	_Static_assert(ARRAY_SIZE(own_options) < ARGUMENTS_OPTIONS_MAX, "room for the flags");
	memcpy(ret, own_options, sizeof(own_options));
	return arguments_add_flags(ret, ARRAY_SIZE(own_options), FLAG_BASE);
}

struct reader {
	struct record_text text;
	bool json, options, follow;
	const char *expression, *top_keys;
	enum top_by by;
	uint64_t last;
	struct record_choice *choice;
	struct record_filter *filter;
	const char **files;
	size_t file_count;
	struct record_top *top;
	char **kept; /* the last lines, a ring of `last` */
	uint64_t count;
	char *line; /* of the record at hand */
	size_t size;
	FILE *memory;
	bool failed; /* a record could not be shown for want of memory */
};

static void reader_clear(struct reader *r)
{
	for (uint64_t i = 0; r->kept && i < r->last; i++)
		free(r->kept[i]);
	free(r->kept);
	fclosep(&r->memory);
	free(r->line);
	record_top_freep(&r->top);
	record_filter_freep(&r->filter);
	record_choice_freep(&r->choice);
	free(r->files);
}

/* --- Records */

static void keep(struct reader *r, const char *text)
{
	char **slot = &r->kept[r->count++ % r->last];

	free(*slot);
	*slot = strdup(text);
	r->failed |= !*slot;
}

static void show(struct reader *r, const struct record_view *view)
{
	if (!r->json) {
		rewind(r->memory);
		record_text_print(&r->text, view, r->memory);
		fflush(r->memory);
		putc('\0', r->memory);
		fflush(r->memory);
	}
	if (r->last)
		return keep(r, r->line);
	fputs(r->line, stdout);
	if (r->json)
		putc('\n', stdout);
}

/* As JSON, into r->line. */
static bool render(struct reader *r, const struct decode_record *record, bool quote)
{
	rewind(r->memory);
	decode_json(record, quote, r->memory);
	putc('\0', r->memory);
	if (fflush(r->memory) == 0)
		return true;
	r->failed = true;
	return false;
}

static void on_record(void *userdata, const struct decode_record *record)
{
	struct reader *r = userdata;
	struct record_view view = {0};
	json_t *object;

	if (record->options && !(r->options && r->json && !r->top))
		return;
	if (!r->json || r->top || r->filter) {
		if (!render(r, record, true))
			return;
		object = json_loads(r->line, 0, NULL);
		if (!object || record_view_of_json(&view, object) < 0)
			view = (struct record_view){0};
		json_decref(object);
		if (r->filter && !record_filter_matches(r->filter, &view))
			return;
	}
	if (r->json && !r->top && !render(r, record, false))
		return;
	if (r->top)
		record_top_add(r->top, &view);
	else
		show(r, &view);
}

static void on_pause(_unused_ void *userdata)
{
	fflush(stdout);
}

static bool has_enough(_unused_ void *userdata)
{
	return ferror(stdout);
}

static void print_sums(const struct reader *r, const struct top_sums *sums)
{
	printf(r->json ? "\"octets\":%llu,\"packets\":%llu,\"flows\":%llu}\n"
		       : "%15llu %12llu %10llu",
	       (unsigned long long)sums->octets, (unsigned long long)sums->packets,
	       (unsigned long long)sums->flows);
}

static void print_top(const struct reader *r)
{
	const struct top_row *const *rows;
	size_t count = record_top_sort(r->top, &rows),
	       shown = MIN(count, r->last ? r->last : TOP_SHOWN);
	const struct top_sums total = record_top_total(r->top);
	char cell[TOP_CELL_MAX];

	if (!r->json) {
		printf("%15s %12s %10s", "OCTETS", "PACKETS", "FLOWS");
		for (unsigned int k = 0; k < record_top_keys(r->top); k++)
			printf("  %s", record_top_name(r->top, k));
		putchar('\n');
	}
	for (size_t i = 0; i < shown; i++) {
		if (r->json)
			putchar('{');
		else
			print_sums(r, &rows[i]->sums);
		for (unsigned int k = 0; k < record_top_keys(r->top); k++)
			printf(r->json ? "\"%s\":\"%s\"," : "%.0s  %s", record_top_name(r->top, k),
			       record_top_cell(cell, r->top, rows[i], k));
		if (r->json)
			print_sums(r, &rows[i]->sums);
		else
			putchar('\n');
	}
	if (!r->json) {
		print_sums(r, &total);
		printf("  all, of %zu rows%s\n", count,
		       record_top_others(r->top).flows ? " and more" : "");
	}
}

/* --- The command line */

static int take_form(struct reader *r, const char *name, char error[ARGUMENTS_ERROR_MAX])
{
	int form = record_form_parse(name);

	r->json = !strcmp(name, "json") || !strcmp(name, "jsonl");
	if (r->json)
		return 0;
	if (form < 0)
		return snprintf(error, ARGUMENTS_ERROR_MAX,
				"'%s': it is none of table, json, jsonl, csv, compact, wide and "
				"hubble-json",
				name),
		       -EINVAL;
	r->text.form = (enum record_form)form;
	return 0;
}

static int take_last(struct reader *r, const char *text, char error[ARGUMENTS_ERROR_MAX])
{
	if (value_number(text, &r->last) < 0 || !r->last || r->last > LAST_MAX)
		return snprintf(error, ARGUMENTS_ERROR_MAX, "'%s': it is not between 1 and %d",
				text, LAST_MAX),
		       -EINVAL;
	return 0;
}

static int take_by(struct reader *r, const char *text, char error[ARGUMENTS_ERROR_MAX])
{
	int by = record_top_by_parse(text);

	if (by < 0)
		return snprintf(error, ARGUMENTS_ERROR_MAX,
				"'%s': it is none of octets, packets and flows", text),
		       -EINVAL;
	r->by = (enum top_by)by;
	return 0;
}

static int take_flag(struct reader *r, const struct record_flag *flag, const char *value,
		     char error[ARGUMENTS_ERROR_MAX])
{
	char why[FILTER_ERROR_MAX] = "";
	int e = record_choice_add(r->choice, flag, value, why);

	if (e < 0)
		snprintf(error, ARGUMENTS_ERROR_MAX, "%s", *why ? why : strerror(-e));
	return e;
}

static int take(void *userdata, int id, const char *text, char error[ARGUMENTS_ERROR_MAX])
{
	struct reader *r = userdata;

	if (id >= FLAG_BASE)
		return take_flag(r, &record_flags[id - FLAG_BASE], text, error);
	switch (id) {
	case OPTION_OUTPUT:
		return take_form(r, text, error);
	case OPTION_FILTER:
		r->expression = text;
		return 0;
	case OPTION_TOP:
		r->top_keys = text;
		return 0;
	case OPTION_BY:
		return take_by(r, text, error);
	case OPTION_LAST:
		return take_last(r, text, error);
	case OPTION_FOLLOW:
		r->follow = true;
		return 0;
	case OPTION_OPTIONS:
		r->options = true;
		return 0;
	case OPTION_UTC:
		r->text.utc = true;
		return 0;
	default:
		r->files[r->file_count++] = text;
		return 0;
	}
}

/* 0, 1 after --help, -EINVAL: all mistakes have been told. */
static int parse(struct reader *r, int argc, char **argv)
{
	struct argument_option options[ARGUMENTS_OPTIONS_MAX];
	const struct arguments arguments = {
		.verb = "read",
		.usage =
			"read [OPTION]... FILE...\n\n"
			"Shows the records of files and streams of IPFIX and NetFlow v9, from any exporter.\n"
			"FILE may be -, standard input.",
		.examples =
			"examples:\n"
			"  flowtally read /var/tmp/flows.ipfix\n"
			"  flowtally read -o jsonl --filter 'port 443 and net 10.0.0.0/8' flows.ipfix | jq .octetDeltaCount\n"
			"  flowtally read --top src,dport --by octets flows.ipfix.*\n"
			"  flowtally read --follow flows.ipfix\n",
		.options = options,
		.option_count = read_options(options),
		.take = take,
		.userdata = r,
	};
	int error = arguments_parse(&arguments, argc, argv);

	if (error > 0)
		return error;
	if (!r->file_count)
		error = (log_error("no FILE is named; - is standard input"), -EINVAL);
	if (r->follow && r->file_count > 1)
		error = (log_error("--follow: of one FILE alone"), -EINVAL);
	return error;
}

/* -EINVAL and others: told. */
static int make(struct reader *r)
{
	char error[MAX(FILTER_ERROR_MAX, TOP_ERROR_MAX)] = "";
	int e = record_choice_filter(&r->filter, NULL, r->choice, r->expression, error);

	if (e < 0)
		return log_error("--filter: %s", *error ? error : strerror(-e)), e;
	if (r->top_keys) {
		e = record_top_new(&r->top, r->top_keys, r->by, TOP_ROWS, error);
		if (e < 0)
			return log_error("--top: %s", *error ? error : strerror(-e)), e;
	}
	r->memory = open_memstream(&r->line, &r->size);
	if (r->last && !r->top)
		r->kept = calloc(r->last, sizeof(*r->kept));
	if (!r->memory || (r->last && !r->top && !r->kept))
		return log_errno(LOG_ERR, ENOMEM, "cannot read");
	return 0;
}

static void print_kept(const struct reader *r)
{
	for (uint64_t i = r->count > r->last ? r->count - r->last : 0; r->kept && i < r->count; i++)
		printf("%s%s", r->kept[i % r->last] ?: "", r->json ? "\n" : "");
}

int read_main(int argc, char **argv)
{
	_cleanup_(reader_clear) struct reader r = {.json = !isatty(STDOUT_FILENO),
						   .text.form = RECORD_TABLE};
	const struct read_file_events events = {
		.record = on_record, .pause = on_pause, .enough = has_enough, .userdata = &r};
	bool good = true;
	int e;

	r.text.color = isatty(STDOUT_FILENO) && !getenv("NO_COLOR");
	r.files = calloc((size_t)argc, sizeof(*r.files));
	if (!r.files || record_choice_new(&r.choice) < 0)
		return log_errno(LOG_ERR, ENOMEM, "cannot read"), 1;
	e = parse(&r, argc, argv);
	if (e != 0)
		return e < 0 ? USAGE : 0;
	e = make(&r);
	if (e < 0)
		return e == -EINVAL || e == -E2BIG ? USAGE : 1;
	if (!r.json && !r.top && record_text_header(&r.text))
		fputs(record_text_header(&r.text), stdout);
	for (size_t i = 0; i < r.file_count && !ferror(stdout); i++)
		good &= read_file(r.files[i], r.follow, &events);
	if (r.top)
		print_top(&r);
	print_kept(&r);
	if (r.failed)
		return log_errno(LOG_ERR, ENOMEM, "records are left out"), 1;
	return good ? 0 : 1;
}
