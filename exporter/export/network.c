/* SPDX-License-Identifier: Apache-2.0 */
/* A collector in the network: its name, its sessions one after the other, and its place on the loop. */
#include <ares.h>
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include "exporter/export/phase.h"
#include "exporter/export/sender.h"
#include "exporter/export/stream.h"
#include "exporter/export/transport/resolver.h"
#include "exporter/log.h"
#include "exporter/loop.h"

struct network {
	struct collector c;
	struct sender sender;
	struct transport *transport; /* the sender's */
	struct resolver *resolver;
	bool warned;		      /* that the name does not resolve */
	bool moved;		      /* it sends from another address than its session does */
	struct sockaddr_storage peer; /* the answer of the resolver that is in use */
	struct sockaddr_storage to;   /* the address of the session */
	socklen_t to_length;
	unsigned int clock_moves; /* of the context, when the session began */
	uint64_t resolved_ns;	  /* when the name was looked up last */

	/* Of reliable transports, whose sessions end by themselves. */
	uint64_t retry_ns;	       /* between two attempts, at least */
	uint64_t backoff_ns;	       /* the same, for the next one */
	uint64_t began_ns;	       /* the last attempt */
	uint64_t next_ns;	       /* none before */
	struct ares_addrinfo *answer;  /* of the attempt, or of the last one */
	unsigned int tried, addresses; /* of the answer's, in this attempt, and all */

	struct loop_source *timer; /* NULL without loop, like the others */
	struct loop_source *resolver_source;
	struct loop_source *socket_source;
	uint32_t events; /* set in socket_source */
};

/* A name is looked up again that often while its address does not take messages. */
#define LOOKUP_FAILING_NS (10 * NSEC_PER_SEC)

/* RFC 7011 10.4.4: attempts to connect are not closer than a minute, unless that has been configured. */
#define RETRY_NS       (60 * NSEC_PER_SEC)
#define BACKOFF_MAX_NS (60 * NSEC_PER_SEC)
#define RECONNECT_SPAN_NS \
	(1 * NSEC_PER_SEC) /* a collector that restarts is not met by all in one moment */

static struct network *to_network(struct collector *c)
{
	return (struct network *)c;
}

static int ready(void *userdata, uint32_t events);

static int watch_socket(struct network *n)
{
	n->events = 0;
	if (!n->c.context->loop)
		return 0;
	return loop_add_fd(n->c.context->loop, n->transport->fd, 0, ready, n, &n->socket_source);
}

static void close_session(struct network *n)
{
	n->socket_source = loop_source_free(n->socket_source);
	n->transport->ops->close(n->transport);
}

/* A new session with that address.  If there was one, it goes on when that fails. */
static int connect_to(struct network *n, struct sockaddr_storage to, socklen_t length,
		      uint64_t now_ns)
{
	int r, error = 0;

	n->socket_source = loop_source_free(n->socket_source); /* before its descriptor is closed */
	r = n->transport->ops->open(n->transport, (const struct sockaddr *)&to, length, now_ns);
	if (r >= 0) {
		n->to = to;
		n->to_length = length;
		sender_start(&n->sender, now_ns);
	}
	if (n->transport->fd >= 0)
		error = watch_socket(n);
	return r < 0 ? r : error;
}

/*
 * Takes the first address that can be connected to; -errno of the last one when none can.  An attempt goes on
 * behind those that have been tried in it.
 */
static int connect_any(struct network *n, const struct ares_addrinfo *addresses, uint64_t now_ns)
{
	unsigned int index = 0;
	int r = -EHOSTUNREACH;

	for (const struct ares_addrinfo_node *node = addresses->nodes; node; node = node->ai_next) {
		struct sockaddr_storage to = {0};
		socklen_t length = MIN(node->ai_addrlen, (socklen_t)sizeof(to));

		if (index++ < n->tried)
			continue;
		memcpy(&to, node->ai_addr, length);
		if (n->c.url.numeric)
			r = address_locate(&n->c.url.address, n->c.url.port, &to, &length);
		else
			r = address_usable((struct sockaddr *)&to, &length);
		if (r >= 0)
			r = connect_to(n, to, length, now_ns);
		if (r < 0)
			continue;
		memcpy(&n->peer, node->ai_addr, MIN(node->ai_addrlen, sizeof(n->peer)));
		n->tried = n->transport->ops->reliable ? index : 0;
		return r;
	}
	n->tried = 0;
	return r;
}

