/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <inttypes.h>
#include <string.h>
#include <time.h>
#include "exporter/observe/icmp_name.h"
#include "exporter/observe/ledger.h"
#include "exporter/observe/record_hubble.h"
#include "exporter/observe/text.h"
#include "exporter/util.h"

/* Types of events, and of these the sub-types of flows: pkg/monitor/api of Cilium. */
#define EVENT_DROP	   1
#define EVENT_TRACE	   4
#define TRACE_FROM_NETWORK 10
#define TRACE_TO_NETWORK   11

/* Few of the kernel's reasons are what Hubble has a name for; the others are told by the kernel's own, in extensions. */
static const struct {
	const char *kernel, *hubble;
	unsigned int number;
} reasons[] = {
	{"NETFILTER_DROP", "POLICY_DENIED", 133},
	{"BPF_CGROUP_EGRESS", "POLICY_DENIED", 133},
	{"MAC_INVALID_SOURCE", "INVALID_SOURCE_MAC", 130},
	{"IP_INVALID_SOURCE", "INVALID_SOURCE_IP", 132},
	{"IP_NOPROTO", "UNKNOWN_L4_PROTOCOL", 142},
	{"UNHANDLED_PROTO", "UNSUPPORTED_L3_PROTOCOL", 139},
	{"IPV6_BAD_EXTHDR", "INVALID_IPV6_EXTENSION_HEADER", 156},
	{"IP_OUTNOROUTES", "FIB_LOOKUP_FAILED", 169},
	{"IP_INNOROUTES", "FIB_LOOKUP_FAILED", 169},
	{"VXLAN_VNI_NOT_FOUND", "INVALID_VNI", 183},
};

unsigned int hubble_drop_reason(const char *kernel_name, const char **ret_name)
{
	for (size_t i = 0; i < ARRAY_SIZE(reasons); i++) {
		if (strcmp(reasons[i].kernel, kernel_name) == 0) {
			*ret_name = reasons[i].hubble;
			return reasons[i].number;
		}
	}
	*ret_name = "DROP_REASON_UNKNOWN";
	return 0;
}

const char *hubble_drop_reason_kernel(const char *hubble_name, unsigned int i)
{
	for (size_t row = 0; row < ARRAY_SIZE(reasons); row++)
		if (!strcasecmp(reasons[row].hubble, hubble_name) && i-- == 0)
			return reasons[row].kernel;
	return NULL;
}

/* --- The summary. */

static const struct {
	uint16_t bit;
	const char *name;
} flags[] = {
	{0x002, "SYN"}, {0x010, "ACK"}, {0x004, "RST"}, {0x001, "FIN"}, {0x008, "PSH"},
	{0x020, "URG"}, {0x040, "ECE"}, {0x080, "CWR"}, {0x100, "NS"},
};

static void print_flags(char *text, size_t size, uint16_t bits)
{
	size_t used = 0;

	text[0] = '\0';
	for (size_t i = 0; i < ARRAY_SIZE(flags); i++)
		if (bits & flags[i].bit)
			used += (size_t)snprintf(text + used, size - used, "%s%s", used ? ", " : "",
						 flags[i].name);
}

const char *hubble_summary(char text[HUBBLE_SUMMARY_MAX], const struct record_view *view)
{
	const struct icmp_name *icmp = icmp_name_find(view->ip_version, view->icmp_type);
	char names[64], protocol[TEXT_NUMBER_MAX];

	if (view->parts & VIEW_TCP_FLAGS) {
		print_flags(names, sizeof(names), view->tcp_flags);
		snprintf(text, HUBBLE_SUMMARY_MAX, "TCP Flags: %s", *names ? names : "none");
	} else if (view->parts & VIEW_ICMP && icmp) {
		snprintf(text, HUBBLE_SUMMARY_MAX, "ICMPv%u %s", view->ip_version, icmp->name);
	} else if (view->parts & VIEW_ICMP) {
		snprintf(text, HUBBLE_SUMMARY_MAX, "ICMPv%u type %u code %u", view->ip_version,
			 view->icmp_type, view->icmp_code);
	} else if (view->parts & VIEW_PROTOCOL) {
		snprintf(text, HUBBLE_SUMMARY_MAX, "%s", text_protocol(protocol, view->protocol));
	} else {
		text[0] = '\0';
	}
	return text;
}

