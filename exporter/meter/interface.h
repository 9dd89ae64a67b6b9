/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The hooks of one interface: chooses them, attaches what is missing, says why, and looks whether they are still there.
 * The two hooks do not depend on each other: one that fails is tried again by itself, what is attached stays and meters.
 * Belongs to the thread of hooks.c.
 */
#include "exporter/meter/backoff.h"
#include "exporter/meter/descriptors.h"
#include "exporter/meter/hook.h"
#include "exporter/meter/hooks.h"
#include "exporter/meter/selection.h"

struct interface {
	struct hooks_interface view;
	bool bare;
	bool lost; /* a hook was found detached */
	bool short_of_descriptors;
	char why[HOOKS_REASON_MAX];	/* why this ingress hook */
	char failure[HOOKS_REASON_MAX]; /* last failure logged; empty: none */
	enum hook_mode mode;		/* by which the ingress hook was chosen */
	struct hook ingress;
	struct hook egress;
	struct hook silenced; /* an ingress TC hook, while XDP is tried in its place */
	struct backoff retry;
	struct interface *next, *previous; /* in the queue of hooks.c, as these two */
	bool queued;
	bool awaited;
};

/* What all interfaces have in common. */
struct interface_context {
	struct datapath *datapath;
	enum hook_mode ingress;
	enum hook_mode egress;
	struct ifstats *ifstats; /* told of what is attached and detached */
	const struct selection *selection;
	struct descriptors descriptors;
	int idle; /* program for hooks that are to do nothing; -1: none */
};

void interface_init(struct interface *i, const struct target *target);

/*
 * Detaches hooks that the modes do not want any more and attaches the wanted ones that are missing.  Logs what changed by
 * that: success, or a reason that is another than the last time.  i->view.attached says whether all are there; i->retry
 * when to try again.
 */
void interface_attach(struct interface *i, struct interface_context *context,
		      const struct netdev *dev, uint64_t now_ns);

/* The modes of the context have changed, and something of this interface is to be looked at: interface_attach() does. */
bool interface_differs(const struct interface *i, const struct interface_context *context);

/*
 * The context has another datapath: the hooks run its programs from now on.  Returns how many could not be moved: they are
 * detached, which is logged, and are to be attached anew.
 */
unsigned int interface_move(struct interface *i, struct interface_context *context);

/* Drops hooks that others detached.  True: there were some, or something is due to be tried again. */
bool interface_check(struct interface *i, struct interface_context *context, uint64_t now_ns);

/* The hooks do nothing from now on; they are still to be detached. */
void interface_silence(struct interface *i, struct interface_context *context);

void interface_detach(struct interface *i, struct interface_context *context);

/* Logs once why an interface has no hooks, and puts that into its view. */
void interface_failed(struct interface *i, const char *format, ...) _printf_(2, 3);

/* At least one hook is there. */
bool interface_meters(const struct interface *i);

/* How many descriptors the hooks of an interface take. */
uint64_t interface_descriptors(const struct interface_context *context);
