/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/observe/clients.h"
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include "exporter/loop.h"
#include "exporter/observe/control.h"
#include "exporter/observe/feed_names.h"
#include "exporter/observe/status.h"
#include "exporter/observe/top_feed.h"

#define OUT_OCTETS   (3 * FEED_LINE_MAX) /* of a feed's buffer */
#define TURN_OCTETS  (256 << 10)	 /* sent to one client before the next has its turn */
#define TURN_NS	     (5 * NSEC_PER_MSEC) /* likewise worked for it */
#define HANGS_NS     NSEC_PER_SEC	 /* who moves nothing for so long hangs */
#define PATIENCE_NS  NSEC_PER_SEC
#define STATUS_NS    NSEC_PER_SEC /* a text of the status is not older than that */
#define STATUS_ERROR "the status takes more memory than there is"

/* A text on its way to any number of clients. */
struct text {
	unsigned int holders;
	size_t size;
	char octets[];
};

struct client {
	struct clients *all;
	struct client *next;
	int fd;
	uid_t uid;
	struct loop_source *source;
	uint32_t events;      /* that are watched */
	uint64_t moved_ns;    /* CLOCK_MONOTONIC: when an octet was last read or sent */
	bool closing;	      /* when what is on its way has been sent */
	bool ended;	      /* it sends nothing any more */
	bool stuck;	      /* takes or says nothing for now: what is next is up to it */
	struct text *answer;  /* on its way; NULL: none */
	struct feed *feed;    /* likewise */
	struct top_feed *top; /* likewise */
	char *out;	      /* of the feed */
	size_t begin, end;    /* what is to be sent of the answer, or of `out` */
	size_t line_size;
	char line[CONTROL_REQUEST_MAX]; /* what has been read */
};

struct clients {
	struct clients_options options;
	struct ring_order *order; /* of the ring */
	struct feed_names names;  /* and clock, as feeds have them */
	struct profile *profile;
	struct client *first;
	unsigned int count;
	struct text *status; /* the last one */
	uint64_t status_ns;  /* CLOCK_MONOTONIC of it */
	struct status_memory memory;
};

/* --- Texts. */

/* Takes over a text on the heap, as it comes from open_memstream().  NULL without memory. */
static struct text *text_new(char *octets, size_t size)
{
	struct text *text = octets ? malloc(sizeof(*text) + size) : NULL;

	if (text) {
		text->holders = 1;
		text->size = size;
		memcpy(text->octets, octets, size);
	}
	free(octets);
	return text;
}

static struct text *text_release(struct text *text)
{
	if (text && --text->holders == 0)
		free(text);
	return NULL;
}

static struct text *text_of_fault(enum control_fault fault, const char *error)
{
	json_t *object = json_pack("{s:i,s:{s:s,s:s}}", "version", CONTROL_VERSION, "error", "code",
				   control_fault_name(fault), "text", error);
	char *octets = object ? json_dumps(object, JSON_COMPACT) : NULL;
	size_t size = octets ? strlen(octets) : 0;

	json_decref(object);
	if (octets)
		octets[size++] = '\n'; /* where its end was */
	return text_new(octets, size);
}

/* --- Whoever comes and goes. */

static bool has_any(_unused_ const struct client *client)
{
	return true;
}

static bool has_top(const struct client *client)
{
	return client->top;
}

static void client_free(struct client *client)
{
	struct client **at = &client->all->first;

	while (*at != client)
		at = &(*at)->next;
	*at = client->next;
	client->all->count--;
	loop_source_freep(&client->source);
	close(client->fd);
	text_release(client->answer);
	feed_freep(&client->feed);
	top_feed_freep(&client->top);
	free(client->out);
	free(client);
}

static int on_event(void *userdata, uint32_t events)
{
	struct client *client = userdata;
	const struct clients_options options = client->all->options;

	client->stuck = false;
	/* Both directions: who has only finished asking still gets an answer. */
	if (events & (EPOLLHUP | EPOLLERR))
		client_free(client);
	return options.serve(options.userdata);
}

static void watch(struct client *client, uint32_t events)
{
	if (events != client->events)
		(void)loop_set_events(client->source, events);
	client->events = events;
}

