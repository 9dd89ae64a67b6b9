/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include "exporter/log.h"
#include "exporter/loop.h"
#include "exporter/meter/drain.h"
#include "exporter/meter/drop_tracer.h"
#include "exporter/meter/kernel_clock.h"
#include "exporter/meter/kind.h"
#include "exporter/thread.h"

#define BATCHES 4

/* How often banks that are given up are drained while the kernel does not give all back. */
#define FINAL_TRIES 3

/* The heir gets the stubs within this time, or the owner waits for it no longer: then it is tried at each interval. */
#define HAND_OVER_TRIES 10
#define HAND_OVER_MS	50 /* between two of them */

/* What a bank has been given and what was read from it, since load. */
struct bank_sum {
	uint64_t entries;
	uint64_t packets;
	uint64_t octets;
};

/*
 * A batch and, with `end` set, what the thread had counted by then.  The counters of a bank that stands still come before its
 * entries, so that the sums hold after each batch: what has been counted and not been read yet is in a bank.
 */
struct slot {
	struct drain_batch batch;
	struct drain_stats stats;
	struct bank_sum sum; /* of the entries of the batch */
	bool settles;	     /* the counters of a bank stand still, and are in `settled` */
	bool unsettled;	     /* they should be, and could not be read */
	bool late;	     /* the owner need not wait for the end of this drain any more */
	unsigned int bank;
	struct drain_settled settled;
};

struct drain {
	struct datapath *datapath;
	const struct kernel_clock *clock;
	drain_callback callback;
	void (*late)(void *userdata);
	void (*retired)(void *userdata);
	void *userdata;

	/* The loop's. */
	struct loop_source *source;
	struct drain_stats published; /* written with the lock held: other threads read it too */
	pthread_mutex_t lock;
	struct drain_settled settled[2];
	uint64_t swapped_ns;

	/* Both threads'. */
	atomic_bool leave;		       /* the thread is to end */
	_Atomic(const struct datapath *) heir; /* NULL: not to be retired */
	pthread_t thread;
	bool running; /* changed while there is no thread */

	/* The thread's, and the caller's once the thread has been joined. */
	struct drain_stats stats;
	struct bank_sum accounted[2];
	struct bank_sum drained[2];
	struct bank_sum evicted[2];
	uint64_t last_swap_ns;
	bool unsettled[2];   /* of that bank more has been drained than is known to be accounted */
	unsigned int failed; /* attempts to give the heir the stubs, HAND_OVER_TRIES at most */

	/* Pipes of slot pointers. */
	int full[2];
	int empty[2];
	int timer;
	int wake; /* eventfd: `leave` or `heir` has been set */
	int epoll;
	struct slot slots[BATCHES];
};

static int slot_send(int fd, struct slot *slot)
{
	ssize_t n = write(fd, &slot, sizeof(slot)); /* atomic: less than PIPE_BUF */

	return n == sizeof(slot) ? 0 : -EPIPE;
}

/* Blocks; NULL when the other end is closed. */
static struct slot *slot_receive(int fd)
{
	struct slot *slot = NULL;
	ssize_t n;

	do
		n = read(fd, &slot, sizeof(slot));
	while (n < 0 && errno == EINTR);
	return n == sizeof(slot) ? slot : NULL;
}

static struct slot *batch_get(struct drain *d)
{
	return d->running ? slot_receive(d->empty[0]) : &d->slots[0];
}

/* Not what is behind the last entries: it has never been written, and takes no memory. */
static void settled_copy(struct drain_settled *to, const struct drain_settled *from)
{
	memcpy(to->counts, from->counts, sizeof(to->counts));
	memcpy(to->reasons, from->reasons, from->reason_count * sizeof(*from->reasons));
	memcpy(to->drops, from->drops, from->drop_count * sizeof(*from->drops));
	to->reason_count = from->reason_count;
	to->drop_count = from->drop_count;
}

