/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Nothing gets lost: two CPUs send through the XDP and TC programs at once, while the drain thread
 * swaps the banks under them, or the whole datapath is replaced by one with other banks.  At the end every packet and
 * octet is in a drained record or in a named counter, in the sum and flow by flow.
 */
#include <bpf/bpf.h>
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
#include "exporter/meter/meter.h"
#include "tests/bpf/flows.h"
#include "tests/packets.h"

#define LOOPBACK 1
#define THREADS	 2
#define BOTH_NS	 (150 * NSEC_PER_MSEC) /* for which both datapaths count */

#ifndef BPF_F_XDP_HAS_FRAGS
#define BPF_F_XDP_HAS_FRAGS (1U << 5)
#endif

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
	struct meter *meter;
	struct loop *loop;
	int programs[_PROGRAM_HOOK_MAX]; /* what is sent to */
	bool replace;			 /* again and again */
	int jump;			 /* program array in front of XDP: in the place of links */
	uint32_t replaced;
	bool both;		    /* there are two datapaths */
	struct loop_source *retire; /* timer */
	int finished;		    /* eventfd: senders that are done */
	uint32_t left;
	uint64_t target; /* packets of each sender */
	uint32_t hot;	 /* flows 0 to hot - 1: both send them again and again */
	bool lockstep;	 /* instead, both send each flow once, at the same time */
	atomic_uint met;
	uint32_t flows; /* the others are sent once or twice, each by one sender */
	struct flow_books drained;
	const char *broken;
	uint32_t snapshots;
	uint64_t swap_ns; /* of the last end */
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
		r = run_program(t->programs[program], xdp, &run, NULL, &verdict);
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

static void add_unrecorded(void *userdata, _unused_ const struct reason_key *key,
			   const struct reason_count *count)
{
	uint64_t *sum = userdata;

	*sum += count->packets;
}

/*
 * While both CPUs send on: what the kernel had counted up to the last swap is what became of the same packets, and all
 * of it has been drained.  While there are two datapaths, one of them may be about to.
 */
static const char *check_snapshot(const struct traffic *t)
{
	uint64_t seen = 0, packets = 0, octets = 0, unrecorded = 0;
	struct meter_count count;

	meter_count(t->meter, &count);
	for (int d = 0; d < _DIRECTION_MAX; d++) {
		seen += count.points[d].seen;
		packets += count.points[d].packets;
		octets += count.points[d].octets;
	}
	meter_reasons(t->meter, add_unrecorded, &unrecorded);
	if (seen != packets + unrecorded)
		return "a snapshot in which seen is not accounted and unrecorded";
	if (packets < count.drain.packets || octets < count.drain.octets)
		return "a snapshot in which more is drained than is accounted";
	if (!t->both && (packets != count.drain.packets || octets != count.drain.octets))
		return "a snapshot in which not all is drained that is accounted";
	return NULL;
}

static void on_batch(void *userdata, const struct drain_batch *batch)
{
	struct traffic *t = userdata;
	const char *broken = flow_books_add(&t->drained, LOOPBACK, batch);

	for (uint32_t i = 0; i < batch->count; i++)
		if (batch->records[i].first_ns < t->swap_ns)
			broken = "a packet from before the time up to which all had come";
	if (batch->end && batch->swap_ns < t->swap_ns)
		broken = "a time up to which all have come that goes back";
	if (batch->end)
		t->swap_ns = batch->swap_ns;
	if (batch->end && !broken)
		broken = check_snapshot(t);
	t->snapshots += batch->end;
	if (broken)
		t->broken = broken;
}

/* Calls what is in the array: XDP links are updated elsewhere. */
static int make_front(struct traffic *t)
{
	const struct kernel_features *features = datapath_features(meter_datapath(t->meter));
	LIBBPF_OPTS(bpf_prog_load_opts, options, .expected_attach_type = BPF_XDP,
		    .prog_flags = features->xdp_frags ? BPF_F_XDP_HAS_FRAGS : 0);
	struct bpf_insn code[] = {
		{.code = BPF_LD | BPF_DW, .dst_reg = 2, .src_reg = BPF_PSEUDO_MAP_FD},
		{0},
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 3},
		{.code = BPF_JMP | BPF_CALL, .imm = BPF_FUNC_tail_call},
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0, .imm = 99}, /* it did not */
		{.code = BPF_JMP | BPF_EXIT},
	};

	t->jump = bpf_map_create(BPF_MAP_TYPE_PROG_ARRAY, "front", 4, 4, 1, NULL);
	code[0].imm = t->jump;
	return bpf_prog_load(BPF_PROG_TYPE_XDP, "front", "GPL", code, ARRAY_SIZE(code), &options);
}

