/* SPDX-License-Identifier: Apache-2.0 */
#include <net/if.h>
#include <string.h>
#include "exporter/observe/live_text.h"
#include "exporter/observe/text.h"

#define LINE_MAX    512
#define FIXED_WIDE  47 /* columns beside the two of addresses */
#define FIXED	    35 /* likewise, without octets and age */
#define ADDRESS_MIN 15

static const char *print_age(char text[TEXT_NUMBER_MAX], uint64_t ns)
{
	unsigned long long seconds = ns / NSEC_PER_SEC;

	if (seconds < 100)
		snprintf(text, TEXT_NUMBER_MAX, "%llus", seconds);
	else if (seconds < 6000)
		snprintf(text, TEXT_NUMBER_MAX, "%llum", seconds / 60);
	else if (seconds < 360000)
		snprintf(text, TEXT_NUMBER_MAX, "%lluh", seconds / 3600);
	else
		snprintf(text, TEXT_NUMBER_MAX, "%llud", seconds / 86400);
	return text;
}

/* A narrow terminal goes without the last two columns. */
static bool is_wide(const struct live_view *view)
{
	return view->columns >= FIXED_WIDE + 2 * TEXT_IPV4_WIDTH;
}

static unsigned int address_width(const struct live_view *view)
{
	unsigned int fixed = is_wide(view) ? FIXED_WIDE : FIXED;
	unsigned int room = view->columns > fixed ? (view->columns - fixed) / 2 : 0;

	return MIN(MAX(room, ADDRESS_MIN), TEXT_IPV6_WIDTH);
}

/* The cells of one line, from protocol to age. */
static void print_cells(FILE *file, const struct live_view *view, const char *const cells[9])
{
	int width = (int)address_width(view);
	char line[LINE_MAX];

	if (is_wide(view))
		snprintf(line, sizeof(line), "%-5s %-*s %-*s %-3s %-9.9s %6s %6s %6s %4s", cells[0],
			 width, cells[1], width, cells[2], cells[3], cells[4], cells[5], cells[6],
			 cells[7], cells[8]);
	else
		snprintf(line, sizeof(line), "%-5s %-*s %-*s %-3s %-9.9s %6s %6s", cells[0], width,
			 cells[1], width, cells[2], cells[3], cells[4], cells[5], cells[6]);
	fprintf(file, "%.*s\n", (int)view->columns, line);
}

void live_print_columns(FILE *file, const struct live_view *view)
{
	print_cells(file, view,
		    (const char *const[]){"PROTO", "SOURCE", "DESTINATION", "DIR", "INTERFACE",
					  "PKT/s", "BIT/s", "OCTETS", "AGE"});
}

void live_print_flow(FILE *file, const struct live_view *view, const struct live_flow *flow,
		     uint64_t now_ns)
{
	const struct flow_key *key = &flow->key;
	char protocol[TEXT_NUMBER_MAX], packets[TEXT_NUMBER_MAX], bits[TEXT_NUMBER_MAX],
		octets[TEXT_NUMBER_MAX], age[TEXT_NUMBER_MAX];
	char source[TEXT_ENDPOINT_MAX], destination[TEXT_ENDPOINT_MAX], name[IF_NAMESIZE];
	unsigned int width = address_width(view);

	print_cells(file, view,
		    (const char *const[]){
			    text_protocol(protocol, key->protocol),
			    text_endpoint(source, key, true, width),
			    text_endpoint(destination, key, false, width),
			    key->kind & FLOW_EGRESS ? "out" : "in",
			    text_interface(name, key->ifindex),
			    text_number(packets, (double)flow->rate.packets / view->seconds),
			    text_number(bits, (double)flow->rate.octets * 8 / view->seconds),
			    text_number(octets, (double)flow->total),
			    print_age(age, now_ns > flow->first_ns ? now_ns - flow->first_ns : 0),
		    });
}

void live_print_header(FILE *file, const struct live_view *view, const struct live_totals *totals,
		       const struct live_rate rate[_DIRECTION_MAX])
{
	char in_packets[TEXT_NUMBER_MAX], in_bits[TEXT_NUMBER_MAX], out_packets[TEXT_NUMBER_MAX],
		out_bits[TEXT_NUMBER_MAX], line[LINE_MAX];
	const struct live_rate *in = &rate[DIRECTION_INGRESS], *out = &rate[DIRECTION_EGRESS];
	bool red = view->color && totals->lost;

	/* What matters most comes first, for the end may be cut off. */
	snprintf(line, sizeof(line),
		 "%u flows, %llu packets lost, in %s bit/s %s pkt/s, out %s bit/s %s pkt/s on %s",
		 totals->flows, (unsigned long long)totals->lost,
		 text_number(in_bits, (double)in->octets * 8 / view->seconds),
		 text_number(in_packets, (double)in->packets / view->seconds),
		 text_number(out_bits, (double)out->octets * 8 / view->seconds),
		 text_number(out_packets, (double)out->packets / view->seconds),
		 totals->interfaces);
	text_make_printable(line);
	if (red)
		fprintf(file, "\033[31m");
	fprintf(file, "%.*s", (int)view->columns, line);
	fprintf(file, red ? "\033[0m\n" : "\n");
}
