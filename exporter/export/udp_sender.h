/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Messages over a UDP socket: schedule of templates and options, pacing, the path's MTU, and which
 * messages ICMP says are lost.  Keeps the counters and the state of its collector.
 */
#include "exporter/export/collector.h"
#include "exporter/export/queue.h"

/* Messages sent last, whose loss an ICMP error may still tell. */
#define UDP_HISTORY 128

struct udp_sent {
	uint32_t sequence;
	struct export_count count; /* records 0: none, or known to be lost already */
};

/* Something that is done again and again, at intervals with a random phase. */
struct udp_timer {
	uint64_t interval_ns;
	uint64_t due_ns;
};

struct udp_sender {
	struct collector *c;
	struct queue queue;
	int fd;	     /* connected and non-blocking; -1: none yet */
	bool broken; /* the socket is of no use any more: its address is gone, or the route */
	uint16_t message_max; /* as asked for */
	uint16_t limit;	      /* octets of a message that the path takes */
	uint32_t rate;	      /* records a second, 0: no ceiling */

	uint64_t opened_ns;
	unsigned int copies;	  /* of the templates sent, counted up to what the start needs */
	uint64_t templates_ns;	  /* when they were sent last */
	uint32_t since_templates; /* messages */
	struct udp_timer templates, options, statistics;

	uint64_t credit_ns; /* token bucket, filled by time */
	uint64_t debt_ns;   /* what the records sent cost at the rate, paid by time */
	uint64_t credit_at_ns;

	uint64_t probe_ns; /* time of the first message since the last ICMP error, 0: none */
	struct udp_sent history[UDP_HISTORY];
	unsigned int history_next;
};

/* Of a collector whose stream is set, without a socket yet; rate: records a second, 0: no ceiling.  -ENOMEM. */
int udp_sender_init(struct udp_sender *s, struct collector *c, uint32_t rate);
void udp_sender_done(struct udp_sender *s);

/* Takes the socket over, in place of any it had: a new session begins. */
void udp_sender_open(struct udp_sender *s, int fd, uint64_t now_ns);

/* Without a socket what is queued waits. */
void udp_sender_close(struct udp_sender *s);

/*
 * Reads what ICMP says and sends what may be sent now; `ret` says what to wait for, if that does not
 * leave the socket broken.
 */
void udp_sender_step(struct udp_sender *s, uint64_t now_ns, struct collector_step *ret);
