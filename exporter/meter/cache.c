/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Entries live in one slab and refer to each other by index.  An entry is in three places: the chain
 * of its hash bucket; a list in order of the last merge, which yields the oldest flow when the cache
 * is full; and a slot of the timer wheel.
 *
 * The wheel is lazy.  An entry waits in a slot that is not later than its deadline, and a merge moves
 * it only when the deadline comes earlier.  When the slot fires, the deadline is worked out afresh and
 * the entry goes back if that lies ahead.  An expiry pass visits each slot once at most, however far
 * the clock has jumped.  What it takes out of a slot waits in a slot of its own until it is looked at,
 * in this slice of the pass or a later one; what is merged in between may be looked at too early, which
 * does no harm.  After a change of the timeouts an entry may wait in a slot that is too late: the next
 * pass visits every slot.
 *
 * A cache gets another size in place, a part with each slice.  The slab grows or shrinks at its end, so
 * that entries keep their index unless it lies behind the new end.  The table of buckets is filled from
 * the old one, bucket by bucket.
 */
#include <errno.h>
#include <string.h>
#include <sys/random.h>
#include <xxhash.h>
#include "exporter/meter/cache.h"

#define NIL		 UINT32_MAX
#define CACHE_LINE	 64
#define ENTRIES_MAX	 (1u << 28)
#define TICK_SHIFT	 26   /* a slot is 2^26 ns, 67 ms */
#define WHEEL_SLOTS	 2048 /* 137 s; what ends later waits in the last slot and is put back */
#define WHEEL_MASK	 (WHEEL_SLOTS - 1)
#define FIRING		 WHEEL_SLOTS /* the slot of what is to be looked at */
#define TCP_FIN_OR_RST	 0x05
#define DEADLINE_FOREVER UINT64_MAX
#define BLOCK		 16 /* deltas that are merged together */
#define LAG_SHIFT	 32 /* lags are in units of 2^32 ns, 4.3 s, so that any fits */

struct entry {
	struct flow_key key;
	struct flow_record
		record; /* since the last record; last_ns and what is the first packet's stay */
	uint32_t hash;
	uint32_t chain; /* next in the bucket */
	uint32_t older; /* neighbours in the order of the last merge, or in the list of free entries */
	uint32_t newer;
	uint32_t before; /* neighbours in the slot of the wheel */
	uint32_t after;
	int32_t lag; /* how much later than its last packet's time that came, by the cache's clock */
	uint16_t phase;	    /* of the first active timeout */
	uint16_t slot : 12; /* in FIRING: of the first entry alone */
	bool ended : 1;	    /* FIN or RST seen */
	bool continued : 1; /* the active timeout has passed once */
	bool used : 1;	    /* not in the list of free entries */
};

_Static_assert(FIRING < 1 << 12, "the bits of a slot");
_Static_assert(sizeof(struct entry) <= 144, "the published memory per flow");

/* Chains of entries by their hash. */
struct table {
	uint32_t *heads; /* NULL: there is none */
	uint32_t mask;
};

struct cache {
	struct cache_options options; /* .entries is the size that is wanted */
	struct cache_stats stats;
	uint64_t seed; /* keys come from the wire: nobody outside may foresee their buckets */
	uint64_t tick; /* the wheel's present; entries wait in [tick, tick + WHEEL_SLOTS) */
	uint64_t next; /* the slot to fire next; less than tick while a pass has been interrupted */
	uint64_t until_ns; /* what the last pass looked for was over by then */
	uint32_t size;	   /* of the slab; not what is wanted while a resize goes on */
	uint32_t free;	   /* list of entries that were in use */
	uint32_t unused;   /* entries from here on are in no list */
	uint32_t rehashed; /* buckets of `old` from here on hold what is not in `buckets` yet */
	uint32_t oldest;
	uint32_t newest;
	uint32_t wheel[WHEEL_SLOTS + 1];
	struct table buckets;
	struct table old; /* while the buckets become more or less */
	struct entry *entries;
};

