/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The counters and the state of one collector.  All of its parts tell the account what becomes of records:
 * given = exported + queued + lost holds after each call that moves records.
 */
#include "exporter/export/context.h"

/* What waits for so long, while nothing at all is taken, makes a collector COLLECTOR_STALLED. */
#define ACCOUNT_STALL_NS (10 * NSEC_PER_SEC)

struct account {
	struct collector_stats stats;
	const struct export_context *context;
	uint64_t first_loss_ms; /* when records were first and last lost, ms since 1970; 0: never */
	uint64_t last_loss_ms;
	bool stalled; /* waiting did not help, and no record has left since */
};

static inline void count_add(struct export_count *to, const struct export_count *n)
{
	to->records += n->records;
	to->packets += n->packets;
	to->octets += n->octets;
}

static inline void count_remove(struct export_count *from, const struct export_count *n)
{
	from->records -= n->records;
	from->packets -= n->packets;
	from->octets -= n->octets;
}

/* A record is given to the collector, and waits to be sent. */
static inline void account_queue(struct account *a, const struct export_count *n)
{
	count_add(&a->stats.given, n);
	count_add(&a->stats.queued, n);
}

/* Messages have left with the queued records `n`, if any. */
void account_send(struct account *a, const struct export_count *n, uint64_t messages,
		  uint64_t octets);

/* Records that were given and never queued are lost. */
void account_lose(struct account *a, enum export_loss loss, const struct export_count *n);

/* Queued records are lost. */
void account_drop(struct account *a, enum export_loss loss, const struct export_count *n);

/* Records that counted as exported turn out to be lost. */
void account_revoke(struct account *a, enum export_loss loss, const struct export_count *n);

/* Logs one line when the state changes; `error` (errno or 0) is the reason.  Who has been removed stays that. */
void account_set_state(struct account *a, enum collector_state state, int error);

/* The state that an attempt to connect or to send leaves behind that failed with `error` (errno), and its line of the log. */
void account_fail(struct account *a, int error);
