/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <inttypes.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include "exporter/observe/ledger.h"
#include "exporter/observe/record_hubble.h"
#include "exporter/observe/record_text.h"
#include "exporter/observe/text.h"
#include "exporter/util.h"

#define TIME_MAX 40
#define RED	 "\033[31m"
#define GREEN	 "\033[32m"
#define PLAIN	 "\033[0m"

static const char *const forms[_RECORD_FORM_MAX] = {
	[RECORD_COMPACT] = "compact",
	[RECORD_TABLE] = "table",
	[RECORD_WIDE] = "wide",
	[RECORD_CSV] = "csv",
	[RECORD_HUBBLE_JSON] = "hubble-json",
};

int record_form_parse(const char *name)
{
	for (int i = 0; i < _RECORD_FORM_MAX; i++)
		if (strcmp(forms[i], name) == 0)
			return i;
	return -1;
}

/* --- Times. */

enum time_shape {
	SHAPE_STAMP,
	SHAPE_RFC3339, /* with the zone as Z or +01:00 */
	SHAPE_RFC1123, /* with the zone as +0100 */
};

static const struct time_form {
	const char *name;
	enum time_shape shape;
	bool ms;
	int width; /* of a column, with the longer zone */
} time_forms[_RECORD_TIME_MAX] = {
	[RECORD_TIME_STAMP_MILLI] = {"StampMilli", SHAPE_STAMP, true, 19},
	[RECORD_TIME_RFC3339] = {"RFC3339", SHAPE_RFC3339, false, 25},
	[RECORD_TIME_RFC3339_MILLI] = {"RFC3339Milli", SHAPE_RFC3339, true, 29},
	[RECORD_TIME_RFC3339_MICRO] = {"RFC3339Micro", SHAPE_RFC3339, true, 29},
	[RECORD_TIME_RFC3339_NANO] = {"RFC3339Nano", SHAPE_RFC3339, true, 29},
	[RECORD_TIME_RFC1123Z] = {"RFC1123Z", SHAPE_RFC1123, false, 31},
};

int record_time_parse(const char *name)
{
	for (int i = 0; i < _RECORD_TIME_MAX; i++)
		if (!strcasecmp(time_forms[i].name, name))
			return i;
	return -1;
}

static int time_width(const struct record_text *text)
{
	const struct time_form *form = &time_forms[text->time];

	return form->shape == SHAPE_RFC3339 && text->utc ? form->width - 5 : form->width;
}

static size_t fill_seconds(char ret[TIME_MAX], const struct tm *tm, enum time_shape shape)
{
	switch (shape) {
	case SHAPE_STAMP:
		return strftime(ret, TIME_MAX, "%b %e %H:%M:%S", tm);
	case SHAPE_RFC3339:
		return strftime(ret, TIME_MAX, "%Y-%m-%dT%H:%M:%S", tm);
	case SHAPE_RFC1123:
		return strftime(ret, TIME_MAX, "%a, %d %b %Y %H:%M:%S %z", tm);
	}
	return 0;
}

static void fill_time(char ret[TIME_MAX], uint64_t ms, bool utc, enum record_time time)
{
	const struct time_form *form = &time_forms[time];
	time_t seconds = (time_t)MIN(ms / 1000, 253402300799u); /* the year 9999 */
	struct tm tm = {0};
	char zone[8] = "Z";
	size_t used;

	if (utc)
		gmtime_r(&seconds, &tm);
	else
		localtime_r(&seconds, &tm);
	used = fill_seconds(ret, &tm, form->shape);
	if (form->ms)
		used += (size_t)snprintf(ret + used, TIME_MAX - used, ".%03u",
					 (unsigned int)(ms % 1000));
	if (form->shape != SHAPE_RFC3339)
		return;
	if (!utc) {
		strftime(zone, sizeof(zone), "%z", &tm);
		memmove(zone + 4, zone + 3, 3); /* +0200: +02:00 */
		zone[3] = ':';
	}
	snprintf(ret + used, TIME_MAX - used, "%s", zone);
}

