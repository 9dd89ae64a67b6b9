/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/observe/metrics_print.h"

#define NONE \
	{ \
		NULL \
	}
#define L(...) \
	{ \
		__VA_ARGS__, NULL \
	}

#define COUNTER METRICS_COUNTER
#define GAUGE	METRICS_GAUGE
#define INFO	METRICS_INFO

#define ALWAYS	false, true
#define SETTLED false, false /* when there is a snapshot */
#define HUBBLE	true, false

#define P(name) metrics_print_##name

#define DROPS	 "drops are traced."
#define EXPORTED "there are collectors."

/* clang-format off */
const struct metrics_family metrics_families[] = {
	/* Interfaces and hooks. */
	{ "flowtally_interface_attached", GAUGE, NULL, L("interface"),
	  "Whether all hooks that are wanted on the interface are there.", NULL, SETTLED, P(attached) },
	{ "flowtally_hook_attached", GAUGE, NULL, L("interface", "direction", "hook"),
	  "Whether there is a hook, and of which kind: xdp, tcx, clsact or none.", NULL, SETTLED, P(hooks) },
	{ "flowtally_attach_errors", COUNTER, NULL, L("interface", "direction", "reason"),
	  "Attempts to attach a hook that failed, by what kept it away.",
	  "one has failed.", SETTLED, P(attach_errors) },
	{ "flowtally_hook_silent", GAUGE, NULL, L("interface", "direction"),
	  "Whether the kernel counts packets on the interface that the hook does not see.", NULL, SETTLED, P(silent) },
	{ "flowtally_hook_packets", COUNTER, NULL, L("interface", "direction", "outcome"),
	  "Packets that the hook saw: accounted in flows, or unrecorded (ignored and refused).",
	  NULL, SETTLED, P(hook_packets) },
	{ "flowtally_kernel_interface_packets", COUNTER, NULL, L("interface", "direction"),
	  "Packets by the kernel's own counters of the interface, which are in no sum of the ledger.",
	  NULL, SETTLED, P(kernel_packets) },
	{ "flowtally_kernel_interface_losses", COUNTER, NULL, L("interface", "counter"),
	  "Errors and drops by the kernel's own counters of the interface and its queueing disciplines.",
	  NULL, SETTLED, P(kernel_losses) },
	{ "flowtally_kernel_counters_timestamp_seconds", GAUGE, "seconds", NONE,
	  "When the kernel's own counters of interfaces were read, up to 5 s before or after the banks.",
	  "these counters have been read.", SETTLED, P(kernel_counters_time) },

	/* Packets. */
	{ "flowtally_interface_packets", COUNTER, NULL, L("interface", "direction", "family", "protocol"),
	  "Packets in flows.", NULL, SETTLED, P(interface_packets) },
	{ "flowtally_interface_bytes", COUNTER, "bytes", L("interface", "direction", "family", "protocol"),
	  "Octets of IP packets in flows.", NULL, SETTLED, P(interface_octets) },
	{ "flowtally_gone_interface_packets", COUNTER, NULL, L("direction", "family", "protocol"),
	  "Packets in flows of interfaces whose series have ended.",
	  "there were such interfaces.", SETTLED, P(gone_packets) },
	{ "flowtally_gone_interface_bytes", COUNTER, "bytes", L("direction", "family", "protocol"),
	  "Octets of IP packets in flows of interfaces whose series have ended.",
	  "there were such interfaces.", SETTLED, P(gone_octets) },
	{ "flowtally_port_packets", COUNTER, NULL, L("protocol", "port", "direction"),
	  "Packets in flows by the lower of their two ports; from 1024 on port is __other__.",
	  NULL, SETTLED, P(port_packets) },
	{ "flowtally_port_bytes", COUNTER, "bytes", L("protocol", "port", "direction"),
	  "Octets of IP packets in flows by the lower of their two ports; from 1024 on port is __other__.",
	  NULL, SETTLED, P(port_octets) },
	{ "flowtally_icmp_messages", COUNTER, NULL, L("family", "type", "code", "direction"),
	  "Messages of ICMP and ICMPv6, by the numbers of type and code.", NULL, SETTLED, P(icmp) },

	/* Flows. */
	{ "flowtally_flows", COUNTER, NULL, L("protocol", "family", "direction", "end_reason"),
	  "Records of flows, by the reason for which they were exported.", NULL, SETTLED, P(flows) },
	{ "flowtally_flows_active", GAUGE, NULL, L("record"),
	  "Flows in the cache.", NULL, SETTLED, P(active) },
	{ "flowtally_tcp_flags", COUNTER, NULL, L("flag", "family", "direction"),
	  "Flows of TCP that showed the flag, each counted once in each interval of swaps.", NULL, SETTLED, P(flags) },

	/* Drops. */
	{ "flowtally_drops", COUNTER, NULL, L("reason", "class"),
	  "Packets that the kernel dropped, recorded or not, by its reason.", DROPS, SETTLED, P(drops) },
	{ "flowtally_drop_bytes", COUNTER, "bytes", L("reason", "class"),
	  "Octets of the packets that the kernel dropped, as far as they are known.", DROPS, SETTLED, P(drop_octets) },
	{ "flowtally_recorded_drops", COUNTER, NULL, L("reason", "class", "family", "protocol"),
	  "Packets that the kernel dropped and that are in records.", DROPS, SETTLED, P(recorded_drops) },
	{ "flowtally_recorded_drop_bytes", COUNTER, "bytes", L("reason", "class", "family", "protocol"),
	  "Octets of IP packets that the kernel dropped and that are in records.",
	  DROPS, SETTLED, P(recorded_drop_octets) },
	{ "flowtally_drops_missed", COUNTER, NULL, NONE,
	  "Drops for which the kernel did not call the tracer: in no other counter.", DROPS, SETTLED, P(drops_missed) },

	/* The ledger. */
	{ "flowtally_seen_packets", COUNTER, NULL, L("record", "point"),
	  "Packets that a program was called for: accounted, ignored, or lost before a bank.", NULL, SETTLED, P(seen) },
	{ "flowtally_accounted_packets", COUNTER, NULL, L("record", "point"),
	  "Packets that were counted in a bank.", NULL, SETTLED, P(accounted) },
	{ "flowtally_accounted_bytes", COUNTER, "bytes", L("record", "point"),
	  "Octets of IP packets that were counted in a bank.", NULL, SETTLED, P(accounted_octets) },
	{ "flowtally_ignored_packets", COUNTER, NULL, L("record", "point", "reason"),
	  "Packets that carry no flow, or are not to be recorded, by reason.", NULL, SETTLED, P(ignored) },
	{ "flowtally_lost_packets", COUNTER, NULL, L("record", "stage", "collector"),
	  "Packets that are in no record, or in one that did not reach this collector, by the stage at which they were lost.",
	  NULL, SETTLED, P(lost) },
	{ "flowtally_bank_packets", GAUGE, NULL, L("record"),
	  "Packets that are accounted, but not read from the banks yet.", NULL, SETTLED, P(bank_packets) },
	{ "flowtally_cache_packets", GAUGE, NULL, L("record"),
	  "Packets in the cache that are in no record yet.", NULL, SETTLED, P(cache_packets) },
	{ "flowtally_handed_over_packets", COUNTER, NULL, L("record"),
	  "Packets in the records that the collectors were given.", NULL, SETTLED, P(handed_over) },
	{ "flowtally_ledger_balanced", GAUGE, NULL, NONE,
	  "Whether every packet is in one place of the ledger; while it is not settled that says nothing.",
	  NULL, SETTLED, P(balanced) },
	{ "flowtally_ledger_settled", GAUGE, NULL, NONE,
	  "Whether all counters of the ledger are of the same moment.", NULL, SETTLED, P(settled) },

	/* Banks and caches. */
	{ "flowtally_bank_limit_entries", GAUGE, NULL, L("record"),
	  "New flows that a bank takes between two swaps.", NULL, SETTLED, P(bank_limit) },
	{ "flowtally_bank_entries", COUNTER, NULL, L("record"),
	  "Entries read from the banks.", NULL, SETTLED, P(bank_entries) },
	{ "flowtally_bank_last_entries", GAUGE, NULL, L("record"),
	  "Entries of the bank that was read last: how full it was, of bank_limit_entries.", NULL, SETTLED, P(bank_last) },
	{ "flowtally_evicted_entries", COUNTER, NULL, L("record"),
	  "Entries that the kernel evicted from a bank: 0, but for a fault.", NULL, SETTLED, P(evicted) },
	{ "flowtally_swaps", COUNTER, NULL, L("record", "cause"),
	  "Swaps of the banks: at the interval, or early because one filled.", NULL, SETTLED, P(swaps) },
	{ "flowtally_drain_seconds", COUNTER, "seconds", L("record"),
	  "Time that swaps took, from the swap until the bank was empty.", NULL, SETTLED, P(drain_time) },
	{ "flowtally_drain_last_seconds", GAUGE, "seconds", L("record"),
	  "Time that the last swap took.", NULL, SETTLED, P(drain_last) },
	{ "flowtally_drain_errors", COUNTER, NULL, L("record"),
	  "Swaps and reads of the banks that failed.", NULL, SETTLED, P(drain_errors) },
	{ "flowtally_cache_limit_entries", GAUGE, NULL, L("record"),
	  "Flows that the cache holds at most.", NULL, SETTLED, P(cache_limit) },
	{ "flowtally_cache_updates", COUNTER, NULL, L("record"),
	  "Entries of banks that were merged into the cache.", NULL, SETTLED, P(cache_updates) },
	{ "flowtally_cache_records", COUNTER, NULL, L("record", "end_reason"),
	  "Records that left the cache, by the reason.", NULL, SETTLED, P(records) },

	/* Collectors. */
	{ "flowtally_collector_up", GAUGE, NULL, L("collector"),
	  "Whether the collector takes what it is sent, as far as that can be known.",
	  EXPORTED, SETTLED, P(collector_up) },
	{ "flowtally_collector_state", GAUGE, NULL, L("collector", "state"),
	  "1 for the state that the collector is in.", EXPORTED, SETTLED, P(collector_state) },
	{ "flowtally_export_last_success_timestamp_seconds", GAUGE, "seconds", L("collector"),
	  "When messages were last sent or written.", "a message has been sent.", SETTLED, P(sent_time) },
	{ "flowtally_export_given_records", COUNTER, NULL, L("collector"),
	  "Records that were given to the collector: exported, queued or lost.", EXPORTED, SETTLED, P(given) },
	{ "flowtally_export_records", COUNTER, NULL, L("collector"),
	  "Records that were sent or written, and are not known to be lost.", EXPORTED, SETTLED, P(exported) },
	{ "flowtally_export_packets", COUNTER, NULL, L("collector"),
	  "Packets in the records that were exported.", EXPORTED, SETTLED, P(exported_packets) },
	{ "flowtally_export_packet_bytes", COUNTER, "bytes", L("collector"),
	  "Octets of IP packets in the records that were exported.", EXPORTED, SETTLED, P(exported_octets) },
	{ "flowtally_export_queue_records", GAUGE, NULL, L("collector"),
	  "Records that wait to be sent, or over TCP to be acknowledged.", EXPORTED, SETTLED, P(queued) },
	{ "flowtally_export_queue_packets", GAUGE, NULL, L("collector"),
	  "Packets in the records that wait.", EXPORTED, SETTLED, P(queued_packets) },
	{ "flowtally_export_lost_records", COUNTER, NULL, L("collector", "stage"),
	  "Records that did not reach the collector.", EXPORTED, SETTLED, P(lost_records) },
	{ "flowtally_export_messages", COUNTER, NULL, L("collector"),
	  "Messages that were sent or written, templates included; of JSON lines.", EXPORTED, SETTLED, P(messages) },
	{ "flowtally_export_template_messages", COUNTER, NULL, L("collector"),
	  "Of these messages those that told templates of flows and drops.", EXPORTED, SETTLED, P(templates) },
	{ "flowtally_export_bytes", COUNTER, "bytes", L("collector"),
	  "Octets of the messages that were sent or written.", EXPORTED, SETTLED, P(message_octets) },
	{ "flowtally_export_cut_strings", COUNTER, NULL, L("collector"),
	  "Strings that were cut, for their record would have been longer than a message.", EXPORTED, SETTLED, P(cut) },
	{ "flowtally_export_errors", COUNTER, NULL, L("collector"),
	  "System calls that failed, and datagrams that were answered by an ICMP error.",
	  EXPORTED, SETTLED, P(errors) },

	/* Hubble's names. */
	{ "hubble_flows_processed", COUNTER, NULL, L("protocol", "type", "subtype", "verdict"),
	  "Flows that had packets, each counted once in each interval of swaps.", NULL, HUBBLE, P(hubble_flows) },
	{ "hubble_drop", COUNTER, NULL, L("reason", "protocol"),
	  "Packets that the kernel dropped and that are in records, by its reason.", DROPS, HUBBLE, P(hubble_drops) },
	{ "hubble_tcp_flags", COUNTER, NULL, L("flag", "family"),
	  "Flows of TCP that showed the flag, each counted once in each interval of swaps.",
	  NULL, HUBBLE, P(hubble_flags) },
	{ "hubble_icmp", COUNTER, NULL, L("family", "type"),
	  "Messages of ICMP and ICMPv6.", NULL, HUBBLE, P(hubble_icmp) },
	{ "hubble_port_distribution", COUNTER, NULL, L("protocol", "port"),
	  "Flows by destination port, each counted once in each interval of swaps; from 1024 on port is __other__.",
	  NULL, HUBBLE, P(hubble_ports) },

	{ "hubble_lost_events", COUNTER, NULL, L("source"),
	  "Packets that got no record (perf_event_ring_buffer), and records that readers have missed (hubble_ring_buffer).",
	  NULL, HUBBLE, P(hubble_lost) },

	/* The exporter itself. */
	{ "flowtally_build", INFO, NULL, L("version", "commit", "libbpf", "kernel"),
	  "Versions of flowtally, of libbpf and of the running kernel; the commit of a build from a git tree.",
	  NULL, ALWAYS, P(build) },
	{ "flowtally_config", INFO, NULL, L("hash"),
	  "A hash of the settings in force.", NULL, ALWAYS, P(config) },
	{ "flowtally_config_reloads", COUNTER, NULL, L("result"),
	  "Times at which the configuration was read again: good, or failed and nothing was changed.",
	  NULL, SETTLED, P(reloads) },
	{ "flowtally_config_last_reload_successful", GAUGE, NULL, NONE,
	  "Whether the last reload was good; 1 before the first.", NULL, SETTLED, P(reload_good) },
	{ "flowtally_config_last_reload_timestamp_seconds", GAUGE, "seconds", NONE,
	  "When the last reload ended.", "there was a reload.", SETTLED, P(reload_time) },
	{ "flowtally_snapshots", COUNTER, NULL, NONE,
	  "Swaps that have settled: all of these numbers are those of the last one.", NULL, SETTLED, P(snapshots) },
	{ "flowtally_snapshot_timestamp_seconds", GAUGE, "seconds", NONE,
	  "When the last swap had settled.", NULL, SETTLED, P(snapshot_time) },
	{ "flowtally_observe_missed_records", COUNTER, NULL, NONE,
	  "Records that were overwritten before a client of observe or top got them, as it was told; added up over clients.",
	  NULL, SETTLED, P(missed) },
	{ "flowtally_swap_interval_seconds", GAUGE, "seconds", NONE,
	  "Time between two swaps.", NULL, SETTLED, P(interval) },
	{ "flowtally_bpf_runs", COUNTER, NULL, L("program"),
	  "Times that the BPF program ran.", "kernel.bpf_stats_enabled is 1.", SETTLED, P(program_runs) },
	{ "flowtally_bpf_run_seconds", COUNTER, "seconds", L("program"),
	  "Time that the BPF program took.", "kernel.bpf_stats_enabled is 1.", SETTLED, P(program_time) },
	{ "flowtally_metric_series_overflow", COUNTER, NULL, L("table"),
	  "Entries of banks that found no room in a table of series, and are in __other__.",
	  NULL, SETTLED, P(overflow) },
	{ "process_cpu_seconds", COUNTER, "seconds", NONE,
	  "Time of processors that the exporter has used.", NULL, ALWAYS, P(process_cpu) },
	{ "process_resident_memory_bytes", GAUGE, "bytes", NONE,
	  "Resident memory of the exporter.", NULL, ALWAYS, P(process_resident) },
	{ "process_virtual_memory_bytes", GAUGE, "bytes", NONE,
	  "Virtual memory of the exporter.", NULL, ALWAYS, P(process_virtual) },
	{ "process_open_fds", GAUGE, NULL, NONE,
	  "Open file descriptors of the exporter.", NULL, ALWAYS, P(process_fds) },
	{ "process_max_fds", GAUGE, NULL, NONE,
	  "Limit of open file descriptors.", NULL, ALWAYS, P(process_fds_max) },
	{ "process_threads", GAUGE, NULL, NONE,
	  "Threads of the exporter.", NULL, ALWAYS, P(process_threads) },
	{ "process_start_time_seconds", GAUGE, "seconds", NONE,
	  "When the exporter was started.", NULL, ALWAYS, P(process_start) },
	/* The last one: it counts those above. */
	{ "flowtally_metric_series", GAUGE, NULL, L("family"),
	  "Series of each family of metrics.", NULL, ALWAYS, P(series) },
};
/* clang-format on */

const size_t metrics_family_count = ARRAY_SIZE(metrics_families);
