/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The tracer of drops: whether this kernel can have it, and its link.  It sees every packet that the
 * kernel frees as dropped (kfree_skb) and never touches one; its link ends with the process.  Linked is the stub, so
 * that the link stays when another datapath takes over.
 */
#include <stdbool.h>
#include <stdint.h>
#include "exporter/util.h"
#include "xdp/flow.h"

struct datapath;
struct drop_tracer;

/* What the tracer is told of the kernel it runs on. */
struct drop_tracer_kernel {
	bool xdp_exception;	/* there is such a tracepoint */
	bool socket;		/* the tracepoint also gives the receiving socket (6.11) */
	uint32_t own_namespace; /* inode of the network namespace of this process; 0: unknown */
	/* See struct datapath_config; unknown where /proc/kallsyms is closed (CAP_SYSLOG opens it). */
	struct code_range release;
	struct code_range release_list;
	uint32_t not_specified;
};

/*
 * 0, or -EOPNOTSUPP: the kernel has no BTF, or gives no reason for a drop (before 5.17); *ret_why says
 * so.
 */
int drop_tracer_probe(struct drop_tracer_kernel *ret, const char **ret_why);

/* Attaches; the stub stays when the datapath is freed, and does nothing then.  -errno of the kernel. */
int drop_tracer_new(struct drop_tracer **ret, const struct datapath *datapath);

/* Detaches. */
struct drop_tracer *drop_tracer_free(struct drop_tracer *drops);
DEFINE_CLEANUP(struct drop_tracer *, drop_tracer_free)

/*
 * Calls `visit` for each reason for which packets were dropped with that bank in use since load, summed over the CPUs.
 * Nothing of other kinds than drops.  -errno.
 */
typedef void (*drop_tracer_visit)(void *userdata, uint16_t reason, const struct drop_count *count);
int drop_tracer_counts(const struct datapath *datapath, unsigned int bank, drop_tracer_visit visit,
		       void *userdata);

/*
 * Frames that XDP programs of this namespace's interface lost since load: aborted, or a failed redirect or
 * transmission (tracepoint xdp:xdp_exception), anybody's programs.  0 where drops are not traced.
 */
uint64_t drop_tracer_xdp_exceptions(const struct datapath *datapath, uint32_t ifindex);

/*
 * Drops of which the program saw nothing, since load: one that happens on a CPU while the program is busy
 * there with another.  *ret unchanged on failure: -errno.
 */
int drop_tracer_missed(const struct datapath *datapath, uint64_t *ret);
