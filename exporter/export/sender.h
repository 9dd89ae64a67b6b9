/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * From a collector's queue to its transport: messages get their headers, are cut to what the transport takes
 * at once, and keep a pace.  What the session owes goes before them.
 */
#include "exporter/export/collector.h"
#include "exporter/export/queue.h"
#include "exporter/export/transport/transport.h"

struct sender {
	struct collector *c;
	struct transport *transport;
	struct queue queue;
	uint32_t rate;	    /* records a second, 0: no ceiling */
	uint64_t credit_ns; /* token bucket, filled by time */
	uint64_t debt_ns;   /* what the records sent cost at the rate, paid by time */
	uint64_t credit_at_ns;
	uint64_t narrow_ns; /* templates that do not fit are tried again then */
};

/*
 * The transport is the sender's from then on.  `slots` is the length of the queue.  -ENOMEM, and then too
 * sender_done() must follow.
 */
int sender_init(struct sender *s, struct collector *c, struct transport *transport, uint32_t slots,
		uint32_t rate);
void sender_done(struct sender *s);

/* The transport has begun a session: sequences from 0, and all is owed anew. */
void sender_start(struct sender *s, uint64_t now_ns);

/*
 * Sends what may be sent now; `ret` says what to wait for.  -errno: the session is over, and what is queued
 * waits for the next one.
 */
int sender_step(struct sender *s, uint64_t now_ns, struct collector_step *ret);
