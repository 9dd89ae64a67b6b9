/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/observe/interfaces.h"
#include <inttypes.h>
#include "exporter/observe/text.h"

bool interface_print_text(const struct ifstats_interface *i, FILE *file)
{
	const char *separator = "";

	if (!ifstats_has_loss(i))
		return false;
	fprintf(file,
		"interface '%s', the kernel's own counters, in no sum of the ledger: ", i->name);
	for (int stat = 0; stat < _IFSTAT_MAX; stat++) {
		if (!i->counters[stat])
			continue;
		fprintf(file, "%s%s %" PRIu64, separator, ifstat_name((enum ifstat)stat),
			i->counters[stat]);
		separator = ", ";
	}
	return true;
}

static const struct {
	const char *name;
	const char *verb;
	enum ifstat counter;
} directions[_DIRECTION_MAX] = {
	[DIRECTION_INGRESS] = {"ingress", "arrived", IFSTAT_rx_packets},
	[DIRECTION_EGRESS] = {"egress", "left", IFSTAT_tx_packets},
};

bool interface_print_hidden(const struct ifstats_interface *i, const struct sight *sight,
			    FILE *file)
{
	const struct sight_interface *seen = sight ? sight_get(sight, i->ifindex) : NULL;
	const char *separator = "";

	for (int n = 0; seen && n < _DIRECTION_MAX; n++) {
		const struct sight_side *side = &seen->sides[n];
		const uint64_t kernel = i->counters[directions[n].counter];

		if (!sight_is_hidden(side, kernel))
			continue;
		fprintf(file,
			"%sinterface '%s': its counters say %" PRIu64
			" packets %s, the %s hook saw %" PRIu64 ": %s",
			separator, i->name, kernel, directions[n].verb, directions[n].name,
			side->accounted + side->unrecorded, side->reason);
		separator = "; ";
	}
	return separator[0];
}

static json_t *hooks_json(const struct ifstats_interface *i, const struct sight_interface *seen)
{
	json_t *object = json_object();

	for (int n = 0; n < _DIRECTION_MAX; n++) {
		const struct sight_side *side = &seen->sides[n];
		const bool hidden = sight_is_hidden(side, i->counters[directions[n].counter]);

		json_object_set_new(object, directions[n].name,
				    json_pack("{s:s,s:I,s:I,s:b,s:s}", "hook",
					      hook_kind_name(side->hook), "accounted",
					      (json_int_t)side->accounted, "unrecorded",
					      (json_int_t)side->unrecorded, "hidden", hidden,
					      "reason", hidden ? side->reason : ""));
	}
	return object;
}

static json_t *interface_json(const struct ifstats_interface *i, const struct sight *sight)
{
	const struct sight_interface *seen = sight ? sight_get(sight, i->ifindex) : NULL;
	json_t *object = json_pack("{s:o,s:I}", "name", text_json_name(i->name), "ifindex",
				   (json_int_t)i->ifindex);

	for (int stat = 0; stat < _IFSTAT_MAX; stat++)
		json_object_set_new(object, ifstat_name((enum ifstat)stat),
				    json_integer((json_int_t)i->counters[stat]));
	if (seen)
		json_object_set_new(object, "hooks", hooks_json(i, seen));
	return object;
}

json_t *interfaces_json(const struct ifstats *stats, const struct sight *sight)
{
	json_t *array = json_array();

	for (size_t i = 0; i < stats->count; i++)
		json_array_append_new(array, interface_json(&stats->interfaces[i], sight));
	return array;
}
