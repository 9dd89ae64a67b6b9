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
#include "exporter/stop.h"
#include "tests/unit/clock.h"

#define ALIVE	'a'
#define OVERDUE 'o'

#define MSEC	NSEC_PER_MSEC
#define NO_TIME (3600 * NSEC_PER_SEC)

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

/* In the child it is there, and time moves by clock_skip() alone; the parent returns from here. */
static bool in_child(struct stop **ret, uint64_t timeout_ns, bool interrupt)
{
	const struct stop_options options = {.timeout_ns = timeout_ns,
					     .hangup = true,
					     .interrupt = interrupt,
					     .overdue = on_overdue};

	assert_int_equal(pipe(said), 0);
	child = fork();
	if (child)
		return false;
	alarm(60);
	signal(SIGHUP, SIG_DFL); /* it is ignored where the tests are run by nohup */
	if (!interrupt)
		clock_hold();
	if (stop_new(ret, &options) < 0)
		_exit(8);
	return true;
}

/* As from outside: to the process, not to a thread. */
static void receive(int signal)
{
	if (kill(getpid(), signal) < 0)
		_exit(7);
}

/* So much passes, and the process is still there. */
static void survive(uint64_t ns)
{
	clock_skip(ns);
	say(ALIVE);
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

static void test_timeout(_unused_ void **state)
{
	struct stop *stop;

	if (in_child(&stop, 300 * MSEC, false)) {
		survive(1000 * MSEC);
		receive(SIGTERM);
		survive(299 * MSEC);
		survive(2 * MSEC);
	}
	check_end(1, "aao");
}

/* The end may begin without a signal. */
static void test_begin(_unused_ void **state)
{
	struct stop *stop;

	if (in_child(&stop, 300 * MSEC, false)) {
		survive(1000 * MSEC);
		stop_begin(stop);
		survive(299 * MSEC);
		survive(2 * MSEC);
	}
	check_end(1, "aao");
}

static void test_again(_unused_ void **state)
{
	struct stop *stop;

	if (in_child(&stop, NO_TIME, false)) {
		receive(SIGTERM);
		survive(400 * MSEC);
		receive(SIGINT);
		survive(999 * MSEC);
		if (stop_deadline_ns(stop) != 0 || strcmp(stop_why(stop), "another signal") != 0)
			_exit(6);
		survive(2 * MSEC);
	}
	check_end(1, "aao");
}

/* A signal that arrives by two ways at once is one. */
static void test_twice(_unused_ void **state)
{
	struct stop *stop;

	if (in_child(&stop, NO_TIME, false)) {
		receive(SIGTERM);
		survive(20 * MSEC);
		receive(SIGTERM);
		survive(1500 * MSEC);
		if (stop_deadline_ns(stop) == 0 || stop_why(stop))
			_exit(6);
		stop_free(stop);
		_exit(0);
	}
	check_end(0, "aa");
}

/* Without a signal there is no deadline; with one there is time for last words before the end. */
static void test_deadline(_unused_ void **state)
{
	struct stop *stop;

	if (in_child(&stop, 8 * NSEC_PER_SEC, false)) {
		struct pollfd begun = {.fd = stop_fd(stop), .events = POLLIN};

		if (stop_deadline_ns(stop) != UINT64_MAX || stop_begun(stop) || stop_why(stop) ||
		    poll(&begun, 1, 0) != 0)
			_exit(5);
		receive(SIGTERM);
		clock_skip(6999 * MSEC);
		if (poll(&begun, 1, 0) != 1 || !stop_begun(stop) || stop_why(stop) ||
		    stop_deadline_ns(stop) != CLOCK_START_NS + 7 * NSEC_PER_SEC)
			_exit(6);
		clock_skip(1 * MSEC);
		if (!stop_why(stop) || strcmp(stop_why(stop), "--stop-timeout") != 0)
			_exit(4);
		stop_free(stop);
		_exit(0);
	}
	check_end(0, "");
}

/* A read(2) that waits for ever ends, also when it begins after the signal. */
static void test_interrupt(_unused_ void **state)
{
	struct stop *stop;
	int never[2];
	char c;

	assert_int_equal(pipe(never), 0);
	/* time flies here, so there has to be much of it */
	if (in_child(&stop, UINT64_MAX / 2, true)) {
		struct pollfd begun = {.fd = stop_fd(stop), .events = POLLIN};

		receive(SIGHUP);
		while (poll(&begun, 1, -1) != 1)
			;
		if (read(never[0], &c, 1) >= 0 || errno != EINTR || !stop_begun(stop))
			_exit(6);
		stop_free(stop);
		_exit(0);
	}
	check_end(0, "");
	close(never[0]);
	close(never[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_timeout),	  cmocka_unit_test(test_again),
		cmocka_unit_test(test_twice),	  cmocka_unit_test(test_deadline),
		cmocka_unit_test(test_interrupt), cmocka_unit_test(test_begin),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
