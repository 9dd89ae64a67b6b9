/* SPDX-License-Identifier: Apache-2.0 */
/* Collectors on TCP that are no good ones: slow, hostile, hard to find, or not there at all. */
#include <ares.h>
#include <dlfcn.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <sys/syscall.h>
#include "tests/unit/peer.h"

/* A load balancer with nobody behind it: it takes connections, and ends them when messages have come. */
static void test_nobody_behind(void **state)
{
	(void)state;
	begin(&(struct export_options){.queue_messages = 1024}, "?retry=1");
	for (unsigned int i = 0; i < 400; i++) {
		give_messages(64);
		exports_flush(exports);
		run_for(loop, 50);
		if (peer_accept(&peer)) {
			run_for(loop, 200);
			peer_hang_up(&peer, true);
		}
	}
	assert_in_range(peer.connections, 2, 10);
	assert_in_range(stats()->exported.records + stats()->lost[EXPORT_LOSS_SEND_ERROR].records,
			1, peer.connections * 16 * (200 / 5) * 16);
	assert_in_range(stats()->lost[EXPORT_LOSS_SEND_ERROR].records, 1,
			peer.connections * 16 * 16);
	end();
}

/* What is called unsent does not arrive, and no message in part. */
static void test_unsent(void **state)
{
	(void)state;
	peer_open(&peer, "127.0.0.1", 20000);
	assert_int_equal(loop_new(&loop), 0);
	start(&(struct export_options){0}, loop);
	add("ipfix+tcp", "127.0.0.1", peer.port, "");
	for (unsigned int i = 0; i < 20; i++) {
		give_messages(10);
		exports_flush(exports);
		run_for(loop, 100);
	}
	assert_true(peer_accept(&peer));
	acknowledge(peer.fd);
	exports_set_blocking(exports);
	exports_send_queued(exports, 2 * NSEC_PER_SEC, true);
	assert_true(stats()->exported.records > 0);
	assert_int_equal(stats()->exported.records + stats()->lost[EXPORT_LOSS_UNSENT].records,
			 given.records);
	while (peer_read(&peer))
		run_for(loop, 10);
	assert_int_equal(errno, ECONNRESET);
	/* But for what was under way: a window at most. */
	assert_in_range(peer.s.records, stats()->exported.records,
			stats()->exported.records + 20000 / 84);
	end();
}

static void read_again(void *userdata)
{
	(void)userdata;
	peer_read(&peer);
	clock_at(5 * NSEC_PER_MSEC, read_again, NULL);
}

/* Without a loop nothing is lost to a collector that pauses, as long as its connection stands. */
static void test_blocking_pause(void **state)
{
	(void)state;
	peer_open(&peer, "127.0.0.1", 20000);
	start(&(struct export_options){.queue_messages = 256}, NULL);
	add("ipfix+tcp", "127.0.0.1", peer.port, "");
	clock_at(40 * NSEC_PER_SEC, read_again, NULL);
	for (unsigned int i = 0; i < 200; i++)
		give_messages(20);
	exports_send_queued(exports, DRAIN_NS, true);
	peer_read(&peer);
	assert_int_equal(peer.s.records, given.records);
	assert_int_equal(stats()->exported.records, given.records);
	end();
}

/*
 * One that goes on taking nothing is given up: 60 s after the last octets, some of which its system may acknowledge late,
 * by a clock of its own.
 */
static void test_blocking_never(void **state)
{
	(void)state;
	peer_open(&peer, "127.0.0.1", 20000);
	start(&(struct export_options){.queue_messages = 256}, NULL);
	add("ipfix+tcp", "127.0.0.1", peer.port, "");
	for (unsigned int i = 0; i < 200; i++)
		give_messages(20);
	exports_send_queued(exports, DRAIN_NS, true);
	assert_in_range(clock_passed_ns() / NSEC_PER_SEC, 60, 600);
	assert_int_equal(stats()->queued.records, 0);
	end();
}