static uint32_t bucket_count(uint32_t entries)
{
	uint32_t count = 1;

	while (count < entries)
		count <<= 1;
	return count;
}

size_t cache_memory(uint32_t entries)
{
	return sizeof(struct cache) + (size_t)entries * sizeof(struct entry) +
	       (size_t)bucket_count(entries) * sizeof(uint32_t);
}

static int table_new(struct table *ret, uint32_t entries)
{
	size_t count = bucket_count(entries);
	uint32_t *heads = malloc(count * sizeof(*heads));

	if (!heads)
		return -ENOMEM;
	memset(heads, 0xff, count * sizeof(*heads));
	*ret = (struct table){.heads = heads, .mask = (uint32_t)count - 1};
	return 0;
}

static bool size_fits(uint32_t entries)
{
	return entries >= CACHE_ENTRIES_MIN && entries <= ENTRIES_MAX;
}

/* Ticks count from a whole turn of the wheel on, so that a turn before any of them is a tick too. */
static uint64_t tick_of(uint64_t time_ns)
{
	return (time_ns >> TICK_SHIFT) + WHEEL_SLOTS;
}

int cache_new(struct cache **ret, const struct cache_options *options)
{
	_cleanup_(cache_freep) struct cache *cache = NULL;

	if (!size_fits(options->entries) || !options->idle_ns || !options->active_ns ||
	    !options->sink)
		return -EINVAL;

	cache = calloc(1, sizeof(*cache));
	if (!cache)
		return -ENOMEM;
	/* Not touched before use, so that the kernel gives memory as flows come. */
	cache->entries = malloc((size_t)options->entries * sizeof(*cache->entries));
	if (!cache->entries || table_new(&cache->buckets, options->entries) < 0)
		return -ENOMEM;
	memset(cache->wheel, 0xff, sizeof(cache->wheel));
	if (getrandom(&cache->seed, sizeof(cache->seed), 0) != sizeof(cache->seed))
		return -errno;

	cache->options = *options;
	if (!options->seed)
		cache->options.seed = ~cache->seed;
	/* A flow that has ended is not to stay longer than one that has not. */
	cache->options.linger_ns = MIN(options->linger_ns, options->idle_ns);
	cache->size = options->entries;
	cache->tick = cache->next = tick_of(0);
	cache->free = cache->oldest = cache->newest = NIL;
	*ret = TAKE_PTR(cache);
	return 0;
}

struct cache *cache_free(struct cache *cache)
{
	if (cache) {
		free(cache->entries);
		free(cache->buckets.heads);
		free(cache->old.heads);
		free(cache);
	}
	return NULL;
}

/* The head of the chain in which an entry with this hash is. */
static uint32_t *bucket_of(const struct cache *cache, uint32_t hash)
{
	if (cache->old.heads && (hash & cache->old.mask) >= cache->rehashed)
		return &cache->old.heads[hash & cache->old.mask];
	return &cache->buckets.heads[hash & cache->buckets.mask];
}

/* What leads to the entry in its chain. */
static uint32_t *chain_link(struct cache *cache, uint32_t index)
{
	uint32_t *link = bucket_of(cache, cache->entries[index].hash);

	while (*link != index)
		link = &cache->entries[*link].chain;
	return link;
}

/* --- The list of free entries. */

static void free_push(struct cache *cache, uint32_t index)
{
	struct entry *entry = &cache->entries[index];

	entry->used = false;
	entry->older = NIL;
	entry->newer = cache->free;
	if (cache->free != NIL)
		cache->entries[cache->free].older = index;
	cache->free = index;
}

static void free_remove(struct cache *cache, uint32_t index)
{
	const struct entry *entry = &cache->entries[index];

	if (entry->older == NIL)
		cache->free = entry->newer;
	else
		cache->entries[entry->older].newer = entry->newer;
	if (entry->newer != NIL)
		cache->entries[entry->newer].older = entry->older;
}

/* --- The order of the last merge. */

