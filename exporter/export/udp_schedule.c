/* SPDX-License-Identifier: Apache-2.0 */
#include <sys/random.h>
#include "exporter/export/control.h"
#include "exporter/export/udp_schedule.h"

/* RFC 7011 8.4: several copies of the templates before the first data, in case one is lost. */
#define TEMPLATE_COPIES 3
static const uint64_t copy_delay_ns[TEMPLATE_COPIES] = {0, 1 * NSEC_PER_SEC, 5 * NSEC_PER_SEC};

/* What could not be sent is tried again. */
#define RETRY_NS (1 * NSEC_PER_SEC)

/* Three quarters of the interval or more, so that exporters that started together do not stay together. */
static uint64_t random_phase(uint64_t interval_ns)
{
	uint32_t random = 0;

	if (getrandom(&random, sizeof(random), GRND_NONBLOCK) < 0)
		random = (uint32_t)clock_ns(CLOCK_MONOTONIC);
	return interval_ns - interval_ns / 4 * (random % 1024) / 1024;
}

static void start_timer(struct udp_timer *t, uint64_t interval_ns, uint64_t now_ns)
{
	t->interval_ns = interval_ns;
	t->due_ns = now_ns + random_phase(interval_ns);
}

static bool expired(struct udp_timer *t, uint64_t now_ns)
{
	if (now_ns < t->due_ns)
		return false;
	start_timer(t, t->interval_ns, now_ns);
	return true;
}

void udp_schedule_start(struct udp_sender *s, uint64_t now_ns)
{
	const struct export_options *o = &s->c->context->options;

	start_timer(&s->templates, o->template_interval_ns, now_ns);
	start_timer(&s->options, o->options_interval_ns, now_ns);
	start_timer(&s->statistics, o->statistics_interval_ns, now_ns);
}

static bool copy_due(const struct udp_sender *s, uint64_t now_ns)
{
	return s->copies < TEMPLATE_COPIES &&
	       (!collector_on_loop(s->c) || now_ns - s->opened_ns >= copy_delay_ns[s->copies]);
}

static bool templates_due(struct udp_sender *s, uint64_t now_ns)
{
	return expired(&s->templates, now_ns) ||
	       s->since_templates >= s->c->context->options.template_messages;
}

void udp_schedule(struct udp_sender *s, uint64_t now_ns)
{
	struct control *control = &s->c->control;

	/* The probe is the templates: no record is at stake, and they are the first that is needed. */
	if (s->health.phase == UDP_DEAD) {
		if (udp_health_probe_due(&s->health, now_ns))
			control->pending |= 1u << CONTROL_TEMPLATES;
		return;
	}
	if (copy_due(s, now_ns)) {
		/* The last copy comes when the collector has had time to start too. */
		control->pending |= 1u << CONTROL_TEMPLATES;
		if (!s->copies || s->copies == TEMPLATE_COPIES - 1)
			control->pending |= CONTROL_OPTIONS;
	} else if (templates_due(s, now_ns)) {
		control->pending |= 1u << CONTROL_TEMPLATES;
	}
	if (expired(&s->options, now_ns))
		control->pending |= CONTROL_OPTIONS;
	if (expired(&s->statistics, now_ns))
		control->pending |= 1u << CONTROL_STATISTICS;
}

void udp_schedule_sent(struct udp_sender *s, uint64_t now_ns)
{
	if (s->health.phase == UDP_DEAD)
		udp_health_probed(&s->health, now_ns);
	s->since_templates = 0;
	s->copies += s->copies < TEMPLATE_COPIES;
	start_timer(&s->templates, s->templates.interval_ns, now_ns);
}

uint64_t udp_schedule_wait(const struct udp_sender *s, uint64_t now_ns)
{
	uint64_t due_ns;

	if (s->c->control.pending)
		return RETRY_NS;
	if (s->copies == TEMPLATE_COPIES)
		return UINT64_MAX;
	due_ns = s->opened_ns + copy_delay_ns[s->copies];
	return due_ns > now_ns ? due_ns - now_ns : RETRY_NS;
}
