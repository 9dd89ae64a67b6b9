/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include "exporter/export/udp.h"
#include "exporter/export/udp_sender.h"
#include "exporter/export/wire.h"

/*
 * Pace: a default receive buffer (212992 octets) holds 92 datagrams of 1400 octets, so that no more
 * than 64 leave in a row, and 6400 a second.
 */
#define BATCH	  64
#define PACE_NS	  (10 * NSEC_PER_MSEC)
#define CREDIT_NS (PACE_NS / BATCH) /* what a message costs */

/* RFC 7011 8.4: several copies of the templates before the first data, in case one is lost. */
#define TEMPLATE_COPIES 3
static const uint64_t copy_delay_ns[TEMPLATE_COPIES] = {0, 1 * NSEC_PER_SEC, 5 * NSEC_PER_SEC};

/* A collector that refuses may come back, knowing no templates, with each message. */
#define REFUSED_TEMPLATES_NS (1 * NSEC_PER_SEC)

/* It is up again after so long without an ICMP error, which hosts limit to one a second. */
#define RECOVERY_NS (3 * NSEC_PER_SEC)

/* Templates that could not be sent are tried again. */
#define RETRY_NS (1 * NSEC_PER_SEC)

/* --- What ICMP says */

static struct udp_sent *find_sent(struct udp_sender *s, const struct udp_answer *answer)
{
	bool quoted = answer->quoted >= IPFIX_HEADER + IPFIX_SET_HEADER;
	uint32_t sequence = quoted ? wire_load32(answer->quote + 8) : 0;

	if (quoted && wire_load16(answer->quote + IPFIX_HEADER) == IPFIX_SET_TEMPLATE)
		return NULL;
	/* Newest first; a router that quotes little leaves no better guess than the newest. */
	for (unsigned int i = 1; i <= UDP_HISTORY; i++) {
		struct udp_sent *sent = &s->history[(s->history_next - i) % UDP_HISTORY];

		if (sent->count.records && (!quoted || sent->sequence == sequence))
			return sent;
	}
	return NULL;
}

static void note_refusal(struct udp_sender *s, const struct udp_answer *answer)
{
	struct collector_stats *stats = &s->c->stats;
	struct udp_sent *sent = find_sent(s, answer);

	stats->errors++;
	if (sent) {
		count_move(&stats->exported, &stats->lost[EXPORT_LOSS_REFUSED], &sent->count);
		sent->count = (struct export_count){0};
	}
	s->probe_ns = 0;
	collector_set_state(s->c, COLLECTOR_REFUSED, answer->error);
}

/* Returns whether there was any. */
static bool read_answers(struct udp_sender *s)
{
	struct udp_answer answer;
	bool any = false;

	while (udp_next_answer(s->fd, &answer)) {
		note_refusal(s, &answer);
		any = true;
	}
	return any;
}

static void note_recovery(struct udp_sender *s, uint64_t now_ns)
{
	if (s->c->stats.state != COLLECTOR_REFUSED || !s->probe_ns ||
	    now_ns - s->probe_ns < RECOVERY_NS)
		return;
	collector_set_state(s->c, COLLECTOR_UP, 0);
	s->templates_wanted = true;
}

/* --- Sending */

static void note_sent(struct udp_sender *s, size_t bytes, uint64_t now_ns)
{
	struct collector_stats *stats = &s->c->stats;

	stats->messages++;
	stats->bytes += bytes;
	s->credit_ns -= MIN(s->credit_ns, CREDIT_NS);
	if (!s->probe_ns)
		s->probe_ns = now_ns;
	if (stats->state == COLLECTOR_FAILING)
		collector_set_state(s->c, COLLECTOR_UP, 0);
}

/*
 * What to do after a failed send: 0 to send once more (an earlier datagram's ICMP error used it up),
 * -EAGAIN to wait for the socket, -ENOBUFS to wait a little, any other errno when it is hopeless.
 */
static int judge_failure(struct udp_sender *s, int error)
{
	if (error == EAGAIN)
		return -EAGAIN;
	if (error == EINTR || read_answers(s))
		return 0;
	if (error == ECONNREFUSED) { /* this ICMP error did not fit the socket's error queue */
		note_refusal(s, &(struct udp_answer){.error = error});
		return 0;
	}
	s->c->stats.errors++;
	if (error == ENOBUFS)
		return -ENOBUFS;
	collector_set_state(s->c, COLLECTOR_FAILING, error);
	return -error;
}

static bool templates_due(const struct udp_sender *s, uint64_t now_ns)
{
	uint64_t age_ns = now_ns - s->templates_ns;

	if (s->templates_wanted)
		return true;
	if (s->copies < TEMPLATE_COPIES &&
	    (!collector_on_loop(s->c) || now_ns - s->opened_ns >= copy_delay_ns[s->copies]))
		return true;
	if (s->c->stats.state == COLLECTOR_REFUSED && s->stream.queue.count &&
	    age_ns >= REFUSED_TEMPLATES_NS)
		return true;
	return age_ns >= s->c->context->options.template_interval_ns;
}

