/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every packet of the table, and each of them cut and changed, through every program by
 * BPF_PROG_TEST_RUN: keys, records, counters and reasons are the native parser's.
 */
#include <errno.h>
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include <bpf/bpf.h>
#include "tests/bpf/give.h"
#include "tests/packets.h"

#define LOOPBACK 1

static struct run table_run(const struct test_packet *t, enum datapath_program program)
{
	struct run run = {.bytes = t->bytes, .size = t->size, .ifindex = LOOPBACK, .repeat = 1};
	bool bare = program == PROGRAM_TC_EGRESS_BARE || program == PROGRAM_TC_INGRESS_BARE;
	static uint8_t frame[2048] = {ETH(0)};

	if (program != PROGRAM_XDP) {
		run.gso_size = t->gso_size;
		run.gso_segs = t->gso_segs;
		run.vlan_tagged = t->vlan_tagged;
		run.vlan = t->vlan;
	}
	/* Behind what BPF_PROG_TEST_RUN takes for an Ethernet header, and marks as such. */
	if (bare)
		run.network = ETH_HLEN;
	if (bare && t->ethertype) {
		frame[12] = (uint8_t)(t->ethertype >> 8);
		frame[13] = (uint8_t)t->ethertype;
		memcpy(frame + ETH_HLEN, t->bytes, t->size);
		run.bytes = frame;
		run.size += ETH_HLEN;
	}
	/* A pushed tag is not a matter of link layers without a header. */
	if (bare && run.vlan_tagged)
		run.size = 0;
	return run;
}

static void test_table(void **state)
{
	struct give *c = *state;
	char text[160];

	for (int program = 0; program < _PROGRAM_HOOK_MAX; program++)
		for (size_t i = 0; i < TEST_PACKETS; i++) {
			const struct test_packet *t = &test_packets[i];
			struct run run = table_run(t, program);

			if (run.size < ETH_HLEN)
				continue;
			give_frame(c, program, t->name, &run);
			model_check(&c->model,
				    give_label(text, sizeof(text), program, t->name, &run));
		}
}

/* The model is the native parser, and so is the table for it: here, that they were not both silent. */
static void test_reasons_reached(void **state)
{
	struct give *c = *state;

	for (int d = 0; d < _DIRECTION_MAX; d++)
		for (int reason = REASON_NONE + 1; reason < REASON_OUT_OF_REACH; reason++)
			if (c->model.unrecorded[d][reason].packets == 0)
				fail_msg("direction %d: no packet had reason %d", d, reason);
}

/* What a clsact filter runs: the same program, by way of a stub. */
static void test_stubs(void **state)
{
	struct give *c = *state;

	for (int program = PROGRAM_XDP + 1; program < _PROGRAM_HOOK_MAX; program++) {
		for (size_t i = 0; i < TEST_PACKETS; i++) {
			struct run run = table_run(&test_packets[i], program);

			if (run.size < ETH_HLEN || run.vlan_tagged)
				continue;
			give_fd(c, datapath_stub_fd(c->datapath, program), program,
				test_packets[i].name, &run);
		}
		model_check(&c->model, datapath_program_name(program));
	}
}

static void test_short_frames(void **state)
{
	struct give *c = *state;

	for (int program = 0; program < _PROGRAM_HOOK_MAX; program++)
		for (size_t i = 0; i < TEST_PACKETS; i++) {
			const struct test_packet *t = &test_packets[i];
			struct run run = table_run(t, program);
			uint32_t size = run.size;

			for (run.size = ETH_HLEN; run.size < size; run.size++)
				give_frame(c, program, t->name, &run);
			model_check(&c->model, t->name);
		}
}

/* Headers that do not lie in the part a program reaches by itself. */
static void test_far_headers(void **state)
{
	struct give *c = *state;
	int unable = 0;

	for (int program = 0; program < _PROGRAM_HOOK_MAX; program++)
		for (size_t i = 0; i < TEST_PACKETS; i++) {
			const struct test_packet *t = &test_packets[i];
			struct run run = table_run(t, program);
			bool able = true;

			if (run.vlan_tagged) /* pushing one pulls */
				continue;
			for (run.linear = ETH_HLEN; able && run.linear < run.size; run.linear++)
				able = give_frame(c, program, t->name, &run);
			unable += !able;
			model_check(&c->model, t->name);
		}
	if (unable)
		print_message(
			"# this kernel does not let BPF_PROG_TEST_RUN cut the linear part: %d packets left out\n",
			unable);
}

