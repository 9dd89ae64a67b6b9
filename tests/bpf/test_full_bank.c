/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A bank that fills, one packet after the other: what is refused is exact by interface, direction and
 * octet, nothing is evicted, and flows that are in the bank count on as if nothing were.
 */
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <bpf/libbpf.h>
#include <cmocka.h>
#include "tests/bpf/flows.h"
#include "tests/packets.h"

#define ESTABLISHED 90
#define INTERFACES  100

struct context {
	struct datapath *datapath;
	uint32_t entries;
	uint32_t limit; /* flows that a bank takes */
	int fds[INTERFACES];
	uint32_t ifindex[INTERFACES];
};

/* What is expected of one interface and direction. */
struct expected {
	struct flow_sum refused;
	uint32_t kept; /* flows 0 to kept - 1 are in the bank */
};

static void send(const struct context *c, enum datapath_program program, uint32_t ifindex,
		 uint32_t number, uint32_t repeat)
{
	uint8_t bytes[FLOW_BYTES_MAX];
	struct run run = {.bytes = bytes,
			  .size = flow_packet(number, bytes),
			  .ifindex = ifindex,
			  .repeat = repeat};
	int verdict;

	assert_int_equal(run_program(datapath_program_fd(c->datapath, program),
				     program == PROGRAM_XDP, &run, NULL, &verdict),
			 0);
}

static void add_refused(void *userdata, const struct reason_key *key,
			const struct reason_count *count)
{
	struct flow_sum(*sums)[_DIRECTION_MAX] = userdata;

	assert_int_equal(key->reason, REASON_BANK_FULL);
	assert_in_range(key->ifindex, 1, INTERFACES + 1);
	sums[key->ifindex][key->point].packets += count->packets;
	sums[key->ifindex][key->point].octets += count->octets;
}

static bool is_woken(const struct context *c)
{
	struct pollfd p = {.fd = datapath_wakeup_fd(c->datapath), .events = POLLIN};

	return poll(&p, 1, 0) == 1;
}

/* Reads a whole bank: `limit` flows, of which the established ones have `packets` each, the others one. */
static void check_kept(const struct context *c, unsigned int bank, uint32_t ifindex,
		       uint64_t packets)
{
	_cleanup_(freep) struct drain_batch *batch = calloc(1, sizeof(*batch));
	struct flow_books books = {0};
	uint32_t position = 0, flows = 0;
	bool done = false;

	assert_non_null(batch);
	assert_int_equal(flow_books_init(&books, c->entries), 0);
	while (!done) {
		batch->count = 0;
		assert_int_equal(datapath_read(c->datapath, bank, &position, batch->keys,
					       batch->records, DRAIN_BATCH, &batch->count, &done),
				 0);
		assert_null(flow_books_add(&books, ifindex, batch));
		flows += batch->count;
	}
	datapath_reset_fill(c->datapath, bank);
	assert_int_equal(flows, c->limit); /* none evicted */
	for (uint32_t i = 0; i < c->entries; i++) {
		const struct flow_sum *sum = &books.sums[DIRECTION_INGRESS][i];

		assert_int_equal(sum->packets, i < ESTABLISHED ? packets : i < c->limit);
		assert_int_equal(sum->octets, sum->packets * flow_octets[i % FLOW_KINDS]);
	}
	flow_books_clear(&books);
}

/* Fills the active bank from one interface, then sends on from that and another one. */
static void fill(struct context *c, uint32_t ifindex, uint32_t other, uint64_t *ret_established)
{
	uint64_t established = 1;

	for (uint32_t i = 0; i < c->limit; i++) {
		if (i == c->limit / 8 * 7 - 1)
			assert_false(is_woken(c));
		send(c, i % 2 ? PROGRAM_XDP : PROGRAM_TC_INGRESS, ifindex, i, 1);
	}
	assert_true(is_woken(c));
	for (uint32_t i = c->limit; i < c->entries; i++) {
		send(c, PROGRAM_XDP, ifindex, i, 1);
		send(c, PROGRAM_TC_EGRESS, other, i, 2);
		if (i % 16)
			continue;
		for (uint32_t k = 0; k < ESTABLISHED; k++)
			send(c, PROGRAM_TC_INGRESS, ifindex, k, 3);
		established += 3;
	}
	*ret_established = established;
}

