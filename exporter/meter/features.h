/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* What of the kernel is used where it is there. */
#include <stdbool.h>
#include <stddef.h>

/* What the running kernel can do; probed once at start.  Each can be masked, to test the fallback. */
struct kernel_features {
	bool tcx;	/* bpf_link on the tc hook, 6.6 */
	bool xdp_frags; /* multi-buffer XDP, 5.18 */
};

/*
 * Logs and refuses (-EOPNOTSUPP) a kernel without what flowtally needs, each feature by its name and the Linux it came
 * with; it is tried, since distributions carry features to older kernels.  `mask`: comma-separated names of what to do
 * without ("tcx,xdp-frags", and to test the refusal "batch,ringbuf,xdp-link,coarse-clock,fetch"), or NULL; -EINVAL for
 * an unknown one, logged.  tcx is assumed: features_probe_tcx().
 */
int features_probe(struct kernel_features *ret, const char *mask);

/* With a loaded program of type tc; what is masked stays so. */
void features_probe_tcx(struct kernel_features *features, int program);

/* One feature of the kernel, as it was tried. */
struct feature {
	const char *name;  /* that masks it: "tcx" */
	const char *what;  /* "BPF ring buffers" */
	const char *since; /* the Linux it came with, "5.8" */
	bool needed;	   /* there is no doing without */
	bool masked;
	int error; /* 0: it is there; -EPERM: it may not be tried; other -errno: it is not */
};

#define FEATURES_MAX 8

/* Tries all that is used, the same way, and logs nothing; an unknown name in the mask is passed over.  How many. */
size_t features_list(struct feature ret[FEATURES_MAX], const char *mask);
