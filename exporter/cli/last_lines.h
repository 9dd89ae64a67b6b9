/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* The last lines of many, bounded by their number and by their octets. */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include "exporter/util.h"

struct last_lines;

/* `count` from 1 on; `octets` with the '\0' of each line.  -ENOMEM. */
int last_lines_new(struct last_lines **ret, uint64_t count, uint64_t octets);
struct last_lines *last_lines_free(struct last_lines *lines);
DEFINE_CLEANUP(struct last_lines *, last_lines_free)

/* Lines from the first on go while there are too many; the newest one stays whatever its length.  -ENOMEM: it is left out. */
int last_lines_add(struct last_lines *lines, const char *text);

/* Lines that are not kept though their number would be, so far. */
uint64_t last_lines_short(const struct last_lines *lines);

/* Those that are kept, in their order, `end` behind each; none is kept then. */
void last_lines_print(struct last_lines *lines, FILE *file, const char *end);
