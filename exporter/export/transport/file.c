/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages to a file or standard output, one behind the other: IPFIX (RFC 5655), or lines of JSON.  They
 * gather in a buffer until it is flushed or full.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include "exporter/export/transport/transport.h"
#include "exporter/loop.h"

#define BUFFER (64u * 1024)

/*
 * Octets that templates, options and a message of data take together: they are never parted by a write, so
 * that they stand or fall together.
 */
#define START_MAX (18u * 1024)

#define WAITING_MAX (16u << 20) /* octets that wait for the reader of a pipe, at most */
#define ROOM_MSEC   1000	/* without progress, when there is no room and no loop */

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
	bool blocks; /* whoever reads may be slow: never to be waited for on the loop */
	bool socket;
	struct block *first, *last;
	size_t waiting;		    /* octets of all blocks */
	struct loop_source *source; /* while there are any */
	bool own;		    /* opened here, not standard output */
	bool truncates; /* a regular file of ours: what was written in part can be cut off again */
	bool started;	/* the templates of what follows are in the file */
	bool starting;	/* the templates are in the buffer */
	off_t offset;	/* octets in the file */
	size_t used;	/* octets in the buffer */
	struct export_count pending; /* in the buffer */
	uint64_t pending_messages;
	uint8_t buffer[BUFFER];
};

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

/* What has been written, or could not be. */
static void settle(struct file_transport *f, const struct block *b, int r)
{
	struct account *account = f->t.account;

	if (r < 0) {
		account->stats.errors++;
		account_drop(account, EXPORT_LOSS_SEND_ERROR, &b->count);
		f->started &= !b->starting;
		if (!f->started)
			f->t.owed = TRANSPORT_OWES_TEMPLATES | TRANSPORT_OWES_OPTIONS;
	} else {
		f->started |= b->starting;
		account_send(account, &b->count, b->messages, b->used);
	}
	account_set_state(account, r < 0 ? COLLECTOR_FAILING : COLLECTOR_UP, -r);
}

/* --- Pipes, terminals, sockets: what they do not take at once waits in blocks. */

/* As write(2), -EAGAIN rather than blocking. */
static ssize_t write_some(const struct file_transport *f, const uint8_t *data, size_t size)
{
	struct pollfd ready = {.fd = f->t.fd, .events = POLLOUT};
	ssize_t n;

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

static int writable(void *userdata, uint32_t events);

/* Writes what can be written without blocking; the loop calls again while something is left. */
static void write_blocks(struct file_transport *f)
{
	while (f->first) {
		struct block *b = f->first;
		ssize_t n = write_some(f, b->data + b->written, b->used - b->written);

		if (n == -EINTR)
			continue;
		if (n == -EAGAIN)
			break;
		b->written += n > 0 ? (size_t)n : 0;
		if (n >= 0 && b->written < b->used)
			continue;
		settle(f, b, n < 0 ? (int)n : 0);
		pop_block(f);
	}
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

	while (f->waiting + size > WAITING_MAX) {
		size_t before = f->waiting;

		if (!account->context->blocking || account->stalled ||
		    context_overdue(account->context))
			return false;
		poll(&(struct pollfd){.fd = f->t.fd, .events = POLLOUT}, 1, ROOM_MSEC);
		write_blocks(f);
		account->stalled = f->waiting == before;
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
			f->t.owed = TRANSPORT_OWES_TEMPLATES | TRANSPORT_OWES_OPTIONS;
		return;
	}
	*b = (struct block){.used = f->used,
			    .count = f->pending,
			    .messages = f->pending_messages,
			    .starting = f->starting};
	memcpy(b->data, f->buffer, f->used);
	if (f->last)
		f->last->next = b;
	else
		f->first = b;
	f->last = b;
	f->waiting += f->used;
}

/* --- The buffer */

/* All of the buffer is written, or none of it stays in a file that can be cut. */
static void write_file(struct file_transport *f)
{
	const struct block b = {.used = f->used,
				.count = f->pending,
				.messages = f->pending_messages,
				.starting = f->starting};
	int r = write_all(f->t.fd, f->buffer, f->used);

	settle(f, &b, r);
	if (r >= 0)
		f->offset += (off_t)f->used;
	else if (f->truncates &&
		 (ftruncate(f->t.fd, f->offset) < 0 || lseek(f->t.fd, f->offset, SEEK_SET) < 0))
		f->t.account->stats.errors++;
}

void file_transport_flush(struct transport *t)
{
	struct file_transport *f = to_file(t);

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

/* --- The operations */

/* Makes room for what must not be parted. */
static int step(struct transport *t, _unused_ uint64_t now_ns)
{
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

		if (f->used + m->length > BUFFER)
			file_transport_flush(t);
		for (unsigned int part = 0; part < m->part_count; part++) {
			memcpy(f->buffer + f->used, m->parts[part].iov_base,
			       m->parts[part].iov_len);
			f->used += m->parts[part].iov_len;
		}
		f->pending_messages++;
		count_add(&f->pending, &m->count);
		f->starting |= m->last_template;
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
	discard(t);
	if (to_file(t)->own)
		closep(&t->fd);
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

static int open_file(struct file_transport *f, const char *path)
{
	/* Of a FIFO that nobody reads: -ENXIO. */
	f->t.fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0640);
	if (f->t.fd < 0)
		return -errno;
	f->own = true;
	return 0;
}

static void look_at(struct file_transport *f, int fd)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return;
	f->blocks = !S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode);
	f->socket = S_ISSOCK(st.st_mode);
}

static int open_any(struct file_transport *f, const char *path)
{
	int r;

	if (!*path) {
		look_at(f, STDOUT_FILENO);
		open_output(f);
		return 0;
	}
	r = open_file(f, path);
	if (r < 0)
		return r;
	look_at(f, f->t.fd);
	f->truncates = !f->blocks;
	return 0;
}

void file_transport_begin(struct transport *t)
{
	struct file_transport *f = to_file(t);

	if (f->truncates && ftruncate(t->fd, 0) < 0 && errno != EINVAL) /* a device */
		t->account->stats.errors++;
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
		free(f);
		return r;
	}
	account->stats.state = COLLECTOR_UP;
	*ret = &f->t;
	return 0;
}
