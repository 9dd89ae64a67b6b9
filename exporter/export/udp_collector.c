/* SPDX-License-Identifier: Apache-2.0 */
/* A collector of IPFIX over UDP: name, socket, template schedule, pacing, and what ICMP says. */
#include <ares.h>
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include "exporter/export/collector.h"
#include "exporter/export/ipfix.h"
#include "exporter/export/resolver.h"
#include "exporter/export/udp.h"
#include "exporter/export/wire.h"
#include "exporter/log.h"
#include "exporter/loop.h"

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

/* Messages sent last, whose loss an ICMP error may still tell. */
#define HISTORY 128

struct sent {
	uint32_t sequence;
	struct export_count count; /* records 0: none, or known to be lost already */
};

struct udp_collector {
	struct collector c;
	struct ipfix_stream stream;
	struct resolver *resolver;
	bool warned; /* that the name does not resolve */
	int fd;	     /* -1: no address yet */

	uint64_t opened_ns;
	uint64_t templates_ns; /* when they were sent last */
	unsigned int copies;   /* sent, up to TEMPLATE_COPIES */
	bool templates_wanted; /* at once */

	uint64_t credit_ns; /* token bucket, filled by time */
	uint64_t credit_at_ns;

	uint64_t probe_ns; /* time of the first message since the last ICMP error, 0: none */
	struct sent history[HISTORY];
	unsigned int history_next;

	struct loop_source *timer; /* NULL without loop, like the others */
	struct loop_source *resolver_source;
	struct loop_source *socket_source;
	bool wants_pollout; /* set in socket_source */
};

static struct udp_collector *to_udp(struct collector *c)
{
	return (struct udp_collector *)c;
}

static bool uses_loop(const struct udp_collector *u)
{
	return u->c.context->loop && !u->c.context->blocking;
}

/* --- What ICMP says */

static struct sent *find_sent(struct udp_collector *u, const struct udp_answer *answer)
{
	bool quoted = answer->quoted >= IPFIX_HEADER + IPFIX_SET_HEADER;
	uint32_t sequence = quoted ? wire_load32(answer->quote + 8) : 0;

	if (quoted && wire_load16(answer->quote + IPFIX_HEADER) == IPFIX_SET_TEMPLATE)
		return NULL;
	/* Newest first; a router that quotes little leaves no better guess than the newest. */
	for (unsigned int i = 1; i <= HISTORY; i++) {
		struct sent *sent = &u->history[(u->history_next - i) % HISTORY];

		if (sent->count.records && (!quoted || sent->sequence == sequence))
			return sent;
	}
	return NULL;
}

static void note_refusal(struct udp_collector *u, const struct udp_answer *answer)
{
	struct collector_stats *stats = &u->c.stats;
	struct sent *sent = find_sent(u, answer);

	stats->errors++;
	if (sent) {
		count_move(&stats->exported, &stats->lost[EXPORT_LOSS_REFUSED], &sent->count);
		sent->count = (struct export_count){0};
	}
	u->probe_ns = 0;
	collector_set_state(&u->c, COLLECTOR_REFUSED, answer->error);
}

/* Returns whether there was any. */
static bool read_answers(struct udp_collector *u)
{
	struct udp_answer answer;
	bool any = false;

	while (udp_next_answer(u->fd, &answer)) {
		note_refusal(u, &answer);
		any = true;
	}
	return any;
}

static void note_recovery(struct udp_collector *u, uint64_t now_ns)
{
	if (u->c.stats.state != COLLECTOR_REFUSED || !u->probe_ns || now_ns - u->probe_ns < RECOVERY_NS)
		return;
	collector_set_state(&u->c, COLLECTOR_UP, 0);
	u->templates_wanted = true;
}

/* --- Sending */

static void note_sent(struct udp_collector *u, size_t bytes, uint64_t now_ns)
{
	struct collector_stats *stats = &u->c.stats;

	stats->messages++;
	stats->bytes += bytes;
	u->credit_ns -= MIN(u->credit_ns, CREDIT_NS);
	if (!u->probe_ns)
		u->probe_ns = now_ns;
	if (stats->state == COLLECTOR_FAILING)
		collector_set_state(&u->c, COLLECTOR_UP, 0);
}