static uint32_t program_id(int fd)
{
	struct bpf_prog_info info = {0};
	uint32_t size = sizeof(info);

	return bpf_obj_get_info_by_fd(fd, &info, &size) == 0 ? info.id : 0;
}

static int update_front(const struct traffic *t)
{
	int xdp = datapath_program_fd(meter_datapath(t->meter), PROGRAM_XDP);
	uint32_t slot = 0;

	return bpf_map_update_elem(t->jump, &slot, &xdp, BPF_ANY);
}

/* What clsact filters and an XDP link run, so to speak. */
static void send_to_stubs(struct traffic *t)
{
	const struct datapath *d = meter_datapath(t->meter);

	t->programs[PROGRAM_XDP] = make_front(t);
	for (int i = PROGRAM_XDP + 1; i < _PROGRAM_HOOK_MAX; i++)
		t->programs[i] = dup(datapath_stub_fd(d, (enum datapath_program)i));
	for (int i = 0; i < _PROGRAM_HOOK_MAX; i++)
		assert_true(t->programs[i] >= 0);
	assert_int_equal(update_front(t), 0);
}

static void replace(struct traffic *t)
{
	static const uint32_t sizes[] = {131072, 50000, 65536, 200000};

	if (meter_prepare(t->meter, sizes[t->replaced % ARRAY_SIZE(sizes)]) < 0)
		t->broken = "another datapath cannot be begun";
}

static void on_prepared(void *userdata, int error)
{
	struct traffic *t = userdata;
	int stub = datapath_stub_fd(meter_datapath(t->meter), PROGRAM_TC_EGRESS);

	if (error < 0 || update_front(t) < 0)
		t->broken = "another datapath could not take the place";
	if (program_id(stub) != program_id(t->programs[PROGRAM_TC_EGRESS]))
		t->broken = "a stub that did not stay";
	t->both = true;
	loop_set_timer(t->retire, BOTH_NS, 0);
}

/* Meanwhile XDP has counted in the new banks, TC in the old ones. */
static int on_moved(void *userdata, _unused_ uint32_t events)
{
	struct traffic *t = userdata;

	meter_retire_old(t->meter);
	return 0;
}

