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

#define RETRIES_MAX 16 /* sends in a row that answers to earlier ones use up */

#define ZEROS 4 /* octets of padding, more than any set needs */

/* Part of a message: as many of its records as the path takes at once. */
struct slice {
	struct queue_entry *entry;
	uint16_t start, records;
	uint8_t header[PROTOCOL_HEADER_MAX + SET_HEADER];
};

struct batch {
	struct slice slices[BATCH];
	struct iovec vectors[BATCH][3]; /* headers, records, padding */
	struct mmsghdr headers[BATCH];
	unsigned int count;
};

/* --- Sending */

static void note_sent(struct udp_sender *s, const uint8_t *head, size_t bytes,
		      const struct export_count *count, uint64_t now_ns)
{
	struct collector_stats *stats = &s->c->stats;

	stats->messages++;
	stats->bytes += bytes;
	udp_note_sent(s, head, count, now_ns);
	s->since_templates++;
	s->credit_ns -= MIN(s->credit_ns, CREDIT_NS);
	if (stats->state != COLLECTOR_FAILING || !udp_health_mended(&s->health, now_ns))
		return;
	if (s->health.phase == UDP_UP)
		collector_set_state(s->c, COLLECTOR_UP, 0);
	else /* it was dead before its socket failed, and nothing has been heard of it since */
		collector_set_state(s->c, COLLECTOR_REFUSED,
				    s->health.unreachable ? EHOSTUNREACH : ECONNREFUSED);
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
static int judge_failure(struct udp_sender *s, int error, uint64_t now_ns)
{
	if (error == EAGAIN)
		return -EAGAIN;
	/* ECONNREFUSED: this ICMP error did not fit the socket's error queue */
	if (error == EINTR || udp_read_answers(s, now_ns) || error == ECONNREFUSED)
		return s->retries++ < RETRIES_MAX ? 0 : -ENOBUFS;
	if (error == EMSGSIZE && read_limit(s))
		return 0;
	s->c->stats.errors++;
	if (error == ENOBUFS)
		return -ENOBUFS;
	udp_health_failed(&s->health, now_ns);
	collector_set_state(s->c, COLLECTOR_FAILING, error);
	return -error;
}

/* Sends templates or options; 0, or what judge_failure() says. */
static int send_control(struct udp_sender *s, struct control_message *m, uint64_t now_ns)
{
	static const struct export_count none;
	struct session *session = &s->c->session;

	m->header.wall_ms = collector_wall_ms(s->c, m->header.base_ms);
	m->header.sequence = *session_sequence(session, m->sequence);
	session_put_header(session, m->data, &m->header, m->sequence, 0);
	if (send(s->fd, m->data, m->header.length, 0) < 0)
		return judge_failure(s, errno, now_ns);
	session_advance(session, m->sequence, m->data_records);
	control_advance(&s->c->control, m);
	note_sent(s, m->data, m->header.length, &none, now_ns);
	if (m->kind == CONTROL_TEMPLATES && !m->next)
		udp_schedule_sent(s, now_ns);
	return 0;
}

static int send_controls(struct udp_sender *s, uint64_t now_ns)
{
	struct control_message m;
	int r;

	for (;;) {
		bool dead = s->health.phase == UDP_DEAD;

		udp_schedule(s, now_ns);
		if (s->credit_ns < CREDIT_NS ||
		    (dead && !udp_health_probe_due(&s->health, now_ns)) ||
		    !control_build(s->c, s->limit, &m) || (dead && m.kind != CONTROL_TEMPLATES))
			return 0;
		r = send_control(s, &m, now_ns);
		if (r < 0)
			return r;
	}
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
	*slice = (struct slice){.entry = entry, .start = start, .records = records};
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

	udp_health_sent(&s->health, 1, now_ns);
	s->debt_ns += s->rate ? slice->records * NSEC_PER_SEC / s->rate : 0;
	count_move(&s->c->stats.queued, &s->c->stats.exported, &count);
	note_sent(s, slice->header, bytes, &count, now_ns);
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
		return judge_failure(s, EMSGSIZE, now_ns);
	sent = sendmmsg(s->fd, b.headers, b.count, 0);
	if (sent < 0)
		return judge_failure(s, errno, now_ns);
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
	while (s->queue.count && may_send(s)) {
		unsigned int count = (unsigned int)(s->credit_ns / CREDIT_NS);
		unsigned int allowed = udp_health_allows(&s->health, now_ns);

		if (!allowed)
			break;
		r = send_batch(s, MIN(MIN(count, allowed), (unsigned int)BATCH), now_ns);
		if (r < 0 && !about_message(r))
			return r;
		if (r < 0)
			lose_oldest(s);
	}
	return 0;
}

/* Time until there is something to send, after what could be sent has gone. */
static uint64_t next_wait(const struct udp_sender *s, uint64_t now_ns)
{
	uint64_t wait_ns = MAX(udp_health_wait(&s->health, now_ns), NSEC_PER_MSEC);

	if (s->health.phase == UDP_DEAD)
		return wait_ns;
	if (s->queue.count && udp_health_allows(&s->health, now_ns))
		return MIN(wait_ns, MAX(PACE_NS - s->credit_ns,
					s->debt_ns > PACE_NS ? s->debt_ns - PACE_NS : 0));
	if (s->credit_ns < CREDIT_NS)
		return MIN(wait_ns, PACE_NS);
	return MIN(wait_ns, udp_schedule_wait(s, now_ns));
}

void udp_sender_step(struct udp_sender *s, uint64_t now_ns, struct collector_step *ret)
{
	int r;

	*ret = (struct collector_step){.wait_ns = UINT64_MAX, .fd = -1};
	s->retries = 0;
	udp_read_answers(s, now_ns);
	udp_note_time(s, now_ns);
	refill_credit(s, now_ns);
	if (!s->since_templates)
		read_limit(s);
	r = send_queue(s, now_ns);
	udp_read_answers(s, now_ns);
	if (r == -EAGAIN) {
		ret->fd = s->fd;
		ret->events = POLLOUT;
	} else if (r == -ENOBUFS) {
		s->credit_ns = 0; /* the interface's queue is full */
		ret->wait_ns = PACE_NS;
	} else if (r < 0) {
		s->broken = true;
	} else {
		ret->wait_ns = next_wait(s, now_ns);
	}
	ret->busy = s->queue.count;
	s->c->paced = r == 0 && s->queue.count && s->health.phase == UDP_UP && s->debt_ns < PACE_NS;
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
	udp_host_put(s->health.host);
	queue_done(&s->queue);
}

void udp_sender_close(struct udp_sender *s)
{
	closep(&s->fd);
	s->fd = -1;
	s->broken = false;
	s->c->paced = false;
}

void udp_sender_open(struct udp_sender *s, int fd, struct udp_host *host, uint64_t now_ns)
{
	udp_sender_close(s);
	s->fd = fd;
	s->opened_ns = now_ns;
	s->copies = 0;
	s->credit_ns = PACE_NS;
	s->credit_at_ns = now_ns;
	s->sent = 0;
	s->unproven = (struct export_count){0};
	if (s->health.host == host)
		udp_host_put(host); /* what is known of it stays */
	else {
		udp_host_put(s->health.host);
		udp_health_start(&s->health, host, now_ns);
	}
	for (unsigned int i = 0; i < _SEQUENCE_MAX; i++)
		s->c->session.sequence[i] = 0;
	s->c->control = (struct control){0};
	udp_schedule_start(s, now_ns);
	read_limit(s);
}
