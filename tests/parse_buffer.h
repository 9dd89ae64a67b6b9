/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* The parser over a copy of the first octets of a frame, as the tracer of drops has it (CURSOR_BUFFER). */
#include <stdbool.h>
#include <stdint.h>

struct frame;
struct packet;

#define PARSE_BUFFER_OCTETS 256

/* `reach` of up to PARSE_BUFFER_OCTETS are copied; *p as for parse_ethernet() and parse_bare(). */
int parse_in_buffer(const struct frame *f, bool bare, const uint8_t *bytes, uint32_t reach,
		    struct packet *p);
