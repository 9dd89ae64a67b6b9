/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/export/ipfix.h"
#include "exporter/export/wire.h"

/*
 * The encoder of each template, unrolled by the preprocessor: with lengths and offsets constant the
 * compiler leaves a row of loads, byte swaps and stores.
 */
#define PUT_OCTETS(out, source, length, clock_ns) memcpy(out, source, length)
#define PUT_NUMBER(out, source, length, clock_ns) wire_store(out, source, length)
#define PUT_TIME(out, source, length, clock_ns) \
	wire_store(out, ((source) + (uint64_t)(clock_ns)) / NSEC_PER_MSEC, length)

#define FIELD(symbol, pen, id, name, type, length, v9_type, v9_length, op, source, ...) \
	static inline uint8_t *put_##symbol(uint8_t *out, const struct flow *f, int64_t clock_ns) \
	{ \
		(void)clock_ns; \
		PUT_##op(out, source, length, clock_ns); \
		return out + (length); \
	}
#include "exporter/export/fields.def"

#define TEMPLATE_BEGIN(symbol, ...) \
	static void encode_##symbol(uint8_t *out, const struct flow *f, int64_t clock_ns) \
	{
#define MEMBER(field) out = put_##field(out, f, clock_ns);
#define TEMPLATE_END(symbol) \
	(void)out; \
	}
#include "exporter/export/fields.def"

void ipfix_encode_record(uint8_t *out, const struct flow *flow, int64_t clock_ns)
{
	if (flow_is_ipv6(flow))
		encode_IPV6(out, flow, clock_ns);
	else
		encode_IPV4(out, flow, clock_ns);
}

int ipfix_stream_init(struct ipfix_stream *s, uint32_t domain, uint16_t message_max, uint32_t slots)
{
	*s = (struct ipfix_stream){.domain = domain, .message_max = message_max};
	return queue_init(&s->queue, slots, message_max);
}

void ipfix_stream_done(struct ipfix_stream *s)
{
	queue_done(&s->queue);
}

static void put_header(struct wire *w, const struct ipfix_stream *s, uint32_t sequence)
{
	wire_put(w, IPFIX_VERSION, 2);
	wire_put(w, 0, 2); /* length: when it is known */
	wire_put(w, 0, 4); /* export time: when it leaves */
	wire_put(w, sequence, 4);
	wire_put(w, s->domain, 4);
}

static struct message *open_message(struct ipfix_stream *s, uint16_t template_id)
{
	struct message *m = queue_take(&s->queue);
	struct wire w;

	if (!m)
		return NULL;
	w = (struct wire){.at = m->data, .end = m->data + s->message_max};
	put_header(&w, s, 0);
	wire_put(&w, template_id, 2);
	wire_put(&w, 0, 2); /* length of the set: when it is known */
	m->length = IPFIX_HEADER + IPFIX_SET_HEADER;
	return m;
}

/* The sequence is given here because messages leave in the order in which they are completed. */
static void close_message(struct ipfix_stream *s, enum template_symbol t)
{
	struct message *m = TAKE_PTR(s->open[t]);

	m->sequence = s->sequence;
	s->sequence += m->records;
	wire_store16(m->data + 2, m->length);
	wire_store32(m->data + 8, m->sequence);
	wire_store16(m->data + IPFIX_HEADER + 2, m->length - IPFIX_HEADER);
	queue_push(&s->queue, m);
}

bool ipfix_stream_has_room(const struct ipfix_stream *s, const struct flow *flow)
{
	return s->open[flow_template(flow)] || s->queue.free_count;
}

bool ipfix_stream_add(struct ipfix_stream *s, const struct flow *flow, int64_t clock_ns,
		      bool *ret_full)
{
	enum template_symbol t = flow_template(flow);
	const struct flow_template *template = &flow_templates[t];
	struct message *m = s->open[t];

	if (!m) {
		m = s->open[t] = open_message(s, template->id);
		if (!m) {
			s->sequence++;
			return false;
		}
	}
	ipfix_encode_record(m->data + m->length, flow, clock_ns);
	m->length += template->length;
	m->records++;
	m->count.records++;
	m->count.packets += flow->record.packets;
	m->count.octets += flow->record.octets;
	*ret_full = m->length + template->length > s->message_max;
	if (*ret_full)
		close_message(s, t);
	return true;
}

void ipfix_stream_flush(struct ipfix_stream *s)
{
	for (enum template_symbol t = 0; t < _TEMPLATE_MAX; t++) {
		if (s->open[t])
			close_message(s, t);
	}
}

uint16_t ipfix_stream_templates(const struct ipfix_stream *s, uint8_t out[IPFIX_TEMPLATES_MAX])
{
	struct wire w = {.at = out, .end = out + IPFIX_TEMPLATES_MAX};
	uint16_t length;

	put_header(&w, s, s->queue.count ? queue_at(&s->queue, 0)->sequence : s->sequence);
	wire_put(&w, IPFIX_SET_TEMPLATE, 2);
	wire_put(&w, 0, 2);
	for (unsigned int t = 0; t < _TEMPLATE_MAX; t++) {
		wire_put(&w, flow_templates[t].id, 2);
		wire_put(&w, flow_templates[t].count, 2);
		for (unsigned int i = 0; i < flow_templates[t].count; i++) {
			const struct field *field = &flow_fields[flow_templates[t].fields[i]];

			wire_put(&w, field->id | (field->pen ? 0x8000 : 0), 2);
			wire_put(&w, field->length, 2);
			if (field->pen)
				wire_put(&w, field->pen, 4);
		}
	}
	length = (uint16_t)(w.at - out);
	wire_store16(out + 2, length);
	wire_store16(out + IPFIX_HEADER + 2, length - IPFIX_HEADER);
	return length;
}

void ipfix_stream_stamp(struct ipfix_stream *s, uint8_t *message, uint64_t now_ns)
{
	s->export_time = MAX(s->export_time, (uint32_t)(now_ns / NSEC_PER_SEC));
	wire_store32(message + 4, s->export_time);
}
