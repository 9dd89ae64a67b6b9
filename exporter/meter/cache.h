/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The flow cache: merges the deltas of one flow key until the flow ends, and alone decides when that
 * is.  Allocates when it is made or gets another size, and for no flow; loses nothing: a full cache
 * exports its oldest flow early.  Single-threaded; knows no file descriptor and no clock but the one it is told.
 *
 * All times are ns of one monotonic clock, CLOCK_MONOTONIC, but those of a capture's packets, which
 * may be any: cache_merge_at().  Whatever they are, in a record first_ns is not behind last_ns, and the
 * two are no more than the active timeout apart, unless they already were in one delta, or when the
 * active timeout became shorter.
 */
#include <stdbool.h>
#include <stdint.h>
#include "exporter/util.h"
#include "xdp/flow.h"

/* flowEndReason, IANA element 136. */
enum flow_end {
	FLOW_END_IDLE = 1,     /* no packet for the idle timeout */
	FLOW_END_ACTIVE = 2,   /* the active timeout: the flow goes on, this is its delta so far */
	FLOW_END_DETECTED = 3, /* TCP FIN or RST, and quiet for the linger time since */
	FLOW_END_FORCED = 4,   /* the exporter stops */
	FLOW_END_RESOURCES =
		5, /* the cache was full or became smaller, and this the flow longest without a packet */
	_FLOW_END_MAX,
};

struct drop_reason;

/* One flow record on its way to the collectors: counters and times since the flow's previous record. */
struct flow {
	struct flow_key key;
	struct flow_record record;
	enum flow_end end;
	const struct drop_reason
		*drop; /* of a drop (FLOW_DROP), set by who knows the reasons; else NULL */
};

typedef void (*flow_sink)(void *userdata, const struct flow *flow);

struct cache_options {
	uint32_t entries;   /* flows held at most, at least CACHE_ENTRIES_MIN */
	uint64_t idle_ns;   /* idle timeout */
	uint64_t active_ns; /* active timeout */
	uint64_t linger_ns; /* how long a flow stays after FIN or RST for what still comes */
	uint64_t seed; /* from which each flow's phase of the active timeout is made; 0: a random one */
	flow_sink sink; /* gets each record; must not call back into the cache */
	void *userdata;
};

#define CACHE_ENTRIES_MIN 64

struct cache_stats {
	uint32_t entries; /* flows in the cache; more than its size while it becomes smaller */
	uint64_t packets; /* in the cache, not exported yet */
	uint64_t octets;
	uint64_t merged;		  /* deltas merged since start */
	uint64_t exported[_FLOW_END_MAX]; /* records since start, by flowEndReason; [0] is unused */
};

struct cache;

/* Errors: -EINVAL (options out of range), -ENOMEM. */
int cache_new(struct cache **ret, const struct cache_options *options);

/* Does not export what is left: call cache_flush() first. */
struct cache *cache_free(struct cache *cache);
DEFINE_CLEANUP(struct cache *, cache_free)

/*
 * Adds a delta to its flow.  Where a gap lies between the two that ends the flow, before or behind it, or
 * the record would become longer than the active timeout, that is exported first.  A gap inside one delta
 * is not seen.  first_ns and last_ns of a delta may be the wrong way round: two CPUs raced.
 */
void cache_merge(struct cache *cache, const struct flow_key *key, const struct flow_record *delta);

/* The same of `count` deltas, in this order, in less time. */
void cache_merge_many(struct cache *cache, const struct flow_key *keys,
		      const struct flow_record *deltas, uint32_t count);

/*
 * The same of a packet whose time is of another clock, which may be wrong: it came at `now_ns` of the
 * cache's, not before the time of the last cache_expire().  What makes a flow end when no packet
 * comes, and when the active timeout is over without one, follows the cache's clock.
 */
void cache_merge_at(struct cache *cache, const struct flow_key *key,
		    const struct flow_record *delta, uint64_t now_ns);

/*
 * Exports what has ended by `now_ns`.  Every packet up to that time must have been merged: live, it is
 * the time of the last bank swap, so that a flow is never called idle while its packets wait in a bank.
 */
void cache_expire(struct cache *cache, uint64_t now_ns);

/*
 * The same in slices: looks at so many flows at most, and returns false when it has to be called
 * again for the rest, with the same time or a later one.  In between flows may be merged.
 */
#define CACHE_SLICE 1024 /* takes less than a millisecond, encoding included */
bool cache_expire_some(struct cache *cache, uint64_t now_ns, uint32_t flows);

/*
 * Other timeouts, in ns, for what is in the cache and for what comes.  Flows that are over by the new
 * ones end with the next cache_expire(), in slices as ever.  Each flow keeps its phase.  Takes no time
 * itself; the next pass looks at every flow, once or twice, if one of the three is another.  -EINVAL: idle or active is 0.
 */
int cache_set_timeouts(struct cache *cache, uint64_t idle_ns, uint64_t active_ns,
		       uint64_t linger_ns);

/*
 * Another number of flows to hold at most.  A greater one holds at once.  With a smaller one each flow
 * that comes ends the oldest one from now on, as in a full cache, and the flows that are too many end
 * oldest first (FLOW_END_RESOURCES) in the slices of the next pass, behind what is over by then.  Those
 * slices also free the memory and bring the table of buckets to its size, so that none takes long, nor
 * brings more records than CACHE_SLICE.  No flow but those is touched, and cache_stats() goes on.
 *
 * A resize that comes before the last one has come to its end is welcome; it takes up to 0.1 s for a
 * million flows.  -EINVAL: too few or too many; -ENOMEM, never where the cache becomes smaller, nor where it
 * becomes what it was before such a resize has come to its end.  The cache is as it was then.
 */
int cache_resize(struct cache *cache, uint32_t entries);

/* Exports everything with this reason. */
void cache_flush(struct cache *cache, enum flow_end reason);

const struct cache_stats *cache_stats(const struct cache *cache);

/* Bytes allocated for a cache of that many entries. */
size_t cache_memory(uint32_t entries);
