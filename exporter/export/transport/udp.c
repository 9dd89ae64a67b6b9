/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages over UDP: at a pace, and no longer than the path takes.  What ICMP says is the only sign of how
 * they fare; the health of the peer follows from it, and what was lost from what it quotes.
 */
#include <errno.h>
#include <string.h>
#include <xxhash.h>
#include "exporter/export/transport/transport.h"
#include "exporter/export/transport/udp_health.h"
#include "exporter/export/transport/udp_socket.h"

/*
 * Pace: a default receive buffer (212992 octets) holds 92 datagrams of 1400 octets, so that no more
 * than 64 leave in a row, and 6400 a second.
 */
#define BATCH	64
#define PACE_NS (10 * NSEC_PER_MSEC)

#define RETRIES_MAX 16 /* sends in a row that answers to earlier ones use up */

/* Messages sent last, whose loss an ICMP error may still tell: those of 160 ms at full pace. */
#define UDP_HISTORY 1024

#define RECENT_NS (60 * NSEC_PER_SEC) /* an answer is no older */
#define READ_MAX  64 /* answers at once: whoever sends more does not hold the loop */

/*
 * Answers that quote too little are believed as long as there are not more of them than messages, and not
 * for a while after that: somebody makes them up.
 */
#define SHORT_MAX      128
#define SHORT_PAUSE_NS (60 * NSEC_PER_SEC)

struct udp_sent {
	uint64_t head; /* hash of its first octets */
	uint64_t sent_ns;
	struct export_count count; /* records 0: none, or known to be lost already */
};

struct udp_transport {
	struct transport t;
	uint16_t message_max; /* as asked for */
	uint16_t limit;	      /* octets of a message that the path takes */
	uint16_t head;	      /* octets by which a message is known again */
	struct ip_address source;
	uint8_t dscp;
	bool look_at_path; /* the templates have been sent, and nothing since */
	struct udp_health health;
	struct export_count
		unproven; /* exported, but lost if an error comes: udp_health_unproven() */
	struct udp_sent history[UDP_HISTORY];
	uint64_t sent; /* messages since the socket was opened: history[sent % UDP_HISTORY] is next */
	unsigned int short_credit; /* answers that quote too little and are believed all the same */
	uint64_t short_pause_ns;   /* none is before */
	unsigned int retries;	   /* of sends, in this step */
};

static struct udp_transport *to_udp(struct transport *t)
{
	return (struct udp_transport *)t;
}

/* --- What has been sent, and what ICMP says of it */

static struct udp_sent *sent_at(struct udp_transport *u, uint64_t index)
{
	return &u->history[index % UDP_HISTORY];
}

static uint64_t oldest(const struct udp_transport *u)
{
	return u->sent > UDP_HISTORY ? u->sent - UDP_HISTORY : 0;
}

static void note_sent(struct udp_transport *u, const uint8_t *head,
		      const struct export_count *count, uint64_t now_ns)
{
	*sent_at(u, u->sent++) = (struct udp_sent){
		.head = XXH3_64bits(head, u->head), .sent_ns = now_ns, .count = *count};
	if (udp_health_unproven(&u->health, now_ns))
		count_add(&u->unproven, count);
	u->short_credit = MIN(u->short_credit + 1, SHORT_MAX);
}

/* The message that is quoted: newest first, since copies of the templates can be alike. */
static bool find_quoted(struct udp_transport *u, const struct udp_answer *answer, uint64_t now_ns,
			uint64_t *ret_index)
{
	uint64_t head = XXH3_64bits(answer->quote, u->head);

	for (uint64_t i = u->sent; i-- > oldest(u);) {
		if (now_ns - sent_at(u, i)->sent_ns > RECENT_NS)
			return false;
		if (sent_at(u, i)->head == head) {
			*ret_index = i;
			return true;
		}
	}
	return false;
}

