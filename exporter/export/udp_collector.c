/* SPDX-License-Identifier: Apache-2.0 */
/* A collector over UDP: its name, its socket, and its place on the loop. */
#include <ares.h>
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include "exporter/export/collector.h"
#include "exporter/export/transport/resolver.h"
#include "exporter/export/stream.h"
#include "exporter/export/udp.h"
#include "exporter/export/udp_sender.h"
#include "exporter/log.h"
#include "exporter/loop.h"

struct udp_collector {
	struct collector c;
	struct udp_sender sender;
	struct resolver *resolver;
	bool warned;		   /* that the name does not resolve */
	bool numeric;		   /* an address, not a name */
	struct ip_address address; /* that */
	uint16_t port;
	struct sockaddr_storage peer; /* the answer of the resolver that is in use */
	struct sockaddr_storage to;   /* where the socket is connected to */
	socklen_t to_length;
	unsigned int clock_moves; /* of the context, when the session began */
	uint64_t resolved_ns;	  /* when the name was looked up last */
	struct ip_address source; /* family 0: the system's to choose */
	uint8_t dscp;

	struct loop_source *timer; /* NULL without loop, like the others */
	struct loop_source *resolver_source;
	struct loop_source *socket_source;
	bool wants_pollout; /* set in socket_source */
};

/* A name is looked up again that often while its address does not take messages. */
#define LOOKUP_FAILING_NS (10 * NSEC_PER_SEC)

static struct udp_collector *to_udp(struct collector *c)
{
	return (struct udp_collector *)c;
}

static int ready(void *userdata, uint32_t events);

static int watch_socket(struct udp_collector *u)
{
	u->wants_pollout = false;
	if (!u->c.context->loop)
		return 0;
	return loop_add_fd(u->c.context->loop, u->sender.fd, 0, ready, u, &u->socket_source);
}

/* A new socket, and with it a new session. */
static int connect_to(struct udp_collector *u, struct sockaddr_storage to, socklen_t length,
		      uint64_t now_ns)
{
	const struct sockaddr *address = (const struct sockaddr *)&to;
	int fd = udp_connect(address, length, u->source.family ? &u->source : NULL, u->dscp);
	struct in6_addr host;
	uint32_t scope;

	if (fd < 0)
		return fd;
	u->socket_source = loop_source_free(u->socket_source);
	u->to = to;
	u->to_length = length;
	udp_address(address, &host, &scope);
	udp_sender_open(&u->sender, fd,
			udp_host_get(u->c.context->hosts, EXPORT_HOSTS_MAX, &host, scope), now_ns);
	return watch_socket(u);
}

/* Takes the first address that can be connected to; -errno of the last one when none can. */
static int connect_any(struct udp_collector *u, const struct ares_addrinfo *addresses,
		       uint64_t now_ns)
{
	int r = -EHOSTUNREACH;

	for (const struct ares_addrinfo_node *node = addresses->nodes; node; node = node->ai_next) {
		struct sockaddr_storage to = {0};
		socklen_t length = MIN(node->ai_addrlen, (socklen_t)sizeof(to));

		memcpy(&to, node->ai_addr, length);
		if (u->numeric)
			r = address_locate(&u->address, u->port, &to, &length);
		else
			r = udp_usable((struct sockaddr *)&to, &length);
		if (r >= 0)
			r = connect_to(u, to, length, now_ns);
		if (r < 0)
			continue;
		memcpy(&u->peer, node->ai_addr, MIN(node->ai_addrlen, sizeof(u->peer)));
		return r;
	}
	return r;
}

/* The address in use is one of them. */
static bool has_peer(const struct udp_collector *u, const struct ares_addrinfo *addresses)
{
	for (const struct ares_addrinfo_node *node = addresses->nodes; node; node = node->ai_next)
		if (!memcmp(&u->peer, node->ai_addr, MIN(node->ai_addrlen, sizeof(u->peer))))
			return true;
	return false;
}

/*
 * A name may have moved: it is looked up at the pace of the templates, more often while there is
 * trouble.  Without an answer, or with the same one, the address stays.
 */
static void look_up_again(struct udp_collector *u, uint64_t now_ns)
{
	uint64_t interval_ns = u->c.context->options.template_interval_ns;
	struct ares_addrinfo *addresses;
	int r;

	if (u->c.stats.state != COLLECTOR_UP)
		interval_ns = MIN(interval_ns, LOOKUP_FAILING_NS);
	if (u->numeric || !collector_on_loop(&u->c) ||
	    (!resolver_busy(u->resolver) && now_ns - u->resolved_ns < interval_ns))
		return;
	r = resolver_step(u->resolver, now_ns, &addresses);
	if (r == 0)
		return;
	u->resolved_ns = now_ns;
	if (r < 0)
		return;
	if (!has_peer(u, addresses) && connect_any(u, addresses, now_ns) >= 0) {
		log_info("collector %s: the host has another address now", u->c.stats.url);
		collector_set_state(&u->c, COLLECTOR_UP, 0);
	}
	ares_freeaddrinfo(addresses);
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
			log_warning(
				"collector %s: the host does not resolve, will be tried again: %s",
				u->c.stats.url, resolver_why(u->resolver));
		u->warned = true;
		return;
	}
	r = connect_any(u, addresses, now_ns);
	ares_freeaddrinfo(addresses);
	if (r < 0) {
		u->c.stats.errors++;
		collector_set_state(&u->c, COLLECTOR_FAILING, -r);
		resolver_retry(u->resolver, now_ns);
		return;
	}
	if (u->warned && u->c.stats.state == COLLECTOR_RESOLVING)
		log_info("collector %s: the host resolves now", u->c.stats.url);
	if (u->c.stats.state != COLLECTOR_FAILING) /* which the first message that is sent ends */
		collector_set_state(&u->c, COLLECTOR_UP, 0);
	u->resolved_ns = now_ns;
}

