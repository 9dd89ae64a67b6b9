/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <poll.h>
#include "exporter/export/announce.h"
#include "exporter/export/sender.h"
#include "exporter/export/stream.h"

#define BATCH	 64 /* messages that are handed over at once */
#define TURNS	 16 /* batches in a row, of what has no pace: the loop has other things to do */
#define PACE_NS	 (10 * NSEC_PER_MSEC)
#define RETRY_NS (1 * NSEC_PER_SEC) /* after templates that could not go */
#define ZEROS	 4		    /* octets of padding, more than any set needs */

/* Part of a message: as many of its records as the transport takes at once. */
struct slice {
	uint16_t start; /* the first record */
	uint16_t records;
	uint16_t octets; /* in front of them in the message */
	uint16_t length; /* octets of them */
	uint8_t header[PROTOCOL_HEADER_MAX + SET_HEADER];
};

struct batch {
	struct slice slices[BATCH];
	struct transport_message messages[BATCH];
	unsigned int count;
};

static uint64_t export_ms(const struct sender *s, uint64_t base_ms)
{
	const struct export_context *context = s->c->context;

	if (s->transport->ops->by_capture && context->timed)
		return context->time_ms;
	return collector_wall_ms(s->c, base_ms);
}

/* A message has been handed over. */
static void note_sent(struct sender *s, const struct transport_message *m, uint64_t now_ns)
{
	session_sent(&s->c->session, m->last_template, now_ns);
	s->credit_ns -= MIN(s->credit_ns, s->transport->ops->message_ns);
}

/* Sends templates or options: as transport_ops.send(). */
static int send_announcement(struct sender *s, struct announce_message *m, uint64_t now_ns)
{
	struct session *session = &s->c->session;
	struct transport_message message = {
		.parts = {{m->data, m->header.length}},
		.part_count = 1,
		.length = m->header.length,
		.last_template = m->kind == ANNOUNCE_TEMPLATES && !m->next,
	};
	int r;

	m->header.wall_ms = export_ms(s, m->header.base_ms);
	m->header.sequence = *session_sequence(session, m->sequence);
	session_put_header(session, m->data, &m->header, m->sequence, 0);
	r = s->transport->ops->send(s->transport, &message, 1, now_ns);
	if (r <= 0)
		return r;
	session_advance(session, m->sequence, m->data_records);
	announce_advance(s->c, m);
	s->c->account.stats.template_messages += m->kind == ANNOUNCE_TEMPLATES;
	note_sent(s, &message, now_ns);
	return r;
}

/* What the transport knows to be missing at the other end. */
static void take_owed(struct sender *s)
{
	unsigned int owed = s->transport->owed;

	if (owed & TRANSPORT_OWES_TEMPLATES)
		s->c->session.pending |= 1u << ANNOUNCE_TEMPLATES;
	if (owed & TRANSPORT_OWES_OPTIONS)
		s->c->session.pending |= ANNOUNCE_OPTIONS;
	s->transport->owed = 0;
}

static bool templates_fit(const struct sender *s)
{
	return announce_fits(s->c, s->transport->ops->limit(s->transport));
}

/*
 * 0: the templates fit into what the transport takes; else as transport_ops.send().  Then nothing is sent, for nobody could
 * read it.  The transport is told now and then, so that it looks at the path anew, and says so in the state.
 */
static int find_room(struct sender *s, uint64_t now_ns)
{
	int r;

	if (templates_fit(s))
		return 0;
	if (now_ns < s->narrow_ns)
		return -EMSGSIZE;
	s->narrow_ns = now_ns + RETRY_NS;
	r = s->transport->ops->send(s->transport, NULL, 0, now_ns);
	if (r < 0 && r != -EMSGSIZE)
		return r;
	return templates_fit(s) ? 0 : -EMSGSIZE;
}

static int send_announcements(struct sender *s, uint64_t now_ns)
{
	const struct transport_ops *ops = s->transport->ops;
	struct announce_message m;

	for (;;) {
		enum transport_takes takes = ops->takes(s->transport, now_ns);
		int r;

		take_owed(s);
		if (takes == TRANSPORT_PROBE)
			s->c->session.pending |= 1u << ANNOUNCE_TEMPLATES;
		else if (takes == TRANSPORT_ALL)
			session_step(&s->c->session, now_ns);
		if (takes == TRANSPORT_NOTHING || s->credit_ns < ops->message_ns)
			return 0;
		r = find_room(s, now_ns);
		if (r < 0)
			return r;
		if (!announce_build(s->c, ops->limit(s->transport), &m) ||
		    (takes == TRANSPORT_PROBE && m.kind != ANNOUNCE_TEMPLATES))
			return 0;
		r = send_announcement(s, &m, now_ns);
		if (r < 0)
			return r;
	}
}