static void forget_answer(struct network *n)
{
	if (n->answer)
		ares_freeaddrinfo(n->answer);
	n->answer = NULL;
	n->tried = 0;
}

/* After an attempt that failed, or a session that ended: when the next one begins. */
static void retry_later(struct network *n, bool was_connected, uint64_t now_ns)
{
	if (!n->transport->ops->reliable) {
		resolver_retry(n->resolver, now_ns);
		return;
	}
	if (!was_connected && n->tried && n->tried < n->addresses)
		return; /* another address, in the same attempt */
	if (was_connected && now_ns - n->began_ns >= n->backoff_ns)
		n->backoff_ns = n->retry_ns;
	forget_answer(n);
	n->next_ns = MAX(now_ns + phase_ns(RECONNECT_SPAN_NS),
			 n->began_ns + n->backoff_ns + phase_ns(n->backoff_ns / 4));
	n->backoff_ns = MIN(2 * n->backoff_ns, MAX(n->retry_ns, BACKOFF_MAX_NS));
}

/* The address in use is one of them. */
static bool has_peer(const struct network *n, const struct ares_addrinfo *addresses)
{
	for (const struct ares_addrinfo_node *node = addresses->nodes; node; node = node->ai_next)
		if (!memcmp(&n->peer, node->ai_addr, MIN(node->ai_addrlen, sizeof(n->peer))))
			return true;
	return false;
}

/*
 * A name may have moved: it is looked up at the pace of the templates, more often while there is
 * trouble.  Without an answer, or with the same one, the address stays.
 */
static void look_up_again(struct network *n, uint64_t now_ns)
{
	uint64_t interval_ns = n->c.context->options.template_interval_ns;
	struct ares_addrinfo *addresses;
	int r;

	if (n->c.account.stats.state != COLLECTOR_UP)
		interval_ns = MIN(interval_ns, LOOKUP_FAILING_NS);
	if (n->c.url.numeric || !context_on_loop(n->c.context) ||
	    (!resolver_busy(n->resolver) && now_ns - n->resolved_ns < interval_ns))
		return;
	r = resolver_step(n->resolver, now_ns, &addresses);
	if (r == 0)
		return;
	n->resolved_ns = now_ns;
	if (r < 0)
		return;
	if (!has_peer(n, addresses) && connect_any(n, addresses, now_ns) >= 0) {
		log_info("collector %s: the host has another address now", n->c.account.stats.url);
		account_set_state(&n->c.account, COLLECTOR_UP, 0);
	}
	ares_freeaddrinfo(addresses);
}

/*
 * Looks the name up, once for all addresses that an attempt tries: another answer may have them in another order.
 * Returns whether there is an answer.
 */
static bool look_up(struct network *n, uint64_t now_ns)
{
	struct collector_stats *stats = &n->c.account.stats;
	int r = n->answer ? 1 : resolver_step(n->resolver, now_ns, &n->answer);

	if (r < 0) {
		stats->errors++;
		account_set_state(&n->c.account, COLLECTOR_RESOLVING, 0);
		if (!n->warned)
			log_warning(
				"collector %s: the host does not resolve, will be tried again: %s",
				stats->url, resolver_why(n->resolver));
		n->warned = true;
	}
	if (r <= 0)
		return false;
	n->addresses = 0;
	for (const struct ares_addrinfo_node *node = n->answer->nodes; node; node = node->ai_next)
		n->addresses++;
	if (n->warned && stats->state == COLLECTOR_RESOLVING)
		log_info("collector %s: the host resolves now", stats->url);
	n->warned = false;
	return true;
}

static void open_session(struct network *n, uint64_t now_ns)
{
	struct collector_stats *stats = &n->c.account.stats;
	int r;

	if (now_ns < n->next_ns || !look_up(n, now_ns))
		return;
	if (!n->tried)
		n->began_ns = now_ns;
	r = connect_any(n, n->answer, now_ns);
	if (!n->transport->ops->reliable)
		forget_answer(n);
	if (r < 0) {
		stats->errors++;
		account_fail(&n->c.account, -r);
		retry_later(n, false, now_ns);
		return;
	}
	n->resolved_ns = now_ns;
}

/*
 * Export times of a session never go back (RFC 7011 5.1), nor does NetFlow v9's wall time of the uptime 0
 * change.  A session over UDP is its pair of ports, over TCP its connection: a new socket begins one, with
 * templates, and sequence numbers from 0.
 */
