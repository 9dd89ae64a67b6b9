/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * What is owed to a collector, and when: templates, options and statistics, at the start of a session, by
 * time and by count.  It makes messages pending in `control`, and knows neither queue nor transport.
 */
#include "exporter/export/collector.h"

/* Something that is done again and again, at intervals with a random phase. */
struct schedule_timer {
	uint64_t interval_ns;
	uint64_t due_ns;
};

struct schedule {
	const struct export_context *context;
	struct control *control;
	bool reliable; /* what is told once is known for the session */
	bool timed;    /* things are told again at intervals */
	uint64_t opened_ns;
	unsigned int copies;	  /* of the templates sent, counted up to what the start needs */
	uint32_t since_templates; /* messages */
	struct schedule_timer templates, options, statistics;
};

/* A session begins. */
void schedule_start(struct schedule *s, uint64_t now_ns);

/* Makes pending what is due. */
void schedule_step(struct schedule *s, uint64_t now_ns);

/* A message has been sent; with `last_template` all templates have been told. */
void schedule_sent(struct schedule *s, bool last_template, uint64_t now_ns);

/* Time until schedule_step() is needed though nothing is queued; UINT64_MAX: it is not. */
uint64_t schedule_wait(const struct schedule *s, uint64_t now_ns);