/* Reads so many octets at most, as a link would let through. */
static void peer_read_some(struct peer *p, size_t octets)
{
	static uint8_t data[1 << 16];

	if (p->fd < 0 && !peer_accept(p))
		return;
	while (octets) {
		ssize_t n = recv(p->fd, data, MIN(octets, sizeof(data)), 0);

		if (n <= 0)
			break;
		octets -= (size_t)n;
	}
	acknowledge(p->fd);
}

/*
 * A burst of 8000 messages for a queue of 512, and a collector that takes so many octets in 10 ms.  Returns how often the
 * burst had to wait for room, up to 1000.
 */
static unsigned int burst(size_t octets)
{
	unsigned int waits = 0;

	peer_open(&peer, "127.0.0.1", 100000);
	assert_int_equal(loop_new(&loop), 0);
	start(&(struct export_options){.queue_messages = 512}, loop);
	add("ipfix+tcp", "127.0.0.1", peer.port, "");
	run(1500);
	for (unsigned int slices = 0; slices < 125; slices++) {
		for (; !exports_have_room(exports) && waits < 1000; waits++) {
			run_for(loop, 10);
			peer_read_some(&peer, octets);
		}
		give_messages(64);
	}
	return waits;
}

/* Who waits for room loses nothing to a collector that takes what its link lets through ... */
static void test_room(void **state)
{
	(void)state;
	assert_in_range(burst(110000), 10, 999); /* 88 Mbit/s */
	assert_int_equal(stats()->lost[EXPORT_LOSS_QUEUE_FULL].records, 0);
	end();
}

/* ... and does not wait for one that takes very little, nor for one that takes nothing. */
static void test_room_slow(void **state)
{
	(void)state;
	assert_in_range(burst(4000), 10, 250);
	assert_true(stats()->lost[EXPORT_LOSS_QUEUE_FULL].records > 0);
	end();
	assert_in_range(burst(0), 10, 250);
	assert_true(stats()->lost[EXPORT_LOSS_QUEUE_FULL].records > 0);
	end();
}

/* A collector that is back is tried at the end, though it was to be in a minute. */
static void test_end_tries(void **state)
{
	(void)state;
	begin(&(struct export_options){0}, "");
	run(100);
	peer_hang_up(&peer, true);
	peer_stop_listening(&peer);
	run_for(loop, 5000);
	give_messages(50);
	run_for(loop, 70 * 1000); /* one attempt was made by then */
	assert_int_equal(stats()->queued.records, 800);
	peer_listen(&peer, "127.0.0.1", 0);
	clock_before_moving(read_before_moving);
	exports_set_blocking(exports);
	exports_send_queued(exports, 2 * NSEC_PER_SEC, true);
	peer_read(&peer);
	assert_int_equal(peer.connections, 2);
	assert_int_equal(peer.s.records, 800);
	assert_int_equal(stats()->exported.records, 800);
	end();
}

/* Who talks much is no collector, and costs little until that is known. */
static void test_peer_talks(void **state)
{
	static const uint8_t data[1 << 20];

	(void)state;
	begin(&(struct export_options){0}, "");
	run(100);
	give_messages(10);
	for (unsigned int i = 0; i < 100 && stats()->state == COLLECTOR_UP; i++) {
		(void)send(peer.fd, data, sizeof(data), MSG_NOSIGNAL | MSG_DONTWAIT);
		run_for(loop, 10);
	}
	assert_int_equal(stats()->state, COLLECTOR_FAILING);
	assert_int_equal(stderr_lines("Protocol error"), 1);
	end();
}

#ifndef IP_LOCAL_PORT_RANGE
#define IP_LOCAL_PORT_RANGE 51
#endif

static uint16_t only_port; /* that the system chooses for a connection; 0: any */

