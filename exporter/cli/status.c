/* SPDX-License-Identifier: Apache-2.0 */
/* `flowtally status`: whether the running exporter works, what it sees, what it loses and why. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include "exporter/cli/arguments.h"
#include "exporter/cli/client.h"
#include "exporter/cli/interrupt.h"
#include "exporter/cli/neighbours.h"
#include "exporter/cli/status_text.h"
#include "exporter/cli/verbs.h"
#include "exporter/log.h"
#include "exporter/observe/control.h"
#include "exporter/observe/control_request.h"
#include "exporter/value.h"

#define HEALTHY	 0
#define DEGRADED 1

#define ANSWER_MS     10000
#define EARLY_NS      (15 * NSEC_PER_SEC) /* for the first reading of the banks */
#define TRY_NS	      (200 * NSEC_PER_MSEC)
#define NEIGHBOUR_MAX 64 /* interfaces whose hooks are looked at */

enum {
	OPTION_SOCKET,
	OPTION_ALL,
	OPTION_JSON,
	OPTION_WATCH,
	OPTION_WAIT,
};

static const struct argument_option options[] = {
	{"socket", 0, ARGUMENT_NEEDED, "PATH", "the exporter's control socket (" CONTROL_SOCKET ")",
	 OPTION_SOCKET},
	{"all", 'a', ARGUMENT_NONE, NULL, "a line for each interface and collector", OPTION_ALL},
	{"json", 0, ARGUMENT_NONE, NULL, "one JSON object; `ledger` is as --summary json has it",
	 OPTION_JSON},
	{"watch", 'w', ARGUMENT_MAY, "TIME", "again and again (every 2s)", OPTION_WATCH},
	{"wait", 0, ARGUMENT_MAY, "TIME", "until it is healthy, so long at most (60s)",
	 OPTION_WAIT},
};

size_t status_options(struct argument_option *ret)
{
	memcpy(ret, options, sizeof(options));
	return ARRAY_SIZE(options);
}

struct status {
	const char *path;
	bool json;
	bool all;
	uint64_t watch_ns; /* 0: once */
	uint64_t wait_ns;  /* 0: it is as it is */
	char why[CLIENT_WHY_MAX];
	bool running; /* an exporter is there, but too busy for an answer */
};

static int take_time(const char *text, uint64_t standard_ns, uint64_t *ret,
		     char error[ARGUMENTS_ERROR_MAX])
{
	*ret = standard_ns;
	if (!text || (value_duration(text, ret) == 0 && *ret >= 100 * NSEC_PER_MSEC &&
		      *ret <= 86400 * NSEC_PER_SEC))
		return 0;
	snprintf(error, ARGUMENTS_ERROR_MAX,
		 "'%s': not a time; it can be 100ms to 24h, such as 500ms or 2s", text);
	return -EINVAL;
}

static int take(void *userdata, int id, const char *text, char error[ARGUMENTS_ERROR_MAX])
{
	struct status *s = userdata;

	switch (id) {
	case OPTION_SOCKET:
		s->path = text;
		return 0;
	case OPTION_ALL:
		s->all = true;
		return 0;
	case OPTION_JSON:
		s->json = true;
		return 0;
	case OPTION_WATCH:
		return take_time(text, 2 * NSEC_PER_SEC, &s->watch_ns, error);
	case OPTION_WAIT:
		return take_time(text, 60 * NSEC_PER_SEC, &s->wait_ns, error);
	default:
		snprintf(error, ARGUMENTS_ERROR_MAX, "'%s': unexpected argument", text);
		return -EINVAL;
	}
}

/* --- Who else is on the hooks: root may know. */

static void add_neighbours(json_t *interface)
{
	const uint32_t ifindex =
		(uint32_t)json_integer_value(json_object_get(interface, "ifindex"));
	json_t *in = ifindex ? neighbours_json(ifindex, DIRECTION_INGRESS) : NULL;
	json_t *out = ifindex ? neighbours_json(ifindex, DIRECTION_EGRESS) : NULL;

	if (in && out)
		json_object_set_new(interface, "neighbours",
				    json_pack("{s:O,s:O}", "ingress", in, "egress", out));
	json_decref(in);
	json_decref(out);
}

/* In the network namespace of the exporter, whatever the caller's is: nothing else is done in it. */
static bool enter_namespace(pid_t pid)
{
	_cleanup_(closep) int fd = -1;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/ns/net", (int)pid);
	fd = pid > 0 ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	return fd >= 0 && setns(fd, CLONE_NEWNET) == 0;
}

static void look_at_hooks(json_t *status, pid_t pid)
{
	size_t index;
	json_t *interface;

	if (geteuid() != 0 || !enter_namespace(pid))
		return;
	json_array_foreach (json_object_get(status, "interfaces"), index, interface)
		if (index < NEIGHBOUR_MAX)
			add_neighbours(interface);
	if (json_array_size(json_object_get(status, "interfaces")) > NEIGHBOUR_MAX)
		json_object_set_new(status, "neighbours_left_out",
				    json_integer((json_int_t)json_array_size(
							 json_object_get(status, "interfaces")) -
						 NEIGHBOUR_MAX));
}