/* --- JSON. */

static void put_string(FILE *file, const char *text)
{
	fputc('"', file);
	for (; *text; text++) {
		if (*text < ' ' || *text > '~')
			fputc('?', file);
		else if (*text == '"' || *text == '\\')
			fprintf(file, "\\%c", *text);
		else
			fputc(*text, file);
	}
	fputc('"', file);
}

static void put_time(FILE *file, uint64_t ms)
{
	time_t seconds = (time_t)MIN(ms / 1000, 253402300799u); /* the year 9999 */
	struct tm tm = {0};
	char text[32];

	gmtime_r(&seconds, &tm);
	strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
	fprintf(file, "\"%s.%03u000000Z\"", text, (unsigned int)(ms % 1000));
}

static void put_ip(FILE *file, const struct record_view *v)
{
	int family = v->ip_version == 6 ? AF_INET6 : AF_INET;
	char src[INET6_ADDRSTRLEN], dst[INET6_ADDRSTRLEN];

	if (!(v->parts & VIEW_ADDRESSES))
		return;
	inet_ntop(family, v->src, src, sizeof(src));
	inet_ntop(family, v->dst, dst, sizeof(dst));
	fprintf(file, ",\"IP\":{\"source\":\"%s\",\"destination\":\"%s\",\"ipVersion\":\"IPv%u\"}",
		src, dst, v->ip_version);
}

static void put_tcp_flags(FILE *file, const struct record_view *v)
{
	const char *joint = "";

	if (!(v->parts & VIEW_TCP_FLAGS))
		return;
	fputs(",\"flags\":{", file);
	for (size_t i = 0; i < ARRAY_SIZE(flags); i++) {
		if (v->tcp_flags & flags[i].bit) {
			fprintf(file, "%s\"%s\":true", joint, flags[i].name);
			joint = ",";
		}
	}
	fputc('}', file);
}

static const char *l4_name(uint8_t protocol)
{
	switch (protocol) {
	case IPPROTO_TCP:
		return "TCP";
	case IPPROTO_UDP:
		return "UDP";
	case IPPROTO_SCTP:
		return "SCTP";
	default:
		return NULL;
	}
}

static void put_l4(FILE *file, const struct record_view *v)
{
	const char *name = l4_name(v->protocol);

	if (v->parts & VIEW_ICMP) {
		fprintf(file, ",\"l4\":{\"ICMPv%u\":{\"type\":%u,\"code\":%u}}", v->ip_version,
			v->icmp_type, v->icmp_code);
	} else if (v->parts & VIEW_PORTS && name) {
		fprintf(file, ",\"l4\":{\"%s\":{\"source_port\":%u,\"destination_port\":%u", name,
			v->src_port, v->dst_port);
		put_tcp_flags(file, v);
		fputs("}}", file);
	}
}

static void put_event(FILE *file, const struct record_view *v)
{
	unsigned int number;
	const char *name;

	if (v->parts & VIEW_DROP) {
		number = hubble_drop_reason(v->drop_reason, &name);
		fprintf(file, ",\"event_type\":{\"type\":%d", EVENT_DROP);
		if (number)
			fprintf(file, ",\"sub_type\":%u},\"drop_reason\":%u", number, number);
		else
			fputc('}', file);
		fprintf(file, ",\"drop_reason_desc\":\"%s\"", name);
	} else {
		fprintf(file, ",\"event_type\":{\"type\":%d", EVENT_TRACE);
		if (v->parts & VIEW_DIRECTION)
			fprintf(file, ",\"sub_type\":%d},\"trace_observation_point\":\"%s\"",
				v->direction ? TRACE_TO_NETWORK : TRACE_FROM_NETWORK,
				v->direction ? "TO_NETWORK" : "FROM_NETWORK");
		else
			fputc('}', file);
	}
	if (v->parts & VIEW_DIRECTION)
		fprintf(file, ",\"traffic_direction\":\"%s\"", v->direction ? "EGRESS" : "INGRESS");
}

