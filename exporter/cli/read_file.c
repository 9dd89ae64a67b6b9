/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include "exporter/cli/read_file.h"
#include "exporter/cli/read_kind.h"
#include "exporter/cli/read_next.h"
#include "exporter/export/format/wire.h"
#include "exporter/log.h"

#define BUFFER	  (4u * (DECODE_MESSAGE_MAX + 1))
#define FOLLOW_MS 200
#define LINES_MAX 20 /* of what is wrong with one file; the rest is summed up */

struct input {
	const char *path;
	const char *name; /* as it is shown */
	bool standard;
	bool follow;
	bool regular;	/* reading does not wait */
	bool ended;	/* nobody reads standard output any more */
	bool explained; /* why it cannot be read */
	const struct read_file_events *events;
	struct decoder *decoder;
	int fd;
	uint64_t offset; /* of buffer[0] */
	size_t used;	 /* octets in the buffer */
	bool lost;	 /* no message began where one should: the next one is looked for */
	uint64_t wrong;
	uint8_t buffer[BUFFER];
};

static void input_clear(struct input *in)
{
	decoder_freep(&in->decoder);
	if (!in->standard)
		closep(&in->fd);
}

static void on_problem(void *userdata, enum decode_error error, uint64_t offset, unsigned int id)
{
	struct input *in = userdata;

	if (++in->wrong > LINES_MAX)
		return;
	log_error("%s: offset %llu: %s (%u)", in->name, (unsigned long long)offset,
		  decode_error_text(error), id);
}

static void on_record(void *userdata, const struct decode_record *record)
{
	struct input *in = userdata;

	in->events->record(in->events->userdata, record);
}

static int begin(struct input *in)
{
	const struct decode_events events = {
		.record = on_record, .problem = on_problem, .userdata = in};
	struct stat st;

	decoder_freep(&in->decoder);
	in->offset = 0;
	in->used = 0;
	in->lost = false;
	in->regular = fstat(in->fd, &st) == 0 && S_ISREG(st.st_mode);
	in->events->begin(in->events->userdata);
	return decoder_new(&in->decoder, &events);
}

/* Whether another message, or nothing, is behind what looks like one: chance alone seldom does that. */
static bool is_plausible(const struct input *in, size_t at, bool last)
{
	int64_t length = decode_frame(in->buffer + at, in->used - at, last);
	size_t next = at + (size_t)MAX(length, 0);

	if (length <= 0 || next > in->used)
		return false;
	if (next + 2 > in->used)
		return next == in->used;
	return in->buffer[next] == 0 && (in->buffer[next + 1] == 9 || in->buffer[next + 1] == 10);
}

/* What begins at `at` is no message: how many octets to leave out. */
static size_t skip(struct input *in, size_t at, bool last)
{
	size_t from = at;

	if (!in->lost)
		on_problem(in, DECODE_NO_MESSAGE, in->offset + at,
			   in->used - at >= 2 ? wire_load16(in->buffer + at) : 0);
	in->lost = true;
	for (at++; at < in->used; at++)
		if (is_plausible(in, at, last))
			return at - from;
	/* A message that is not here in full yet may begin in what is kept. */
	if (last)
		return in->used - from;
	return in->used - from > BUFFER / 2 ? in->used - from - BUFFER / 2 : 0;
}

static void take_messages(struct input *in, bool last)
{
	size_t at = 0;

	while (at < in->used && !in->events->enough(in->events->userdata)) {
		int64_t length = decode_frame(in->buffer + at, in->used - at, last);
		size_t octets;

		if (length == 0)
			break;
		if (length < 0 || (in->lost && !is_plausible(in, at, last))) {
			octets = skip(in, at, last);
			if (!octets)
				break;
			at += octets;
			continue;
		}
		in->lost = false;
		octets = MIN((size_t)length, in->used - at);
		decoder_message(in->decoder, in->buffer + at, octets, in->offset + at);
		at += octets;
	}
	memmove(in->buffer, in->buffer + at, in->used - at);
	in->used -= at;
	in->offset += at;
}

/* Another file has its name, or what was read is not in it any more. */
static bool was_replaced(const struct input *in)
{
	struct stat st, named;

	if (in->standard || fstat(in->fd, &st) < 0)
		return false;
	if (S_ISREG(st.st_mode) && (uint64_t)st.st_size < in->offset + in->used)
		return true;
	if (stat(in->path, &named) < 0)
		return false; /* there may be one soon */
	return st.st_dev != named.st_dev || st.st_ino != named.st_ino;
}

static int open_input(struct input *in)
{
	int fd = in->standard ? STDIN_FILENO : open(in->path, O_RDONLY | O_CLOEXEC | O_NOCTTY);

	if (fd < 0)
		return -errno;
	if (!in->standard)
		closep(&in->fd);
	in->fd = fd;
	return begin(in);
}

