/* SPDX-License-Identifier: Apache-2.0 */
/* The log against readers that do not read: nothing waits, nothing is mixed up, and what is missing is counted. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <cmocka.h>
#include "exporter/log.h"
#include "tests/unit/clock.h"

#define QUEUE_MAX (256u * 1024) /* log.h */
#define TEXT_MAX  (4u << 20)

static int stream[2];  /* the reader's end, the writer's */
static int saved = -1; /* the real stderr */
static char text[TEXT_MAX];

static void replace_stderr(void)
{
	saved = dup(STDERR_FILENO);
	dup2(stream[1], STDERR_FILENO);
}

static void open_pipe(void)
{
	assert_int_equal(pipe2(stream, O_CLOEXEC), 0);
	replace_stderr();
}

/* Reads what there is and what still waits; the number of octets. */
static size_t read_text(void)
{
	size_t length = 0;
	bool all;

	fcntl(stream[0], F_SETFL, O_NONBLOCK);
	do {
		ssize_t n;

		all = log_flush(0);
		while ((n = read(stream[0], text + length, TEXT_MAX - 1 - length)) > 0)
			length += (size_t)n;
	} while (!all);
	text[length] = '\0';
	return length;
}

static int restore_stderr(_unused_ void **state)
{
	read_text();
	dup2(saved, STDERR_FILENO);
	close(saved);
	close(stream[0]);
	close(stream[1]);
	return 0;
}

/* Lines "flowtally: N: xxx" in a row from 0 on; *ret_missing: what the last line says is missing, if it does. */
static unsigned int count_lines(unsigned int *ret_missing)
{
	char *line, *rest = text;
	unsigned int count = 0, number;

	*ret_missing = 0;
	while ((line = strsep(&rest, "\n")) && *line) {
		assert_int_equal(*ret_missing, 0);
		if (strstr(line, "missing")) {
			assert_int_equal(
				sscanf(line, "flowtally: %u messages are missing", ret_missing), 1);
			continue;
		}
		assert_int_equal(sscanf(line, "flowtally: %u: x", &number), 1);
		assert_int_equal(number, count);
		count++;
	}
	return count;
}

#define LINES	    6000
#define LINE_OCTETS 100

static void log_lines(unsigned int count)
{
	char filler[LINE_OCTETS - 20];

	memset(filler, 'x', sizeof(filler) - 1);
	filler[sizeof(filler) - 1] = '\0';
	for (unsigned int i = 0; i < count; i++)
		log_info("%u: %s", i, filler);
}

/* More than the pipe and the queue take, and nobody reads: the writer comes back all the same. */
static void check_full(unsigned int capacity)
{
	unsigned int lines, missing;
	size_t octets;

	alarm(20);
	log_lines(LINES);
	assert_false(log_flush(0));
	octets = read_text();
	alarm(0);
	lines = count_lines(&missing);
	assert_int_equal(lines + missing, LINES);
	assert_true(missing > 0);
	/* all the room there is was used, and no more */
	assert_in_range(octets, QUEUE_MAX, capacity + QUEUE_MAX + 2 * LINE_OCTETS);
	log_info("%u: x", 0);
	read_text();
	assert_int_equal(count_lines(&missing), 1);
	assert_int_equal(missing, 0);
}

static void test_pipe(_unused_ void **state)
{
	open_pipe();
	check_full((unsigned int)fcntl(stream[1], F_GETPIPE_SZ));
}

/* What is said later comes after the count of what is missing. */
static void test_order(_unused_ void **state)
{
	char *missing, *last;

	open_pipe();
	alarm(20);
	log_lines(LINES);
	log_text("the last words\n", strlen("the last words\n"));
	read_text();
	alarm(0);
	last = strstr(text, "the last words");
	missing = strstr(text, "missing here");
	assert_non_null(last);
	assert_non_null(missing);
	assert_true(missing < last);
}

/* As under systemd, where stderr is a stream socket. */
static void test_socket(_unused_ void **state)
{
	int size = 4096;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, stream), 0);
	setsockopt(stream[1], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	replace_stderr();
	check_full(64u * 1024);
}

/* A pipe of another user's: no description of our own, so poll(2) has to do. */
static void test_inherited(_unused_ void **state)
{
	int status;
	pid_t child;

	if (getuid() != 0)
		skip();
	open_pipe();
	assert_int_equal(fchown(stream[1], 0, 0), 0);
	assert_int_equal(fchmod(stream[1], 0600), 0);
	child = fork();
	if (child == 0) {
		if (setresgid(65534, 65534, 65534) < 0 || setresuid(65534, 65534, 65534) < 0)
			_exit(3);
		alarm(20);
		log_lines(LINES);
		_exit(log_flush(0) ? 1 : 0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	assert_true(read_text() > 4096); /* by the page */
}

/* Flags of the description that others have too are left alone. */
static void test_flags(_unused_ void **state)
{
	open_pipe();
	log_lines(LINES);
	assert_int_equal(fcntl(stream[1], F_GETFL) & O_NONBLOCK, 0);
}

static void *log_from_thread(_unused_ void *userdata)
{
	log_lines(LINES);
	return NULL;
}

static void test_threads(_unused_ void **state)
{
	pthread_t threads[2];
	unsigned int lines = 0, missing = 0;
	char *line, *rest = text;

	open_pipe();
	alarm(20);
	for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, log_from_thread, NULL), 0);
	for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
		pthread_join(threads[i], NULL);
	read_text();
	alarm(0);
	while ((line = strsep(&rest, "\n")) && *line)
		if (strstr(line, "missing")) {
			assert_int_equal(sscanf(line, "flowtally: %u messages", &missing), 1);
		} else {
			assert_int_equal(strncmp(line, "flowtally: ", 11), 0);
			assert_int_equal(line[strlen(line) - 1], 'x');
			lines++;
		}
	assert_int_equal(lines + missing, ARRAY_SIZE(threads) * LINES);
}

