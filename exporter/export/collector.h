/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* What all collectors have in common: counters, state, and how the exports drive them. */
#include "exporter/export/account.h"
#include "exporter/export/session.h"
#include "exporter/export/url.h"

struct profile;
struct queue;
struct stream;

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
	bool once;			 /* no template is told again in this session */
	bool told_templates;		 /* those of flows have been */
	unsigned int
		told; /* options templates that have been: bit set of enum option_template_symbol */
};

/* The first member of each kind of collector. */
struct collector {
	struct account account;
	const struct collector_ops *ops;
	const struct export_context *context;
	unsigned int number;   /* exportingProcessId, from 1 */
	struct stream *stream; /* NULL: takes records */
	struct queue *queue;   /* of the stream's messages */
	struct session session;
	struct control control;
	uint64_t progress_ns; /* last time at which a record had left the queue, while draining */
	uint64_t progress_records; /* that had left it by then */
	bool paced;		   /* what is queued waits for nothing but the transport's pace */
};

/* A collector of each kind, which becomes a member of the stream; JSON has none. */
int network_collector_new(struct collector **ret, const struct collector_url *url,
			  struct stream *stream, const struct export_context *context);
int file_collector_new(struct collector **ret, const struct collector_url *url,
		       struct stream *stream, const struct export_context *context);
int json_collector_new(struct collector **ret, const struct collector_url *url,
		       const struct profile *profile, const struct export_context *context);

void collector_init(struct collector *c, const struct collector_ops *ops,
		    const struct collector_url *url, struct stream *stream,
		    const struct export_context *context);

static inline struct export_count count_flow(const struct flow *flow)
{
	return (struct export_count){1, flow->record.packets, flow->record.octets};
}

/*
 * When a message leaves, ms since 1970.  NetFlow v9 cannot say times that are far behind: a capture is
 * sent as if it were exported by its own clock, which is told by the base of the message's times.
 */
uint64_t collector_wall_ms(const struct collector *c, uint64_t base_ms);
