/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Nothing gets lost: two CPUs send through the XDP and TC programs at once, while the drain thread
 * swaps the banks under them.  At the end every packet and octet is in a drained record or in a named
 * counter, in the sum and flow by flow.
 */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <cmocka.h>
#include "exporter/loop.h"
#include "tests/bpf/flows.h"
#include "tests/packets.h"

#define LOOPBACK 1
#define THREADS	 2

/* One sender's task, and its own books. */
struct sender {
	struct traffic *traffic;
	uint32_t index;
	pthread_t thread;
	struct flow_books sent;
	uint64_t arp[_DIRECTION_MAX];
	uint64_t packets;
	int error;
};

struct traffic {
	struct datapath *datapath;
	struct loop *loop;
	struct drain *drain;
	int finished; /* eventfd: senders that are done */
	uint32_t left;
	uint64_t target; /* packets of each sender */
	uint32_t hot;	 /* flows 0 to hot - 1: both send them again and again */
	bool lockstep;	 /* instead, both send each flow once, at the same time */
	atomic_uint met;
	uint32_t flows; /* the others are sent once or twice, each by one sender */
	struct flow_books drained;
	const char *broken;
	uint32_t snapshots;
	struct sender senders[THREADS];
};

static uint32_t random_next(uint32_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 17;
	*seed ^= *seed << 5;
	return *seed;
}

static const enum datapath_program programs[] = {PROGRAM_XDP, PROGRAM_TC_EGRESS,
						 PROGRAM_TC_INGRESS};

static enum flow_direction direction_of(enum datapath_program program)
{
	return program == PROGRAM_TC_EGRESS ? DIRECTION_EGRESS : DIRECTION_INGRESS;
}

/*
 * To repeat an XDP program the kernel patches its dispatcher and waits for a grace period, some 20 ms:
 * it is worth that for many packets alone.
 */
static int send_run(struct traffic *t, enum datapath_program program, struct run run)
{
	bool xdp = program == PROGRAM_XDP;
	uint32_t times = xdp && run.repeat < 1000 ? run.repeat : 1;
	int verdict = 0, r = 0;

	run.repeat /= times;
	for (uint32_t i = 0; i < times && r == 0; i++) {
		r = run_program(datapath_program_fd(t->datapath, program), xdp, &run, NULL,
				&verdict);
		if (r == 0 && verdict != (xdp ? XDP_PASS : TC_ACT_UNSPEC))
			r = -1;
	}
	return r;
}

/* A super-packet now and then: a plain TCP packet with 100 octets, sent as two. */
static int send_flow(struct sender *s, enum datapath_program program, uint32_t number,
		     uint32_t repeat)
{
	struct flow_sum *sum = &s->sent.sums[direction_of(program)][number];
	uint32_t octets = flow_octets[number % FLOW_KINDS], packets = repeat;
	uint8_t bytes[FLOW_BYTES_MAX + 100] = {0};
	struct run run = {.bytes = bytes,
			  .size = flow_packet(number, bytes),
			  .ifindex = LOOPBACK,
			  .repeat = repeat};
	int r;

	if (program != PROGRAM_XDP && number % (5 * FLOW_KINDS) == 0) {
		run.size += 100;
		run.gso_size = 50;
		run.gso_segs = number % 2 ? 2 : 0;
		octets += 50;
		packets *= 2;
	}
	r = send_run(s->traffic, program, run);
	if (r < 0)
		return r;
	sum->packets += packets;
	sum->octets += (uint64_t)packets * octets;
	s->packets += packets;
	return 0;
}

static int send_arp(struct sender *s, enum datapath_program program, uint32_t repeat)
{
	static const uint8_t bytes[] = {ETH(0x0806), DATA20, DATA8};
	const struct run run = {
		.bytes = bytes, .size = sizeof(bytes), .ifindex = LOOPBACK, .repeat = repeat};

	s->arp[direction_of(program)] += repeat;
	s->packets += repeat;
	return send_run(s->traffic, program, run);
}

/*
 * Both draw the same numbers, so that they meet in the same flows, right after a swap too, when all of
 * them have to be made again.
 */
