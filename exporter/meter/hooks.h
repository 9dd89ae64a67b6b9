/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Interfaces and their hooks: chooses XDP, tcx or clsact for each, attaches, notices what comes, goes
 * or was detached by others, and says what it did and why.  Never replaces a foreign program.
 *
 * The kernel takes 10 to 30 ms to attach or detach a tcx link (an RCU grace period, under the lock of all
 * interfaces), so all of that is done by a thread of its own, which owns the interfaces, their hooks and the kernel's
 * counters of them.  It hands over copies; what the loop's thread asks of it is left for it to find, and neither waits
 * for the other before the end.
 */
#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "exporter/meter/datapath.h"

struct ifstats;
struct loop;
struct hooks;

enum hook_mode {
	HOOK_MODE_AUTO, /* ingress: XDP where that is wise, else TC; egress: TC */
	HOOK_MODE_XDP,
	HOOK_MODE_TC,
	HOOK_MODE_OFF,
};

struct hooks_options {
	struct datapath *datapath;
	struct loop *loop;
	const char *const *interfaces; /* names and globs (fnmatch(3)); copied */
	size_t interface_count;
	enum hook_mode ingress;
	enum hook_mode egress; /* HOOK_MODE_XDP does not exist here */

	/*
	 * Once, in the loop's thread, when every interface that was there at the start has been tried.  0; -ENODEV: not one
	 * could be attached though one was named (globs alone may match nothing yet), each was logged with its reason; other
	 * -errno, logged: the interfaces cannot be listed.  Not called after hooks_stop().
	 */
	void (*tried)(void *userdata, int result);
	/* In the loop's thread, after hooks_stop(), when no hook counts packets any more. */
	void (*detached)(void *userdata);
	/*
	 * In the loop's thread, when every interface that the newest hooks_apply() touches has been tried, which come before
	 * all others that wait for it; what came of it was logged, and hooks_get() shows it.  NULL: nobody wants to know.
	 * Not called after hooks_stop().
	 */
	void (*applied)(void *userdata);
	/*
	 * In the loop's thread, when each link runs the programs of this datapath, the newest of hooks_set_datapath(), and no
	 * packet begins with those of another there.  Who began is through after an RCU grace period, which is not waited for.
	 * clsact filters run those of who has the stubs: datapath_take_stubs().
	 * NULL: hooks_set_datapath() is not used.  Not called after hooks_stop().
	 */
	void (*moved)(void *userdata, struct datapath *datapath);
	void *userdata;
};

enum hook_kind {
	HOOK_NONE,
	HOOK_XDP,    /* native, by bpf_link */
	HOOK_TCX,    /* by bpf_link */
	HOOK_CLSACT, /* filter with a stub that ends with the process */
};

/* Why an attempt to attach a hook failed. */
enum hook_error {
	HOOK_ERROR_DESCRIPTORS, /* none is left to the process, or to the system */
	HOOK_ERROR_MEMORY,	/* the kernel has none for it */
	HOOK_ERROR_PERMISSION,
	HOOK_ERROR_HELD,	/* by another program, or by a qdisc that has no place for it */
	HOOK_ERROR_UNSUPPORTED, /* by the driver or the kernel */
	HOOK_ERROR_REFUSED,	/* by the driver or the kernel, which support it */
	HOOK_ERROR_LINK_TYPE,	/* its frames are not understood */
	HOOK_ERROR_OTHER,
	_HOOK_ERROR_MAX
};

#define HOOKS_NAME_MAX	 128 /* an alternative name may be as long */
#define HOOKS_REASON_MAX 384

#define HOOKS_OBSTACLE_MAX 128

struct hooks_interface {
	char name[HOOKS_NAME_MAX]; /* by which it is metered, maybe an alternative one */
	char device[IFNAMSIZ];	   /* its own */
	uint32_t ifindex;	   /* 0: does not exist */
	enum hook_kind ingress;
	enum hook_kind egress;
	bool attached; /* all hooks that are wanted are there; what is there meters in any case */
	char reason[HOOKS_REASON_MAX]; /* attached: why this ingress hook; else why one is missing */
	/*
	 * Attempts that failed, since the interface is known, by direction and enum hook_error.  An interface that went away
	 * meanwhile is no failure, nor is XDP that --ingress auto does without.
	 */
	uint32_t attach_errors[_DIRECTION_MAX][_HOOK_ERROR_MAX];
	/* What may keep packets from a hook that is there (obstacle.h); empty: nothing is known to. */
	char obstacles[_DIRECTION_MAX][HOOKS_OBSTACLE_MAX];
};

