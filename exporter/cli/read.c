/* SPDX-License-Identifier: Apache-2.0 */
/* `flowtally read`: the records of files and streams of IPFIX and NetFlow v9, from any exporter. */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>
#include "exporter/cli/arguments.h"
#include "exporter/cli/confine.h"
#include "exporter/cli/interrupt.h"
#include "exporter/cli/last_lines.h"
#include "exporter/cli/read_file.h"
#include "exporter/cli/read_names.h"
#include "exporter/cli/verbs.h"
#include "exporter/cli/when.h"
#include "exporter/export/format/decode_json.h"
#include "exporter/log.h"
#include "exporter/observe/record_filter.h"
#include "exporter/observe/record_flags.h"
#include "exporter/observe/record_text.h"
#include "exporter/observe/record_top.h"
#include "exporter/observe/record_view.h"
#include "exporter/observe/text.h"
#include "exporter/value.h"

#define LAST_MAX    1000000
#define LAST_OCTETS (256u << 20)
#define TOP_ROWS    65536
#define TOP_SHOWN   20
#define FLAG_BASE   100 /* the ids of record_flags */

enum {
	OPTION_OUTPUT,
	OPTION_FILTER,
	OPTION_SINCE,
	OPTION_UNTIL,
	OPTION_TOP,
	OPTION_BY,
	OPTION_LAST,
	OPTION_FOLLOW,
	OPTION_OPTIONS,
	OPTION_UTC,
	OPTION_TIME,
	OPTION_COLOR,
};

/* clang-format off */
static const struct argument_option own_options[] = {
	{"output", 'o', ARGUMENT_NEEDED, "FORM",
	 "table (on a terminal), jsonl (elsewhere), json (as jsonl), csv, compact, wide, hubble-json",
	 OPTION_OUTPUT, ARGUMENTS_FORMS},
	{"filter", 0, ARGUMENT_NEEDED, "EXPR", "records that match, as pcap-filter(7) has it",
	 OPTION_FILTER, ""},
	{"since", 0, ARGUMENT_NEEDED, "WHEN",
	 "records that end then or later: 5m (ago), 14:05, 2026-11-29T14:05:30Z", OPTION_SINCE, ""},
	{"until", 0, ARGUMENT_NEEDED, "WHEN", "records that end then or before", OPTION_UNTIL, ""},
	{"top", 0, ARGUMENT_NEEDED, "KEY[,KEY]",
	 "sums by src, dst, host, sport, dport, port, service, proto, iface, ...; as table, jsonl or csv",
	 OPTION_TOP, ""},
	{"by", 0, ARGUMENT_NEEDED, "WHAT", "what --top sorts by: octets, packets or flows (octets)",
	 OPTION_BY, "octets packets flows"},
	{"last", 'n', ARGUMENT_NEEDED, "N", "the last N records; with --top the first N rows (20)",
	 OPTION_LAST, ""},
	{"follow", 'f', ARGUMENT_NONE, NULL,
	 "go on when the file grows, and with the next one of its name", OPTION_FOLLOW, ""},
	{"options", 0, ARGUMENT_NONE, NULL, "options records too, in JSON", OPTION_OPTIONS, ""},
	{"utc", 0, ARGUMENT_NONE, NULL,
	 "times in UTC, not local: shown, and of --since and --until", OPTION_UTC, ""},
	{"time-format", 0, ARGUMENT_NEEDED, "NAME", ARGUMENTS_TIMES_HELP, OPTION_TIME, ARGUMENTS_TIMES},
	{"color", 0, ARGUMENT_NEEDED, "WHEN", "auto, always or never (auto; $NO_COLOR)",
	 OPTION_COLOR, "auto always never"},
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
	const char *form; /* as it was said; NULL: it was not */
	bool json, options, follow;
	const char *color; /* likewise */
	bool filtered;	   /* by an expression or a flag */
	const char *expression, *top_keys, *by_name;
	struct when_span span;
	enum top_by by;
	uint64_t last; /* 0: not said */
	struct record_choice *choice;
	struct record_filter *filter;
	const char **files;
	size_t file_count;
	struct read_names *names; /* of the file at hand */
	const char *file;
	uint64_t unnamed; /* records in it that a filter by an interface's name could not know */
	struct record_top *top;
	bool leaves_out_drops;
	uint64_t left_out;	 /* records */
	struct last_lines *kept; /* not shown yet; NULL: each line is shown at once */
	char *line;		 /* of the record at hand */
	size_t size;
	FILE *memory;
	bool failed; /* a record could not be shown for want of memory */
};

