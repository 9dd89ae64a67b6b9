/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Files that people take for records of flows. */
#include <stddef.h>
#include <stdint.h>

/* What a file that begins so is, and who reads it; NULL: not known. */
const char *read_kind(const uint8_t *data, size_t size);
