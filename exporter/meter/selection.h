/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Which of the kernel's interfaces are metered: names and globs against what rtnetlink says of interfaces, one message at
 * a time.  The cost of a message does not depend on how many interfaces there are.  Touches no interface itself.
 *
 * A *target* is what is metered: an interface given by its name, which stays a target when there is none of that
 * name, or one that a glob found.  An interface is one target at most, however many names and globs match.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "exporter/meter/netdev.h"
#include "exporter/util.h"

#define TARGET_NAME_MAX 128 /* ALTIFNAMSIZ of <linux/if.h>, with the 0 */

struct target {
	char name[TARGET_NAME_MAX]; /* as given, maybe an alternative one; of a glob's the interface's own */
	bool named;
	uint32_t ifindex; /* 0: there is no such interface, or it is another target already */
	size_t index;	  /* for selection_get(); changes when others are removed */
	void *data;	  /* the owner's */
};

/* Called by the functions below.  None may call back. */
struct selection_events {
	/* The target has an interface from now on. */
	void (*found)(void *userdata, struct target *target, const struct netdev *dev);
	/* Something of its interface that is in struct netdev changed, maybe the name. */
	void (*changed)(void *userdata, struct target *target, const struct netdev *dev);
	/*
	 * It has none any more, or, if its ifindex is 0, never had one and is no longer asked for.  A target that is not
	 * named is freed after this.
	 */
	void (*lost)(void *userdata, struct target *target);
	/* Other patterns make the interface of one target that of another, a named one; `from` is freed after this. */
	void (*handed)(void *userdata, struct target *from, struct target *to);
};

struct selection;

/* `patterns`: names and globs (fnmatch(3)), which are copied.  -ENOMEM. */
int selection_new(struct selection **ret, const char *const *patterns, size_t count,
		  const struct selection_events *events, void *userdata);

/* Without a call of lost(). */
struct selection *selection_free(struct selection *selection);
DEFINE_CLEANUP(struct selection *, selection_free)

/*
 * Other patterns from now on.  What both mean stays as it is: the target, or handed() if another name means the interface
 * now.  -ENOMEM: nothing has changed; 1: there was no memory for an interface that is meant now, and the next list makes
 * up for it.
 */
int selection_set_patterns(struct selection *selection, const char *const *patterns, size_t count);

/* One block with the strings, NULL behind the last, for free(); NULL: no memory. */
char **selection_copy_patterns(const char *const *patterns, size_t count);

/* As they were given; NULL past the last. */
const char *selection_pattern(const struct selection *selection, size_t index);

/* One message, of a list or of the monitor.  -ENOMEM; the next list makes up for it. */
int selection_update(struct selection *selection, const struct netdev_message *message);

/* A list of all interfaces begins (again): what no selection_update() tells until the end is gone. */
void selection_begin(struct selection *selection);
void selection_end(struct selection *selection);

/* Targets, in no order, those with an interface and those without; NULL past the last. */
struct target *selection_get(const struct selection *selection, size_t index);
size_t selection_count(const struct selection *selection);

/* What is known of an interface, metered or not; NULL: there is none. */
const struct netdev *selection_device(const struct selection *selection, uint32_t ifindex);

/* The target that an interface is; NULL: none. */
const struct target *selection_target(const struct selection *selection, uint32_t ifindex);

/* A VLAN interface is on top of this one.  Looks at all interfaces. */
bool selection_has_vlan(const struct selection *selection, uint32_t ifindex);

bool selection_is_glob(const char *pattern);

/* Whether there is an interface that the glob matches.  Looks at all interfaces. */
bool selection_has_match(const struct selection *selection, const char *glob);
