/* SPDX-License-Identifier: Apache-2.0 */
/* Checks of what a process may do and have: capabilities, filters, limits, memory. */
#include <cap-ng.h>
#include <errno.h>
#include <string.h>
#include <sys/resource.h>
#include "exporter/meter/datapath.h"
#include "exporter/meter/descriptors.h"
#include "exporter/observe/doctor_check.h"
#include "exporter/sandbox.h"

#define RELEASE_CAP_BPF 508 /* before it CAP_SYS_ADMIN stood for CAP_BPF and CAP_PERFMON */
#define RELEASE_CHARGES \
	511 /* BPF maps are charged to a control group, no longer to RLIMIT_MEMLOCK */
#define SERVICE_GROUP "/system.slice/flowtally.service"
#define MEGA	      1e6

/* --- Facts. */

/* A number behind a word at the beginning of a line; false: there is none. */
static bool find_number(const char *text, const char *word, uint64_t *ret)
{
	const char *at = text;
	unsigned long long number;

	while (at && strncmp(at, word, strlen(word)) != 0) {
		at = strchr(at, '\n');
		at += at != NULL;
	}
	if (!at || sscanf(at + strlen(word), " %llu", &number) != 1)
		return false;
	*ret = number;
	return true;
}

static void read_capabilities(struct doctor_process *ret)
{
	if (capng_get_caps_process() < 0)
		return;
	for (unsigned int i = 0; i <= CAP_LAST_CAP; i++)
		if (capng_have_capability(CAPNG_EFFECTIVE, i))
			ret->capabilities |= 1ull << i;
}

static uint64_t hard_limit(__rlimit_resource_t resource)
{
	struct rlimit limit;

	if (getrlimit(resource, &limit) < 0 || limit.rlim_max == RLIM_INFINITY)
		return UINT64_MAX;
	return limit.rlim_max;
}

/* The limit of one group; false: it has none. */
static bool read_group(const char *root, const char *folder, const char *const names[2],
		       struct doctor_cgroup *ret)
{
	char path[2 * DOCTOR_PATH_MAX], text[DOCTOR_WORD_MAX];
	struct doctor_cgroup group = {0};

	snprintf(path, sizeof(path), "%s/%s", folder, names[0]);
	if (doctor_read(root, path, text, sizeof(text)) < 0 ||
	    value_number(text, &group.limit) < 0 || group.limit > 1ull << 60)
		return false; /* "max", or version 1's number that means it */
	snprintf(path, sizeof(path), "%s/%s", folder, names[1]);
	if (doctor_read(root, path, text, sizeof(text)) < 0 || value_number(text, &group.used) < 0)
		return false;
	snprintf(group.path, sizeof(group.path), "%.*s", (int)sizeof(group.path) - 1, folder);
	*ret = group;
	return true;
}

uint64_t doctor_room_of(const struct doctor_cgroup *group)
{
	return group->limit > group->used ? group->limit - group->used : 0;
}

/* A group and all above it: the one with the least room counts. */
static void read_groups(const char *root, const char *mount, const char *group,
			const char *const names[2], struct doctor_cgroup *tightest)
{
	char path[DOCTOR_PATH_MAX];
	struct doctor_cgroup one;
	const size_t base = strlen(mount);

	if (snprintf(path, sizeof(path), "%s%s", mount, group) >= (int)sizeof(path))
		return;
	while (strlen(path) >= base) {
		if (read_group(root, path, names, &one) &&
		    (!tightest->path[0] || doctor_room_of(&one) < doctor_room_of(tightest)))
			*tightest = one;
		if (!strrchr(path, '/'))
			return;
		*strrchr(path, '/') = '\0';
	}
}

/*
 * "0::/user.slice" of version 2, "4:memory:/group" of version 1.  Beside the group of this process that of the service, which
 * is there while the exporter runs in it.
 */
void doctor_read_memory_group(const char *root, bool service, struct doctor_cgroup *ret)
{
	static const char *const names[2][2] = {
		{"memory.max", "memory.current"},
		{"memory.limit_in_bytes", "memory.usage_in_bytes"},
	};
	char text[4096], *rest = text, *line;

	*ret = (struct doctor_cgroup){0};
	if (doctor_read(root, "/proc/self/cgroup", text, sizeof(text)) < 0)
		return;
	while ((line = strsep(&rest, "\n"))) {
		if (!strncmp(line, "0::/", 4)) {
			read_groups(root, "/sys/fs/cgroup", line + 3, names[0], ret);
			if (service)
				read_groups(root, "/sys/fs/cgroup", SERVICE_GROUP, names[0], ret);
		} else if (strstr(line, ":memory:")) {
			read_groups(root, "/sys/fs/cgroup/memory",
				    strstr(line, ":memory:") + strlen(":memory:"), names[1], ret);
		}
	}
}

