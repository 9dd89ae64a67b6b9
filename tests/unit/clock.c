/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <cmocka.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include "exporter/util.h"
#include "tests/unit/clock.h"

/* A timer, or what somebody does. */
struct due {
	uint64_t at_ns; /* passed by then */
	uint64_t interval_ns;
	int fd; /* -1: a call */
	void (*call)(void *userdata);
	void *userdata;
};

static _Atomic uint64_t passed_ns;
static int64_t wall_offset_ns;
static struct due dues[64];
static unsigned int due_count;
static void (*before_moving)(void);

static struct {
	bool on;
	int moved;		/* eventfd: the thread that waits is to look again */
	int idle;		/* eventfd: it has, and waits */
	_Atomic uint64_t asked; /* times that it was to look */
	_Atomic uint64_t seen;	/* the last of which it has looked for */
} held = {.moved = -1, .idle = -1};

static int real_poll(struct pollfd *fds, nfds_t count, int timeout_ms)
{
	const struct timespec timeout = {.tv_sec = timeout_ms / 1000,
					 .tv_nsec = timeout_ms % 1000 * 1000000L};

	return (int)syscall(SYS_ppoll, fds, count, timeout_ms < 0 ? NULL : &timeout, NULL, 0);
}

uint64_t clock_passed_ns(void)
{
	return atomic_load(&passed_ns);
}

void clock_set_wall(int64_t offset_ns)
{
	wall_offset_ns = offset_ns;
}

void clock_before_moving(void (*call)(void))
{
	before_moving = call;
}

void clock_reset(void)
{
	atomic_store(&passed_ns, 0);
	wall_offset_ns = 0;
	due_count = 0;
}

static void add_due(const struct due *due)
{
	assert_true(due_count < ARRAY_SIZE(dues));
	dues[due_count++] = *due;
}

static struct due remove_due(unsigned int index)
{
	struct due due = dues[index];

	dues[index] = dues[--due_count];
	return due;
}

static void forget_timer(int fd)
{
	for (unsigned int i = due_count; i-- > 0;)
		if (dues[i].fd == fd)
			remove_due(i);
}

void clock_at(uint64_t after_ns, void (*call)(void *userdata), void *userdata)
{
	add_due(&(struct due){.at_ns = clock_passed_ns() + after_ns,
			      .fd = -1,
			      .call = call,
			      .userdata = userdata});
}

/* Expires; a descriptor that is closed has none. */
static void expire_timer(struct due *due)
{
	const struct itimerspec past = {.it_value.tv_nsec = 1};
	struct pollfd expired = {.fd = due->fd, .events = POLLIN};

	if (syscall(SYS_timerfd_settime, due->fd, TFD_TIMER_ABSTIME, &past, NULL) < 0)
		return;
	assert_int_equal(real_poll(&expired, 1, -1), 1);
	if (due->interval_ns) {
		due->at_ns += due->interval_ns;
		add_due(due);
	}
}

/* Index of what is due next; of timers of one time the one with the smaller descriptor.  There is one. */
static unsigned int next_due(void)
{
	unsigned int next = 0;

	for (unsigned int i = 1; i < due_count; i++)
		if (dues[i].at_ns < dues[next].at_ns ||
		    (dues[i].at_ns == dues[next].at_ns && dues[i].fd < dues[next].fd))
			next = i;
	return next;
}

/* To what is due next, or until then if that is earlier.  False: neither will ever be. */
static bool move_on(uint64_t until_ns)
{
	struct due due;

	if (!due_count || dues[next_due()].at_ns > until_ns) {
		if (until_ns != UINT64_MAX)
			atomic_store(&passed_ns, until_ns);
		return until_ns != UINT64_MAX;
	}
	due = remove_due(next_due());
	atomic_store(&passed_ns, MAX(clock_passed_ns(), due.at_ns));
	if (due.fd < 0) {
		due.call(due.userdata);
		return true;
	}
	expire_timer(&due);
	/* Timers of one time expire together, before anybody looks. */
	while (due_count && dues[next_due()].fd >= 0 &&
	       dues[next_due()].at_ns <= clock_passed_ns()) {
		struct due other = remove_due(next_due());

		expire_timer(&other);
	}
	return true;
}

/* Waits for the descriptors, or for clock_skip() to say that time has passed. */
static int wait_held(struct pollfd *fds, nfds_t count, uint64_t seen)
{
	struct pollfd all[8];
	eventfd_t times;
	int r;

	assert_true(count < ARRAY_SIZE(all));
	for (nfds_t i = 0; i < count; i++)
		all[i] = fds[i];
	all[count] = (struct pollfd){.fd = held.moved, .events = POLLIN};
	atomic_store(&held.seen, seen);
	assert_int_equal(eventfd_write(held.idle, 1), 0);
	r = real_poll(all, count + 1, -1);
	if (r > 0 && all[count].revents)
		assert_int_equal(eventfd_read(held.moved, &times), 0);
	return r < 0 ? r : 0;
}

