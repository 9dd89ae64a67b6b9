/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* What all collectors have in common: counters, state, and how the exports drive them. */
#include "exporter/export/export.h"
#include "exporter/export/url.h"

/* Shared by all collectors, owned by the exports. */
struct export_context {
	struct export_options options;
	int64_t clock_ns;  /* record times plus this are ns since 1970 */
	struct loop *loop; /* NULL: driven by steps alone */
	bool blocking;	   /* the loop does not run (any more) */
};

/* What a collector waits for after a step. */
struct collector_step {
	uint64_t wait_ns; /* the next step is due then; UINT64_MAX: when something else happens */
	int fd;		  /* or when this is ready for poll(2) `events`; -1: none */
	short events;
	bool busy; /* something is queued */
};

struct collector;

struct collector_ops {
	/* Whether flow() would find room now. */
	bool (*has_room)(const struct collector *c, const struct flow *flow);
	void (*flow)(struct collector *c, const struct flow *flow);
	/* Messages that are not full may go too. */
	void (*flush)(struct collector *c);
	/* Does what can be done without blocking. */
	void (*step)(struct collector *c, uint64_t now_ns, struct collector_step *ret);
	/* Empties the queue; the counters are the caller's to set. */
	void (*discard)(struct collector *c);
	struct collector *(*free)(struct collector *c);
};

/* The first member of each kind of collector. */
struct collector {
	struct collector_stats stats;
	const struct collector_ops *ops;
	const struct export_context *context;
	uint64_t progress_ns;	    /* last time at which `messages` had grown, while draining */
	uint64_t progress_messages; /* stats.messages at that time */
	bool stalled;		    /* blocking did not help, and `messages` has not grown since */
};

/* Whether the loop runs, so that what is not urgent may wait for it. */
static inline bool collector_on_loop(const struct collector *c)
{
	return c->context->loop && !c->context->blocking;
}

int udp_collector_new(struct collector **ret, const struct collector_url *url,
		      const struct export_context *context);
int file_collector_new(struct collector **ret, const struct collector_url *url,
		       const struct export_context *context);

static inline void count_add(struct export_count *to, const struct export_count *n)
{
	to->records += n->records;
	to->packets += n->packets;
	to->octets += n->octets;
}

static inline void count_move(struct export_count *from, struct export_count *to,
			      const struct export_count *n)
{
	from->records -= n->records;
	from->packets -= n->packets;
	from->octets -= n->octets;
	count_add(to, n);
}

static inline struct export_count count_flow(const struct flow *flow)
{
	return (struct export_count){1, flow->record.packets, flow->record.octets};
}

/* Logs one line when the state changes; `error` (errno or 0) is the reason. */
void collector_set_state(struct collector *c, enum collector_state state, int error);