static void order_remove(struct cache *cache, const struct entry *entry)
{
	if (entry->older == NIL)
		cache->oldest = entry->newer;
	else
		cache->entries[entry->older].newer = entry->newer;
	if (entry->newer == NIL)
		cache->newest = entry->older;
	else
		cache->entries[entry->newer].older = entry->older;
}

static void order_append(struct cache *cache, struct entry *entry)
{
	uint32_t index = (uint32_t)(entry - cache->entries);

	entry->older = cache->newest;
	entry->newer = NIL;
	if (cache->newest == NIL)
		cache->oldest = index;
	else
		cache->entries[cache->newest].newer = index;
	cache->newest = index;
}

/* --- The wheel. */

static uint64_t later(uint64_t time_ns, uint64_t delay_ns)
{
	return time_ns > DEADLINE_FOREVER - delay_ns ? DEADLINE_FOREVER : time_ns + delay_ns;
}

static uint64_t quiet_ns(const struct cache *cache, const struct entry *entry)
{
	return entry->ended ? cache->options.linger_ns : cache->options.idle_ns;
}

/* A time of the flow's, by the cache's clock. */
static uint64_t by_clock(const struct entry *entry, uint64_t time_ns)
{
	uint64_t lag_ns = (uint64_t)llabs(entry->lag) << LAG_SHIFT;

	return entry->lag < 0 ? time_ns - MIN(time_ns, lag_ns) : later(time_ns, lag_ns);
}

/* When the flow has been quiet for long enough to be over. */
static uint64_t quiet_deadline(const struct cache *cache, const struct entry *entry)
{
	return later(by_clock(entry, entry->record.last_ns), quiet_ns(cache, entry));
}

/*
 * When a record of what has come so far is due.  Each flow's first interval is shortened by a part of
 * its own, down to a half, so that flows that started together are not exported together for ever.
 */
static uint64_t active_deadline(const struct cache *cache, const struct entry *entry)
{
	uint64_t interval = cache->options.active_ns;

	if (!entry->record.packets)
		return DEADLINE_FOREVER;
	if (!entry->continued)
		interval -= (interval >> 17) * entry->phase;
	return later(by_clock(entry, entry->record.first_ns), interval);
}

static uint64_t deadline_tick(const struct cache *cache, const struct entry *entry)
{
	uint64_t quiet = quiet_deadline(cache, entry), active = active_deadline(cache, entry);
	uint64_t tick = tick_of(MIN(quiet, active));

	if (tick < cache->tick)
		return cache->tick;
	return MIN(tick, cache->tick + WHEEL_SLOTS - 1);
}

static void wheel_insert(struct cache *cache, struct entry *entry, uint64_t tick)
{
	uint32_t index = (uint32_t)(entry - cache->entries);
	uint32_t *head;

	entry->slot = tick & WHEEL_MASK;
	head = &cache->wheel[entry->slot];
	entry->before = NIL;
	entry->after = *head;
	if (*head != NIL)
		cache->entries[*head].before = index;
	*head = index;
}

static void wheel_remove(struct cache *cache, const struct entry *entry)
{
	if (entry->before == NIL)
		cache->wheel[entry->slot] = entry->after;
	else
		cache->entries[entry->before].after = entry->after;
	if (entry->after == NIL)
		return;
	cache->entries[entry->after].before = entry->before;
	if (entry->before == NIL)
		cache->entries[entry->after].slot = entry->slot;
}

/* Takes a slot's entries into the empty FIRING. */
static void wheel_fire(struct cache *cache, uint64_t tick)
{
	uint32_t *head = &cache->wheel[tick & WHEEL_MASK];

	cache->wheel[FIRING] = *head;
	if (*head != NIL)
		cache->entries[*head].slot = FIRING;
	*head = NIL;
}

static void wheel_advance(struct cache *cache, struct entry *entry)
{
	uint64_t now = cache->tick + ((entry->slot - cache->tick) & WHEEL_MASK);
	uint64_t tick = deadline_tick(cache, entry);

	if (tick < now) {
		wheel_remove(cache, entry);
		wheel_insert(cache, entry, tick);
	}
}

