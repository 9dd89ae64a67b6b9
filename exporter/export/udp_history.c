/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include "exporter/export/control.h"
#include "exporter/export/udp_history.h"

/* It is up again after so long without an ICMP error, which hosts limit to one a second. */
#define RECOVERY_NS (3 * NSEC_PER_SEC)

static struct udp_sent *find_sent(struct udp_sender *s, const struct udp_answer *answer)
{
	const struct protocol *p = s->c->session.protocol;
	bool quoted = answer->quoted >= (size_t)p->header + SET_HEADER;
	uint32_t sequence = quoted ? wire_load32(answer->quote + p->sequence_at) : 0;

	/* Templates and options are no loss of records. */
	if (quoted && wire_load16(answer->quote + p->header) < SET_DATA_MIN)
		return NULL;
	/* Newest first; a router that quotes little leaves no better guess than the newest. */
	for (unsigned int i = 1; i <= UDP_HISTORY; i++) {
		struct udp_sent *sent = &s->history[(s->history_next - i) % UDP_HISTORY];

		if (sent->count.records && (!quoted || sent->sequence == sequence))
			return sent;
	}
	return NULL;
}

void udp_note_answer(struct udp_sender *s, const struct udp_answer *answer)
{
	struct collector_stats *stats = &s->c->stats;
	struct udp_sent *sent = find_sent(s, answer);

	stats->errors++;
	if (sent) {
		count_remove(&stats->exported, &sent->count);
		collector_lose(s->c, EXPORT_LOSS_REFUSED, &sent->count);
		sent->count = (struct export_count){0};
	}
	if (answer->error == EMSGSIZE) { /* a router's, whose MTU the kernel knows now */
		int max = udp_payload_max(s->fd);

		if (max >= 0)
			s->limit = MIN(s->message_max, (unsigned int)max);
		s->c->control.pending |= 1u << CONTROL_TEMPLATES;
		return;
	}
	s->probe_ns = 0;
	collector_set_state(s->c, COLLECTOR_REFUSED, answer->error);
}

bool udp_read_answers(struct udp_sender *s)
{
	struct udp_answer answer;
	bool any = false;

	while (udp_next_answer(s->fd, &answer)) {
		udp_note_answer(s, &answer);
		any = true;
	}
	return any;
}

void udp_note_recovery(struct udp_sender *s, uint64_t now_ns)
{
	if (s->c->stats.state != COLLECTOR_REFUSED || !s->probe_ns ||
	    now_ns - s->probe_ns < RECOVERY_NS)
		return;
	collector_set_state(s->c, COLLECTOR_UP, 0);
	s->c->control.pending |= 1u << CONTROL_TEMPLATES | CONTROL_OPTIONS;
}
