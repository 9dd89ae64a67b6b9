/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Records to collectors.  Each collector has its own transport, queue, session and counters; a dead or slow
 * one never touches another, nor does one that comes or goes.  Nothing here blocks except exports_send_queued(),
 * exports_flow() after exports_set_blocking(), and a file on a disk that blocks.
 *
 * For each collector, at any moment and for records, packets and octets alike:
 * due = given by exports_flow() = exported + queued + the sum of lost.
 */
#include <stdbool.h>
#include <stdint.h>
#include "exporter/export/format/interface.h"
#include "exporter/meter/cache.h"
#include "exporter/util.h"

struct loop;
struct exports;
struct collector_url; /* export/url.h */
struct url_options;

#define EXPORT_COLLECTORS_MAX 32

/* 0 or NULL stands for the default.  A URL may say otherwise for its collector where "URL" is noted.  All is copied. */
struct export_options {
	uint32_t domain;      /* observation domain id (NetFlow v9: source id) of every message */
	uint16_t message_max; /* octets of a message at most, 512 to 9000; 1400; URL */
	uint32_t queue_messages; /* length of a queue in the network, 16 to 65536; 8192, that is 131072 IPv4
					  records, for which memory is taken as the queue grows, 14 MB at most */
	uint64_t template_interval_ns; /* templates are sent again that often over UDP; 60 s */
	uint32_t template_messages;    /* and after so many messages; 1000 */
	uint64_t options_interval_ns;  /* so are options: interfaces, sampling, flow keys; 300 s */
	uint64_t statistics_interval_ns; /* and statistics of metering and exporting; 60 s */
	const char
		*template; /* profile or element names, see exports_template_valid(); "default"; URL */
	uint32_t enterprise; /* number of elements that are not IANA's; 32473, which is for documentation */
	uint32_t rate; /* records a second in the network, at most; 0: as fast as is wise; URL */
	const char *source;  /* address to send from; chosen by the system; URL */
	uint8_t dscp;	     /* of what goes to the network, 0 to 63; URL */
	bool drops;	     /* there are records of drops too */
	bool drops_in_files; /* of them collectors in the network get none; URL */
	bool balance; /* a collector in the network gets the flows that a hash gives to it, not all */
};

struct export_count {
	uint64_t records;
	uint64_t packets;
	uint64_t octets; /* IP layer */
};

enum export_loss {
	EXPORT_LOSS_QUEUE_FULL, /* the collector's queue was full */
	EXPORT_LOSS_SEND_ERROR, /* the system refused to send or write just that, or a connection broke
				   before it was acknowledged */
	EXPORT_LOSS_REFUSED,	/* sent, and answered by an ICMP error such as port unreachable */
	EXPORT_LOSS_UNSENT, /* still queued when the exporter stopped, or no room after its deadline */
	_EXPORT_LOSS_MAX,
};

enum collector_state {
	COLLECTOR_RESOLVING, /* no address or connection yet; messages wait in the queue */
	COLLECTOR_UP,
	COLLECTOR_REFUSED, /* answers with an ICMP error, or refuses connections; messages wait in the queue */
	COLLECTOR_FAILING, /* cannot be sent to or written; tried again, in the network with what waits in the queue */
	COLLECTOR_STALLED, /* there is a connection or a reader, which has taken nothing for ACCOUNT_STALL_NS */
	COLLECTOR_REMOVED, /* by exports_apply(): is given nothing more, and sends what is queued for some seconds */
	_COLLECTOR_STATE_MAX,
};

/* What all collectors together have been given since the start. */
struct export_totals {
	struct export_count kinds[_RECORD_KIND_MAX]; /* by exports_flow(), whoever took them */
	struct export_count shared; /* of them, what went to one of those that share */
};

