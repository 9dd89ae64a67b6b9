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

/* Terminals (ECMA-48), the direction of the text around it (Unicode, annex 9), and lines (U+2028, U+2029). */
static bool steers(unsigned int point)
{
	return point < 0x20 || (point >= 0x7f && point < 0xa0) || point == 0x61c ||
	       point == 0x200e || point == 0x200f || (point >= 0x2028 && point <= 0x202e) ||
	       (point >= 0x2066 && point <= 0x2069);
}

/* Of a character of so many octets; what is of four steers nothing. */
static unsigned int code_point(const unsigned char *s, unsigned int length)
{
	if (length == 2)
		return (s[0] & 0x1fu) << 6 | (s[1] & 0x3fu);
	if (length == 3)
		return (s[0] & 0xfu) << 12 | (s[1] & 0x3fu) << 6 | (s[2] & 0x3fu);
	return s[0];
}

char *utf8_put_json(char *out, const uint8_t *text, size_t length)
{
	for (size_t used = 0, octets; used < length; used += octets) {
		const uint8_t *s = text + used;
		unsigned int point;

		octets = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : s[0] >= 0xc0 ? 2 : 1;
		octets = octets <= length - used ? octets : 1;
		point = code_point(s, (unsigned int)octets);
		if (steers(point)) {
			out += snprintf(out, UTF8_JSON_MAX + 1, "\\u%04x", point);
			continue;
		}
		if (*s == '"' || *s == '\\')
			*out++ = '\\';
		memcpy(out, s, octets);
		out += octets;
	}
	return out;
}

/* One character, or octet that is none, of the text; *ret_octets is how many octets of it. */
static size_t escape(char out[4 * CHARACTER_MAX + 1], const char *text, const char *also,
		     unsigned int *ret_octets)
{
	const unsigned char *s = (const unsigned char *)text;
	const unsigned int length = character(s), octets = length ? length : 1;
	const bool plain = length && !strchr(also, *text) && !steers(code_point(s, length));
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
