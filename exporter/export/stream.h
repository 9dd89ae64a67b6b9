/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Encodes flow records once for all collectors that want the same octets.  A message has one data set,
 * of one template: those under way are one per template of the profile, are filled up to message_max and never
 * split over sets or padded.
 *
 * A stream is a generation: its encoding and its members never change.  When they have to, the next generation
 * takes its place, and this one is retired: its messages wait in the queues of those that were its members, and
 * it is freed when the last of them has left.
 */
#include <stdbool.h>
#include <stdint.h>
#include "exporter/export/export.h"
#include "exporter/export/format/profile.h"
#include "exporter/export/format/protocol.h"
#include "exporter/export/transport/transport.h"
#include "exporter/util.h"

/* NetFlow v9: the base of times is so long before the first flow. */
#define STREAM_BASE_AHEAD_MS (86400 * 1000ull)

struct collector;

/* What decides the octets of messages.  Shared by generations, and never changed. */
struct encoding {
	const struct protocol *protocol;
	struct profile *profile;
	uint16_t message_max; /* octets, headers included */
	unsigned int references;
};

/* The profile is the encoding's from then on, unless it fails: -ENOMEM. */
int encoding_new(struct encoding **ret, const struct protocol *protocol, struct profile *profile,
		 uint16_t message_max);
struct encoding *encoding_ref(struct encoding *e);
struct encoding *encoding_unref(struct encoding *e);
DEFINE_CLEANUP(struct encoding *, encoding_unref)

/* Whether both make the same octets. */
bool encoding_equal(const struct encoding *a, const struct encoding *b);

/* What a record stands for. */
struct message_amount {
	uint64_t packets;
	uint64_t octets;
};

/* Data records of one template, in a row: headers are written when they leave. */
struct message {
	struct stream *stream; /* it is in use, and holds the stream; NULL: it is free */
	struct message *next;  /* free */
	uint8_t *data;
	const struct flow_template *template;
	uint64_t base_ms;    /* record_context they were encoded by */
	uint64_t newest_ns;  /* end of the newest flow, ns since 1970 */
	uint32_t members;    /* while it is filled: bit set of the members that get it */
	uint32_t references; /* queues that hold it, and the stream that fills it */
	uint16_t length;     /* octets written */
	uint16_t records;
	bool moved; /* while exports_set_clock() is at work */
	bool drops; /* the records are drops, which take half of a queue at most */
	struct message_amount amounts[]; /* of each record; behind them there is the data */
};

/*
 * Messages of a fixed size, allocated with the stream.  One is touched only when so many are in use, so that what is
 * never used costs address space and no memory.
 */
struct pool {
	uint8_t *slots;
	size_t slot_size;
	struct message *free; /* used before: the last one freed is the next one taken */
	uint32_t fresh;	      /* slots from here on have never been used */
	uint32_t count;
	uint16_t records; /* of a message, at most */
};

struct stream {
	struct encoding *encoding;
	struct pool pool;
	struct message *open[PROFILE_TEMPLATES_MAX]; /* being filled, NULL when none */
	uint64_t *base_ms; /* record_context of the next message, of all streams */
	struct collector *members[EXPORT_COLLECTORS_MAX];
	unsigned int count;
	unsigned int references; /* messages in use, and who gives it records */
	unsigned int variable; /* bit set of the templates whose records are of different length */
	uint16_t room;	       /* octets that records can have in a message */
	uint8_t record[TRANSPORT_MESSAGE_MAX]; /* one with strings, on its way to a message */
};

/* A generation of these members, with a message for each place of their queues.  -ENOMEM. */
int stream_new(struct stream **ret, struct encoding *encoding, uint64_t *base_ms,
	       struct collector *const *members, unsigned int count);

/* It gets no more records: completes the messages under way, and ends with the last that waits in a queue. */
void stream_retire(struct stream *s);

/* Likewise, but forgets what is under way: of no use, or at the end of all. */
struct stream *stream_free(struct stream *s);
DEFINE_CLEANUP(struct stream *, stream_free)

/*
 * Encodes a record and counts it for each member as queued, or as lost where a queue is full; clock_ns
 * makes wall time of its times.  A record that is longer than a message loses the ends of its strings, which is
 * counted too.
 */
void stream_add(struct stream *s, const struct flow *flow, int64_t clock_ns);

/* Whether stream_add() would find room at this member. */
bool stream_has_room(const struct stream *s, unsigned int member, const struct flow *flow);

/* Completes the messages under way. */
void stream_flush(struct stream *s);

/* The wall clock has been set by so many ms: the records of a message that is complete are told by the new one. */
void message_move(struct message *m, int64_t ms);

/* Gives up a reference. */
void message_put(struct message *m);
