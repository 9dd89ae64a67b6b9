/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * What the programs must have done, by the native parser and plain arithmetic: the model is given the
 * same frames as they are, and then compared with the datapath's counters and banks.
 */
#include <stdbool.h>
#include <stdint.h>
#include "exporter/meter/datapath.h"
#include "tests/bpf/run.h"
#include "xdp/tally.h"

#define MODEL_FLOWS 4096

struct model_flow {
	struct flow_key key;
	struct flow_record record; /* without times */
};

struct model_sum {
	uint64_t packets;
	uint64_t octets;
};

struct model {
	struct datapath *datapath;
	uint64_t seen[_DIRECTION_MAX];
	struct model_sum accounted[_DIRECTION_MAX];
	uint64_t inserts[_DIRECTION_MAX];
	struct model_sum unrecorded[_DIRECTION_MAX][_REASON_MAX]; /* all interfaces */
	uint32_t flow_count;
	uint64_t since_ns; /* no flow in the bank is older */
	struct model_flow flows[MODEL_FLOWS];
};

void model_init(struct model *model, struct datapath *datapath);

/* A frame that a program is given.  Returns the reason, REASON_NONE when it is in a flow. */
int model_add(struct model *model, enum datapath_program program, const struct run *run);

/* Empties the active bank and the model's; cmocka's failure, with `what` in it, where they or the counters differ. */
void model_check(struct model *model, const char *what);