static void publish(struct drain *d, const struct slot *slot)
{
	pthread_mutex_lock(&d->lock);
	d->published.entries += slot->sum.entries;
	d->published.packets += slot->sum.packets;
	d->published.octets += slot->sum.octets;
	d->published.unsettled |= slot->unsettled;
	if (slot->batch.end)
		d->published = slot->stats;
	pthread_mutex_unlock(&d->lock);
}

static void deliver(struct drain *d, struct slot *slot)
{
	publish(d, slot);
	if (slot->settles)
		settled_copy(&d->settled[slot->bank], &slot->settled);
	if (slot->batch.end)
		d->swapped_ns = slot->batch.swap_ns;
	d->callback(d->userdata, &slot->batch);
}

static void batch_put(struct drain *d, struct slot *slot)
{
	if (d->running)
		slot_send(d->full[1], slot);
	else
		deliver(d, slot);
}

/* Whose counters are read. */
struct settling {
	struct drain_settled *settled;
	unsigned int bank;
	bool full; /* there were more than can be */
};

static void add_reason(void *userdata, const struct reason_key *key,
		       const struct reason_count *count)
{
	struct settling *s = userdata;

	if (key->bank != s->bank)
		return;
	s->full |= s->settled->reason_count == UNRECORDED_MAX;
	if (!s->full)
		s->settled->reasons[s->settled->reason_count++] =
			(struct drain_reason){.key = *key, .count = *count};
}

static void add_drop(void *userdata, uint16_t reason, const struct drop_count *count)
{
	const struct settling *s = userdata;

	s->settled->drops[s->settled->drop_count++] =
		(struct drain_drop){.count = *count, .reason = reason};
}

int drain_count(const struct datapath *datapath, unsigned int bank, struct drain_settled *ret)
{
	const struct kind *kind = kind_get(datapath_kind(datapath));
	struct settling settling = {.settled = ret, .bank = bank};
	struct hook_count count;
	int r = 0;

	memset(ret->counts, 0, sizeof(ret->counts));
	ret->reason_count = ret->drop_count = 0;
	for (unsigned int i = 0; i < kind->point_count && r == 0; i++) {
		r = datapath_counts(datapath, i, &count);
		if (r == 0)
			ret->counts[i] = count.bank[bank];
	}
	if (r == 0)
		r = datapath_unrecorded(datapath, add_reason, &settling);
	if (r == 0)
		r = drop_tracer_counts(datapath, bank, add_drop, &settling);
	return r == 0 && settling.full ? -EAGAIN : r;
}

static struct bank_sum sum_accounted(const struct drain_settled *settled)
{
	struct bank_sum sum = {0};

	for (int i = 0; i < POINTS_MAX; i++) {
		sum.entries += settled->counts[i].inserts;
		sum.packets += settled->counts[i].packets;
		sum.octets += settled->counts[i].octets;
	}
	return sum;
}

/* An empty bank that stands still gave what it was given; the difference has been evicted. */
static void bank_settle(struct drain *d, unsigned int bank)
{
	const struct bank_sum *accounted = &d->accounted[bank], *drained = &d->drained[bank];
	struct bank_sum *evicted = d->evicted;

	evicted[bank].entries = accounted->entries - drained->entries;
	evicted[bank].packets = accounted->packets - drained->packets;
	evicted[bank].octets = accounted->octets - drained->octets;
	d->stats.evicted_entries = evicted[0].entries + evicted[1].entries;
	d->stats.evicted_packets = evicted[0].packets + evicted[1].packets;
	d->stats.evicted_octets = evicted[0].octets + evicted[1].octets;
}

static struct bank_sum count_batch(struct drain *d, unsigned int bank,
				   const struct drain_batch *batch)
{
	struct bank_sum sum = {.entries = batch->count};

	for (uint32_t i = 0; i < batch->count; i++) {
		sum.packets += batch->records[i].packets;
		sum.octets += batch->records[i].octets;
	}
	d->drained[bank].entries += sum.entries;
	d->drained[bank].packets += sum.packets;
	d->drained[bank].octets += sum.octets;
	d->stats.entries += sum.entries;
	d->stats.packets += sum.packets;
	d->stats.octets += sum.octets;
	return sum;
}

