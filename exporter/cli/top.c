/* SPDX-License-Identifier: Apache-2.0 */
/* `flowtally top`: what flows most, on a full screen or as text again and again. */
#include <errno.h>
#include <locale.h>
#include <signal.h>
#include <string.h>
#include "exporter/cli/arguments.h"
#include "exporter/cli/interrupt.h"
#include "exporter/cli/metered.h"
#include "exporter/cli/top_view.h"
#include "exporter/cli/verbs.h"
#include "exporter/log.h"
#include "exporter/observe/control.h"
#include "exporter/observe/record_flags.h"
#include "exporter/value.h"

#define FLAG_BASE    1000 /* id of the first of record_flags */
#define WORDS_MAX    CONTROL_REQUEST_MAX
#define BATCH_MAX    1000000000
#define EVERY_NS_MAX (CONTROL_EVERY_MS_MAX * NSEC_PER_MSEC)

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
	bool has_tab;	/* --tab or --keys has been said */
	uint64_t count; /* of --batch; 0: for ever */
	struct record_choice *flags;
	char words[WORDS_MAX]; /* the expression */
	struct top_choice choice;
};

/* --- The command line. */

static int fail(char error[ARGUMENTS_ERROR_MAX], const char *text, const char *allowed)
{
	snprintf(error, ARGUMENTS_ERROR_MAX, "'%s': %s", text, allowed);
	return -EINVAL;
}

static int take_tab(struct top *t, const char *text)
{
	int tab = top_tab_parse(text);

	if (tab < 0)
		return -EINVAL;
	t->choice.tab = (enum top_tab)tab;
	t->has_tab = true;
	return 0;
}

static int take_keys(struct top *t, const char *text, char error[ARGUMENTS_ERROR_MAX])
{
	_cleanup_(record_top_freep) struct record_top *table = NULL;
	char why[TOP_ERROR_MAX];

	if (record_top_new(&table, text, TOP_BY_OCTETS, TOP_ROWS_MIN, why) < 0) {
		snprintf(error, ARGUMENTS_ERROR_MAX, "%s", *why ? why : "out of memory");
		return -EINVAL;
	}
	t->choice.keys = text;
	t->choice.tab = TOP_KEYS;
	t->has_tab = true;
	return 0;
}

static int take_every(struct top *t, const char *text, char error[ARGUMENTS_ERROR_MAX])
{
	uint64_t ns;

	if (value_duration(text, &ns) < 0 || ns < CONTROL_EVERY_MS_MIN * NSEC_PER_MSEC ||
	    ns > EVERY_NS_MAX)
		return fail(error, text, "not a time; it can be 100ms to 1h, such as 500ms or 2s");
	t->choice.every_ms = ns / NSEC_PER_MSEC;
	return 0;
}

static int take_count(struct top *t, const char *text, char error[ARGUMENTS_ERROR_MAX])
{
	if (value_number(text, &t->count) == 0 && t->count && t->count <= BATCH_MAX)
		return 0;
	return fail(error, text, "not a number of 1 or more");
}

