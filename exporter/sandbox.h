/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * What the process may do, as little as its work needs: capabilities by thread (capabilities(7)), system calls
 * (seccomp(2)), and files (landlock(7)).  There is one for the process, so that it has no object.
 *
 * sandbox_begin() before there are other threads; sandbox_enter() when all is open that needs more.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum sandbox_mode {
	SANDBOX_OFF,
	SANDBOX_ON, /* a call that is not on the list fails with ENOSYS, as on a kernel that does not know it */
	SANDBOX_KILL, /* it ends the process (SIGSYS) */
};

/* Capabilities that a thread keeps, a bit for each (CAP_*). */
#define SANDBOX_NOTHING	  0ull
#define SANDBOX_CAP(name) (1ull << (name))
/* To load programs, to attach them, and to give them the pointers that the parser needs. */
#define SANDBOX_METERING \
	(SANDBOX_CAP(CAP_BPF) | SANDBOX_CAP(CAP_NET_ADMIN) | SANDBOX_CAP(CAP_PERFMON))

/* What the process does beside reading files and writing to what is open: bits. */
enum sandbox_use {
	SANDBOX_FILES = 1,   /* makes, changes and removes files */
	SANDBOX_NETWORK = 2, /* sends, and answers who connects */
	SANDBOX_KERNEL = 4,  /* loads and attaches programs, and asks for interfaces */
};

struct sandbox_options {
	enum sandbox_mode mode;
	unsigned int uses;
	/* Files, and folders, each with all that is in it; what does not exist is left out. */
	const char *const *readable;
	size_t readable_count;
	const char *const *writable; /* files may be made, changed and removed there */
	size_t writable_count;
	const char *removable; /* a folder; files may be removed there, and no more; NULL: none */
};

/*
 * From here on: no core files, no new privileges (PR_SET_NO_NEW_PRIVS), and threads of thread_start() are confined as
 * they begin.  What the kernel does not have is left out, with a line in the log.  -errno, logged: nothing is confined.
 */
int sandbox_begin(const struct sandbox_options *options);

/*
 * Confines the calling thread, and the system calls of all threads; threads that it starts later inherit that.  `keep`:
 * its capabilities, of those that it has.  What the kernel cannot do is left out, with a line in the log.  -errno, logged: that
 * was a filter, and SANDBOX_KILL asks for one.
 */
int sandbox_enter(uint64_t keep);

/* Of thread_start(): what a thread that begins gives up; `inherits`: whether the one that started it was confined then. */
void sandbox_enter_thread(uint64_t keep, bool inherits);

/* Whether the files of the calling thread, and of threads that it starts, are confined. */
bool sandbox_is_confined(void);

/*
 * Whether a file can be made in the folder, as far as landlock has a say: sandbox_begin() was told of it, or of one above it.
 * True also of a folder that is not there.
 */
bool sandbox_may_write(const char *folder);

/* The version of landlock that the kernel has; -EOPNOTSUPP: it was left out at its boot, -ENOSYS: it knows none. */
int sandbox_landlock(void);

/* Capabilities that the calling thread has in effect. */
uint64_t sandbox_capabilities(void);
