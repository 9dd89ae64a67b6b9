/* SPDX-License-Identifier: Apache-2.0 */
/* Collectors that are a file or standard output: IPFIX messages in a row (RFC 5655), or lines of JSON. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include "exporter/export/control.h"
#include "exporter/export/format/json.h"
#include "exporter/export/stream.h"
#include "exporter/log.h"
#include "exporter/loop.h"

#define BUFFER (64u * 1024)
#define SLOTS \
	(_FAMILY_MAX + 1) /* messages under way; what is complete goes to the buffer at once */

#define WAITING_MAX (16u << 20) /* octets that wait for the reader of a pipe, at most */
#define ROOM_MSEC   1000	/* without progress, when there is no room and no loop */

/* What has left the buffer and not been written yet. */
struct block {
	struct block *next;
	size_t used, written; /* octets */
	struct export_count count;
	uint64_t messages;
	bool starting; /* see file_collector */
	uint8_t data[];
};

struct file_collector {
	struct collector c;
	int fd;
	bool json;
	bool blocks; /* whoever reads may be slow: never to be waited for on the loop */
	bool socket;
	struct block *first, *last;
	size_t waiting;		    /* octets of all blocks */
	struct loop_source *source; /* while there are any */
	bool own;		    /* opened here, not standard output */
	bool truncates; /* a regular file of ours: what was written in part can be cut off again */
	bool started;	/* the templates are in the file */
	bool starting;	/* the templates are in the buffer */
	off_t offset;	/* octets in the file */
	size_t used;	/* octets in the buffer */
	struct export_count pending; /* in the buffer */
	uint64_t pending_messages;
	struct queue queue;
	const struct profile *profile; /* of JSON */
	uint8_t buffer[BUFFER];
};

/* What makes a file readable by itself. */
#define AT_START  (1u << CONTROL_TEMPLATES | CONTROL_OPTIONS)
#define START_MAX (16u * 1024) /* octets of that, and of the headers of a message, at most */

static struct file_collector *to_file(struct collector *c)
{
	return (struct file_collector *)c;
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
static void settle(struct file_collector *f, const struct block *b, int r)
{
	struct collector_stats *stats = &f->c.stats;

	if (r < 0) {
		stats->errors++;
		if (b->count.records) {
			count_remove(&stats->queued, &b->count);
			collector_lose(&f->c, EXPORT_LOSS_SEND_ERROR, &b->count);
		}
		if (!f->started)
			f->c.control.pending |= f->json ? 0 : AT_START;
	} else {
		f->started |= b->starting;
		count_move(&stats->queued, &stats->exported, &b->count);
		stats->messages += b->messages;
		stats->bytes += b->used;
	}
	collector_set_state(&f->c, r < 0 ? COLLECTOR_FAILING : COLLECTOR_UP, -r);
}

/* --- Pipes, terminals, sockets: what they do not take at once waits in blocks. */

/* As write(2), -EAGAIN rather than blocking. */
static ssize_t write_some(const struct file_collector *f, const uint8_t *data, size_t size)
{
	struct pollfd ready = {.fd = f->fd, .events = POLLOUT};
	ssize_t n;

	if (f->socket) {
		n = send(f->fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL);
		return n < 0 ? -errno : n;
	}
	if (!f->own && poll(&ready, 1, 0) <= 0)
		return -EAGAIN;
	n = write(f->fd, data, f->own ? size : MIN(size, (size_t)PIPE_BUF));
	return n < 0 ? -errno : n;
}

static void pop_block(struct file_collector *f)
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
static void write_blocks(struct file_collector *f)
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
	else if (!f->source && collector_on_loop(&f->c))
		(void)loop_add_fd(f->c.context->loop, f->fd, EPOLLOUT, writable, f, &f->source);
}

static int writable(void *userdata, _unused_ uint32_t events)
{
	write_blocks(userdata);
	return 0;
}

/* Without the loop the reader gets time to make room, unless it has not read for a while. */
static bool has_room(struct file_collector *f, size_t size)
{
	while (f->waiting + size > WAITING_MAX) {
		size_t before = f->waiting;

		if (!f->c.context->blocking || f->c.stalled || context_overdue(f->c.context))
			return false;
		poll(&(struct pollfd){.fd = f->fd, .events = POLLOUT}, 1, ROOM_MSEC);
		write_blocks(f);
		f->c.stalled = f->waiting == before;
	}
	return true;
}

