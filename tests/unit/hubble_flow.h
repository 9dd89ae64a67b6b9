/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Names, numbers and types of Hubble's messages, as api/v1/flow/flow.proto and api/v1/observer/observer.proto of Cilium
 * define them: what is asked of JSON that calls itself Hubble's.  Messages that no record could fill are left out.
 */
enum hubble_type {
	HUBBLE_STRING,
	HUBBLE_BOOL,
	HUBBLE_UINT32,
	HUBBLE_INT32,
	HUBBLE_TIME, /* google.protobuf.Timestamp: RFC 3339 */
	HUBBLE_ANY,  /* google.protobuf.Any: "@type", and what that says */
	HUBBLE_ENUM,
	HUBBLE_MESSAGE,
};

/* clang-format off */
static const struct {
	const char *message, *name;
	unsigned int number;
	enum hubble_type type;
	const char *of; /* name of the enum or message */
	bool oneof;	/* no other field of the message is there */
} hubble_fields[] = {
	{"GetFlowsResponse", "flow", 1, HUBBLE_MESSAGE, "Flow", false},
	{"GetFlowsResponse", "node_name", 1000, HUBBLE_STRING, NULL, false},
	{"GetFlowsResponse", "time", 1001, HUBBLE_TIME, NULL, false},
	{"Flow", "time", 1, HUBBLE_TIME, NULL, false},
	{"Flow", "uuid", 34, HUBBLE_STRING, NULL, false},
	{"Flow", "verdict", 2, HUBBLE_ENUM, "Verdict", false},
	{"Flow", "drop_reason", 3, HUBBLE_UINT32, NULL, false},
	{"Flow", "ethernet", 4, HUBBLE_MESSAGE, "Ethernet", false},
	{"Flow", "IP", 5, HUBBLE_MESSAGE, "IP", false},
	{"Flow", "l4", 6, HUBBLE_MESSAGE, "Layer4", false},
	{"Flow", "Type", 10, HUBBLE_ENUM, "FlowType", false},
	{"Flow", "node_name", 11, HUBBLE_STRING, NULL, false},
	{"Flow", "event_type", 19, HUBBLE_MESSAGE, "CiliumEventType", false},
	{"Flow", "traffic_direction", 22, HUBBLE_ENUM, "TrafficDirection", false},
	{"Flow", "trace_observation_point", 24, HUBBLE_ENUM, "TraceObservationPoint", false},
	{"Flow", "drop_reason_desc", 25, HUBBLE_ENUM, "DropReason", false},
	{"Flow", "interface", 28, HUBBLE_MESSAGE, "NetworkInterface", false},
	{"Flow", "extensions", 150000, HUBBLE_ANY, NULL, false},
	{"Flow", "Summary", 100000, HUBBLE_STRING, NULL, false},
	{"Layer4", "TCP", 1, HUBBLE_MESSAGE, "TCP", true},
	{"Layer4", "UDP", 2, HUBBLE_MESSAGE, "UDP", true},
	{"Layer4", "ICMPv4", 3, HUBBLE_MESSAGE, "ICMPv4", true},
	{"Layer4", "ICMPv6", 4, HUBBLE_MESSAGE, "ICMPv6", true},
	{"Layer4", "SCTP", 5, HUBBLE_MESSAGE, "SCTP", true},
	{"TCP", "source_port", 1, HUBBLE_UINT32, NULL, false},
	{"TCP", "destination_port", 2, HUBBLE_UINT32, NULL, false},
	{"TCP", "flags", 3, HUBBLE_MESSAGE, "TCPFlags", false},
	{"UDP", "source_port", 1, HUBBLE_UINT32, NULL, false},
	{"UDP", "destination_port", 2, HUBBLE_UINT32, NULL, false},
	{"SCTP", "source_port", 1, HUBBLE_UINT32, NULL, false},
	{"SCTP", "destination_port", 2, HUBBLE_UINT32, NULL, false},
	{"ICMPv4", "type", 1, HUBBLE_UINT32, NULL, false},
	{"ICMPv4", "code", 2, HUBBLE_UINT32, NULL, false},
	{"ICMPv6", "type", 1, HUBBLE_UINT32, NULL, false},
	{"ICMPv6", "code", 2, HUBBLE_UINT32, NULL, false},
	{"IP", "source", 1, HUBBLE_STRING, NULL, false},
	{"IP", "destination", 2, HUBBLE_STRING, NULL, false},
	{"IP", "ipVersion", 3, HUBBLE_ENUM, "IPVersion", false},
	{"IP", "encrypted", 4, HUBBLE_BOOL, NULL, false},
	{"Ethernet", "source", 1, HUBBLE_STRING, NULL, false},
	{"Ethernet", "destination", 2, HUBBLE_STRING, NULL, false},
	{"TCPFlags", "FIN", 1, HUBBLE_BOOL, NULL, false},
	{"TCPFlags", "SYN", 2, HUBBLE_BOOL, NULL, false},
	{"TCPFlags", "RST", 3, HUBBLE_BOOL, NULL, false},
	{"TCPFlags", "PSH", 4, HUBBLE_BOOL, NULL, false},
	{"TCPFlags", "ACK", 5, HUBBLE_BOOL, NULL, false},
	{"TCPFlags", "URG", 6, HUBBLE_BOOL, NULL, false},
	{"TCPFlags", "ECE", 7, HUBBLE_BOOL, NULL, false},
	{"TCPFlags", "CWR", 8, HUBBLE_BOOL, NULL, false},
	{"TCPFlags", "NS", 9, HUBBLE_BOOL, NULL, false},
	{"CiliumEventType", "type", 1, HUBBLE_INT32, NULL, false},
	{"CiliumEventType", "sub_type", 2, HUBBLE_INT32, NULL, false},
	{"NetworkInterface", "index", 1, HUBBLE_UINT32, NULL, false},
	{"NetworkInterface", "name", 2, HUBBLE_STRING, NULL, false},
};

