/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* The kernel's own counters of interfaces, beside the ledger: in none of its sums. */
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include "exporter/meter/ifstats.h"

/* Those that are not 0, one readable line without the newline.  False, and nothing printed: no loss there. */
bool interface_print_text(const struct ifstats_interface *interface, FILE *file);

/* All counters of all interfaces that were attached: [{"name", "ifindex", "rx_packets", ...}, ...] */
json_t *interfaces_json(const struct ifstats *stats);