struct collector_stats {
	const char
		*url; /* "removed collectors": all that were removed before those that are listed */
	const char *name;    /* NULL: none */
	unsigned int number; /* from 1, of this one alone; 0: of a sum of removed collectors */
	enum collector_state state;
	int error;   /* errno behind COLLECTOR_REFUSED and COLLECTOR_FAILING, the newest; else 0 */
	bool drops;  /* gets records of drops */
	bool shares; /* gets a share of the flows (balance), not all */
	struct export_count
		due; /* of exports_flow()'s, while it was there: all that it takes, or its share */
	struct export_count given; /* what it got: = due, and = exported + queued + lost */
	struct export_count
		exported; /* handed to the network (TCP: acknowledged) or written, and not known
					 to be lost */
	struct export_count queued; /* encoded or waiting, not sent (TCP: or not acknowledged) yet */
	struct export_count lost[_EXPORT_LOSS_MAX];
	uint64_t messages;	    /* sent or written (JSON: lines), templates included */
	uint64_t bytes;		    /* of those messages */
	uint64_t template_messages; /* of those messages: with templates of flow records and drops */
	uint64_t cut; /* strings that were cut, for their record would have been longer than a message */
	uint64_t errors;  /* failed system calls, and datagrams answered by an ICMP error */
	uint64_t sent_ms; /* when messages were last sent or written, ms since 1970; 0: never */
	uint64_t sent_boottime_ns; /* CLOCK_BOOTTIME likewise */
};

/* True when the URL is one that exports_add() takes; else *ret_why, valid until the thread's next call, says what is wrong. */
bool exports_url_valid(const char *url, const char **ret_why);

/*
 * True when `text` names a profile or is a list of elements that can be one.  Else *ret_why, valid
 * until the thread's next call, names all that is wrong.
 */
bool exports_template_valid(const char *text, const char **ret_why);

/*
 * Octets that messages to the collector must have room for: with less it can be told no template, and is sent nothing.  0: the
 * options are none that exports_new() takes.
 */
size_t exports_octets_needed(const struct export_options *options, const struct collector_url *url);

/*
 * `loop` may be NULL: then nothing is sent before exports_send_queued() (replay), and exports_flow() blocks
 * as after exports_set_blocking().  Errors: -EINVAL (options out of range), -ENOMEM.
 */
int exports_new(struct exports **ret, const struct export_options *options, struct loop *loop);
struct exports *exports_free(struct exports *exports);
DEFINE_CLEANUP(struct exports *, exports_free)

/*
 * Adds a collector: ipfix://host[:4739], ipfix+tcp://host[:4739], netflow9://host[:2055], file:///path,
 * json:///path or json:-.
 * After a host may follow ?KEY=VALUE&...: template, rate, source, dscp, message-size, drops, retry;
 * after the path of a file rotate, keep, template, drops.
 * Errors: -EINVAL (URL or template), -ENOSPC (EXPORT_COLLECTORS_MAX), -ENOMEM, -errno of
 * opening the file or a socket.  A name that does not resolve is no error: it is tried again.
 */
int exports_add(struct exports *exports, const char *url);

/* A collector of which more is known than its URL; all is copied. */
struct export_collector {
	const char *url;
	const char *name; /* for people; NULL: none */
	const struct url_options
		*options; /* export/url.h, in place of the URL's; NULL: as the URL says */
};

struct export_changes {
	unsigned int added, changed, removed, kept; /* collectors */
};

/*
 * From now on there are these collectors, by these options; exports_new() and exports_apply() on what is empty are
 * the start.  The difference to what runs is applied, all of it or nothing:
 *
 * - A collector is known by its target: scheme, host and port, or path; of several at one target by its name and
 *   what is said of it.  It may get or lose its name.
 * - Who is not changed is not touched: socket, queue, session, open file.
 * - Who is added gets records from now on, and begins as at the start.  A file that holds something is
 *   kept under a number then.
 * - Who is removed gets no more records, and has some seconds to send what is queued; what is left then is lost as
 *   unsent.  Its counters stay in exports_stats().
 * - Who is changed keeps its transport, sequences, queue and counters.  rate, retry, dscp and drops hold at once, in
 *   JSON the template too.  Another template or length of messages is of records from now on: those that are queued
 *   go first, as they were encoded.  No template id ever gets another meaning.  Another source is another session,
 *   over TCP when all that was sent is acknowledged.
 * - Intervals hold from now on, for all.
 *
 * domain, enterprise, balance, drops and queue_messages stay what they were at exports_new(), whatever is said here.
 * `ret` may be NULL.  Errors, which are logged with the collector they are about, and after which all is as it was:
 * those of exports_new() and exports_add().  A new file that was made before another failed stays, empty.
 */