static int send_all(struct sender *s)
{
	struct traffic *t = s->traffic;
	uint32_t seed = 20260417, fresh = t->hot + s->index, draw;
	int r = 0;

	while (r == 0 && s->packets < t->target) {
		enum datapath_program program = programs[random_next(&seed) % ARRAY_SIZE(programs)];

		draw = random_next(&seed);
		if (t->hot && program == PROGRAM_XDP && draw % 256 == 0)
			r = send_flow(s, program, (draw >> 8) % t->hot, 100000 + draw % 1000);
		else if (t->hot && program != PROGRAM_XDP && draw % 4 == 0)
			r = send_flow(s, program, (draw >> 8) % t->hot, 200 + draw % 2000);
		else if (t->hot && draw % 4 == 1)
			r = send_flow(s, program, (draw >> 8) % t->hot, 1 + draw % 8);
		else if (draw % 64 == 2)
			r = send_arp(s, program, 1 + draw % 5);
		else {
			r = send_flow(s, program, fresh, 1 + draw % 2);
			fresh += fresh + THREADS < t->flows ? THREADS : 0;
		}
	}
	return r;
}

/* Waits for the other one; on a machine of one CPU it needs a turn for that. */
static void meet(struct traffic *t, uint32_t times)
{
	atomic_fetch_add(&t->met, 1);
	for (uint32_t spins = 0; atomic_load(&t->met) < times * THREADS; spins++)
		if (spins > 10000)
			sched_yield();
}

/* Both make the same flow in the same instant: one of them must find out and add to what the other made. */
static int send_lockstep(struct sender *s)
{
	int r = 0;

	for (uint32_t i = 0; i < s->traffic->flows; i++) {
		meet(s->traffic, i + 1);
		r = send_flow(s, PROGRAM_TC_EGRESS, i, 1) ?: r;
	}
	return r;
}

static void *sender_thread(void *userdata)
{
	const uint64_t one = 1;
	struct sender *s = userdata;
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	CPU_SET(s->index, &cpus);
	sched_setaffinity(0, sizeof(cpus), &cpus); /* a machine of one CPU has less to show */
	s->error = s->traffic->lockstep ? send_lockstep(s) : send_all(s);
	if (write(s->traffic->finished, &one, sizeof(one)) != sizeof(one))
		abort();
	return NULL;
}

/*
 * While both CPUs send on: what the kernel had counted up to the last swap is what became of the same packets, and all
 * of it has been drained.
 */
static const char *check_snapshot(const struct traffic *t)
{
	const struct drain_stats *stats = drain_stats(t->drain);
	uint64_t seen = 0, packets = 0, octets = 0, unrecorded = 0;

	for (unsigned int bank = 0; bank < 2; bank++) {
		const struct drain_settled *s = drain_settled(t->drain, bank);

		for (int d = 0; d < _DIRECTION_MAX; d++) {
			seen += s->counts[d].seen;
			packets += s->counts[d].packets;
			octets += s->counts[d].octets;
		}
		for (uint32_t i = 0; i < s->reason_count; i++)
			unrecorded += s->reasons[i].count.packets;
	}
	if (seen != packets + unrecorded)
		return "a snapshot in which seen is not accounted and unrecorded";
	if (packets != stats->packets || octets != stats->octets)
		return "a snapshot in which not all is drained that is accounted";
	return NULL;
}

static void on_batch(void *userdata, struct drain_batch *batch)
{
	struct traffic *t = userdata;
	const char *broken = flow_books_add(&t->drained, LOOPBACK, batch);

	if (batch->end && !broken)
		broken = check_snapshot(t);
	t->snapshots += batch->end;
	if (broken)
		t->broken = broken;
}

static int on_finished(void *userdata, _unused_ uint32_t events)
{
	struct traffic *t = userdata;
	uint64_t count = 0;

	if (read(t->finished, &count, sizeof(count)) != sizeof(count))
		return -1;
	t->left -= (uint32_t)count;
	if (t->left == 0)
		loop_stop(t->loop);
	return 0;
}

