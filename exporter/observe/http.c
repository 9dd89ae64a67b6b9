/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/observe/http.h"
#include <errno.h>
#include <inttypes.h>
#include <microhttpd.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/utsname.h>
#include <zlib.h>
#include "exporter/log.h"
#include "exporter/observe/metrics.h"
#include "exporter/observe/snapshot.h"
#include "exporter/thread.h"
#include "exporter/value.h"

#define BLOCK_OCTETS	  (64u * 1024) /* of an answer, given to the library at once */
#define CONNECTION_OCTETS (16u * 1024) /* for the request and its headers */
#define FRESH_NS	  NSEC_PER_SEC /* who asks meanwhile gets the same text */
#define FORMATS		  (METRICS_OPENMETRICS + 1)
#define GZIP_WINDOW	  (15 + 16) /* zlib: the largest window, and a gzip header in front */
#define GZIP_MEMORY	  8	    /* zlib's default */
#define STALE_INTERVALS	  3	    /* without a snapshot the exporter is not ready */
#define DEAD_INTERVALS	  12	    /* nor is it alive */
#define DEAD_NS		  (60 * NSEC_PER_SEC)

struct settings {
	char *listen; /* NULL: off */
	bool hubble;
	uint64_t config_hash;
	const uint64_t *missed;
};

/* A text, plain or by gzip, that was made once and is sent to all who asked within a second. */
struct body {
	char *text;
	size_t size;
	uint64_t number; /* of its snapshot; 0: there was none */
	uint64_t made_ns;
	unsigned int references;
	bool gzip;
	struct http *http;
};

/* A connection that is not shut yet.  All have the same time, so that the first in the list is the next that has had it. */
struct visitor {
	int fd; /* the library's */
	bool listed;
	uint64_t deadline_ns;
	struct visitor *next, *previous;
};

struct http {
	struct snapshots *snapshots;
	pthread_t thread;
	bool running;
	int wake; /* eventfd: there is something to look at */
	uint64_t started_ns;
	struct utsname system;

	pthread_mutex_t lock;
	struct settings next; /* under it, as what follows */
	bool changed;
	bool leaving;

	/* The thread's. */
	struct settings settings;
	struct MHD_Daemon *daemon;	 /* NULL: nobody listens */
	uint64_t retry_ns;		 /* when to try to listen again; UINT64_MAX: never */
	int failure;			 /* -errno of the last try, which was logged */
	struct body *bodies[FORMATS][2]; /* the newest, plain and by gzip; NULL: none */
	size_t octets;			 /* of all bodies that are held by somebody */
	struct visitor *first, *last;
	unsigned int visitors; /* in that list */
};

/* --- Addresses. */

int http_listen_parse(const char *text, struct ip_address *ret, uint16_t *ret_port,
		      char why[HTTP_WHY_MAX])
{
	const char *colon = strrchr(text, ':');
	const size_t length = colon ? (size_t)(colon - text) : 0;
	char host[ADDRESS_TEXT_MAX + 2] = "", wrong[ADDRESS_WHY_MAX];
	uint64_t port;

	if (!colon || colon[1] < '0' || colon[1] > '9' || value_number(colon + 1, &port) < 0 ||
	    port < 1 || port > 65535) {
		snprintf(why, HTTP_WHY_MAX, "no port; write 127.0.0.1:9717, [::1]:9717 or off");
		return -EINVAL;
	}
	if (length == 0 || length >= sizeof(host)) {
		snprintf(why, HTTP_WHY_MAX,
			 "no address; write 127.0.0.1:%" PRIu64 ", or 0.0.0.0:%" PRIu64
			 " for all of them",
			 port, port);
		return -EINVAL;
	}
	memcpy(host, text, length);
	if (!strcmp(host, "localhost"))
		snprintf(host, sizeof(host), "127.0.0.1");
	if (host[0] == '[' && host[length - 1] == ']' && strchr(host, ':')) {
		host[length - 1] = '\0';
		memmove(host, host + 1, length - 1);
	} else if (strchr(host, ':')) {
		snprintf(why, HTTP_WHY_MAX, "an IPv6 address without brackets; write [%s]:%" PRIu64,
			 host, port);
		return -EINVAL;
	}
	if (address_parse(host, ret, wrong) < 0) {
		snprintf(why, HTTP_WHY_MAX, "%s", wrong);
		return -EINVAL;
	}
	*ret_port = (uint16_t)port;
	return 0;
}

