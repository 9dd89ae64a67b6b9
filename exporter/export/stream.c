/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>
#include "exporter/export/collector.h"
#include "exporter/export/context.h"
#include "exporter/export/queue.h"
#include "exporter/export/stream.h"

/*
 * NetFlow v9: times are below 2^31 ms after the base, which is set anew, a day before the record, when
 * one is not: so they neither wrap nor lie before it.
 */
#define BASE_SPAN_MS (1ull << 31)

/* --- What makes the octets */

int encoding_new(struct encoding **ret, const struct protocol *protocol, struct profile *profile,
		 uint16_t message_max)
{
	struct encoding *e = malloc(sizeof(*e));

	if (!e)
		return -ENOMEM;
	*e = (struct encoding){.protocol = protocol,
			       .profile = profile,
			       .message_max = message_max,
			       .references = 1};
	*ret = e;
	return 0;
}

struct encoding *encoding_ref(struct encoding *e)
{
	e->references++;
	return e;
}

struct encoding *encoding_unref(struct encoding *e)
{
	if (!e || --e->references)
		return NULL;
	profile_free(e->profile);
	free(e);
	return NULL;
}

bool encoding_equal(const struct encoding *a, const struct encoding *b)
{
	return a->protocol == b->protocol && a->message_max == b->message_max &&
	       profile_equal(a->profile, b->profile);
}

/* --- Messages */

static uint16_t records_max(const struct encoding *e)
{
	enum protocol_id p = e->protocol->id;
	uint16_t shortest = e->message_max;

	for (unsigned int i = 0; i < PROFILE_TEMPLATES_MAX; i++)
		if (profile_has(e->profile, i))
			shortest = MIN(shortest, e->profile->templates[i].length[p]);
	return e->message_max / shortest;
}

static size_t round_up(size_t n)
{
	return (n + 15) & ~(size_t)15;
}

static size_t data_at(const struct pool *p)
{
	return sizeof(struct message) + p->records * sizeof(struct message_amount);
}

/* Octets that records can have in a message. */
static uint16_t message_room(const struct encoding *e)
{
	return e->message_max - (e->protocol->header + SET_HEADER + e->protocol->align - 1);
}

static int pool_init(struct pool *p, uint32_t count, uint16_t size, uint16_t records)
{
	*p = (struct pool){.count = count, .records = records};
	p->slot_size = round_up(data_at(p) + size);
	p->slots = calloc(MAX(count, 1u), p->slot_size);
	return p->slots ? 0 : -ENOMEM;
}

/* An empty message, NULL when all are in use. */
static struct message *take_message(struct stream *s)
{
	struct pool *p = &s->pool;
	struct message *m = p->free;

	if (m)
		p->free = m->next;
	else if (p->fresh < p->count)
		m = (struct message *)(p->slots + p->fresh++ * p->slot_size);
	else
		return NULL;
	*m = (struct message){.stream = s, .data = (uint8_t *)m + data_at(p), .references = 1};
	s->references++;
	return m;
}

static void unref(struct stream *s)
{
	if (--s->references)
		return;
	free(s->pool.slots);
	encoding_unref(s->encoding);
	free(s);
}

void message_put(struct message *m)
{
	struct stream *s = m->stream;

	if (--m->references)
		return;
	m->stream = NULL;
	m->next = s->pool.free;
	s->pool.free = m;
	unref(s);
}

/* --- The stream */

int stream_new(struct stream **ret, struct encoding *encoding, uint64_t *base_ms,
	       struct collector *const *members, unsigned int count)
{
	struct stream *s = calloc(1, sizeof(*s));
	uint32_t slots = 0;
	int r;

	if (!s)
		return -ENOMEM;
	s->base_ms = base_ms;
	s->references = 1;
	for (; s->count < count; s->count++) {
		s->members[s->count] = members[s->count];
		slots += members[s->count]->queue->slots;
	}
	r = pool_init(&s->pool, slots, encoding->message_max, records_max(encoding));
	if (r < 0) {
		free(s);
		return r;
	}
	s->encoding = encoding_ref(encoding);
	s->room = message_room(encoding);
	for (unsigned int i = 0; i < PROFILE_TEMPLATES_MAX; i++)
		if (encoding->protocol->id == PROTOCOL_IPFIX &&
		    encoding->profile->templates[i].variable)
			s->variable |= 1u << i;
	*ret = s;
	return 0;
}

void stream_retire(struct stream *s)
{
	stream_flush(s);
	stream_free(s);
}

struct stream *stream_free(struct stream *s)
{
	s->count = 0;
	for (unsigned int i = 0; i < PROFILE_TEMPLATES_MAX; i++)
		if (s->open[i])
			message_put(TAKE_PTR(s->open[i]));
	unref(s);
	return NULL;
}

static const struct record_format *format_of(unsigned int index)
{
	return &record_formats[index / _FAMILY_MAX];
}

static bool has_room(const struct collector *c, unsigned int index)
{
	return format_of(index)->half ? queue_has_share(c->queue) : queue_has_room(c->queue);
}

/* With a place for it at each member that has room; NULL when none has. */
static struct message *open_message(struct stream *s, unsigned int index)
{
	struct message *m;
	uint32_t members = 0;

	for (unsigned int i = 0; i < s->count; i++)
		if (has_room(s->members[i], index))
			members |= 1u << i;
	if (!members)
		return NULL;
	m = take_message(s);
	if (!m)
		return NULL;
	m->members = members;
	m->drops = format_of(index)->half;
	for (unsigned int i = 0; i < s->count; i++)
		if (members >> i & 1)
			queue_reserve(s->members[i]->queue, m);
	m->template = &s->encoding->profile->templates[index];
	m->base_ms = *s->base_ms;
	return m;
}

