/* SPDX-License-Identifier: Apache-2.0 */
/* The text of a snapshot that was filled by hand, in both forms. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <string.h>
#include "exporter/observe/metrics.h"
#include "exporter/observe/snapshot.h"

static struct {
	struct snapshot *snapshot;
	char *text; /* ends with 0 */
} got;

/* --- A snapshot. */

static void count(uint32_t ifindex, uint8_t protocol, uint8_t kind, uint16_t dst_port,
		  uint64_t packets, uint64_t last_ns)
{
	const struct flow_key key = {.protocol = protocol,
				     .kind = kind,
				     .ifindex = ifindex,
				     .src_port = htons(protocol == 1 ? 0 : 40000),
				     .dst_port = htons(dst_port),
				     .drop_reason = kind & FLOW_DROP ? 2 : 0};
	const struct flow_record record = {.packets = packets,
					   .octets = 100 * packets,
					   .last_ns = last_ns,
					   .tcp_flags = 0x02,
					   .first_flags = 0x02};

	traffic_add(got.snapshot->traffic, kind & FLOW_DROP ? RECORD_DROP : RECORD_FLOW, &key,
		    &record);
}

static void add_interface(const char *name, uint32_t ifindex, bool attached)
{
	struct snapshot *s = got.snapshot;
	struct hooks_view *view = hooks_view_new(s->interface_count + 1);
	struct hooks_interface *i;

	assert_non_null(view);
	i = &view->interfaces[s->interface_count];
	for (size_t n = 0; n < s->interface_count; n++)
		view->interfaces[n] = s->interfaces[n];
	snapshot_take_view(s, view);
	*i = (struct hooks_interface){.ifindex = ifindex, .attached = attached};
	i->ingress = attached ? HOOK_XDP : HOOK_NONE;
	i->egress = HOOK_TCX;
	snprintf(i->name, sizeof(i->name), "%s", name);
	snprintf(i->device, sizeof(i->device), "%s", name);
}

static void add_gone(const char *name, uint32_t ifindex)
{
	struct ifstats *stats = got.snapshot->ledger.ifstats;
	struct ifstats_interface *i;

	if (!stats)
		stats = got.snapshot->ledger.ifstats = calloc(1, sizeof(*stats));
	stats->interfaces =
		reallocarray(stats->interfaces, stats->count + 1, sizeof(*stats->interfaces));
	assert_non_null(stats->interfaces);
	i = &stats->interfaces[stats->count++];
	*i = (struct ifstats_interface){.ifindex = ifindex};
	i->counters[IFSTAT_rx_packets] = 10 * ifindex;
	snprintf(i->name, sizeof(i->name), "%s", name);
}

static void add_collectors(unsigned int number, const char *const *urls, const char *const *names)
{
	struct export_copy *all = calloc(1, sizeof(*all) + number * sizeof(*all->stats));

	assert_non_null(all);
	all->count = number;
	for (unsigned int i = 0; i < number; i++)
		all->stats[i] = (struct collector_stats){
			.url = urls[i],
			.name = names[i],
			.state = COLLECTOR_UP,
			.exported = {i + 1, 10 * (i + 1), 1000 * (i + 1)},
			.lost[EXPORT_LOSS_UNSENT] = {1, 5, 500},
		};
	got.snapshot->ledger.collectors = all;
}

static int setup(_unused_ void **state)
{
	got.snapshot = snapshot_new();
	assert_non_null(got.snapshot);
	got.snapshot->number = 7;
	got.snapshot->time_ns = 1700000000250000000;
	got.snapshot->kinds[RECORD_FLOW].metered = true;
	return traffic_new(&got.snapshot->traffic);
}

static int teardown(_unused_ void **state)
{
	snapshot_release(got.snapshot);
	free(got.text);
	memset(&got, 0, sizeof(got));
	return 0;
}

/* --- Its text. */

