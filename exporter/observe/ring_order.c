/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/observe/ring_order.h"
#include <errno.h>
#include <stdlib.h>

/* Of a position: its record has the number that the part began with, and `offset`. */
struct place {
	uint32_t offset;
	uint32_t back; /* to where the part begins */
};

struct key {
	uint64_t first_ns;
	uint64_t last_ns;
	uint32_t offset;
};

struct ring_order {
	const struct ring *ring;
	uint32_t size;
	uint64_t next;
	struct key *keys; /* of the part that is sorted, RING_SETTLE_MAX */
	struct place places[];
};

uint64_t ring_order_memory(uint32_t records)
{
	return sizeof(struct ring_order) + (uint64_t)records * sizeof(struct place) +
	       RING_SETTLE_MAX * sizeof(struct key);
}

int ring_order_new(struct ring_order **ret, const struct ring *ring)
{
	_cleanup_(ring_order_freep) struct ring_order *o = NULL;
	const uint32_t size = ring_size(ring);

	o = calloc(1, sizeof(*o) + (uint64_t)size * sizeof(struct place));
	if (!o)
		return -ENOMEM;
	o->keys = calloc(RING_SETTLE_MAX, sizeof(*o->keys));
	if (!o->keys)
		return -ENOMEM;
	o->ring = ring;
	o->size = size;
	*ret = TAKE_PTR(o);
	return 0;
}

struct ring_order *ring_order_free(struct ring_order *o)
{
	if (!o)
		return NULL;
	free(o->keys);
	free(o);
	return NULL;
}

/* --- Sorting. */

/* What has the same times, by ticks of the kernel's clock, stays as it was read. */
static int compare(const void *a, const void *b)
{
	const struct key *one = a, *two = b;

	if (one->first_ns != two->first_ns)
		return one->first_ns < two->first_ns ? -1 : 1;
	if (one->last_ns != two->last_ns)
		return one->last_ns < two->last_ns ? -1 : 1;
	return (one->offset > two->offset) - (one->offset < two->offset);
}

/* Those that have been overwritten come first, as the oldest: whoever reads them misses them. */
static void sort_part(struct ring_order *o, uint64_t begin, uint32_t count)
{
	struct ring_record record;

	for (uint32_t i = 0; i < count; i++) {
		const bool there = ring_get(o->ring, begin + i, &record);

		o->keys[i] = (struct key){.first_ns = there ? record.record.first_ns : 0,
					  .last_ns = there ? record.record.last_ns : 0,
					  .offset = i};
	}
	qsort(o->keys, count, sizeof(*o->keys), compare);
	for (uint32_t i = 0; i < count; i++)
		o->places[(begin + i) % o->size] = (struct place){o->keys[i].offset, i};
}

void ring_order_look(struct ring_order *o)
{
	const uint64_t settled = ring_settled(o->ring);

	if (settled > o->size) /* what is before that has been overwritten */
		o->next = MAX(o->next, settled - o->size);
	while (o->next < settled) {
		const uint64_t count = MIN(settled - o->next, (uint64_t)RING_SETTLE_MAX);

		sort_part(o, o->next, (uint32_t)count);
		o->next += count;
	}
}

/* --- Reading. */

/* Where the part begins in which this position is, which has not been overwritten. */
static uint64_t part_of(const struct ring_order *o, uint64_t position)
{
	return position - o->places[position % o->size].back;
}

uint64_t ring_order_next(const struct ring_order *o)
{
	return o->next;
}

uint64_t ring_order_oldest(const struct ring_order *o)
{
	const uint64_t oldest = ring_oldest(o->ring);

	if (oldest >= o->next)
		return o->next;
	return MAX(part_of(o, oldest), o->next > o->size ? o->next - o->size : 0);
}

bool ring_order_get(const struct ring_order *o, uint64_t position, struct ring_record *ret)
{
	if (position >= o->next || position + o->size < o->next)
		return false;
	return ring_get(o->ring, part_of(o, position) + o->places[position % o->size].offset, ret);
}

bool ring_order_read(const struct ring_order *o, uint64_t *position, struct ring_record *ret,
		     uint64_t *missed)
{
	while (*position < o->next) {
		const uint64_t oldest = ring_order_oldest(o);

		if (*position >= oldest && ring_order_get(o, *position, ret))
			return true;
		*missed += MAX(oldest, *position + 1) - *position;
		*position = MAX(oldest, *position + 1);
	}
	return false;
}

uint64_t ring_order_find(const struct ring_order *o, uint64_t told_ns)
{
	const uint64_t number = ring_find(o->ring, told_ns);

	return number < o->next ? MAX(part_of(o, number), ring_order_oldest(o)) : o->next;
}
