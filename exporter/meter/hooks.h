/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Interfaces and their hooks: chooses XDP, tcx or clsact for each, attaches, notices what comes, goes
 * or was detached by others, and says what it did and why.  Never replaces a foreign program.
 */
#include <stdbool.h>
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
	struct ifstats *
		ifstats; /* told of what is attached and detached, and read now and then; must stay */
	const char *const *interfaces; /* names and globs (fnmatch(3)); must stay */
	size_t interface_count;
	enum hook_mode ingress;
	enum hook_mode egress; /* HOOK_MODE_XDP does not exist here */
};

enum hook_kind {
	HOOK_NONE,
	HOOK_XDP,    /* native, by bpf_link */
	HOOK_TCX,    /* by bpf_link */
	HOOK_CLSACT, /* filter with a stub that ends with the process */
};

struct hooks_interface {
	const char *name;
	uint32_t ifindex; /* 0: does not exist */
	enum hook_kind ingress;
	enum hook_kind egress;
	const char *reason; /* why this ingress hook, or why none of them */
	bool attached;
};

/*
 * Attaches to every interface that matches; logs each decision and each failure.  -ENODEV when not one
 * interface could be attached though one was named (globs alone may match nothing yet).
 */
int hooks_new(struct hooks **ret, const struct hooks_options *options);

/* Looks at once for interfaces and hooks that came or went.  -errno (logged) when they cannot be listed. */
int hooks_rescan(struct hooks *hooks);

/* Detaches everything; to `ifstats` it all stays attached, for a last ifstats_read(). */
struct hooks *hooks_free(struct hooks *hooks);
DEFINE_CLEANUP(struct hooks *, hooks_free)

/* Interfaces that are or should be attached, in no order; NULL past the last. */
const struct hooks_interface *hooks_get(const struct hooks *hooks, size_t index);

const char *hook_kind_name(enum hook_kind kind);
