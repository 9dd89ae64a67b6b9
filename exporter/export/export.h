/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Flow records to collectors.  Each collector has its own encoder state, queue, template schedule,
 * sequence and counters; a dead or slow one never touches another, and nothing here blocks except
 * exports_drain().
 */
#include <stdbool.h>
#include <stdint.h>
#include "exporter/meter/cache.h"
#include "exporter/util.h"

struct loop;
struct exports;

struct export_options {
	uint32_t domain;	       /* observation domain id of every message */
	uint16_t message_max;	       /* octets of an IPFIX message over UDP at most, 512 to 9000 */
	uint64_t template_interval_ns; /* templates are sent again that often over UDP */
};

struct export_count {
	uint64_t records;
	uint64_t packets;
	uint64_t octets; /* IP layer */
};

enum export_loss {
	EXPORT_LOSS_QUEUE_FULL, /* the collector's queue was full */
	EXPORT_LOSS_SEND_ERROR, /* the system refused to send or write */
	EXPORT_LOSS_REFUSED,	/* sent, and answered by ICMP port unreachable */
	EXPORT_LOSS_UNSENT,	/* still queued when the exporter stopped */
	_EXPORT_LOSS_MAX,
};

enum collector_state {
	COLLECTOR_RESOLVING, /* the name has no address yet; messages wait in the queue */
	COLLECTOR_UP,
	COLLECTOR_REFUSED, /* answers with ICMP port unreachable */
	COLLECTOR_FAILING, /* cannot be sent to or written; tried again with each message */
};

struct collector_stats {
	const char *url;
	enum collector_state state;
	struct export_count exported; /* handed to the network or written, and not known to be lost */
	struct export_count queued;   /* encoded or waiting, not sent yet */
	struct export_count lost[_EXPORT_LOSS_MAX];
	uint64_t messages; /* sent or written, templates included */
	uint64_t bytes;	   /* of those messages */
	uint64_t errors;   /* failed system calls, ECONNREFUSED included */
};

/* True when the URL is one that exports_add() takes; else *ret_why (static or allocated once, never freed) says what is wrong. */
bool exports_url_valid(const char *url, const char **ret_why);

/* `loop` may be NULL: then nothing is sent before exports_drain() (replay). */
int exports_new(struct exports **ret, const struct export_options *options, struct loop *loop);
struct exports *exports_free(struct exports *exports);
DEFINE_CLEANUP(struct exports *, exports_free)

/*
 * Adds a collector: ipfix://host[:4739], file:///path, json:///path or json:-.
 * Errors: -EINVAL (URL, see exports_url_valid()), -errno of opening the file (logged).  A name that
 * does not resolve is no error: it is tried again.
 */
int exports_add(struct exports *exports, const char *url);

/* Record times plus this are ns since 1970: CLOCK_REALTIME - CLOCK_MONOTONIC live, 0 in replay. */
void exports_set_clock(struct exports *exports, int64_t offset_ns);

/* Encodes the record for every collector.  A flow_sink. */
void exports_flow(void *exports, const struct flow *flow);

/* Hands messages that are not full to the transports too: called at the end of each expiry pass. */
void exports_flush(struct exports *exports);

/*
 * Sends what is queued, blocking, for `timeout_ns` at most without progress; with `final`, what is
 * left then is counted as unsent.
 */
void exports_drain(struct exports *exports, uint64_t timeout_ns, bool final);

/* Collectors in the order they were added; NULL past the last. */
const struct collector_stats *exports_stats(struct exports *exports, unsigned int index);

const char *export_loss_name(enum export_loss loss);
const char *collector_state_name(enum collector_state state);
