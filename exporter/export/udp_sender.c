/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include "exporter/export/control.h"
#include "exporter/export/stream.h"
#include "exporter/export/udp.h"
#include "exporter/export/udp_history.h"
#include "exporter/export/udp_schedule.h"
#include "exporter/export/udp_sender.h"

/*
 * Pace: a default receive buffer (212992 octets) holds 92 datagrams of 1400 octets, so that no more
 * than 64 leave in a row, and 6400 a second.
 */
#define BATCH	  64
#define PACE_NS	  (10 * NSEC_PER_MSEC)
#define CREDIT_NS (PACE_NS / BATCH) /* what a message costs */

#define ZEROS 4 /* octets of padding, more than any set needs */

/* Part of a message: as many of its records as the path takes at once. */
struct slice {
	struct queue_entry *entry;
	uint32_t sequence;
	uint16_t start, records;
	uint8_t header[PROTOCOL_HEADER_MAX + SET_HEADER];
};

struct batch {
	struct slice slices[BATCH];
	struct iovec vectors[BATCH][3]; /* headers, records, padding */
	struct mmsghdr headers[BATCH];
	unsigned int count;
};

/* Nothing but probes goes to a collector that answers with ICMP errors: not each loss has one. */
static bool refuses(const struct udp_sender *s)
{
	return s->c->stats.state == COLLECTOR_REFUSED;
}

/* --- Sending */

static void note_sent(struct udp_sender *s, size_t bytes, uint64_t now_ns)
{
	struct collector_stats *stats = &s->c->stats;

	stats->messages++;
	stats->bytes += bytes;
	s->since_templates++;
	s->credit_ns -= MIN(s->credit_ns, CREDIT_NS);
	if (!s->probe_ns)
		s->probe_ns = now_ns;
	if (stats->state == COLLECTOR_FAILING)
		collector_set_state(s->c, COLLECTOR_UP, 0);
}

/* What the path takes, as far as the kernel knows.  Returns whether that is less than before. */
static bool read_limit(struct udp_sender *s)
{
	uint16_t before = s->limit;
	int max = udp_payload_max(s->fd);

	if (max >= 0)
		s->limit = MIN(s->message_max, (unsigned int)max);
	return s->limit < before;
}

/*
 * What to do after a failed send: 0 to send once more (an earlier datagram's ICMP error used it up, or
 * messages are shorter now), -EAGAIN to wait for the socket, -ENOBUFS to wait a little, any other errno
 * when it is hopeless.
 */
static int judge_failure(struct udp_sender *s, int error)
{
	if (error == EAGAIN)
		return -EAGAIN;
	if (error == EINTR || udp_read_answers(s))
		return 0;
	if (error == ECONNREFUSED) { /* this ICMP error did not fit the socket's error queue */
		udp_note_answer(s, &(struct udp_answer){.error = error});
		return 0;
	}
	if (error == EMSGSIZE && read_limit(s))
		return 0;
	s->c->stats.errors++;
	if (error == ENOBUFS)
		return -ENOBUFS;
	collector_set_state(s->c, COLLECTOR_FAILING, error);
	return -error;
}

/* Sends templates or options; 0, or what judge_failure() says. */
static int send_control(struct udp_sender *s, struct control_message *m, uint64_t now_ns)
{
	struct session *session = &s->c->session;

	m->header.wall_ms = collector_wall_ms(s->c, m->header.base_ms);
	m->header.sequence = *session_sequence(session, m->sequence);
	session_put_header(session, m->data, &m->header, m->sequence, 0);
	if (send(s->fd, m->data, m->header.length, 0) < 0)
		return judge_failure(s, errno);
	session_advance(session, m->sequence, m->data_records);
	control_advance(&s->c->control, m);
	note_sent(s, m->header.length, now_ns);
	if (m->kind == CONTROL_TEMPLATES && !m->next)
		udp_schedule_sent(s, now_ns);
	return 0;
}

static int send_controls(struct udp_sender *s, uint64_t now_ns)
{
	struct control_message m;
	int r;

	udp_schedule(s, now_ns);
	while (s->credit_ns >= CREDIT_NS && control_build(s->c, s->limit, &m)) {
		if (refuses(s) && m.kind != CONTROL_TEMPLATES)
			break;
		r = send_control(s, &m, now_ns);
		if (r < 0)
			return r;
		udp_schedule(s, now_ns);
	}
	return 0;
}

