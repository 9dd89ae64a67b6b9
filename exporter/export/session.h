/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* What one transport session numbers: sequences and export times.  Given when a message leaves. */
#include "exporter/export/format/protocol.h"

/* Statistics of the exporter are of no observation domain; in IPFIX they have a sequence of their own. */
enum session_sequence {
	SEQUENCE_DOMAIN,
	SEQUENCE_STATISTICS,
	_SEQUENCE_MAX,
};

struct session {
	const struct protocol *protocol;
	uint32_t domain;
	uint32_t sequence[_SEQUENCE_MAX]; /* of the next message */
	uint32_t export_time;		  /* of the last one, s since 1970 */
	uint64_t base_ms;		  /* of the last one, see by_base */
	bool by_base; /* wall_ms follows from base_ms, not from a clock: a capture in NetFlow v9 */
};

/* Which sequence a message counts in: NetFlow v9 has one, and so has an exporter of domain 0. */
static inline uint32_t *session_sequence(struct session *s, enum session_sequence which)
{
	bool one = s->protocol->sequence_messages || !s->domain;

	return &s->sequence[one ? SEQUENCE_DOMAIN : which];
}

/*
 * So far a wall clock that was set back is bridged: export times stand still.  One that was set back by more
 * needs a new session.
 */
#define SESSION_BRIDGE_MS (10 * 1000ull)

/*
 * Writes the header of a message: `h` holds length, records, wall_ms, base_ms and sequence.  The export
 * time is not before that of an earlier message, nor before `newest_ms`, the end of its newest flow, unless
 * that is more than SESSION_BRIDGE_MS ahead of wall_ms: then it is wrong, and wall_ms is taken.
 */
void session_put_header(struct session *s, uint8_t *out, struct protocol_header *h,
			enum session_sequence which, uint64_t newest_ms);

/* Whether the wall clock has been set back so far that export times would have to go back. */
bool session_stale(const struct session *s, uint64_t wall_ms);

/* A message with so many data records has been sent, or is lost for good. */
static inline void session_advance(struct session *s, enum session_sequence which, uint32_t records)
{
	*session_sequence(s, which) += protocol_steps(s->protocol, records);
}
