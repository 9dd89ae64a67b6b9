/* SPDX-License-Identifier: Apache-2.0 */
/* Clients of the control socket: who has a place, what steps of the wall clock change (nothing), and long searches. */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <string.h>
#include <sys/socket.h>
#include "exporter/loop.h"
#include "exporter/observe/clients.h"
#include "exporter/observe/feed.h"
#include "exporter/observe/ring.h"
#include "exporter/observe/ring_order.h"
#include "exporter/observe/snapshot.h"
#include "exporter/util.h"
#include "tests/unit/clock.h"

#define ANSWER_OCTETS (1 << 20)
#define KEEP_S	      600
#define HOUR_S	      3600
#define PAIRS	      256
#define SEARCHED      65536

#define RECORDS "{\"version\":1,\"ask\":\"records\""
#define FOLLOW	RECORDS ",\"follow\":true}\n"
#define TOP	"{\"version\":1,\"ask\":\"top\"}\n"
#define STATUS	"{\"version\":1,\"ask\":\"status\"}\n"

static struct loop *loop;
static struct ring *ring;
static struct snapshots *snapshots;
static struct clients *clients;
static int ends[PAIRS], end_count; /* of the clients */
static char text[ANSWER_OCTETS];

static int serve(_unused_ void *userdata)
{
	return 0;
}

static int set_up(void **state)
{
	const struct clients_options options = {
		.keep_ns = KEEP_S * NSEC_PER_SEC, .enterprise = 32473, .serve = serve};
	struct clients_options all = options;

	(void)state;
	clock_reset();
	end_count = 0;
	assert_int_equal(loop_new(&loop), 0);
	assert_int_equal(ring_new(&ring, SEARCHED), 0);
	assert_int_equal(snapshots_new(&snapshots), 0);
	all.loop = loop;
	all.ring = ring;
	all.snapshots = snapshots;
	return clients_new(&clients, &all);
}

static int tear_down(void **state)
{
	(void)state;
	clients_freep(&clients);
	clients = NULL;
	for (int i = 0; i < end_count; i++)
		close(ends[i]);
	snapshots_freep(&snapshots);
	ring_freep(&ring);
	loop_freep(&loop);
	snapshots = NULL;
	ring = NULL;
	loop = NULL;
	return 0;
}

/* --- Asking. */

static void serve_all(void)
{
	while (clients_serve(clients, false) == CLIENTS_BUSY)
		;
}

/* A client of that user, which has asked; the kernel says who made the pair. */
static int ask_as(uid_t uid, const char *request)
{
	int pair[2];

	assert_int_equal(seteuid(uid), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair),
			 0);
	assert_int_equal(seteuid(0), 0);
	assert_true(end_count < PAIRS);
	ends[end_count++] = pair[0];
	assert_int_equal(send(pair[0], request, strlen(request), MSG_NOSIGNAL),
			 (ssize_t)strlen(request));
	clients_add(clients, pair[1]);
	clock_skip(NSEC_PER_MSEC); /* so that one is quiet longer than another */
	serve_all();
	return pair[0];
}

/* What has come of late. */
static const char *take(int fd, bool *ret_over)
{
	size_t used = 0;
	ssize_t got;

	while ((got = recv(fd, text + used, sizeof(text) - 1 - used, 0)) > 0)
		used += (size_t)got;
	if (ret_over)
		*ret_over = got == 0 || errno == ECONNRESET;
	text[used] = '\0';
	return text;
}

static void check_served(int fd)
{
	bool over;

	assert_non_null(strstr(take(fd, &over), "\"answer\":"));
	assert_false(over);
}

static void check_quiet(int fd)
{
	bool over;

	assert_string_equal(take(fd, &over), "");
	assert_false(over);
}

static void check_let_go(int fd, const char *why)
{
	bool over;

	take(fd, &over);
	if (!strstr(text, why))
		print_error("'%s' lacks '%s'\n", text, why);
	assert_non_null(strstr(text, "\"code\":\"busy\""));
	assert_non_null(strstr(text, why));
	assert_true(over);
}

/* --- Places. */

/* Needs to be several users. */
static void need_root(void)
{
	if (geteuid() != 0)
		skip();
}

static void test_one_user(void **state)
{
	(void)state;
	need_root();
	for (int i = 0; i < 64; i++)
		ask_as(1001, FOLLOW);
	for (int i = 0; i < 24; i++)
		check_served(ends[i]);
	for (int i = 24; i < 64; i++)
		check_let_go(ends[i], "as one user can have, 24");
	check_served(ask_as(0, FOLLOW));
	check_served(ask_as(1002, FOLLOW));
	/* Who follows is not let go for another one of the same user's, however quiet. */
	clock_skip(HOUR_S * NSEC_PER_SEC);
	clients_look(clients);
	check_let_go(ask_as(1001, FOLLOW), "as one user can have, 24");
	check_quiet(ends[0]);
}

