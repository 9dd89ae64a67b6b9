/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The same data by Hubble's names and labels, so that dashboards and alerts made for those work: flow, drop, tcp, icmp and
 * port-distribution of cilium's pkg/hubble/metrics.  What Hubble calls a flow is an event that it has seen; here it is a flow
 * in one interval of swaps.
 */
#include <string.h>
#include "exporter/observe/icmp_name.h"
#include "exporter/observe/metrics_context.h"
#include "exporter/observe/metrics_print.h"
#include "exporter/observe/metrics_writer.h"
#include "exporter/observe/snapshot.h"

typedef struct metrics_writer writer;
typedef const struct metrics_context context;

static const char *family_name(unsigned int family)
{
	return family == TRAFFIC_IPV6 ? "IPv6" : "IPv4";
}

static const char *protocol_name(unsigned int protocol, unsigned int family)
{
	switch (protocol) {
	case TRAFFIC_TCP:
		return "TCP";
	case TRAFFIC_UDP:
		return "UDP";
	case TRAFFIC_SCTP:
		return "SCTP";
	case TRAFFIC_ICMP:
		return family == TRAFFIC_IPV6 ? "ICMPv6" : "ICMPv4";
	default:
		return "Unknown L4";
	}
}

/* Protocols that have the same name are one series: all with this function's names. */
#define NAMES_MAX (_TRAFFIC_FAMILY_MAX * _TRAFFIC_PROTOCOL_MAX)

/* Calls `print` once for each name with the sum of its cells; of `counts`, [family][protocol]. */
static void each_protocol(writer *w, const uint64_t counts[][_TRAFFIC_PROTOCOL_MAX],
			  void (*print)(writer *w, const char *name, uint64_t sum, const void *arg),
			  const void *arg)
{
	const char *names[NAMES_MAX];
	uint64_t sums[NAMES_MAX];
	size_t count = 0, at;

	for (unsigned int f = 0; f < _TRAFFIC_FAMILY_MAX; f++)
		for (unsigned int p = 0; p < _TRAFFIC_PROTOCOL_MAX; p++) {
			const char *name = protocol_name(p, f);

			for (at = 0; at < count && strcmp(names[at], name) != 0; at++)
				;
			if (at == count) {
				names[count] = name;
				sums[count++] = 0;
			}
			sums[at] += counts[f][p];
		}
	for (at = 0; at < count; at++)
		if (sums[at])
			print(w, names[at], sums[at], arg);
}

static void print_flow(writer *w, const char *protocol, uint64_t sum, const void *arg)
{
	const char *const *labels = arg; /* type, subtype, verdict */

	metrics_add(w, sum, protocol, labels[0], labels[1], labels[2]);
}

void metrics_print_hubble_flows(writer *w, context *c)
{
	static const char *const labels[][3] = {
		[DIRECTION_INGRESS] = {"Trace", "from-network", "FORWARDED"},
		[DIRECTION_EGRESS] = {"Trace", "to-network", "FORWARDED"},
	};
	static const char *const drop[3] = {"Drop", "", "DROPPED"};
	const struct traffic *t = c->snapshot->traffic;

	for (int d = 0; t && d < _DIRECTION_MAX; d++)
		each_protocol(w, t->seen[RECORD_FLOW][d], print_flow, labels[d]);
	if (t)
		each_protocol(w, t->seen[RECORD_DROP][DIRECTION_INGRESS], print_flow, drop);
}

static void print_drop(writer *w, const char *protocol, uint64_t sum, const void *reason)
{
	metrics_add(w, sum, reason, protocol);
}

static void print_row(writer *w, const struct traffic_reason *row, const char *reason)
{
	uint64_t packets[_TRAFFIC_FAMILY_MAX][_TRAFFIC_PROTOCOL_MAX];

	for (int f = 0; f < _TRAFFIC_FAMILY_MAX; f++)
		for (int p = 0; p < _TRAFFIC_PROTOCOL_MAX; p++)
			packets[f][p] = row->cells[f][p].packets;
	each_protocol(w, (const uint64_t(*)[_TRAFFIC_PROTOCOL_MAX])packets, print_drop, reason);
}

void metrics_print_hubble_drops(writer *w, context *c)
{
	const struct traffic *t = c->snapshot->traffic;
	struct traffic_reason sum;

	for (uint32_t i = 0; t && i < t->reasons.count; i++) {
		const struct drop_reason *reason = metrics_recorded_reason(c, i, &sum);

		if (reason)
			print_row(w, &sum, reason->name);
	}
	if (t)
		print_row(w, &t->other_reasons, "__other__");
}