static void reader_clear(struct reader *r)
{
	last_lines_freep(&r->kept);
	fclosep(&r->memory);
	free(r->line);
	record_top_freep(&r->top);
	read_names_freep(&r->names);
	record_filter_freep(&r->filter);
	record_choice_freep(&r->choice);
	free(r->files);
}

/* --- Records */

static void show(struct reader *r, const struct record_view *view)
{
	if (!r->json) {
		rewind(r->memory);
		record_text_print(&r->text, view, r->memory);
		fflush(r->memory);
		putc('\0', r->memory);
		fflush(r->memory);
	}
	if (r->kept) {
		r->failed |= last_lines_add(r->kept, r->line) < 0;
		return;
	}
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

static bool is_of_time(const struct reader *r, const struct record_view *view)
{
	if (!r->span.since && !r->span.until)
		return true;
	return view->parts & VIEW_TIMES && view->end_ms >= r->span.since_ms &&
	       view->end_ms <= r->span.until_ms;
}

/* False: it is not shown. */
static bool look(struct reader *r, const struct decode_record *record, struct record_view *ret)
{
	json_t *object;

	if (!render(r, record, true))
		return false;
	object = json_loads(r->line, 0, NULL);
	if (!object || record_view_of_json(ret, object) < 0)
		*ret = (struct record_view){0};
	json_decref(object);
	read_names_apply(r->names, record->domain, ret);
	if (!is_of_time(r, ret))
		return false;
	if (ret->ifindex && !*ret->interface)
		r->unnamed++;
	return record_filter_matches(r->filter, ret);
}

/* A dropped packet may have been metered before it was dropped, and is not to be counted twice. */
static void add(struct reader *r, const struct record_view *view)
{
	if (r->leaves_out_drops && view->parts & VIEW_DROP)
		r->left_out++;
	else
		record_top_add(r->top, view);
}

static void on_record(void *userdata, const struct decode_record *record)
{
	struct reader *r = userdata;
	struct record_view view = {0};

	if (record->options) {
		read_names_learn(r->names, record);
		if (r->options && render(r, record, false))
			show(r, &view);
		return;
	}
	if ((!r->json || r->top || r->filtered || r->span.since || r->span.until) &&
	    !look(r, record, &view))
		return;
	if (r->top)
		add(r, &view);
	else if (!r->json || render(r, record, false))
		show(r, &view);
}

static void print_kept(struct reader *r)
{
	if (!r->kept)
		return;
	if (last_lines_short(r->kept) && !r->failed)
		log_warning("--last: %" PRIu64 " records fewer are shown: those kept have %u MiB, "
			    "which is the most",
			    last_lines_short(r->kept), LAST_OCTETS >> 20);
	last_lines_print(r->kept, stdout, r->json ? "\n" : "");
	last_lines_freep(&r->kept);
}

static void report_unnamed(struct reader *r)
{
	if (r->unnamed && record_filter_asks(r->filter) & FILTER_ASKS_INTERFACE_NAME)
		log_warning("%s: the interfaces of %" PRIu64 " records have no name in front of "
			    "them in the file: a filter can match these by number alone",
			    r->file, r->unnamed);
	r->unnamed = 0;
}

static void on_begin(void *userdata)
{
	struct reader *r = userdata;

	read_names_forget(r->names);
}

static void on_pause(void *userdata)
{
	struct reader *r = userdata;

	if (r->follow) {
		print_kept(r);
		report_unnamed(r);
	}
	fflush(stdout);
}

static bool has_enough(_unused_ void *userdata)
{
	return interrupt_came() || ferror(stdout);
}

/* --- Sums */

static void print_top_table(const struct reader *r, const struct top_row *const *rows, size_t shown,
			    size_t count)
{
	const struct top_sums total = record_top_total(r->top);
	char cell[TOP_CELL_MAX];

	printf("%15s %12s %10s", "OCTETS", "PACKETS", "FLOWS");
	for (unsigned int k = 0; k < record_top_keys(r->top); k++)
		printf("  %s", record_top_name(r->top, k));
	for (size_t i = 0; i < shown; i++) {
		const struct top_sums *sums = &rows[i]->sums;

		printf("\n%15" PRIu64 " %12" PRIu64 " %10" PRIu64, sums->octets, sums->packets,
		       sums->flows);
		for (unsigned int k = 0; k < record_top_keys(r->top); k++)
			printf("  %s", record_top_cell(cell, r->top, rows[i], k));
	}
	printf("\n%15" PRIu64 " %12" PRIu64 " %10" PRIu64 "  all, of %zu rows%s", total.octets,
	       total.packets, total.flows, count,
	       record_top_others(r->top).flows ? " and more" : "");
	if (r->left_out)
		printf("; without %" PRIu64 " records of drops", r->left_out);
	putchar('\n');
}

static void print_top_csv(const struct reader *r, const struct top_row *const *rows, size_t shown)
{
	char cell[TOP_CELL_MAX];

	printf("octets,packets,flows");
	for (unsigned int k = 0; k < record_top_keys(r->top); k++)
		printf(",%s", record_top_name(r->top, k));
	for (size_t i = 0; i < shown; i++) {
		printf("\r\n%" PRIu64 ",%" PRIu64 ",%" PRIu64, rows[i]->sums.octets,
		       rows[i]->sums.packets, rows[i]->sums.flows);
		for (unsigned int k = 0; k < record_top_keys(r->top); k++) {
			putchar(',');
			record_text_csv(stdout, record_top_cell(cell, r->top, rows[i], k));
		}
	}
	printf("\r\n");
}

static void print_top_json(struct reader *r, const struct top_row *row)
{
	json_t *object = json_object();
	char cell[TOP_CELL_MAX];

	for (unsigned int k = 0; k < record_top_keys(r->top); k++)
		json_object_set_new(object, record_top_name(r->top, k),
				    text_json(record_top_cell(cell, r->top, row, k)));
	json_object_set_new(object, "octets", json_integer((json_int_t)row->sums.octets));
	json_object_set_new(object, "packets", json_integer((json_int_t)row->sums.packets));
	json_object_set_new(object, "flows", json_integer((json_int_t)row->sums.flows));
	r->failed |= !object || json_dumpf(object, stdout, JSON_COMPACT) < 0;
	putchar('\n');
	json_decref(object);
}

static void print_top(struct reader *r)
{
	const struct top_row *const *rows;
	const size_t count = record_top_sort(r->top, &rows),
		     shown = MIN(count, r->last ? r->last : TOP_SHOWN);

	if (!r->json && r->text.form == RECORD_CSV)
		print_top_csv(r, rows, shown);
	else if (!r->json)
		print_top_table(r, rows, shown, count);
	for (size_t i = 0; r->json && i < shown; i++)
		print_top_json(r, rows[i]);
}

/* --- The command line */

static int take_last(struct reader *r, const char *text, char error[ARGUMENTS_ERROR_MAX])
{
	if (value_number(text, &r->last) < 0 || !r->last || r->last > LAST_MAX)
		return snprintf(error, ARGUMENTS_ERROR_MAX, "'%s': not a number; it can be 1 to %d",
				text, LAST_MAX),
		       -EINVAL;
	return 0;
}

static int take(void *userdata, int id, const char *text, char error[ARGUMENTS_ERROR_MAX])
{
	struct reader *r = userdata;

	r->filtered |= id >= FLAG_BASE || id == OPTION_FILTER;
	if (id >= FLAG_BASE)
		return arguments_take_flag(r->choice, id - FLAG_BASE, text, error);
	switch (id) {
	case OPTION_OUTPUT:
		r->form = text;
		return arguments_take_form(&r->text, &r->json, text);
	case OPTION_FILTER:
		r->expression = text;
		return 0;
	case OPTION_SINCE:
		r->span.since = text;
		return 0;
	case OPTION_UNTIL:
		r->span.until = text;
		return 0;
	case OPTION_TOP:
		r->top_keys = text;
		return 0;
	case OPTION_BY:
		r->by_name = text;
		return arguments_take_by(&r->by, text);
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
	case OPTION_TIME:
		return arguments_take_time(&r->text, text);
	case OPTION_COLOR:
		return arguments_take_color(&r->color, text);
	default:
		r->files[r->file_count++] = text;
		return 0;
	}
}

/* Words that `observe` and `top` take as an expression. */
static bool is_file(const char *path)
{
	_cleanup_(record_filter_freep) struct record_filter *filter = NULL;
	char error[FILTER_ERROR_MAX];

	if (!strcmp(path, "-") || access(path, F_OK) == 0 || errno != ENOENT ||
	    record_filter_new(&filter, path, error) < 0)
		return true;
	log_error("%s: there is no such file; an expression stands behind --filter, as in "
		  "--filter '%s'",
		  path, path);
	return false;
}

static bool check_files(const struct reader *r)
{
	unsigned int standard = 0;
	bool good = true;

	for (size_t i = 0; i < r->file_count; i++) {
		good &= is_file(r->files[i]);
		standard += !strcmp(r->files[i], "-");
	}
	if (!r->file_count)
		good = (log_error("no FILE is named; - is standard input"), false);
	if (standard > 1)
		good = (log_error("-: standard input can be read once"), false);
	if (r->follow && r->file_count > 1)
		good = (log_error("--follow: it follows one FILE; %zu are named", r->file_count),
			false);
	if (r->follow && standard)
		good = (log_error("--follow: standard input is read until it ends anyway"), false);
	return good;
}

/* Options that say nothing together are refused, and not passed over in silence. */
static bool check_options(const struct reader *r)
{
	const char *form = r->form ? r->form : "table";
	bool good = true;

	if (r->by_name && !r->top_keys)
		good = (log_error("--by %s: it is what --top sorts by, and there is no --top",
				  r->by_name),
			false);
	if (r->options && r->top_keys)
		good = (log_error("--options: records of options have no sums; leave out --top"),
			false);
	else if (r->options && !r->json)
		good = (log_error("--options: records of options have no form but JSON, not %s; "
				  "add -o jsonl",
				  form),
			false);
	if (r->top_keys && !r->json && r->text.form != RECORD_TABLE && r->text.form != RECORD_CSV)
		good = (log_error("--top: sums can be shown as table, csv or jsonl, not as %s",
				  form),
			false);
	return good;
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
			"  flowtally read --last 10 --follow flows.ipfix\n"
			"  zcat flows.ipfix.gz | flowtally read --since 14:05 --verdict DROPPED -\n",
		.options = options,
		.option_count = read_options(options),
		.take = take,
		.userdata = r,
	};
	int error = arguments_parse(&arguments, argc, argv);
	bool good;

	if (error > 0)
		return error;
	good = check_files(r) && error == 0;
	good &= check_options(r);
	/* Which zone is meant may be said after the time. */
	good &= when_read_span(&r->span, clock_ns(CLOCK_REALTIME) / NSEC_PER_MSEC, r->text.utc);
	return good ? 0 : -EINVAL;
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
		r->leaves_out_drops = !record_top_asks_drops(r->top) &&
				      !(record_filter_asks(r->filter) & FILTER_ASKS_DROPS);
	}
	r->memory = open_memstream(&r->line, &r->size);
	if (r->last && !r->top && last_lines_new(&r->kept, r->last, LAST_OCTETS) < 0)
		return log_errno(LOG_ERR, ENOMEM, "cannot read");
	if (!r->memory || read_names_new(&r->names) < 0)
		return log_errno(LOG_ERR, ENOMEM, "cannot read");
	return 0;
}

