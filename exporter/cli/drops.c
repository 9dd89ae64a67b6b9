/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `flowtally drops`: what the kernel drops, and why, on the terminal.  The datapath and the drain of the
 * exporter, without flows; a table takes the place of cache and collectors.
 */
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <pthread.h>
#include "exporter/meter/drop_filter.h"
#include "exporter/observe/drop_table.h"
#include "exporter/observe/drop_text.h"
#include "exporter/cli/options.h"
#include "exporter/observe/screen.h"
#include "exporter/stop.h"
#include "exporter/cli/summary.h"
#include "exporter/cli/verbs.h"
#include "exporter/log.h"
#include "exporter/loop.h"
#include "exporter/meter/datapath.h"
#include "exporter/meter/drain.h"
#include "exporter/meter/drop_reason.h"
#include "exporter/meter/drops.h"
#include "exporter/meter/kernel_clock.h"
#include "exporter/observe/ledger.h"

/* How long the end waits for a reader that takes nothing. */
#define READER_MS 2000

struct tracer {
	struct config options;
	struct stop *stop;
	struct loop_source *stop_source;
	struct kernel_clock clock;
	pthread_mutex_t ending; /* the ledger is printed once, and by one thread */
	bool tracing;		/* under it: what the ledger is read from is there */
	bool printed;		/* likewise */
	struct loop *loop;
	struct screen *screen;
	struct drop_table *table;
	struct drop_reasons *names;
	struct datapath *datapath;
	struct drain *drain;
	struct drops *drops;
	struct loop_source *end;	 /* timer of --for */
	struct loop_source *reader;	 /* NULL: cannot be watched */
	uint64_t shown_ns;		 /* time of the last swap whose drops have been shown */
	bool titled;			 /* the titles of the lines have been printed */
	bool finishing;			 /* what comes now is shown at once, at the end */
	uint64_t shown[DROP_REASON_MAX]; /* packets */
};

static void set_tracing(struct tracer *t, bool tracing)
{
	pthread_mutex_lock(&t->ending);
	t->tracing = tracing;
	pthread_mutex_unlock(&t->ending);
}

static void tracer_clear(struct tracer *t)
{
	set_tracing(t, false);
	drops_freep(&t->drops);
	drain_freep(&t->drain);
	datapath_freep(&t->datapath);
	drop_reasons_freep(&t->names);
	drop_table_freep(&t->table);
	loop_source_freep(&t->reader);
	loop_source_freep(&t->end);
	screen_freep(&t->screen);
	loop_source_freep(&t->stop_source);
	loop_freep(&t->loop);
	stop_freep(&t->stop);
	config_clear(&t->options);
}

static uint64_t count_missed(const struct tracer *t)
{
	struct ledger ledger = {0};

	ledger_read_drain(&ledger, t->datapath, t->drain, false);
	return ledger_lost(&ledger) + ledger.drops_missed;
}

static void print_table(struct tracer *t, FILE *file, const struct drop_view *view,
			struct screen_size size)
{
	const struct drop_row *others = drop_table_others(t->table), *const * rows;
	struct drop_totals totals = {
		.packets = others->packets,
		.total = drop_table_total(t->table),
		.missed = count_missed(t),
	};
	size_t active, count = drop_table_sort(t->table, &rows, &active);

	for (size_t i = 0; i < active; i++)
		totals.packets += rows[i]->packets;
	drop_print_table(file, view, size, &totals, rows, count, others);
}

static void print_lines(struct tracer *t, FILE *file, const struct drop_view *view)
{
	const struct drop_row *others = drop_table_others(t->table), *const * rows;
	void (*print)(FILE *, const struct drop_view *, const struct drop_row *) =
		t->options.json ? drop_print_json : drop_print_line;
	size_t active;

	if (!t->options.json && !t->titled)
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
	const struct screen_size size = screen_size(t->screen);
	const struct drop_view view = {
		.by = t->options.by,
		.seconds = (double)MAX(now_ns - t->shown_ns, NSEC_PER_MSEC) / NSEC_PER_SEC,
		.clock_offset_ns = kernel_clock_offset_ns(&t->clock),
		.reasons = t->names,
	};
	FILE *file = screen_begin(t->screen);

	if (!file)
		return;
	if (size.rows)
		print_table(t, file, &view, size);
	else
		print_lines(t, file, &view);
	screen_show(t->screen);
	drop_table_next(t->table);
	t->shown_ns = now_ns;
	if (screen_error(t->screen) < 0)
		loop_stop(t->loop);
}

