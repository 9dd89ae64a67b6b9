/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/export/format/elements.h"
#include "exporter/util.h"

const struct element elements[_ELEMENT_MAX] = {
#define ELEMENT(pen_, id_, name_, type_, semantics_, units_, least_, greatest_, v9_type_) \
	[ELEMENT_##name_] = { \
		.name = #name_, \
		.pen = pen_, \
		.id = id_, \
		.v9_type = v9_type_, \
		.type = ELEMENT_TYPE_##type_, \
		.semantics = ELEMENT_SEMANTICS_##semantics_, \
		.units = ELEMENT_UNITS_##units_, \
		.least = least_, \
		.greatest = greatest_, \
	},
#include "exporter/export/format/elements.def"
};

/* Checked by the compiler, to which equal cases are an error.  An element of ours and one of IANA's are two. */
static inline _unused_ void numbers_are_unique(unsigned int number)
{
	switch (number) {
#define ELEMENT(pen, id, ...) case ((pen) != 0) << 15 | (id):
#include "exporter/export/format/elements.def"
		break;
	}
}

static const struct {
	const char *name;
	uint16_t length;
} types[] = {
	[ELEMENT_TYPE_U8] = {"unsigned8", 1},
	[ELEMENT_TYPE_U16] = {"unsigned16", 2},
	[ELEMENT_TYPE_U32] = {"unsigned32", 4},
	[ELEMENT_TYPE_U64] = {"unsigned64", 8},
	[ELEMENT_TYPE_MAC] = {"macAddress", 6},
	[ELEMENT_TYPE_STRING] = {"string", ELEMENT_VARIABLE},
	[ELEMENT_TYPE_MSEC] = {"dateTimeMilliseconds", 8},
	[ELEMENT_TYPE_IPV4] = {"ipv4Address", 4},
	[ELEMENT_TYPE_IPV6] = {"ipv6Address", 16},
};

static const char *const semantics_names[] = {
	[ELEMENT_SEMANTICS_DEFAULT] = "default",
	[ELEMENT_SEMANTICS_QUANTITY] = "quantity",
	[ELEMENT_SEMANTICS_TOTAL_COUNTER] = "totalCounter",
	[ELEMENT_SEMANTICS_DELTA_COUNTER] = "deltaCounter",
	[ELEMENT_SEMANTICS_IDENTIFIER] = "identifier",
	[ELEMENT_SEMANTICS_FLAGS] = "flags",
};

static const char *const units_names[] = {
	[ELEMENT_UNITS_NONE] = "none",
	[ELEMENT_UNITS_OCTETS] = "octets",
	[ELEMENT_UNITS_PACKETS] = "packets",
	[ELEMENT_UNITS_FLOWS] = "flows",
	[ELEMENT_UNITS_MILLISECONDS] = "milliseconds",
	[ELEMENT_UNITS_MESSAGES] = "messages",
	[ELEMENT_UNITS_HOPS] = "hops",
};

uint16_t element_type_length(enum element_type type)
{
	return types[type].length;
}

const char *element_type_name(enum element_type type)
{
	return types[type].name;
}

const char *element_semantics_name(enum element_semantics semantics)
{
	return semantics_names[semantics];
}

const char *element_units_name(enum element_units units)
{
	return units_names[units];
}
