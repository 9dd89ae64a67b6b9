/* SPDX-License-Identifier: Apache-2.0 */
/* The doctor: systems that are sick in one way each, and what is found in them; nothing is found in a healthy one. */
#include <net/if.h> /* before the kernel's own version of it */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <linux/if_arp.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include "exporter/observe/doctor_check.h"
#include "tests/unit/doctor_healthy.h"

#define FILES_MAX 3

/* --- Ways to be sick that are in no file. */

static void no_perfmon(void)
{
	sys.facts.process.capabilities &= ~(1ull << CAP_PERFMON);
}

static void no_landlock(void)
{
	sys.facts.process.landlock = -ENOSYS;
}

static void landlock_off(void)
{
	sys.facts.process.landlock = -EOPNOTSUPP;
}

static void landlock_refused(void)
{
	sys.facts.process.landlock = -EPERM;
}

static void no_user(void)
{
	sys.facts.process.capabilities = 0;
	sys.facts.process.user = 65534;
}

static void no_ringbuf(void)
{
	sys.facts.kernel.features[0].error = -EINVAL;
}

static void old_kernel(void)
{
	no_ringbuf();
	sys.facts.kernel.features[1].error = -EINVAL;
}

static void features_untried(void)
{
	no_user();
	sys.facts.kernel.features[0].error = -EPERM;
	sys.facts.kernel.features[1].error = -EPERM;
	sys.devices[0].ingress_qdisc = true; /* is no trouble where there is tcx */
}

static void bpf_refused(void)
{
	sys.facts.kernel.features[0].error = -EPERM;
}

static void little_memlock(void)
{
	sys.facts.process.memlock = 65536;
}

static void few_files(void)
{
	sys.facts.process.files = 32;
}

static void not_synchronised(void)
{
	sys.facts.kernel.synchronised = 0;
}

static void wrong_name(void)
{
	sys.interfaces[0] = "eht0";
	sys.devices[0].wanted = sys.devices[0].looked_at = false;
	sys.met[0] = false;
}

static void wrong_glob(void)
{
	wrong_name();
	sys.interfaces[0] = "veth*";
}

static void hostile_name(void)
{
	sys.devices[0].offloads |= NETDEV_LRO;
	put(sys.devices[0].dev.name, sizeof(sys.devices[0].dev.name), "a;reboot");
	sys.interfaces[0] = "a;*";
}

static void none_configured(void)
{
	sys.wanted.interface_count = 0;
	sys.wanted.configuration = "/etc/flowtally/flowtally.yaml";
}

static void device_down(void)
{
	sys.devices[0].dev.up = false;
}

static void strange_link(void)
{
	sys.devices[0].dev.type = ARPHRD_INFINIBAND;
}

static void ingress_qdisc(void)
{
	sys.facts.kernel.features[1].error = -EINVAL;
	sys.devices[0].ingress_qdisc = true;
}

static void xdp_on_veth(void)
{
	sys.wanted.ingress = HOOK_MODE_XDP;
	put(sys.devices[0].driver, sizeof(sys.devices[0].driver), "veth");
}

static void add_program(enum doctor_foreign_place place, uint32_t id, const char *name, bool ours)
{
	struct doctor_device *device = &sys.devices[0];
	struct doctor_program *program = &device->programs[device->program_count++];

	*program = (struct doctor_program){.place = place, .id = id, .ours = ours};
	put(program->name, sizeof(program->name), name);
}

static void foreign_xdp(void)
{
	add_program(DOCTOR_AT_XDP, 7, "xdp_firewall", false);
}

static void foreign_xdp_held(void)
{
	foreign_xdp();
	sys.wanted.ingress = HOOK_MODE_XDP;
}

static void foreign_in_front(void)
{
	add_program(DOCTOR_AT_TC_INGRESS, 8, "cil_from_netdev", false);
	add_program(DOCTOR_AT_TC_INGRESS, 9, "flowtally_tc_in", true);
}

