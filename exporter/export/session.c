/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/export/session.h"
#include "exporter/util.h"

void session_put_header(struct session *s, uint8_t *out, struct protocol_header *h,
			enum session_sequence which, uint64_t newest_ms)
{
	const struct protocol *p = s->protocol;
	bool bridged = s->by_base || newest_ms - h->wall_ms <= SESSION_BRIDGE_MS;
	uint32_t export_time = p->export_time(bridged ? MAX(h->wall_ms, newest_ms) : h->wall_ms);

	if (export_time >= s->export_time || (s->by_base && s->base_ms != h->base_ms) ||
	    (!s->by_base && s->export_time - export_time > SESSION_BRIDGE_MS / 1000))
		s->export_time = export_time;
	if (s->by_base)
		s->base_ms = h->base_ms;
	h->export_time = s->export_time;
	h->domain = p->sequence_messages || which == SEQUENCE_DOMAIN ? s->domain : 0;
	p->put_header(out, h);
}

bool session_stale(const struct session *s, uint64_t wall_ms)
{
	uint32_t export_time = s->protocol->export_time(wall_ms);

	return s->export_time > export_time &&
	       s->export_time - export_time > SESSION_BRIDGE_MS / 1000;
}
