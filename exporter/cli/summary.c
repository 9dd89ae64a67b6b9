/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>
#include "exporter/cli/summary.h"
#include "exporter/log.h"
#include "exporter/observe/interfaces.h"

/* A message for each line, for a log escapes their ends. */
static void print_text(const struct ledger *ledger)
{
	_cleanup_(freep) char *text = NULL;
	char *rest, *line;
	size_t size;
	FILE *file = open_memstream(&text, &size);

	if (!file)
		return;
	ledger_print_text(ledger, file);
	if (fclose(file) != 0)
		return;
	rest = text;
	while ((line = strsep(&rest, "\n")))
		if (*line)
			log_always(LOG_NOTICE, "ledger: %s", line);
}

static void print_json(const struct ledger *ledger)
{
	_cleanup_(freep) char *text = NULL;
	size_t size;
	FILE *file = open_memstream(&text, &size);
	int error = file ? ledger_print_json(ledger, file) : -ENOMEM;

	if (file) {
		fputc('\n', file);
		fclose(file);
	}
	if (error < 0)
		log_errno(LOG_ERR, error, "cannot print the ledger");
	else
		log_text(text, size);
}

static void print_interface(const struct ifstats_interface *interface)
{
	_cleanup_(freep) char *text = NULL;
	_cleanup_(fclosep) FILE *file = NULL;
	size_t size;

	file = open_memstream(&text, &size);
	if (!file || !interface_print_text(interface, file))
		return;
	fflush(file);
	log_always(LOG_NOTICE, "%s", text);
}

static void print_hidden(const struct ifstats_interface *interface, const struct sight *sight)
{
	_cleanup_(freep) char *text = NULL;
	_cleanup_(fclosep) FILE *file = NULL;
	size_t size;

	file = open_memstream(&text, &size);
	if (!file || !interface_print_hidden(interface, sight, file))
		return;
	fflush(file);
	log_warning("%s", text);
}

void summary_print(const struct ledger *ledger, enum summary_form form)
{
	if (form == SUMMARY_TEXT) {
		print_text(ledger);
		for (size_t i = 0; ledger->ifstats && i < ledger->ifstats->count; i++) {
			print_interface(&ledger->ifstats->interfaces[i]);
			print_hidden(&ledger->ifstats->interfaces[i], ledger->sight);
		}
	} else if (form == SUMMARY_JSON) {
		print_json(ledger);
	}
}

void summary_say(struct exporter *exporter)
{
	if (!exporter_may_speak(exporter))
		return;
	summary_print(exporter_snapshot(exporter), exporter_config(exporter)->summary);
	exporter_spoken(exporter);
}

void summary_overdue(struct exporter *exporter)
{
	struct ledger_reasons reasons;
	struct ledger ledger;

	if (!exporter_may_speak(exporter)) /* and nobody may from then on: the process ends */
		return;
	log_always(LOG_ERR, "the end was cut short by %s, before all was exported",
		   exporter_why(exporter));
	if (exporter_snapshot_now(exporter, &ledger, &reasons) == 0)
		summary_print(&ledger, exporter_config(exporter)->summary);
}