/* Records of the template that fit into a message. */
static unsigned int records_max(const struct udp_sender *s, const struct flow_template *t)
{
	const struct protocol *p = s->c->session.protocol;
	unsigned int overhead = p->header + SET_HEADER + p->align - 1u;

	return s->limit <= overhead ? 0 : (s->limit - overhead) / t->length[p->id];
}

static void add_slice(struct udp_sender *s, struct batch *b, struct queue_entry *entry,
		      uint16_t start, uint16_t records, uint32_t *sequence)
{
	static const uint8_t zeros[ZEROS];
	struct session *session = &s->c->session;
	const struct protocol *p = session->protocol;
	const struct message *m = entry->message;
	unsigned int record = m->template->length[p->id], length = records * record;
	unsigned int padding = protocol_padding(p, length), i = b->count++;
	struct slice *slice = &b->slices[i];
	struct protocol_header header = {
		.length = (uint16_t)(p->header + SET_HEADER + length + padding),
		.records = records,
		.wall_ms = collector_wall_ms(s->c, m->base_ms),
		.base_ms = m->base_ms,
	};

	if (!start && entry->lost)
		*sequence += protocol_steps(p, entry->lost);
	header.sequence = *sequence;
	*sequence += protocol_steps(p, records);
	*slice = (struct slice){
		.entry = entry, .sequence = header.sequence, .start = start, .records = records};
	session_put_header(session, slice->header, &header, SEQUENCE_DOMAIN,
			   m->newest_ns / NSEC_PER_MSEC);
	wire_store16(slice->header + p->header, m->template->id);
	wire_store16(slice->header + p->header + 2, (uint16_t)(SET_HEADER + length + padding));
	b->vectors[i][0] = (struct iovec){slice->header, (size_t)p->header + SET_HEADER};
	b->vectors[i][1] = (struct iovec){m->data + (size_t)start * record, length};
	b->vectors[i][2] = (struct iovec){(void *)zeros, padding};
	b->headers[i] = (struct mmsghdr){
		.msg_hdr = {.msg_iov = b->vectors[i], .msg_iovlen = padding ? 3 : 2}};
}