/* --- Cells. */

struct cells {
	char time[TIME_MAX], source[TEXT_ENDPOINT_MAX], destination[TEXT_ENDPOINT_MAX];
	char protocol_text[TEXT_NUMBER_MAX], packets[TEXT_NUMBER_MAX], octets[TEXT_NUMBER_MAX];
	char duration[24], summary[HUBBLE_SUMMARY_MAX], interface[VIEW_NAME_MAX];
	char tags[16], tos[8], reason[2 * VIEW_NAME_MAX + 4];
	const char *protocol, *verdict, *direction, *end;
};

static void fill_duration(char text[24], uint64_t ms)
{
	if (ms < 1000)
		snprintf(text, 24, "%" PRIu64 "ms", ms);
	else if (ms < 1000 * 1000)
		snprintf(text, 24, "%" PRIu64 ".%" PRIu64 "s", ms / 1000, ms % 1000 / 100);
	else
		snprintf(text, 24, "%" PRIu64 "s", ms / 1000);
}

static void fill_endpoints(struct cells *c, const struct record_view *v)
{
	bool icmp = v->parts & VIEW_ICMP;
	struct flow_key key = {
		.src_port = htons(v->src_port),
		.dst_port =
			htons(icmp ? (uint16_t)(v->icmp_type << 8 | v->icmp_code) : v->dst_port),
		.protocol = icmp || v->parts & VIEW_PORTS ? v->protocol : 0,
		.kind = v->ip_version == 6 ? FLOW_IPV6 : 0,
	};

	if (!(v->parts & VIEW_ADDRESSES)) {
		strcpy(c->source, "-");
		strcpy(c->destination, "-");
		return;
	}
	memcpy(key.src, v->src, sizeof(key.src));
	memcpy(key.dst, v->dst, sizeof(key.dst));
	text_endpoint(c->source, &key, true, TEXT_IPV6_WIDTH);
	text_endpoint(c->destination, &key, false, TEXT_IPV6_WIDTH);
}

static void copy_printable(char to[VIEW_NAME_MAX], const char *from)
{
	snprintf(to, VIEW_NAME_MAX, "%s", from);
	text_make_printable(to);
}

static void fill_names(struct cells *c, const struct record_view *v)
{
	char reason[VIEW_NAME_MAX], class[VIEW_NAME_MAX];

	strcpy(c->interface, "-");
	if (v->interface[0])
		copy_printable(c->interface, v->interface);
	else if (v->ifindex)
		snprintf(c->interface, sizeof(c->interface), "%" PRIu32, v->ifindex);
	copy_printable(reason, v->drop_reason);
	copy_printable(class, v->drop_class);
	if (*reason && *class)
		snprintf(c->reason, sizeof(c->reason), "%s (%s)", reason, class);
	else
		snprintf(c->reason, sizeof(c->reason), "%s", *reason ? reason : class);
}

static const char *end_text(const struct record_view *v)
{
	bool known = v->parts & VIEW_END_REASON && v->end_reason && v->end_reason < _FLOW_END_MAX;

	return known ? flow_end_name((enum flow_end)v->end_reason) : "-";
}

static void fill_numbers(struct cells *c, const struct record_view *v)
{
	strcpy(c->packets, "-");
	strcpy(c->octets, "-");
	strcpy(c->duration, "-");
	strcpy(c->tos, "-");
	if (v->parts & VIEW_COUNTERS) {
		text_number(c->packets, (double)v->packets);
		text_number(c->octets, (double)v->octets);
	}
	if (v->parts & VIEW_TIMES)
		fill_duration(c->duration, v->end_ms - v->start_ms);
	if (v->parts & VIEW_TOS)
		snprintf(c->tos, sizeof(c->tos), "0x%02x", v->tos);
	if (v->inner_vlan)
		snprintf(c->tags, sizeof(c->tags), "%u.%u", v->vlan, v->inner_vlan);
	else if (v->vlan)
		snprintf(c->tags, sizeof(c->tags), "%u", v->vlan);
	else
		strcpy(c->tags, "-");
}

