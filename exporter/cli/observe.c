/* SPDX-License-Identifier: Apache-2.0 */
/* `flowtally observe`: what flows, now and just past, from the ring of the running exporter. */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include "exporter/cli/arguments.h"
#include "exporter/cli/client.h"
#include "exporter/cli/interrupt.h"
#include "exporter/cli/metered.h"
#include "exporter/cli/verbs.h"
#include "exporter/cli/when.h"
#include "exporter/log.h"
#include "exporter/observe/control.h"
#include "exporter/observe/control_request.h"
#include "exporter/observe/record_flags.h"
#include "exporter/observe/record_text.h"
#include "exporter/observe/ring.h"
#include "exporter/value.h"

#define LAST_STANDARD 20 /* without --last, --since, --until, --all and --follow */
#define ANSWER_MS     10000
#define FLAG_BASE     1000 /* id of the first of record_flags */
#define WORDS_MAX     CONTROL_REQUEST_MAX

enum {
	OPTION_SOCKET,
	OPTION_FOLLOW,
	OPTION_LAST,
	OPTION_FIRST,
	OPTION_ALL,
	OPTION_SINCE,
	OPTION_UNTIL,
	OPTION_OUTPUT,
	OPTION_UTC,
	OPTION_TIME,
	OPTION_COLOR,
};

static const struct argument_option own_options[] = {
	{"follow", 'f', ARGUMENT_NONE, NULL, "go on with what comes", OPTION_FOLLOW},
	{"last", 'n', ARGUMENT_NEEDED, "N", "so many of the newest (20)", OPTION_LAST},
	{"first", 0, ARGUMENT_NEEDED, "N", "so many of the oldest, and no more", OPTION_FIRST},
	{"all", 0, ARGUMENT_NONE, NULL, "all that the ring holds", OPTION_ALL},
	{"since", 0, ARGUMENT_NEEDED, "WHEN", "5m (ago), 14:05, 2026-11-29T14:05:30Z",
	 OPTION_SINCE},
	{"until", 0, ARGUMENT_NEEDED, "WHEN", "likewise", OPTION_UNTIL},
	{"output", 'o', ARGUMENT_NEEDED, "FORM",
	 "compact, table, wide, json or jsonl (an object a line), csv or hubble-json, which "
	 "Hubble calls jsonpb (compact)",
	 OPTION_OUTPUT, ARGUMENTS_FORMS " jsonpb"},
	{"utc", 0, ARGUMENT_NONE, NULL,
	 "times in UTC, not local: shown, and of --since and --until", OPTION_UTC},
	{"time-format", 0, ARGUMENT_NEEDED, "NAME", ARGUMENTS_TIMES_HELP, OPTION_TIME,
	 ARGUMENTS_TIMES},
	{"color", 0, ARGUMENT_NEEDED, "WHEN", "auto, always or never (auto; $NO_COLOR)",
	 OPTION_COLOR, "auto always never"},
	{"socket", 0, ARGUMENT_NEEDED, "PATH", "the exporter's control socket (" CONTROL_SOCKET ")",
	 OPTION_SOCKET},
};

struct observe {
	const char *path;
	uint64_t now_ms;
	bool follow;
	bool answered;	      /* a line came */
	bool asked;	      /* for more than there may be: by --last, --since or --all */
	bool objects;	      /* each record as it comes, an object a line */
	uint64_t last, first; /* UINT64_MAX: not said */
	uint64_t shown;	      /* records */
	struct when_span span;
	const char *color; /* as it was said; NULL: it was not */
	struct record_text text;
	struct record_choice *choice;
	char words[WORDS_MAX]; /* the expression */
	uint64_t missed;       /* records */
};

/* --- The command line. */

static int take_count(struct observe *o, uint64_t *ret, const char *text,
		      char error[ARGUMENTS_ERROR_MAX])
{
	o->asked = true;
	if (value_number(text, ret) == 0 && *ret <= RING_RECORDS_MAX)
		return 0;
	snprintf(error, ARGUMENTS_ERROR_MAX, "'%s': not a number; it can be 0 to %d", text,
		 RING_RECORDS_MAX);
	return -EINVAL;
}