/* What is queued, up to `count` messages and what the rate leaves. */
static void fill_batch(struct udp_sender *s, struct batch *b, unsigned int count)
{
	uint32_t sequence = s->c->session.sequence[SEQUENCE_DOMAIN];
	uint64_t debt_ns = s->debt_ns;

	b->count = 0;
	for (uint32_t i = 0; i < s->queue.count; i++) {
		struct queue_entry *entry = queue_at(&s->queue, i);
		unsigned int max = records_max(s, entry->message->template);

		for (uint16_t start = entry->start; start < entry->message->records;) {
			unsigned int n = MIN(max, (unsigned int)entry->message->records - start);

			if (b->count == count || debt_ns >= PACE_NS || !n)
				return;
			add_slice(s, b, entry, start, (uint16_t)n, &sequence);
			start += (uint16_t)n;
			debt_ns += s->rate ? n * NSEC_PER_SEC / s->rate : 0;
		}
	}
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

/* The oldest message has so many records less, which went or are lost. */
static void consume(struct udp_sender *s, uint16_t records)
{
	struct queue_entry *entry = queue_at(&s->queue, 0);

	if (!entry->start && entry->lost)
		session_advance(&s->c->session, SEQUENCE_DOMAIN, entry->lost);
	session_advance(&s->c->session, SEQUENCE_DOMAIN, records);
	entry->start += records;
	if (entry->start == entry->message->records)
		queue_pop(&s->queue);
}

static void slice_sent(struct udp_sender *s, const struct slice *slice, size_t bytes,
		       uint64_t now_ns)
{
	struct export_count count =
		slice_count(slice->entry->message, slice->start, slice->records);

	s->history[s->history_next++ % UDP_HISTORY] = (struct udp_sent){slice->sequence, count};
	s->debt_ns += s->rate ? slice->records * NSEC_PER_SEC / s->rate : 0;
	count_move(&s->c->stats.queued, &s->c->stats.exported, &count);
	note_sent(s, bytes, now_ns);
	consume(s, slice->records);
}

/* The oldest message cannot be sent. */
static void lose_oldest(struct udp_sender *s)
{
	const struct queue_entry *entry = queue_at(&s->queue, 0);
	uint16_t records = entry->message->records - entry->start;
	struct export_count count = slice_count(entry->message, entry->start, records);

	count_remove(&s->c->stats.queued, &count);
	collector_lose(s->c, EXPORT_LOSS_SEND_ERROR, &count);
	consume(s, records);
}

/* Sends up to `count` messages; 0, or what judge_failure() says of the first that failed. */
static int send_batch(struct udp_sender *s, unsigned int count, uint64_t now_ns)
{
	struct batch b;
	int sent;

	fill_batch(s, &b, count);
	if (!b.count)
		return judge_failure(s, EMSGSIZE);
	sent = sendmmsg(s->fd, b.headers, b.count, 0);
	if (sent < 0)
		return judge_failure(s, errno);
	for (int i = 0; i < sent; i++)
		slice_sent(s, &b.slices[i], b.headers[i].msg_len, now_ns);
	return 0;
}

static void refill_credit(struct udp_sender *s, uint64_t now_ns)
{
	uint64_t passed_ns = now_ns - s->credit_at_ns;

	s->credit_ns = MIN(PACE_NS, s->credit_ns + passed_ns);
	s->debt_ns -= MIN(s->debt_ns, passed_ns);
	s->credit_at_ns = now_ns;
}

static bool may_send(const struct udp_sender *s)
{
	return s->credit_ns >= CREDIT_NS && s->debt_ns < PACE_NS;
}

/* The message is to blame, or a packet filter's verdict on it, not the socket. */
static bool about_message(int r)
{
	return r == -EMSGSIZE || r == -EPERM;
}

/* Sends what may be sent now; returns what stopped it: 0 (nothing left, or no credit) or a negative errno. */
static int send_queue(struct udp_sender *s, uint64_t now_ns)
{
	int r = send_controls(s, now_ns);

	if (r < 0 && !about_message(r))
		return r;
	/* If a message failed, data will fare alike, and be counted. */
	while (s->queue.count && !refuses(s) && may_send(s)) {
		unsigned int count = (unsigned int)(s->credit_ns / CREDIT_NS);

		r = send_batch(s, MIN(count, (unsigned int)BATCH), now_ns);
		if (r < 0 && !about_message(r))
			return r;
		if (r < 0)
			lose_oldest(s);
	}
	return 0;
}

void udp_sender_step(struct udp_sender *s, uint64_t now_ns, struct collector_step *ret)
{
	int r;

	*ret = (struct collector_step){.wait_ns = UINT64_MAX, .fd = -1};
	udp_read_answers(s);
	udp_note_recovery(s, now_ns);
	refill_credit(s, now_ns);
	if (!s->since_templates)
		read_limit(s);
	r = send_queue(s, now_ns);
	udp_read_answers(s);
	if (r == -EAGAIN) {
		ret->fd = s->fd;
		ret->events = POLLOUT;
	} else if (r == -ENOBUFS) {
		s->credit_ns = 0; /* the interface's queue is full */
		ret->wait_ns = PACE_NS;
	} else if (r < 0) {
		s->broken = true;
	} else if (s->queue.count && !refuses(s)) {
		ret->wait_ns = MAX(PACE_NS - s->credit_ns,
				   s->debt_ns > PACE_NS ? s->debt_ns - PACE_NS : 0);
	} else {
		ret->wait_ns = s->credit_ns < CREDIT_NS ? PACE_NS : udp_schedule_wait(s, now_ns);
	}
	ret->busy = s->queue.count;
	s->c->paced = r == 0 && s->queue.count && !refuses(s) && s->debt_ns < PACE_NS;
}

int udp_sender_init(struct udp_sender *s, struct collector *c, uint32_t rate)
{
	*s = (struct udp_sender){
		.c = c,
		.fd = -1,
		.message_max = c->stream->message_max,
		.limit = c->stream->message_max,
		.rate = rate,
	};
	c->queue = &s->queue;
	return queue_init(&s->queue, &c->stream->pool, c->context->options.queue_messages);
}

void udp_sender_done(struct udp_sender *s)
{
	closep(&s->fd);
	queue_done(&s->queue);
}

void udp_sender_close(struct udp_sender *s)
{
	closep(&s->fd);
	s->fd = -1;
	s->broken = false;
	s->c->paced = false;
}

void udp_sender_open(struct udp_sender *s, int fd, uint64_t now_ns)
{
	udp_sender_close(s);
	s->fd = fd;
	s->opened_ns = now_ns;
	s->copies = 0;
	s->credit_ns = PACE_NS;
	s->credit_at_ns = now_ns;
	s->history_next = 0;
	for (unsigned int i = 0; i < UDP_HISTORY; i++)
		s->history[i] = (struct udp_sent){0};
	for (unsigned int i = 0; i < _SEQUENCE_MAX; i++)
		s->c->session.sequence[i] = 0;
	s->c->control = (struct control){0};
	udp_schedule_start(s, now_ns);
	read_limit(s);
}
