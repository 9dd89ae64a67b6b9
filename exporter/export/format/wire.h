/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Big-endian octets of both protocols: a bounded writer for headers and templates, bare stores for the hot encoder. */
#include <endian.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* Of RFC 7011 and RFC 3954, for who writes and who reads. */
#define SET_HEADER     4      /* octets: set id, length */
#define SET_FIRST_DATA 256    /* set ids below are those of templates */
#define ENTERPRISE_BIT 0x8000 /* of an element's id in a template: an enterprise number follows */

static inline void wire_store16(uint8_t *at, uint16_t value)
{
	value = htobe16(value);
	memcpy(at, &value, sizeof(value));
}

static inline void wire_store32(uint8_t *at, uint32_t value)
{
	value = htobe32(value);
	memcpy(at, &value, sizeof(value));
}

static inline uint32_t wire_load32(const uint8_t *at)
{
	uint32_t value;

	memcpy(&value, at, sizeof(value));
	return be32toh(value);
}

static inline uint16_t wire_load16(const uint8_t *at)
{
	return (uint16_t)(at[0] << 8 | at[1]);
}

/* The low `length` octets (1 to 8) of value.  With a constant length it becomes one store. */
static inline void wire_store(uint8_t *at, uint64_t value, unsigned int length)
{
	value = htobe64(value << 8 * (8 - length));
	memcpy(at, &value, length);
}

static inline uint64_t wire_load(const uint8_t *at, unsigned int length)
{
	uint64_t value = 0;

	for (unsigned int i = 0; i < length; i++)
		value = value << 8 | at[i];
	return value;
}

/* What does not fit is not written and sets `overflow`, to be looked at once at the end. */
struct wire {
	uint8_t *at;
	const uint8_t *end;
	bool overflow;
};

/* `length` may be 0 here. */
static inline void wire_put(struct wire *w, uint64_t value, unsigned int length)
{
	if ((size_t)(w->end - w->at) < length) {
		w->overflow = true;
		return;
	}
	if (!length)
		return;
	wire_store(w->at, value, length);
	w->at += length;
}
