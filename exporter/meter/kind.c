/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/meter/kind.h"

const struct kind *kind_get(enum record_kind kind)
{
	static const struct kind *const kinds[_RECORD_KIND_MAX] = {
		[RECORD_FLOW] = &flow_kind,
		[RECORD_DROP] = &drop_kind,
	};

	return kinds[kind];
}
