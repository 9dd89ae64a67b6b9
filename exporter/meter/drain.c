/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include "exporter/log.h"
#include "exporter/loop.h"
#include "exporter/meter/drain.h"
#include "exporter/meter/drops.h"
#include "exporter/meter/kernel_clock.h"
#include "exporter/thread.h"

#define BATCHES 4

/* A batch and, with `end` set, what the thread and the kernel had counted by then. */
struct slot {
	struct drain_batch batch;
	struct drain_stats stats;
	bool settles; /* likewise: the counters of a bank stand still, and are in `settled` */
	unsigned int bank;
	struct drain_settled settled;
};

/* What a bank has been given and what was read from it, since load. */
struct bank_sum {
	uint64_t entries;
	uint64_t packets;
	uint64_t octets;
};

struct drain {
	struct datapath *datapath;
	const struct kernel_clock *clock;
	drain_callback callback;
	void *userdata;
	struct loop_source *source;
	struct drain_stats published[_BANK_USE_MAX]; /* the loop's copies */
	struct drain_settled settled[_BANK_USE_MAX][2];

	/* The thread's, and the caller's once the thread has been joined. */
	pthread_t thread;
	bool running;
	struct pair {
		struct drain_stats stats;
		struct bank_sum drained[2];
		struct bank_sum evicted[2];
	} pairs[_BANK_USE_MAX];

	/* Pipes of slot pointers: the only thing both threads touch. */
	int full[2];
	int empty[2];
	int timer;
	int stop;
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

static void deliver(struct drain *d, const struct slot *slot)
{
	enum bank_use use = slot->batch.use;

	if (slot->batch.end)
		d->published[use] = slot->stats;
	if (slot->batch.end && slot->settles)
		settled_copy(&d->settled[use][slot->bank], &slot->settled);
	d->callback(d->userdata, &slot->batch);
}

static void batch_put(struct drain *d, struct slot *slot)
{
	if (d->running)
		slot_send(d->full[1], slot);
	else
		deliver(d, slot);
}

static enum bank_use point_use(enum flow_point point)
{
	return point == POINT_DROP ? BANK_DROPS : BANK_FLOWS;
}

/* Whose counters are read. */
struct settling {
	struct drain_settled *settled;
	enum bank_use use;
	unsigned int bank;
};

static void add_reason(void *userdata, const struct reason_key *key,
		       const struct reason_count *count)
{
	const struct settling *s = userdata;

	if (key->bank == s->bank && point_use((enum flow_point)key->point) == s->use)
		s->settled->reasons[s->settled->reason_count++] =
			(struct drain_reason){.key = *key, .count = *count};
}

static void add_drop(void *userdata, uint16_t reason, const struct drop_count *count)
{
	const struct settling *s = userdata;

	s->settled->drops[s->settled->drop_count++] =
		(struct drain_drop){.count = *count, .reason = reason};
}

/* What has been counted with a bank in use, which stands still. */
static int settled_read(const struct drain *d, enum bank_use use, unsigned int bank,
			struct drain_settled *ret)
{
	struct settling settling = {.settled = ret, .use = use, .bank = bank};
	struct hook_count count;
	int r = 0;

