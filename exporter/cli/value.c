/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <string.h>
#include "exporter/cli/value.h"
#include "exporter/util.h"

#define WORD_MAX 32

static const struct {
	const char *name;
	uint64_t ns;
} units[] = {
	{"h", 3600 * NSEC_PER_SEC},
	{"m", 60 * NSEC_PER_SEC},
	{"s", NSEC_PER_SEC},
	{"ms", NSEC_PER_MSEC},
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

int value_duration(const char *text, uint64_t *ret_ns)
{
	uint64_t value;
	const char *rest = read_digits(text, &value);

	for (size_t i = 0; rest && i < ARRAY_SIZE(units); i++) {
		if (strcmp(rest, units[i].name) != 0)
			continue;
		*ret_ns = value > UINT64_MAX / units[i].ns ? UINT64_MAX : value * units[i].ns;
		return 0;
	}
	return -EINVAL;
}

void value_print_duration(char text[VALUE_DURATION_MAX], uint64_t ns)
{
	size_t i = 0;

	while (i < ARRAY_SIZE(units) - 1 && ns % units[i].ns)
		i++;
	snprintf(text, VALUE_DURATION_MAX, "%llu%s", (unsigned long long)(ns / units[i].ns),
		 units[i].name);
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

unsigned int value_distance(const char *a, const char *b)
{
	size_t length_a = strlen(a), length_b = strlen(b);
	unsigned int row[WORD_MAX]; /* distances of the beginnings of b from one beginning of a */

	if (length_a >= WORD_MAX || length_b >= WORD_MAX)
		return UINT_MAX;
	for (unsigned int j = 0; j <= length_b; j++)
		row[j] = j;
	for (unsigned int i = 1; i <= length_a; i++) {
		unsigned int diagonal = row[0];

		row[0] = i;
		for (size_t j = 1; j <= length_b; j++) {
			unsigned int change = diagonal + (a[i - 1] != b[j - 1]);

			diagonal = row[j];
			row[j] = MIN(change, MIN(row[j], row[j - 1]) + 1);
		}
	}
	return row[length_b];
}
