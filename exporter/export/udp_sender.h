/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * IPFIX over a UDP socket: template schedule, pacing, and which messages ICMP says are lost.  Keeps the
 * counters and the state of its collector.
 */
#include "exporter/export/collector.h"
#include "exporter/export/ipfix.h"

/* Messages sent last, whose loss an ICMP error may still tell. */
#define UDP_HISTORY 128

struct udp_sent {
	uint32_t sequence;
	struct export_count count; /* records 0: none, or known to be lost already */
};

struct udp_sender {
	struct collector *c;
	struct ipfix_stream stream;
	int fd; /* connected and non-blocking; -1: none yet */

	uint64_t opened_ns;
	uint64_t templates_ns; /* when they were sent last */
	unsigned int copies;   /* of the templates sent, counted up to what the start needs */
	bool templates_wanted; /* at once */

	uint64_t credit_ns; /* token bucket, filled by time */
	uint64_t credit_at_ns;

	uint64_t probe_ns; /* time of the first message since the last ICMP error, 0: none */
	struct udp_sent history[UDP_HISTORY];
	unsigned int history_next;
};

/* A stream of its own for the collector, without a socket.  -ENOMEM. */
int udp_sender_init(struct udp_sender *s, struct collector *c);
void udp_sender_done(struct udp_sender *s);

/* Takes the socket over. */
void udp_sender_open(struct udp_sender *s, int fd, uint64_t now_ns);

/* Reads what ICMP says and sends what may be sent now; `ret` says what to wait for. */
void udp_sender_step(struct udp_sender *s, uint64_t now_ns, struct collector_step *ret);
