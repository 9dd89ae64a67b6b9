/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * A bounded queue of messages in slots of fixed size.  Allocated once; a slot is touched only when the
 * queue grows that long, so that what is never used costs address space and no memory.
 */
#include <stdint.h>
#include "exporter/export/export.h"

struct message {
	uint8_t *data;
	uint16_t length;	   /* octets written */
	uint16_t records;	   /* data records in it */
	uint32_t sequence;	   /* in its header */
	struct export_count count; /* the same records, with packets and octets */
};

struct queue {
	struct message *messages;
	uint8_t *bytes;
	uint32_t *free;	  /* stack of slots not in use: the last one freed is the next one taken */
	uint32_t *queued; /* ring */
	uint32_t slots;
	uint32_t free_count;
	uint32_t head; /* position of the oldest in `queued` */
	uint32_t count;
};

/* `slots` messages of `size` octets at most; also counts those taken and not pushed yet.  -ENOMEM. */
int queue_init(struct queue *q, uint32_t slots, uint16_t size);
void queue_done(struct queue *q);

/* An empty message, NULL when all slots are in use. */
struct message *queue_take(struct queue *q);

/* Appends a message taken before. */
void queue_push(struct queue *q, const struct message *m);

/* The i-th oldest, i < count. */
static inline struct message *queue_at(const struct queue *q, uint32_t i)
{
	return &q->messages[q->queued[(q->head + i) % q->slots]];
}

/* Removes the oldest. */
void queue_pop(struct queue *q);