static void print(enum metrics_format format, bool hubble)
{
	static const uint64_t missed = 77;
	static const struct metrics_process process = {.cpu_ns = 1500000000, .descriptors = 12};
	const struct metrics_source source = {.snapshot = got.snapshot,
					      .process = &process,
					      .kernel = "6.1.0",
					      .config_hash = 0xab,
					      .hubble = hubble,
					      .missed = &missed};
	char *text;
	size_t size;

	assert_int_equal(metrics_print(&source, format, &text, &size), 0);
	free(got.text);
	got.text = strndup(text, size);
	free(text);
	assert_int_equal(strlen(got.text), size);
}

/* The lines that begin with this name, or whose comment is of it, are these. */
static void expect(const char *name, const char *expected)
{
	char *lines = calloc(1, strlen(got.text) + 1), *at = lines;
	const size_t length = strlen(name);

	for (const char *line = got.text; *line; line += strcspn(line, "\n") + 1) {
		const char *word = line;

		if (!strcmp(line, "# EOF\n"))
			break;
		if (*line == '#') /* "# HELP name" */
			word = line + 2 + strcspn(line + 2, " ") + 1;
		if (!strncmp(word, name, length) && strchr(" {", word[length]) && *line != '#')
			at = mempcpy(at, line, strcspn(line, "\n") + 1);
		else if (!strncmp(word, name, length) && word[length] == ' ')
			at = mempcpy(at, line, strcspn(line, "\n") + 1);
	}
	assert_string_equal(lines, expected);
	free(lines);
}

static void test_families(_unused_ void **state)
{
	add_interface("eth0", 3, true);
	count(3, 6, 0, 443, 4, 1);
	count(3, 17, FLOW_EGRESS | FLOW_IPV6, 9999, 2, 1);
	count(3, 6, 0, 9999, 8, 1);
	got.snapshot->ledger.sides[RECORD_FLOW].seen[DIRECTION_INGRESS] = 18446744073709551615u;
	print(METRICS_PROMETHEUS, false);
	expect("flowtally_interface_bytes_total",
	       "# HELP flowtally_interface_bytes_total Octets of IP packets in flows.\n"
	       "# TYPE flowtally_interface_bytes_total counter\n"
	       "flowtally_interface_bytes_total{interface=\"eth0\",direction=\"ingress\","
	       "family=\"ipv4\",protocol=\"tcp\"} 1200\n"
	       "flowtally_interface_bytes_total{interface=\"eth0\",direction=\"egress\","
	       "family=\"ipv6\",protocol=\"udp\"} 200\n");
	expect("flowtally_port_packets_total",
	       "# HELP flowtally_port_packets_total Packets in flows by the lower of their "
	       "two ports; from 1024 on port is __other__.\n"
	       "# TYPE flowtally_port_packets_total counter\n"
	       "flowtally_port_packets_total{protocol=\"tcp\",port=\"443\",direction=\"ingress\"} 4\n"
	       "flowtally_port_packets_total{protocol=\"tcp\",port=\"__other__\","
	       "direction=\"ingress\"} 8\n"
	       "flowtally_port_packets_total{protocol=\"udp\",port=\"__other__\","
	       "direction=\"egress\"} 2\n");
	assert_non_null(strstr(
		got.text,
		"\n# TYPE flowtally_build_info gauge\nflowtally_build_info{version=\"" FLOWTALLY_VERSION
		"\",libbpf=\""));
	metrics_commit = "0123456789abcdef0123456789abcdef01234567";
	print(METRICS_PROMETHEUS, false);
	metrics_commit = "";
	assert_non_null(strstr(got.text,
			       "\nflowtally_build_info{version=\"" FLOWTALLY_VERSION
			       "\",commit=\"0123456789abcdef0123456789abcdef01234567\",libbpf=\""));
	assert_non_null(strstr(got.text, "\",kernel=\"6.1.0\"} 1\n"));
	expect("flowtally_snapshot_timestamp_seconds",
	       "# HELP flowtally_snapshot_timestamp_seconds When the last swap had settled.\n"
	       "# TYPE flowtally_snapshot_timestamp_seconds gauge\n"
	       "flowtally_snapshot_timestamp_seconds 1700000000.250000000\n");
	assert_non_null(
		strstr(got.text, "{record=\"flow\",point=\"ingress\"} 18446744073709551615\n"));
	assert_non_null(strstr(got.text, "\nprocess_cpu_seconds_total 1.500000000\n"));
	assert_non_null(strstr(got.text, "\nflowtally_config_info{hash=\"00000000000000ab\"} 1\n"));
	assert_null(strstr(got.text, "kernel_counters_timestamp")); /* they were not read */
	assert_null(strstr(got.text, "hubble"));
	assert_null(strstr(got.text, "flowtally_recorded_drops")); /* none, and so no family */
	assert_null(strstr(got.text, "# EOF"));
}

