/* SPDX-License-Identifier: Apache-2.0 */
/* The event loop: what calls back when, and sources that go away in the middle of a batch. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <cmocka.h>
#include "exporter/loop.h"

#define MSEC NSEC_PER_MSEC

struct watch {
	struct loop *loop;
	struct loop_source *source;
	struct watch *victim; /* its source is freed in the callback */
	unsigned int calls, stop_after;
	uint32_t events;
	int fd, result;
};

static int watch_called(void *userdata, uint32_t events)
{
	struct watch *watch = userdata;

	watch->calls++;
	watch->events = events;
	if (watch->victim)
		watch->victim->source = loop_source_free(watch->victim->source);
	if (watch->calls == watch->stop_after)
		loop_stop(watch->loop);
	return watch->result;
}

static int new_loop(void **state)
{
	struct loop *loop;

	if (loop_new(&loop) < 0)
		return -1;
	*state = loop;
	return 0;
}

static int free_loop(void **state)
{
	*state = loop_free(*state);
	return 0;
}

/* An eventfd that is readable from the start. */
static struct watch new_watch(void *loop)
{
	struct watch watch = {.loop = loop, .fd = eventfd(1, EFD_CLOEXEC), .stop_after = 1};

	assert_true(watch.fd >= 0);
	return watch;
}

static void free_watch(struct watch *watch)
{
	watch->source = loop_source_free(watch->source);
	if (watch->fd >= 0)
		close(watch->fd);
}

static void add_fd(struct watch *watch, uint32_t events)
{
	assert_int_equal(loop_add_fd(watch->loop, watch->fd, events, watch_called, watch,
				     &watch->source),
			 0);
}

static void test_fd(void **state)
{
	struct watch watch = new_watch(*state);

	add_fd(&watch, EPOLLIN);
	watch.stop_after = 3; /* level-triggered: called until it is read */
	assert_int_equal(loop_run(*state), 0);
	assert_int_equal(watch.calls, 3);
	assert_int_equal(watch.events, EPOLLIN);
	assert_int_equal(loop_set_events(watch.source, EPOLLOUT), 0);
	watch.stop_after = 4;
	assert_int_equal(loop_run(*state), 0);
	assert_int_equal(watch.events, EPOLLOUT);
	free_watch(&watch);
	assert_int_equal(loop_source_free(NULL), NULL);
}

static void test_fd_stays_open(void **state)
{
	struct watch watch = new_watch(*state);

	add_fd(&watch, EPOLLIN);
	watch.source = loop_source_free(watch.source);
	assert_true(fcntl(watch.fd, F_GETFD) >= 0);
	free_watch(&watch);
}

static void test_failure(void **state)
{
	struct watch watch = new_watch(*state);
	struct loop_source *source = (void *)1;

	assert_int_equal(loop_add_fd(*state, -1, EPOLLIN, watch_called, &watch, &source), -EBADF);
	assert_ptr_equal(source, (void *)1);
	add_fd(&watch, EPOLLIN);
	watch.stop_after = 0;
	watch.result = -EPIPE;
	assert_int_equal(loop_run(*state), -EPIPE);
	assert_int_equal(watch.calls, 1);
	free_watch(&watch);
}

static void test_stop_before_run(void **state)
{
	struct watch watch = new_watch(*state);

	add_fd(&watch, EPOLLIN);
	loop_stop(*state);
	assert_int_equal(loop_run(*state), 0);
	assert_int_equal(watch.calls, 0);
	assert_int_equal(loop_run(*state), 0); /* and is forgotten then */
	assert_int_equal(watch.calls, 1);
	free_watch(&watch);
}

/* Both are ready in one batch; whichever comes first frees the other. */
static void test_free_other(void **state)
{
	struct watch a = new_watch(*state), b = new_watch(*state), last = new_watch(*state);

	a.victim = &b;
	b.victim = &a;
	a.stop_after = b.stop_after = 0;
	add_fd(&a, EPOLLIN);
	add_fd(&b, EPOLLIN);
	add_fd(&last, EPOLLIN);
	assert_int_equal(loop_run(*state), 0);
	assert_int_equal(a.calls + b.calls, 1);
	free_watch(&a);
	free_watch(&b);
	free_watch(&last);
}

static void test_free_self(void **state)
{
	struct watch a = new_watch(*state), b = new_watch(*state);

	a.victim = &a;
	a.stop_after = 0;
	b.stop_after = 3;
	add_fd(&a, EPOLLIN);
	add_fd(&b, EPOLLIN);
	assert_int_equal(loop_run(*state), 0);
	assert_int_equal(a.calls, 1);
	assert_null(a.source);
	free_watch(&a);
	free_watch(&b);
}

