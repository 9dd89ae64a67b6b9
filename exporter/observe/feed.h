/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * What one client of the control socket gets of the ring (ring.h): lines of JSON, as many as it takes.  In the thread of the
 * control socket.
 */
#include <stddef.h>
#include "exporter/export/format/json.h"
#include "exporter/export/format/profile.h"
#include "exporter/observe/control_request.h"
#include "exporter/observe/ring.h"
#include "exporter/observe/ring_order.h"
#include "exporter/util.h"

/* Octets of an interface's name as a string of JSON, quotes and '\0' included. */
#define FEED_NAME_MAX (6 * 16 + 3)

#define FEED_LINE_MAX (JSON_LINE_MAX + 64 + FEED_NAME_MAX)

/* What is the same for all feeds. */
struct feed_context {
	const struct ring *ring;
	const struct ring_order *order;	 /* of the ring */
	const struct profile *profile;	 /* of the fields that are shown */
	struct drop_reasons *drop_names; /* NULL: no drops */
	struct record_context records;	 /* interfaces, as they are now */
	char (*names)[FEED_NAME_MAX];	 /* of these, as strings of JSON */
	uint64_t interval_ns;		 /* between two readings of the banks */
	uint64_t settled_ns;		 /* CLOCK_MONOTONIC of the newest snapshot; 0: none yet */
	uint64_t before_ns;		 /* of the one an interval before; the start, if none */
	uint64_t before_told_ns;	 /* CLOCK_BOOTTIME of that */
	int64_t wall_ns;      /* CLOCK_REALTIME less CLOCK_BOOTTIME, as the ring has it */
	uint64_t patience_ns; /* who is searched for longer is told that this goes on */
	uint64_t keep_ns;     /* what is older is not shown */
};

struct feed;

/*
 * -EINVAL: the filter is none, and `error` says why; -ENOMEM.  The first line says what the ring holds, and whether
 * that is all that was asked for.
 */
int feed_new(struct feed **ret, const struct control_request *request,
	     const struct feed_context *context, char error[CONTROL_ERROR_MAX]);
struct feed *feed_free(struct feed *feed);
DEFINE_CLEANUP(struct feed *, feed_free)

/*
 * A record as a filter and a view have it, with times since 1970 by the wall clock as it is now; its drop is NULL where that is
 * not known.
 */
struct flow feed_flow(const struct ring_record *record, const struct feed_context *context);

enum feed_state {
	FEED_MORE,  /* there is more to be shown, with more room or time */
	FEED_WAITS, /* for records that come */
	FEED_ENDED, /* the last line has been written */
};

/*
 * Writes whole lines, as long as there is room for one of FEED_LINE_MAX, and looks at a bounded number of records.
 * `ending`: no record will come any more.
 */
enum feed_state feed_fill(struct feed *feed, const struct feed_context *context, bool ending,
			  char *out, size_t size, size_t *ret_used);