/* The kernel's own counters are read at other times than the banks, before or after: the times are beside each other. */
static void test_counters_time(_unused_ void **state)
{
	add_gone("eth1", 4);
	got.snapshot->monotonic_ns = 50000000000;
	got.snapshot->ledger.ifstats->read_ns = 46500000000;
	print(METRICS_PROMETHEUS, false);
	assert_non_null(strstr(
		got.text, "\nflowtally_kernel_counters_timestamp_seconds 1699999996.750000000\n"));
	got.snapshot->ledger.ifstats->read_ns = 50500000000;
	print(METRICS_PROMETHEUS, false);
	assert_non_null(strstr(
		got.text, "\nflowtally_kernel_counters_timestamp_seconds 1700000000.750000000\n"));
}

/* Names without _total and _info, units, and the end: OpenMetrics 1.0, "Text format". */
static void test_openmetrics(_unused_ void **state)
{
	add_interface("eth0", 3, true);
	count(3, 6, 0, 443, 4, 1);
	print(METRICS_OPENMETRICS, false);
	expect("flowtally_interface_bytes",
	       "# HELP flowtally_interface_bytes Octets of IP packets in flows.\n"
	       "# TYPE flowtally_interface_bytes counter\n"
	       "# UNIT flowtally_interface_bytes bytes\n");
	expect("flowtally_interface_bytes_total",
	       "flowtally_interface_bytes_total{interface=\"eth0\",direction=\"ingress\","
	       "family=\"ipv4\",protocol=\"tcp\"} 400\n");
	expect("flowtally_build",
	       "# HELP flowtally_build Versions of flowtally, of libbpf and of the running kernel; "
	       "the commit of a build from a git tree.\n"
	       "# TYPE flowtally_build info\n");
	assert_string_equal(got.text + strlen(got.text) - 7, "\n# EOF\n");
}

#define ATTACHED "flowtally_interface_attached"
#define ATTACHED_HEAD \
	"# HELP " ATTACHED " Whether all hooks that are wanted on the interface are there; " \
	"0 for one that is named and not there itself.\n# TYPE " ATTACHED " gauge\n"

/* Each attempt that failed is in one series; a hook that never failed has none. */
static void test_attach_errors(_unused_ void **state)
{
	struct hooks_interface *i;

	add_interface("eth0", 3, true);
	add_interface("eth1", 4, false);
	print(METRICS_PROMETHEUS, false);
	assert_null(strstr(got.text, "attach_errors"));
	i = (struct hooks_interface *)&got.snapshot->interfaces[1];
	i->attach_errors[DIRECTION_INGRESS][HOOK_ERROR_HELD] = 3;
	i->attach_errors[DIRECTION_INGRESS][HOOK_ERROR_OTHER] = 1;
	i->attach_errors[DIRECTION_EGRESS][HOOK_ERROR_DESCRIPTORS] = 4294967295u;
	print(METRICS_PROMETHEUS, false);
#define NAME "flowtally_attach_errors_total"
	expect(NAME,
	       "# HELP " NAME
	       " Attempts to attach a hook that failed, by what kept it away.\n# TYPE " NAME
	       " counter\n" NAME
	       "{interface=\"eth1\",direction=\"ingress\",reason=\"held\"} 3\n" NAME
	       "{interface=\"eth1\",direction=\"ingress\",reason=\"other\"} 1\n" NAME
	       "{interface=\"eth1\",direction=\"egress\",reason=\"descriptors\"} 4294967295\n");
#undef NAME
}