static void small_mtu(void)
{
	sys.devices[0].dev.mtu = 576;
}

static void jumbo_xdp(void)
{
	sys.devices[0].dev.mtu = 9000;
	sys.wanted.ingress = HOOK_MODE_XDP;
}

static void lro(void)
{
	sys.devices[0].offloads |= NETDEV_LRO;
}

static void vrf(void)
{
	put(sys.devices[0].dev.kind, sizeof(sys.devices[0].dev.kind), "vrf");
}

static void bond_and_member(void)
{
	add_device("bond0", "bond");
	sys.devices[0].dev.master = 2;
	sys.interfaces[1] = "bond0";
	sys.met[1] = true;
	sys.wanted.interface_count = 2;
}

static void bond_member_xdp(void)
{
	bond_and_member();
	sys.devices[1].wanted = sys.devices[1].looked_at = false;
	sys.wanted.interface_count = 1;
	sys.wanted.ingress = HOOK_MODE_XDP;
}

static void bridge_and_port(void)
{
	bond_and_member();
	put(sys.devices[1].dev.kind, sizeof(sys.devices[1].dev.kind), "bridge");
}

static void no_collector(void)
{
	sys.wanted.collector_count = 0;
	sys.facts.collector_count = 0;
}

static void no_collector_known(void)
{
	no_collector();
	sys.facts.exporter.error = -EACCES;
}

static void no_name(void)
{
	make_collector("ipfix://collector.example");
	sys.collector.stage = DOCTOR_AT_NAME;
	put(sys.collector.why, sizeof(sys.collector.why), "Domain name not found");
}

static void no_route(void)
{
	sys.collector.stage = DOCTOR_AT_ROUTE;
	sys.collector.route_error = -ENETUNREACH;
}

static void no_source(void)
{
	sys.collector.stage = DOCTOR_AT_ROUTE;
	sys.collector.route_error = -EADDRNOTAVAIL;
	sys.collector.source = "192.0.2.99";
}

static void narrow_path(void)
{
	sys.collector.payload_max = 1252;
}

static void narrower_path(void)
{
	sys.collector.payload_max = 160;
}

static void tiny_path(void)
{
	sys.collector.payload_max = 159;
}

static void port_closed(void)
{
	sys.collector.answer_error = -ECONNREFUSED;
}

static void host_unreachable(void)
{
	sys.collector.answer_error = -EHOSTUNREACH;
}

static void tcp_refused(void)
{
	make_collector("ipfix+tcp://192.0.2.20");
	sys.collector.answer_error = -ECONNREFUSED;
}

static void tcp_silent(void)
{
	make_collector("ipfix+tcp://192.0.2.20");
	sys.collector.answer_error = -ETIMEDOUT;
}

static void no_folder(void)
{
	make_collector("file:///var/flows/x y/a.ipfix");
	sys.collector.file_error = -ENOENT;
}

static void full_disk(void)
{
	make_collector("file:///var/flows/a.ipfix");
	sys.collector.free = 1 << 20;
}

static void address_taken(void)
{
	sys.facts.listen_error = -EADDRINUSE;
}

static void address_missing(void)
{
	sys.facts.listen_error = -EADDRNOTAVAIL;
}

static void socket_left(void)
{
	sys.facts.exporter.error = -ECONNREFUSED;
}

static void socket_closed(void)
{
	sys.facts.exporter.error = -EACCES;
}

static void exporter_hangs(void)
{
	sys.facts.exporter.error = -ETIMEDOUT;
}

/* As docs/control.md has it. */
static void exporter_says(const char *answer)
{
	sys.facts.exporter = (struct doctor_exporter){.status = json_loads(answer, 0, NULL)};
	assert_non_null(sys.facts.exporter.status);
}

static void exporter_degraded(void)
{
	exporter_says(
		"{\"version\":1,\"answer\":\"status\",\"health\":\"degraded\",\"exporter\":\"0.1.0\","
		"\"problems\":[{\"what\":\"bank_full\",\"fix\":\"bank-entries: 262144\"}]}");
}

