/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* The system calls of sandbox.h, a filter of seccomp(2).  docs/security.md has the same list, which a test compares. */
#include "exporter/sandbox.h"

/*
 * From here on all threads, and those to come, are left with what `uses` (enum sandbox_use, bits) needs; in the way of `mode`,
 * which is not SANDBOX_OFF.  -errno, logged: they can do all as before.
 */
int sandbox_calls_confine(enum sandbox_mode mode, unsigned int uses);