/* A name is whatever its owner made it: dev_valid_name() of the kernel forbids blanks, / and : alone. */
static void test_escaping(_unused_ void **state)
{
	add_interface("a\"b\\c\xff"
		      "d\xc3\xa9\n",
		      3, true);
	print(METRICS_PROMETHEUS, false);
	expect("flowtally_interface_attached", ATTACHED_HEAD
	       "flowtally_interface_attached{interface=\"a\\\"b\\\\x5cc\\\\xffd\xc3\xa9\\\\x0a\"} 1\n");
}

#define PACKETS "flowtally_interface_packets_total"
#define CELL	"direction=\"ingress\",family=\"ipv4\",protocol=\"udp\"} "

/* Each series is of one interface; what has no name is gone, or has just come. */
static void test_interfaces(_unused_ void **state)
{
	const uint64_t now = 1000 * NSEC_PER_SEC, old = 1;

	add_gone("eth0", 3); /* was there before, by this name */
	add_gone("gone0", 4);
	add_gone("old0", 5); /* is called eth1 now */
	add_interface("eth0", 9, true);
	add_interface("eth1", 5, false);
	for (uint32_t i = 3; i <= 5; i++)
		count(i, 17, 0, 53, i, old);
	count(9, 17, 0, 53, 100, now);
	count(77, 17, 0, 53, 1000, now);  /* has just come */
	count(78, 17, 0, 53, 10000, old); /* nobody knows it any more */
	add_interface("eth2", 0, false);  /* is named, and not there */
	add_interface("eth1", 0, false);  /* likewise, by a name that another one has as well */
	print(METRICS_PROMETHEUS, false);
	expect(ATTACHED, ATTACHED_HEAD ATTACHED "{interface=\"eth0\"} 1\n" ATTACHED
						"{interface=\"eth1\"} 0\n" ATTACHED
						"{interface=\"eth2\"} 0\n");
	expect(PACKETS,
	       "# HELP " PACKETS " Packets in flows.\n# TYPE " PACKETS " counter\n" PACKETS
	       "{interface=\"gone0\"," CELL "4\n" PACKETS "{interface=\"eth1\"," CELL "5\n" PACKETS
	       "{interface=\"eth0\"," CELL "100\n" PACKETS "{interface=\"#77\"," CELL "1000\n");
	expect("flowtally_gone_interface_packets_total",
	       "# HELP flowtally_gone_interface_packets_total Packets in flows of "
	       "interfaces whose series have ended.\n"
	       "# TYPE flowtally_gone_interface_packets_total counter\n"
	       "flowtally_gone_interface_packets_total{" CELL "10003\n");
	assert_non_null(strstr(got.text,
			       "flowtally_kernel_interface_packets_total{interface=\"gone0\","
			       "direction=\"ingress\"} 40\n"));
	assert_null(strstr(got.text, "old0"));
}

static void test_collectors(_unused_ void **state)
{
	static const char *const urls[] = {"ipfix+tcp://user:secret@192.0.2.1:4739?template=x",
					   "ipfix+tcp://192.0.2.1:4739", "json:-",
					   "file:///a/b@c?d"};
	static const char *const names[] = {NULL, NULL, "mine", NULL};

	add_collectors(ARRAY_SIZE(urls), urls, names);
	got.snapshot->ledger.sides[RECORD_FLOW].reasons[1][REASON_BANK_FULL].packets = 40;
	got.snapshot->ledger.sides[RECORD_FLOW].evicted.packets = 300;
	print(METRICS_PROMETHEUS, false);
	expect("flowtally_export_records_total",
	       "# HELP flowtally_export_records_total Records that were sent or written, "
	       "and are not known to be lost.\n"
	       "# TYPE flowtally_export_records_total counter\n"
	       "flowtally_export_records_total{collector=\"ipfix+tcp://192.0.2.1:4739\"} 1\n"
	       "flowtally_export_records_total{collector=\"ipfix+tcp://192.0.2.1:4739#2\"} 2\n"
	       "flowtally_export_records_total{collector=\"mine\"} 3\n"
	       "flowtally_export_records_total{collector=\"file:///a/b@c\"} 4\n");
	assert_null(strstr(got.text, "secret"));
	assert_null(strstr(got.text, "?template"));
	assert_non_null(
		strstr(got.text,
		       "flowtally_lost_packets_total{record=\"flow\",stage=\"bank_full\"} 40\n"));
	assert_non_null(strstr(
		got.text, "flowtally_lost_packets_total{stage=\"unsent\",collector=\"mine\"} 5\n"));
	/* all losses are in that family, and nothing twice */
	assert_int_equal(ledger_lost(&got.snapshot->ledger), 40 + 300 + 4 * 5);
}