static void batch_begin(const struct drain *d, struct slot *slot, uint64_t swap_ns, bool end)
{
	slot->batch.kind = datapath_kind(d->datapath);
	slot->batch.count = 0;
	slot->batch.swap_ns = swap_ns;
	slot->batch.end = end;
	slot->sum = (struct bank_sum){0};
	slot->settles = slot->unsettled = slot->late = false;
}

/* The counters of a bank that stands still; -errno: those of the swap before are the newest. */
static int send_settled(struct drain *d, unsigned int bank, uint64_t swap_ns)
{
	struct slot *slot = batch_get(d);
	int r;

	if (!slot)
		return -EPIPE;
	batch_begin(d, slot, swap_ns, false);
	r = drain_count(d->datapath, bank, &slot->settled);
	slot->settles = r == 0;
	slot->unsettled = r < 0;
	d->unsettled[bank] = r < 0;
	slot->bank = bank;
	if (r == 0)
		d->accounted[bank] = sum_accounted(&slot->settled);
	batch_put(d, slot);
	return r;
}

static int bank_read(struct drain *d, unsigned int bank, uint64_t swap_ns)
{
	uint32_t position = 0;
	bool done = false;
	struct slot *slot;
	int r = 0;

	while (!done && r == 0) {
		slot = batch_get(d);
		if (!slot)
			return -EPIPE;
		batch_begin(d, slot, swap_ns, false);
		r = datapath_read(d->datapath, bank, &position, slot->batch.keys,
				  slot->batch.records, DRAIN_BATCH, &slot->batch.count, &done);
		slot->sum = count_batch(d, bank, &slot->batch);
		batch_put(d, slot);
	}
	return r;
}

/* The end of a swap; `counted` and `error`: what came of the counters, and of the swap or the reading. */
static void send_end(struct drain *d, unsigned int bank, bool swapped, int counted, int error)
{
	struct slot *slot = batch_get(d);

	if (!slot)
		return;
	batch_begin(d, slot, d->last_swap_ns, true);
	if (swapped && counted == 0 && error == 0)
		bank_settle(d, bank);
	if (swapped && error == 0) /* it is empty, whatever is known of its counters */
		datapath_reset_fill(d->datapath, bank);
	d->stats.errors += counted < 0 || error < 0;
	d->stats.unsettled = d->unsettled[0] || d->unsettled[1]; /* until that one is read again */
	slot->stats = d->stats;
	batch_put(d, slot);
}

static uint64_t kernel_now_ns(const struct drain *d)
{
	return d->clock ? kernel_clock_coarse_ns(d->clock) : clock_ns(CLOCK_MONOTONIC_COARSE);
}

/* How full the bank was, and how long it took to read it. */
static void note_swap(struct drain *d, uint64_t begun_ns, uint64_t entries_before)
{
	d->stats.last_swap_ns = d->last_swap_ns;
	d->stats.last_entries = d->stats.entries - entries_before;
	d->stats.last_ns = clock_ns(CLOCK_MONOTONIC) - begun_ns;
	d->stats.busy_ns += d->stats.last_ns;
}

/* The watermark is read before the flip: what is stamped later may be in either bank. */
static int drain_once(struct drain *d, bool early)
{
	const uint64_t begun_ns = clock_ns(CLOCK_MONOTONIC), entries = d->stats.entries;
	uint64_t swap_ns = kernel_now_ns(d);
	unsigned int bank = 0;
	int r = datapath_swap(d->datapath, &bank);
	bool swapped = r == 0;
	int counted = 0;

	if (swapped) {
		d->last_swap_ns = swap_ns;
		d->stats.swaps++;
		d->stats.early += early;
		counted = send_settled(d, bank, swap_ns);
		r = bank_read(d, bank, swap_ns);
		note_swap(d, begun_ns, entries);
	}
	send_end(d, bank, swapped, counted, r);
	return r ?: counted;
}

/* Both banks, when nothing is counted in them any more; again where that fails. */
static void drain_to_the_end(struct drain *d)
{
	int r = -EAGAIN;

	for (int i = 0; i < FINAL_TRIES && r < 0; i++) {
		r = drain_once(d, false);
		r = drain_once(d, false) ?: r;
	}
}