/* 1001 and 1002 have 24 each, 1003 has 8: as many as there are for others than root. */
static void test_greediest(void **state)
{
	(void)state;
	need_root();
	for (int i = 0; i < 56; i++)
		check_served(ask_as(i < 8 ? 1003 : i < 32 ? 1001 : 1002, FOLLOW));
	check_served(ask_as(1004, FOLLOW));
	check_let_go(ends[8], "user 1001 had 24, more than others, and this one was quiet longest");
	for (int i = 0; i < 8; i++)
		check_served(ask_as(0, FOLLOW));
	for (int i = 9; i < 56; i++)
		check_quiet(ends[i]);
	/* Root finds a place where there is none. */
	check_served(ask_as(0, FOLLOW));
}

/* Whose request never ends gives place to the next of the same user's when it hangs for a second. */
static void test_hanging(void **state)
{
	(void)state;
	need_root();
	for (int i = 0; i < 24; i++)
		ask_as(1001, "{");
	check_let_go(ask_as(1001, FOLLOW), "as one user can have, 24");
	clock_skip(NSEC_PER_SEC);
	check_served(ask_as(1001, FOLLOW));
	check_let_go(ends[0], "was quiet longest");
	/* Ten seconds after that all of them go. */
	clock_skip(10 * NSEC_PER_SEC);
	clients_look(clients);
	for (int i = 1; i < 24; i++) {
		bool over;

		assert_string_equal(take(ends[i], &over), "");
		assert_true(over);
	}
	check_quiet(ends[25]);
}

static void publish(uint64_t started_boottime_ns)
{
	struct snapshot *s = snapshot_new();

	assert_non_null(s);
	s->started_boottime_ns = started_boottime_ns;
	s->started_ns = CLOCK_START_WALL_NS;
	s->interval_ns = NSEC_PER_SEC;
	snapshots_publish(snapshots, s);
	snapshot_release(s);
}

static void test_tops(void **state)
{
	int fd;

	(void)state;
	need_root();
	clock_skip(NSEC_PER_SEC);
	publish(CLOCK_START_NS);
	for (int i = 0; i < 4; i++)
		check_served(ask_as(1001, TOP));
	check_let_go(ask_as(1001, TOP), "as many clients that ask for top as one user can have, 4");
	check_served(ask_as(1002, TOP));
	check_served(ask_as(1002, TOP));
	check_served(ask_as(1003, TOP)); /* a seventh: who has most makes room */
	check_let_go(ends[0], "user 1001 had 4, more than others");
	check_served(ask_as(0, TOP));
	check_served(ask_as(0, TOP));
	check_served(ask_as(0, FOLLOW)); /* other questions have places of their own */
	fd = ask_as(1003, TOP);		 /* 1001 had three, 1003 would have two */
	check_served(fd);
	check_let_go(ends[1], "user 1001 had 3, more than others");
	/* What is no request takes nobody's place. */
	take(ask_as(1004, "{\"version\":1,\"ask\":\"top\",\"keys\":\"colour\"}\n"), NULL);
	assert_non_null(strstr(text, "\"code\":\"request\""));
	check_quiet(ends[2]);
}

/* --- Clocks. */

static void add_record(uint16_t port)
{
	struct ring_record r = {.key = {.protocol = 17, .src_port = port, .src = {192, 0, 2, 1}},
				.record = {.packets = 1, .octets = 28}};

	r.told_ns = r.record.first_ns = r.record.last_ns = clock_ns(CLOCK_BOOTTIME);
	ring_add(ring, &r);
	ring_settle(ring);
}

static unsigned int count(const char *where, const char *what)
{
	unsigned int found = 0;

	for (; (where = strstr(where, what)); where++)
		found++;
	return found;
}

/* An answer that ends. */
static const char *ask(const char *request)
{
	return take(ask_as(geteuid(), request), NULL);
}

static void ask_of(const char *member, uint64_t ms, uint64_t last)
{
	char request[256], newest[64] = "";

	if (last != UINT64_MAX)
		snprintf(newest, sizeof(newest), ",\"last\":%llu", (unsigned long long)last);
	snprintf(request, sizeof(request), RECORDS "%s,\"%s\":%llu}\n", newest, member,
		 (unsigned long long)ms);
	ask(request);
}

