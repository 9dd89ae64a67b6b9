/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Numbers, times and names as people write them. */
#include <stdbool.h>
#include <stdint.h>

/* Decimal digits alone; too great ones become UINT64_MAX.  -EINVAL. */
int value_number(const char *text, uint64_t *ret);

/* A number and ms, s, m or h; too long ones become UINT64_MAX.  -EINVAL, also without a unit. */
int value_duration(const char *text, uint64_t *ret_ns);

/* In the greatest unit that divides it: "1500ms", "15s", "24h". */
#define VALUE_DURATION_MAX 24
void value_print_duration(char text[VALUE_DURATION_MAX], uint64_t ns);

/* Addresses that begin alike. */
struct value_prefix {
	uint8_t address[16]; /* IPv4 in the first four */
	uint8_t length;	     /* bits */
	uint8_t family;	     /* AF_INET or AF_INET6 */
};

/* "192.0.2.1", "2001:db8::/32"; what is behind the prefix does not matter.  -EINVAL. */
int value_prefix(const char *text, struct value_prefix *ret);
bool value_prefix_has(const struct value_prefix *prefix, const uint8_t *address);

/* Letters to insert, delete or change to make one word the other; a word of more than 31 letters is far from all. */
unsigned int value_distance(const char *a, const char *b);