/* --- Records. */

static void entry_export(struct cache *cache, const struct entry *entry, enum flow_end end)
{
	struct flow flow = {.key = entry->key, .record = entry->record, .end = end};

	if (!entry->record.packets)
		return; /* nothing since its last record */
	cache->stats.packets -= entry->record.packets;
	cache->stats.octets -= entry->record.octets;
	cache->stats.exported[end]++;
	cache->options.sink(cache->options.userdata, &flow);
}

/* Frees an entry that is in no slot of the wheel any more. */
static void entry_remove(struct cache *cache, struct entry *entry)
{
	uint32_t index = (uint32_t)(entry - cache->entries);

	*chain_link(cache, index) = entry->chain;
	order_remove(cache, entry);
	free_push(cache, index);
	cache->stats.entries--;
}

/* Ends a flow that was quiet until its quiet_deadline(); it is in no slot of the wheel any more. */
static void entry_end_quiet(struct cache *cache, struct entry *entry)
{
	entry_export(cache, entry, entry->ended ? FLOW_END_DETECTED : FLOW_END_IDLE);
	entry_remove(cache, entry);
}

/* Ends the flow that is longest without a packet, to make room. */
static void evict_oldest(struct cache *cache)
{
	struct entry *entry = &cache->entries[cache->oldest];

	wheel_remove(cache, entry);
	entry_export(cache, entry, FLOW_END_RESOURCES);
	entry_remove(cache, entry);
}

static void entry_continue(struct entry *entry)
{
	entry->continued = true;
	entry->record.packets = 0;
	entry->record.octets = 0;
	entry->record.tcp_flags = 0;
}

static struct entry *entry_add(struct cache *cache, const struct flow_key *key, uint32_t hash)
{
	uint32_t *head = bucket_of(cache, hash);
	struct entry *entry;
	uint32_t index;

	if (cache->stats.entries >= cache->options.entries)
		evict_oldest(cache);
	index = cache->free;
	if (index == NIL)
		index = cache->unused++;
	else
		free_remove(cache, index);

	entry = &cache->entries[index];
	*entry = (struct entry){.key = *key, .hash = hash, .chain = *head, .used = true};
	entry->phase = XXH3_64bits_withSeed(key, sizeof(*key), cache->options.seed) & UINT16_MAX;
	*head = index;
	cache->stats.entries++;
	return entry;
}

static struct entry *entry_find(const struct cache *cache, const struct flow_key *key,
				uint32_t hash)
{
	uint32_t index = *bucket_of(cache, hash);

	while (index != NIL) {
		struct entry *entry = &cache->entries[index];

		if (entry->hash == hash && !memcmp(&entry->key, key, sizeof(*key)))
			return entry;
		index = entry->chain;
	}
	return NULL;
}

/* First and last time of a delta, in this order. */
struct span {
	uint64_t first_ns;
	uint64_t last_ns;
};

/* The flow's first packet keeps its say on MACs, TOS, flow label and first flags. */
static void record_merge(struct flow_record *record, const struct flow_record *delta,
			 const struct span *span)
{
	if (!record->packets) {
		record->first_ns = span->first_ns;
		record->last_ns = span->last_ns;
		record->min_length = delta->min_length;
		record->max_length = delta->max_length;
		record->min_ttl = delta->min_ttl;
		record->max_ttl = delta->max_ttl;
	}
	record->packets += delta->packets;
	record->octets += delta->octets;
	record->first_ns = MIN(record->first_ns, span->first_ns);
	record->last_ns = MAX(record->last_ns, span->last_ns);
	record->tcp_flags |= delta->tcp_flags;
	record->min_length = MIN(record->min_length, delta->min_length);
	record->max_length = MAX(record->max_length, delta->max_length);
	record->min_ttl = MIN(record->min_ttl, delta->min_ttl);
	record->max_ttl = MAX(record->max_ttl, delta->max_ttl);
}