/* Sends, drains at each interval, and drains what is left.  Returns the ns that the sending took. */
static uint64_t traffic_run(struct traffic *t, uint32_t bank_entries, uint64_t interval_ns)
{
	struct loop_source *source = NULL;
	struct drain_options options = {
		.interval_ns = interval_ns, .callback = on_batch, .userdata = t};
	uint64_t begin_ns, end_ns;

	t->datapath = options.datapath = run_open(bank_entries);
	t->finished = eventfd(0, EFD_CLOEXEC);
	t->left = THREADS;
	assert_int_equal(flow_books_init(&t->drained, t->flows), 0);
	assert_int_equal(loop_new(&t->loop), 0);
	options.loop = t->loop;
	assert_int_equal(loop_add_fd(t->loop, t->finished, 1, on_finished, t, &source), 0);
	assert_int_equal(drain_new(&t->drain, &options), 0);
	begin_ns = clock_ns(CLOCK_MONOTONIC);
	for (uint32_t i = 0; i < THREADS; i++) {
		t->senders[i].traffic = t;
		t->senders[i].index = i;
		assert_int_equal(flow_books_init(&t->senders[i].sent, t->flows), 0);
		assert_int_equal(pthread_create(&t->senders[i].thread, NULL, sender_thread,
						&t->senders[i]),
				 0);
	}
	assert_int_equal(loop_run(t->loop), 0);
	end_ns = clock_ns(CLOCK_MONOTONIC);
	for (int i = 0; i < THREADS; i++)
		pthread_join(t->senders[i].thread, NULL);
	drain_finish(t->drain);
	loop_source_free(source);
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(t->senders[i].error, 0);
	if (t->broken)
		fail_msg("drained: %s", t->broken);
	return end_ns - begin_ns;
}

static void traffic_clear(struct traffic *t)
{
	drain_free(t->drain);
	loop_free(t->loop);
	datapath_free(t->datapath);
	close(t->finished);
	flow_books_clear(&t->drained);
	for (int i = 0; i < THREADS; i++)
		flow_books_clear(&t->senders[i].sent);
}

struct rare {
	struct flow_sum sums[_DIRECTION_MAX][_REASON_MAX];
	uint32_t ifindex;
	bool foreign; /* something was counted for another interface */
};

static void add_rare(void *userdata, const struct reason_key *key, const struct reason_count *count)
{
	struct rare *rare = userdata;

	if (rare->ifindex && key->ifindex != rare->ifindex) {
		rare->foreign = true;
		return;
	}
	rare->sums[key->point][key->reason].packets += count->packets;
	rare->sums[key->point][key->reason].octets += count->octets;
}

/* seen = accounted + ignored + refused; accounted = drained; evicted = 0: in packets and octets. */
static void check_ledger(struct traffic *t, const struct rare *rare)
{
	const struct drain_stats *stats = drain_stats(t->drain);
	struct flow_sum drained = {0}, accounted = {0};
	struct hook_count c;

	for (int d = 0; d < _DIRECTION_MAX; d++) {
		uint64_t packets, unrecorded = 0;

		assert_int_equal(datapath_counts(t->datapath, d, &c), 0);
		packets = c.bank[0].packets + c.bank[1].packets;
		for (int i = 0; i < _REASON_MAX; i++)
			unrecorded += rare->sums[d][i].packets;
		assert_int_equal(c.bank[0].seen + c.bank[1].seen, packets + unrecorded);
		accounted.packets += packets;
		accounted.octets += c.bank[0].octets + c.bank[1].octets;
		for (uint32_t i = 0; i < t->flows; i++) {
			drained.packets += t->drained.sums[d][i].packets;
			drained.octets += t->drained.sums[d][i].octets;
		}
	}
	assert_int_equal(drained.packets, accounted.packets);
	assert_int_equal(drained.octets, accounted.octets);
	assert_int_equal(stats->packets, accounted.packets);
	assert_int_equal(stats->octets, accounted.octets);
	assert_int_equal(stats->evicted_entries, 0);
	assert_int_equal(stats->evicted_packets, 0);
	assert_int_equal(stats->evicted_octets, 0);
	assert_int_equal(stats->errors, 0);
}

static struct flow_sum sent_of(const struct traffic *t, int direction, uint32_t number)
{
	struct flow_sum sum = {0};

	for (int i = 0; i < THREADS; i++) {
		sum.packets += t->senders[i].sent.sums[direction][number].packets;
		sum.octets += t->senders[i].sent.sums[direction][number].octets;
	}
	return sum;
}