static void expect_sample(const char *line)
{
	char wanted[256];

	snprintf(wanted, sizeof(wanted), "\n%s\n", line);
	if (!strstr(got.text, wanted))
		fail_msg("no sample '%s'", line);
}

/* What alerts are made of: how full a bank was, how long it took, what left and when, who was too slow. */
static void test_alerts(_unused_ void **state)
{
	static const char *const urls[] = {"ipfix://192.0.2.1:4739", "json:-"}, *const names[2];

	add_collectors(2, urls, names);
	got.snapshot->ledger.collectors->stats[0].sent_ms = 1700000000125;
	got.snapshot->ledger.collectors->stats[0].template_messages = 4;
	got.snapshot->kinds[RECORD_FLOW].drain = (struct drain_stats){
		.entries = 9000, .last_entries = 1234, .last_ns = 20000000, .busy_ns = 3000000001};
	got.snapshot->ledger.sides[RECORD_FLOW].reasons[1][REASON_BANK_FULL].packets = 40;
	got.snapshot->ledger.sides[RECORD_FLOW].reasons[0][REASON_ARP].packets = 1000;
	got.snapshot->ledger.sides[RECORD_FLOW].evicted.packets = 300;
	got.snapshot->ledger.sides[RECORD_DROP].reasons[0][REASON_BUDGET].packets = 5;
	print(METRICS_PROMETHEUS, true);
	expect_sample("flowtally_bank_last_entries{record=\"flow\"} 1234");
	expect_sample("flowtally_drain_seconds_total{record=\"flow\"} 3.000000001");
	expect_sample("flowtally_drain_last_seconds{record=\"flow\"} 0.020000000");
	expect_sample("flowtally_observe_missed_records_total 77");
	expect_sample("hubble_lost_events_total{source=\"perf_event_ring_buffer\"} 345");
	expect_sample("hubble_lost_events_total{source=\"hubble_ring_buffer\"} 77");
	expect_sample("flowtally_export_template_messages_total{collector=\"json:-\"} 0");
	expect_sample(
		"flowtally_export_template_messages_total{collector=\"ipfix://192.0.2.1:4739\"} 4");
	/* none of who has never sent */
	expect("flowtally_export_last_success_timestamp_seconds",
	       "# HELP flowtally_export_last_success_timestamp_seconds When messages were "
	       "last sent or written.\n"
	       "# TYPE flowtally_export_last_success_timestamp_seconds gauge\n"
	       "flowtally_export_last_success_timestamp_seconds{collector="
	       "\"ipfix://192.0.2.1:4739\"} 1700000000.125000000\n");
}

