/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Text for collectors, who may count on UTF-8 (RFC 7011 section 6.1.6), from whoever may have named what. */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Octets of the text up to its end, or up to the end of the last character within the first `max` octets. */
size_t utf8_fit(const char *text, size_t max);

/* Copies that many octets of the text; what is not well-formed becomes '?', octet by octet. */
void utf8_copy(uint8_t *out, const char *text, size_t length);

/*
 * For outputs that people and programs read: what is not well-formed, what steers a terminal (C0, C1, DEL) or turns
 * the text around (bidirectional controls) and the letters of
 * `also` become "\\xNN", octet by octet.  With a backslash in `also` texts that differ still do.  A text that has no room ends
 * at a whole character.  Returns `out`.  UTF8_ESCAPED_MAX(octets) is room for each text of so many.
 */
#define UTF8_ESCAPED_MAX(octets) (4 * (octets) + 1)
char *utf8_escape(char *out, size_t size, const char *text, const char *also);

/* Likewise, without `also`. */
void utf8_print(FILE *file, const char *text);

/*
 * What is between the quotes of a string of JSON, without '\0' behind it, of well-formed text: what steers is \uNNNN, so that
 * the text can be had back.  Returns where it ends; UTF8_JSON_MAX for each octet, and one more, is room enough.
 */
#define UTF8_JSON_MAX 6
char *utf8_put_json(char *out, const uint8_t *text, size_t length);
