/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * What a client of `flowtally top` gets: sums over the records of the ring (ring.h) in a bounded table (record_top.h), again
 * and again, a line of JSON each time.  So no client is ever sent a line for each record.  In the thread of the control socket.
 *
 * A period ends with a settled swap of the banks, so that its sums by its seconds are rates.  The sums of all time begin with
 * what the ring holds.
 */
#include "exporter/observe/feed.h"

struct top_feed;

/* -errno: *ret_fault and `error` say what is wrong. */
int top_feed_new(struct top_feed **ret, const struct control_request *request,
		 const struct feed_context *context, enum control_fault *ret_fault,
		 char error[CONTROL_ERROR_MAX]);
struct top_feed *top_feed_free(struct top_feed *feed);
DEFINE_CLEANUP(struct top_feed *, top_feed_free)

/*
 * Looks at a bounded number of records.  *ret_line: a line with its end on the heap, the caller's; NULL: none is due.
 * FEED_ENDED without a line: there is no memory for it.  `ending`: no record will come any more.
 */
enum feed_state top_feed_fill(struct top_feed *feed, const struct feed_context *context,
			      bool ending, char **ret_line);
