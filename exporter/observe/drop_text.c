/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <net/if.h>
#include <string.h>
#include "exporter/export/format/utf8.h"
#include "exporter/export/format/json.h"
#include "exporter/log.h"
#include "exporter/observe/drop_text.h"
#include "exporter/observe/record_view.h"
#include "exporter/observe/text.h"

/* A row's cells, as text. */
struct cells {
	char protocol[TEXT_NUMBER_MAX], source[TEXT_ENDPOINT_MAX], destination[TEXT_ENDPOINT_MAX];
	char interface[IF_NAMESIZE];
	const char *names[4]; /* protocol, source, destination, interface */
	const char *direction, *class, *reason, *explanation;
};

/* "UDP/53", and "ICMP" where there are no ports. */
static const char *print_service(char text[TEXT_ENDPOINT_MAX], const struct flow_key *key)
{
	char protocol[TEXT_NUMBER_MAX];
	const char *name = text_protocol(protocol, key->protocol);

	if (record_view_has_ports(key->protocol))
		snprintf(text, TEXT_ENDPOINT_MAX, "%s/%u", name, ntohs(key->dst_port));
	else
		snprintf(text, TEXT_ENDPOINT_MAX, "%s", name);
	return text;
}

static void fill_cells(struct cells *c, const struct drop_view *view, const struct drop_row *row)
{
	const struct flow_key *key = &row->key;
	const struct drop_reason *reason;

	*c = (struct cells){
		.names = {"-", "-", "-", "-"},
		.direction = "-",
		.class = "-",
		.reason = "others",
		.explanation = "Those for which there was no room in the table",
	};
	if (!(key->kind & FLOW_DROP))
		return;
	reason = drop_reasons_get(view->reasons, drop_reason_unpack(key->drop_reason));
	c->class = drop_class_name(reason->class);
	c->reason = reason->name;
	c->explanation = reason->explanation;
	if (view->by == DROPS_BY_FLOW || view->by == DROPS_BY_INTERFACE) {
		c->direction = key->kind & FLOW_EGRESS ? "out" : "in";
		c->names[3] = text_interface(c->interface, key->ifindex);
	}
	if (view->by == DROPS_BY_FLOW) {
		c->names[0] = text_protocol(c->protocol, key->protocol);
		c->names[1] = text_endpoint(c->source, key, true, TEXT_IPV6_WIDTH);
		c->names[2] = text_endpoint(c->destination, key, false, TEXT_IPV6_WIDTH);
	}
	if (view->by == DROPS_BY_SERVICE)
		c->names[0] = print_service(c->source, key);
}

/* --- Lines. */

static void print_place(FILE *file, enum drops_by by, const char *const names[4],
			const char *direction)
{
	if (by == DROPS_BY_FLOW)
		fprintf(file, "%-5s %-*s %-*s ", names[0], TEXT_IPV4_WIDTH, names[1],
			TEXT_IPV4_WIDTH, names[2]);
	if (by == DROPS_BY_SERVICE)
		fprintf(file, "%-11s ", names[0]);
	if (by == DROPS_BY_FLOW || by == DROPS_BY_INTERFACE)
		fprintf(file, "%-3s %-9s ", direction, names[3]);
}

void drop_print_columns(FILE *file, const struct drop_view *view)
{
	fprintf(file, "TIME     ");
	print_place(file, view->by,
		    (const char *const[]){view->by == DROPS_BY_SERVICE ? "SERVICE" : "PROTO",
					  "SOURCE", "DESTINATION", "INTERFACE"},
		    "DIR");
	fprintf(file, "%9s %9s %9s %-11s %-20s %s\n", "PACKETS", "PKT/s", "TOTAL", "CLASS",
		"REASON", "EXPLANATION");
}

void drop_print_line(FILE *file, const struct drop_view *view, const struct drop_row *row)
{
	time_t time =
		(time_t)(((int64_t)row->last_ns + view->clock_offset_ns) / (int64_t)NSEC_PER_SEC);
	struct tm tm = {0};
	struct cells c;

	localtime_r(&time, &tm);
	fill_cells(&c, view, row);
	fprintf(file, "%02d:%02d:%02d ", tm.tm_hour, tm.tm_min, tm.tm_sec);
	print_place(file, view->by, c.names, c.direction);
	fprintf(file, "%9" PRIu64 " %9.1f %9" PRIu64 " %-11s %-20s %s\n", row->packets,
		(double)row->packets / view->seconds, row->total_packets, c.class, c.reason,
		c.explanation);
}

/* --- Lines of JSON. */

