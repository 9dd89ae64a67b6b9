/* SPDX-License-Identifier: Apache-2.0 */
/* Metrics of packets, flows and drops, and of the interfaces and hooks that saw them. */
#include <string.h>
#include "exporter/meter/kind.h"
#include "exporter/observe/metrics_context.h"
#include "exporter/observe/metrics_print.h"
#include "exporter/observe/metrics_writer.h"
#include "exporter/observe/snapshot.h"

#define OTHER "__other__"

/* An interface that nobody knows has gone if its last packet is so old; else it has just come. */
#define GONE_NS (60 * NSEC_PER_SEC)

typedef struct metrics_writer writer;
typedef const struct metrics_context context;

const char *metrics_protocol_name(unsigned int protocol)
{
	static const char *const names[_TRAFFIC_PROTOCOL_MAX] = {
		[TRAFFIC_TCP] = "tcp",	 [TRAFFIC_UDP] = "udp", [TRAFFIC_ICMP] = "icmp",
		[TRAFFIC_SCTP] = "sctp", [TRAFFIC_ESP] = "esp", [TRAFFIC_OTHER] = "other",
	};

	return names[protocol];
}

const char *metrics_family_name(unsigned int family)
{
	return family == TRAFFIC_IPV6 ? "ipv6" : "ipv4";
}

static const char *direction_name(unsigned int direction)
{
	return kind_get(RECORD_FLOW)->points[direction];
}

/* --- Interfaces and hooks. */

/* The i-th interface's name, NULL where it has no series: it is not there, or another name of one that has. */
static const char *hook_interface(context *c, size_t i)
{
	const struct hooks_interface *from = &c->snapshot->interfaces[i];

	for (size_t n = 0; from->ifindex && n < i; n++)
		if (c->snapshot->interfaces[n].ifindex == from->ifindex)
			return NULL;
	return from->ifindex ? metrics_interface_name(c, from->ifindex) : NULL;
}

void metrics_print_attached(writer *w, context *c)
{
	for (size_t i = 0; i < c->snapshot->interface_count; i++) {
		const char *name = hook_interface(c, i);

		if (name)
			metrics_add(w, c->snapshot->interfaces[i].attached, name);
	}
}

void metrics_print_hooks(writer *w, context *c)
{
	for (size_t i = 0; i < c->snapshot->interface_count; i++) {
		const struct hooks_interface *from = &c->snapshot->interfaces[i];
		const char *name = hook_interface(c, i);

		if (!name)
			continue;
		metrics_add(w, from->ingress != HOOK_NONE, name, direction_name(DIRECTION_INGRESS),
			    hook_kind_name(from->ingress));
		metrics_add(w, from->egress != HOOK_NONE, name, direction_name(DIRECTION_EGRESS),
			    hook_kind_name(from->egress));
	}
}

void metrics_print_attach_errors(writer *w, context *c)
{
	for (size_t i = 0; i < c->snapshot->interface_count; i++) {
		const struct hooks_interface *from = &c->snapshot->interfaces[i];
		const char *name = hook_interface(c, i);

		for (int n = 0; name && n < _DIRECTION_MAX * _HOOK_ERROR_MAX; n++) {
			const int direction = n / _HOOK_ERROR_MAX, error = n % _HOOK_ERROR_MAX;

			if (from->attach_errors[direction][error])
				metrics_add(w, from->attach_errors[direction][error], name,
					    direction_name((unsigned int)direction),
					    hook_error_name((enum hook_error)error));
		}
	}
}

/* The kernel's counters of one interface, and what the hooks saw of it; NULL: not known. */
typedef void print_counted(writer *w, const char *name, const struct ifstats_interface *kernel,
			   const struct sight_interface *seen);

static void each_counted(writer *w, context *c, print_counted *print)
{
	const struct ledger *l = &c->snapshot->ledger;

	for (size_t i = 0; l->ifstats && i < l->ifstats->count; i++) {
		const struct ifstats_interface *from = &l->ifstats->interfaces[i];
		const char *name = from->ifindex ? metrics_interface_name(c, from->ifindex) : NULL;

		if (name)
			print(w, name, from, l->sight ? sight_get(l->sight, from->ifindex) : NULL);
	}
}

static const enum ifstat arrived[_DIRECTION_MAX] = {
	[DIRECTION_INGRESS] = IFSTAT_rx_packets,
	[DIRECTION_EGRESS] = IFSTAT_tx_packets,
};