/* Without a quote: the newest message that is not known to be lost is as good a guess as any. */
static bool believe_short(struct udp_transport *u, const struct udp_answer *answer, uint64_t now_ns,
			  uint64_t *ret_index)
{
	if (memcmp(&answer->from, &u->health.host->address, sizeof(answer->from)) != 0 ||
	    now_ns < u->short_pause_ns)
		return false;
	if (!u->short_credit) {
		u->short_pause_ns = now_ns + SHORT_PAUSE_NS;
		return false;
	}
	u->short_credit--;
	for (uint64_t i = u->sent; i-- > oldest(u);) {
		*ret_index = i;
		if (sent_at(u, i)->count.records)
			break;
	}
	return u->sent;
}

static void lose(struct udp_transport *u, struct export_count *count)
{
	account_revoke(u->t.account, EXPORT_LOSS_REFUSED, count);
	*count = (struct export_count){0};
}

static void lose_one(struct udp_transport *u, uint64_t index)
{
	struct udp_sent *sent = sent_at(u, index);

	if (sent->count.records && u->unproven.records)
		count_remove(&u->unproven, &sent->count);
	lose(u, &sent->count);
}

/* The message and all after it, or all that is unproven. */
static void lose_since(struct udp_transport *u, uint64_t index, uint64_t now_ns)
{
	if (udp_health_unproven(&u->health, now_ns)) {
		lose(u, &u->unproven);
		for (uint64_t i = oldest(u); i < u->sent; i++)
			sent_at(u, i)->count = (struct export_count){0};
		return;
	}
	for (; index < u->sent; index++)
		lose(u, &sent_at(u, index)->count);
}

static void note_error(struct udp_transport *u, int error, uint64_t sent_ns, uint64_t now_ns)
{
	if (udp_health_error(&u->health, error, sent_ns, now_ns))
		account_set_state(u->t.account, COLLECTOR_REFUSED, error);
}

static void note_mtu(struct udp_transport *u, uint64_t index)
{
	int max = udp_payload_max(u->t.fd); /* the kernel knows it by now */

	lose_one(u, index);
	if (max >= 0)
		u->limit = MIN(u->message_max, (unsigned int)max);
	u->t.owed |= TRANSPORT_OWES_TEMPLATES;
}

/*
 * An answer counts when it quotes a message that has been sent a moment ago, or comes from the collector
 * and quotes too little to tell.  What is lost then: that message and all that went after it; all that
 * was sent before the collector had proven to take anything; of an answer that quotes too little, one
 * message.
 */
static void note_answer(struct udp_transport *u, const struct udp_answer *answer, uint64_t now_ns)
{
	bool quoted = answer->quoted >= u->head;
	uint64_t index = 0, sent_ns;

	u->t.account->stats.errors++;
	if (!(quoted ? find_quoted(u, answer, now_ns, &index)
		     : believe_short(u, answer, now_ns, &index)))
		return;
	if (answer->error == EMSGSIZE) {
		note_mtu(u, index);
		return;
	}
	sent_ns = sent_at(u, index)->sent_ns;
	if (quoted)
		lose_since(u, index, now_ns);
	else if (u->health.phase != UDP_DEAD)
		lose_one(u, index);
	note_error(u, answer->error, sent_ns, now_ns);
	if (quoted && answer->about_host) {
		struct udp_host *host = u->health.host;

		host->lost_ns = now_ns;
		host->lost_sent_ns = sent_ns;
		host->lost_error = answer->error;
	}
}

/* A bounded number of them; returns whether there was any. */
static bool read_answers(struct udp_transport *u, uint64_t now_ns)
{
	struct udp_answer answer;
	unsigned int count = 0;

	for (; count < READ_MAX && udp_next_answer(u->t.fd, &answer); count++)
		note_answer(u, &answer, now_ns);
	return count;
}

static void note_host(struct udp_transport *u, uint64_t now_ns)
{
	const struct udp_host *host = u->health.host;
	uint64_t index = u->sent;

	while (index > oldest(u) && sent_at(u, index - 1)->sent_ns >= host->lost_sent_ns)
		index--;
	lose_since(u, index, now_ns);
	note_error(u, host->lost_error, host->lost_sent_ns, now_ns);
	u->health.error_ns = MAX(u->health.error_ns, host->lost_ns);
}

