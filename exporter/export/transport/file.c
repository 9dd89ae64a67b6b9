/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages to a file or standard output, one behind the other: IPFIX (RFC 5655), or lines of JSON.  They
 * gather in a buffer until it is flushed or full.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include "exporter/export/transport/finished.h"
#include "exporter/export/transport/transport.h"
#include "exporter/log.h"
#include "exporter/loop.h"

#define BUFFER (64u * 1024)

/*
 * Octets that templates, options and a message of data take together: they are never parted by a write, so
 * that they stand or fall together.
 */
#define START_MAX (18u * 1024)

#define WAITING_MAX (16u << 20) /* octets that wait for the reader of a pipe, at most */
#define ROOM_NS \
	(1 * \
	 NSEC_PER_SEC) /* without progress, when there is no room and no loop; in replay CONTEXT_PATIENCE_NS */
#define ROOM_MSEC 100		      /* between two looks at the deadline */
#define RETRY_NS  (10 * NSEC_PER_SEC) /* before a rotation that failed is tried again */

/* What has left the buffer and not been written yet. */
struct block {
	struct block *next;
	size_t used, written; /* octets */
	struct export_count count;
	uint64_t messages;
	bool starting; /* see file_transport */
	uint8_t data[];
};

struct file_transport {
	struct transport t;
	struct file_transport *other; /* the next of all_files */
	bool blocks; /* whoever reads may be slow: never to be waited for on the loop */
	bool socket;
	struct block *first, *last;
	size_t waiting;	      /* octets of all blocks */
	uint64_t progress_ns; /* the reader has taken something, or there was nothing to take */
	struct loop_source *source; /* while there are any */
	char *path;		    /* NULL: standard output */
	bool own;		    /* opened here, not standard output */
	bool regular;		    /* what was written in part can be cut off again */
	bool started;		    /* the templates of what follows are in the file */
	bool starting;		    /* the templates are in the buffer */
	bool templated;		    /* there are any: it is not JSON */
	bool untold; /* what was written of them is gone: no records before they are told again */
	off_t end;   /* of the file, octets: after the last write */
	struct file_rotation rotation;
	struct finished finished;
	bool symlink;	   /* the path was one at the start that is followed; later ones are not */
	bool has_records;  /* the file, of this run */
	uint64_t period;   /* of its first record: see period_now() */
	uint64_t retry_ns; /* no rotation before, CLOCK_MONOTONIC */
	bool told_rotate, told_trim, told_open; /* that these fail */
	size_t used;				/* octets in the buffer */
	struct export_count pending;		/* in the buffer */
	uint64_t pending_messages;
	uint8_t buffer[BUFFER];
};

/* Of the process, by whatever paths they were opened: none of them deletes what another one writes. */
static struct file_transport *all_files;

static struct file_transport *to_file(struct transport *t)
{
	return (struct file_transport *)t;
}

static int write_all(int fd, const uint8_t *data, size_t size)
{
	while (size) {
		ssize_t n = write(fd, data, size);

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n < 0)
			continue;
		data += n;
		size -= (size_t)n;
	}
	return 0;
}

/* Whoever reads what follows knows nothing of what was before. */
static void owe_start(struct file_transport *f)
{
	f->started = false;
	f->untold = f->templated;
	f->t.owed = TRANSPORT_OWES_TEMPLATES | TRANSPORT_OWES_OPTIONS;
}

/* What has been written, or could not be. */
static void settle(struct file_transport *f, const struct block *b, int r)
{
	struct account *account = f->t.account;

	if (r < 0) {
		account->stats.errors++;
		account_drop(account, EXPORT_LOSS_SEND_ERROR, &b->count);
		/* A reader that comes after one that went has none of it, and the rest of a message is not for him. */
		if (r == -EPIPE || b->starting || !f->started)
			owe_start(f);
	} else {
		f->started |= b->starting;
		account_send(account, &b->count, b->messages, b->used);
	}
	account_set_state(account, r < 0 ? COLLECTOR_FAILING : COLLECTOR_UP, -r);
}

static int open_path(struct file_transport *f);

/* --- Pipes, terminals, sockets: what they do not take at once waits in blocks. */

/* As write(2), -EAGAIN rather than blocking. */
static ssize_t write_some(const struct file_transport *f, const uint8_t *data, size_t size)
{
	struct pollfd ready = {.fd = f->t.fd, .events = POLLOUT};
	ssize_t n;

	if (f->t.fd < 0)
		return -EPIPE;
	if (f->socket) {
		n = send(f->t.fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL);
		return n < 0 ? -errno : n;
	}
	if (!f->own && poll(&ready, 1, 0) <= 0)
		return -EAGAIN;
	n = write(f->t.fd, data, f->own ? size : MIN(size, (size_t)PIPE_BUF));
	return n < 0 ? -errno : n;
}

