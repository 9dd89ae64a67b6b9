/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* What `flowtally drops` shows: lines, lines of JSON, and what there was in all at the end. */
#include <stdbool.h>
#include <stdio.h>
#include "exporter/observe/drop_table.h"
#include "exporter/meter/drop_reason.h"
#include "exporter/observe/ledger.h"

/* How to show it. */
struct drop_view {
	enum drops_by by;
	double seconds;		 /* since it was shown last */
	int64_t clock_offset_ns; /* times of rows plus this are ns since 1970 */
	struct drop_reasons *reasons;
};

/* One of each reason, with columns for awk: texts have no blanks, but for the last. */
void drop_print_columns(FILE *file, const struct drop_view *view);
void drop_print_line(FILE *file, const struct drop_view *view, const struct drop_row *row);

/*
 * An object with the keys of the collector json:, as far as the row has them, and packetsPerSecond,
 * droppedPacketTotalCount, and interfaceName where it is known.  What is in no row has others.
 */
void drop_print_json(FILE *file, const struct drop_view *view, const struct drop_row *row);

/*
 * Packets by reason, all and those `shown` (by drop_reason_pack()), and the ledger of drops.  The ledger's
 * drop_reasons and drop_names are set.
 */
void drop_print_summary(FILE *file, const struct ledger *ledger, const uint64_t *shown);
