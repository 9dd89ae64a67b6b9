/* SPDX-License-Identifier: Apache-2.0 */
/* What ends a wait: something to read, time, a reader of standard output that goes, and a signal, whenever it comes. */
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "exporter/cli/interrupt.h"
#include "exporter/util.h"

#define LONG_MS 5000

static int in_between; /* a signal that comes when the wait is about to begin; 0: none */

/* In the place of libc's, so that a signal comes just when it would be slept through. */
int ppoll(struct pollfd *fds, nfds_t count, const struct timespec *timeout, const sigset_t *mask)
{
	struct timespec time = timeout ? *timeout : (struct timespec){0};

	if (in_between)
		raise(in_between);
	return (int)syscall(SYS_ppoll, fds, count, timeout ? &time : NULL, mask, _NSIG / 8);
}

static void test_file(void **state)
{
	int ends[2];

	(void)state;
	assert_int_equal(pipe(ends), 0);
	assert_int_equal(interrupt_wait(ends[0], 1), 0);
	assert_int_equal(interrupt_wait(-1, 1), 0);
	assert_int_equal(write(ends[1], "x", 1), 1);
	assert_int_equal(interrupt_wait(ends[0], LONG_MS), 1);
	close(ends[0]);
	close(ends[1]);
}

/* Also where there is something to read. */
static void test_reader(void **state)
{
	int ends[2], input[2], standard = dup(STDOUT_FILENO), before, after, both;

	(void)state;
	assert_int_equal(pipe(ends), 0);
	assert_int_equal(pipe(input), 0);
	assert_int_equal(write(input[1], "x", 1), 1);
	dup2(ends[1], STDOUT_FILENO);
	before = interrupt_wait(-1, 1);
	close(ends[0]);
	after = interrupt_wait(-1, LONG_MS);
	both = interrupt_wait(input[0], LONG_MS);
	dup2(standard, STDOUT_FILENO);
	assert_int_equal(before, 0);
	assert_int_equal(after, -EPIPE);
	assert_int_equal(both, -EPIPE);
	close(standard);
	close(ends[1]);
	close(input[0]);
	close(input[1]);
}

static void test_signal(void **state)
{
	(void)state;
	interrupt_catch(SIGTERM);
	assert_false(interrupt_came());
	in_between = SIGTERM;
	assert_int_equal(interrupt_wait(-1, LONG_MS), -EINTR);
	in_between = 0;
	assert_true(interrupt_came());
	assert_int_equal(*interrupt_flag(), 1);
	assert_int_equal(interrupt_wait(-1, LONG_MS), -EINTR); /* and it came before that */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_file),
		cmocka_unit_test(test_reader),
		cmocka_unit_test(test_signal),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
