/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Text for collectors, who may count on UTF-8 (RFC 7011 section 6.1.6), from whoever may have named what. */
#include <stddef.h>
#include <stdint.h>

/* Octets of the text up to its end, or up to the end of the last character within the first `max` octets. */
size_t utf8_fit(const char *text, size_t max);

/* Copies that many octets of the text; what is not well-formed becomes '?', octet by octet. */
void utf8_copy(uint8_t *out, const char *text, size_t length);
