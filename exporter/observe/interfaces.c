/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/observe/interfaces.h"
#include <inttypes.h>

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

static json_t *interface_json(const struct ifstats_interface *i)
{
	json_t *object = json_pack("{s:s,s:I}", "name", i->name, "ifindex", (json_int_t)i->ifindex);

	for (int stat = 0; stat < _IFSTAT_MAX; stat++)
		json_object_set_new(object, ifstat_name((enum ifstat)stat),
				    json_integer((json_int_t)i->counters[stat]));
	return object;
}

json_t *interfaces_json(const struct ifstats *stats)
{
	json_t *array = json_array();

	for (size_t i = 0; i < stats->count; i++)
		json_array_append_new(array, interface_json(&stats->interfaces[i]));
	return array;
}