/* In place of libc's. */
int connect(int fd, const struct sockaddr *to, socklen_t length)
{
	uint32_t range = (uint32_t)only_port << 16 | only_port;

	if (only_port && setsockopt(fd, IPPROTO_IP, IP_LOCAL_PORT_RANGE, &range, sizeof(range)) < 0)
		skip(); /* Linux before 6.3 */
	return (int)syscall(SYS_connect, fd, to, length);
}

/* Nobody listens at a port that the system may choose for the connection: it meets itself, which is no collector. */
static void test_meets_itself(void **state)
{
	(void)state;
	begin(&(struct export_options){0}, "");
	peer_stop_listening(&peer);
	only_port = peer.port;
	give_messages(10);
	run(2000);
	only_port = 0;
	assert_int_equal(stats()->state, COLLECTOR_REFUSED);
	assert_int_equal(stderr_lines("refused"), 1);
	assert_int_equal(stats()->queued.records, 160);
	end();
}

/* --- Names */

static bool rotates; /* the name server: each answer has the addresses in another order */
static unsigned int lookups;

static struct ares_addrinfo_node *make_node(const char *address, const char *port)
{
	struct ares_addrinfo_node *node = calloc(1, sizeof(*node));
	struct sockaddr_in *to = calloc(1, sizeof(*to));

	assert_non_null(node);
	assert_non_null(to);
	to->sin_family = AF_INET;
	to->sin_port = htons((uint16_t)atoi(port));
	assert_int_equal(inet_pton(AF_INET, address, &to->sin_addr), 1);
	node->ai_family = AF_INET;
	node->ai_addrlen = sizeof(*to);
	node->ai_addr = (struct sockaddr *)to;
	return node;
}

/* In place of that of c-ares.  Of the n-th answer the n-th address is never that of the collector. */
void ares_getaddrinfo(ares_channel channel, const char *name, const char *service,
		      const struct ares_addrinfo_hints *hints, ares_addrinfo_callback callback,
		      void *userdata)
{
	static const char *const addresses[] = {"127.0.0.2", "127.0.0.3", "127.0.0.1"};
	struct ares_addrinfo *answer;
	struct ares_addrinfo_node **next;

	if (!rotates) {
		__typeof__(ares_getaddrinfo) *real;

		*(void **)&real = dlsym(RTLD_NEXT, "ares_getaddrinfo");
		real(channel, name, service, hints, callback, userdata);
		return;
	}
	answer = calloc(1, sizeof(*answer));
	assert_non_null(answer);
	next = &answer->nodes;
	for (unsigned int i = 0; i < 3; i++) {
		*next = make_node(addresses[(i + 2 * lookups) % 3], service);
		next = &(*next)->ai_next;
	}
	lookups++;
	callback(userdata, ARES_SUCCESS, 0, answer);
}

/* All addresses of one answer are tried in an attempt, whatever the order of the next. */
static void test_rotating_name(void **state)
{
	(void)state;
	peer_open(&peer, "127.0.0.1", 0);
	assert_int_equal(loop_new(&loop), 0);
	start(&(struct export_options){0}, loop);
	rotates = true;
	add("ipfix+tcp", "rotating.test", peer.port, "");
	give(300);
	run(1000);
	assert_int_equal(lookups, 1);
	assert_int_equal(peer.s.records, 300);
	/* Of the next attempt the first address is another. */
	peer_hang_up(&peer, false);
	run(80 * 1000);
	assert_int_equal(lookups, 2);
	assert_int_equal(peer.connections, 2);
	rotates = false;
	end();
}

static int release(void **state)
{
	clock_reset();
	return stderr_release(state);
}

#define TEST(f) cmocka_unit_test_teardown(f, release)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_nobody_behind),  TEST(test_unsent),	  TEST(test_blocking_pause),
		TEST(test_blocking_never), TEST(test_room),	  TEST(test_room_slow),
		TEST(test_end_tries),	   TEST(test_peer_talks), TEST(test_meets_itself),
		TEST(test_rotating_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
