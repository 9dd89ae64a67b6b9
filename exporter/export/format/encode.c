/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Records of both protocols.  The encoder of each template in the table is unrolled by the
 * preprocessor: with lengths and offsets constant the compiler leaves a row of loads, byte swaps and
 * stores.  Other templates are encoded field by field, through a table of the same functions; those with strings
 * write these in between.
 */
#include "exporter/export/format/fields.h"
#include "exporter/export/format/utf8.h"
#include "exporter/export/format/wire.h"

/* Strings up to here have one octet of length in front of them, others three (RFC 7011 section 7). */
#define SHORT_MAX 254

/* NetFlow v9 has milliseconds of uptime, which wrap after 49 days. */
static inline uint64_t wall_ms(uint64_t ns, const struct record_context *context)
{
	return (ns + (uint64_t)context->offset_ns) / NSEC_PER_MSEC;
}

#define PUT_OCTETS(out, source, length, base) memcpy(out, source, length)
#define PUT_NUMBER(out, source, length, base) wire_store(out, source, length)
#define PUT_STRING(out, source, length, base) wire_store(out, 0, length) /* an empty one */
/* A flow that lasts longer than 32 bits of milliseconds ends there. */
#define PUT_TIME(out, source, length, base_ms) \
	wire_store(out, \
		   MIN(wall_ms(source, context) - (base_ms), \
		       (length) == 4 ? UINT32_MAX : UINT64_MAX), \
		   length)

/* The length 0 is of what NetFlow v9 has no field for. */
#define PUT_FUNCTION(name, op, source, length, base) \
	static inline void name(uint8_t *out, const struct flow *f, \
				const struct record_context *context) \
	{ \
		(void)f; \
		(void)context; \
		if (length) \
			PUT_##op(out, source, length, base); \
	}