static void pop_block(struct file_transport *f)
{
	struct block *b = f->first;

	f->first = b->next;
	if (!f->first)
		f->last = NULL;
	f->waiting -= b->used;
	free(b);
}

/*
 * Nobody reads any more, and nobody is to begin in the middle.  What is in a FIFO stays there as long as it is open at
 * either end, for the next reader: it is opened anew when there is one.
 */
static void lose_reader(struct file_transport *f)
{
	f->source = loop_source_free(f->source);
	while (f->first) {
		settle(f, f->first, -EPIPE);
		pop_block(f);
	}
	if (!f->path)
		return;
	closep(&f->t.fd);
	f->t.fd = -1;
}

static int writable(void *userdata, uint32_t events);

/* Writes what can be written without blocking; the loop calls again while something is left. */
static void write_blocks(struct file_transport *f)
{
	uint64_t now_ns = clock_ns(CLOCK_MONOTONIC);

	while (f->first) {
		struct block *b = f->first;
		ssize_t n = write_some(f, b->data + b->written, b->used - b->written);

		if (n == -EINTR)
			continue;
		if (n == -EAGAIN)
			break;
		f->progress_ns = now_ns;
		if (f->t.account->stats.state == COLLECTOR_STALLED)
			account_set_state(f->t.account, COLLECTOR_UP, 0);
		if (n == -EPIPE) {
			lose_reader(f);
			break;
		}
		b->written += n > 0 ? (size_t)n : 0;
		if (n >= 0 && b->written < b->used)
			continue;
		settle(f, b, n < 0 ? (int)n : 0);
		pop_block(f);
	}
	if (f->first && f->t.account->stats.state == COLLECTOR_UP &&
	    now_ns - f->progress_ns >= ACCOUNT_STALL_NS)
		account_set_state(f->t.account, COLLECTOR_STALLED, 0);
	/* Watched only as long: an end without reader would be told for ever. */
	if (!f->first)
		f->source = loop_source_free(f->source);
	else if (!f->source && context_on_loop(f->t.account->context))
		(void)loop_add_fd(f->t.account->context->loop, f->t.fd, EPOLLOUT, writable, f,
				  &f->source);
}

static int writable(void *userdata, _unused_ uint32_t events)
{
	write_blocks(userdata);
	return 0;
}

/* Without the loop the reader gets time to make room, unless it has not read for a while. */
static bool has_room(struct file_transport *f, size_t size)
{
	struct account *account = f->t.account;
	uint64_t room_ns = account->context->offline ? CONTEXT_PATIENCE_NS : ROOM_NS;
	uint64_t start_ns = clock_ns(CLOCK_MONOTONIC);

	while (f->waiting + size > WAITING_MAX) {
		if (!account->context->blocking || account->stalled ||
		    context_overdue(account->context))
			return false;
		poll(&(struct pollfd){.fd = f->t.fd, .events = POLLOUT}, 1, ROOM_MSEC);
		write_blocks(f);
		account->stalled = clock_ns(CLOCK_MONOTONIC) - MAX(start_ns, f->progress_ns) >=
				   room_ns;
	}
	return true;
}

static void push_block(struct file_transport *f)
{
	struct block *b = NULL;

	if (has_room(f, f->used))
		b = malloc(sizeof(*b) + f->used);
	if (!b) {
		account_drop(f->t.account, EXPORT_LOSS_QUEUE_FULL, &f->pending);
		if (f->starting)
			owe_start(f);
		return;
	}
	*b = (struct block){.used = f->used,
			    .count = f->pending,
			    .messages = f->pending_messages,
			    .starting = f->starting};
	memcpy(b->data, f->buffer, f->used);
	if (f->last) {
		f->last->next = b;
	} else {
		f->first = b;
		f->progress_ns = clock_ns(CLOCK_MONOTONIC);
	}
	f->last = b;
	f->waiting += f->used;
}

/* --- The buffer */

/* Where a regular file is written next. */
static off_t next_offset(const struct file_transport *f, const struct stat *st)
{
	int flags = fcntl(f->t.fd, F_GETFL);

	return flags >= 0 && (flags & O_APPEND) ? st->st_size : lseek(f->t.fd, 0, SEEK_CUR);
}