static int take(void *userdata, int id, const char *text, char error[ARGUMENTS_ERROR_MAX])
{
	struct top *t = userdata;

	if (id >= FLAG_BASE)
		return arguments_take_flag(t->flags, id - FLAG_BASE, text, error);
	switch (id) {
	case OPTION_TAB:
		return take_tab(t, text);
	case OPTION_KEYS:
		return take_keys(t, text, error);
	case OPTION_BY:
		return arguments_take_by(&t->choice.by, text);
	case OPTION_EVERY:
		return take_every(t, text, error);
	case OPTION_OCTETS_A_SECOND:
		t->choice.octets = true;
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
		return arguments_take_word(t->words, sizeof(t->words), text, error);
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
			"Shows what flows most. EXPRESSION is as tcpdump has it (pcap-filter(7)).\n"
			"Keys: 1-6 tab, s sort, / filter, space pause, b bits or octets, h ends of hosts,\n"
			"rows of drops, enter detail, q quit.",
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

/* --- Showing. */

static int connect_to(const void *userdata, struct client **ret, char why[CLIENT_WHY_MAX])
{
	return client_open(ret, userdata, why);
}

static int show(struct top *t, struct top_view *view)
{
	char why[TOP_MESSAGE_MAX];
	int r = t->batch ? top_view_batch(view, t->count) : top_view_screen(view, why);

	if (r == -ENOTTY)
		return log_error("%s; --batch shows the same as text", why), EXIT_USAGE;
	if (r == -ENOMEM)
		return log_errno(LOG_ERR, r, "cannot go on"), EXIT_FAILED;
	if (t->batch && r < 0 && r != -EPIPE)
		return log_error("%s", top_view_message(view)), EXIT_FAILED;
	return EXIT_DONE;
}

/* Whether the text asks for drops, and not for what is none. */
static bool asks_for_drops(const char *filter)
{
	static const char others[] = " \t\r\n()";
	bool negated = false;
	size_t length;

	for (filter += strspn(filter, others); *filter;
	     filter += length + strspn(filter + length, others)) {
		length = strcspn(filter, others);
		if (length == 4 && !strncmp(filter, "drop", 4) && !negated)
			return true;
		negated = (length == 3 && !strncmp(filter, "not", 3)) ||
			  (length == 1 && *filter == '!');
	}
	return false;
}

/* All tabs but that of drops leave them out: with such a filter they would be empty. */
static void choose_tab(struct top *t)
{
	if (!t->choice.filter || !asks_for_drops(t->choice.filter))
		return;
	if (!t->has_tab)
		t->choice.tab = TOP_DROPS;
	else if (t->choice.tab != TOP_DROPS && t->choice.tab != TOP_KEYS)
		log_warning("the tab '%s' leaves drops out: --tab drops has them",
			    top_tab_name(t->choice.tab));
}

static int run(struct top *t)
{
	_cleanup_(top_view_freep) struct top_view *view = NULL;
	const struct top_view_options options = {
		.connect = connect_to,
		.userdata = t->path,
		.choice = t->choice,
		.ended = interrupt_flag(),
		.wake = -1,
	};
	int r = top_view_new(&view, &options);

	if (r < 0)
		return log_errno(LOG_ERR, r, "cannot begin"), EXIT_FAILED;
	if (top_view_ask(view) < 0)
		return log_error("%s", top_view_message(view)), EXIT_NOT_RUNNING;
	if (t->batch && t->choice.filter)
		metered_check(t->choice.filter, t->path);
	interrupt_catch(SIGINT); /* the terminal is given back as it was */
	interrupt_catch(SIGTERM);
	interrupt_catch(SIGHUP);
	return show(t, view);
}

int top_main(int argc, char **argv)
{
	_cleanup_(record_choice_freep) struct record_choice *flags = NULL;
	_cleanup_(freep) struct top *t = calloc(1, sizeof(*t));
	_cleanup_(freep) char *filter = NULL;
	int r;

	if (!t || record_choice_new(&flags) < 0)
		return log_errno(LOG_ERR, -ENOMEM, "cannot begin"), EXIT_FAILED;
	setlocale(LC_CTYPE, "");
	t->path = CONTROL_SOCKET;
	t->flags = flags;
	t->choice.drops_by = DROPS_BY_SERVICE;
	t->choice.every_ms = CONTROL_EVERY_MS;
	r = parse(t, argc, argv);
	if (r == 0)
		filter = arguments_filter(t->flags, t->words);
	if (r != 0 || !filter)
		return r > 0 ? EXIT_DONE : EXIT_USAGE; /* --help */
	if (t->count && !t->batch)
		return log_error("--number is of --batch"), EXIT_USAGE;
	t->choice.filter = *filter ? filter : NULL;
	choose_tab(t);
	return run(t);
}
