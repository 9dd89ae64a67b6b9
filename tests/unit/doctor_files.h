/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Files of /proc and /sys below a root, as a healthy system has them.  After cmocka.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "exporter/util.h"

static char root[] = "/tmp/flowtally-doctor-XXXXXX";

struct file {
	const char *path;
	const char *text; /* NULL: there is none */
};

static const struct file healthy[] = {
	{"/proc/sys/kernel/osrelease", "6.1.0-18-amd64\n"},
	{"/proc/sys/net/core/bpf_jit_enable", "1\n"},
	{"/proc/sys/kernel/unprivileged_bpf_disabled", "2\n"},
	{"/sys/kernel/btf/vmlinux", "types"},
	{"/sys/kernel/security/lockdown", "none [integrity] confidentiality\n"},
	{"/sys/devices/system/clocksource/clocksource0/current_clocksource", "tsc\n"},
	{"/sys/devices/system/clocksource/clocksource0/available_clocksource",
	 "tsc hpet acpi_pm \n"},
	{"/proc/self/status", "Name:\tflowtally\nSeccomp:\t0\nSeccomp_filters:\t0\n"},
	{"/proc/meminfo", "MemTotal:       8000000 kB\nMemAvailable:    4000000 kB\n"},
	{"/proc/self/cgroup", "0::/system.slice/ssh.service\n"},
	{"/sys/fs/cgroup/system.slice/ssh.service/memory.max", "max\n"},
	{"/sys/fs/cgroup/system.slice/ssh.service/memory.current", "1000000\n"},
};

static inline void write_file(const struct file *file)
{
	char path[512], *at;
	FILE *out;

	snprintf(path, sizeof(path), "%s%s", root, file->path);
	for (at = path + strlen(root) + 1; (at = strchr(at, '/')); at++) {
		*at = '\0';
		mkdir(path, 0700);
		*at = '/';
	}
	if (!file->text) {
		unlink(path);
		return;
	}
	out = fopen(path, "w");
	assert_non_null(out);
	fputs(file->text, out);
	assert_int_equal(fclose(out), 0);
}

static inline int make_root(void **state)
{
	(void)state;
	return mkdtemp(root) ? 0 : -1;
}

static inline int remove_root(void **state)
{
	char command[64];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf '%s'", root);
	return system(command); /* NOLINT(cert-env33-c) */
}
