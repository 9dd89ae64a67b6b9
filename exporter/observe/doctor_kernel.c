/* SPDX-License-Identifier: Apache-2.0 */
/* Checks of the kernel and of the clocks. */
#include <errno.h>
#include <string.h>
#include <sys/timex.h>
#include "exporter/observe/doctor_check.h"

#define RELEASE_TESTED 601 /* the oldest that the tests run on */
#define RELEASE_LOADS  515 /* the oldest that should do */

/* --- Facts. */

int doctor_read(const char *root, const char *path, char *ret, size_t size)
{
	char name[DOCTOR_PATH_MAX + 64];
	_cleanup_(fclosep) FILE *file = NULL;
	size_t length;

	snprintf(name, sizeof(name), "%s%s", root, path);
	file = fopen(name, "re");
	if (!file)
		return -errno;
	length = fread(ret, 1, size - 1, file);
	if (ferror(file))
		return -EIO;
	ret[length] = '\0';
	if (length && ret[length - 1] == '\n')
		ret[length - 1] = '\0';
	return 0;
}

int doctor_read_number(const char *root, const char *path)
{
	char text[32];
	uint64_t number;

	if (doctor_read(root, path, text, sizeof(text)) < 0 || value_number(text, &number) < 0)
		return DOCTOR_UNKNOWN;
	return (int)MIN(number, INT32_MAX);
}

unsigned int doctor_release(const char *release)
{
	unsigned int major = 0, minor = 0;

	return sscanf(release, "%u.%u", &major, &minor) == 2 ? major * 100 + MIN(minor, 99u) : 0;
}

/* "none [integrity] confidentiality" */
static void read_lockdown(const char *root, char ret[DOCTOR_WORD_MAX])
{
	char text[DOCTOR_WORD_MAX];
	const char *at;

	if (doctor_read(root, "/sys/kernel/security/lockdown", text, sizeof(text)) < 0)
		return;
	at = strchr(text, '[');
	if (at)
		snprintf(ret, DOCTOR_WORD_MAX, "%.*s", (int)strcspn(at + 1, "]"), at + 1);
}

/* Reads alone: modes is 0. */
static int ask_synchronised(void)
{
	struct timex time = {0};
	int state = adjtimex(&time);

	if (state < 0)
		return DOCTOR_UNKNOWN;
	return state != TIME_ERROR && !(time.status & STA_UNSYNC);
}

void doctor_read_kernel(const char *root, struct doctor_kernel *ret)
{
	static const char clocks[] = "/sys/devices/system/clocksource/clocksource0";
	char path[128], text[DOCTOR_WORD_MAX];

	*ret = (struct doctor_kernel){.synchronised = ask_synchronised()};
	doctor_read(root, "/proc/sys/kernel/osrelease", ret->release, sizeof(ret->release));
	ret->btf = doctor_read(root, "/sys/kernel/btf/vmlinux", text, sizeof(text)) == 0;
	ret->jit = doctor_read_number(root, "/proc/sys/net/core/bpf_jit_enable");
	ret->unprivileged_bpf =
		doctor_read_number(root, "/proc/sys/kernel/unprivileged_bpf_disabled");
	read_lockdown(root, ret->lockdown);
	snprintf(path, sizeof(path), "%s/current_clocksource", clocks);
	doctor_read(root, path, ret->clock_source, sizeof(ret->clock_source));
	snprintf(path, sizeof(path), "%s/available_clocksource", clocks);
	doctor_read(root, path, ret->clock_sources, sizeof(ret->clock_sources));
}

/* --- Checks. */

#define NEWER_KERNEL \
	"apt-get install linux-image-$(dpkg --print-architecture)  # or your distribution's newest kernel; then reboot"

/* Distributions carry features to older kernels: what has been tried counts more than the version. */
static bool has_all_needed(const struct doctor_kernel *kernel)
{
	for (size_t i = 0; i < kernel->feature_count; i++)
		if (kernel->features[i].needed && kernel->features[i].error)
			return false;
	return kernel->feature_count;
}

void doctor_kernel_version(struct doctor *d)
{
	const char *release = d->facts->kernel.release;
	unsigned int version = doctor_release(release);

	if (version >= RELEASE_TESTED)
		doctor_ok(d, NULL, "Linux %s", release);
	else if (version >= RELEASE_LOADS)
		doctor_find(d, DOCTOR_WARN, NULL, NEWER_KERNEL,
			    "Linux %s should do, but flowtally is tested on 6.1 and newer",
			    release);
	else if (has_all_needed(&d->facts->kernel))
		doctor_find(
			d, DOCTOR_WARN, NULL, NEWER_KERNEL,
			"Linux %s has what is needed, by its distribution, but flowtally is tested "
			"on 6.1 and newer",
			release);
	else
		doctor_find(
			d, DOCTOR_FAIL, NULL, NEWER_KERNEL,
			"Linux %s is too old: flowtally needs 5.15, and is tested on 6.1 and newer",
			release[0] ? release : "of an unknown version");
}