void doctor_read_process(const char *root, struct doctor_process *ret)
{
	char text[4096];
	uint64_t number;

	*ret = (struct doctor_process){
		.user = geteuid(),
		.seccomp = DOCTOR_UNKNOWN,
		.landlock = sandbox_landlock(),
		.memlock = hard_limit(RLIMIT_MEMLOCK),
		.files = hard_limit(RLIMIT_NOFILE),
		.available = UINT64_MAX,
	};
	read_capabilities(ret);
	if (doctor_read(root, "/proc/self/status", text, sizeof(text)) == 0 &&
	    find_number(text, "Seccomp:", &number))
		ret->seccomp = (int)number;
	if (doctor_read(root, "/proc/meminfo", text, sizeof(text)) == 0 &&
	    find_number(text, "MemAvailable:", &number))
		ret->available = number * 1024;
	doctor_read_memory_group(root, true, &ret->cgroup);
}

/* --- Checks. */

static bool has(const struct doctor_process *process, unsigned int capability)
{
	return process->capabilities >> capability & 1;
}

/* Who has none of them is no exporter, but somebody who asks. */
void doctor_capabilities(struct doctor *d)
{
	static const struct {
		unsigned int capability;
		const char *name;
	} needed[] = {{CAP_BPF, "CAP_BPF"},
		      {CAP_NET_ADMIN, "CAP_NET_ADMIN"},
		      {CAP_PERFMON, "CAP_PERFMON"}};
	const struct doctor_process *process = &d->facts->process;
	bool admin = doctor_release(d->facts->kernel.release) < RELEASE_CAP_BPF &&
		     has(process, CAP_SYS_ADMIN);
	char missing[64] = "";
	size_t used = 0, lacking = 0;

	for (size_t i = 0; i < ARRAY_SIZE(needed); i++) {
		if (has(process, needed[i].capability) ||
		    (admin && needed[i].capability != CAP_NET_ADMIN))
			continue;
		used += (size_t)snprintf(missing + used, sizeof(missing) - used, "%s%s",
					 used ? ", " : "", needed[i].name);
		lacking++;
	}
	if (!lacking)
		doctor_ok(d, NULL, "CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON");
	else if (process->user != 0 && lacking == ARRAY_SIZE(needed))
		doctor_find(
			d, DOCTOR_WARN, NULL, "sudo flowtally doctor",
			"this user has none, so that not all can be looked at; the exporter needs %s",
			missing);
	else
		doctor_find(
			d, DOCTOR_FAIL, NULL,
			"systemctl edit flowtally  # [Service] AmbientCapabilities=CAP_BPF CAP_NET_ADMIN CAP_PERFMON\n"
			"cap_add: [BPF, NET_ADMIN, PERFMON]  # of docker compose\n"
			"securityContext: {capabilities: {add: [BPF, NET_ADMIN, PERFMON]}}",
			"missing: %s", missing);
}

bool doctor_may_load(const struct doctor *d)
{
	return has(&d->facts->process, CAP_BPF) && has(&d->facts->process, CAP_NET_ADMIN);
}

/* The kernel says EPERM to who has CAP_BPF only if something else forbids it. */
void doctor_seccomp(struct doctor *d)
{
	const struct doctor_process *process = &d->facts->process;
	const struct doctor_kernel *kernel = &d->facts->kernel;
	bool refused = false;

	for (size_t i = 0; i < kernel->feature_count; i++)
		refused |= kernel->features[i].error == -EPERM ||
			   kernel->features[i].error == -ENOSYS;
	if (refused && doctor_may_load(d))
		doctor_find(d, DOCTOR_FAIL, NULL,
			    "systemctl edit flowtally  # [Service] SystemCallFilter=bpf\n"
			    "securityContext: {seccompProfile: {type: RuntimeDefault}}",
			    "%s refuses bpf(2) although the capabilities are there",
			    process->seccomp > 0 ? "a filter of system calls (seccomp)"
						 : "a security module or the user namespace");
	else if (process->seccomp > 0)
		doctor_ok(d, NULL, "there is a filter of system calls%s",
			  kernel->feature_count && !refused ? ", which lets bpf(2) pass" : "");
	else
		doctor_ok(d, NULL, "no filter of system calls");
}

/* Without landlock the exporter confines all but its files; system calls are confined by every kernel that it runs on. */
void doctor_sandbox(struct doctor *d)
{
	static const char less[] = "files of the exporter are not confined";
	const int version = d->facts->process.landlock;

	if (version > 0)
		doctor_ok(d, NULL, "files can be confined, by version %d of landlock", version);
	else if (version == -EOPNOTSUPP)
		doctor_find(
			d, DOCTOR_WARN, NULL,
			"cat /sys/kernel/security/lsm  # boot with lsm=landlock, and what it says",
			"the kernel was booted without landlock: %s", less);
	else if (version == -ENOSYS)
		doctor_find(d, DOCTOR_WARN, NULL,
			    "apt-get install linux-image-$(dpkg --print-architecture)",
			    "no landlock, which came with Linux 5.13: %s", less);
	else
		doctor_find(d, DOCTOR_WARN, NULL,
			    "securityContext: {seccompProfile: {type: RuntimeDefault}}",
			    "landlock is refused here: %s", less);
}

