/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>
#include "tests/parse_buffer.h"

#define CURSOR_BUFFER PARSE_BUFFER_OCTETS
#include "xdp/parse.h"

int parse_in_buffer(const struct frame *f, bool bare, const uint8_t *bytes, uint32_t reach,
		    struct packet *p)
{
	uint8_t buffer[CURSOR_BUFFER + CURSOR_SLACK];
	struct cursor c = {.data = buffer, .end = reach};

	memset(buffer, 0xa5, sizeof(buffer));
	memcpy(buffer, bytes, reach);
	return bare ? parse_bare(&c, f, p) : parse_ethernet(&c, f, p);
}