/* Is there a gap between the flow and what has come that ends the flow?  It may have come before it. */
static bool is_apart(const struct cache *cache, const struct entry *entry, const struct span *span)
{
	uint64_t begin = entry->record.packets ? entry->record.first_ns : entry->record.last_ns;

	return span->first_ns >= later(entry->record.last_ns, quiet_ns(cache, entry)) ||
	       begin >= later(span->last_ns, cache->options.idle_ns);
}

/* Would the record become longer than the active timeout? */
static bool is_too_long(const struct cache *cache, const struct entry *entry,
			const struct span *span)
{
	const struct flow_record *record = &entry->record;

	return record->packets &&
	       MAX(record->last_ns, span->last_ns) - MIN(record->first_ns, span->first_ns) >
		       cache->options.active_ns;
}

/* Rounded up: where a packet came late, nothing is over too early. */
static int32_t lag_of(const struct flow_record *record, uint64_t now_ns)
{
	int64_t lag_ns = (int64_t)(now_ns - record->last_ns);

	return (int32_t)((lag_ns >> LAG_SHIFT) + !!(lag_ns & UINT32_MAX));
}

static uint32_t hash_of(const struct cache *cache, const struct flow_key *key)
{
	return (uint32_t)XXH3_64bits_withSeed(key, sizeof(*key), cache->seed);
}

/* `now_ns` 0: when it was the last packet's time. */
static void merge(struct cache *cache, const struct flow_key *key, uint32_t hash,
		  const struct flow_record *delta, uint64_t now_ns)
{
	const struct span span = {.first_ns = MIN(delta->first_ns, delta->last_ns),
				  .last_ns = MAX(delta->first_ns, delta->last_ns)};
	struct entry *entry;

	if (!delta->packets) /* there is no flow without a packet */
		return;
	entry = entry_find(cache, key, hash);
	if (entry && is_apart(cache, entry, &span)) {
		/* over before this began, only that nobody has looked since */
		wheel_remove(cache, entry);
		entry_end_quiet(cache, entry);
		entry = NULL;
	}
	if (entry) {
		if (is_too_long(cache, entry, &span)) {
			entry_export(cache, entry, FLOW_END_ACTIVE);
			entry_continue(entry);
		}
		record_merge(&entry->record, delta, &span);
		entry->lag = now_ns ? lag_of(&entry->record, now_ns) : 0;
		entry->ended |= !!(delta->tcp_flags & TCP_FIN_OR_RST);
		wheel_advance(cache, entry);
		order_remove(cache, entry);
	} else {
		entry = entry_add(cache, key, hash);
		entry->record = *delta;
		entry->record.first_ns = span.first_ns;
		entry->record.last_ns = span.last_ns;
		entry->lag = now_ns ? lag_of(&entry->record, now_ns) : 0;
		entry->ended = !!(delta->tcp_flags & TCP_FIN_OR_RST);
		wheel_insert(cache, entry, deadline_tick(cache, entry));
	}
	order_append(cache, entry);
	cache->stats.packets += delta->packets;
	cache->stats.octets += delta->octets;
	cache->stats.merged++;
}

void cache_merge(struct cache *cache, const struct flow_key *key, const struct flow_record *delta)
{
	merge(cache, key, hash_of(cache, key), delta, 0);
}

void cache_merge_at(struct cache *cache, const struct flow_key *key,
		    const struct flow_record *delta, uint64_t now_ns)
{
	merge(cache, key, hash_of(cache, key), delta, now_ns);
}

/*
 * Where flows are many, merging is waiting for memory: for the bucket, and for the entry to which that leads.
 * All that a block of deltas needs is asked for at once, so that it waits once.
 */
static void prefetch_entry(const struct cache *cache, uint32_t hash)
{
	uint32_t index = *bucket_of(cache, hash);
	const char *entry;

	if (index == NIL)
		return;
	entry = (const char *)&cache->entries[index];
	for (size_t at = 0; at < sizeof(struct entry); at += CACHE_LINE)
		__builtin_prefetch(entry + at, 1);
	__builtin_prefetch(entry + sizeof(struct entry) - 1, 1);
}