static int open_socket(const char *listen_at)
{
	struct sockaddr_storage address;
	socklen_t length;
	struct ip_address parsed;
	char why[HTTP_WHY_MAX];
	uint16_t port;
	_cleanup_(closep) int fd = -1;
	int r = http_listen_parse(listen_at, &parsed, &port, why);

	if (r == 0)
		r = address_locate(&parsed, port, &address, &length);
	if (r < 0)
		return r;
	fd = socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
	if (address.ss_family == AF_INET6)
		(void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &(int){0}, sizeof(int));
	if (bind(fd, (struct sockaddr *)&address, length) < 0 || listen(fd, SOMAXCONN) < 0)
		return -errno;
	return TAKE_FD(fd);
}

/* --- Texts that are shared. */

static struct body *body_release(struct body *body)
{
	if (body && --body->references == 0) {
		body->http->octets -= body->size;
		free(body->text);
		free(body);
	}
	return NULL;
}

static struct body *make_body(struct http *h, const struct snapshot *snapshot,
			      enum metrics_format format)
{
	struct metrics_process process;
	const struct metrics_source source = {
		.snapshot = snapshot,
		.process = &process,
		.kernel = h->system.release,
		.config_hash = h->settings.config_hash,
		.hubble = h->settings.hubble,
		.missed = h->settings.missed,
	};
	struct body *body = calloc(1, sizeof(*body));

	metrics_read_process(&process);
	if (!body || metrics_print(&source, format, &body->text, &body->size) < 0) {
		free(body);
		return NULL;
	}
	body->number = snapshot ? snapshot->number : 0;
	body->made_ns = clock_ns(CLOCK_MONOTONIC);
	body->references = 1;
	body->http = h;
	h->octets += body->size;
	return body;
}

/* The same by gzip, in one go and as fast as can be; NULL: there is no memory for it. */
static struct body *pack_body(struct http *h, const struct body *plain)
{
	struct body *body = calloc(1, sizeof(*body));
	z_stream z = {.next_in = (Bytef *)plain->text, .avail_in = (uInt)plain->size};
	bool packed = false;

	if (!body || deflateInit2(&z, Z_BEST_SPEED, Z_DEFLATED, GZIP_WINDOW, GZIP_MEMORY,
				  Z_DEFAULT_STRATEGY) != Z_OK) {
		free(body);
		return NULL;
	}
	z.avail_out = (uInt)deflateBound(&z, plain->size);
	body->text = malloc(z.avail_out);
	z.next_out = (Bytef *)body->text;
	if (body->text)
		packed = deflate(&z, Z_FINISH) == Z_STREAM_END;
	*body = (struct body){.text = body->text,
			      .size = z.total_out,
			      .number = plain->number,
			      .made_ns = plain->made_ns,
			      .references = 1,
			      .gzip = true,
			      .http = h};
	deflateEnd(&z);
	h->octets += body->size;
	return packed ? body : body_release(body);
}

static bool is_fresh(const struct body *body, const struct snapshot *snapshot)
{
	return body && body->number == (snapshot ? snapshot->number : 0) &&
	       clock_ns(CLOCK_MONOTONIC) - body->made_ns < FRESH_NS;
}

/* For the caller to release; plain where it cannot be packed; NULL: there is no memory for either. */
static struct body *get_body(struct http *h, enum metrics_format format, bool gzip)
{
	_cleanup_(snapshot_releasep)
		const struct snapshot *snapshot = snapshots_newest(h->snapshots, NULL);
	struct body **bodies = h->bodies[format], *body;

