/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* What differs between IPFIX (RFC 7011) and NetFlow v9 (RFC 3954), as a table of operations. */
#include "exporter/export/format/fields.h"
#include "exporter/export/format/wire.h"

#define PROTOCOL_HEADER_MAX 20 /* octets */

/* What a header says of its message. */
struct protocol_header {
	uint16_t length;      /* octets of the message */
	uint16_t records;     /* of any kind, templates too */
	uint64_t wall_ms;     /* when it leaves, ms since 1970 */
	uint64_t base_ms;     /* record_context of its records */
	uint32_t export_time; /* s since 1970, by protocol->export_time() */
	uint32_t sequence;
	uint32_t domain;
};

struct protocol {
	enum protocol_id id;
	uint16_t header;	/* octets of a message header */
	uint16_t sequence_at;	/* where the sequence number is in it */
	uint16_t set_template;	/* set id of templates */
	uint16_t set_options;	/* of options templates */
	uint16_t align;		/* octets a set is padded to */
	bool sequence_messages; /* the sequence counts messages, not data records */
	uint32_t (*export_time)(uint64_t wall_ms);
	void (*put_header)(uint8_t *out, const struct protocol_header *h);
	/* A field of a template; nothing when the protocol does not have it. */
	void (*put_field)(struct wire *w, const struct field *field, uint32_t enterprise);
	/* Head of an options template: so many scope fields, octets of their specifiers follow from it. */
	void (*put_options_head)(struct wire *w, uint16_t id, unsigned int scopes,
				 unsigned int fields);
};

extern const struct protocol protocol_ipfix;
extern const struct protocol protocol_netflow9;

/* What a message of so many data records adds to the sequence. */
static inline uint32_t protocol_steps(const struct protocol *p, uint32_t records)
{
	return p->sequence_messages ? 1 : records;
}

/* Zero octets behind a set whose content has this length. */
static inline unsigned int protocol_padding(const struct protocol *p, unsigned int length)
{
	return -length & (p->align - 1u);
}