/* The encoding of what leaves next: older generations of streams come first. */
static struct encoding *next_encoding(const struct sender *s)
{
	if (s->queue.count)
		return queue_at(&s->queue, 0)->message->stream->encoding;
	return s->c->stream ? s->c->stream->encoding : s->c->announced;
}

/*
 * Templates follow what leaves: those of another encoding are told between the last message of the one and the first of
 * the other.  Returns whether there are any to tell.
 */
static bool follow_queue(struct sender *s, uint64_t now_ns)
{
	struct encoding *next = next_encoding(s), *before = s->c->announced;
	bool other;

	if (next == before)
		return false;
	other = !profile_equal(next->profile, before->profile);
	s->c->announced = encoding_ref(next);
	encoding_unref(before);
	if (other)
		session_owe_templates(&s->c->session, now_ns);
	return other;
}

/* Octets of records that fit into a message. */
static size_t octets_max(const struct sender *s)
{
	const struct protocol *p = s->c->session.protocol;
	unsigned int overhead = p->header + SET_HEADER + p->align - 1u;
	unsigned int limit = s->transport->ops->limit(s->transport);

	return limit <= overhead ? 0 : limit - overhead;
}

/* How many of the records from `octets` on fit; ret_length: their octets. */
static uint16_t records_in(const struct message *m, enum protocol_id p, size_t octets,
			   uint16_t start, size_t most, size_t *ret_length)
{
	uint16_t records = m->records - start, fixed = m->template->length[p];
	size_t length = 0;

	if (!m->template->variable || p != PROTOCOL_IPFIX) {
		records = (uint16_t)MIN(most / fixed, (size_t)records);
		*ret_length = (size_t)records * fixed;
		return records;
	}
	for (uint16_t i = 0; i < records; i++) {
		size_t next = record_length(m->template, p, m->data + octets + length);

		if (length + next > most) {
			records = i;
			break;
		}
		length += next;
	}
	*ret_length = length;
	return records;
}

static struct export_count slice_count(const struct message *m, uint16_t start, uint16_t records)
{
	struct export_count count = {.records = records};

	for (unsigned int i = start; i < (unsigned int)start + records; i++) {
		count.packets += m->amounts[i].packets;
		count.octets += m->amounts[i].octets;
	}
	return count;
}

static void add_slice(struct sender *s, struct batch *b, struct queue_entry *entry,
		      const struct slice *part, uint32_t *sequence)
{
	static const uint8_t zeros[ZEROS];
	struct session *session = &s->c->session;
	const struct protocol *p = session->protocol;
	const struct message *m = entry->message;
	unsigned int length = part->length, records = part->records;
	unsigned int padding = protocol_padding(p, length), i = b->count++;
	struct slice *slice = &b->slices[i];
	struct protocol_header header = {
		.length = (uint16_t)(p->header + SET_HEADER + length + padding),
		.records = part->records,
		.wall_ms = export_ms(s, m->base_ms),
		.base_ms = m->base_ms,
	};

	if (!part->start && entry->lost)
		*sequence += protocol_steps(p, entry->lost);
	header.sequence = *sequence;
	*sequence += protocol_steps(p, records);
	*slice = *part;
	session_put_header(session, slice->header, &header, SEQUENCE_DOMAIN,
			   m->newest_ns / NSEC_PER_MSEC);
	wire_store16(slice->header + p->header, m->template->id);
	wire_store16(slice->header + p->header + 2, (uint16_t)(SET_HEADER + length + padding));
	b->messages[i] = (struct transport_message){
		.parts = {{slice->header, (size_t)p->header + SET_HEADER},
			  {m->data + part->octets, length},
			  {(void *)zeros, padding}},
		.part_count = padding ? 3 : 2,
		.length = header.length,
		.count = slice_count(m, part->start, part->records),
	};
}

