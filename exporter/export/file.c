/* SPDX-License-Identifier: Apache-2.0 */
/* Collectors that are files: IPFIX messages of a stream, or records as lines of JSON. */
#include <errno.h>
#include <poll.h>
#include "exporter/export/format/json.h"
#include "exporter/export/format/profile.h"
#include "exporter/export/sender.h"
#include "exporter/export/stream.h"

/* Messages under way, at most: what is complete goes to the buffer at once. */
#define SLOTS (PROFILE_TEMPLATES_MAX + 1)

struct file_collector {
	struct collector c;
	struct sender sender; /* of the transport; not of JSON's */
	struct transport *file;
};

static struct file_collector *to_file(struct collector *c)
{
	return (struct file_collector *)c;
}

/* What is pending, and the stream's messages. */
static void file_pushed(struct collector *c)
{
	struct collector_step step;

	(void)sender_step(&to_file(c)->sender, 0, &step); /* its session never ends */
	if (c->queue->count) /* behind templates that were found to be missing */
		(void)sender_step(&to_file(c)->sender, 0, &step);
}

static void file_flush(struct collector *c)
{
	file_transport_look(to_file(c)->file);
	file_pushed(c);
	file_transport_flush(to_file(c)->file);
}

static void json_flush(struct collector *c)
{
	file_transport_look(to_file(c)->file);
	file_transport_flush(to_file(c)->file);
}

static void file_step(struct collector *c, _unused_ uint64_t now_ns, struct collector_step *ret)
{
	struct transport *file = to_file(c)->file;

	c->ops->flush(c);
	*ret = (struct collector_step){.wait_ns = UINT64_MAX,
				       .fd = file->fd,
				       .events = POLLOUT,
				       .busy = file->ops->busy(file),
				       .patient = true};
}

static void json_flow(struct collector *c, const struct flow *flow)
{
	struct file_collector *f = to_file(c);
	const struct flow_template *t =
		&c->announced->profile->templates[flow_template_index(flow)];
	const struct record_context context = {
		.offset_ns = c->context->clock_ns,
		.interfaces = c->context->interfaces,
		.interface_count = c->context->interface_count,
	};
	uint8_t record[JSON_RECORD_MAX];
	unsigned int cut;
	char line[JSON_LINE_MAX];
	struct transport_message m = {
		.parts = {{line, 0}}, .part_count = 1, .count = count_flow(flow)};

	record_encode(record, sizeof(record), t, PROTOCOL_IPFIX, flow, &context, &cut);
	c->account.stats.cut += cut;
	m.length = m.parts[0].iov_len = json_record(line, t, record, flow->drop);
	account_queue(&c->account, &m.count);
	f->file->ops->send(f->file, &m, 1, 0);
}

static void file_discard(struct collector *c)
{
	to_file(c)->file->ops->discard(to_file(c)->file);
}

static void file_begin(struct collector *c)
{
	file_transport_begin(to_file(c)->file);
	if (!c->queue)
		return;
	sender_start(&to_file(c)->sender, 0);
	/* At once, so that the file can be read before the first flow ends, if there is a time for it. */
	if (!c->context->timed || c->context->time_ms)
		file_flush(c);
}

/* What differs is of the messages alone: templates follow before them. */
static void file_change(struct collector *c, const struct collector_settings *settings)
{
	c->ops->flush(c);
	file_transport_rotate(to_file(c)->file, &settings->rotation);
}

static struct collector *file_free(struct collector *c)
{
	struct file_collector *f = to_file(c);

	if (f->file)
		f->file->ops->free(f->file);
	f->sender.transport = NULL;
	sender_done(&f->sender);
	collector_done(c);
	free(f);
	return NULL;
}

static const struct collector_ops file_ops = {
	.pushed = file_pushed,
	.flush = file_flush,
	.step = file_step,
	.begin = file_begin,
	.change = file_change,
	.discard = file_discard,
	.free = file_free,
};

static const struct collector_ops json_ops = {
	.flow = json_flow,
	.flush = json_flush,
	.step = file_step,
	.begin = file_begin,
	.change = file_change,
	.discard = file_discard,
	.free = file_free,
};

int file_collector_new(struct collector **ret, const struct collector_url *url,
		       const struct collector_settings *settings, struct encoding *encoding,
		       const struct export_context *context)
{
	struct file_collector *f = calloc(1, sizeof(*f));
	bool json = url->scheme == URL_JSON;
	int r;

	if (!f)
		return -ENOMEM;
	collector_init(&f->c, json ? &json_ops : &file_ops, url, encoding, context);
	r = file_transport_new(&f->file, &f->c.account, url->path);
	if (r >= 0)
		file_transport_rotate(f->file, &settings->rotation);
	if (r >= 0 && !json)
		r = sender_init(&f->sender, &f->c, f->file, SLOTS, 0);
	if (r < 0) {
		file_free(&f->c);
		return r;
	}
	*ret = &f->c;
	return 0;
}
