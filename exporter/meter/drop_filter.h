/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Which drops are recorded. */
#include <stdint.h>
#include "exporter/meter/drop_reason.h"
#include "xdp/flow.h"

/*
 * Of lists of classes and reasons, with commas; what is neither is passed over.
 * `include` NULL: all; `exclude` NULL: benign, if there is no `include`.  excluded[drop_reason_pack()] becomes 1
 * for what is counted and not recorded.
 */
void drop_filter_make(struct drop_reasons *names, const char *include, const char *exclude,
		      uint8_t excluded[DROP_REASON_MAX]);
