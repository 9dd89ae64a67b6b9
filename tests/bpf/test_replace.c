/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A datapath takes the place of another one: with as many flows as it says, of drops while both CPUs drop packets, and
 * not at all where it cannot be had.  That no packet of a flow is lost thereby is what test_conservation.c shows.
 */
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <dirent.h>
#include <errno.h>
#include <linux/bpf.h>
#include <net/if.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <cmocka.h>
#include "exporter/loop.h"
#include "exporter/meter/drop_tracer.h"
#include "exporter/meter/meter.h"
#include "exporter/observe/ledger.h"
#include "tests/bpf/flows.h"

#define LOOPBACK   1
#define THREADS	   2
#define PORTS	   500
#define FIRST_PORT 20000
#define REPLACED   6 /* times, at least */

/* More than any machine has memory for. */
#define TOO_MANY (1u << 31)

/* --- How much a bank holds. */

struct refusals {
	uint64_t full;
	uint64_t others;
};

static void add_refusal(void *userdata, const struct reason_key *key,
			const struct reason_count *count)
{
	struct refusals *r = userdata;

	*(key->reason == REASON_BANK_FULL ? &r->full : &r->others) += count->packets;
}

/* Through the stub, as a clsact filter does; returns how many had no place. */
static uint64_t send_flows(int stub, const struct datapath *d, uint32_t flows)
{
	struct refusals refusals = {0};
	uint8_t bytes[FLOW_BYTES_MAX];
	int verdict;

	for (uint32_t i = 0; i < flows; i++) {
		const struct run run = {.bytes = bytes,
					.size = flow_packet(i, bytes),
					.ifindex = LOOPBACK,
					.repeat = 1};

		assert_int_equal(run_program(stub, false, &run, NULL, &verdict), 0);
	}
	assert_int_equal(datapath_unrecorded(d, add_refusal, &refusals), 0);
	assert_int_equal(refusals.others, 0);
	return refusals.full;
}

static uint64_t limit_of(uint32_t entries)
{
	return entries -
	       (uint32_t)sysconf(_SC_NPROCESSORS_CONF) * 128; /* which the kernel may keep */
}

static void test_size(_unused_ void **state)
{
	const uint32_t few = datapath_entries_min(), many = 3 * few, flows = 4 * few;
	const struct datapath_options first = {.kind = RECORD_FLOW, .entries = few, .mask = "tcx"};
	struct datapath_options options = {.kind = RECORD_FLOW, .entries = many};
	struct datapath *small = NULL, *large = NULL;
	struct hook_count count;
	int stub;

	assert_int_equal(datapath_new(&small, &first), 0);
	options.replaces = small;
	stub = datapath_stub_fd(small, PROGRAM_TC_EGRESS);
	assert_int_equal(send_flows(stub, small, flows), flows - limit_of(few));
	assert_int_equal(datapath_new(&large, &options), 0);
	/* not yet */
	assert_int_equal(send_flows(stub, small, flows), 2 * (flows - limit_of(few)));
	assert_int_equal(datapath_counts(large, DIRECTION_EGRESS, &count), 0);
	assert_int_equal(count.bank[0].seen, 0);
	assert_int_equal(datapath_take_stubs(large), 0);
	assert_int_equal(send_flows(stub, large, flows), flows - limit_of(many));
	assert_int_equal(datapath_counts(large, DIRECTION_EGRESS, &count), 0);
	assert_int_equal(count.bank[0].inserts, limit_of(many));
	/* the array and the stub do not go with the one that made them */
	datapath_free(small);
	stub = datapath_stub_fd(large, PROGRAM_TC_EGRESS);
	assert_int_equal(send_flows(stub, large, flows), 2 * (flows - limit_of(many)));
	datapath_free(large);
}

/* With tcx no filter holds a stub, and none is changed: what cannot be done to them holds up nothing. */
static void test_no_stubs(_unused_ void **state)
{
	const uint32_t few = datapath_entries_min();
	_cleanup_(datapath_freep) struct datapath *small = run_open(few), *large = NULL;
	const struct datapath_options options = {
		.kind = RECORD_FLOW, .entries = few, .replaces = small};
	struct hook_count count;

	if (!datapath_features(small)->tcx)
		skip();
	assert_int_equal(datapath_new(&large, &options), 0);
	assert_int_equal(datapath_take_stubs(large), 0);
	assert_int_equal(send_flows(datapath_stub_fd(small, PROGRAM_TC_EGRESS), small, 10), 0);
	assert_int_equal(datapath_counts(large, DIRECTION_EGRESS, &count), 0);
	assert_int_equal(count.bank[0].seen, 0);
}

