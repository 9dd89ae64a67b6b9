/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Threads beside the main one. */
#include <pthread.h>
#include "exporter/sandbox.h"

/*
 * The thread runs with all signals blocked: they are for who asks for them by a descriptor.  `keep`: the capabilities that
 * it needs (sandbox.h); those of the thread that calls are the most it can have.  -errno.
 */
int thread_start(pthread_t *ret, uint64_t keep, void *(*run)(void *userdata), void *userdata);
