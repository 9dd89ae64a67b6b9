/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Sums over flows for metrics, since the start: bounded however many flows there are.  Fed with each delta that is read from
 * a bank, in the loop's thread; the cost of one is a few additions.  Sums over all rows of a table equal the ledger's
 * `drained` of that kind.
 */
#include <stdbool.h>
#include <stdint.h>
#include "exporter/util.h"
#include "xdp/flow.h"

struct traffic;

int traffic_new(struct traffic **ret);
struct traffic *traffic_free(struct traffic *traffic);
DEFINE_CLEANUP(struct traffic *, traffic_free)

/* Allocates nothing. */
void traffic_add(struct traffic *traffic, enum record_kind kind, const struct flow_key *key,
		 const struct flow_record *delta);

/* A copy of its own for a snapshot.  -ENOMEM; then *ret is untouched. */
int traffic_copy(struct traffic **ret, const struct traffic *traffic);
