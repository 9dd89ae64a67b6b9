/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "exporter/cli/options.h"
#include "exporter/observe/ledger.h"

/* Prints the final ledger on stderr. */
void summary_print(const struct ledger *ledger, enum summary_form form);

/* Says that records were not sent for lack of time, for which `why` stands (NULL: there was enough); then -ETIME, else 0. */
int summary_report_unsent(struct exports *exports, const char *why);
