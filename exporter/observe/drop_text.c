/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <net/if.h>
#include <string.h>
#include "exporter/export/format/utf8.h"
#include "exporter/export/format/json.h"
#include "exporter/log.h"
#include "exporter/observe/drop_text.h"
#include "exporter/observe/text.h"

#define LINE_MAX      512
#define ADDRESS_MIN   15
#define EXPLAINED_MAX 40

/* A terminal of less has none at all. */
#define EXPLAINED_COLUMNS 40

/* Columns of a terminal from which on a table of flows has interfaces, and classes as well. */
#define WITH_INTERFACES 100
#define WITH_CLASSES	124

/* And a table of reasons has the explanations in its rows instead of below. */
#define WITH_EXPLANATIONS 110

/* A row's cells, as text. */
struct cells {
	char protocol[TEXT_NUMBER_MAX], source[TEXT_ENDPOINT_MAX], destination[TEXT_ENDPOINT_MAX];
	char interface[IF_NAMESIZE];
	const char *names[4]; /* protocol, source, destination, interface */
	const char *direction, *class, *reason, *explanation;
};

static void fill_cells(struct cells *c, const struct drop_view *view, const struct drop_row *row,
		       unsigned int address_width)
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
	if (view->by != DROPS_BY_REASON) {
		c->direction = key->kind & FLOW_EGRESS ? "out" : "in";
		c->names[3] = text_interface(c->interface, key->ifindex);
	}
	if (view->by == DROPS_BY_FLOW) {
		c->names[0] = text_protocol(c->protocol, key->protocol);
		c->names[1] = text_endpoint(c->source, key, true, address_width);
		c->names[2] = text_endpoint(c->destination, key, false, address_width);
	}
}

/* --- Lines. */

static void print_place(FILE *file, enum drops_by by, const char *const names[4],
			const char *direction)
{
	if (by == DROPS_BY_FLOW)
		fprintf(file, "%-5s %-*s %-*s ", names[0], TEXT_IPV4_WIDTH, names[1],
			TEXT_IPV4_WIDTH, names[2]);
	if (by != DROPS_BY_REASON)
		fprintf(file, "%-3s %-9s ", direction, names[3]);
}

void drop_print_columns(FILE *file, const struct drop_view *view)
{
	fprintf(file, "TIME     ");
	print_place(file, view->by,
		    (const char *const[]){"PROTO", "SOURCE", "DESTINATION", "INTERFACE"}, "DIR");
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
	fill_cells(&c, view, row, TEXT_IPV6_WIDTH);
	fprintf(file, "%02d:%02d:%02d ", tm.tm_hour, tm.tm_min, tm.tm_sec);
	print_place(file, view->by, c.names, c.direction);
	fprintf(file, "%9" PRIu64 " %9.1f %9" PRIu64 " %-11s %-20s %s\n", row->packets,
		(double)row->packets / view->seconds, row->total_packets, c.class, c.reason,
		c.explanation);
}

/* --- The table on a terminal. */

/* Ends in the terminal's last column at the latest. */
static void print_cut(FILE *file, unsigned int columns, const char *line)
{
	fprintf(file, "%.*s\n", (int)columns, line);
}

static unsigned int address_width(enum drops_by by, unsigned int columns)
{
	unsigned int fixed = columns >= WITH_CLASSES ? 74 /* columns of all but the addresses */
			     : columns >= WITH_INTERFACES ? 58
							  : 40;
	unsigned int room = columns > fixed ? (columns - fixed) / 2 : 0;

	return by == DROPS_BY_FLOW ? MIN(MAX(room, ADDRESS_MIN), TEXT_IPV6_WIDTH) : 0;
}

static bool has_explanations(enum drops_by by, unsigned int columns)
{
	return by != DROPS_BY_FLOW && columns >= WITH_EXPLANATIONS;
}

static void print_cells(FILE *file, enum drops_by by, unsigned int columns, const char *packets,
			const char *total, const struct cells *c)
{
	int width = (int)address_width(by, columns), used;
	char line[LINE_MAX];

	used = snprintf(line, sizeof(line), "%6s %6s ", packets, total);
	if (by == DROPS_BY_FLOW)
		used += snprintf(line + used, sizeof(line) - (size_t)used, "%-5s %-*s %-*s ",
				 c->names[0], width, c->names[1], width, c->names[2]);
	if (by == DROPS_BY_INTERFACE || (by == DROPS_BY_FLOW && columns >= WITH_INTERFACES))
		used += snprintf(line + used, sizeof(line) - (size_t)used, "%-3s %-9.9s ",
				 c->direction, c->names[3]);
	if (by != DROPS_BY_FLOW || columns >= WITH_CLASSES)
		used += snprintf(line + used, sizeof(line) - (size_t)used, "%-11s ", c->class);
	if (has_explanations(by, columns))
		snprintf(line + used, sizeof(line) - (size_t)used, "%-20s %s", c->reason,
			 c->explanation);
	else
		snprintf(line + used, sizeof(line) - (size_t)used, "%s", c->reason);
	print_cut(file, columns, line);
}

