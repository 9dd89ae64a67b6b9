/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Encodes flow records once for all collectors that want the same octets.  A message has one data set,
 * of one template: those under way are one per template of the profile, are filled up to message_max and never
 * split over sets or padded.
 */
#include "exporter/export/collector.h"
#include "exporter/export/format/profile.h"
#include "exporter/export/format/protocol.h"
#include "exporter/export/queue.h"
#include "exporter/export/transport/transport.h"

/* NetFlow v9: the base of times is so long before the first flow. */
#define STREAM_BASE_AHEAD_MS (86400 * 1000ull)

struct stream {
	const struct protocol *protocol;
	const struct profile *profile;
	struct pool pool;
	struct message *open[PROFILE_TEMPLATES_MAX]; /* being filled, NULL when none */
	uint64_t base_ms;		   /* record_context of the next message */
	uint16_t message_max;		   /* octets, headers included */
	struct collector *members[EXPORT_COLLECTORS_MAX];
	unsigned int count;
	uint8_t record[TRANSPORT_MESSAGE_MAX]; /* one with strings, on its way to a message */
};

/* The profile stays the caller's. */
void stream_init(struct stream *s, const struct protocol *protocol, const struct profile *profile,
		 uint16_t message_max);
void stream_done(struct stream *s);

/*
 * Adds a member, whose queue has so many slots, and makes room for them; before the first record.
 * -EBUSY after it, -ENOMEM.
 */
int stream_join(struct stream *s, struct collector *c);

/*
 * Encodes a record and counts it for each member as queued, or as lost where a queue is full; clock_ns
 * makes wall time of its times.  A record that is longer than a message loses the ends of its strings, which is
 * counted too.
 */
void stream_add(struct stream *s, const struct flow *flow, int64_t clock_ns);

/*
 * The wall clock has been set by so many ms: what waits in the queues is told by the new one.  Messages under
 * way are closed.
 */
void stream_move_clock(struct stream *s, int64_t ms);

/* Whether stream_add() would find room at this member. */
bool stream_has_room(const struct stream *s, unsigned int member, const struct flow *flow);

/* Completes the messages under way. */
void stream_flush(struct stream *s);
