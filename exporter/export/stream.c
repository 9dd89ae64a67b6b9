/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>
#include "exporter/export/context.h"
#include "exporter/export/stream.h"

/*
 * NetFlow v9: times are below 2^31 ms after the base, which is set anew, a day before the record, when
 * one is not: so they neither wrap nor lie before it.
 */
#define BASE_SPAN_MS (1ull << 31)

static uint16_t records_max(const struct stream *s)
{
	enum protocol_id p = s->protocol->id;
	uint16_t shortest = s->message_max;

	for (unsigned int i = 0; i < PROFILE_TEMPLATES_MAX; i++)
		if (profile_has(s->profile, i))
			shortest = MIN(shortest, s->profile->templates[i].length[p]);
	return s->message_max / shortest;
}

void stream_init(struct stream *s, const struct protocol *protocol, const struct profile *profile,
		 uint16_t message_max)
{
	*s = (struct stream){.protocol = protocol, .profile = profile, .message_max = message_max};
}

int stream_join(struct stream *s, struct collector *c)
{
	struct pool pool;
	int r;

	if (!pool_idle(&s->pool))
		return -EBUSY;
	r = pool_init(&pool, s->pool.slots + c->queue->slots, s->message_max, records_max(s));
	if (r < 0)
		return r;
	pool_done(&s->pool);
	s->pool = pool;
	s->members[s->count++] = c;
	return 0;
}

void stream_done(struct stream *s)
{
	pool_done(&s->pool);
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
	m = pool_take(&s->pool);
	if (!m)
		return NULL;
	m->members = members;
	m->drops = format_of(index)->half;
	for (unsigned int i = 0; i < s->count; i++)
		if (members >> i & 1)
			queue_reserve(s->members[i]->queue, m);
	m->template = &s->profile->templates[index];
	m->base_ms = s->base_ms;
	return m;
}

static void close_message(struct stream *s, unsigned int index)
{
	struct message *m = TAKE_PTR(s->open[index]);

	m->references++; /* a member may send it at once */
	for (unsigned int i = 0; i < s->count; i++) {
		struct collector *c = s->members[i];

		if (!(m->members >> i & 1))
			continue;
		queue_push(c->queue, m);
		if (c->ops->pushed)
			c->ops->pushed(c);
	}
	m->references--;
	pool_put(&s->pool, m);
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

	if (start_ms - (m ? m->base_ms : s->base_ms) < BASE_SPAN_MS)
		return false;
	s->base_ms = start_ms - MIN(start_ms, STREAM_BASE_AHEAD_MS);
	return true;
}

/* Octets that records can have in a message. */
static size_t room(const struct stream *s)
{
	return s->message_max - (s->protocol->header + SET_HEADER + s->protocol->align - 1u);
}

/* The message for this flow; NULL when no member has room.  Those of NetFlow v9 have one base of times. */
static struct message *find_message(struct stream *s, unsigned int index, const struct flow *flow,
				    int64_t clock_ns)
{
	struct message *m = s->open[index];

	if (s->protocol->id == PROTOCOL_NETFLOW9 && move_base(s, m, flow, clock_ns)) {
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
	size_t length = record_encode(s->record, room(s), &s->profile->templates[index],
				      s->protocol->id, flow, &context, ret_cut);

	if (s->open[index] && s->open[index]->length + length > room(s))
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
	const struct flow_template *t = &s->profile->templates[index];
	enum protocol_id p = s->protocol->id;
	bool variable = t->variable && p == PROTOCOL_IPFIX;
	size_t length = t->length[p];
	struct message *m;

	if (variable)
		length = encode_variable(s, index, flow, clock_ns, &cut);
	m = find_message(s, index, flow, clock_ns);
	count_record(s, m, flow);
	if (!m)
		return;
	if (variable)
		put_variable(s, m, length, cut);
	else
		t->encode[p](m->data + m->length, t, flow,
			     &(struct record_context){.offset_ns = clock_ns, .base_ms = m->base_ms});
	m->amounts[m->records++] =
		(struct message_amount){flow->record.packets, flow->record.octets};
	m->length += (uint16_t)length;
	m->newest_ns = MAX(m->newest_ns, flow_last_ns(flow) + (uint64_t)clock_ns);
	/* No room for the shortest record. */
	if ((size_t)m->length + t->length[p] > room(s))
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
static void move_message(struct message *m, const struct protocol *protocol, int64_t ms)
{
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

void stream_move_clock(struct stream *s, int64_t ms)
{
	for (unsigned int i = 0; i < PROFILE_TEMPLATES_MAX; i++) {
		if (!s->open[i])
			continue;
		move_message(s->open[i], s->protocol, ms);
		s->open[i]->moved = true;
	}
	stream_flush(s);
	s->base_ms += (uint64_t)ms;
	for (unsigned int turn = 0; turn < 2; turn++) {
		for (unsigned int i = 0; i < s->count; i++) {
			struct queue *q = s->members[i]->queue;

			for (uint32_t j = 0; j < q->count; j++) {
				struct message *m = queue_at(q, j)->message;

				/* Several queues may hold it. */
				if (!turn && !m->moved)
					move_message(m, s->protocol, ms);
				m->moved = !turn;
			}
		}
	}
}
