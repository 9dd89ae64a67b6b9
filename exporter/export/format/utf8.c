/* SPDX-License-Identifier: Apache-2.0 */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include "exporter/export/format/utf8.h"

#define CHARACTER_MAX 4 /* octets */

/* Octets of the UTF-8 character at the start of the text, 0 when there is none. */
static unsigned int character(const unsigned char *s)
{
	unsigned int length = s[0] < 0x80 ? 1 : s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;

	if (s[0] >= 0x80 && (s[0] < 0xc2 || s[0] > 0xf4))
		return 0;
	for (unsigned int i = 1; i < length; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	/* Longer than it need be, a surrogate, or beyond Unicode. */
	if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) ||
	    (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
		return 0;
	return length;
}

size_t utf8_fit(const char *text, size_t max)
{
	size_t used = 0;

	while (text[used]) {
		unsigned int length = character((const unsigned char *)text + used);

		length = length ? length : 1;
		if (used + length > max)
			break;
		used += length;
	}
	return used;
}

void utf8_copy(uint8_t *out, const char *text, size_t length)
{
	for (size_t used = 0; used < length;) {
		unsigned int one = character((const unsigned char *)text + used);

		if (one)
			memcpy(out + used, text + used, one);
		else
			out[used] = '?';
		used += one ? one : 1;
	}
}

static bool steers(const unsigned char *s, unsigned int length)
{
	return s[0] < 0x20 || s[0] == 0x7f || (length == 2 && s[0] == 0xc2 && s[1] < 0xa0);
}

/* One character, or octet that is none, of the text; *ret_octets is how many octets of it. */
static size_t escape(char out[4 * CHARACTER_MAX + 1], const char *text, const char *also,
		     unsigned int *ret_octets)
{
	const unsigned char *s = (const unsigned char *)text;
	const unsigned int length = character(s), octets = length ? length : 1;
	const bool plain = length && !strchr(also, *text) && !steers(s, length);
	size_t used = 0;

	for (unsigned int i = 0; i < octets; i++)
		used += (size_t)snprintf(out + used, 5, plain ? "%c" : "\\x%02x", s[i]);
	*ret_octets = octets;
	return used;
}

char *utf8_escape(char *out, size_t size, const char *text, const char *also)
{
	char one[4 * CHARACTER_MAX + 1];
	unsigned int octets;
	size_t used = 0;

	for (; *text; text += octets) {
		const size_t length = escape(one, text, also, &octets);

		if (used + length >= size)
			break;
		memcpy(out + used, one, length);
		used += length;
	}
	out[used] = '\0';
	return out;
}

void utf8_print(FILE *file, const char *text)
{
	char one[4 * CHARACTER_MAX + 1];
	unsigned int octets;

	for (; *text; text += octets) {
		escape(one, text, "", &octets);
		fputs(one, file);
	}
}