/*
 * What to do after a failed send: 0 to send once more (an earlier datagram's ICMP error used it up),
 * -EAGAIN to wait for the socket, -ENOBUFS to wait a little, any other errno when it is hopeless.
 */
static int judge_failure(struct udp_collector *u, int error)
{
	if (error == EAGAIN)
		return -EAGAIN;
	if (error == EINTR || read_answers(u))
		return 0;
	if (error == ECONNREFUSED) { /* its ICMP error did not fit the socket's error queue */
		note_refusal(u, &(struct udp_answer){.error = error});
		return 0;
	}
	u->c.stats.errors++;
	if (error == ENOBUFS)
		return -ENOBUFS;
	collector_set_state(&u->c, COLLECTOR_FAILING, error);
	return -error;
}

static bool templates_due(const struct udp_collector *u, uint64_t now_ns)
{
	uint64_t age_ns = now_ns - u->templates_ns;

	if (u->templates_wanted)
		return true;
	if (u->copies < TEMPLATE_COPIES && (!uses_loop(u) || now_ns - u->opened_ns >= copy_delay_ns[u->copies]))
		return true;
	if (u->c.stats.state == COLLECTOR_REFUSED && u->stream.queue.count && age_ns >= REFUSED_TEMPLATES_NS)
		return true;
	return age_ns >= u->c.context->options.template_interval_ns;
}

/* Sends the templates; 0, or what judge_failure() says. */
static int send_templates(struct udp_collector *u, uint64_t now_ns)
{
	uint8_t message[IPFIX_TEMPLATES_MAX];
	uint16_t length = ipfix_stream_templates(&u->stream, message);
	int r;

	ipfix_stream_stamp(&u->stream, message, clock_ns(CLOCK_REALTIME));
	while (send(u->fd, message, length, 0) < 0) {
		r = judge_failure(u, errno);
		if (r < 0)
			return r;
	}
	u->templates_ns = now_ns;
	u->templates_wanted = false;
	u->copies += u->copies < TEMPLATE_COPIES;
	note_sent(u, length, now_ns);
	return 0;
}

static void remove_oldest(struct udp_collector *u, struct export_count *to)
{
	count_move(&u->c.stats.queued, to, &queue_at(&u->stream.queue, 0)->count);
	queue_pop(&u->stream.queue);
}

static void oldest_sent(struct udp_collector *u, uint64_t now_ns)
{
	const struct message *m = queue_at(&u->stream.queue, 0);

	u->history[u->history_next++ % HISTORY] = (struct sent){m->sequence, m->count};
	note_sent(u, m->length, now_ns);
	remove_oldest(u, &u->c.stats.exported);
}

/* Sends up to `count` messages; 0, or what judge_failure() says of the first that failed. */
static int send_batch(struct udp_collector *u, unsigned int count, uint64_t now_ns)
{
	uint64_t wall_ns = clock_ns(CLOCK_REALTIME);
	struct mmsghdr headers[BATCH];
	struct iovec vectors[BATCH];
	int sent;

	for (unsigned int i = 0; i < count; i++) {
		const struct message *m = queue_at(&u->stream.queue, i);

		ipfix_stream_stamp(&u->stream, m->data, wall_ns);
		vectors[i] = (struct iovec){m->data, m->length};
		headers[i] = (struct mmsghdr){.msg_hdr = {.msg_iov = &vectors[i], .msg_iovlen = 1}};
	}
	sent = sendmmsg(u->fd, headers, count, 0);
	if (sent < 0)
		return judge_failure(u, errno);
	for (int i = 0; i < sent; i++)
		oldest_sent(u, now_ns);
	return 0;
}

static void refill_credit(struct udp_collector *u, uint64_t now_ns)
{
	u->credit_ns = MIN(PACE_NS, u->credit_ns + (now_ns - u->credit_at_ns));
	u->credit_at_ns = now_ns;
}

