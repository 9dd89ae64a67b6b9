/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* What all collectors have in common: counters, state, and how the exports drive them. */
#include "exporter/export/account.h"
#include "exporter/export/session.h"
#include "exporter/export/transport/transport.h"
#include "exporter/export/url.h"

struct encoding;
struct queue;
struct stream;
struct collector_settings;

/* What a collector waits for after a step. */
struct collector_step {
	uint64_t wait_ns; /* the next step is due then; UINT64_MAX: when something else happens */
	int fd;		  /* or when this is ready for poll(2) `events`; -1: none */
	short events;
	bool busy;    /* something is queued */
	bool patient; /* and it may be taken yet, however long that takes: see CONTEXT_PATIENCE_NS */
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
	/* It is one of those that run now: what it opened is its own. */
	void (*begin)(struct collector *c);
	/* Other settings, of which the messages of its stream are no part.  Queue, sequence and socket stay. */
	void (*change)(struct collector *c, const struct collector_settings *settings);
	/* The end begins: what was to be tried later is tried once now.  NULL: nothing is. */
	void (*hurry)(struct collector *c);
	/* Forgets what is queued beside the queue. */
	void (*discard)(struct collector *c);
	struct collector *(*free)(struct collector *c);
};

/* What is set for one collector, by its URL or for all of them. */
struct collector_settings {
	uint32_t rate;		  /* records a second, 0: no ceiling */
	uint64_t retry_ns;	  /* between two attempts to connect, at least; 0: the default */
	struct ip_address source; /* family 0: the system's to choose */
	uint8_t dscp;
	uint16_t message_max; /* octets */
	bool drops;	      /* it gets records of drops */
	struct file_rotation rotation;
};

/* The first member of each kind of collector. */
struct collector {
	struct account account;
	const struct collector_ops *ops;
	const struct export_context *context;
	struct collector_url url;
	struct collector_settings settings;
	struct stream
		*stream; /* that it is a member of; NULL: it takes records, or has been removed */
	struct queue *queue; /* of messages of streams; NULL: it takes records */
	struct session session;
	struct encoding *announced; /* of what leaves, and of the records that JSON takes */
	uint64_t progress_ns; /* last time at which a record had left the queue, while that is emptied */
	uint64_t progress_records; /* that had left it by then */
	uint64_t leave_ns;	   /* when it is to be gone; 0: it has not been removed */
	struct export_count due; /* stats.due up to the marks: exports_totals() when they were set */
	struct export_totals marks;
	bool paced; /* what is queued waits for nothing but the transport's pace, which is no slow one */
};

/*
 * A collector of each kind.  It touches nothing of what there was before ops->begin(), when it is to have a stream;
 * JSON has none.  The strings of the URL and the name stay the caller's.  -ENOMEM, -errno of opening a file or a socket.
 */
int network_collector_new(struct collector **ret, const struct collector_url *url,
			  const struct collector_settings *settings, struct encoding *encoding,
			  const struct export_context *context);
int file_collector_new(struct collector **ret, const struct collector_url *url,
		       const struct collector_settings *settings, struct encoding *encoding,
		       const struct export_context *context);

void collector_init(struct collector *c, const struct collector_ops *ops,
		    const struct collector_url *url, struct encoding *encoding,
		    const struct export_context *context);
void collector_done(struct collector *c);

static inline struct export_count count_flow(const struct flow *flow)
{
	return (struct export_count){1, flow->record.packets, flow->record.octets};
}

/*
 * When a message leaves, ms since 1970.  NetFlow v9 cannot say times that are far behind: a capture is
 * sent as if it were exported by its own clock, which is told by the base of the message's times.
 */
uint64_t collector_wall_ms(const struct collector *c, uint64_t base_ms);
