/* SPDX-License-Identifier: Apache-2.0 */
/*
 * NetFlow v9 says times in ms of an uptime, and when it was 0 by uptime and wall time in each header.
 * The header's wall time is rounded up to the second, so that no record is younger than it, and the
 * uptime follows from it: when the uptime was 0 is the same in each header.
 */
#include "exporter/export/format/protocol.h"

static uint32_t export_time(uint64_t wall_ms)
{
	return (uint32_t)((wall_ms + 999) / 1000);
}

static void put_header(uint8_t *out, const struct protocol_header *h)
{
	wire_store16(out, 9);
	wire_store16(out + 2, h->records);
	wire_store32(out + 4, (uint32_t)(h->export_time * 1000ull - h->base_ms));
	wire_store32(out + 8, h->export_time);
	wire_store32(out + 12, h->sequence);
	wire_store32(out + 16, h->domain);
}

static void put_field(struct wire *w, const struct field *field, _unused_ uint32_t enterprise)
{
	if (!field->v9_length)
		return;
	wire_put(w, field->element->v9_type, 2);
	wire_put(w, field->v9_length, 2);
}

static void put_options_head(struct wire *w, uint16_t id, unsigned int scopes, unsigned int fields)
{
	wire_put(w, id, 2);
	wire_put(w, 4 * scopes, 2);
	wire_put(w, 4 * (fields - scopes), 2);
}

const struct protocol protocol_netflow9 = {
	.id = PROTOCOL_NETFLOW9,
	.header = 20,
	.sequence_at = 12,
	.set_template = 0,
	.set_options = 1,
	.align = 4,
	.sequence_messages = true,
	.export_time = export_time,
	.put_header = put_header,
	.put_field = put_field,
	.put_options_head = put_options_head,
};