static void fill_cells(struct cells *c, const struct record_text *text, const struct record_view *v)
{
	strcpy(c->time, "-");
	if (v->parts & VIEW_TIMES)
		fill_time(c->time, v->start_ms, text->utc, text->time);
	fill_endpoints(c, v);
	fill_names(c, v);
	fill_numbers(c, v);
	hubble_summary(c->summary, v);
	c->protocol = v->parts & VIEW_PROTOCOL ? text_protocol(c->protocol_text, v->protocol) : "-";
	c->verdict = v->parts & VIEW_DROP ? "DROPPED" : "FORWARDED";
	c->direction = !(v->parts & VIEW_DIRECTION) ? "-" : v->direction ? "out" : "in";
	c->end = end_text(v);
}

/* --- Lines. */

static void print_verdict(FILE *file, const struct record_text *text, const struct cells *c,
			  int width)
{
	if (text->color)
		fprintf(file, "%s%-*s%s ", *c->verdict == 'D' ? RED : GREEN, width, c->verdict,
			PLAIN);
	else
		fprintf(file, "%-*s ", width, c->verdict);
}

static void print_compact(FILE *file, const struct record_text *text, const struct cells *c)
{
	fprintf(file, "%s %s -> %s %s ", c->time, c->source, c->destination, c->protocol);
	print_verdict(file, text, c, 0);
	if (*c->reason)
		fprintf(file, "%s ", c->reason);
	fprintf(file, "(%s%s%s packets, %s octets, %s)\n", c->summary, *c->summary ? "; " : "",
		c->packets, c->octets, c->duration);
}

static void print_table(FILE *file, const struct record_text *text, const struct cells *c)
{
	fprintf(file, "%-*s %-*s %-*s %-5s ", time_width(text), c->time, TEXT_IPV4_WIDTH, c->source,
		TEXT_IPV4_WIDTH, c->destination, c->protocol);
	print_verdict(file, text, c, 9);
	fprintf(file, "%7s %7s %s\n", c->packets, c->octets, *c->reason ? c->reason : c->summary);
}

static void print_wide(FILE *file, const struct record_text *text, const struct cells *c)
{
	fprintf(file, "%-*s %8s %-*s %-*s %-5s %-3s %-15s %-9s %-4s ", time_width(text), c->time,
		c->duration, TEXT_IPV6_WIDTH, c->source, TEXT_IPV6_WIDTH, c->destination,
		c->protocol, c->direction, c->interface, c->tags, c->tos);
	print_verdict(file, text, c, 9);
	fprintf(file, "%7s %7s %-9s %s%s%s\n", c->packets, c->octets, c->end, c->summary,
		*c->summary && *c->reason ? "; " : "", c->reason);
}

/* --- CSV, RFC 4180: a value with a comma or quotes is quoted, lines end with CR LF. */

#define CSV_HEADER \
	"start,end,duration_ms,source,source_port,destination,destination_port,ip_version," \
	"protocol,icmp_type,icmp_code,tcp_flags,direction,ifindex,interface,vlan,inner_vlan,tos," \
	"packets,octets,end_reason,verdict,drop_reason,drop_class\r\n"

static void csv_number(FILE *file, bool known, uint64_t number)
{
	if (known)
		fprintf(file, "%" PRIu64, number);
	fputc(',', file);
}

void record_text_csv(FILE *file, const char *text)
{
	bool quoted = strpbrk(text, ",\"\r\n");

	if (quoted)
		fputc('"', file);
	for (; *text; text++) {
		if (*text == '"')
			fputc('"', file);
		fputc(*text < ' ' || *text > '~' ? '?' : *text, file);
	}
	if (quoted)
		fputc('"', file);
}

static void csv_text(FILE *file, const char *text, const char *end)
{
	record_text_csv(file, text);
	fputs(end, file);
}

/* As RFC 3339 has it, with the zone of the text. */
static void csv_time(FILE *file, const struct record_text *text, bool known, uint64_t ms)
{
	char time[TIME_MAX] = "";

	if (known)
		fill_time(time, ms, text->utc, RECORD_TIME_RFC3339_MILLI);
	csv_text(file, time, ",");
}

