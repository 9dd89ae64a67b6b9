/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Moments as people write them. */
#include <stdbool.h>
#include <stdint.h>

#define WHEN_TEXT_MAX 32

/*
 * "90s", "5m", "1h30m" (ago), "14:05" and "14:05:30" (the last time that it was so late), "2026-11-29", "2026-11-29T14:05:30"
 * with or without a zone ("Z", "+01:00"; a blank in place of the T), "Nov 29 14:05:30.123" (not to come), or ms since 1970.
 * Without a zone it is UTC, or local time.  -EINVAL.
 */
int when_parse(const char *text, uint64_t now_ms, bool utc, uint64_t *ret_ms);

/* "14:05:30", with the day in front where it is another than that of now_ms. */
void when_print(char text[WHEN_TEXT_MAX], uint64_t ms, uint64_t now_ms, bool utc);
