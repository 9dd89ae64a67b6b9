/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Knocks at all collectors at once, and waits for each stage of the way DOCTOR_TIMEOUT_NS at most.
 *
 * Over UDP two datagrams are sent.  A message without records (RFC 7011 section 3.1 allows that) tells by the ICMP error that
 * may come back whether somebody has the port.  One of the size of the longest message, to a port that traceroute(8) uses and
 * nobody has, finds the path's MTU as tracepath(8) does, and bothers no collector.  Over TCP a connection is made and
 * closed again.
 */
#include <netinet/in.h>
#include <arpa/inet.h>
#include <ares.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/statvfs.h>
#include "exporter/export/transport/resolver.h"
#include "exporter/export/transport/udp_socket.h"
#include "exporter/observe/doctor_check.h"

#define PATH_PORT 44444
#define QUIET_NS \
	(200 * \
	 NSEC_PER_MSEC) /* its host has answered for one port: the other's answer is due too */
#define POLL_MSEC_MAX 100

struct knock {
	struct doctor_collector *c;
	struct resolver *resolver;
	int fd;	     /* to the collector's port; -1: none */
	int path_fd; /* to the host; -1: none */
	uint64_t deadline_ns;
};

static void knock_clear(struct knock *k)
{
	resolver_freep(&k->resolver);
	closep(&k->fd);
	closep(&k->path_fd);
}

static bool is_tcp(const struct knock *k)
{
	return k->c->url.scheme == URL_IPFIX_TCP;
}

/* IPFIX or NetFlow v9 with nothing in it, of observation domain 0.  -EPERM: a packet filter of this host refuses. */
static int send_nothing(int fd, enum url_scheme scheme)
{
	const bool ipfix = scheme != URL_NETFLOW9;
	const uint32_t now = htonl((uint32_t)(clock_ns(CLOCK_REALTIME) / NSEC_PER_SEC));
	const uint16_t head[2] = {htons(ipfix ? 10 : 9), htons(ipfix ? 16 : 0)};
	uint8_t message[20] = {0};

	memcpy(message, head, sizeof(head));
	memcpy(message + (ipfix ? 4 : 8), &now, sizeof(now));
	return send(fd, message, ipfix ? 16 : 20, MSG_DONTWAIT) < 0 && errno == EPERM ? -EPERM : 0;
}

static void send_long(int fd, uint16_t octets)
{
	static const uint8_t zeros[URL_MESSAGE_MAX];

	(void)!send(fd, zeros, MIN(octets, sizeof(zeros)), MSG_DONTWAIT);
}

