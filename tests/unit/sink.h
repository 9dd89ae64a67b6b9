/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Around collectors under test: a UDP socket that receives, standard error that is kept, a loop that
 * runs for a while, and send calls that fail on demand.  All by the time of clock.h.
 */
#include <stdbool.h>
#include <stdint.h>
#include "exporter/export/export.h"
#include "tests/unit/clock.h"

#define SINK_MESSAGES 4096

struct loop;

/* A template that was received. */
struct sink_template {
	uint16_t id;
	uint16_t length; /* of a record; 0: it has fields of variable length */
	bool options;
	uint16_t fields[64]; /* octets of each, 65535: variable */
	unsigned int count;
};

/*
 * Datagrams in the order in which they came, decoded by what they say of themselves: IPFIX or NetFlow
 * v9.  What the protocols forbid fails the test.
 */
struct sink {
	int fd;
	uint16_t port;
	unsigned int count;	/* of all */
	unsigned int templates; /* messages with templates of flows */
	uint64_t records;	/* of flows */
	uint64_t options;	/* records of options */
	uint32_t sequence;	/* of the next message */
	uint32_t statistics;	/* the same of domain 0, when the exporter has another one too */
	uint32_t domain;	/* of the last message that was not of domain 0 */
	bool gap;		/* a sequence number was not the expected one */
	bool data_first;	/* data came before its template */
	uint16_t longest;
	uint32_t export_time; /* of the last message */
	uint64_t boot_ms;     /* NetFlow v9: when the uptime was 0, by the last message */
	struct sink_template known[64];
	unsigned int known_count;
	uint16_t peer;	/* port from which the last datagram came, on 127.0.0.1 */
	uint8_t *bytes; /* all datagrams in a row */
	size_t used;
	size_t at[SINK_MESSAGES + 1]; /* where each begins, and the end */
};

/* The i-th datagram. */
static inline const uint8_t *sink_message(const struct sink *s, unsigned int i)
{
	return s->bytes + s->at[i];
}

static inline size_t sink_length(const struct sink *s, unsigned int i)
{
	return s->at[i + 1] - s->at[i];
}

/* A receiver on the address (127.0.0.1 or ::1); port 0 takes a free one.  False: no such address family. */
bool sink_open(struct sink *s, const char *address, uint16_t port);
void sink_close(struct sink *s);

/* Takes what has arrived. */
void sink_read(struct sink *s);

/* The same by hand, of a message that came otherwise; and the exporter begins a new session. */
void sink_take(struct sink *s, const uint8_t *message, size_t length);
void sink_new_session(struct sink *s);

/* Forgets the datagrams, to have room for more, but not what they said. */
void sink_forget(struct sink *s);

/* Sends this many datagrams to the peer, on 127.0.0.1. */
void sink_talk(struct sink *s, unsigned int count);

/*
 * Answers the peer with ICMP port unreachable from this address, quoting `quoted` octets of the message.
 * False without the privilege to do so.
 */
bool sink_refuse(const struct sink *s, const char *from, const uint8_t *message,
		 unsigned int quoted);

/* Runs the loop for so long. */
void run_for(struct loop *loop, unsigned int milliseconds);

/* The next `count` calls of sendmmsg() fail with this errno. */
void fail_sends(int error, unsigned int count);
unsigned int failed_sends(void);

/* Keeps what goes to standard error until stderr_release(), a teardown function. */
void stderr_keep(void);
int stderr_release(void **state);

/* Lines with `text` in them since stderr_keep(). */
unsigned int stderr_lines(const char *text);

/* Given to exports_flow() = exported + queued + lost, for each collector. */
void assert_ledger(struct exports *exports, const struct export_count *given);

/* The same where collectors come and go: due = given = exported + queued + lost, and what was shared is the shares'. */
void assert_ledgers(struct exports *exports, const struct export_count *given);
