/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include "exporter/export/collector.h"
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

	for (unsigned int i = 0; i < e->profile->families; i++)
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

static int pool_init(struct pool *p, uint32_t count, uint16_t size, uint16_t records)
{
	*p = (struct pool){.count = count, .records = records};
	p->slot_size = round_up(data_at(p) + size);
	p->slots = calloc(count, p->slot_size);
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
	for (unsigned int family = 0; family < _FAMILY_MAX; family++)
		if (s->open[family])
			message_put(TAKE_PTR(s->open[family]));
	unref(s);
	return NULL;
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
	m = take_message(s);
	if (!m)
		return NULL;
	m->members = members;
	m->drops = family >= _FAMILY_FLOW_MAX;
	for (unsigned int i = 0; i < s->count; i++)
		if (members >> i & 1)
			queue_reserve(s->members[i]->queue, m);
	m->template = &s->encoding->profile->templates[family];
	m->base_ms = *s->base_ms;
	return m;
}

static void close_message(struct stream *s, enum flow_family family)
{
	struct message *m = TAKE_PTR(s->open[family]);

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

/* The message for this flow, with room for a record; NULL when no member has room. */
static struct message *find_message(struct stream *s, const struct flow *flow, int64_t clock_ns)
{
	enum flow_family family = flow_family(flow);
	struct message *m = s->open[family];

	if (s->encoding->protocol->id == PROTOCOL_NETFLOW9 && move_base(s, m, flow, clock_ns)) {
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
	const struct protocol *protocol = s->encoding->protocol;
	struct message *m = find_message(s, flow, clock_ns);
	struct record_clock clock = {.offset_ns = clock_ns};
	const struct flow_template *t;
	uint16_t length;

	count_record(s, m, flow);
	if (!m)
		return;
	t = m->template;
	length = t->length[protocol->id];
	clock.base_ms = m->base_ms;
	t->encode[protocol->id](m->data + m->length, t, flow, &clock);
	m->amounts[m->records++] =
		(struct message_amount){flow->record.packets, flow->record.octets};
	m->length += length;
	m->newest_ns = MAX(m->newest_ns, flow_last_ns(flow) + (uint64_t)clock_ns);
	if (protocol->header + SET_HEADER + m->length + length + protocol->align - 1 >
	    s->encoding->message_max)
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
void message_move(struct message *m, int64_t ms)
{
	const struct protocol *protocol = m->stream->encoding->protocol;
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
