/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The ledger: where every packet that the hooks saw has gone.  Two identities hold at the end of each swap of
 * the banks (meter.h) and at the end of a run, however many packets are on their way:
 *
 *	seen = accounted + ignored{reason} + refused{reason}                       packets, at each point
 *	accounted = bank + lost{evicted, drain_error} + cache + handed over        packets and octets
 *
 * for each kind of records.  Kinds are never summed: a packet may be in a flow and dropped later.
 * `handed over` are the records given to the collectors: all to each, or (balance) each to one of
 * those that share.  For each collector
 *
 *	given = exported + queued + lost{queue_full, send_error, refused, unsent}
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include "exporter/export/export.h"
#include "exporter/meter/cache.h"
#include "exporter/meter/drop_reason.h"
#include "exporter/meter/ifstats.h"
#include "exporter/meter/meter.h"
#include "xdp/flow.h"

struct ledger_amount {
	uint64_t packets;
	uint64_t octets;
};

/* Of one kind of records, over all datapaths of the run; points are its own, by index. */
struct ledger_side {
	uint64_t seen[POINTS_MAX];		    /* packets */
	struct ledger_amount accounted[POINTS_MAX]; /* IP octets */
	struct reason_count reasons[POINTS_MAX][_REASON_MAX];
	struct ledger_amount drained;	  /* left the banks for the cache */
	struct ledger_amount evicted;	  /* by the LRU below a bank's limit */
	struct ledger_amount drain_error; /* could not be read from a bank at its end */
	struct cache_stats cache;
};

/* Drops by drop_reason_pack(): all of them, also those in no record. */
struct ledger_reasons {
	struct drop_count reasons[DROP_REASON_MAX];
};

/* Owns what is not const: ledger_clear(). */
struct ledger {
	struct ledger_side sides[_RECORD_KIND_MAX];
	bool unsettled; /* counters of a kernel's bank are older than what was drained, see drain.h, or no memory */
	bool drops_traced;
	uint64_t drops_missed; /* drops, not packets, that the tracer was not called for: not in seen */
	const struct ledger_reasons *drop_reasons; /* NULL: not known */
	struct drop_reasons *drop_names;	   /* for those; of the exporter */
	struct export_copy *collectors;		   /* NULL: none, or not known */
	struct ifstats *ifstats; /* beside all that; NULL: no interfaces, or not known */
	struct sight *sight;	 /* what the hooks saw of each of them; NULL: not known */
};

/*
 * What had been counted up to the last swaps; in the loop's thread.  `meters`: by kind, NULL of what is not metered.
 * `final`: what is still in a bank cannot be read any more.
 */
void ledger_read(struct ledger *ledger, struct meter *const meters[_RECORD_KIND_MAX], bool final);

/* The collectors at this moment, in any thread; without memory the ledger is unsettled. */
void ledger_read_exports(struct ledger *ledger, struct exports *exports);

/* Holds `stats` and copies of `sight` what the loop goes on to change; both may be NULL.  They are in no sum. */
void ledger_read_interfaces(struct ledger *ledger, struct ifstats *stats,
			    const struct sight *sight);

/* Leaves all at 0. */
void ledger_clear(struct ledger *ledger);

/* Likewise; NULL: there are none. */
void ledger_read_reasons(struct ledger_reasons *ret, const struct meter *drops);

/*
 * In another thread, when the loop hangs: what the kernel has counted by now, more of which may be on its way.  What
 * is in no cache yet shows as `bank`.  -ENOMEM, -errno of the kernel: nothing is known.
 */
int ledger_read_now(struct ledger *ledger, struct ledger_reasons *ret_reasons,
		    struct meter *const meters[_RECORD_KIND_MAX]);

/* Accounted, but not read from the banks yet; 0 where less is known to be accounted than was read. */
struct ledger_amount ledger_bank(const struct ledger *ledger, enum record_kind kind);

/* In no flow record: ignored and refused, with the octets that are known. */
struct ledger_amount ledger_unmetered(const struct ledger *ledger);

/* Given to the collectors as records. */
struct ledger_amount ledger_handed_over(const struct ledger *ledger, enum record_kind kind);

/* Packets, of flows and of drops, refused or lost in the exporter, and those lost on the way to any collector. */
uint64_t ledger_lost(const struct ledger *ledger);

/* Of these the packets of a kind that are in no record: refused, evicted or not read. */
uint64_t ledger_lost_before(const struct ledger *ledger, enum record_kind kind);

/* Both identities hold, and the one of each collector.  Of an unsettled ledger that says nothing. */
bool ledger_balanced(const struct ledger *ledger);

/* What is to be said of that in front of the sums: a clause with "; " behind it, empty where all is well. */
const char *ledger_verdict(const struct ledger *ledger);

/* Logs when a ledger does not balance for the first time since one did, and when it does again: *unbalanced. */
void ledger_watch(const struct ledger *ledger, bool *unbalanced);

/* " + ignored 12 (arp 10, llc 2) + refused 0", of one kind. */
void ledger_print_unrecorded(const struct ledger *ledger, enum record_kind kind, FILE *file);

/* A line for each part, the verdict first; each with its end. */
void ledger_print_text(const struct ledger *ledger, FILE *file);

/* One JSON object on one line.  -ENOMEM. */
int ledger_print_json(const struct ledger *ledger, FILE *file);

/* "bank_full", ... */
const char *flow_reason_name(enum flow_reason reason);
bool flow_reason_refused(enum flow_reason reason);

/* "idle", "active", "detected", "forced" or "resources". */
const char *flow_end_name(enum flow_end end);
