/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Small helpers every module may use: cleanup attributes, ownership transfer, sizes, time. */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define ARRAY_SIZE(a)  (sizeof(a) / sizeof((a)[0]))
#define MIN(a, b)      ((a) < (b) ? (a) : (b))
#define MAX(a, b)      ((a) > (b) ? (a) : (b))
#define NSEC_PER_SEC   1000000000ull
#define NSEC_PER_MSEC  1000000ull
#define _cleanup_(f)   __attribute__((cleanup(f)))
#define _printf_(f, a) __attribute__((format(printf, f, a)))
#define _unused_       __attribute__((unused))

/* Ownership leaves a _cleanup_ variable by TAKE_PTR or TAKE_FD; nothing else may end a function. */
#define TAKE_PTR(p) \
	({ \
		__typeof__(p) *_p = &(p); \
		__typeof__(p) _taken = *_p; \
		*_p = NULL; \
		_taken; \
	})
#define TAKE_FD(fd) \
	({ \
		int *_fd = &(fd); \
		int _taken = *_fd; \
		*_fd = -1; \
		_taken; \
	})

/* For `type *f(type *)`, the form of every destructor: defines fp(type **) for _cleanup_(). */
#define DEFINE_CLEANUP(type, f) \
	static inline void f##p(type *p) \
	{ \
		if (*p) \
			*p = f(*p); \
	}

static inline void freep(void *p)
{
	free(*(void **)p);
}

static inline void closep(const int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

static inline void fclosep(FILE **f)
{
	if (*f)
		fclose(*f);
}

static inline uint64_t timespec_ns(const struct timespec *t)
{
	return (uint64_t)t->tv_sec * NSEC_PER_SEC + (uint64_t)t->tv_nsec;
}

static inline uint64_t clock_ns(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return timespec_ns(&t);
}
