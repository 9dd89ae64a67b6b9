/* SPDX-License-Identifier: Apache-2.0 */
/* Writes docs/metrics.md from the table of metrics; a test compares the page with it. */
#include <stdio.h>
#include <string.h>
#include "exporter/observe/http.h"
#include "exporter/observe/metrics.h"
#include "exporter/observe/traffic.h"

static void print_family(const struct metrics_family *f)
{
	static const char *const types[] = {"counter", "gauge", "info"};
	static const char *const suffixes[] = {"_total", "", "_info"};

	printf("| `%s%s` | %s | ", f->name, suffixes[f->type], types[f->type]);
	for (unsigned int i = 0; f->labels[i]; i++)
		printf("%s%s", i ? ", " : "", f->labels[i]);
	printf(" | %s%s%s |\n", f->help, f->when ? " Exists when " : "", f->when ? f->when : "");
}

static void print_table(bool hubble)
{
	printf("| Name | Type | Labels | Meaning |\n|------|------|--------|---------|\n");
	for (size_t i = 0; i < metrics_family_count; i++)
		if (metrics_families[i].hubble == hubble)
			print_family(&metrics_families[i]);
}

int main(void)
{
	printf("<!-- Generated from exporter/observe/metrics_families.c: "
	       "ninja -C build tools/metrics.md && cp build/tools/metrics.md docs/ -->\n"
	       "# Metrics\n\n"
	       "`flowtally run` serves its counters over HTTP at `metrics-listen`, 127.0.0.1:9717 by default;\n"
	       "`off` serves nothing. In a file it may also be written `metrics: {listen: \"[::]:9717\"}`.\n\n"
	       "| Path | Answer |\n|------|--------|\n"
	       "| /metrics | all that follows; text 0.0.4, or OpenMetrics 1.0 for who asks for it |\n"
	       "| /healthz | 200 while swaps settle, 503 when none has for a minute and 12 intervals |\n"
	       "| /readyz | 200 when an interface is attached and a swap settled within 3 intervals, else 503 |\n\n"
	       "```yaml\nscrape_configs:\n  - job_name: flowtally\n"
	       "    static_configs: [{targets: [\"127.0.0.1:9717\"]}]\n```\n\n"
	       "Who takes gzip (`Accept-Encoding`), as Prometheus does, gets the text packed, or plain\n"
	       "where there is no memory to pack it.\n\n"
	       "All numbers but those of the process and of missed records are of one settled swap:\n"
	       "`flowtally_snapshot_timestamp_seconds` says when that was. So sums are exact in each scrape:\n"
	       "packets by interface, with those of interfaces that are gone, are the packets that were accounted,\n"
	       "less those in the banks or lost there.\n\n"
	       "What kept a hook away is the reason of `flowtally_attach_errors_total`: file descriptors, memory,\n"
	       "a permission, another program that holds the place (held), a driver or kernel that has no such hook\n"
	       "(unsupported) or refuses it (refused), frames that are not understood (link_type), or something else\n"
	       "(other). The log names it in full.\n\n"
	       "No address is a label. There are %d interfaces, %d ports, %d types and codes of ICMP and %d reasons\n"
	       "for drops at most; what finds no room is in the series `__other__`, and\n"
	       "`flowtally_metric_series_overflow_total` counts how often. An interface that has not been seen for\n"
	       "15 minutes gives its place to another one. Interfaces are called by name, and a new one of an old\n"
	       "name begins at 0. One whose name is not known yet is called by its number, such as `#7`. What of\n"
	       "a name is not UTF-8, or steers a terminal, or is a backslash, is written as `\\xNN`, here and in\n"
	       "JSON. A collector is called by its name, or by its URL without user, password and options.\n\n"
	       "%d connections can be open; one on which nothing moves is closed after %d s, and an answer that\n"
	       "has not been read after %d s is cut.\n\n",
	       TRAFFIC_INTERFACES_MAX, TRAFFIC_PORTS_MAX, TRAFFIC_ICMP_MAX, TRAFFIC_REASONS_MAX,
	       HTTP_CONNECTIONS_MAX, HTTP_TIMEOUT_S, HTTP_ANSWER_S);
	print_table(false);
	printf("\n## Hubble's names\n\n"
	       "With `metrics-hubble` these are served too, for dashboards and alerts that were made for Hubble's\n"
	       "metrics flow, drop, tcp, icmp and port-distribution. Where Hubble counts events that it has seen,\n"
	       "these count flows, each once in each interval of swaps. The reasons for drops are the kernel's. What\n"
	       "Hubble loses as an event is a packet without a record here, as source perf_event_ring_buffer;\n"
	       "hubble_ring_buffer is what readers of the control socket have missed. A source\n"
	       "observer_events_queue does not exist: no queue is between the two.\n\n");
	print_table(true);
	return 0;
}