/* Raising the limit to the hard one is libbpf's work; beyond it takes CAP_SYS_RESOURCE. */
void doctor_memlock(struct doctor *d)
{
	const struct doctor_process *process = &d->facts->process;
	const uint64_t needed = doctor_bank_memory(d->wanted);

	if (doctor_release(d->facts->kernel.release) >= RELEASE_CHARGES)
		doctor_ok(d, NULL, "this kernel does not charge banks to it");
	else if (has(process, CAP_SYS_RESOURCE) || process->memlock >= needed)
		doctor_ok(d, NULL, "enough can be locked");
	else
		doctor_find(
			d, DOCTOR_FAIL, NULL,
			"systemctl edit flowtally  # [Service] LimitMEMLOCK=infinity\nulimit -l unlimited",
			"%.1f MB may be locked (RLIMIT_MEMLOCK), the banks need %.1f MB",
			(double)process->memlock / MEGA, (double)needed / MEGA);
}

/* Banks that fit well: a power of two of flows, less than now. */
static uint32_t entries_that_fit(const struct doctor_wanted *wanted, uint64_t room)
{
	struct doctor_wanted less = *wanted;

	for (less.bank_entries = 1u << 24; less.bank_entries >= datapath_entries_min();
	     less.bank_entries /= 2)
		if (less.bank_entries < wanted->bank_entries &&
		    doctor_bank_memory(&less) + less.cache_octets <= room / 5 * 4)
			return less.bank_entries;
	return 0;
}

static void judge_room(struct doctor *d, const char *subject, uint64_t room, const char *other)
{
	const uint64_t banks = doctor_bank_memory(d->wanted);
	const uint64_t needed = banks + d->wanted->cache_octets;
	const uint32_t fit = entries_that_fit(d->wanted, room);
	char fix[DOCTOR_FIX_MAX];

	if (needed <= room / 5 * 4) {
		doctor_ok(d, subject, "%.1f MB are free, banks and caches need %.1f MB",
			  (double)room / MEGA, (double)needed / MEGA);
		return;
	}
	if (fit)
		doctor_fix(fix, "bank-entries: %u%s%s", fit, other ? "\n" : "", other ? other : "");
	else
		doctor_fix(fix, "{bank-entries: %u, cache-entries: 16384, drops: off}%s%s",
			   datapath_entries_min(), other ? "\n" : "", other ? other : "");
	doctor_find(d, needed > room ? DOCTOR_FAIL : DOCTOR_WARN, subject, fix,
		    "%.1f MB are free, banks need %.1f MB and caches %.1f MB", (double)room / MEGA,
		    (double)banks / MEGA, (double)d->wanted->cache_octets / MEGA);
}

/* A running exporter has its memory already. */
void doctor_memory(struct doctor *d)
{
	if (d->facts->exporter.status)
		doctor_ok(d, NULL, "the running exporter has what it needs");
	else if (d->facts->process.available == UINT64_MAX)
		doctor_ok(d, NULL, "not told");
	else
		judge_room(d, NULL, d->facts->process.available, NULL);
}

void doctor_cgroup_memory(struct doctor *d)
{
	const struct doctor_cgroup *group = &d->facts->process.cgroup;
	char other[DOCTOR_FIX_MAX];

	if (doctor_release(d->facts->kernel.release) < RELEASE_CHARGES)
		doctor_ok(d, NULL, "this kernel does not charge banks to it");
	else if (!group->path[0])
		doctor_ok(d, NULL, "no limit");
	else if (d->facts->exporter.status)
		doctor_ok(d, group->path, "the running exporter has what it needs");
	else
		judge_room(
			d, group->path, doctor_room_of(group),
			doctor_fix(
				other,
				"systemctl set-property flowtally.service MemoryMax=%.0fM  # in a pod: limits.memory",
				(double)(group->used + doctor_bank_memory(d->wanted) +
					 d->wanted->cache_octets) *
						5 / 4 / MEGA +
					1));
}

void doctor_descriptors(struct doctor *d)
{
	const bool both = d->wanted->ingress != HOOK_MODE_OFF && d->wanted->egress != HOOK_MODE_OFF;
	const uint64_t limit = d->facts->process.files;
	uint64_t interfaces = 0, needed;
	char fix[DOCTOR_FIX_MAX];

	for (size_t i = 0; i < d->facts->devices.count; i++)
		interfaces += d->facts->devices.list[i].wanted;
	/* maps, programs, standard streams */
	needed = (both ? 2 : 1) * interfaces + 2 * DESCRIPTORS_RESERVE + d->wanted->collector_count;
	if (limit >= needed)
		doctor_ok(d, NULL, "%llu interfaces need about %llu of them",
			  (unsigned long long)interfaces, (unsigned long long)needed);
	else
		doctor_find(
			d, DOCTOR_FAIL, NULL,
			doctor_fix(
				fix,
				"systemctl edit flowtally  # [Service] LimitNOFILE=%llu\nulimit -n %llu",
				(unsigned long long)needed * 2, (unsigned long long)needed * 2),
			"a process may have %llu, the hooks of %llu interfaces need about %llu",
			(unsigned long long)limit, (unsigned long long)interfaces,
			(unsigned long long)needed);
}
