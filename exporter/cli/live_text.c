/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <net/if.h>
#include <string.h>
#include "exporter/cli/live_text.h"

#define NUMBER_MAX   16
#define ENDPOINT_MAX 64
#define LINE_MAX     512
#define FIXED_WIDE   47 /* columns beside the two of addresses */
#define FIXED	     35 /* likewise, without octets and age */
#define ADDRESS_MIN  15
#define ADDRESS_IPV4 21 /* the longest IPv4 address with its port */
#define ADDRESS_MAX  47 /* the longest IPv6 address with its port */

/* Three digits and a decimal unit: "999", "1.23k", "45.6M". */
static const char *print_number(char text[NUMBER_MAX], double value)
{
	static const char units[] = " kMGTPE";
	size_t unit = 0;

	while (value >= 999.5 && units[unit + 1]) {
		value /= 1000;
		unit++;
	}
	if (unit == 0)
		snprintf(text, NUMBER_MAX, "%.0f", value);
	else
		snprintf(text, NUMBER_MAX, "%.*f%c",
			 value < 9.995	 ? 2
			 : value < 99.95 ? 1
					 : 0,
			 value, units[unit]);
	return text;
}

static const char *print_age(char text[NUMBER_MAX], uint64_t ns)
{
	unsigned long long seconds = ns / NSEC_PER_SEC;

	if (seconds < 100)
		snprintf(text, NUMBER_MAX, "%llus", seconds);
	else if (seconds < 6000)
		snprintf(text, NUMBER_MAX, "%llum", seconds / 60);
	else if (seconds < 360000)
		snprintf(text, NUMBER_MAX, "%lluh", seconds / 3600);
	else
		snprintf(text, NUMBER_MAX, "%llud", seconds / 86400);
	return text;
}

static const char *print_protocol(char text[NUMBER_MAX], uint8_t protocol)
{
	static const struct {
		uint8_t number;
		const char *name;
	} names[] = {
		{1, "ICMP"},   {2, "IGMP"},  {4, "IPIP"},   {6, "TCP"},	   {17, "UDP"},
		{33, "DCCP"},  {41, "IPv6"}, {47, "GRE"},   {50, "ESP"},   {51, "AH"},
		{58, "ICMP6"}, {89, "OSPF"}, {112, "VRRP"}, {132, "SCTP"}, {136, "UDPL"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (names[i].number == protocol)
			return names[i].name;
	snprintf(text, NUMBER_MAX, "%u", protocol);
	return text;
}

/*
 * "192.0.2.1:443", "[2001:db8::1]:443"; an ICMP flow's destination has type/code behind it.  Where that
 * does not fit, the end of the address goes.
 */
static const char *print_endpoint(char text[ENDPOINT_MAX], const struct flow_key *key, bool source,
				  unsigned int width)
{
	bool ipv6 = key->kind & FLOW_IPV6, icmp = key->protocol == (ipv6 ? 58 : 1);
	uint16_t port = ntohs(source ? key->src_port : key->dst_port);
	char address[INET6_ADDRSTRLEN + 1] = "", tail[NUMBER_MAX] = "";
	bool bracket = ipv6 && port && !icmp;
	size_t room;

	inet_ntop(ipv6 ? AF_INET6 : AF_INET, source ? key->src : key->dst, address + bracket,
		  INET6_ADDRSTRLEN);
	if (bracket)
		address[0] = '[';
	if (icmp && !source)
		snprintf(tail, sizeof(tail), " %u/%u", port >> 8, port & 255);
	else if (port)
		snprintf(tail, sizeof(tail), bracket ? "]:%u" : ":%u", port);
	room = width - strlen(tail);
	if (strlen(address) > room) {
		address[room - 1] = '~';
		address[room] = '\0';
	}
	snprintf(text, ENDPOINT_MAX, "%s%s", address, tail);
	return text;
}

/* The kernel lets an interface's name have any letters, those that steer a terminal too. */
static void make_printable(char *text)
{
	for (; *text; text++)
		if (*text < ' ' || *text > '~')
			*text = '?';
}

static const char *print_interface(char text[IF_NAMESIZE], uint32_t ifindex)
{
	if (!if_indextoname(ifindex, text))
		snprintf(text, IF_NAMESIZE, "%u", ifindex);
	make_printable(text);
	return text;
}

/* A narrow terminal goes without the last two columns. */
static bool is_wide(const struct live_view *view)
{
	return view->columns >= FIXED_WIDE + 2 * ADDRESS_IPV4;
}

static unsigned int address_width(const struct live_view *view)
{
	unsigned int fixed = is_wide(view) ? FIXED_WIDE : FIXED;
	unsigned int room = view->columns > fixed ? (view->columns - fixed) / 2 : 0;

	return MIN(MAX(room, ADDRESS_MIN), ADDRESS_MAX);
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
	char protocol[NUMBER_MAX], packets[NUMBER_MAX], bits[NUMBER_MAX], octets[NUMBER_MAX],
		age[NUMBER_MAX];
	char source[ENDPOINT_MAX], destination[ENDPOINT_MAX], name[IF_NAMESIZE];
	unsigned int width = address_width(view);

	print_cells(file, view,
		    (const char *const[]){
			    print_protocol(protocol, key->protocol),
			    print_endpoint(source, key, true, width),
			    print_endpoint(destination, key, false, width),
			    key->kind & FLOW_EGRESS ? "out" : "in",
			    print_interface(name, key->ifindex),
			    print_number(packets, (double)flow->rate.packets / view->seconds),
			    print_number(bits, (double)flow->rate.octets * 8 / view->seconds),
			    print_number(octets, (double)flow->total),
			    print_age(age, now_ns > flow->first_ns ? now_ns - flow->first_ns : 0),
		    });
}

void live_print_header(FILE *file, const struct live_view *view, const struct live_totals *totals,
		       const struct live_rate rate[_DIRECTION_MAX])
{
	char in_packets[NUMBER_MAX], in_bits[NUMBER_MAX], out_packets[NUMBER_MAX],
		out_bits[NUMBER_MAX], line[LINE_MAX];
	const struct live_rate *in = &rate[DIRECTION_INGRESS], *out = &rate[DIRECTION_EGRESS];
	bool red = view->color && totals->lost;

	/* What matters most comes first, for the end may be cut off. */
	snprintf(line, sizeof(line),
		 "%u flows, %llu packets lost, in %s bit/s %s pkt/s, out %s bit/s %s pkt/s on %s",
		 totals->flows, (unsigned long long)totals->lost,
		 print_number(in_bits, (double)in->octets * 8 / view->seconds),
		 print_number(in_packets, (double)in->packets / view->seconds),
		 print_number(out_bits, (double)out->octets * 8 / view->seconds),
		 print_number(out_packets, (double)out->packets / view->seconds),
		 totals->interfaces);
	make_printable(line);
	if (red)
		fprintf(file, "\033[31m");
	fprintf(file, "%.*s", (int)view->columns, line);
	fprintf(file, red ? "\033[0m\n" : "\n");
}