static void csv_address(FILE *file, const struct record_view *v, const uint8_t *address)
{
	char text[INET6_ADDRSTRLEN] = "";

	if (v->parts & VIEW_ADDRESSES)
		inet_ntop(v->ip_version == 6 ? AF_INET6 : AF_INET, address, text, sizeof(text));
	csv_text(file, text, ",");
}

static void print_csv(FILE *file, const struct record_text *text, const struct record_view *v)
{
	unsigned int parts = v->parts;

	csv_time(file, text, parts & VIEW_TIMES, v->start_ms);
	csv_time(file, text, parts & VIEW_TIMES, v->end_ms);
	csv_number(file, parts & VIEW_TIMES, v->end_ms - v->start_ms);
	csv_address(file, v, v->src);
	csv_number(file, parts & VIEW_PORTS, v->src_port);
	csv_address(file, v, v->dst);
	csv_number(file, parts & VIEW_PORTS, v->dst_port);
	csv_number(file, parts & VIEW_ADDRESSES, v->ip_version);
	csv_number(file, parts & VIEW_PROTOCOL, v->protocol);
	csv_number(file, parts & VIEW_ICMP, v->icmp_type);
	csv_number(file, parts & VIEW_ICMP, v->icmp_code);
	csv_number(file, parts & VIEW_TCP_FLAGS, v->tcp_flags);
	csv_text(file, !(parts & VIEW_DIRECTION) ? "" : v->direction ? "egress" : "ingress", ",");
	csv_number(file, v->ifindex, v->ifindex);
	csv_text(file, v->interface, ",");
	csv_number(file, parts & VIEW_VLAN, v->vlan);
	csv_number(file, parts & VIEW_VLAN, v->inner_vlan);
	csv_number(file, parts & VIEW_TOS, v->tos);
	csv_number(file, parts & VIEW_COUNTERS, v->packets);
	csv_number(file, parts & VIEW_COUNTERS, v->octets);
	csv_text(file, *end_text(v) == '-' ? "" : end_text(v), ",");
	csv_text(file, parts & VIEW_DROP ? "DROPPED" : "FORWARDED", ",");
	csv_text(file, v->drop_reason, ",");
	csv_text(file, v->drop_class, "\r\n");
}

/* --- All of them. */

void record_text_print_header(const struct record_text *text, FILE *file)
{
	switch (text->form) {
	case RECORD_TABLE:
		fprintf(file,
			"%-*s SOURCE                DESTINATION           PROTO "
			"VERDICT   PACKETS  OCTETS SUMMARY\n",
			time_width(text), "TIME");
		break;
	case RECORD_WIDE:
		fprintf(file,
			"%-*s DURATION SOURCE                                          "
			"DESTINATION                                     PROTO DIR INTERFACE       "
			"VLAN      TOS  VERDICT   PACKETS  OCTETS END       SUMMARY\n",
			time_width(text), "TIME");
		break;
	case RECORD_CSV:
		fputs(CSV_HEADER, file);
		break;
	case RECORD_COMPACT:
	case RECORD_HUBBLE_JSON:
	case _RECORD_FORM_MAX:
		break;
	}
}

void record_text_print(const struct record_text *text, const struct record_view *view, FILE *file)
{
	struct utsname name;
	struct cells c;

	if (text->form == RECORD_CSV) {
		print_csv(file, text, view);
		return;
	}
	if (text->form == RECORD_HUBBLE_JSON) {
		hubble_print_flow(file, view,
				  text->node	      ? text->node
				  : uname(&name) == 0 ? name.nodename
						      : "");
		return;
	}
	memset(&c, 0, sizeof(c));
	fill_cells(&c, text, view);
	if (text->form == RECORD_COMPACT)
		print_compact(file, text, &c);
	else if (text->form == RECORD_TABLE)
		print_table(file, text, &c);
	else
		print_wide(file, text, &c);
}
