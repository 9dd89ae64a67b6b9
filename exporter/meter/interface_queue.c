/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/meter/interface.h"
#include "exporter/meter/interface_queue.h"

void interface_queue_put(struct interface_queue *q, struct interface *i, bool awaited)
{
	if (i->queued && (i->awaited || !awaited))
		return;
	interface_queue_remove(q, i);
	i->queued = true;
	i->awaited = awaited;
	i->next = NULL;
	i->previous = q->lists[awaited].last;
	*(i->previous ? &i->previous->next : &q->lists[awaited].first) = i;
	q->lists[awaited].last = i;
}

struct interface *interface_queue_first(const struct interface_queue *q)
{
	return q->lists[true].first ?: q->lists[false].first;
}

bool interface_queue_awaits(const struct interface_queue *q)
{
	return q->lists[true].first;
}

void interface_queue_remove(struct interface_queue *q, struct interface *i)
{
	if (!i->queued)
		return;
	*(i->previous ? &i->previous->next : &q->lists[i->awaited].first) = i->next;
	*(i->next ? &i->next->previous : &q->lists[i->awaited].last) = i->previous;
	i->queued = false;
}
