/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* The exporter's half of the datapath, on a CPU of its own: swaps and drains banks every second. */
#include "exporter/util.h"

/* The generator, the programs and the stack run on one CPU, the drain thread and the cache on the other. */
#define SWAP_SENDER_CPU 0
#define SWAP_DRAIN_CPU	1

struct datapath;
struct swapper;

void swap_pin(int cpu);

int swapper_new(struct swapper **ret, struct datapath *datapath);

/* Stops, and drains both banks: nothing may be attached any more. */
struct swapper *swapper_free(struct swapper *swapper);
DEFINE_CLEANUP(struct swapper *, swapper_free)
