/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * One transport session after the other of a collector: what they number, which is sequences and export times, and what
 * is owed in them, and when: templates, options and statistics, at the start, by time and by count.  It knows neither
 * queue nor transport.
 */
#include "exporter/export/context.h"
#include "exporter/export/format/profile.h"
#include "exporter/export/format/protocol.h"

/* Statistics of the exporter are of no observation domain; in IPFIX they have a sequence of their own. */
enum session_sequence {
	SEQUENCE_DOMAIN,
	SEQUENCE_STATISTICS,
	_SEQUENCE_MAX,
};

/* What a collector is told beside flow records, in the order in which it is sent. */
enum announcement {
	ANNOUNCE_TEMPLATES,
	ANNOUNCE_SAMPLING,
	ANNOUNCE_KEYS,
	ANNOUNCE_TYPES,
	ANNOUNCE_INTERFACES,
	ANNOUNCE_STATISTICS,
	_ANNOUNCE_MAX,
};

/* Bit sets of them: all options, what a session begins with, and what is said of templates. */
#define ANNOUNCE_OPTIONS \
	(1u << ANNOUNCE_SAMPLING | 1u << ANNOUNCE_KEYS | 1u << ANNOUNCE_TYPES | \
	 1u << ANNOUNCE_INTERFACES)
#define ANNOUNCE_START	  (1u << ANNOUNCE_TEMPLATES | ANNOUNCE_OPTIONS)
#define ANNOUNCE_ENCODING (1u << ANNOUNCE_TEMPLATES | 1u << ANNOUNCE_KEYS | 1u << ANNOUNCE_TYPES)

/* Something that is done again and again, at intervals with a random phase. */
struct session_timer {
	uint64_t interval_ns;
	uint64_t due_ns;
};

/* What a template id means to this collector. */
struct session_template {
	uint64_t layout; /* hash */
	uint16_t id;
	bool told; /* in this session */
};

struct session {
	const struct protocol *protocol;
	uint32_t domain;
	uint32_t sequence[_SEQUENCE_MAX]; /* of the next message */
	uint32_t export_time;		  /* of the last one, s since 1970 */
	uint64_t base_ms;		  /* of the last one, see by_base */
	bool by_base; /* wall_ms follows from base_ms, not from a clock: a capture in NetFlow v9 */

	const struct export_context *context;
	bool reliable; /* what is told once is known for the session */
	bool timed;    /* things are told again at intervals */
	uint64_t opened_ns;
	unsigned int copies;	  /* of the templates sent, counted up to what the start needs */
	uint32_t since_templates; /* messages */
	struct session_timer templates, options, statistics;
	unsigned int pending;		  /* to be sent: bit set of enum announcement */
	unsigned int next[_ANNOUNCE_MAX]; /* the part with which one goes on */
	unsigned int
		options_told; /* options templates that have been told: bit set of enum option_template_symbol */
	struct session_template *ids; /* every one that was ever used */
	unsigned int id_count, id_room;
};

void session_done(struct session *s);

/* --- What is numbered, when a message leaves */

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

/* --- What is owed; times are those of CLOCK_MONOTONIC, in ns */

/* A session begins: sequences from 0, and nothing has been told. */
void session_start(struct session *s, uint64_t now_ns);

/* Makes pending what is due. */
void session_step(struct session *s, uint64_t now_ns);

/* A message has been sent; with `last_template` all templates have been told. */
void session_sent(struct session *s, bool last_template, uint64_t now_ns);

/* Time until session_step() is needed though nothing is queued; UINT64_MAX: it is not. */
uint64_t session_wait(const struct session *s, uint64_t now_ns);

/* Records of other templates follow, which are told as at the start. */
void session_owe_templates(struct session *s, uint64_t now_ns);

/* The intervals of the context are others now. */
void session_retime(struct session *s, uint64_t now_ns);

/* --- What template ids mean (RFC 7011 section 8.1: in a session none is used for another template) */

/*
 * The templates are going to be used.  Where an id has had another meaning, the profile gets ids that
 * have had none.  -ENOMEM.
 */
int session_reserve_ids(struct session *s, struct profile *profile);

/* Whether a template need not be told any more in this session; and that it has been told. */
bool session_knows(const struct session *s, uint16_t id);
void session_note_told(struct session *s, uint16_t id);
