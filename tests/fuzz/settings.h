/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* What the fuzzers of the command line and of configuration files share: what every configuration keeps to. */
#include <sys/socket.h>
#include "config/config.h"
#include "exporter/meter/datapath.h"
#include "tests/fuzz/fuzz.h"

static inline const char *check_settings(const struct config *o)
{
	const char *why;

	for (size_t i = 0; i < o->collector_count; i++)
		if (!exports_url_valid(o->collectors[i].url, &why))
			return "a collector that is none";
	for (size_t i = 0; i < o->interface_count; i++)
		if (!*o->interfaces[i])
			return "an interface without a name";
	if (o->collector_count > EXPORT_COLLECTORS_MAX)
		return "more collectors than there can be";
	if (!o->idle_ns || !o->active_ns || !o->drain_ns || !o->export.template_interval_ns)
		return "a time of 0";
	if (o->export.domain == 0 || o->export.message_max < 512)
		return "a number out of its range";
	if (o->bank_entries < datapath_entries_min() || o->cache_entries == 0)
		return "no room for flows";
	return NULL;
}
