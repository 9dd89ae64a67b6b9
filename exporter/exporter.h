/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * One exporter: a source of packets (source.h), the pipeline that makes records of them (pipeline.h), and the books on
 * what became of each packet.  The verbs make one, let it run and print what it says.
 *
 * exporter_new(), exporter_start(), exporter_run(), exporter_stop(), exporter_free(), in that order and in one thread.
 */
#include <stdbool.h>
#include <stdint.h>
#include "config/config.h"
#include "exporter/observe/ledger.h"
#include "exporter/util.h"

struct exporter;
struct hooks;
struct kernel_clock;
struct loop;
struct notifier;
struct reload;
struct snapshots;

enum exporter_source {
	SOURCE_KERNEL,	/* hooks on interfaces, and the tracer of drops */
	SOURCE_DROPS,	/* the tracer alone, whose drops are shown and not exported */
	SOURCE_CAPTURE, /* a file, without privileges */
};

/* What its owner may want to know, in the thread of exporter_run(); each may be NULL. */
struct exporter_events {
	/* What a flow or a drop has had since it was last told. */
	void (*delta)(void *userdata, enum record_kind kind, const struct flow_key *key,
		      const struct flow_record *record);
	/*
	 * There is a new snapshot, of all up to the last swaps; bits of `kinds` say which have been swapped since the one
	 * before.  `now_ns` by the kernel's clock.
	 */
	void (*settled)(void *userdata, unsigned int kinds, uint64_t now_ns);
	/* Every few thousand packets of a capture; `position` in octets of the file, UINT64_MAX at the end. */
	void (*progress)(void *userdata, uint64_t packets, uint64_t position);
	/* What exporter_apply() began has come to its end: 0; -errno, logged: all is as it was. */
	void (*applied)(void *userdata, int error);
	/* SIGHUP; NULL: it asks for the end, as SIGTERM does. */
	void (*hangup)(void *userdata);
	void (*report)(void *userdata); /* SIGUSR1; NULL: it does what it does by default */
	/*
	 * In another thread, before the process ends: the end has been asked for, and the thread of exporter_run() has
	 * not come to exporter_free() in time.
	 */
	void (*overdue)(void *userdata);
	void *userdata;
};

/*
 * Loads programs, or opens the capture, and makes the collectors; touches no interface.  Takes over the configuration, also
 * on failure, and leaves `config` empty.  Blocks SIGTERM, SIGINT, SIGHUP and SIGUSR1: call it before there are other threads.
 * -errno, logged.
 *
 * *ret is set before `overdue` may be called, and stays NULL on failure.
 */
int exporter_new(struct exporter **ret, enum exporter_source source, struct config *config,
		 const struct exporter_events *events);

/*
 * Begins to meter, and returns when it does, or when the end is asked for.  -errno, logged: nothing is metered, there is
 * nothing to be stopped.
 */
int exporter_start(struct exporter *exporter);

/* Meters until the end is asked for, by a signal or exporter_end(), or the capture is over.  -errno, logged. */
int exporter_run(struct exporter *exporter);

/* Lets exporter_run() return. */
void exporter_end(struct exporter *exporter);

/*
 * Another configuration, which differs in what a running exporter can take (setting.reload).  The difference is applied, and
 * what is the same is not touched.  Takes the configuration over and leaves `config` empty.
 *
 * 0: it has been; 1: it takes its time, and events.applied() follows; -errno, logged: all is as it was.  -EBUSY: the one
 * before has not come to its end; nothing was taken over.
 */
int exporter_apply(struct exporter *exporter, struct config *config);

/* Looks at once for interfaces and hooks that came or went. */
void exporter_rescan(struct exporter *exporter);

/* Whether the end has been asked for. */
bool exporter_ending(const struct exporter *exporter);

/*
 * Sees packets no more, and exports all that it has seen.  -ETIME, logged: there was no time for all of it.  The
 * snapshot is the last one then.
 */
int exporter_stop(struct exporter *exporter);

struct exporter *exporter_free(struct exporter *exporter);
DEFINE_CLEANUP(struct exporter *, exporter_free)

/*
 * The books of the last settled swap; in the thread of exporter_run(), until the loop runs again.  Every packet up to
 * then is in one place, exactly.
 */
const struct ledger *exporter_snapshot(const struct exporter *exporter);

/*
 * In another thread, when the one of exporter_run() hangs, by whoever may speak: what is known, for ledger_clear().
 * -ENODATA: nothing has been metered; other -errno, logged.
 */
int exporter_snapshot_now(struct exporter *exporter, struct ledger *ret,
			  struct ledger_reasons *ret_reasons);

/*
 * Whether the caller may say the last words: one thread does.  Another one that asks waits until exporter_spoken(), which
 * never comes where the process ends first.
 */
bool exporter_may_speak(struct exporter *exporter);
void exporter_spoken(struct exporter *exporter);

/* stop_deadline_ns() and stop_why() of its end. */
uint64_t exporter_deadline_ns(const struct exporter *exporter);
const char *exporter_why(const struct exporter *exporter);

/*
 * What other threads may show of it: one after each settled swap.  They are gone before exporter_free() is called.  NULL:
 * there are none, of a capture.
 */
struct snapshots *exporter_snapshots(const struct exporter *exporter);

/* Whose counters snapshots show; NULL: nobody's any more. */
void exporter_show_reloads(struct exporter *exporter, const struct reload *reload);

/* Its parts, for who shows them. */
const struct config *exporter_config(const struct exporter *exporter);
struct loop *exporter_loop(const struct exporter *exporter); /* NULL: of a capture */
struct notifier *exporter_notifier(struct exporter *exporter);
const struct hooks *exporter_hooks(const struct exporter *exporter); /* NULL: none yet */
bool exporter_traces_drops(const struct exporter *exporter);
const struct kernel_clock *exporter_clock(const struct exporter *exporter);
struct drop_reasons *exporter_drop_names(const struct exporter *exporter);
