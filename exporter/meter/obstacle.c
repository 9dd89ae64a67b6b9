/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/meter/obstacle.h"
#include <errno.h>
#include <linux/bpf.h>
#include <string.h>
#include <sys/syscall.h>
#include "exporter/meter/tc_filters.h"
#include "exporter/meter/tcx.h"

int obstacle_tcx_programs(uint32_t ifindex, enum flow_direction direction, uint32_t *ret,
			  uint32_t max)
{
	struct tcx_query query = {
		.ifindex = ifindex,
		.type = tcx_attach_type(direction),
		.prog_ids = (__u64)(unsigned long)ret,
		.count = max,
	};

	/* ENOSPC: there are more than fit, and the first ones are here */
	if (syscall(SYS_bpf, BPF_PROG_QUERY, &query, sizeof(query)) < 0 && errno != ENOSPC)
		return -errno;
	return (int)MIN(query.count, max);
}

/* tcx comes before the filters of a qdisc. */
static bool find_tcx(const struct obstacle_place *place, char *ret, size_t size)
{
	uint32_t programs[64];
	int count = obstacle_tcx_programs(place->hook->ifindex, place->hook->direction, programs,
					  ARRAY_SIZE(programs));

	if (count <= 0 || programs[0] == place->hook->prog_id)
		return false;
	snprintf(ret, size, "tcx program id %u is in front of the hook", programs[0]);
	return true;
}

static bool find_filter(const struct obstacle_place *place, char *ret, size_t size)
{
	struct tc_filter first;

	if (tc_filters_first(place->hook->ifindex, place->hook->direction, &first) < 0 ||
	    hook_filter_is_ours(&first))
		return false;
	snprintf(ret, size, "the filter '%s%s%s' at priority %u is in front of the hook",
		 first.kind, first.name[0] ? " " : "", first.name, first.priority);
	return true;
}

const char *obstacle_of_kind(const struct netdev *device)
{
	if (!strcmp(device->kind, "vrf"))
		return "packets do not pass the hooks of a VRF, meter the interfaces in it";
	if (!strcmp(device->kind, "ipvlan"))
		return "packets do not pass the hooks of an ipvlan in mode l3s, meter the interface below it";
	return NULL;
}

bool obstacle_find(const struct obstacle_place *place, char *ret, size_t size)
{
	const char *text;

	ret[0] = '\0';
	if (place->device && (text = obstacle_of_kind(place->device))) {
		snprintf(ret, size, "%s", text);
		return true;
	}
	if (place->kind == HOOK_XDP || place->kind == HOOK_NONE)
		return false;
	if (place->hook->direction == DIRECTION_INGRESS && place->device &&
	    place->device->xdp_prog) {
		snprintf(ret, size, "XDP program id %u is in front of the hook",
			 place->device->xdp_prog);
		return true;
	}
	return find_tcx(place, ret, size) ||
	       (place->kind == HOOK_CLSACT && find_filter(place, ret, size));
}