static bool take_event(int fd)
{
	uint64_t count;

	return read(fd, &count, sizeof(count)) == sizeof(count);
}

/* Tells the loop's thread that the heir does without the stubs for now. */
static void send_late(struct drain *d)
{
	struct slot *slot = batch_get(d);

	if (!slot)
		return;
	batch_begin(d, slot, d->last_swap_ns, false);
	slot->late = true;
	batch_put(d, slot);
}

/* Whether nothing is counted by this datapath's programs from now on, but for packets that they have begun with. */
static bool hand_over(struct drain *d)
{
	const struct datapath *heir = atomic_load(&d->heir);
	int r = heir ? datapath_take_stubs(heir) : -EAGAIN;

	if (r == 0 && d->failed == HAND_OVER_TRIES)
		log_notice("banks that could not be taken out of use now are");
	if (!heir || r == 0 || d->failed == HAND_OVER_TRIES)
		return r == 0;
	if (++d->failed < HAND_OVER_TRIES)
		return false;
	log_errno(
		LOG_WARNING, r,
		"cannot take banks out of use: they are drained beside the new ones, until it can be done");
	send_late(d);
	return false;
}

/* ms until it is tried again, whatever else happens; -1: that has time until something does. */
static int hand_over_wait(const struct drain *d)
{
	return d->failed && d->failed < HAND_OVER_TRIES ? HAND_OVER_MS : -1;
}

static void *drain_thread(void *userdata)
{
	struct drain *d = userdata;
	struct epoll_event event;
	bool woken, retired = false;
	int n;

	pthread_setname_np(pthread_self(), "flowtally-drain");
	while (!retired) {
		n = epoll_wait(d->epoll, &event, 1, hand_over_wait(d));
		if (n < 0)
			continue; /* EINTR */
		if (n == 0)
			event.data.fd = d->wake; /* the stubs once more */
		if (event.data.fd == d->wake)
			take_event(d->wake);
		if (atomic_load(&d->leave))
			break;
		if (event.data.fd == d->timer && !take_event(d->timer))
			continue;
		retired = event.data.fd != datapath_wakeup_fd(d->datapath) && hand_over(d);
		/* before the flip, so that no wake-up of the next bank is lost */
		woken = datapath_wakeup_clear(d->datapath);
		if (retired)
			drain_to_the_end(d);
		else if (event.data.fd == d->timer || woken)
			drain_once(d, event.data.fd != d->timer);
	}
	close(TAKE_FD(d->full[1]));
	return NULL;
}

/* In the loop's thread: one batch at a time, so that other events get their turn. */
static int on_batch(void *userdata, _unused_ uint32_t events)
{
	struct drain *d = userdata;
	struct slot *slot = slot_receive(d->full[0]);
	bool late;
	int r;

	if (slot) {
		late = slot->late;
		deliver(d, slot);
		r = slot_send(d->empty[1], slot);
		if (late)
			d->late(d->userdata);
		return r;
	}
	if (!atomic_load(&d->heir))
		return -EPIPE;
	d->source = loop_source_free(d->source);
	d->retired(d->userdata);
	return 0;
}