	memset(ret->counts, 0, sizeof(ret->counts));
	ret->reason_count = ret->drop_count = 0;
	for (int i = 0; i < _POINT_MAX && r == 0; i++) {
		if (point_use((enum flow_point)i) != use)
			continue;
		r = datapath_counts(d->datapath, (enum flow_point)i, &count);
		ret->counts[i] = count.bank[bank];
	}
	if (r == 0)
		r = datapath_unrecorded(d->datapath, add_reason, &settling);
	if (r == 0 && use == BANK_DROPS)
		r = drops_counts(d->datapath, bank, add_drop, &settling);
	return r;
}

/* An empty bank that stands still gave what it was given; the difference has been evicted. */
static void bank_settle(struct drain *d, enum bank_use use, unsigned int bank,
			const struct drain_settled *settled)
{
	struct pair *pair = &d->pairs[use];
	struct bank_sum accounted = {0}, *drained = &pair->drained[bank], *evicted = pair->evicted;

	for (int i = 0; i < _POINT_MAX; i++) {
		accounted.entries += settled->counts[i].inserts;
		accounted.packets += settled->counts[i].packets;
		accounted.octets += settled->counts[i].octets;
	}
	evicted[bank].entries = accounted.entries - drained->entries;
	evicted[bank].packets = accounted.packets - drained->packets;
	evicted[bank].octets = accounted.octets - drained->octets;
	pair->stats.evicted_entries = evicted[0].entries + evicted[1].entries;
	pair->stats.evicted_packets = evicted[0].packets + evicted[1].packets;
	pair->stats.evicted_octets = evicted[0].octets + evicted[1].octets;
	datapath_reset_fill(d->datapath, use, bank);
}

static void count_batch(struct pair *pair, unsigned int bank, const struct drain_batch *batch)
{
	struct bank_sum sum = {.entries = batch->count};

	for (uint32_t i = 0; i < batch->count; i++) {
		sum.packets += batch->records[i].packets;
		sum.octets += batch->records[i].octets;
	}
	pair->drained[bank].entries += sum.entries;
	pair->drained[bank].packets += sum.packets;
	pair->drained[bank].octets += sum.octets;
	pair->stats.entries += sum.entries;
	pair->stats.packets += sum.packets;
	pair->stats.octets += sum.octets;
}

static void batch_begin(struct slot *slot, enum bank_use use, uint64_t swap_ns, bool end)
{
	slot->batch.use = use;
	slot->batch.count = 0;
	slot->batch.swap_ns = swap_ns;
	slot->batch.end = end;
}

static int bank_read(struct drain *d, enum bank_use use, unsigned int bank, uint64_t swap_ns)
{
	uint32_t position = 0;
	bool done = false;
	struct slot *slot;
	int r = 0;

	while (!done && r == 0) {
		slot = batch_get(d);
		if (!slot)
			return -EPIPE;
		batch_begin(slot, use, swap_ns, false);
		r = datapath_read(d->datapath, use, bank, &position, slot->batch.keys,
				  slot->batch.records, DRAIN_BATCH, &slot->batch.count, &done);
		count_batch(&d->pairs[use], bank, &slot->batch);
		batch_put(d, slot);
	}
	return r;
}

/* The end of a swap; `error`: of the swap (`swapped` is false) or of the reading. */
static void send_end(struct drain *d, enum bank_use use, unsigned int bank, uint64_t swap_ns,
		     bool swapped, int error)
{
	struct drain_stats *stats = &d->pairs[use].stats;
	struct slot *slot = batch_get(d);
	int r = 0;

	if (!slot)
		return;
	batch_begin(slot, use, swap_ns, true);
	if (swapped)
		r = settled_read(d, use, bank, &slot->settled);
	slot->settles = swapped && r == 0;
	slot->bank = bank;
	if (slot->settles && error == 0)
		bank_settle(d, use, bank, &slot->settled);
	if (r < 0 || error < 0)
		stats->errors++;
	slot->stats = *stats;
	batch_put(d, slot);
}

/* The watermark is read before the flip: what is stamped later may be in either bank. */
static void drain_once(struct drain *d, enum bank_use use, bool early)
{
	uint64_t swap_ns = d->clock ? kernel_clock_coarse_ns(d->clock)
				    : clock_ns(CLOCK_MONOTONIC_COARSE);
	struct drain_stats *stats = &d->pairs[use].stats;
	unsigned int bank = 0;
	int r = datapath_swap(d->datapath, use, &bank);
	bool swapped = r == 0;

	if (swapped) {
		stats->swaps++;
		stats->early += early;
		r = bank_read(d, use, bank, swap_ns);
	}
	send_end(d, use, bank, swap_ns, swapped, r);
}

static void drain_uses(struct drain *d, unsigned int uses, bool early)
{
	for (int use = 0; use < _BANK_USE_MAX; use++)
		if (uses >> use & 1)
			drain_once(d, (enum bank_use)use, early);
}

static bool take_event(int fd)
{
	uint64_t count;

	return read(fd, &count, sizeof(count)) == sizeof(count);
}

static void *drain_thread(void *userdata)
{
	struct drain *d = userdata;
	struct epoll_event event;
	unsigned int woken;
	int n;

	pthread_setname_np(pthread_self(), "flowtally-drain");
	for (;;) {
		n = epoll_wait(d->epoll, &event, 1, -1);
		if (n < 1)
			continue; /* EINTR */
		if (event.data.fd == d->stop)
			break;
		if (event.data.fd == d->timer && !take_event(d->timer))
			continue;
		/* before the flip, so that no wake-up of the next bank is lost */
		woken = datapath_wakeup_clear(d->datapath);
		if (event.data.fd == d->timer)
			drain_uses(d, datapath_uses(d->datapath), false);
		else
			drain_uses(d, woken, true);
	}
	close(TAKE_FD(d->full[1]));
	return NULL;
}

/* In the loop's thread: one batch at a time, so that other events get their turn. */
static int on_batch(void *userdata, _unused_ uint32_t events)
{
	struct drain *d = userdata;
	struct slot *slot = slot_receive(d->full[0]);

	if (!slot)
		return -EPIPE;
	deliver(d, slot);
	return slot_send(d->empty[1], slot);
}

static int watch(struct drain *d, int fd)
{
	struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};

