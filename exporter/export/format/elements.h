/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The registry of information elements (elements.def) as data: what an element is, whoever writes or reads it
 * (RFC 7012; RFC 5610 for how it is told).
 */
#include <stdint.h>

/* Values as in RFC 5610, so that they can be exported as they are. */
enum element_type {
	ELEMENT_TYPE_U8 = 1,
	ELEMENT_TYPE_U16 = 2,
	ELEMENT_TYPE_U32 = 3,
	ELEMENT_TYPE_U64 = 4,
	ELEMENT_TYPE_MAC = 12,
	ELEMENT_TYPE_STRING = 13,
	ELEMENT_TYPE_MSEC = 15, /* dateTimeMilliseconds */
	ELEMENT_TYPE_IPV4 = 18,
	ELEMENT_TYPE_IPV6 = 19,
};

enum element_semantics {
	ELEMENT_SEMANTICS_DEFAULT = 0,
	ELEMENT_SEMANTICS_QUANTITY = 1,
	ELEMENT_SEMANTICS_TOTAL_COUNTER = 2,
	ELEMENT_SEMANTICS_DELTA_COUNTER = 3,
	ELEMENT_SEMANTICS_IDENTIFIER = 4,
	ELEMENT_SEMANTICS_FLAGS = 5,
};

enum element_units {
	ELEMENT_UNITS_NONE = 0,
	ELEMENT_UNITS_OCTETS = 2,
	ELEMENT_UNITS_PACKETS = 3,
	ELEMENT_UNITS_FLOWS = 4,
	ELEMENT_UNITS_MILLISECONDS = 6,
	ELEMENT_UNITS_MESSAGES = 10,
	ELEMENT_UNITS_HOPS = 11,
};

/* Enterprise number of elements of our own: `pen` in the table, replaced by the one that is set. */
#define ELEMENT_PEN_OWN UINT32_MAX

/* As a length in a template: that of each value stands before it (RFC 7011 section 7). */
#define ELEMENT_VARIABLE 65535

enum element_symbol {
#define ELEMENT(pen, id, name, ...) ELEMENT_##name,
#include "exporter/export/format/elements.def"
	_ELEMENT_MAX,
};

struct element {
	const char *name;
	uint32_t pen; /* 0: IANA; ELEMENT_PEN_OWN */
	uint16_t id;
	uint16_t v9_type; /* field type in NetFlow v9; 0: it has no such field */
	enum element_type type;
	enum element_semantics semantics;
	enum element_units units;
	uint64_t least, greatest; /* range in the registry; 0, 0: all that the type can hold */
};

extern const struct element elements[_ELEMENT_MAX];

/* Octets of a value that is not shortened; ELEMENT_VARIABLE of a string. */
uint16_t element_type_length(enum element_type type);

/* As the registry calls them. */
const char *element_type_name(enum element_type type);
const char *element_semantics_name(enum element_semantics semantics);
const char *element_units_name(enum element_units units);