/* Sends what may be sent now; returns what stopped it: 0 (nothing left, or no credit), -EAGAIN, -ENOBUFS. */
static int send_queue(struct udp_collector *u, uint64_t now_ns)
{
	int r = 0;

	while (templates_due(u, now_ns)) {
		r = send_templates(u, now_ns);
		if (r == -EAGAIN || r == -ENOBUFS)
			return r;
		if (r < 0)
			break; /* the data will fare alike, and be counted */
	}
	while (u->stream.queue.count && u->credit_ns >= CREDIT_NS) {
		unsigned int count = (unsigned int)(u->credit_ns / CREDIT_NS);

		r = send_batch(u, MIN(count, u->stream.queue.count), now_ns);
		if (r == -EAGAIN || r == -ENOBUFS)
			return r;
		if (r < 0)
			remove_oldest(u, &u->c.stats.lost[EXPORT_LOSS_SEND_ERROR]);
	}
	return 0;
}

/* --- Opening */

static int socket_ready(void *userdata, uint32_t events);

static int watch_socket(struct udp_collector *u)
{
	u->wants_pollout = false;
	if (!u->c.context->loop)
		return 0;
	return loop_add_fd(u->c.context->loop, u->fd, 0, socket_ready, u, &u->socket_source);
}

/* Takes the first address that can be connected to; -errno of the last one when none can. */
static int connect_any(struct udp_collector *u, const struct ares_addrinfo *addresses)
{
	int r = -EHOSTUNREACH;

	for (const struct ares_addrinfo_node *node = addresses->nodes; node; node = node->ai_next) {
		r = udp_connect(node->ai_addr, node->ai_addrlen);
		if (r < 0)
			continue;
		u->fd = r;
		return watch_socket(u);
	}
	return r;
}

static void open_socket(struct udp_collector *u, uint64_t now_ns)
{
	struct ares_addrinfo *addresses;
	int r = resolver_step(u->resolver, now_ns, &addresses);

	if (r == 0)
		return;
	if (r < 0) {
		u->c.stats.errors++;
		collector_set_state(&u->c, COLLECTOR_RESOLVING, 0);
		if (!u->warned)
			log_warning("collector %s: the host does not resolve, will be tried again: %s", u->c.stats.url,
				    resolver_why(u->resolver));
		u->warned = true;
		return;
	}
	r = connect_any(u, addresses);
	ares_freeaddrinfo(addresses);
	if (r < 0) {
		u->c.stats.errors++;
		collector_set_state(&u->c, COLLECTOR_FAILING, -r);
		resolver_retry(u->resolver, now_ns);
		return;
	}
	if (u->warned && u->c.stats.state == COLLECTOR_RESOLVING)
		log_info("collector %s: the host resolves now", u->c.stats.url);
	collector_set_state(&u->c, COLLECTOR_UP, 0);
	u->resolver_source = loop_source_free(u->resolver_source);
	u->resolver = resolver_free(u->resolver);
	u->opened_ns = now_ns;
	u->credit_ns = PACE_NS;
	u->credit_at_ns = now_ns;
}

static void udp_step(struct collector *c, uint64_t now_ns, struct collector_step *ret)
{
	struct udp_collector *u = to_udp(c);
	int r;

	*ret = (struct collector_step){.wait_ns = UINT64_MAX, .fd = -1};
	if (u->fd < 0)
		open_socket(u, now_ns);
	if (u->fd < 0) {
		ret->fd = resolver_fd(u->resolver);
		ret->events = POLLIN;
		ret->wait_ns = resolver_wait_ns(u->resolver, now_ns);
		ret->busy = u->stream.queue.count;
		return;
	}
	read_answers(u);
	note_recovery(u, now_ns);
	refill_credit(u, now_ns);
	r = send_queue(u, now_ns);
	read_answers(u);
	if (r == -EAGAIN) {
		ret->fd = u->fd;
		ret->events = POLLOUT;
	} else if (r == -ENOBUFS) {
		u->credit_ns = 0; /* the interface's queue is full */
		ret->wait_ns = PACE_NS;
	} else if (u->stream.queue.count) {
		ret->wait_ns = PACE_NS - u->credit_ns;
	} else if (u->copies < TEMPLATE_COPIES) {
		uint64_t due_ns = u->opened_ns + copy_delay_ns[u->copies];

		ret->wait_ns = due_ns > now_ns ? due_ns - now_ns : RETRY_NS;
	}
	ret->busy = u->stream.queue.count;
}

