/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include "exporter/export/queue.h"

int queue_init(struct queue *q, uint32_t slots)
{
	*q = (struct queue){
		.entries = calloc(slots, sizeof(*q->entries)),
		.slots = slots,
	};
	return q->entries ? 0 : -ENOMEM;
}

void queue_done(struct queue *q)
{
	while (q->count)
		queue_pop(q);
	free(q->entries);
	*q = (struct queue){0};
}

void queue_push(struct queue *q, struct message *m)
{
	q->entries[(q->head + q->count++) % q->slots] =
		(struct queue_entry){.message = m, .lost = q->lost};
	q->lost = 0;
	q->reserved--;
	m->references++;
}

void queue_pop(struct queue *q)
{
	struct message *m = queue_at(q, 0)->message;

	q->head = (q->head + 1) % q->slots;
	q->count--;
	q->drops -= m->drops;
	message_put(m);
}
