/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include "exporter/export/queue.h"

int pool_init(struct pool *p, uint32_t slots, uint16_t size, uint16_t records)
{
	*p = (struct pool){
		.messages = calloc(slots, sizeof(*p->messages)),
		.bytes = calloc(slots, size),
		.amounts = calloc((size_t)slots * records, sizeof(*p->amounts)),
		.free = calloc(slots, sizeof(*p->free)),
		.slots = slots,
		.size = size,
		.records = records,
	};
	if (!p->messages || !p->bytes || !p->amounts || !p->free) {
		pool_done(p);
		return -ENOMEM;
	}
	return 0;
}

void pool_done(struct pool *p)
{
	free(p->messages);
	free(p->bytes);
	free(p->amounts);
	free(p->free);
	*p = (struct pool){0};
}

struct message *pool_take(struct pool *p)
{
	uint32_t i;

	if (p->free_count)
		i = p->free[--p->free_count];
	else if (p->fresh < p->slots)
		i = p->fresh++;
	else
		return NULL;
	p->messages[i] = (struct message){.data = p->bytes + (size_t)i * p->size,
					  .amounts = p->amounts + (size_t)i * p->records};
	return &p->messages[i];
}

void pool_put(struct pool *p, struct message *m)
{
	if (!m->references)
		p->free[p->free_count++] = (uint32_t)(m - p->messages);
}

int queue_init(struct queue *q, struct pool *pool, uint32_t slots)
{
	*q = (struct queue){
		.entries = calloc(slots, sizeof(*q->entries)),
		.pool = pool,
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
	m->references--;
	pool_put(q->pool, m);
}
