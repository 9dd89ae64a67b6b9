/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* What collectors are told of a metered interface. */
#include <stdint.h>

struct export_interface {
	uint32_t ifindex;
	char name[16]; /* as IFNAMSIZ */
	char description[64];
};