/* --- Places.  Each user has some, and who has most makes room for who has less. */

static const struct places {
	bool (*has)(const struct client *client); /* a place of this kind */
	unsigned int all, reserved, user;
	const char *what;
} any_places = {has_any, CONTROL_CLIENTS_MAX, CONTROL_CLIENTS_RESERVED, CONTROL_CLIENTS_USER,
		"clients"},
  top_places = {has_top, CONTROL_TOPS_MAX, CONTROL_TOPS_RESERVED, CONTROL_TOPS_USER,
		"clients that ask for top"};

/* For whom places are reserved. */
static bool is_trusted(uid_t uid)
{
	return uid == 0 || uid == geteuid();
}

static unsigned int count_user(const struct clients *all, const struct places *p, uid_t uid)
{
	unsigned int count = 0;

	for (const struct client *c = all->first; c; c = c->next)
		count += p->has(c) && c->uid == uid;
	return count;
}

/* Why a user gets none; NULL: there is one. */
static const char *lacks(const struct clients *all, const struct places *p, uid_t uid)
{
	unsigned int count = 0, untrusted = 0;

	for (const struct client *c = all->first; c; c = c->next) {
		count += p->has(c);
		untrusted += p->has(c) && !is_trusted(c->uid);
	}
	if (!is_trusted(uid) && count_user(all, p, uid) >= p->user)
		return "of one user";
	if (count >= p->all || (!is_trusted(uid) && untrusted >= p->all - p->reserved))
		return "of all users";
	return NULL;
}

/* What the user has who has most, of those whose clients can make room for one of `uid`. */
static unsigned int find_most(const struct clients *all, const struct places *p, uid_t uid)
{
	unsigned int most = 0, count;

	for (const struct client *c = all->first; c; c = c->next) {
		count = is_trusted(uid) || !is_trusted(c->uid) ? count_user(all, p, c->uid) : 0;
		most = MAX(most, count);
	}
	return most;
}

static bool hangs(const struct client *client)
{
	return client->stuck && clock_ns(CLOCK_MONOTONIC) - client->moved_ns >= HANGS_NS;
}

/*
 * Whose place a client of `uid` can have: of who has most, and more than `uid` would have then, the one that has moved
 * nothing for longest.  Else one of its own that hangs.  NULL: nobody's.
 */
static struct client *find_victim(const struct clients *all, const struct places *p, uid_t uid)
{
	const unsigned int most = find_most(all, p, uid);
	const bool other = most > count_user(all, p, uid) + 1;
	struct client *victim = NULL;
	bool may;

	for (struct client *c = all->first; c; c = c->next) {
		may = other ? count_user(all, p, c->uid) == most : c->uid == uid && hangs(c);
		may &= p->has(c) && (is_trusted(uid) || !is_trusted(c->uid));
		if (may && (!victim || c->moved_ns < victim->moved_ns))
			victim = c;
	}
	return victim;
}

static void print_refusal(char text[CONTROL_ERROR_MAX], const struct places *p, const char *whose)
{
	if (!strcmp(whose, "of one user"))
		snprintf(text, CONTROL_ERROR_MAX, "as many %s as one user can have, %u; end one",
			 p->what, p->user);
	else
		snprintf(text, CONTROL_ERROR_MAX,
			 "as many %s as there can be, %u, of which %u are for root; try again",
			 p->what, p->all, p->reserved);
}

static void print_farewell(char text[CONTROL_ERROR_MAX], const struct client *client,
			   const struct places *p)
{
	snprintf(
		text, CONTROL_ERROR_MAX,
		"another needed a place: of %u %s at a time, user %u had %u, more than others, and this "
		"one was quiet longest",
		p->all, p->what, client->uid, count_user(client->all, p, client->uid));
}

/* In the middle of a line nothing can be said. */
static bool is_between_lines(const struct client *client)
{
	const char *octets = client->answer ? client->answer->octets : client->out;

	return client->begin == client->end || client->begin == 0 ||
	       octets[client->begin - 1] == '\n';
}

static void say_fault(int fd, const char *error)
{
	struct text *text = text_of_fault(CONTROL_FAULT_BUSY, error);

	if (text)
		(void)!send(fd, text->octets, text->size, MSG_DONTWAIT | MSG_NOSIGNAL);
	text_release(text);
}

