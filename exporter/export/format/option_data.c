/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>
#include "exporter/export/format/option_data.h"
#include "exporter/util.h"

#define VARIABLE 65535
#define STRING_MAX \
	64 /* octets of a string of variable length; 254 is what one length octet can say */

/* Scopes of NetFlow v9. */
#define V9_SYSTEM    1
#define V9_INTERFACE 2
#define V9_TEMPLATE  5

/* v9_type 0: not in NetFlow v9.  Strings have a fixed length, since nfdump does not read others in options. */
struct option_field {
	uint16_t id;
	uint16_t length;
	uint16_t v9_type;
	enum option_value value;
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
	{149, 4, V9_SYSTEM, OPTION_DOMAIN},
	{34, 4, 34, OPTION_SAMPLING_INTERVAL},
};
static const struct option_field selector[] = {
	{302, 8, 0, OPTION_SELECTOR},
	{304, 2, 0, OPTION_SELECTOR_ALGORITHM},
	{305, 4, 0, OPTION_SAMPLED},
	{306, 4, 0, OPTION_SPACE},
};
/* With the interface in the scope nfdump does not find the names. */
static const struct option_field interfaces[] = {
	{149, 4, 0, OPTION_DOMAIN},
	{10, 4, V9_INTERFACE, OPTION_IFINDEX},
	{82, OPTION_INTERFACE_NAME_MAX, 82, OPTION_IFNAME},
	{83, OPTION_INTERFACE_TEXT_MAX, 83, OPTION_IFTEXT},
};
static const struct option_field metering_statistics[] = {
	{149, 4, V9_SYSTEM, OPTION_DOMAIN}, {143, 4, 0, OPTION_PROCESS},
	{41, 8, 41, OPTION_MESSAGES},	    {42, 8, 42, OPTION_RECORDS},
	{40, 8, 40, OPTION_OCTETS},
};
static const struct option_field metering_reliability[] = {
	{149, 4, V9_SYSTEM, OPTION_DOMAIN}, {143, 4, 0, OPTION_PROCESS},
	{164, 8, 164, OPTION_PACKETS},	    {165, 8, 165, OPTION_OCTETS},
	{323, 8, 0, OPTION_FIRST_MS},	    {323, 8, 0, OPTION_LAST_MS},
};
static const struct option_field exporting_reliability[] = {
	{144, 4, V9_SYSTEM, OPTION_PROCESS}, {166, 8, 166, OPTION_RECORDS},
	{167, 8, 167, OPTION_PACKETS},	     {168, 8, 168, OPTION_OCTETS},
	{323, 8, 0, OPTION_FIRST_MS},	     {323, 8, 0, OPTION_LAST_MS},
};
static const struct option_field flow_keys[] = {
	{145, 2, V9_TEMPLATE, OPTION_TEMPLATE},
	{173, 8, 173, OPTION_KEYS},
};
static const struct option_field types[] = {
	{346, 4, 0, OPTION_ENTERPRISE}, {303, 2, 0, OPTION_ELEMENT},
	{339, 1, 0, OPTION_TYPE},	{344, 1, 0, OPTION_SEMANTICS},
	{345, 2, 0, OPTION_UNITS},	{341, VARIABLE, 0, OPTION_NAME},
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

static bool in_protocol(const struct option_field *field, const struct protocol *p)
{
	return p->id == PROTOCOL_IPFIX || field->v9_type;
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
			length += field->length == VARIABLE ? 1 + STRING_MAX : field->length;
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
		wire_put(w, v9 ? field->v9_type : field->id, 2);
		wire_put(w, field->length, 2);
	}
	set_end(w, set, p);
}

/* --- Strings */

/* Octets of the UTF-8 character at the start of the text, 0 when there is none. */
static unsigned int character(const unsigned char *s)
{
	unsigned int length = s[0] < 0x80 ? 1 : s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;

	if (s[0] >= 0x80 && (s[0] < 0xc2 || s[0] > 0xf4))
		return 0;
	for (unsigned int i = 1; i < length; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	/* Longer than it need be, a surrogate, or beyond Unicode. */
	if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) ||
	    (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
		return 0;
	return length;
}

/* Well-formed UTF-8 of `max` octets at most: what is not becomes '?'.  Returns the octets. */
static unsigned int clean(const char *text, char *out, unsigned int max)
{
	const unsigned char *s = (const unsigned char *)text;
	unsigned int used = 0;

	while (*s) {
		unsigned int length = character(s);

		if (used + MAX(length, 1u) > max)
			break;
		if (length)
			memcpy(out + used, s, length);
		else
			out[used] = '?';
		length = MAX(length, 1u);
		used += length;
		s += length;
	}
	return used;
}

static void put_octets(struct wire *w, const char *octets, unsigned int length)
{
	for (unsigned int i = 0; i < length; i++)
		wire_put(w, (unsigned char)octets[i], 1);
}

static void put_string(struct wire *w, const char *text, uint16_t length)
{
	char octets[STRING_MAX] = "";
	unsigned int used = clean(text ? text : "", octets, MIN(length, (unsigned int)STRING_MAX));

	if (length == VARIABLE) {
		wire_put(w, used, 1);
		put_octets(w, octets, used);
	} else {
		put_octets(w, octets, length);
	}
}

static bool is_string(enum option_value value)
{
	return value == OPTION_IFNAME || value == OPTION_IFTEXT || value == OPTION_NAME;
}

void option_put_record(struct wire *w, enum option_template_symbol t, const struct protocol *p,
		       const struct option_values *values)
{
	for (unsigned int i = 0; i < templates[t].count; i++) {
		const struct option_field *field = &templates[t].fields[i];

		if (!in_protocol(field, p))
			continue;
		if (is_string(field->value))
			put_string(w, values->string[field->value], field->length);
		else
			wire_put(w, values->number[field->value], field->length);
	}
}

_Static_assert(OPTION_INTERFACE_TEXT_MAX <= STRING_MAX, "put_string() has room");