/* What has been written since that end is cut off, if it is ours. */
static void cut(struct file_transport *f, off_t end)
{
	if (ftruncate(f->t.fd, end) < 0 || lseek(f->t.fd, end, SEEK_SET) < 0)
		f->t.account->stats.errors++;
}

/* The file has lost its name, or what was in it, so that nobody can read what follows. */
static bool is_gone(const struct file_transport *f, const struct stat *st)
{
	return f->path && f->regular && (!st->st_nlink || (f->templated && st->st_size < f->end));
}

/* As write_all(), to a regular file: all of it, or nothing. */
static int write_regular(struct file_transport *f)
{
	struct stat st;
	off_t at;
	int r;

	if (fstat(f->t.fd, &st) < 0)
		return -errno;
	if (is_gone(f, &st) && (f->templated || open_path(f) < 0 || fstat(f->t.fd, &st) < 0))
		return -ENOENT;
	at = next_offset(f, &st);
	r = write_all(f->t.fd, f->buffer, f->used);
	if (r < 0)
		cut(f, at);
	f->end = r < 0 ? at : at + (off_t)f->used;
	return r;
}

static void write_file(struct file_transport *f)
{
	const struct block b = {.used = f->used,
				.count = f->pending,
				.messages = f->pending_messages,
				.starting = f->starting};
	int r = f->regular ? write_regular(f) : write_all(f->t.fd, f->buffer, f->used);

	settle(f, &b, r);
	f->has_records |= r >= 0 && b.count.records;
	if (r == -ENOENT && f->templated)
		owe_start(f);
}

/* --- Rotation */

static bool rotates(const struct file_transport *f)
{
	return f->path && f->regular && (f->rotation.ns || f->rotation.size) &&
	       clock_ns(CLOCK_MONOTONIC) >= f->retry_ns;
}

/* Periods are those of the wall clock, in UTC: with 1h they begin on the hour.  In replay the clock is the capture's. */
static uint64_t period_now(const struct file_transport *f)
{
	const struct export_context *context = f->t.account->context;
	uint64_t wall_ns = context->timed ? context->time_ms * NSEC_PER_MSEC
					  : clock_ns(CLOCK_REALTIME);

	return f->rotation.ns ? wall_ns / f->rotation.ns : 0;
}

/* Back into the period before is a clock that is set a little, which makes no file of its own. */
static bool is_old(const struct file_transport *f)
{
	uint64_t now = period_now(f);

	return now > f->period || now + 1 < f->period;
}

static bool is_full(const struct file_transport *f)
{
	return f->rotation.size && (uint64_t)f->end + f->used >= f->rotation.size;
}

/* Whether what is in the file and in the buffer is all that the file gets.  One without records is left alone. */
static bool is_due(const struct file_transport *f)
{
	return rotates(f) && (f->has_records || f->pending.records) && (is_full(f) || is_old(f));
}

/* A failure is said once, however often it is tried, until it has gone well. */
static void tell(struct file_transport *f, bool *told, int r, const char *what)
{
	if (r < 0) {
		f->t.account->stats.errors++;
		if (!*told)
			log_errno(LOG_WARNING, r, "collector %s: %s", f->t.account->stats.url,
				  what);
	}
	*told = r < 0;
}

static bool is_open(const struct stat *st)
{
	struct stat open_file;

	for (const struct file_transport *f = all_files; f; f = f->other)
		if (f->t.fd >= 0 && fstat(f->t.fd, &open_file) == 0 &&
		    open_file.st_dev == st->st_dev && open_file.st_ino == st->st_ino)
			return true;
	return false;
}

static void trim(struct file_transport *f)
{
	if (f->finished.path && f->regular && f->rotation.keep)
		tell(f, &f->told_trim, finished_trim(&f->finished, f->rotation.keep, is_open),
		     "an old file cannot be deleted, which is tried again");
}

/*
 * Who rotates logs moves, removes or empties files, and records are to be where the path says.  What is in the buffer
 * still goes to a file that was moved.
 */
static bool was_replaced(const struct file_transport *f)
{
	struct stat st, named;

	if (fstat(f->t.fd, &st) < 0)
		return false;
	if (is_gone(f, &st))
		return true;
	if (stat(f->path, &named) < 0)
		return errno == ENOENT;
	return st.st_dev != named.st_dev || st.st_ino != named.st_ino;
}

/* The file that is at the path now.  What cannot be written when this fails is lost, and a state. */
static int open_anew(struct file_transport *f)
{
	int r = open_path(f);

	if (r >= 0)
		log_info("collector %s: the file is opened anew", f->t.account->stats.url);
	if (f->regular)
		tell(f, &f->told_open, r, "the file cannot be opened anew, which is tried again");
	else if (r < 0)
		f->t.account->stats.errors++;
	return r;
}

