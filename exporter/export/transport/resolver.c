/* SPDX-License-Identifier: Apache-2.0 */
#include <ares.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <arpa/inet.h>
#include "exporter/export/transport/resolver.h"

#define BACKOFF_MIN_NS (1 * NSEC_PER_SEC)
#define BACKOFF_MAX_NS (60 * NSEC_PER_SEC)
#define QUERY_MSEC     2000 /* first timeout of a query; c-ares doubles it */
#define QUERY_TRIES    2

struct resolver {
	char *host;
	char port[6];
	int epoll; /* watches the sockets of c-ares, so that the outside has one descriptor */
	ares_channel channel; /* of the attempt under way, NULL between attempts */
	bool answered;	      /* the attempt is over: status, result */
	int status;
	struct ares_addrinfo *result;
	uint64_t backoff_ns; /* of the next failure */
	uint64_t next_ns;    /* start of the next attempt */
};

int resolver_new(struct resolver **ret, const char *host, uint16_t port)
{
	_cleanup_(resolver_freep) struct resolver *r = calloc(1, sizeof(*r));

	if (!r)
		return -ENOMEM;
	r->backoff_ns = BACKOFF_MIN_NS;
	snprintf(r->port, sizeof(r->port), "%u", port);
	r->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (r->epoll < 0)
		return -errno;
	r->host = strdup(host);
	if (!r->host)
		return -ENOMEM;
	*ret = TAKE_PTR(r);
	return 0;
}

static void end_attempt(struct resolver *r)
{
	if (r->channel)
		ares_destroy(r->channel);
	r->channel = NULL;
	if (r->result)
		ares_freeaddrinfo(r->result);
	r->result = NULL;
}

struct resolver *resolver_free(struct resolver *r)
{
	if (!r)
		return NULL;
	end_attempt(r);
	closep(&r->epoll);
	free(r->host);
	free(r);
	return NULL;
}

static void socket_changed(void *userdata, ares_socket_t fd, int readable, int writable)
{
	struct resolver *r = userdata;
	struct epoll_event event = {.data.fd = fd};

	event.events = (readable ? EPOLLIN : 0u) | (writable ? EPOLLOUT : 0u);
	if (!event.events)
		epoll_ctl(r->epoll, EPOLL_CTL_DEL, fd, NULL);
	else if (epoll_ctl(r->epoll, EPOLL_CTL_MOD, fd, &event) < 0)
		epoll_ctl(r->epoll, EPOLL_CTL_ADD, fd, &event);
}

static void answered(void *userdata, int status, _unused_ int timeouts,
		     struct ares_addrinfo *result)
{
	struct resolver *r = userdata;

	r->answered = true;
	r->status = status;
	r->result = result;
}

/* c-ares 1.18 asks name servers for an IPv4 address too, unless it is told that it is one. */
static int hint_family(const char *host)
{
	struct in_addr address;

	return inet_pton(AF_INET, host, &address) == 1 ? AF_INET : AF_UNSPEC;
}

/* A channel lives for one attempt, so that a change of resolv.conf is seen by the next. */
static void start_attempt(struct resolver *r)
{
	struct ares_options options = {
		.timeout = QUERY_MSEC,
		.tries = QUERY_TRIES,
		.sock_state_cb = socket_changed,
		.sock_state_cb_data = r,
	};
	struct ares_addrinfo_hints hints = {
		.ai_flags = ARES_AI_NUMERICSERV,
		.ai_family = hint_family(r->host),
		.ai_socktype = SOCK_DGRAM,
	};

	r->answered = false;
	r->status = ares_init_options(&r->channel, &options,
				      ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_SOCK_STATE_CB);
	if (r->status != ARES_SUCCESS) {
		r->channel = NULL;
		r->answered = true;
		return;
	}
	ares_getaddrinfo(r->channel, r->host, r->port, &hints, answered, r);
}

static void process_events(struct resolver *r)
{
	struct epoll_event events[16];
	int count = epoll_wait(r->epoll, events, ARRAY_SIZE(events), 0);

	for (int i = 0; i < count && !r->answered; i++) {
		bool in = events[i].events &
			  ~(uint32_t)EPOLLOUT; /* errors too are found by reading */
		bool out = events[i].events & EPOLLOUT;

		ares_process_fd(r->channel, in ? events[i].data.fd : ARES_SOCKET_BAD,
				out ? events[i].data.fd : ARES_SOCKET_BAD);
	}
	if (!r->answered)
		ares_process_fd(r->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD); /* timeouts */
}

void resolver_retry(struct resolver *r, uint64_t now_ns)
{
	r->next_ns = now_ns + r->backoff_ns;
	r->backoff_ns = MIN(2 * r->backoff_ns, BACKOFF_MAX_NS);
}

void resolver_hurry(struct resolver *r)
{
	r->next_ns = 0;
}

int resolver_step(struct resolver *r, uint64_t now_ns, struct ares_addrinfo **ret)
{
	struct ares_addrinfo *result;

	if (!r->channel && now_ns < r->next_ns)
		return 0;
	if (!r->channel)
		start_attempt(r);
	if (!r->answered)
		process_events(r);
	if (!r->answered)
		return 0;
	result = TAKE_PTR(r->result);
	end_attempt(r);
	if (r->status == ARES_SUCCESS && result) {
		r->backoff_ns = BACKOFF_MIN_NS;
		*ret = result;
		return 1;
	}
	if (result)
		ares_freeaddrinfo(result);
	resolver_retry(r, now_ns);
	return -EAGAIN;
}

bool resolver_busy(const struct resolver *r)
{
	return r->channel != NULL;
}

const char *resolver_why(const struct resolver *r)
{
	return ares_strerror(r->status);
}

int resolver_fd(const struct resolver *r)
{
	return r->epoll;
}

uint64_t resolver_wait_ns(const struct resolver *r, uint64_t now_ns)
{
	struct timeval limit = {.tv_sec = QUERY_MSEC / 1000}, wait;
	const struct timeval *tv;

	if (!r->channel)
		return r->next_ns > now_ns ? r->next_ns - now_ns : 0;
	tv = ares_timeout(r->channel, &limit, &wait);
	return (uint64_t)tv->tv_sec * NSEC_PER_SEC + (uint64_t)tv->tv_usec * 1000;
}