static void print_silent(writer *w, const char *name, const struct ifstats_interface *kernel,
			 const struct sight_interface *seen)
{
	for (int d = 0; seen && d < _DIRECTION_MAX; d++)
		if (seen->sides[d].hook != HOOK_NONE)
			metrics_add(w,
				    sight_is_hidden(&seen->sides[d], kernel->counters[arrived[d]]),
				    name, direction_name((unsigned int)d));
}

static void print_seen(writer *w, const char *name, _unused_ const struct ifstats_interface *kernel,
		       const struct sight_interface *seen)
{
	for (unsigned int d = 0; seen && d < _DIRECTION_MAX; d++) {
		metrics_add(w, seen->sides[d].accounted, name, direction_name(d), "accounted");
		metrics_add(w, seen->sides[d].unrecorded, name, direction_name(d), "unrecorded");
	}
}

static void print_kernel_packets(writer *w, const char *name,
				 const struct ifstats_interface *kernel,
				 _unused_ const struct sight_interface *seen)
{
	for (unsigned int d = 0; d < _DIRECTION_MAX; d++)
		metrics_add(w, kernel->counters[arrived[d]], name, direction_name(d));
}

static void print_kernel_losses(writer *w, const char *name, const struct ifstats_interface *kernel,
				_unused_ const struct sight_interface *seen)
{
	for (int i = 0; i < _IFSTAT_MAX; i++)
		if (ifstat_is_loss((enum ifstat)i))
			metrics_add(w, kernel->counters[i], name, ifstat_name((enum ifstat)i));
}

void metrics_print_silent(writer *w, context *c)
{
	each_counted(w, c, print_silent);
}

void metrics_print_hook_packets(writer *w, context *c)
{
	each_counted(w, c, print_seen);
}

void metrics_print_kernel_packets(writer *w, context *c)
{
	each_counted(w, c, print_kernel_packets);
}

void metrics_print_kernel_counters_time(writer *w, context *c)
{
	const uint64_t time_ns = snapshot_counters_ns(c->snapshot);

	if (time_ns)
		metrics_add_ns(w, time_ns);
}

void metrics_print_kernel_losses(writer *w, context *c)
{
	each_counted(w, c, print_kernel_losses);
}

/* --- Packets. */

static void print_interface(writer *w, const struct traffic_interface *row, const char *name,
			    bool octets)
{
	for (unsigned int d = 0; d < _DIRECTION_MAX; d++)
		for (unsigned int f = 0; f < _TRAFFIC_FAMILY_MAX; f++)
			for (unsigned int p = 0; p < _TRAFFIC_PROTOCOL_MAX; p++) {
				const struct traffic_count *cell = &row->cells[d][f][p];

				if (cell->packets)
					metrics_add(w, octets ? cell->octets : cell->packets, name,
						    direction_name(d), metrics_family_name(f),
						    metrics_protocol_name(p));
			}
}

static bool is_gone(const struct traffic *t, const struct traffic_interface *row)
{
	return row->last_ns + GONE_NS < t->now_ns;
}

/* One that has just come and whose name is not known yet has a series by its number, so that no other one ever falls. */
static void print_interfaces(writer *w, context *c, bool octets)
{
	const struct traffic *t = c->snapshot->traffic;
	char number[16];

	if (!t)
		return;
	for (uint32_t i = 0; i < t->interfaces.count; i++) {
		const struct traffic_interface *row = traffic_interface(t, i);
		const char *name = metrics_interface_name(c, row->row.key);

		if (!name && is_gone(t, row))
			continue;
		snprintf(number, sizeof(number), "#%u", row->row.key);
		print_interface(w, row, name ? name : number, octets);
	}
	print_interface(w, &t->other_interfaces, OTHER, octets);
}

