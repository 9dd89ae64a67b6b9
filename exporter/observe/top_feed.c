/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/observe/top_feed.h"
#include <errno.h>
#include <string.h>
#include "exporter/observe/record_filter.h"
#include "exporter/observe/record_top.h"
#include "exporter/observe/record_view.h"

#define TABLE_ROWS 2048
#define SLICE	   2048 /* records that one call looks at: about a millisecond */

_Static_assert(CONTROL_ROWS_MAX <= TABLE_ROWS / 2, "what is shown is never thrown out at once");

struct top_feed {
	struct record_top *table;
	struct record_filter *filter; /* NULL: all records */
	uint64_t next;		      /* number of the record that is added next */
	uint64_t missed, missed_recent;
	uint64_t rows, every_ns;
	uint64_t first_told_ns; /* the first period begins with records that were read then; 0: it has begun */
	uint64_t begin_ns; /* CLOCK_MONOTONIC: when the period began; 0: there was no swap yet */
	bool shown;
	bool leaves_out_drops; /* of packets that may have been metered too; nothing asks for them */
};

struct top_feed *top_feed_free(struct top_feed *f)
{
	if (!f)
		return NULL;
	record_top_freep(&f->table);
	record_filter_freep(&f->filter);
	free(f);
	return NULL;
}

static int make(struct top_feed *f, const struct control_request *request,
		enum control_fault *ret_fault, char error[CONTROL_ERROR_MAX])
{
	const char *keys = request->keys ? request->keys : CONTROL_KEYS;
	char why[MAX(TOP_ERROR_MAX, FILTER_ERROR_MAX)] = "";
	int r;

	*ret_fault = CONTROL_FAULT_REQUEST;
	r = record_top_new(&f->table, keys, request->by, TABLE_ROWS, why);
	if (r == 0 && request->filter) {
		*ret_fault = CONTROL_FAULT_FILTER;
		r = record_filter_new(&f->filter, request->filter, why);
	}
	if (r == -EINVAL)
		snprintf(error, CONTROL_ERROR_MAX, "%s", why);
	if (r == 0)
		f->leaves_out_drops =
			!record_top_asks_drops(f->table) &&
			!(f->filter && record_filter_asks(f->filter) & FILTER_ASKS_DROPS);
	return r;
}

int top_feed_new(struct top_feed **ret, const struct control_request *request,
		 const struct feed_context *c, enum control_fault *ret_fault,
		 char error[CONTROL_ERROR_MAX])
{
	_cleanup_(top_feed_freep) struct top_feed *f = calloc(1, sizeof(*f));
	const uint64_t now_ns = clock_ns(CLOCK_BOOTTIME);
	int r = f ? make(f, request, ret_fault, error) : -ENOMEM;

	if (r < 0 && r != -EINVAL) {
		*ret_fault = CONTROL_FAULT_BUSY;
		snprintf(error, CONTROL_ERROR_MAX, "out of memory");
	}
	if (r < 0)
		return r;
	f->rows = request->rows;
	f->every_ns = request->every_ms * NSEC_PER_MSEC;
	f->next = ring_find(c->ring, c->keep_ns < now_ns ? now_ns - c->keep_ns : 0);
	f->first_told_ns = c->before_told_ns;
	f->begin_ns = c->before_ns;
	*ret = TAKE_PTR(f);
	return 0;
}

/* Records of before the first period are in the sums of all time alone. */
static void begin_first(struct top_feed *f)
{
	if (f->first_told_ns)
		record_top_next(f->table);
	f->first_told_ns = 0;
}

static void add(struct top_feed *f, const struct feed_context *c, const struct ring_record *record)
{
	const struct flow flow = feed_flow(record, c);
	struct record_view view;

	if (record->told_ns > f->first_told_ns)
		begin_first(f);
	if (flow.key.kind & FLOW_DROP && !flow.drop)
		return;
	record_view_of_flow(&view, &flow, &c->records);
	if (f->leaves_out_drops && view.parts & VIEW_DROP)
		return;
	if (!f->filter || record_filter_matches(f->filter, &view))
		record_top_add(f->table, &view);
}

/* True: there are no more for now. */
static bool catch_up(struct top_feed *f, const struct feed_context *c)
{
	struct ring_record record;
	uint64_t missed = 0;
	bool more = true;

	for (unsigned int i = 0; i < SLICE && more; i++) {
		more = ring_read(c->ring, &f->next, &record, &missed);
		if (more)
			add(f, c, &record);
		f->next += more;
	}
	f->missed += missed;
	f->missed_recent += missed;
	return !more;
}

