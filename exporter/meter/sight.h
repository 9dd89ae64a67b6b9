/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * What the hooks see, by interface and direction, held against the kernel's own counters of the same interfaces
 * (ifstats.h).  A hook that sees nothing of what the kernel counts there is named, with what keeps packets from it
 * where that can be found: a filter in front, a kind of device whose packets do not pass its hooks.
 *
 * The two count at other points (docs/metering.md), so that nothing is said of a difference, only of silence.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "exporter/meter/hooks.h"
#include "exporter/util.h"
#include "xdp/flow.h"

struct ifstats;
struct meter;

/* So many packets of the kernel's make a window, in at least so many samples: less may be chance. */
#define SIGHT_PACKETS 20
#define SIGHT_SAMPLES 2

/* One comparison: both counters, since any beginning. */
struct sight_sample {
	uint64_t kernel; /* packets, by the kernel */
	uint64_t seen;	 /* packets, by the hook */
	uint64_t sampled_ns; /* CLOCK_MONOTONIC: all that the kernel counted until then is in `kernel` */
	uint64_t drained_ns; /* likewise of `seen`: the last swap that has been merged */
};

/* Compares from window to window: full when the kernel has counted enough, closed when that has been drained. */
struct sight_watch {
	bool begun;
	struct sight_sample begin;
	uint64_t last_kernel;
	unsigned int samples; /* of the window in which the kernel's counter grew */
	uint64_t full_ns;     /* 0: not full yet */
	uint64_t full_kernel; /* packets */
};

enum sight_verdict {
	SIGHT_UNDECIDED, /* no window was closed, or as much was seen as proves neither */
	SIGHT_NONE,	 /* nothing was seen */
	SIGHT_FEW,	 /* less than a tenth */
	SIGHT_SEES,	 /* half at least */
};

/* What a closed window held. */
struct sight_window {
	uint64_t kernel; /* packets */
	uint64_t seen;	 /* packets */
	uint64_t ns;	 /* its length */
};

/* `ret` is written with each verdict but SIGHT_UNDECIDED. */
enum sight_verdict sight_compare(struct sight_watch *watch, const struct sight_sample *sample,
				 struct sight_window *ret);

/* One direction of one interface. */
struct sight_side {
	enum hook_kind hook;
	uint64_t accounted;  /* packets in flows */
	uint64_t unrecorded; /* packets ignored and refused */
	bool hidden;	     /* the kernel counts packets that the hook does not see */
	const char *reason;  /* likely, of the last time; before that that none is known */
};

struct sight_interface {
	uint32_t ifindex;
	struct sight_side sides[_DIRECTION_MAX];
};

struct sight;

int sight_new(struct sight **ret);

/*
 * For sight_get() alone: what is known of these interfaces.  Small, since each snapshot has one: under 400 octets for an
 * interface, and a reason where one was found.  -ENOMEM.
 */
int sight_copy(struct sight **ret, const struct sight *sight, const struct ifstats *stats);
struct sight *sight_free(struct sight *sight);
DEFINE_CLEANUP(struct sight *, sight_free)

/*
 * Room for all these interfaces and as many more; what no interface is any more goes.  Allocates when there are more than
 * before; failing that, those beyond are not compared.
 */
void sight_make_room(struct sight *sight, const struct ifstats *stats);

/* Counts what was drained from the banks of flows.  Allocates nothing. */
void sight_account(struct sight *sight, const struct flow_key *keys,
		   const struct flow_record *records, uint32_t count);

struct sight_sources {
	const struct meter *meter; /* of flows */
	const struct hooks *hooks;
	const struct ifstats *ifstats;
	uint64_t drained_ns; /* CLOCK_MONOTONIC of the last swap that was accounted */
};

/* Compares if there is a new sample of the kernel's counters; logs which hooks are silent, and when that is over. */
void sight_look(struct sight *sight, const struct sight_sources *sources);

/* For the end: takes what was ignored and refused by the last swaps. */
void sight_settle(struct sight *sight, const struct meter *meter);

/* Found silent, or nothing was seen at all while the kernel counted `kernel` packets. */
bool sight_is_hidden(const struct sight_side *side, uint64_t kernel);

/* NULL: nothing is known of it. */
const struct sight_interface *sight_get(const struct sight *sight, uint32_t ifindex);