static void push_block(struct file_collector *f)
{
	struct block *b = NULL;

	if (has_room(f, f->used))
		b = malloc(sizeof(*b) + f->used);
	if (!b) {
		count_remove(&f->c.stats.queued, &f->pending);
		collector_lose(&f->c, EXPORT_LOSS_QUEUE_FULL, &f->pending);
		if (f->starting)
			f->c.control.pending |= AT_START;
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
static void write_file(struct file_collector *f)
{
	const struct block b = {.used = f->used,
				.count = f->pending,
				.messages = f->pending_messages,
				.starting = f->starting};
	int r = write_all(f->fd, f->buffer, f->used);

	settle(f, &b, r);
	if (r >= 0)
		f->offset += (off_t)f->used;
	else if (f->truncates &&
		 (ftruncate(f->fd, f->offset) < 0 || lseek(f->fd, f->offset, SEEK_SET) < 0))
		f->c.stats.errors++;
}

static void write_buffer(struct file_collector *f)
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

static void buffer_add(struct file_collector *f, const void *data, size_t size,
		       const struct export_count *count)
{
	if (f->used + size > BUFFER)
		write_buffer(f);
	memcpy(f->buffer + f->used, data, size);
	f->used += size;
	f->pending_messages++;
	count_add(&f->pending, count);
}

static uint64_t export_ms(const struct file_collector *f, uint64_t base_ms)
{
	return f->c.context->timed ? f->c.context->time_ms : collector_wall_ms(&f->c, base_ms);
}

/* Templates and options that are pending. */
static void add_controls(struct file_collector *f)
{
	struct session *session = &f->c.session;
	struct control_message m;

	while (control_build(&f->c, CONTROL_MESSAGE_MAX, &m)) {
		m.header.wall_ms = export_ms(f, m.header.base_ms);
		m.header.sequence = *session_sequence(session, m.sequence);
		session_put_header(session, m.data, &m.header, m.sequence, 0);
		session_advance(session, m.sequence, m.data_records);
		control_advance(&f->c.control, &m);
		buffer_add(f, m.data, m.header.length, &(struct export_count){0});
		f->starting |= m.kind == CONTROL_TEMPLATES;
	}
}

static void add_message(struct file_collector *f, const struct message *m)
{
	struct session *session = &f->c.session;
	const struct protocol *p = session->protocol;
	uint8_t header[PROTOCOL_HEADER_MAX + SET_HEADER];
	struct export_count none = {0}, count = {.records = m->records};
	struct protocol_header h = {
		.length = (uint16_t)(p->header + SET_HEADER + m->length),
		.records = m->records,
		.wall_ms = export_ms(f, m->base_ms),
		.base_ms = m->base_ms,
		.sequence = session->sequence[SEQUENCE_DOMAIN],
	};

	for (unsigned int i = 0; i < m->records; i++) {
		count.packets += m->amounts[i].packets;
		count.octets += m->amounts[i].octets;
	}
	session_put_header(session, header, &h, SEQUENCE_DOMAIN, m->newest_ns / NSEC_PER_MSEC);
	session_advance(session, SEQUENCE_DOMAIN, m->records);
	wire_store16(header + p->header, m->template->id);
	wire_store16(header + p->header + 2, (uint16_t)(SET_HEADER + m->length));
	buffer_add(f, header, (size_t)p->header + SET_HEADER, &none);
	buffer_add(f, m->data, m->length, &count);
	f->pending_messages--; /* the two are one */
}

static void file_pushed(struct collector *c)
{
	struct file_collector *f = to_file(c);

	while (f->queue.count) {
		const struct message *m = queue_at(&f->queue, 0)->message;

		/* Templates and what needs them stand or fall together: no write between the two. */
		if (f->used + START_MAX + m->length > BUFFER)
			write_buffer(f);
		add_controls(f);
		add_message(f, m);
		queue_pop(&f->queue);
	}
}

static void json_flow(struct collector *c, const struct flow *flow)
{
	struct file_collector *f = to_file(c);
	const struct flow_template *t = &f->profile->templates[flow_family(flow)];
	const struct record_clock clock = {.offset_ns = c->context->clock_ns};
	struct export_count count = count_flow(flow);
	uint8_t record[FLOW_RECORD_MAX];
	char line[JSON_LINE_MAX];
	size_t length;

	t->encode[PROTOCOL_IPFIX](record, t, flow, &clock);
	length = json_record(line, t, record, flow->drop);
	count_add(&c->stats.given, &count);
	count_add(&c->stats.queued, &count);
	buffer_add(f, line, length, &count);
}

static void file_flush(struct collector *c)
{
	struct file_collector *f = to_file(c);

	if (!f->json)
		add_controls(f);
	write_buffer(f);
}

static void file_step(struct collector *c, _unused_ uint64_t now_ns, struct collector_step *ret)
{
	struct file_collector *f = to_file(c);

	file_flush(c);
	*ret = (struct collector_step){
		.wait_ns = UINT64_MAX, .fd = f->fd, .events = POLLOUT, .busy = f->first};
}

static void file_discard(struct collector *c)
{
	struct file_collector *f = to_file(c);

	while (f->first)
		pop_block(f);
	f->source = loop_source_free(f->source);
}

static struct collector *file_free(struct collector *c)
{
	struct file_collector *f = to_file(c);

	file_discard(c);
	if (f->own)
		closep(&f->fd);
	queue_done(&f->queue);
	free(f);
	return NULL;
}

static const struct collector_ops file_ops = {
	.pushed = file_pushed,
	.flush = file_flush,
	.step = file_step,
	.discard = file_discard,
	.free = file_free,
};

static const struct collector_ops json_ops = {
	.flow = json_flow,
	.flush = file_flush,
	.step = file_step,
	.discard = file_discard,
	.free = file_free,
};

/*
 * A pipe or terminal gets a description of our own, for O_NONBLOCK would be shared with stderr and the
 * shell.  Where there is none to be had, what poll(2) says has to do.
 */
static void open_output(struct file_collector *f)
{
	int own;

	f->fd = STDOUT_FILENO;
	if (!f->blocks || f->socket)
		return;
	own = open("/proc/self/fd/1", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (own < 0)
		return;
	f->fd = own;
	f->own = true;
}

static int open_file(struct file_collector *f, const char *path)
{
	/* Of a FIFO that nobody reads: -ENXIO. */
	f->fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0644);
	if (f->fd < 0)
		return -errno;
	f->own = true;
	return 0;
}

static void look_at(struct file_collector *f, int fd)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return;
	f->blocks = !S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode);
	f->socket = S_ISSOCK(st.st_mode);
}

