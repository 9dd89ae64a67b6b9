/* SPDX-License-Identifier: Apache-2.0 */
/* Writes docs/fields.md from the tables of elements and fields; a test compares the page with it. */
#include <stdio.h>
#include "exporter/export/format/fields.h"

static void print_field(const struct field *field)
{
	const struct element *element = field->element;

	printf("| %s | %s%u | %s | ", element->name, element->pen ? "own/" : "", element->id,
	       element_type_name(element->type));
	if (field->length == ELEMENT_VARIABLE)
		printf("variable | ");
	else
		printf("%u | ", field->length);
	if (field->v9_length)
		printf("%u (%u)", element->v9_type, field->v9_length);
	else
		printf("none");
	printf(" | %s | %s | %s |\n", element_semantics_name(element->semantics),
	       element_units_name(element->units), field->text);
}

static bool in_template(enum field_symbol symbol)
{
	for (unsigned int t = 0; t < _TEMPLATE_MAX; t++)
		for (unsigned int i = 0; i < flow_templates[t].count; i++)
			if (flow_templates[t].fields[i] == symbol)
				return true;
	return false;
}

static void print_others(void)
{
	printf("\n## On request\n\nThese are in no template of the profiles; a list of elements can have them.\n\n");
	printf("| Element | Id | Type | Octets | v9 field (octets) | Semantics | Units | Meaning |\n");
	printf("|---------|---:|------|-------:|------------------:|-----------|-------|---------|\n");
	for (unsigned int i = 0; i < _FIELD_MAX; i++)
		if (!in_template((enum field_symbol)i))
			print_field(&flow_fields[i]);
}

static void print_template(const struct flow_template *t)
{
	printf("\n## Template %u: %s\n\n%u octets a record%s, %u in NetFlow v9.\n\n", t->id,
	       t->text, t->length[PROTOCOL_IPFIX], t->variable ? " and what is in its strings" : "",
	       t->length[PROTOCOL_NETFLOW9]);
	printf("| # | Element | Id | Type | Octets | v9 field (octets) | Semantics | Units | Meaning |\n");
	printf("|--:|---------|---:|------|-------:|------------------:|-----------|-------|---------|\n");
	for (unsigned int i = 0; i < t->count; i++) {
		const struct field *field = &flow_fields[t->fields[i]];

		printf("| %u ", i + 1);
		print_field(field);
	}
}

int main(void)
{
	printf("<!-- Generated from exporter/export/format/fields.def and elements.def: "
	       "ninja -C build tools/fields.md && cp build/tools/fields.md docs/ -->\n"
	       "# Fields of a flow record\n\n"
	       "IPFIX and NetFlow v9 records hold these elements, in this order. JSON lines have the same names\n"
	       "as keys: addresses and text are strings, all else integers. Elements are those of the IANA registry but\n"
	       "for own/N, which are of the enterprise number of `--enterprise`. A template never changes under\n"
	       "its id.\n\n"
	       "`--template` chooses among the profiles, or lists elements by these names; tcpControlBits:2 is\n"
	       "the element with that length.\n\n"
	       "Counters and times are those since the flow's previous record, if it had one. Fields that are\n"
	       "not counted or combined (MAC addresses, class of service, flow label) are those of the first\n"
	       "packet.\n\n"
	       "Strings are UTF-8 and of variable length (RFC 7011, section 7): 65535 in the template, in each\n"
	       "record their octets and one octet, or three from 255 on, for the length. NetFlow v9 has fixed\n"
	       "lengths alone and leaves them out.\n");
	for (unsigned int t = 0; t < _TEMPLATE_MAX; t++)
		print_template(&flow_templates[t]);
	print_others();
	return 0;
}
