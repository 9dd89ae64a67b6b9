/* SPDX-License-Identifier: Apache-2.0 */
/* `flowtally drops`: what the kernel drops, and why, on the terminal. */
#include <errno.h>
#include "exporter/cli/live.h"
#include "exporter/cli/options.h"
#include "exporter/cli/summary.h"
#include "exporter/cli/top_screen.h"
#include "exporter/cli/verbs.h"
#include "exporter/exporter.h"
#include "exporter/log.h"
#include "exporter/loop.h"
#include "exporter/meter/kernel_clock.h"
#include "exporter/observe/control.h"
#include "exporter/observe/drop_table.h"
#include "exporter/observe/drop_text.h"
#include "exporter/observe/lines.h"

/* How long the end waits for a reader that takes nothing. */
#define READER_MS 2000

struct tracer {
	struct exporter *exporter;
	const struct config *config; /* the exporter's */
	struct lines *lines;
	struct drop_table *table;
	struct control *control;	 /* of the full screen; NULL: lines are printed */
	struct live *live;		 /* the screen */
	bool failed;			 /* it has ended by itself */
	struct loop_source *end;	 /* timer of --for */
	struct loop_source *reader;	 /* NULL: cannot be watched */
	uint64_t shown_ns;		 /* time of the last swap whose drops have been shown */
	bool titled;			 /* the titles of the lines have been printed */
	bool finishing;			 /* what comes now is shown at once, at the end */
	uint64_t shown[DROP_REASON_MAX]; /* packets */
};

static void tracer_clear(struct tracer *t)
{
	live_freep(&t->live);
	control_freep(&t->control);
	drop_table_freep(&t->table);
	loop_source_freep(&t->reader);
	loop_source_freep(&t->end);
	lines_freep(&t->lines);
	exporter_freep(&t->exporter);
}

static void print_lines(struct tracer *t, FILE *file, const struct drop_view *view)
{
	const struct drop_row *others = drop_table_others(t->table), *const * rows;
	void (*print)(FILE *, const struct drop_view *, const struct drop_row *) =
		t->config->json ? drop_print_json : drop_print_line;
	size_t active;

	if (!t->config->json && !t->titled)
		drop_print_columns(file, view);
	t->titled = true;
	drop_table_sort(t->table, &rows, &active);
	for (size_t i = 0; i < active; i++)
		print(file, view, rows[i]);
	if (others->packets)
		print(file, view, others);
}

/* What a reader has no time for is shown later. */
static void show(struct tracer *t, uint64_t now_ns)
{
	const struct drop_view view = {
		.by = t->config->by,
		.seconds = (double)MAX(now_ns - t->shown_ns, NSEC_PER_MSEC) / NSEC_PER_SEC,
		.clock_offset_ns = kernel_clock_offset_ns(exporter_clock(t->exporter)),
		.reasons = exporter_drop_names(t->exporter),
	};
	FILE *file = lines_begin(t->lines);

	if (!file)
		return;
	print_lines(t, file, &view);
	lines_show(t->lines);
	drop_table_next(t->table);
	t->shown_ns = now_ns;
	if (lines_error(t->lines) < 0)
		exporter_end(t->exporter);
}

static void on_delta(void *userdata, _unused_ enum record_kind kind, const struct flow_key *key,
		     const struct flow_record *delta)
{
	struct tracer *t = userdata;
	const struct kernel_clock *clock = exporter_clock(t->exporter);
	const struct drop_match match = {.address = t->config->address, .port = t->config->port};
	struct flow_record record = *delta;

	if (!drop_match(&match, key))
		return;
	record.first_ns = kernel_clock_told_ns(clock, record.first_ns);
	record.last_ns = kernel_clock_told_ns(clock, record.last_ns);
	if (t->control)
		control_delta(t->control, key, delta);
	else
		drop_table_add(t->table, key, &record);
	t->shown[key->drop_reason] += record.packets;
}

static void on_settled(void *userdata, _unused_ unsigned int kinds, uint64_t now_ns)
{
	struct tracer *t = userdata;

	if (t->control) {
		control_settled(t->control, 1u << RECORD_DROP);
		return;
	}
	/* a bank that filled early is no reason to show something early; a timer may come a little early */
	if (!t->finishing && now_ns - t->shown_ns >= t->config->interval_ns / 10 * 9)
		show(t, now_ns);
}

/* The time of --for, or a reader that has gone. */
static int on_end(void *userdata, _unused_ uint32_t events)
{
	struct tracer *t = userdata;

	exporter_end(t->exporter);
	return 0;
}

static int watch_reader(struct tracer *t)
{
	struct loop *loop = exporter_loop(t->exporter);
	int error = lines_new(&t->lines, STDOUT_FILENO);

	if (error < 0)
		return log_errno(LOG_ERR, error, "cannot write to standard output");
	error = loop_add_fd(loop, lines_fd(t->lines), 0, on_end, t, &t->reader);
	return error == -EPERM ? 0 : error; /* nobody reads from a file */
}

/* --- On a full screen. */

/* A pipe's reader or a terminal: nobody is there any more whom to fail. */
static bool has_gone(int error)
{
	return error == -EPIPE || error == -EIO || error == -ENODATA;
}

/* There is nothing else that it is for. */
static void on_live_ended(void *userdata, int error, const char *why)
{
	struct tracer *t = userdata;

	t->failed = error < 0 && !has_gone(error);
	if (error < 0)
		log_error("drops cannot be shown any more: %s", why);
	exporter_end(t->exporter);
}

