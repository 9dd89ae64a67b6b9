/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/export/format/fields.h"

#define OF_FLOW (1u << RECORD_FLOW)
#define OF_DROP (1u << RECORD_DROP)
#define OF_ANY	((1u << _RECORD_KIND_MAX) - 1)
#define IN_IPV4 (1u << FAMILY_IPV4)
#define IN_IPV6 (1u << FAMILY_IPV6)
#define IN_ANY	(IN_IPV4 | IN_IPV6)

const struct field flow_fields[_FIELD_MAX] = {
#define FIELD(symbol_, element_, length_, v9_length_, kind_, family_, role_, op_, source_, text_) \
	[FIELD_##symbol_] = { \
		.element = &elements[ELEMENT_##element_], \
		.text = text_, \
		.length = length_, \
		.v9_length = v9_length_, \
		.kinds = OF_##kind_, \
		.families = IN_##family_, \
		.role = FIELD_ROLE_##role_, \
	},
#include "exporter/export/format/fields.def"
};

/* In a record with empty strings. */
enum {
#define FIELD(symbol, element, length, v9_length, ...) \
	IS_STRING_##symbol = (length) == ELEMENT_VARIABLE, \
	LENGTH_##symbol = (length) == ELEMENT_VARIABLE ? 1 : (length), \
	V9_LENGTH_##symbol = v9_length,
#include "exporter/export/format/fields.def"
};

enum {
#define TEMPLATE_BEGIN(symbol, ...) STRINGS_##symbol = 0
#define MEMBER(field)		    +IS_STRING_##field
#define TEMPLATE_END(symbol)	    ,
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
		.variable = STRINGS_##symbol_ > 0, \
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
#define FIELD(symbol, ...) +LENGTH_##symbol
	ALL_FIELDS_LENGTH = 0
#include "exporter/export/format/fields.def"
};

_Static_assert(ALL_FIELDS_LENGTH <= FLOW_RECORD_MAX, "longest record");
_Static_assert(_FIELD_MAX <= 64, "flowKeyIndicator has 64 bits");

#define FIELD(symbol, ...) \
	_Static_assert(!IS_STRING_##symbol || !V9_LENGTH_##symbol, \
		       "v9 has fixed lengths alone: " #symbol);
#include "exporter/export/format/fields.def"

#define TEMPLATE_BEGIN(symbol, id, length, v9_length, text) \
	_Static_assert(RECORD_LENGTH_##symbol == (length), "record length of " #symbol); \
	_Static_assert(V9_RECORD_LENGTH_##symbol == (v9_length), "v9 record length of " #symbol); \
	_Static_assert((id) >= 256, "template id of " #symbol);
#include "exporter/export/format/fields.def"

enum {
#define FIELD(symbol, element, ...) OF_FIELD_##symbol = ELEMENT_##element,
#include "exporter/export/format/fields.def"
};

static inline _unused_ void fields_are_unique(unsigned int field)
{
	switch (field) {
#define FIELD(symbol, element, length, ...) case ELEMENT_##element << 16 | (length):
#include "exporter/export/format/fields.def"
		break;
	}
}

#define TEMPLATE_BEGIN(symbol, ...) \
	static inline _unused_ void members_are_unique_##symbol(unsigned int field) \
	{ \
		switch (field) {
#define MEMBER(field) case OF_FIELD_##field:
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

struct flow_template template_of(const enum field_symbol *fields, unsigned int count)
{
	struct flow_template t = {
		.fields = fields,
		.count = (uint16_t)count,
		.encode = {[PROTOCOL_IPFIX] = encode_ipfix, [PROTOCOL_NETFLOW9] = encode_netflow9},
	};

	for (unsigned int i = 0; i < count; i++) {
		const struct field *field = &flow_fields[fields[i]];
		bool string = field->length == ELEMENT_VARIABLE;

		t.variable |= string;
		t.length[PROTOCOL_IPFIX] += string ? 1 : field->length;
		t.length[PROTOCOL_NETFLOW9] += field->v9_length;
	}
	return t;
}

/* --- Record kinds */

#define BOTH(symbol) \
	{ \
		TEMPLATE_##symbol##IPV4, TEMPLATE_##symbol##IPV6 \
	}

const struct record_format record_formats[_RECORD_KIND_MAX] = {
	[RECORD_FLOW] = {.chosen = true,
			 .templates = {[PROFILE_DEFAULT] = BOTH(),
				       [PROFILE_MINIMAL] = BOTH(MINIMAL_),
				       [PROFILE_EXTENDED] = BOTH(EXTENDED_)}},
	[RECORD_DROP] = {.half = true,
			 .templates = {[PROFILE_DEFAULT] = BOTH(DROP_),
				       [PROFILE_MINIMAL] = BOTH(DROP_),
				       [PROFILE_EXTENDED] = BOTH(DROP_)}},
};

const struct export_interface *flow_interface(const struct flow *f,
					      const struct record_context *context)
{
	static const struct export_interface unknown;
	unsigned int first = 0, end = context->interface_count;

	while (first < end) {
		unsigned int middle = (first + end) / 2;
		const struct export_interface *interface = &context->interfaces[middle];

		if (interface->ifindex == f->key.ifindex)
			return interface;
		if (interface->ifindex < f->key.ifindex)
			first = middle + 1;
		else
			end = middle;
	}
	return &unknown;
}
