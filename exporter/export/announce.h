/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * What a collector is told beside flow records: templates and options.  A message is built when it can
 * be sent, from what is known then; options come with their template in the same message, so that they
 * can be read whatever was lost before.  Where nothing gets lost each template is told once in a session.
 */
#include "exporter/export/collector.h"

#define ANNOUNCE_MESSAGE_MAX 1400

struct announce_message {
	uint8_t data[ANNOUNCE_MESSAGE_MAX];
	struct protocol_header header; /* to be stamped: wall_ms and sequence are missing */
	enum session_sequence sequence;
	uint16_t data_records;
	enum announcement kind;
	unsigned int next; /* what the next message of this kind begins with; 0: there is none */
	unsigned int
		options_told; /* options templates in it: bit set of enum option_template_symbol */
};

/*
 * The next message that is pending at the collector, of `limit` octets at most.  False when there is
 * none; what has nothing to say, or does not fit, is not pending any more.
 */
bool announce_build(struct collector *c, uint16_t limit, struct announce_message *m);

/* Octets of the message that tells the longest of these templates; SIZE_MAX: more than a message can have. */
size_t announce_template_octets(const struct profile *profile, const struct protocol *protocol);

/* Whether a message of `limit` octets has room for each template of flow records: else nobody could read them. */
bool announce_fits(const struct collector *c, uint16_t limit);

/* The message has been sent: the next one follows. */
void announce_advance(struct collector *c, const struct announce_message *m);
