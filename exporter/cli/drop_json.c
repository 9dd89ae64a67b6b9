/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <net/if.h>
#include "exporter/cli/drop_text.h"
#include "exporter/cli/text.h"
#include "exporter/export/format/json.h"

static const enum field_symbol reason_fields[] = {
	FIELD_START,	       FIELD_END,	  FIELD_FORWARDING_STATUS, FIELD_DROPPED_OCTETS,
	FIELD_DROPPED_PACKETS, FIELD_DROP_REASON, FIELD_DROP_REASON_NAME,
};
static const enum field_symbol interface_fields[] = {
	FIELD_DIRECTION,   FIELD_INGRESS_IF,	    FIELD_EGRESS_IF,	  FIELD_START,
	FIELD_END,	   FIELD_FORWARDING_STATUS, FIELD_DROPPED_OCTETS, FIELD_DROPPED_PACKETS,
	FIELD_DROP_REASON, FIELD_DROP_REASON_NAME,
};

static struct flow_template make_template(enum drops_by by, const struct flow_key *key)
{
	if (by == DROPS_BY_REASON)
		return template_of(reason_fields, ARRAY_SIZE(reason_fields));
	if (by == DROPS_BY_INTERFACE)
		return template_of(interface_fields, ARRAY_SIZE(interface_fields));
	return flow_templates[key->kind & FLOW_IPV6 ? TEMPLATE_DROP_IPV6 : TEMPLATE_DROP_IPV4];
}

/* A name has neither blanks nor slashes, but may have quotes. */
static void print_name(FILE *file, uint32_t ifindex)
{
	char name[IF_NAMESIZE];

	if (!ifindex || !if_indextoname(ifindex, name))
		return;
	text_make_printable(name);
	fprintf(file, ",\"interfaceName\":\"");
	for (const char *c = name; *c; c++)
		fprintf(file, *c == '"' || *c == '\\' ? "\\%c" : "%c", *c);
	fputc('"', file);
}

void drop_print_json(FILE *file, const struct drop_view *view, const struct drop_row *row)
{
	const struct record_context context = {.offset_ns = view->clock_offset_ns};
	const struct flow_template template = make_template(view->by, &row->key);
	struct flow flow = {
		.key = row->key,
		.record = {.packets = row->packets,
			   .octets = row->octets,
			   .first_ns = row->first_ns,
			   .last_ns = row->last_ns,
			   .tos = row->tos},
	};
	uint8_t record[JSON_RECORD_MAX];
	unsigned int cut;
	char line[JSON_LINE_MAX];
	size_t length;

	if (row->key.kind & FLOW_DROP) {
		flow.drop =
			drop_reasons_get(view->reasons, drop_reason_unpack(row->key.drop_reason));
		record_encode(record, sizeof(record), &template, PROTOCOL_IPFIX, &flow, &context, &cut);
		length = json_record(line, &template, record, flow.drop);
		fwrite(line, 1, length - 2, file); /* without "}\n" */
		print_name(file, row->key.ifindex);
	} else {
		fprintf(file,
			"{\"others\":true,\"droppedOctetDeltaCount\":%" PRIu64
			",\"droppedPacketDeltaCount\":%" PRIu64,
			row->octets, row->packets);
	}
	fprintf(file, ",\"droppedPacketTotalCount\":%" PRIu64 ",\"packetsPerSecond\":%.1f}\n",
		row->total_packets, (double)row->packets / view->seconds);
}