/* More than a page of XDP frame comes in fragments, whether one asks for it or not. */
static void test_large_frames(void **state)
{
	static uint8_t bytes[9000];
	struct give *c = *state;

	memset(bytes, 0xee, sizeof(bytes));
	for (int program = 0; program < _PROGRAM_HOOK_MAX; program++)
		for (size_t i = 0; i < TEST_PACKETS; i++) {
			const struct test_packet *t = &test_packets[i];
			struct run run = table_run(t, program);

			if (run.size < ETH_HLEN ||
			    (program == PROGRAM_XDP && !datapath_features(c->datapath)->xdp_frags))
				continue;
			memcpy(bytes, run.bytes, run.size);
			run.bytes = bytes;
			run.size = program == PROGRAM_XDP
					   ? sizeof(bytes)
					   : 3000; /* of an skb it takes a page at most */
			give_frame(c, program, t->name, &run);
			model_check(&c->model, t->name);
		}
}

static uint32_t random_next(uint32_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 17;
	*seed ^= *seed << 5;
	return *seed;
}

static void test_changed_bytes(void **state)
{
	struct give *c = *state;
	uint32_t seed = 20260417, change;
	uint8_t bytes[512];

	for (int program = 0; program < _PROGRAM_HOOK_MAX; program++)
		for (size_t i = 0; i < TEST_PACKETS; i++) {
			const struct test_packet *t = &test_packets[i];
			struct run run = table_run(t, program);

			if (run.size < ETH_HLEN)
				continue;
			for (int n = 0; n < 60; n++) {
				memcpy(bytes, run.bytes, run.size);
				for (int k = 0; k < 1 + n % 3; k++) {
					change = random_next(&seed);
					bytes[(change >> 8) % MIN(run.size, 90)] = (uint8_t)change;
				}
				give_frame(c, program, t->name,
					   &(struct run){.bytes = bytes,
							 .size = run.size,
							 .ifindex = LOOPBACK,
							 .network = run.network,
							 .gso_size = run.gso_size,
							 .gso_segs = run.gso_segs,
							 .repeat = 1});
			}
			model_check(&c->model, t->name);
		}
}

static struct flow_record only_flow(struct give *c)
{
	struct flow_record records[8];
	struct flow_key keys[8];
	unsigned int bank = datapath_active(c->datapath);
	uint32_t position = 0, count = 0;
	bool done;

	assert_int_equal(
		datapath_read(c->datapath, bank, &position, keys, records, 8, &count, &done), 0);
	assert_int_equal(count, 1);
	datapath_reset_fill(c->datapath, bank);
	return records[0];
}

static uint64_t octets_with(struct give *c, enum datapath_program program, struct run run,
			    uint32_t wire_length)
{
	int verdict;

	run.wire_length = wire_length;
	assert_int_equal(run_program(datapath_program_fd(c->datapath, program), false, &run, NULL,
				     &verdict),
			 0);
	return only_flow(c).octets;
}

/*
 * In a tunnel each segment carries more than the parser sees.  What the kernel takes all headers for is right on the
 * newest alone: Linux 6.1 takes the tunnel's own header for TCP's, whatever length that gives.
 */
static void test_wire_length(void **state)
{
	static const uint8_t vxlan[] = {ETH(0x0800), IP4(236, 17), UDP(216), DATA8,  ETH(0x0800),
					IP4(186, 6), TCP(0x010),   DATA100,  DATA20, DATA20,
					DATA4,	     0xee,	   0xee};
	struct run run = {.bytes = vxlan, .size = sizeof(vxlan), .ifindex = LOOPBACK, .repeat = 1};
	const uint32_t headers = 14 + 20 + 8 + 8 + 14 + 20 + 20, size = sizeof(vxlan);
	struct give *c = *state;

	run.gso_size = 73;
	run.gso_segs = 2;
	for (uint32_t taken = 0; taken <= headers; taken++) {
		assert_int_equal(octets_with(c, PROGRAM_TC_EGRESS, run, size + taken),
				 size + headers - 2 * 14);
		assert_int_equal(octets_with(c, PROGRAM_TC_INGRESS, run, size + taken),
				 size + headers - 2 * 14);
	}
	model_init(&c->model, c->datapath);
}

