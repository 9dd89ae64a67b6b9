/* SPDX-License-Identifier: Apache-2.0 */
/* `flowtally top`: what flows most, on a full screen or as text again and again. */
#include <errno.h>
#include <langinfo.h>
#include <locale.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include "exporter/cli/arguments.h"
#include "exporter/cli/client.h"
#include "exporter/cli/top_model.h"
#include "exporter/cli/top_screen.h"
#include "exporter/cli/verbs.h"
#include "exporter/log.h"
#include "exporter/observe/control.h"
#include "exporter/observe/record_flags.h"
#include "exporter/observe/text.h"
#include "exporter/value.h"

#define DONE	    0
#define FAILED	    1
#define NOT_RUNNING 2
#define USAGE	    2

#define ANSWER_MS     10000
#define LOOK_MS	      200 /* keys wake at once */
#define AGAIN_NS      NSEC_PER_SEC
#define FLAG_BASE     1000 /* id of the first of record_flags */
#define WORDS_MAX     CONTROL_REQUEST_MAX
#define BATCH_COLUMNS 512
#define BATCH_MAX     1000000000
#define EVERY_NS_MAX  (CONTROL_EVERY_MS_MAX * NSEC_PER_MSEC)

enum {
	OPTION_TAB,
	OPTION_KEYS,
	OPTION_BY,
	OPTION_EVERY,
	OPTION_OCTETS_A_SECOND,
	OPTION_BATCH,
	OPTION_COUNT,
	OPTION_SOCKET,
};

static const struct argument_option own_options[] = {
	{"tab", 't', ARGUMENT_NEEDED, "TAB",
	 "flows, hosts, ports, protocols, drops or interfaces (flows)", OPTION_TAB,
	 "flows hosts ports protocols drops interfaces"},
	{"keys", 0, ARGUMENT_NEEDED, "KEY[,KEY]", "a tab of these, as of read --top", OPTION_KEYS},
	{"by", 0, ARGUMENT_NEEDED, "SUM", "octets, packets or flows come first (octets)", OPTION_BY,
	 "octets packets flows"},
	{"every", 0, ARGUMENT_NEEDED, "TIME", "between two pictures at least (1s)", OPTION_EVERY},
	{"bytes", 0, ARGUMENT_NONE, NULL, "octets a second, not bits", OPTION_OCTETS_A_SECOND},
	{"batch", 'b', ARGUMENT_NONE, NULL, "as text, without keys", OPTION_BATCH},
	{"number", 'n', ARGUMENT_NEEDED, "N", "end after so many pictures; of --batch",
	 OPTION_COUNT},
	{"socket", 0, ARGUMENT_NEEDED, "PATH", "the exporter's control socket (" CONTROL_SOCKET ")",
	 OPTION_SOCKET},
};

struct top {
	const char *path;
	bool batch;
	uint64_t count; /* of --batch; 0: for ever */
	struct record_choice *flags;
	char words[WORDS_MAX];	     /* the expression */
	struct client *rows;	     /* asked for the sums; NULL: not connected */
	struct client *status;	     /* likewise */
	uint64_t tried_ns, asked_ns; /* CLOCK_MONOTONIC */
	bool status_due;	     /* an answer is on its way */
	struct top_model model;
};

static volatile sig_atomic_t interrupted;

static void on_signal(_unused_ int number)
{
	interrupted = 1;
}

/* Not restarted: whoever waits looks. */
static void catch_signals(void)
{
	const struct sigaction action = {.sa_handler = on_signal};

	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGHUP, &action, NULL);
}

/* --- The command line. */

static int fail(char error[ARGUMENTS_ERROR_MAX], const char *text, const char *allowed)
{
	snprintf(error, ARGUMENTS_ERROR_MAX, "'%s': %s", text, allowed);
	return -EINVAL;
}

static int take_tab(struct top *t, const char *text, char error[ARGUMENTS_ERROR_MAX])
{
	struct value_guess guess = {0};
	char hint[VALUE_HINT_MAX];
	int tab = top_tab_parse(text);

	if (tab >= 0) {
		t->model.choice.tab = (enum top_tab)tab;
		return 0;
	}
	for (int i = 0; i < TOP_KEYS; i++)
		value_guess_offer(&guess, text, top_tab_name((enum top_tab)i));
	snprintf(error, ARGUMENTS_ERROR_MAX,
		 "'%s': it can be flows, hosts, ports, protocols, drops or interfaces%s", text,
		 value_guess_hint(&guess, hint));
	return -EINVAL;
}

