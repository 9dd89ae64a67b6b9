/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* One function for each family of the table (metrics_families.c), which prints its samples. */
#include "exporter/observe/metrics.h"
#include "exporter/observe/traffic.h"

struct drop_reason;

/* clang-format off */
#define METRICS_PRINT(X) \
	X(build) X(config) X(snapshots) X(snapshot_time) X(interval) X(reloads) \
	X(reload_good) X(reload_time) X(program_runs) X(program_time) X(series) X(overflow) \
	X(process_cpu) X(process_resident) X(process_virtual) X(process_fds) \
	X(process_fds_max) X(process_threads) X(process_start) X(attached) X(hooks) X(attach_errors) X(silent) \
	X(hook_packets) X(kernel_packets) X(kernel_losses) X(kernel_counters_time) X(interface_packets) \
	X(interface_octets) X(gone_packets) X(gone_octets) X(port_packets) X(port_octets) \
	X(icmp) X(flags) X(flows) X(active) X(drops) X(drop_octets) X(recorded_drops) \
	X(recorded_drop_octets) X(drops_missed) X(seen) X(accounted) X(accounted_octets) \
	X(ignored) X(lost) X(bank_packets) X(cache_packets) X(handed_over) X(balanced) \
	X(bank_limit) X(bank_entries) X(evicted) X(cache_limit) X(cache_updates) X(records) \
	X(swaps) X(drain_errors) X(collector_up) X(collector_state) X(given) X(exported) \
	X(exported_packets) X(exported_octets) X(queued) X(queued_packets) X(lost_records) \
	X(messages) X(message_octets) X(cut) X(errors) X(hubble_flows) X(hubble_drops) \
	X(hubble_flags) X(hubble_icmp) X(hubble_ports) X(hubble_lost) X(settled) X(missed) \
	X(bank_last) X(drain_last) X(drain_time) X(templates) X(sent_time)
/* clang-format on */

#define X(name) \
	void metrics_print_##name(struct metrics_writer *writer, \
				  const struct metrics_context *context);
METRICS_PRINT(X)
#undef X

/* "tcp", ...; of traffic.h. */
const char *metrics_protocol_name(unsigned int protocol);
const char *metrics_family_name(unsigned int family);

/* The i-th reason of recorded drops, with what others of its name have had; NULL: it comes before, or is not known. */
const struct drop_reason *metrics_recorded_reason(const struct metrics_context *context, uint32_t i,
						  struct traffic_reason *ret);