/* --- Where it cannot be had. */

struct attempt {
	struct loop *loop;
	struct meter *meter;
	int error;
	uint64_t packets; /* drained */
};

static void on_flows(void *userdata, const struct drain_batch *batch)
{
	struct attempt *a = userdata;

	for (uint32_t i = 0; i < batch->count; i++)
		a->packets += batch->records[i].packets;
}

static void on_attempted(void *userdata, int error)
{
	struct attempt *a = userdata;

	a->error = error;
	loop_stop(a->loop);
}

static void test_no_memory(_unused_ void **state)
{
	struct attempt a = {0};
	struct meter_options options = {
		.datapath = {.kind = RECORD_FLOW, .entries = datapath_entries_min()},
		.interval_ns = 3600 * NSEC_PER_SEC,
		.callback = on_flows,
		.prepared = on_attempted,
		.userdata = &a,
	};
	const struct datapath *before;
	int stub;

	assert_int_equal(loop_new(&a.loop), 0);
	options.loop = a.loop;
	assert_int_equal(meter_new(&a.meter, &options), 0);
	before = meter_datapath(a.meter);
	stub = datapath_stub_fd(before, PROGRAM_TC_INGRESS);
	assert_int_equal(send_flows(stub, before, 100), 0);
	assert_int_equal(meter_prepare(a.meter, TOO_MANY), 0);
	assert_int_equal(meter_prepare(a.meter, datapath_entries_min()), -EBUSY);
	assert_int_equal(loop_run(a.loop), 0);
	assert_true(a.error == -ENOMEM || a.error == -E2BIG);
	assert_ptr_equal(meter_datapath(a.meter), before);
	meter_retire_old(a.meter); /* there is none */
	assert_int_equal(send_flows(stub, before, 200), 0);
	/* and the next one can be had */
	assert_int_equal(meter_prepare(a.meter, 2 * datapath_entries_min()), 0);
	assert_int_equal(loop_run(a.loop), 0);
	assert_int_equal(a.error, 0);
	assert_ptr_not_equal(meter_datapath(a.meter), before);
	meter_finish(a.meter);
	assert_int_equal(a.packets, 300);
	meter_free(a.meter);
	loop_free(a.loop);
}

/* --- Where nobody waits for it. */

static struct {
	bool hold;     /* a thread that is to load */
	sem_t arrived; /* it has begun */
	sem_t leave;
} held;

/* In place of libc's: the first thing that such a thread does. */
int pthread_setname_np(_unused_ pthread_t thread, const char *name)
{
	if (held.hold && strcmp(name, "flowtally-load") == 0) {
		sem_post(&held.arrived);
		sem_wait(&held.leave);
	}
	return 0;
}

static size_t count_entries(const char *path)
{
	DIR *directory = opendir(path);
	size_t count = 0;

	assert_non_null(directory);
	while (readdir(directory))
		count++;
	closedir(directory);
	return count;
}

/* The meter goes before its thread loads, or while it does (`begun`): the thread ends by itself, and leaves nothing. */
static void end_while_loading(bool begun)
{
	struct attempt a = {0};
	struct meter_options options = {
		.datapath = {.kind = RECORD_FLOW, .entries = datapath_entries_min()},
		.interval_ns = 3600 * NSEC_PER_SEC,
		.callback = on_flows,
		.prepared = on_attempted,
		.userdata = &a,
	};
	const size_t descriptors = count_entries("/proc/self/fd");
	const size_t threads = count_entries("/proc/self/task");

	assert_int_equal(loop_new(&a.loop), 0);
	options.loop = a.loop;
	assert_int_equal(meter_new(&a.meter, &options), 0);
	assert_int_equal(send_flows(datapath_stub_fd(meter_datapath(a.meter), PROGRAM_TC_INGRESS),
				    meter_datapath(a.meter), 100),
			 0);
	held.hold = true;
	assert_int_equal(meter_prepare(a.meter, 2 * datapath_entries_min()), 0);
	sem_wait(&held.arrived);
	if (begun)
		sem_post(&held.leave);
	meter_finish(a.meter);
	assert_int_equal(a.packets, 100);
	alarm(20); /* ends the test, where somebody waits */
	meter_free(a.meter);
	alarm(0);
	loop_free(a.loop);
	if (!begun) {
		assert_int_equal(count_entries("/proc/self/task"), threads + 1);
		sem_post(&held.leave);
	}
	for (int i = 0; i < 6000 && count_entries("/proc/self/task") > threads; i++)
		usleep(10000);
	assert_int_equal(count_entries("/proc/self/task"), threads);
	assert_int_equal(count_entries("/proc/self/fd"), descriptors);
	held.hold = false;
}

