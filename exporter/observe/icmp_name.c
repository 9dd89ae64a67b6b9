/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/observe/icmp_name.h"

static const struct icmp_name names[2][16] = {
	[0] = /* IPv4 */
	{
		{0, "EchoReply", {NULL}},
		{3,
		 "DestinationUnreachable",
		 {"Net", "Host", "Protocol", "Port", "FragmentationNeeded", "SourceRoutingFailed",
		  "NetUnknown", "HostUnknown", "SourceIsolated", "NetAdminProhibited",
		  "HostAdminProhibited", "NetTOS", "HostTOS", "CommAdminProhibited",
		  "HostPrecedence", "PrecedenceCutoff"}},
		{4, "SourceQuench", {NULL}},
		{5, "Redirect", {"Net", "Host", "TOS+Net", "TOS+Host"}},
		{8, "EchoRequest", {NULL}},
		{9, "RouterAdvertisement", {NULL}},
		{10, "RouterSolicitation", {NULL}},
		{11, "TimeExceeded", {"TTLExceeded", "FragmentReassemblyTimeExceeded"}},
		{12, "ParameterProblem", {"PointerIndicatesError", "MissingOption", "BadLength"}},
		{13, "TimestampRequest", {NULL}},
		{14, "TimestampReply", {NULL}},
		{15, "InfoRequest", {NULL}},
		{16, "InfoReply", {NULL}},
		{17, "AddressMaskRequest", {NULL}},
		{18, "AddressMaskReply", {NULL}},
	},
	[1] = /* IPv6 */
	{
		{1,
		 "DestinationUnreachable",
		 {"NoRouteToDst", "AdminProhibited", "BeyondScopeOfSrc", "AddressUnreachable",
		  "PortUnreachable", "SrcAddressFailedPolicy", "RejectRouteToDst"}},
		{2, "PacketTooBig", {NULL}},
		{3, "TimeExceeded", {"HopLimitExceeded", "FragmentReassemblyTimeExceeded"}},
		{4,
		 "ParameterProblem",
		 {"ErroneousHeader", "UnrecognizedNextHeader", "UnrecognizedIPv6Option"}},
		{128, "EchoRequest", {NULL}},
		{129, "EchoReply", {NULL}},
		{130, "MLDv1MulticastListenerQueryMessage", {NULL}},
		{131, "MLDv1MulticastListenerReportMessage", {NULL}},
		{132, "MLDv1MulticastListenerDoneMessage", {NULL}},
		{133, "RouterSolicitation", {NULL}},
		{134, "RouterAdvertisement", {NULL}},
		{135, "NeighborSolicitation", {NULL}},
		{136, "NeighborAdvertisement", {NULL}},
		{137, "Redirect", {NULL}},
		{143, "MLDv2MulticastListenerReportMessageV2", {NULL}},
	},
};

const struct icmp_name *icmp_name_find(unsigned int version, unsigned int type)
{
	const struct icmp_name *list = names[version == 6];

	for (size_t i = 0; i < ARRAY_SIZE(names[0]) && list[i].name; i++)
		if (list[i].type == type)
			return &list[i];
	return NULL;
}
