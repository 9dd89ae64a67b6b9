/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include "exporter/export/queue.h"

int queue_init(struct queue *q, uint32_t slots, uint16_t size)
{
	*q = (struct queue){
		.messages = calloc(slots, sizeof(*q->messages)),
		.bytes = calloc(slots, size),
		.free = calloc(slots, sizeof(*q->free)),
		.queued = calloc(slots, sizeof(*q->queued)),
		.slots = slots,
		.free_count = slots,
	};
	if (!q->messages || !q->bytes || !q->free || !q->queued) {
		queue_done(q);
		return -ENOMEM;
	}
	for (uint32_t i = 0; i < slots; i++) {
		q->messages[i].data = q->bytes + (size_t)i * size;
		q->free[i] = slots - 1 - i;
	}
	return 0;
}

void queue_done(struct queue *q)
{
	free(q->messages);
	free(q->bytes);
	free(q->free);
	free(q->queued);
	*q = (struct queue){0};
}

struct message *queue_take(struct queue *q)
{
	struct message *m;

	if (!q->free_count)
		return NULL;
	m = &q->messages[q->free[--q->free_count]];
	*m = (struct message){.data = m->data};
	return m;
}

void queue_push(struct queue *q, const struct message *m)
{
	q->queued[(q->head + q->count++) % q->slots] = (uint32_t)(m - q->messages);
}

void queue_pop(struct queue *q)
{
	q->free[q->free_count++] = q->queued[q->head];
	q->head = (q->head + 1) % q->slots;
	q->count--;
}
