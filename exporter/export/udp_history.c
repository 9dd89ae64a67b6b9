/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>
#include <xxhash.h>
#include "exporter/export/control.h"
#include "exporter/export/udp_history.h"

#define RECENT_NS (60 * NSEC_PER_SEC) /* an answer is no older */
#define READ_MAX  64 /* answers at once: whoever sends more does not hold the loop */

/*
 * Answers that quote too little are believed as long as there are not more of them than messages, and not
 * for a while after that: somebody makes them up.
 */
#define SHORT_MAX      128
#define SHORT_PAUSE_NS (60 * NSEC_PER_SEC)

static size_t head_size(const struct udp_sender *s)
{
	return (size_t)s->c->session.protocol->header + SET_HEADER;
}

static struct udp_sent *sent_at(struct udp_sender *s, uint64_t index)
{
	return &s->history[index % UDP_HISTORY];
}

static uint64_t oldest(const struct udp_sender *s)
{
	return s->sent > UDP_HISTORY ? s->sent - UDP_HISTORY : 0;
}

void udp_note_sent(struct udp_sender *s, const uint8_t *head, const struct export_count *count,
		   uint64_t now_ns)
{
	*sent_at(s, s->sent++) = (struct udp_sent){
		.head = XXH3_64bits(head, head_size(s)), .sent_ns = now_ns, .count = *count};
	if (udp_health_unproven(&s->health, now_ns))
		count_add(&s->unproven, count);
	s->short_credit = MIN(s->short_credit + 1, SHORT_MAX);
}

/* The message that is quoted: newest first, since copies of the templates can be alike. */
static bool find_quoted(struct udp_sender *s, const struct udp_answer *answer, uint64_t now_ns,
			uint64_t *ret_index)
{
	uint64_t head = XXH3_64bits(answer->quote, head_size(s));

	for (uint64_t i = s->sent; i-- > oldest(s);) {
		if (now_ns - sent_at(s, i)->sent_ns > RECENT_NS)
			return false;
		if (sent_at(s, i)->head == head) {
			*ret_index = i;
			return true;
		}
	}
	return false;
}

/* Without a quote: the newest message that is not known to be lost is as good a guess as any. */
static bool believe_short(struct udp_sender *s, const struct udp_answer *answer, uint64_t now_ns,
			  uint64_t *ret_index)
{
	if (memcmp(&answer->from, &s->health.host->address, sizeof(answer->from)) != 0 ||
	    now_ns < s->short_pause_ns)
		return false;
	if (!s->short_credit) {
		s->short_pause_ns = now_ns + SHORT_PAUSE_NS;
		return false;
	}
	s->short_credit--;
	for (uint64_t i = s->sent; i-- > oldest(s);) {
		*ret_index = i;
		if (sent_at(s, i)->count.records)
			break;
	}
	return s->sent;
}

static void lose(struct udp_sender *s, struct export_count *count)
{
	if (!count->records)
		return;
	count_remove(&s->c->stats.exported, count);
	collector_lose(s->c, EXPORT_LOSS_REFUSED, count);
	*count = (struct export_count){0};
}

static void lose_one(struct udp_sender *s, uint64_t index)
{
	struct udp_sent *sent = sent_at(s, index);

	if (sent->count.records && s->unproven.records)
		count_remove(&s->unproven, &sent->count);
	lose(s, &sent->count);
}

/* The message and all after it, or all that is unproven. */
static void lose_since(struct udp_sender *s, uint64_t index, uint64_t now_ns)
{
	if (udp_health_unproven(&s->health, now_ns)) {
		lose(s, &s->unproven);
		for (uint64_t i = oldest(s); i < s->sent; i++)
			sent_at(s, i)->count = (struct export_count){0};
		return;
	}
	for (; index < s->sent; index++)
		lose(s, &sent_at(s, index)->count);
}

static void note_error(struct udp_sender *s, int error, uint64_t sent_ns, uint64_t now_ns)
{
	if (udp_health_error(&s->health, error, sent_ns, now_ns))
		collector_set_state(s->c, COLLECTOR_REFUSED, error);
}

static void note_mtu(struct udp_sender *s, uint64_t index)
{
	int max = udp_payload_max(s->fd); /* the kernel knows it by now */

	lose_one(s, index);
	if (max >= 0)
		s->limit = MIN(s->message_max, (unsigned int)max);
	s->c->control.pending |= 1u << CONTROL_TEMPLATES;
}

void udp_note_answer(struct udp_sender *s, const struct udp_answer *answer, uint64_t now_ns)
{
	bool quoted = answer->quoted >= head_size(s);
	uint64_t index = 0, sent_ns;

	s->c->stats.errors++;
	if (!(quoted ? find_quoted(s, answer, now_ns, &index)
		     : believe_short(s, answer, now_ns, &index)))
		return;
	if (answer->error == EMSGSIZE) {
		note_mtu(s, index);
		return;
	}
	sent_ns = sent_at(s, index)->sent_ns;
	if (quoted)
		lose_since(s, index, now_ns);
	else if (s->health.phase != UDP_DEAD)
		lose_one(s, index);
	note_error(s, answer->error, sent_ns, now_ns);
	if (quoted && answer->about_host) {
		struct udp_host *host = s->health.host;

		host->lost_ns = now_ns;
		host->lost_sent_ns = sent_ns;
		host->lost_error = answer->error;
	}
}

bool udp_read_answers(struct udp_sender *s, uint64_t now_ns)
{
	struct udp_answer answer;
	unsigned int count = 0;

	for (; count < READ_MAX && udp_next_answer(s->fd, &answer); count++)
		udp_note_answer(s, &answer, now_ns);
	return count;
}

static void note_host(struct udp_sender *s, uint64_t now_ns)
{
	const struct udp_host *host = s->health.host;
	uint64_t index = s->sent;

	while (index > oldest(s) && sent_at(s, index - 1)->sent_ns >= host->lost_sent_ns)
		index--;
	lose_since(s, index, now_ns);
	note_error(s, host->lost_error, host->lost_sent_ns, now_ns);
	s->health.error_ns = MAX(s->health.error_ns, host->lost_ns);
}

void udp_note_time(struct udp_sender *s, uint64_t now_ns)
{
	if (s->health.host->lost_ns > s->health.error_ns)
		note_host(s, now_ns);
	if (udp_health_step(&s->health, now_ns)) {
		if (s->health.phase != UDP_UP) /* records follow */
			s->c->control.pending |= 1u << CONTROL_TEMPLATES | CONTROL_OPTIONS;
		else if (udp_health_mended(&s->health, now_ns)) /* else a later send says so */
			collector_set_state(s->c, COLLECTOR_UP, 0);
	}
	if (!udp_health_unproven(&s->health, now_ns))
		s->unproven = (struct export_count){0};
}