/*
 * Export times of a session never go back (RFC 7011 5.1), nor does NetFlow v9's wall time of the uptime 0
 * change.  A session over UDP is its pair of ports: a new socket begins one, with templates, and sequence
 * numbers from 0.
 */
static void renew_session(struct udp_collector *u, uint64_t now_ns)
{
	const struct export_context *context = u->c.context;
	struct session *session = &u->c.session;
	bool moved = u->clock_moves != context->clock_moves &&
		     session->protocol->id == PROTOCOL_NETFLOW9;

	u->clock_moves = context->clock_moves;
	if (context->offline || !session->export_time ||
	    !(moved || session_stale(session, collector_wall_ms(&u->c, 0))))
		return;
	log_info("collector %s: the wall clock was set, a new session begins", u->c.stats.url);
	session->export_time = 0;
	if (connect_to(u, u->to, u->to_length, now_ns) < 0)
		u->c.stats
			.errors++; /* the socket there is takes messages, or its failure is found then */
}

static void wait_for_resolver(struct udp_collector *u, uint64_t now_ns, struct collector_step *ret)
{
	*ret = (struct collector_step){
		.fd = resolver_fd(u->resolver),
		.events = POLLIN,
		.wait_ns = resolver_wait_ns(u->resolver, now_ns),
		.busy = u->sender.queue.count,
	};
}

static void udp_step(struct collector *c, uint64_t now_ns, struct collector_step *ret)
{
	struct udp_collector *u = to_udp(c);

	if (u->sender.fd < 0)
		open_socket(u, now_ns);
	if (u->sender.fd < 0) {
		wait_for_resolver(u, now_ns, ret);
		return;
	}
	look_up_again(u, now_ns);
	renew_session(u, now_ns);
	udp_sender_step(&u->sender, now_ns, ret);
	if (u->sender.broken) { /* a new socket takes the address and the route there are by then */
		u->socket_source = loop_source_free(u->socket_source);
		udp_sender_close(&u->sender);
		resolver_retry(u->resolver, now_ns);
		wait_for_resolver(u, now_ns, ret);
		return;
	}
	if (resolver_busy(u->resolver))
		ret->wait_ns = MIN(ret->wait_ns, resolver_wait_ns(u->resolver, now_ns));
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
	pollout = step.fd == u->sender.fd && step.events == POLLOUT;
	if (pollout == u->wants_pollout)
		return 0;
	u->wants_pollout = pollout;
	return loop_set_events(u->socket_source, pollout ? EPOLLOUT : 0);
}

/* Callback of timer, resolver and socket alike: the step finds out what there is to do. */
static int ready(void *userdata, _unused_ uint32_t events)
{
	return run_step(userdata);
}

static int watch_resolver(struct udp_collector *u)
{
	struct loop *loop = u->c.context->loop;
	int r;

	if (!loop)
		return 0;
	r = loop_add_timer(loop, ready, u, &u->timer);
	if (r < 0)
		return r;
	r = loop_add_fd(loop, resolver_fd(u->resolver), EPOLLIN, ready, u, &u->resolver_source);
	if (r < 0)
		return r;
	return loop_set_timer(u->timer, 1, 0); /* the first attempt, as soon as the loop runs */
}

/* --- The operations */

static void udp_flush(struct collector *c)
{
	struct udp_collector *u = to_udp(c);

	if (collector_on_loop(&u->c))
		run_step(u);
}

static struct collector *udp_free(struct collector *c)
{
	struct udp_collector *u = to_udp(c);

	loop_source_free(u->timer);
	loop_source_free(u->resolver_source);
	loop_source_free(u->socket_source);
	resolver_free(u->resolver);
	udp_sender_done(&u->sender);
	free(u);
	return NULL;
}

static const struct collector_ops udp_ops = {
	.flush = udp_flush,
	.step = udp_step,
	.free = udp_free,
};

static void set_options(struct udp_collector *u, const struct collector_url *url)
{
	const struct export_options *o = &u->c.context->options;
	const char *source = *url->options.source ? url->options.source : o->source;
	char why[ADDRESS_WHY_MAX];

	u->numeric = url->numeric;
	u->address = url->address;
	u->port = url->port;
	if (source)
		(void)address_parse(source, &u->source, why);
	u->dscp = url->options.dscp >= 0 ? (uint8_t)url->options.dscp : o->dscp;
}

int udp_collector_new(struct collector **ret, const struct collector_url *url,
		      struct stream *stream, const struct export_context *context)
{
	uint32_t rate = url->options.rate ? url->options.rate : context->options.rate;
	struct udp_collector *u = calloc(1, sizeof(*u));
	int r;

	if (!u)
		return -ENOMEM;
	collector_init(&u->c, &udp_ops, url, stream, context);
	u->c.stats.state = COLLECTOR_RESOLVING;
	set_options(u, url);
	r = udp_sender_init(&u->sender, &u->c, rate);
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