static const struct {
	const char *type, *name;
	int number;
} hubble_enums[] = {
	{"Verdict", "VERDICT_UNKNOWN", 0}, {"Verdict", "FORWARDED", 1}, {"Verdict", "DROPPED", 2}, {"Verdict", "ERROR", 3},
	{"Verdict", "AUDIT", 4}, {"Verdict", "REDIRECTED", 5}, {"Verdict", "TRACED", 6}, {"Verdict", "TRANSLATED", 7},
	{"FlowType", "UNKNOWN_TYPE", 0}, {"FlowType", "L3_L4", 1}, {"FlowType", "L7", 2}, {"FlowType", "SOCK", 3},
	{"IPVersion", "IP_NOT_USED", 0}, {"IPVersion", "IPv4", 1}, {"IPVersion", "IPv6", 2},
	{"TrafficDirection", "TRAFFIC_DIRECTION_UNKNOWN", 0}, {"TrafficDirection", "INGRESS", 1},
	{"TrafficDirection", "EGRESS", 2},
	{"TraceObservationPoint", "FROM_NETWORK", 10}, {"TraceObservationPoint", "TO_NETWORK", 11},
	{"DropReason", "DROP_REASON_UNKNOWN", 0}, {"DropReason", "INVALID_SOURCE_MAC", 130},
	{"DropReason", "INVALID_DESTINATION_MAC", 131}, {"DropReason", "INVALID_SOURCE_IP", 132},
	{"DropReason", "POLICY_DENIED", 133}, {"DropReason", "INVALID_PACKET_DROPPED", 134},
	{"DropReason", "CT_TRUNCATED_OR_INVALID_HEADER", 135}, {"DropReason", "CT_MISSING_TCP_ACK_FLAG", 136},
	{"DropReason", "CT_UNKNOWN_L4_PROTOCOL", 137}, {"DropReason", "UNSUPPORTED_L3_PROTOCOL", 139},
	{"DropReason", "UNKNOWN_L4_PROTOCOL", 142}, {"DropReason", "STALE_OR_UNROUTABLE_IP", 151},
	{"DropReason", "INVALID_IPV6_EXTENSION_HEADER", 156}, {"DropReason", "IP_FRAGMENTATION_NOT_SUPPORTED", 157},
	{"DropReason", "LOCAL_HOST_IS_UNREACHABLE", 164}, {"DropReason", "UNSUPPORTED_L2_PROTOCOL", 166},
	{"DropReason", "FIB_LOOKUP_FAILED", 169}, {"DropReason", "POLICY_DENY", 181}, {"DropReason", "VLAN_FILTERED", 182},
	{"DropReason", "INVALID_VNI", 183}, {"DropReason", "TTL_EXCEEDED", 196},
};
/* clang-format on */
