/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Flow records and templates as IPFIX (RFC 7011). */
#include "exporter/export/fields.h"
#include "exporter/export/queue.h"

#define IPFIX_VERSION	    10
#define IPFIX_HEADER	    16 /* octets: version, length, export time, sequence, domain */
#define IPFIX_SET_HEADER    4
#define IPFIX_SET_TEMPLATE  2
#define IPFIX_TEMPLATES_MAX 512 /* room for the message of all templates */

/*
 * One stream of messages to one place, with a queue of its own.  A message has one data set, of one
 * template: messages under way are one per template, are filled up to message_max and never split
 * over sets or padded.  So all full messages of a template are equally long.
 */
struct ipfix_stream {
	struct queue queue; /* messages that are complete but for their export time */
	struct message *open[_TEMPLATE_MAX]; /* being filled, NULL when none */
	uint32_t domain;
	uint32_t sequence; /* data records before the next message: pushed, or lost for lack of room */
	uint32_t export_time; /* of the last message, s since 1970 */
	uint16_t message_max;
};

/* message_max octets a message at most; `slots` of them in the queue, open ones included.  -ENOMEM. */
int ipfix_stream_init(struct ipfix_stream *s, uint32_t domain, uint16_t message_max,
		      uint32_t slots);
void ipfix_stream_done(struct ipfix_stream *s);

/*
 * Encodes a record; clock_ns makes wall time of its times.  False when there is no room: the record is
 * lost, which shows in the sequence as for any other lost record.  `*ret_full` says that a message was
 * completed by it.
 */
bool ipfix_stream_add(struct ipfix_stream *s, const struct flow *flow, int64_t clock_ns,
		      bool *ret_full);

/* Whether ipfix_stream_add() would find room for this flow. */
bool ipfix_stream_has_room(const struct ipfix_stream *s, const struct flow *flow);

/* Completes the messages under way. */
void ipfix_stream_flush(struct ipfix_stream *s);

/*
 * Writes the message of all templates, as it belongs before the oldest queued message.  Returns its
 * length in octets; its export time is still to be stamped.
 */
uint16_t ipfix_stream_templates(const struct ipfix_stream *s, uint8_t out[IPFIX_TEMPLATES_MAX]);

/* Export time of a message that leaves at wall time now_ns: never before that of an earlier one. */
void ipfix_stream_stamp(struct ipfix_stream *s, uint8_t *message, uint64_t now_ns);

/* One record of the flow's template, which has its length. */
void ipfix_encode_record(uint8_t *out, const struct flow *flow, int64_t clock_ns);
