/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Where the packets come from that the pipeline (pipeline.h) makes records of: programs in the kernel, or a capture.  A
 * source meters: it knows packets, and nothing of caches, records and collectors.
 */
#include <stdbool.h>
#include "config/config.h"
#include "exporter/meter/kernel_clock.h"
#include "exporter/observe/ledger.h"

struct exporter_events;
struct loop;
struct pipeline;
struct source;
struct stop;

struct source_options {
	const struct config *config; /* the exporter's, which reloads change */
	struct loop *loop;	     /* NULL: a capture needs none */
	struct stop *stop;
	bool flows; /* else drops alone */
	/* What a flow or a drop has had since it was last told: exporter_events.delta(). */
	void (*delta)(void *userdata, enum record_kind kind, const struct flow_key *key,
		      const struct flow_record *record);
	/* What source_ops.prepare() began has ended: 0, or -errno, logged. */
	void (*prepared)(void *userdata, int error);
	/* All of what source_ops.apply() or cancel() began has. */
	void (*settled)(void *userdata);
	void *userdata;
	const struct exporter_events *events;
};

struct source_ops {
	/* Begins to see packets, for the pipeline; returns when it does, or the end is asked for.  -errno, logged. */
	int (*start)(struct source *s, struct pipeline *pipeline);
	/* Gives packets until there are no more, or the end is asked for.  -errno, logged. */
	int (*run)(struct source *s);
	/*
	 * Another configuration, in two steps.  prepare() makes what may fail or takes time, without changing anything: 1,
	 * and prepared() follows; 0: there is nothing to prepare; -errno, logged.  Then apply() does the rest: 1, and
	 * settled() follows; 0: it has.  Or cancel() goes back, likewise.  NULL: the source cannot be changed.
	 */
	int (*prepare)(struct source *s, const struct config *next);
	int (*apply)(struct source *s, const struct config *next);
	int (*cancel)(struct source *s);
	/* Sees no packet from here on.  All that was seen is in the pipeline when it returns. */
	void (*finish)(struct source *s);
	/*
	 * What it has counted up to the last swap; `final`: what is still in a bank cannot be read any more.
	 * The rest of the ledger stays as it is.
	 */
	void (*read)(const struct source *s, struct ledger *ret, struct ledger_reasons *ret_reasons,
		     bool final);
	/* In another thread, when the main one hangs: what it has counted by now.  -errno: that is not known. */
	int (*read_now)(const struct source *s, struct ledger *ret,
			struct ledger_reasons *ret_reasons);
	struct source *(*free)(struct source *s);
};

/* The first member of each. */
struct source {
	const struct source_ops *ops;
	unsigned int kinds;		 /* a bit for each kind of record that it meters */
	struct kernel_clock *clock;	 /* of its times; NULL: a capture's own */
	struct drop_reasons *drop_names; /* NULL: it meters no drops */
	bool drops;			 /* they are traced */
	struct hooks *hooks;		 /* NULL: none, or none yet */
	struct meter *const *meters; /* by kind, NULL of what is not metered; NULL: it is a capture */
};

/* Loads the programs; touches no interface.  -errno, logged. */
int kernel_source_new(struct source **ret, const struct source_options *options);

/* Opens the capture.  -errno, logged. */
int capture_source_new(struct source **ret, const struct source_options *options);

static inline struct source *source_free(struct source *s)
{
	return s ? s->ops->free(s) : NULL;
}
DEFINE_CLEANUP(struct source *, source_free)