	if (!is_fresh(bodies[0], snapshot)) {
		bodies[0] = body_release(bodies[0]);
		bodies[1] = body_release(bodies[1]);
	}
	if (!bodies[0] && h->octets < HTTP_MEMORY_MAX)
		bodies[0] = make_body(h, snapshot, format);
	if (bodies[0] && !bodies[1] && gzip && h->octets < HTTP_MEMORY_MAX)
		bodies[1] = pack_body(h, bodies[0]);
	body = gzip && bodies[1] ? bodies[1] : bodies[0];
	if (body)
		body->references++;
	return body;
}

static void forget_bodies(struct http *h)
{
	for (size_t i = 0; i < FORMATS; i++)
		for (size_t packed = 0; packed < 2; packed++)
			h->bodies[i][packed] = body_release(h->bodies[i][packed]);
}

/* --- Visitors: each has its time for a request and the answer, however little of it moves meanwhile. */

static void leave(struct http *h, struct visitor *v)
{
	if (!v->listed)
		return;
	*(v->previous ? &v->previous->next : &h->first) = v->next;
	*(v->next ? &v->next->previous : &h->last) = v->previous;
	v->listed = false;
	h->visitors--;
}

static void enter(struct http *h, struct visitor *v)
{
	leave(h, v);
	v->deadline_ns = clock_ns(CLOCK_MONOTONIC) + HTTP_ANSWER_S * NSEC_PER_SEC;
	v->next = NULL;
	v->previous = h->last;
	*(h->last ? &h->last->next : &h->first) = v;
	h->last = v;
	v->listed = true;
	h->visitors++;
}

/* The library notices, and closes it. */
static void send_away(struct http *h, struct visitor *v)
{
	shutdown(v->fd, SHUT_RDWR);
	leave(h, v);
}

static void look_at_visitors(struct http *h)
{
	while (h->first && clock_ns(CLOCK_MONOTONIC) >= h->first->deadline_ns)
		send_away(h, h->first);
}

/* Where many have come, those that take longest make room: who asks in earnest is through in no time. */
static void on_connection(void *userdata, struct MHD_Connection *connection, void **context,
			  enum MHD_ConnectionNotificationCode code)
{
	struct http *h = userdata;
	struct visitor *v = *context;

	if (code == MHD_CONNECTION_NOTIFY_CLOSED) {
		if (v)
			leave(h, v);
		free(v);
		return;
	}
	v = calloc(1, sizeof(*v)); /* without memory nobody watches it but the library */
	*context = v;
	if (!v)
		return;
	v->fd = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
	enter(h, v);
	if (h->visitors > HTTP_CROWD)
		send_away(h, h->first);
}

static void on_answered(void *userdata, struct MHD_Connection *connection, _unused_ void **state,
			_unused_ enum MHD_RequestTerminationCode code)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
	struct visitor *v = info ? info->socket_context : NULL;

	if (v && v->listed)
		enter(userdata, v);
}

/* --- Answers. */

static enum MHD_Result send_response(struct MHD_Connection *connection, unsigned int status,
				     const char *type, struct MHD_Response *response)
{
	enum MHD_Result result;

	if (!response)
		return MHD_NO;
	MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
	MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
	if (status == MHD_HTTP_METHOD_NOT_ALLOWED)
		MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
	if (status == MHD_HTTP_SERVICE_UNAVAILABLE)
		MHD_add_response_header(response, MHD_HTTP_HEADER_RETRY_AFTER, "5");
	result = MHD_queue_response(connection, status, response);
	MHD_destroy_response(response);
	return result;
}

static enum MHD_Result send_text(struct MHD_Connection *connection, unsigned int status,
				 const char *text)
{
	return send_response(connection, status, "text/plain; charset=utf-8",
			     MHD_create_response_from_buffer(strlen(text), (void *)text,
							     MHD_RESPMEM_MUST_COPY));
}

