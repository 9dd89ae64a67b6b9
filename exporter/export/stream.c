/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
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

	for (unsigned int i = 0; i < s->profile->families; i++)
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

static bool has_room(const struct collector *c, enum flow_family family)
{
	return family >= _FAMILY_FLOW_MAX ? queue_has_share(c->queue) : queue_has_room(c->queue);
}

/* With a place for it at each member that has room; NULL when none has. */
static struct message *open_message(struct stream *s, enum flow_family family)
{
	struct message *m;
	uint32_t members = 0;

	for (unsigned int i = 0; i < s->count; i++)
		if (has_room(s->members[i], family))
			members |= 1u << i;
	if (!members)
		return NULL;
	m = pool_take(&s->pool);
	if (!m)
		return NULL;
	m->members = members;
	m->drops = family >= _FAMILY_FLOW_MAX;
	for (unsigned int i = 0; i < s->count; i++)
		if (members >> i & 1)
			queue_reserve(s->members[i]->queue, m);
	m->template = &s->profile->templates[family];
	m->base_ms = s->base_ms;
	return m;
}

static void close_message(struct stream *s, enum flow_family family)
{
	struct message *m = TAKE_PTR(s->open[family]);

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

/* The message for this flow, with room for a record; NULL when no member has room. */
static struct message *find_message(struct stream *s, const struct flow *flow, int64_t clock_ns)
{
	enum flow_family family = flow_family(flow);
	struct message *m = s->open[family];

	if (s->protocol->id == PROTOCOL_NETFLOW9 && move_base(s, m, flow, clock_ns)) {
		if (m)
			close_message(s, family);
		m = NULL;
	}
	if (!m)
		m = s->open[family] = open_message(s, family);
	return m;
}

void stream_add(struct stream *s, const struct flow *flow, int64_t clock_ns)
{
	struct message *m = find_message(s, flow, clock_ns);
	struct record_clock clock = {.offset_ns = clock_ns};
	const struct flow_template *t;
	uint16_t length;

	count_record(s, m, flow);
	if (!m)
		return;
	t = m->template;
	length = t->length[s->protocol->id];
	clock.base_ms = m->base_ms;
	t->encode[s->protocol->id](m->data + m->length, t, flow, &clock);
	m->amounts[m->records++] =
		(struct message_amount){flow->record.packets, flow->record.octets};
	m->length += length;
	m->newest_ns = MAX(m->newest_ns, flow_last_ns(flow) + (uint64_t)clock_ns);
	if (s->protocol->header + SET_HEADER + m->length + length + s->protocol->align - 1 >
	    s->message_max)
		close_message(s, flow_family(flow));
}

bool stream_has_room(const struct stream *s, unsigned int member, const struct flow *flow)
{
	const struct message *m = s->open[flow_family(flow)];

	return m ? m->members >> member & 1 : has_room(s->members[member], flow_family(flow));
}

void stream_flush(struct stream *s)
{
	for (unsigned int family = 0; family < _FAMILY_MAX; family++) {
		if (s->open[family])
			close_message(s, (enum flow_family)family);
	}
}

/* In IPFIX times are those of the wall clock; in NetFlow v9 the base alone is. */
static void move_message(struct message *m, const struct protocol *protocol, int64_t ms)
{
	const struct flow_template *t = m->template;
	uint16_t record = t->length[protocol->id];

	m->base_ms += (uint64_t)ms;
	m->newest_ns += (uint64_t)ms * NSEC_PER_MSEC;
	if (protocol->id != PROTOCOL_IPFIX)
		return;
	for (uint8_t *at = m->data; at < m->data + m->length; at += record) {
		uint8_t *value = at;

		for (unsigned int i = 0; i < t->count; i++) {
			const struct field *field = &flow_fields[t->fields[i]];

			if (field->type == FIELD_TYPE_MSEC)
				wire_store(value, wire_load(value, 8) + (uint64_t)ms, 8);
			value += field->length;
		}
	}
}

void stream_move_clock(struct stream *s, int64_t ms)
{
	for (unsigned int family = 0; family < _FAMILY_MAX; family++) {
		if (!s->open[family])
			continue;
		move_message(s->open[family], s->protocol, ms);
		s->open[family]->moved = true;
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