static void exporter_older(void)
{
	exporter_says("{\"version\":1,\"error\":{\"code\":\"version\",\"text\":\"it speaks 2\"}}");
}

static void bad_configuration(void)
{
	sys.wanted.configuration = "/etc/f.yaml";
	sys.problem =
		(struct doctor_problem){false, "/etc/f.yaml:3:5: idle-timeout: 'soon' is no time"};
	sys.wanted.problems = &sys.problem;
	sys.wanted.problem_count = 1;
}

/* --- The table. */

#define GROUP  "/sys/fs/cgroup/system.slice/ssh.service/"
#define CLOCKS "/sys/devices/system/clocksource/clocksource0/"

/* clang-format off */
static const struct sick {
	const char *name;
	struct file files[FILES_MAX];
	void (*change)(void);
	const char *id;
	enum doctor_level level;
	const char *subject; /* NULL: none */
	const char *text;    /* a part of it */
	const char *fix;     /* one of its lines, whole or up to the blank before # */
	const char *also; /* another check that may find something, for the same reason; NULL: none */
} table[] = {
	{"kernel 5.15", {{"/proc/sys/kernel/osrelease", "5.15.0-91-generic\n"}}, NULL, "kernel-version",
	 DOCTOR_WARN, NULL, "5.15.0-91-generic", "apt-get install linux-image-$(dpkg --print-architecture)",
	 NULL},
	{"kernel 5.4", {{"/proc/sys/kernel/osrelease", "5.4.0\n"}}, old_kernel, "kernel-version", DOCTOR_FAIL, NULL,
	 "too old", "apt-get install linux-image-$(dpkg --print-architecture)", "kernel-features"},
	{"kernel 4.18 with all of it", {{"/proc/sys/kernel/osrelease", "4.18.0-553.el8.x86_64\n"}}, NULL,
	 "kernel-version", DOCTOR_WARN, NULL, "by its distribution",
	 "apt-get install linux-image-$(dpkg --print-architecture)", NULL},
	{"no ring buffers", {{0}}, no_ringbuf, "kernel-features", DOCTOR_FAIL, "ringbuf", "Linux 5.8",
	 "apt-get install linux-image-$(dpkg --print-architecture)", NULL},
	{"no ring buffers and no tcx", {{0}}, old_kernel, "kernel-features", DOCTOR_FAIL, "ringbuf", "Linux 5.8",
	 "apt-get install linux-image-$(dpkg --print-architecture)", NULL},
	{"features that may not be tried", {{0}}, features_untried, "kernel-features", DOCTOR_WARN, NULL,
	 "2 features", "sudo flowtally doctor", "capabilities"},
	{"no BTF", {{"/sys/kernel/btf/vmlinux", NULL}}, NULL, "btf", DOCTOR_WARN, NULL,
	 "/sys/kernel/btf/vmlinux", "drops: off", NULL},
	{"JIT off", {{"/proc/sys/net/core/bpf_jit_enable", "0\n"}}, NULL, "jit", DOCTOR_WARN, NULL,
	 "interpreted", "sysctl -w net.core.bpf_jit_enable=1", NULL},
	{"JIT that tells all", {{"/proc/sys/net/core/bpf_jit_enable", "2\n"}}, NULL, "jit", DOCTOR_WARN, NULL,
	 "log", "sysctl -w net.core.bpf_jit_enable=1", NULL},
	{"lockdown", {{"/sys/kernel/security/lockdown", "none integrity [confidentiality]\n"}}, NULL,
	 "lockdown", DOCTOR_WARN, NULL, "drops cannot be traced", "drops: off", NULL},
	{"BPF for everybody", {{"/proc/sys/kernel/unprivileged_bpf_disabled", "0\n"}}, NULL, "unprivileged-bpf",
	 DOCTOR_WARN, NULL, "every user", "sysctl -w kernel.unprivileged_bpf_disabled=2", NULL},
	{"no CAP_PERFMON", {{0}}, no_perfmon, "capabilities", DOCTOR_FAIL, NULL, "missing: CAP_PERFMON",
	 "securityContext: {capabilities: {add: [BPF, NET_ADMIN, PERFMON]}}", NULL},
	{"no root", {{0}}, no_user, "capabilities", DOCTOR_WARN, NULL, "CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON",
	 "sudo flowtally doctor", NULL},
	{"seccomp", {{"/proc/self/status", "Seccomp:\t2\n"}}, bpf_refused, "seccomp", DOCTOR_FAIL, NULL,
	 "a filter of system calls", "securityContext: {seccompProfile: {type: RuntimeDefault}}", NULL},
	{"a security module", {{0}}, bpf_refused, "seccomp", DOCTOR_FAIL, NULL, "a security module",
	 "systemctl edit flowtally", NULL},
	{"no landlock", {{0}}, no_landlock, "sandbox", DOCTOR_WARN, NULL, "Linux 5.13",
	 "apt-get install linux-image-$(dpkg --print-architecture)", NULL},
	{"landlock off", {{0}}, landlock_off, "sandbox", DOCTOR_WARN, NULL, "was booted without landlock",
	 "cat /sys/kernel/security/lsm", NULL},
	{"landlock refused", {{0}}, landlock_refused, "sandbox", DOCTOR_WARN, NULL, "is refused here",
	 "securityContext: {seccompProfile: {type: RuntimeDefault}}", NULL},
	{"memlock", {{"/proc/sys/kernel/osrelease", "5.10.0\n"}}, little_memlock, "memlock", DOCTOR_FAIL, NULL,
	 "0.1 MB may be locked", "ulimit -l unlimited", "kernel-version"},
	{"little memory", {{"/proc/meminfo", "MemAvailable: 80000 kB\n"}}, NULL, "memory", DOCTOR_FAIL, NULL,
	 "81.9 MB are free", "bank-entries: 32768", NULL},
	{"just enough memory", {{"/proc/meminfo", "MemAvailable: 100000 kB\n"}}, NULL, "memory", DOCTOR_WARN,
	 NULL, "102.4 MB are free", "bank-entries: 65536", NULL},
	{"a limit of the control group", {{GROUP "memory.max", "30000000\n"}}, NULL, "cgroup-memory",
	 DOCTOR_FAIL, "/sys/fs/cgroup/system.slice/ssh.service", "29.0 MB are free",
	 "systemctl set-property flowtally.service MemoryMax=123M", NULL},
	{"a limit above it", {{GROUP "memory.max", "900000000\n"},
			      {"/sys/fs/cgroup/system.slice/memory.max", "45000000\n"},
	 {"/sys/fs/cgroup/system.slice/memory.current", "5000000\n"}}, NULL, "cgroup-memory", DOCTOR_FAIL,
	 "/sys/fs/cgroup/system.slice", "40.0 MB are free",
	 "systemctl set-property flowtally.service MemoryMax=128M", NULL},
	{"a limit of version 1", {{"/proc/self/cgroup", "5:cpu:/\n4:memory:/box\n"},
	 {"/sys/fs/cgroup/memory/box/memory.limit_in_bytes", "50000000\n"},
	 {"/sys/fs/cgroup/memory/box/memory.usage_in_bytes", "10000000\n"}}, NULL, "cgroup-memory", DOCTOR_FAIL,
	 "/sys/fs/cgroup/memory/box", "40.0 MB are free",
	 "systemctl set-property flowtally.service MemoryMax=134M", NULL},
	{"few descriptors", {{0}}, few_files, "descriptors", DOCTOR_FAIL, NULL, "may have 32", "ulimit -n 134",
	 NULL},
	{"a slow clock", {{CLOCKS "current_clocksource", "hpet\n"}}, NULL, "clock-source", DOCTOR_WARN, NULL,
	 "hpet", "echo tsc >" CLOCKS "current_clocksource", NULL},
	{"a slow clock and no other", {{CLOCKS "current_clocksource", "acpi_pm\n"},
	 {CLOCKS "available_clocksource", "acpi_pm \n"}}, NULL, "clock-source", DOCTOR_WARN, NULL, "acpi_pm",
	 "dmesg | grep -i -e tsc -e clocksource", NULL},
	{"a clock that nobody sets", {{0}}, not_synchronised, "clock-sync", DOCTOR_WARN, NULL, "synchronised",
	 "timedatectl set-ntp true", NULL},
	{"an interface that is not there", {{0}}, wrong_name, "interface", DOCTOR_FAIL, "eht0",
	 "no such interface", "interfaces: [eth0]", NULL},
	{"a glob that matches none", {{0}}, wrong_glob, "interface", DOCTOR_WARN, "veth*",
	 "no interface matches", "ip -br link", NULL},
	{"no interface", {{0}}, none_configured, "interface", DOCTOR_FAIL, NULL, "none is configured",
	 "interfaces: [eth0]", NULL},
	{"an interface that is down", {{0}}, device_down, "interface", DOCTOR_WARN, "eth0", "down",
	 "ip link set dev eth0 up", NULL},
	{"a strange link layer", {{0}}, strange_link, "interface", DOCTOR_FAIL, "eth0", "ARPHRD 32",
	 "ip -d link", NULL},
	{"an ingress qdisc", {{0}}, ingress_qdisc, "interface-hook", DOCTOR_FAIL, "eth0", "`ingress` qdisc",
	 "egress: off", NULL},
	{"XDP on a veth", {{0}}, xdp_on_veth, "interface-hook", DOCTOR_WARN, "eth0", "offloads",
	 "ingress: auto", NULL},
	{"a foreign XDP program", {{0}}, foreign_xdp, "interface-foreign", DOCTOR_WARN, "eth0",
	 "id 7 (xdp_firewall)", "ip link set dev eth0 xdp off", NULL},
	{"XDP that is held", {{0}}, foreign_xdp_held, "interface-foreign", DOCTOR_FAIL, "eth0",
	 "held by program id 7", "ingress: tc", NULL},
	{"a program in front", {{0}}, foreign_in_front, "interface-foreign", DOCTOR_WARN, "eth0",
	 "'cil_from_netdev' (program id 8)", "systemctl restart flowtally", NULL},
	{"a small MTU", {{0}}, small_mtu, "interface-mtu", DOCTOR_WARN, "eth0", "576 octets",
	 "ip link set dev eth0 mtu 1500", NULL},
	{"XDP on long frames", {{0}}, jumbo_xdp, "interface-mtu", DOCTOR_WARN, "eth0", "9000 octets",
	 "ingress: auto", NULL},
	{"LRO", {{0}}, lro, "interface-lro", DOCTOR_WARN, "eth0", "on:", "ethtool -K eth0 lro off", NULL},
	{"LRO on a hostile name", {{0}}, hostile_name, "interface-lro", DOCTOR_WARN, "a;reboot", "on:",
	 "ethtool -K 'a;reboot' lro off", NULL},
	{"a VRF", {{0}}, vrf, "interface-stack", DOCTOR_WARN, "eth0", "VRF", "ip link show master eth0", NULL},
	{"a bond and its member", {{0}}, bond_and_member, "interface-stack", DOCTOR_WARN, "eth0",
	 "bond 'bond0'", "interfaces: [bond0]", NULL},
	{"XDP on a bond's member", {{0}}, bond_member_xdp, "interface-stack", DOCTOR_FAIL, "eth0",
	 "bond 'bond0'", "interfaces: [bond0]", NULL},
	{"a bridge and its port", {{0}}, bridge_and_port, "interface-stack", DOCTOR_WARN, "eth0",
	 "bridge 'bond0'", "interfaces: [eth0]", NULL},
	{"no collector", {{0}}, no_collector, "collectors", DOCTOR_WARN, NULL, "none is configured",
	 "collectors: [\"json:///var/lib/flowtally/flows.json\"]  # or ipfix:// and a host", NULL},
	{"collectors that may not be asked for", {{0}}, no_collector_known, "collectors", DOCTOR_WARN, NULL,
	 "may not ask the running exporter for its own", "sudo flowtally doctor", "exporter"},
	{"a name without an address", {{0}}, no_name, "collector-name", DOCTOR_FAIL,
	 "ipfix://collector.example", "Domain name not found", "getent ahosts collector.example", NULL},
	{"no route", {{0}}, no_route, "collector-route", DOCTOR_FAIL, "ipfix://192.0.2.20",
	 "Network is unreachable", "ip route get 192.0.2.20", NULL},
	{"a source that is not there", {{0}}, no_source, "collector-route", DOCTOR_FAIL, "ipfix://192.0.2.20",
	 "from 192.0.2.99", "ip -br address", NULL},
	{"a narrow path", {{0}}, narrow_path, "collector-mtu", DOCTOR_WARN, "ipfix://192.0.2.20", "1252 octets",
	 "message-size: 1252", NULL},
	{"a narrower path than a setting can say", {{0}}, narrower_path, "collector-mtu", DOCTOR_WARN,
	 "ipfix://192.0.2.20", "160 octets", "tracepath -n 192.0.2.20", NULL},
	{"a path that is too narrow", {{0}}, tiny_path, "collector-mtu", DOCTOR_FAIL, "ipfix://192.0.2.20",
	 "a template needs 160", "tracepath -n 192.0.2.20", NULL},
	{"a closed port", {{0}}, port_closed, "collector-answer", DOCTOR_FAIL, "ipfix://192.0.2.20",
	 "UDP port 4739 of 192.0.2.20 is closed", "ssh 192.0.2.20 ss -lunp 'sport = :4739'", NULL},
	{"a host that is gone", {{0}}, host_unreachable, "collector-answer", DOCTOR_FAIL, "ipfix://192.0.2.20",
	 "No route to host", "ping -c 1 192.0.2.20", NULL},
	{"a closed TCP port", {{0}}, tcp_refused, "collector-answer", DOCTOR_FAIL, "ipfix+tcp://192.0.2.20",
	 "TCP port 4739", "ssh 192.0.2.20 ss -ltnp 'sport = :4739'", NULL},
	{"a filter on the way", {{0}}, tcp_silent, "collector-answer", DOCTOR_FAIL, "ipfix+tcp://192.0.2.20",
	 "timed out", "nft list ruleset", NULL},
	{"no folder", {{0}}, no_folder, "collector-file", DOCTOR_FAIL, "file:///var/flows/x y/a.ipfix",
	 "No such file", "install -d -o root '/var/flows/x y'", NULL},
	{"a full disk", {{0}}, full_disk, "collector-file", DOCTOR_WARN, "file:///var/flows/a.ipfix",
	 "1.0 MB are free", "df -h /var/flows", NULL},
	{"a port that is taken", {{0}}, address_taken, "listen", DOCTOR_FAIL, "127.0.0.1:9717",
	 "another program", "ss -ltnp 'sport = :9717'", NULL},
	{"an address that is not there", {{0}}, address_missing, "listen", DOCTOR_FAIL, "127.0.0.1:9717",
	 "Cannot assign", "ip -br address", NULL},
	{"a socket left behind", {{0}}, socket_left, "exporter", DOCTOR_WARN, "/run/flowtally/flowtally.sock",
	 "died", "systemctl restart flowtally", NULL},
	{"a socket of others", {{0}}, socket_closed, "exporter", DOCTOR_WARN, "/run/flowtally/flowtally.sock",
	 "may not ask", "sudo flowtally doctor", NULL},
	{"an exporter that hangs", {{0}}, exporter_hangs, "exporter", DOCTOR_WARN,
	 "/run/flowtally/flowtally.sock", "does not answer", "journalctl -u flowtally", NULL},
	{"an exporter with troubles", {{0}}, exporter_degraded, "exporter", DOCTOR_WARN,
	 "/run/flowtally/flowtally.sock", "the exporter says: bank_full", "bank-entries: 262144", NULL},
	{"an exporter of another version", {{0}}, exporter_older, "exporter", DOCTOR_WARN,
	 "/run/flowtally/flowtally.sock", "it speaks 2", "systemctl restart flowtally", NULL},
	{"a bad configuration", {{0}}, bad_configuration, "configuration", DOCTOR_FAIL, "/etc/f.yaml",
	 "f.yaml:3:5", "flowtally config check /etc/f.yaml", NULL},
};
/* clang-format on */