/* All files; false after what is wrong has been logged. */
static bool read_all(struct reader *r)
{
	const struct read_file_events events = {.begin = on_begin,
						.record = on_record,
						.pause = on_pause,
						.enough = has_enough,
						.userdata = r};
	bool good = true;

	for (size_t i = 0; i < r->file_count && !has_enough(r); i++) {
		r->file = strcmp(r->files[i], "-") ? r->files[i] : "standard input";
		good &= read_file(r->files[i], r->follow, &events);
		report_unnamed(r);
	}
	if (interrupt_came() && !r->follow)
		good = (log_warning("a signal came: the rest has not been read"), false);
	return good;
}

static int run(struct reader *r)
{
	bool good;

	interrupt_catch(SIGINT); /* what has been read is shown, in full lines, and not cut short */
	interrupt_catch(SIGTERM);
	if (!r->json && !r->top)
		record_text_print_header(&r->text, stdout);
	good = read_all(r);
	if (r->top)
		print_top(r);
	print_kept(r);
	if (r->failed)
		return log_errno(LOG_ERR, ENOMEM, "records are left out"), EXIT_FAILED;
	return good ? EXIT_DONE : EXIT_FAILED;
}

int read_main(int argc, char **argv)
{
	_cleanup_(reader_clear) struct reader r = {.json = !isatty(STDOUT_FILENO),
						   .text.form = RECORD_TABLE,
						   .span.until_ms = UINT64_MAX};
	int e;

	r.files = calloc((size_t)argc, sizeof(*r.files));
	if (!r.files || record_choice_new(&r.choice) < 0)
		return log_errno(LOG_ERR, ENOMEM, "cannot read"), EXIT_FAILED;
	e = parse(&r, argc, argv);
	if (e != 0)
		return e < 0 ? EXIT_USAGE : EXIT_DONE;
	r.text.color = arguments_color(r.color);
	e = make(&r);
	if (e < 0)
		return e == -EINVAL || e == -E2BIG ? EXIT_USAGE : EXIT_FAILED;
	if (confine_reader(r.files, r.file_count, r.follow) < 0)
		return EXIT_FAILED;
	return run(&r);
}
