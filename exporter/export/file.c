/* SPDX-License-Identifier: Apache-2.0 */
/* Collectors that are a file or standard output: IPFIX messages in a row (RFC 5655), or lines of JSON. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>
#include "exporter/export/control.h"
#include "exporter/export/json.h"
#include "exporter/export/stream.h"
#include "exporter/log.h"

#define BUFFER (64u * 1024)
#define SLOTS \
	(_FAMILY_MAX + 1) /* messages under way; what is complete goes to the buffer at once */

struct file_collector {
	struct collector c;
	int fd;
	bool json;
	bool own;	/* opened here, not standard output */
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

		if (n < 0 && errno == EAGAIN) /* somebody made our standard output non-blocking */
			poll(&(struct pollfd){.fd = fd, .events = POLLOUT}, 1, -1);
		else if (n < 0 && errno != EINTR)
			return -errno;
		if (n < 0)
			continue;
		data += n;
		size -= (size_t)n;
	}
	return 0;
}

/* All of the buffer is written, or none of it stays in a file that can be cut. */
static void write_buffer(struct file_collector *f)
{
	struct collector_stats *stats = &f->c.stats;
	int r = write_all(f->fd, f->buffer, f->used);

	if (!f->used)
		return;
	if (r < 0) {
		stats->errors++;
		if (f->pending.records) {
			count_remove(&stats->queued, &f->pending);
			collector_lose(&f->c, EXPORT_LOSS_SEND_ERROR, &f->pending);
		}
		if (!f->started)
			f->c.control.pending |= AT_START;
		if (f->truncates &&
		    (ftruncate(f->fd, f->offset) < 0 || lseek(f->fd, f->offset, SEEK_SET) < 0))
			stats->errors++;
	} else {
		f->offset += (off_t)f->used;
		f->started |= f->starting;
		count_move(&stats->queued, &stats->exported, &f->pending);
		stats->messages += f->pending_messages;
		stats->bytes += f->used;
	}
	collector_set_state(&f->c, r < 0 ? COLLECTOR_FAILING : COLLECTOR_UP, -r);
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

/* Templates and options that are pending. */
static void add_controls(struct file_collector *f)
{
	struct session *session = &f->c.session;
	struct control_message m;

	while (control_build(&f->c, CONTROL_MESSAGE_MAX, &m)) {
		m.header.wall_ms = collector_wall_ms(&f->c, m.header.base_ms);
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
		.wall_ms = collector_wall_ms(&f->c, m->base_ms),
		.base_ms = m->base_ms,
		.sequence = session->sequence[SEQUENCE_DOMAIN],
	};

	for (unsigned int i = 0; i < m->records; i++) {
		count.packets += m->amounts[i].packets;
		count.octets += m->amounts[i].octets;
	}
	session_put_header(session, header, &h, SEQUENCE_DOMAIN, m->newest_ms);
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
	length = json_record(line, t, record);
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
	file_flush(c);
	*ret = (struct collector_step){.wait_ns = UINT64_MAX, .fd = -1};
}

static struct collector *file_free(struct collector *c)
{
	struct file_collector *f = to_file(c);

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
	.free = file_free,
};

static const struct collector_ops json_ops = {
	.flow = json_flow,
	.flush = file_flush,
	.step = file_step,
	.free = file_free,
};

static int open_file(struct file_collector *f, const char *path)
{
	struct stat st;

	f->fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOCTTY, 0644);
	if (f->fd < 0)
		return -errno;
	f->own = true;
	f->truncates = fstat(f->fd, &st) == 0 && S_ISREG(st.st_mode);
	return 0;
}

static int make(struct file_collector **ret, const struct collector_url *url)
{
	struct file_collector *f = calloc(1, sizeof(*f));
	int r;

	if (!f)
		return -ENOMEM;
	f->fd = STDOUT_FILENO;
	r = *url->path ? open_file(f, url->path) : 0;
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
	/* At once, so that the file can be read before the first flow ends. */
	f->c.control.pending = AT_START;
	add_controls(f);
	write_buffer(f);
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