static void put_interface(FILE *file, const struct record_view *v)
{
	const char *joint = "";

	if (!(v->parts & VIEW_INTERFACE))
		return;
	fputs(",\"interface\":{", file);
	if (v->ifindex) {
		fprintf(file, "\"index\":%" PRIu32, v->ifindex);
		joint = ",";
	}
	if (v->interface[0]) {
		fprintf(file, "%s\"name\":", joint);
		put_string(file, v->interface);
	}
	fputc('}', file);
}

static void put_member(FILE *file, const char *name, const char *text)
{
	if (!*text)
		return;
	fprintf(file, ",\"%s\":", name);
	put_string(file, text);
}

/* An Any of google.protobuf.Struct: what reads Hubble's flows by their definition reads this too. */
static void put_extensions(FILE *file, const struct record_view *v)
{
	fprintf(file,
		",\"extensions\":{\"@type\":\"type.googleapis.com/google.protobuf.Struct\",\"value\":"
		"{\"exporter\":\"flowtally\"");
	if (v->parts & VIEW_COUNTERS)
		fprintf(file, ",\"packets\":%" PRIu64 ",\"octets\":%" PRIu64, v->packets,
			v->octets);
	if (v->parts & VIEW_TIMES) {
		fputs(",\"end_time\":", file);
		put_time(file, v->end_ms);
		fprintf(file, ",\"duration_ms\":%" PRIu64, v->end_ms - v->start_ms);
	}
	if (v->parts & VIEW_PROTOCOL)
		fprintf(file, ",\"protocol\":%u", v->protocol);
	if (v->parts & VIEW_TOS)
		fprintf(file, ",\"tos\":%u", v->tos);
	if (v->vlan)
		fprintf(file, ",\"vlan\":%u", v->vlan);
	if (v->inner_vlan)
		fprintf(file, ",\"inner_vlan\":%u", v->inner_vlan);
	if (v->parts & VIEW_END_REASON && v->end_reason && v->end_reason < _FLOW_END_MAX)
		put_member(file, "end_reason", flow_end_name((enum flow_end)v->end_reason));
	put_member(file, "drop_reason", v->drop_reason);
	put_member(file, "drop_class", v->drop_class);
	put_member(file, "drop_function", v->drop_function);
	fputs("}}", file);
}

void hubble_print_flow(FILE *file, const struct record_view *view, const char *node)
{
	char summary[HUBBLE_SUMMARY_MAX];

	fputs("{\"flow\":{", file);
	if (view->parts & VIEW_TIMES) {
		fputs("\"time\":", file);
		put_time(file, view->start_ms);
		fputc(',', file);
	}
	fprintf(file, "\"verdict\":\"%s\"", view->parts & VIEW_DROP ? "DROPPED" : "FORWARDED");
	put_ip(file, view);
	put_l4(file, view);
	fputs(",\"Type\":\"L3_L4\",\"node_name\":", file);
	put_string(file, node);
	put_event(file, view);
	put_interface(file, view);
	put_member(file, "Summary", hubble_summary(summary, view));
	put_extensions(file, view);
	fputs("},\"node_name\":", file);
	put_string(file, node);
	if (view->parts & VIEW_TIMES) {
		fputs(",\"time\":", file);
		put_time(file, view->start_ms);
	}
	fputs("}\n", file);
}