static bool session_outdated(const struct network *n)
{
	const struct export_context *context = n->c.context;
	const struct session *session = &n->c.session;
	bool moved = n->clock_moves != context->clock_moves &&
		     session->protocol->id == PROTOCOL_NETFLOW9;

	return !context->offline && session->export_time &&
	       (moved || session_stale(session, collector_wall_ms(&n->c, 0)));
}

/*
 * Begins a new session where that is needed.  Returns 1 when nothing may be sent before, since what is under way in a
 * reliable session is waited for; -errno when there is no session any more.
 */
static int renew_session(struct network *n, uint64_t now_ns)
{
	struct collector_stats *stats = &n->c.account.stats;
	struct transport *t = n->transport;
	bool outdated = session_outdated(n), moved = n->moved;
	int r;

	n->clock_moves = n->c.context->clock_moves;
	if (!outdated && !moved)
		return 0;
	if (t->ops->reliable && t->ops->busy(t))
		return 1;
	log_info("collector %s: %s, a new session begins", stats->url,
		 moved ? "it is sent to from another address now" : "the wall clock was set");
	n->moved = false;
	n->c.session.export_time = 0;
	r = connect_to(n, n->to, n->to_length, now_ns);
	if (r >= 0)
		return 0;
	stats->errors++;
	if (!moved)
		return 0; /* the socket there is takes messages, or fails later */
	account_fail(&n->c.account, -r);
	return r;
}

static void wait_for_session(struct network *n, uint64_t now_ns, struct collector_step *ret)
{
	uint64_t wait_ns = resolver_wait_ns(n->resolver, now_ns);

	*ret = (struct collector_step){
		.fd = resolver_fd(n->resolver),
		.events = POLLIN,
		.wait_ns = n->next_ns > now_ns ? MAX(wait_ns, n->next_ns - now_ns) : wait_ns,
		.busy = n->sender.queue.count,
	};
}

/* What the session allows; -errno when it is over. */
static int step_session(struct network *n, uint64_t now_ns, struct collector_step *ret)
{
	struct transport *t = n->transport;
	int r = renew_session(n, now_ns);

	if (r <= 0)
		return r < 0 ? r : sender_step(&n->sender, now_ns, ret);
	*ret = (struct collector_step){.wait_ns = t->ops->wait_ns(t, now_ns),
				       .fd = t->fd,
				       .events = t->ops->events(t),
				       .busy = true};
	return t->ops->step(t, now_ns);
}

static void network_step(struct collector *c, uint64_t now_ns, struct collector_step *ret)
{
	struct network *n = to_network(c);
	struct transport *t = n->transport;
	bool connected;

	if (t->fd < 0)
		open_session(n, now_ns);
	if (t->fd < 0) {
		wait_for_session(n, now_ns, ret);
		return;
	}
	if (!t->ops->reliable)
		look_up_again(n, now_ns);
	connected = t->ops->takes(t, now_ns) == TRANSPORT_ALL;
	if (step_session(n, now_ns, ret) < 0) {
		/* A new one takes the address and the route there are by then. */
		connected |= t->ops->takes(t, now_ns) == TRANSPORT_ALL;
		close_session(n);
		retry_later(n, connected, now_ns);
		wait_for_session(n, now_ns, ret);
		return;
	}
	ret->patient = t->ops->reliable && t->ops->takes(t, now_ns) == TRANSPORT_ALL;
	if (resolver_busy(n->resolver))
		ret->wait_ns = MIN(ret->wait_ns, resolver_wait_ns(n->resolver, now_ns));
}

/* --- On the loop */

/* One step, after which the loop waits for what the step asks for. */
static int run_step(struct network *n)
{
	struct collector_step step;
	uint32_t events;
	int r;

	network_step(&n->c, clock_ns(CLOCK_MONOTONIC), &step);
	r = loop_set_timer(n->timer, step.wait_ns == UINT64_MAX ? 0 : MAX(step.wait_ns, 1u), 0);
	if (r < 0 || !n->socket_source)
		return r;
	events = step.fd == n->transport->fd ? (uint32_t)step.events : 0; /* poll's are epoll's */
	if (events == n->events)
		return 0;
	n->events = events;
	return loop_set_events(n->socket_source, events);
}

