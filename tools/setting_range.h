/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "config/schema.h"

/* On standard output, what the value can be: "time, 100ms to 24h". */
void setting_range_print(const struct setting *s);