static void merge_block(struct cache *cache, const struct flow_key *keys,
			const struct flow_record *deltas, uint32_t count)
{
	uint32_t hashes[BLOCK];

	for (uint32_t i = 0; i < count; i++) {
		hashes[i] = hash_of(cache, &keys[i]);
		__builtin_prefetch(bucket_of(cache, hashes[i]), 1);
	}
	for (uint32_t i = 0; i < count; i++)
		prefetch_entry(cache, hashes[i]);
	for (uint32_t i = 0; i < count; i++)
		merge(cache, &keys[i], hashes[i], &deltas[i], 0);
}

void cache_merge_many(struct cache *cache, const struct flow_key *keys,
		      const struct flow_record *deltas, uint32_t count)
{
	for (uint32_t i = 0; i < count; i += BLOCK)
		merge_block(cache, keys + i, deltas + i, MIN(BLOCK, count - i));
}

/* Decides about an entry that has just been taken out of its slot. */
static void entry_fire(struct cache *cache, struct entry *entry, uint64_t now_ns)
{
	if (quiet_deadline(cache, entry) <= now_ns) {
		entry_end_quiet(cache, entry);
		return;
	}
	if (active_deadline(cache, entry) <= now_ns) {
		entry_export(cache, entry, FLOW_END_ACTIVE);
		entry_continue(entry);
	}
	wheel_insert(cache, entry, deadline_tick(cache, entry));
}

/* Looks at `*flows` entries at most, and takes off what it looked at; true: at all that are due. */
static bool expire_some(struct cache *cache, uint64_t now_ns, uint32_t *flows)
{
	uint64_t to = tick_of(now_ns);

	if (to < cache->tick)
		return true;
	if (to > cache->tick) {
		/* An interrupted pass goes on, from the slot to which it has put back at the earliest. */
		cache->next = MIN(cache->next, cache->tick);
		if (to - cache->next >= WHEEL_SLOTS)
			cache->next = to + 1 - WHEEL_SLOTS;
		cache->tick = to; /* what is put back below is put ahead of it */
	} else if (now_ns > cache->until_ns) {
		/* Within the tick: what an interrupted pass has put back into its slot may be over by now. */
		cache->next = MIN(cache->next, to);
	}
	cache->until_ns = now_ns;
	for (;;) {
		uint32_t index = cache->wheel[FIRING];

		if (index == NIL) {
			if (cache->next > to)
				break;
			wheel_fire(cache, cache->next++);
		} else if (*flows) {
			--*flows;
			wheel_remove(cache, &cache->entries[index]);
			entry_fire(cache, &cache->entries[index], now_ns);
		} else {
			return false;
		}
	}
	cache->next = to; /* the rest of this slot comes later */
	return true;
}

/* --- Other timeouts, another size. */

int cache_set_timeouts(struct cache *cache, uint64_t idle_ns, uint64_t active_ns,
		       uint64_t linger_ns)
{
	if (!idle_ns || !active_ns)
		return -EINVAL;
	linger_ns = MIN(linger_ns, idle_ns);
	if (cache->options.idle_ns == idle_ns && cache->options.active_ns == active_ns &&
	    cache->options.linger_ns == linger_ns)
		return 0;
	cache->options.idle_ns = idle_ns;
	cache->options.active_ns = active_ns;
	cache->options.linger_ns = linger_ns;
	cache->next = cache->tick + 1 - WHEEL_SLOTS; /* the next pass visits every slot */
	return 0;
}