static void print_gone(writer *w, context *c, bool octets)
{
	const struct traffic *t = c->snapshot->traffic;
	struct traffic_interface sum;

	if (!t)
		return;
	sum = t->gone_interfaces;
	for (uint32_t i = 0; i < t->interfaces.count; i++) {
		const struct traffic_interface *row = traffic_interface(t, i);

		if (!metrics_interface_name(c, row->row.key) && is_gone(t, row))
			for (int d = 0; d < _DIRECTION_MAX; d++)
				traffic_sum(sum.cells[d], row->cells[d]);
	}
	for (unsigned int d = 0; d < _DIRECTION_MAX; d++)
		for (unsigned int f = 0; f < _TRAFFIC_FAMILY_MAX; f++)
			for (unsigned int p = 0; p < _TRAFFIC_PROTOCOL_MAX; p++)
				if (sum.cells[d][f][p].packets)
					metrics_add(w,
						    octets ? sum.cells[d][f][p].octets
							   : sum.cells[d][f][p].packets,
						    direction_name(d), metrics_family_name(f),
						    metrics_protocol_name(p));
}

void metrics_print_interface_packets(writer *w, context *c)
{
	print_interfaces(w, c, false);
}

void metrics_print_interface_octets(writer *w, context *c)
{
	print_interfaces(w, c, true);
}

void metrics_print_gone_packets(writer *w, context *c)
{
	print_gone(w, c, false);
}

void metrics_print_gone_octets(writer *w, context *c)
{
	print_gone(w, c, true);
}

static void print_port(writer *w, const struct traffic_port *row, const char *protocol,
		       const char *port, bool octets)
{
	for (unsigned int d = 0; d < _DIRECTION_MAX; d++)
		if (row->counts[d].packets)
			metrics_add(w, octets ? row->counts[d].octets : row->counts[d].packets,
				    protocol, port, direction_name(d));
}

static void print_ports(writer *w, context *c, bool octets)
{
	const struct traffic *t = c->snapshot->traffic;
	char port[16];

	for (uint32_t i = 0; t && i < t->ports.count; i++) {
		const struct traffic_port *row = traffic_port(t, i);

		snprintf(port, sizeof(port), "%u", row->row.key & 0xffff);
		print_port(w, row, metrics_protocol_name(row->row.key >> 16), port, octets);
	}
	for (unsigned int p = 0; t && p < _TRAFFIC_PROTOCOL_MAX; p++)
		print_port(w, &t->other_ports[p], metrics_protocol_name(p), OTHER, octets);
}

void metrics_print_port_packets(writer *w, context *c)
{
	print_ports(w, c, false);
}

void metrics_print_port_octets(writer *w, context *c)
{
	print_ports(w, c, true);
}

static void print_messages(writer *w, const struct traffic_icmp *row, const char *family,
			   const char *type, const char *code)
{
	for (unsigned int d = 0; d < _DIRECTION_MAX; d++)
		if (row->packets[d])
			metrics_add(w, row->packets[d], family, type, code, direction_name(d));
}

void metrics_print_icmp(writer *w, context *c)
{
	const struct traffic *t = c->snapshot->traffic;
	char type[16], code[16];

	for (uint32_t i = 0; t && i < t->icmp.count; i++) {
		const struct traffic_icmp *row = traffic_icmp(t, i);

		snprintf(type, sizeof(type), "%u", row->row.key >> 8 & 0xff);
		snprintf(code, sizeof(code), "%u", row->row.key & 0xff);
		print_messages(w, row, metrics_family_name(row->row.key >> 16), type, code);
	}
	if (t)
		print_messages(w, &t->other_icmp, OTHER, OTHER, OTHER);
}

/* --- Flows. */

static const char *flag_name(unsigned int flag)
{
	static const char *const names[_TRAFFIC_FLAG_MAX] = {
		[TRAFFIC_SYN] = "SYN",
		[TRAFFIC_SYN_ACK] = "SYN-ACK",
		[TRAFFIC_FIN] = "FIN",
		[TRAFFIC_RST] = "RST",
	};

	return names[flag];
}

void metrics_print_flags(writer *w, context *c)
{
	const struct traffic *t = c->snapshot->traffic;

	for (unsigned int flag = 0; t && flag < _TRAFFIC_FLAG_MAX; flag++)
		for (unsigned int f = 0; f < _TRAFFIC_FAMILY_MAX; f++)
			for (unsigned int d = 0; d < _DIRECTION_MAX; d++)
				metrics_add(w, t->flags[flag][f][d], flag_name(flag),
					    metrics_family_name(f), direction_name(d));
}