/* What an answer to another collector of this host has said of the host, and what time has changed. */
static void note_time(struct udp_transport *u, uint64_t now_ns)
{
	if (u->health.host->lost_ns > u->health.error_ns)
		note_host(u, now_ns);
	if (udp_health_step(&u->health, now_ns)) {
		if (u->health.phase != UDP_UP) /* records follow */
			u->t.owed |= TRANSPORT_OWES_TEMPLATES | TRANSPORT_OWES_OPTIONS;
		else if (udp_health_mended(&u->health, now_ns)) /* else a later send says so */
			account_set_state(u->t.account, COLLECTOR_UP, 0);
	}
	if (!udp_health_unproven(&u->health, now_ns))
		u->unproven = (struct export_count){0};
}

/* --- Sending */

/* What the path takes, as far as the kernel knows.  Returns whether that is less than before. */
static bool read_limit(struct udp_transport *u)
{
	uint16_t before = u->limit;
	int max = udp_payload_max(u->t.fd);

	if (max >= 0)
		u->limit = MIN(u->message_max, (unsigned int)max);
	return u->limit < before;
}

/*
 * What to do after a failed send: 0 to send once more (an earlier datagram's ICMP error used it up, or
 * messages are shorter now), or what send() returns.
 */
static int judge_failure(struct udp_transport *u, int error, uint64_t now_ns)
{
	if (error == EAGAIN)
		return -EAGAIN;
	/* ECONNREFUSED: this ICMP error did not fit the socket's error queue */
	if (error == EINTR || read_answers(u, now_ns) || error == ECONNREFUSED)
		return u->retries++ < RETRIES_MAX ? 0 : -ENOBUFS;
	if (error == EMSGSIZE && read_limit(u))
		return 0;
	u->t.account->stats.errors++;
	if (error == ENOBUFS)
		return -ENOBUFS;
	udp_health_failed(&u->health, now_ns);
	account_set_state(u->t.account, COLLECTOR_FAILING, error);
	return -error;
}

static void note_message(struct udp_transport *u, const struct transport_message *m,
			 uint64_t now_ns)
{
	struct account *account = u->t.account;

	if (m->count.records)
		udp_health_sent(&u->health, 1, now_ns);
	account_send(account, &m->count, 1, m->length);
	note_sent(u, m->parts[0].iov_base, &m->count, now_ns);
	u->look_at_path = m->last_template;
	if (account->stats.state == COLLECTOR_FAILING && udp_health_mended(&u->health, now_ns)) {
		if (u->health.phase == UDP_UP)
			account_set_state(account, COLLECTOR_UP, 0);
		else /* it was dead before its socket failed, and nothing has been heard of it since */
			account_set_state(account, COLLECTOR_REFUSED,
					  u->health.unreachable ? EHOSTUNREACH : ECONNREFUSED);
	}
	if (m->last_template && u->health.phase == UDP_DEAD)
		udp_health_probed(&u->health, now_ns);
}

static int send_messages(struct transport *t, const struct transport_message *messages,
			 unsigned int count, uint64_t now_ns)
{
	struct udp_transport *u = to_udp(t);
	struct mmsghdr headers[BATCH];
	int sent;

	if (!count)
		return judge_failure(u, EMSGSIZE, now_ns);
	count = MIN(count, (unsigned int)BATCH);
	for (unsigned int i = 0; i < count; i++)
		headers[i] =
			(struct mmsghdr){.msg_hdr = {.msg_iov = (struct iovec *)messages[i].parts,
						     .msg_iovlen = messages[i].part_count}};
	if (messages->count.records)
		sent = sendmmsg(t->fd, headers, count, 0);
	else
		sent = sendmsg(t->fd, &headers[0].msg_hdr, 0) < 0 ? -1 : 1;
	if (sent < 0)
		return judge_failure(u, errno, now_ns);
	for (int i = 0; i < sent; i++)
		note_message(u, &messages[i], now_ns);
	return sent;
}

/* --- The session: a socket */

