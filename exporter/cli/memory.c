/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/cli/memory.h"
#include <string.h>
#include "exporter/log.h"
#include "exporter/meter/cache.h"
#include "exporter/meter/datapath.h"
#include "exporter/observe/doctor_facts.h"
#include "exporter/observe/ring.h"
#include "exporter/observe/ring_order.h"

#define MEGA	    1e6
#define REST_OCTETS (16u << 20) /* programs, queues, the process itself: 13 MB were measured */

static uint64_t all_octets(const struct config *config)
{
	uint64_t ret = REST_OCTETS + datapath_memory(config->bank_entries) +
		       cache_memory(config->cache_entries);

	if (config->drops != DROPS_OFF)
		ret += datapath_memory(config->drop_entries) + cache_memory(config->drop_entries);
	if (config->live || strcmp(config->control_socket, "off") != 0)
		ret += ring_memory(config->control_records) +
		       ring_order_memory(config->control_records);
	return ret;
}

void memory_warn(const struct config *config)
{
	const uint64_t needed = all_octets(config);
	struct doctor_cgroup group;

	doctor_read_memory_group("", false, &group);
	if (!group.path[0] || needed <= doctor_room_of(&group))
		return;
	log_warning(
		"the limit of the control group '%s' leaves %.1f MB, and this configuration takes up to %.1f MB: "
		"raise it (MemoryMax=, in a pod limits.memory) or lower bank-entries and cache-entries, else "
		"the kernel ends the exporter when many flows come",
		group.path, (double)doctor_room_of(&group) / MEGA, (double)needed / MEGA);
}

void memory_announce(const struct config *config, bool drops)
{
	log_info(
		"memory: two banks of %u flows take %.1f MB in the kernel, a cache of %u flows %.1f MB",
		config->bank_entries, (double)datapath_memory(config->bank_entries) / MEGA,
		config->cache_entries, (double)cache_memory(config->cache_entries) / MEGA);
	if (drops)
		log_info(
			"drops are recorded: two banks and a cache of %u dropped flows take %.1f MB and %.1f MB",
			config->drop_entries, (double)datapath_memory(config->drop_entries) / MEGA,
			(double)cache_memory(config->drop_entries) / MEGA);
}
