/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Numbers, times, sizes, rates and names as people write them. */
#include <stdbool.h>
#include <stdint.h>

/* Each returns -EINVAL for other text and leaves *ret untouched; what is too great becomes UINT64_MAX. */

/* Decimal digits alone. */
int value_number(const char *text, uint64_t *ret);

/* A number and ms, s, m or h; the unit must be there. */
int value_duration(const char *text, uint64_t *ret_ns);

/* Octets: a number, alone or with B, kB, MB, GB (powers of 1000), KiB, MiB or GiB (powers of 1024). */
int value_size(const char *text, uint64_t *ret);

/* A second: a number, alone or with k or M (powers of 1000), and "/s" behind them if one likes. */
int value_rate(const char *text, uint64_t *ret);

/* The greatest unit that divides it: "1500ms", "15s", "24h"; "1400", "64MiB"; "5000", "10k". */
#define VALUE_TEXT_MAX 24
void value_print_duration(char text[VALUE_TEXT_MAX], uint64_t ns);
void value_print_size(char text[VALUE_TEXT_MAX], uint64_t octets);
void value_print_rate(char text[VALUE_TEXT_MAX], uint64_t rate);

/* Addresses that begin alike. */
struct value_prefix {
	uint8_t address[16]; /* IPv4 in the first four */
	uint8_t length;	     /* bits */
	uint8_t family;	     /* AF_INET or AF_INET6 */
};

/* "192.0.2.1", "2001:db8::/32"; what is behind the prefix does not matter.  -EINVAL. */
int value_prefix(const char *text, struct value_prefix *ret);
bool value_prefix_has(const struct value_prefix *prefix, const uint8_t *address);

/*
 * Letters to insert, delete, change or swap with the next to make one word the other; capitals are as small letters.
 * A word of more than 63 letters is far from all.
 */
unsigned int value_distance(const char *a, const char *b);

/*
 * The word that was meant, found by offering all that there are.  It is one of two mistakes at most, and no more than
 * one for each two letters.
 */
struct value_guess {
	const char *word; /* NULL: none is near */
	unsigned int distance;
};
void value_guess_offer(struct value_guess *guess, const char *written, const char *word);

/* "; did you mean WORD?", or nothing. */
#define VALUE_HINT_MAX 128
const char *value_guess_hint(const struct value_guess *guess, char hint[VALUE_HINT_MAX]);
