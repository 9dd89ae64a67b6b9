/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/observe/feed.h"
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include "exporter/observe/record_filter.h"
#include "exporter/observe/record_view.h"

#define SLICE 8192 /* records that one call looks at: some milliseconds */

enum phase {
	PHASE_COUNT, /* looks backwards for where the last records begin */
	PHASE_BEGIN, /* the first line is due */
	PHASE_SHOW,
	PHASE_OVER,
};

struct feed {
	enum phase phase;
	struct record_filter *filter; /* NULL: all records */
	uint64_t oldest;	      /* number of the first record that is not too old */
	uint64_t kept_ns;	      /* CLOCK_BOOTTIME; what was read before is too old */
	uint64_t first; /* position of the first one that may be of what is asked for */
	uint64_t found; /* of PHASE_COUNT: the oldest one that matches */
	uint64_t next;	/* position of the record that is shown next; PHASE_COUNT: looked at last */
	uint64_t end;	/* position of the first one that is not shown; UINT64_MAX: it follows */
	uint64_t wanted;	     /* of PHASE_COUNT: records that are still to be found */
	uint64_t since_ns, until_ns; /* CLOCK_BOOTTIME; 0 and UINT64_MAX: no bound */
	uint64_t missed;	     /* and not told yet */
	bool reaches;		     /* the ring does, as far back as since_ns */
	bool partly;		     /* what was asked for reaches back further than the ring */
	uint64_t searched;	     /* records ever */
	uint64_t said_ns;	     /* CLOCK_MONOTONIC of its last line */
};

/* What feed_fill() writes. */
struct page {
	char *at;
	size_t room;
};

/* Of the wall clock, as it is now; what is before the start of the machine becomes 1. */
static uint64_t to_boottime_ns(uint64_t ms, int64_t wall_ns)
{
	const int64_t most_ms = INT64_MAX / (int64_t)NSEC_PER_MSEC / 2;

	if (ms == 0 || ms > (uint64_t)most_ms)
		return ms ? UINT64_MAX : 0;
	return (uint64_t)MAX((int64_t)(ms * NSEC_PER_MSEC) - wall_ns, 1);
}

struct feed *feed_free(struct feed *feed)
{
	if (!feed)
		return NULL;
	record_filter_freep(&feed->filter);
	free(feed);
	return NULL;
}

/* Where it begins, of what the ring holds now. */
static void find_begin(struct feed *f, const struct control_request *request,
		       const struct feed_context *c)
{
	const uint64_t now_ns = clock_ns(CLOCK_BOOTTIME), end = ring_order_next(c->order);
	struct ring_record first;

	f->kept_ns = c->keep_ns < now_ns ? now_ns - c->keep_ns : 0;
	f->oldest = ring_find(c->ring, f->kept_ns);
	f->end = request->follow ? UINT64_MAX : end;
	f->wanted = request->last;
	f->first = ring_order_find(c->order, f->kept_ns);
	if (f->since_ns) {
		/* A record is read after its last packet, one interval at most. */
		f->first = MAX(ring_order_find(c->order, f->since_ns), f->first);
		f->reaches = ring_get(c->ring, f->oldest, &first) &&
			     first.told_ns <= f->since_ns + c->interval_ns;
		f->partly = !f->reaches && request->last == UINT64_MAX;
	}
	f->next = request->last == UINT64_MAX ? f->first : end;
	f->found = f->next;
	f->phase = request->last == 0 || request->last == UINT64_MAX ? PHASE_BEGIN : PHASE_COUNT;
}