/* What is held is not written, can be looked at from its end, and comes in its order when it is let go. */
static void test_held(_unused_ void **state)
{
	char line[64];

	open_pipe();
	assert_false(log_held(0, line, sizeof(line)));
	log_info("before");
	log_hold();
	assert_false(log_held(0, line, sizeof(line)));
	log_info("first");
	log_info("second");
	assert_true(log_flush(0)); /* it is not waited for */
	assert_true(log_held(0, line, sizeof(line)));
	assert_string_equal(line, "flowtally: second");
	assert_true(log_held(1, line, 13));
	assert_string_equal(line, "flowtally: f");
	assert_false(log_held(2, line, sizeof(line)));
	read_text();
	assert_string_equal(text, "flowtally: before\n");
	log_release();
	assert_false(log_held(0, line, sizeof(line)));
	read_text();
	assert_string_equal(text, "flowtally: first\nflowtally: second\n");
}

/* Room is bounded: the oldest lines go, one line says how many, and the others come in their order. */
static void test_held_full(_unused_ void **state)
{
	unsigned int missing, number, next;
	char *waiting, *rest, *line;
	char held[16];
	size_t size;

	open_pipe();
	alarm(20);
	log_lines(LINES / 3); /* the pipe is full of these, and some wait */
	log_hold();
	log_lines(LINES);
	log_info("the last");
	assert_true(log_held(0, held, sizeof(held)));
	assert_string_equal(held, "flowtally: the ");
	assert_false(log_held(UINT32_MAX, held, sizeof(held)));
	log_release();
	size = read_text();
	alarm(0);
	rest = strstr(text, "lines are missing here: more came than can be held\n");
	assert_non_null(rest);
	waiting = memrchr(text, '\n', (size_t)(rest - text)); /* the line before */
	assert_non_null(waiting);
	assert_int_equal(sscanf(waiting + 1, "flowtally: %u", &missing), 1);
	next = missing;
	strsep(&rest, "\n");
	assert_in_range(text + size - rest, QUEUE_MAX - LINE_OCTETS, QUEUE_MAX);
	while ((line = strsep(&rest, "\n")) && !strstr(line, "the last")) {
		assert_int_equal(sscanf(line, "flowtally: %u: x", &number), 1);
		assert_int_equal(number, next++);
	}
	assert_int_equal(next, LINES);
	assert_non_null(line);
	waiting[1] = '\0'; /* what waited before it was held is there */
	assert_int_equal(count_lines(&missing), LINES / 3);
	assert_int_equal(missing, 0);
}

/* Nobody will ever read: nothing waits for that. */
static void test_no_reader(_unused_ void **state)
{
	open_pipe();
	close(stream[0]);
	signal(SIGPIPE, SIG_IGN);
	log_lines(LINES);
	assert_true(log_flush(0));
	stream[0] = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static size_t slow_length;

/* 16 KiB each 2 ms. */
static void read_slowly(_unused_ void *userdata)
{
	ssize_t n = read(stream[0], text + slow_length, MIN(16384u, TEXT_MAX - 1 - slow_length));

	slow_length += n > 0 ? (size_t)n : 0;
	clock_at(2 * NSEC_PER_MSEC, read_slowly, NULL);
}

/* Before log_never_wait() a reader that is slow gets everything. */
static void test_patience(_unused_ void **state)
{
	unsigned int missing;
	ssize_t n;
	int r;

	open_pipe();
	fcntl(stream[0], F_SETFL, O_NONBLOCK);
	clock_at(900 * NSEC_PER_MSEC, read_slowly, NULL);
	log_lines(LINES);
	assert_true(log_flush(1000));
	assert_true(clock_passed_ns() >= 900 * NSEC_PER_MSEC);
	clock_reset();
	dup2(saved, STDERR_FILENO);
	close(stream[1]);
	/* the log may hold a description of its own: it lets go of it when it writes elsewhere */
	r = open("/dev/null", O_WRONLY | O_CLOEXEC);
	dup2(r, STDERR_FILENO);
	log_info("elsewhere");
	close(r);
	while ((n = read(stream[0], text + slow_length, TEXT_MAX - 1 - slow_length)) > 0)
		slow_length += (size_t)n;
	assert_int_equal(n, 0);
	text[slow_length] = '\0';
	assert_int_equal(count_lines(&missing), LINES);
	assert_int_equal(missing, 0);
	stream[1] = open("/dev/null", O_WRONLY | O_CLOEXEC);
}

/* One that takes nothing is waited for a second, and not with each line; what is left of a page begins it anew. */
static void test_patience_ends(_unused_ void **state)
{
	unsigned int lines = 0;

	open_pipe();
	for (; !clock_passed_ns(); lines++)
		log_lines(1);
	assert_int_equal(clock_passed_ns() / NSEC_PER_MSEC, 1000);
	log_lines(LINES - lines);
	assert_in_range(clock_passed_ns() / NSEC_PER_MSEC, 1000, 10000);
	clock_reset();
}

static int setup(_unused_ void **state)
{
	log_never_wait();
	return 0;
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, restore_stderr)

int main(void)
{
	const struct CMUnitTest tests[] = {
		/* first, since log_never_wait() is for ever */
		cmocka_unit_test_teardown(test_patience, restore_stderr),
		cmocka_unit_test_teardown(test_patience_ends, restore_stderr),
		TEST(test_pipe),
		TEST(test_order),
		TEST(test_socket),
		TEST(test_inherited),
		TEST(test_flags),
		TEST(test_threads),
		TEST(test_held),
		TEST(test_held_full),
		TEST(test_no_reader),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
