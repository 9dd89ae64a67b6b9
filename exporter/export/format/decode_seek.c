/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>
#include "exporter/export/format/decode.h"
#include "exporter/export/format/decode_seek.h"
#include "exporter/export/format/wire.h"

#define IPFIX_HEADER	16
#define NETFLOW9_HEADER 20

enum answer {
	NO,
	YES,
	LATER
};

static bool is_version(const uint8_t *at)
{
	return at[0] == 0 && (at[1] == 9 || at[1] == 10);
}

/* The end of what is here is the end of a message with `last` alone. */
static enum answer look_behind(const uint8_t *data, size_t size, size_t end, bool last)
{
	if (end + 2 <= size)
		return is_version(data + end) ? YES : NO;
	if (!last)
		return LATER;
	return end == size ? YES : NO;
}

/* Its first set, where that is here. */
static bool has_set(const uint8_t *data, size_t size, size_t length)
{
	uint16_t id, octets;

	if (length == IPFIX_HEADER || size < IPFIX_HEADER + SET_HEADER)
		return true;
	if (length < IPFIX_HEADER + SET_HEADER)
		return false;
	id = wire_load16(data + IPFIX_HEADER);
	octets = wire_load16(data + IPFIX_HEADER + 2);
	return (id == 2 || id == 3 || id >= SET_FIRST_DATA) && octets >= SET_HEADER &&
	       octets <= length - IPFIX_HEADER;
}

static enum answer look_ipfix(const uint8_t *data, size_t size, bool last)
{
	size_t length;

	if (size < 4)
		return last ? NO : LATER;
	length = wire_load16(data + 2);
	if (length < IPFIX_HEADER || !has_set(data, size, length))
		return NO;
	return look_behind(data, size, length, last);
}

/* Its length is that of its sets (decode_frame()), of which a few are looked at: each octet may be the start of a chain. */
static enum answer look_netflow9(struct decode_seek *seek, const uint8_t *data, size_t size,
				 bool last)
{
	size_t at = NETFLOW9_HEADER;

	for (unsigned int i = 0; i <= DECODE_SEEK_SETS && at <= DECODE_MESSAGE_MAX; i++) {
		uint16_t id, octets;

		seek->steps++;
		if (at + 2 <= size && is_version(data + at))
			return YES;
		if (at + SET_HEADER > size)
			return look_behind(data, size, at, last);
		id = wire_load16(data + at);
		octets = wire_load16(data + at + 2);
		if ((id > 1 && id < SET_FIRST_DATA) || octets < SET_HEADER)
			return NO;
		at += octets;
	}
	return NO;
}

bool decode_seek(struct decode_seek *seek, const uint8_t *data, size_t size, bool last)
{
	size_t waits = size;

	for (size_t at = 0; at < size; at++) {
		const uint8_t *zero = memchr(data + at, 0, size - at);
		enum answer answer = NO;

		if (!zero)
			break;
		at = (size_t)(zero - data);
		seek->steps++;
		if (at + 2 > size)
			answer = last ? NO : LATER;
		else if (data[at + 1] == 10)
			answer = look_ipfix(data + at, size - at, last);
		else if (data[at + 1] == 9)
			answer = look_netflow9(seek, data + at, size - at, last);
		if (answer == YES)
			return seek->at = at, true;
		if (answer == LATER)
			waits = at < waits ? at : waits;
	}
	seek->at = waits;
	return false;
}
