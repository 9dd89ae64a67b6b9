/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* A healthy system, as the doctor sees one.  After cmocka.h. */
#include <linux/if_arp.h>
#include "exporter/observe/doctor_check.h"
#include "tests/unit/doctor_files.h"

/* A whole system, whose parts a case makes sick. */
static struct {
	struct doctor_wanted wanted;
	struct doctor_facts facts;
	struct doctor_report report;
	const char *interfaces[2];
	struct doctor_problem problem;
	struct doctor_device devices[3];
	bool met[2];
	struct doctor_collector collector;
} sys;

static void put(char *field, size_t size, const char *text)
{
	snprintf(field, size, "%s", text);
}

static void make_collector(const char *url)
{
	char why[URL_WHY_MAX];

	sys.collector = (struct doctor_collector){.stage = DOCTOR_AT_END,
						  .message_max = 1400,
						  .octets_needed = 160,
						  .payload_max = 1472,
						  .address = "192.0.2.20",
						  .free = 50ull << 30};
	assert_int_equal(url_parse(url, &sys.collector.url, why), 0);
}

static struct doctor_device *add_device(const char *name, const char *kind)
{
	struct doctor_device *device = &sys.devices[sys.facts.devices.count++];

	*device = (struct doctor_device){.dev = {.ifindex = (uint32_t)sys.facts.devices.count,
						 .mtu = 1500,
						 .type = ARPHRD_ETHER,
						 .up = true},
					 .wanted = true,
					 .looked_at = true,
					 .driver = "ixgbe",
					 .offloads = NETDEV_TSO | NETDEV_GRO};
	put(device->dev.name, sizeof(device->dev.name), name);
	put(device->dev.kind, sizeof(device->dev.kind), kind);
	return device;
}

static void make_healthy(void)
{
	static const struct feature features[] = {
		{"ringbuf", "BPF ring buffers", "5.8", true, false, 0},
		{"tcx", "BPF links for TC (tcx)", "6.6", false, false, 0}};

	doctor_report_clear(&sys.report);
	memset(&sys, 0, sizeof(sys));
	sys.interfaces[0] = "eth0";
	sys.wanted = (struct doctor_wanted){.interfaces = sys.interfaces,
					    .interface_count = 1,
					    .bank_entries = 131072,
					    .drop_entries = 16384,
					    .cache_octets = 40000000,
					    .collector_count = 1,
					    .export = {.message_max = 1400},
					    .listen = "127.0.0.1:9717",
					    .socket = "/run/flowtally/flowtally.sock"};
	sys.facts.process.files = 1024;
	memcpy(sys.facts.kernel.features, features, sizeof(features));
	sys.facts.devices.list = sys.devices;
	sys.facts.devices.met = sys.met;
	sys.met[0] = true;
	add_device("eth0", "");
	make_collector("ipfix://192.0.2.20");
	sys.facts.collectors = &sys.collector;
	sys.facts.collector_count = 1;
	sys.facts.exporter.error = -ENOENT;
	for (size_t i = 0; i < ARRAY_SIZE(healthy); i++)
		write_file(&healthy[i]);
}

/* What is read from files, and what only a kernel could say. */
static void read_files(void)
{
	struct doctor_kernel kernel;

	doctor_read_kernel(root, &kernel);
	memcpy(kernel.features, sys.facts.kernel.features, sizeof(kernel.features));
	kernel.feature_count = 2;
	kernel.synchronised = 1;
	sys.facts.kernel = kernel;
	doctor_read_process(root, &sys.facts.process);
	sys.facts.process.user = 0;
	sys.facts.process.capabilities = 1ull << CAP_BPF | 1ull << CAP_NET_ADMIN |
					 1ull << CAP_PERFMON;
	sys.facts.process.landlock = 4;
	sys.facts.process.memlock = UINT64_MAX;
	sys.facts.process.files = 1024;
}
