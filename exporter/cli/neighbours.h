/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Who else has a program on the hooks of an interface, in the network namespace of the calling thread. */
#include <jansson.h>
#include <stdint.h>
#include "xdp/flow.h"

/*
 * An array of {"hook": "xdp", "tcx" or "clsact", "id", "name"}, in the order in which packets meet them; our own are among
 * them.  "name" lacks where the caller may not read it (CAP_SYS_ADMIN).  NULL: the caller may not ask (CAP_NET_ADMIN), or
 * there is no memory.
 */
json_t *neighbours_json(uint32_t ifindex, enum flow_direction direction);