/* --- On the loop */

/* One step, after which the loop waits for what the step asks for. */
static int run_step(struct udp_collector *u)
{
	struct collector_step step;
	bool pollout;
	int r;

	udp_step(&u->c, clock_ns(CLOCK_MONOTONIC), &step);
	r = loop_set_timer(u->timer, step.wait_ns == UINT64_MAX ? 0 : MAX(step.wait_ns, 1u), 0);
	if (r < 0 || !u->socket_source)
		return r;
	pollout = step.fd == u->fd && step.events == POLLOUT;
	if (pollout == u->wants_pollout)
		return 0;
	u->wants_pollout = pollout;
	return loop_set_events(u->socket_source, pollout ? EPOLLOUT : 0);
}

static int timer_expired(void *userdata, _unused_ uint32_t events)
{
	return run_step(userdata);
}

static int socket_ready(void *userdata, _unused_ uint32_t events)
{
	return run_step(userdata);
}

static int resolver_ready(void *userdata, _unused_ uint32_t events)
{
	return run_step(userdata);
}

static int watch_resolver(struct udp_collector *u)
{
	struct loop *loop = u->c.context->loop;
	int r;

	if (!loop)
		return 0;
	r = loop_add_timer(loop, timer_expired, u, &u->timer);
	if (r < 0)
		return r;
	r = loop_add_fd(loop, resolver_fd(u->resolver), EPOLLIN, resolver_ready, u, &u->resolver_source);
	if (r < 0)
		return r;
	return loop_set_timer(u->timer, 1, 0); /* the first attempt, as soon as the loop runs */
}

/* --- The operations */

static bool udp_has_room(const struct collector *c, const struct flow *flow)
{
	return ipfix_stream_has_room(&((const struct udp_collector *)c)->stream, flow);
}

static void udp_flow(struct collector *c, const struct flow *flow)
{
	struct export_count count = count_flow(flow);
	struct udp_collector *u = to_udp(c);
	bool full;

	if (ipfix_stream_add(&u->stream, flow, c->context->clock_ns, &full))
		count_add(&c->stats.queued, &count);
	else
		count_add(&c->stats.lost[EXPORT_LOSS_QUEUE_FULL], &count);
}

static void udp_flush(struct collector *c)
{
	struct udp_collector *u = to_udp(c);

	ipfix_stream_flush(&u->stream);
	if (uses_loop(u))
		run_step(u);
}

static void udp_discard(struct collector *c)
{
	struct udp_collector *u = to_udp(c);

	while (u->stream.queue.count)
		queue_pop(&u->stream.queue);
}

static struct collector *udp_free(struct collector *c)
{
	struct udp_collector *u = to_udp(c);

	loop_source_free(u->timer);
	loop_source_free(u->resolver_source);
	loop_source_free(u->socket_source);
	resolver_free(u->resolver);
	closep(&u->fd);
	ipfix_stream_done(&u->stream);
	free(u);
	return NULL;
}

static const struct collector_ops udp_ops = {
	.has_room = udp_has_room,
	.flow = udp_flow,
	.flush = udp_flush,
	.step = udp_step,
	.discard = udp_discard,
	.free = udp_free,
};

int udp_collector_new(struct collector **ret, const struct collector_url *url, const struct export_context *context)
{
	const struct export_options *options = &context->options;
	struct udp_collector *u = calloc(1, sizeof(*u));
	int r;

	if (!u)
		return -ENOMEM;
	u->c.ops = &udp_ops;
	u->c.context = context;
	u->c.stats.url = url->text;
	u->c.stats.state = COLLECTOR_RESOLVING;
	u->fd = -1;
	r = ipfix_stream_init(&u->stream, options->domain, options->message_max, options->queue_messages);
	if (r >= 0)
		r = resolver_new(&u->resolver, url->host, url->port);
	if (r >= 0)
		r = watch_resolver(u);
	if (r < 0) {
		udp_free(&u->c);
		return r;
	}
	*ret = &u->c;
	return 0;
}