static void test_hubble(_unused_ void **state)
{
	struct drop_reasons *names;

	assert_int_equal(drop_reasons_new(&names, "/nonexistent"), 0);
	got.snapshot->ledger.drop_names = names;
	count(3, 6, 0, 443, 4, 1);
	count(3, 1, FLOW_EGRESS, 3 << 8 | 1, 2, 1);
	count(3, 58, FLOW_IPV6, 135 << 8, 6, 1);
	count(3, 47, 0, 0, 1, 1);
	count(3, 17, FLOW_DROP, 53, 5, 1);
	print(METRICS_PROMETHEUS, true);
	expect("hubble_flows_processed_total",
	       "# HELP hubble_flows_processed_total Flows that had packets, each counted "
	       "once in each interval of swaps.\n"
	       "# TYPE hubble_flows_processed_total counter\n"
	       "hubble_flows_processed_total{protocol=\"TCP\",type=\"Trace\","
	       "subtype=\"from-network\",verdict=\"FORWARDED\"} 1\n"
	       "hubble_flows_processed_total{protocol=\"Unknown L4\",type=\"Trace\","
	       "subtype=\"from-network\",verdict=\"FORWARDED\"} 1\n"
	       "hubble_flows_processed_total{protocol=\"ICMPv6\",type=\"Trace\","
	       "subtype=\"from-network\",verdict=\"FORWARDED\"} 1\n"
	       "hubble_flows_processed_total{protocol=\"ICMPv4\",type=\"Trace\","
	       "subtype=\"to-network\",verdict=\"FORWARDED\"} 1\n"
	       "hubble_flows_processed_total{protocol=\"UDP\",type=\"Drop\",verdict=\"DROPPED\"} 1\n");
	expect("hubble_icmp_total",
	       "# HELP hubble_icmp_total Messages of ICMP and ICMPv6.\n# TYPE hubble_icmp_total counter\n"
	       "hubble_icmp_total{family=\"IPv4\",type=\"DestinationUnreachable(Host)\"} 2\n"
	       "hubble_icmp_total{family=\"IPv6\",type=\"NeighborSolicitation\"} 6\n");
	assert_non_null(strstr(got.text,
			       "\nhubble_drop_total{reason=\"0x00000002\",protocol=\"UDP\"} 5\n"));
	assert_non_null(
		strstr(got.text, "\nhubble_tcp_flags_total{flag=\"SYN\",family=\"IPv4\"} 1\n"));
	assert_non_null(strstr(
		got.text, "\nhubble_port_distribution_total{protocol=\"TCP\",port=\"443\"} 1\n"));
	assert_non_null(strstr(
		got.text, "\nhubble_port_distribution_total{protocol=\"ICMPv4\",port=\"0\"} 1\n"));
	drop_reasons_free(names);
	got.snapshot->ledger.drop_names = NULL;
}

/* Before the first swap there is what the process knows of itself. */
static void test_nothing(_unused_ void **state)
{
	snapshot_releasep((const struct snapshot **)&got.snapshot);
	got.snapshot = NULL;
	print(METRICS_PROMETHEUS, true);
	assert_non_null(strstr(got.text, "flowtally_build_info{"));
	assert_non_null(strstr(got.text, "process_open_fds 12\n"));
	assert_null(strstr(got.text, "flowtally_seen"));
}