static ssize_t read_answer(void *userdata, uint64_t position, char *to, size_t most)
{
	const struct body *body = userdata;
	const size_t size = MIN(most, body->size - (size_t)position);

	memcpy(to, body->text + position, size);
	return (ssize_t)size;
}

static void free_answer(void *userdata)
{
	body_release(userdata);
}

static enum MHD_Result answer_metrics(struct http *h, struct MHD_Connection *connection)
{
	const enum metrics_format format = metrics_negotiate(
		MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_ACCEPT));
	const bool gzip = metrics_takes_gzip(MHD_lookup_connection_value(
		connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_ACCEPT_ENCODING));
	struct body *body = get_body(h, format, gzip);
	const bool packed = body && body->gzip;
	struct MHD_Response *response;

	if (!body)
		return send_text(connection, MHD_HTTP_SERVICE_UNAVAILABLE,
				 "too many answers are waiting to be read\n");
	response = MHD_create_response_from_callback(body->size, BLOCK_OCTETS, read_answer, body,
						     free_answer);
	if (!response)
		body_release(body);
	if (response && packed)
		MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_ENCODING, "gzip");
	if (response)
		MHD_add_response_header(response, MHD_HTTP_HEADER_VARY, "Accept, Accept-Encoding");
	return send_response(connection, MHD_HTTP_OK, metrics_content_type(format), response);
}

static uint64_t age_ns(const struct snapshot *s)
{
	const uint64_t now_ns = clock_ns(CLOCK_MONOTONIC);

	return now_ns > s->monotonic_ns ? now_ns - s->monotonic_ns : 0;
}

/* What keeps it from being ready; NULL: it is. */
static const char *why_not_ready(const struct snapshot *s)
{
	if (!s)
		return "the first swap has not settled yet";
	if (age_ns(s) > STALE_INTERVALS * s->interval_ns)
		return "no swap has settled for 3 intervals";
	for (size_t i = 0; i < s->interface_count; i++)
		if (hooks_interface_meters(&s->interfaces[i]))
			return NULL;
	return "no interface is attached";
}

static enum MHD_Result answer_ready(struct http *h, struct MHD_Connection *connection)
{
	_cleanup_(snapshot_releasep)
		const struct snapshot *s = snapshots_newest(h->snapshots, NULL);
	const char *why = why_not_ready(s);
	char text[100];

	snprintf(text, sizeof(text), why ? "not ready: %s\n" : "ready\n", why);
	return send_text(connection, why ? MHD_HTTP_SERVICE_UNAVAILABLE : MHD_HTTP_OK, text);
}

/* Whether another start may help: the loop has not settled a swap for long. */
static enum MHD_Result answer_health(struct http *h, struct MHD_Connection *connection)
{
	_cleanup_(snapshot_releasep)
		const struct snapshot *s = snapshots_newest(h->snapshots, NULL);
	const uint64_t now_ns = clock_ns(CLOCK_MONOTONIC);
	const uint64_t silent_ns = s ? age_ns(s) : now_ns - h->started_ns;
	const uint64_t most_ns = MAX(s ? DEAD_INTERVALS * s->interval_ns : 0, DEAD_NS);

	return silent_ns > most_ns ? send_text(connection, MHD_HTTP_SERVICE_UNAVAILABLE,
					       "no swap has settled for long\n")
				   : send_text(connection, MHD_HTTP_OK, "ok\n");
}

static enum MHD_Result answer_index(_unused_ struct http *h, struct MHD_Connection *connection)
{
	static const char page[] =
		"<!doctype html><title>flowtally</title><h1>flowtally " FLOWTALLY_VERSION
		"</h1><ul>\n"
		"<li><a href=\"/metrics\">/metrics</a>: counters for Prometheus\n"
		"<li><a href=\"/healthz\">/healthz</a>: whether it is alive\n"
		"<li><a href=\"/readyz\">/readyz</a>: whether it meters\n</ul>\n";

	return send_response(connection, MHD_HTTP_OK, "text/html; charset=utf-8",
			     MHD_create_response_from_buffer(sizeof(page) - 1, (void *)page,
							     MHD_RESPMEM_PERSISTENT));
}

