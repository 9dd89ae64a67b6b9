/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* What keeps packets from a hook that is in place: asked for when a hook is found silent. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "exporter/meter/hooks.h"
#include "exporter/meter/netdev.h"
#include "xdp/flow.h"

struct obstacle_place {
	const struct datapath *datapath;
	const struct netdev *device; /* NULL: gone */
	uint32_t ifindex;
	enum flow_direction direction;
	enum hook_kind hook;
};

/*
 * In words, "tcx program id 12 is in front of the hook".  False: none was found.  `ret`, empty then, names the one
 * that packets meet first.
 */
bool obstacle_find(const struct obstacle_place *place, char *ret, size_t size);

/* Of a device whose packets go past its hooks; NULL: not of this kind. */
const char *obstacle_of_kind(const struct netdev *device);
