/* SPDX-License-Identifier: Apache-2.0 */
/* Writes docs/drop-reasons.md from the table of reasons; a test compares the page with it. */
#include <stdio.h>
#include "exporter/meter/drop_reason.h"

static const char *const classes[] = {
	[DROP_POLICY] = "a rule of somebody's: firewall, tc, XDP, BPF, IPsec, keys, a setting",
	[DROP_CONGESTION] =
		"a queue, ring or buffer was full, or was kept from filling; its reader is too slow",
	[DROP_NO_RECEIVER] = "it reached its host, where nobody wanted it",
	[DROP_ROUTING] = "no way on, or a source that no route leads back to",
	[DROP_MALFORMED] = "the packet is wrong",
	[DROP_MEMORY] = "an allocation failed, or a memory limit was reached",
	[DROP_TCP_STATE] = "a segment that does not fit its connection",
	[DROP_BENIGN] = "nothing is lost: duplicates, and frames for others",
	[DROP_OTHER] = "all else, and reasons that flowtally does not know",
};

static const char *status_text(uint8_t status)
{
	switch (status) {
#define DROP_STATUS(symbol, value, text) \
	case (value): \
		return text;
		DROP_STATUSES(DROP_STATUS)
#undef DROP_STATUS
	default:
		return "";
	}
}

int main(void)
{
	printf("<!-- Generated from exporter/meter/drop_reasons.def: "
	       "ninja -C build tools/drop-reasons.md && cp build/tools/drop-reasons.md docs/ -->\n"
	       "# Drop reasons\n\n"
	       "Which reasons there are, and their codes, is read from the running kernel (BTF). Those of\n"
	       "kernels 6.1 to 6.18 are explained here; a reason that is not is shown by its name, of class\n"
	       "other, and a code without a name by its digits. The names are those that perf, dropwatch and\n"
	       "bpftrace print. forwardingStatus is the nearest value of IPFIX element 89 (RFC 7270).\n\n"
	       "CONSUMED is no drop: the kernel counts delivered packets in the same enum.\n\n"
	       "| Class | Meaning |\n|-------|---------|\n");
	for (unsigned int i = 0; i < _DROP_CLASS_MAX; i++)
		printf("| %s | %s |\n", drop_class_name((enum drop_class)i), classes[i]);
	printf("\n| Reason | Class | forwardingStatus | What happened, and what to look at |\n"
	       "|--------|-------|------------------|------------------------------------|\n");
	for (unsigned int i = 0; i < drop_reason_text_count; i++) {
		const struct drop_reason *reason = &drop_reason_texts[i];

		printf("| %s | %s | %u %s | %s |\n", reason->name, drop_class_name(reason->class),
		       reason->forwarding_status, status_text(reason->forwarding_status),
		       reason->explanation);
	}
	return 0;
}