static void check_records(unsigned int expected)
{
	const uint64_t now_ms = clock_ns(CLOCK_REALTIME) / NSEC_PER_MSEC;

	ask(RECORDS "}\n");
	assert_int_equal(count(text, "{\"record\":"), expected);
	ask_of("since_ms", now_ms - 60000, UINT64_MAX);
	assert_int_equal(count(text, "{\"record\":"), expected);
	ask_of("until_ms", now_ms - 60000, UINT64_MAX);
	assert_int_equal(count(text, "{\"record\":"), 0);
}

/* The wall clock is set an hour forward, back, and further back: what is kept, shown and chosen stays the same. */
static void test_steps(void **state)
{
	static const int steps_s[] = {0, HOUR_S, 0, -HOUR_S, -400 * 24 * HOUR_S};
	char expected[64];

	(void)state;
	for (unsigned int i = 0; i < ARRAY_SIZE(steps_s); i++) {
		clock_set_wall(steps_s[i] * (int64_t)NSEC_PER_SEC);
		add_record((uint16_t)i);
		clock_skip(NSEC_PER_SEC);
		check_records(i + 1);
		/* By the clock as it is now: that of the first one, too. */
		snprintf(expected, sizeof(expected), "\"oldest_ms\":%llu,",
			 (unsigned long long)(CLOCK_START_WALL_NS / NSEC_PER_MSEC) +
				 (unsigned long long)(steps_s[i] * 1000ll));
		assert_non_null(strstr(ask(RECORDS "}\n"), expected));
	}
	clock_skip(KEEP_S * NSEC_PER_SEC);
	check_records(0);
}

static json_t *read_line(void)
{
	json_t *object = json_loads(text, JSON_DISABLE_EOF_CHECK, NULL);

	assert_non_null(object);
	return object;
}

static int64_t member(const json_t *object, const char *name)
{
	return json_integer_value(json_object_get(object, name));
}

static void test_top_after_step(void **state)
{
	json_t *line;

	(void)state;
	publish(CLOCK_START_NS);
	for (uint16_t port = 0; port < 3; port++)
		add_record(port);
	clock_set_wall(HOUR_S * (int64_t)NSEC_PER_SEC);
	clock_skip(NSEC_PER_SEC);
	publish(CLOCK_START_NS);
	ask(TOP);
	line = read_line();
	assert_int_equal(json_integer_value(json_array_get(
				 json_object_get(json_object_get(line, "total"), "all"), 2)),
			 3);
	assert_int_equal((int)json_real_value(json_object_get(line, "seconds")), 1);
	json_decref(line);
}

static void test_uptime_after_step(void **state)
{
	static const int steps_s[] = {0, HOUR_S, -HOUR_S};

	(void)state;
	publish(CLOCK_START_NS);
	clock_skip(90 * NSEC_PER_SEC);
	for (unsigned int i = 0; i < ARRAY_SIZE(steps_s); i++) {
		json_t *line;

		clock_set_wall(steps_s[i] * (int64_t)NSEC_PER_SEC);
		clock_skip(2 * NSEC_PER_SEC); /* a text of the status is shared for one */
		ask(STATUS);
		line = read_line();
		/* ask_as() skips a millisecond before it serves. */
		assert_int_equal(member(line, "uptime_ms"), 90000 + (i + 1) * 2000 + i + 1);
		assert_int_equal(member(line, "started_ms"), CLOCK_START_WALL_NS / NSEC_PER_MSEC);
		json_decref(line);
	}
}

/* --- How far the ring reaches, and long searches. */

/* Ten records, a second apart: of the last 3.5 s there are three, and the ring holds more. */
static void test_complete(void **state)
{
	uint64_t now_ms;

	(void)state;
	publish(CLOCK_START_NS);
	for (uint16_t port = 0; port < 10; port++) {
		add_record(port);
		clock_skip(NSEC_PER_SEC);
	}
	now_ms = clock_ns(CLOCK_REALTIME) / NSEC_PER_MSEC;
	ask_of("since_ms", now_ms - 3500, 5);
	assert_int_equal(count(text, "{\"record\":"), 3);
	assert_non_null(strstr(text, "\"complete\":true"));
	ask_of("since_ms", now_ms - 60000, 50);
	assert_int_equal(count(text, "{\"record\":"), 10);
	assert_non_null(strstr(text, "\"complete\":false"));
	ask(RECORDS ",\"last\":11}\n");
	assert_non_null(strstr(text, "\"complete\":false"));
	ask(RECORDS ",\"last\":10}\n");
	assert_non_null(strstr(text, "\"complete\":true"));
}

