/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Messages between the encoder and the collectors.  A pool of slots of fixed size is shared by the
 * collectors of one stream; each has a queue of references of its own, so that one encoding serves all
 * and none waits for another.  Allocated once; a slot is touched only when so many are in use, so that
 * what is never used costs address space and no memory.
 */
#include <stdbool.h>
#include <stdint.h>
#include "exporter/export/format/fields.h"

/* What a record stands for. */
struct message_amount {
	uint64_t packets;
	uint64_t octets;
};

/* Data records of one template, in a row: headers are written when they leave. */
struct message {
	uint8_t *data;
	struct message_amount *amounts; /* of each record */
	const struct flow_template *template;
	uint64_t base_ms;    /* record_context they were encoded by */
	uint64_t newest_ns;  /* end of the newest flow, ns since 1970 */
	uint32_t members;    /* bit set of the stream's collectors that get it */
	uint32_t references; /* queues that hold it */
	uint16_t length;     /* octets written */
	uint16_t records;
	bool moved; /* while stream_move_clock() is at work */
	bool drops; /* the records are drops, which take half of a queue at most */
};

struct pool {
	struct message *messages;
	uint8_t *bytes;
	struct message_amount *amounts;
	uint32_t *free; /* stack of slots used before: the last one freed is the next one taken */
	uint32_t free_count;
	uint32_t fresh; /* slots from here on have never been used */
	uint32_t slots;
	uint16_t size, records;
};

/* `slots` messages of `size` octets and `records` records at most.  -ENOMEM. */
int pool_init(struct pool *p, uint32_t slots, uint16_t size, uint16_t records);
void pool_done(struct pool *p);

/* Whether no slot is in use. */
static inline bool pool_idle(const struct pool *p)
{
	return p->free_count == p->fresh;
}

/* An empty message, NULL when all slots are in use.  It goes back when pool_put() finds no reference. */
struct message *pool_take(struct pool *p);
void pool_put(struct pool *p, struct message *m);

struct queue_entry {
	struct message *message;
	uint32_t lost; /* records lost for lack of room since the entry before: a gap in the sequence */
	uint16_t start;	 /* the first record not sent yet */
	uint16_t octets; /* of the records before it */
};

struct queue {
	struct queue_entry *entries; /* ring */
	struct pool *pool;
	uint32_t slots;
	uint32_t head; /* position of the oldest */
	uint32_t count;
	uint32_t reserved; /* for messages being filled */
	uint32_t drops;	   /* messages of drops, in it or being filled */
	uint32_t lost;	   /* see queue_entry: for the next one */
};

/* -ENOMEM. */
int queue_init(struct queue *q, struct pool *pool, uint32_t slots);
void queue_done(struct queue *q);

/* Whether a place can be reserved; messages are pushed into places reserved before. */
static inline bool queue_has_room(const struct queue *q)
{
	return q->count + q->reserved < q->slots;
}

/*
 * Likewise, for drops: a storm of them leaves half of the queue to flows.  What flows take is not held
 * against them, so that any queue of four places has room for a message of each family.
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