static void print_row(FILE *file, const struct drop_view *view, unsigned int columns,
		      const struct drop_row *row)
{
	char packets[TEXT_NUMBER_MAX], total[TEXT_NUMBER_MAX];
	struct cells c;

	fill_cells(&c, view, row, address_width(view->by, columns));
	print_cells(file, view->by, columns,
		    text_number(packets, (double)row->packets / view->seconds),
		    text_number(total, (double)row->total_packets), &c);
}

/* Reasons of these rows, each once, as many as there is room for. */
static unsigned int find_reasons(const struct drop_row *const *rows, size_t count, unsigned int max,
				 uint16_t *ret)
{
	unsigned int found = 0, i;

	for (size_t row = 0; row < count && found < max; row++) {
		for (i = 0; i < found && ret[i] != rows[row]->key.drop_reason; i++)
			;
		if (i == found)
			ret[found++] = rows[row]->key.drop_reason;
	}
	return found;
}

/* Octets of a text that fit on a line: to its end, or to its last blank there. */
static size_t fit(const char *text, size_t columns)
{
	size_t length = strlen(text), fitting = columns;

	if (length <= columns)
		return length;
	while (fitting > 0 && text[fitting] != ' ')
		fitting--;
	return fitting ? fitting : columns;
}

/* Returns its lines; `file` NULL only counts them. */
static size_t print_explanation(FILE *file, const struct drop_view *view, size_t columns,
				uint16_t packed)
{
	const struct drop_reason *reason =
		drop_reasons_get(view->reasons, drop_reason_unpack(packed));
	const char *indent = "";
	char text[LINE_MAX], *rest = text;
	size_t lines = 0, length;

	snprintf(text, sizeof(text), "%s: %s", reason->name, reason->explanation);
	while (*rest) {
		length = fit(rest, columns - strlen(indent));
		if (file)
			fprintf(file, "%s%.*s\n", indent, (int)length, rest);
		rest += length + strspn(rest + length, " ");
		indent = "    ";
		lines++;
	}
	return lines;
}

/* Explains the reasons of the rows in `max` lines; returns the lines, `file` NULL only counts them. */
static size_t print_explanations(FILE *file, const struct drop_view *view, unsigned int columns,
				 const struct drop_row *const *rows, size_t count, size_t max)
{
	uint16_t reasons[EXPLAINED_MAX];
	unsigned int found = find_reasons(rows, count, EXPLAINED_MAX, reasons);
	size_t lines = 0, more;

	if (columns < EXPLAINED_COLUMNS || has_explanations(view->by, columns))
		return 0;
	for (unsigned int i = 0; i < found; i++) {
		more = print_explanation(NULL, view, columns, reasons[i]);
		if (lines + more > max)
			break;
		print_explanation(file, view, columns, reasons[i]);
		lines += more;
	}
	return lines;
}

static void print_totals(FILE *file, const struct drop_view *view, unsigned int columns,
			 const struct drop_totals *totals, size_t rows)
{
	char packets[TEXT_NUMBER_MAX], line[LINE_MAX];

	snprintf(line, sizeof(line),
		 "%s pkt/s dropped, %" PRIu64 " packets in %zu rows, %" PRIu64 " missed",
		 text_number(packets, (double)totals->packets / view->seconds), totals->total, rows,
		 totals->missed);
	if (totals->missed)
		fprintf(file, "\033[31m%.*s\033[0m\n", (int)columns, line);
	else
		print_cut(file, columns, line);
}

void drop_print_table(FILE *file, const struct drop_view *view, struct screen_size size,
		      const struct drop_totals *totals, const struct drop_row *const *rows,
		      size_t count, const struct drop_row *others)
{
	static const struct cells titles = {
		.names = {"PROTO", "SOURCE", "DESTINATION", "INTERFACE"},
		.direction = "DIR",
		.class = "CLASS",
		.reason = "REASON",
		.explanation = "EXPLANATION",
	};
	size_t room = MAX(size.rows, 5u) - 4; /* a free line, the totals, the titles, the cursor */
	size_t shown, explained;

	print_totals(file, view, size.columns, totals, count);
	print_cells(file, view->by, size.columns, "PKT/s", "TOTAL", &titles);
	if (others->total_packets && room > 1) {
		print_row(file, view, size.columns, others);
		room--;
	}
	shown = MIN(count, room);
	explained = print_explanations(NULL, view, size.columns, rows, shown, room / 3);
	shown = MIN(count, room - explained);
	for (size_t i = 0; i < shown; i++)
		print_row(file, view, size.columns, rows[i]);
	print_explanations(file, view, size.columns, rows, shown, room / 3);
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