static int take(void *userdata, int id, const char *text, char error[ARGUMENTS_ERROR_MAX])
{
	struct observe *o = userdata;

	if (id >= FLAG_BASE)
		return arguments_take_flag(o->choice, id - FLAG_BASE, text, error);
	switch (id) {
	case OPTION_SOCKET:
		o->path = text;
		return 0;
	case OPTION_FOLLOW:
		o->follow = true;
		return 0;
	case OPTION_LAST:
		return take_count(o, &o->last, text, error);
	case OPTION_FIRST:
		return take_count(o, &o->first, text, error);
	case OPTION_ALL:
		o->span.since_ms = 1; /* of 1970 */
		o->span.since = NULL;
		return 0;
	case OPTION_SINCE:
		o->asked = true;
		o->span.since = text;
		return 0;
	case OPTION_UNTIL:
		o->span.until = text;
		return 0;
	case OPTION_OUTPUT:
		return arguments_take_form(&o->text, &o->objects,
					   strcmp(text, "jsonpb") ? text : "hubble-json");
	case OPTION_UTC:
		o->text.utc = true;
		return 0;
	case OPTION_TIME:
		return arguments_take_time(&o->text, text);
	case OPTION_COLOR:
		return arguments_take_color(&o->color, text);
	default:
		return arguments_take_word(o->words, sizeof(o->words), text, error);
	}
}

size_t observe_options(struct argument_option *ret)
{
	_Static_assert(ARRAY_SIZE(own_options) < ARGUMENTS_OPTIONS_MAX, "room for the flags");
	memcpy(ret, own_options, sizeof(own_options));
	return arguments_add_flags(ret, ARRAY_SIZE(own_options), FLAG_BASE);
}

/* 0, 1 after --help, -errno. */
static int parse(struct observe *o, int argc, char **argv)
{
	struct argument_option options[ARGUMENTS_OPTIONS_MAX];
	struct arguments arguments = {
		.verb = "observe",
		.usage =
			"observe [OPTION]... [EXPRESSION]\n\n"
			"Shows what flows, now and just past: each line is what a flow or a drop has had\n"
			"since the banks were last read. EXPRESSION is as tcpdump has it (pcap-filter(7)).",
		.examples = "examples:\n"
			    "  flowtally observe                                # the last 20\n"
			    "  flowtally observe -f tcp and port 443\n"
			    "  flowtally observe --since 5m --verdict DROPPED\n"
			    "  flowtally observe -f --from-ip 10.0.0.0/8 --not --port 22\n"
			    "  flowtally observe --all -o csv >flows.csv\n"
			    "  flowtally observe -f -o hubble-json | jq -r .flow.IP.source\n",
		.options = options,
		.take = take,
		.userdata = o,
	};

	arguments.option_count = observe_options(options);
	return arguments_parse(&arguments, argc, argv);
}

/* False after what is wrong has been logged. */
static bool check_counts(const struct observe *o)
{
	if (o->first == UINT64_MAX || o->last == UINT64_MAX)
		return true;
	log_error("--first and --last exclude each other");
	return false;
}

/* --- The request. */

/* What is meant where nothing is said of how much. */
static uint64_t how_many(const struct observe *o)
{
	if (o->last != UINT64_MAX)
		return o->last;
	if (o->span.since_ms || o->first != UINT64_MAX ||
	    (o->span.until_ms != UINT64_MAX && !o->follow))
		return UINT64_MAX;
	return o->follow ? 0 : LAST_STANDARD;
}

/* NULL without memory. */
static json_t *request_of(const struct observe *o, const char *filter)
{
	json_t *request = json_pack("{s:i,s:s,s:b}", "version", CONTROL_VERSION, "ask", "records",
				    "follow", o->follow);
	const uint64_t last = how_many(o);

	if (last != UINT64_MAX)
		json_object_set_new(request, "last", json_integer((json_int_t)last));
	if (o->span.since_ms)
		json_object_set_new(request, "since_ms",
				    json_integer((json_int_t)o->span.since_ms));
	if (o->span.until_ms != UINT64_MAX)
		json_object_set_new(request, "until_ms",
				    json_integer((json_int_t)o->span.until_ms));
	if (filter && *filter)
		json_object_set_new(request, "filter", json_string(filter));
	return request;
}

/* --- The answer. */

static uint64_t number(const json_t *object, const char *key)
{
	return (uint64_t)json_integer_value(json_object_get(object, key));
}

/* Who asked for more than there is learns how much that is. */
static void show_begin(const struct observe *o, const json_t *line)
{
	char from[WHEN_TEXT_MAX], to[WHEN_TEXT_MAX];

	if (!o->objects)
		record_text_print_header(&o->text, stdout);
	if (!o->asked || json_is_true(json_object_get(line, "complete")))
		return;
	if (!number(line, "held")) {
		fprintf(stderr, "flowtally: the ring holds no records yet\n");
		return;
	}
	when_print(from, number(line, "oldest_ms"), o->now_ms, o->text.utc);
	when_print(to, number(line, "newest_ms"), o->now_ms, o->text.utc);
	fprintf(stderr, "flowtally: the ring holds %s to %s, %" PRIu64 " records\n", from, to,
		number(line, "held"));
}

