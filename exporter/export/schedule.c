/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/export/control.h"
#include "exporter/export/phase.h"
#include "exporter/export/schedule.h"

/* RFC 7011 8.4: several copies of the templates before the first data, in case one is lost. */
#define TEMPLATE_COPIES 3
static const uint64_t copy_delay_ns[TEMPLATE_COPIES] = {0, 1 * NSEC_PER_SEC, 5 * NSEC_PER_SEC};

/* What could not be sent is tried again. */
#define RETRY_NS (1 * NSEC_PER_SEC)

/* Three quarters of the interval or more. */
static void start_timer(struct schedule_timer *t, uint64_t interval_ns, uint64_t now_ns)
{
	t->interval_ns = interval_ns;
	t->due_ns = now_ns + interval_ns - phase_ns(interval_ns / 4);
}

static bool expired(struct schedule_timer *t, uint64_t now_ns)
{
	if (now_ns < t->due_ns)
		return false;
	start_timer(t, t->interval_ns, now_ns);
	return true;
}

void schedule_start(struct schedule *s, uint64_t now_ns)
{
	const struct export_options *o = &s->context->options;

	*s->control = (struct control){.once = s->reliable && s->timed};
	s->opened_ns = now_ns;
	s->copies = 0;
	start_timer(&s->templates, o->template_interval_ns, now_ns);
	start_timer(&s->options, o->options_interval_ns, now_ns);
	start_timer(&s->statistics, o->statistics_interval_ns, now_ns);
	if (s->reliable)
		s->control->pending = CONTROL_START;
}

static bool copy_due(const struct schedule *s, uint64_t now_ns)
{
	return s->copies < TEMPLATE_COPIES &&
	       (!context_on_loop(s->context) || now_ns - s->opened_ns >= copy_delay_ns[s->copies]);
}

static bool templates_due(struct schedule *s, uint64_t now_ns)
{
	return expired(&s->templates, now_ns) ||
	       s->since_templates >= s->context->options.template_messages;
}

static void schedule_templates(struct schedule *s, uint64_t now_ns)
{
	struct control *control = s->control;

	if (copy_due(s, now_ns)) {
		/* The last copy comes when the collector has had time to start too. */
		control->pending |= 1u << CONTROL_TEMPLATES;
		if (!s->copies || s->copies == TEMPLATE_COPIES - 1)
			control->pending |= CONTROL_OPTIONS;
	} else if (templates_due(s, now_ns)) {
		control->pending |= 1u << CONTROL_TEMPLATES;
	}
}

void schedule_step(struct schedule *s, uint64_t now_ns)
{
	if (!s->timed)
		return;
	if (!s->reliable)
		schedule_templates(s, now_ns);
	if (expired(&s->options, now_ns))
		s->control->pending |= CONTROL_OPTIONS;
	if (expired(&s->statistics, now_ns))
		s->control->pending |= 1u << CONTROL_STATISTICS;
}

void schedule_sent(struct schedule *s, bool last_template, uint64_t now_ns)
{
	s->since_templates++;
	if (!last_template)
		return;
	s->since_templates = 0;
	s->copies += s->copies < TEMPLATE_COPIES;
	start_timer(&s->templates, s->templates.interval_ns, now_ns);
}

uint64_t schedule_wait(const struct schedule *s, uint64_t now_ns)
{
	uint64_t due_ns;

	if (s->control->pending)
		return RETRY_NS;
	if (s->reliable || s->copies == TEMPLATE_COPIES)
		return UINT64_MAX;
	due_ns = s->opened_ns + copy_delay_ns[s->copies];
	return due_ns > now_ns ? due_ns - now_ns : RETRY_NS;
}
