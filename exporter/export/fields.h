/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* The field table (fields.def) as data, for whoever interprets it: templates, JSON, documentation. */
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include "exporter/meter/cache.h"

/* Values as in RFC 5610, so that they can be exported as they are. */
enum field_type {
	FIELD_TYPE_U8 = 1,
	FIELD_TYPE_U16 = 2,
	FIELD_TYPE_U32 = 3,
	FIELD_TYPE_U64 = 4,
	FIELD_TYPE_MAC = 12,
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

enum field_symbol {
#define FIELD(symbol, ...) FIELD_##symbol,
#include "exporter/export/fields.def"
	_FIELD_MAX,
};

struct field {
	const char *name; /* of the information element */
	const char *text;
	uint32_t pen; /* 0: IANA */
	uint16_t id;
	uint16_t length; /* octets in IPFIX */
	uint16_t v9_type;
	uint16_t v9_length; /* octets in NetFlow v9 */
	enum field_type type;
	enum field_semantics semantics;
	enum field_units units;
};

/* Index of a template in flow_templates. */
enum template_symbol {
#define TEMPLATE_BEGIN(symbol, ...) TEMPLATE_##symbol,
#include "exporter/export/fields.def"
	_TEMPLATE_MAX,
};

struct flow_template {
	const char *text;
	const enum field_symbol *fields; /* in wire order */
	uint16_t id;
	uint16_t count;	 /* of fields */
	uint16_t length; /* of a record, octets */
};

/* Octets of the longest record. */
#define FLOW_RECORD_MAX 112

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

static inline bool flow_is_egress(const struct flow *f)
{
	return f->key.kind & FLOW_EGRESS;
}

static inline uint16_t flow_icmp(const struct flow *f, uint8_t protocol)
{
	return f->key.protocol == protocol ? ntohs(f->key.dst_port) : 0;
}

static inline enum template_symbol flow_template(const struct flow *f)
{
	return flow_is_ipv6(f) ? TEMPLATE_IPV6 : TEMPLATE_IPV4;
}
