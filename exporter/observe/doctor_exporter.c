/* SPDX-License-Identifier: Apache-2.0 */
/* Checks of the configuration and of the exporter that runs by it; and the gathering of all facts. */
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include "exporter/observe/doctor_check.h"

#define QUESTION   "{\"version\":1,\"ask\":\"status\"}\n"
#define ANSWER_MAX (16u << 20) /* octets; a status of a thousand interfaces has one */

/* --- Asking the exporter. */

static int connect_socket(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	_cleanup_(closep) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return -errno;
	if (strlen(path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	memcpy(address.sun_path, path, strlen(path));
	if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
		return -errno;
	return TAKE_FD(fd);
}

/* One line, at the end of which the answer is whole.  -errno. */
static int read_line(int fd, char **ret, uint64_t deadline_ns)
{
	_cleanup_(freep) char *text = NULL;
	size_t length = 0, room = 0;

	for (;;) {
		struct pollfd ready = {.fd = fd, .events = POLLIN};
		uint64_t now_ns = clock_ns(CLOCK_MONOTONIC);
		char *more;
		ssize_t n;

		if (now_ns >= deadline_ns ||
		    poll(&ready, 1, (int)((deadline_ns - now_ns) / NSEC_PER_MSEC) + 1) <= 0)
			return -ETIMEDOUT;
		if (length + 1 >= room) {
			room = room ? 2 * room : 65536;
			more = room > ANSWER_MAX ? NULL : realloc(text, room);
			if (!more)
				return room > ANSWER_MAX ? -EMSGSIZE : -ENOMEM;
			text = more;
		}
		n = recv(fd, text + length, room - length - 1, 0);
		if (n < 0 && errno != EAGAIN && errno != EINTR)
			return -errno;
		if (n == 0)
			return -EPROTO;
		if (n < 0)
			continue;
		text[length + (size_t)n] = '\0';
		if (memchr(text + length, '\n', (size_t)n))
			break;
		length += (size_t)n;
	}
	*ret = TAKE_PTR(text);
	return 0;
}

void doctor_ask(const char *socket, struct doctor_exporter *ret)
{
	uint64_t deadline_ns = clock_ns(CLOCK_MONOTONIC) + DOCTOR_TIMEOUT_NS;
	_cleanup_(closep) int fd = connect_socket(socket);
	_cleanup_(freep) char *line = NULL;

	*ret = (struct doctor_exporter){.error = fd < 0 ? fd : 0};
	if (fd < 0)
		return;
	if (send(fd, QUESTION, strlen(QUESTION), MSG_NOSIGNAL) != (ssize_t)strlen(QUESTION)) {
		ret->error = -errno;
		return;
	}
	ret->error = read_line(fd, &line, deadline_ns);
	if (ret->error < 0)
		return;
	ret->status = json_loads(line, JSON_DISABLE_EOF_CHECK, NULL);
	if (!json_is_object(ret->status)) {
		json_decref(ret->status);
		ret->status = NULL;
		ret->error = -EPROTO;
	}
}

/* --- The address at which it will serve. */

int doctor_try_listen(const char *address)
{
	char host[128];
	const char *colon = strrchr(address, ':'), *begin = address;
	const struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
				       .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE};
	struct addrinfo *found = NULL;
	int r, one = 1, length = colon ? (int)(colon - address) : 0;

	if (length > 1 && address[0] == '[' && colon[-1] == ']') {
		begin++;
		length -= 2;
	}
	snprintf(host, sizeof(host), "%.*s", length, begin);
	if (!colon || getaddrinfo(host[0] ? host : NULL, colon + 1, &hints, &found) != 0)
		return -EINVAL;
	_cleanup_(closep) int fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	r = fd < 0 ? -errno : 0;
	if (r == 0 && (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0 ||
		       bind(fd, found->ai_addr, found->ai_addrlen) < 0))
		r = -errno;
	if (r == 0 && listen(fd, 1) < 0) /* with SO_REUSEADDR it is this that says EADDRINUSE */
		r = -errno;
	freeaddrinfo(found);
	return r;
}

/* --- All facts. */

/*
 * Its collectors, where none are configured: it may have got them by its own options.  Those that were removed are
 * listed too, and nobody sends to them.  URLs are the status's.
 */
static size_t running_collectors(const json_t *status,
				 struct doctor_place places[EXPORT_COLLECTORS_MAX])
{
	const json_t *collector;
	size_t i, count = 0;

	json_array_foreach (json_object_get(status, "collectors"), i, collector) {
		const char *url = json_string_value(json_object_get(collector, "url"));
		const char *state = json_string_value(json_object_get(collector, "state"));

		if (state && !strcmp(state, collector_state_name(COLLECTOR_REMOVED)))
			continue;
		if (url && count < EXPORT_COLLECTORS_MAX)
			places[count++] = (struct doctor_place){.url = url};
	}
	return count;
}

static int knock(const struct doctor_wanted *wanted, struct doctor_facts *ret)
{
	struct doctor_place places[EXPORT_COLLECTORS_MAX];
	struct doctor_wanted running = *wanted;

	if (wanted->collector_count)
		return doctor_knock(wanted, ret);
	running.collectors = places;
	running.collector_count = running_collectors(ret->exporter.status, places);
	return doctor_knock(&running, ret);
}

int doctor_gather(const struct doctor_wanted *wanted, struct doctor_facts *ret)
{
	int r;

	*ret = (struct doctor_facts){0};
	doctor_read_kernel("", &ret->kernel);
	ret->kernel.feature_count = features_list(ret->kernel.features, wanted->mask);
	doctor_read_process("", &ret->process);
	if (wanted->socket)
		doctor_ask(wanted->socket, &ret->exporter);
	else
		ret->exporter.error = -ENOENT;
	r = doctor_read_devices(wanted, &ret->devices);
	if (r == 0)
		r = knock(wanted, ret);
	if (wanted->listen)
		ret->listen_error = doctor_try_listen(wanted->listen);
	return r;
}

void doctor_facts_clear(struct doctor_facts *facts)
{
	free(facts->devices.list);
	free(facts->devices.met);
	free(facts->collectors);
	json_decref(facts->exporter.status);
	*facts = (struct doctor_facts){0};
}

/* --- Checks. */

void doctor_configuration(struct doctor *d)
{
	const struct doctor_wanted *wanted = d->wanted;
	char fix[DOCTOR_FIX_MAX], quoted[DOCTOR_QUOTE_MAX];
	size_t errors = 0;

	for (size_t i = 0; i < wanted->problem_count; i++) {
		const struct doctor_problem *problem = &wanted->problems[i];

		errors += !problem->warning;
		if (wanted->configuration)
			doctor_fix(fix, "flowtally config check %s",
				   doctor_quote(quoted, wanted->configuration));
		else
			doctor_fix(fix, "flowtally config example");
		doctor_find(d, problem->warning ? DOCTOR_WARN : DOCTOR_FAIL, wanted->configuration,
			    fix, "%s", problem->text);
	}
	if (!errors && wanted->configuration)
		doctor_ok(d, wanted->configuration, "it has no mistakes");
	else if (!errors)
		doctor_ok(d, NULL, "no file; the options and the defaults");
}

void doctor_listen(struct doctor *d)
{
	const char *address = d->wanted->listen;
	char fix[DOCTOR_FIX_MAX];

	if (!address)
		doctor_ok(d, NULL, "nothing is to listen");
	else if (d->facts->listen_error == 0)
		doctor_ok(d, address, "it is free");
	else if (d->facts->listen_error == -EADDRINUSE && d->facts->exporter.status)
		doctor_ok(d, address, "it is taken, as it should be while the exporter runs");
	else if (d->facts->listen_error == -EADDRINUSE)
		doctor_find(d, DOCTOR_FAIL, address,
			    doctor_fix(fix,
				       "ss -ltnp 'sport = %s'  # shows who; or name another port",
				       strrchr(address, ':') ?: address),
			    "another program listens there");
	else
		doctor_find(d, DOCTOR_FAIL, address,
			    "ip -br address  # lists the addresses of this host",
			    "cannot listen there: %s", strerror(-d->facts->listen_error));
}

/* Members that this version does not know, or that are missing, are no trouble. */
static const char *word_of(const json_t *object, const char *key)
{
	return json_string_value(json_object_get(object, key));
}

/* What it says is wrong, with its own fixes: docs/control.md has the members. */
static void judge_status(struct doctor *d, const json_t *status)
{
	const json_t *problem, *problems = json_object_get(status, "problems");
	const char *version = word_of(status, "exporter");
	size_t i;

	json_array_foreach (problems, i, problem) {
		const char *fix = word_of(problem, "fix");

		doctor_find(d, DOCTOR_WARN, d->wanted->socket,
			    fix && *fix ? fix : "flowtally status", "the exporter says: %s",
			    word_of(problem, "what") ?: "something is wrong");
	}
	if (!json_array_size(problems))
		doctor_ok(d, d->wanted->socket, "running%s%s, %s; `flowtally status` shows more",
			  version ? ", version " : "", version ?: "",
			  word_of(status, "health") ?: "of unknown health");
}

static void judge_refusal(struct doctor *d, const json_t *error)
{
	const char *code = word_of(error, "code") ?: "";

	if (!strcmp(code, "early"))
		doctor_ok(d, d->wanted->socket, "it has just begun");
	else
		doctor_find(d, DOCTOR_WARN, d->wanted->socket,
			    strcmp(code, "version")
				    ? "flowtally status"
				    : "systemctl restart flowtally  # after an upgrade",
			    "the exporter does not tell its state: %s",
			    word_of(error, "text") ?: "it does not say why");
}

static void judge_silence(struct doctor *d, int error)
{
	const char *socket = d->wanted->socket;

	switch (error) {
	case -EACCES:
	case -EPERM:
		doctor_find(d, DOCTOR_WARN, socket, "sudo flowtally doctor",
			    "this user may not ask the exporter");
		return;
	case -ENOENT:
		doctor_ok(d, socket, "no exporter runs there");
		return;
	case -ECONNREFUSED:
		doctor_find(d, DOCTOR_WARN, socket, "systemctl restart flowtally",
			    "the socket is there, but nobody listens: the exporter has died");
		return;
	default:
		doctor_find(d, DOCTOR_WARN, socket,
			    "journalctl -u flowtally\nsystemctl restart flowtally",
			    "the exporter does not answer: %s", strerror(-error));
	}
}

void doctor_exporter(struct doctor *d)
{
	const struct doctor_exporter *exporter = &d->facts->exporter;

	if (!d->wanted->socket)
		doctor_ok(d, NULL, "it is not asked: control-socket is off");
	else if (json_object_get(exporter->status, "error"))
		judge_refusal(d, json_object_get(exporter->status, "error"));
	else if (exporter->status)
		judge_status(d, exporter->status);
	else
		judge_silence(d, exporter->error);
}
