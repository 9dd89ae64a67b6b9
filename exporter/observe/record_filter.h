/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Which records are shown: one expression in the syntax of pcap-filter(7), as far as records hold what it asks for, with
 * the primitives of records beside it (octets, packets, duration, drop reason ...).  The flags of `observe` become the
 * same tree, so that both mean the same.  docs/filter.md is the reference.
 */
#include <stdbool.h>
#include <stddef.h>
#include "exporter/observe/record_view.h"
#include "exporter/util.h"

#define FILTER_ERROR_MAX 256
#define FILTER_NODES_MAX 1024 /* of one expression */

struct record_filter;

/*
 * NULL or empty text: everything matches.  -EINVAL: `error` says at which column what is wrong, and what is allowed
 * there; -E2BIG: more than FILTER_NODES_MAX; -ENOMEM.
 */
int record_filter_new(struct record_filter **ret, const char *text, char error[FILTER_ERROR_MAX]);
struct record_filter *record_filter_free(struct record_filter *filter);
DEFINE_CLEANUP(struct record_filter *, record_filter_free)

/* The names of interfaces that it asks for, with * and ? as they were written: number `index` of them, or NULL. */
const char *record_filter_interface(const struct record_filter *filter, unsigned int index);

/* Allocates nothing.  A primitive about what the view does not know is false, and its negation true. */
bool record_filter_matches(const struct record_filter *filter, const struct record_view *view);

/* What a filter asks about, whether for it or against it. */
enum filter_asks {
	FILTER_ASKS_DROPS = 1 << 0,	     /* drop, drop reason, drop class */
	FILTER_ASKS_INTERFACE_NAME = 1 << 1, /* not its number */
};

unsigned int record_filter_asks(const struct record_filter *filter);
