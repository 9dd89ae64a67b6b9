/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <xxhash.h>
#include "exporter/export/phase.h"
#include "exporter/export/session.h"

/* RFC 7011 8.4: several copies of the templates before the first data, in case one is lost. */
#define TEMPLATE_COPIES 3
static const uint64_t copy_delay_ns[TEMPLATE_COPIES] = {0, 1 * NSEC_PER_SEC, 5 * NSEC_PER_SEC};

/* What could not be sent is tried again. */
#define RETRY_NS (1 * NSEC_PER_SEC)

void session_done(struct session *s)
{
	free(s->ids);
}

/* --- What is numbered */

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

/* --- What is owed */

/* Three quarters of the interval or more. */
static void start_timer(struct session_timer *t, uint64_t interval_ns, uint64_t now_ns)
{
	t->interval_ns = interval_ns;
	t->due_ns = now_ns + interval_ns - phase_ns(interval_ns / 4);
}

static bool expired(struct session_timer *t, uint64_t now_ns)
{
	if (now_ns < t->due_ns)
		return false;
	start_timer(t, t->interval_ns, now_ns);
	return true;
}

/* What is due sooner by the old interval comes then. */
static void retime(struct session_timer *t, uint64_t interval_ns, uint64_t now_ns)
{
	uint64_t due_ns = t->due_ns;

	if (t->interval_ns == interval_ns)
		return;
	start_timer(t, interval_ns, now_ns);
	t->due_ns = MIN(t->due_ns, due_ns);
}

void session_start(struct session *s, uint64_t now_ns)
{
	const struct export_options *o = &s->context->options;

	for (unsigned int i = 0; i < _SEQUENCE_MAX; i++)
		s->sequence[i] = 0;
	for (unsigned int i = 0; i < _ANNOUNCE_MAX; i++)
		s->next[i] = 0;
	for (unsigned int i = 0; i < s->id_count; i++)
		s->ids[i].told = false;
	s->options_told = 0;
	s->opened_ns = now_ns;
	s->copies = 0;
	start_timer(&s->templates, o->template_interval_ns, now_ns);
	start_timer(&s->options, o->options_interval_ns, now_ns);
	start_timer(&s->statistics, o->statistics_interval_ns, now_ns);
	s->pending = s->reliable ? ANNOUNCE_START : 0;
}

void session_retime(struct session *s, uint64_t now_ns)
{
	const struct export_options *o = &s->context->options;

	retime(&s->templates, o->template_interval_ns, now_ns);
	retime(&s->options, o->options_interval_ns, now_ns);
	retime(&s->statistics, o->statistics_interval_ns, now_ns);
}

static bool copy_due(const struct session *s, uint64_t now_ns)
{
	return s->copies < TEMPLATE_COPIES &&
	       (!context_on_loop(s->context) || now_ns - s->opened_ns >= copy_delay_ns[s->copies]);
}

static bool templates_due(struct session *s, uint64_t now_ns)
{
	return expired(&s->templates, now_ns) ||
	       s->since_templates >= s->context->options.template_messages;
}

static void step_templates(struct session *s, uint64_t now_ns)
{
	if (copy_due(s, now_ns)) {
		/* The last copy comes when the collector has had time to start too. */
		s->pending |= 1u << ANNOUNCE_TEMPLATES;
		if (!s->copies || s->copies == TEMPLATE_COPIES - 1)
			s->pending |= ANNOUNCE_OPTIONS;
	} else if (templates_due(s, now_ns)) {
		s->pending |= 1u << ANNOUNCE_TEMPLATES;
	}
}

void session_step(struct session *s, uint64_t now_ns)
{
	if (!s->timed)
		return;
	if (!s->reliable)
		step_templates(s, now_ns);
	if (expired(&s->options, now_ns))
		s->pending |= ANNOUNCE_OPTIONS;
	if (expired(&s->statistics, now_ns))
		s->pending |= 1u << ANNOUNCE_STATISTICS;
}

void session_sent(struct session *s, bool last_template, uint64_t now_ns)
{
	s->since_templates++;
	if (!last_template)
		return;
	s->since_templates = 0;
	s->copies += s->copies < TEMPLATE_COPIES;
	start_timer(&s->templates, s->templates.interval_ns, now_ns);
}

uint64_t session_wait(const struct session *s, uint64_t now_ns)
{
	uint64_t due_ns;

	if (s->pending)
		return RETRY_NS;
	if (s->reliable || s->copies == TEMPLATE_COPIES)
		return UINT64_MAX;
	due_ns = s->opened_ns + copy_delay_ns[s->copies];
	return due_ns > now_ns ? due_ns - now_ns : RETRY_NS;
}

void session_owe_templates(struct session *s, uint64_t now_ns)
{
	s->pending |= ANNOUNCE_ENCODING;
	s->next[ANNOUNCE_TEMPLATES] = 0;
	s->opened_ns = now_ns;
	s->copies = 0;
}

/* --- What template ids mean */

static uint64_t layout(const struct flow_template *t, uint32_t enterprise)
{
	uint64_t hash = enterprise;

	for (unsigned int i = 0; i < t->count; i++) {
		const struct field *field = &flow_fields[t->fields[i]];
		uint32_t specifier[] = {field->element->id, field->length, field->element->pen};

		hash = XXH3_64bits_withSeed(specifier, sizeof(specifier), hash);
	}
	return hash;
}

static struct session_template *find_id(const struct session *s, uint16_t id)
{
	for (unsigned int i = 0; i < s->id_count; i++)
		if (s->ids[i].id == id)
			return &s->ids[i];
	return NULL;
}

static bool has_other_meaning(const struct session *s, const struct profile *p, unsigned int family)
{
	const struct flow_template *t = &p->templates[family];
	const struct session_template *known = find_id(s, t->id);

	for (unsigned int i = 0; i < PROFILE_TEMPLATES_MAX; i++)
		if (i != family && p->templates[i].id == t->id)
			return true;
	return known && known->layout != layout(t, p->enterprise);
}

static int add_id(struct session *s, const struct flow_template *t, uint32_t enterprise)
{
	struct session_template *ids = s->ids;

	if (find_id(s, t->id))
		return 0;
	if (s->id_count == s->id_room) {
		ids = realloc(ids, (s->id_room + PROFILE_TEMPLATES_MAX) * sizeof(*ids));
		if (!ids)
			return -ENOMEM;
		s->ids = ids;
		s->id_room += PROFILE_TEMPLATES_MAX;
	}
	ids[s->id_count++] =
		(struct session_template){.layout = layout(t, enterprise), .id = t->id};
	return 0;
}

int session_reserve_ids(struct session *s, struct profile *profile)
{
	int r = 0;

	/* Those of drops are the same in all profiles, and reserved by the first. */
	for (unsigned int tries = 0; has_other_meaning(s, profile, FAMILY_IPV4) ||
				     has_other_meaning(s, profile, FAMILY_IPV6);
	     tries++) {
		if (tries == UINT16_MAX)
			return -ENOSPC;
		profile_renumber(profile);
	}
	for (unsigned int i = 0; i < PROFILE_TEMPLATES_MAX && r == 0; i++)
		r = add_id(s, &profile->templates[i], profile->enterprise);
	return r;
}

bool session_knows(const struct session *s, uint16_t id)
{
	const struct session_template *known = find_id(s, id);

	return s->reliable && s->timed && known && known->told;
}

void session_note_told(struct session *s, uint16_t id)
{
	struct session_template *known = find_id(s, id);

	if (known)
		known->told = true;
}
