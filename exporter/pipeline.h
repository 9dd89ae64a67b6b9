/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * What becomes of metered packets, from whatever source: flow caches merge them until their flow ends, and collectors
 * get a record of it.
 *
 * With a loop, a pass over the caches follows each settled swap.  It is done in slices, so that sockets and the drain
 * never wait for a million flows that end at once.
 */
#include <stdbool.h>
#include <stdint.h>
#include "config/config.h"
#include "exporter/export/export.h"
#include "exporter/meter/cache.h"
#include "exporter/meter/drop_reason.h"
#include "exporter/meter/kernel_clock.h"
#include "exporter/observe/ledger.h"
#include "xdp/flow.h"

struct loop;
struct pipeline;
struct stop;

struct pipeline_options {
	const struct config *config;
	unsigned int kinds;	    /* a bit for each kind of record */
	bool exports;		    /* else there are neither caches nor collectors */
	struct loop *loop;	    /* NULL: the source drives it */
	struct kernel_clock *clock; /* of the packets' times; NULL: a capture's own */
	uint64_t seed;		    /* of the caches' phases; 0: a random one */
	struct drop_reasons *drop_names;
	const struct stop *stop;
	/* A swap has been merged: every packet up to it is in a cache or with the collectors. */
	void (*settled)(void *userdata);
	/* A record leaves a cache for the collectors, with times of the packets' clock. */
	void (*record)(void *userdata, const struct flow *flow);
	/* The pass behind it is over; a bit for each kind that has been settled since the last one. */
	void (*passed)(void *userdata, unsigned int kinds);
	void *userdata;
};

/* -errno, logged. */
int pipeline_new(struct pipeline **ret, const struct pipeline_options *options);
struct pipeline *pipeline_free(struct pipeline *pipeline);
DEFINE_CLEANUP(struct pipeline *, pipeline_free)

/* Notices what was done to the clocks: before packets of the kernel's are given. */
void pipeline_look_at_clock(struct pipeline *pipeline);

/*
 * What another configuration says of caches and collectors, all of it or nothing: -errno, logged, after which all is as it
 * was.  options.config is still the old one.
 */
int pipeline_apply(struct pipeline *pipeline, const struct config *next);

/* Entries of a bank. */
void pipeline_add(struct pipeline *pipeline, enum record_kind kind, const struct flow_key *keys,
		  const struct flow_record *records, uint32_t count);

/* All that happened up to then has been given; begins a pass. */
void pipeline_settle(struct pipeline *pipeline, enum record_kind kind, uint64_t swap_ns);

/* Of a capture, whose packets have times of their own: a packet that came at `now_ns` of the cache's clock. */
void pipeline_add_at(struct pipeline *pipeline, const struct flow_key *key,
		     const struct flow_record *record, uint64_t now_ns);

/* Of a capture: exports what has ended by then, and waits for the collectors to take it. */
void pipeline_expire(struct pipeline *pipeline, uint64_t now_ns);

/* The loop runs no more: what finds no room waits for it. */
void pipeline_block(struct pipeline *pipeline);

/*
 * The end: everything is exported, waiting for collectors that take nothing for `timeout_ns` at most.  -ETIME: there was
 * no time for all of it, which is logged.
 */
int pipeline_flush(struct pipeline *pipeline, uint64_t timeout_ns);

/* NULL: none. */
struct exports *pipeline_exports(const struct pipeline *pipeline);

/* Caches and collectors. */
void pipeline_read(const struct pipeline *pipeline, struct ledger *ret);

/* When the last swap of that kind was that has been settled, by the kernel's clock; 0: none. */
uint64_t pipeline_settled_ns(const struct pipeline *pipeline, enum record_kind kind);