static bool same(const char *a, const char *b)
{
	return !a == !b && (!a || !strcmp(a, b));
}

/* One line of it is `wanted`, but for what stands behind #. */
static bool has_line(const char *fix, const char *wanted)
{
	const size_t length = strlen(wanted);

	for (; *fix; fix += strcspn(fix, "\n"), fix += *fix == '\n')
		if (!strncmp(fix, wanted, length) &&
		    (!fix[length] || fix[length] == '\n' || !strncmp(fix + length, "  # ", 4)))
			return true;
	return false;
}

static void judge(void)
{
	doctor_report_clear(&sys.report);
	doctor_judge(&sys.wanted, &sys.facts, &sys.report);
	assert_false(sys.report.incomplete);
}

static void explain(const char *name)
{
	print_message("in the system '%s':\n", name);
	doctor_report_print(stdout, &sys.report);
}

static void test_healthy(void **state)
{
	(void)state;
	make_healthy();
	read_files();
	judge();
	if (doctor_report_count(&sys.report, DOCTOR_OK) != sys.report.count)
		explain("healthy");
	assert_int_equal(doctor_report_count(&sys.report, DOCTOR_OK), sys.report.count);
	/* and each check has said something, but for those of what there is not */
	for (size_t i = 0; doctor_check_id(i); i++) {
		size_t found = 0;

		for (size_t k = 0; k < sys.report.count; k++)
			found += !strcmp(sys.report.list[k].id, doctor_check_id(i));
		if (!found && strcmp(doctor_check_id(i), "collector-file") != 0)
			fail_msg("nothing is said by '%s'", doctor_check_id(i));
	}
	doctor_report_clear(&sys.report);
}

