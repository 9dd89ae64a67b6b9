/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* A connected, non-blocking UDP socket that also tells what ICMP answers. */
#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define UDP_QUOTE_MAX 32

/* An ICMP error that names our ports; whoever knows them can have sent it. */
struct udp_answer {
	int error;	      /* errno the kernel makes of it: ECONNREFUSED, EHOSTUNREACH, ... */
	struct in6_addr from; /* who says so, an IPv4 address mapped; ::, when that is not known */
	bool about_host; /* says that the collector's host cannot be reached, and is not said by itself */
	size_t quoted; /* octets of the datagram that came back, 0 to UDP_QUOTE_MAX */
	uint8_t quote[UDP_QUOTE_MAX];
};

struct ip_address;
struct sockaddr;

/*
 * The socket, or -errno.  `source` is an address to send from, or NULL; dscp is 0 to 63.  What arrives at it
 * is dropped.
 */
int udp_connect(const struct sockaddr *address, size_t length, const struct ip_address *source,
		uint8_t dscp);

/* Octets of the largest payload that the path is known to take, or -errno. */
int udp_payload_max(int fd);

/*
 * True and the next ICMP error, false when there is none.  While there are some the socket also fails
 * a send with that errno, without having sent.
 */
bool udp_next_answer(int fd, struct udp_answer *ret);