static int take_keys(struct top *t, const char *text, char error[ARGUMENTS_ERROR_MAX])
{
	_cleanup_(record_top_freep) struct record_top *table = NULL;
	char why[TOP_ERROR_MAX];

	if (record_top_new(&table, text, TOP_BY_OCTETS, TOP_ROWS_MIN, why) < 0) {
		snprintf(error, ARGUMENTS_ERROR_MAX, "%s", *why ? why : "out of memory");
		return -EINVAL;
	}
	t->model.choice.keys = text;
	t->model.choice.tab = TOP_KEYS;
	return 0;
}

static int take_by(struct top *t, const char *text, char error[ARGUMENTS_ERROR_MAX])
{
	const int by = record_top_by_parse(text);

	if (by < 0)
		return fail(error, text, "it can be octets, packets or flows");
	t->model.choice.by = (enum top_by)by;
	return 0;
}

static int take_every(struct top *t, const char *text, char error[ARGUMENTS_ERROR_MAX])
{
	uint64_t ns;

	if (value_duration(text, &ns) < 0 || ns < CONTROL_EVERY_MS_MIN * NSEC_PER_MSEC ||
	    ns > EVERY_NS_MAX)
		return fail(error, text, "not a time; it can be 100ms to 1h, such as 500ms or 2s");
	t->model.choice.every_ms = ns / NSEC_PER_MSEC;
	return 0;
}

static int take_count(struct top *t, const char *text, char error[ARGUMENTS_ERROR_MAX])
{
	if (value_number(text, &t->count) == 0 && t->count && t->count <= BATCH_MAX)
		return 0;
	return fail(error, text, "not a number of 1 or more");
}

static int take_flag(struct top *t, const struct record_flag *flag, const char *text,
		     char error[ARGUMENTS_ERROR_MAX])
{
	char why[FILTER_ERROR_MAX] = "out of memory";
	int r = record_choice_add(t->flags, flag, text, why);

	if (r < 0)
		snprintf(error, ARGUMENTS_ERROR_MAX, "%s", why);
	return r;
}

/* An expression may be one word of the shell's, or several. */
static int take_word(struct top *t, const char *text, char error[ARGUMENTS_ERROR_MAX])
{
	const size_t used = strlen(t->words);

	if (snprintf(t->words + used, sizeof(t->words) - used, "%s%s", used ? " " : "", text) <
	    (int)(sizeof(t->words) - used))
		return 0;
	snprintf(error, ARGUMENTS_ERROR_MAX, "the expression is too long");
	return -EINVAL;
}

static int take(void *userdata, int id, const char *text, char error[ARGUMENTS_ERROR_MAX])
{
	struct top *t = userdata;

	if (id >= FLAG_BASE)
		return take_flag(t, &record_flags[id - FLAG_BASE], text, error);
	switch (id) {
	case OPTION_TAB:
		return take_tab(t, text, error);
	case OPTION_KEYS:
		return take_keys(t, text, error);
	case OPTION_BY:
		return take_by(t, text, error);
	case OPTION_EVERY:
		return take_every(t, text, error);
	case OPTION_OCTETS_A_SECOND:
		t->model.choice.octets = true;
		return 0;
	case OPTION_BATCH:
		t->batch = true;
		return 0;
	case OPTION_COUNT:
		return take_count(t, text, error);
	case OPTION_SOCKET:
		t->path = text;
		return 0;
	default:
		return take_word(t, text, error);
	}
}

size_t top_options(struct argument_option *ret)
{
	_Static_assert(ARRAY_SIZE(own_options) < ARGUMENTS_OPTIONS_MAX, "room for the flags");
	memcpy(ret, own_options, sizeof(own_options));
	return arguments_add_flags(ret, ARRAY_SIZE(own_options), FLAG_BASE);
}