static const enum field_symbol reason_fields[] = {
	FIELD_START,	       FIELD_END,	  FIELD_FORWARDING_STATUS, FIELD_DROPPED_OCTETS,
	FIELD_DROPPED_PACKETS, FIELD_DROP_REASON, FIELD_DROP_REASON_NAME,
};
static const enum field_symbol interface_fields[] = {
	FIELD_DIRECTION,   FIELD_INGRESS_IF,	    FIELD_EGRESS_IF,	  FIELD_START,
	FIELD_END,	   FIELD_FORWARDING_STATUS, FIELD_DROPPED_OCTETS, FIELD_DROPPED_PACKETS,
	FIELD_DROP_REASON, FIELD_DROP_REASON_NAME,
};
static const enum field_symbol service_fields[] = {
	FIELD_DST_PORT,		 FIELD_PROTOCOL,       FIELD_START,	      FIELD_END,
	FIELD_FORWARDING_STATUS, FIELD_DROPPED_OCTETS, FIELD_DROPPED_PACKETS, FIELD_DROP_REASON,
	FIELD_DROP_REASON_NAME,
};

static struct flow_template make_template(enum drops_by by, const struct flow_key *key)
{
	if (by == DROPS_BY_REASON)
		return template_of(reason_fields, ARRAY_SIZE(reason_fields));
	if (by == DROPS_BY_INTERFACE)
		return template_of(interface_fields, ARRAY_SIZE(interface_fields));
	if (by == DROPS_BY_SERVICE)
		return template_of(service_fields, ARRAY_SIZE(service_fields));
	return flow_templates[key->kind & FLOW_IPV6 ? TEMPLATE_DROP_IPV6 : TEMPLATE_DROP_IPV4];
}

/* A name has neither blanks nor slashes, but may have quotes. */
static void print_name(FILE *file, uint32_t ifindex)
{
	char name[IF_NAMESIZE], safe[UTF8_ESCAPED_MAX(IF_NAMESIZE)];

	if (!ifindex || !if_indextoname(ifindex, name))
		return;
	fprintf(file, ",\"interfaceName\":\"");
	for (const char *c = utf8_escape(safe, sizeof(safe), name, "\\"); *c; c++)
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
		record_encode(record, sizeof(record), &template, PROTOCOL_IPFIX, &flow, &context,
			      &cut);
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

/* --- What there was in all. */

struct total {
	uint64_t packets;
	uint16_t reason; /* drop_reason_pack() */
};

static int by_packets(const void *a, const void *b)
{
	const struct total *x = a, *y = b;

	if (x->packets != y->packets)
		return x->packets < y->packets ? 1 : -1;
	return (int)x->reason - (int)y->reason;
}

static void print_reasons(FILE *file, const struct ledger *ledger, const uint64_t *shown)
{
	struct total totals[DROP_REASON_MAX];
	size_t count = 0;

	for (int i = 0; i < DROP_REASON_MAX; i++)
		if (ledger->drop_reasons->reasons[i].packets)
			totals[count++] = (struct total){
				.packets = ledger->drop_reasons->reasons[i].packets,
				.reason = (uint16_t)i,
			};
	qsort(totals, count, sizeof(totals[0]), by_packets);
	if (count)
		fprintf(file, "%9s %9s %-11s %-20s %s\n", "PACKETS", "SHOWN", "CLASS", "REASON",
			"EXPLANATION");
	for (size_t i = 0; i < count; i++) {
		const struct drop_reason *reason =
			drop_reasons_get(ledger->drop_names, drop_reason_unpack(totals[i].reason));

		fprintf(file, "%9" PRIu64 " %9" PRIu64 " %-11s %-20s %s\n", totals[i].packets,
			shown[totals[i].reason], drop_class_name(reason->class), reason->name,
			reason->explanation);
	}
}

void drop_print_summary(FILE *file, const struct ledger *ledger, const uint64_t *shown)
{
	const struct ledger_side *side = &ledger->sides[RECORD_DROP];
	uint64_t all = 0;

	for (int i = 0; i < DROP_REASON_MAX; i++)
		all += shown[i];
	print_reasons(file, ledger, shown);
	fprintf(file, "drops: %sseen %" PRIu64 " packets = accounted %" PRIu64,
		ledger_verdict(ledger), side->seen[0], side->accounted[0].packets);
	ledger_print_unrecorded(ledger, RECORD_DROP, file);
	fprintf(file,
		"; shown %" PRIu64 ", evicted %" PRIu64 ", drain_error %" PRIu64
		"; drops missed %" PRIu64 "\n",
		all, side->evicted.packets, side->drain_error.packets, ledger->drops_missed);
}
