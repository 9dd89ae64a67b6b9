/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Names of interfaces, as the records of options in a file tell them: interfaceName (82) beside ingressInterface (10) or
 * egressInterface (14), or beside the scope Interface of NetFlow v9.  By observation domain; the last one told counts.
 */
#include <stdint.h>
#include "exporter/export/format/decode.h"
#include "exporter/observe/record_view.h"
#include "exporter/util.h"

#define READ_NAMES_MAX 4096 /* further interfaces have no name */

struct read_names;

int read_names_new(struct read_names **ret); /* -ENOMEM */
struct read_names *read_names_free(struct read_names *names);
DEFINE_CLEANUP(struct read_names *, read_names_free)

/* Another file begins: its numbers may be those of other interfaces. */
void read_names_forget(struct read_names *names);

/* `options`: any record of options. */
void read_names_learn(struct read_names *names, const struct decode_record *options);

/* Gives the view the name of its interface, if it has none and the file has told it. */
void read_names_apply(const struct read_names *names, uint32_t domain, struct record_view *view);
