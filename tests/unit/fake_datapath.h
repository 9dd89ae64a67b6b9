/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Datapaths for tests, without a kernel: a test that has this source has all of exporter/meter/datapath.h from here.  Each
 * has two banks that a test puts packets into, and any call can be made to fail.
 */
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include "exporter/meter/datapath.h"

#define FAKE_ENTRIES_MIN 50000

/* Calls that fail before the next one succeeds; -1: all. */
struct fake_failures {
	atomic_int take_stubs;
	atomic_int counts[2]; /* of the counters of that bank */
};

extern struct fake_failures fake_failures;

/* Datapaths that have been made and not freed. */
unsigned int fake_alive(void);

/* Calls that were made with one that had been freed. */
unsigned int fake_stale(void);

/* As many packets of 100 octets each, all of one flow, are counted with the bank in use. */
void fake_give(struct datapath *d, uint64_t packets);

/* The bank in use is nearly full. */
void fake_wake(struct datapath *d);

/* No failure is left. */
void fake_reset(void);