/* --- The line. */

static json_t *sums_json(const struct top_sums *sums)
{
	return json_pack("[I,I,I]", (json_int_t)sums->octets, (json_int_t)sums->packets,
			 (json_int_t)sums->flows);
}

static json_t *both_json(struct top_sums all, struct top_sums recent)
{
	return json_pack("{s:o,s:o}", "all", sums_json(&all), "recent", sums_json(&recent));
}

static json_t *row_json(const struct record_top *table, const struct top_row *row)
{
	json_t *object = both_json(row->sums, row->recent), *cells = json_array();
	char text[TOP_CELL_MAX];

	for (unsigned int i = 0; i < record_top_keys(table); i++)
		json_array_append_new(cells, json_string(record_top_cell(text, table, row, i)));
	json_object_set_new(object, "key", cells);
	return object;
}

static struct top_sums plus(struct top_sums one, const struct top_sums *other)
{
	one.octets += other->octets;
	one.packets += other->packets;
	one.flows += other->flows;
	return one;
}

/* The rows that are shown, and in the others what is in none of these. */
static json_t *rows_json(const struct top_feed *f, json_t **ret_others)
{
	struct top_sums others = record_top_others(f->table);
	struct top_sums recent = record_top_others_recent(f->table);
	const struct top_row *const *rows;
	const size_t count = record_top_sort(f->table, &rows);
	json_t *array = json_array();

	for (size_t i = 0; i < count; i++)
		if (i < f->rows) {
			json_array_append_new(array, row_json(f->table, rows[i]));
		} else {
			others = plus(others, &rows[i]->sums);
			recent = plus(recent, &rows[i]->recent);
		}
	*ret_others = both_json(others, recent);
	return array;
}

static char *make_line(struct top_feed *f, const struct feed_context *c)
{
	const double seconds = (double)(c->settled_ns - f->begin_ns) / NSEC_PER_SEC;
	json_t *others, *rows = rows_json(f, &others), *keys = json_array();
	char *line = NULL, *text;
	json_t *object;

	for (unsigned int i = 0; i < record_top_keys(f->table); i++)
		json_array_append_new(keys, json_string(record_top_name(f->table, i)));
	object = json_pack("{s:i,s:s,s:f,s:o,s:o,s:o,s:o,s:{s:I,s:I}}", "version", CONTROL_VERSION,
			   "answer", "top", "seconds", seconds, "keys", keys, "rows", rows,
			   "others", others, "total",
			   both_json(record_top_total(f->table), record_top_total_recent(f->table)),
			   "missed", "all", (json_int_t)f->missed, "recent",
			   (json_int_t)f->missed_recent);
	text = object ? json_dumps(object, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;
	json_decref(object);
	if (text && asprintf(&line, "%s\n", text) < 0)
		line = NULL;
	free(text);
	return line;
}

/* Swaps that come early make no shorter periods; a timer may be somewhat early or late. */
static bool is_due(const struct top_feed *f, const struct feed_context *c)
{
	if (!c->settled_ns || c->settled_ns <= f->begin_ns)
		return false;
	return !f->shown ||
	       c->settled_ns - f->begin_ns >= MAX(f->every_ns, c->interval_ns) / 10 * 9;
}

static enum feed_state end(char **ret_line)
{
	*ret_line = strdup("{\"end\":\"the exporter has ended\"}\n");
	return FEED_ENDED;
}

enum feed_state top_feed_fill(struct top_feed *f, const struct feed_context *c, bool ending,
			      char **ret_line)
{
	*ret_line = NULL;
	if (!f->begin_ns) { /* the first swap came after the question */
		f->begin_ns = c->before_ns;
		f->first_told_ns = c->before_told_ns;
	}
	if (!catch_up(f, c))
		return FEED_MORE;
	if (ending)
		return end(ret_line);
	if (!is_due(f, c))
		return FEED_WAITS;
	begin_first(f);
	*ret_line = make_line(f, c);
	if (!*ret_line)
		return FEED_ENDED;
	record_top_next(f->table);
	f->begin_ns = c->settled_ns;
	f->missed_recent = 0;
	f->shown = true;
	return FEED_MORE;
}