static void test_timer(void **state)
{
	struct watch once = {.loop = *state, .fd = -1};
	struct watch often = {.loop = *state, .fd = -1, .stop_after = 5};
	struct watch never = {.loop = *state, .fd = -1};
	uint64_t start = clock_ns(CLOCK_MONOTONIC);

	assert_int_equal(loop_add_timer(*state, watch_called, &once, &once.source), 0);
	assert_int_equal(loop_add_timer(*state, watch_called, &often, &often.source), 0);
	assert_int_equal(loop_add_timer(*state, watch_called, &never, &never.source), 0);
	assert_int_equal(loop_set_timer(once.source, 1, 0), 0);
	assert_int_equal(loop_set_timer(often.source, 2 * MSEC, MSEC / 2), 0);
	assert_int_equal(loop_set_timer(never.source, 1, 1), 0);
	assert_int_equal(loop_set_timer(never.source, 0, 0), 0);
	assert_int_equal(loop_run(*state), 0);
	/* The fifth after 2 + 4 * 0.5 ms. */
	assert_int_equal(clock_ns(CLOCK_MONOTONIC) - start, 4 * MSEC);
	assert_int_equal(once.calls, 1);
	assert_int_equal(often.calls, 5);
	assert_int_equal(never.calls, 0);
	free_watch(&once);
	free_watch(&often);
	free_watch(&never);
}

static int disarm(void *userdata, uint32_t events)
{
	struct watch *watch = userdata;

	watch->calls++;
	watch->events = events;
	return loop_set_timer(watch->victim->source, 0, 0);
}

/* Both have expired when the loop looks; the first disarms the second. */
static void test_timer_disarmed_in_batch(void **state)
{
	struct watch a = {.loop = *state, .fd = -1}, b = a;
	struct watch end = {.loop = *state, .fd = -1, .stop_after = 1};

	a.victim = &b;
	b.victim = &a;
	assert_int_equal(loop_add_timer(*state, disarm, &a, &a.source), 0);
	assert_int_equal(loop_add_timer(*state, disarm, &b, &b.source), 0);
	assert_int_equal(loop_set_timer(a.source, 1, 0), 0);
	assert_int_equal(loop_set_timer(b.source, 1, 0), 0);
	assert_int_equal(loop_add_timer(*state, watch_called, &end, &end.source), 0);
	assert_int_equal(loop_set_timer(end.source, MSEC, 0), 0);
	assert_int_equal(loop_run(*state), 0);
	assert_int_equal(a.calls + b.calls, 1);
	free_watch(&end);
	free_watch(&a);
	free_watch(&b);
}

static void test_signal(void **state)
{
	struct watch usr1 = {.loop = *state, .stop_after = 1};
	struct watch usr2 = {.loop = *state, .stop_after = 1};

	assert_int_equal(loop_add_signal(*state, SIGUSR1, watch_called, &usr1), 0);
	assert_int_equal(loop_add_signal(*state, SIGUSR2, watch_called, &usr2), 0);
	assert_int_equal(loop_add_signal(*state, 4711, watch_called, &usr2), -EINVAL);
	assert_int_equal(raise(SIGUSR1), 0);
	assert_int_equal(loop_run(*state), 0);
	assert_int_equal(usr1.calls, 1);
	assert_int_equal(usr2.calls, 0);
	assert_int_equal(raise(SIGUSR2), 0);
	assert_int_equal(loop_run(*state), 0);
	assert_int_equal(usr1.calls, 1);
	assert_int_equal(usr2.calls, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_fd, new_loop, free_loop),
		cmocka_unit_test_setup_teardown(test_fd_stays_open, new_loop, free_loop),
		cmocka_unit_test_setup_teardown(test_failure, new_loop, free_loop),
		cmocka_unit_test_setup_teardown(test_stop_before_run, new_loop, free_loop),
		cmocka_unit_test_setup_teardown(test_free_other, new_loop, free_loop),
		cmocka_unit_test_setup_teardown(test_free_self, new_loop, free_loop),
		cmocka_unit_test_setup_teardown(test_timer, new_loop, free_loop),
		cmocka_unit_test_setup_teardown(test_timer_disarmed_in_batch, new_loop, free_loop),
		cmocka_unit_test_setup_teardown(test_signal, new_loop, free_loop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