static void test_end_while_loading(_unused_ void **state)
{
	assert_int_equal(sem_init(&held.arrived, 0, 0), 0);
	assert_int_equal(sem_init(&held.leave, 0, 0), 0);
	end_while_loading(false);
	end_while_loading(true);
	sem_destroy(&held.arrived);
	sem_destroy(&held.leave);
}

/* --- Drops. */

struct dropper {
	struct storm *storm;
	int index;
	pthread_t thread;
	uint64_t sent[PORTS]; /* packets */
};

struct storm {
	struct loop *loop;
	struct meter *meters[_RECORD_KIND_MAX];
	struct drop_tracer *drops;
	atomic_bool stop;
	uint32_t replaced;
	bool both; /* there are two datapaths */
	uint32_t snapshots;
	uint64_t drained[PORTS];
	const char *broken;
	struct dropper droppers[THREADS];
};

/* To ports of this host that nobody listens at. */
static void *drop_thread(void *userdata)
{
	struct dropper *d = userdata;
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	_cleanup_(closep) int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	CPU_SET(d->index, &cpus);
	sched_setaffinity(0, sizeof(cpus), &cpus);
	for (uint32_t i = 0; !atomic_load(&d->storm->stop); i = (i + 1) % PORTS) {
		to.sin_port = htons((uint16_t)(FIRST_PORT + i));
		if (sendto(fd, "x", 1, 0, (struct sockaddr *)&to, sizeof(to)) == 1)
			d->sent[i]++;
	}
	return NULL;
}

static void replace(struct storm *s)
{
	const uint32_t entries = datapath_entries_min() * (1 + s->replaced % 3);

	if (meter_prepare(s->meters[RECORD_DROP], entries) < 0)
		s->broken = "another datapath cannot be begun";
}

/* Nothing else has to be moved: what is linked is the stub. */
static void on_prepared(void *userdata, int error)
{
	struct storm *s = userdata;

	if (error < 0)
		s->broken = "another datapath cannot be had";
	s->both = true;
	meter_retire_old(s->meters[RECORD_DROP]);
}

static void on_retired(void *userdata)
{
	struct storm *s = userdata;

	s->both = false;
	if (++s->replaced < REPLACED)
		replace(s);
	else
		loop_stop(s->loop);
}

static void check_books(struct storm *s)
{
	struct ledger ledger = {0};
	struct ledger_reasons reasons;

	ledger_read(&ledger, s->meters, false);
	ledger_read_reasons(&reasons, s->meters[RECORD_DROP]);
	ledger.drop_reasons = &reasons;
	if (!ledger.unsettled && !ledger_balanced(&ledger))
		s->broken = "the ledger does not balance";
	/* of two datapaths one may be about to be drained */
	if (!s->both && ledger_bank(&ledger, RECORD_DROP).packets != 0)
		s->broken = "accounted, but neither drained nor evicted";
}

static void on_drops(void *userdata, const struct drain_batch *batch)
{
	struct storm *s = userdata;

	for (uint32_t i = 0; i < batch->count; i++) {
		const struct flow_key *key = &batch->keys[i];
		uint32_t port = ntohs(key->dst_port);

		if (key->protocol == IPPROTO_UDP && port >= FIRST_PORT && port < FIRST_PORT + PORTS)
			s->drained[port - FIRST_PORT] += batch->records[i].packets;
	}
	s->snapshots += batch->end;
	if (batch->end)
		check_books(s);
}

static void loopback_up(void)
{
	struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP};
	_cleanup_(closep) int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	assert_int_equal(ioctl(fd, SIOCSIFFLAGS, &request), 0);
}

static bool can_trace(void)
{
	struct drop_tracer_kernel kernel;
	const char *why;

	if (drop_tracer_probe(&kernel, &why) == 0)
		return true;
	print_message("# %s\n", why);
	return false;
}

