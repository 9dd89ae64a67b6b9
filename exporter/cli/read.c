/* SPDX-License-Identifier: Apache-2.0 */
/* `flowtally read`: the records of files and streams of IPFIX and NetFlow v9, from any exporter. */
#include <errno.h>
#include <getopt.h>
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
#define FLAGS_MAX 64

enum {
	OPTION_FLAG = 1000, /* and those of record_flags behind it */
	OPTION_TOP = 500,
	OPTION_BY,
	OPTION_LAST,
	OPTION_FILTER,
	OPTION_UTC,
	OPTION_OPTIONS,
};

struct reader {
	struct record_text text;
	bool json, options, follow;
	const char *expression, *top_keys;
	enum top_by by;
	uint64_t last;
	struct record_choice *choice;
	struct record_filter *filter;
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

static void print_help(void)
{
	printf("usage: flowtally read [OPTION]... FILE...\n\n"
	       "Shows the records of files and streams of IPFIX and NetFlow v9, from any exporter.  FILE may be -,\n"
	       "standard input.\n\n"
	       "  -o, --output FORM     table (on a terminal), jsonl (elsewhere), json, csv, compact, wide, hubble-json\n"
	       "      --filter EXPR     records that match, as pcap-filter(7) has it\n"
	       "      --top KEY[,KEY]   sums by src, dst, host, sport, dport, port, service, proto, iface, ...\n"
	       "      --by WHAT         octets (default), packets or flows: what --top sorts by\n"
	       "      --last N          the last N records; with --top the first N rows (default %d)\n"
	       "      --follow          go on when the file grows, and with the next one of its name\n"
	       "      --options         options records too, in JSON\n"
	       "      --utc             times in UTC\n\n",
	       TOP_SHOWN);
	for (size_t i = 0; i < record_flag_count; i++) {
		char name[64];

		snprintf(name, sizeof(name), "--%s%s%s", record_flags[i].name,
			 record_flags[i].argument ? " " : "",
			 record_flags[i].argument ? record_flags[i].argument : "");
		printf("      %-25s %s\n", name, record_flags[i].help);
	}
	printf("      %-25s %s\n", "--help", "print this");
	printf("\nexamples:\n"
	       "  flowtally read /var/tmp/flows.ipfix\n"
	       "  flowtally read -o jsonl --filter 'port 443 and net 10.0.0.0/8' flows.ipfix | jq .octetDeltaCount\n"
	       "  flowtally read --top src,dport --by octets flows.ipfix.*\n"
	       "  flowtally read --follow flows.ipfix\n\n"
	       "Exit status: 0, 1 when a file could not be read in full, 2 for mistakes on the command line.\n");
}

static int parse_form(struct reader *r, const char *name)
{
	int form = record_form_parse(name);

	r->json = !strcmp(name, "json") || !strcmp(name, "jsonl");
	if (r->json)
		return 0;
	if (form < 0)
		return log_error(
			       "--output: '%s' is none of table, json, jsonl, csv, compact, wide and hubble-json",
			       name),
		       -EINVAL;
	r->text.form = (enum record_form)form;
	return 0;
}

static int parse_number(struct reader *r, const char *text)
{
	if (value_number(text, &r->last) < 0 || !r->last || r->last > LAST_MAX)
		return log_error("--last: '%s' is not between 1 and %d", text, LAST_MAX), -EINVAL;
	return 0;
}

static int parse_by(struct reader *r, const char *text)
{
	int by = record_top_by_parse(text);

	if (by < 0)
		return log_error("--by: '%s' is none of octets, packets and flows", text), -EINVAL;
	r->by = (enum top_by)by;
	return 0;
}

static int take_flag(struct reader *r, const struct record_flag *flag, const char *value)
{
	char error[FILTER_ERROR_MAX] = "";
	int e = record_choice_add(r->choice, flag, value, error);

	if (e < 0)
		log_error("--%s: %s", flag->name, *error ? error : strerror(-e));
	return e;
}

static int take_option(struct reader *r, int option, const char *value)
{
	switch (option) {
	case 'o':
		return parse_form(r, value);
	case OPTION_TOP:
		r->top_keys = value;
		return 0;
	case OPTION_BY:
		return parse_by(r, value);
	case OPTION_LAST:
		return parse_number(r, value);
	case OPTION_FILTER:
		r->expression = value;
		return 0;
	case OPTION_UTC:
		r->text.utc = true;
		return 0;
	case OPTION_OPTIONS:
		r->options = true;
		return 0;
	case 'f':
		r->follow = true;
		return 0;
	default:
		return take_flag(r, &record_flags[option - OPTION_FLAG], value);
	}
}

static const struct option own_options[] = {
	{"output", required_argument, NULL, 'o'},
	{"top", required_argument, NULL, OPTION_TOP},
	{"by", required_argument, NULL, OPTION_BY},
	{"last", required_argument, NULL, OPTION_LAST},
	{"filter", required_argument, NULL, OPTION_FILTER},
	{"utc", no_argument, NULL, OPTION_UTC},
	{"options", no_argument, NULL, OPTION_OPTIONS},
	{"follow", no_argument, NULL, 'f'},
	{"help", no_argument, NULL, 'h'},
	{0},
};

#define OWN_OPTIONS (ARRAY_SIZE(own_options) - 1)

size_t read_options(struct argument_option *ret)
{
	size_t own = arguments_add_getopt(ret, 0, own_options);
	size_t count = arguments_add_flags(ret, own, OPTION_FLAG);

	for (size_t i = own; i < count; i++)
		ret[i].letter = 0;
	arguments_set_words(ret, own, "output", "table jsonl json csv compact wide hubble-json");
	arguments_set_words(ret, own, "by", "octets packets flows");
	return count;
}

static void refuse_option(const char *word, const struct option *options)
{
	char hint[VALUE_HINT_MAX];
	struct value_guess guess = {0};

	for (; options->name; options++)
		if (!strncmp(word, "--", 2))
			value_guess_offer(&guess, word + 2, options->name);
	log_error("'%s': unknown option, or its value is missing or not wanted%s", word,
		  value_guess_hint(&guess, hint));
}

/* 0, 1 after --help, -EINVAL: all mistakes have been told. */
static int parse(struct reader *r, int argc, char **argv)
{
	struct option options[FLAGS_MAX + OWN_OPTIONS + 1] = {0};
	size_t count = OWN_OPTIONS;
	int option, index, error = 0;

	memcpy(options, own_options, sizeof(own_options));
	for (size_t i = 0; i < MIN(record_flag_count, (size_t)FLAGS_MAX); i++)
		options[count++] =
			(struct option){record_flags[i].name,
					record_flags[i].argument ? required_argument : no_argument,
					NULL, OPTION_FLAG + (int)i};
	opterr = 0;
	for (;;) {
		index = optind;
		option = getopt_long(argc, argv, "o:fh", options, NULL);
		if (option < 0)
			break;
		if (option == 'h')
			return print_help(), 1;
		if (option == '?')
			refuse_option(argv[index], options), error = -EINVAL;
		else if (take_option(r, option, optarg) < 0)
			error = -EINVAL;
	}
	if (optind == argc)
		error = (log_error("no FILE is named; - is standard input"), -EINVAL);
	if (r->follow && argc - optind > 1)
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
	if (record_choice_new(&r.choice) < 0)
		return log_errno(LOG_ERR, ENOMEM, "cannot read"), 1;
	e = parse(&r, argc, argv);
	if (e != 0)
		return e < 0 ? USAGE : 0;
	e = make(&r);
	if (e < 0)
		return e == -EINVAL || e == -E2BIG ? USAGE : 1;
	if (!r.json && !r.top && record_text_header(&r.text))
		fputs(record_text_header(&r.text), stdout);
	for (int i = optind; i < argc && !ferror(stdout); i++)
		good &= read_file(argv[i], r.follow, &events);
	if (r.top)
		print_top(&r);
	print_kept(&r);
	if (r.failed)
		return log_errno(LOG_ERR, ENOMEM, "records are left out"), 1;
	return good ? 0 : 1;
}