/*
 * The finding is there, and no other of its level or worse, but for the one that has the same reason.  What fails is not
 * said to be well by the same check.
 */
static void check_sick(const struct sick *sick)
{
	size_t found = 0, others = 0;

	for (size_t i = 0; i < sys.report.count; i++) {
		const struct doctor_finding *f = &sys.report.list[i];

		if (f->level == DOCTOR_OK && sick->level == DOCTOR_FAIL && !f->subject &&
		    !strcmp(f->id, sick->id))
			fail_msg("%s: '%s' says too: %s", sick->name, f->id, f->text);
		if (f->level == DOCTOR_OK)
			continue;
		if (!f->fix || !f->fix[0])
			fail_msg("%s: '%s' has no fix", sick->name, f->id);
		if (!strcmp(f->id, sick->id) && f->level == sick->level &&
		    same(f->subject, sick->subject) && strstr(f->text, sick->text) &&
		    has_line(f->fix, sick->fix))
			found++;
		else if (!sick->also || strcmp(f->id, sick->also) != 0)
			others++;
	}
	if (found != 1 || others)
		explain(sick->name);
	assert_int_equal(found, 1);
	assert_int_equal(others, 0);
}

static void test_sick(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		const struct sick *sick = &table[i];

		make_healthy();
		for (size_t k = 0; k < FILES_MAX && sick->files[k].path; k++)
			write_file(&sick->files[k]);
		read_files();
		if (sick->change)
			sick->change();
		judge();
		check_sick(sick);
		json_decref(sys.facts.exporter.status);
		for (size_t k = 0; k < FILES_MAX && sick->files[k].path; k++)
			write_file(&(struct file){sick->files[k].path, NULL});
	}
	doctor_report_clear(&sys.report);
}