/* One reading, as a bank is read: in no order.  The ports say in which order they began. */
static void read_bank(const uint16_t *ports, unsigned int ports_count)
{
	for (unsigned int i = 0; i < ports_count; i++) {
		struct ring_record r = {.key = {.protocol = 17, .src_port = htons(ports[i])},
					.record = {.packets = 1, .octets = 28}};

		r.told_ns = clock_ns(CLOCK_BOOTTIME);
		r.record.first_ns = CLOCK_START_NS + ports[i] * NSEC_PER_MSEC;
		r.record.last_ns = CLOCK_START_NS + 100 * NSEC_PER_MSEC;
		ring_add(ring, &r);
	}
	ring_settle(ring);
}

/* The ports that are in the text, in its order. */
static void check_ports(const char *answer, const char *expected)
{
	static const char name[] = "\"sourceTransportPort\":";
	char found[256] = "";

	for (; (answer = strstr(answer, name)); answer++)
		snprintf(found + strlen(found), sizeof(found) - strlen(found), "%ld ",
			 strtol(answer + sizeof(name) - 1, NULL, 10));
	assert_string_equal(found, expected);
}

/* Records come in the order in which their flows began, and the last ones are the newest ones. */
static void test_order(void **state)
{
	static const uint16_t first[] = {5, 2, 9, 1, 7}, second[] = {33, 31, 32};
	int fd;

	(void)state;
	clock_skip(NSEC_PER_SEC);
	publish(CLOCK_START_NS);
	fd = ask_as(geteuid(), FOLLOW);
	read_bank(first, ARRAY_SIZE(first));
	serve_all();
	check_ports(take(fd, NULL), "1 2 5 7 9 ");
	check_ports(ask(RECORDS ",\"last\":1}\n"), "9 ");
	read_bank(second, ARRAY_SIZE(second));
	serve_all();
	check_ports(take(fd, NULL), "31 32 33 ");
	check_ports(ask(RECORDS ",\"last\":5}\n"), "7 9 31 32 33 ");
	check_ports(ask(RECORDS ",\"last\":2,\"filter\":\"src portrange 0-31\"}\n"), "9 31 ");
	check_ports(ask(RECORDS "}\n"), "1 2 5 7 9 31 32 33 ");
	ask_of("since_ms", (CLOCK_START_WALL_NS + NSEC_PER_SEC / 2) / NSEC_PER_MSEC, UINT64_MAX);
	check_ports(text, "");
}

/* Lines of what nothing matches; *ret_calls: how often it was asked for them. */
static unsigned int search(const struct control_request *request, uint64_t patience_ns,
			   unsigned int *ret_calls)
{
	_cleanup_(ring_order_freep) struct ring_order *order = NULL;
	struct feed_context context = {
		.ring = ring, .keep_ns = UINT64_MAX, .patience_ns = patience_ns};
	struct feed *feed = NULL;
	char error[CONTROL_ERROR_MAX];
	enum feed_state state;
	size_t used, all = 0;

	assert_int_equal(ring_order_new(&order, ring), 0);
	ring_order_look(order);
	context.order = order;
	assert_int_equal(feed_new(&feed, request, &context, error), 0);
	*ret_calls = 0;
	do {
		state = feed_fill(feed, &context, false, text + all, sizeof(text) - 1 - all, &used);
		all += used;
		++*ret_calls;
		clock_skip(100 * NSEC_PER_MSEC);
	} while (state != FEED_ENDED);
	text[all] = '\0';
	feed_free(feed);
	return count(text, "{\"searched\":");
}

/* Whoever waits is told once a second that the search goes on: here each look at the ring takes 100 ms. */
static void test_search(void **state)
{
	const struct control_request back = {.last = 5, .until_ms = UINT64_MAX, .filter = "port 9"};
	const struct control_request on = {
		.last = UINT64_MAX, .until_ms = UINT64_MAX, .filter = "port 9"};
	unsigned int calls;

	(void)state;
	for (unsigned int i = 0; i < SEARCHED; i++)
		add_record(7);
	assert_int_equal(search(&back, NSEC_PER_SEC / 2, &calls), 1);
	assert_true(calls > 8); /* a part at a time */
	assert_non_null(
		strstr(text, "{\"searched\":49152}\n{\"version\":1,\"answer\":\"records\","));
	assert_int_equal(search(&on, NSEC_PER_SEC / 2, &calls), 1);
	assert_int_equal(search(&back, NSEC_PER_SEC, &calls), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_one_user),
		TEST(test_greediest),
		TEST(test_hanging),
		TEST(test_tops),
		TEST(test_steps),
		TEST(test_top_after_step),
		TEST(test_uptime_after_step),
		TEST(test_complete),
		TEST(test_order),
		TEST(test_search),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
