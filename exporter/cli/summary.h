/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "config/config.h"
#include "exporter/exporter.h"
#include "exporter/observe/ledger.h"

/* Prints the final ledger on stderr. */
void summary_print(const struct ledger *ledger, enum summary_form form);

/* The same of an exporter that has stopped, unless that has been said. */
void summary_say(struct exporter *exporter);

/* For exporter_events.overdue: what is known, in another thread. */
void summary_overdue(struct exporter *exporter);
