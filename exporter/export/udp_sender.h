/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Messages over a UDP socket: schedule of templates and options, pacing, the path's MTU, and which
 * messages ICMP says are lost.  Keeps the counters and the state of its collector.
 */
#include "exporter/export/collector.h"
#include "exporter/export/queue.h"
#include "exporter/export/transport/udp_health.h"

/* Messages sent last, whose loss an ICMP error may still tell: those of 160 ms at full pace. */
#define UDP_HISTORY 1024

struct udp_sent {
	uint64_t head; /* hash of its header and that of its first set */
	uint64_t sent_ns;
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
	uint32_t since_templates; /* messages */
	struct udp_timer templates, options, statistics;

	uint64_t credit_ns; /* token bucket, filled by time */
	uint64_t debt_ns;   /* what the records sent cost at the rate, paid by time */
	uint64_t credit_at_ns;

	struct udp_health health;
	struct export_count
		unproven; /* exported, but lost if an error comes: udp_health_unproven() */
	struct udp_sent history[UDP_HISTORY];
	uint64_t sent; /* messages since the socket was opened: history[sent % UDP_HISTORY] is next */
	unsigned int short_credit; /* answers that quote too little and are believed all the same */
	uint64_t short_pause_ns;   /* none is before */
	unsigned int retries;	   /* of sends, in this step */
};

/* Of a collector whose stream is set, without a socket yet; rate: records a second, 0: no ceiling.  -ENOMEM. */
int udp_sender_init(struct udp_sender *s, struct collector *c, uint32_t rate);
void udp_sender_done(struct udp_sender *s);

/* Takes the socket over, in place of any it had: a new session with a collector at that host begins. */
void udp_sender_open(struct udp_sender *s, int fd, struct udp_host *host, uint64_t now_ns);

/* Without a socket what is queued waits. */
void udp_sender_close(struct udp_sender *s);

/*
 * Reads what ICMP says and sends what may be sent now; `ret` says what to wait for, if that does not
 * leave the socket broken.
 */
void udp_sender_step(struct udp_sender *s, uint64_t now_ns, struct collector_step *ret);