static void dismiss(struct client *client)
{
	char error[CONTROL_ERROR_MAX];

	print_farewell(error, client, &any_places);
	if (is_between_lines(client))
		say_fault(client->fd, error);
	client_free(client);
}

static uid_t uid_of(int fd)
{
	struct ucred peer = {.uid = (uid_t)-1};
	socklen_t size = sizeof(peer);

	(void)getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size);
	return peer.uid;
}

/* NULL: there is none, and `error` says why. */
static struct client *find_place(struct clients *all, uid_t uid, char error[CONTROL_ERROR_MAX])
{
	const char *whose = lacks(all, &any_places, uid);
	struct client *client = whose ? find_victim(all, &any_places, uid) : NULL;

	if (client) {
		dismiss(client);
		whose = lacks(all, &any_places, uid);
	}
	snprintf(error, CONTROL_ERROR_MAX, "out of memory");
	if (whose)
		print_refusal(error, &any_places, whose);
	return whose ? NULL : calloc(1, sizeof(*client));
}

void clients_add(struct clients *all, int fd)
{
	const uid_t uid = uid_of(fd);
	char error[CONTROL_ERROR_MAX];
	struct client *client = find_place(all, uid, error);

	if (!client) {
		say_fault(fd, error);
		close(fd);
		return;
	}
	client->all = all;
	client->fd = fd;
	client->uid = uid;
	client->moved_ns = clock_ns(CLOCK_MONOTONIC);
	client->events = EPOLLIN;
	if (loop_add_fd(all->options.loop, fd, EPOLLIN, on_event, client, &client->source) < 0) {
		close(fd);
		free(client);
		return;
	}
	client->next = all->first;
	all->first = client;
	all->count++;
}

/* --- Answers. */

static void answer(struct client *client, struct text *text)
{
	client->answer = text;
	client->begin = 0;
	client->end = text ? text->size : 0;
	client->closing |= !text; /* no memory to say so */
}

static void answer_fault(struct client *client, enum control_fault fault, const char *error)
{
	answer(client, text_of_fault(fault, error));
	client->closing = true;
}

static struct text *make_status(struct clients *all)
{
	const struct status_sources sources = {
		.snapshots = all->options.snapshots,
		.memory = &all->memory,
		.ring_records = ring_next(all->options.ring) - ring_oldest(all->options.ring),
	};
	char *octets = NULL;
	size_t size = 0;
	FILE *file = open_memstream(&octets, &size);
	int r;

	if (!file)
		return text_of_fault(CONTROL_FAULT_BUSY, STATUS_ERROR);
	r = status_print(&sources, file);
	if (fclose(file) != 0 || r < 0) {
		free(octets);
		return r == -ENODATA
			       ? text_of_fault(CONTROL_FAULT_EARLY,
					       "the exporter has begun, and its banks have not "
					       "been read yet; try again in some seconds")
			       : text_of_fault(CONTROL_FAULT_BUSY, STATUS_ERROR);
	}
	return text_new(octets, size);
}

static void answer_status(struct client *client)
{
	struct clients *all = client->all;
	const uint64_t now_ns = clock_ns(CLOCK_MONOTONIC);

	if (!all->status || now_ns - all->status_ns >= STATUS_NS) {
		text_release(all->status);
		all->status = make_status(all);
		all->status_ns = now_ns;
	}
	if (all->status)
		all->status->holders++;
	answer(client, all->status);
}

static void answer_records(struct client *client, const struct control_request *request)
{
	char error[CONTROL_ERROR_MAX];
	int r;

	feed_names_look(&client->all->names, client->all->options.snapshots);
	if (!client->out)
		client->out = malloc(OUT_OCTETS);
	r = client->out ? feed_new(&client->feed, request, &client->all->names.context, error)
			: -ENOMEM;
	if (r == -ENOMEM)
		answer_fault(client, CONTROL_FAULT_BUSY, "out of memory");
	else if (r < 0)
		answer_fault(client, CONTROL_FAULT_FILTER, error);
	client->begin = client->feed ? 0 : client->begin;
	client->end = client->feed ? 0 : client->end;
}