/* Before there are drops to be shown. */
static int make_control(struct tracer *t)
{
	const struct control_options options = {
		.records = t->config->control_records,
		.kinds = 1u << RECORD_DROP,
		.keep_ns = t->config->control_keep_ns,
		.enterprise = t->config->export.enterprise,
		.snapshots = exporter_snapshots(t->exporter),
		.drop_names = exporter_drop_names(t->exporter),
		.clock = exporter_clock(t->exporter),
	};

	return control_new(&t->control, &options);
}

static int show_screen(struct tracer *t)
{
	const struct live_options options = {
		.control = t->control,
		.loop = exporter_loop(t->exporter),
		.choice = {.tab = TOP_DROPS,
			   .drops_by = t->config->by,
			   .drops_alone = true,
			   .by = TOP_BY_PACKETS,
			   .every_ms = MIN(t->config->interval_ns / NSEC_PER_MSEC,
					   (uint64_t)CONTROL_EVERY_MS_MAX)},
		.ended = on_live_ended,
		.userdata = t,
	};
	int error = live_new(&t->live, &options);

	return error < 0 ? log_errno(LOG_ERR, error, "cannot show drops") : 0;
}

static bool wants_screen(const struct tracer *t)
{
	char why[TOP_MESSAGE_MAX];

	return !t->config->json && top_screen_possible(why);
}

/* --- The end. */

static void print_text(const struct tracer *t, const struct ledger *ledger)
{
	_cleanup_(freep) char *text = NULL;
	size_t size;
	FILE *file = open_memstream(&text, &size);

	if (!file)
		return;
	drop_print_summary(file, ledger, t->shown);
	if (fclose(file) == 0)
		log_text(text, size);
}

static void print_ledger(const struct tracer *t, const struct ledger *ledger)
{
	if (t->config->summary == SUMMARY_TEXT)
		print_text(t, ledger);
	else
		summary_print(ledger, t->config->summary);
}

static void on_overdue(void *userdata)
{
	struct tracer *t = userdata;
	struct ledger_reasons reasons;
	struct ledger ledger;

	live_abandon();
	if (!exporter_may_speak(t->exporter)) /* and nobody may from then on: the process ends */
		return;
	log_always(LOG_ERR, "the end was cut short by %s, before all was shown",
		   exporter_why(t->exporter));
	if (exporter_snapshot_now(t->exporter, &ledger, &reasons) == 0)
		print_ledger(t, &ledger);
}

static int make(struct tracer *t, struct config *config)
{
	const struct exporter_events events = {
		.delta = on_delta,
		.settled = on_settled,
		.overdue = on_overdue,
		.userdata = t,
	};
	/* twice, since drops of two intervals may meet in it */
	int error = drop_table_new(&t->table, config->by, 2 * config->drop_entries);

	if (error < 0) {
		config_clear(config);
		return log_errno(LOG_ERR, error,
				 "cannot make a table, choose a smaller --drop-entries");
	}
	error = exporter_new(&t->exporter, SOURCE_DROPS, config, &events);
	if (error < 0)
		return error;
	t->config = exporter_config(t->exporter);
	error = loop_add_timer(exporter_loop(t->exporter), on_end, t, &t->end);
	if (error < 0)
		return log_errno(LOG_ERR, error, "cannot make the event loop");
	error = wants_screen(t) ? make_control(t) : watch_reader(t);
	t->shown_ns = kernel_clock_coarse_ns(exporter_clock(t->exporter));
	return error ?: exporter_start(t->exporter);
}

/* The reader gets some time, unless it has not read for a while. */
static bool end_lines(struct tracer *t)
{
	uint64_t now_ns = clock_ns(CLOCK_MONOTONIC);
	uint64_t deadline_ns = exporter_deadline_ns(t->exporter);

	if (deadline_ns <= now_ns)
		return false;
	return lines_end(t->lines, (int)MIN((deadline_ns - now_ns) / NSEC_PER_MSEC, READER_MS));
}

/* All that was seen is shown, and what was not is counted. */
static int finish(struct tracer *t)
{
	int error;

	live_freep(&t->live);
	t->live = NULL;
	t->finishing = true;
	exporter_stop(t->exporter);
	if (t->lines && end_lines(t))
		show(t, kernel_clock_now_ns(exporter_clock(t->exporter)));
	if (t->lines)
		end_lines(t);
	if (exporter_may_speak(t->exporter)) {
		print_ledger(t, exporter_snapshot(t->exporter));
		exporter_spoken(t->exporter);
	}
	error = t->lines ? lines_error(t->lines) : 0;
	if (error == 0 || has_gone(error))
		return 0;
	return log_errno(LOG_ERR, error, "cannot write to standard output");
}

size_t drops_options(struct argument_option *ret)
{
	return options_list(VERB_DROPS, ret);
}

int drops_main(int argc, char **argv)
{
	_cleanup_(tracer_clear) struct tracer t = {0};
	struct config config;
	int error = options_parse(&config, VERB_DROPS, argc, argv);

	if (error != 0)
		return error < 0 ? 2 : 0; /* --help */
	if (make(&t, &config) < 0)
		return 1;
	if (!exporter_ending(t.exporter))
		log_notice("ready: showing drops of %s every %g s",
			   t.config->drops_everywhere ? "all network namespaces"
						      : "this network namespace",
			   (double)t.config->interval_ns / NSEC_PER_SEC);
	if (t.control && !exporter_ending(t.exporter) && show_screen(&t) < 0)
		return 1;
	if (t.config->for_ns)
		loop_set_timer(t.end, t.config->for_ns, 0);
	error = exporter_run(t.exporter);
	return finish(&t) < 0 || error < 0 || t.failed ? 1 : 0;
}
