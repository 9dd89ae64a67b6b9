/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>
#include "exporter/export/format/option_data.h"
#include "exporter/export/format/utf8.h"
#include "exporter/util.h"

#define INTERFACE_NAME_MAX 16 /* octets on the wire, as IFNAMSIZ */
#define INTERFACE_TEXT_MAX 64
#define STRING_MAX	   64 /* octets of a string of variable length, which one octet of length can say */

/* Scopes of NetFlow v9. */
#define V9_SYSTEM    1
#define V9_INTERFACE 2
#define V9_TEMPLATE  5

/* Strings of interfaces have a fixed length, since nfdump does not read others in options. */
struct option_field {
	enum element_symbol element;
	uint16_t v9_scope; /* what it is as a scope of NetFlow v9; 0: a field, if the element has a type there */
	uint16_t length; /* octets; 0: as the element's type has it */
	bool last;	 /* the later of two times */
};

struct option_template {
	uint16_t id;
	uint8_t scopes; /* the first fields, those that the protocol has */
	uint8_t v9_scopes;
	const struct option_field *fields;
	unsigned int count;
};

/*
 * samplingInterval alone is what nfdump reads; the record by RFC 5476 says the same for others.  Both
 * say that each packet is metered.
 */
static const struct option_field sampling[] = {
	{ELEMENT_observationDomainId, V9_SYSTEM},
	{ELEMENT_samplingInterval},
};
static const struct option_field selector[] = {
	{ELEMENT_selectorId},
	{ELEMENT_selectorAlgorithm},
	{ELEMENT_samplingPacketInterval},
	{ELEMENT_samplingPacketSpace},
};
/* With the interface in the scope nfdump does not find the names. */
static const struct option_field interfaces[] = {
	{ELEMENT_observationDomainId},
	{ELEMENT_ingressInterface, V9_INTERFACE},
	{ELEMENT_interfaceName, .length = INTERFACE_NAME_MAX},
	{ELEMENT_interfaceDescription, .length = INTERFACE_TEXT_MAX},
};
static const struct option_field metering_statistics[] = {
	{ELEMENT_observationDomainId, V9_SYSTEM}, {ELEMENT_meteringProcessId},
	{ELEMENT_exportedMessageTotalCount},	  {ELEMENT_exportedFlowRecordTotalCount},
	{ELEMENT_exportedOctetTotalCount},
};
static const struct option_field metering_reliability[] = {
	{ELEMENT_observationDomainId, V9_SYSTEM},
	{ELEMENT_meteringProcessId},
	{ELEMENT_ignoredPacketTotalCount},
	{ELEMENT_ignoredOctetTotalCount},
	{ELEMENT_observationTimeMilliseconds},
	{ELEMENT_observationTimeMilliseconds, .last = true},
};
static const struct option_field exporting_reliability[] = {
	{ELEMENT_exportingProcessId, V9_SYSTEM},
	{ELEMENT_notSentFlowTotalCount},
	{ELEMENT_notSentPacketTotalCount},
	{ELEMENT_notSentOctetTotalCount},
	{ELEMENT_observationTimeMilliseconds},
	{ELEMENT_observationTimeMilliseconds, .last = true},
};
static const struct option_field flow_keys[] = {
	{ELEMENT_templateId, V9_TEMPLATE},
	{ELEMENT_flowKeyIndicator},
};
static const struct option_field types[] = {
	{ELEMENT_privateEnterpriseNumber},    {ELEMENT_informationElementId},
	{ELEMENT_informationElementDataType}, {ELEMENT_informationElementSemantics},
	{ELEMENT_informationElementUnits},    {ELEMENT_informationElementName},
};

#define TEMPLATE(id_, scopes_, v9_scopes_, fields_) \
	{ \
		.id = id_, .scopes = scopes_, .v9_scopes = v9_scopes_, .fields = fields_, \
		.count = ARRAY_SIZE(fields_), \
	}

