/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/export/session.h"
#include "exporter/util.h"

void session_put_header(struct session *s, uint8_t *out, struct protocol_header *h,
			enum session_sequence which, uint64_t newest_ms)
{
	const struct protocol *p = s->protocol;
	uint32_t export_time = p->export_time(MAX(h->wall_ms, newest_ms));

	s->export_time = MAX(s->export_time, export_time);
	h->export_time = s->export_time;
	h->domain = p->sequence_messages || which == SEQUENCE_DOMAIN ? s->domain : 0;
	p->put_header(out, h);
}
