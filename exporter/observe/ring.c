/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/observe/ring.h"
#include <errno.h>
#include <string.h>

#define WORDS (sizeof(struct ring_record) / sizeof(uint64_t))

_Static_assert(sizeof(struct ring_record) % sizeof(uint64_t) == 0, "copied word by word");

struct slot {
	uint64_t sequence; /* 2 n + 1 while record n is written, 2 n + 2 when it is there; 0: never */
	uint64_t words[WORDS];
};

struct ring {
	uint64_t next;	  /* number of the next record */
	uint64_t settled; /* of the first one that is not settled */
	uint64_t *missed; /* NULL: nobody wants to know */
	uint32_t size;
	struct slot slots[];
};

uint64_t ring_memory(uint32_t records)
{
	return sizeof(struct ring) + (uint64_t)records * sizeof(struct slot);
}

int ring_new(struct ring **ret, uint32_t records)
{
	struct ring *ring;

	if (records < RING_RECORDS_MIN || records > RING_RECORDS_MAX)
		return -EINVAL;
	ring = calloc(1, ring_memory(records));
	if (!ring)
		return -ENOMEM;
	ring->size = records;
	*ret = ring;
	return 0;
}

struct ring *ring_free(struct ring *ring)
{
	free(ring);
	return NULL;
}

void ring_count_missed(struct ring *ring, uint64_t *missed)
{
	ring->missed = missed;
}

/*
 * Readers may copy meanwhile, so each word is written by itself.  The fence keeps them behind the odd number, the last store
 * in front of the even one.
 */
void ring_add(struct ring *ring, const struct ring_record *record)
{
	const uint64_t number = ring->next;
	struct slot *slot = &ring->slots[number % ring->size];
	uint64_t words[WORDS];

	memcpy(words, record, sizeof(words));
	__atomic_store_n(&slot->sequence, 2 * number + 1, __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_RELEASE);
	for (size_t i = 0; i < WORDS; i++)
		__atomic_store_n(&slot->words[i], words[i], __ATOMIC_RELAXED);
	__atomic_store_n(&slot->sequence, 2 * number + 2, __ATOMIC_RELEASE);
	__atomic_store_n(&ring->next, number + 1, __ATOMIC_RELEASE);
	if (ring->next - ring->settled >= MIN(ring->size / 2, (uint32_t)RING_SETTLE_MAX))
		ring_settle(ring);
}

void ring_settle(struct ring *ring)
{
	__atomic_store_n(&ring->settled, ring->next, __ATOMIC_RELEASE);
}

uint64_t ring_settled(const struct ring *ring)
{
	return __atomic_load_n(&ring->settled, __ATOMIC_ACQUIRE);
}

uint32_t ring_size(const struct ring *ring)
{
	return ring->size;
}

uint64_t ring_next(const struct ring *ring)
{
	return __atomic_load_n(&ring->next, __ATOMIC_ACQUIRE);
}

uint64_t ring_oldest(const struct ring *ring)
{
	const uint64_t next = ring_next(ring);

	return next > ring->size ? next - ring->size : 0;
}

bool ring_get(const struct ring *ring, uint64_t number, struct ring_record *ret)
{
	const struct slot *slot = &ring->slots[number % ring->size];
	uint64_t words[WORDS];

	if (__atomic_load_n(&slot->sequence, __ATOMIC_ACQUIRE) != 2 * number + 2)
		return false;
	for (size_t i = 0; i < WORDS; i++)
		words[i] = __atomic_load_n(&slot->words[i], __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	if (__atomic_load_n(&slot->sequence, __ATOMIC_RELAXED) != 2 * number + 2)
		return false;
	memcpy(ret, words, sizeof(*ret));
	return true;
}

bool ring_read(const struct ring *ring, uint64_t *number, struct ring_record *ret, uint64_t *missed)
{
	while (*number < ring_next(ring)) {
		const uint64_t oldest = ring_oldest(ring), from = *number;

		if (from >= oldest && ring_get(ring, from, ret))
			return true;
		/* Overtaken: the slot of a record that is written now may be the oldest one's. */
		*number = MAX(oldest, from + 1);
		*missed += *number - from;
		if (ring->missed)
			__atomic_add_fetch(ring->missed, *number - from, __ATOMIC_RELAXED);
	}
	return false;
}

/* That of the record, or of one that has taken its place since: they are older then than what was asked for. */
static uint64_t told_at(const struct ring *ring, uint64_t number)
{
	struct ring_record record;

	return ring_get(ring, number, &record) ? record.told_ns : 0;
}

uint64_t ring_find(const struct ring *ring, uint64_t told_ns)
{
	uint64_t low = ring_oldest(ring), high = ring_next(ring);

	while (low < high) {
		const uint64_t middle = low + (high - low) / 2;

		if (told_at(ring, middle) < told_ns)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}
