/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <string.h>
#include "exporter/export/format/utf8.h"
#include "exporter/observe/text.h"

const char *text_number(char text[TEXT_NUMBER_MAX], double value)
{
	static const char units[] = " kMGTPE";
	size_t unit = 0;

	while (value >= 999.5 && units[unit + 1]) {
		value /= 1000;
		unit++;
	}
	if (unit == 0)
		snprintf(text, TEXT_NUMBER_MAX, "%.0f", value);
	else
		snprintf(text, TEXT_NUMBER_MAX, "%.*f%c",
			 value < 9.995	 ? 2
			 : value < 99.95 ? 1
					 : 0,
			 value, units[unit]);
	return text;
}

const char *text_protocol(char text[TEXT_NUMBER_MAX], uint8_t protocol)
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
	snprintf(text, TEXT_NUMBER_MAX, "%u", protocol);
	return text;
}

const char *text_endpoint(char text[TEXT_ENDPOINT_MAX], const struct flow_key *key, bool source,
			  unsigned int width)
{
	bool ipv6 = key->kind & FLOW_IPV6, icmp = key->protocol == (ipv6 ? 58 : 1);
	uint16_t port = ntohs(source ? key->src_port : key->dst_port);
	char address[INET6_ADDRSTRLEN + 1] = "", tail[TEXT_NUMBER_MAX] = "";
	bool bracket = ipv6 && (icmp ? !source : port != 0);
	const char *close = bracket ? "]" : "";
	size_t room;

	inet_ntop(ipv6 ? AF_INET6 : AF_INET, source ? key->src : key->dst, address + bracket,
		  INET6_ADDRSTRLEN);
	if (bracket)
		address[0] = '[';
	if (icmp && !source)
		snprintf(tail, sizeof(tail), "%s:%u/%u", close, port >> 8, port & 255);
	else if (port)
		snprintf(tail, sizeof(tail), "%s:%u", close, port);
	room = width - strlen(tail);
	if (strlen(address) > room) {
		address[room - 1] = '~';
		address[room] = '\0';
	}
	snprintf(text, TEXT_ENDPOINT_MAX, "%s%s", address, tail);
	return text;
}

json_t *text_json(const char *text)
{
	char copy[UTF8_ESCAPED_MAX(TEXT_JSON_MAX)];

	return json_string(utf8_escape(copy, sizeof(copy), text, ""));
}

json_t *text_json_name(const char *name)
{
	char copy[UTF8_ESCAPED_MAX(TEXT_JSON_MAX)];

	return json_string(utf8_escape(copy, sizeof(copy), name, "\\"));
}

void text_make_printable(char *text)
{
	for (; *text; text++)
		if (*text < ' ' || *text > '~')
			*text = '?';
}

const char *text_interface(char text[IF_NAMESIZE], uint32_t ifindex)
{
	if (!ifindex)
		return "-";
	if (!if_indextoname(ifindex, text))
		snprintf(text, IF_NAMESIZE, "%u", ifindex);
	text_make_printable(text);
	return text;
}
