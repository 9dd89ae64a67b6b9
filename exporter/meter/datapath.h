/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * One loaded BPF object of some kind of records (kind.h): its two banks, which are flipped and read, its counters, its
 * programs.  Attaching these is the business of hooks.h and drop_tracer.h.
 *
 * An object can take the place of another one while packets come: see datapath_options.replaces.
 */
#include <stdbool.h>
#include <stdint.h>
#include "exporter/meter/features.h"
#include "exporter/util.h"
#include "xdp/flow.h"

/* Which drops are recorded by flow; all others are counted alone. */
struct drop_filter {
	uint32_t budget; /* drops that each CPU records, a second; 0: as many as there are */
	bool everywhere; /* in all network namespaces, not in that of the process alone */
	uint8_t excluded[DROP_REASON_MAX]; /* by drop_reason_pack(): 1 for what is not recorded */
};

struct datapath_options {
	enum record_kind kind;
	uint32_t entries; /* of each of the two banks, at least datapath_entries_min() */
	const struct drop_filter *drops; /* of drops; NULL: all of this namespace */
	bool optional; /* a failure is logged as a warning: there is something to do without */
	const struct kernel_features *features; /* of another datapath; NULL: are probed */
	const char *
		mask; /* of those that are probed: comma-separated names ("tcx,xdp-frags") to do without; NULL: none */
	/*
	 * The datapath of the same kind whose place this one is to take, which must live until it has been loaded.  It
	 * knows the kernel, so that features and mask are not looked at, and gives what stays: what is attached by
	 * datapath_stub_fd(), and its owner.  NULL: none.
	 */
	const struct datapath *replaces;
};

struct datapath;

/* Smallest bank: an LRU map with fewer entries per CPU evicts before it is full. */
uint32_t datapath_entries_min(void);

/* Kernel bytes of both banks with that many entries: an estimate, entry and bucket sizes as in kernel/bpf/hashtab.c. */
uint64_t datapath_memory(uint32_t bank_entries);

/* New flows that one of its banks takes between two swaps, before it refuses. */
uint32_t datapath_limit(const struct datapath *datapath);

/*
 * Loads the programs; attaches nothing.  Logs the reason and the fix on failure: -EPERM (privileges), -EOPNOTSUPP
 * (kernel too old), -EINVAL (unknown feature in mask, bank too small), -ENOMEM and -E2BIG (bank too large), other
 * -errno.  May be called in any thread.
 */
int datapath_new(struct datapath **ret, const struct datapath_options *options);
struct datapath *datapath_free(struct datapath *datapath);
DEFINE_CLEANUP(struct datapath *, datapath_free)

enum record_kind datapath_kind(const struct datapath *datapath);
const struct kernel_features *datapath_features(const struct datapath *datapath);

/* Of a map, by its name in the program; -errno where this kind has none of that name. */
int datapath_map_fd(const struct datapath *datapath, const char *name);
int datapath_bank_fd(const struct datapath *datapath, unsigned int bank);
int datapath_program_fd(const struct datapath *datapath, enum datapath_program program);

/* Calls `visit` for each program that was loaded, with its name and the kernel's tag: BPF_TAG_SIZE octets of a hash. */
#define DATAPATH_TAG_OCTETS 8
typedef void (*datapath_program_visit)(void *userdata, const char *name,
				       const uint8_t tag[DATAPATH_TAG_OCTETS]);
void datapath_visit_programs(const struct datapath *datapath, datapath_program_visit visit,
			     void *userdata);

/*
 * What stays attached when another datapath takes over: a stub that calls the program through an array (or, where there
 * is nothing to take over, the program itself).  The array lives as long as a datapath that has it, in this process: a
 * stub that is left behind does nothing.  For tracepoints and clsact; PROGRAM_XDP has none.
 */
int datapath_stub_fd(const struct datapath *datapath, enum datapath_program program);

/*
 * From now on the stubs call this datapath's programs, each from one packet to the next.  Those that nothing can hold, for
 * clsact where the kernel has tcx, are left alone.  -errno of the kernel.
 */
int datapath_take_stubs(const struct datapath *datapath);

/* Takes over what the programs of flows have learned: bonds, and what makes them look closer at packets. */
void datapath_inherit(struct datapath *datapath, const struct datapath *from);

/* Whose stubs of clsact these are, by owner.h; 0 without clsact. */
uint32_t datapath_owner(const struct datapath *datapath);
const char *datapath_program_name(enum datapath_program program);

/*
 * Says that a bond has the XDP program, or has it no more: what the program sees in its members then counts as
 * the bond's, also in a datapath that takes over, where it is to be said before the link gets that one's program.
 * -errno of the kernel.
 */
int datapath_set_bond(struct datapath *datapath, uint32_t ifindex, bool attached);

/* At any time; no drop waits for it. */
void datapath_set_drop_filter(struct datapath *datapath, const struct drop_filter *filter);

/* epoll-able ring buffer: readable when a bank passed its high-water mark. */
int datapath_wakeup_fd(const struct datapath *datapath);

/* Empties the ring buffer; whether there was something in it. */
bool datapath_wakeup_clear(struct datapath *datapath);

/* The bank in use, 0 or 1. */
unsigned int datapath_active(const struct datapath *datapath);

/*
 * Makes the other bank the active one and returns when no program uses the old one any more (blocks
 * for an RCU grace period, 8 to 30 ms).  *ret_old: the bank that now stands still.
 */
int datapath_swap(struct datapath *datapath, unsigned int *ret_old);

/*
 * Reads and deletes up to `max` entries of a bank that stands still.  *ret_count: how many;
 * *ret_done: the bank is empty.  `position` is 0 before the first call and the function's own
 * afterwards.  -errno of the kernel; what was not read stays in the bank.
 */
int datapath_read(struct datapath *datapath, unsigned int bank, uint32_t *position,
		  struct flow_key *keys, struct flow_record *records, uint32_t max,
		  uint32_t *ret_count, bool *ret_done);

/* Says that a bank is empty: its fill counter starts at 0 again. */
void datapath_reset_fill(struct datapath *datapath, unsigned int bank);

/* Counters of one point of the kind, summed over the CPUs. */
int datapath_counts(const struct datapath *datapath, unsigned int point, struct hook_count *ret);

/*
 * Calls `visit` for each counter of packets in no flow, summed over the CPUs: of each bank by itself.  Entries that come
 * meanwhile may be missed.
 */
typedef void (*datapath_visit)(void *userdata, const struct reason_key *key,
			       const struct reason_count *count);
int datapath_unrecorded(const struct datapath *datapath, datapath_visit visit, void *userdata);