static void on_batch(void *userdata, const struct drain_batch *batch)
{
	struct tracer *t = userdata;
	const struct drop_match match = {.address = t->options.address, .port = t->options.port};

	kernel_clock_look(&t->clock);
	for (uint32_t i = 0; i < batch->count; i++) {
		const struct flow_key *key = &batch->keys[i];
		struct flow_record record = batch->records[i];

		if (!drop_match(&match, key))
			continue;
		record.first_ns = kernel_clock_told_ns(&t->clock, record.first_ns);
		record.last_ns = kernel_clock_told_ns(&t->clock, record.last_ns);
		drop_table_add(t->table, key, &record);
		t->shown[key->drop_reason] += record.packets;
	}
	log_flush(0);
	/* a bank that filled early is no reason to show something early; a timer may come a little early */
	if (batch->end && !t->finishing &&
	    batch->swap_ns - t->shown_ns >= t->options.interval_ns / 10 * 9)
		show(t, batch->swap_ns);
}

/* A signal, the time of --for, or a reader that has gone. */
static int on_end(void *userdata, _unused_ uint32_t events)
{
	struct tracer *t = userdata;

	loop_stop(t->loop);
	return 0;
}

static int make_loop(struct tracer *t)
{
	int error = loop_new(&t->loop);

	if (error == 0)
		error = loop_add_fd(t->loop, stop_fd(t->stop), EPOLLIN, on_end, t, &t->stop_source);
	if (error == 0)
		error = loop_add_timer(t->loop, on_end, t, &t->end);
	if (error < 0)
		return log_errno(LOG_ERR, error, "cannot make the event loop");
	error = screen_new(&t->screen, STDOUT_FILENO, !t->options.json);
	if (error < 0)
		return log_errno(LOG_ERR, error, "cannot write to standard output");
	error = loop_add_fd(t->loop, screen_fd(t->screen), 0, on_end, t, &t->reader);
	return error == -EPERM ? 0 : error; /* nobody reads from a file */
}

static int prepare(struct tracer *t, const uint8_t *excluded)
{
	const struct config *o = &t->options;
	const struct datapath_options datapath = {
		.drop_entries = o->drop_entries,
		.drops = DROPS_ON,
		.drops_budget = o->drops_budget,
		.drops_everywhere = o->drops_everywhere,
		.drop_excluded = excluded,
	};
	const struct drain_options drain = {
		.interval_ns = o->interval_ns,
		.callback = on_batch,
		.userdata = t,
	};
	struct drain_options options = drain;
	int error = make_loop(t);

	if (error < 0)
		return error;
	/* twice, since drops of two intervals may meet in it */
	error = drop_table_new(&t->table, o->by, 2 * o->drop_entries);
	if (error < 0)
		return log_errno(LOG_ERR, error,
				 "cannot make a table, choose a smaller --drop-entries");
	error = datapath_new(&t->datapath, &datapath);
	if (error < 0)
		return error;
	options.datapath = t->datapath;
	options.loop = t->loop;
	options.clock = &t->clock;
	kernel_clock_init(&t->clock);
	error = drain_new(&t->drain, &options);
	if (error < 0)
		return log_errno(LOG_ERR, error, "cannot start the drain thread");
	set_tracing(t, true);
	t->shown_ns = kernel_clock_coarse_ns(&t->clock);
	if (stop_begun(t->stop)) /* before it was ready */
		return 0;
	error = drops_new(&t->drops, t->datapath);
	return error < 0 ? log_errno(LOG_ERR, error, "cannot trace drops") : 0;
}

