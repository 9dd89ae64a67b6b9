/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <errno.h>
#include <string.h>
#include "exporter/export/format/fields.h"
#include "exporter/observe/record_view.h"
#include "exporter/observe/text.h"

#define PROTOCOL_DCCP	 33
#define PROTOCOL_SCTP	 132
#define PROTOCOL_UDPLITE 136

#define TCP_SYN 0x02
#define TCP_ACK 0x10

bool record_view_has_ports(uint8_t protocol)
{
	return protocol == IPPROTO_TCP || protocol == IPPROTO_UDP || protocol == PROTOCOL_SCTP ||
	       protocol == PROTOCOL_DCCP || protocol == PROTOCOL_UDPLITE;
}

uint16_t record_view_service(uint16_t src_port, uint16_t dst_port, uint16_t tcp_flags,
			     uint64_t packets)
{
	if ((tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN)
		return dst_port;
	if ((tcp_flags & TCP_SYN) && packets == 1)
		return src_port;
	return !src_port || (dst_port && dst_port < src_port) ? dst_port : src_port;
}

static void copy_name(char to[VIEW_NAME_MAX], const char *name)
{
	snprintf(to, VIEW_NAME_MAX, "%s", name);
}

/* What follows from the rest, in both kinds of views. */
static void finish(struct record_view *v)
{
	bool icmp = v->protocol == (v->ip_version == 6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP);

	if (!(v->parts & VIEW_PROTOCOL) || !icmp)
		v->parts &= ~(unsigned int)VIEW_ICMP;
	/* Both are 0 in a fragment that holds no transport header. */
	if (!record_view_has_ports(v->protocol) || (!v->src_port && !v->dst_port)) {
		v->parts &= ~(unsigned int)VIEW_PORTS;
		v->src_port = v->dst_port = 0;
	}
	if (v->protocol != IPPROTO_TCP)
		v->parts &= ~(unsigned int)VIEW_TCP_FLAGS;
	if (!(v->parts & VIEW_ICMP))
		v->icmp_type = v->icmp_code = 0;
	if (!(v->parts & VIEW_TCP_FLAGS))
		v->tcp_flags = 0;
	if (!(v->parts & VIEW_VLAN))
		v->vlan = v->inner_vlan = 0;
	if (v->end_ms < v->start_ms)
		v->end_ms = v->start_ms;
}

/* --- The exporter's own: each value as fields.def makes it. */

static uint64_t wall_ms(uint64_t ns, const struct record_context *context)
{
	return (ns + (uint64_t)context->offset_ns) / NSEC_PER_MSEC;
}

static void view_drop(struct record_view *v, const struct drop_reason *reason)
{
	v->parts |= VIEW_DROP;
	if (!reason)
		return;
	copy_name(v->drop_reason, reason->name);
	copy_name(v->drop_class, drop_class_name(reason->class));
}

void record_view_of_flow(struct record_view *ret, const struct flow *flow,
			 const struct record_context *context)
{
	uint16_t icmp = flow_icmp(flow, flow_is_ipv6(flow) ? IPPROTO_ICMPV6 : IPPROTO_ICMP);
	struct record_view v = {
		.parts = VIEW_TIMES | VIEW_ADDRESSES | VIEW_PORTS | VIEW_ICMP | VIEW_PROTOCOL |
			 VIEW_DIRECTION | VIEW_VLAN | VIEW_TOS | VIEW_COUNTERS,
		.start_ms = wall_ms(flow->record.first_ns, context),
		.end_ms = wall_ms(flow_last_ns(flow), context),
		.packets = flow->record.packets,
		.octets = flow->record.octets,
		.src_port = ntohs(flow->key.src_port),
		.dst_port = ntohs(flow->key.dst_port),
		.vlan = flow->key.outer_vlan,
		.inner_vlan = flow->key.inner_vlan,
		.ifindex = flow->key.ifindex,
		.ip_version = flow_is_ipv6(flow) ? 6 : 4,
		.protocol = flow->key.protocol,
		.icmp_type = (uint8_t)(icmp >> 8),
		.icmp_code = (uint8_t)icmp,
		.direction = flow_is_egress(flow),
		.tos = flow->record.tos,
	};

	memcpy(v.src, flow->key.src, flow_is_ipv6(flow) ? 16 : 4);
	memcpy(v.dst, flow->key.dst, flow_is_ipv6(flow) ? 16 : 4);
	if (v.ifindex)
		v.parts |= VIEW_INTERFACE;
	copy_name(v.interface, flow_interface(flow, context)->name);
	if (flow_is_drop(flow)) {
		view_drop(&v, flow->drop);
	} else {
		v.parts |= VIEW_TCP_FLAGS;
		v.tcp_flags = flow->record.tcp_flags;
		v.end_reason = (uint8_t)flow->end;
		if (v.end_reason)
			v.parts |= VIEW_END_REASON;
	}
	finish(&v);
	*ret = v;
}

/* --- Of JSON. */

/* One whole number up to `most`, as a number or as its digits. */
static bool json_number(const json_t *value, uint64_t most, uint64_t *ret)
{
	const char *text = json_string_value(value);
	unsigned long long number;
	char *end;

	if (json_is_integer(value)) {
		if (json_integer_value(value) < 0)
			return false;
		number = (unsigned long long)json_integer_value(value);
	} else if (text && *text >= '0' && *text <= '9') {
		errno = 0;
		number = strtoull(text, &end, 0);
		if (*end || errno)
			return false;
	} else {
		return false;
	}
	if (number > most)
		return false;
	*ret = number;
	return true;
}

/* Digits of a fraction of a second behind `*text`, as ms; what is finer is cut. */
static unsigned int fraction_ms(const char **text)
{
	unsigned int ms = 0, unit = 100;

	if (**text != '.' && **text != ',')
		return 0;
	for ((*text)++; **text >= '0' && **text <= '9'; (*text)++) {
		ms += (unsigned int)(**text - '0') * unit;
		unit /= 10;
	}
	return ms;
}

/* "Z", "+02:00", "-0130", or nothing, which is UTC: seconds to take off.  False: something else. */
static bool read_zone(const char *text, long *ret_seconds)
{
	int hours, minutes = 0, used = 0;

	*ret_seconds = 0;
	if (!strcmp(text, "Z") || !strcmp(text, "z") || !*text)
		return true;
	if (*text != '+' && *text != '-')
		return false;
	if ((sscanf(text + 1, "%2d:%2d%n", &hours, &minutes, &used) != 2 || text[1 + used]) &&
	    (sscanf(text + 1, "%2d%2d%n", &hours, &minutes, &used) != 2 || text[1 + used]))
		return false;
	if (hours < 0 || hours > 23 || minutes < 0 || minutes > 59)
		return false;
	*ret_seconds = (*text == '-' ? -1 : 1) * (hours * 3600L + minutes * 60L);
	return true;
}

/* ISO 8601, as RFC 3339 has it; the zone may be left out, and a blank stand for the T. */
static bool read_iso_time(const char *text, uint64_t *ret_ms)
{
	struct tm tm = {0};
	const char *rest = strptime(text, "%Y-%m-%d", &tm);
	unsigned int ms;
	time_t time;
	long zone;

	if (!rest || (*rest != 'T' && *rest != 't' && *rest != ' '))
		return false;
	rest = strptime(rest + 1, "%H:%M:%S", &tm);
	if (!rest)
		return false;
	ms = fraction_ms(&rest);
	if (!read_zone(rest, &zone))
		return false;
	time = timegm(&tm) - zone;
	if (time < 0)
		return false;
	*ret_ms = (uint64_t)time * 1000 + ms;
	return true;
}

/* What a key says, and how a number there becomes what a view has. */
enum key_meaning {
	KEY_SRC4,
	KEY_DST4,
	KEY_SRC6,
	KEY_DST6,
	KEY_SRC_PORT,
	KEY_DST_PORT,
	KEY_PROTOCOL,
	KEY_TOS,
	KEY_DSCP,
	KEY_TCP_FLAGS,
	KEY_ICMP,
	KEY_ICMP_TYPE,
	KEY_ICMP_CODE,
	KEY_DIRECTION,
	KEY_INTERFACE,
	KEY_INTERFACE_NAME,
	KEY_VLAN,
	KEY_INNER_VLAN,
	KEY_START,
	KEY_END,
	KEY_DURATION,
	KEY_END_REASON,
	KEY_PACKETS,
	KEY_OCTETS,
	KEY_DROPPED_PACKETS,
	KEY_DROPPED_OCTETS,
	KEY_DROP_REASON,
	KEY_DROP_CLASS,
	KEY_DROP_FUNCTION,
};

/*
 * `scale`: of times, the units in a second; of counters, 1: since the last record; of interfaces, flowDirection.  The
 * first of several that mean the same is not overruled by what says less, so the order of rows matters.
 */
static const struct key {
	const char *name;
	enum key_meaning meaning;
	uint64_t scale;
} keys[] = {
	{"sourceIPv4Address", KEY_SRC4, 0},
	{"destinationIPv4Address", KEY_DST4, 0},
	{"sourceIPv6Address", KEY_SRC6, 0},
	{"destinationIPv6Address", KEY_DST6, 0},
	{"sourceTransportPort", KEY_SRC_PORT, 0},
	{"destinationTransportPort", KEY_DST_PORT, 0},
	{"tcpSourcePort", KEY_SRC_PORT, 0},
	{"tcpDestinationPort", KEY_DST_PORT, 0},
	{"udpSourcePort", KEY_SRC_PORT, 0},
	{"udpDestinationPort", KEY_DST_PORT, 0},
	{"protocolIdentifier", KEY_PROTOCOL, 0},
	{"ipClassOfService", KEY_TOS, 0},
	{"ipDiffServCodePoint", KEY_DSCP, 0},
	{"tcpControlBits", KEY_TCP_FLAGS, 0},
	{"icmpTypeCodeIPv4", KEY_ICMP, 0},
	{"icmpTypeCodeIPv6", KEY_ICMP, 0},
	{"icmpTypeIPv4", KEY_ICMP_TYPE, 0},
	{"icmpTypeIPv6", KEY_ICMP_TYPE, 0},
	{"icmpCodeIPv4", KEY_ICMP_CODE, 0},
	{"icmpCodeIPv6", KEY_ICMP_CODE, 0},
	{"flowDirection", KEY_DIRECTION, 0},
	{"ingressInterface", KEY_INTERFACE, 0},
	{"egressInterface", KEY_INTERFACE, 1},
	{"interfaceName", KEY_INTERFACE_NAME, 0},
	{"vlanId", KEY_VLAN, 0},
	{"postVlanId", KEY_VLAN, 0},
	{"dot1qVlanId", KEY_VLAN, 0},
	{"dot1qCustomerVlanId", KEY_INNER_VLAN, 0},
	{"flowStartMilliseconds", KEY_START, 1000},
	{"flowStartSeconds", KEY_START, 1},
	{"flowStartMicroseconds", KEY_START, 1000000},
	{"flowStartNanoseconds", KEY_START, NSEC_PER_SEC},
	{"flowEndMilliseconds", KEY_END, 1000},
	{"flowEndSeconds", KEY_END, 1},
	{"flowEndMicroseconds", KEY_END, 1000000},
	{"flowEndNanoseconds", KEY_END, NSEC_PER_SEC},
	{"flowDurationMilliseconds", KEY_DURATION, 1000},
	{"flowDurationMicroseconds", KEY_DURATION, 1000000},
	{"flowEndReason", KEY_END_REASON, 0},
	{"packetDeltaCount", KEY_PACKETS, 1},
	{"octetDeltaCount", KEY_OCTETS, 1},
	{"packetTotalCount", KEY_PACKETS, 0},
	{"octetTotalCount", KEY_OCTETS, 0},
	{"droppedPacketDeltaCount", KEY_DROPPED_PACKETS, 0},
	{"droppedOctetDeltaCount", KEY_DROPPED_OCTETS, 0},
	{"dropReasonName", KEY_DROP_REASON, 0},
	{"dropClass", KEY_DROP_CLASS, 0},
	{"dropFunction", KEY_DROP_FUNCTION, 0},
};

/* A view that is being made, and what is only needed meanwhile. */
struct reading {
	struct record_view view;
	uint32_t interfaces[2]; /* ingress, egress */
	uint64_t total[2];	/* packets, octets since the flow's start, where no delta is told */
	uint64_t duration_ms;
	bool has_start, has_end, has_delta[2], has_total[2], has_interface, has_icmp;
};

static bool take_address(struct reading *r, const json_t *value, int family, uint8_t *to)
{
	const char *text = json_string_value(value);
	uint8_t address[16] = {0};

	if (!text || inet_pton(family, text, address) != 1)
		return false;
	memcpy(to, address, sizeof(address));
	r->view.ip_version = family == AF_INET6 ? 6 : 4;
	r->view.parts |= VIEW_ADDRESSES;
	return true;
}

static bool take_name(const json_t *value, char to[VIEW_NAME_MAX])
{
	const char *text = json_string_value(value);

	if (!text)
		return false;
	copy_name(to, text);
	return true;
}

/* ms since 1970, or a time as text. */
static bool take_time(const json_t *value, uint64_t scale, uint64_t *ret_ms)
{
	const char *text = json_string_value(value);
	uint64_t number;

	if (text && read_iso_time(text, ret_ms))
		return true;
	if (!json_number(value, UINT64_MAX, &number))
		return false;
	if (scale >= 1000)
		*ret_ms = number / (scale / 1000);
	else
		*ret_ms = number > UINT64_MAX / 1000 ? UINT64_MAX : number * 1000;
	return true;
}

static bool take_counter(struct reading *r, const struct key *key, const json_t *value)
{
	unsigned int i = key->meaning == KEY_OCTETS || key->meaning == KEY_DROPPED_OCTETS;
	bool drop = key->meaning == KEY_DROPPED_PACKETS || key->meaning == KEY_DROPPED_OCTETS;
	uint64_t number;

	if (!json_number(value, UINT64_MAX, &number))
		return false;
	if (!drop && !key->scale) {
		r->total[i] = number;
		r->has_total[i] = true;
		return true;
	}
	*(i ? &r->view.octets : &r->view.packets) = number;
	r->has_delta[i] = true;
	if (drop)
		r->view.parts |= VIEW_DROP;
	return true;
}

/* Names: what is of a drop makes a view one. */
static bool take_text(struct reading *r, enum key_meaning meaning, const json_t *value)
{
	struct record_view *v = &r->view;
	bool taken;

	if (meaning == KEY_INTERFACE_NAME)
		return take_name(value, v->interface);
	taken = take_name(value, meaning == KEY_DROP_REASON  ? v->drop_reason
				 : meaning == KEY_DROP_CLASS ? v->drop_class
							     : v->drop_function);
	if (taken)
		v->parts |= VIEW_DROP;
	return taken;
}

static bool take_ports(struct reading *r, enum key_meaning meaning, uint64_t number)
{
	uint16_t *port = meaning == KEY_SRC_PORT ? &r->view.src_port : &r->view.dst_port;

	if (!*port)
		*port = (uint16_t)number;
	r->view.parts |= VIEW_PORTS;
	return true;
}

static bool take_icmp(struct reading *r, enum key_meaning meaning, uint64_t number)
{
	struct record_view *v = &r->view;

	/* Records of IPv4 may have the element of IPv6 as well, at 0. */
	if (r->has_icmp && !number)
		return true;
	if (meaning != KEY_ICMP_CODE)
		v->icmp_type = (uint8_t)(meaning == KEY_ICMP ? number >> 8 : number);
	if (meaning != KEY_ICMP_TYPE)
		v->icmp_code = (uint8_t)number;
	v->parts |= VIEW_ICMP;
	r->has_icmp = true;
	return true;
}

/* Of vlanId and postVlanId one is 0. */
static bool take_vlan(struct reading *r, enum key_meaning meaning, uint64_t number)
{
	if (number)
		*(meaning == KEY_VLAN ? &r->view.vlan : &r->view.inner_vlan) = (uint16_t)number;
	r->view.parts |= VIEW_VLAN;
	return true;
}

static bool take_part(struct record_view *v, unsigned int part, uint8_t *to, uint64_t number)
{
	*to = (uint8_t)number;
	v->parts |= part;
	return true;
}

/* All that is a number up to 32 bits. */
static bool take_number(struct reading *r, const struct key *key, const json_t *value)
{
	struct record_view *v = &r->view;
	uint64_t number;

	if (!json_number(value, UINT32_MAX, &number))
		return false;
	if (key->meaning == KEY_INTERFACE) {
		r->interfaces[key->scale] = (uint32_t)number;
		return r->has_interface = true;
	}
	if (number > UINT16_MAX)
		return false;
	switch (key->meaning) {
	case KEY_SRC_PORT:
	case KEY_DST_PORT:
		return take_ports(r, key->meaning, number);
	case KEY_ICMP:
		return take_icmp(r, key->meaning, number);
	case KEY_VLAN:
	case KEY_INNER_VLAN:
		return number <= 4095 && take_vlan(r, key->meaning, number);
	case KEY_TCP_FLAGS:
		v->tcp_flags = (uint16_t)(number & 0xfff);
		v->parts |= VIEW_TCP_FLAGS;
		return true;
	default:
		break;
	}
	if (number > UINT8_MAX)
		return false;
	switch (key->meaning) {
	case KEY_ICMP_TYPE:
	case KEY_ICMP_CODE:
		return take_icmp(r, key->meaning, number);
	case KEY_PROTOCOL:
		return take_part(v, VIEW_PROTOCOL, &v->protocol, number);
	case KEY_TOS:
		return take_part(v, VIEW_TOS, &v->tos, number);
	case KEY_DSCP:
		return number <= 63 &&
		       ((v->parts & VIEW_TOS) || take_part(v, VIEW_TOS, &v->tos, number << 2));
	case KEY_DIRECTION:
		return number <= 1 && take_part(v, VIEW_DIRECTION, &v->direction, number);
	case KEY_END_REASON:
		return take_part(v, number ? VIEW_END_REASON : 0, &v->end_reason, number);
	default:
		return false;
	}
}

static bool take(struct reading *r, const struct key *key, const json_t *value)
{
	struct record_view *v = &r->view;

	switch (key->meaning) {
	case KEY_SRC4:
		return take_address(r, value, AF_INET, v->src);
	case KEY_DST4:
		return take_address(r, value, AF_INET, v->dst);
	case KEY_SRC6:
		return take_address(r, value, AF_INET6, v->src);
	case KEY_DST6:
		return take_address(r, value, AF_INET6, v->dst);
	case KEY_START:
		return r->has_start || (r->has_start = take_time(value, key->scale, &v->start_ms));
	case KEY_END:
		return r->has_end || (r->has_end = take_time(value, key->scale, &v->end_ms));
	case KEY_DURATION:
		return take_time(value, key->scale, &r->duration_ms);
	case KEY_PACKETS:
	case KEY_OCTETS:
	case KEY_DROPPED_PACKETS:
	case KEY_DROPPED_OCTETS:
		return take_counter(r, key, value);
	case KEY_INTERFACE_NAME:
	case KEY_DROP_REASON:
	case KEY_DROP_CLASS:
	case KEY_DROP_FUNCTION:
		return take_text(r, key->meaning, value);
	default:
		return take_number(r, key, value);
	}
}

static void finish_times(struct reading *r)
{
	struct record_view *v = &r->view;

	if (!r->has_start && !r->has_end)
		return;
	v->parts |= VIEW_TIMES;
	if (!r->has_end)
		v->end_ms = v->start_ms + r->duration_ms;
	if (!r->has_start)
		v->start_ms = v->end_ms - MIN(v->end_ms, r->duration_ms);
}

static void finish_interface(struct reading *r)
{
	struct record_view *v = &r->view;

	v->ifindex = r->interfaces[v->direction] ? r->interfaces[v->direction]
						 : r->interfaces[!v->direction];
	if (v->ifindex || v->interface[0])
		v->parts |= VIEW_INTERFACE;
}

static void finish_reading(struct reading *r)
{
	struct record_view *v = &r->view;
	const struct drop_reason *reason;

	finish_times(r);
	finish_interface(r);
	if (!r->has_delta[0] && r->has_total[0])
		v->packets = r->total[0];
	if (!r->has_delta[1] && r->has_total[1])
		v->octets = r->total[1];
	if (r->has_delta[0] || r->has_delta[1] || r->has_total[0] || r->has_total[1])
		v->parts |= VIEW_COUNTERS;
	/* As it is where the ICMP element is missing. */
	if (!r->has_icmp && v->parts & VIEW_PORTS) {
		v->icmp_type = (uint8_t)(v->dst_port >> 8);
		v->icmp_code = (uint8_t)v->dst_port;
		v->parts |= VIEW_ICMP;
	}
	reason = v->drop_reason[0] && !v->drop_class[0] ? drop_reason_text(v->drop_reason) : NULL;
	if (reason)
		copy_name(v->drop_class, drop_class_name(reason->class));
	finish(v);
}

int record_view_of_json(struct record_view *ret, const json_t *object)
{
	struct reading r = {0};
	bool any = false;

	if (!json_is_object(object))
		return -EINVAL;
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		const json_t *value = json_object_get(object, keys[i].name);

		if (value && take(&r, &keys[i], value))
			any = true;
	}
	if (!any)
		return -EINVAL;
	finish_reading(&r);
	*ret = r.view;
	return 0;
}