static int rotate(struct file_transport *f)
{
	int r = finished_add(&f->finished);

	if (r >= 0) {
		trim(f); /* however it goes on: the disk may be full because of what is to be deleted */
		r = open_path(f);
	}
	tell(f, &f->told_rotate, r, "the file cannot be rotated, and goes on; this is tried again");
	return r;
}

/*
 * Behind a write, when the buffer is empty.  Where the file cannot be renamed, it goes on; where no new one can be made, the
 * old one does under its new name, and file_transport_look() tries again.  What others have put at the path meanwhile is
 * no file that has ended.
 */
static void rotate_if_due(struct file_transport *f)
{
	if (is_due(f) && (was_replaced(f) ? open_anew(f) : rotate(f)) < 0)
		f->retry_ns = clock_ns(CLOCK_MONOTONIC) + RETRY_NS;
}

void file_transport_rotate(struct transport *t, const struct file_rotation *rotation)
{
	struct file_transport *f = to_file(t);
	bool other = f->rotation.ns != rotation->ns;

	f->rotation = *rotation;
	if (other)
		f->period = period_now(f);
	f->retry_ns = 0;
	trim(f);
}

static void write_out(struct file_transport *f)
{
	if (f->used && f->blocks)
		push_block(f);
	else if (f->used)
		write_file(f);
	if (f->blocks)
		write_blocks(f);
	f->starting = false;
	f->used = 0;
	f->pending = (struct export_count){0};
	f->pending_messages = 0;
}

void file_transport_flush(struct transport *t)
{
	write_out(to_file(t));
	rotate_if_due(to_file(t));
}

void file_transport_look(struct transport *t)
{
	struct file_transport *f = to_file(t);

	if (!f->path || (t->fd >= 0 && (!f->regular || !was_replaced(f))))
		return;
	if (t->fd >= 0 && (f->templated || f->used))
		write_out(f);
	(void)open_anew(f);
}

/* --- The operations */

/* Makes room for what must not be parted; what gathers next is for the file that is there now. */
static int step(struct transport *t, _unused_ uint64_t now_ns)
{
	if (!to_file(t)->used)
		file_transport_look(t);
	if (to_file(t)->used + START_MAX > BUFFER)
		file_transport_flush(t);
	return 0;
}

static int add_messages(struct transport *t, const struct transport_message *messages,
			unsigned int count, _unused_ uint64_t now_ns)
{
	struct file_transport *f = to_file(t);

	for (unsigned int i = 0; i < count; i++) {
		const struct transport_message *m = &messages[i];

		if (f->used + m->length > BUFFER || is_due(f))
			file_transport_flush(t);
		if (!f->used && !f->templated)
			file_transport_look(t);
		if (f->untold && m->count.records)
			return (int)i;
		for (unsigned int part = 0; part < m->part_count; part++) {
			memcpy(f->buffer + f->used, m->parts[part].iov_base,
			       m->parts[part].iov_len);
			f->used += m->parts[part].iov_len;
		}
		if (!f->has_records && !f->pending.records)
			f->period = period_now(f);
		f->pending_messages++;
		count_add(&f->pending, &m->count);
		if (m->last_template) {
			f->starting = f->templated = true;
			f->untold = false;
		}
		if (is_full(f) && is_due(f))
			file_transport_flush(t);
	}
	return (int)count;
}

static short events(_unused_ struct transport *t)
{
	return 0;
}

static enum transport_takes takes(_unused_ struct transport *t, _unused_ uint64_t now_ns)
{
	return TRANSPORT_ALL;
}

static unsigned int allows(_unused_ struct transport *t, _unused_ uint64_t now_ns)
{
	return UINT32_MAX;
}

static bool keeps_up(_unused_ struct transport *t, _unused_ uint64_t now_ns)
{
	return true;
}

static uint16_t limit(_unused_ struct transport *t)
{
	return TRANSPORT_MESSAGE_MAX;
}

static uint64_t wait_ns(_unused_ struct transport *t, _unused_ uint64_t now_ns)
{
	return UINT64_MAX;
}

static bool busy(struct transport *t)
{
	return to_file(t)->first;
}

static void discard(struct transport *t)
{
	struct file_transport *f = to_file(t);

	while (f->first)
		pop_block(f);
	f->source = loop_source_free(f->source);
}

static struct transport *file_free(struct transport *t)
{
	struct file_transport **at = &all_files;