static void close_message(struct stream *s, unsigned int index)
{
	struct message *m = TAKE_PTR(s->open[index]);

	for (unsigned int i = 0; i < s->count; i++) {
		struct collector *c = s->members[i];

		if (!(m->members >> i & 1))
			continue;
		queue_push(c->queue, m);
		if (c->ops->pushed)
			c->ops->pushed(c);
	}
	message_put(m);
}

static void count_record(struct stream *s, const struct message *m, const struct flow *flow)
{
	struct export_count count = count_flow(flow);

	for (unsigned int i = 0; i < s->count; i++) {
		struct collector *c = s->members[i];

		if (m && m->members >> i & 1) {
			account_queue(&c->account, &count);
			continue;
		}
		count_add(&c->account.stats.given, &count);
		account_lose(&c->account, EXPORT_LOSS_QUEUE_FULL, &count);
		c->queue->lost++;
	}
}

/* Sets a new base when the flow's times cannot be told by that of the message, or of the next one. */
static bool move_base(struct stream *s, const struct message *m, const struct flow *flow,
		      int64_t clock_ns)
{
	uint64_t start_ms = (flow->record.first_ns + (uint64_t)clock_ns) / NSEC_PER_MSEC;

	if (start_ms - (m ? m->base_ms : *s->base_ms) < BASE_SPAN_MS)
		return false;
	*s->base_ms = start_ms - MIN(start_ms, STREAM_BASE_AHEAD_MS);
	return true;
}

/* The message for this flow; NULL when no member has room.  Those of NetFlow v9 have one base of times. */
static struct message *find_message(struct stream *s, unsigned int index, const struct flow *flow,
				    int64_t clock_ns)
{
	struct message *m = s->open[index];

	if (s->encoding->protocol->id == PROTOCOL_NETFLOW9 && move_base(s, m, flow, clock_ns)) {
		if (m)
			close_message(s, index);
		m = NULL;
	}
	if (!m)
		m = s->open[index] = open_message(s, index);
	return m;
}

/* A record with strings, whose length decides which message it goes to: into s->record.  Returns its octets. */
static size_t encode_variable(struct stream *s, unsigned int index, const struct flow *flow,
			      int64_t clock_ns, unsigned int *ret_cut)
{
	const struct export_context *exports = s->count ? s->members[0]->context : NULL;
	const struct record_context context = {
		.offset_ns = clock_ns,
		.interfaces = exports ? exports->interfaces : NULL,
		.interface_count = exports ? exports->interface_count : 0,
	};
	size_t length = record_encode(s->record, s->room, &s->encoding->profile->templates[index],
				      s->encoding->protocol->id, flow, &context, ret_cut);

	if (s->open[index] && s->open[index]->length + length > s->room)
		close_message(s, index);
	return length;
}

static void put_variable(struct stream *s, struct message *m, size_t length, unsigned int cut)
{
	memcpy(m->data + m->length, s->record, length);
	for (unsigned int i = 0; cut && i < s->count; i++)
		if (m->members >> i & 1)
			s->members[i]->account.stats.cut += cut;
}

void stream_add(struct stream *s, const struct flow *flow, int64_t clock_ns)
{
	unsigned int index = flow_template_index(flow), cut = 0;
	bool variable = s->variable >> index & 1;
	enum protocol_id p = s->encoding->protocol->id;
	const struct flow_template *t;
	struct message *m;
	size_t length = 0;

	if (variable)
		length = encode_variable(s, index, flow, clock_ns, &cut);
	m = find_message(s, index, flow, clock_ns);
	count_record(s, m, flow);
	if (!m)
		return;
	t = m->template;
	if (variable) {
		put_variable(s, m, length, cut);
	} else {
		length = t->length[p];
		t->encode[p](m->data + m->length, t, flow,
			     &(struct record_context){.offset_ns = clock_ns,
						      .base_ms = m->base_ms});
	}
	m->amounts[m->records++] =
		(struct message_amount){flow->record.packets, flow->record.octets};
	m->length += (uint16_t)length;
	m->newest_ns = MAX(m->newest_ns, flow_last_ns(flow) + (uint64_t)clock_ns);
	/* No room for the shortest record. */
	if (m->length + t->length[p] > s->room)
		close_message(s, index);
}

bool stream_has_room(const struct stream *s, unsigned int member, const struct flow *flow)
{
	unsigned int index = flow_template_index(flow);
	const struct message *m = s->open[index];

	return m ? m->members >> member & 1 : has_room(s->members[member], index);
}

void stream_flush(struct stream *s)
{
	for (unsigned int i = 0; i < PROFILE_TEMPLATES_MAX; i++) {
		if (s->open[i])
			close_message(s, i);
	}
}

/* In IPFIX times are those of the wall clock; in NetFlow v9 the base alone is. */
void message_move(struct message *m, int64_t ms)
{
	const struct protocol *protocol = m->stream->encoding->protocol;
	const struct flow_template *t = m->template;
	uint8_t *at = m->data;

	m->base_ms += (uint64_t)ms;
	m->newest_ns += (uint64_t)ms * NSEC_PER_MSEC;
	if (protocol->id != PROTOCOL_IPFIX)
		return;
	while (at < m->data + m->length) {
		for (unsigned int i = 0; i < t->count; i++) {
			const struct field *field = &flow_fields[t->fields[i]];
			size_t prefix, length = value_length(field, at, &prefix);

			if (field->element->type == ELEMENT_TYPE_MSEC)
				wire_store(at, wire_load(at, 8) + (uint64_t)ms, 8);
			at += prefix + length;
		}
	}
}