static const struct {
	const char *path;
	enum MHD_Result (*answer)(struct http *h, struct MHD_Connection *connection);
} pages[] = {
	{"/metrics", answer_metrics},
	{"/healthz", answer_health},
	{"/readyz", answer_ready},
	{"/", answer_index},
};

/* Called once when the headers are there, once with each part of a body, and once at the end. */
static enum MHD_Result on_request(void *userdata, struct MHD_Connection *connection,
				  const char *path, const char *method,
				  _unused_ const char *version, _unused_ const char *upload,
				  size_t *upload_size, void **state)
{
	struct http *h = userdata;

	if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0)
		return send_text(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "GET and HEAD alone\n");
	if (!*state) {
		*state = h;
		return MHD_YES;
	}
	if (*upload_size) {
		*upload_size = 0;
		return MHD_YES;
	}
	for (size_t i = 0; i < ARRAY_SIZE(pages); i++)
		if (!strcmp(path, pages[i].path))
			return pages[i].answer(h, connection);
	return send_text(connection, MHD_HTTP_NOT_FOUND, "no such page; / lists them\n");
}

/* --- The thread. */

static void stop_listening(struct http *h)
{
	if (h->daemon)
		MHD_stop_daemon(h->daemon);
	h->daemon = NULL;
	h->retry_ns = UINT64_MAX;
}

static void listening_failed(struct http *h, int error)
{
	h->retry_ns = clock_ns(CLOCK_MONOTONIC) + HTTP_RETRY_S * NSEC_PER_SEC;
	if (error != h->failure)
		log_warning(
			"metrics: cannot listen at %s (%s), trying again every %d s; choose another "
			"address by --metrics-listen, or off",
			h->settings.listen,
			error == -EADDRINUSE ? "another program has that port" : strerror(-error),
			HTTP_RETRY_S);
	h->failure = error;
}

static void start_listening(struct http *h)
{
	int fd = open_socket(h->settings.listen);

	if (fd < 0) {
		listening_failed(h, fd);
		return;
	}
	errno = ENOMEM;
	h->daemon = MHD_start_daemon(MHD_USE_EPOLL, 0, NULL, NULL, on_request, h,
				     MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT,
				     HTTP_CONNECTIONS_MAX, MHD_OPTION_CONNECTION_TIMEOUT,
				     HTTP_TIMEOUT_S, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
				     (size_t)CONNECTION_OCTETS, MHD_OPTION_NOTIFY_CONNECTION,
				     on_connection, h, MHD_OPTION_NOTIFY_COMPLETED, on_answered, h,
				     MHD_OPTION_END);
	if (!h->daemon) {
		listening_failed(h, -errno);
		close(fd);
		return;
	}
	log_message(h->failure ? LOG_NOTICE : LOG_INFO, "metrics: http://%s/metrics",
		    h->settings.listen);
	h->failure = 0;
	h->retry_ns = UINT64_MAX;
}

static void free_settings(struct settings *s)
{
	free(s->listen);
	*s = (struct settings){0};
}

/* Takes over what was asked for; false: the thread is to end. */
static bool look(struct http *h)
{
	struct settings old = {0};
	bool moved = false, leaving;

	pthread_mutex_lock(&h->lock);
	leaving = h->leaving;
	if (h->changed) {
		old = h->settings;
		h->settings = h->next;
		h->next = (struct settings){0};
		h->changed = false;
		moved = strcmp(old.listen ? old.listen : "",
			       h->settings.listen ? h->settings.listen : "") != 0;
		forget_bodies(h);
	}
	pthread_mutex_unlock(&h->lock);
	free_settings(&old);
	if (leaving)
		return false;
	if (moved) {
		stop_listening(h);
		h->failure = 0;
		h->retry_ns = h->settings.listen ? 0 : UINT64_MAX;
	}
	if (h->settings.listen && clock_ns(CLOCK_MONOTONIC) >= h->retry_ns)
		start_listening(h);
	return true;
}