/* The first two are what Prometheus and curl send; RFC 9110, section 12.5.3. */
static void test_gzip(_unused_ void **state)
{
	static const struct {
		const char *accept;
		bool gzip;
	} rows[] = {
		{"gzip", true},
		{"deflate, gzip, br, zstd", true},
		{NULL, false},
		{"", false},
		{"identity", false},
		{"br, gzip;q=0", false},
		{"gzip;q=0.000, *", false},
		{"gzip ; q=0.001", true},
		{"GZIP", true},
		{"x-gzip", true},
		{"*", true},
		{"*;q=0", false},
		{"*;q=0, gzip", true},
		{"gzipped, notgzip", false},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		if (metrics_takes_gzip(rows[i].accept) != rows[i].gzip)
			fail_msg("'%s'", rows[i].accept ? rows[i].accept : "none");
}

/* The first two are what Prometheus 2.42 and 3.0 send. */
static void test_negotiation(_unused_ void **state)
{
	static const struct {
		const char *accept;
		enum metrics_format format;
	} rows[] = {
		{"application/openmetrics-text;version=1.0.0,"
		 ""
		 "application/openmetrics-text;version=0.0.1;q=0.75,"
		 "text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
		 METRICS_OPENMETRICS},
		{"application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,"
		 ""
		 "application/openmetrics-text;version=0.0.1;q=0.4,"
		 "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,"
		 "text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
		 METRICS_OPENMETRICS},
		{"application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;"
		 "encoding=delimited,text/plain;version=0.0.4;q=0.5",
		 METRICS_PROMETHEUS},
		{NULL, METRICS_PROMETHEUS},
		{"", METRICS_PROMETHEUS},
		{"*/*", METRICS_PROMETHEUS},
		{"text/html, text/*;q=0.8", METRICS_PROMETHEUS},
		{"application/openmetrics-text", METRICS_OPENMETRICS},
		{"Application/OpenMetrics-Text; Version=1.0.0; charset=utf-8", METRICS_OPENMETRICS},
		{"application/openmetrics-text;q=0", METRICS_PROMETHEUS},
		{"application/openmetrics-text;q=0.3, text/plain", METRICS_PROMETHEUS},
		{"text/plain;q=0.3,application/openmetrics-text ; q=0.301", METRICS_OPENMETRICS},
		{"application/openmetrics-text;version=2.0.0, text/plain;q=0.1",
		 METRICS_PROMETHEUS},
		{"application/openmetrics-textile", METRICS_PROMETHEUS},
		{",,;q=,;;=,;q=9999999999,", METRICS_PROMETHEUS},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		if (metrics_negotiate(rows[i].accept) != rows[i].format)
			fail_msg("row %zu: %s", i, rows[i].accept);
}

static int compare(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Whatever a snapshot holds: no series twice, each family in one piece, which Prometheus insists on. */
static void test_unique(_unused_ void **state)
{
	static char *series[100000];
	static const char *const urls[] = {"json:-", "json:-", "json:-"};
	static const char *const names[] = {NULL, "json:-", "json:-#2"};
	size_t number = 0;
	char *rest, *line;

	for (uint32_t i = 0; i < 40; i++) {
		add_interface(i % 2 ? "same" : "other", 100 + i / 3, true);
		add_gone(i % 5 ? "same" : "else", 100 + i);
		for (unsigned int p = 0; p < 256; p++)
			count(100 + i, (uint8_t)p, i % 2 | (i % 4 & FLOW_IPV6), (uint16_t)(37 * p),
			      1, 1);
	}
	for (int i = 0; i < 4; i++)
		add_interface(i % 2 ? "same" : "missing", 0, false);
	add_collectors(3, urls, names);
	print(METRICS_PROMETHEUS, true);
	rest = got.text;
	while ((line = strsep(&rest, "\n"))) {
		if (!strncmp(line, "# HELP ",
			     7)) /* a second one is no better than a second series */
			*strchr(line + 7, ' ') = '\0';
		else if (*line == '#' || !*line)
			continue;
		else
			*strrchr(line, ' ') = '\0';
		assert_true(number < ARRAY_SIZE(series));
		series[number++] = line;
	}
	assert_true(number > 100);
	qsort(series, number, sizeof(*series), compare);
	for (size_t i = 1; i < number; i++)
		assert_string_not_equal(series[i], series[i - 1]);
}

/* The start is told by a clock that is set, and by one that is not, but it does not move: alerts count its changes. */
static void test_start(_unused_ void **state)
{
	struct metrics_process first, again;

	metrics_read_process(&first);
	assert_in_range(first.started_ns, clock_ns(CLOCK_REALTIME) - 3600 * NSEC_PER_SEC,
			clock_ns(CLOCK_REALTIME) + NSEC_PER_SEC);
	for (int i = 0; i < 1000; i++) {
		metrics_read_process(&again);
		assert_int_equal(again.started_ns, first.started_ns);
	}
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_families),	  TEST(test_openmetrics), TEST(test_counters_time),
		TEST(test_attach_errors), TEST(test_escaping),	  TEST(test_interfaces),
		TEST(test_collectors),	  TEST(test_alerts),	  TEST(test_hubble),
		TEST(test_nothing),	  TEST(test_gzip),	  TEST(test_negotiation),
		TEST(test_unique),	  TEST(test_start),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
