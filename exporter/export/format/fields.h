/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* What records hold (fields.def) as data, for whoever interprets it: templates, JSON, documentation. */
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include "exporter/export/format/elements.h"
#include "exporter/export/format/interface.h"
#include "exporter/meter/cache.h"
#include "exporter/meter/drop_reason.h"

enum protocol_id {
	PROTOCOL_IPFIX,
	PROTOCOL_NETFLOW9,
	_PROTOCOL_MAX,
};

enum field_role {
	FIELD_ROLE_KEY,
	FIELD_ROLE_VALUE,
};

/* What tells the two templates of a record kind apart. */
enum record_family {
	FAMILY_IPV4,
	FAMILY_IPV6,
	_FAMILY_MAX,
};

enum field_symbol {
#define FIELD(symbol, ...) FIELD_##symbol,
#include "exporter/export/format/fields.def"
	_FIELD_MAX,
};

struct field {
	const struct element *element;
	const char *text;      /* what the number is here */
	uint16_t length;       /* octets in IPFIX, ELEMENT_VARIABLE of a string */
	uint16_t v9_length;    /* octets in NetFlow v9; 0: it has no such field */
	unsigned int kinds;    /* of records that have it: bit set of enum record_kind */
	unsigned int families; /* bit set of enum record_family */
	enum field_role role;
};

/* What --template can name, but for lists of elements. */
enum profile_name {
	PROFILE_DEFAULT,
	PROFILE_MINIMAL,
	PROFILE_EXTENDED,
	_PROFILE_NAME_MAX,
};

/* Index of a template in flow_templates. */
enum template_symbol {
#define TEMPLATE_BEGIN(symbol, ...) TEMPLATE_##symbol,
#include "exporter/export/format/fields.def"
	_TEMPLATE_MAX,
};

/* What records are made with beside the flow. */
struct record_context {
	int64_t offset_ns; /* times plus this are ns since 1970 */
	uint64_t base_ms;  /* NetFlow v9: when the uptime was 0, ms since 1970 */
	const struct export_interface *interfaces; /* by rising ifindex */
	unsigned int interface_count;
};

struct flow_template;

/* Writes a record, which has the template's length in that protocol: strings stay empty. */
typedef void (*record_encoder)(uint8_t *out, const struct flow_template *t, const struct flow *f,
			       const struct record_context *context);

struct flow_template {
	const char *text;
	const enum field_symbol *fields; /* in wire order */
	uint16_t id;
	uint16_t count;			/* of fields */
	uint16_t length[_PROTOCOL_MAX]; /* octets of a record; strings count one, that of their length */
	bool variable; /* IPFIX: there are strings, so that a record may be longer */
	record_encoder encode[_PROTOCOL_MAX];
};

/* Octets of the longest record but for its strings, with every field in it. */
#define FLOW_RECORD_MAX 320

/* A record kind, as it is exported: a row of record_formats. */
struct record_format {
	bool chosen; /* a list of elements chooses the fields; else the templates are its own in all profiles */
	bool half; /* takes half of a queue at most, and leaves the rest to what is not */
	enum template_symbol templates[_PROFILE_NAME_MAX][_FAMILY_MAX];
};

/* A template of these fields, which stay the caller's, encoded field by field; it has no id and no text. */
struct flow_template template_of(const enum field_symbol *fields, unsigned int count);

extern const struct record_format record_formats[_RECORD_KIND_MAX];
extern const struct field flow_fields[_FIELD_MAX];
extern const struct flow_template flow_templates[_TEMPLATE_MAX];

/* What the sources in fields.def read of a flow. */
static inline bool flow_is_ipv6(const struct flow *f)
{
	return f->key.kind & FLOW_IPV6;
}

static inline bool flow_is_drop(const struct flow *f)
{
	return f->key.kind & FLOW_DROP;
}

static inline enum record_kind flow_record_kind(const struct flow *f)
{
	return flow_is_drop(f) ? RECORD_DROP : RECORD_FLOW;
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

/* The flow's interface as far as it is known: a name and a description, each may be empty. */
const struct export_interface *flow_interface(const struct flow *f,
					      const struct record_context *context);

/* Octets of a field, ELEMENT_VARIABLE of a string, 0 when the protocol has no such field. */
static inline uint16_t field_length(const struct field *field, enum protocol_id protocol)
{
	return protocol == PROTOCOL_IPFIX ? field->length : field->v9_length;
}

/*
 * Writes a record of `limit` octets at most, which is no less than the template's length, and returns its octets.  What
 * has no room is cut from its strings, at the end of a character: *ret_cut is how many were.
 */
size_t record_encode(uint8_t *out, size_t limit, const struct flow_template *t,
		     enum protocol_id protocol, const struct flow *f,
		     const struct record_context *context, unsigned int *ret_cut);

/* Octets of the record that stands there, whole. */
size_t record_length(const struct flow_template *t, enum protocol_id protocol,
		     const uint8_t *record);

/* Octets of a value, and of the length in front of it. */
size_t value_length(const struct field *field, const uint8_t *value, size_t *ret_prefix);

/* The encoders (encode.c): of any template, field by field, and of those in flow_templates, unrolled. */
#define ENCODER(name) \
	void name(uint8_t *out, const struct flow_template *t, const struct flow *f, \
		  const struct record_context *context)

ENCODER(encode_ipfix);
ENCODER(encode_netflow9);
#define TEMPLATE_BEGIN(symbol, ...) \
	ENCODER(encode_ipfix_##symbol); \
	ENCODER(encode_netflow9_##symbol);
#include "exporter/export/format/fields.def"