/* Starts the thread, which begins to attach to every interface that matches and logs each decision.  -errno, logged. */
int hooks_new(struct hooks **ret, const struct hooks_options *options);

struct hooks_change {
	const char *const *interfaces; /* all that are wanted: names and globs (fnmatch(3)) */
	size_t interface_count;
	enum hook_mode ingress;
	enum hook_mode egress; /* HOOK_MODE_XDP does not exist here */
};

/* Copies what hooks_apply() is to do, and changes nothing; of two calls in a row the second counts.  -ENOMEM. */
int hooks_prepare(struct hooks *hooks, const struct hooks_change *change);

/*
 * Other interfaces and modes from now on: those of the last hooks_prepare(), once; it cannot fail.  Waits for nothing; of two
 * calls in a row the first may never be seen.
 *
 * An interface that is wanted before and after keeps the hooks that the new modes would choose too: the same link, not one
 * packet unseen.  One that is wanted no more is detached, and its counters stay (hooks_ifstats()).  Another kind of
 * ingress hook comes in the place of the old one, so that no packet is counted twice: from TC to XDP it is not metered for
 * as long as the kernel takes to attach, from XDP to TC for some 20 ms more.  --ingress auto decides anew where the
 * mode was another.
 */
void hooks_apply(struct hooks *hooks);

/*
 * All hooks, and those that come, run the programs of this datapath from now on, which replaces the old one (its option).
 * Waits for nothing: moved() says when it is done, and the old one must stay until then.  Links stay the same, and each
 * packet meets one of the two programs.  A link that cannot be moved is detached and attached anew, which is logged.  Of two
 * calls in a row the first may never be seen, and has no moved().
 */
void hooks_set_datapath(struct hooks *hooks, struct datapath *datapath);

/* Looks at once for interfaces and hooks that came or went, and tries again what failed.  Does not wait for it. */
void hooks_rescan(struct hooks *hooks);

/*
 * Detaches everything, without waiting for it: the loop goes on, so that what is still counted is drained; detached()
 * says when no packet is counted any more, which takes milliseconds, after what the thread is doing for one
 * interface.  tcx links do nothing from then on, and are detached one by one.
 */
void hooks_stop(struct hooks *hooks);

/*
 * Waits until no hook counts packets any more.  Links that are not detached by then are so at the end of the process: for
 * a thousand tcx links the kernel takes 10 to 30 s.
 */
struct hooks *hooks_free(struct hooks *hooks);
DEFINE_CLEANUP(struct hooks *, hooks_free)

/*
 * Interfaces that are or should be attached, in no order; NULL past the last.  As they were when the loop was last told,
 * a second late at most; stays until the loop runs again.
 */
const struct hooks_interface *hooks_get(const struct hooks *hooks, size_t index);

/* All of these as they were then, which nobody changes any more. */
struct hooks_view {
	unsigned int holders; /* atomic */
	size_t count;
	struct hooks_interface interfaces[];
};

/* One of so many interfaces, all 0, held by the caller, who fills it and then lets others hold it.  NULL: no memory. */
struct hooks_view *hooks_view_new(size_t count);

/* Another holder, in any thread. */
const struct hooks_view *hooks_view_hold(const struct hooks_view *view);

/* In any thread; the last holder frees it. */
const struct hooks_view *hooks_view_release(const struct hooks_view *view);
DEFINE_CLEANUP(const struct hooks_view *, hooks_view_release)

/* What hooks_get() is from, for who wants to hold it longer.  NULL: nothing is known yet. */
const struct hooks_view *hooks_newest(const struct hooks *hooks);

/* At least one hook of it is there. */
bool hooks_interface_meters(const struct hooks_interface *interface);

/*
 * The kernel's counters of the interfaces, for which the same holds; a sample is taken every 5 seconds, and a last one
 * before detached().  Whoever wants it for longer holds it (ifstats_hold()); nobody does yet within detached().
 */
struct ifstats *hooks_ifstats(const struct hooks *hooks);

const char *hook_kind_name(enum hook_kind kind);

/* "descriptors", ...: of the metrics. */
const char *hook_error_name(enum hook_error error);