static const struct option_template templates[_OPTIONS_MAX] = {
	[OPTIONS_SAMPLING] = TEMPLATE(513, 1, 1, sampling),
	[OPTIONS_SELECTOR] = TEMPLATE(512, 1, 0, selector),
	[OPTIONS_INTERFACES] = TEMPLATE(514, 1, 1, interfaces),
	[OPTIONS_METERING_STATISTICS] = TEMPLATE(515, 2, 1, metering_statistics),
	[OPTIONS_METERING_RELIABILITY] = TEMPLATE(516, 2, 1, metering_reliability),
	[OPTIONS_EXPORTING_RELIABILITY] = TEMPLATE(517, 1, 1, exporting_reliability),
	[OPTIONS_FLOW_KEYS] = TEMPLATE(519, 1, 1, flow_keys),
	[OPTIONS_TYPES] = TEMPLATE(520, 2, 0, types),
};

static uint16_t v9_type(const struct option_field *field)
{
	return field->v9_scope ? field->v9_scope : elements[field->element].v9_type;
}

static bool in_protocol(const struct option_field *field, const struct protocol *p)
{
	return p->id == PROTOCOL_IPFIX || v9_type(field);
}

static uint16_t octets(const struct option_field *field)
{
	return field->length ? field->length : element_type_length(elements[field->element].type);
}

bool option_exists(enum option_template_symbol t, const struct protocol *p)
{
	return p->id == PROTOCOL_IPFIX || templates[t].v9_scopes;
}

uint16_t option_template_id(enum option_template_symbol t)
{
	return templates[t].id;
}

unsigned int option_record_max(enum option_template_symbol t, const struct protocol *p)
{
	unsigned int length = 0;

	for (unsigned int i = 0; i < templates[t].count; i++) {
		const struct option_field *field = &templates[t].fields[i];

		if (in_protocol(field, p))
			length += octets(field) == ELEMENT_VARIABLE ? 1 + STRING_MAX
								    : octets(field);
	}
	return length;
}

uint8_t *set_begin(struct wire *w, uint16_t id)
{
	uint8_t *begin = w->at;

	wire_put(w, id, 2);
	wire_put(w, 0, 2); /* length: at the end */
	return begin;
}

void set_end(struct wire *w, uint8_t *begin, const struct protocol *p)
{
	wire_put(w, 0, protocol_padding(p, (unsigned int)(w->at - begin)));
	if (!w->overflow)
		wire_store16(begin + 2, (uint16_t)(w->at - begin));
}

void option_put_template(struct wire *w, enum option_template_symbol t, const struct protocol *p)
{
	const struct option_template *template = &templates[t];
	uint8_t *set = set_begin(w, p->set_options);
	bool v9 = p->id == PROTOCOL_NETFLOW9;
	unsigned int fields = 0;

	for (unsigned int i = 0; i < template->count; i++)
		fields += in_protocol(&template->fields[i], p);
	p->put_options_head(w, template->id, v9 ? template->v9_scopes : template->scopes, fields);
	for (unsigned int i = 0; i < template->count; i++) {
		const struct option_field *field = &template->fields[i];

		if (!in_protocol(field, p))
			continue;
		wire_put(w, v9 ? v9_type(field) : elements[field->element].id, 2);
		wire_put(w, octets(field), 2);
	}
	set_end(w, set, p);
}

static void put_string(struct wire *w, const char *text, uint16_t length)
{
	uint8_t cleaned[STRING_MAX] = "";
	size_t used = utf8_fit(text ? text : "", MIN(length, (uint16_t)STRING_MAX));

	utf8_copy(cleaned, text, used);
	if (length == ELEMENT_VARIABLE) {
		wire_put(w, used, 1);
		length = (uint16_t)used;
	}
	for (unsigned int i = 0; i < length; i++)
		wire_put(w, cleaned[i], 1);
}

void option_put_record(struct wire *w, enum option_template_symbol t, const struct protocol *p,
		       const struct option_values *values)
{
	for (unsigned int i = 0; i < templates[t].count; i++) {
		const struct option_field *field = &templates[t].fields[i];

		if (!in_protocol(field, p))
			continue;
		if (elements[field->element].type == ELEMENT_TYPE_STRING)
			put_string(w, values->string[field->element], octets(field));
		else
			wire_put(w, field->last ? values->last_ms : values->number[field->element],
				 octets(field));
	}
}

_Static_assert(INTERFACE_TEXT_MAX <= STRING_MAX, "put_string() has room");