#define FIELD(symbol, element, length, v9_length, kind, family, role, op, source, ...) \
	enum { \
		LENGTH_ipfix_##symbol = (length) == ELEMENT_VARIABLE ? 1 : (length), \
		LENGTH_netflow9_##symbol = v9_length \
	}; \
	PUT_FUNCTION(put_ipfix_##symbol, op, source, LENGTH_ipfix_##symbol, 0) \
	PUT_FUNCTION(put_netflow9_##symbol, op, source, v9_length, context->base_ms)
#include "exporter/export/format/fields.def"

#define MEMBER_OF(protocol, field) \
	put_##protocol##_##field(out, f, context); \
	out += LENGTH_##protocol##_##field;
#define BEGIN_OF(protocol, symbol) \
	ENCODER(encode_##protocol##_##symbol) \
	{ \
		(void)t;

#define TEMPLATE_BEGIN(symbol, ...) BEGIN_OF(ipfix, symbol)
#define MEMBER(field)		    MEMBER_OF(ipfix, field)
#define TEMPLATE_END(symbol)	    }
#include "exporter/export/format/fields.def"

#define TEMPLATE_BEGIN(symbol, ...) BEGIN_OF(netflow9, symbol)
#define MEMBER(field)		    MEMBER_OF(netflow9, field)
#define TEMPLATE_END(symbol)	    }
#include "exporter/export/format/fields.def"

/* --- Field by field */

struct field_encoder {
	void (*put)(uint8_t *out, const struct flow *f, const struct record_context *context);
	size_t length;
};

static const struct field_encoder encoders_ipfix[_FIELD_MAX] = {
#define FIELD(symbol, ...) [FIELD_##symbol] = {put_ipfix_##symbol, LENGTH_ipfix_##symbol},
#include "exporter/export/format/fields.def"
};

static const struct field_encoder encoders_netflow9[_FIELD_MAX] = {
#define FIELD(symbol, ...) [FIELD_##symbol] = {put_netflow9_##symbol, LENGTH_netflow9_##symbol},
#include "exporter/export/format/fields.def"
};

static inline void encode(const struct field_encoder *encoders, uint8_t *out,
			  const struct flow_template *t, const struct flow *f,
			  const struct record_context *context)
{
	for (unsigned int i = 0; i < t->count; i++) {
		const struct field_encoder *e = &encoders[t->fields[i]];

		e->put(out, f, context);
		out += e->length;
	}
}

ENCODER(encode_ipfix)
{
	encode(encoders_ipfix, out, t, f, context);
}

ENCODER(encode_netflow9)
{
	encode(encoders_netflow9, out, t, f, context);
}

/* --- Strings */

#define TEXT_OCTETS(source) NULL
#define TEXT_NUMBER(source) NULL
#define TEXT_TIME(source)   NULL
#define TEXT_STRING(source) (source)

#define FIELD(symbol, element, length, v9_length, kind, family, role, op, source, ...) \
	static const char *text_##symbol(const struct flow *f, \
					 const struct record_context *context) \
	{ \
		(void)f; \
		(void)context; \
		return TEXT_##op(source); \
	}
#include "exporter/export/format/fields.def"

static const char *(*const texts[_FIELD_MAX])(const struct flow *f,
					      const struct record_context *context) = {
#define FIELD(symbol, ...) [FIELD_##symbol] = text_##symbol,
#include "exporter/export/format/fields.def"
};

/* A record with strings being written. */
struct writer {
	uint8_t *at;
	size_t spare; /* octets that strings may have, beside one of their length each */
	unsigned int cut;
};

static void put_string(struct writer *w, const char *text)
{
	size_t most = MIN(w->spare <= SHORT_MAX + 2 ? MIN(w->spare, SHORT_MAX + 0u) : w->spare - 2,
			  UINT16_MAX + 0u);
	size_t length = utf8_fit(text, most);

	w->cut += text[length] != 0;
	if (length > SHORT_MAX) {
		*w->at++ = 255;
		wire_store16(w->at, (uint16_t)length);
		w->at += 2;
		w->spare -= 2;
	} else {
		*w->at++ = (uint8_t)length;
	}
	utf8_copy(w->at, text, length);
	w->at += length;
	w->spare -= length;
}

size_t record_encode(uint8_t *out, size_t limit, const struct flow_template *t,
		     enum protocol_id protocol, const struct flow *f,
		     const struct record_context *context, unsigned int *ret_cut)
{
	struct writer w = {.at = out, .spare = limit - t->length[protocol]};

	if (protocol != PROTOCOL_IPFIX || !t->variable) {
		t->encode[protocol](out, t, f, context);
		*ret_cut = 0;
		return t->length[protocol];
	}
	for (unsigned int i = 0; i < t->count; i++) {
		enum field_symbol field = t->fields[i];

		if (flow_fields[field].length == ELEMENT_VARIABLE) {
			put_string(&w, texts[field](f, context));
			continue;
		}
		encoders_ipfix[field].put(w.at, f, context);
		w.at += encoders_ipfix[field].length;
	}
	*ret_cut = w.cut;
	return (size_t)(w.at - out);
}

/* --- Reading what was written */

size_t value_length(const struct field *field, const uint8_t *value, size_t *ret_prefix)
{
	size_t prefix = field->length != ELEMENT_VARIABLE ? 0 : value[0] <= SHORT_MAX ? 1 : 3;

	*ret_prefix = prefix;
	return prefix == 0 ? field->length : prefix == 1 ? value[0] : wire_load16(value + 1);
}

size_t record_length(const struct flow_template *t, enum protocol_id protocol,
		     const uint8_t *record)
{
	const uint8_t *at = record;

	if (protocol != PROTOCOL_IPFIX || !t->variable)
		return t->length[protocol];
	for (unsigned int i = 0; i < t->count; i++) {
		size_t prefix, length = value_length(&flow_fields[t->fields[i]], at, &prefix);

		at += prefix + length;
	}
	return (size_t)(at - record);
}
