/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages over TCP (RFC 7011 section 10.4).  The kernel takes octets, and may take a part of a message: the
 * rest is kept here and goes first.  A record counts as exported when the peer's host has acknowledged its
 * message.  When the connection breaks, messages that are not acknowledged are lost, and no others.
 */
#include <errno.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include "exporter/export/transport/transport.h"

#define CONNECT_NS (10 * NSEC_PER_SEC)
#define PROVEN_NS \
	(5 * NSEC_PER_SEC) /* so long a connection that was missed has to last to be called up */

/*
 * A host that is gone: it says nothing at all for so long, though segments are out or so many probes of its closed
 * window; or leaves so many probes of an idle connection unanswered.  A peer whose host answers, and takes nothing, is
 * not gone.
 */
#define DEAD_NS		 (30 * NSEC_PER_SEC)
#define DEAD_PROBES	 3
#define KEEPALIVE_SEC	 30
#define KEEPALIVE_PROBES 3
#define KEEPALIVE_EACH	 10 /* s */

/*
 * A connection shows what it is worth before it gets more than a few messages: who takes connections and ends them, such
 * as a load balancer with nobody behind it, costs no more each time.  After a session that failed it takes PROVEN_NS.
 */
#define TRUST_NS      (1 * NSEC_PER_SEC)
#define UNTRUSTED_MAX 16 /* messages that are not acknowledged */

/* Nothing tells of acknowledgements: they are looked for so long after the last, and less often later. */
#define LOOK_MIN_NS (5 * NSEC_PER_MSEC)
#define LOOK_MAX_NS (1 * NSEC_PER_SEC)

/*
 * A connection that acknowledges less than a tenth of UDP's pace, while the kernel's buffer is full, is slow: nobody is
 * to wait for it.
 */
#define SLOW_NS	      (1 * NSEC_PER_SEC)
#define SLOW_MESSAGES 640 /* in that time */

#define BATCH	    64
#define UNACKED_MAX 4096 /* messages that are sent and not acknowledged */

/* Of what a peer says, which nobody wants: the kernel keeps little, and who goes on for longer is no collector. */
#define HEARD_BUFFER (4 * 1024)
#define HEARD_MAX    (64u * 1024) /* octets of a connection */

/* A message that is not acknowledged yet. */
struct tcp_sent {
	uint64_t end; /* octets of the connection up to its end */
	size_t length;
	struct export_count count;
};

struct tcp_transport {
	struct transport t;
	uint16_t message_max;
	struct ip_address source;
	uint8_t dscp;
	bool connected;
	uint64_t since_ns; /* connect() was called, or it has connected */
	uint64_t written;  /* octets that the kernel has taken in this connection */
	uint64_t heard;	   /* octets that the peer has sent */
	uint64_t taken;	   /* octets of the messages that have been taken: those, and the rest */
	bool slow;	   /* see SLOW_NS */
	uint64_t full_ns;  /* the buffer was full, and acknowledgements are counted since; 0: not */
	unsigned int acked; /* messages */
	uint64_t progress_ns; /* the last acknowledgement, or when the first message that waits for one went */
	struct tcp_sent sent[UNACKED_MAX]; /* ring */
	uint32_t head, count;
	size_t rest_at, rest_length;
	uint8_t rest[TRANSPORT_MESSAGE_MAX];
};

static struct tcp_transport *to_tcp(struct transport *t)
{
	return (struct tcp_transport *)t;
}

/* There was no connection, or it broke: the next one has to last. */
static bool missed(const struct transport *t)
{
	return t->account->stats.state == COLLECTOR_FAILING ||
	       t->account->stats.state == COLLECTOR_REFUSED;
}

static void forget(struct tcp_transport *tcp)
{
	tcp->count = 0;
	tcp->rest_length = 0;
	tcp->written = tcp->taken = tcp->heard = 0;
	tcp->full_ns = 0;
	tcp->slow = false;
}

/* --- Acknowledgements */

static void note_acknowledged(struct tcp_transport *tcp, uint64_t now_ns)
{
	int waiting;

	if (!tcp->count || ioctl(tcp->t.fd, SIOCOUTQ, &waiting) < 0)
		return;
	while (tcp->count && tcp->sent[tcp->head].end + (uint64_t)waiting <= tcp->written) {
		const struct tcp_sent *sent = &tcp->sent[tcp->head];

		account_send(tcp->t.account, &sent->count, 1, sent->length);
		tcp->head = (tcp->head + 1) % UNACKED_MAX;
		tcp->count--;
		tcp->acked++;
		tcp->progress_ns = now_ns;
		if (tcp->t.account->stats.state == COLLECTOR_STALLED)
			account_set_state(tcp->t.account, COLLECTOR_UP, 0);
	}
}

