/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * A collector's queue: references to messages, of one generation of a stream after the other.  Each collector has
 * one of its own, so that one encoding serves all and none waits for another.  Allocated once.
 */
#include "exporter/export/stream.h"

struct queue_entry {
	struct message *message;
	uint32_t lost; /* records lost for lack of room since the entry before: a gap in the sequence */
	uint16_t start;	 /* the first record not sent yet */
	uint16_t octets; /* of the records before it */
};

struct queue {
	struct queue_entry *entries; /* ring */
	uint32_t slots;
	uint32_t head; /* position of the oldest */
	uint32_t count;
	uint32_t reserved; /* for messages being filled */
	uint32_t drops;	   /* messages of drops, in it or being filled */
	uint32_t lost;	   /* see queue_entry: for the next one */
};

/* -ENOMEM. */
int queue_init(struct queue *q, uint32_t slots);
void queue_done(struct queue *q);

/* Whether a place can be reserved; messages are pushed into places reserved before. */
static inline bool queue_has_room(const struct queue *q)
{
	return q->count + q->reserved < q->slots;
}

/*
 * Likewise, for drops: a storm of them leaves half of the queue to flows.  What flows take is not held
 * against them, so that any queue of four places has room for a message of each template.
 */
static inline bool queue_has_share(const struct queue *q)
{
	return queue_has_room(q) && q->drops < q->slots / 2;
}

/* Reserves a place for the message. */
static inline void queue_reserve(struct queue *q, const struct message *m)
{
	q->reserved++;
	q->drops += m->drops;
}

void queue_push(struct queue *q, struct message *m);

/* The i-th oldest, i < count. */
static inline struct queue_entry *queue_at(const struct queue *q, uint32_t i)
{
	return &q->entries[(q->head + i) % q->slots];
}

/* Removes the oldest. */
void queue_pop(struct queue *q);
