/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The kinds of records, one descriptor each: the BPF object that meters it, and what differs between them.  datapath.c,
 * drain.c and meter.c are the same for all of them, and so are the pipeline and the ledger.  A new kind is a file like
 * flow_kind.c and its program.
 *
 * An object includes xdp/account.bpf.h and thereby has two banks, counters and a state of its own.
 */
#include "exporter/meter/datapath.h"
#include "xdp/flow.h"

struct bpf_object;
struct bpf_object_skeleton;

/* An object of some kind, opened and perhaps loaded. */
struct kind_object {
	void *own; /* the kind's skeleton */
	int btf;   /* what libbpf reads in place of the kernel's BTF; -1: nothing */
	struct bpf_object_skeleton *skeleton;
	struct bpf_object *object;
	struct datapath_config *config;	  /* to be written before load */
	struct datapath_state *state;	  /* from load on */
	struct drop_selection *selection; /* likewise, of drops; NULL of other kinds */
};

/* Programs that this kind's object may have, see datapath_stub_fd(). */
struct kind_program {
	enum datapath_program program;
	const char *name;
	const char *stub; /* stays attached when another object takes over; NULL: there is none */
};

struct kind {
	const char *name;	   /* "flow" */
	const char *capabilities;  /* that loading needs: "CAP_BPF and CAP_PERFMON" */
	const char *const *points; /* names, by index */
	unsigned int point_count;  /* POINTS_MAX at most */
	const struct kind_program *programs;
	size_t program_count;
	/* Settings (config/schema.h) that say how much there is room for, by the option's name. */
	const char *bank_setting;  /* entries of each bank: "bank-entries" */
	const char *cache_setting; /* entries of the cache: "cache-entries" */
	bool lingers; /* FIN or RST ends a flow, after the linger time; else it is the idle timeout alone */
	const char *const *
		shared; /* maps that an object has in common with the one whose place it takes; ends with NULL */

	/*
	 * Opens the object and sets all but the sizes of the banks.  `like`: has its place, and knows the kernel; NULL:
	 * none.  -errno; *ret_why: why it cannot be had, where that is known.  What was opened is in *ret in any case.
	 */
	int (*open)(struct kind_object *ret, const struct datapath_options *options,
		    const struct kernel_features *features, const struct datapath_config *like,
		    const char **ret_why);
	void (*close)(struct kind_object *object);

	/* Logs that the object could not be had; `why` is NULL where only the number is known. */
	void (*log_failure)(const struct datapath_options *options, int error, const char *why);
};

const struct kind *kind_get(enum record_kind kind);

/* The descriptors. */
extern const struct kind flow_kind;
extern const struct kind drop_kind;