/* Sends the templates; 0, or what judge_failure() says. */
static int send_templates(struct udp_sender *s, uint64_t now_ns)
{
	uint8_t message[IPFIX_TEMPLATES_MAX];
	uint16_t length = ipfix_stream_templates(&s->stream, message);
	int r;

	ipfix_stream_stamp(&s->stream, message, clock_ns(CLOCK_REALTIME));
	while (send(s->fd, message, length, 0) < 0) {
		r = judge_failure(s, errno);
		if (r < 0)
			return r;
	}
	s->templates_ns = now_ns;
	s->templates_wanted = false;
	s->copies += s->copies < TEMPLATE_COPIES;
	note_sent(s, length, now_ns);
	return 0;
}

static void remove_oldest(struct udp_sender *s, struct export_count *to)
{
	count_move(&s->c->stats.queued, to, &queue_at(&s->stream.queue, 0)->count);
	queue_pop(&s->stream.queue);
}

static void oldest_sent(struct udp_sender *s, uint64_t now_ns)
{
	const struct message *m = queue_at(&s->stream.queue, 0);

	s->history[s->history_next++ % UDP_HISTORY] = (struct udp_sent){m->sequence, m->count};
	note_sent(s, m->length, now_ns);
	remove_oldest(s, &s->c->stats.exported);
}

/* Sends up to `count` messages; 0, or what judge_failure() says of the first that failed. */
static int send_batch(struct udp_sender *s, unsigned int count, uint64_t now_ns)
{
	uint64_t wall_ns = clock_ns(CLOCK_REALTIME);
	struct mmsghdr headers[BATCH];
	struct iovec vectors[BATCH];
	int sent;

	for (unsigned int i = 0; i < count; i++) {
		const struct message *m = queue_at(&s->stream.queue, i);

		ipfix_stream_stamp(&s->stream, m->data, wall_ns);
		vectors[i] = (struct iovec){m->data, m->length};
		headers[i] = (struct mmsghdr){.msg_hdr = {.msg_iov = &vectors[i], .msg_iovlen = 1}};
	}
	sent = sendmmsg(s->fd, headers, count, 0);
	if (sent < 0)
		return judge_failure(s, errno);
	for (int i = 0; i < sent; i++)
		oldest_sent(s, now_ns);
	return 0;
}

static void refill_credit(struct udp_sender *s, uint64_t now_ns)
{
	s->credit_ns = MIN(PACE_NS, s->credit_ns + (now_ns - s->credit_at_ns));
	s->credit_at_ns = now_ns;
}

/* Sends what may be sent now; returns what stopped it: 0 (nothing left, or no credit), -EAGAIN, -ENOBUFS. */
static int send_queue(struct udp_sender *s, uint64_t now_ns)
{
	int r = 0;

	while (templates_due(s, now_ns)) {
		r = send_templates(s, now_ns);
		if (r == -EAGAIN || r == -ENOBUFS)
			return r;
		if (r < 0)
			break; /* the data will fare alike, and be counted */
	}
	while (s->stream.queue.count && s->credit_ns >= CREDIT_NS) {
		unsigned int count = (unsigned int)(s->credit_ns / CREDIT_NS);

		r = send_batch(s, MIN(count, s->stream.queue.count), now_ns);
		if (r == -EAGAIN || r == -ENOBUFS)
			return r;
		if (r < 0)
			remove_oldest(s, &s->c->stats.lost[EXPORT_LOSS_SEND_ERROR]);
	}
	return 0;
}

void udp_sender_step(struct udp_sender *s, uint64_t now_ns, struct collector_step *ret)
{
	int r;

	*ret = (struct collector_step){.wait_ns = UINT64_MAX, .fd = -1};
	read_answers(s);
	note_recovery(s, now_ns);
	refill_credit(s, now_ns);
	r = send_queue(s, now_ns);
	read_answers(s);
	if (r == -EAGAIN) {
		ret->fd = s->fd;
		ret->events = POLLOUT;
	} else if (r == -ENOBUFS) {
		s->credit_ns = 0; /* the interface's queue is full */
		ret->wait_ns = PACE_NS;
	} else if (s->stream.queue.count) {
		ret->wait_ns = PACE_NS - s->credit_ns;
	} else if (s->copies < TEMPLATE_COPIES) {
		uint64_t due_ns = s->opened_ns + copy_delay_ns[s->copies];

		ret->wait_ns = due_ns > now_ns ? due_ns - now_ns : RETRY_NS;
	}
	ret->busy = s->stream.queue.count;
}

int udp_sender_init(struct udp_sender *s, struct collector *c)
{
	const struct export_options *o = &c->context->options;

	*s = (struct udp_sender){.c = c, .fd = -1};
	return ipfix_stream_init(&s->stream, o->domain, o->message_max, o->queue_messages);
}

void udp_sender_done(struct udp_sender *s)
{
	closep(&s->fd);
	ipfix_stream_done(&s->stream);
}

void udp_sender_open(struct udp_sender *s, int fd, uint64_t now_ns)
{
	s->fd = fd;
	s->opened_ns = now_ns;
	s->credit_ns = PACE_NS;
	s->credit_at_ns = now_ns;
}