static void show_record(struct observe *o, const json_t *record)
{
	struct record_view view;

	if (o->objects) {
		json_dumpf(record, stdout, JSON_COMPACT);
		fputc('\n', stdout);
	} else if (record_view_of_json(&view, record) == 0) {
		record_text_print(&o->text, &view, stdout);
	}
	o->shown++;
}

/* 0: go on; 1: it was the last line; -EIO: the exporter has ended. */
static int show_line(struct observe *o, const json_t *line)
{
	const json_t *record = json_object_get(line, "record");
	const char *end = json_string_value(json_object_get(line, "end"));

	if (record)
		show_record(o, record);
	else if (json_object_get(line, "answer"))
		show_begin(o, line);
	o->missed += number(line, "missed");
	if (end && *end)
		log_error("%s", end);
	if (o->shown >= o->first)
		return 1;
	return !end ? 0 : *end ? -EIO : 1;
}

static int explain(const struct client *client, int error)
{
	if (error == -EINVAL)
		log_error("%s", client_refusal(client));
	else if (error == -ENODATA)
		log_error("the exporter has ended");
	else if (error == -EAGAIN)
		log_error("the exporter does not answer: is the machine overloaded?");
	else
		log_errno(LOG_ERR, error, "the exporter's answer cannot be read");
	return EXIT_FAILED;
}

/* What there is for now is shown before more is waited for.  -EINTR, -EPIPE: to be ended; else as of client_read(). */
static int next_line(const struct observe *o, struct client *client, json_t **ret)
{
	int r;

	while ((r = client_read(client, 0, ret)) == -EAGAIN) {
		if (fflush(stdout) != 0)
			return -EPIPE;
		r = interrupt_wait(client_fd(client), o->answered && o->follow ? -1 : ANSWER_MS);
		if (r <= 0)
			return r < 0 ? r : -EAGAIN;
	}
	return r;
}

static int show_all(struct observe *o, struct client *client)
{
	json_t *line;
	int r;

	while (!interrupt_came() && !ferror(stdout)) {
		r = next_line(o, client, &line);
		if (r == -EINTR || r == -EPIPE)
			break;
		if (r < 0)
			return explain(client, r);
		o->answered = true;
		r = show_line(o, line);
		json_decref(line);
		if (r != 0)
			return r < 0 ? EXIT_FAILED : EXIT_DONE;
	}
	return EXIT_DONE;
}

static int run(struct observe *o, const char *filter)
{
	_cleanup_(client_freep) struct client *client = NULL;
	char why[CLIENT_WHY_MAX];
	int r = client_open(&client, o->path, why);

	if (r < 0) {
		log_error("%s", why);
		return EXIT_NOT_RUNNING;
	}
	metered_check(filter, o->path);
	r = client_ask(client, request_of(o, filter));
	if (r < 0)
		return log_errno(LOG_ERR, r, "the exporter cannot be asked"), EXIT_FAILED;
	interrupt_catch(SIGINT); /* what was missed is said at the end */
	interrupt_catch(SIGTERM);
	r = show_all(o, client);
	(void)fflush(stdout);
	if (o->missed)
		log_warning("%" PRIu64
			    " records are not shown: they came faster than they were read",
			    o->missed);
	return r;
}

int observe_main(int argc, char **argv)
{
	_cleanup_(record_choice_freep) struct record_choice *choice = NULL;
	_cleanup_(freep) struct observe *o = calloc(1, sizeof(*o));
	_cleanup_(freep) char *filter = NULL;
	int r;

	if (!o || record_choice_new(&choice) < 0)
		return log_errno(LOG_ERR, -ENOMEM, "cannot begin"), EXIT_FAILED;
	o->path = CONTROL_SOCKET;
	o->choice = choice;
	o->now_ms = clock_ns(CLOCK_REALTIME) / NSEC_PER_MSEC;
	o->last = o->first = o->span.until_ms = UINT64_MAX;
	o->text.form = RECORD_COMPACT;
	r = parse(o, argc, argv);
	/* Which zone is meant may be said after the time. */
	if (r == 0 && when_read_span(&o->span, o->now_ms, o->text.utc) && check_counts(o))
		filter = arguments_filter(o->choice, o->words);
	if (r != 0 || !filter)
		return r > 0 ? EXIT_DONE : EXIT_USAGE; /* --help */
	o->text.color = arguments_color(o->color);
	return run(o, filter);
}
