/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/export/collector.h"
#include "exporter/export/stream.h"
#include "exporter/log.h"

void collector_init(struct collector *c, const struct collector_ops *ops,
		    const struct collector_url *url, struct stream *stream,
		    const struct export_context *context)
{
	c->ops = ops;
	c->context = context;
	c->stats.url = url->text;
	c->stream = stream;
	if (stream)
		c->session = (struct session){.protocol = stream->protocol,
					      .domain = context->options.domain,
					      .by_base = context->offline &&
							 stream->protocol->id == PROTOCOL_NETFLOW9};
}

void collector_lose(struct collector *c, enum export_loss loss, const struct export_count *n)
{
	if (loss == EXPORT_LOSS_QUEUE_FULL && context_overdue(c->context))
		loss = EXPORT_LOSS_UNSENT; /* with more time there would have been room */
	c->last_loss_ms = clock_ns(CLOCK_REALTIME) / NSEC_PER_MSEC;
	if (!c->first_loss_ms)
		c->first_loss_ms = c->last_loss_ms;
	count_add(&c->stats.lost[loss], n);
}

uint64_t collector_wall_ms(const struct collector *c, uint64_t base_ms)
{
	if (c->session.protocol->id == PROTOCOL_NETFLOW9 && c->context->offline && base_ms)
		return base_ms + STREAM_BASE_AHEAD_MS;
	return clock_ns(CLOCK_REALTIME) / NSEC_PER_MSEC;
}

void collector_set_state(struct collector *c, enum collector_state state, int error)
{
	enum collector_state before = c->stats.state;

	c->stats.state = state;
	if (state == before)
		return;
	switch (state) {
	case COLLECTOR_RESOLVING:
		break;
	case COLLECTOR_UP:
		if (before != COLLECTOR_RESOLVING)
			log_info("collector %s: up again", c->stats.url);
		break;
	case COLLECTOR_REFUSED:
		log_errno(
			LOG_WARNING, error,
			"collector %s does not take flow records, which wait in its queue until it does",
			c->stats.url);
		break;
	case COLLECTOR_FAILING:
		log_errno(LOG_WARNING, error, "collector %s: cannot send, will be tried again",
			  c->stats.url);
		break;
	case _COLLECTOR_STATE_MAX:
		break;
	}
}

const char *collector_state_name(enum collector_state state)
{
	static const char *const names[_COLLECTOR_STATE_MAX] = {
		[COLLECTOR_RESOLVING] = "resolving",
		[COLLECTOR_UP] = "up",
		[COLLECTOR_REFUSED] = "refused",
		[COLLECTOR_FAILING] = "failing",
	};

	return names[state];
}

const char *export_loss_name(enum export_loss loss)
{
	static const char *const names[_EXPORT_LOSS_MAX] = {
		[EXPORT_LOSS_QUEUE_FULL] = "queue_full",
		[EXPORT_LOSS_SEND_ERROR] = "send_error",
		[EXPORT_LOSS_REFUSED] = "refused",
		[EXPORT_LOSS_UNSENT] = "unsent",
	};

	return names[loss];
}