/* Of a tunnel that nobody here knows the kernel's word is taken, leaving; arriving, that field means something else. */
static void test_unknown_tunnel(void **state)
{
	static const uint8_t l2tp[] = {ETH(0x0800), IP4(140, 115), DATA100, DATA20};
	struct run run = {.bytes = l2tp, .size = sizeof(l2tp), .ifindex = LOOPBACK, .repeat = 1};
	struct give *c = *state;

	run.gso_size = 50;
	run.gso_segs = 2;
	assert_int_equal(octets_with(c, PROGRAM_TC_EGRESS, run, run.size + 54), 140 + 40);
	assert_int_equal(octets_with(c, PROGRAM_TC_INGRESS, run, run.size + 54), 140 + 20);
	model_init(&c->model, c->datapath);
}

/* Two CPUs race for a flow's first packet, and the one that makes the record is the later one. */
static void test_last_not_before_first(void **state)
{
	static const uint8_t bytes[] = {ETH(0x0800), IP4(28, 17), UDP(8)};
	struct run run = {.bytes = bytes, .size = sizeof(bytes), .ifindex = LOOPBACK, .repeat = 1};
	struct give *c = *state;
	unsigned int bank = datapath_active(c->datapath);
	struct flow_record record;
	struct flow_key key;
	uint32_t position = 0, count = 0;
	int verdict, map = datapath_bank_fd(c->datapath, bank);
	bool done;

	octets_with(c, PROGRAM_TC_EGRESS, run, 0);
	assert_int_equal(run_program(datapath_program_fd(c->datapath, PROGRAM_TC_EGRESS), false,
				     &run, NULL, &verdict),
			 0);
	assert_int_equal(bpf_map_get_next_key(map, NULL, &key), 0);
	assert_int_equal(bpf_map_lookup_elem(map, &key, &record), 0);
	record.first_ns = record.last_ns = record.first_ns + 1000000000;
	assert_int_equal(bpf_map_update_elem(map, &key, &record, BPF_EXIST), 0);
	assert_int_equal(run_program(datapath_program_fd(c->datapath, PROGRAM_TC_EGRESS), false,
				     &run, NULL, &verdict),
			 0);
	assert_int_equal(
		datapath_read(c->datapath, bank, &position, &key, &record, 1, &count, &done), 0);
	assert_int_equal(record.packets, 2);
	assert_true(record.last_ns >= record.first_ns);
	datapath_reset_fill(c->datapath, bank);
	model_init(&c->model, c->datapath);
}

/*
 * The first packet of all whose network header is not where its bytes begin, though they read as the header of IPv4,
 * with protocol 197: MAC addresses.  No flow of that, before such a packet has been seen and after it.
 */
static void test_first_marked(void **state)
{
	static const uint8_t bytes[74] = {
		0x45,		0,	     0,	     60, 0, 1, 0, 0, 64, 197, 0xab, 0xcd,
		BE16(ETH_P_IP), IP4(60, 17), UDP(40)};
	struct run run = {.bytes = bytes,
			  .size = sizeof(bytes),
			  .network = ETH_HLEN,
			  .ifindex = LOOPBACK,
			  .repeat = 1};
	struct give *c = *state;

	give_frame(c, PROGRAM_TC_INGRESS_BARE, "the first", &run);
	model_check(&c->model, "the first");
	give_frame(c, PROGRAM_TC_INGRESS_BARE, "the next", &run);
	give_frame(c, PROGRAM_TC_EGRESS_BARE, "one that leaves", &run);
	model_check(&c->model, "the next");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_table),
		cmocka_unit_test(test_reasons_reached),
		cmocka_unit_test(test_stubs),
		cmocka_unit_test(test_short_frames),
		cmocka_unit_test(test_far_headers),
		cmocka_unit_test(test_large_frames),
		cmocka_unit_test(test_changed_bytes),
		cmocka_unit_test(test_wire_length),
		cmocka_unit_test(test_unknown_tunnel),
		cmocka_unit_test(test_last_not_before_first),
		cmocka_unit_test_setup_teardown(test_first_marked, give_open, give_close),
	};

	run_require();
	return cmocka_run_group_tests_name("programs", tests, give_open, give_close);
}