/* There is no check that cannot find anything. */
static void test_each_check(void **state)
{
	(void)state;
	for (size_t i = 0; doctor_check_id(i); i++) {
		size_t cases = 0;

		for (size_t k = 0; k < ARRAY_SIZE(table); k++)
			cases += !strcmp(table[k].id, doctor_check_id(i));
		if (!cases)
			fail_msg("no sick system for '%s'", doctor_check_id(i));
	}
}

/* What a running exporter has is not asked for once more, and its port is taken by itself. */
static void test_running(void **state)
{
	(void)state;
	make_healthy();
	write_file(&(struct file){"/proc/meminfo", "MemAvailable: 1000 kB\n"});
	read_files();
	address_taken();
	exporter_says("{\"version\":1,\"health\":\"healthy\",\"problems\":[]}");
	judge();
	assert_int_equal(doctor_report_count(&sys.report, DOCTOR_OK), sys.report.count);
	doctor_report_clear(&sys.report);
	json_decref(sys.facts.exporter.status);
}

static void test_json(void **state)
{
	json_t *object, *findings, *finding;

	(void)state;
	make_healthy();
	read_files();
	foreign_xdp_held();
	put(sys.devices[0].dev.name, sizeof(sys.devices[0].dev.name), "eth\xff");
	sys.interfaces[0] = "eth*";
	judge();
	object = doctor_report_json(&sys.report);
	assert_string_equal(json_string_value(json_object_get(object, "verdict")), "FAIL");
	findings = json_object_get(object, "findings");
	assert_int_equal(json_array_size(findings), sys.report.count);
	for (size_t i = 0; i < json_array_size(findings); i++) {
		finding = json_array_get(findings, i);
		if (strcmp(json_string_value(json_object_get(finding, "level")), "FAIL") != 0)
			continue;
		assert_string_equal(json_string_value(json_object_get(finding, "id")),
				    "interface-foreign");
		assert_string_equal(json_string_value(json_object_get(finding, "subject")),
				    "eth\\xff");
		assert_int_equal(json_array_size(json_object_get(finding, "fix")), 2);
	}
	json_decref(object);
	doctor_report_clear(&sys.report);
}