int exports_apply(struct exports *exports, const struct export_options *options,
		  const struct export_collector *collectors, unsigned int count,
		  struct export_changes *ret);

/*
 * Record times plus this are ns since 1970: kernel_clock_offset_ns() live, 0 in replay.  Live, a wall
 * clock that has been set by more than some seconds since the last call moves the times of what waits too.
 */
void exports_set_clock(struct exports *exports, int64_t offset_ns);

/*
 * The time at which messages of files are exported, instead of the system's: the capture's in replay, ns
 * since 1970, so that each run gives the same octets.  0: not known yet, there is to be another before the
 * first flow.
 */
void exports_set_time(struct exports *exports, uint64_t time_ns);

/*
 * The interfaces that are metered; collectors are told when they have changed.  Called as often as one
 * likes; all is copied, and what is not UTF-8 in names becomes '?' on export.  -ENOMEM.
 */
int exports_set_interfaces(struct exports *exports, const struct export_interface *interfaces,
			   unsigned int count);

/* Packets since the start that are in no flow record: ignored and refused; octets as far as known. */
void exports_set_metering(struct exports *exports, uint64_t packets, uint64_t octets);

/*
 * From now on exports_flow() waits for room instead of losing the record when a queue is full, unless
 * that collector makes no progress for a second; without a loop 60 s, as long as its connection stands or it is the
 * reader of a pipe.  For the last flush of the flow cache, when the loop
 * does not run any more.  A collector without a connection or an address is tried once more at once, whenever it was to
 * be: there may be no other time.
 */
void exports_set_blocking(struct exports *exports);

/*
 * When nothing may wait any more, asked while something does: CLOCK_MONOTONIC in ns, UINT64_MAX for not yet known.  From
 * then on exports_flow() and exports_send_queued() return at once, and what finds no room is lost as unsent.
 */
void exports_set_deadline(struct exports *exports, uint64_t (*deadline_ns)(const void *userdata),
			  const void *userdata);

/* Encodes the record for every collector.  A flow_sink. */
void exports_flow(void *exports, const struct flow *flow);

/*
 * Whether a pass that exports many records may go on, after queues that are nearly full have sent what they may.  False
 * while one of them still is, and empties at the pace of UDP or, over TCP, at no less than a tenth of it: a collector
 * that takes less, or nothing, never holds the rest.
 */
bool exports_have_room(struct exports *exports);

/* Hands messages that are not full to the transports too: called at the end of each expiry pass. */
void exports_flush(struct exports *exports);

/*
 * Sends what is queued, blocking, for `timeout_ns` at most without progress (without a loop as exports_flow() waits), and
 * until the deadline; with
 * `final`, what is left then is counted as unsent.
 */
void exports_send_queued(struct exports *exports, uint64_t timeout_ns, bool final);

/*
 * Collectors in the order they were added, then those that were removed: the last 32 of them, and the sums of all before;
 * NULL past the last.  Valid until the next exports_apply(), or the next turn of the loop.
 */
const struct collector_stats *exports_stats(struct exports *exports, unsigned int index);

const struct export_totals *exports_totals(const struct exports *exports);

/* All of exports_stats(), with its words, and exports_totals(); of one allocation. */
struct export_copy {
	struct export_totals totals;
	unsigned int count;
	struct collector_stats stats[];
};

/*
 * In any thread, to be freed by free(): who is there is of one moment.  So are the counters in the loop's thread; in
 * another one that may go on meanwhile, each is what it was at some moment.  NULL: no memory.
 */
struct export_copy *exports_copy(struct exports *exports);

/* What is queued there is counted as unsent: for the last words of a process whose main thread hangs. */
void export_copy_abandon(struct export_copy *copy);

const char *export_loss_name(enum export_loss loss);
const char *collector_state_name(enum collector_state state);