static int open_tcp(const struct sockaddr *to, socklen_t length, const struct ip_address *source)
{
	_cleanup_(closep) int fd =
		socket(to->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int r = fd < 0 ? -errno : address_set_local(fd, to->sa_family, source, 0);

	if (r < 0)
		return r;
	if (connect(fd, to, length) < 0 && errno != EINPROGRESS)
		return -errno;
	return TAKE_FD(fd);
}

static int open_udp(struct knock *k, const struct sockaddr_storage *to, socklen_t length,
		    const struct ip_address *source)
{
	struct sockaddr_storage path = *to;
	int fd = udp_connect((const struct sockaddr *)to, length, source, 0);

	if (fd < 0)
		return fd;
	if (path.ss_family == AF_INET6)
		((struct sockaddr_in6 *)&path)->sin6_port = htons(PATH_PORT);
	else
		((struct sockaddr_in *)&path)->sin_port = htons(PATH_PORT);
	k->path_fd = udp_connect((const struct sockaddr *)&path, length, source, 0);
	k->c->payload_max = udp_payload_max(fd);
	k->c->answer_error = send_nothing(fd, k->c->url.scheme);
	if (k->path_fd >= 0)
		send_long(k->path_fd, k->c->message_max);
	return fd;
}

static int open_to(struct knock *k, const struct sockaddr_storage *to, socklen_t length)
{
	struct ip_address source = {0};
	char why[ADDRESS_WHY_MAX];
	const bool has_source = k->c->source && k->c->source[0];

	if (has_source && address_parse(k->c->source, &source, why) < 0)
		return -EINVAL;
	if (has_source && source.family != to->ss_family)
		return -EAFNOSUPPORT;
	return is_tcp(k)
		       ? open_tcp((const struct sockaddr *)to, length, has_source ? &source : NULL)
		       : open_udp(k, to, length, has_source ? &source : NULL);
}

static void name_address(struct doctor_collector *c, const struct sockaddr_storage *to)
{
	const void *address = to->ss_family == AF_INET6
				      ? (const void *)&((const struct sockaddr_in6 *)to)->sin6_addr
				      : (const void *)&((const struct sockaddr_in *)to)->sin_addr;

	inet_ntop(to->ss_family, address, c->address, sizeof(c->address));
}

/* The first address that there is a way to, as the exporter takes it. */
static void begin_answer(struct knock *k, const struct ares_addrinfo *addresses, uint64_t now_ns)
{
	struct doctor_collector *c = k->c;

	c->route_error = -EHOSTUNREACH;
	for (const struct ares_addrinfo_node *node = addresses->nodes; node && k->fd < 0;
	     node = node->ai_next) {
		struct sockaddr_storage to = {0};
		socklen_t length = MIN(node->ai_addrlen, (socklen_t)sizeof(to));
		int r;

		memcpy(&to, node->ai_addr, length);
		r = c->url.numeric ? address_locate(&c->url.address, c->url.port, &to, &length)
				   : address_usable((struct sockaddr *)&to, &length);
		name_address(c, &to);
		k->fd = r < 0 ? -1 : open_to(k, &to, length);
		c->route_error = k->fd >= 0 ? 0 : r < 0 ? r : k->fd;
		if (k->fd < 0)
			k->fd = -1;
	}
	c->stage = k->fd >= 0 ? DOCTOR_AT_ANSWER : DOCTOR_AT_ROUTE;
	k->deadline_ns = now_ns + DOCTOR_TIMEOUT_NS;
}

static void step_name(struct knock *k, uint64_t now_ns)
{
	struct ares_addrinfo *addresses = NULL;
	int r = resolver_step(k->resolver, now_ns, &addresses);

	if (r > 0) {
		begin_answer(k, addresses, now_ns);
		ares_freeaddrinfo(addresses);
	} else if (r < 0) {
		snprintf(k->c->why, sizeof(k->c->why), "%s", resolver_why(k->resolver));
	} else if (now_ns >= k->deadline_ns) {
		snprintf(k->c->why, sizeof(k->c->why), "no name server has answered in %llu s",
			 DOCTOR_TIMEOUT_NS / NSEC_PER_SEC);
	}
}

static void step_tcp(struct knock *k, uint64_t now_ns)
{
	struct pollfd ready = {.fd = k->fd, .events = POLLOUT};
	socklen_t length = sizeof(int);
	int error = ETIMEDOUT;

	if (poll(&ready, 1, 0) <= 0 && now_ns < k->deadline_ns)
		return;
	if (ready.revents && getsockopt(k->fd, SOL_SOCKET, SO_ERROR, &error, &length) < 0)
		error = errno;
	k->c->answer_error = -error;
	k->c->stage = DOCTOR_AT_END;
}

static void step_udp(struct knock *k, uint64_t now_ns)
{
	struct udp_answer answer;
	int known;

	if (k->path_fd >= 0 && udp_next_answer(k->path_fd, &answer) && answer.error == ECONNREFUSED)
		k->deadline_ns = MIN(k->deadline_ns, now_ns + QUIET_NS);
	known = k->path_fd >= 0 ? udp_payload_max(k->path_fd) : DOCTOR_UNKNOWN;
	if (known >= 0 && known < k->c->payload_max)
		k->c->payload_max = known;
	if (udp_next_answer(k->fd, &answer) && answer.error != EMSGSIZE)
		k->c->answer_error = -answer.error;
	if (k->c->answer_error || now_ns >= k->deadline_ns)
		k->c->stage = DOCTOR_AT_END;
}

static bool goes_on(const struct knock *k)
{
	return (k->c->stage == DOCTOR_AT_NAME && !k->c->why[0]) || k->c->stage == DOCTOR_AT_ANSWER;
}

static void step(struct knock *k, uint64_t now_ns)
{
	if (k->c->stage == DOCTOR_AT_NAME)
		step_name(k, now_ns);
	else if (is_tcp(k))
		step_tcp(k, now_ns);
	else
		step_udp(k, now_ns);
}

/* What errors of UDP bring is looked for every POLL_MSEC_MAX too: time passes for those that wait for nothing. */
static void wait_for_any(struct knock *knocks, size_t count)
{
	struct pollfd fds[2 * EXPORT_COLLECTORS_MAX];
	nfds_t used = 0;

	for (size_t i = 0; i < count; i++) {
		struct knock *k = &knocks[i];

		if (!goes_on(k))
			continue;
		if (k->c->stage == DOCTOR_AT_NAME) {
			fds[used++] = (struct pollfd){resolver_fd(k->resolver), POLLIN, 0};
			continue;
		}
		fds[used++] = (struct pollfd){k->fd, is_tcp(k) ? POLLOUT : 0, 0};
		if (k->path_fd >= 0)
			fds[used++] = (struct pollfd){k->path_fd, 0, 0};
	}
	poll(fds, used, POLL_MSEC_MAX);
}

/* --- Files. */

/* A folder on a server that does not answer holds up who looks at it for ever: not us. */
struct file_look {
	char folder[DOCTOR_PATH_MAX];
	int error;
	uint64_t free;
};

static void *look_at_folder(void *userdata)
{
	struct file_look *look = userdata;
	struct statvfs system;

	look->error = access(look->folder, W_OK | X_OK) < 0 ? -errno : 0;
	if (look->error == 0 && statvfs(look->folder, &system) == 0)
		look->free = (uint64_t)system.f_bavail * system.f_frsize;
	return NULL;
}

static void look_at_file(struct doctor_collector *c)
{
	struct timespec end;
	struct file_look *look = calloc(1, sizeof(*look));
	pthread_t thread;
	const char *slash = strrchr(c->url.path, '/');

	c->stage = DOCTOR_AT_END;
	c->file_error = look ? -EAGAIN : -ENOMEM;
	if (!look)
		return;
	snprintf(look->folder, sizeof(look->folder), "%.*s",
		 slash && slash != c->url.path ? (int)(slash - c->url.path) : 1, c->url.path);
	if (pthread_create(&thread, NULL, look_at_folder, look) != 0) {
		free(look);
		return;
	}
	clock_gettime(CLOCK_MONOTONIC, &end);
	end.tv_sec += DOCTOR_TIMEOUT_NS / NSEC_PER_SEC;
	if (pthread_clockjoin_np(thread, NULL, CLOCK_MONOTONIC, &end) != 0) {
		c->file_error = -ETIMEDOUT; /* the thread has `look` for as long as it likes */
		pthread_detach(thread);
		return;
	}
	c->file_error = look->error;
	c->free = look->free;
	free(look);
}

/* --- All of them. */

static void describe(struct doctor_collector *c, const struct doctor_wanted *wanted,
		     const struct doctor_place *place)
{
	char why[URL_WHY_MAX];
	*c = (struct doctor_collector){.payload_max = DOCTOR_UNKNOWN};
	if (url_parse(place->url, &c->url, why) < 0) /* the configuration says so too */
		snprintf(c->why, sizeof(c->why), "%.*s", DOCTOR_WHY_MAX - 1, why);
	c->url.text = place->url;
	if (place->options)
		c->url.options = *place->options;
	c->message_max = c->url.options.message_max ?: wanted->export.message_max;
	c->source = c->url.options.source[0] ? c->url.options.source : wanted->export.source;
	c->octets_needed = exports_octets_needed(&wanted->export, &c->url);
}

int doctor_knock(const struct doctor_wanted *wanted, struct doctor_facts *ret)
{
	struct knock knocks[EXPORT_COLLECTORS_MAX];
	const size_t count = MIN(wanted->collector_count, (size_t)EXPORT_COLLECTORS_MAX);
	bool busy = true;
	int r = 0;

	ret->collectors = calloc(count + 1, sizeof(*ret->collectors));
	if (!ret->collectors)
		return -ENOMEM;
	ret->collector_count = count;
	for (size_t i = 0; i < count; i++) {
		struct doctor_collector *c = &ret->collectors[i];

		knocks[i] = (struct knock){.c = c, .fd = -1, .path_fd = -1};
		describe(c, wanted, &wanted->collectors[i]);
		if (!c->why[0] && !url_in_network(&c->url))
			look_at_file(c);
		else if (!c->why[0] && r == 0)
			r = resolver_new(&knocks[i].resolver, c->url.host, c->url.port);
		knocks[i].deadline_ns = clock_ns(CLOCK_MONOTONIC) + DOCTOR_TIMEOUT_NS;
	}
	while (r == 0 && busy) {
		busy = false;
		for (size_t i = 0; i < count; i++) {
			if (goes_on(&knocks[i]))
				step(&knocks[i], clock_ns(CLOCK_MONOTONIC));
			busy |= goes_on(&knocks[i]);
		}
		if (busy)
			wait_for_any(knocks, count);
	}
	for (size_t i = 0; i < count; i++)
		knock_clear(&knocks[i]);
	return r;
}