static uint64_t check_drops(const struct storm *s)
{
	uint64_t sent = 0, drained = 0, missed = 0;

	assert_int_equal(drop_tracer_missed(meter_datapath(s->meters[RECORD_DROP]), &missed), 0);
	for (int i = 0; i < PORTS; i++) {
		uint64_t one = 0;

		for (int t = 0; t < THREADS; t++)
			one += s->droppers[t].sent[i];
		if (one != s->drained[i] && !missed)
			fail_msg("port %d: %lu sent, %lu drained", FIRST_PORT + i,
				 (unsigned long)one, (unsigned long)s->drained[i]);
		sent += one;
		drained += s->drained[i];
	}
	assert_true(drained <= sent && sent - drained <= missed);
	return sent;
}

static void test_drops(_unused_ void **state)
{
	struct storm s = {0};
	struct meter_options options = {
		.datapath = {.kind = RECORD_DROP, .entries = datapath_entries_min()},
		.interval_ns = 20 * NSEC_PER_MSEC,
		.callback = on_drops,
		.prepared = on_prepared,
		.retired = on_retired,
		.userdata = &s,
	};
	struct meter_count count;
	uint64_t sent;

	if (!can_trace())
		skip();
	loopback_up();
	assert_int_equal(loop_new(&s.loop), 0);
	options.loop = s.loop;
	assert_int_equal(meter_new(&s.meters[RECORD_DROP], &options), 0);
	assert_int_equal(drop_tracer_new(&s.drops, meter_datapath(s.meters[RECORD_DROP])), 0);
	for (int i = 0; i < THREADS; i++) {
		s.droppers[i].storm = &s;
		s.droppers[i].index = i;
		assert_int_equal(pthread_create(&s.droppers[i].thread, NULL, drop_thread,
						&s.droppers[i]),
				 0);
	}
	replace(&s);
	assert_int_equal(loop_run(s.loop), 0);
	atomic_store(&s.stop, true);
	for (int i = 0; i < THREADS; i++)
		pthread_join(s.droppers[i].thread, NULL);
	usleep(100000); /* for what is still on its way through the loopback */
	drop_tracer_free(s.drops);
	meter_finish(s.meters[RECORD_DROP]);
	check_books(&s);
	if (s.broken)
		fail_msg("%s", s.broken);
	sent = check_drops(&s);
	meter_count(s.meters[RECORD_DROP], &count);
	print_message("# %lu drops, %u datapaths, %u snapshots\n", (unsigned long)sent,
		      1 + s.replaced, s.snapshots);
	assert_true(sent > 10000 && s.snapshots > 10);
	assert_int_equal(count.drain.evicted_packets, 0);
	assert_int_equal(count.unread_packets, 0);
	meter_free(s.meters[RECORD_DROP]);
	loop_free(s.loop);
}

/* --- What is changed without another datapath. */

static void test_filter(_unused_ void **state)
{
	struct drop_filter all = {0}, none = {0};
	const struct datapath_options options = {
		.kind = RECORD_DROP, .entries = datapath_entries_min(), .drops = &all};
	struct sockaddr_in to = {.sin_family = AF_INET,
				 .sin_port = htons(FIRST_PORT),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	_cleanup_(closep) int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	_cleanup_(datapath_freep) struct datapath *d = NULL;
	_cleanup_(drop_tracer_freep) struct drop_tracer *drops = NULL;
	struct hook_count before, after;

	if (!can_trace())
		skip();
	memset(none.excluded, 1, sizeof(none.excluded));
	assert_int_equal(datapath_new(&d, &options), 0);
	assert_int_equal(drop_tracer_new(&drops, d), 0);
	for (int i = 0; i < 2; i++) {
		datapath_set_drop_filter(d, i ? &all : &none);
		assert_int_equal(datapath_counts(d, 0, &before), 0);
		for (int n = 0; n < 10; n++)
			assert_int_equal(sendto(fd, "x", 1, 0, (struct sockaddr *)&to, sizeof(to)),
					 1);
		usleep(50000);
		assert_int_equal(datapath_counts(d, 0, &after), 0);
		assert_int_equal(after.bank[0].seen - before.bank[0].seen, 10);
		assert_int_equal(after.bank[0].packets - before.bank[0].packets, i ? 10 : 0);
	}
}

static int leave_namespace(_unused_ void **state)
{
	return unshare(CLONE_NEWNET);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_size),	  cmocka_unit_test(test_no_stubs),
		cmocka_unit_test(test_no_memory), cmocka_unit_test(test_end_while_loading),
		cmocka_unit_test(test_drops),	  cmocka_unit_test(test_filter),
	};

	run_require();
	return cmocka_run_group_tests_name("replace", tests, leave_namespace, NULL);
}