/* 0, 1 after --help, -errno. */
static int parse(struct top *t, int argc, char **argv)
{
	struct argument_option options[ARGUMENTS_OPTIONS_MAX];
	struct arguments arguments = {
		.verb = "top",
		.usage =
			"top [OPTION]... [EXPRESSION]\n\n"
			"Shows what flows most. EXPRESSION is as tcpdump has it (flowtally(8)).\n"
			"Keys: 1-6 tab, s sort, / filter, space pause, b bits or octets, h ends of hosts,\n"
			"enter detail, q quit.",
		.examples = "examples:\n"
			    "  flowtally top\n"
			    "  flowtally top --tab hosts net 10.0.0.0/8\n"
			    "  flowtally top --batch -n 1 --tab ports --by packets\n"
			    "  flowtally top --keys src,service --not --port 22\n",
		.options = options,
		.take = take,
		.userdata = t,
	};

	arguments.option_count = top_options(options);
	return arguments_parse(&arguments, argc, argv);
}

/* --- Asking.  What goes wrong is the model's message, and is tried again. */

static void say(struct top *t, const char *what)
{
	snprintf(t->model.message, sizeof(t->model.message), "%s", what);
	text_make_printable(t->model.message);
}

static void hang_up(struct top *t)
{
	client_freep(&t->rows);
	client_freep(&t->status);
	t->rows = t->status = NULL;
	t->status_due = false;
}

static int ask_rows(struct top *t)
{
	char why[CLIENT_WHY_MAX];
	int r;

	t->tried_ns = clock_ns(CLOCK_MONOTONIC);
	hang_up(t);
	r = client_open(&t->rows, t->path, why);
	if (r < 0) {
		say(t, why);
		return r;
	}
	r = client_ask(t->rows, top_request(&t->model.choice));
	if (r < 0) {
		hang_up(t);
		say(t, strerror(-r));
	}
	return r;
}

/* -EAGAIN: nothing has come; 1: an answer has been taken; other -errno: there will be none, as the message says. */
static int take_rows(struct top *t, int timeout_ms)
{
	json_t *line;
	const char *end;
	int r = client_read(t->rows, timeout_ms, &line);

	if (r == -EAGAIN)
		return r;
	if (r < 0) {
		say(t, r == -EINVAL    ? client_refusal(t->rows)
		       : r == -ENODATA ? "the exporter has ended"
				       : strerror(-r));
		return r;
	}
	end = json_string_value(json_object_get(line, "end"));
	if (end)
		say(t, end);
	else
		t->model.message[0] = '\0';
	r = end ? -ENODATA : 1;
	if (r == 1 && !t->model.choice.paused && top_model_take(&t->model, line) < 0)
		r = -EPROTO;
	json_decref(line);
	return r;
}

/* About once a second. */
static void ask_status(struct top *t)
{
	char why[CLIENT_WHY_MAX];

	if (t->status_due || clock_ns(CLOCK_MONOTONIC) - t->asked_ns < AGAIN_NS)
		return;
	t->asked_ns = clock_ns(CLOCK_MONOTONIC);
	if (!t->status && client_open(&t->status, t->path, why) < 0)
		return;
	t->status_due = client_ask(t->status, json_pack("{s:i,s:s}", "version", CONTROL_VERSION,
							"ask", "status")) == 0;
}

/* Where the exporter refuses, such as before the first swap, it is asked again; what else is wrong is said by the rows. */
static void take_status(struct top *t, int timeout_ms)
{
	json_t *line;
	int r;

	if (!t->rows)
		return;
	ask_status(t);
	r = t->status_due ? client_read(t->status, timeout_ms, &line) : -EAGAIN;
	if (r == -EAGAIN)
		return;
	t->status_due = false;
	if (r < 0) {
		client_freep(&t->status);
		t->status = NULL;
		return;
	}
	if (!t->model.choice.paused)
		top_model_take_status(&t->model, line);
	json_decref(line);
}

/* --- Text. */

static void print_line(const char *line)
{
	size_t size = strlen(line);

	while (size && line[size - 1] == ' ')
		size--;
	printf("%.*s\n", (int)size, line);
}

static void print_picture(const struct top_model *m)
{
	char line[TOP_LINE_MAX];

	print_line(m->head);
	print_line(m->losses);
	top_print_tabs(m, line, BATCH_COLUMNS);
	print_line(line);
	top_print_titles(m, line, BATCH_COLUMNS);
	print_line(line);
	for (size_t i = 0; i < m->count; i++) {
		top_print_entry(m, i, line, BATCH_COLUMNS);
		print_line(line);
	}
	if (m->others.all.flows) {
		top_print_others(m, line, BATCH_COLUMNS);
		print_line(line);
	}
	if (m->missed)
		printf("missed %llu records\n", (unsigned long long)m->missed);
	fflush(stdout);
}

