/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The control socket: who may ask the running exporter, is answered in lines of JSON (docs/control.md).  It has a thread
 * with a loop of its own.  The loop's thread writes to a ring, and wakes it; it waits for no client, and clients
 * cost it nothing.  Memory, time and number of the clients are bounded.
 */
#include <stdint.h>
#include "exporter/meter/drop_reason.h"
#include "exporter/observe/snapshot.h"
#include "exporter/util.h"
#include "xdp/flow.h"

/* Clients at a time; some of the places are for root and the exporter's own user alone, and no other user has more than... */
#define CONTROL_CLIENTS_MAX	 64
#define CONTROL_CLIENTS_RESERVED 8
#define CONTROL_CLIENTS_USER	 24

/* Likewise of those who ask for top, which costs most. */
#define CONTROL_TOPS_MAX      8
#define CONTROL_TOPS_RESERVED 2
#define CONTROL_TOPS_USER     4

/* Where clients look when nobody says otherwise. */
#define CONTROL_SOCKET "/run/flowtally/flowtally.sock"

struct control;
struct kernel_clock;

struct control_options {
	const char *path;  /* of the socket; absolute; NULL: none, for control_join() alone */
	const char *group; /* whose members may connect; NULL: the process's own */
	uint32_t records;  /* that the ring holds */
	uint64_t keep_ns;  /* older ones are not shown */
	uint32_t enterprise;
	struct snapshots *snapshots;
	struct drop_reasons *drop_names;  /* NULL: no drops are traced */
	const struct kernel_clock *clock; /* of the records, read by the loop's thread alone */
	unsigned int kinds;		  /* a bit for each kind of records that come */
	uint64_t *missed;		  /* see ring_count_missed(); NULL: not counted */
};

/* -errno, logged as a warning with the fix: the exporter does without. */
int control_new(struct control **ret, const struct control_options *options);

/*
 * Those who follow get what is left, and the socket goes.  Waits for them for half a second, and not beyond `deadline_ns`
 * (CLOCK_MONOTONIC).
 */
void control_end(struct control *control, uint64_t deadline_ns);

struct control *control_free(struct control *control);
DEFINE_CLEANUP(struct control *, control_free)

/* In any thread: a connection to it for this process itself, a descriptor that is the caller's.  -errno. */
int control_join(struct control *control);

/* In the loop's thread: what a flow or a drop has had since it was last read. */
void control_delta(struct control *control, const struct flow_key *key,
		   const struct flow_record *record);

/*
 * In the loop's thread: all that there is for now of these kinds has been given (exporter_events).  Each kind has banks of
 * its own, which are read at about the same time: clients get them together, in the order of time.
 */
void control_settled(struct control *control, unsigned int kinds);
