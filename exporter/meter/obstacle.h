/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * What may keep packets from a hook that is in place: somebody's program or filter in front of it, a kind of device
 * whose packets go past its hooks.  Whether it does is for sight.h to say.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "exporter/meter/hook.h"
#include "exporter/meter/hooks.h"
#include "exporter/meter/netdev.h"

struct obstacle_place {
	const struct hook *hook;
	enum hook_kind kind;
	const struct netdev *device; /* NULL: not known */
};

/* In words, "tcx program id 12 is in front of the hook": the one that packets meet first.  False, and empty: there is none. */
bool obstacle_find(const struct obstacle_place *place, char *ret, size_t size);

/* Of a device whose packets go past its hooks; NULL: not of this kind. */
const char *obstacle_of_kind(const struct netdev *device);

/*
 * Ids of the tcx programs of an interface, in the order in which packets meet them; those that do not fit are left out.  How
 * many are in `ret`; -errno: -EPERM without CAP_NET_ADMIN, -EINVAL where the kernel has no tcx.
 */
int obstacle_tcx_programs(uint32_t ifindex, enum flow_direction direction, uint32_t *ret,
			  uint32_t max);