/* The kernel has no room; `acked` is counted from now on, unless it is already. */
static void note_full(struct tcp_transport *tcp, uint64_t now_ns)
{
	if (tcp->full_ns)
		return;
	tcp->full_ns = now_ns;
	tcp->acked = 0;
}

static void judge_pace(struct tcp_transport *tcp, uint64_t now_ns)
{
	if (!tcp->count) {
		tcp->slow = false;
		tcp->full_ns = 0;
	} else if (tcp->full_ns && now_ns - tcp->full_ns >= SLOW_NS) {
		tcp->slow = tcp->acked < SLOW_MESSAGES;
		tcp->full_ns = 0; /* until it is full again */
	}
}

/* What the kernel still has is not to arrive after it was called lost, nor a message in part. */
static void reset_at_close(const struct tcp_transport *tcp)
{
	const struct linger at_once = {.l_onoff = 1};

	(void)setsockopt(tcp->t.fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
}

/*
 * The session is over: what is not acknowledged never will be, not even by a host that comes back.  Returns
 * -ECONNRESET, whatever the reason.
 */
static int fail(struct tcp_transport *tcp, int error, uint64_t now_ns)
{
	struct account *account = tcp->t.account;

	reset_at_close(tcp);
	note_acknowledged(tcp, now_ns);
	for (; tcp->count; tcp->count--) {
		account_drop(account, EXPORT_LOSS_SEND_ERROR, &tcp->sent[tcp->head].count);
		tcp->head = (tcp->head + 1) % UNACKED_MAX;
	}
	forget(tcp);
	account->stats.errors++;
	account_fail(account, error);
	return -ECONNRESET;
}

/*
 * Segments are out, and nothing at all comes back.  With a window that is closed none are: the kernel probes it, less and
 * less often, up to every two minutes, so that silence alone says nothing.
 */
static bool host_gone(const struct tcp_transport *tcp, uint64_t now_ns)
{
	struct tcp_info info = {0};
	socklen_t length = sizeof(info);

	if (!tcp->count || now_ns - tcp->progress_ns < DEAD_NS ||
	    getsockopt(tcp->t.fd, IPPROTO_TCP, TCP_INFO, &info, &length) < 0)
		return false;
	return (info.tcpi_unacked || info.tcpi_probes >= DEAD_PROBES) &&
	       info.tcpi_last_ack_recv >= DEAD_NS / NSEC_PER_MSEC;
}

/* --- The connection */

/* As the operation send(), of octets. */
static ssize_t write_some(struct tcp_transport *tcp, struct iovec *parts, size_t count,
			  uint64_t now_ns)
{
	struct msghdr message = {.msg_iov = parts, .msg_iovlen = count};
	ssize_t n = sendmsg(tcp->t.fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);

	if (n >= 0) {
		tcp->written += (size_t)n;
		return n;
	}
	if (errno == EAGAIN || errno == EINTR) {
		note_full(tcp, now_ns);
		return -EAGAIN;
	}
	if (errno == ENOBUFS || errno == ENOMEM)
		return -ENOBUFS;
	return fail(tcp, errno, now_ns);
}

/* 0: there is none any more; or as write_some(). */
static int write_rest(struct tcp_transport *tcp, uint64_t now_ns)
{
	while (tcp->rest_length) {
		struct iovec part = {tcp->rest + tcp->rest_at, tcp->rest_length};
		ssize_t n = write_some(tcp, &part, 1, now_ns);

		if (n < 0)
			return (int)n;
		tcp->rest_at += (size_t)n;
		tcp->rest_length -= (size_t)n;
	}
	return 0;
}

/* What the peer says has no meaning in IPFIX, but that it closes the connection has. */
static int read_peer(struct tcp_transport *tcp, uint64_t now_ns)
{
	ssize_t n = recv(tcp->t.fd, NULL, HEARD_MAX, MSG_TRUNC | MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n <= 0)
		return fail(tcp, n == 0 ? ECONNRESET : errno, now_ns);
	tcp->heard += (uint64_t)n;
	return tcp->heard > HEARD_MAX ? fail(tcp, EPROTO, now_ns) : 0;
}

/* Nobody listens, and the system chose the port that was called: TCP lets a socket meet itself. */
static bool met_itself(const struct tcp_transport *tcp)
{
	struct sockaddr_storage self = {0}, peer = {0};
	socklen_t self_length = sizeof(self), peer_length = sizeof(peer);

	return getsockname(tcp->t.fd, (struct sockaddr *)&self, &self_length) >= 0 &&
	       getpeername(tcp->t.fd, (struct sockaddr *)&peer, &peer_length) >= 0 &&
	       self_length == peer_length && !memcmp(&self, &peer, self_length);
}

static int finish_connect(struct tcp_transport *tcp, uint64_t now_ns)
{
	struct pollfd ready = {.fd = tcp->t.fd, .events = POLLOUT};
	socklen_t length = sizeof(int);
	int error = 0;

	if (poll(&ready, 1, 0) <= 0)
		return now_ns - tcp->since_ns < CONNECT_NS ? 0 : fail(tcp, ETIMEDOUT, now_ns);
	if (getsockopt(tcp->t.fd, SOL_SOCKET, SO_ERROR, &error, &length) < 0)
		error = errno;
	if (!error && met_itself(tcp))
		error = ECONNREFUSED;
	if (error)
		return fail(tcp, error, now_ns);
	tcp->connected = true;
	tcp->since_ns = now_ns;
	if (tcp->t.account->stats.state == COLLECTOR_RESOLVING)
		account_set_state(tcp->t.account, COLLECTOR_UP, 0);
	return 0;
}

static int step(struct transport *t, uint64_t now_ns)
{
	struct tcp_transport *tcp = to_tcp(t);
	int r;

	if (!tcp->connected)
		return finish_connect(tcp, now_ns);
	note_acknowledged(tcp, now_ns);
	judge_pace(tcp, now_ns);
	r = read_peer(tcp, now_ns);
	if (r == 0)
		r = write_rest(tcp, now_ns);
	if (r < 0 && r != -EAGAIN && r != -ENOBUFS)
		return r;
	if (host_gone(tcp, now_ns))
		return fail(tcp, ETIMEDOUT, now_ns);
	if (missed(t) && now_ns - tcp->since_ns >= PROVEN_NS)
		account_set_state(t->account, COLLECTOR_UP, 0);
	if (t->account->stats.state == COLLECTOR_UP && tcp->count &&
	    now_ns - tcp->progress_ns >= ACCOUNT_STALL_NS)
		account_set_state(t->account, COLLECTOR_STALLED, 0);
	return 0;
}

static int set_options(int fd)
{
	static const int options[][3] = {
		{SOL_SOCKET, SO_RCVBUF, HEARD_BUFFER},
		{SOL_SOCKET, SO_KEEPALIVE, 1},
		{IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_SEC},
		{IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_EACH},
		{IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_PROBES},
		{IPPROTO_TCP, TCP_NODELAY,
		 1}, /* what is sent is meant to arrive, full segments or not */
	};

	for (size_t i = 0; i < ARRAY_SIZE(options); i++)
		if (setsockopt(fd, options[i][0], options[i][1], &options[i][2], sizeof(int)) < 0)
			return -errno;
	return 0;
}

static void close_connection(struct transport *t)
{
	if (to_tcp(t)->count)
		reset_at_close(to_tcp(t));
	closep(&t->fd);
	t->fd = -1;
	to_tcp(t)->connected = false;
	forget(to_tcp(t));
}

static int open_connection(struct transport *t, const struct sockaddr *address, socklen_t length,
			   uint64_t now_ns)
{
	struct tcp_transport *tcp = to_tcp(t);
	sa_family_t family = address->sa_family;
	_cleanup_(closep) int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int r;

	if (fd < 0)
		return -errno;
	r = set_options(fd);
	if (r >= 0)
		r = address_set_local(fd, family, tcp->source.family ? &tcp->source : NULL,
				      tcp->dscp);
	if (r < 0)
		return r;
	if (connect(fd, address, length) < 0 && errno != EINPROGRESS)
		return -errno;
	close_connection(t);
	t->fd = TAKE_FD(fd);
	tcp->since_ns = now_ns;
	return 0;
}

/* --- Sending */

/* The message has been taken, though the kernel may have a part of it alone. */
static void note_taken(struct tcp_transport *tcp, const struct transport_message *m,
		       uint64_t now_ns)
{
	if (!tcp->count)
		tcp->progress_ns = now_ns;
	tcp->taken += m->length;
	tcp->sent[(tcp->head + tcp->count++) % UNACKED_MAX] =
		(struct tcp_sent){.end = tcp->taken, .length = m->length, .count = m->count};
}

/* Keeps what the kernel has not taken of a message. */
static void keep_rest(struct tcp_transport *tcp, const struct transport_message *m, size_t skip)
{
	tcp->rest_at = tcp->rest_length = 0;
	for (unsigned int i = 0; i < m->part_count; i++) {
		const struct iovec *part = &m->parts[i];
		size_t skipped = MIN(skip, part->iov_len);

		memcpy(tcp->rest + tcp->rest_length, (uint8_t *)part->iov_base + skipped,
		       part->iov_len - skipped);
		tcp->rest_length += part->iov_len - skipped;
		skip -= skipped;
	}
}

static int send_messages(struct transport *t, const struct transport_message *messages,
			 unsigned int count, uint64_t now_ns)
{
	struct tcp_transport *tcp = to_tcp(t);
	struct iovec parts[BATCH * TRANSPORT_PARTS];
	size_t part_count = 0, left;
	unsigned int taken = 0;
	ssize_t n = write_rest(tcp, now_ns);

	if (n < 0)
		return (int)n;
	count = MIN(MIN(count, (unsigned int)BATCH), UNACKED_MAX - tcp->count);
	if (!count)
		return -ENOBUFS;
	for (unsigned int i = 0; i < count; i++)
		for (unsigned int part = 0; part < messages[i].part_count; part++)
			parts[part_count++] = messages[i].parts[part];
	n = write_some(tcp, parts, part_count, now_ns);
	if (n < 0)
		return (int)n;
	for (left = (size_t)n; left; taken++) {
		const struct transport_message *m = &messages[taken];

		note_taken(tcp, m, now_ns);
		if (left < m->length)
			keep_rest(tcp, m, left);
		left -= MIN(left, m->length);
	}
	return (int)taken;
}

static short events(struct transport *t)
{
	const struct tcp_transport *tcp = to_tcp(t);

	return (short)(POLLIN | POLLRDHUP | (!tcp->connected || tcp->rest_length ? POLLOUT : 0));
}

static enum transport_takes takes(struct transport *t, _unused_ uint64_t now_ns)
{
	return to_tcp(t)->connected ? TRANSPORT_ALL : TRANSPORT_NOTHING;
}

static unsigned int allows(struct transport *t, uint64_t now_ns)
{
	const struct tcp_transport *tcp = to_tcp(t);

	if (!tcp->connected)
		return 0;
	if (now_ns - tcp->since_ns >= (missed(t) ? PROVEN_NS : TRUST_NS))
		return UINT32_MAX;
	return UNTRUSTED_MAX - MIN(tcp->count, UNTRUSTED_MAX);
}

static bool keeps_up(struct transport *t, _unused_ uint64_t now_ns)
{
	return to_tcp(t)->connected && !to_tcp(t)->slow;
}

static uint16_t limit(struct transport *t)
{
	return to_tcp(t)->message_max;
}

static uint64_t wait_ns(struct transport *t, uint64_t now_ns)
{
	struct tcp_transport *tcp = to_tcp(t);
	uint64_t since_ns = now_ns - tcp->since_ns, waited_ns = now_ns - tcp->progress_ns;

	if (!tcp->connected)
		return CONNECT_NS - MIN(since_ns, CONNECT_NS);
	if (tcp->count)
		return MIN(MAX(waited_ns, LOOK_MIN_NS), LOOK_MAX_NS);
	if (missed(t))
		return PROVEN_NS - MIN(since_ns, PROVEN_NS);
	return UINT64_MAX;
}

static bool busy(struct transport *t)
{
	return to_tcp(t)->count;
}

static void change(struct transport *t, const struct transport_options *options)
{
	struct tcp_transport *tcp = to_tcp(t);

	if (t->fd >= 0 && options->dscp != tcp->dscp && address_set_dscp(t->fd, options->dscp) < 0)
		t->account->stats.errors++;
	tcp->message_max = options->message_max;
	tcp->source = options->source;
	tcp->dscp = options->dscp;
}

static struct transport *tcp_free(struct transport *t)
{
	close_connection(t);
	free(t);
	return NULL;
}

static const struct transport_ops tcp_ops = {
	.reliable = true,
	.timed = true,
	.open = open_connection,
	.close = close_connection,
	.step = step,
	.events = events,
	.takes = takes,
	.allows = allows,
	.keeps_up = keeps_up,
	.limit = limit,
	.send = send_messages,
	.wait_ns = wait_ns,
	.busy = busy,
	.discard = close_connection,
	.change = change,
	.free = tcp_free,
};

int tcp_transport_new(struct transport **ret, const struct transport_options *options)
{
	struct tcp_transport *tcp = calloc(1, sizeof(*tcp));

	if (!tcp)
		return -ENOMEM;
	tcp->t = (struct transport){.ops = &tcp_ops, .account = options->account, .fd = -1};
	tcp->message_max = options->message_max;
	tcp->source = options->source;
	tcp->dscp = options->dscp;
	*ret = &tcp->t;
	return 0;
}