/* What there is no doing without; what has a fallback is named in one sentence. */
void doctor_kernel_features(struct doctor *d)
{
	const struct doctor_kernel *kernel = &d->facts->kernel;
	char fallbacks[256] = "";
	size_t used = 0, untried = 0, missing = 0;

	for (size_t i = 0; i < kernel->feature_count; i++) {
		const struct feature *f = &kernel->features[i];

		if (f->error == -EPERM || f->error == -EACCES) {
			untried++;
		} else if (f->error && f->needed) {
			missing++;
			doctor_find(d, DOCTOR_FAIL, f->name, NEWER_KERNEL,
				    "%s: %s (Linux %s has it)", f->what, strerror(-f->error),
				    f->since);
		} else if (f->error && used < sizeof(fallbacks)) {
			used += (size_t)snprintf(fallbacks + used, sizeof(fallbacks) - used,
						 "%s%s: %s (Linux %s)", used ? "; " : "", f->what,
						 f->masked ? "switched off by `mask`" : "not there",
						 f->since);
		}
	}
	if (untried && doctor_may_load(d))
		doctor_ok(d, NULL, "%zu features cannot be tried: see seccomp", untried);
	else if (untried)
		doctor_find(d, DOCTOR_WARN, NULL, "sudo flowtally doctor",
			    "%zu features cannot be tried without CAP_BPF and CAP_NET_ADMIN",
			    untried);
	else if (!missing && used)
		doctor_ok(d, NULL, "all that is needed is there; done without: %s", fallbacks);
	else if (!missing)
		doctor_ok(d, NULL, "all that can be used is there");
}

void doctor_btf(struct doctor *d)
{
	if (d->facts->kernel.btf)
		doctor_ok(d, NULL, "/sys/kernel/btf/vmlinux can be read");
	else if (d->wanted->drop_entries)
		doctor_find(d, DOCTOR_WARN, NULL,
			    "drops: off  # or a kernel that is built with CONFIG_DEBUG_INFO_BTF=y",
			    "the kernel gives no types at /sys/kernel/btf/vmlinux: flows are "
			    "metered without them, drops are not traced");
	else
		doctor_ok(d, NULL, "the kernel gives no types; metering flows needs none");
}

void doctor_jit(struct doctor *d)
{
	switch (d->facts->kernel.jit) {
	case 0:
		doctor_find(d, DOCTOR_WARN, NULL, "sysctl -w net.core.bpf_jit_enable=1",
			    "programs are interpreted: each packet costs several times as much");
		return;
	case 1:
		doctor_ok(d, NULL, "programs are compiled");
		return;
	case 2:
		doctor_find(d, DOCTOR_WARN, NULL, "sysctl -w net.core.bpf_jit_enable=1",
			    "the kernel writes the machine code of each program to its log "
			    "(2 is for debugging the compiler)");
		return;
	default:
		doctor_ok(d, NULL, "not told in this network namespace (net.core.bpf_jit_enable)");
	}
}

void doctor_lockdown(struct doctor *d)
{
	const char *mode = d->facts->kernel.lockdown;

	if (!strcmp(mode, "confidentiality"))
		doctor_find(d, DOCTOR_WARN, NULL,
			    "drops: off  # or lockdown=integrity on the kernel's command line",
			    "confidentiality: programs may not read the kernel's memory, so that "
			    "drops cannot be traced; flows are metered");
	else
		doctor_ok(d, NULL, "%s",
			  mode[0] ? mode : "the kernel has none, or does not show it");
}

void doctor_unprivileged_bpf(struct doctor *d)
{
	switch (d->facts->kernel.unprivileged_bpf) {
	case 0:
		doctor_find(d, DOCTOR_WARN, NULL, "sysctl -w kernel.unprivileged_bpf_disabled=2",
			    "every user may load BPF programs; flowtally does not need that");
		return;
	case DOCTOR_UNKNOWN:
		doctor_ok(d, NULL, "not told (kernel.unprivileged_bpf_disabled)");
		return;
	default:
		doctor_ok(d, NULL, "only who has CAP_BPF may load programs");
	}
}

static bool has_word(const char *text, const char *word)
{
	const size_t length = strlen(word);

	for (; *text; text += strcspn(text, " "), text += strspn(text, " "))
		if (strcspn(text, " ") == length && !strncmp(text, word, length))
			return true;
	return false;
}

/* The one to choose, of those that there are; NULL: none is better. */
static const char *better_clock(const char *there)
{
	static const char *const good[] = {"tsc", "kvm-clock", "hyperv_clocksource_tsc_page",
					   "arch_sys_counter", "xen"};

	for (size_t i = 0; i < ARRAY_SIZE(good); i++)
		if (has_word(there, good[i]))
			return good[i];
	return NULL;
}

void doctor_clock_source(struct doctor *d)
{
	static const char *const slow[] = {"hpet", "acpi_pm", "jiffies", "refined-jiffies", "pit"};
	const struct doctor_kernel *kernel = &d->facts->kernel;
	const char *better = better_clock(kernel->clock_sources);
	char fix[DOCTOR_FIX_MAX];
	bool bad = false;

	for (size_t i = 0; i < ARRAY_SIZE(slow); i++)
		bad |= !strcmp(kernel->clock_source, slow[i]);
	if (!bad) {
		doctor_ok(d, NULL, "%s",
			  kernel->clock_source[0] ? kernel->clock_source : "not told");
		return;
	}
	if (better)
		doctor_fix(
			fix,
			"echo %s >/sys/devices/system/clocksource/clocksource0/current_clocksource",
			better);
	else
		doctor_fix(
			fix,
			"dmesg | grep -i -e tsc -e clocksource  # says why the kernel has given up a better one");
	doctor_find(d, DOCTOR_WARN, NULL, fix,
		    "%s: reading the time costs a microsecond or more, or is coarse; records "
		    "have times by it",
		    kernel->clock_source);
}

void doctor_clock_sync(struct doctor *d)
{
	if (d->facts->kernel.synchronised == 0)
		doctor_find(
			d, DOCTOR_WARN, NULL,
			"timedatectl set-ntp true  # or start chronyd; in a container, on its host",
			"the kernel is not told that the wall clock is synchronised: times at the "
			"collectors are as wrong as it is");
	else
		doctor_ok(d, NULL, "%s",
			  d->facts->kernel.synchronised == 1 ? "synchronised" : "not told");
}