	while (*at && *at != to_file(t))
		at = &(*at)->other;
	if (*at)
		*at = to_file(t)->other;
	discard(t);
	if (to_file(t)->own)
		closep(&t->fd);
	free(to_file(t)->path);
	free(t);
	return NULL;
}

static const struct transport_ops file_ops = {
	.reliable = true,
	.by_capture = true,
	.step = step,
	.events = events,
	.takes = takes,
	.allows = allows,
	.keeps_up = keeps_up,
	.limit = limit,
	.send = add_messages,
	.wait_ns = wait_ns,
	.busy = busy,
	.discard = discard,
	.free = file_free,
};

/*
 * A pipe or terminal gets a description of our own, for O_NONBLOCK would be shared with stderr and the
 * shell.  Where there is none to be had, what poll(2) says has to do.
 */
static void open_output(struct file_transport *f)
{
	int own;

	f->t.fd = STDOUT_FILENO;
	if (!f->blocks || f->socket)
		return;
	own = open("/proc/self/fd/1", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (own < 0)
		return;
	f->t.fd = own;
	f->own = true;
}

static void look_at(struct file_transport *f, int fd)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return;
	f->blocks = !S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode);
	f->socket = S_ISSOCK(st.st_mode);
	f->regular = S_ISREG(st.st_mode);
	f->end = f->regular ? st.st_size : 0;
	f->has_records = false;
}

/* In place of the descriptor there was, if any, which stays when this fails. */
static int open_path(struct file_transport *f)
{
	/* Of a FIFO that nobody reads: -ENXIO. */
	int fd = open(f->path,
		      O_WRONLY | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK |
			      (f->symlink ? 0 : O_NOFOLLOW),
		      0640);

	if (fd < 0)
		return -errno;
	if (f->own)
		closep(&f->t.fd);
	f->t.fd = fd;
	f->own = true;
	look_at(f, fd);
	/* What others cut off leaves no hole. */
	if (f->regular && fcntl(fd, F_SETFL, O_APPEND | O_NONBLOCK) < 0)
		f->t.account->stats.errors++;
	if (f->templated)
		owe_start(f);
	return 0;
}

static bool is_trusted(const struct stat *st)
{
	return st->st_uid == 0 || st->st_uid == geteuid();
}

bool file_transport_follows(const char *path)
{
	const char *slash = strrchr(path, '/');
	char name[PATH_MAX];
	struct stat link, folder;

	snprintf(name, sizeof(name), "%.*s", slash ? (int)(slash + 1 - path) : 1,
		 slash ? path : ".");
	if (lstat(path, &link) < 0 || !S_ISLNK(link.st_mode) || stat(name, &folder) < 0)
		return false;
	return is_trusted(&link) && is_trusted(&folder) &&
	       (!(folder.st_mode & (S_IWGRP | S_IWOTH)) || folder.st_mode & S_ISVTX);
}

static int open_any(struct file_transport *f, const char *path)
{
	int r;

	if (!*path) {
		look_at(f, STDOUT_FILENO);
		open_output(f);
		return 0;
	}
	f->path = strdup(path);
	f->symlink = file_transport_follows(path);
	r = f->path ? open_path(f) : -ENOMEM;
	if (r == -ELOOP && !f->symlink)
		log_error("'%s' is a link that others than root and this user could have made; "
			  "remove it, or let it be root's in a folder of root's",
			  path);
	return r;
}

void file_transport_begin(struct transport *t)
{
	struct file_transport *f = to_file(t);
	bool old = f->end;
	int r = 0;

	if (!f->path || !f->regular)
		return;
	finished_find(&f->finished, f->path);
	if (old)
		r = finished_add(&f->finished);
	trim(f);
	if (old && r >= 0)
		r = open_path(f);
	if (r < 0) {
		t->account->stats.errors++;
		log_errno(LOG_WARNING, r,
			  "collector %s: what is in the file stays there, and more follows it",
			  t->account->stats.url);
	} else if (old) {
		log_notice("collector %s: the file that was there is now %s.%" PRIu64,
			   t->account->stats.url, f->path, finished_newest(&f->finished));
	}
}

int file_transport_new(struct transport **ret, struct account *account, const char *path)
{
	struct file_transport *f = calloc(1, sizeof(*f));
	int r;

	if (!f)
		return -ENOMEM;
	f->t = (struct transport){.ops = &file_ops, .account = account, .fd = -1};
	r = open_any(f, path);
	if (r < 0) {
		free(f->path);
		free(f);
		return r;
	}
	account->stats.state = COLLECTOR_UP;
	f->other = all_files;
	all_files = f;
	*ret = &f->t;
	return 0;
}
