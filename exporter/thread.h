/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Threads beside the main one. */
#include <pthread.h>

/* The thread runs with all signals blocked: they are for who asks for them by a descriptor.  -errno. */
int thread_start(pthread_t *ret, void *(*run)(void *userdata), void *userdata);
