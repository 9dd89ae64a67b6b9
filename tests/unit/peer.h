/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* A collector that listens on TCP, for the tests of that transport.  After cmocka.h. */
#include <errno.h>
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include "exporter/export/format/wire.h"
#include "exporter/loop.h"
#include "tests/unit/clock.h"
#include "tests/unit/exporting.h"

/* A collector that listens on TCP, and reads when it is told to. */
struct peer {
	int listener, fd;
	uint16_t port;
	unsigned int connections;
	struct sink s; /* what it has read */
	uint8_t part[65536];
	size_t used; /* octets of a message that is not complete */
};

static struct loop *loop;
static struct peer peer;

/* Listens again at the port of before when there is one; `room` octets of receive buffer, 0: many. */
static inline void peer_listen(struct peer *p, const char *address, int room)
{
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(p->port)};
	struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(p->port)};
	bool ipv6 = inet_pton(AF_INET6, address, &v6.sin6_addr) == 1;
	socklen_t length = sizeof(v6);
	int one = 1;

	if (!ipv6)
		assert_int_equal(inet_pton(AF_INET, address, &v4.sin_addr), 1);
	p->listener =
		socket(ipv6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	assert_true(p->listener >= 0);
	assert_int_equal(setsockopt(p->listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)), 0);
	if (room)
		assert_int_equal(
			setsockopt(p->listener, SOL_SOCKET, SO_RCVBUF, &room, sizeof(room)), 0);
	assert_int_equal(bind(p->listener, ipv6 ? (struct sockaddr *)&v6 : (struct sockaddr *)&v4,
			      ipv6 ? sizeof(v6) : sizeof(v4)),
			 0);
	assert_int_equal(listen(p->listener, 8), 0);
	assert_int_equal(getsockname(p->listener, (struct sockaddr *)&v6, &length), 0);
	p->port = ntohs(v6.sin6_port);
}

static inline void peer_open(struct peer *p, const char *address, int room)
{
	*p = (struct peer){.listener = -1, .fd = -1};
	assert_true(sink_open(&p->s, "127.0.0.1", 0)); /* for its decoder */
	peer_listen(p, address, room);
}

static inline bool peer_accept(struct peer *p)
{
	int fd = accept4(p->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (fd < 0)
		return false;
	closep(&p->fd);
	p->fd = fd;
	p->connections++;
	p->used = 0;
	sink_new_session(&p->s);
	return true;
}

/*
 * Systems acknowledge what has been read a while later, by a clock that no test can move: unless they are asked
 * to do it now.
 */
static inline void acknowledge(int fd)
{
	int one = 1;

	assert_int_equal(setsockopt(fd, IPPROTO_TCP, TCP_QUICKACK, &one, sizeof(one)), 0);
}

/*
 * Waits until the two systems have moved all that they will between them while nobody reads.  They do so by timers that
 * no test can move: what is owed for a window of less than a segment goes out after 200 ms (the kernel's TCP_RTO_MIN).
 */
static inline void systems_at_rest(const struct peer *p)
{
	const struct timespec step = {.tv_nsec = 10 * 1000 * 1000};
	int there = -1, before;

	for (unsigned int quiet = 0; quiet < 50; quiet++) {
		before = there;
		acknowledge(p->fd);
		assert_int_equal(ioctl(p->fd, FIONREAD, &there), 0);
		if (there != before)
			quiet = 0;
		nanosleep(&step, NULL);
	}
}

/* Reads all that is there, and decodes the messages that are complete.  Returns whether the connection stands. */
static inline bool peer_read(struct peer *p)
{
	ssize_t n;

	if (p->fd < 0 && !peer_accept(p))
		return false;
	while ((n = recv(p->fd, p->part + p->used, sizeof(p->part) - p->used, 0)) > 0) {
		size_t at = 0, length;

		p->used += (size_t)n;
		for (; p->used - at >= 16; at += length) {
			length = wire_load16(p->part + at + 2);
			if (p->used - at < length)
				break;
			sink_take(&p->s, p->part + at, length);
		}
		p->used -= at;
		memmove(p->part, p->part + at, p->used);
	}
	if (n < 0)
		acknowledge(p->fd);
	return n < 0 && errno == EAGAIN;
}

/* `reset`: unread octets or not, with a RST. */
static inline void peer_hang_up(struct peer *p, bool reset)
{
	const struct linger at_once = {.l_onoff = 1};

	if (reset)
		setsockopt(p->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
	closep(&p->fd);
	p->fd = -1;
	p->used = 0;
}

static inline void peer_stop_listening(struct peer *p)
{
	closep(&p->listener);
	p->listener = -1;
}

static inline void peer_close(struct peer *p)
{
	assert_false(p->s.gap);
	assert_false(p->s.data_first);
	closep(&p->fd);
	closep(&p->listener);
	sink_close(&p->s);
}

static inline void add(const char *scheme, const char *host, uint16_t port, const char *options)
{
	char url[100];

	snprintf(url, sizeof(url), "%s://%s:%u%s", scheme, host, port, options);
	assert_int_equal(exports_add(exports, url), 0);
}

static inline void begin(const struct export_options *options, const char *url_options)
{
	peer_open(&peer, "127.0.0.1", 0);
	assert_int_equal(loop_new(&loop), 0);
	start(options, loop);
	add("ipfix+tcp", "127.0.0.1", peer.port, url_options);
}

static inline void end(void)
{
	assert_ledger(exports, &given);
	stop();
	loop = loop_free(loop);
	peer_close(&peer);
}

/* Lets the loop send, and the collector read, in steps of 10 ms. */
static inline void run(unsigned int milliseconds)
{
	exports_flush(exports);
	for (unsigned int i = 0; i < milliseconds; i += 10) {
		run_for(loop, 10);
		peer_read(&peer);
	}
}

static inline void read_before_moving(void)
{
	peer_read(&peer);
}