static void close_socket(struct transport *t)
{
	closep(&t->fd);
	t->fd = -1;
}

static int open_socket(struct transport *t, const struct sockaddr *address, socklen_t length,
		       uint64_t now_ns)
{
	struct udp_transport *u = to_udp(t);
	int fd = udp_connect(address, length, u->source.family ? &u->source : NULL, u->dscp);
	struct udp_host *host;
	struct in6_addr ip;
	uint32_t scope;

	if (fd < 0)
		return fd;
	close_socket(t);
	t->fd = fd;
	u->sent = 0;
	u->unproven = (struct export_count){0};
	address_of(address, &ip, &scope);
	host = udp_host_get(t->account->context->hosts, EXPORT_HOSTS_MAX, &ip, scope);
	if (u->health.host == host) {
		udp_host_put(host); /* what is known of it stays */
	} else {
		udp_host_put(u->health.host);
		udp_health_start(&u->health, host, now_ns);
	}
	read_limit(u);
	if (t->account->stats.state == COLLECTOR_RESOLVING) /* other states end with what is sent */
		account_set_state(t->account, COLLECTOR_UP, 0);
	return 0;
}

static int step(struct transport *t, uint64_t now_ns)
{
	struct udp_transport *u = to_udp(t);

	u->retries = 0;
	read_answers(u, now_ns);
	note_time(u, now_ns);
	if (u->look_at_path)
		read_limit(u);
	return 0;
}

static short events(_unused_ struct transport *t)
{
	return 0;
}

static enum transport_takes takes(struct transport *t, uint64_t now_ns)
{
	const struct udp_health *h = &to_udp(t)->health;

	if (h->phase != UDP_DEAD)
		return TRANSPORT_ALL;
	return udp_health_probe_due(h, now_ns) ? TRANSPORT_PROBE : TRANSPORT_NOTHING;
}

static unsigned int allows(struct transport *t, uint64_t now_ns)
{
	return udp_health_allows(&to_udp(t)->health, now_ns);
}

static bool keeps_up(struct transport *t, uint64_t now_ns)
{
	return allows(t, now_ns) == UINT32_MAX;
}

static uint16_t limit(struct transport *t)
{
	return to_udp(t)->limit;
}

static uint64_t wait_ns(struct transport *t, uint64_t now_ns)
{
	return udp_health_wait(&to_udp(t)->health, now_ns);
}

static bool busy(_unused_ struct transport *t)
{
	return false;
}

static void discard(_unused_ struct transport *t)
{
}

static void change(struct transport *t, const struct transport_options *options)
{
	struct udp_transport *u = to_udp(t);

	if (t->fd >= 0 && options->dscp != u->dscp && address_set_dscp(t->fd, options->dscp) < 0)
		t->account->stats.errors++;
	u->message_max = u->limit = options->message_max;
	u->source = options->source;
	u->dscp = options->dscp;
	if (t->fd >= 0)
		read_limit(u);
}

static struct transport *udp_free(struct transport *t)
{
	close_socket(t);
	udp_host_put(to_udp(t)->health.host);
	free(t);
	return NULL;
}

static const struct transport_ops udp_ops = {
	.timed = true,
	.message_ns = PACE_NS / BATCH,
	.burst_ns = PACE_NS,
	.open = open_socket,
	.close = close_socket,
	.step = step,
	.events = events,
	.takes = takes,
	.allows = allows,
	.keeps_up = keeps_up,
	.limit = limit,
	.send = send_messages,
	.wait_ns = wait_ns,
	.busy = busy,
	.discard = discard,
	.change = change,
	.free = udp_free,
};

int udp_transport_new(struct transport **ret, const struct transport_options *options)
{
	struct udp_transport *u = calloc(1, sizeof(*u));

	if (!u)
		return -ENOMEM;
	u->t = (struct transport){.ops = &udp_ops, .account = options->account, .fd = -1};
	u->message_max = u->limit = options->message_max;
	u->head = options->head;
	u->source = options->source;
	u->dscp = options->dscp;
	*ret = &u->t;
	return 0;
}
