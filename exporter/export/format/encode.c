/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Records of both protocols.  The encoder of each template in the table is unrolled by the
 * preprocessor: with lengths and offsets constant the compiler leaves a row of loads, byte swaps and
 * stores.  Other templates are encoded field by field, through a table of the same functions.
 */
#include "exporter/export/format/fields.h"
#include "exporter/export/format/wire.h"

/* NetFlow v9 has milliseconds of uptime, which wrap after 49 days. */
static inline uint64_t wall_ms(uint64_t ns, const struct record_clock *clock)
{
	return (ns + (uint64_t)clock->offset_ns) / NSEC_PER_MSEC;
}

/* Cut to its length, or padded. */
static inline void put_string(uint8_t *out, const char *text, size_t length)
{
	size_t used = strnlen(text, length);

	memcpy(out, text, used);
	memset(out + used, 0, length - used);
}

#define PUT_OCTETS(out, source, length, base) memcpy(out, source, length)
#define PUT_NUMBER(out, source, length, base) wire_store(out, source, length)
#define PUT_STRING(out, source, length, base) put_string(out, source, length)
/* A flow that lasts longer than 32 bits of milliseconds ends there. */
#define PUT_TIME(out, source, length, base_ms) \
	wire_store(out, \
		   MIN(wall_ms(source, clock) - (base_ms), \
		       (length) == 4 ? UINT32_MAX : UINT64_MAX), \
		   length)

/* The length 0 is of what NetFlow v9 has no field for. */
#define PUT_FUNCTION(name, op, source, length, base) \
	static inline void name(uint8_t *out, const struct flow *f, \
				const struct record_clock *clock) \
	{ \
		(void)f; \
		(void)clock; \
		if (length) \
			PUT_##op(out, source, length, base); \
	}

#define FIELD(symbol, pen, id, name, type, length, v9_type, v9_length, op, source, ...) \
	PUT_FUNCTION(put_ipfix_##symbol, op, source, length, 0) \
	PUT_FUNCTION(put_netflow9_##symbol, op, source, v9_length, clock->base_ms) \
	enum { \
		LENGTH_ipfix_##symbol = length, \
		LENGTH_netflow9_##symbol = v9_length \
	};
#include "exporter/export/format/fields.def"

#define MEMBER_OF(protocol, field) \
	put_##protocol##_##field(out, f, clock); \
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
	void (*put)(uint8_t *out, const struct flow *f, const struct record_clock *clock);
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
			  const struct record_clock *clock)
{
	for (unsigned int i = 0; i < t->count; i++) {
		const struct field_encoder *e = &encoders[t->fields[i]];

		e->put(out, f, clock);
		out += e->length;
	}
}

ENCODER(encode_ipfix)
{
	encode(encoders_ipfix, out, t, f, clock);
}

ENCODER(encode_netflow9)
{
	encode(encoders_netflow9, out, t, f, clock);
}
