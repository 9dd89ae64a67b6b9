/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/cli/version.h"
#include <ares.h>
#include <bpf/libbpf.h>
#include <curses.h>
#include <errno.h>
#include <gnu/libc-version.h>
#include <jansson.h>
#include <microhttpd.h>
#include <stdio.h>
#include <sys/utsname.h>
#include <unistd.h>
#include <xxhash.h>
#include <yaml.h>
#include <zlib.h>
#include "exporter/commit.h"
#include "exporter/meter/datapath.h"
#include "exporter/meter/features.h"
#include "exporter/util.h"

/* As far as a library knows its version when it runs. */
static void print_libraries(void)
{
	const unsigned int xxhash = XXH_versionNumber();

	printf("libraries  libbpf %s, c-ares %s, glibc %s, jansson %s, libmicrohttpd %s, libyaml %s, "
	       "%s, xxHash %u.%u.%u, zlib %s\n",
	       libbpf_version_string() + 1, ares_version(NULL), gnu_get_libc_version(),
	       jansson_version_str(), MHD_get_version(), yaml_get_version_string(),
	       curses_version(), xxhash / 10000, xxhash / 100 % 100, xxhash % 100, zlibVersion());
}

/* Prints the names of those that are there, or that are not; how many. */
static size_t print_features(const struct feature *features, size_t count, bool there, bool btf)
{
	size_t printed = 0;

	for (size_t i = 0; i < count; i++)
		if ((features[i].error == 0) == there)
			printf("%s%s", printed++ ? ", " : "", features[i].name);
	if (btf == there)
		printf("%sbtf", printed++ ? ", " : "");
	return printed;
}

static bool may_try(const struct feature *features, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (features[i].error == -EPERM)
			return false;
	return true;
}

static void print_program(void *userdata, const char *name, const uint8_t tag[DATAPATH_TAG_OCTETS])
{
	bool *first = userdata;

	printf("%-10s %-24s ", *first ? "programs" : "", name);
	for (size_t i = 0; i < DATAPATH_TAG_OCTETS; i++)
		printf("%02x", tag[i]);
	printf("\n");
	*first = false;
}

/* A kind that the kernel does not have says why, on standard error. */
static void print_programs(void)
{
	bool first = true;

	for (int kind = 0; kind < _RECORD_KIND_MAX; kind++) {
		_cleanup_(datapath_freep) struct datapath *datapath = NULL;
		const struct datapath_options options = {
			.kind = (enum record_kind)kind,
			.entries = datapath_entries_min(),
			.optional = true,
		};

		if (datapath_new(&datapath, &options) == 0)
			datapath_visit_programs(datapath, print_program, &first);
	}
}

void version_print(void)
{
	struct feature features[FEATURES_MAX];
	struct utsname system = {0};
	bool btf = access("/sys/kernel/btf/vmlinux", R_OK) == 0;
	size_t count;

	uname(&system);
	printf("flowtally %s", FLOWTALLY_VERSION);
	if (*commit)
		printf(" (commit %.12s)", commit);
	printf("\n");
	printf("system     Linux %s %s\n", system.release, system.machine);
	print_libraries();
	libbpf_set_print(NULL);
	count = features_list(features, NULL);
	if (!may_try(features, count)) {
		printf("features   only root may try what the kernel has\n"
		       "programs   only root is told their tags\n");
		return;
	}
	printf("features   ");
	if (!print_features(features, count, true, btf))
		printf("none");
	printf("; missing: ");
	if (!print_features(features, count, false, btf))
		printf("none");
	printf("\n");
	fflush(stdout); /* what follows takes a moment */
	print_programs();
}