static void print_ended(writer *w, const struct traffic *t, enum flow_end end)
{
	for (unsigned int d = 0; d < _DIRECTION_MAX; d++)
		for (unsigned int f = 0; f < _TRAFFIC_FAMILY_MAX; f++)
			for (unsigned int p = 0; p < _TRAFFIC_PROTOCOL_MAX; p++)
				if (t->ended[end][d][f][p])
					metrics_add(w, t->ended[end][d][f][p],
						    metrics_protocol_name(p),
						    metrics_family_name(f), direction_name(d),
						    flow_end_name(end));
}

void metrics_print_flows(writer *w, context *c)
{
	for (int end = 1; c->snapshot->traffic && end < _FLOW_END_MAX; end++)
		print_ended(w, c->snapshot->traffic, (enum flow_end)end);
}

/* --- Drops. */

/* NULL: the names are not known. */
static const struct drop_reason *get_reason(context *c, uint32_t packed)
{
	struct drop_reasons *names = c->snapshot->ledger.drop_names;

	return names ? drop_reasons_get(names, drop_reason_unpack((uint16_t)packed)) : NULL;
}

/* Reasons of the same name are one series. */
static void print_drops(writer *w, context *c, bool octets)
{
	const struct ledger_reasons *all = c->snapshot->ledger.drop_reasons;
	const struct drop_reason *names[DROP_REASON_MAX];
	uint64_t sums[DROP_REASON_MAX];
	size_t count = 0, at;

	for (uint32_t i = 0; all && i < DROP_REASON_MAX; i++) {
		const struct drop_count *drops = &all->reasons[i];
		const struct drop_reason *reason = drops->packets ? get_reason(c, i) : NULL;

		if (!reason)
			continue;
		for (at = 0; at < count && strcmp(names[at]->name, reason->name) != 0; at++)
			;
		if (at == count) {
			names[count] = reason;
			sums[count++] = 0;
		}
		sums[at] += octets ? drops->octets : drops->packets;
	}
	for (at = 0; at < count; at++)
		metrics_add(w, sums[at], names[at]->name, drop_class_name(names[at]->class));
}

const struct drop_reason *metrics_recorded_reason(context *c, uint32_t i,
						  struct traffic_reason *ret)
{
	const struct traffic *t = c->snapshot->traffic;
	const struct drop_reason *reason = get_reason(c, traffic_reason(t, i)->row.key), *other;

	if (!reason)
		return NULL;
	*ret = *traffic_reason(t, i);
	for (uint32_t n = 0; n < t->reasons.count; n++) {
		other = n == i ? NULL : get_reason(c, traffic_reason(t, n)->row.key);
		if (!other || strcmp(other->name, reason->name) != 0)
			continue;
		if (n < i)
			return NULL;
		traffic_sum(ret->cells, traffic_reason(t, n)->cells);
	}
	return reason;
}

static void print_recorded(writer *w, const struct traffic_reason *row, const char *reason,
			   const char *class, bool octets)
{
	for (unsigned int f = 0; f < _TRAFFIC_FAMILY_MAX; f++)
		for (unsigned int p = 0; p < _TRAFFIC_PROTOCOL_MAX; p++) {
			const struct traffic_count *cell = &row->cells[f][p];

			if (cell->packets)
				metrics_add(w, octets ? cell->octets : cell->packets, reason, class,
					    metrics_family_name(f), metrics_protocol_name(p));
		}
}

static void print_recorded_drops(writer *w, context *c, bool octets)
{
	const struct traffic *t = c->snapshot->traffic;
	struct traffic_reason sum;

	for (uint32_t i = 0; t && i < t->reasons.count; i++) {
		const struct drop_reason *reason = metrics_recorded_reason(c, i, &sum);

		if (reason)
			print_recorded(w, &sum, reason->name, drop_class_name(reason->class),
				       octets);
	}
	if (t)
		print_recorded(w, &t->other_reasons, OTHER, OTHER, octets);
}

void metrics_print_drops(writer *w, context *c)
{
	print_drops(w, c, false);
}

void metrics_print_drop_octets(writer *w, context *c)
{
	print_drops(w, c, true);
}

void metrics_print_recorded_drops(writer *w, context *c)
{
	print_recorded_drops(w, c, false);
}

void metrics_print_recorded_drop_octets(writer *w, context *c)
{
	print_recorded_drops(w, c, true);
}

void metrics_print_drops_missed(writer *w, context *c)
{
	if (c->snapshot->ledger.drops_traced)
		metrics_add(w, c->snapshot->ledger.drops_missed);
}
