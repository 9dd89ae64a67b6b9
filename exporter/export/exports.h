/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* What export.c (records in, messages out) and apply.c (collectors come and go) have in common. */
#include <pthread.h>
#include "exporter/export/collector.h"
#include "exporter/export/stream.h"

#define EXPORTS_REMOVED_MAX 32 /* whose counters are kept one by one */

struct exports {
	struct export_context context; /* strings of its options are owned */

	/*
	 * Held while the lists of collectors change, or the words of one: exports_copy() reads them in another thread.  Never
	 * while something may take long.
	 */
	pthread_mutex_t lock;
	struct collector *collectors[EXPORT_COLLECTORS_MAX];
	unsigned int count;
	struct stream *streams[EXPORT_COLLECTORS_MAX]; /* mirrored: each gets all flows */
	unsigned int stream_count;
	struct stream *shares
		[EXPORT_COLLECTORS_MAX]; /* balanced: each flow goes to one; of one member each */
	unsigned int share_count;
	unsigned int numbers; /* given to collectors so far */
	struct export_totals totals;

	/* Those that have been removed: some still send, of the others there are counters, oldest first. */
	struct collector *leaving[EXPORT_COLLECTORS_MAX];
	unsigned int leaving_count;
	struct loop_source *leave_timer; /* NULL without loop */
	struct collector_stats removed[EXPORTS_REMOVED_MAX];
	unsigned int removed_count;
	struct collector_stats
		merged[2]; /* of all before: those that did not share, and those that did */
};

/* 0 becomes the default.  -EINVAL (out of range, or no such template), -ENOMEM. */
int exports_complete_options(struct export_options *o);

/* Steps these collectors until nothing is queued, as exports_send_queued(). */
void exports_send_queued_of(struct collector **collectors, unsigned int count, uint64_t timeout_ns);

/* What is still queued is lost as unsent. */
void exports_give_up(struct collector *c);

/* Brings stats.due up to date. */
void exports_count_due(const struct exports *exports, struct collector *c);

/* Ends those that have been removed and have sent all, or had their time.  A callback of leave_timer. */
int exports_see_off(void *exports, uint32_t events);

/* With its strings. */
void exports_free_collector(struct collector *c);