static int run_batch(struct top *t)
{
	int r;

	for (uint64_t i = 0; !interrupted && !ferror(stdout) && (!t->count || i < t->count);) {
		r = take_rows(t, -1);
		if (r == -EAGAIN)
			continue;
		if (r < 0)
			return log_error("%s", t->model.message), FAILED;
		t->asked_ns = 0; /* of the same moment */
		take_status(t, ANSWER_MS);
		if (i++)
			putchar('\n');
		print_picture(&t->model);
	}
	return DONE;
}

/* --- The full screen. */

static void wait_for_something(const struct top *t)
{
	struct pollfd files[] = {
		{.fd = STDIN_FILENO, .events = POLLIN},
		{.fd = t->rows ? client_fd(t->rows) : -1, .events = POLLIN},
		{.fd = t->status ? client_fd(t->status) : -1, .events = POLLIN},
	};

	(void)poll(files, ARRAY_SIZE(files), LOOK_MS);
	if (files[0].revents & (POLLHUP | POLLERR | POLLNVAL))
		interrupted = 1; /* the terminal has gone */
}

static void take_all(struct top *t)
{
	int r = 0;

	if (!t->rows && clock_ns(CLOCK_MONOTONIC) - t->tried_ns >= AGAIN_NS)
		(void)ask_rows(t);
	while (t->rows && (r = take_rows(t, 0)) == 1)
		;
	if (t->rows && r != -EAGAIN)
		hang_up(t);
	take_status(t, 0);
}

static int run_screen(struct top *t)
{
	_cleanup_(top_screen_freep) struct top_screen *screen = NULL;
	enum top_command command;
	char why[TOP_WHY_MAX];
	int r = top_screen_new(&screen, why);

	if (r < 0)
		return log_error("%s", r == -ENOTTY ? why : strerror(-r)), USAGE;
	while (!interrupted) {
		take_all(t);
		top_screen_draw(screen, &t->model);
		wait_for_something(t);
		command = top_screen_keys(screen, &t->model);
		if (command == TOP_QUIT)
			break;
		if (command == TOP_ASK) {
			top_model_clear(&t->model);
			t->model.choice.paused = false;
			(void)ask_rows(t);
		}
	}
	return DONE;
}

/* Checked here first, where it is said at once, and without an exporter.  NULL after what is wrong has been logged. */
static char *filter_of(const struct top *t)
{
	_cleanup_(record_filter_freep) struct record_filter *filter = NULL;
	char why[FILTER_ERROR_MAX] = "out of memory";
	char *text = NULL;

	if (record_choice_filter(&filter, &text, t->flags, *t->words ? t->words : NULL, why) < 0) {
		log_error("%s", why);
		return NULL;
	}
	return text ? text : strdup("");
}

static int run(struct top *t)
{
	int r = ask_rows(t);

	if (r < 0)
		return log_error("%s", t->model.message), NOT_RUNNING;
	catch_signals();
	r = t->batch ? run_batch(t) : run_screen(t);
	hang_up(t);
	return r;
}

int top_main(int argc, char **argv)
{
	_cleanup_(record_choice_freep) struct record_choice *flags = NULL;
	_cleanup_(freep) struct top *t = calloc(1, sizeof(*t));
	_cleanup_(freep) char *filter = NULL;
	int r;

	if (!t || record_choice_new(&flags) < 0)
		return log_errno(LOG_ERR, -ENOMEM, "cannot begin"), FAILED;
	setlocale(LC_CTYPE, "");
	t->path = CONTROL_SOCKET;
	t->flags = flags;
	t->model.utf8 = !strcmp(nl_langinfo(CODESET), "UTF-8");
	t->model.choice.every_ms = CONTROL_EVERY_MS;
	r = parse(t, argc, argv);
	if (r == 0)
		filter = filter_of(t);
	if (r != 0 || !filter)
		return r > 0 ? DONE : USAGE; /* --help */
	if (t->count && !t->batch)
		return log_error("--number is of --batch"), USAGE;
	t->model.choice.filter = *filter ? filter : NULL;
	return run(t);
}
