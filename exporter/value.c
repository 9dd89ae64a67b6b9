/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <string.h>
#include "exporter/util.h"
#include "exporter/value.h"

#define WORD_MAX 64

struct unit {
	const char *name;
	uint64_t factor;
};

/* The greatest first, as values are printed; those of powers of ten are read only. */
static const struct unit times[] = {
	{"h", 3600 * NSEC_PER_SEC},
	{"m", 60 * NSEC_PER_SEC},
	{"s", NSEC_PER_SEC},
	{"ms", NSEC_PER_MSEC},
	{NULL, 0},
};
static const struct unit sizes[] = {
	{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10},	{"", 1},   {"B", 1}, {"kB", 1000},
	{"KB", 1000},	  {"MB", 1000000},  {"GB", 1000000000}, {NULL, 0},
};
static const struct unit rates[] = {
	{"M", 1000000}, {"k", 1000}, {"", 1}, {"M/s", 1000000}, {"k/s", 1000}, {"/s", 1}, {NULL, 0},
};

/* Returns what follows the digits; NULL if there are none. */
static const char *read_digits(const char *text, uint64_t *ret)
{
	uint64_t value = 0;

	if (*text < '0' || *text > '9')
		return NULL;
	for (; *text >= '0' && *text <= '9'; text++) {
		unsigned int digit = (unsigned int)(*text - '0');

		value = value > (UINT64_MAX - digit) / 10 ? UINT64_MAX : value * 10 + digit;
	}
	*ret = value;
	return text;
}

int value_number(const char *text, uint64_t *ret)
{
	uint64_t value;
	const char *rest = read_digits(text, &value);

	if (!rest || *rest)
		return -EINVAL;
	*ret = value;
	return 0;
}

static int read_unit(const char *text, const struct unit *units, uint64_t *ret)
{
	uint64_t value;
	const char *rest = read_digits(text, &value);

	for (const struct unit *u = units; rest && u->name; u++) {
		if (strcmp(rest, u->name) != 0)
			continue;
		*ret = value > UINT64_MAX / u->factor ? UINT64_MAX : value * u->factor;
		return 0;
	}
	return -EINVAL;
}

/* In one of the first `count` units, the last of which is the smallest. */
static void print_unit(char text[VALUE_TEXT_MAX], const struct unit *units, size_t count,
		       uint64_t value)
{
	size_t i = value ? 0 : count - 1;

	while (i < count - 1 && value % units[i].factor)
		i++;
	snprintf(text, VALUE_TEXT_MAX, "%llu%s", (unsigned long long)(value / units[i].factor),
		 units[i].name);
}

int value_duration(const char *text, uint64_t *ret_ns)
{
	return read_unit(text, times, ret_ns);
}

int value_size(const char *text, uint64_t *ret)
{
	return read_unit(text, sizes, ret);
}

int value_rate(const char *text, uint64_t *ret)
{
	return read_unit(text, rates, ret);
}

void value_print_duration(char text[VALUE_TEXT_MAX], uint64_t ns)
{
	print_unit(text, times, 4, ns);
}

void value_print_size(char text[VALUE_TEXT_MAX], uint64_t octets)
{
	print_unit(text, sizes, 4, octets);
}

void value_print_rate(char text[VALUE_TEXT_MAX], uint64_t rate)
{
	print_unit(text, rates, 3, rate);
}

int value_prefix(const char *text, struct value_prefix *ret)
{
	struct value_prefix prefix = {.family = strchr(text, ':') ? AF_INET6 : AF_INET};
	size_t length = strcspn(text, "/");
	uint64_t bits = prefix.family == AF_INET6 ? 128 : 32, given = bits;
	char address[INET6_ADDRSTRLEN];

	if (length >= sizeof(address))
		return -EINVAL;
	snprintf(address, sizeof(address), "%.*s", (int)length, text);
	if (inet_pton(prefix.family, address, prefix.address) != 1)
		return -EINVAL;
	if (text[length] && (value_number(text + length + 1, &given) < 0 || given > bits))
		return -EINVAL;
	prefix.length = (uint8_t)given;
	*ret = prefix;
	return 0;
}

bool value_prefix_has(const struct value_prefix *prefix, const uint8_t *address)
{
	unsigned int whole = prefix->length / 8, rest = prefix->length % 8;

	return !memcmp(prefix->address, address, whole) &&
	       (!rest || (prefix->address[whole] ^ address[whole]) >> (8 - rest) == 0);
}

/* By the optimal string alignment distance: a row of the table for each letter of `a`. */
unsigned int value_distance(const char *a, const char *b)
{
	size_t length_a = strlen(a), length_b = strlen(b);
	unsigned int rows[3][WORD_MAX];

	if (length_a >= WORD_MAX || length_b >= WORD_MAX)
		return UINT_MAX;
	for (unsigned int j = 0; j <= length_b; j++)
		rows[0][j] = j;
	for (unsigned int i = 1; i <= length_a; i++) {
		unsigned int *row = rows[i % 3], *last = rows[(i + 2) % 3];
		const unsigned int *before = rows[(i + 1) % 3];
		int letter = tolower((unsigned char)a[i - 1]);

		row[0] = i;
		for (size_t j = 1; j <= length_b; j++) {
			int other = tolower((unsigned char)b[j - 1]);

			row[j] = MIN(last[j - 1] + (letter != other), MIN(last[j], row[j - 1]) + 1);
			if (i > 1 && j > 1 && letter == tolower((unsigned char)b[j - 2]) &&
			    other == tolower((unsigned char)a[i - 2]))
				row[j] = MIN(row[j], before[j - 2] + 1);
		}
	}
	return rows[length_a % 3][length_b];
}

void value_guess_offer(struct value_guess *guess, const char *written, const char *word)
{
	unsigned int distance = value_distance(written, word);

	if (distance > 2 || distance * 2 > strlen(word) ||
	    (guess->word && distance >= guess->distance))
		return;
	*guess = (struct value_guess){.word = word, .distance = distance};
}

const char *value_guess_hint(const struct value_guess *guess, char hint[VALUE_HINT_MAX])
{
	hint[0] = '\0';
	if (guess->word)
		snprintf(hint, VALUE_HINT_MAX, "; did you mean %s?", guess->word);
	return hint;
}
