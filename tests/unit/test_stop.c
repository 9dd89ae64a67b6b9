/* SPDX-License-Identifier: Apache-2.0 */
/* The end of a verb: each test is a process of its own, whose status and time tell how it ended. */
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/wait.h>
#include <cmocka.h>
#include "exporter/cli/stop.h"

#define READY	 'r'
#define OVERDUE	 'o'
#define FINISHED 'f'
#define NO_TIME	 (3600 * NSEC_PER_SEC)

static int said[2]; /* a pipe: what the child says */
static pid_t child;

static void say(char c)
{
	if (write(said[1], &c, 1) != 1)
		_exit(9);
}

static void on_overdue(_unused_ void *userdata)
{
	say(OVERDUE);
}

/* The child has it, and says that it does; the parent returns from here. */
static bool in_child(struct stop **ret, uint64_t timeout_ns, bool interrupt)
{
	const struct stop_options options = {.timeout_ns = timeout_ns,
					     .hangup = true,
					     .interrupt = interrupt,
					     .overdue = on_overdue};
	char c;

	assert_int_equal(pipe(said), 0);
	child = fork();
	if (child == 0) {
		alarm(20);
		if (stop_new(ret, &options) < 0)
			_exit(8);
		say(READY);
		return true;
	}
	assert_int_equal(read(said[0], &c, 1), 1);
	assert_int_equal(c, READY);
	return false;
}

static void check_end(int status, const char *expected)
{
	char text[8] = "";
	ssize_t n;
	int got;

	assert_int_equal(waitpid(child, &got, 0), child);
	assert_true(WIFEXITED(got));
	assert_int_equal(WEXITSTATUS(got), status);
	close(said[1]);
	n = read(said[0], text, sizeof(text) - 1);
	assert_true(n >= 0);
	assert_string_equal(text, expected);
	close(said[0]);
}

static void hang(void)
{
	for (;;)
		poll(NULL, 0, -1);
}

static void test_timeout(_unused_ void **state)
{
	struct stop *stop;

	if (in_child(&stop, 300 * NSEC_PER_MSEC, false))
		hang();
	kill(child, SIGTERM);
	check_end(1, "o");
}

static void test_again(_unused_ void **state)
{
	struct stop *stop;

	if (in_child(&stop, NO_TIME, false))
		hang();
	kill(child, SIGTERM);
	usleep(400000);
	kill(child, SIGINT);
	check_end(1, "o");
}

/* A signal that arrives by two ways at once is one. */
static void test_twice(_unused_ void **state)
{
	struct stop *stop;

	if (in_child(&stop, NO_TIME, false)) {
		while (!stop_begun(stop))
			usleep(1000);
		usleep(1500000);
		if (stop_deadline_ns(stop) == 0 || stop_why(stop))
			_exit(7);
		stop_free(stop);
		say(FINISHED);
		_exit(0);
	}
	kill(child, SIGTERM);
	usleep(20000);
	kill(child, SIGTERM);
	check_end(0, "f");
}

/* Without a signal there is no deadline; with one there is time for last words before the end. */
static void test_deadline(_unused_ void **state)
{
	struct stop *stop;

	if (in_child(&stop, 8 * NSEC_PER_SEC, false)) {
		uint64_t before_ns = clock_ns(CLOCK_MONOTONIC), deadline_ns, after_ns;
		struct pollfd begun = {.fd = stop_fd(stop), .events = POLLIN};

		if (stop_deadline_ns(stop) != UINT64_MAX || stop_begun(stop) || stop_why(stop) ||
		    poll(&begun, 1, 0) != 0)
			_exit(5);
		say(FINISHED);
		if (poll(&begun, 1, -1) != 1 || !stop_begun(stop))
			_exit(6);
		deadline_ns = stop_deadline_ns(stop);
		after_ns = clock_ns(CLOCK_MONOTONIC);
		if (deadline_ns < before_ns + 6 * NSEC_PER_SEC ||
		    deadline_ns >= after_ns + 8 * NSEC_PER_SEC)
			_exit(7);
		stop_free(stop);
		_exit(0);
	}
	usleep(50000);
	kill(child, SIGTERM);
	check_end(0, "f");
}

/* A read(2) that waits for ever ends. */
static void test_interrupt(_unused_ void **state)
{
	struct stop *stop;
	int never[2];
	char c;

	assert_int_equal(pipe(never), 0);
	if (in_child(&stop, NO_TIME, true)) {
		if (read(never[0], &c, 1) >= 0 || errno != EINTR || !stop_begun(stop))
			_exit(7);
		stop_free(stop);
		_exit(0);
	}
	usleep(100000);
	kill(child, SIGHUP);
	check_end(0, "");
	close(never[0]);
	close(never[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_timeout),	  cmocka_unit_test(test_again),
		cmocka_unit_test(test_twice),	  cmocka_unit_test(test_deadline),
		cmocka_unit_test(test_interrupt),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
