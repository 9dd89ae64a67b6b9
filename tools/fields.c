/* SPDX-License-Identifier: Apache-2.0 */
/* Writes docs/fields.md from the field table; a test compares the page with it. */
#include <stdio.h>
#include "exporter/export/format/fields.h"

static void print_template(const struct flow_template *t)
{
	printf("\n## Template %u: %s\n\n%u octets a record, %u in NetFlow v9.\n\n", t->id, t->text,
	       t->length[PROTOCOL_IPFIX], t->length[PROTOCOL_NETFLOW9]);
	printf("| # | Element | Id | Type | Octets | v9 field (octets) | Semantics | Units | Meaning |\n");
	printf("|--:|---------|---:|------|-------:|------------------:|-----------|-------|---------|\n");
	for (unsigned int i = 0; i < t->count; i++) {
		const struct field *field = &flow_fields[t->fields[i]];

		printf("| %u | %s | ", i + 1, field->name);
		if (field->pen)
			printf("own/");
		printf("%u | %s | %u | ", field->id, field_type_name(field->type), field->length);
		if (field->v9_length)
			printf("%u (%u)", field->v9_type, field->v9_length);
		else
			printf("none");
		printf(" | %s | %s | %s |\n", field_semantics_name(field->semantics),
		       field_units_name(field->units), field->text);
	}
}

int main(void)
{
	printf("<!-- Generated from exporter/export/format/fields.def: "
	       "ninja -C build tools/fields.md && cp build/tools/fields.md docs/ -->\n"
	       "# Fields of a flow record\n\n"
	       "IPFIX and NetFlow v9 records hold these elements, in this order. JSON lines have the same names\n"
	       "as keys: addresses are strings, all else integers. Elements are those of the IANA registry but\n"
	       "for own/N, which are of the enterprise number of `--enterprise`. A template never changes under\n"
	       "its id.\n\n"
	       "`--template` chooses among the profiles, or lists elements by these names; tcpControlBits:2 is\n"
	       "the element with that length.\n\n"
	       "Counters and times are those since the flow's previous record, if it had one. Fields that are\n"
	       "not counted or combined (MAC addresses, class of service, flow label) are those of the first\n"
	       "packet.\n");
	for (unsigned int t = 0; t < _TEMPLATE_MAX; t++)
		print_template(&flow_templates[t]);
	return 0;
}
