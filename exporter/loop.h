/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* The event loop of the exporter's main thread: epoll, timerfd and signalfd behind callbacks. */
#include <stdint.h>
#include "exporter/util.h"

struct loop;
struct loop_source;

/* A callback's negative return (-errno) ends loop_run(), which returns it. */
typedef int (*loop_callback)(void *userdata, uint32_t events);

int loop_new(struct loop **ret);
struct loop *loop_free(struct loop *loop);
DEFINE_CLEANUP(struct loop *, loop_free)

/* Watches fd, which stays the caller's; `events` as in epoll(7) (EPOLLIN, EPOLLOUT; 0 waits for errors). */
int loop_add_fd(struct loop *loop, int fd, uint32_t events, loop_callback callback, void *userdata,
		struct loop_source **ret);
int loop_set_events(struct loop_source *source, uint32_t events);

/* A timer on CLOCK_MONOTONIC, not armed until loop_set_timer(). */
int loop_add_timer(struct loop *loop, loop_callback callback, void *userdata,
		   struct loop_source **ret);

/* First expiry after `first_ns` (0 disarms), then every `interval_ns` (0: once). */
int loop_set_timer(struct loop_source *timer, uint64_t first_ns, uint64_t interval_ns);

/* Blocks the signal in the calling thread and delivers it as a callback.  Call before other threads start. */
int loop_add_signal(struct loop *loop, int signal, loop_callback callback, void *userdata);

/* Stops watching; NULL is allowed.  Must happen before the loop and the fd go.  Returns NULL. */
struct loop_source *loop_source_free(struct loop_source *source);
DEFINE_CLEANUP(struct loop_source *, loop_source_free)

/* Runs until loop_stop() (returns 0) or a callback fails (returns its -errno). */
int loop_run(struct loop *loop);
void loop_stop(struct loop *loop);
