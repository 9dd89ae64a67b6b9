/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* The kernel's own counters of interfaces, beside the ledger: in none of its sums. */
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include "exporter/meter/ifstats.h"
#include "exporter/meter/sight.h"

/* Those that are not 0, one readable line without the newline.  False, and nothing printed: no loss there. */
bool interface_print_text(const struct ifstats_interface *interface, FILE *file);

/* Hooks that see less than the kernel counts, one readable line without the newline.  False: there are none. */
bool interface_print_hidden(const struct ifstats_interface *interface, const struct sight *sight,
			    FILE *file);

/*
 * All counters of all interfaces that were attached: [{"name", "ifindex", "rx_packets", ..., "hooks": {"ingress":
 * {"hook", "accounted", "unrecorded", "hidden", "reason"}, "egress": ...}}, ...].  Without `sight` there are no "hooks".
 */
json_t *interfaces_json(const struct ifstats *stats, const struct sight *sight);
