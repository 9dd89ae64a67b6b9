/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/cli/summary.h"
#include "exporter/log.h"
#include "exporter/observe/interfaces.h"

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

static void print_interface(const struct ifstats_interface *interface)
{
	_cleanup_(freep) char *text = NULL;
	_cleanup_(fclosep) FILE *file = NULL;
	size_t size;

	file = open_memstream(&text, &size);
	if (!file || !interface_print_text(interface, file))
		return;
	fflush(file);
	log_notice("%s", text);
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
		ledger_print_json(ledger, stderr);
		fputc('\n', stderr);
	}
}