int feed_new(struct feed **ret, const struct control_request *request, const struct feed_context *c,
	     char error[CONTROL_ERROR_MAX])
{
	_cleanup_(feed_freep) struct feed *f = calloc(1, sizeof(*f));
	char why[FILTER_ERROR_MAX] = "out of memory";
	int r;

	if (!f)
		return -ENOMEM;
	f->since_ns = to_boottime_ns(request->since_ms, c->wall_ns);
	f->until_ns = to_boottime_ns(request->until_ms, c->wall_ns);
	f->said_ns = clock_ns(CLOCK_MONOTONIC);
	r = request->filter ? record_filter_new(&f->filter, request->filter, why) : 0;
	if (r < 0) {
		snprintf(error, CONTROL_ERROR_MAX, "%s", why);
		return r == -ENOMEM ? r : -EINVAL;
	}
	find_begin(f, request, c);
	*ret = TAKE_PTR(f);
	return 0;
}

struct flow feed_flow(const struct ring_record *record, const struct feed_context *c)
{
	struct flow flow = {.key = record->key, .record = record->record};

	flow.record.first_ns += (uint64_t)c->wall_ns;
	flow.record.last_ns += (uint64_t)c->wall_ns;
	if (flow.key.kind & FLOW_DROP && c->drop_names)
		flow.drop =
			drop_reasons_get(c->drop_names, drop_reason_unpack(flow.key.drop_reason));
	return flow;
}

static bool matches(const struct feed *f, const struct feed_context *c,
		    const struct ring_record *record, const struct flow *flow)
{
	struct record_view view;

	if (record->record.last_ns < f->since_ns || record->record.first_ns > f->until_ns ||
	    record->told_ns < f->kept_ns)
		return false;
	if (flow->key.kind & FLOW_DROP && !flow->drop)
		return false;
	if (!f->filter)
		return true;
	record_view_of_flow(&view, flow, &c->records);
	return record_filter_matches(f->filter, &view);
}

/* Backwards, until as many are found as are wanted, or there are no more. */
static void count_back(struct feed *f, const struct feed_context *c)
{
	struct ring_record record;
	struct flow flow;

	for (unsigned int i = 0; i < SLICE && f->wanted && f->next > f->first; i++) {
		f->next--;
		if (!ring_order_get(c->order, f->next, &record)) {
			f->partly = true; /* overtaken, and so may others of its part be */
			f->first = MAX(f->first, MIN(ring_order_oldest(c->order), f->next));
			continue;
		}
		f->searched++;
		flow = feed_flow(&record, c);
		if (!matches(f, c, &record, &flow))
			continue;
		f->wanted--;
		f->found = f->next;
	}
	if (f->wanted && f->next > f->first)
		return;
	f->partly |= f->wanted && !f->reaches;
	f->next = f->found;
	f->phase = PHASE_BEGIN;
}

static void put(struct page *page, size_t octets)
{
	page->at += octets;
	page->room -= octets;
}

_printf_(2, 3) static void print(struct page *page, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	put(page, (size_t)vsnprintf(page->at, page->room, format, args));
	va_end(args);
}

static uint64_t told_ms(const struct feed_context *c, uint64_t number)
{
	struct ring_record record;

	return ring_get(c->ring, number, &record)
		       ? (record.told_ns + (uint64_t)c->wall_ns) / NSEC_PER_MSEC
		       : 0;
}

static void print_begin(struct feed *f, const struct feed_context *c, struct page *page)
{
	const uint64_t next = ring_order_next(c->order),
		       oldest = MAX(f->oldest, ring_oldest(c->ring));

	print(page,
	      "{\"version\":%d,\"answer\":\"records\",\"held\":%" PRIu64 ",\"oldest_ms\":%" PRIu64
	      ",\"newest_ms\":%" PRIu64 ",\"complete\":%s}\n",
	      CONTROL_VERSION, next - MIN(oldest, next), oldest < next ? told_ms(c, oldest) : 0,
	      oldest < next ? told_ms(c, next - 1) : 0, f->partly ? "false" : "true");
	f->phase = PHASE_SHOW;
}

static void print_missed(struct feed *f, struct page *page)
{
	if (f->missed)
		print(page, "{\"missed\":%" PRIu64 "}\n", f->missed);
	f->missed = 0;
}

static int compare_number(const void *key, const void *element)
{
	const uint32_t ifindex = *(const uint32_t *)key;
	const struct export_interface *interface = element;

	return (ifindex > interface->ifindex) - (ifindex < interface->ifindex);
}