/* As poll(2), until so much has passed; UINT64_MAX: for ever. */
static int wait_until(struct pollfd *fds, nfds_t count, uint64_t until_ns)
{
	for (;;) {
		uint64_t asked = atomic_load(&held.asked);
		int r = real_poll(fds, count, 0);

		if (r != 0 || clock_passed_ns() >= until_ns)
			return r;
		if (held.on) {
			r = wait_held(fds, count, asked);
			if (r < 0)
				return r;
			continue;
		}
		if (before_moving) {
			before_moving();
			r = real_poll(fds, count, 0);
			if (r != 0)
				return r;
		}
		if (!move_on(until_ns))
			return real_poll(fds, count, -1);
	}
}

static uint64_t after(uint64_t ns)
{
	return clock_passed_ns() + ns;
}

void clock_hold(void)
{
	held.moved = eventfd(0, EFD_CLOEXEC);
	held.idle = eventfd(0, EFD_CLOEXEC);
	assert_true(held.moved >= 0 && held.idle >= 0);
	held.on = true;
}

/* Returns when the thread that waits has found nothing to do after it was asked. */
static void let_look(void)
{
	uint64_t asked = atomic_fetch_add(&held.asked, 1) + 1;
	eventfd_t times;

	assert_int_equal(eventfd_write(held.moved, 1), 0);
	while (atomic_load(&held.seen) < asked)
		assert_int_equal(eventfd_read(held.idle, &times), 0);
}

void clock_skip(uint64_t ns)
{
	if (held.on)
		let_look();
	atomic_fetch_add(&passed_ns, ns);
	if (held.on)
		let_look();
}

/* --- In place of libc's */

int clock_gettime(clockid_t clock, struct timespec *ret)
{
	uint64_t now_ns = clock_passed_ns();

	switch (clock) {
	case CLOCK_REALTIME:
	case CLOCK_REALTIME_COARSE:
		now_ns += CLOCK_START_WALL_NS + (uint64_t)wall_offset_ns;
		break;
	case CLOCK_MONOTONIC:
	case CLOCK_MONOTONIC_COARSE:
	case CLOCK_MONOTONIC_RAW:
	case CLOCK_BOOTTIME:
		now_ns += CLOCK_START_NS;
		break;
	default:
		return (int)syscall(SYS_clock_gettime, clock, ret);
	}
	ret->tv_sec = (time_t)(now_ns / NSEC_PER_SEC);
	ret->tv_nsec = (long)(now_ns % NSEC_PER_SEC);
	return 0;
}

int timerfd_create(clockid_t clock, int flags)
{
	int fd = (int)syscall(SYS_timerfd_create, clock, flags);

	if (fd >= 0)
		forget_timer(fd); /* a closed one had this number */
	return fd;
}

int timerfd_settime(int fd, int flags, const struct itimerspec *new, struct itimerspec *old)
{
	const struct itimerspec none = {0};
	uint64_t first_ns = timespec_ns(&new->it_value);

	assert_true(!flags && !old);
	if (syscall(SYS_timerfd_settime, fd, 0, &none, NULL) < 0)
		return -1;
	forget_timer(fd);
	if (first_ns)
		add_due(&(struct due){.at_ns = after(first_ns),
				      .interval_ns = timespec_ns(&new->it_interval),
				      .fd = fd});
	return 0;
}

int poll(struct pollfd *fds, nfds_t count, int timeout_ms)
{
	return wait_until(fds, count,
			  timeout_ms < 0 ? UINT64_MAX
					 : after((uint64_t)timeout_ms * NSEC_PER_MSEC));
}

int ppoll(struct pollfd *fds, nfds_t count, const struct timespec *timeout, const sigset_t *mask)
{
	assert_null(mask);
	return wait_until(fds, count, timeout ? after(timespec_ns(timeout)) : UINT64_MAX);
}

/* What becomes of calls of the two in optimized code, where alone libc declares them. */
#pragma GCC diagnostic ignored "-Wmissing-prototypes"
int __poll_chk(struct pollfd *fds, nfds_t count, int timeout_ms,
	       size_t size) /* NOLINT(*-reserved-identifier) */
{
	assert_true(size / sizeof(*fds) >= count);
	return poll(fds, count, timeout_ms);
}

int __ppoll_chk(struct pollfd *fds, nfds_t count,
		const struct timespec *timeout, /* NOLINT(*-reserved-identifier) */
		const sigset_t *mask, size_t size)
{
	assert_true(size / sizeof(*fds) >= count);
	return ppoll(fds, count, timeout, mask);
}

int epoll_wait(int epoll, struct epoll_event *events, int max, int timeout_ms)
{
	struct pollfd ready = {.fd = epoll, .events = POLLIN};
	int r = poll(&ready, 1, timeout_ms);

	return r <= 0 ? r : (int)syscall(SYS_epoll_pwait, epoll, events, max, 0, NULL, 0);
}
