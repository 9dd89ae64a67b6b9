/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the kernel's verifier walks of each program.  It gives up at a million instructions, and how many it
 * needs differs by kernel and by the compiler: a quarter of that is what a program may take here, so
 * that older kernels and further headers have room.
 *
 * Arguments: BPF objects, of any compiler.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/bpf.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "exporter/meter/drop_tracer.h"
#include "tests/bpf/run.h"

#define WALKED_MAX	  250000
#define HOOK_PROGRAMS_MIN 5 /* of all objects, without drops, which not every kernel can trace */

#ifndef BPF_F_XDP_HAS_FRAGS
#define BPF_F_XDP_HAS_FRAGS (1U << 5)
#endif

struct verify {
	char **paths;
	const char *path; /* of the one that is looked at */
	bool xdp_frags;
	bool drops;
	struct drop_tracer_kernel kernel;
};

static struct verify verify;

/* As the exporter sets them: what is constant decides what the verifier walks. */
static void configure(struct bpf_object *object)
{
	struct datapath_config *config = NULL;
	struct bpf_map *map;
	size_t size;

	bpf_object__for_each_map(map, object)
	{
		if (bpf_map__type(map) == BPF_MAP_TYPE_LRU_HASH)
			bpf_map__set_max_entries(map, datapath_entries_min());
		if (strstr(bpf_map__name(map), "rodata"))
			config = (void *)bpf_map__initial_value(map, &size);
	}
	if (!config) {
		fail_msg("%s: no configuration", verify.path);
		return;
	}
	config->limit = datapath_entries_min() / 2;
	config->high_water = datapath_entries_min() / 4;
	config->xdp_frags = verify.xdp_frags;
	config->drop_socket = verify.kernel.socket;
	config->drop_namespace = verify.kernel.own_namespace;
	config->release = verify.kernel.release;
	config->release_list = verify.kernel.release_list;
	config->not_specified = verify.kernel.not_specified;
}

/* The kernel tells from 5.16 on; its log has always done. */
static uint32_t walked(const struct bpf_program *program, const char *log)
{
	const char *line = strstr(log, "processed ");
	struct bpf_prog_info info = {0};
	uint32_t size = sizeof(info);

	if (bpf_obj_get_info_by_fd(bpf_program__fd(program), &info, &size) == 0 &&
	    info.verified_insns)
		return info.verified_insns;
	return line ? (uint32_t)strtoul(line + strlen("processed "), NULL, 10) : 0;
}

/* Loads that program alone; what it walked is 0 where it cannot be loaded. */
static uint32_t load_one(const char *name)
{
	struct bpf_object *object = bpf_object__open_file(verify.path, NULL);
	struct bpf_program *program;
	char log[4096] = "";
	uint32_t result = 0;

	assert_non_null(object);
	bpf_object__for_each_program(program, object)
		bpf_program__set_autoload(program, !strcmp(bpf_program__name(program), name));
	configure(object);
	program = bpf_object__find_program_by_name(object, name);
	bpf_program__set_log_level(program, 4); /* statistics */
	bpf_program__set_log_buf(program, log, sizeof(log));
	if (verify.xdp_frags && bpf_program__type(program) == BPF_PROG_TYPE_XDP)
		bpf_program__set_flags(program, BPF_F_XDP_HAS_FRAGS);
	if (bpf_object__load(object) == 0)
		result = walked(program, log);
	bpf_object__close(object);
	return result;
}

static bool can_load(const struct bpf_program *program)
{
	return bpf_program__type(program) != BPF_PROG_TYPE_TRACING || verify.drops;
}

/* How many programs were loaded. */
static uint32_t check_object(void)
{
	struct bpf_object *object = bpf_object__open_file(verify.path, NULL);
	struct bpf_program *program;
	uint32_t loaded = 0, n;

	assert_non_null(object);
	bpf_object__for_each_program(program, object)
	{
		if (!can_load(program))
			continue;
		n = load_one(bpf_program__name(program));
		if (n == 0 || n >= WALKED_MAX)
			fail_msg("%s of %s: the verifier walks %u instructions, may walk %u",
				 bpf_program__name(program), verify.path, n, WALKED_MAX);
		print_message("# %s: %u instructions walked\n", bpf_program__name(program), n);
		loaded++;
	}
	bpf_object__close(object);
	return loaded;
}

static void test_walked(_unused_ void **state)
{
	uint32_t loaded = 0;

	for (char **path = verify.paths; *path; path++) {
		verify.path = *path;
		loaded += check_object();
	}
	assert_true(loaded >= HOOK_PROGRAMS_MIN);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_walked)};
	struct kernel_features features;
	const char *why;

	run_require();
	if (argc < 2)
		run_skip("no object given");
	if (features_probe(&features, NULL) < 0)
		run_skip("a kernel that is too old");
	verify.xdp_frags = features.xdp_frags;
	verify.drops = drop_tracer_probe(&verify.kernel, &why) == 0;
	verify.paths = argv + 1;
	return cmocka_run_group_tests_name("verifier", tests, NULL, NULL);
}