static void test_refused(void **state)
{
	struct flow_sum sums[INTERFACES + 2][_DIRECTION_MAX] = {0};
	struct flow_sum in = {0}, out = {0};
	struct context *c = *state;
	uint32_t first = c->ifindex[0], other = c->ifindex[1];
	uint64_t established = 0;
	unsigned int bank;

	for (int round = 1; round < 4; round++) {
		fill(c, first, other, &established);
		for (uint32_t i = c->limit; i < c->entries; i++) {
			in.packets += 1;
			in.octets += flow_octets[i % FLOW_KINDS];
			out.packets += 2;
			out.octets += 2 * flow_octets[i % FLOW_KINDS];
		}
		memset(sums, 0, sizeof(sums));
		assert_int_equal(datapath_unrecorded(c->datapath, add_refused, sums), 0);
		assert_memory_equal(&sums[first][DIRECTION_INGRESS], &in, sizeof(in));
		assert_memory_equal(&sums[other][DIRECTION_EGRESS], &out, sizeof(out));
		assert_int_equal(sums[first][DIRECTION_EGRESS].packets +
					 sums[other][DIRECTION_INGRESS].packets,
				 0);
		datapath_wakeup_clear(c->datapath);
		assert_false(is_woken(c));
		/* The other bank takes flows at once. */
		assert_int_equal(datapath_swap(c->datapath, &bank), 0);
		check_kept(c, bank, first, established);
	}
}

struct total {
	uint64_t packets;
	uint64_t octets;
	uint64_t nameless; /* packets of interface 0 */
};

static void add_total(void *userdata, const struct reason_key *key,
		      const struct reason_count *count)
{
	struct total *total = userdata;

	if (key->reason == REASON_BANK_FULL)
		return; /* of the test above */
	total->packets += count->packets;
	total->octets += count->octets;
	if (key->ifindex == 0)
		total->nameless += count->packets;
}

/* More interfaces and reasons than the rare path's map has room for: that costs names, but no packet. */
static void test_many_interfaces(void **state)
{
	struct context *c = *state;
	uint64_t packets = 0, octets = 0;
	struct total total = {0};
	int verdict;

	for (int i = 0; i < INTERFACES; i++)
		for (size_t k = 0; k < TEST_PACKETS; k++) {
			const struct test_packet *t = &test_packets[k];
			struct run run = {.bytes = t->bytes,
					  .size = t->size,
					  .ifindex = c->ifindex[i],
					  .repeat = 1};
			int xdp = datapath_program_fd(c->datapath, PROGRAM_XDP);

			if (t->reason == REASON_NONE || t->ethertype || t->gso_size)
				continue;
			assert_int_equal(run_program(xdp, true, &run, NULL, &verdict), 0);
			packets++;
			octets += t->size;
			/* some kernels make no skb of a frame that ends in its IP header */
			if (run_program(datapath_program_fd(c->datapath, PROGRAM_TC_EGRESS), false,
					&run, NULL, &verdict))
				continue;
			packets++;
			octets += t->size;
		}
	assert_int_equal(datapath_unrecorded(c->datapath, add_total, &total), 0);
	assert_int_equal(total.packets, packets);
	assert_int_equal(total.octets, octets);
	assert_true(total.nameless > 0 && total.nameless < packets);
}

static int open_context(void **state)
{
	struct context *c = calloc(1, sizeof(*c));
	char name[16];

	if (!c)
		return -1;
	c->entries = datapath_entries_min();
	c->limit = c->entries - (uint32_t)libbpf_num_possible_cpus() * BANK_RESERVE_PER_CPU;
	c->datapath = run_open(c->entries);
	if (unshare(CLONE_NEWNET) < 0)
		return -1;
	for (int i = 0; i < INTERFACES; i++) {
		snprintf(name, sizeof(name), "tap%d", i);
		c->fds[i] = run_make_interface(name, false, &c->ifindex[i]);
		if (c->fds[i] < 0)
			return c->fds[i];
	}
	*state = c;
	return 0;
}

static int close_context(void **state)
{
	struct context *c = *state;

	for (int i = 0; i < INTERFACES; i++)
		close(c->fds[i]);
	datapath_free(c->datapath);
	free(c);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_refused),
					   cmocka_unit_test(test_many_interfaces)};

	run_require();
	return cmocka_run_group_tests_name("full bank", tests, open_context, close_context);
}
