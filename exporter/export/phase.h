/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Random parts of intervals, so that exporters that started together do not stay together. */
#include <stdint.h>
#include <sys/random.h>
#include "exporter/util.h"

/* From 0 up to span_ns. */
static inline uint64_t phase_ns(uint64_t span_ns)
{
	uint32_t random = 0;

	if (getrandom(&random, sizeof(random), GRND_NONBLOCK) < 0)
		random = (uint32_t)clock_ns(CLOCK_MONOTONIC);
	return span_ns / 1024 * (random % 1024);
}
