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