/* The file that follows the one that was read to its end; or the same one, where others have emptied it. */
static int open_next(struct input *in)
{
	struct stat st, named;
	int fd;

	if (fstat(in->fd, &st) == 0 && stat(in->path, &named) == 0 && st.st_dev == named.st_dev &&
	    st.st_ino == named.st_ino)
		return open_input(in);
	fd = read_next(in->path, in->fd);
	if (fd < 0)
		return fd;
	closep(&in->fd);
	in->fd = fd;
	return begin(in);
}

/* What is no stream of messages from its first octet on is told as what it is, and not octet by octet. */
static bool is_other_kind(struct input *in, bool last)
{
	const char *kind = NULL;

	if (in->offset || in->wrong || (in->used < 4 && !last) || !in->used)
		return false;
	if (decode_frame(in->buffer, in->used, last) < 0)
		kind = read_kind(in->buffer, in->used);
	if (kind)
		log_error("%s: %s", in->name, kind);
	in->explained = kind;
	return kind;
}

/*
 * Until there is more, a signal, or nobody who reads what is shown.  -1 ms: as long as that takes.  Signals are held back
 * from the question whether one came up to the wait, so that none is overlooked.
 */
static void wait_for(struct input *in, int fd, int ms)
{
	struct pollfd ends[] = {{.fd = fd, .events = POLLIN}, {.fd = STDOUT_FILENO}};
	const struct timespec time = {.tv_nsec = ms * 1000000L};
	sigset_t stops, before;

	in->events->pause(in->events->userdata);
	sigemptyset(&stops);
	sigaddset(&stops, SIGINT);
	sigaddset(&stops, SIGTERM);
	sigprocmask(SIG_BLOCK, &stops, &before);
	if (!in->events->enough(in->events->userdata) &&
	    ppoll(ends, ARRAY_SIZE(ends), ms < 0 ? NULL : &time, &before) > 0)
		in->ended = ends[1].revents & POLLERR;
	sigprocmask(SIG_SETMASK, &before, NULL);
}

static bool is_ready(const struct input *in)
{
	struct pollfd end = {.fd = in->fd, .events = POLLIN};

	return in->regular || poll(&end, 1, 0) != 0;
}

/* The next file, or the same one later.  1; -errno. */
static int read_on(struct input *in)
{
	ssize_t n;
	int r;

	if (!was_replaced(in)) {
		wait_for(in, -1, FOLLOW_MS);
		return 1;
	}
	n = read(in->fd, in->buffer + in->used, BUFFER - in->used); /* what came meanwhile */
	if (n > 0) {
		in->used += (size_t)n;
		take_messages(in, false);
		return 1;
	}
	take_messages(in, true);
	r = open_next(in);
	if (r == -ENOENT) /* moved again: there may be one soon */
		wait_for(in, -1, FOLLOW_MS);
	return r < 0 && r != -ENOENT ? r : 1;
}

/* 0: nothing more to be had, 1: there may be more; -errno. */
static int read_some(struct input *in)
{
	ssize_t n;

	if (!is_ready(in)) {
		wait_for(in, in->fd, -1);
		return 1;
	}
	n = read(in->fd, in->buffer + in->used, BUFFER - in->used);
	if (n < 0)
		return errno == EINTR || errno == EAGAIN ? 1 : -errno;
	in->used += (size_t)n;
	if (is_other_kind(in, !n))
		return -EBADMSG;
	if (n > 0) {
		take_messages(in, false);
		return 1;
	}
	if (in->follow)
		return read_on(in);
	if (!in->offset && !in->used) {
		log_error("%s: it is empty: there is no message in it", in->name);
		in->explained = true;
		return -ENODATA;
	}
	take_messages(in, true);
	return 0;
}

static void report(const struct input *in)
{
	const struct decode_stats *stats = decoder_stats(in->decoder);

	if (in->wrong > LINES_MAX)
		log_error("%s: %llu more mistakes", in->name,
			  (unsigned long long)(in->wrong - LINES_MAX));
	if (stats->gaps)
		log_warning("%s: by the sequence numbers %llu records are missing, in %llu places",
			    in->name, (unsigned long long)stats->missing,
			    (unsigned long long)stats->gaps);
}

bool read_file(const char *path, bool follow, const struct read_file_events *events)
{
	_cleanup_(freep) struct input *in = calloc(1, sizeof(*in));
	bool good;
	int r;

	if (!in)
		return log_errno(LOG_ERR, ENOMEM, "%s", path), false;
	*in = (struct input){.path = path,
			     .name = strcmp(path, "-") ? path : "standard input",
			     .standard = !strcmp(path, "-"),
			     .follow = follow,
			     .fd = -1,
			     .events = events};
	r = open_input(in);
	while (r >= 0 && !in->ended && !events->enough(events->userdata)) {
		r = read_some(in);
		if (r == 0)
			break;
	}
	if (r == -EISDIR)
		log_error("%s: it is a directory; name the files in it", in->name);
	else if (r < 0 && !in->explained)
		log_errno(LOG_ERR, r, "%s: cannot be read", in->name);
	if (in->decoder)
		report(in);
	good = r >= 0 && !in->wrong;
	input_clear(in);
	return good;
}