/* The other one goes on its own turn. */
static void end_top(struct client *client)
{
	char error[CONTROL_ERROR_MAX];

	print_farewell(error, client, &top_places);
	client->top = top_feed_free(client->top);
	client->closing = true;
	client->stuck = false;
	if (client->begin == client->end)
		answer_fault(client, CONTROL_FAULT_BUSY, error);
}

/* False: there is none, and `error` says why. */
static bool find_top_place(const struct client *client, char error[CONTROL_ERROR_MAX])
{
	const char *whose = lacks(client->all, &top_places, client->uid);
	struct client *other = whose ? find_victim(client->all, &top_places, client->uid) : NULL;

	if (other) {
		end_top(other);
		whose = lacks(client->all, &top_places, client->uid);
	}
	if (whose)
		print_refusal(error, &top_places, whose);
	return !whose;
}

static void answer_top(struct client *client, const struct control_request *request)
{
	_cleanup_(top_feed_freep) struct top_feed *top = NULL;
	char error[CONTROL_ERROR_MAX];
	enum control_fault fault;

	feed_names_look(&client->all->names, client->all->options.snapshots);
	if (top_feed_new(&top, request, &client->all->names.context, &fault, error) < 0)
		answer_fault(client, fault, error);
	else if (find_top_place(client, error))
		client->top = TAKE_PTR(top);
	else
		answer_fault(client, CONTROL_FAULT_BUSY, error);
}

static void handle(struct client *client, size_t size)
{
	struct control_request request;
	enum control_fault fault;
	char error[CONTROL_ERROR_MAX];

	if (control_request_parse(&request, client->line, size, &fault, error) < 0) {
		answer_fault(client, fault, error);
		return;
	}
	if (request.ask == CONTROL_STATUS)
		answer_status(client);
	else if (request.ask == CONTROL_TOP)
		answer_top(client, &request);
	else
		answer_records(client, &request);
	control_request_clear(&request);
}

/* --- Steps. */

enum step {
	STEP_ON,   /* something was done, there may be more */
	STEP_WAIT, /* for the client, or for records */
	STEP_GONE, /* the client has been let go */
};

static enum step let_go(struct client *client)
{
	client_free(client);
	return STEP_GONE;
}

static enum step send_some(struct client *client)
{
	const char *octets = client->answer ? client->answer->octets : client->out;
	ssize_t sent = send(client->fd, octets + client->begin, client->end - client->begin,
			    MSG_DONTWAIT | MSG_NOSIGNAL);

	if (sent < 0 && (errno == EAGAIN || errno == EINTR)) {
		client->stuck = true;
		watch(client, EPOLLOUT);
		return STEP_WAIT;
	}
	if (sent < 0)
		return let_go(client);
	client->moved_ns = clock_ns(CLOCK_MONOTONIC);
	client->begin += (size_t)sent;
	if (client->begin == client->end)
		client->answer = text_release(client->answer);
	return STEP_ON;
}

static enum step fill(struct client *client, bool ending)
{
	enum feed_state state;
	size_t used;

	state = feed_fill(client->feed, &client->all->names.context, ending, client->out,
			  OUT_OCTETS, &used);
	client->begin = 0;
	client->end = used;
	if (state == FEED_ENDED)
		client->feed = feed_free(client->feed);
	if (state != FEED_WAITS || used)
		return STEP_ON;
	watch(client, 0); /* what it asks meanwhile waits; that it goes is always told */
	return STEP_WAIT;
}

static enum step fill_top(struct client *client, bool ending)
{
	char *line = NULL;
	enum feed_state state =
		top_feed_fill(client->top, &client->all->names.context, ending, &line);

	if (line || state == FEED_ENDED)
		answer(client, text_new(line, line ? strlen(line) : 0));
	if (state == FEED_ENDED)
		client->top = top_feed_free(client->top);
	if (state != FEED_WAITS || line)
		return STEP_ON;
	watch(client, 0); /* likewise */
	return STEP_WAIT;
}

static enum step read_some(struct client *client)
{
	char *end = memchr(client->line, '\n', client->line_size);
	ssize_t got;

