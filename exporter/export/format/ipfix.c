/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/export/format/protocol.h"

static uint32_t export_time(uint64_t wall_ms)
{
	return (uint32_t)(wall_ms / 1000);
}

static void put_header(uint8_t *out, const struct protocol_header *h)
{
	wire_store16(out, 10);
	wire_store16(out + 2, h->length);
	wire_store32(out + 4, h->export_time);
	wire_store32(out + 8, h->sequence);
	wire_store32(out + 12, h->domain);
}

static void put_field(struct wire *w, const struct field *field, uint32_t enterprise)
{
	const struct element *element = field->element;

	wire_put(w, element->id | (element->pen ? ENTERPRISE_BIT : 0), 2);
	wire_put(w, field->length, 2);
	if (element->pen)
		wire_put(w, element->pen == ELEMENT_PEN_OWN ? enterprise : element->pen, 4);
}

static void put_options_head(struct wire *w, uint16_t id, unsigned int scopes, unsigned int fields)
{
	wire_put(w, id, 2);
	wire_put(w, fields, 2);
	wire_put(w, scopes, 2);
}

const struct protocol protocol_ipfix = {
	.id = PROTOCOL_IPFIX,
	.header = 16,
	.sequence_at = 8,
	.set_template = 2,
	.set_options = 3,
	.align = 1,
	.export_time = export_time,
	.put_header = put_header,
	.put_field = put_field,
	.put_options_head = put_options_head,
};