	return epoll_ctl(d->epoll, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

static int open_fds(struct drain *d, uint64_t interval_ns)
{
	const struct timespec interval = {.tv_sec = interval_ns / NSEC_PER_SEC,
					  .tv_nsec = interval_ns % NSEC_PER_SEC};
	const struct itimerspec timer = {.it_value = interval, .it_interval = interval};

	if (pipe2(d->full, O_CLOEXEC) < 0 || pipe2(d->empty, O_CLOEXEC) < 0)
		return -errno;
	d->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	d->stop = eventfd(0, EFD_CLOEXEC);
	d->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (d->timer < 0 || d->stop < 0 || d->epoll < 0 ||
	    timerfd_settime(d->timer, 0, &timer, NULL) < 0)
		return -errno;
	/* the stop event first: epoll reports ready descriptors in the order they became ready */
	return watch(d, d->stop) ?: watch(d, d->timer) ?: watch(d, datapath_wakeup_fd(d->datapath));
}

static int start_thread(struct drain *d)
{
	int r;

	d->running = true; /* which the thread reads */
	r = thread_start(&d->thread, drain_thread, d);
	d->running = r == 0;
	return r;
}

int drain_new(struct drain **ret, const struct drain_options *options)
{
	_cleanup_(drain_freep) struct drain *d = calloc(1, sizeof(*d));
	int r;

	if (!d)
		return -ENOMEM;
	d->datapath = options->datapath;
	d->clock = options->clock;
	d->callback = options->callback;
	d->userdata = options->userdata;
	d->full[0] = d->full[1] = d->empty[0] = d->empty[1] = d->timer = d->stop = d->epoll = -1;
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

/* The thread may be waiting for an empty batch: takes what it still sends until it has closed its end. */
static void stop_thread(struct drain *d)
{
	const uint64_t one = 1;
	struct slot *slot;

	if (!d->running)
		return;
	if (write(d->stop, &one, sizeof(one)) != sizeof(one))
		assert(0); /* an eventfd at 0 takes 1 */
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
	closep(&d->stop);
	closep(&d->epoll);
	free(d);
	return NULL;
}

void drain_finish(struct drain *d)
{
	d->source = loop_source_free(d->source);
	stop_thread(d);
	for (int bank = 0; bank < 2; bank++)
		drain_uses(d, datapath_uses(d->datapath), false);
	/* Now all banks stand still, also those that could not be swapped. */
	for (int use = 0; use < _BANK_USE_MAX; use++)
		for (unsigned int bank = 0; bank < 2; bank++)
			if (datapath_uses(d->datapath) >> use & 1)
				(void)settled_read(d, (enum bank_use)use, bank,
						   &d->settled[use][bank]);
}

const struct drain_stats *drain_stats(const struct drain *d, enum bank_use use)
{
	return &d->published[use];
}

const struct drain_settled *drain_settled(const struct drain *d, enum bank_use use,
					  unsigned int bank)
{
	return &d->settled[use][bank];
}