static void check_rare(struct traffic *t, struct rare *rare)
{
	*rare = (struct rare){.ifindex = LOOPBACK};
	assert_int_equal(datapath_unrecorded(t->datapath, add_rare, rare), 0);
	assert_false(rare->foreign);
	for (int d = 0; d < _DIRECTION_MAX; d++)
		for (int i = 0; i < _REASON_MAX; i++)
			if (i == REASON_ARP)
				assert_int_equal(rare->sums[d][i].packets,
						 t->senders[0].arp[d] + t->senders[1].arp[d]);
			else if (i != REASON_BANK_FULL)
				assert_int_equal(rare->sums[d][i].packets, 0);
}

static void test_two_cpus(_unused_ void **state)
{
	struct traffic t = {.target = 20000000, .hot = 1000, .flows = 1000000};
	uint64_t packets = 0, ns = traffic_run(&t, 65536, 60 * NSEC_PER_MSEC);
	struct rare rare;

	check_rare(&t, &rare);
	check_ledger(&t, &rare);
	for (int d = 0; d < _DIRECTION_MAX; d++) {
		assert_int_equal(rare.sums[d][REASON_BANK_FULL].packets, 0);
		for (uint32_t i = 0; i < t.flows; i++) {
			struct flow_sum sent = sent_of(&t, d, i);

			if (sent.packets != t.drained.sums[d][i].packets ||
			    sent.octets != t.drained.sums[d][i].octets)
				fail_msg("flow %u: %lu packets sent, %lu drained", i,
					 (unsigned long)sent.packets,
					 (unsigned long)t.drained.sums[d][i].packets);
		}
	}
	for (int i = 0; i < THREADS; i++)
		packets += t.senders[i].packets;
	print_message("# %lu packets, %lu entries, %lu swaps, %.1f M packets/s\n",
		      (unsigned long)packets, (unsigned long)drain_stats(t.drain)->entries,
		      (unsigned long)drain_stats(t.drain)->swaps,
		      (double)packets * 1e3 / (double)ns);
	assert_true(drain_stats(t.drain)->swaps > 10);
	assert_true(t.snapshots > 10);
	traffic_clear(&t);
}

/* Nothing but new flows, the smallest banks, and no interval: swaps come from the high-water mark alone. */
static void test_flood(_unused_ void **state)
{
	struct traffic t = {.target = 500000, .flows = 2000000};
	struct rare rare;

	traffic_run(&t, datapath_entries_min(), 3600 * NSEC_PER_SEC);
	check_rare(&t, &rare);
	check_ledger(&t, &rare);
	for (int d = 0; d < _DIRECTION_MAX; d++) {
		struct flow_sum missing = {0};

		for (uint32_t i = 0; i < t.flows; i++) {
			struct flow_sum sent = sent_of(&t, d, i), *drained = &t.drained.sums[d][i];

			assert_true(drained->packets <= sent.packets &&
				    drained->octets <= sent.octets);
			missing.packets += sent.packets - drained->packets;
			missing.octets += sent.octets - drained->octets;
		}
		assert_int_equal(missing.packets, rare.sums[d][REASON_BANK_FULL].packets);
		assert_int_equal(missing.octets, rare.sums[d][REASON_BANK_FULL].octets);
	}
	print_message("# %lu early swaps, %lu packets refused\n",
		      (unsigned long)drain_stats(t.drain)->early,
		      (unsigned long)(rare.sums[0][REASON_BANK_FULL].packets +
				      rare.sums[1][REASON_BANK_FULL].packets));
	assert_true(drain_stats(t.drain)->early > 10);
	traffic_clear(&t);
}

static void test_same_flow(_unused_ void **state)
{
	struct traffic t = {.lockstep = true, .flows = 100000};
	struct rare rare;

	traffic_run(&t, 65536, 60 * NSEC_PER_MSEC);
	check_rare(&t, &rare);
	check_ledger(&t, &rare);
	for (uint32_t i = 0; i < t.flows; i++) {
		struct flow_sum sent = sent_of(&t, DIRECTION_EGRESS, i);

		assert_int_equal(t.drained.sums[DIRECTION_EGRESS][i].packets, sent.packets);
		assert_int_equal(t.drained.sums[DIRECTION_EGRESS][i].octets, sent.octets);
	}
	traffic_clear(&t);
}

static int leave_namespace(_unused_ void **state)
{
	return unshare(CLONE_NEWNET);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_two_cpus),
					   cmocka_unit_test(test_same_flow),
					   cmocka_unit_test(test_flood)};

	run_require();
	return cmocka_run_group_tests_name("conservation", tests, leave_namespace, NULL);
}