/* Moves chains into the new table; true: all are there. */
static bool rehash_some(struct cache *cache, uint32_t *flows)
{
	while (cache->old.heads) {
		uint32_t *head = &cache->old.heads[cache->rehashed];

		if (!*flows)
			return false;
		--*flows;
		while (*head != NIL) {
			struct entry *entry = &cache->entries[*head];
			uint32_t *into = &cache->buckets.heads[entry->hash & cache->buckets.mask];
			uint32_t index = *head;

			*head = entry->chain;
			entry->chain = *into;
			*into = index;
		}
		if (cache->rehashed++ == cache->old.mask) {
			free(cache->old.heads);
			cache->old = (struct table){0};
		}
	}
	return true;
}

/* Gives an entry another place in the slab; all that leads to it leads there. */
static void entry_move(struct cache *cache, uint32_t from, uint32_t to)
{
	struct entry *entry = &cache->entries[to];

	*chain_link(cache, from) = to;
	*entry = cache->entries[from];
	*(entry->older == NIL ? &cache->oldest : &cache->entries[entry->older].newer) = to;
	*(entry->newer == NIL ? &cache->newest : &cache->entries[entry->newer].older) = to;
	*(entry->before == NIL ? &cache->wheel[entry->slot]
			       : &cache->entries[entry->before].after) = to;
	if (entry->after != NIL)
		cache->entries[entry->after].before = to;
}

/* Makes the last entry of those that are or were in use one that never was. */
static void drop_last(struct cache *cache)
{
	uint32_t last = cache->unused - 1, index = cache->free;

	if (cache->entries[last].used) {
		free_remove(cache, index);
		entry_move(cache, last, index);
	} else {
		free_remove(cache, last);
	}
	cache->unused = last;
}

static void slab_trim(struct cache *cache)
{
	struct entry *less =
		realloc(cache->entries, (size_t)cache->options.entries * sizeof(*cache->entries));

	if (less)
		cache->entries = less;
	cache->size = cache->options.entries;
}

/* Goes on with a resize, by `*flows` steps at most; true: there is nothing more to do. */
static bool resize_some(struct cache *cache, uint32_t *flows)
{
	if (!rehash_some(cache, flows))
		return false;
	for (; cache->stats.entries > cache->options.entries; --*flows) {
		if (!*flows)
			return false;
		evict_oldest(cache);
	}
	for (; cache->unused > cache->options.entries; --*flows) {
		if (!*flows)
			return false;
		drop_last(cache);
	}
	if (cache->size > cache->options.entries)
		slab_trim(cache);
	return true;
}

int cache_resize(struct cache *cache, uint32_t entries)
{
	struct table buckets = {0};
	uint32_t all = UINT32_MAX;
	struct entry *more;

	if (!size_fits(entries))
		return -EINVAL;
	while (!rehash_some(cache, &all)) /* of a resize that has not come to its end */
		all = UINT32_MAX;
	/* What the slab has room for is found by the old buckets too. */
	if (bucket_count(entries) != cache->buckets.mask + 1 && table_new(&buckets, entries) < 0 &&
	    entries > cache->size)
		return -ENOMEM;
	if (entries > cache->size) {
		more = realloc(cache->entries, (size_t)entries * sizeof(*more));
		if (!more) {
			free(buckets.heads);
			return -ENOMEM;
		}
		cache->entries = more;
		cache->size = entries;
	}
	cache->options.entries = entries;
	if (buckets.heads) {
		cache->old = cache->buckets;
		cache->buckets = buckets;
		cache->rehashed = 0;
	}
	return 0;
}

bool cache_expire_some(struct cache *cache, uint64_t now_ns, uint32_t flows)
{
	return expire_some(cache, now_ns, &flows) && resize_some(cache, &flows);
}

void cache_expire(struct cache *cache, uint64_t now_ns)
{
	while (!cache_expire_some(cache, now_ns, UINT32_MAX))
		;
}

void cache_flush(struct cache *cache, enum flow_end reason)
{
	while (cache->oldest != NIL) {
		struct entry *entry = &cache->entries[cache->oldest];

		wheel_remove(cache, entry);
		entry_export(cache, entry, reason);
		entry_remove(cache, entry);
	}
}

const struct cache_stats *cache_stats(const struct cache *cache)
{
	return &cache->stats;
}