static int open_any(struct file_collector *f, const char *path)
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
	look_at(f, f->fd);
	f->truncates = !f->blocks;
	return 0;
}

static int make(struct file_collector **ret, const struct collector_url *url)
{
	struct file_collector *f = calloc(1, sizeof(*f));
	int r;

	if (!f)
		return -ENOMEM;
	r = open_any(f, url->path);
	if (r < 0) {
		free(f);
		return r;
	}
	*ret = f;
	return 0;
}

int file_collector_new(struct collector **ret, const struct collector_url *url,
		       struct stream *stream, const struct export_context *context)
{
	struct file_collector *f;
	int r = make(&f, url);

	if (r < 0)
		return r;
	collector_init(&f->c, &file_ops, url, stream, context);
	f->c.stats.state = COLLECTOR_UP;
	f->c.queue = &f->queue;
	r = queue_init(&f->queue, &stream->pool, SLOTS);
	if (r < 0) {
		file_free(&f->c);
		return r;
	}
	/* At once, so that the file can be read before the first flow ends, if there is a time for it. */
	f->c.control.pending = AT_START;
	if (!context->timed || context->time_ms) {
		add_controls(f);
		write_buffer(f);
	}
	*ret = &f->c;
	return 0;
}

int json_collector_new(struct collector **ret, const struct collector_url *url,
		       const struct profile *profile, const struct export_context *context)
{
	struct file_collector *f;
	int r = make(&f, url);

	if (r < 0)
		return r;
	collector_init(&f->c, &json_ops, url, NULL, context);
	f->c.stats.state = COLLECTOR_UP;
	f->json = true;
	f->profile = profile;
	*ret = &f->c;
	return 0;
}