	if (end) {
		handle(client, (size_t)(end - client->line));
		client->line_size -= (size_t)(end + 1 - client->line);
		memmove(client->line, end + 1, client->line_size);
		return STEP_ON;
	}
	if (client->line_size == sizeof(client->line)) {
		answer_fault(client, CONTROL_FAULT_REQUEST, "longer than a request can be");
		return STEP_ON;
	}
	if (client->ended)
		return let_go(client);
	got = recv(client->fd, client->line + client->line_size,
		   sizeof(client->line) - client->line_size, MSG_DONTWAIT);
	if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
		client->stuck = true;
		watch(client, EPOLLIN);
		return STEP_WAIT;
	}
	if (got < 0)
		return let_go(client);
	client->ended = got == 0;
	client->line_size += (size_t)got;
	client->moved_ns = clock_ns(CLOCK_MONOTONIC);
	return STEP_ON;
}

static enum step step(struct client *client, bool ending)
{
	if (client->stuck)
		return STEP_WAIT;
	if (client->begin < client->end)
		return send_some(client);
	if (client->feed)
		return fill(client, ending);
	if (client->top)
		return fill_top(client, ending);
	if (client->closing || ending)
		return let_go(client);
	return read_some(client);
}

/* STEP_ON: it is to go on another time. */
static enum step serve(struct client *client, bool ending)
{
	const uint64_t end_ns = clock_ns(CLOCK_MONOTONIC) + TURN_NS;
	size_t sent = 0, before;
	enum step r = STEP_ON;

	client->stuck &= !ending; /* is asked once more */
	do {
		before = client->begin;
		r = step(client, ending);
		if (r == STEP_ON && client->begin > before)
			sent += client->begin - before;
	} while (r == STEP_ON && sent < TURN_OCTETS && clock_ns(CLOCK_MONOTONIC) < end_ns);
	return r;
}

enum clients_state clients_serve(struct clients *all, bool ending)
{
	enum clients_state state = CLIENTS_DONE;
	struct client *client = all->first, *next;
	enum step r;

	feed_names_look(&all->names, all->options.snapshots);
	ring_order_look(all->order);
	for (; client; client = next) {
		next = client->next;
		r = serve(client, ending);
		if (r == STEP_ON)
			state = CLIENTS_BUSY;
		else if (r == STEP_WAIT)
			state = MAX(state, CLIENTS_WAITING);
	}
	return state;
}

/* --- Time. */

void clients_look(struct clients *all)
{
	const uint64_t now_ns = clock_ns(CLOCK_MONOTONIC);
	struct client *client = all->first, *next;
	uint64_t limit_ns;

	status_remember(&all->memory, all->options.snapshots);
	for (; client; client = next) {
		next = client->next;
		limit_ns = client->begin < client->end ? CLIENTS_STALLED_NS : CLIENTS_SILENT_NS;
		if (client->stuck && now_ns - client->moved_ns >= limit_ns)
			client_free(client);
	}
}

void clients_clear(struct clients *all)
{
	while (all->first)
		client_free(all->first);
}

/* --- Making them. */

int clients_new(struct clients **ret, const struct clients_options *options)
{
	struct clients *all = calloc(1, sizeof(*all));
	int r;

	if (!all)
		return -ENOMEM;
	all->options = *options;
	r = profile_new(&all->profile, "extended", options->enterprise, record_kinds(true), NULL);
	if (r == 0)
		r = ring_order_new(&all->order, options->ring);
	if (r < 0) {
		clients_free(all);
		return r;
	}
	all->names.context = (struct feed_context){
		.ring = options->ring,
		.order = all->order,
		.profile = all->profile,
		.drop_names = options->drop_names,
		.keep_ns = options->keep_ns,
		.patience_ns = PATIENCE_NS,
		.interval_ns = 5 * NSEC_PER_SEC, /* until there is a snapshot */
	};
	*ret = all;
	return 0;
}

struct clients *clients_free(struct clients *all)
{
	if (!all)
		return NULL;
	clients_clear(all);
	text_release(all->status);
	status_forget(&all->memory);
	profile_freep(&all->profile);
	ring_order_freep(&all->order);
	feed_names_clear(&all->names);
	free(all);
	return NULL;
}
