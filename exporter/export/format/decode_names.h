/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* What elements are called and hold: by IANA's registry, by RFC 5103 (reverse elements), by records of RFC 5610. */
#include "exporter/export/format/decode.h"

struct decode_names;

int decode_names_new(struct decode_names **ret); /* -ENOMEM */
struct decode_names *decode_names_free(struct decode_names *names);
DEFINE_CLEANUP(struct decode_names *, decode_names_free)

/* Grows with each name that is learnt. */
uint64_t decode_names_version(const struct decode_names *names);

/* Sets name, type and known of the element by its numbers; what nobody knows is called PEN/ID. */
void decode_names_look(const struct decode_names *names, struct decode_element *element);

/* The scope of NetFlow v9 has numbers of its own (RFC 3954 section 6.1). */
void decode_names_scope(struct decode_element *element);

/*
 * By a record of RFC 5610.  A name of other than letters, digits, '_', '-' and '.', one of the registry's, one more than
 * DECODE_TYPES_MAX, and another one for what has a name after DECODE_RENAMES_MAX of these, are not learnt.
 */
void decode_names_learn(struct decode_names *names, uint32_t pen, uint16_t id,
			const struct decode_value *name, unsigned int type);
