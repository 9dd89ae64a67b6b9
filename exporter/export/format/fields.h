/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* The field table (fields.def) as data, for whoever interprets it: templates, JSON, documentation. */
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include "exporter/meter/cache.h"
#include "exporter/meter/drop_reason.h"

/* Values as in RFC 5610, so that they can be exported as they are. */
enum field_type {
	FIELD_TYPE_U8 = 1,
	FIELD_TYPE_U16 = 2,
	FIELD_TYPE_U32 = 3,
	FIELD_TYPE_U64 = 4,
	FIELD_TYPE_MAC = 12,
	FIELD_TYPE_STRING = 13,
	FIELD_TYPE_MSEC = 15, /* dateTimeMilliseconds */
	FIELD_TYPE_IPV4 = 18,
	FIELD_TYPE_IPV6 = 19,
};

enum field_semantics {
	FIELD_SEMANTICS_DEFAULT = 0,
	FIELD_SEMANTICS_QUANTITY = 1,
	FIELD_SEMANTICS_DELTA_COUNTER = 3,
	FIELD_SEMANTICS_IDENTIFIER = 4,
	FIELD_SEMANTICS_FLAGS = 5,
};

enum field_units {
	FIELD_UNITS_NONE = 0,
	FIELD_UNITS_OCTETS = 2,
	FIELD_UNITS_PACKETS = 3,
	FIELD_UNITS_MILLISECONDS = 6,
	FIELD_UNITS_HOPS = 11,
};

/* Enterprise number of elements of our own: `pen` in the table, replaced by the one that is set. */
#define FIELD_PEN_OWN UINT32_MAX

enum protocol_id {
	PROTOCOL_IPFIX,
	PROTOCOL_NETFLOW9,
	_PROTOCOL_MAX,
};

enum field_role {
	FIELD_ROLE_KEY,
	FIELD_ROLE_VALUE,
};

/* The families of records, as indices: each has a template. */
enum flow_family {
	FAMILY_IPV4,
	FAMILY_IPV6,
	_FAMILY_FLOW_MAX,
	FAMILY_DROP_IPV4 = _FAMILY_FLOW_MAX,
	FAMILY_DROP_IPV6,
	_FAMILY_MAX,
};

enum field_symbol {
#define FIELD(symbol, ...) FIELD_##symbol,
#include "exporter/export/format/fields.def"
	_FIELD_MAX,
};

struct field {
	const char *name; /* of the information element */
	const char *text;
	uint32_t pen; /* 0: IANA; FIELD_PEN_OWN */
	uint16_t id;
	uint16_t length; /* octets in IPFIX */
	uint16_t v9_type;
	uint16_t v9_length; /* octets in NetFlow v9; 0: it has no such field */
	enum field_type type;
	enum field_role role;
	enum field_semantics semantics;
	enum field_units units;
};

/* Index of a template in flow_templates. */
enum template_symbol {
#define TEMPLATE_BEGIN(symbol, ...) TEMPLATE_##symbol,
#include "exporter/export/format/fields.def"
	_TEMPLATE_MAX,
};

/* What makes of a flow's times those in a record. */
struct record_clock {
	int64_t offset_ns; /* times plus this are ns since 1970 */
	uint64_t base_ms;  /* NetFlow v9: when the uptime was 0, ms since 1970 */
};

struct flow_template;

/* Writes a record, which has the template's length in that protocol. */
typedef void (*record_encoder)(uint8_t *out, const struct flow_template *t, const struct flow *f,
			       const struct record_clock *clock);

struct flow_template {
	const char *text;
	const enum field_symbol *fields; /* in wire order */
	uint16_t id;
	uint16_t count;			/* of fields */
	uint16_t length[_PROTOCOL_MAX]; /* of a record, octets */
	record_encoder encode[_PROTOCOL_MAX];
};

/* Octets of the longest record, with every field in it. */
#define FLOW_RECORD_MAX 320

extern const struct field flow_fields[_FIELD_MAX];
extern const struct flow_template flow_templates[_TEMPLATE_MAX];

const char *field_type_name(enum field_type type);
const char *field_semantics_name(enum field_semantics semantics);
const char *field_units_name(enum field_units units);

/* What the sources in fields.def read of a flow. */
static inline bool flow_is_ipv6(const struct flow *f)
{
	return f->key.kind & FLOW_IPV6;
}

static inline bool flow_is_drop(const struct flow *f)
{
	return f->key.kind & FLOW_DROP;
}

static inline uint64_t flow_layer2_octets(const struct flow *f)
{
	return f->record.octets + f->record.packets * f->record.link_octets;
}

static inline bool flow_is_egress(const struct flow *f)
{
	return f->key.kind & FLOW_EGRESS;
}

static inline uint16_t flow_icmp(const struct flow *f, uint8_t protocol)
{
	return f->key.protocol == protocol ? ntohs(f->key.dst_port) : 0;
}

/* Whatever was counted, no flow ends before it starts. */
static inline uint64_t flow_last_ns(const struct flow *f)
{
	return MAX(f->record.first_ns, f->record.last_ns);
}

/* What has no room in the field's 32 bits, 49 days, is their greatest. */
static inline uint64_t flow_duration_ms(const struct flow *f)
{
	return MIN((flow_last_ns(f) - f->record.first_ns) / NSEC_PER_MSEC, UINT32_MAX);
}

/* Octets of a field, 0 when the protocol has no such field. */
static inline uint16_t field_length(const struct field *field, enum protocol_id protocol)
{
	return protocol == PROTOCOL_IPFIX ? field->length : field->v9_length;
}

/* The encoders (encode.c): of any template, field by field, and of those in flow_templates, unrolled. */
#define ENCODER(name) \
	void name(uint8_t *out, const struct flow_template *t, const struct flow *f, \
		  const struct record_clock *clock)

ENCODER(encode_ipfix);
ENCODER(encode_netflow9);
#define TEMPLATE_BEGIN(symbol, ...) \
	ENCODER(encode_ipfix_##symbol); \
	ENCODER(encode_netflow9_##symbol);
#include "exporter/export/format/fields.def"