static void on_retired(void *userdata)
{
	struct traffic *t = userdata;

	t->replaced++;
	t->both = false;
	if (t->left)
		replace(t);
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

static void make_meter(struct traffic *t, uint32_t bank_entries, uint64_t interval_ns)
{
	const struct meter_options options = {
		/* packets take the way of clsact's filters, which are there without tcx alone */
		.datapath = {.kind = RECORD_FLOW, .entries = bank_entries, .mask = "tcx"},
		.loop = t->loop,
		.interval_ns = interval_ns,
		.callback = on_batch,
		.prepared = on_prepared,
		.retired = on_retired,
		.userdata = t,
	};

	assert_int_equal(meter_new(&t->meter, &options), 0);
	for (int i = 0; i < _PROGRAM_HOOK_MAX; i++)
		t->programs[i] =
			datapath_program_fd(meter_datapath(t->meter), (enum datapath_program)i);
	if (!t->replace)
		return;
	assert_int_equal(loop_add_timer(t->loop, on_moved, t, &t->retire), 0);
	send_to_stubs(t);
	replace(t);
}

/* Sends, drains at each interval, and drains what is left.  Returns the ns that the sending took. */
static uint64_t traffic_run(struct traffic *t, uint32_t bank_entries, uint64_t interval_ns)
{
	struct loop_source *source = NULL;
	uint64_t begin_ns, end_ns;

	t->finished = eventfd(0, EFD_CLOEXEC);
	t->left = THREADS;
	assert_int_equal(flow_books_init(&t->drained, t->flows), 0);
	assert_int_equal(loop_new(&t->loop), 0);
	assert_int_equal(loop_add_fd(t->loop, t->finished, 1, on_finished, t, &source), 0);
	make_meter(t, bank_entries, interval_ns);
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
	meter_finish(t->meter);
	loop_source_free(source);
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(t->senders[i].error, 0);
	if (t->broken)
		fail_msg("drained: %s", t->broken);
	return end_ns - begin_ns;
}

static void traffic_clear(struct traffic *t)
{
	if (t->replace) {
		for (int i = 0; i < _PROGRAM_HOOK_MAX; i++)
			close(t->programs[i]);
		close(t->jump);
		loop_source_free(t->retire);
	}
	meter_free(t->meter);
	loop_free(t->loop);
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
	struct flow_sum drained = {0}, accounted = {0};
	struct meter_count count;

	meter_count(t->meter, &count);
	for (int d = 0; d < _DIRECTION_MAX; d++) {
		const struct bank_count *point = &count.points[d];
		uint64_t unrecorded = 0;

		for (int i = 0; i < _REASON_MAX; i++)
			unrecorded += rare->sums[d][i].packets;
		assert_int_equal(point->seen, point->packets + unrecorded);
		accounted.packets += point->packets;
		accounted.octets += point->octets;
		for (uint32_t i = 0; i < t->flows; i++) {
			drained.packets += t->drained.sums[d][i].packets;
			drained.octets += t->drained.sums[d][i].octets;
		}
	}
	assert_int_equal(drained.packets, accounted.packets);
	assert_int_equal(drained.octets, accounted.octets);
	assert_int_equal(count.drain.packets, accounted.packets);
	assert_int_equal(count.drain.octets, accounted.octets);
	assert_int_equal(count.drain.evicted_entries, 0);
	assert_int_equal(count.drain.evicted_packets, 0);
	assert_int_equal(count.drain.evicted_octets, 0);
	assert_int_equal(count.drain.errors, 0);
	assert_int_equal(count.unread_packets, 0);
	assert_int_equal(count.unread_octets, 0);
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
	meter_reasons(t->meter, add_rare, rare);
	assert_false(rare->foreign);
	for (int d = 0; d < _DIRECTION_MAX; d++)
		for (int i = 0; i < _REASON_MAX; i++)
			if (i == REASON_ARP)
				assert_int_equal(rare->sums[d][i].packets,
						 t->senders[0].arp[d] + t->senders[1].arp[d]);
			else if (i != REASON_BANK_FULL)
				assert_int_equal(rare->sums[d][i].packets, 0);
}

/* Nothing is refused, and each flow has what was sent of it. */
static void check_flows(struct traffic *t)
{
	struct rare rare;

	check_rare(t, &rare);
	check_ledger(t, &rare);
	for (int d = 0; d < _DIRECTION_MAX; d++) {
		assert_int_equal(rare.sums[d][REASON_BANK_FULL].packets, 0);
		for (uint32_t i = 0; i < t->flows; i++) {
			struct flow_sum sent = sent_of(t, d, i);

			if (sent.packets != t->drained.sums[d][i].packets ||
			    sent.octets != t->drained.sums[d][i].octets)
				fail_msg("flow %u: %lu packets sent, %lu drained", i,
					 (unsigned long)sent.packets,
					 (unsigned long)t->drained.sums[d][i].packets);
		}
	}
}

static void print_traffic(const struct traffic *t, uint64_t ns)
{
	struct meter_count count;
	uint64_t packets = 0;

	meter_count(t->meter, &count);
	for (int i = 0; i < THREADS; i++)
		packets += t->senders[i].packets;
	print_message("# %lu packets, %lu entries, %lu swaps, %u datapaths, %.1f M packets/s\n",
		      (unsigned long)packets, (unsigned long)count.drain.entries,
		      (unsigned long)count.drain.swaps, 1 + t->replaced,
		      (double)packets * 1e3 / (double)ns);
	assert_true(count.drain.swaps > 10);
	assert_true(t->snapshots > 10);
}

static void test_two_cpus(_unused_ void **state)
{
	struct traffic t = {.target = 20000000, .hot = 1000, .flows = 1000000};
	uint64_t ns = traffic_run(&t, 65536, 60 * NSEC_PER_MSEC);

	check_flows(&t);
	print_traffic(&t, ns);
	traffic_clear(&t);
}

/* While the datapath is replaced by one with banks of another size, again and again. */
static void test_replaced(_unused_ void **state)
{
	struct traffic t = {.target = 20000000, .hot = 1000, .flows = 1000000, .replace = true};
	uint64_t ns = traffic_run(&t, 65536, 60 * NSEC_PER_MSEC);

	check_flows(&t);
	print_traffic(&t, ns);
	assert_true(t.replaced >= 2);
	traffic_clear(&t);
}

/* Nothing but new flows, the smallest banks, and no interval: swaps come from the high-water mark alone. */
static void test_flood(_unused_ void **state)
{
	struct traffic t = {.target = 500000, .flows = 2000000};
	struct meter_count count;
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
	meter_count(t.meter, &count);
	print_message("# %lu early swaps, %lu packets refused\n", (unsigned long)count.drain.early,
		      (unsigned long)(rare.sums[0][REASON_BANK_FULL].packets +
				      rare.sums[1][REASON_BANK_FULL].packets));
	assert_true(count.drain.early > 10);
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
					   cmocka_unit_test(test_replaced),
					   cmocka_unit_test(test_same_flow),
					   cmocka_unit_test(test_flood)};

	run_require();
	return cmocka_run_group_tests_name("conservation", tests, leave_namespace, NULL);
}