static int wait_ms(const struct http *h)
{
	const uint64_t now_ns = clock_ns(CLOCK_MONOTONIC);
	MHD_UNSIGNED_LONG_LONG library_ms;
	uint64_t ms = UINT64_MAX;

	if (h->retry_ns != UINT64_MAX)
		ms = h->retry_ns > now_ns ? (h->retry_ns - now_ns) / NSEC_PER_MSEC + 1 : 0;
	if (h->first)
		ms = MIN(ms, h->first->deadline_ns > now_ns
				     ? (h->first->deadline_ns - now_ns) / NSEC_PER_MSEC + 1
				     : 0);
	if (h->daemon && MHD_get_timeout(h->daemon, &library_ms) == MHD_YES)
		ms = MIN(ms, (uint64_t)library_ms);
	return ms == UINT64_MAX ? -1 : (int)MIN(ms, 3600000u);
}

static void *run(void *userdata)
{
	struct http *h = userdata;
	const union MHD_DaemonInfo *info;
	uint64_t count;

	pthread_setname_np(pthread_self(), "flowtally-http");
	while (look(h)) {
		struct pollfd fds[2] = {{.fd = h->wake, .events = POLLIN}, {.fd = -1}};

		info = h->daemon ? MHD_get_daemon_info(h->daemon, MHD_DAEMON_INFO_EPOLL_FD) : NULL;
		if (info)
			fds[1] = (struct pollfd){.fd = info->epoll_fd, .events = POLLIN};
		if (poll(fds, 2, wait_ms(h)) > 0 && fds[0].revents &&
		    read(h->wake, &count, sizeof(count)) < 0 && errno != EAGAIN)
			log_errno(LOG_ERR, errno, "cannot read what wakes the metrics");
		look_at_visitors(h);
		if (h->daemon)
			MHD_run(h->daemon);
	}
	stop_listening(h);
	forget_bodies(h);
	return NULL;
}

static void wake(struct http *h)
{
	const uint64_t one = 1;

	if (write(h->wake, &one, sizeof(one)) < 0)
		log_errno(LOG_ERR, errno, "cannot wake a thread");
}

int http_apply(struct http *h, const struct http_settings *settings)
{
	struct settings next = {.hubble = settings->hubble,
				.config_hash = settings->config_hash,
				.missed = settings->missed};

	if (strcmp(settings->listen, "off") != 0) {
		next.listen = strdup(settings->listen);
		if (!next.listen)
			return -ENOMEM;
	}
	pthread_mutex_lock(&h->lock);
	free_settings(&h->next);
	h->next = next;
	h->changed = true;
	pthread_mutex_unlock(&h->lock);
	wake(h);
	return 0;
}

struct http *http_free(struct http *h)
{
	if (h->running) {
		pthread_mutex_lock(&h->lock);
		h->leaving = true;
		pthread_mutex_unlock(&h->lock);
		wake(h);
		pthread_join(h->thread, NULL);
	}
	free_settings(&h->next);
	free_settings(&h->settings);
	pthread_mutex_destroy(&h->lock);
	closep(&h->wake);
	free(h);
	return NULL;
}

int http_new(struct http **ret, struct snapshots *snapshots, const struct http_settings *settings)
{
	_cleanup_(http_freep) struct http *h = calloc(1, sizeof(*h));
	int r;

	if (!h)
		return -ENOMEM;
	h->snapshots = snapshots;
	h->started_ns = clock_ns(CLOCK_MONOTONIC);
	h->retry_ns = UINT64_MAX;
	pthread_mutex_init(&h->lock, NULL);
	(void)uname(&h->system);
	h->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (h->wake < 0)
		return -errno;
	r = http_apply(h, settings);
	if (r == 0)
		r = thread_start(&h->thread, run, h);
	if (r < 0)
		return r;
	h->running = true;
	*ret = TAKE_PTR(h);
	return 0;
}
