/* SPDX-License-Identifier: Apache-2.0 */
/* Pictures as text, of an exporter that does not answer at first, and for a reader that is slow. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>
#include "exporter/cli/top_view.h"
#include "tests/unit/clock.h"

#define TEXT_MAX       (256 * 1024)
#define STATUS_SECONDS 10 /* a picture waits so long for its head, of which there is none here */
#define ANSWER	       "{\"keys\":[\"protocol\"],\"rows\":[],\"seconds\":1}\n"
#define REFUSAL	       "{\"error\":{\"code\":\"busy\",\"text\":\"no place is free\"}}\n"

/* What comes of each connection in turn: none can be had, a refusal, an answer; and nothing of that for status. */
static const char *const turns[] = {NULL, REFUSAL, ANSWER};

struct exporter_end {
	size_t turn;
	int other[ARRAY_SIZE(turns)]; /* ends of connections; the last is of status */
};

struct stream {
	int fd, saved, ends[2];
	char text[TEXT_MAX];
};

static struct stream out = {.fd = STDOUT_FILENO}, err = {.fd = STDERR_FILENO};
static atomic_int ended;

static void take_stream(struct stream *s)
{
	fflush(stdout);
	assert_int_equal(pipe2(s->ends, O_CLOEXEC), 0);
	s->saved = dup(s->fd);
	dup2(s->ends[1], s->fd);
}

static void read_stream(struct stream *s)
{
	size_t length = strlen(s->text);
	ssize_t n;

	fcntl(s->ends[0], F_SETFL, O_NONBLOCK);
	while ((n = read(s->ends[0], s->text + length, TEXT_MAX - 1 - length)) > 0)
		length += (size_t)n;
	s->text[length] = '\0';
}

static void give_back(struct stream *s)
{
	read_stream(s);
	dup2(s->saved, s->fd);
	close(s->saved);
	close(s->ends[0]);
	close(s->ends[1]);
}

static int setup(_unused_ void **state)
{
	out.text[0] = err.text[0] = '\0';
	clock_reset();
	return 0;
}

static int answer(const void *userdata, struct client **ret, char why[CLIENT_WHY_MAX])
{
	struct exporter_end *e = *(struct exporter_end *const *)userdata;
	const char *text = e->turn < ARRAY_SIZE(turns) ? turns[e->turn] : NULL;
	int ends[2];

	if (e->turn++ == 0) {
		snprintf(why, CLIENT_WHY_MAX, "too many at once");
		return -EAGAIN;
	}
	assert_true(e->turn - 2 < ARRAY_SIZE(e->other));
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	if (text)
		assert_int_equal(write(ends[1], text, strlen(text)), strlen(text));
	e->other[e->turn - 2] = ends[1];
	return client_new(ret, ends[0]);
}

static struct top_view *make(struct exporter_end *const *e, bool own)
{
	const struct top_view_options options = {
		.connect = answer,
		.userdata = e,
		.choice = {.every_ms = 1000},
		.own = own,
		.ended = &ended,
		.wake = -1,
	};
	struct top_view *view;

	assert_int_equal(top_view_new(&view, &options), 0);
	(void)top_view_ask(view);
	return view;
}

/* One picture, or what takes its place. */
static int print_one(struct exporter_end *e, struct top_view *view)
{
	int r;

	take_stream(&err);
	r = top_view_batch(view, 1);
	give_back(&out);
	give_back(&err);
	for (size_t i = 0; i < ARRAY_SIZE(e->other); i++)
		closep(&e->other[i]);
	return r;
}

static unsigned int count_in(const char *text, const char *part)
{
	unsigned int count = 0;

	for (; (text = strstr(text, part)); text++)
		count++;
	return count;
}

/* It asks again each second, says once why there is no answer, and shows what comes. */
static void test_again(_unused_ void **state)
{
	struct exporter_end e = {.other = {-1, -1, -1}}, *end = &e;
	_cleanup_(top_view_freep) struct top_view *view = make(&end, true);

	take_stream(&out);
	assert_int_equal(print_one(&e, view), 0);
	assert_int_equal(count_in(out.text, "1 flows"), 1);
	assert_int_equal(count_in(err.text, "\n"), 1);
	assert_non_null(strstr(err.text, "too many at once"));
	assert_int_equal(clock_passed_ns() / NSEC_PER_SEC, 2 + STATUS_SECONDS);
}

/* A script is told at once. */
static void test_script(_unused_ void **state)
{
	struct exporter_end e = {.other = {-1, -1, -1}}, *end = &e;
	_cleanup_(top_view_freep) struct top_view *view = make(&end, false);

	take_stream(&out);
	assert_int_equal(print_one(&e, view), -ENOTCONN);
	assert_string_equal(out.text, "");
	assert_string_equal(err.text, "");
	assert_int_equal(clock_passed_ns() / NSEC_PER_SEC, 0);
}

static void read_out(_unused_ void *userdata)
{
	read_stream(&out);
}

/* A slow reader of an output that somebody else has made O_NONBLOCK is waited for, as any other is. */
static void test_full(_unused_ void **state)
{
	struct exporter_end e = {.turn = 2, .other = {-1, -1, -1}}, *end = &e;
	_cleanup_(top_view_freep) struct top_view *view = make(&end, true);

	take_stream(&out);
	fcntl(out.ends[1], F_SETFL, O_NONBLOCK);
	while (write(out.ends[1], ".", 1) == 1)
		;
	clock_at((STATUS_SECONDS + 5) * NSEC_PER_SEC, read_out, NULL);
	assert_int_equal(print_one(&e, view), 0);
	assert_int_equal(count_in(out.text, "1 flows"), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_again, setup),
		cmocka_unit_test_setup(test_script, setup),
		cmocka_unit_test_setup(test_full, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