/* --- Words. */

static void test_quote(void **state)
{
	char quoted[DOCTOR_QUOTE_MAX];

	(void)state;
	assert_string_equal(doctor_quote(quoted, "eth0.7"), "eth0.7");
	assert_string_equal(doctor_quote(quoted, ""), "''");
	assert_string_equal(doctor_quote(quoted, "a b"), "'a b'");
	assert_string_equal(doctor_quote(quoted, "a'$(reboot)\n"), "'a $(reboot) '");
}

/* The address at which the exporter is to listen. */
static void test_listen(void **state)
{
	struct sockaddr_in here = {.sin_family = AF_INET,
				   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t length = sizeof(here);
	int server = socket(AF_INET, SOCK_STREAM, 0);
	char address[64];

	(void)state;
	assert_int_equal(bind(server, (struct sockaddr *)&here, length), 0);
	assert_int_equal(listen(server, 1), 0);
	assert_int_equal(getsockname(server, (struct sockaddr *)&here, &length), 0);
	snprintf(address, sizeof(address), "127.0.0.1:%u", ntohs(here.sin_port));
	assert_int_equal(doctor_try_listen(address), -EADDRINUSE);
	close(server);
	assert_int_equal(doctor_try_listen(address), 0);
	assert_int_equal(doctor_try_listen("192.0.2.1:9717"), -EADDRNOTAVAIL);
	assert_int_equal(doctor_try_listen("nonsense"), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_healthy),	   cmocka_unit_test(test_sick),
		cmocka_unit_test(test_each_check), cmocka_unit_test(test_running),
		cmocka_unit_test(test_json),	   cmocka_unit_test(test_quote),
		cmocka_unit_test(test_listen),
	};

	return cmocka_run_group_tests(tests, make_root, remove_root);
}