/* Callback of timer, resolver and socket alike: the step finds out what there is to do. */
static int ready(void *userdata, _unused_ uint32_t events)
{
	return run_step(userdata);
}

static int watch_resolver(struct network *n)
{
	struct loop *loop = n->c.context->loop;
	int r;

	if (!loop)
		return 0;
	r = loop_add_timer(loop, ready, n, &n->timer);
	if (r < 0)
		return r;
	r = loop_add_fd(loop, resolver_fd(n->resolver), EPOLLIN, ready, n, &n->resolver_source);
	if (r < 0)
		return r;
	return loop_set_timer(n->timer, 1, 0); /* the first attempt, as soon as the loop runs */
}

/* --- The operations */

static void network_flush(struct collector *c)
{
	struct network *n = to_network(c);

	if (context_on_loop(n->c.context))
		run_step(n);
}

static void network_hurry(struct collector *c)
{
	struct network *n = to_network(c);

	if (n->transport->fd >= 0)
		return;
	n->next_ns = 0;
	resolver_hurry(n->resolver);
}

static void network_discard(struct collector *c)
{
	struct network *n = to_network(c);

	if (!n->transport->ops->busy(n->transport))
		return;
	n->socket_source = loop_source_free(n->socket_source);
	n->transport->ops->discard(n->transport);
}

static void set_retry(struct network *n, uint64_t retry_ns)
{
	n->retry_ns = retry_ns ? retry_ns : RETRY_NS;
	n->backoff_ns = n->retry_ns;
}

/* What differs between collectors in the network, for their transport. */
static struct transport_options transport_options(struct network *n,
						  const struct collector_settings *settings)
{
	return (struct transport_options){
		.account = &n->c.account,
		.message_max = settings->message_max,
		.head = (uint16_t)(n->c.session.protocol->header + SET_HEADER),
		.source = settings->source,
		.dscp = settings->dscp,
	};
}

static void network_change(struct collector *c, const struct collector_settings *settings)
{
	struct network *n = to_network(c);
	const struct transport_options options = transport_options(n, settings);

	if (settings->rate != n->sender.rate)
		n->sender.debt_ns = 0;
	n->sender.rate = settings->rate;
	if (settings->retry_ns != c->settings.retry_ns) {
		set_retry(n, settings->retry_ns);
		n->next_ns = MIN(n->next_ns, n->began_ns + n->retry_ns);
	}
	if (!address_equal(&settings->source, &c->settings.source))
		n->moved = n->transport->fd >= 0;
	n->transport->ops->change(n->transport, &options);
	network_flush(c);
}

static struct collector *network_free(struct collector *c)
{
	struct network *n = to_network(c);

	loop_source_free(n->timer);
	loop_source_free(n->resolver_source);
	loop_source_free(n->socket_source);
	forget_answer(n);
	resolver_free(n->resolver);
	sender_done(&n->sender);
	collector_done(c);
	free(n);
	return NULL;
}

static void network_begin(_unused_ struct collector *c)
{
}

static const struct collector_ops network_ops = {
	.flush = network_flush,
	.step = network_step,
	.begin = network_begin,
	.change = network_change,
	.hurry = network_hurry,
	.discard = network_discard,
	.free = network_free,
};

static int make_transport(struct network *n, const struct collector_settings *settings)
{
	const struct transport_options options = transport_options(n, settings);

	if (n->c.url.scheme == URL_IPFIX_TCP)
		return tcp_transport_new(&n->transport, &options);
	return udp_transport_new(&n->transport, &options);
}

int network_collector_new(struct collector **ret, const struct collector_url *url,
			  const struct collector_settings *settings, struct encoding *encoding,
			  const struct export_context *context)
{
	struct network *n = calloc(1, sizeof(*n));
	int r;

	if (!n)
		return -ENOMEM;
	collector_init(&n->c, &network_ops, url, encoding, context);
	n->c.account.stats.state = COLLECTOR_RESOLVING;
	set_retry(n, settings->retry_ns);
	r = make_transport(n, settings);
	if (r >= 0)
		r = sender_init(&n->sender, &n->c, n->transport, context->options.queue_messages,
				settings->rate);
	if (r >= 0)
		r = resolver_new(&n->resolver, url->host, url->port);
	if (r >= 0)
		r = watch_resolver(n);
	if (r < 0) {
		network_free(&n->c);
		return r;
	}
	*ret = &n->c;
	return 0;
}
