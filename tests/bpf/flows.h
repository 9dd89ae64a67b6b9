/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Flows by number, for tests that keep books on each of them: the packet that belongs to one, and
 * back from a drained key to the number.
 */
#include <stdint.h>
#include "exporter/meter/drain.h"
#include "tests/bpf/run.h"

#define FLOW_BYTES_MAX 96

/* Octets of IP of the packets made, by kind of flow: number % FLOW_KINDS. */
#define FLOW_KINDS 3
extern const uint32_t flow_octets[FLOW_KINDS];

/* What was sent of one flow, or drained of it. */
struct flow_sum {
	uint64_t packets;
	uint64_t octets;
};

/* Books on flows 0 to count - 1 in each direction. */
struct flow_books {
	uint32_t count;
	struct flow_sum *sums[_DIRECTION_MAX];
};

int flow_books_init(struct flow_books *books, uint32_t count);
void flow_books_clear(struct flow_books *books);

/* Bytes of the flow's packet; returns how many. */
uint32_t flow_packet(uint32_t number, uint8_t bytes[FLOW_BYTES_MAX]);

/* Books a drained batch; NULL, or what is wrong with one of its records. */
const char *flow_books_add(struct flow_books *books, uint32_t ifindex,
			   const struct drain_batch *batch);
