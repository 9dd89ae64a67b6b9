/* SPDX-License-Identifier: Apache-2.0 */
/* Collectors that are a file or standard output: IPFIX messages in a row (RFC 5655), or lines of JSON. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>
#include "exporter/export/collector.h"
#include "exporter/export/ipfix.h"
#include "exporter/export/json.h"
#include "exporter/log.h"

#define BUFFER (64u * 1024)
#define SLOTS \
	(_TEMPLATE_MAX + 1) /* messages under way; what is complete goes to the buffer at once */

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
	struct ipfix_stream stream;
	uint8_t buffer[BUFFER];
};

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
		count_move(&stats->queued, &stats->lost[EXPORT_LOSS_SEND_ERROR], &f->pending);
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

static void add_templates(struct file_collector *f)
{
	uint8_t templates[IPFIX_TEMPLATES_MAX];
	uint16_t length = ipfix_stream_templates(&f->stream, templates);

	ipfix_stream_stamp(&f->stream, templates, clock_ns(CLOCK_REALTIME));
	buffer_add(f, templates, length, &(struct export_count){0});
	f->starting = true;
}

static void write_messages(struct file_collector *f)
{
	while (f->stream.queue.count) {
		struct message *m = queue_at(&f->stream.queue, 0);

		/* Templates and what needs them stand or fall together: no write between the two. */
		if (f->used + IPFIX_TEMPLATES_MAX + m->length > BUFFER)
			write_buffer(f);
		if (!f->started && !f->starting)
			add_templates(f);
		ipfix_stream_stamp(&f->stream, m->data, clock_ns(CLOCK_REALTIME));
		buffer_add(f, m->data, m->length, &m->count);
		queue_pop(&f->stream.queue);
	}
}

static bool file_has_room(_unused_ const struct collector *c, _unused_ const struct flow *flow)
{
	return true;
}

static void file_flow(struct collector *c, const struct flow *flow)
{
	struct export_count count = count_flow(flow);
	struct file_collector *f = to_file(c);
	bool full;

	if (ipfix_stream_add(&f->stream, flow, c->context->clock_ns, &full)) {
		count_add(&c->stats.queued, &count);
		if (full)
			write_messages(f);
	} else {
		count_add(&c->stats.lost[EXPORT_LOSS_QUEUE_FULL], &count);
	}
}

static void json_flow(struct collector *c, const struct flow *flow)
{
	struct export_count count = count_flow(flow);
	uint8_t record[FLOW_RECORD_MAX];
	char line[JSON_LINE_MAX];
	size_t length;

	ipfix_encode_record(record, flow, c->context->clock_ns);
	length = json_record(line, &flow_templates[flow_template(flow)], record);
	count_add(&c->stats.queued, &count);
	buffer_add(to_file(c), line, length, &count);
}

static void file_flush(struct collector *c)
{
	struct file_collector *f = to_file(c);

	if (!f->json) {
		ipfix_stream_flush(&f->stream);
		write_messages(f);
	}
	write_buffer(f);
}

static void file_step(struct collector *c, _unused_ uint64_t now_ns, struct collector_step *ret)
{
	file_flush(c);
	*ret = (struct collector_step){.wait_ns = UINT64_MAX, .fd = -1};
}

static void file_discard(_unused_ struct collector *c)
{
}

static struct collector *file_free(struct collector *c)
{
	struct file_collector *f = to_file(c);

	if (f->own)
		closep(&f->fd);
	ipfix_stream_done(&f->stream);
	free(f);
	return NULL;
}

static const struct collector_ops file_ops = {
	.has_room = file_has_room,
	.flow = file_flow,
	.flush = file_flush,
	.step = file_step,
	.discard = file_discard,
	.free = file_free,
};

static const struct collector_ops json_ops = {
	.has_room = file_has_room,
	.flow = json_flow,
	.flush = file_flush,
	.step = file_step,
	.discard = file_discard,
	.free = file_free,
};

static int open_file(struct file_collector *f, const char *path)
{
	struct stat st;

	f->fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOCTTY, 0644);
	if (f->fd < 0)
		return log_errno(LOG_ERR, errno, "cannot write %s", path);
	f->own = true;
	f->truncates = fstat(f->fd, &st) == 0 && S_ISREG(st.st_mode);
	return 0;
}

int file_collector_new(struct collector **ret, const struct collector_url *url,
		       const struct export_context *context)
{
	struct file_collector *f = calloc(1, sizeof(*f));
	int r;

	if (!f)
		return -ENOMEM;
	f->json = url->scheme == URL_JSON;
	f->c.ops = f->json ? &json_ops : &file_ops;
	f->c.context = context;
	f->c.stats.url = url->text;
	f->c.stats.state = COLLECTOR_UP;
	f->fd = STDOUT_FILENO;
	r = *url->path ? open_file(f, url->path) : 0;
	if (r >= 0)
		r = ipfix_stream_init(&f->stream, context->options.domain,
				      context->options.message_max, SLOTS);
	if (r < 0) {
		file_free(&f->c);
		return r;
	}
	/* At once, so that the file can be read before the first flow ends. */
	if (!f->json) {
		add_templates(f);
		write_buffer(f);
	}
	*ret = &f->c;
	return 0;
}
