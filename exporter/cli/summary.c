/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/cli/summary.h"
#include "exporter/log.h"

static void print_text(const struct ledger *ledger)
{
	_cleanup_(freep) char *text = NULL;
	_cleanup_(fclosep) FILE *file = NULL;
	size_t size;

	file = open_memstream(&text, &size);
	if (!file)
		return;
	ledger_print_text(ledger, file);
	fflush(file);
	log_notice("%s", text);
}

void summary_print(const struct ledger *ledger, enum summary_form form)
{
	if (form == SUMMARY_TEXT) {
		print_text(ledger);
	} else if (form == SUMMARY_JSON) {
		ledger_print_json(ledger, stderr);
		fputc('\n', stderr);
	}
}