/* By which people know the interface; records have its number. */
static const char *find_name(const struct feed_context *c, uint32_t ifindex)
{
	const struct export_interface *all = c->records.interfaces, *found = NULL;

	if (ifindex && all)
		found = bsearch(&ifindex, all, c->records.interface_count, sizeof(*all),
				compare_number);
	return found ? c->names[found - all] : NULL;
}

static void print_record(const struct feed_context *c, const struct flow *flow, struct page *page)
{
	const struct flow_template *template = &c->profile->templates[flow_template_index(flow)];
	const char *name = find_name(c, flow->key.ifindex);
	uint8_t record[JSON_RECORD_MAX];
	unsigned int cut;

	record_encode(record, sizeof(record), template, PROTOCOL_IPFIX, flow, &c->records, &cut);
	print(page, "{\"record\":");
	put(page, json_record(page->at, template, record, flow->drop) - 2); /* its end */
	if (name)
		print(page, ",\"interfaceName\":%s", name);
	print(page, "}}\n");
}

static void print_end(struct feed *f, struct page *page, bool ending)
{
	print(page, "{\"end\":\"%s\"}\n",
	      ending && f->end == UINT64_MAX ? "the exporter has ended" : "");
	f->phase = PHASE_OVER;
}

/* Nothing that is asked for can come any more. */
static bool is_over(const struct feed *f, const struct feed_context *c, bool ending)
{
	return ending || f->next >= f->end ||
	       (f->until_ns != UINT64_MAX &&
		clock_ns(CLOCK_BOOTTIME) > f->until_ns + 2 * c->interval_ns);
}

static enum feed_state show(struct feed *f, const struct feed_context *c, bool ending,
			    struct page *page)
{
	struct ring_record record;
	struct flow flow;

	for (unsigned int i = 0; i < SLICE; i++) {
		/* One line to say what was missed, and one for what follows. */
		if (page->room < 2 * FEED_LINE_MAX)
			return FEED_MORE;
		if (f->next >= f->end ||
		    !ring_order_read(c->order, &f->next, &record, &f->missed)) {
			print_missed(f, page);
			if (!is_over(f, c, ending))
				return FEED_WAITS;
			print_end(f, page, ending);
			return FEED_ENDED;
		}
		if (f->next >= f->end) { /* overtaken: what follows was not asked for */
			f->missed -= f->next - f->end;
			f->next = f->end;
			continue;
		}
		f->next++;
		f->searched++;
		flow = feed_flow(&record, c);
		print_missed(f, page);
		if (matches(f, c, &record, &flow))
			print_record(c, &flow, page);
	}
	return FEED_MORE;
}

/* Whoever waits for a search through a large ring learns now and then that it goes on. */
static void print_progress(struct feed *f, const struct feed_context *c, enum feed_state state,
			   struct page *page, size_t size)
{
	const uint64_t now_ns = clock_ns(CLOCK_MONOTONIC);

	if (page->room == size && state == FEED_MORE && now_ns - f->said_ns < c->patience_ns)
		return;
	if (page->room == size && state == FEED_MORE && size >= FEED_LINE_MAX)
		print(page, "{\"searched\":%" PRIu64 "}\n", f->searched);
	f->said_ns = now_ns;
}

enum feed_state feed_fill(struct feed *f, const struct feed_context *c, bool ending, char *out,
			  size_t size, size_t *ret_used)
{
	struct page page = {out, size};
	enum feed_state state = FEED_MORE;

	if (f->phase == PHASE_COUNT)
		count_back(f, c);
	else if (f->phase == PHASE_BEGIN && page.room >= FEED_LINE_MAX)
		print_begin(f, c, &page);
	else if (f->phase == PHASE_SHOW)
		state = show(f, c, ending, &page);
	else if (f->phase == PHASE_OVER)
		state = FEED_ENDED;
	print_progress(f, c, state, &page, size);
	*ret_used = size - page.room;
	return state;
}
