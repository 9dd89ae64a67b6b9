/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* The final ledger on standard error, in the form that --summary names. */
#include "exporter/cli/options.h"
#include "exporter/observe/ledger.h"

void summary_print(const struct ledger *ledger, enum summary_form form);
