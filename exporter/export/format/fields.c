/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/export/format/fields.h"

const struct field flow_fields[_FIELD_MAX] = {
#define FIELD(symbol_, pen_, id_, name_, type_, length_, v9_type_, v9_length_, op_, source_, \
	      role_, semantics_, units_, text_) \
	[FIELD_##symbol_] = { \
		.name = #name_, \
		.text = text_, \
		.pen = pen_, \
		.id = id_, \
		.length = length_, \
		.v9_type = v9_type_, \
		.v9_length = v9_length_, \
		.type = FIELD_TYPE_##type_, \
		.role = FIELD_ROLE_##role_, \
		.semantics = FIELD_SEMANTICS_##semantics_, \
		.units = FIELD_UNITS_##units_, \
	},
#include "exporter/export/format/fields.def"
};

#define TEMPLATE_BEGIN(symbol, ...) static const enum field_symbol members_##symbol[] = {
#define MEMBER(field)		    FIELD_##field,
#define TEMPLATE_END(symbol) \
	} \
	;
#include "exporter/export/format/fields.def"

const struct flow_template flow_templates[_TEMPLATE_MAX] = {
#define TEMPLATE_BEGIN(symbol_, id_, length_, v9_length_, text_) \
	[TEMPLATE_##symbol_] = { \
		.text = text_, \
		.fields = members_##symbol_, \
		.id = id_, \
		.count = ARRAY_SIZE(members_##symbol_), \
		.length = {[PROTOCOL_IPFIX] = length_, [PROTOCOL_NETFLOW9] = v9_length_}, \
		.encode = {[PROTOCOL_IPFIX] = encode_ipfix_##symbol_, \
			   [PROTOCOL_NETFLOW9] = encode_netflow9_##symbol_}, \
	},
#include "exporter/export/format/fields.def"
};

/*
 * Checked by the compiler: the lengths add up, and (equal cases of a switch are an error) no element
 * is in the table twice with one length, none in a template twice, no template id used twice.
 */
enum {
#define FIELD(symbol, pen, id, name, type, length, v9_type, v9_length, ...) \
	LENGTH_##symbol = length, V9_LENGTH_##symbol = v9_length,
#include "exporter/export/format/fields.def"
};

enum {
#define TEMPLATE_BEGIN(symbol, ...) RECORD_LENGTH_##symbol = 0
#define MEMBER(field)		    +LENGTH_##field
#define TEMPLATE_END(symbol)	    ,
#include "exporter/export/format/fields.def"
};

enum {
#define TEMPLATE_BEGIN(symbol, ...) V9_RECORD_LENGTH_##symbol = 0
#define MEMBER(field)		    +V9_LENGTH_##field
#define TEMPLATE_END(symbol)	    ,
#include "exporter/export/format/fields.def"
};

enum {
#define FIELD(symbol, pen, id, name, type, length, ...) +(length)
	ALL_FIELDS_LENGTH = 0
#include "exporter/export/format/fields.def"
};

_Static_assert(ALL_FIELDS_LENGTH <= FLOW_RECORD_MAX, "longest record");
_Static_assert(_FIELD_MAX <= 64, "flowKeyIndicator has 64 bits");

#define TEMPLATE_BEGIN(symbol, id, length, v9_length, text) \
	_Static_assert(RECORD_LENGTH_##symbol == (length), "record length of " #symbol); \
	_Static_assert(V9_RECORD_LENGTH_##symbol == (v9_length), "v9 record length of " #symbol); \
	_Static_assert((id) >= 256, "template id of " #symbol);
#include "exporter/export/format/fields.def"

/* An element of ours and one of IANA's with the same number are two. */
enum {
#define FIELD(symbol, pen, id, ...) ELEMENT_##symbol = ((pen) != 0) << 15 | (id),
#include "exporter/export/format/fields.def"
};

static inline _unused_ void elements_are_unique(unsigned int element)
{
	switch (element) {
#define FIELD(symbol, pen, id, name, type, length, ...) case ELEMENT_##symbol << 8 | (length):
#include "exporter/export/format/fields.def"
		break;
	}
}

#define TEMPLATE_BEGIN(symbol, ...) \
	static inline _unused_ void members_are_unique_##symbol(unsigned int field) \
	{ \
		switch (field) {
#define MEMBER(field) case ELEMENT_##field:
#define TEMPLATE_END(symbol) \
	break; \
	} \
	}
#include "exporter/export/format/fields.def"

static inline _unused_ void templates_are_unique(unsigned int template_id)
{
	switch (template_id) {
#define TEMPLATE_BEGIN(symbol, id, ...) case id:
#include "exporter/export/format/fields.def"
		break;
	}
}

const char *field_type_name(enum field_type type)
{
	switch (type) {
	case FIELD_TYPE_U8:
		return "unsigned8";
	case FIELD_TYPE_U16:
		return "unsigned16";
	case FIELD_TYPE_U32:
		return "unsigned32";
	case FIELD_TYPE_U64:
		return "unsigned64";
	case FIELD_TYPE_MAC:
		return "macAddress";
	case FIELD_TYPE_STRING:
		return "string";
	case FIELD_TYPE_MSEC:
		return "dateTimeMilliseconds";
	case FIELD_TYPE_IPV4:
		return "ipv4Address";
	case FIELD_TYPE_IPV6:
		return "ipv6Address";
	}
	return "unknown";
}

const char *field_semantics_name(enum field_semantics semantics)
{
	switch (semantics) {
	case FIELD_SEMANTICS_DEFAULT:
		return "default";
	case FIELD_SEMANTICS_QUANTITY:
		return "quantity";
	case FIELD_SEMANTICS_DELTA_COUNTER:
		return "deltaCounter";
	case FIELD_SEMANTICS_IDENTIFIER:
		return "identifier";
	case FIELD_SEMANTICS_FLAGS:
		return "flags";
	}
	return "unknown";
}

const char *field_units_name(enum field_units units)
{
	switch (units) {
	case FIELD_UNITS_NONE:
		return "none";
	case FIELD_UNITS_OCTETS:
		return "octets";
	case FIELD_UNITS_PACKETS:
		return "packets";
	case FIELD_UNITS_MILLISECONDS:
		return "milliseconds";
	case FIELD_UNITS_HOPS:
		return "hops";
	}
	return "unknown";
}