static void announce(const struct tracer *t)
{
	const struct config *o = &t->options;

	log_notice("ready: showing drops of %s every %g s",
		   o->drops_everywhere ? "all network namespaces" : "this network namespace",
		   (double)o->interval_ns / NSEC_PER_SEC);
}

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

/* With the lock held; `final`: nothing is left in a bank.  Else in another thread, when the loop hangs. */
static void print_ledger(struct tracer *t, bool final)
{
	struct ledger_reasons reasons = {0};
	struct ledger ledger = {.drop_reasons = &reasons, .drop_names = t->names};
	int error = 0;

	t->printed = true;
	if (final) {
		ledger_read_drain(&ledger, t->datapath, t->drain, true);
		ledger_read_reasons(&reasons, t->drain);
	} else {
		error = ledger_read_now(&ledger, &reasons, t->datapath, t->drain);
	}
	if (error < 0) {
		log_errno(LOG_ERR, error, "cannot read the ledger");
		return;
	}
	if (t->options.summary == SUMMARY_TEXT)
		print_text(t, &ledger);
	else
		summary_print(&ledger, t->options.summary);
}

/* In the thread of `stop`: the main thread hangs somewhere.  The lock is kept, for the process is at its end. */
static void on_overdue(void *userdata)
{
	struct tracer *t = userdata;

	pthread_mutex_lock(&t->ending);
	if (!t->printed)
		log_always(LOG_ERR, "the end was cut short by %s, before all was shown",
			   stop_why(t->stop));
	if (t->tracing && !t->printed)
		print_ledger(t, false);
}

/* The reader gets some time, unless it has not read for a while. */
static bool end_screen(struct tracer *t)
{
	uint64_t now_ns = clock_ns(CLOCK_MONOTONIC), deadline_ns = stop_deadline_ns(t->stop);

	if (deadline_ns <= now_ns)
		return false;
	return screen_end(t->screen, (int)MIN((deadline_ns - now_ns) / NSEC_PER_MSEC, READER_MS));
}

/* All that was seen is shown, and what was not is counted. */
static int finish(struct tracer *t)
{
	int error;

	stop_begin(t->stop);
	drops_freep(&t->drops);
	t->finishing = true;
	drain_finish(t->drain);
	if (end_screen(t))
		show(t, kernel_clock_now_ns(&t->clock));
	end_screen(t);
	pthread_mutex_lock(&t->ending);
	print_ledger(t, true);
	pthread_mutex_unlock(&t->ending);
	error = screen_error(t->screen);
	if (error == 0 || error == -EPIPE ||
	    error == -EIO) /* a pipe's reader or a terminal has gone */
		return 0;
	return log_errno(LOG_ERR, error, "cannot write to standard output");
}

int drops_main(int argc, char **argv)
{
	_cleanup_(tracer_clear) struct tracer t = {.ending = PTHREAD_MUTEX_INITIALIZER};
	struct stop_options stop = {.overdue = on_overdue, .userdata = &t};
	uint8_t excluded[DROP_REASON_MAX];
	int error = options_parse(&t.options, VERB_DROPS, argc, argv);

	if (error != 0)
		return error < 0 ? 2 : 0; /* --help */
	stop.timeout_ns = t.options.stop_timeout_ns;
	error = stop_new(&t.stop, &stop);
	if (error < 0)
		return log_errno(LOG_ERR, error, "cannot watch for signals"), 1;
	error = drop_reasons_new(&t.names, NULL);
	if (error < 0)
		return log_errno(LOG_ERR, error, "cannot read the kernel's reasons for drops"), 1;
	drop_filter_make(t.names, t.options.drops_include, t.options.drops_exclude, excluded);
	if (prepare(&t, excluded) < 0)
		return 1;
	if (t.drops)
		announce(&t);
	log_never_wait();
	if (t.options.for_ns)
		loop_set_timer(t.end, t.options.for_ns, 0);
	error = loop_run(t.loop);
	if (error < 0)
		log_errno(LOG_ERR, error, "the event loop failed, stopping");
	error = finish(&t) < 0 || error < 0 ? 1 : 0;
	stop_flush_log(t.stop);
	return error;
}