/* What is queued, up to `count` messages and what the rate leaves. */
static void fill_batch(struct sender *s, struct batch *b, unsigned int count)
{
	uint32_t sequence = s->c->session.sequence[SEQUENCE_DOMAIN];
	size_t most = octets_max(s);
	uint64_t debt_ns = s->debt_ns;

	b->count = 0;
	for (uint32_t i = 0; i < s->queue.count; i++) {
		struct queue_entry *entry = queue_at(&s->queue, i);
		struct slice part = {.start = entry->start, .octets = entry->octets};

		if (entry->message->stream->encoding != s->c->announced)
			return; /* follow_queue() first */

		while (part.start < entry->message->records) {
			size_t length;

			part.records = records_in(entry->message, s->c->session.protocol->id,
						  part.octets, part.start, most, &length);
			part.length = (uint16_t)length;
			if (b->count == count || debt_ns >= PACE_NS || !part.records)
				return;
			add_slice(s, b, entry, &part, &sequence);
			part.start += part.records;
			part.octets += part.length;
			debt_ns += s->rate ? part.records * NSEC_PER_SEC / s->rate : 0;
		}
	}
}

/* The oldest message has so many records less, of that length, which went or are lost. */
static void consume(struct sender *s, uint16_t records, size_t length)
{
	struct queue_entry *entry = queue_at(&s->queue, 0);

	if (!entry->start && entry->lost)
		session_advance(&s->c->session, SEQUENCE_DOMAIN, entry->lost);
	session_advance(&s->c->session, SEQUENCE_DOMAIN, records);
	entry->start += records;
	entry->octets += (uint16_t)length;
	if (entry->start == entry->message->records)
		queue_pop(&s->queue);
}

/* The oldest message, if there is one, cannot be sent. */
static void lose_oldest(struct sender *s)
{
	const struct queue_entry *entry = queue_at(&s->queue, 0);
	struct export_count count;
	uint16_t records;

	if (!s->queue.count)
		return;
	records = entry->message->records - entry->start;
	count = slice_count(entry->message, entry->start, records);
	account_drop(&s->c->account, EXPORT_LOSS_SEND_ERROR, &count);
	consume(s, records, entry->message->length - entry->octets);
}

/* Nor can those whose templates cannot: what is queued behind them may have others. */
static void lose_unreadable(struct sender *s)
{
	while (s->queue.count && next_encoding(s) == s->c->announced)
		lose_oldest(s);
}

/* Nor can records that are longer than what the transport takes at once: its limit may have fallen. */
static void lose_too_long(struct sender *s)
{
	enum protocol_id p = s->c->session.protocol->id;

	while (s->queue.count) {
		const struct queue_entry *entry = queue_at(&s->queue, 0);
		const struct message *m = entry->message;
		size_t length = record_length(m->template, p, m->data + entry->octets);
		struct export_count count = slice_count(m, entry->start, 1);

		if (length <= octets_max(s))
			return;
		account_drop(&s->c->account, EXPORT_LOSS_SEND_ERROR, &count);
		consume(s, 1, length);
	}
}

/* Sends up to `count` messages: as transport_ops.send(). */
static int send_batch(struct sender *s, unsigned int count, uint64_t now_ns)
{
	struct batch b;
	int sent;

	lose_too_long(s);
	fill_batch(s, &b, count);
	sent = s->transport->ops->send(s->transport, b.messages, b.count, now_ns);
	for (int i = 0; i < sent; i++) {
		s->debt_ns += s->rate ? b.slices[i].records * NSEC_PER_SEC / s->rate : 0;
		note_sent(s, &b.messages[i], now_ns);
		consume(s, b.slices[i].records, b.slices[i].length);
	}
	return sent;
}

/* The message is to blame, or a packet filter's verdict on it, not the session. */
static bool about_message(int r)
{
	return r == -EMSGSIZE || r == -EPERM;
}

/* Likewise; what is to blame for a failure is lost. */
static int send_or_lose(struct sender *s, unsigned int count, uint64_t now_ns)
{
	int r = find_room(s, now_ns);

	if (r == -EMSGSIZE) {
		lose_unreadable(s);
		return 0;
	}
	if (r == 0)
		r = send_batch(s, count, now_ns);
	if (!about_message(r))
		return r;
	lose_oldest(s);
	return 0;
}

static void refill_credit(struct sender *s, uint64_t now_ns)
{
	uint64_t passed_ns = now_ns - s->credit_at_ns;

	s->credit_ns = MIN(s->transport->ops->burst_ns, s->credit_ns + passed_ns);
	s->debt_ns -= MIN(s->debt_ns, passed_ns);
	s->credit_at_ns = now_ns;
}

/* Messages that the pace leaves. */
static unsigned int pace_allows(const struct sender *s)
{
	uint64_t message_ns = s->transport->ops->message_ns;

	if (s->debt_ns >= PACE_NS)
		return 0;
	return message_ns ? (unsigned int)(s->credit_ns / message_ns) : BATCH;
}

