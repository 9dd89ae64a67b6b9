/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/export/collector.h"
#include "exporter/export/stream.h"

void collector_init(struct collector *c, const struct collector_ops *ops,
		    const struct collector_url *url, struct encoding *encoding,
		    const struct export_context *context)
{
	c->ops = ops;
	c->context = context;
	c->url = *url;
	c->account = (struct account){.context = context, .stats.url = url->text};
	c->announced = encoding_ref(encoding);
	c->session = (struct session){
		.protocol = encoding->protocol,
		.domain = context->options.domain,
		.by_base = context->offline && encoding->protocol->id == PROTOCOL_NETFLOW9,
		.context = context,
	};
}

void collector_done(struct collector *c)
{
	session_done(&c->session);
	encoding_unref(c->announced);
}

uint64_t collector_wall_ms(const struct collector *c, uint64_t base_ms)
{
	if (c->session.protocol->id == PROTOCOL_NETFLOW9 && c->context->offline && base_ms)
		return base_ms + STREAM_BASE_AHEAD_MS;
	return clock_ns(CLOCK_REALTIME) / NSEC_PER_MSEC;
}

const char *collector_state_name(enum collector_state state)
{
	static const char *const names[_COLLECTOR_STATE_MAX] = {
		[COLLECTOR_RESOLVING] = "resolving", [COLLECTOR_UP] = "up",
		[COLLECTOR_REFUSED] = "refused",     [COLLECTOR_FAILING] = "failing",
		[COLLECTOR_REMOVED] = "removed",
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
