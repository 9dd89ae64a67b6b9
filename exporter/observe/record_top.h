/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Sums over records by what they have in common: `read --top src,dport --by octets`.  Bounded: when the table is full, the
 * lesser half of its rows goes to the others, so that all rows and the others together are always everything that was
 * added.  As long as there are no others, every row is exact; then it is what was added since the row is there.
 *
 * What is shown again and again has periods, which record_top_next() parts: beside the sums of all time stand those of the
 * period, and the busiest rows of the period come first.  Who never calls it has one period.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "exporter/observe/record_view.h"
#include "exporter/util.h"

#define TOP_KEYS_MAX  8
#define TOP_ERROR_MAX 256
#define TOP_CELL_MAX  VIEW_NAME_MAX
#define TOP_ROWS_MIN  16

enum top_by {
	TOP_BY_OCTETS,
	TOP_BY_PACKETS,
	TOP_BY_FLOWS, /* records */
	_TOP_BY_MAX,
};

struct top_sums {
	uint64_t octets; /* IP layer */
	uint64_t packets;
	uint64_t flows;
};

/* What of a record makes its row; the rest is 0. */
struct top_key {
	uint8_t src[16], dst[16], host[16];
	uint32_t ifindex;
	uint16_t src_port, dst_port, port, service, vlan;
	uint8_t ip_version, protocol, direction, tos, end_reason;
	uint8_t known;	       /* bit i: key i */
	uint8_t icmp, none[3]; /* dst_port and service have its type and code, if not 0 */
	char interface[VIEW_NAME_MAX], drop_reason[VIEW_NAME_MAX], drop_class[VIEW_NAME_MAX];
};

/* It is hashed and compared as octets. */
_Static_assert(sizeof(struct top_key) == 3 * 16 + 4 + 5 * 2 + 6 + 4 + 3 * VIEW_NAME_MAX,
	       "no holes");

struct top_row {
	struct top_key key;
	struct top_sums sums;
	struct top_sums recent; /* of this period, */
	struct top_sums last;	/* and of the one before */
	uint32_t next;		/* row of the same bucket */
};

struct record_top;

/*
 * `keys`: src, dst, sport, dport, proto, iface, dir, vlan, tos, end, reason, class, service (the server's port,
 * record_view_service(), with its protocol), and host and port, of which a record has two: it is added to both, and the
 * two together are an end.  `rows` TOP_ROWS_MIN at least.  -EINVAL: `error` says what is wrong; -ENOMEM.
 */
int record_top_new(struct record_top **ret, const char *keys, enum top_by by, uint32_t rows,
		   char error[TOP_ERROR_MAX]);
struct record_top *record_top_free(struct record_top *top);
DEFINE_CLEANUP(struct record_top *, record_top_free)

int record_top_by_parse(const char *name); /* -1: there is no such sum */

/* Whether reason or class is among the keys, which records of drops alone have. */
bool record_top_asks_drops(const struct record_top *top);

/* Sorts when the table is full, half of its rows later at the earliest. */
void record_top_add(struct record_top *top, const struct record_view *view);

/* Begins a period. */
void record_top_next(struct record_top *top);

/*
 * Falling in what they had in this period, then in all time; equal ones always in the same order.  Valid until the next call
 * of another function.
 */
size_t record_top_sort(struct record_top *top, const struct top_row *const **ret);

struct top_sums record_top_others(const struct record_top *top);
struct top_sums record_top_others_recent(const struct record_top *top);

/* Each record once, with host and port too. */
struct top_sums record_top_total(const struct record_top *top);
struct top_sums record_top_total_recent(const struct record_top *top);

/* Columns, as the keys were given: their number, name, and what stands there; "-": the record does not hold it. */
unsigned int record_top_keys(const struct record_top *top);
const char *record_top_name(const struct record_top *top, unsigned int i);
const char *record_top_cell(char text[TOP_CELL_MAX], const struct record_top *top,
			    const struct top_row *row, unsigned int i);