/* Sends what may be sent now; returns what stopped it: 0 (nothing left, or the pace) or a negative errno. */
static int send_queue(struct sender *s, uint64_t now_ns)
{
	int r;

	follow_queue(s, now_ns);
	r = send_announcements(s, now_ns);
	/* If a message failed, data will fare alike, and be counted. */
	if (r < 0 && !about_message(r))
		return r;
	for (unsigned int turn = 0; s->queue.count && pace_allows(s) && turn < TURNS; turn++) {
		unsigned int allowed = s->transport->ops->allows(s->transport, now_ns);

		if (!allowed)
			break;
		r = send_or_lose(s, MIN(MIN(pace_allows(s), allowed), (unsigned int)BATCH), now_ns);
		if (r < 0)
			return r;
		r = follow_queue(s, now_ns) ? send_announcements(s, now_ns) : 0;
		if (r < 0 && !about_message(r))
			return r;
	}
	return 0;
}

/* Time until there is something to send, after what could be sent has gone. */
static uint64_t next_wait(const struct sender *s, uint64_t now_ns)
{
	struct transport *t = s->transport;
	uint64_t wait_ns = MAX(t->ops->wait_ns(t, now_ns), NSEC_PER_MSEC);

	if (t->ops->takes(t, now_ns) == TRANSPORT_PROBE || !templates_fit(s))
		return RETRY_NS; /* it failed, or would have gone */
	if (t->ops->takes(t, now_ns) != TRANSPORT_ALL)
		return wait_ns;
	if (s->queue.count && t->ops->allows(t, now_ns))
		return MIN(wait_ns, MAX(t->ops->burst_ns - s->credit_ns,
					s->debt_ns >= PACE_NS ? s->debt_ns - PACE_NS + 1 : 0));
	if (s->credit_ns < t->ops->message_ns)
		return MIN(wait_ns, t->ops->burst_ns);
	return MIN(wait_ns, session_wait(&s->c->session, now_ns));
}

/* What stopped send_queue() is what is waited for. */
static void wait_for(struct sender *s, int r, uint64_t now_ns, struct collector_step *ret)
{
	struct transport *t = s->transport;

	take_owed(s);
	*ret = (struct collector_step){
		.wait_ns = UINT64_MAX, .fd = t->fd, .events = t->ops->events(t)};
	if (r == -EAGAIN) {
		ret->events |= POLLOUT;
		ret->wait_ns = MAX(t->ops->wait_ns(t, now_ns), NSEC_PER_MSEC);
	} else if (r == -ENOBUFS) {
		s->credit_ns = 0; /* the interface's queue is full */
		ret->wait_ns = PACE_NS;
	} else {
		ret->wait_ns = next_wait(s, now_ns);
	}
	ret->busy = s->queue.count || t->ops->busy(t);
	/* A full buffer is how a reliable transport keeps its pace, and of others a sign of congestion. */
	s->c->paced = (r == 0 || t->ops->reliable) && s->queue.count && s->debt_ns < PACE_NS &&
		      t->ops->keeps_up(t, now_ns);
}

int sender_step(struct sender *s, uint64_t now_ns, struct collector_step *ret)
{
	const struct transport_ops *ops = s->transport->ops;
	int r = ops->step(s->transport, now_ns), stopped = 0;

	if (r == 0) {
		refill_credit(s, now_ns);
		stopped = send_queue(s, now_ns);
		if (stopped == -EAGAIN || stopped == -ENOBUFS || stopped == 0)
			r = ops->step(s->transport, now_ns);
		else
			r = stopped;
	}
	if (r < 0) {
		s->c->paced = false;
		return r;
	}
	wait_for(s, stopped, now_ns, ret);
	return 0;
}

int sender_init(struct sender *s, struct collector *c, struct transport *transport, uint32_t slots,
		uint32_t rate)
{
	*s = (struct sender){
		.c = c,
		.transport = transport,
		.rate = rate,
	};
	c->session.reliable = transport->ops->reliable;
	c->session.timed = transport->ops->timed;
	c->queue = &s->queue;
	return queue_init(&s->queue, slots);
}

void sender_done(struct sender *s)
{
	if (s->transport)
		s->transport = s->transport->ops->free(s->transport);
	queue_done(&s->queue);
}

void sender_start(struct sender *s, uint64_t now_ns)
{
	s->credit_ns = s->transport->ops->burst_ns;
	s->credit_at_ns = now_ns;
	s->transport->owed = 0;
	session_start(&s->c->session, now_ns);
}