void metrics_print_hubble_flags(writer *w, context *c)
{
	static const char *const flags[_TRAFFIC_FLAG_MAX] = {"SYN", "SYN-ACK", "FIN", "RST"};
	const struct traffic *t = c->snapshot->traffic;

	for (unsigned int flag = 0; t && flag < _TRAFFIC_FLAG_MAX; flag++)
		for (unsigned int f = 0; f < _TRAFFIC_FAMILY_MAX; f++)
			metrics_add(w,
				    t->flags[flag][f][DIRECTION_INGRESS] +
					    t->flags[flag][f][DIRECTION_EGRESS],
				    flags[flag], family_name(f));
}

/* gopacket tells a type that it does not know as "TYPE(CODE)", and so a code. */
static void print_icmp_type(char *to, size_t size, unsigned int family, unsigned int type,
			    unsigned int code)
{
	const struct icmp_name *known = icmp_name_find(family == TRAFFIC_IPV6 ? 6 : 4, type);

	if (!known)
		snprintf(to, size, "%u(%u)", type, code);
	else if (!known->codes[0])
		snprintf(to, size, "%s", known->name);
	else if (code < ARRAY_SIZE(known->codes) && known->codes[code])
		snprintf(to, size, "%s(%s)", known->name, known->codes[code]);
	else
		snprintf(to, size, "%s(Code: %u)", known->name, code);
}

/* Codes without a name of their own are one series with their type's. */
void metrics_print_hubble_icmp(writer *w, context *c)
{
	const struct traffic *t = c->snapshot->traffic;
	_cleanup_(freep) struct {
		char type[96];
		unsigned int family;
		uint64_t packets;
	} *rows = calloc(TRAFFIC_ICMP_MAX, sizeof(*rows));
	size_t count = 0, at;

	w->failed |= !rows;
	for (uint32_t i = 0; t && rows && i < t->icmp.count; i++) {
		const struct traffic_icmp *row = traffic_icmp(t, i);
		const unsigned int family = row->row.key >> 16;
		char type[sizeof(rows->type)];

		print_icmp_type(type, sizeof(type), family, row->row.key >> 8 & 0xff,
				row->row.key & 0xff);
		for (at = 0; at < count; at++)
			if (rows[at].family == family && !strcmp(rows[at].type, type))
				break;
		count += at == count;
		memcpy(rows[at].type, type, sizeof(type));
		rows[at].family = family;
		rows[at].packets +=
			row->packets[DIRECTION_INGRESS] + row->packets[DIRECTION_EGRESS];
	}
	for (at = 0; at < count; at++)
		metrics_add(w, rows[at].packets, family_name(rows[at].family), rows[at].type);
	at = t ? t->other_icmp.packets[DIRECTION_INGRESS] + t->other_icmp.packets[DIRECTION_EGRESS]
	       : 0;
	if (at)
		metrics_add(w, at, "__other__", "__other__");
}

/* ICMP has port 0 there.  Replies, whose destination is the client's port, are left out, as far as ports tell. */
void metrics_print_hubble_ports(writer *w, context *c)
{
	const struct traffic *t = c->snapshot->traffic;
	char port[16];

	for (uint32_t i = 0; t && i < t->ports.count; i++) {
		const struct traffic_port *row = traffic_port(t, i);

		snprintf(port, sizeof(port), "%u", row->row.key & 0xffff);
		if (row->flows)
			metrics_add(w, row->flows, protocol_name(row->row.key >> 16, 0), port);
	}
	for (unsigned int f = 0; t && f < _TRAFFIC_FAMILY_MAX; f++) {
		const uint64_t flows = t->seen[RECORD_FLOW][DIRECTION_INGRESS][f][TRAFFIC_ICMP] +
				       t->seen[RECORD_FLOW][DIRECTION_EGRESS][f][TRAFFIC_ICMP];

		if (flows)
			metrics_add(w, flows, protocol_name(TRAFFIC_ICMP, f), "0");
	}
	for (unsigned int p = 0; t && p < _TRAFFIC_PROTOCOL_MAX; p++)
		if (t->other_ports[p].flows)
			metrics_add(w, t->other_ports[p].flows, protocol_name(p, 0), "__other__");
}

/*
 * What the kernel did not hand over, and what went from the ring before who followed it had read it.  There are the sources of
 * flow.proto, LostEventSource, but for observer_events_queue: nothing of that kind is between the two.
 */
void metrics_print_hubble_lost(writer *w, context *c)
{
	uint64_t packets = 0;

	for (int kind = 0; kind < _RECORD_KIND_MAX; kind++)
		packets += ledger_lost_before(&c->snapshot->ledger, (enum record_kind)kind);
	metrics_add(w, packets, "perf_event_ring_buffer");
	if (c->source->missed)
		metrics_add(w, __atomic_load_n(c->source->missed, __ATOMIC_RELAXED),
			    "hubble_ring_buffer");
}
