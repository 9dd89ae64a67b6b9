/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Where damage ends: the next place at which a message begins, found in time that grows with the octets alone. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DECODE_SEEK_SETS 64 /* of one message of NetFlow v9: more are not looked at */

struct decode_seek {
	size_t at; /* octets in front of that place; of what can be left out, when there is none */
	uint64_t steps; /* headers of messages and sets that were looked at: added up over calls */
};

/*
 * Whether a message begins in `data`, with the header of another one, or with `last` nothing, behind it: chance alone seldom
 * does that.  False: none does, or more octets are needed to tell; what is behind `at` is to be given again, with more.
 */
bool decode_seek(struct decode_seek *seek, const uint8_t *data, size_t size, bool last);
