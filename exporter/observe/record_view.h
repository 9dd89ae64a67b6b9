/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * A record as people look at it, wherever it comes from: the running exporter, its control socket, a line of JSON, or a
 * message of any exporter's.  Filters (record_filter.h) and texts (record_text.h) know no other form.
 */
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct flow;
struct record_context;

/* What of a view is known; the rest of it is 0. */
enum view_part {
	VIEW_TIMES = 1 << 0,
	VIEW_ADDRESSES = 1 << 1,
	VIEW_PORTS =
		1
		<< 2, /* of protocols that have them; not of fragments without a transport header */
	VIEW_ICMP = 1 << 3,
	VIEW_PROTOCOL = 1 << 4,
	VIEW_TCP_FLAGS = 1 << 5,
	VIEW_DIRECTION = 1 << 6,
	VIEW_INTERFACE = 1 << 7,
	VIEW_VLAN = 1 << 8,
	VIEW_TOS = 1 << 9,
	VIEW_END_REASON = 1 << 10,
	VIEW_DROP = 1 << 11, /* it is of packets that the kernel dropped */
	VIEW_COUNTERS = 1 << 12,
};

#define VIEW_NAME_MAX 64

struct record_view {
	unsigned int parts; /* bit set of enum view_part */
	uint64_t start_ms;  /* since 1970 */
	uint64_t end_ms;    /* likewise */
	uint64_t packets;
	uint64_t octets; /* IP layer */
	uint8_t src[16]; /* network order; IPv4 in the first four */
	uint8_t dst[16];
	uint16_t src_port; /* host order, as all that follows */
	uint16_t dst_port;
	uint16_t tcp_flags; /* OR of the packets', 12 bits */
	uint16_t vlan;	    /* id of the outermost tag; 0: none */
	uint16_t inner_vlan;
	uint32_t ifindex;
	uint8_t ip_version; /* 4 or 6 */
	uint8_t protocol;   /* IANA number */
	uint8_t icmp_type;
	uint8_t icmp_code;
	uint8_t direction; /* flowDirection: 0 ingress, 1 egress */
	uint8_t tos;
	uint8_t end_reason;		   /* flowEndReason; 0: it goes on */
	char interface[VIEW_NAME_MAX];	   /* name, cut; empty: not known */
	char drop_reason[VIEW_NAME_MAX];   /* the kernel's name, cut */
	char drop_class[VIEW_NAME_MAX];	   /* drop_class_name() */
	char drop_function[VIEW_NAME_MAX]; /* empty: not known */
};

/* Of the exporter's own; `flow->drop` may be NULL. */
void record_view_of_flow(struct record_view *ret, const struct flow *flow,
			 const struct record_context *context);

/*
 * Of an object with the names of information elements as keys, as json: collectors get it.  Times may be texts as ISO 8601
 * has them, numbers may be their digits; keys and values that mean nothing here are passed over.  -EINVAL: it is no
 * object, or none of its keys is known.
 */
int record_view_of_json(struct record_view *ret, const json_t *object);

/* Of TCP, UDP, UDP-Lite, SCTP and DCCP. */
bool record_view_has_ports(uint8_t protocol);

/*
 * Which of two ports is the server's.  A SYN goes to it, and a SYN with ACK comes from it (RFC 9293, section 3.5); `tcp_flags`
 * are an OR, so that both in one record tell nothing unless it is of one packet.  Else it is the lesser one: clients take
 * theirs from above (RFC 6335, section 6; Linux from 32768 on), and 0 is none.
 */
uint16_t record_view_service(uint16_t src_port, uint16_t dst_port, uint16_t tcp_flags,
			     uint64_t packets);
