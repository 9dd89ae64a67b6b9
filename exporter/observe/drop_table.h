/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * What was dropped, by flow, reason, interface or service: since the last time it was shown, and in all.  Bounded:
 * what finds no row is summed up as others, so that the sums are those of everything that was added.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "exporter/util.h"
#include "exporter/value.h"
#include "xdp/flow.h"

/* What makes a row, beside the reason. */
enum drops_by {
	DROPS_BY_FLOW,
	DROPS_BY_REASON,
	DROPS_BY_INTERFACE, /* and direction */
	DROPS_BY_SERVICE,   /* protocol and the server's port: dst_port of the row's key */
	_DROPS_BY_MAX,
};

struct drop_row {
	struct flow_key key; /* what the row is about; the rest is 0 */
	uint64_t packets;    /* since the last drop_table_next() */
	uint64_t octets;
	uint64_t total_packets; /* and since the row is there */
	uint64_t total_octets;
	uint64_t first_ns; /* of the first and the last packet since the last drop_table_next() */
	uint64_t last_ns;
	uint8_t tos;
	uint32_t next; /* row of the same bucket */
};

struct drop_table;

/* -ENOMEM. */
int drop_table_new(struct drop_table **ret, enum drops_by by, uint32_t rows);
struct drop_table *drop_table_free(struct drop_table *table);
DEFINE_CLEANUP(struct drop_table *, drop_table_free)

void drop_table_add(struct drop_table *table, const struct flow_key *key,
		    const struct flow_record *delta);

/*
 * Rows by falling packets, then total packets.  Those without packets since the last drop_table_next() are at
 * the end; *ret_active: how many have some.  Valid until the next call of another function.
 */
size_t drop_table_sort(struct drop_table *table, const struct drop_row *const **ret,
		       size_t *ret_active);

/* Everything that is in no row; its key is 0. */
const struct drop_row *drop_table_others(const struct drop_table *table);

/* All that was added. */
uint64_t drop_table_total(const struct drop_table *table);

/* Begins to count anew.  When the table is getting full, the less busy half of its rows goes to the others. */
void drop_table_next(struct drop_table *table);

/* Which drops are shown: of the source or of the destination. */
struct drop_match {
	struct value_prefix address; /* family 0: any */
	uint16_t port;		     /* 0: any */
};

bool drop_match(const struct drop_match *match, const struct flow_key *key);