static int watch(struct drain *d, int fd)
{
	struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};

	return epoll_ctl(d->epoll, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

static int set_timer(const struct drain *d, uint64_t interval_ns)
{
	const struct timespec interval = {.tv_sec = interval_ns / NSEC_PER_SEC,
					  .tv_nsec = interval_ns % NSEC_PER_SEC};
	const struct itimerspec timer = {.it_value = interval, .it_interval = interval};

	return timerfd_settime(d->timer, 0, &timer, NULL) < 0 ? -errno : 0;
}

static int open_fds(struct drain *d, uint64_t interval_ns)
{
	if (pipe2(d->full, O_CLOEXEC) < 0 || pipe2(d->empty, O_CLOEXEC) < 0)
		return -errno;
	d->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	d->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	d->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (d->timer < 0 || d->wake < 0 || d->epoll < 0)
		return -errno;
	return set_timer(d, interval_ns)
		       ?: watch(d, d->wake)
		       ?: watch(d, d->timer)
		       ?: watch(d, datapath_wakeup_fd(d->datapath));
}

static int start_thread(struct drain *d)
{
	int r;

	d->running = true; /* which the thread reads */
	r = thread_start(&d->thread, drain_thread, d);
	if (r < 0)
		d->running = false;
	return r;
}

int drain_new(struct drain **ret, const struct drain_options *options)
{
	_cleanup_(drain_freep) struct drain *d = calloc(1, sizeof(*d));
	int r;

	if (!d)
		return -ENOMEM;
	pthread_mutex_init(&d->lock, NULL);
	d->datapath = options->datapath;
	d->clock = options->clock;
	d->callback = options->callback;
	d->late = options->late;
	d->retired = options->retired;
	d->userdata = options->userdata;
	d->full[0] = d->full[1] = d->empty[0] = d->empty[1] = d->timer = d->wake = d->epoll = -1;
	d->swapped_ns = d->last_swap_ns = kernel_now_ns(d);
	r = open_fds(d, options->interval_ns);
	if (r < 0)
		return r;
	for (int i = 0; i < BATCHES; i++) {
		r = slot_send(d->empty[1], &d->slots[i]);
		if (r < 0)
			return r;
	}
	r = loop_add_fd(options->loop, d->full[0], EPOLLIN, on_batch, d, &d->source);
	if (r < 0)
		return r;
	r = start_thread(d);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(d);
	return 0;
}

static void wake(const struct drain *d)
{
	const uint64_t one = 1;

	(void)!write(d->wake, &one, sizeof(one)); /* full: it is readable already */
}

/* The thread may be waiting for an empty batch: takes what it still sends until it has closed its end. */
static void stop_thread(struct drain *d)
{
	struct slot *slot;

	if (!d->running)
		return;
	atomic_store(&d->leave, true);
	wake(d);
	while ((slot = slot_receive(d->full[0]))) {
		deliver(d, slot);
		slot_send(d->empty[1], slot);
	}
	pthread_join(d->thread, NULL);
	d->running = false;
}

struct drain *drain_free(struct drain *d)
{
	if (!d)
		return NULL;
	stop_thread(d);
	loop_source_free(d->source);
	for (int i = 0; i < 2; i++) {
		closep(&d->full[i]);
		closep(&d->empty[i]);
	}
	closep(&d->timer);
	closep(&d->wake);
	closep(&d->epoll);
	pthread_mutex_destroy(&d->lock);
	free(d);
	return NULL;
}

void drain_finish(struct drain *d)
{
	d->source = loop_source_free(d->source);
	stop_thread(d);
	drain_once(d, false);
	drain_once(d, false);
	/* Now both banks stand still, also those that could not be swapped. */
	for (unsigned int bank = 0; bank < 2; bank++) {
		if (drain_count(d->datapath, bank, &d->slots[0].settled) < 0)
			continue;
		settled_copy(&d->settled[bank], &d->slots[0].settled);
		d->unsettled[bank] = false;
	}
	pthread_mutex_lock(&d->lock);
	d->published.unsettled = d->unsettled[0] || d->unsettled[1];
	pthread_mutex_unlock(&d->lock);
}

void drain_retire(struct drain *d, const struct datapath *heir)
{
	atomic_store(&d->heir, heir);
	wake(d);
}

void drain_set_interval(struct drain *d, uint64_t interval_ns)
{
	(void)set_timer(d, interval_ns); /* a timer that is there takes any */
}

const struct drain_stats *drain_stats(const struct drain *d)
{
	return &d->published;
}

void drain_stats_copy(struct drain *d, struct drain_stats *ret)
{
	pthread_mutex_lock(&d->lock);
	*ret = d->published;
	pthread_mutex_unlock(&d->lock);
}

const struct drain_settled *drain_settled(const struct drain *d, unsigned int bank)
{
	return &d->settled[bank];
}

uint64_t drain_swapped_ns(const struct drain *d)
{
	return d->swapped_ns;
}
