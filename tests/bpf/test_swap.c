/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A swap waits for programs that are running: one that had read the old index may still write to the
 * old bank.  Real programs run for less than a microsecond; this one takes its time.
 */
#include <bpf/bpf.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "tests/bpf/run.h"

#define COPIES	    4000
#define COPY_OCTETS (1 << 20)

/* Of the slow program. */
enum phase {
	PHASE_IDLE,
	PHASE_RUNNING,
	PHASE_DONE,
};

struct slow {
	int program;
	int phase; /* array of one enum phase */
	int source;
	int target;
};

#define LOOKUP(map, result) \
	{.code = BPF_LD | BPF_DW, .dst_reg = 1, .src_reg = BPF_PSEUDO_MAP_FD, .imm = (map)}, {0}, \
		{.code = BPF_ALU64 | BPF_MOV | BPF_X, .dst_reg = 2, .src_reg = 10}, \
		{.code = BPF_ALU64 | BPF_ADD, .dst_reg = 2, .imm = -4}, \
		{.code = BPF_JMP | BPF_CALL, .imm = BPF_FUNC_map_lookup_elem}, \
		{.code = BPF_JMP | BPF_JNE, .dst_reg = 0, .off = 1}, {.code = BPF_JMP | BPF_EXIT}, \
	{ \
		.code = BPF_ALU64 | BPF_MOV | BPF_X, .dst_reg = (result), .src_reg = 0 \
	}
#define SET_PHASE(value) \
	{ \
		.code = BPF_ST | BPF_MEM, .dst_reg = 7, .imm = (value) \
	}

/* Copies a value of a megabyte from one map to another, COPIES times. */
static int load_slow(struct slow *s)
{
	const struct bpf_insn code[] = {
		{.code = BPF_ST | BPF_MEM, .dst_reg = 10, .off = -4}, /* the key, 0 */
		LOOKUP(s->phase, 7),
		LOOKUP(s->source, 8),
		SET_PHASE(PHASE_RUNNING),
		{.code = BPF_ALU64 | BPF_MOV, .dst_reg = 9, .imm = COPIES},
		{.code = BPF_LD | BPF_DW,
		 .dst_reg = 1,
		 .src_reg = BPF_PSEUDO_MAP_FD,
		 .imm = s->target},
		{0},
		{.code = BPF_ALU64 | BPF_MOV | BPF_X, .dst_reg = 2, .src_reg = 10},
		{.code = BPF_ALU64 | BPF_ADD, .dst_reg = 2, .imm = -4},
		{.code = BPF_ALU64 | BPF_MOV | BPF_X, .dst_reg = 3, .src_reg = 8},
		{.code = BPF_ALU64 | BPF_MOV, .dst_reg = 4, .imm = BPF_ANY},
		{.code = BPF_JMP | BPF_CALL, .imm = BPF_FUNC_map_update_elem},
		{.code = BPF_ALU64 | BPF_SUB, .dst_reg = 9, .imm = 1},
		{.code = BPF_JMP | BPF_JNE, .dst_reg = 9, .off = -9},
		SET_PHASE(PHASE_DONE),
		{.code = BPF_ALU64 | BPF_MOV, .dst_reg = 0, .imm = 0},
		{.code = BPF_JMP | BPF_EXIT},
	};

	return bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "slow", "GPL", code, ARRAY_SIZE(code), NULL);
}

static enum phase phase_get(const struct slow *s)
{
	uint32_t zero = 0, phase = PHASE_IDLE;

	bpf_map_lookup_elem(s->phase, &zero, &phase);
	return phase;
}

static void phase_clear(const struct slow *s)
{
	uint32_t zero = 0, phase = PHASE_IDLE;

	assert_int_equal(bpf_map_update_elem(s->phase, &zero, &phase, BPF_ANY), 0);
}

static void *run_slow(void *userdata)
{
	static const uint8_t bytes[ETH_HLEN];
	const struct run run = {.bytes = bytes, .size = sizeof(bytes), .repeat = 1};
	const struct slow *s = userdata;
	int verdict;

	run_program(s->program, false, &run, NULL, &verdict);
	return NULL;
}

static void test_swap_waits(_unused_ void **state)
{
	struct datapath *d = run_open(datapath_entries_min());
	struct slow s = {
		.phase = bpf_map_create(BPF_MAP_TYPE_ARRAY, "phase", 4, 4, 1, NULL),
		.source = bpf_map_create(BPF_MAP_TYPE_ARRAY, "source", 4, COPY_OCTETS, 1, NULL),
		.target = bpf_map_create(BPF_MAP_TYPE_ARRAY, "target", 4, COPY_OCTETS, 1, NULL),
	};
	unsigned int before = 2, old = 3;
	enum phase at_swap = PHASE_DONE;
	pthread_t thread;

	s.program = load_slow(&s);
	assert_true(s.program >= 0);
	/* On a busy machine the program may be through before this thread has its turn. */
	for (int i = 0; i < 10 && at_swap == PHASE_DONE; i++) {
		phase_clear(&s);
		before = datapath_active(d);
		assert_int_equal(pthread_create(&thread, NULL, run_slow, &s), 0);
		while (phase_get(&s) == PHASE_IDLE)
			;
		at_swap = phase_get(&s);
		assert_int_equal(datapath_swap(d, &old), 0);
		assert_int_equal(phase_get(&s), PHASE_DONE);
		pthread_join(thread, NULL);
	}
	assert_int_equal(at_swap, PHASE_RUNNING); /* or this has shown nothing */
	assert_int_equal(old, before);
	assert_int_equal(datapath_active(d), !before);
	close(s.program);
	close(s.phase);
	close(s.source);
	close(s.target);
	datapath_free(d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_swap_waits)};

	run_require();
	return cmocka_run_group_tests_name("swap", tests, NULL, NULL);
}
