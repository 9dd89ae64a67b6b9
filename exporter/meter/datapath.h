/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The BPF object: sizes and loads it, flips and reads its banks, reads its counters.  Attaching its
 * programs is the business of hooks.h.  The only file that includes the skeleton is datapath.c.
 */
#include <stdbool.h>
#include <stdint.h>
#include "exporter/meter/features.h"
#include "exporter/util.h"
#include "xdp/flow.h"

enum datapath_program {
	PROGRAM_XDP,
	PROGRAM_TC_EGRESS,
	PROGRAM_TC_INGRESS,
	PROGRAM_TC_EGRESS_BARE, /* link layers without a header */
	PROGRAM_TC_INGRESS_BARE,
	_PROGRAM_HOOK_MAX,
	PROGRAM_DROP = _PROGRAM_HOOK_MAX, /* tracepoints': drops.h attaches them */
	PROGRAM_XDP_EXCEPTION,
	_PROGRAM_MAX,
};

enum drops_wanted {
	DROPS_OFF,
	DROPS_AUTO, /* where the kernel and the privileges allow it; a warning says why they do not */
	DROPS_ON,   /* or datapath_new() fails */
};

struct datapath_options {
	uint32_t bank_entries; /* flows of each of the two banks, at least datapath_entries_min(); 0: no flows */
	uint32_t drop_entries; /* likewise of the banks of drops */
	enum drops_wanted drops;
	uint32_t drops_budget; /* drops that each CPU records by flow, a second; 0: as many as there are */
	bool drops_everywhere; /* in all network namespaces, not in that of the process alone */
	/* DROP_REASON_MAX of them, by drop_reason_pack(): 1 for what is counted and not recorded; NULL: nothing is */
	const uint8_t *drop_excluded;
	const char *
		mask; /* comma-separated feature names ("tcx,xdp-frags") to do without; NULL: none */
};

struct datapath;

/* Smallest bank, of either use: an LRU map with fewer entries per CPU evicts before it is full. */
uint32_t datapath_entries_min(void);

/* Kernel bytes of both banks with that many entries: an estimate, entry and bucket sizes as in kernel/bpf/hashtab.c. */
uint64_t datapath_memory(uint32_t bank_entries);

/*
 * Loads the programs; attaches nothing.  Logs the reason and the fix on failure: -EPERM (privileges),
 * -EOPNOTSUPP (kernel too old), -EINVAL (unknown feature in mask), other -errno.
 */
int datapath_new(struct datapath **ret, const struct datapath_options *options);
struct datapath *datapath_free(struct datapath *datapath);
DEFINE_CLEANUP(struct datapath *, datapath_free)

const struct kernel_features *datapath_features(const struct datapath *datapath);
/* Maps that others read; -1 where drops are not traced. */
enum datapath_map {
	MAP_DROP_COUNTS,
	MAP_XDP_EXCEPTIONS,
};

int datapath_map_fd(const struct datapath *datapath, enum datapath_map map);
int datapath_bank_fd(const struct datapath *datapath, enum bank_use use, unsigned int bank);
int datapath_program_fd(const struct datapath *datapath, enum datapath_program program);

/* For clsact: a stub that calls the program for as long as this process lives.  Not for PROGRAM_XDP. */
int datapath_stub_fd(const struct datapath *datapath, enum datapath_program program);
/* Whose those stubs are, by owner.h; 0 without clsact. */
uint32_t datapath_owner(const struct datapath *datapath);
const char *datapath_program_name(enum datapath_program program);

/*
 * Says that a bond has the XDP program, or has it no more: what the program sees in its members then counts as
 * the bond's.  -errno of the kernel.
 */
int datapath_set_bond(struct datapath *datapath, uint32_t ifindex, bool attached);

/* Which banks there are: a bit for each enum bank_use. */
unsigned int datapath_uses(const struct datapath *datapath);

/* epoll-able ring buffer: readable when a bank passed its high-water mark. */
int datapath_wakeup_fd(const struct datapath *datapath);

/* Empties the ring buffer; a bit for each enum bank_use that was in it. */
unsigned int datapath_wakeup_clear(struct datapath *datapath);

/* The bank in use, 0 or 1. */
unsigned int datapath_active(const struct datapath *datapath, enum bank_use use);

/*
 * Makes the other bank of the pair the active one and returns when no program uses the old one any more (blocks
 * for an RCU grace period, 8 to 30 ms).  *ret_old: the bank that now stands still.
 */
int datapath_swap(struct datapath *datapath, enum bank_use use, unsigned int *ret_old);

/*
 * Reads and deletes up to `max` entries of a bank that stands still.  *ret_count: how many;
 * *ret_done: the bank is empty.  `position` is 0 before the first call and the function's own
 * afterwards.  -errno of the kernel; what was not read stays in the bank.
 */
int datapath_read(struct datapath *datapath, enum bank_use use, unsigned int bank,
		  uint32_t *position, struct flow_key *keys, struct flow_record *records,
		  uint32_t max, uint32_t *ret_count, bool *ret_done);

/* Says that a bank is empty: its fill counter starts at 0 again. */
void datapath_reset_fill(struct datapath *datapath, enum bank_use use, unsigned int bank);

/* Counters of one point, summed over the CPUs. */
int datapath_counts(const struct datapath *datapath, enum flow_point point, struct hook_count *ret);

/* Calls `visit` for each counter of packets in no flow, summed over the CPUs: of each bank by itself. */
typedef void (*datapath_visit)(void *userdata, const struct reason_key *key,
			       const struct reason_count *count);
int datapath_unrecorded(const struct datapath *datapath, datapath_visit visit, void *userdata);
