/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include "exporter/cli/drop_text.h"
#include "exporter/log.h"

struct total {
	uint64_t packets;
	uint16_t reason; /* drop_reason_pack() */
};

static int by_packets(const void *a, const void *b)
{
	const struct total *x = a, *y = b;

	if (x->packets != y->packets)
		return x->packets < y->packets ? 1 : -1;
	return (int)x->reason - (int)y->reason;
}

static void print_reasons(FILE *file, const struct ledger *ledger, const uint64_t *shown)
{
	struct total totals[DROP_REASON_MAX];
	size_t count = 0;

	for (int i = 0; i < DROP_REASON_MAX; i++)
		if (ledger->drop_reasons->reasons[i].packets)
			totals[count++] = (struct total){
				.packets = ledger->drop_reasons->reasons[i].packets,
				.reason = (uint16_t)i,
			};
	qsort(totals, count, sizeof(totals[0]), by_packets);
	if (count)
		fprintf(file, "%9s %9s %-11s %-20s %s\n", "PACKETS", "SHOWN", "CLASS", "REASON",
			"EXPLANATION");
	for (size_t i = 0; i < count; i++) {
		const struct drop_reason *reason =
			drop_reasons_get(ledger->drop_names, drop_reason_unpack(totals[i].reason));

		fprintf(file, "%9" PRIu64 " %9" PRIu64 " %-11s %-20s %s\n", totals[i].packets,
			shown[totals[i].reason], drop_class_name(reason->class), reason->name,
			reason->explanation);
	}
}

void drop_print_summary(FILE *file, const struct ledger *ledger, const uint64_t *shown)
{
	const struct ledger_side *side = &ledger->sides[RECORD_DROP];
	uint64_t all = 0;

	for (int i = 0; i < DROP_REASON_MAX; i++)
		all += shown[i];
	print_reasons(file, ledger, shown);
	fprintf(file, "drops: %sseen %" PRIu64 " packets = accounted %" PRIu64,
		ledger_balanced(ledger) ? "" : "THE LEDGER DOES NOT BALANCE; ", side->seen[0],
		side->accounted[0].packets);
	ledger_print_unrecorded(ledger, RECORD_DROP, file);
	fprintf(file,
		"; shown %" PRIu64 ", evicted %" PRIu64 ", drain_error %" PRIu64
		"; drops missed %" PRIu64 "\n",
		all, side->evicted.packets, side->drain_error.packets, ledger->drops_missed);
}
