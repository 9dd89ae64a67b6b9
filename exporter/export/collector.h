/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* What all collectors have in common: counters, state, and how the exports drive them. */
#include "exporter/export/export.h"
#include "exporter/export/session.h"
#include "exporter/export/url.h"

struct profile;
struct queue;
struct stream;
struct udp_host;

/* One more, for the host to which a collector moves. */
#define EXPORT_HOSTS_MAX (EXPORT_COLLECTORS_MAX + 1)

/* Packets that are in no flow, and when that first and last happened, ms since 1970. */
struct export_unmetered {
	uint64_t packets;
	uint64_t octets;
	uint64_t first_ms;
	uint64_t last_ms;
};

/* Shared by all collectors, owned by the exports. */
struct export_context {
	struct export_options options;
	int64_t clock_ns;  /* record times plus this are ns since 1970 */
	struct loop *loop; /* NULL: driven by steps alone */
	int64_t wall_ns; /* the wall clock minus a clock that nobody sets, when clock_ns was told */
	unsigned int clock_moves; /* times that the wall clock was set */
	bool offline;	 /* there never was a loop: records are as old as the capture */
	bool timed;	 /* by exports_set_time() */
	uint64_t time_ms; /* its time, ms since 1970; 0: not known yet */
	bool blocking;	  /* the loop does not run (any more) */
	uint64_t (*deadline_ns)(const void *userdata); /* exports_set_deadline(); NULL: none */
	const void *deadline_userdata;
	struct export_interface *interfaces;
	unsigned int interface_count;
	struct export_unmetered unmetered;
	struct udp_host *hosts; /* of UDP collectors, EXPORT_HOSTS_MAX */
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
	/* A record, of collectors without a stream. */
	void (*flow)(struct collector *c, const struct flow *flow);
	/* The stream has pushed a message to the queue; NULL: that can wait for a step. */
	void (*pushed)(struct collector *c);
	/* What is queued may go. */
	void (*flush)(struct collector *c);
	/* Does what can be done without blocking. */
	void (*step)(struct collector *c, uint64_t now_ns, struct collector_step *ret);
	/* Forgets what is queued beside the queue; NULL: there is nothing. */
	void (*discard)(struct collector *c);
	struct collector *(*free)(struct collector *c);
};

/* Templates and options, in the order in which they are sent. */
enum control_kind {
	CONTROL_TEMPLATES,
	CONTROL_SAMPLING,
	CONTROL_KEYS,
	CONTROL_TYPES,
	CONTROL_INTERFACES,
	CONTROL_STATISTICS,
	_CONTROL_MAX,
};

/* Those still to be sent: control.h. */
struct control {
	unsigned int pending;		 /* bit set of enum control_kind */
	unsigned int next[_CONTROL_MAX]; /* the part with which a kind goes on */
};

/* The first member of each kind of collector. */
struct collector {
	struct collector_stats stats;
	const struct collector_ops *ops;
	const struct export_context *context;
	unsigned int number;   /* exportingProcessId, from 1 */
	struct stream *stream; /* NULL: takes records */
	struct queue *queue;   /* of the stream's messages */
	struct session session;
	struct control control;
	uint64_t first_loss_ms; /* when records were first and last lost, ms since 1970; 0: never */
	uint64_t last_loss_ms;
	uint64_t progress_ns; /* last time at which a record had left the queue, while draining */
	uint64_t progress_records; /* that had left it by then */
	bool stalled;		   /* waiting did not help, and no record has left since */
	bool paced;		   /* what is queued waits for nothing but the pace of UDP */
};

/* When nothing may wait any more, CLOCK_MONOTONIC; UINT64_MAX: not known. */
static inline uint64_t context_deadline_ns(const struct export_context *context)
{
	return context->deadline_ns ? context->deadline_ns(context->deadline_userdata) : UINT64_MAX;
}

/* Whether that is over. */
static inline bool context_overdue(const struct export_context *context)
{
	uint64_t deadline_ns = context_deadline_ns(context);

	return deadline_ns != UINT64_MAX && clock_ns(CLOCK_MONOTONIC) >= deadline_ns;
}

/* Whether the loop runs, so that what is not urgent may wait for it. */
static inline bool collector_on_loop(const struct collector *c)
{
	return c->context->loop && !c->context->blocking;
}

/* A collector of each kind, which becomes a member of the stream; JSON has none. */
int udp_collector_new(struct collector **ret, const struct collector_url *url,
		      struct stream *stream, const struct export_context *context);
int file_collector_new(struct collector **ret, const struct collector_url *url,
		       struct stream *stream, const struct export_context *context);
int json_collector_new(struct collector **ret, const struct collector_url *url,
		       const struct profile *profile, const struct export_context *context);

void collector_init(struct collector *c, const struct collector_ops *ops,
		    const struct collector_url *url, struct stream *stream,
		    const struct export_context *context);

static inline void count_add(struct export_count *to, const struct export_count *n)
{
	to->records += n->records;
	to->packets += n->packets;
	to->octets += n->octets;
}

static inline void count_remove(struct export_count *from, const struct export_count *n)
{
	from->records -= n->records;
	from->packets -= n->packets;
	from->octets -= n->octets;
}

static inline void count_move(struct export_count *from, struct export_count *to,
			      const struct export_count *n)
{
	count_remove(from, n);
	count_add(to, n);
}

static inline struct export_count count_flow(const struct flow *flow)
{
	return (struct export_count){1, flow->record.packets, flow->record.octets};
}

/* Counts records as lost, and notes when. */
void collector_lose(struct collector *c, enum export_loss loss, const struct export_count *n);

/*
 * When a message leaves, ms since 1970.  NetFlow v9 cannot say times that are far behind: a capture is
 * sent as if it were exported by its own clock, which is told by the base of the message's times.
 */
uint64_t collector_wall_ms(const struct collector *c, uint64_t base_ms);

/* Logs one line when the state changes; `error` (errno or 0) is the reason. */
void collector_set_state(struct collector *c, enum collector_state state, int error);