/* --- Asking. */

static int explain(struct status *s, int error, const char *what)
{
	snprintf(s->why, sizeof(s->why), "%s", what);
	return error;
}

/* -EAGAIN: the exporter has begun, and has nothing to tell yet; other -errno: s->why. */
static int ask(struct status *s, json_t **ret)
{
	_cleanup_(client_freep) struct client *client = NULL;
	int r = client_open(&client, s->path, s->why);

	s->running = false;
	if (r < 0)
		return r;
	r = client_ask(client, json_pack("{s:i,s:s}", "version", CONTROL_VERSION, "ask", "status"));
	if (r == 0)
		r = client_read(client, ANSWER_MS, ret);
	s->running = r == -EAGAIN || (r == -EINVAL && !strcmp(client_refusal_code(client), "busy"));
	if (r == -EINVAL)
		return explain(s, !strcmp(client_refusal_code(client), "early") ? -EAGAIN : r,
			       client_refusal(client));
	if (r == -EAGAIN)
		return explain(s, -ETIME,
			       "the exporter does not answer: is the machine overloaded?");
	if (r < 0)
		return explain(s, -EPROTO,
			       r == -ENODATA ? "the exporter ended while it was asked"
					     : strerror(-r));
	look_at_hooks(*ret, client_peer(client));
	return 0;
}

static void nap(uint64_t ns)
{
	const struct timespec time = {.tv_sec = (time_t)(ns / NSEC_PER_SEC),
				      .tv_nsec = (long)(ns % NSEC_PER_SEC)};

	nanosleep(&time, NULL);
}

static int exit_status(const json_t *status)
{
	const char *health = json_string_value(json_object_get(status, "health"));

	return health && !strcmp(health, "healthy") ? HEALTHY : DEGRADED;
}

/* The newest status, NULL where none is to be had: s->why.  With --wait it is asked for again until all is well. */
static json_t *fetch(struct status *s)
{
	const uint64_t begin_ns = clock_ns(CLOCK_MONOTONIC);
	json_t *status = NULL;
	uint64_t limit_ns;
	int r;

	for (;;) {
		json_decref(status);
		status = NULL;
		r = ask(s, &status);
		limit_ns = s->wait_ns ? s->wait_ns : r == -EAGAIN ? EARLY_NS : 0;
		if (r == 0 && (!s->wait_ns || exit_status(status) == HEALTHY))
			return status;
		if (clock_ns(CLOCK_MONOTONIC) - begin_ns >= limit_ns)
			return status;
		nap(TRY_NS);
	}
}

static void show(const struct status *s, const json_t *status)
{
	const bool terminal = isatty(STDOUT_FILENO);
	const struct status_form form = {
		.color = arguments_color(NULL),
		.all = s->all,
	};

	if (s->watch_ns && terminal && !s->json)
		fputs("\x1b[H\x1b[2J", stdout);
	if (s->json) {
		json_dumpf(status, stdout, JSON_COMPACT | JSON_REAL_PRECISION(9));
		fputc('\n', stdout);
	} else {
		status_print_text(status, &form, stdout);
		if (s->watch_ns && !terminal)
			fputc('\n', stdout);
	}
	fflush(stdout);
}

static int run(struct status *s)
{
	json_t *status;
	int result;

	for (;;) {
		status = fetch(s);
		if (!status)
			log_error("%s", s->why);
		else
			show(s, status);
		result = status ? exit_status(status) : s->running ? DEGRADED : EXIT_NOT_RUNNING;
		json_decref(status);
		if (ferror(stdout)) /* nobody reads any more */
			return result;
		if (!s->watch_ns)
			return result;
		if (interrupt_wait(-1, (int)(s->watch_ns / NSEC_PER_MSEC)) < 0)
			return result;
	}
}

int status_main(int argc, char **argv)
{
	struct status s = {.path = CONTROL_SOCKET};
	const struct arguments arguments = {
		.verb = "status",
		.usage =
			"status [OPTION]...\n\n"
			"Says whether the running exporter works, what it sees, what it loses and why.",
		.examples =
			"examples:\n"
			"  flowtally status                            # twelve lines, what is wrong first\n"
			"  flowtally status --watch=1s\n"
			"  flowtally status --wait=30s && echo ready   # in a script, after a start\n"
			"  flowtally status --json | jq .ledger.collectors\n",
		.options = options,
		.option_count = ARRAY_SIZE(options),
		.take = take,
		.userdata = &s,
	};
	int r = arguments_parse(&arguments, argc, argv);

	if (r != 0)
		return r < 0 ? EXIT_USAGE : 0; /* --help */
	return run(&s);
}
